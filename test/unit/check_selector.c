/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/selector.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define STR10(x) x x x x x x x x x x
#define LONG63   STR10("abcdef") "abc"
#define LONG64   LONG63 "d"

static cJSON *parsed(const char *text)
{
        cJSON *tree = NULL;

        ck_assert_msg(json_parse(&tree, text, strlen(text)) == 0, "bad test data: %s", text);
        return tree;
}

#define LABELS "{\"app\":\"web\",\"zone\":\"a\",\"empty\":\"\",\"example.com/tier\":\"front\"}"

static const struct {
        const char *json;
        const char *text; /* canonical */
        bool matches; /* LABELS */
        bool matches_none; /* an object without labels */
} good[] = {
        { "{}", "", true, true },
        { "{\"matchLabels\":null,\"matchExpressions\":null}", "", true, true },
        { "{\"matchLabels\":{},\"matchExpressions\":[]}", "", true, true },
        { "{\"unknown\":5}", "", true, true },
        { "{\"matchLabels\":{\"app\":\"web\"}}", "app=web", true, false },
        { "{\"matchLabels\":{\"app\":\"db\"}}", "app=db", false, false },
        { "{\"matchLabels\":{\"empty\":\"\"}}", "empty=", true, false },
        { "{\"matchLabels\":{\"missing\":\"\"}}", "missing=", false, false },
        { "{\"matchLabels\":{\"zone\":\"a\",\"app\":\"web\"}}", "app=web,zone=a", true, false },
        { "{\"matchLabels\":{\"zone\":\"b\",\"app\":\"web\"}}", "app=web,zone=b", false, false },
        { "{\"matchLabels\":{\"example.com/tier\":\"front\"}}", "example.com/tier=front", true, false },
        { "{\"matchExpressions\":[{\"key\":\"zone\",\"operator\":\"In\",\"values\":[\"b\",\"a\"]}]}",
                "zone in (a,b)", true, false },
        { "{\"matchExpressions\":[{\"key\":\"zone\",\"operator\":\"In\",\"values\":[\"c\",\"b\"]}]}",
                "zone in (b,c)", false, false },
        { "{\"matchExpressions\":[{\"key\":\"zone\",\"operator\":\"NotIn\",\"values\":[\"b\",\"a\"]}]}",
                "zone notin (a,b)", false, true },
        { "{\"matchExpressions\":[{\"key\":\"zone\",\"operator\":\"NotIn\",\"values\":[\"b\"]}]}",
                "zone notin (b)", true, true },
        { "{\"matchExpressions\":[{\"key\":\"zone\",\"operator\":\"Exists\"}]}", "zone", true, false },
        { "{\"matchExpressions\":[{\"key\":\"zone\",\"operator\":\"Exists\",\"values\":[]}]}", "zone", true,
                false },
        { "{\"matchExpressions\":[{\"key\":\"zone\",\"operator\":\"DoesNotExist\",\"values\":null}]}",
                "!zone", false, true },
        { "{\"matchExpressions\":[{\"key\":\"gone\",\"operator\":\"DoesNotExist\"}]}", "!gone", true, true },
        { "{\"matchLabels\":{\"app\":\"web\"},\"matchExpressions\":[{\"key\":\"zone\",\"operator\":\"DoesNotExist\"}]}",
                "!zone,app=web", false, false },
        /* The same meaning, written differently: the same text. */
        { "{\"matchLabels\":{\"app\":\"web\"},\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"In\",\"values\":["
          "\"web\"]}]}",
                "app=web", true, false },
        { "{\"matchExpressions\":[{\"key\":\"zone\",\"operator\":\"Exists\"},{\"key\":\"app\",\"operator\":\"Exists\"}]}",
                "app,zone", true, false },
        { "{\"matchLabels\":{\"" LONG63 "\":\"" LONG63 "\"}}", LONG63 "=" LONG63, false, false },
        { "{\"matchLabels\":{\"A.b_c-9\":\"A.b_c-9\"}}", "A.b_c-9=A.b_c-9", false, false },
};

