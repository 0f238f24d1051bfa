/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "speaker/announce.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define LOG_MAX 100000

struct sent {
        struct ip ip;
        unsigned ifindex;
        bool first;
        uint64_t at_ms;
};

/* A world with a virtual clock: everything that was sent, in order. */
struct world {
        struct announce *a;
        struct rng rng;
        uint64_t now_ms;
        struct sent *log;
        size_t n;
        unsigned silent; /* an interface on which nothing is wanted */
        unsigned asked;
};

static bool wants(void *ctx, const struct ip *ip, unsigned ifindex)
{
        struct world *w = ctx;

        (void)ip;
        w->asked++;
        return ifindex != w->silent;
}

static void world_new(struct world *w, uint32_t refresh_ms, uint32_t rate_s)
{
        struct announce_conf conf = {
                .refresh_ms = refresh_ms, .rate_s = rate_s, .rng = &w->rng, .wants = wants, .ctx = w
        };

        *w = (struct world){ .now_ms = 1000000, .rng = { 42 } };
        w->log = calloc(LOG_MAX, sizeof(*w->log));
        ck_assert_ptr_nonnull(w->log);
        ck_assert_int_eq(announce_new(&w->a, &conf), 0);
}

static void world_end(struct world *w)
{
        w->a = announce_free(w->a);
        free(w->log);
}

static void pop_all(struct world *w)
{
        struct announce_item item;

        while (announce_pop(w->a, w->now_ms, &item)) {
                ck_assert_uint_lt(w->n, LOG_MAX);
                w->log[w->n++] = (struct sent){ item.ip, item.ifindex, item.first, w->now_ms };
        }
}

/* Jumps from deadline to deadline, as the loop's timer does, until @ms have passed. */
static void run(struct world *w, uint64_t ms)
{
        uint64_t end = w->now_ms + ms;
        unsigned spins = 0;

        for (;;) {
                uint64_t due;

                pop_all(w);
                due = announce_deadline(w->a);
                if (due > end)
                        break;
                spins = due > w->now_ms ? 0 : spins + 1; /* "now" is fine after much work, but not for ever */
                ck_assert_uint_lt(spins, 100);
                w->now_ms = due > w->now_ms ? due : w->now_ms;
        }
        w->now_ms = end;
}

static struct ip vip(unsigned i)
{
        return (struct ip){ IP_V4, { 10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i } };
}

static void own(struct world *w, unsigned first, unsigned n)
{
        struct ip *ips = calloc(n + 1, sizeof(*ips));

        for (unsigned i = 0; i < n; i++)
                ips[i] = vip(first + i);
        ck_assert_int_eq(announce_vips(w->a, ips, n, w->now_ms), 0);
        free(ips);
}

static size_t count(const struct world *w, const struct ip *ip, unsigned ifindex)
{
        size_t n = 0;

        for (size_t i = 0; i < w->n; i++)
                n += (!ip || ip_equal(&w->log[i].ip, ip)) && (ifindex == 0 || w->log[i].ifindex == ifindex);
        return n;
}

static const struct {
        const char *name;
        uint32_t refresh_ms, rate_s;
        int want;
} new_cases[] = {
        { "typical", 30000, 500, 0 },
        { "never again", UINT32_MAX, 500, 0 },
        { "too often", 999, 500, -EINVAL },
        { "too slow", 30000, 9, -EINVAL },
};

START_TEST(new_validates)
{
        struct rng rng = { 1 };
        struct announce_conf conf = { new_cases[_i].refresh_ms, new_cases[_i].rate_s, &rng, wants, NULL };
        struct announce *a = NULL;
        int r = announce_new(&a, &conf);

        ck_assert_msg(r == new_cases[_i].want, "%s: got %d", new_cases[_i].name, r);
        ck_assert_msg((a != NULL) == (r == 0), "%s: output touched on failure", new_cases[_i].name);
        (void)announce_free(a);
}
END_TEST

