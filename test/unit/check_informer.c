/* SPDX-License-Identifier: Apache-2.0 */
/* Against a model of one collection of an API server: it keeps a log of changes, lists in pages, watches from any
 * version, and fails in a way chosen for each request. What the informer tells is checked change by change. */
#include "common/api/misc.h"
#include "common/kube/informer.h"
#include "common/rng.h"
#include "test/lib/fakeapi.h"
#include "test/lib/fault.h"
#include "test/lib/informodel.h"
#include "test/lib/unit.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- tests ---- */

START_TEST(lists_in_pages_then_watches)
{
        struct model m = { .rng = { 1 } };

        open_client(&m);
        fill(&m);
        start(&m);
        wait_for(&m, is_watching);
        ck_assert_uint_eq(m.n_changes, NAMES);
        ck_assert_uint_eq(count_lines(&m, "limit=3"), 4);
        ck_assert_uint_eq(count_lines(&m, "&fieldSelector=metadata.name%21%3Dx\n"), 5);
        ck_assert_ptr_nonnull(strstr(buf_str(&m.targets), "&continue=3.112&"));
        ck_assert_ptr_null(strstr(buf_str(&m.targets), "limit=3&resourceVersion"));
        ck_assert_ptr_nonnull(strstr(buf_str(&m.targets), "&resourceVersion=112&"));
        change(&m, 3, false);
        change(&m, 4, true);
        change(&m, 4, false);
        change(&m, 5, true);
        wait_for(&m, is_true_copy);
        ck_assert_uint_eq(m.n_changes, NAMES + 4);
        ck_assert_uint_eq(m.n_synced, 1);
        ck_assert_uint_eq(m.n_states, 0); /* it never failed */
        finish(&m);
}
END_TEST

START_TEST(an_empty_collection_is_synced)
{
        struct model m = { .rng = { 1 } };

        open_client(&m);
        start(&m);
        wait_for(&m, is_watching);
        ck_assert_uint_eq(m.n_synced, 1);
        ck_assert_uint_eq(informer_count(m.inf), 0);
        change(&m, 1, false);
        wait_for(&m, is_true_copy);
        finish(&m);
}
END_TEST

/* The first request fails in each way; then all is well. */
START_TEST(any_failure_of_the_list_is_survived)
{
        struct model m = { .rng = { 1 }, .script = { FINE, (enum fault)_i }, .script_len = 2 };

        open_client(&m);
        fill(&m);
        start(&m);
        wait_for(&m, is_watching);
        ck_assert_uint_eq(m.n_changes, NAMES);
        ck_assert_uint_eq(m.n_synced, 1);
        ck_assert(m.state_ok);
        finish(&m);
}
END_TEST

static bool is_watching_again(void *ctx)
{
        struct model *m = ctx;

        return m->script_at == m->script_len && m->n_watches > 0 && is_true_copy(m);
}

START_TEST(any_failure_of_the_watch_is_survived)
{
        struct model m = {
                .rng = { 1 }, .script = { FINE, FINE, FINE, FINE, FINE, (enum fault)_i }, .script_len = 6
        };
        bool relists = _i == REFUSE_410 || _i == ERROR_410 || _i == REFUSE_400;

        open_client(&m);
        fill(&m);
        start(&m);
        wait_for(&m, is_watching);
        change(&m, 2, false);
        wait_for(&m, is_true_copy);
        end_watches(&m, _i % 2);
        change(&m, 2, false); /* while nobody watches */
        change(&m, 7, true);
        wait_for(&m, is_watching_again);
        ck_assert_uint_eq(lists(&m), relists ? 2 : 1);
        ck_assert_uint_eq(m.n_synced, 1);
        finish(&m);
}
END_TEST

START_TEST(a_list_that_stalls_is_asked_again)
{
        struct model m = { .rng = { 1 }, .script = { FINE, STALL }, .script_len = 2 };

        open_client(&m);
        fill(&m);
        start(&m);
        wait_for(&m, is_watching);
        ck_assert_uint_eq(m.n_changes, NAMES);
        ck_assert_uint_eq(count_lines(&m, "continue=3.112"), 2); /* the same page */
        ck_assert_uint_eq(m.n_states, 2);
        ck_assert_int_eq(m.state_code, 0);
        finish(&m);
}
END_TEST

START_TEST(retry_after_is_honoured)
{
        struct model m = { .rng = { 1 }, .script = { REFUSE_429 }, .script_len = 1 };
        uint64_t begun = uv_hrtime();

        open_client(&m);
        start(&m);
        wait_for(&m, is_watching);
        ck_assert_uint_ge(uv_hrtime() - begun, 1000000000u);
        ck_assert_uint_eq(m.n_states, 2);
        finish(&m);
}
END_TEST

/* 410 between pages: the list starts over, in one piece, and what vanished meanwhile is found out. */
static bool has_one_page(void *ctx)
{
        return ((struct model *)ctx)->n_changes >= 3;
}

