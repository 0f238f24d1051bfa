/* SPDX-License-Identifier: Apache-2.0 */
/* Scenes of one or two processes against a Lease, then a small world with delays, losses and crashes in which two
 * leaders at once would be an error. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "controller/lease.h"
#include "test/lib/unit.h"

#define WALL_US 1763776000123456

/* The API server: one Lease with optimistic locking. */
struct server {
        cJSON *lease;
        int rv;
};

static cJSON *server_get(struct server *s)
{
        return s->lease ? cJSON_Duplicate(s->lease, true) : NULL;
}

static enum lease_result server_put(struct server *s, const char *body, bool create)
{
        cJSON *o = NULL, *meta;
        char rv[16];

        ck_assert_int_eq(json_parse(&o, body, strlen(body)), 0);
        meta = cJSON_GetObjectItem(o, "metadata");
        ck_assert_str_eq(json_str_at(o, "metadata.name", ""), "l");
        ck_assert_str_eq(json_str_at(o, "metadata.namespace", ""), "n");
        if (create ? s->lease != NULL
                   : !s->lease ||
                                strcmp(json_str_at(o, "metadata.resourceVersion", ""),
                                        json_str_at(s->lease, "metadata.resourceVersion", "")) != 0) {
                cJSON_Delete(o);
                return s->lease ? LEASE_CONFLICT : LEASE_MISSING;
        }
        (void)snprintf(rv, sizeof(rv), "%d", ++s->rv);
        cJSON_DeleteItemFromObject(meta, "resourceVersion");
        cJSON_AddStringToObject(meta, "resourceVersion", rv);
        cJSON_Delete(s->lease);
        s->lease = o;
        return LEASE_DONE;
}

static void server_fini(struct server *s)
{
        cJSON_Delete(s->lease);
        s->lease = NULL;
}

static void start(struct lease *l, const char *identity, uint64_t now_ms)
{
        const struct lease_conf conf = { .identity = identity };

        ck_assert_int_eq(lease_init(l, &conf, now_ms), 0);
}

/* One decision carried out at once; false when it waits. */
static bool act(struct lease *l, struct server *s, uint64_t now_ms)
{
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        CLEANUP(json_deletep) cJSON *seen = NULL;
        enum lease_result r;
        uint64_t at_ms = 0;
        enum lease_do what = lease_next(l, now_ms, &at_ms);

        if (what == LEASE_WAIT) {
                ck_assert_uint_gt(at_ms, now_ms);
                return false;
        }
        if (what == LEASE_READ) {
                seen = server_get(s);
                lease_saw(l, seen, now_ms);
                return true;
        }
        lease_body(l, &body, "n", "l", now_ms, WALL_US + (int64_t)now_ms * 1000, false);
        ck_assert(buf_ok(&body));
        r = server_put(s, buf_str(&body), what == LEASE_CREATE);
        seen = r == LEASE_DONE ? server_get(s) : NULL;
        lease_wrote(l, r, seen, now_ms);
        return true;
}

/* Until @to_ms, in steps of 10 ms. Returns when it was first held, UINT64_MAX for never. */
static uint64_t run(struct lease *l, struct server *s, uint64_t from_ms, uint64_t to_ms)
{
        uint64_t held_ms = UINT64_MAX;

        for (uint64_t t = from_ms; t <= to_ms; t += 10) {
                for (int i = 0; i < 20 && act(l, s, t); i++)
                        ck_assert_msg(i < 10, "does not settle");
                if (held_ms == UINT64_MAX && lease_is_held(l, t))
                        held_ms = t;
        }
        return held_ms;
}

static const struct {
        const char *name;
        struct lease_conf conf;
        int want;
} init_cases[] = {
        { "typical", { .identity = "pod-1" }, 0 },
        { "own times", { .identity = "pod-1", .duration_s = 4, .renew_ms = 1000 }, 0 },
        { "no identity", { .identity = "" }, -EINVAL },
        { "none at all", { .identity = NULL }, -EINVAL },
        { "renews too late", { .identity = "pod-1", .duration_s = 4, .renew_ms = 2000 }, -EINVAL },
};

START_TEST(init_validates)
{
        struct lease l;

        ck_assert_int_eq(lease_init(&l, &init_cases[_i].conf, 5), init_cases[_i].want);
}
END_TEST

