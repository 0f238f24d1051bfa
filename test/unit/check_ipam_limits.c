/* SPDX-License-Identifier: Apache-2.0 */
/* ipam when memory fails, and when there is much of everything. Times are wide: they only catch another order of growth. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "test/lib/audit.h"
#include "test/lib/fault.h"
#include "test/lib/objects.h"
#include "test/lib/unit.h"
#include "test/lib/world.h"

/* ---- the n-th allocation fails ---- */

static const char *const failing[] = {
        "pool a 10.0.0.0/29 fd00::/125 buggy reserve=10.0.0.1",
        "pool b 10.1.0.0/29 prio=3 nssel=x:y svcsel=app:web",
        "nodes 10.0.0.3 10.0.0.4 10.9.9.9",
        "svc d/x key=k ports=80,81 ip=10.0.0.5",
        "claim d/x 10.0.0.6",
        "alloc d/x",
        "svc d/y 46 require key=k ports=82",
        "alloc d/y",
        "svc d/z ip=10.0.0.5",
        "alloc d/z",
        "svc d/u 46 prefer",
        "alloc d/u",
        "pool a 10.0.0.0/28 fd00::/125",
        "pool c 10.0.0.8/30 age=7",
        "nodes 10.0.0.8",
        "pool a 10.0.0.0/28 broken",
        "svc d/x ports=80",
        "claim d/x 10.0.0.5",
        "alloc d/x",
        "svc d/v",
        "alloc d/v",
};

static void snapshot(struct world *w, struct buf *b)
{
        struct ipam_stats s;

        buf_reset(&w->out);
        world_show_pools(w);
        for (size_t i = 0; i < w->n_svcs; i++) {
                buf_addc(&w->out, '\n');
                world_show_held(w, w->svcs[i].key);
        }
        ipam_get_stats(w->m, &s);
        /* The Service may be known already when its first allocation fails: that is all that may differ. */
        buf_addf(&w->out, " %zu %zu %zu", s.n_waiting, s.n_held, s.n_cooling);
        buf_reset(b);
        buf_adds(b, buf_str(&w->out));
}

/* One call into the ipam, with the n-th allocation failing. */
static int try_once(struct world *w, const char *line, unsigned n, bool *failed)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(512);
        const struct pool *pools[WORLD_POOLS];
        struct ip ips[4];
        struct request q;
        char verb[16], key[32], rest[64] = "";
        size_t n_ips = 0;
        int r;

        ck_assert_int_ge(sscanf(line, "%15s %31s %63[^\n]", verb, key, rest), 2);
        if (strcmp(verb, "pool") == 0) {
                for (size_t i = 0; i < w->n_pools; i++)
                        pools[i] = pool_of(w->pools[i].o);
                fault_arm(n);
                r = ipam_set_pools(w->m, pools, w->n_pools, 0);
        } else if (strcmp(verb, "nodes") == 0) {
                const char *p = strchr(line, ' ') + 1;

                while (*p && n_ips < 4) {
                        size_t len = strcspn(p, " ");

                        ck_assert_int_eq(ip_parse_n(&ips[n_ips++], p, len), 0);
                        p += len + (p[len] == ' ');
                }
                fault_arm(n);
                r = ipam_set_nodes(w->m, ips, n_ips);
        } else {
                ck_assert_int_eq(request_init(&q, a, world_service(world_svc(w, key)), NULL), 0);
                if (*rest)
                        ck_assert_int_eq(ip_parse(&ips[n_ips++], rest), 0);
                fault_arm(n);
                r = strcmp(verb, "claim") == 0 ? ipam_claim(w->m, &q, ips, n_ips, 0, NULL)
                                               : ipam_allocate(w->m, &q, 0, NULL);
        }
        *failed = fault_disarm();
        return r;
}

START_TEST(memory_fails)
{
        struct world *w = calloc(1, sizeof(*w)), *calm = calloc(1, sizeof(*calm));
        CLEANUP(buf_fini) struct buf before = BUF_INIT, after = BUF_INIT;
        unsigned n_failed = 0;
        bool failed;

        world_init(w, 0);
        world_init(calm, 0);
        for (size_t i = 0; i < ARRAY_LEN(failing); i++) {
                bool is_svc = strncmp(failing[i], "svc", 3) == 0;

                if (is_svc) {
                        ck_assert(world_line(w, failing[i]));
                        ck_assert(world_line(calm, failing[i]));
                        continue;
                }
                snapshot(w, &before);
                if (strncmp(failing[i], "pool", 4) == 0) {
                        world_describe_pool(w, failing[i]);
                        world_describe_pool(calm, failing[i]);
                }
                for (unsigned n = 0;; n++) {
                        int r = try_once(w, failing[i], n, &failed);

                        if (!failed)
                                break;
                        n_failed++;
                        ck_assert_msg(r == -ENOMEM, "%s: allocation %u failed, got %d", failing[i], n, r);
                        ipam_audit(w->m);
                        snapshot(w, &after);
                        ck_assert_msg(strcmp(buf_str(&before), buf_str(&after)) == 0,
                                "%s: changed by a failure\n%s\n%s", failing[i], buf_str(&before),
                                buf_str(&after));
                }
                (void)try_once(calm, failing[i], UINT32_MAX, &failed); /* compared below */
                snapshot(w, &after);
                snapshot(calm, &before);
                ck_assert_msg(strcmp(buf_str(&before), buf_str(&after)) == 0, "%s: other outcome\n%s\n%s",
                        failing[i], buf_str(&before), buf_str(&after));
                while (ipam_woken(w->m) && ipam_woken(calm->m))
                        ;
        }
        ck_assert_uint_gt(n_failed, 60);
        world_fini(w);
        world_fini(calm);
        free(w);
        free(calm);
}
END_TEST