START_TEST(good_selector)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(256);
        CLEANUP(json_deletep) cJSON *json = parsed(good[_i].json), *labels_json = parsed(LABELS);
        const struct selector *s = NULL;
        struct kv_list labels = kv_list_from(a, labels_json), none = { 0 };
        struct err e = { "" };

        ck_assert_msg(selector_parse(&s, a, json, &e) == 0, "%s: %s", good[_i].json, e.text);
        ck_assert_str_eq(selector_text(s), good[_i].text);
        ck_assert_int_eq(selector_matches(s, &labels), good[_i].matches);
        ck_assert_int_eq(selector_matches(s, &none), good[_i].matches_none);
}
END_TEST

START_TEST(copy_outlives_its_original)
{
        CLEANUP(arena_freep) struct arena *own = NULL;
        CLEANUP(json_deletep) cJSON *json = parsed(good[_i].json), *labels_json = parsed(LABELS);
        struct arena *a = NULL;
        struct selector_list copy = { NULL, 77 };
        struct kv_list labels, none = { 0 };
        int r = -ENOMEM;

        for (unsigned n = 0; r < 0; n++) {
                const struct selector *s = NULL;
                struct selector_list l = { &s, 1 };

                a = arena_new(256);
                ck_assert_int_eq(selector_parse(&s, a, json, NULL), 0);
                own = arena_free(own);
                own = arena_new(1);
                fault_arm(n);
                r = selector_list_dup(&copy, own, &l);
                ck_assert_int_eq(r, fault_disarm() ? -ENOMEM : 0);
                ck_assert_uint_eq(copy.n, r < 0 ? 77 : 1);
                a = arena_free(a);
        }
        labels = kv_list_from(own, labels_json);
        ck_assert_str_eq(selector_text(copy.v[0]), good[_i].text);
        ck_assert_int_eq(selector_list_matches(&copy, &labels), good[_i].matches);
        ck_assert_int_eq(selector_list_matches(&copy, &none), good[_i].matches_none);
}
END_TEST

#define EXPR(x) "{\"matchExpressions\":[" x "]}"

static const struct {
        const char *json, *words;
} bad[] = {
        { "null", "must be an object" },
        { "[]", "must be an object" },
        { "5", "must be an object" },
        { "{\"matchLabels\":5}", "matchLabels is not an object" },
        { "{\"matchLabels\":[]}", "matchLabels is not an object" },
        { "{\"matchExpressions\":{}}", "matchExpressions is not a list" },
        { "{\"matchLabels\":{\"app\":5}}", "the value of \"app\"" },
        { "{\"matchLabels\":{\"app\":null}}", "the value of \"app\"" },
        { "{\"matchLabels\":{\"app\":\"-x\"}}", "the value of \"app\"" },
        { "{\"matchLabels\":{\"app\":\"x.\"}}", "the value of \"app\"" },
        { "{\"matchLabels\":{\"app\":\"a b\"}}", "the value of \"app\"" },
        { "{\"matchLabels\":{\"app\":\"a,b\"}}", "the value of \"app\"" },
        { "{\"matchLabels\":{\"app\":\"" LONG64 "\"}}", "the value of \"app\"" },
        { "{\"matchLabels\":{\"" LONG64 "\":\"x\"}}", "is no label key" },
        { "{\"matchLabels\":{\"\":\"x\"}}", "is no label key" },
        { "{\"matchLabels\":{\"a b\":\"x\"}}", "is no label key" },
        { "{\"matchLabels\":{\"/a\":\"x\"}}", "is no label key" },
        { "{\"matchLabels\":{\"a/\":\"x\"}}", "is no label key" },
        { "{\"matchLabels\":{\"a/b/c\":\"x\"}}", "is no label key" },
        { "{\"matchLabels\":{\"Upper.com/a\":\"x\"}}", "is no label key" },
        { "{\"matchLabels\":{\".com/a\":\"x\"}}", "is no label key" },
        { "{\"matchLabels\":{\"x..com/a\":\"x\"}}", "is no label key" },
        { "{\"matchLabels\":{\"x.-c/a\":\"x\"}}", "is no label key" },
        { "{\"matchLabels\":{\"x-/a\":\"x\"}}", "is no label key" },
        { "{\"matchLabels\":{\"x_y/a\":\"x\"}}", "is no label key" },
        { "{\"matchLabels\":{\"a\\u0000\":\"x\"}}", "is no label key" },
        { EXPR("5"), "matchExpressions[0]: not an object" },
        { EXPR("{}"), "matchExpressions[0]: key \"\" is no label key" },
        { EXPR("{\"key\":\"a\"}"), "unknown operator \"\"" },
        { EXPR("{\"key\":5,\"operator\":\"Exists\"}"), "is no label key" },
        { EXPR("{\"key\":\"a\",\"operator\":\"in\",\"values\":[\"x\"]}"), "unknown operator \"in\"" },
        { EXPR("{\"key\":\"a\",\"operator\":\"Gt\",\"values\":[\"1\"]}"), "unknown operator \"Gt\"" },
        { EXPR("{\"key\":\"a\",\"operator\":7}"), "unknown operator" },
        { EXPR("{\"key\":\"a\",\"operator\":\"In\"}"), "operator In needs values" },
        { EXPR("{\"key\":\"a\",\"operator\":\"In\",\"values\":[]}"), "operator In needs values" },
        { EXPR("{\"key\":\"a\",\"operator\":\"NotIn\",\"values\":null}"), "operator NotIn needs values" },
        { EXPR("{\"key\":\"a\",\"operator\":\"Exists\",\"values\":[\"x\"]}"),
                "operator Exists takes no values" },
        { EXPR("{\"key\":\"a\",\"operator\":\"DoesNotExist\",\"values\":[\"x\"]}"),
                "operator DoesNotExist takes no values" },
        { EXPR("{\"key\":\"a\",\"operator\":\"In\",\"values\":\"x\"}"), "values is not a list" },
        { EXPR("{\"key\":\"a\",\"operator\":\"In\",\"values\":[\"x\",5]}"), "values[1] is no label value" },
        { EXPR("{\"key\":\"a\",\"operator\":\"In\",\"values\":[\"x!\"]}"), "values[0] is no label value" },
        { EXPR("{\"key\":\"a\",\"operator\":\"Exists\"},{\"key\":\"!\",\"operator\":\"Exists\"}"),
                "matchExpressions[1]: key \"!\"" },
};