START_TEST(takes_a_missing_lease)
{
        struct server s = { .rv = 0 };
        struct lease l;

        start(&l, "a", 1000);
        ck_assert(!lease_is_held(&l, 1000));
        ck_assert_uint_eq(run(&l, &s, 1000, 1000), 1000);
        ck_assert_str_eq(json_str_at(s.lease, "spec.holderIdentity", ""), "a");
        ck_assert_int_eq(json_at(s.lease, "spec.leaseDurationSeconds")->valueint, 12);
        ck_assert_int_eq(json_at(s.lease, "spec.leaseTransitions")->valueint, 0);
        ck_assert_str_eq(json_str_at(s.lease, "spec.renewTime", ""), "2025-11-22T01:46:41.123456Z");
        ck_assert_uint_eq(lease_until(&l), 13000);
        ck_assert(lease_may_write(&l, 7999, 5000));
        ck_assert(!lease_may_write(&l, 8000, 5000));
        ck_assert(lease_is_held(&l, 12999));
        ck_assert(!lease_is_held(&l, 13000));
        server_fini(&s);
}
END_TEST

START_TEST(renews_in_time_and_no_more)
{
        struct server s = { .rv = 0 };
        struct lease l;

        start(&l, "a", 0);
        (void)run(&l, &s, 0, 3600000);
        ck_assert(lease_is_held(&l, 3600000));
        ck_assert_int_eq(s.rv, 1 + 3600 / 4);
        ck_assert_str_eq(json_str_at(s.lease, "spec.acquireTime", ""), "2025-11-22T01:46:40.123456Z");
        server_fini(&s);
}
END_TEST

static const struct {
        const char *name;
        const char *identity; /* of the second process */
        const char *lease; /* spec that it finds, as JSON */
        uint64_t want_ms; /* until it holds it */
} find_cases[] = {
        { "another's", "b", "{\"holderIdentity\":\"a\",\"leaseDurationSeconds\":12}", 12000 },
        { "its own, left over", "a", "{\"holderIdentity\":\"a\",\"leaseDurationSeconds\":12}", 0 },
        { "released", "b", "{\"holderIdentity\":\"\",\"leaseDurationSeconds\":1}", 0 },
        { "empty spec", "b", "{}", 0 },
        { "no spec", "b", NULL, 0 },
        { "a holder with a longer promise", "b", "{\"holderIdentity\":\"a\",\"leaseDurationSeconds\":20}",
                20000 },
        { "a promise of days", "b", "{\"holderIdentity\":\"a\",\"leaseDurationSeconds\":1000000}", 60000 },
        { "no promise", "b", "{\"holderIdentity\":\"a\"}", 12000 },
        { "a negative promise", "b", "{\"holderIdentity\":\"a\",\"leaseDurationSeconds\":-1}", 12000 },
        { "wrong types", "b", "{\"holderIdentity\":7,\"leaseDurationSeconds\":\"x\"}", 0 },
};

START_TEST(takes_what_it_finds)
{
        struct server s = { .rv = 7 };
        struct lease l;
        char text[256];

        (void)snprintf(text, sizeof(text), "{\"metadata\":{\"name\":\"l\",\"resourceVersion\":\"7\"}%s%s}",
                find_cases[_i].lease ? ",\"spec\":" : "", find_cases[_i].lease ? find_cases[_i].lease : "");
        ck_assert_int_eq(json_parse(&s.lease, text, strlen(text)), 0);
        start(&l, find_cases[_i].identity, 0);
        ck_assert_uint_eq(run(&l, &s, 0, 100000), find_cases[_i].want_ms);
        server_fini(&s);
}
END_TEST

START_TEST(waits_for_a_living_holder_then_takes_over)
{
        struct server s = { .rv = 0 };
        struct lease a, b;
        uint64_t t, taken_ms;

        start(&a, "a", 0);
        start(&b, "b", 0);
        for (t = 0; t < 60000; t += 10) {
                (void)run(&a, &s, t, t);
                ck_assert_uint_eq(run(&b, &s, t, t), UINT64_MAX);
        }
        taken_ms = run(&b, &s, t, t + 20000); /* a crashed */
        ck_assert_uint_ge(taken_ms, t + 8000);
        ck_assert_uint_le(taken_ms, t + 15000);
        ck_assert_int_eq(json_at(s.lease, "spec.leaseTransitions")->valueint, 1);
        server_fini(&s);
}
END_TEST

