/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/json.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define STR16(x) x x x x x x x x x x x x x x x x

static const struct {
        const char *text;
        int want;
} documents[] = {
        { "{}", 0 }, { "[]", 0 }, { " \t\r\n{ } \t\r\n", 0 }, { "null", 0 }, { "true", 0 }, { "-1.5e3", 0 },
        { "\"x\"", 0 }, { "\"\\\"\"", 0 }, { "\"\\\\\"", 0 }, { "\"]}[{\"", 0 },
        { "{\"a\":[1,2,{\"b\":null}]}", 0 }, { "{\"a\":\"\\u00e4\\ud83d\\ude00\"}", 0 },
        { "", ERR_MALFORMED }, { " ", ERR_MALFORMED }, { "{", ERR_MALFORMED }, { "}", ERR_MALFORMED },
        { "{]", ERR_MALFORMED }, { "[1,]", ERR_MALFORMED },
        { "{\"1\":1,", ERR_MALFORMED }, /* CVE-2023-53154 */
        { "{\"1\":1,}", ERR_MALFORMED }, { "{\"a\"}", ERR_MALFORMED }, { "{\"a\":}", ERR_MALFORMED },
        { "{a:1}", ERR_MALFORMED }, { "{'a':1}", ERR_MALFORMED }, { "[1 2]", ERR_MALFORMED },
        { "\"x", ERR_MALFORMED }, { "\"x\\\"", ERR_MALFORMED }, { "\"\\", ERR_MALFORMED },
        { "\"\\u12\"", ERR_MALFORMED }, { "\"\\ud800\"", ERR_MALFORMED }, { "{} {}", ERR_MALFORMED },
        { "{},", ERR_MALFORMED }, { "{}x", ERR_MALFORMED }, { "1 2", ERR_MALFORMED },
        { "nul", ERR_MALFORMED }, { "-", ERR_MALFORMED }, { STR16("[[[[") STR16("]]]]"), 0 }, /* 64 */
        { STR16("[[[[") "[]" STR16("]]]]"), ERR_TOO_BIG }, /* 65 */
        { STR16("{\"a\":") STR16("[[[") "1" STR16("]]]") STR16("}"), 0 },
        { STR16("{\"a\":") STR16("[[[") "{}" STR16("]]]") STR16("}"), ERR_TOO_BIG },
        { STR16("[[[[["), ERR_TOO_BIG }, /* before anything else is found wrong */
        { "\"" STR16("[[[[[") "\"", 0 }, /* brackets in a text nest nothing */
        { STR16("[],[],[],") "[]", ERR_MALFORMED },
        { "[" STR16("[],[],[],[],[],") "[]]", 0 }, /* many, but not deep */
};

START_TEST(document)
{
        cJSON untouched, *tree = &untouched;
        size_t len = strlen(documents[_i].text);
        char *exact = malloc(len > 0 ? len : 1);
        int r;

        ck_assert_ptr_nonnull(exact);
        memcpy(exact, documents[_i].text,
                len); /* no terminator: reading one byte more is caught under ASan */
        r = json_parse(&tree, exact, len);
        free(exact);
        ck_assert_msg(r == documents[_i].want, "%s: got %d", documents[_i].text, r);
        if (r < 0)
                ck_assert_ptr_eq(tree, &untouched);
        else
                cJSON_Delete(tree);
}
END_TEST

START_TEST(nul_byte_is_refused)
{
        static const char hidden[] = "{\"a\":1}\0{\"a\":2}", in_text[] = "{\"a\":\"b\0c\"}";
        cJSON *tree = NULL;

        ck_assert_int_eq(json_parse(&tree, hidden, sizeof(hidden) - 1), ERR_MALFORMED);
        ck_assert_int_eq(json_parse(&tree, in_text, sizeof(in_text) - 1), ERR_MALFORMED);
        ck_assert_int_eq(json_parse(&tree, "{}\0", 3), ERR_MALFORMED);
        ck_assert_ptr_null(tree);
}
END_TEST

/* What follows the escape must neither vanish nor turn one name into another. */
static const struct {
        const char *json, *want;
} nul_escapes[] = {
        { "{\"k\":\"a\\u0000b\"}",
                "a\xef\xbf\xbd"
                "b" },
        { "{\"k\":\"\\u0000\"}", "\xef\xbf\xbd" },
        { "{\"k\":\"\\u0000\\u0000\"}", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "{\"k\":\"\\\\u0000\"}", "\\u0000" }, /* an escaped backslash, then plain letters */
        { "{\"k\":\"\\\\\\u0000\"}", "\\\xef\xbf\xbd" },
        { "{\"k\":\"\\\\u0000\\u0000\"}", "\\u0000\xef\xbf\xbd" },
        { "{\"k\":\"\\u00000\"}",
                "\xef\xbf\xbd"
                "0" },
        { "{\"k\\u0000\":\"no\",\"k\":\"yes\"}", "yes" },
};

