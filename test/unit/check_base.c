/* SPDX-License-Identifier: Apache-2.0 */
/* The ground floor: ownership macros, errors, text buffer, arena, random numbers, log lines. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/json.h"
#include "common/log.h"
#include "common/rng.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

/* ---- base ---- */

static char *make_text(bool keep)
{
        CLEANUP(freep) char *text = strdup("x");

        return keep ? TAKE(text) : NULL;
}

START_TEST(take_moves_and_cleanup_frees)
{
        char *kept = make_text(true), *given;

        ck_assert_str_eq(kept, "x"); /* under ASan: not freed; the other one: not leaked */
        ck_assert_ptr_null(make_text(false));
        given = TAKE(kept);
        ck_assert_ptr_null(kept);
        freep(&given);
        ck_assert_ptr_null(given);
        freep(&given);
}
END_TEST

/* ---- err ---- */

START_TEST(err_words)
{
        struct err e = { "old" };

        ck_assert_int_eq(err_set(&e, -EINVAL, "pool %s: %d", "gold", 5), -EINVAL);
        ck_assert_str_eq(e.text, "pool gold: 5");
        ck_assert_int_eq(err_wrap(&e, ERR_FULL, "pools[%d]", 3), ERR_FULL);
        ck_assert_str_eq(e.text, "pools[3]: pool gold: 5");
        ck_assert_int_eq(err_set(&e, 0, "%s", ""), 0);
        ck_assert_int_eq(err_wrap(&e, -EIO, "read"), -EIO);
        ck_assert_str_eq(e.text, "read"); /* nothing to put behind a colon */
        ck_assert_int_eq(err_set(NULL, -EIO, "%s", "x"), -EIO);
        ck_assert_int_eq(err_wrap(NULL, -EIO, "%s", "x"), -EIO);
        /* The old words may be among the arguments. */
        (void)err_set(&e, 0, "inner");
        (void)err_set(&e, 0, "outer (%s)", e.text);
        ck_assert_str_eq(e.text, "outer (inner)");
        (void)err_wrap(&e, 0, "%.5s", e.text);
        ck_assert_str_eq(e.text, "outer: outer (inner)");
}
END_TEST

/* @pad bytes, then a character of several bytes at the place where the text is cut. */
static const struct {
        const char *character;
        unsigned pad;
        size_t want;
} cuts[] = {
        { "x", 255, 255 },
        { "x", 254, 255 },
        { "\xc3\xa4", 254, 254 },
        { "\xc3\xa4", 253, 255 },
        { "\xe2\x82\xac", 253, 253 },
        { "\xe2\x82\xac", 254, 254 },
        { "\xe2\x82\xac", 252, 255 },
        { "\xf0\x9f\x98\x80", 254, 254 },
        { "\xf0\x9f\x98\x80", 253, 253 },
        { "\xf0\x9f\x98\x80", 252, 252 },
        { "\xf0\x9f\x98\x80", 251, 255 },
};

START_TEST(err_cuts_between_characters)
{
        char text[300];
        struct err e;

        (void)snprintf(text, sizeof(text), "%0*d%s%s", (int)cuts[_i].pad, 0, cuts[_i].character, "tail");
        (void)err_set(&e, 0, "%s", text);
        ck_assert_uint_eq(strlen(e.text), cuts[_i].want);
        (void)snprintf(text, sizeof(text), "%0*d%s%s", (int)cuts[_i].pad - 4, 0, cuts[_i].character, "tail");
        (void)err_set(&e, 0, "%s", text);
        (void)err_wrap(&e, 0, "ab");
        ck_assert_uint_eq(strlen(e.text), cuts[_i].want);
}
END_TEST

START_TEST(err_names)
{
        ck_assert_str_eq(err_name(ERR_GONE), "gone");
        ck_assert_str_eq(err_name(-ENOENT), "No such file or directory");
        ck_assert_str_eq(err_name(-3008), "unknown name");
        ck_assert_str_eq(err_name(-4095), "end of file");
        ck_assert_str_eq(err_name(-2099), "error -2099");
        ck_assert_str_eq(err_name(7), "error 7");
        ck_assert_str_eq(err_name(INT32_MIN), "error -2147483648");
        ck_assert_ptr_nonnull(strstr(err_name(-1999), "1999"));
}
END_TEST

/* ---- buf ---- */