START_TEST(burst_of_five)
{
        static const uint64_t at[] = { 0, 1100, 2200, 3300, 4400 };
        struct world w;
        uint64_t start;

        world_new(&w, UINT32_MAX, 500);
        start = w.now_ms;
        ck_assert_int_eq(announce_port(w.a, IP_V4, 3, w.now_ms), 0);
        own(&w, 1, 1);
        run(&w, 60000);
        ck_assert_uint_eq(w.n, 5);
        for (unsigned i = 0; i < 5; i++) {
                ck_assert_uint_eq(w.log[i].at_ms - start, at[i]);
                ck_assert_uint_eq(w.log[i].ifindex, 3);
                ck_assert(w.log[i].first == (i == 0));
        }
        ck_assert(announce_deadline(w.a) == UINT64_MAX);
        world_end(&w);
}
END_TEST

/* The port comes first, the address, or both at once: each pair is sent five times, not ten. */
START_TEST(new_pair_is_sent_once_a_round)
{
        struct world w;
        struct ip ip = vip(1);

        world_new(&w, UINT32_MAX, 500);
        if (_i == 0)
                own(&w, 1, 1);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 3, w.now_ms), 0);
        if (_i == 1)
                own(&w, 1, 1);
        if (_i == 2) {
                run(&w, 500);
                own(&w, 1, 1);
        }
        run(&w, 60000);
        ck_assert_uint_eq(count(&w, &ip, 3), 5);
        world_end(&w);
}
END_TEST

/* Loss and re-take within the burst: announced again at once, five rounds from there. */
START_TEST(retake_starts_at_once)
{
        struct world w;
        uint64_t retake;

        world_new(&w, UINT32_MAX, 500);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 3, w.now_ms), 0);
        own(&w, 1, 1);
        run(&w, 1500);
        own(&w, 1, 0);
        run(&w, 700);
        ck_assert_uint_eq(w.n, 2);
        own(&w, 1, 1);
        retake = w.now_ms;
        run(&w, 60000);
        ck_assert_uint_eq(w.n, 7);
        ck_assert_uint_eq(w.log[2].at_ms, retake);
        ck_assert(w.log[2].first);
        world_end(&w);
}
END_TEST

START_TEST(lost_address_is_silent)
{
        struct world w;

        world_new(&w, 30000, 500);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 3, w.now_ms), 0);
        own(&w, 1, 2);
        run(&w, 100);
        own(&w, 2, 1);
        w.n = 0;
        run(&w, 100000);
        ck_assert_uint_gt(w.n, 5);
        for (size_t i = 0; i < w.n; i++)
                ck_assert_int_eq(w.log[i].ip.b[3], 2);
        world_end(&w);
}
END_TEST

START_TEST(unchanged_set_changes_nothing)
{
        struct world w;

        world_new(&w, UINT32_MAX, 500);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 3, w.now_ms), 0);
        own(&w, 1, 3);
        run(&w, 2000);
        own(&w, 1, 3);
        run(&w, 60000);
        ck_assert_uint_eq(w.n, 15);
        world_end(&w);
}
END_TEST

START_TEST(refreshes_with_jitter)
{
        struct world w;
        uint64_t least = UINT64_MAX, most = 0;

        world_new(&w, 30000, 500);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 3, w.now_ms), 0);
        own(&w, 1, 1);
        run(&w, 3600000);
        ck_assert_uint_gt(w.n, 5 + 105); /* about 120 an hour */
        ck_assert_uint_lt(w.n, 5 + 135);
        for (size_t i = 5; i < w.n; i++) {
                uint64_t gap = w.log[i].at_ms - w.log[i - 1].at_ms;

                ck_assert_uint_ge(gap, 27000);
                ck_assert_uint_le(gap, 33000);
                ck_assert(!w.log[i].first);
                least = gap < least ? gap : least;
                most = gap > most ? gap : most;
        }
        ck_assert_uint_gt(most - least, 3000);
        world_end(&w);
}
END_TEST

START_TEST(port_again_bursts_again)
{
        struct world w;
        uint64_t up;

        world_new(&w, UINT32_MAX, 500);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 3, w.now_ms), 0);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 4, w.now_ms), 0);
        own(&w, 1, 2);
        run(&w, 60000);
        ck_assert_uint_eq(w.n, 20);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 4, w.now_ms), 0); /* carrier, another MAC, ... */
        up = w.now_ms;
        run(&w, 60000);
        ck_assert_uint_eq(w.n, 30);
        for (size_t i = 20; i < w.n; i++)
                ck_assert_uint_eq(w.log[i].ifindex, 4);
        ck_assert_uint_eq(w.log[20].at_ms, up);
        ck_assert_uint_eq(w.log[21].at_ms, up);
        world_end(&w);
}
END_TEST

