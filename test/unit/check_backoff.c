/* SPDX-License-Identifier: Apache-2.0 */
#include "common/backoff.h"
#include "test/lib/unit.h"

static const struct {
        unsigned tries;
        uint64_t full;
} steps[] = { { 0, 100 }, { 1, 200 }, { 2, 400 }, { 6, 6400 }, { 7, 10000 }, { 8, 10000 },
        { 1000000, 10000 } };

START_TEST(doubles_up_to_the_cap_with_jitter)
{
        uint64_t low = UINT64_MAX, high = 0;

        for (uint64_t seed = 0; seed < 500; seed++) {
                struct backoff b = { .base_ms = 100, .cap_ms = 10000, .tries = steps[_i].tries };
                struct rng rng = { seed };
                uint64_t ms = backoff_next(&b, &rng);

                ck_assert_uint_ge(ms, steps[_i].full / 2);
                ck_assert_uint_le(ms, steps[_i].full);
                low = MIN(low, ms);
                high = MAX(high, ms);
        }
        ck_assert_uint_lt(low, steps[_i].full * 6 / 10); /* it really spreads */
        ck_assert_uint_gt(high, steps[_i].full * 9 / 10);
}
END_TEST

START_TEST(counts_failures_and_resets)
{
        struct backoff b = { .base_ms = 100, .cap_ms = 10000 };
        struct rng rng = { 1 };

        for (unsigned i = 0; i < 100000; i++)
                (void)backoff_next(&b, &rng);
        ck_assert_uint_ge(backoff_next(&b, &rng), 5000);
        backoff_reset(&b);
        ck_assert_uint_le(backoff_next(&b, &rng), 100);
        ck_assert_uint_ge(backoff_next(&b, &rng), 100);
}
END_TEST

static const struct {
        unsigned tries, after_s;
        uint64_t least, most;
} asked[] = {
        { 0, 0, 50, 100 },
        { 0, 1, 1000, 1100 },
        { 0, 30, 30000, 33000 },
        { 9, 1, 5000, 10000 }, /* our own pause is longer */
        { 0, 300, 300000, 330000 },
        { 0, 301, 300000, 330000 }, /* nobody silences us for longer */
        { 0, UINT32_MAX, 300000, 330000 },
};

START_TEST(honours_retry_after)
{
        for (uint64_t seed = 0; seed < 200; seed++) {
                struct backoff b = { .base_ms = 100, .cap_ms = 10000, .tries = asked[_i].tries };
                struct rng rng = { seed };
                uint64_t ms = backoff_next_after(&b, &rng, asked[_i].after_s);

                ck_assert_uint_ge(ms, asked[_i].least);
                ck_assert_uint_le(ms, asked[_i].most);
        }
}
END_TEST

START_TEST(odd_settings_are_safe)
{
        struct rng rng = { 1 };
        struct backoff none = { .base_ms = 0, .cap_ms = 0 },
                       huge = { .base_ms = UINT32_MAX, .cap_ms = UINT32_MAX };

        for (unsigned i = 0; i < 100; i++) {
                ck_assert_uint_le(backoff_next(&none, &rng), 1);
                ck_assert_uint_ge(backoff_next(&huge, &rng), UINT32_MAX / 2);
        }
}
END_TEST

int main(void)
{
        Suite *s = suite_create("backoff");
        TCase *tc = tcase_create("backoff");

        tcase_add_loop_test(tc, doubles_up_to_the_cap_with_jitter, 0, (int)ARRAY_LEN(steps));
        tcase_add_test(tc, counts_failures_and_resets);
        tcase_add_loop_test(tc, honours_retry_after, 0, (int)ARRAY_LEN(asked));
        tcase_add_test(tc, odd_settings_are_safe);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