START_TEST(buf_builds)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        char *taken;

        ck_assert_str_eq(buf_str(&b), "");
        buf_adds(&b, "a");
        buf_addc(&b, 'b');
        buf_addf(&b, "%d-%s", 5, "c");
        buf_add(&b, "d\0e", 3);
        ck_assert_uint_eq(b.len, 8);
        ck_assert_mem_eq(b.p, "ab5-cd\0e", 9);
        buf_reset(&b);
        ck_assert_str_eq(buf_str(&b), "");
        for (int i = 0; i < 1000; i++)
                buf_addf(&b, "%04d", i);
        ck_assert_uint_eq(b.len, 4000);
        ck_assert_mem_eq(b.p + 3996, "0999", 5);
        taken = buf_take(&b);
        ck_assert_uint_eq(strlen(taken), 4000);
        free(taken);
        ck_assert_uint_eq(b.len, 0);
        taken = buf_take(&b);
        ck_assert_str_eq(taken, "");
        free(taken);
}
END_TEST

START_TEST(buf_limit_is_sticky)
{
        CLEANUP(buf_fini) struct buf b = { .max = 5 };

        buf_adds(&b, "12345");
        ck_assert(buf_ok(&b));
        buf_adds(&b, "");
        ck_assert(buf_ok(&b));
        buf_adds(&b, "6");
        ck_assert(!buf_ok(&b));
        buf_adds(&b, "");
        buf_addf(&b, "%s", "");
        ck_assert(!buf_ok(&b));
        ck_assert_str_eq(buf_str(&b), "12345");
        ck_assert_ptr_null(buf_take(&b));
        buf_reset(&b);
        ck_assert(buf_ok(&b));
        buf_addf(&b, "%d", 123456);
        ck_assert(!buf_ok(&b));
        ck_assert_str_eq(buf_str(&b), "");
}
END_TEST

START_TEST(buf_survives_failing_allocations)
{
        unsigned n;

        for (n = 0;; n++) {
                CLEANUP(buf_fini) struct buf b = BUF_INIT;

                fault_arm(n);
                for (int i = 0; i < 100; i++)
                        buf_addf(&b, "%03d", i);
                buf_add_json(&b, "x\n");
                buf_add_url(&b, "x y");
                if (!fault_disarm()) {
                        ck_assert(buf_ok(&b));
                        break;
                }
                ck_assert(!buf_ok(&b));
                ck_assert_uint_le(b.len, b.cap);
                ck_assert_uint_eq(strlen(buf_str(&b)), b.len);
        }
        ck_assert_uint_ge(n, 3);
}
END_TEST

#define FFFD "\xef\xbf\xbd"

static const struct {
        const char *text, *want;
} json_texts[] = {
        { "", "\"\"" },
        { "abc", "\"abc\"" },
        { "a\"b\\c", "\"a\\\"b\\\\c\"" },
        { "a\nb\tc\r", "\"a\\nb\\u0009c\\u000d\"" },
        { "\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\"" },
        { "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"" },
        { "\xed\x9f\xbf\xee\x80\x80", "\"\xed\x9f\xbf\xee\x80\x80\"" }, /* around the surrogates */
        { "\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\"" }, /* U+10FFFF */
        { "\x80", "\"" FFFD "\"" },
        { "a\xff"
          "b",
                "\"a" FFFD "b\"" },
        { "\xc0\x80", "\"" FFFD FFFD "\"" }, /* over-long forms, RFC 3629 section 3 */
        { "\xe0\x9f\xbf", "\"" FFFD FFFD FFFD "\"" },
        { "\xf0\x8f\xbf\xbf", "\"" FFFD FFFD FFFD FFFD "\"" },
        { "\xed\xa0\x80", "\"" FFFD FFFD FFFD "\"" }, /* a surrogate */
        { "\xf4\x90\x80\x80", "\"" FFFD FFFD FFFD FFFD "\"" }, /* beyond U+10FFFF */
        { "\xf8\x88\x80\x80\x80", "\"" FFFD FFFD FFFD FFFD FFFD "\"" },
        { "\xc3", "\"" FFFD "\"" }, /* cut */
        { "\xe2\x82", "\"" FFFD FFFD "\"" },
        { "\xc3\"", "\"" FFFD "\\\"\"" }, /* a quote must not pass as a continuation */
        { "\xe2\x82\n", "\"" FFFD FFFD "\\n\"" },
};

START_TEST(buf_json_text)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        CLEANUP(json_deletep) cJSON *tree = NULL;

        buf_add_json(&b, json_texts[_i].text);
        ck_assert_str_eq(buf_str(&b), json_texts[_i].want);
        ck_assert_int_eq(json_parse(&tree, b.p, b.len), 0);
        if (!strstr(json_texts[_i].want, FFFD))
                ck_assert_str_eq(cJSON_GetStringValue(tree), json_texts[_i].text);
        buf_reset(&b);
        buf_add_json_n(&b, "ab\0c", 4);
        ck_assert_str_eq(buf_str(&b), "\"ab\\u0000c\"");
        buf_reset(&b);
        buf_add_json_n(&b, "\xc3\xa4", 1); /* what lies behind the length does not count */
        ck_assert_str_eq(buf_str(&b), "\"" FFFD "\"");
}
END_TEST