START_TEST(an_expired_page_starts_over)
{
        struct model m = { .rng = { 1 }, .script = { FINE, REFUSE_500 }, .script_len = 2 };

        open_client(&m);
        fill(&m);
        start(&m);
        wait_for(&m, has_one_page);
        change(&m, 0, true); /* was in the first page */
        change(&m, 11, true); /* would have been in the last */
        change(&m, 1, false);
        m.oldest = m.rv;
        wait_for(&m, is_watching);
        ck_assert_uint_eq(m.last_list_limit, 0);
        ck_assert_uint_eq(m.n_synced, 1);
        ck_assert_uint_eq(informer_count(m.inf), NAMES - 2);
        finish(&m);
}
END_TEST

START_TEST(a_relist_tells_only_what_changed)
{
        struct model m = {
                .rng = { 1 }, .script = { FINE, FINE, FINE, FINE, FINE, ERROR_410 }, .script_len = 6
        };

        open_client(&m);
        fill(&m);
        start(&m);
        wait_for(&m, is_watching);
        end_watches(&m, false);
        change(&m, 0, true);
        change(&m, 1, false);
        change(&m, 2, true);
        change(&m, 2, false);
        m.oldest = m.rv;
        wait_for(&m, is_watching_again);
        ck_assert_uint_eq(m.n_changes, NAMES + 3);
        ck_assert_uint_eq(lists(&m), 2);
        ck_assert_uint_eq(m.n_states, 0); /* 410 is part of normal life */
        finish(&m);
}
END_TEST

/* The bookmark moves the version on, so that a resume does not ask for compacted history. */
START_TEST(a_bookmark_moves_the_version)
{
        struct model m = { .rng = { 1 }, .bookmarks = true };

        open_client(&m);
        fill(&m);
        start(&m);
        wait_for(&m, is_watching);
        m.rv = m.oldest = 500;
        end_watches(&m, false);
        fake_run_for(&m.loop, 20);
        m.oldest = 1;
        wait_for(&m, is_watching_again); /* this watch was told 500 */
        fake_run_for(&m.loop, 50);
        m.oldest = 500;
        end_watches(&m, true);
        wait_for(&m, is_watching_again);
        ck_assert_ptr_nonnull(strstr(buf_str(&m.targets), "resourceVersion=500"));
        ck_assert_uint_eq(m.n_changes, NAMES);
        finish(&m);
}
END_TEST

static bool has_bad(void *ctx)
{
        struct model *m = ctx;

        pump(m);
        return m->n_bad > 0;
}

/* Too big (1000 bytes are allowed), or not to be decoded: its old state stays through watch and relist. */
START_TEST(a_bad_object_keeps_its_old_state)
{
        struct model m = { .rng = { 1 }, .padding = _i ? 2000 : 10 };

        open_client(&m);
        fill(&m);
        start(&m);
        wait_for(&m, is_watching);
        m.broken_name = "n4";
        change(&m, 4, false);
        wait_for(&m, has_bad);
        ck_assert_str_eq(m.bad_name, "n4");
        m.oldest = m.rv + 1; /* everything must be listed again */
        end_watches(&m, true);
        change(&m, 5, false);
        change(&m, 6, true);
        m.now[4] = (unsigned)strtoul(m.told[4], NULL, 10); /* to be a true copy is to have the old one */
        wait_for(&m, is_watching_again);
        ck_assert_ptr_nonnull(informer_get(m.inf, "ns", "n4"));
        ck_assert_uint_eq(m.n_bad, 1); /* told once for each version */
        change(&m, 4, true); /* and it can still be deleted */
        wait_for(&m, is_true_copy);
        ck_assert_ptr_null(informer_get(m.inf, "ns", "n4"));
        finish(&m);
}
END_TEST

static bool has_relisted(void *ctx)
{
        return lists(ctx) >= 2 && ((struct model *)ctx)->n_watches > 0;
}

/* A list with an object that cannot even be named: any known object may be the one, so none may be called gone. */
START_TEST(a_nameless_object_stops_deletes)
{
        struct model m = { .rng = { 1 }, .padding = 2000, .padding_first = true };

        open_client(&m);
        fill(&m);
        start(&m);
        wait_for(&m, is_watching);
        m.broken_name = "n4";
        m.oldest = m.rv + 1;
        end_watches(&m, true);
        change(&m, 4, false);
        change(&m, 5, false);
        change(&m, 6, true);
        m.oldest = m.rv;
        wait_for(&m, has_relisted);
        ck_assert_uint_eq(m.n_bad, 1);
        ck_assert_str_eq(m.bad_name, "");
        ck_assert_ptr_nonnull(informer_get(m.inf, "ns", "n4"));
        ck_assert_ptr_nonnull(informer_get(m.inf, "ns", "n6")); /* late, but never wrong about n4 */
        m.broken_name = NULL;
        m.oldest = m.rv + 1;
        end_watches(&m, true);
        change(&m, 7, false);
        wait_for(&m, is_watching_again);
        ck_assert_ptr_null(informer_get(m.inf, "ns", "n6"));
        finish(&m);
}
END_TEST