START_TEST(release_hands_over_at_once)
{
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        CLEANUP(json_deletep) cJSON *seen = NULL;
        struct server s = { .rv = 0 };
        struct lease a, b;
        uint64_t taken_ms;

        start(&a, "a", 0);
        start(&b, "b", 0);
        for (uint64_t t = 0; t <= 9990; t += 10) {
                (void)run(&a, &s, t, t);
                (void)run(&b, &s, t, t);
        }
        lease_body(&a, &body, "n", "l", 10000, WALL_US, true);
        ck_assert(!lease_is_held(&a, 10000));
        ck_assert_int_eq(server_put(&s, buf_str(&body), false), LEASE_DONE);
        seen = server_get(&s);
        lease_wrote(&a, LEASE_DONE, seen, 10000);
        ck_assert(!lease_is_held(&a, 10000));
        taken_ms = run(&b, &s, 10000, 20000);
        ck_assert_uint_le(taken_ms, 12000);
        server_fini(&s);
}
END_TEST

START_TEST(a_twin_takes_it_for_good)
{
        struct server s = { .rv = 0 };
        struct lease a, b;
        unsigned swaps = 0;
        bool a_had = true;

        start(&a, "same", 0);
        (void)run(&a, &s, 0, 1000);
        start(&b, "same", 1010);
        ck_assert_uint_eq(run(&b, &s, 1010, 1010), 1010);
        for (uint64_t t = 1020; t < 120000; t += 10) {
                (void)run(&a, &s, t, t);
                (void)run(&b, &s, t, t);
                if (t > 6000)
                        ck_assert_msg(!(lease_is_held(&a, t) && lease_is_held(&b, t)), "two hold it");
                if (lease_is_held(&a, t) != a_had)
                        swaps++;
                a_had = lease_is_held(&a, t);
        }
        ck_assert_uint_eq(swaps, 1);
        ck_assert(lease_is_held(&b, 119990));
        server_fini(&s);
}
END_TEST

START_TEST(answer_lost_but_carried_out)
{
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        struct server s = { .rv = 0 };
        struct lease l;
        uint64_t at_ms;

        start(&l, "a", 0);
        (void)run(&l, &s, 0, 3990);
        ck_assert_int_eq(lease_next(&l, 4000, &at_ms), LEASE_UPDATE);
        lease_body(&l, &body, "n", "l", 4000, WALL_US + 4000000, false);
        ck_assert_int_eq(server_put(&s, buf_str(&body), false), LEASE_DONE);
        lease_wrote(&l, LEASE_FAILED, NULL, 7000);
        ck_assert_uint_eq(lease_until(&l), 12000); /* the answer counts, not the hope */
        ck_assert_int_eq(lease_next(&l, 7999, &at_ms), LEASE_WAIT);
        ck_assert_uint_eq(at_ms, 8000);
        for (uint64_t t = 8000; t <= 30000; t += 10) {
                (void)run(&l, &s, t, t);
                ck_assert_msg(lease_is_held(&l, t), "lost its own lease at %" PRIu64, t);
        }
        server_fini(&s);
}
END_TEST

START_TEST(runs_from_the_sending_not_the_answer)
{
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        CLEANUP(json_deletep) cJSON *seen = NULL;
        struct server s = { .rv = 0 };
        struct lease l;

        start(&l, "a", 0);
        (void)run(&l, &s, 0, 3990);
        lease_body(&l, &body, "n", "l", 4000, WALL_US, false);
        ck_assert_int_eq(server_put(&s, buf_str(&body), false), LEASE_DONE);
        seen = server_get(&s);
        lease_wrote(&l, LEASE_DONE, seen, 6900);
        ck_assert_uint_eq(lease_until(&l), 16000);
        server_fini(&s);
}
END_TEST

START_TEST(each_term_has_its_own_acquire_time)
{
        struct server s = { .rv = 0 };
        struct lease a, b;

        start(&a, "a", 0);
        start(&b, "b", 0);
        (void)run(&a, &s, 0, 1000);
        ck_assert_uint_lt(run(&b, &s, 1000, 20000), 20000);
        ck_assert_str_eq(json_str_at(s.lease, "spec.acquireTime", ""), "2025-11-22T01:46:53.123456Z");
        ck_assert_uint_lt(run(&a, &s, 20010, 60000), 60000);
        ck_assert_str_gt(json_str_at(s.lease, "spec.acquireTime", ""), "2025-11-22T01:47:00.000000Z");
        ck_assert_int_eq(json_at(s.lease, "spec.leaseTransitions")->valueint, 2);
        server_fini(&s);
}
END_TEST

