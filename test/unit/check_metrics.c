/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/metrics.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

static const char *const one[] = { "pool", NULL };
static const char *const two[] = { "node", "ip", NULL };
static const double bounds[] = { 0.005, 0.5, 1, 10 };

static void expect_page(struct metrics *m, const char *want)
{
        CLEANUP(buf_fini) struct buf out = BUF_INIT;

        metrics_print(m, &out);
        ck_assert(buf_ok(&out));
        ck_assert_str_eq(buf_str(&out), want);
}

static const struct {
        const char *name;
        double value;
        const char *want;
} number_cases[] = {
        { "zero", 0, "0" },
        { "minus zero", -0.0, "0" },
        { "integer", 42, "42" },
        { "negative", -7, "-7" },
        { "a million", 1e6, "1000000" },
        { "largest exact integer", 9007199254740991.0, "9007199254740991" },
        { "beyond it", 9007199254740992.0, "9007199254740992" },
        { "tenth", 0.1, "0.1" },
        { "needs 16 digits", 0.1 + 0.7, "0.7999999999999999" },
        { "needs 17 digits", 0.1 + 0.2, "0.30000000000000004" },
        { "small", 1e-7, "1e-07" },
        { "huge", 1.7976931348623157e308, "1.7976931348623157e+308" },
        { "smallest", 4.9406564584124654e-324, "4.94065645841247e-324" },
        { "unix time", 1.7e9 + 0.25, "1700000000.25" },
        { "infinite", HUGE_VAL, "+Inf" },
        { "minus infinite", -HUGE_VAL, "-Inf" },
        { "not a number", NAN, "NaN" },
};

START_TEST(prints_numbers)
{
        CLEANUP(metrics_freep) struct metrics *m = NULL;
        char want[128];

        ck_assert_int_eq(metrics_new(&m), 0);
        series_set(metrics_series(metrics_family(m, METRIC_GAUGE, "g", "help", NULL, NULL, 0), NULL),
                number_cases[_i].value);
        (void)snprintf(want, sizeof(want), "# HELP g help\n# TYPE g gauge\ng %s\n", number_cases[_i].want);
        expect_page(m, want);
        if (!isnan(number_cases[_i].value))
                ck_assert_msg(strtod(number_cases[_i].want, NULL) == number_cases[_i].value, "%s",
                        number_cases[_i].name);
}
END_TEST

static const struct {
        const char *name, *value, *want;
} escape_cases[] = {
        { "plain", "default", "default" },
        { "empty", "", "" },
        { "quote", "a\"b", "a\\\"b" },
        { "backslash", "a\\b", "a\\\\b" },
        { "line feed", "a\nb", "a\\nb" },
        { "tab and return stay", "a\tb\r", "a\tb\r" },
        { "braces and commas stay", "a{b=\"c\",}", "a{b=\\\"c\\\",}" },
        { "utf-8", "z\xc3\xbcrich", "z\xc3\xbcrich" },
        { "latin-1", "z\xfcrich", "z\xef\xbf\xbdrich" },
        { "cut sequence", "z\xc3", "z\xef\xbf\xbd" },
};

START_TEST(escapes_labels)
{
        CLEANUP(metrics_freep) struct metrics *m = NULL;
        char want[256];

        ck_assert_int_eq(metrics_new(&m), 0);
        series_add(metrics_with(metrics_family(m, METRIC_COUNTER, "c", "a\\b\n\"c\"", one, NULL, 0),
                           escape_cases[_i].value),
                1);
        (void)snprintf(want, sizeof(want), "# HELP c a\\\\b\\n\"c\"\n# TYPE c counter\nc{pool=\"%s\"} 1\n",
                escape_cases[_i].want);
        expect_page(m, want);
}
END_TEST

