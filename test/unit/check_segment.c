/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "speaker/segment.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

static struct segment *segments(void)
{
        struct segment *s = NULL;

        ck_assert_int_eq(segment_new(&s), 0);
        return s;
}

START_TEST(learns_and_forgets)
{
        CLEANUP(segment_freep) struct segment *s = segments();

        ck_assert(!segment_is_shared(s, 1) && !segment_same(s, 1, 2));
        ck_assert(segment_heard(s, 1, 2));
        ck_assert(!segment_heard(s, 1, 2));
        ck_assert(segment_is_shared(s, 1) && segment_is_shared(s, 2) && !segment_is_shared(s, 3));
        ck_assert(segment_same(s, 1, 2) && segment_same(s, 2, 1) && !segment_same(s, 1, 3));
        ck_assert(!segment_reset(s, 3));
        ck_assert(segment_reset(s, 2));
        ck_assert(!segment_is_shared(s, 1) && !segment_same(s, 1, 2));
}
END_TEST

START_TEST(is_transitive)
{
        CLEANUP(segment_freep) struct segment *s = segments();

        ck_assert(segment_heard(s, 5, 6));
        ck_assert(segment_heard(s, 8, 9));
        ck_assert(segment_heard(s, 7, 6));
        ck_assert(!segment_same(s, 5, 8));
        ck_assert(segment_same(s, 5, 7));
        ck_assert(segment_heard(s, 9, 5)); /* joins both */
        for (unsigned a = 5; a <= 9; a++)
                for (unsigned b = 5; b <= 9; b++)
                        ck_assert(segment_same(s, a, b));
        ck_assert(segment_reset(s, 9)); /* and parts them again */
        ck_assert(!segment_same(s, 5, 8));
        ck_assert(segment_same(s, 5, 7));
}
END_TEST

START_TEST(itself_is_no_other)
{
        CLEANUP(segment_freep) struct segment *s = segments();

        ck_assert(!segment_heard(s, 4, 4));
        ck_assert(!segment_is_shared(s, 4));
}
END_TEST

START_TEST(stacked)
{
        CLEANUP(segment_freep) struct segment *s = segments();

        ck_assert(segment_stacked(s, 10, 2));
        ck_assert(segment_stacked(s, 11, 2));
        ck_assert(segment_same(s, 10, 11));
        ck_assert_msg(!segment_reset(s, 10), "it is known, not learnt");
        ck_assert(segment_same(s, 10, 11));
        for (unsigned i = 0; i < 10; i++)
                ck_assert(!segment_sent(s, 10, 1000 + i * 10000));
        ck_assert(segment_heard(s, 2, 3));
        ck_assert(segment_same(s, 10, 3));
        segment_unstack(s);
        ck_assert(!segment_same(s, 10, 11) && segment_same(s, 2, 3));
}
END_TEST

/* Somebody moved a cable: our own announcements are not heard any more, so both interfaces speak again. */
START_TEST(unheard_is_forgotten)
{
        CLEANUP(segment_freep) struct segment *s = segments();
        uint64_t now = 5000;

        ck_assert(segment_heard(s, 1, 2));
        for (unsigned i = 0; i < 100; i++) { /* while it is heard, nothing happens */
                ck_assert(!segment_sent(s, 1, now += 1000));
                ck_assert(!segment_heard(s, 1, 2));
        }
        for (unsigned i = 0; i < SEGMENT_MISSES; i++)
                ck_assert(!segment_sent(s, 1, now += 30000));
        ck_assert(!segment_sent(s, 2, now)); /* the other direction says nothing about this one */
        ck_assert(segment_sent(s, 1, now += 30000));
        ck_assert(!segment_is_shared(s, 1) && !segment_is_shared(s, 2));
}
END_TEST

/* A thousand announcements in one go before the other socket is read: no reason to forget. */
START_TEST(burst_is_no_silence)
{
        CLEANUP(segment_freep) struct segment *s = segments();

        ck_assert(segment_heard(s, 1, 2));
        for (unsigned i = 0; i < 1000; i++)
                ck_assert(!segment_sent(s, 1, 5000 + i));
        ck_assert(segment_same(s, 1, 2));
}
END_TEST

START_TEST(is_bounded)
{
        CLEANUP(segment_freep) struct segment *s = segments();

        for (unsigned i = 0; i < SEGMENT_PAIRS; i++)
                ck_assert(segment_heard(s, i * 2 + 1, i * 2 + 2));
        ck_assert(!segment_heard(s, 9001, 9002));
        ck_assert(!segment_same(s, 9001, 9002));
        ck_assert(segment_reset(s, 1));
        ck_assert(segment_heard(s, 9001, 9002));
}
END_TEST

START_TEST(no_memory)
{
        struct segment *s = NULL;
        int r;

        fault_arm(0);
        r = segment_new(&s);
        ck_assert(fault_disarm());
        ck_assert_int_eq(r, -ENOMEM);
        ck_assert_ptr_null(segment_free(s));
}
END_TEST

int main(void)
{
        Suite *s = suite_create("segment");
        TCase *tc = tcase_create("pairs");

        tcase_add_test(tc, learns_and_forgets);
        tcase_add_test(tc, is_transitive);
        tcase_add_test(tc, itself_is_no_other);
        tcase_add_test(tc, stacked);
        tcase_add_test(tc, unheard_is_forgotten);
        tcase_add_test(tc, burst_is_no_silence);
        tcase_add_test(tc, is_bounded);
        tcase_add_test(tc, no_memory);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