START_TEST(bad_selector)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(256);
        CLEANUP(json_deletep) cJSON *json = parsed(bad[_i].json);
        const struct selector *s = NULL;
        struct err e = { "" };

        ck_assert_msg(selector_parse(&s, a, json, &e) == -EINVAL, "%s was accepted", bad[_i].json);
        ck_assert_ptr_null(s);
        ck_assert_msg(strstr(e.text, bad[_i].words) != NULL, "%s: %s", bad[_i].json, e.text);
        ck_assert_int_eq(selector_parse(&s, a, json, NULL), -EINVAL);
        ck_assert_int_eq(selector_parse(&s, a, NULL, NULL), -EINVAL);
}
END_TEST

START_TEST(label_key_prefix_of_253)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(256);
        const struct selector *s;
        char json[512];

        for (int n = 253; n <= 254; n++) {
                CLEANUP(json_deletep) cJSON *tree = NULL;

                (void)snprintf(json, sizeof(json), "{\"matchLabels\":{\"%0*d/a\":\"x\"}}", n, 1);
                tree = parsed(json);
                ck_assert_int_eq(selector_parse(&s, a, tree, NULL), n == 253 ? 0 : -EINVAL);
        }
}
END_TEST

#define ZONE_AB "{\"key\":\"zone\",\"operator\":\"In\",\"values\":[\"a\",\"b\"]}"
#define ZONE_BA "{\"key\":\"zone\",\"operator\":\"In\",\"values\":[\"b\",\"a\"]}"
#define APP     "{\"key\":\"app\",\"operator\":\"Exists\"}"