START_TEST(sorts_families_and_series)
{
        CLEANUP(metrics_freep) struct metrics *m = NULL;
        struct family *b, *a;

        ck_assert_int_eq(metrics_new(&m), 0);
        b = metrics_family(m, METRIC_GAUGE, "metallb_b", "Second.", two, NULL, 0);
        ck_assert_ptr_nonnull(metrics_family(m, METRIC_GAUGE, "metallb_c", "Never used.", one, NULL, 0));
        a = metrics_family(m, METRIC_COUNTER, "metallb_a", "First.", NULL, NULL, 0);
        series_set(metrics_with(b, "n2", "192.0.2.1"), 3);
        series_set(metrics_with(b, "n1", "192.0.2.2"), 2);
        series_set(metrics_with(b, "n1", "192.0.2.1"), 1);
        series_set(metrics_with(b, "n", "9"), 0.5);
        ck_assert_ptr_nonnull(a);
        expect_page(m,
                "# HELP metallb_a First.\n# TYPE metallb_a counter\nmetallb_a 0\n"
                "# HELP metallb_b Second.\n# TYPE metallb_b gauge\n"
                "metallb_b{node=\"n\",ip=\"9\"} 0.5\n"
                "metallb_b{node=\"n1\",ip=\"192.0.2.1\"} 1\n"
                "metallb_b{node=\"n1\",ip=\"192.0.2.2\"} 2\n"
                "metallb_b{node=\"n2\",ip=\"192.0.2.1\"} 3\n");
}
END_TEST

START_TEST(histogram_is_cumulative)
{
        CLEANUP(metrics_freep) struct metrics *m = NULL;
        static const double seen[] = { 0.0009765625, 0.005, 0.25, 1, 1.5, 10, 11, 1000 };
        struct series *s;

        ck_assert_int_eq(metrics_new(&m), 0);
        s = metrics_with(metrics_family(m, METRIC_HISTOGRAM, "h", "H.", one, bounds, ARRAY_LEN(bounds)), "p");
        for (size_t i = 0; i < ARRAY_LEN(seen); i++)
                series_observe(s, seen[i]);
        series_add(s, 5);
        series_set(s, 5);
        ck_assert(series_value(s) == 8);
        expect_page(m,
                "# HELP h H.\n# TYPE h histogram\n"
                "h_bucket{pool=\"p\",le=\"0.005\"} 2\n"
                "h_bucket{pool=\"p\",le=\"0.5\"} 3\n"
                "h_bucket{pool=\"p\",le=\"1\"} 4\n"
                "h_bucket{pool=\"p\",le=\"10\"} 6\n"
                "h_bucket{pool=\"p\",le=\"+Inf\"} 8\n"
                "h_sum{pool=\"p\"} 1023.7559765625\n"
                "h_count{pool=\"p\"} 8\n");
}
END_TEST

START_TEST(histogram_without_labels)
{
        CLEANUP(metrics_freep) struct metrics *m = NULL;
        struct series *s;

        ck_assert_int_eq(metrics_new(&m), 0);
        s = metrics_series(metrics_family(m, METRIC_HISTOGRAM, "h", "H.", NULL, bounds, 1), NULL);
        series_observe(s, NAN);
        series_observe(s, HUGE_VAL);
        expect_page(m,
                "# HELP h H.\n# TYPE h histogram\n"
                "h_bucket{le=\"0.005\"} 0\nh_bucket{le=\"+Inf\"} 2\nh_sum NaN\nh_count 2\n");
}
END_TEST

START_TEST(counters_never_fall)
{
        CLEANUP(metrics_freep) struct metrics *m = NULL;
        struct series *c, *g;

        ck_assert_int_eq(metrics_new(&m), 0);
        c = metrics_series(metrics_family(m, METRIC_COUNTER, "c", "C.", NULL, NULL, 0), NULL);
        g = metrics_series(metrics_family(m, METRIC_GAUGE, "g", "G.", NULL, NULL, 0), NULL);
        series_add(c, 2.5);
        series_add(c, -1);
        series_add(c, NAN);
        series_add(g, 2.5);
        series_add(g, -1);
        series_observe(g, 100);
        ck_assert(series_value(c) == 2.5);
        ck_assert(series_value(g) == 1.5);
}
END_TEST