START_TEST(nul_escape_is_kept_visible)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        const char *text = NULL;

        ck_assert_int_eq(json_parse(&tree, nul_escapes[_i].json, strlen(nul_escapes[_i].json)), 0);
        ck_assert_int_eq(json_str(tree, "k", &text), 0);
        ck_assert_str_eq(text, nul_escapes[_i].want);
}
END_TEST

START_TEST(parse_survives_failing_allocations)
{
        static const char text[] = "{\"a\":[1,\"two\",{\"three\":\"x\\u0000\"}],\"b\":null}";
        cJSON_Hooks hooks = { fault_malloc, free };
        cJSON *tree = NULL;
        unsigned n;
        int r;

        cJSON_InitHooks(&hooks);
        for (n = 0;; n++) {
                fault_arm(n);
                r = json_parse(&tree, text, strlen(text));
                if (!fault_disarm())
                        break;
                ck_assert_int_eq(r, -ENOMEM);
                ck_assert_ptr_null(tree);
        }
        ck_assert_int_eq(r, 0);
        ck_assert_uint_gt(n, 8);
        cJSON_Delete(tree);
        /* Plain nonsense must not be taken for exhaustion. */
        ck_assert_int_eq(json_parse(&tree, "{\"a\":[}", 7), ERR_MALFORMED);
}
END_TEST

static const char fields[] =
        "{\"str\":\"s\",\"empty\":\"\",\"yes\":true,\"no\":false,\"nil\":null,\"int\":42,\"neg\":-7,\"half\":0.5,"
        "\"exp\":1e3,\"max\":9007199254740991,\"over\":9007199254740992,\"under\":-9007199254740992,\"i64\":"
        "9223372036854775807,\"huge\":1e999,\"tiny\":-1e999,\"obj\":{\"x\":1},\"arr\":[1],\"dup\":1,\"dup\":2,\"Str\":"
        "\"other\",\"quoted\":\"5\",\"zero\":-0.0}";

enum kind { STR, BOOL, INT, OBJ, ARR };

static const struct {
        const char *key;
        int want[5]; /* by enum kind */
} accesses[] = {
        { "missing", { -ENOENT, -ENOENT, -ENOENT, -ENOENT, -ENOENT } },
        { "nil", { -ENOENT, -ENOENT, -ENOENT, -ENOENT, -ENOENT } },
        { "", { -ENOENT, -ENOENT, -ENOENT, -ENOENT, -ENOENT } },
        { "str", { 0, -EPROTOTYPE, -EPROTOTYPE, -EPROTOTYPE, -EPROTOTYPE } },
        { "STR", { -ENOENT, -ENOENT, -ENOENT, -ENOENT, -ENOENT } },
        { "empty", { 0, -EPROTOTYPE, -EPROTOTYPE, -EPROTOTYPE, -EPROTOTYPE } },
        { "quoted", { 0, -EPROTOTYPE, -EPROTOTYPE, -EPROTOTYPE, -EPROTOTYPE } },
        { "yes", { -EPROTOTYPE, 0, -EPROTOTYPE, -EPROTOTYPE, -EPROTOTYPE } },
        { "no", { -EPROTOTYPE, 0, -EPROTOTYPE, -EPROTOTYPE, -EPROTOTYPE } },
        { "int", { -EPROTOTYPE, -EPROTOTYPE, 0, -EPROTOTYPE, -EPROTOTYPE } },
        { "neg", { -EPROTOTYPE, -EPROTOTYPE, 0, -EPROTOTYPE, -EPROTOTYPE } },
        { "exp", { -EPROTOTYPE, -EPROTOTYPE, 0, -EPROTOTYPE, -EPROTOTYPE } },
        { "zero", { -EPROTOTYPE, -EPROTOTYPE, 0, -EPROTOTYPE, -EPROTOTYPE } },
        { "max", { -EPROTOTYPE, -EPROTOTYPE, 0, -EPROTOTYPE, -EPROTOTYPE } },
        { "half", { -EPROTOTYPE, -EPROTOTYPE, -ERANGE, -EPROTOTYPE, -EPROTOTYPE } },
        { "over", { -EPROTOTYPE, -EPROTOTYPE, -ERANGE, -EPROTOTYPE, -EPROTOTYPE } },
        { "under", { -EPROTOTYPE, -EPROTOTYPE, -ERANGE, -EPROTOTYPE, -EPROTOTYPE } },
        { "i64", { -EPROTOTYPE, -EPROTOTYPE, -ERANGE, -EPROTOTYPE, -EPROTOTYPE } },
        { "huge", { -EPROTOTYPE, -EPROTOTYPE, -ERANGE, -EPROTOTYPE, -EPROTOTYPE } },
        { "tiny", { -EPROTOTYPE, -EPROTOTYPE, -ERANGE, -EPROTOTYPE, -EPROTOTYPE } },
        { "obj", { -EPROTOTYPE, -EPROTOTYPE, -EPROTOTYPE, 0, -EPROTOTYPE } },
        { "arr", { -EPROTOTYPE, -EPROTOTYPE, -EPROTOTYPE, -EPROTOTYPE, 0 } },
};

