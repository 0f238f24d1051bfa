/* SPDX-License-Identifier: Apache-2.0 */
/* The meaning of plain scalars is that of sigs.k8s.io/yaml (kubectl, MetalLB): rows were compared with it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/yaml.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

static const struct {
        const char *yaml;
        const char *json; /* compact; NULL: see words */
        const char *words; /* part of the error */
} documents[] = {
        { "", "null", NULL },
        { "---\n", "null", NULL },
        { "# only a comment\n", "null", NULL },
        { "a: b", "{\"a\":\"b\"}", NULL },
        { "a: b\r\nc: d\r\n", "{\"a\":\"b\",\"c\":\"d\"}", NULL },
        { "\xef\xbb\xbf"
          "a: b",
                "{\"a\":\"b\"}", NULL },
        { "%YAML 1.1\n---\na: b\n...\n", "{\"a\":\"b\"}", NULL },
        { "{\"a\": [1, 2.5, true, null, \"x\"]}", "{\"a\":[1,2.5,true,null,\"x\"]}", NULL },
        { "announcedInterfacesToExclude: [\"^docker.*\", \"^cbr.*\"]",
                "{\"announcedInterfacesToExclude\":[\"^docker.*\",\"^cbr.*\"]}", NULL },
        { "announcedInterfacesToExclude:\n- ^docker.*\n- ^cbr.*\n",
                "{\"announcedInterfacesToExclude\":[\"^docker.*\",\"^cbr.*\"]}", NULL },
        { "- a\n- - b\n  - c\n-\n- d: e\n", "[\"a\",[\"b\",\"c\"],null,{\"d\":\"e\"}]", NULL },
        { "a: |\n  one\n  two\nb: >-\n  one\n  two\n", "{\"a\":\"one\\ntwo\\n\",\"b\":\"one two\"}", NULL },
        { "a: 'it''s'\nb: \"tab\\t\\u00e4\"", "{\"a\":\"it's\",\"b\":\"tab\\t\xc3\xa4\"}", NULL },
        { "1: a\ntrue: b\n'': c", "{\"1\":\"a\",\"true\":\"b\",\"\":\"c\"}", NULL },
        { "\"<<\": x", "{\"<<\":\"x\"}", NULL },
        { "a: &x [1, 2]\nb: *x\nc: *x", "{\"a\":[1,2],\"b\":[1,2],\"c\":[1,2]}", NULL },
        { "a: &x 1\nb: &x 2\nc: *x", "{\"a\":1,\"b\":2,\"c\":2}", NULL },
        { "a: &x {k: &y v}\nb: *y\nc: *x", "{\"a\":{\"k\":\"v\"},\"b\":\"v\",\"c\":{\"k\":\"v\"}}", NULL },
        { "!!map {a: !!seq [!!str 1, !!int 2, !!float 3, !!bool yes, !!null ~, ! 4]}",
                "{\"a\":[\"1\",2,3,true,null,\"4\"]}", NULL },
        { "a: !!int \"5\"", "{\"a\":5}", NULL },
        { "a: b: c", NULL, "line 1: " },
        { "ok: 1\n\tbad: 2", NULL, "line 2: " },
        { "a: [1, 2", NULL, "while parsing a flow sequence" },
        { "a: \"x", NULL, "line 1: " },
        { "a: 'x\n", NULL, "line " },
        { "a: @x", NULL, "line 1: " },
        { "a: \x01", NULL, "control characters" },
        { "a: \xff\xfe", NULL, "UTF-8" },
        { "a: 1\nb: 2\na: 3", NULL, "line 1: key \"a\" twice" },
        { "x:\n  b: 1\n  'b': 2", NULL, "line 2: key \"b\" twice" },
        { "1: a\n\"1\": b", NULL, "key \"1\" twice" },
        { "b:\n  <<: {a: 1}", NULL, "line 2: merge keys" },
        { "[a]: b", NULL, "a key that is no text" },
        { "? {a: b}\n: c", NULL, "a key that is no text" },
        { "a: &x 1\n*x : c", NULL, "a key that is no text" },
        { "a: *x", NULL, "line 1: alias \"x\" of nothing" },
        { "a: &x [*x]", NULL, "alias \"x\" of nothing" },
        { "a: \"x\\0y\"", NULL, "NUL character" },
        { "\"x\\0y\": a", NULL, "NUL character" },
        { "a: .inf", NULL, "not finite" },
        { "a: -.Inf", NULL, "not finite" },
        { "a: .nan", NULL, "not finite" },
        { "a: !foo x", NULL, "a tag that is not known" },
        { "a: !!binary aGk=", NULL, "a tag that is not known" },
        { "a: !!set {b}", NULL, "a tag that is not known" },
        { "a: !!int x", NULL, "a tag that is not known" },
        { "a: !!int 1.5", NULL, "a tag that is not known" },
        { "a: !!bool 1", NULL, "a tag that is not known" },
        { "a: !!null x", NULL, "a tag that is not known" },
        { "a: 1\n---\nb: 2", NULL, "more than one document" },
};