/* ---- much of everything ---- */

static double now_s(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fill_request(struct request *q, char key[static 32], size_t i)
{
        static const struct kv_list none = { 0 };

        (void)snprintf(key, 32, "ns/svc-%05zu", i);
        *q = (struct request){ .key = key,
                .ns = "ns",
                .name = key + 3,
                .labels = &none,
                .want4 = true,
                .primary = IP_V4,
                .pool = "",
                .share_key = "",
                .backend_key = "",
                .current_pool = "",
                .fault_text = "" };
}

static int take_one(struct ipam *m, size_t i)
{
        struct request q;
        char key[32];

        fill_request(&q, key, i);
        return ipam_allocate(m, &q, 0, NULL);
}

START_TEST(fills_a_16)
{
        struct world *w = calloc(1, sizeof(*w));
        struct ipam_pool_info info;
        double start;
        int r = 0;

        world_init(w, 0);
        ck_assert(world_line(w, "pool a 10.0.0.0/16"));
        start = now_s();
        for (size_t i = 0; i < 65536; i++) /* asserts cost more than what they watch here */
                r |= take_one(w->m, i);
        start = now_s() - start;
        ck_assert_int_eq(r, 0);
        MUST(take_one(w->m, 65536) == (ERR_FULL));
        ck_assert(ipam_pool_get(w->m, "a", &info));
        ck_assert_int_eq(info.counts.assigned[0], 65536);
        ck_assert_msg(start < 10, "took %.2f s", start);
        if (getenv("SHOW_TIMES"))
                printf("a /16 in %.1f ms\n", start * 1e3);
        world_fini(w);
        free(w);
}
END_TEST

#ifdef __GLIBC__
START_TEST(a_claim_is_small)
{
        enum { N = 10000 };
        struct world *w = calloc(1, sizeof(*w));
        size_t before;

        world_init(w, 0);
        ck_assert(world_line(w, "pool a 10.0.0.0/16"));
        before = mallinfo2().uordblks;
        for (size_t i = 0; i < N; i++)
                MUST(take_one(w->m, i) == (0));
        before = (mallinfo2().uordblks - before) / N;
        if (getenv("SHOW_TIMES"))
                printf("%zu bytes a Service\n", before);
        ck_assert_uint_le(before, 400); /* 0 under a sanitizer */
        world_fini(w);
        free(w);
}
END_TEST
#endif

/* 10,000 wait for a full pool; every freed address finds the next one without a walk over all. */
START_TEST(ten_thousand_wait)
{
        enum { N = 10000, HELD = 256 };
        struct world *w = calloc(1, sizeof(*w));
        double start = now_s();
        char key[32];

        world_init(w, 0);
        ck_assert(world_line(w, "pool a 10.0.0.0/24"));
        for (size_t i = 0; i < N; i++)
                MUST(take_one(w->m, i) == (i < HELD ? 0 : ERR_FULL));
        for (size_t i = 0; i < N - HELD; i++) {
                const char *woken;

                (void)snprintf(key, sizeof(key), "ns/svc-%05zu", i);
                MUST(ipam_release(w->m, key, 0));
                woken = ipam_woken(w->m);
                (void)snprintf(key, sizeof(key), "ns/svc-%05zu", i + HELD);
                MUST(woken && strcmp(woken, key) == 0);
                MUST(take_one(w->m, i + HELD) == (0));
                MUST(ipam_woken(w->m) == NULL);
        }
        ck_assert_msg(now_s() - start < 10, "took %.2f s", now_s() - start);
        if (getenv("SHOW_TIMES"))
                printf("10,000 waiting served in %.1f ms\n", (now_s() - start) * 1e3);
        world_fini(w);
        free(w);
}
END_TEST

/* Everybody has one key: half of them also one port. */
START_TEST(thousands_share)
{
        enum { N = 3000 };
        struct world *w = calloc(1, sizeof(*w));
        double start = now_s();
        struct ipam_stats stats;

        world_init(w, 0);
        ck_assert(world_line(w, "pool a 10.0.0.0/16"));
        for (size_t i = 0; i < N; i++) {
                uint32_t port = request_port("TCP", i % 2 ? 80 : (uint16_t)(1000 + i));
                struct request q;
                char key[32];

                fill_request(&q, key, i);
                q.share_key = "k";
                q.ports = &port;
                q.n_ports = 1;
                MUST(ipam_allocate(w->m, &q, 0, NULL) == 0);
        }
        ipam_get_stats(w->m, &stats);
        ck_assert_uint_eq(stats.n_held, N / 2);
        ck_assert_msg(now_s() - start < 10, "took %.2f s", now_s() - start);
        if (getenv("SHOW_TIMES"))
                printf("%d with one key in %.1f ms\n", N, (now_s() - start) * 1e3);
        world_fini(w);
        free(w);
}
END_TEST

START_TEST(a_pool_of_many_ranges)
{
        enum { N = 20000 };
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        struct world *w = calloc(1, sizeof(*w));
        double start;

        for (int i = 0; i < N; i++)
                buf_addf(&b, "%s'10.%d.%d.%d/32'", i ? "," : "", i >> 15, i >> 7 & 255, i * 2 & 255);
        world_init(w, 0);
        ck_assert(world_line(w, "pool a 192.0.2.0/32"));
        object_free(w->pools[0].o);
        w->pools[0].o =
                object_from(pool_decode, "{'metadata':{'name':'a'},'spec':{'addresses':[%s]}}", buf_str(&b));
        start = now_s();
        ck_assert_int_eq(world_set_pools(w), 1);
        for (size_t i = 0; i < 1000; i++)
                MUST(take_one(w->m, i) == (0));
        for (int i = 0; i < 20; i++)
                ck_assert_int_eq(world_set_pools(w), 0);
        ck_assert(world_line(w, "pool b 10.0.0.1/32"));
        ck_assert_msg(now_s() - start < 10, "took %.2f s", now_s() - start);
        if (getenv("SHOW_TIMES"))
                printf("%d ranges, edited, in %.1f ms\n", N, (now_s() - start) * 1e3);
        world_fini(w);
        free(w);
}
END_TEST

START_TEST(more_pools_than_bits)
{
        struct world *w = calloc(1, sizeof(*w));
        char line[64];

        world_init(w, 0);
        for (int i = 0; i < 90; i++) {
                (void)snprintf(line, sizeof(line), "pool p%02d 10.0.%d.0/32 ns=n%d", i, i, i);
                ck_assert(world_line(w, line));
        }
        ck_assert(
                world_line(w, "svc n3/x") && world_line(w, "svc n67/x") && world_line(w, "svc n67/w age=5"));
        world_plan(w, "n3/x");
        world_plan(w, "n67/x");
        world_plan(w, "n67/w");
        ck_assert(ipam_release(w->m, "n3/x", 0)); /* shares a bit with p67 */
        ck_assert_ptr_null(ipam_woken(w->m));
        ck_assert(ipam_release(w->m, "n67/x", 0));
        ck_assert_str_eq(ipam_woken(w->m), "n67/w");
        world_fini(w);
        free(w);
}
END_TEST

/* Words are bounded, cut between items, and say how much is missing. */
START_TEST(long_explanations)
{
        struct ipam_why why = { .n_more = 5 };
        char text[IPAM_WHY_TEXT_MAX], name[400];

        memset(name, 'n', sizeof(name));
        name[sizeof(name) - 1] = '\0';
        while (why.n < IPAM_WHY_MAX)
                why.v[why.n++] = (struct ipam_refusal){ .reason = IPAM_FULL, .pool = name, .other = "" };
        ipam_why_text(&why, text);
        ck_assert_uint_lt(strlen(text), IPAM_WHY_TEXT_MAX);
        ck_assert_uint_gt(strlen(text), IPAM_WHY_TEXT_MAX / 2);
        ck_assert_ptr_nonnull(strstr(text, "address; and 26 more"));
        why = (struct ipam_why){ .n = 0 };
        ck_assert_str_eq(ipam_why_text(&why, text), "");
        ck_assert_str_eq(ipam_why_word(&why), "other");
}
END_TEST

int main(void)
{
        Suite *s = suite_create("ipam limits");
        TCase *tc = tcase_create("limits");

        suite_add_tcase(s, tc);
        tcase_set_timeout(tc, 60);
        tcase_add_test(tc, memory_fails);
        tcase_add_test(tc, fills_a_16);
#ifdef __GLIBC__
        tcase_add_test(tc, a_claim_is_small);
#endif
        tcase_add_test(tc, ten_thousand_wait);
        tcase_add_test(tc, thousands_share);
        tcase_add_test(tc, a_pool_of_many_ranges);
        tcase_add_test(tc, more_pools_than_bits);
        tcase_add_test(tc, long_explanations);
        return unit_main(s);
}