START_TEST(same_name_same_handle)
{
        CLEANUP(metrics_freep) struct metrics *m = NULL;
        struct family *f;

        ck_assert_int_eq(metrics_new(&m), 0);
        f = metrics_family(m, METRIC_GAUGE, "g", "G.", one, NULL, 0);
        ck_assert_ptr_nonnull(f);
        ck_assert_ptr_eq(metrics_family(m, METRIC_GAUGE, "g", "G.", one, NULL, 0), f);
        ck_assert_ptr_null(metrics_family(m, METRIC_COUNTER, "g", "G.", one, NULL, 0));
        ck_assert_ptr_eq(metrics_with(f, "x"), metrics_with(f, "x"));
        ck_assert_ptr_ne(metrics_with(f, "x"), metrics_with(f, "y"));
        ck_assert_ptr_null(metrics_with(f, "x", "y"));
        ck_assert_ptr_null(metrics_series(f, NULL));
}
END_TEST

START_TEST(removes)
{
        CLEANUP(metrics_freep) struct metrics *m = NULL;
        struct family *f;

        ck_assert_int_eq(metrics_new(&m), 0);
        f = metrics_family(m, METRIC_GAUGE, "g", "G.", one, NULL, 0);
        metrics_drop(f, "never was");
        for (int i = 0; i < 3; i++)
                series_set(metrics_series(f,
                                   (const char *const[]){ i == 0 ? "a"
                                                   : i == 1      ? "b"
                                                                 : "c",
                                           NULL }),
                        i);
        metrics_drop(f, "b");
        metrics_drop(f, "b");
        metrics_drop(f, "a", "b");
        expect_page(m, "# HELP g G.\n# TYPE g gauge\ng{pool=\"a\"} 0\ng{pool=\"c\"} 2\n");
        metrics_remove_all(f);
        metrics_remove_all(f);
        expect_page(m, "");
        series_set(metrics_with(f, "d"), 1);
        expect_page(m, "# HELP g G.\n# TYPE g gauge\ng{pool=\"d\"} 1\n");
}
END_TEST

START_TEST(null_handles_do_nothing)
{
        ck_assert_ptr_null(metrics_with(NULL, "x"));
        metrics_drop(NULL, "x");
        metrics_remove_all(NULL);
        series_add(NULL, 1);
        series_set(NULL, 1);
        series_observe(NULL, 1);
        ck_assert(series_value(NULL) == 0);
        ck_assert_ptr_null(metrics_free(NULL));
}
END_TEST

/* More than one batch of the printer, made in an order that is not the printed one. */
START_TEST(many_series_print_in_order)
{
        CLEANUP(metrics_freep) struct metrics *m = NULL;
        CLEANUP(buf_fini) struct buf out = BUF_INIT, want = BUF_INIT;
        struct family *f;

        ck_assert_int_eq(metrics_new(&m), 0);
        f = metrics_family(m, METRIC_GAUGE, "g", "G.", one, NULL, 0);
        buf_adds(&want, "# HELP g G.\n# TYPE g gauge\n");
        for (unsigned i = 0; i < 1000; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "p%04u", i * 7 % 1000);
                series_set(metrics_with(f, name), i * 7 % 1000);
                buf_addf(&want, "g{pool=\"p%04u\"} %u\n", i, i);
        }
        metrics_print(m, &out);
        ck_assert_str_eq(buf_str(&out), buf_str(&want));
}
END_TEST

START_TEST(series_are_bounded)
{
        CLEANUP(metrics_freep) struct metrics *m = NULL;
        struct family *f;
        char name[16];

        ck_assert_int_eq(metrics_new(&m), 0);
        f = metrics_family(m, METRIC_GAUGE, "g", "G.", one, NULL, 0);
        for (unsigned i = 0; i < 20000; i++) {
                (void)snprintf(name, sizeof(name), "%u", i);
                ck_assert_ptr_nonnull(metrics_with(f, name));
        }
        ck_assert_ptr_null(metrics_with(f, "one more"));
        ck_assert_ptr_nonnull(metrics_with(f, "19999"));
        metrics_drop(f, "19999");
        ck_assert_ptr_nonnull(metrics_with(f, "one more"));
}
END_TEST

START_TEST(page_limit_is_reported)
{
        CLEANUP(metrics_freep) struct metrics *m = NULL;
        CLEANUP(buf_fini) struct buf out = BUF_INIT;
        struct family *f;
        char name[16];

        ck_assert_int_eq(metrics_new(&m), 0);
        f = metrics_family(m, METRIC_GAUGE, "g", "G.", one, NULL, 0);
        for (unsigned i = 0; i < 500; i++) {
                (void)snprintf(name, sizeof(name), "%u", i);
                (void)metrics_with(f, name);
        }
        out.max = 2000;
        metrics_print(m, &out);
        ck_assert(!buf_ok(&out));
}
END_TEST