static const struct {
        const char *json;
        const char *words; /* NULL: fine */
        size_t n;
        bool matches; /* LABELS */
} lists[] = {
        { "null", NULL, 0, true },
        { "[]", NULL, 0, true },
        { "[{}]", NULL, 1, true },
        { "[{\"matchLabels\":{\"app\":\"db\"}}]", NULL, 1, false },
        { "[{\"matchLabels\":{\"app\":\"db\"}},{\"matchLabels\":{\"zone\":\"a\"}}]", NULL, 2, true },
        { "[{\"matchLabels\":{\"app\":\"db\"}},{\"matchLabels\":{\"zone\":\"b\"}}]", NULL, 2, false },
        { "[" EXPR(ZONE_AB "," APP) "," EXPR(APP "," ZONE_AB) "]", NULL, 2,
                true }, /* another order: accepted */
        { "[{\"matchLabels\":{\"app\":\"web\"}},"
          "{\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"In\",\"values\":[\"web\"]}]}]",
                NULL, 2, true },
        { "[{\"matchLabels\":{\"a\":\"1\"}},{\"matchLabels\":{\"a\":\"1\",\"b\":\"2\"}}]", NULL, 2, false },
        { "[{\"matchLabels\":{\"a\":\"1\"},\"matchExpressions\":["
          "{\"key\":\"b\",\"operator\":\"In\",\"values\":[\"2\"]}," APP "]},"
          "{\"matchLabels\":{\"a\":\"1\",\"b\":\"2\"},\"matchExpressions\":[" APP "]}]",
                NULL, 2, false }, /* the same meaning, but written differently: accepted */
        { "{}", "nodeSelectors is not a list", 0, false },
        { "\"x\"", "nodeSelectors is not a list", 0, false },
        { "[{},5]", "nodeSelectors[1]: a selector must be an object", 0, false },
        { "[{},{}]", "duplicate definition of nodeSelectors \"\"", 0, false },
        { "[{},{\"matchLabels\":{\"app\":\"db\"}},{\"matchLabels\":{\"app\":\"db\"}}]",
                "duplicate definition of nodeSelectors \"app=db\"", 0, false },
        { "[{\"matchLabels\":{\"b\":\"2\",\"a\":\"1\"}},{\"matchLabels\":{\"a\":\"1\",\"b\":\"2\"}}]",
                "duplicate definition of nodeSelectors \"a=1,b=2\"", 0, false },
        { "[" EXPR(ZONE_AB) "," EXPR(ZONE_BA) "]", "duplicate definition of nodeSelectors \"zone in (a,b)\"",
                0, false },
        { "[" EXPR(ZONE_AB "," APP "," ZONE_BA) "]",
                "duplicate definition of nodeSelectors expression \"zone in (a,b)\"", 0, false },
        { "[" EXPR("{\"key\":\"zone\",\"operator\":\"In\",\"values\":[\"b\",\"a\",\"b\"]}") "]",
                "duplicate definition of nodeSelectors expression value \"b\"", 0, false },
        { "[" EXPR("{\"key\":\"zone\",\"operator\":\"NotIn\",\"values\":[\"\",\"\"]}") "]",
                "duplicate definition of nodeSelectors expression value \"\"", 0, false },
};

START_TEST(selector_lists)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(256);
        CLEANUP(json_deletep) cJSON *json = parsed(lists[_i].json), *labels_json = parsed(LABELS);
        struct kv_list labels = kv_list_from(a, labels_json);
        struct selector_list l = { NULL, 77 };
        struct err e = { "" };
        int r = selector_list_parse(&l, a, json, "nodeSelectors", false, &e);

        if (lists[_i].words) {
                ck_assert_int_eq(r, -EINVAL);
                ck_assert_uint_eq(l.n, 77);
                ck_assert_str_eq(e.text, lists[_i].words);
                r = selector_list_parse(&l, a, json, "nodeSelectors", true, NULL);
                ck_assert_int_eq(r, strstr(e.text, "duplicate") ? 0 : -EINVAL);
                return;
        }
        ck_assert_msg(r == 0, "%s", e.text);
        ck_assert_uint_eq(l.n, lists[_i].n);
        ck_assert_int_eq(selector_list_matches(&l, &labels), lists[_i].matches);
}
END_TEST

START_TEST(absent_list_matches_everything)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(256);
        struct selector_list l = { NULL, 77 };
        struct kv_list none = { 0 };

        ck_assert_int_eq(selector_list_parse(&l, a, NULL, "x", false, NULL), 0);
        ck_assert_uint_eq(l.n, 0);
        ck_assert(selector_list_matches(&l, &none));
}
END_TEST