START_TEST(deleted_by_hand_is_made_again)
{
        struct server s = { .rv = 0 };
        struct lease l;

        start(&l, "a", 0);
        (void)run(&l, &s, 0, 5000);
        server_fini(&s);
        (void)run(&l, &s, 5010, 12000);
        ck_assert(lease_is_held(&l, 12000));
        ck_assert_ptr_nonnull(s.lease);
        server_fini(&s);
}
END_TEST

START_TEST(unreachable_server_is_asked_calmly)
{
        struct server s = { .rv = 0 };
        struct lease l;
        unsigned n = 0;
        uint64_t at_ms;

        start(&l, "a", 0);
        (void)run(&l, &s, 0, 100);
        for (uint64_t t = 110; t < 60000; t += 10) {
                CLEANUP(buf_fini) struct buf body = BUF_INIT;
                enum lease_do what = lease_next(&l, t, &at_ms);

                ck_assert(lease_is_held(&l, t) == (t < 12000));
                if (what == LEASE_WAIT)
                        continue;
                n++;
                if (what == LEASE_READ) {
                        lease_read_failed(&l, t);
                        continue;
                }
                lease_body(&l, &body, "n", "l", t, WALL_US, false);
                lease_wrote(&l, LEASE_FAILED, NULL, t);
        }
        ck_assert_uint_ge(n, 50);
        ck_assert_uint_le(n, 60);
        (void)run(&l, &s, 60000, 61000); /* nobody took it meanwhile */
        ck_assert(lease_is_held(&l, 61000));
        server_fini(&s);
}
END_TEST

/* ---- the small world ---- */

#define WORLD_N 3

struct flight { /* one request on its way */
        bool on;
        enum lease_do what;
        char *body;
        uint64_t apply_ms, answer_ms; /* UINT64_MAX: lost */
        bool applied;
        enum lease_result result;
        cJSON *seen;
};

struct process {
        struct lease l;
        struct flight f;
        struct flight late; /* given up by the client, but still on its way to the server */
        uint64_t down_until_ms;
        uint64_t timeout_ms;
};

static void flight_drop(struct flight *f)
{
        free(f->body);
        cJSON_Delete(f->seen);
        *f = (struct flight){ .on = false };
}

static void flight_apply(struct flight *f, struct server *s)
{
        f->applied = true;
        if (f->what == LEASE_READ)
                f->seen = server_get(s);
        else if ((f->result = server_put(s, f->body, f->what == LEASE_CREATE)) == LEASE_DONE)
                f->seen = server_get(s);
}

static void flight_begin(struct process *p, struct rng *rng, uint64_t now_ms)
{
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        uint64_t at_ms;
        enum lease_do what = lease_next(&p->l, now_ms, &at_ms);
        bool slow = rng_below(rng, 100) < 10;

        if (what == LEASE_WAIT)
                return;
        if (what != LEASE_READ)
                lease_body(&p->l, &body, "n", "l", now_ms, WALL_US + (int64_t)now_ms * 1000, false);
        p->f = (struct flight){
                .on = true,
                .what = what,
                .body = what == LEASE_READ ? NULL : buf_take(&body),
                .apply_ms =
                        rng_below(rng, 100) < 10 ? UINT64_MAX : now_ms + rng_below(rng, slow ? 20000 : 50),
        };
        p->f.answer_ms = p->f.apply_ms == UINT64_MAX || rng_below(rng, 100) < 10
                ? UINT64_MAX
                : p->f.apply_ms + rng_below(rng, slow ? 5000 : 50);
        p->timeout_ms = now_ms + 3000;
}