START_TEST(document)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        size_t len = strlen(documents[_i].yaml);
        char *exact = malloc(len > 0 ? len : 1), *text;
        struct err e = { "" };
        int r;

        ck_assert_ptr_nonnull(exact);
        memcpy(exact, documents[_i].yaml, len);
        r = yaml_parse(&tree, exact, len, &e);
        free(exact);
        if (!documents[_i].json) {
                ck_assert_msg(r == ERR_MALFORMED, "%s: got %d", documents[_i].yaml, r);
                ck_assert_ptr_null(tree);
                ck_assert_msg(strstr(e.text, documents[_i].words) != NULL, "%s", e.text);
                ck_assert_int_eq(yaml_parse(&tree, documents[_i].yaml, len, NULL), ERR_MALFORMED);
                return;
        }
        ck_assert_msg(r == 0, "%s: %s", documents[_i].yaml, e.text);
        text = cJSON_PrintUnformatted(tree);
        ck_assert_str_eq(text, documents[_i].json);
        free(text);
}
END_TEST

/* As plain text; as "text"; the quoted one is always a string. */
static const struct {
        const char *text;
        const char *json; /* NULL: a string */
} scalars[] = {
        { "x", NULL },
        { "~", "null" },
        { "null", "null" },
        { "Null", "null" },
        { "nULL", NULL },
        { "true", "true" },
        { "True", "true" },
        { "TRUE", "true" },
        { "tRUE", NULL },
        { "yes", "true" },
        { "on", "true" },
        { "y", "true" },
        { "off", "false" },
        { "No", "false" },
        { "n", "false" },
        { "false", "false" },
        { "truex", NULL },
        { "0", "0" },
        { "-0", "0" },
        { "+7", "7" },
        { "-7", "-7" },
        { "1_000", "1000" },
        { "0x1F", "31" },
        { "-0x1f", "-31" },
        { "0X10", "16" },
        { "0b101", "5" },
        { "-0b101", "-5" },
        { "0o17", "15" },
        { "017", "15" },
        { "08", "8" }, /* no octal digit, but a float */
        { "00", "0" },
        { "0x", NULL },
        { "0xg", NULL },
        { "0b2", NULL },
        { "0o8", NULL },
        { "1.5", "1.5" },
        { "-1.5e3", "-1500" },
        { "1e3", "1000" },
        { "1E+3", "1000" },
        { "1.", "1" },
        { ".5", "0.5" },
        { "+.5", "0.5" },
        { "1e", NULL },
        { "1e+", NULL },
        { ".", NULL },
        { "+", NULL },
        { "-x", NULL },
        { "e3", NULL },
        { "1.2.3", NULL },
        { "1.2.3.4", NULL },
        { "10:30", NULL },
        { "2026-11-22", NULL },
        { "2026-11-22T01:02:03Z", NULL },
        { "-0.0", "-0" },
        { "192.0.2.0/24", NULL },
        { "fc00::1", NULL },
        { "0x1.8p1", NULL }, /* C's strtod() would take it */
        { "1e999", NULL },
        { "infinity", NULL },
        { "nan", NULL },
};