START_TEST(kv_lists)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(64);
        CLEANUP(json_deletep)
        cJSON *json = parsed("{\"b\":\"2\",\"a\":\"1\",\"n\":5,\"nil\":null,\"c\":\"\",\"b\":"
                             "\"again\",\"a\":\"again\",\"aa\":\"3\"}"),
              *wrong = parsed("[\"a\",\"b\"]"), *flat = parsed("\"a\"");
        struct kv_list l = kv_list_from(a, json);

        ck_assert(arena_ok(a));
        ck_assert_uint_eq(l.n, 4);
        ck_assert_str_eq(l.v[0].key, "a");
        ck_assert_str_eq(l.v[1].key, "aa");
        ck_assert_str_eq(l.v[3].key, "c");
        ck_assert_str_eq(kv_get(&l, "a"), "1"); /* of two the first */
        ck_assert_str_eq(kv_get(&l, "b"), "2");
        ck_assert_str_eq(kv_get(&l, "c"), "");
        ck_assert_ptr_null(kv_get(&l, "n"));
        ck_assert_ptr_null(kv_get(&l, "nil"));
        ck_assert_ptr_null(kv_get(&l, ""));
        ck_assert_uint_eq(kv_list_from(a, wrong).n, 0);
        ck_assert_uint_eq(kv_list_from(a, flat).n, 0);
        l = kv_list_from(a, NULL);
        ck_assert_uint_eq(l.n, 0);
        ck_assert_ptr_null(kv_get(&l, "a"));
}
END_TEST

START_TEST(parse_survives_failing_allocations)
{
        static const char text[] =
                "[{\"matchLabels\":{\"b\":\"2\",\"a\":\"1\"}},{\"matchExpressions\":[" ZONE_AB "," APP "]}]";
        CLEANUP(json_deletep) cJSON *json = parsed(text);
        unsigned n;

        for (n = 0;; n++) {
                CLEANUP(arena_freep) struct arena *a = arena_new(1);
                struct selector_list l;
                int r;

                ck_assert_ptr_nonnull(a);
                fault_arm(n);
                r = selector_list_parse(&l, a, json, "x", false, NULL);
                if (!fault_disarm()) {
                        ck_assert_int_eq(r, 0);
                        break;
                }
                ck_assert_int_eq(r, -ENOMEM);
        }
        ck_assert_uint_gt(n, 4);
}
END_TEST

/* A list as long as an object can hold must not take quadratic time. */
START_TEST(long_lists_are_fast)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(64);
        CLEANUP(json_deletep) cJSON *json = cJSON_CreateArray(), *labels = cJSON_CreateObject();
        struct selector_list l;
        struct kv_list kv;
        char name[32];

        for (int i = 30000; i > 0; i--) {
                cJSON *s = cJSON_CreateObject(), *m = cJSON_AddObjectToObject(s, "matchLabels");

                (void)snprintf(name, sizeof(name), "v%d", i);
                ck_assert_ptr_nonnull(cJSON_AddStringToObject(m, "a", name));
                ck_assert(cJSON_AddItemToArray(json, s));
                ck_assert_ptr_nonnull(cJSON_AddStringToObject(labels, name, "x"));
        }
        ck_assert_int_eq(selector_list_parse(&l, a, json, "x", false, NULL), 0);
        ck_assert_uint_eq(l.n, 30000);
        kv = kv_list_from(a, labels);
        ck_assert_uint_eq(kv.n, 30000);
        ck_assert_str_eq(kv_get(&kv, "v29999"), "x");
}
END_TEST

int main(void)
{
        Suite *s = suite_create("selector");
        TCase *tc = tcase_create("selector");

        tcase_add_loop_test(tc, good_selector, 0, (int)ARRAY_LEN(good));
        tcase_add_loop_test(tc, copy_outlives_its_original, 0, (int)ARRAY_LEN(good));
        tcase_add_loop_test(tc, bad_selector, 0, (int)ARRAY_LEN(bad));
        tcase_add_test(tc, label_key_prefix_of_253);
        tcase_add_loop_test(tc, selector_lists, 0, (int)ARRAY_LEN(lists));
        tcase_add_test(tc, absent_list_matches_everything);
        tcase_add_test(tc, kv_lists);
        tcase_add_test(tc, parse_survives_failing_allocations);
        tcase_set_timeout(tc, 30);
        tcase_add_test(tc, long_lists_are_fast);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