static void flight_end(struct process *p, uint64_t now_ms)
{
        if (p->f.answer_ms > now_ms && p->timeout_ms > now_ms)
                return;
        if (p->f.answer_ms <= now_ms && p->f.applied && p->f.what == LEASE_READ)
                lease_saw(&p->l, p->f.seen, now_ms);
        else if (p->f.answer_ms <= now_ms && p->f.applied)
                lease_wrote(&p->l, p->f.result, p->f.seen, now_ms);
        else if (p->f.what == LEASE_READ)
                lease_read_failed(&p->l, now_ms);
        else
                lease_wrote(&p->l, LEASE_FAILED, NULL, now_ms);
        if (!p->f.applied && p->f.what != LEASE_READ && p->f.apply_ms != UINT64_MAX) {
                flight_drop(&p->late);
                p->late = p->f;
                p->f = (struct flight){ .on = false };
                return;
        }
        flight_drop(&p->f);
}

static void world_step(
        struct process *p, const char *name, struct server *s, struct rng *rng, uint64_t now_ms)
{
        if (p->late.on && now_ms >= p->late.apply_ms) {
                flight_apply(&p->late, s);
                flight_drop(&p->late);
        }
        if (now_ms < p->down_until_ms)
                return;
        if (p->down_until_ms) { /* back after a crash, as the same identity */
                p->down_until_ms = 0;
                start(&p->l, name, now_ms);
        }
        if (rng_below(rng, 40000) == 0) {
                p->down_until_ms = now_ms + 100 + rng_below(rng, 30000);
                flight_drop(&p->f);
                return;
        }
        if (!p->f.on)
                flight_begin(p, rng, now_ms);
        if (p->f.on && !p->f.applied && now_ms >= p->f.apply_ms)
                flight_apply(&p->f, s);
        if (p->f.on)
                flight_end(p, now_ms);
}

START_TEST(never_two_at_once)
{
        static const char *const names[WORLD_N] = { "a", "b", "c" };
        struct process p[WORLD_N] = { { .down_until_ms = 0 } };
        struct rng rng = { .state = (uint64_t)_i + 1 };
        struct server s = { .rv = 0 };
        uint64_t led_ms = 0, took = 0;
        int last = -1;

        for (int i = 0; i < WORLD_N; i++)
                start(&p[i].l, names[i], 1);
        for (uint64_t t = 1; t < 1000000; t += 5) {
                int holder = -1;

                for (int i = 0; i < WORLD_N; i++) {
                        world_step(&p[i], names[i], &s, &rng, t);
                        if (t < p[i].down_until_ms || !lease_is_held(&p[i].l, t))
                                continue;
                        ck_assert_msg(holder < 0, "seed %d: %s and %s at %" PRIu64, _i + 1, names[holder],
                                names[i], t);
                        holder = i;
                }
                led_ms += holder >= 0 ? 5 : 0;
                took += holder >= 0 && holder != last;
                if (holder >= 0)
                        last = holder;
        }
        ck_assert_msg(led_ms > 600000, "seed %d: led only %" PRIu64 " ms of 1,000,000", _i + 1, led_ms);
        ck_assert_msg(took >= 2, "seed %d: it never changed hands", _i + 1);
        for (int i = 0; i < WORLD_N; i++) {
                flight_drop(&p[i].f);
                flight_drop(&p[i].late);
        }
        server_fini(&s);
}
END_TEST

static Suite *suite(void)
{
        Suite *s = suite_create("lease");
        TCase *tc = tcase_create("lease");

        tcase_set_timeout(tc, 60);
        tcase_add_loop_test(tc, init_validates, 0, (int)ARRAY_LEN(init_cases));
        tcase_add_test(tc, takes_a_missing_lease);
        tcase_add_test(tc, renews_in_time_and_no_more);
        tcase_add_loop_test(tc, takes_what_it_finds, 0, (int)ARRAY_LEN(find_cases));
        tcase_add_test(tc, waits_for_a_living_holder_then_takes_over);
        tcase_add_test(tc, release_hands_over_at_once);
        tcase_add_test(tc, a_twin_takes_it_for_good);
        tcase_add_test(tc, answer_lost_but_carried_out);
        tcase_add_test(tc, runs_from_the_sending_not_the_answer);
        tcase_add_test(tc, each_term_has_its_own_acquire_time);
        tcase_add_test(tc, deleted_by_hand_is_made_again);
        tcase_add_test(tc, unreachable_server_is_asked_calmly);
        tcase_add_loop_test(tc, never_two_at_once, 0, 10);
        suite_add_tcase(s, tc);
        return s;
}

int main(void)
{
        return unit_main(suite());
}