static void watch_line(struct model *m, const char *line)
{
        for (unsigned i = 0; i < m->n_watches; i++)
                fake_chunk(m->watches[i].c, line);
}

START_TEST(odd_events_are_passed_over)
{
        struct model m = { .rng = { 1 } };

        open_client(&m);
        fill(&m);
        start(&m);
        wait_for(&m, is_watching);
        fake_run_for(&m.loop, 20);
        watch_line(&m,
                "{\"type\":\"SYNC\",\"object\":{\"metadata\":{\"name\":\"n1\",\"resourceVersion\":\"999999\"}}}\n");
        watch_line(&m,
                "{\"type\":\"DELETED\",\"object\":{\"metadata\":{\"name\":\"unknown\",\"namespace\":\"ns\"}}}\n");
        watch_line(&m, "{\"type\":\"DELETED\"}\n{\"object\":{}}\n{}\n{\"type\":5,\"object\":7}\n\n \n");
        watch_line(&m, "{\"type\":\"BOOKMARK\",\"object\":{}}\n");
        watch_line(&m, "{\"type\":\"ADDED\",\"object\":{\"metadata\":{}}}\n{\"x\":}\n");
        change(&m, 3, false);
        wait_for(&m, is_true_copy);
        ck_assert_uint_eq(lists(&m), 1);
        ck_assert_uint_eq(m.n_watches, 1);
        ck_assert_uint_eq(m.n_changes, NAMES + 1);
        ck_assert_uint_eq(m.n_bad, 1); /* of no name and no version: both are the same one */
        finish(&m);
}
END_TEST

/* A server that ends each watch at once must not be asked in a tight loop. */
START_TEST(short_watches_slow_down)
{
        struct model m = { .rng = { 1 } };

        open_client(&m);
        m.script_len = SCRIPT;
        for (unsigned i = 1; i < SCRIPT; i++)
                m.script[i] = END_AT_ONCE;
        start(&m);
        fake_run_for(&m.loop, 1500);
        ck_assert_uint_le(count_lines(&m, "watch=1"), 6); /* 50-100, 100-200, 200-400, ... ms apart */
        ck_assert_uint_ge(count_lines(&m, "watch=1"), 3);
        ck_assert_uint_eq(m.n_states, 0);
        finish(&m);
}
END_TEST

/* Any faults, any changes, in any order: in the end a true copy, and on the way nothing lost or invented. */
START_TEST(random_faults)
{
        struct model m = { .rng = { (uint64_t)_i }, .bookmarks = _i % 2, .retry_cap_ms = 30 };

        open_client(&m);
        m.random_faults = true;
        start(&m);
        for (unsigned i = 0; i < 60; i++) {
                change(&m, (int)rng_below(&m.rng, NAMES), rng_below(&m.rng, 3) == 0);
                if (rng_below(&m.rng, 8) == 0)
                        m.oldest = m.rv - (unsigned)rng_below(&m.rng, 4);
                if (rng_below(&m.rng, 6) == 0)
                        end_watches(&m, rng_below(&m.rng, 2));
                pump(&m);
                fake_run_for(&m.loop, (unsigned)rng_below(&m.rng, 20));
        }
        m.random_faults = false;
        wait_for(&m, is_true_copy);
        ck_assert_uint_eq(m.n_synced, 1);
        finish(&m);
}
END_TEST
int main(void)
{
        Suite *s = suite_create("informer");
        TCase *tc = tcase_create("copy"), *end = tcase_create("ends"), *random = tcase_create("random");

        tcase_set_timeout(tc, 60);
        tcase_set_timeout(end, 60);
        tcase_set_timeout(random, 60);
        tcase_add_test(tc, lists_in_pages_then_watches);
        tcase_add_test(tc, an_empty_collection_is_synced);
        tcase_add_loop_test(tc, any_failure_of_the_list_is_survived, 0, N_FAULTS);
        tcase_add_loop_test(tc, any_failure_of_the_watch_is_survived, 0, N_FAULTS);
        tcase_add_test(tc, a_list_that_stalls_is_asked_again);
        tcase_add_test(tc, retry_after_is_honoured);
        tcase_add_test(tc, an_expired_page_starts_over);
        tcase_add_test(tc, a_relist_tells_only_what_changed);
        tcase_add_test(tc, a_bookmark_moves_the_version);
        tcase_add_loop_test(tc, a_bad_object_keeps_its_old_state, 0, 2);
        tcase_add_test(tc, a_nameless_object_stops_deletes);
        tcase_add_test(tc, odd_events_are_passed_over);
        tcase_add_test(tc, short_watches_slow_down);
        suite_add_tcase(s, tc);
        tcase_add_loop_test(random, random_faults, 0, 12);
        suite_add_tcase(s, random);
        suite_add_tcase(s, end);
        return unit_main(s);
}