START_TEST(scalar)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        char yaml[128], want[128], *text;

        (void)snprintf(yaml, sizeof(yaml), "p: %s\nq: \"%s\"", scalars[_i].text, scalars[_i].text);
        (void)snprintf(want, sizeof(want), "{\"p\":%s%s%s,\"q\":\"%s\"}", scalars[_i].json ? "" : "\"",
                scalars[_i].json ? scalars[_i].json : scalars[_i].text, scalars[_i].json ? "" : "\"",
                scalars[_i].text);
        ck_assert_int_eq(yaml_parse(&tree, yaml, strlen(yaml), NULL), 0);
        text = cJSON_PrintUnformatted(tree);
        ck_assert_str_eq(text, want);
        free(text);
        /* As written, whatever it became. */
        if (!scalars[_i].json || strcmp(scalars[_i].json, "null") != 0)
                ck_assert_str_eq(yaml_text(tree, "p"), scalars[_i].text);
        else
                ck_assert_ptr_null(yaml_text(tree, "p"));
        ck_assert_str_eq(yaml_text(tree, "q"), scalars[_i].text);
}
END_TEST

START_TEST(text_of_what_is_no_scalar)
{
        static const char yaml[] = "a: &x [1]\nb: {}\nc: *x\nd: &y 0x10\ne: *y";
        CLEANUP(json_deletep) cJSON *tree = NULL;
        int64_t value;

        ck_assert_int_eq(yaml_parse(&tree, yaml, strlen(yaml), NULL), 0);
        ck_assert_ptr_null(yaml_text(tree, "a"));
        ck_assert_ptr_null(yaml_text(tree, "b"));
        ck_assert_ptr_null(yaml_text(tree, "missing"));
        ck_assert_ptr_null(yaml_text(NULL, "a"));
        ck_assert_str_eq(yaml_text(tree, "e"), "0x10"); /* through the alias too */
        ck_assert_int_eq(json_int(tree, "e", &value), 0);
        ck_assert_int_eq(value, 16);
}
END_TEST

START_TEST(several_documents)
{
        static const char yaml[] = "a: &x 1\n---\n---\n# nothing\n---\n- b\n...\n---\nlast\n";
        CLEANUP(json_deletep) cJSON *docs = NULL;
        char *text;

        ck_assert_int_eq(yaml_parse_all(&docs, yaml, strlen(yaml), NULL), 0);
        text = cJSON_PrintUnformatted(docs);
        ck_assert_str_eq(text, "[{\"a\":1},[\"b\"],\"last\"]");
        free(text);
        cJSON_Delete(docs);
        docs = NULL;
        ck_assert_int_eq(yaml_parse_all(&docs, NULL, 0, NULL), 0);
        ck_assert_int_eq(cJSON_GetArraySize(docs), 0);
        /* Anchors end with their document. */
        ck_assert_int_eq(yaml_parse_all(&docs, "a: &x 1\n---\nb: *x", 18, NULL), ERR_MALFORMED);
}
END_TEST

/* Nesting: @n lists in each other. */
static int parse_nested(unsigned n, const char *around_open, const char *around_close)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        CLEANUP(json_deletep) cJSON *tree = NULL;
        struct err e;
        int r;

        buf_adds(&b, around_open);
        for (unsigned i = 0; i < n; i++)
                buf_addc(&b, '[');
        for (unsigned i = 0; i < n; i++)
                buf_addc(&b, ']');
        buf_adds(&b, around_close);
        r = yaml_parse(&tree, b.p, b.len, &e);
        if (r < 0)
                ck_assert_ptr_nonnull(strstr(e.text, "nested deeper than 64"));
        return r;
}

START_TEST(depth_is_bounded)
{
        ck_assert_int_eq(parse_nested(64, "", ""), 0);
        ck_assert_int_eq(parse_nested(65, "", ""), ERR_TOO_BIG);
        ck_assert_int_eq(parse_nested(63, "a: ", ""), 0);
        ck_assert_int_eq(parse_nested(64, "a: ", ""), ERR_TOO_BIG);
        ck_assert_int_eq(parse_nested(300000, "", ""), ERR_TOO_BIG);
        /* Aliases count where they are expanded. */
        ck_assert_int_eq(parse_nested(31, "[&x ", ", [[*x]]]"), 0);
        ck_assert_int_eq(parse_nested(60, "[&x ", ", [[[*x]]]]"), 0);
        ck_assert_int_eq(parse_nested(61, "[&x ", ", [[[*x]]]]"), ERR_TOO_BIG);
}
END_TEST