START_TEST(buf_url_text)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        buf_add_url(&b, "aZ09-._~/?=&%+ ,\xc3\xa4");
        ck_assert_str_eq(buf_str(&b), "aZ09-._~%2F%3F%3D%26%25%2B%20%2C%C3%A4");
}
END_TEST

/* ---- arena ---- */

START_TEST(arena_aligns_and_zeroes)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(40);

        for (int i = 0; i < 200; i++) {
                uint64_t *wide;
                long double *widest;
                uint16_t *narrow;

                ck_assert_ptr_nonnull(arena_dup(a, "x"));
                wide = arena_calloc(a, 3, sizeof(*wide));
                ck_assert_uint_eq((uintptr_t)wide % alignof(uint64_t), 0);
                ck_assert(wide[0] == 0 && wide[2] == 0);
                memset(wide, 0xff, 3 * sizeof(*wide));
                ck_assert_ptr_nonnull(arena_dup(a, "xy"));
                widest = arena_calloc(a, 1, sizeof(*widest));
                ck_assert_uint_eq((uintptr_t)widest % alignof(long double), 0);
                narrow = arena_calloc(a, 5, sizeof(*narrow));
                ck_assert_uint_eq((uintptr_t)narrow % alignof(uint16_t), 0);
                memset(narrow, 0xff, 5 * sizeof(*narrow));
        }
        ck_assert(arena_ok(a));
        ck_assert_uint_gt(arena_size(a), arena_used(a));
        ck_assert_uint_lt(arena_size(a), 3 * arena_used(a));
}
END_TEST

START_TEST(arena_edges)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(0);
        const char *const texts[] = { "b", "", "a", "ab", "a" };
        const char **sorted;
        char *big;

        ck_assert_ptr_null(arena_calloc(a, 0, 8));
        ck_assert_ptr_null(arena_sort(a, NULL, 0));
        ck_assert_ptr_null(arena_dup(a, NULL));
        ck_assert(arena_ok(a));
        ck_assert_str_eq(arena_dup_n(a, NULL, 0), "");
        ck_assert_str_eq(arena_dup_n(a, "abc", 2), "ab");
        ck_assert_str_eq(arena_printf(a, "%d%s", 5, "x"), "5x");
        big = arena_calloc(a, 1, 1 << 20);
        ck_assert_ptr_nonnull(big);
        ck_assert_int_eq(big[(1 << 20) - 1], 0);
        sorted = arena_sort(a, texts, ARRAY_LEN(texts));
        ck_assert_str_eq(sorted[0], "");
        ck_assert_str_eq(sorted[1], "a");
        ck_assert_str_eq(sorted[2], "a");
        ck_assert_str_eq(sorted[3], "ab");
        ck_assert_str_eq(sorted[4], "b");
        ck_assert(arena_ok(a));
        ck_assert_ptr_null(arena_free(NULL));
}
END_TEST

START_TEST(arena_failure_is_sticky)
{
        for (int i = 0; i < 3; i++) {
                CLEANUP(arena_freep) struct arena *a = arena_new(16);

                if (i == 0)
                        ck_assert_ptr_null(arena_calloc(a, SIZE_MAX / 2, 4)); /* overflows */
                else if (i == 1)
                        ck_assert_ptr_null(arena_calloc(a, 1, SIZE_MAX / 2)); /* more than there is */
                else
                        ck_assert_ptr_null(arena_calloc(a, 1, 0)); /* no type has that size */
                ck_assert(!arena_ok(a));
                ck_assert_ptr_null(arena_calloc(a, 1, 1));
                ck_assert_str_eq(arena_dup(a, "x"), "");
                ck_assert_str_eq(arena_printf(a, "x"), "");
                ck_assert(!arena_ok(a));
        }
        ck_assert_ptr_null(arena_new(SIZE_MAX - 8));
}
END_TEST