START_TEST(access_by_type)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        const cJSON *obj, *arr;
        const char *str = "default", *key = accesses[_i].key;
        const int *want = accesses[_i].want;
        bool yes = true;
        int64_t i = 99;

        ck_assert_int_eq(json_parse(&tree, fields, strlen(fields)), 0);
        obj = arr = tree;
        ck_assert_int_eq(json_str(tree, key, &str), want[STR]);
        ck_assert_int_eq(json_bool(tree, key, &yes), want[BOOL]);
        ck_assert_int_eq(json_int(tree, key, &i), want[INT]);
        ck_assert_int_eq(json_obj(tree, key, &obj), want[OBJ]);
        ck_assert_int_eq(json_arr(tree, key, &arr), want[ARR]);
        /* A default stays in place unless there is a value. */
        ck_assert_int_eq(strcmp(str, "default") == 0, want[STR] < 0);
        ck_assert(want[BOOL] == 0 || yes);
        ck_assert_int_eq(i == 99, want[INT] < 0);
        ck_assert_int_eq(obj == tree, want[OBJ] < 0);
        ck_assert_int_eq(arr == tree, want[ARR] < 0);
        ck_assert_int_eq(json_str(NULL, key, &str), -ENOENT);
}
END_TEST

START_TEST(values_are_right)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        const char *str;
        int64_t i;
        bool b;

        ck_assert_int_eq(json_parse(&tree, fields, strlen(fields)), 0);
        ck_assert(json_str(tree, "str", &str) == 0 && strcmp(str, "s") == 0);
        ck_assert(json_str(tree, "Str", &str) == 0 && strcmp(str, "other") == 0);
        ck_assert(json_bool(tree, "yes", &b) == 0 && b);
        ck_assert(json_bool(tree, "no", &b) == 0 && !b);
        ck_assert(json_int(tree, "int", &i) == 0 && i == 42);
        ck_assert(json_int(tree, "neg", &i) == 0 && i == -7);
        ck_assert(json_int(tree, "exp", &i) == 0 && i == 1000);
        ck_assert(json_int(tree, "zero", &i) == 0 && i == 0);
        ck_assert(json_int(tree, "max", &i) == 0 && i == 9007199254740991);
        ck_assert(json_int(tree, "dup", &i) == 0 && i == 1);
        /* Not an object: nothing is found, nothing breaks. */
        ck_assert_int_eq(json_str(json_at(tree, "arr"), "x", &str), -ENOENT);
        ck_assert_int_eq(json_str(json_at(tree, "str"), "x", &str), -ENOENT);
}
END_TEST

static const struct {
        const char *path, *want; /* NULL: the fallback */
} paths[] = {
        { "a", "top" },
        { "spec.b", "below" },
        { "spec.deep.c", "bottom" },
        { "spec.num", NULL },
        { "spec.nil", NULL },
        { "spec.nil.c", NULL },
        { "spec.deep", NULL },
        { "spec.deep.c.d", NULL },
        { "spec.dee", NULL },
        { "spec.deeper", NULL },
        { "spec", NULL },
        { "spec.", NULL },
        { ".a", NULL },
        { "", NULL },
        { "arr.0", NULL },
};

START_TEST(path)
{
        static const char text[] =
                "{\"a\":\"top\",\"spec\":{\"b\":\"below\",\"num\":5,\"nil\":null,\"deep\":{\"c\":"
                "\"bottom\"}},\"arr\":[\"x\"]}";
        CLEANUP(json_deletep) cJSON *tree = NULL;

        ck_assert_int_eq(json_parse(&tree, text, strlen(text)), 0);
        ck_assert_str_eq(
                json_str_at(tree, paths[_i].path, "fallback"), paths[_i].want ? paths[_i].want : "fallback");
        ck_assert_ptr_null(json_str_at(NULL, paths[_i].path, NULL));
        ck_assert_ptr_null(json_at(tree, "spec.nil"));
        ck_assert_ptr_nonnull(json_at(tree, "spec.num"));
}
END_TEST