static int use_all(void)
{
        CLEANUP(metrics_freep) struct metrics *m = NULL;
        CLEANUP(buf_fini) struct buf out = BUF_INIT;
        struct family *f;
        int r = metrics_new(&m);

        if (r < 0)
                return r;
        if (!metrics_family(m, METRIC_COUNTER, "c", "C.", NULL, NULL, 0))
                return -ENOMEM;
        f = metrics_family(m, METRIC_HISTOGRAM, "h", "H.", two, bounds, ARRAY_LEN(bounds));
        if (!f || !metrics_with(f, "a", "b") || !metrics_with(f, "a", "c"))
                return -ENOMEM;
        metrics_print(m, &out);
        return buf_ok(&out) ? 0 : -ENOMEM;
}

START_TEST(survives_no_memory)
{
        unsigned n;

        for (n = 0;; n++) {
                int r;

                fault_arm(n);
                r = use_all();
                if (!fault_disarm())
                        break;
                ck_assert_int_eq(r, -ENOMEM);
        }
        ck_assert_uint_gt(n, 8);
}
END_TEST

struct shared {
        struct metrics *m;
        struct family *counts, *churn, *times;
        struct series *count;
};

#define ROUNDS 20000

static void *count_thread(void *arg)
{
        struct shared *s = arg;
        struct series *t = metrics_with(s->times, "wire");
        char name[16];

        for (unsigned i = 0; i < ROUNDS; i++) {
                series_add(s->count, 1);
                series_observe(t, i % 20);
                if (i % 16 == 0) {
                        (void)snprintf(name, sizeof(name), "%u", i % 512);
                        series_set(metrics_with(s->churn, name), i);
                        metrics_drop(s->churn, i % 32 ? "0" : name);
                }
        }
        return NULL;
}

START_TEST(counts_while_printing)
{
        struct shared s = { 0 };
        pthread_t thread;
        double last = 0;

        ck_assert_int_eq(metrics_new(&s.m), 0);
        s.counts = metrics_family(s.m, METRIC_COUNTER, "c", "C.", one, NULL, 0);
        s.churn = metrics_family(s.m, METRIC_GAUGE, "g", "G.", one, NULL, 0);
        s.times = metrics_family(s.m, METRIC_HISTOGRAM, "h", "H.", one, bounds, ARRAY_LEN(bounds));
        s.count = metrics_with(s.counts, "x");
        ck_assert_int_eq(pthread_create(&thread, NULL, count_thread, &s), 0);
        for (int i = 0; i < 50; i++) {
                CLEANUP(buf_fini) struct buf out = BUF_INIT;
                double now;

                metrics_print(s.m, &out);
                series_add(s.count, 1);
                now = series_value(s.count);
                ck_assert(now > last);
                last = now;
        }
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert(series_value(s.count) == ROUNDS + 50);
        ck_assert(series_value(metrics_with(s.times, "wire")) == ROUNDS);
        metrics_free(s.m);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("metrics");
        TCase *tc = tcase_create("metrics");

        tcase_set_timeout(tc, 60);
        tcase_add_loop_test(tc, prints_numbers, 0, (int)ARRAY_LEN(number_cases));
        tcase_add_loop_test(tc, escapes_labels, 0, (int)ARRAY_LEN(escape_cases));
        tcase_add_test(tc, sorts_families_and_series);
        tcase_add_test(tc, histogram_is_cumulative);
        tcase_add_test(tc, histogram_without_labels);
        tcase_add_test(tc, counters_never_fall);
        tcase_add_test(tc, same_name_same_handle);
        tcase_add_test(tc, removes);
        tcase_add_test(tc, null_handles_do_nothing);
        tcase_add_test(tc, many_series_print_in_order);
        tcase_add_test(tc, series_are_bounded);
        tcase_add_test(tc, page_limit_is_reported);
        tcase_add_test(tc, survives_no_memory);
        tcase_add_test(tc, counts_while_printing);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