START_TEST(arena_survives_failing_allocations)
{
        unsigned n;

        for (n = 0;; n++) {
                CLEANUP(arena_freep) struct arena *a = NULL;

                fault_arm(n);
                a = arena_new(8);
                for (int i = 0; a && i < 500; i++)
                        (void)arena_printf(a, "%d", i);
                if (!fault_disarm()) {
                        ck_assert(arena_ok(a));
                        break;
                }
                ck_assert(!a || !arena_ok(a));
        }
        ck_assert_uint_ge(n, 3);
}
END_TEST

START_TEST(arena_used_is_what_one_block_needs)
{
        CLEANUP(arena_freep) struct arena *loose = arena_new(0), *exact = NULL;

        for (int pass = 0; pass < 2; pass++) {
                struct arena *a = pass == 0 ? loose : exact;

                for (size_t i = 1; i < 60; i++) {
                        (void)arena_dup_n(a, "01234567890123456789", i % 20);
                        (void)arena_calloc(a, i % 3, i);
                        (void)arena_calloc(a, 1, i * 37);
                }
                if (pass == 0)
                        exact = arena_new(arena_used(loose));
        }
        ck_assert_uint_eq(arena_used(exact), arena_used(loose));
        ck_assert_uint_lt(arena_size(exact), arena_used(exact) + 64);
        ck_assert_uint_gt(arena_size(loose), arena_used(exact) + 64);
}
END_TEST

/* ---- rng ---- */

START_TEST(rng_bounds)
{
        struct rng r = { 1 }, same = { 1 };
        unsigned seen[7] = { 0 };

        ck_assert_uint_eq(
                rng_next(&(struct rng){ 0 }), 0xe220a8397b1dcdaf); /* splitmix64's first for seed 0 */
        for (int i = 0; i < 7000; i++) {
                uint64_t v = rng_below(&r, 7);

                ck_assert_uint_eq(v, rng_below(&same, 7));
                ck_assert_uint_lt(v, 7);
                seen[v]++;
        }
        for (size_t i = 0; i < ARRAY_LEN(seen); i++)
                ck_assert_uint_gt(seen[i], 800);
        ck_assert_uint_eq(rng_below(&r, 0), 0);
        ck_assert_uint_eq(rng_below(&r, 1), 0);
        for (int i = 0; i < 1000; i++) {
                uint64_t v = rng_jitter(&r, 1000, 10);

                ck_assert(v >= 900 && v <= 1100);
                ck_assert_uint_eq(rng_jitter(&r, 1000, 0), 1000);
                ck_assert_uint_le(rng_jitter(&r, 1000, 250), 2000); /* as 100 percent: never below zero */
        }
}
END_TEST

/* ---- log ---- */

static int log_pipe[2];

static void log_open(void)
{
        ck_assert_int_eq(pipe2(log_pipe, O_NONBLOCK | O_CLOEXEC), 0);
        log_set_fd(log_pipe[1]);
        ck_assert_int_eq(log_set_level("info"), 0);
}

static void log_close(void)
{
        log_set_fd(STDOUT_FILENO);
        (void)close(log_pipe[0]);
        (void)close(log_pipe[1]);
}

/* What was written since the last call, up to 64 KiB; "" for nothing. */
static const char *logged(void)
{
        static char text[65536];
        ssize_t n = read(log_pipe[0], text, sizeof(text) - 1);

        text[n > 0 ? n : 0] = '\0';
        return text;
}

/* One line that is one JSON object. */
static cJSON *logged_line(void)
{
        const char *text = logged();
        size_t len = strlen(text);
        cJSON *tree = NULL;

        ck_assert_uint_ge(len, 2);
        ck_assert_uint_le(len, LOG_LINE_MAX);
        ck_assert_ptr_eq(strchr(text, '\n'), text + len - 1);
        ck_assert_msg(json_parse(&tree, text, len) == 0, "not JSON: %s", text);
        return tree;
}