static const struct {
        const char *text;
        int64_t want; /* INT64_MIN: malformed */
} times[] = {
        { "1970-01-01T00:00:00Z", 0 },
        { "1970-01-01T00:00:01Z", 1 },
        { "1969-12-31T23:59:59Z", -1 },
        { "2026-11-22T01:02:03Z", 1795309323 },
        { "2026-11-22T01:02:03.999999999Z", 1795309323 },
        { "2026-11-22t01:02:03z", 1795309323 },
        { "2026-11-22T03:02:03+02:00", 1795309323 },
        { "2026-11-21T23:32:03-01:30", 1795309323 },
        { "2000-02-29T00:00:00Z", 951782400 },
        { "2024-02-29T12:00:00Z", 1709208000 },
        { "2100-03-01T00:00:00Z", 4107542400 },
        { "9999-12-31T23:59:59Z", 253402300799 },
        { "0000-01-01T00:00:00Z", -62167219200 },
        { "2016-12-31T23:59:60Z", 1483228800 },
        { "", INT64_MIN },
        { "2026-11-22", INT64_MIN },
        { "2026-11-22T01:02:03", INT64_MIN },
        { "2026-11-22 01:02:03Z", INT64_MIN },
        { "2026-11-22T01:02Z", INT64_MIN },
        { "2026-11-22T01:02:03Zx", INT64_MIN },
        { "2026-11-22T01:02:03.Z", INT64_MIN },
        { "2026-11-22T01:02:03+0200", INT64_MIN },
        { "2026-11-22T01:02:03+24:00", INT64_MIN },
        { "2026-11-22T01:02:03+02:60", INT64_MIN },
        { "2026-13-22T01:02:03Z", INT64_MIN },
        { "2026-00-22T01:02:03Z", INT64_MIN },
        { "2026-11-31T01:02:03Z", INT64_MIN },
        { "2026-11-00T01:02:03Z", INT64_MIN },
        { "2100-02-29T00:00:00Z", INT64_MIN },
        { "2026-11-22T24:02:03Z", INT64_MIN },
        { "2026-11-22T01:60:03Z", INT64_MIN },
        { "2026-11-22T01:02:61Z", INT64_MIN },
        { "2026-1-22T01:02:03Z", INT64_MIN },
        { "-026-11-22T01:02:03Z", INT64_MIN },
        { "12026-11-22T01:02:03Z", INT64_MIN },
};

START_TEST(time_parses)
{
        int64_t seconds = 12345;

        if (times[_i].want == INT64_MIN) {
                ck_assert_int_eq(json_time(times[_i].text, &seconds), ERR_MALFORMED);
                ck_assert_int_eq(seconds, 12345);
        } else {
                ck_assert_int_eq(json_time(times[_i].text, &seconds), 0);
                ck_assert_int_eq(seconds, times[_i].want);
        }
}
END_TEST

START_TEST(time_formats_and_parses_back)
{
        char text[32];
        int64_t back;

        for (int64_t s = -62167219200; s < 253402300800; s += 86400ll * 131 + 3607) {
                ck_assert_uint_eq(strlen(json_time_format(s, text)), 20);
                ck_assert_int_eq(json_time(text, &back), 0);
                ck_assert_int_eq(back, s);
        }
        ck_assert_str_eq(json_time_format(1795309323, text), "2026-11-22T01:02:03Z");
        ck_assert_str_eq(json_time_format(-1, text), "1969-12-31T23:59:59Z");
        ck_assert_str_eq(json_time_format(951782399, text), "2000-02-28T23:59:59Z");
        ck_assert_str_eq(json_time_format(INT64_MAX, text), "9999-12-31T23:59:59Z");
        ck_assert_str_eq(json_time_format(INT64_MIN, text), "0000-01-01T00:00:00Z");
}
END_TEST

int main(void)
{
        Suite *s = suite_create("json");
        TCase *tc = tcase_create("parse");

        tcase_add_loop_test(tc, document, 0, (int)ARRAY_LEN(documents));
        tcase_add_test(tc, nul_byte_is_refused);
        tcase_add_loop_test(tc, nul_escape_is_kept_visible, 0, (int)ARRAY_LEN(nul_escapes));
        tcase_add_test(tc, parse_survives_failing_allocations);
        suite_add_tcase(s, tc);
        tc = tcase_create("access");
        tcase_add_loop_test(tc, access_by_type, 0, (int)ARRAY_LEN(accesses));
        tcase_add_test(tc, values_are_right);
        tcase_add_loop_test(tc, path, 0, (int)ARRAY_LEN(paths));
        suite_add_tcase(s, tc);
        tc = tcase_create("time");
        tcase_add_loop_test(tc, time_parses, 0, (int)ARRAY_LEN(times));
        tcase_add_test(tc, time_formats_and_parses_back);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