START_TEST(port_gone_is_silent)
{
        struct world w;

        world_new(&w, 30000, 500);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 3, w.now_ms), 0);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 4, w.now_ms), 0);
        own(&w, 1, 2);
        run(&w, 100);
        announce_port_gone(w.a, IP_V4, 3);
        announce_port_gone(w.a, IP_V4, 99);
        announce_port_gone(w.a, IP_V6, 4);
        w.n = 0;
        run(&w, 100000);
        ck_assert_uint_eq(count(&w, NULL, 3), 0);
        ck_assert_uint_gt(count(&w, NULL, 4), 8);
        world_end(&w);
}
END_TEST

START_TEST(unwanted_pair_is_silent)
{
        struct world w;
        struct ip ip = vip(1);

        world_new(&w, UINT32_MAX, 500);
        w.silent = 3;
        ck_assert_int_eq(announce_port(w.a, IP_V4, 3, w.now_ms), 0);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 4, w.now_ms), 0);
        own(&w, 1, 1);
        run(&w, 60000);
        ck_assert_uint_eq(count(&w, &ip, 3), 0);
        ck_assert_uint_eq(count(&w, &ip, 4), 5);
        world_end(&w);
}
END_TEST

START_TEST(families_do_not_mix)
{
        struct ip ips[] = { { IP_V4, { 10, 0, 0, 1 } }, { IP_V6, { 0x20, [15] = 1 } } };
        struct world w;

        world_new(&w, UINT32_MAX, 500);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 3, w.now_ms), 0);
        ck_assert_int_eq(announce_port(w.a, IP_V6, 4, w.now_ms), 0);
        ck_assert_int_eq(announce_vips(w.a, ips, 2, w.now_ms), 0);
        run(&w, 60000);
        ck_assert_uint_eq(count(&w, &ips[0], 3), 5);
        ck_assert_uint_eq(count(&w, &ips[1], 4), 5);
        ck_assert_uint_eq(w.n, 10);
        announce_restart(w.a, &ips[1], w.now_ms);
        run(&w, 60000);
        ck_assert_uint_eq(count(&w, &ips[1], 4), 10);
        ck_assert_uint_eq(w.n, 15);
        world_end(&w);
}
END_TEST

static void check_rate(const struct world *w, uint32_t rate_s)
{
        size_t from = 0;

        for (size_t to = 0; to < w->n; to++) { /* two frames each; any window of a second */
                while (w->log[to].at_ms - w->log[from].at_ms >= 1000)
                        from++;
                ck_assert_uint_le((to - from + 1) * 2, rate_s + rate_s / 5 + 2);
        }
}

START_TEST(pacer_holds_for_a_thousand)
{
        struct world w;
        size_t first = 0;

        world_new(&w, 30000, 500);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 3, w.now_ms), 0);
        own(&w, 1, 1000);
        run(&w, 120000);
        check_rate(&w, 500);
        while (w.log[first]
                        .first) /* all first rounds before any repeat, though the repeats were due long ago */
                first++;
        ck_assert_uint_eq(first, 1000);
        ck_assert_uint_le(w.log[999].at_ms - w.log[0].at_ms, 4000);
        for (unsigned i = 1; i <= 1000; i += 37) {
                struct ip ip = vip(i);

                ck_assert_uint_ge(count(&w, &ip, 3), 5);
        }
        world_end(&w);
}
END_TEST

/* An address taken over in the middle of everybody's repeats does not wait behind them. */
START_TEST(new_one_overtakes)
{
        struct world w;
        size_t before;

        world_new(&w, UINT32_MAX, 500);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 3, w.now_ms), 0);
        own(&w, 1, 1000);
        run(&w, 6000);
        own(&w, 1, 1001);
        before = w.n;
        run(&w, 100);
        ck_assert_uint_gt(w.n, before);
        ck_assert(w.log[before].first);
        world_end(&w);
}
END_TEST