START_TEST(log_line)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        const char *text;
        char want[256];
        int64_t ts;

        log_info("pool ignored", F_STR("pool", "go\"ld"), F_INT("free", -5), F_UINT("size", UINT64_MAX),
                F_BOOL("auto", true), F_STR("none", NULL), F_JSON("raw", "{\"a\":\n1}"), F_ERR(ERR_GONE));
        text = logged();
        ck_assert_int_eq(json_parse(&tree, text, strlen(text)), 0);
        (void)snprintf(want, sizeof(want),
                "{\"auto\":true,\"caller\":\"%s\",\"error\":\"gone\",\"free\":-5,\"level\":\"info\",\"msg\":"
                "\"pool ignored\",\"none\":null,\"pool\":\"go\\\"ld\",\"raw\":{\"a\": 1},\"size\":18446744073709551615,"
                "\"ts\":\"%s\"}\n",
                json_str_at(tree, "caller", ""), json_str_at(tree, "ts", ""));
        ck_assert_str_eq(text, want);
        ck_assert_uint_eq(strspn(json_str_at(tree, "caller", ""), "check_base.:0123456789"),
                strlen(json_str_at(tree, "caller", "")));
        ck_assert_int_eq(json_time(json_str_at(tree, "ts", ""), &ts), 0);
        ck_assert_int_gt(ts, 1700000000);
        log_info("nothing", F_JSON("raw", NULL));
        ck_assert_ptr_nonnull(strstr(logged(), "\"raw\":null"));
        log_info("bare");
        ck_assert_ptr_nonnull(strstr(logged(), "\"msg\":\"bare\""));
}
END_TEST

static const struct {
        const char *level;
        int r;
        const char *shown; /* of debug, info, warn, error */
} levels[] = {
        { "all", 0, "diwe" },
        { "debug", 0, "diwe" },
        { "info", 0, "iwe" },
        { "warn", 0, "we" },
        { "error", 0, "e" },
        { "none", 0, "" },
        { "", -EINVAL, "iwe" },
        { "INFO", -EINVAL, "iwe" },
        { "warning", -EINVAL, "iwe" },
};

START_TEST(log_levels)
{
        char shown[8] = "";
        unsigned calls = 0, n = 0;

        ck_assert_int_eq(log_set_level(levels[_i].level), levels[_i].r);
        log_debug("x", F_UINT("n", ++calls));
        if (logged()[0])
                shown[n++] = 'd';
        log_info("x", F_UINT("n", ++calls));
        if (logged()[0])
                shown[n++] = 'i';
        log_warn("x", F_UINT("n", ++calls));
        if (logged()[0])
                shown[n++] = 'w';
        log_error("x", F_UINT("n", ++calls));
        if (logged()[0])
                shown[n++] = 'e';
        ck_assert_str_eq(shown, levels[_i].shown);
        ck_assert_uint_eq(calls, strlen(levels[_i].shown)); /* hidden lines cost nothing */
}
END_TEST

/* Whatever the fields hold, there is one valid line with all that is ours. */
START_TEST(log_cuts_what_is_too_long)
{
        char plain[5000], control[5000], umlauts[5001], bad[5000];
        const char *const texts[] = { plain, control, umlauts, bad };

        memset(plain, 'x', sizeof(plain));
        memset(control, '\x01', sizeof(control)); /* six bytes each when escaped */
        memset(bad, '\xff', sizeof(bad));
        for (size_t i = 0; i < sizeof(umlauts); i++)
                umlauts[i] = i % 2 ? '\xa4' : '\xc3';
        plain[sizeof(plain) - 1] = control[sizeof(control) - 1] = bad[sizeof(bad) - 1] =
                umlauts[sizeof(umlauts) - 1] = '\0';
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                CLEANUP(json_deletep) cJSON *tree = NULL;

                log_info("m", F_STR("a", texts[i]), F_STR("b", texts[i]), F_STR("k", texts[i]),
                        F_STR("z", texts[i]));
                tree = logged_line();
                ck_assert_str_eq(json_str_at(tree, "msg", ""), "m");
                ck_assert_str_eq(json_str_at(tree, "level", ""), "info");
                ck_assert_ptr_ne(json_at(tree, "ts"), NULL);
                ck_assert_ptr_ne(json_at(tree, "caller"), NULL);
                ck_assert_uint_ge(strlen(json_str_at(tree, "a", "")), 256);
        }
        {
                CLEANUP(json_deletep) cJSON *tree = NULL;

                /* The very first field cannot be cut, and goes. */
                log_info("m", F_JSON("a", plain), F_INT("b", 5));
                tree = logged_line();
                ck_assert_ptr_null(json_at(tree, "a"));
                ck_assert_ptr_nonnull(json_at(tree, "b"));
        }
}
END_TEST

START_TEST(log_many_fields)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        struct log_field fields[60];
        char keys[60][8];

        for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
                (void)snprintf(keys[i], sizeof(keys[i]), "k%02zu", i % 100);
                fields[i] = F_INT(keys[i], 1);
        }
        log_write(LOG_ERROR, "x/y.c", 7, "many", fields, ARRAY_LEN(fields));
        tree = logged_line();
        ck_assert_str_eq(json_str_at(tree, "caller", ""), "y.c:7");
        ck_assert_int_eq(cJSON_GetArraySize(tree), 28);
        ck_assert_ptr_nonnull(json_at(tree, "k23"));
        ck_assert_ptr_null(json_at(tree, "k24"));
}
END_TEST

