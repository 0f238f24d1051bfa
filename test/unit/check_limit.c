/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "speaker/limit.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

static const uint8_t flood[6] = { 2, 0, 0, 0, 0, 1 };

static void mac_of(uint8_t mac[6], unsigned n)
{
        const uint8_t v[6] = { 4, 0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n };

        memcpy(mac, v, 6);
}

START_TEST(holds_the_rate)
{
        CLEANUP(limit_freep) struct limit *l = NULL;
        unsigned passed = 0;

        ck_assert_int_eq(limit_new(&l, 10000, 5), 0);
        for (uint64_t ms = 1000; ms < 11000; ms++) /* 100,000 a second for 10 seconds */
                for (unsigned i = 0; i < 100; i++)
                        passed += limit_ok(l, flood, ms);
        ck_assert_uint_ge(passed, 10000 * 10);
        ck_assert_uint_le(passed, 10000 * 11);
}
END_TEST

START_TEST(others_are_served)
{
        CLEANUP(limit_freep) struct limit *l = NULL;
        uint8_t mac[6];

        ck_assert_int_eq(limit_new(&l, 100, 5), 0);
        for (unsigned i = 0; i < 1000; i++) {
                (void)limit_ok(l, flood, 1000);
                mac_of(mac, i);
                ck_assert(limit_ok(l, mac, 1000));
        }
}
END_TEST

/* A sender that asks as often as it may is never held up, however late the loop looks. */
START_TEST(steady_sender_passes)
{
        CLEANUP(limit_freep) struct limit *l = NULL;

        ck_assert_int_eq(limit_new(&l, 100, 5), 0);
        for (uint64_t ms = 5; ms < 100000; ms += 10)
                ck_assert(limit_ok(l, flood, ms));
        for (unsigned i = 0; i < 100; i++) /* after a pause, a whole second's worth at once */
                ck_assert(limit_ok(l, flood, 200000));
        ck_assert(!limit_ok(l, flood, 200000));
        ck_assert(!limit_ok(l, flood, 200009));
        ck_assert(limit_ok(l, flood, 200010));
}
END_TEST

START_TEST(table_is_bounded)
{
        CLEANUP(limit_freep) struct limit *l = NULL;
        uint8_t mac[6];
        unsigned held = 0;

        ck_assert_int_eq(limit_new(&l, 1, 5), 0);
        for (unsigned i = 0; i < 100000; i++) { /* forged senders */
                mac_of(mac, i);
                ck_assert(limit_ok(l, mac, 1000 + i / 1000));
        }
        for (unsigned i = 99990; i < 100000; i++) { /* the newest are remembered */
                mac_of(mac, i);
                held += !limit_ok(l, mac, 1100);
        }
        ck_assert_uint_ge(held, 8);
}
END_TEST

START_TEST(constructor)
{
        struct limit *l = NULL;
        int r;

        ck_assert_int_eq(limit_new(&l, 0, 5), -EINVAL);
        ck_assert_ptr_null(l);
        fault_arm(0);
        r = limit_new(&l, 1, 5);
        ck_assert(fault_disarm());
        ck_assert_int_eq(r, -ENOMEM);
        ck_assert_ptr_null(l);
        ck_assert_ptr_null(limit_free(NULL));
}
END_TEST

int main(void)
{
        Suite *s = suite_create("limit");
        TCase *tc = tcase_create("buckets");

        tcase_add_test(tc, holds_the_rate);
        tcase_add_test(tc, others_are_served);
        tcase_add_test(tc, steady_sender_passes);
        tcase_add_test(tc, table_is_bounded);
        tcase_add_test(tc, constructor);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