START_TEST(expansion_is_bounded)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        cJSON *tree = NULL;
        struct err e = { "" };

        buf_adds(&b, "a0: &a0 lol\n");
        for (int i = 1; i < 12; i++)
                buf_addf(&b, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1,
                        i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
        ck_assert_int_eq(yaml_parse(&tree, b.p, b.len, &e), ERR_TOO_BIG);
        ck_assert_ptr_nonnull(strstr(e.text, "with all aliases expanded"));
        /* Few nodes, but long texts. */
        buf_reset(&b);
        buf_adds(&b, "- &x ");
        for (int i = 0; i < 100000; i++)
                buf_addc(&b, 'x');
        for (int i = 0; i < 1000; i++)
                buf_adds(&b, "\n- *x");
        ck_assert_int_eq(yaml_parse(&tree, b.p, b.len, &e), ERR_TOO_BIG);
        ck_assert_ptr_null(tree);
}
END_TEST

START_TEST(size_is_bounded)
{
        size_t len = YAML_BYTES_MAX + 1;
        char *text = malloc(len);
        cJSON *tree = NULL;
        struct err e = { "" };

        ck_assert_ptr_nonnull(text);
        memset(text, 'x', len);
        ck_assert_int_eq(yaml_parse(&tree, text, len, &e), ERR_TOO_BIG);
        ck_assert_ptr_nonnull(strstr(e.text, "more than 1048576 bytes"));
        ck_assert_int_eq(yaml_parse(&tree, text, len - 1, &e), 0);
        cJSON_Delete(tree);
        free(text);
}
END_TEST

START_TEST(anchors_are_bounded)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        cJSON *tree = NULL;

        for (int i = 0; i < 256; i++)
                buf_addf(&b, "- &a%d x\n", i);
        ck_assert_int_eq(yaml_parse(&tree, b.p, b.len, NULL), 0);
        cJSON_Delete(tree);
        tree = NULL;
        buf_adds(&b, "- &b x\n");
        ck_assert_int_eq(yaml_parse(&tree, b.p, b.len, NULL), ERR_TOO_BIG);
        ck_assert_ptr_null(tree);
}
END_TEST

/* Duplicate keys are looked for without comparing each with each. */
START_TEST(many_keys_are_fast)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        CLEANUP(json_deletep) cJSON *tree = NULL;

        for (int i = 0; i < 60000; i++)
                buf_addf(&b, "k%d: v\n", i);
        ck_assert_int_eq(yaml_parse(&tree, b.p, b.len, NULL), 0);
        ck_assert_int_eq(cJSON_GetArraySize(tree), 60000);
}
END_TEST

START_TEST(survives_failing_allocations)
{
        static const char yaml[] = "a: &x [1, yes, 'q', ~]\nb: *x\nc: {d: !!int 5, e: {f: 1.5}}\n";
        cJSON_Hooks hooks = { fault_malloc, free };
        cJSON *tree = NULL;
        unsigned n;
        int r;

        cJSON_InitHooks(&hooks);
        for (n = 0;; n++) {
                fault_arm(n);
                r = yaml_parse(&tree, yaml, strlen(yaml), NULL);
                if (!fault_disarm())
                        break;
                ck_assert_int_eq(r, -ENOMEM);
                ck_assert_ptr_null(tree);
        }
        ck_assert_int_eq(r, 0);
        ck_assert_uint_gt(n, 25);
        cJSON_Delete(tree);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("yaml");
        TCase *tc = tcase_create("yaml");

        tcase_add_loop_test(tc, document, 0, (int)ARRAY_LEN(documents));
        tcase_add_loop_test(tc, scalar, 0, (int)ARRAY_LEN(scalars));
        tcase_add_test(tc, text_of_what_is_no_scalar);
        tcase_add_test(tc, several_documents);
        tcase_add_test(tc, survives_failing_allocations);
        suite_add_tcase(s, tc);
        tc = tcase_create("bounds");
        tcase_set_timeout(tc, 60);
        tcase_add_test(tc, depth_is_bounded);
        tcase_add_test(tc, expansion_is_bounded);
        tcase_add_test(tc, size_is_bounded);
        tcase_add_test(tc, anchors_are_bounded);
        tcase_add_test(tc, many_keys_are_fast);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