START_TEST(log_survives_failing_allocations)
{
        for (unsigned n = 0;; n++) {
                const char *text;

                fault_arm(n);
                log_info("message",
                        F_STR("pool", "a text of some length that makes the buffer grow at least once"));
                if (!fault_disarm())
                        break;
                text = logged();
                if (text[0] != '\0') {
                        cJSON *tree = NULL;

                        ck_assert_msg(json_parse(&tree, text, strlen(text)) == 0, "%s", text);
                        cJSON_Delete(tree);
                }
        }
        ck_assert_ptr_nonnull(strstr(logged(), "\"msg\":\"message\""));
}
END_TEST

static void *log_a_lot(void *ctx)
{
        char text[1500];

        memset(text, *(const char *)ctx, sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        for (int i = 0; i < 10; i++)
                log_info("m", F_STR("a", text), F_STR("b", text));
        return NULL;
}

START_TEST(log_lines_of_threads_do_not_mix)
{
        char xs[] = "x", ys[] = "y";
        const char *rest;
        pthread_t other;
        unsigned n = 0;

        ck_assert_int_eq(pthread_create(&other, NULL, log_a_lot, ys), 0);
        (void)log_a_lot(xs);
        ck_assert_int_eq(pthread_join(other, NULL), 0);
        for (rest = logged(); *rest; n++) {
                CLEANUP(json_deletep) cJSON *tree = NULL;
                size_t len = strcspn(rest, "\n");
                const char *a;

                ck_assert_int_eq(json_parse(&tree, rest, len), 0);
                a = json_str_at(tree, "a", "");
                ck_assert_uint_eq(strspn(a, "x") + strspn(a, "y"), strlen(a));
                rest += len + 1;
        }
        ck_assert_uint_ge(n, 10); /* the pipe holds 64 KiB; what did not fit was dropped, whole */
}
END_TEST

START_TEST(log_limit)
{
        struct log_limit l = { 0 };
        uint64_t held = 99;

        ck_assert(log_limit_ok(&l, 1000, 500, &held));
        ck_assert_uint_eq(held, 0);
        ck_assert(!log_limit_ok(&l, 1000, 500, &held));
        ck_assert(!log_limit_ok(&l, 1499, 500, NULL));
        ck_assert_uint_eq(held, 0);
        ck_assert(log_limit_ok(&l, 1500, 500, &held));
        ck_assert_uint_eq(held, 2);
        ck_assert(log_limit_ok(&l, 5000, 500, NULL));
}
END_TEST

int main(void)
{
        Suite *s = suite_create("base");
        TCase *tc = tcase_create("values");

        tcase_add_test(tc, take_moves_and_cleanup_frees);
        tcase_add_test(tc, err_words);
        tcase_add_loop_test(tc, err_cuts_between_characters, 0, (int)ARRAY_LEN(cuts));
        tcase_add_test(tc, err_names);
        tcase_add_test(tc, buf_builds);
        tcase_add_test(tc, buf_limit_is_sticky);
        tcase_add_test(tc, buf_survives_failing_allocations);
        tcase_add_loop_test(tc, buf_json_text, 0, (int)ARRAY_LEN(json_texts));
        tcase_add_test(tc, buf_url_text);
        tcase_add_test(tc, arena_aligns_and_zeroes);
        tcase_add_test(tc, arena_edges);
        tcase_add_test(tc, arena_failure_is_sticky);
        tcase_add_test(tc, arena_survives_failing_allocations);
        tcase_add_test(tc, arena_used_is_what_one_block_needs);
        tcase_add_test(tc, rng_bounds);
        suite_add_tcase(s, tc);
        tc = tcase_create("log");
        tcase_add_checked_fixture(tc, log_open, log_close);
        tcase_add_test(tc, log_line);
        tcase_add_loop_test(tc, log_levels, 0, (int)ARRAY_LEN(levels));
        tcase_add_test(tc, log_cuts_what_is_too_long);
        tcase_add_test(tc, log_many_fields);
        tcase_add_test(tc, log_survives_failing_allocations);
        tcase_add_test(tc, log_lines_of_threads_do_not_mix);
        tcase_add_test(tc, log_limit);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