/* 300 ports and 300 addresses are 90,000 pairs: work in one call stays bounded, and nothing is left out. */
START_TEST(many_pairs)
{
        struct world w;
        struct announce_item item;

        world_new(&w, UINT32_MAX, 50000);
        w.silent = 1;
        for (unsigned i = 1; i <= 300; i++)
                ck_assert_int_eq(announce_port(w.a, IP_V4, i, w.now_ms), 0);
        own(&w, 1, 300);
        w.asked = 0;
        (void)announce_pop(w.a, w.now_ms, &item);
        ck_assert_uint_le(w.asked, 5000);
        for (unsigned i = 0; i < 100 && w.n < 89000; i++)
                run(&w, 100);
        ck_assert_uint_ge(w.n + 1, 299 * 300);
        world_end(&w);
}
END_TEST

/* Ports and addresses that come and go in the middle of a round: nobody is sent to that is gone, everybody else is. */
START_TEST(churn)
{
        struct world w;
        struct rng rng = { 7 };

        world_new(&w, 2000, 100);
        for (unsigned i = 0; i < 3000; i++) {
                unsigned what = (unsigned)rng_below(&rng, 4), which = 1 + (unsigned)rng_below(&rng, 9);

                if (what == 0)
                        ck_assert_int_eq(announce_port(w.a, IP_V4, which, w.now_ms), 0);
                else if (what == 1)
                        announce_port_gone(w.a, IP_V4, which);
                else if (what == 2)
                        own(&w, (unsigned)rng_below(&rng, 20), (unsigned)rng_below(&rng, 20));
                w.n = 0;
                run(&w, rng_below(&rng, 50));
        }
        for (unsigned i = 1; i <= 9; i++)
                announce_port_gone(w.a, IP_V4, i);
        ck_assert_int_eq(announce_port(w.a, IP_V4, 5, w.now_ms), 0);
        own(&w, 100, 3);
        run(&w, 20000);
        w.n = 0;
        run(&w, 10000);
        for (size_t i = 0; i < w.n; i++) {
                ck_assert_uint_eq(w.log[i].ifindex, 5);
                ck_assert_int_ge(w.log[i].ip.b[3], 100);
        }
        ck_assert_uint_ge(w.n, 12);
        world_end(&w);
}
END_TEST

START_TEST(no_memory)
{
        struct ip ips[] = { { IP_V4, { 10, 0, 0, 1 } }, { IP_V4, { 10, 0, 0, 2 } },
                { IP_V4, { 10, 0, 0, 3 } } };
        struct world w;

        for (unsigned n = 0;; n++) {
                int r;

                world_new(&w, UINT32_MAX, 500);
                fault_arm(n);
                r = announce_port(w.a, IP_V4, 3, w.now_ms);
                if (r == 0)
                        r = announce_vips(w.a, ips, 1, w.now_ms);
                if (r == 0)
                        r = announce_vips(w.a, ips, 3, w.now_ms);
                if (!fault_disarm()) {
                        ck_assert_int_eq(r, 0);
                        world_end(&w);
                        break;
                }
                ck_assert_int_eq(r, -ENOMEM);
                run(&w, 10000); /* whatever was there goes on */
                world_end(&w);
        }
}
END_TEST

int main(void)
{
        Suite *s = suite_create("announce");
        TCase *tc = tcase_create("schedule");

        tcase_set_timeout(tc, 60);
        tcase_add_loop_test(tc, new_validates, 0, (int)ARRAY_LEN(new_cases));
        tcase_add_loop_test(tc, new_pair_is_sent_once_a_round, 0, 3);
        tcase_add_test(tc, burst_of_five);
        tcase_add_test(tc, retake_starts_at_once);
        tcase_add_test(tc, lost_address_is_silent);
        tcase_add_test(tc, unchanged_set_changes_nothing);
        tcase_add_test(tc, refreshes_with_jitter);
        tcase_add_test(tc, port_again_bursts_again);
        tcase_add_test(tc, port_gone_is_silent);
        tcase_add_test(tc, unwanted_pair_is_silent);
        tcase_add_test(tc, families_do_not_mix);
        tcase_add_test(tc, pacer_holds_for_a_thousand);
        tcase_add_test(tc, new_one_overtakes);
        tcase_add_test(tc, many_pairs);
        tcase_add_test(tc, churn);
        tcase_add_test(tc, no_memory);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
