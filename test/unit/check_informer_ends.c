/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of an informer: closed at any time, from a callback, without memory. */
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

/* ---- ends ---- */

START_TEST(close_at_any_time)
{
        for (unsigned turns = 0; turns < 120; turns++) {
                struct model m = { .rng = { turns },
                        .script = { FINE, turns % 3 ? FINE : RESET_NOW, FINE, FINE, FINE,
                                (enum fault)(turns % N_FAULTS) },
                        .script_len = 6 };

                open_client(&m);
                fill(&m);
                start(&m);
                for (unsigned i = 0; i < turns; i++) {
                        (void)uv_run(&m.loop, UV_RUN_NOWAIT);
                        (void)usleep(50);
                }
                if (turns % 5 == 0) /* the client goes first */
                        kube_close(m.k, on_closed, &m.n_kube_closed);
                finish(&m);
        }
}
END_TEST

START_TEST(close_from_a_callback)
{
        struct model m = { .rng = { 1 }, .close_when = CLOSE_IN_CHANGE + _i };

        open_client(&m);
        fill(&m);
        if (m.close_when == CLOSE_IN_BAD)
                m.broken_name = "n2";
        if (m.close_when == CLOSE_IN_STATE) {
                m.script[0] = REFUSE_500;
                m.script_len = 1;
        }
        start(&m);
        for (unsigned i = 0; i < 4000 && m.n_closed == 0; i++) {
                (void)uv_run(&m.loop, UV_RUN_NOWAIT);
                (void)usleep(500);
        }
        ck_assert_uint_eq(m.n_closed, 1);
        finish(&m);
}
END_TEST

START_TEST(any_allocation_may_fail)
{
        for (unsigned n = 0;; n++) {
                struct model m = { .rng = { 1 } };
                struct informer_conf conf;
                bool hit;
                int r;

                open_client(&m);
                fill(&m);
                conf = informer_conf(&m);
                fault_arm(n);
                r = informer_new(&m.inf, m.k, &conf);
                hit = fault_disarm();
                ck_assert_int_eq(r, hit ? -ENOMEM : 0);
                ck_assert_int_eq(m.inf != NULL, !hit);
                finish(&m);
                if (!hit)
                        break;
        }
        /* While it runs: what fails is tried again. cJSON's own allocations included. */
        for (unsigned n = 0; n < 400; n += 1 + n / 8) {
                struct model m = { .rng = { 1 } };
                const cJSON_Hooks hooks = { fault_malloc, free };
                cJSON_Hooks set = hooks;

                cJSON_InitHooks(&set);
                open_client(&m);
                fill(&m);
                start(&m);
                fault_arm(n);
                for (unsigned i = 0; i < 100 && !m.n_synced; i++) {
                        (void)uv_run(&m.loop, UV_RUN_NOWAIT);
                        (void)usleep(100);
                }
                (void)fault_disarm();
                wait_for(&m, is_watching);
                ck_assert_uint_eq(m.n_synced, 1);
                finish(&m);
        }
}
END_TEST
int main(void)
{
        Suite *s = suite_create("informer_ends");
        TCase *tc = tcase_create("copy"), *end = tcase_create("ends"), *random = tcase_create("random");

        tcase_set_timeout(tc, 60);
        tcase_set_timeout(end, 60);
        tcase_set_timeout(random, 60);
        suite_add_tcase(s, tc);
        suite_add_tcase(s, random);
        tcase_add_test(end, close_at_any_time);
        tcase_add_loop_test(end, close_from_a_callback, 0, 4);
        tcase_add_test(end, any_allocation_may_fail);
        suite_add_tcase(s, end);
        return unit_main(s);
}
