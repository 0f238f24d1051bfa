/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/kube/peek.h"
#include "common/kube/stream.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

struct seen {
        struct buf text; /* objects with "|" behind each, "~|" behind a cut one */
        unsigned n, stop_at; /* stop_at 0: never */
};

static int on_object(void *ctx, const char *bytes, size_t len, bool cut)
{
        struct seen *s = ctx;

        buf_add(&s->text, bytes, len);
        buf_adds(&s->text, cut ? "~|" : "|");
        return ++s->n == s->stop_at ? -EINTR : 0;
}

/* Feeds @text in chunks of @chunk bytes, each in a block of its own so that ASan sees a byte too many. */
static int feed(struct stream *s, const char *text, size_t chunk)
{
        size_t len = strlen(text);
        int r = 0;

        for (size_t at = 0; at < len && r == 0; at += chunk) {
                size_t n = MIN(chunk, len - at);
                char *exact = malloc(n);

                ck_assert_ptr_nonnull(exact);
                memcpy(exact, text + at, n);
                r = stream_feed(s, exact, n);
                free(exact);
        }
        return r;
}

#define META "{\"resourceVersion\":\"7\",\"continue\":\"x}y\"}"

static const struct {
        const char *name;
        enum stream_mode mode;
        size_t max;
        const char *text, *objects, *metadata;
        int fed, end;
} cases[] = {
        { "empty list", STREAM_LIST, 100, "{\"kind\":\"List\",\"metadata\":" META ",\"items\":[]}", "", META,
                0, 0 },
        { "null items", STREAM_LIST, 100, "{\"items\":null,\"metadata\":" META "}", "", META, 0, 0 },
        { "no items", STREAM_LIST, 100, "{\"metadata\":" META "}", "", META, 0, 0 },
        { "two items", STREAM_LIST, 100, "{\"metadata\":" META ",\"items\":[{\"a\":1},{\"b\":[{}]}]}\n",
                "{\"a\":1}|{\"b\":[{}]}|", META, 0, 0 },
        { "metadata last, blanks", STREAM_LIST, 100,
                " {\n \"items\" : [ {\"a\" : 1 } , {} ] , \"metadata\" : " META " , \"x\" : 1 } \r\n\t",
                "{\"a\" : 1 }|{}|", META, 0, 0 },
        { "brackets and quotes in strings", STREAM_LIST, 100,
                "{\"x\":\"}\\\"]{\",\"items\":[{\"a\":\"]}\\\\\"},{\"b\":\"\\\"}\"}]}",
                "{\"a\":\"]}\\\\\"}|{\"b\":\"\\\"}\"}|", NULL, 0, 0 },
        { "items inside others are no items", STREAM_LIST, 100,
                "{\"a\":{\"items\":[{\"x\":1}]},\"b\":[{\"items\":[{}]}],\"c\":\"items\",\"items\":[{\"y\":2}]}",
                "{\"y\":2}|", NULL, 0, 0 },
        { "scalars of all kinds", STREAM_LIST, 100,
                "{\"a\":1,\"b\":true ,\"c\":null,\"d\":-1e5,\"e\":\"\",\"f\":[]}", "", NULL, 0, 0 },
        { "scalar before the end", STREAM_LIST, 100, "{\"items\":[],\"a\":12}", "", NULL, 0, 0 },
        { "escaped names are other names", STREAM_LIST, 100, "{\"it\\u0065ms\":[{}],\"a\\\"\":{}}", "", NULL,
                0, 0 },
        { "long names", STREAM_LIST, 100, "{\"itemsitemsitemsitemsitems\":[{}],\"item\":[{}]}", "", NULL, 0,
                0 },
        { "metadata of another type", STREAM_LIST, 100, "{\"metadata\":\"x\",\"items\":[]}", "", NULL, 0, 0 },
        { "metadata twice", STREAM_LIST, 100, "{\"metadata\":{\"a\":1},\"metadata\":" META "}", "", META, 0,
                0 },
        { "items twice", STREAM_LIST, 100, "{\"items\":[{\"a\":1}],\"items\":[{\"b\":1}]}",
                "{\"a\":1}|{\"b\":1}|", NULL, 0, 0 },
        { "object at the limit", STREAM_LIST, 7, "{\"items\":[{\"a\":1},{}]}", "{\"a\":1}|{}|", NULL, 0, 0 },
        { "object over the limit", STREAM_LIST, 6, "{\"items\":[{\"a\":1},{}]}", "{\"a\":1~|{}|", NULL, 0,
                0 },
        { "cut inside the items", STREAM_LIST, 100, "{\"items\":[{\"a\":1},{\"b\"", "{\"a\":1}|", NULL, 0,
                ERR_MALFORMED },
        { "cut behind the items", STREAM_LIST, 100, "{\"items\":[{\"a\":1}]", "{\"a\":1}|", NULL, 0,
                ERR_MALFORMED },
        { "nothing", STREAM_LIST, 100, "", "", NULL, 0, ERR_MALFORMED },
        { "a list that is an array", STREAM_LIST, 100, "[]", "", NULL, ERR_MALFORMED, ERR_MALFORMED },
        { "an HTML page", STREAM_LIST, 100, "<html>", "", NULL, ERR_MALFORMED, ERR_MALFORMED },
        { "item that is no object", STREAM_LIST, 100, "{\"items\":[{},1]}", "{}|", NULL, ERR_MALFORMED,
                ERR_MALFORMED },
        { "comma before the bracket", STREAM_LIST, 100, "{\"items\":[{},]}", "{}|", NULL, ERR_MALFORMED,
                ERR_MALFORMED },
        { "comma before the brace", STREAM_LIST, 100, "{\"a\":1,}", "", NULL, ERR_MALFORMED, ERR_MALFORMED },
        { "no colon", STREAM_LIST, 100, "{\"a\" 1}", "", NULL, ERR_MALFORMED, ERR_MALFORMED },
        { "no value", STREAM_LIST, 100, "{\"a\":}", "", NULL, ERR_MALFORMED, ERR_MALFORMED },
        { "no comma", STREAM_LIST, 100, "{\"a\":1 \"b\":2}", "", NULL, ERR_MALFORMED, ERR_MALFORMED },
        { "text behind the list", STREAM_LIST, 100, "{} x", "", NULL, ERR_MALFORMED, ERR_MALFORMED },
        { "a name that is no string", STREAM_LIST, 100, "{a:1}", "", NULL, ERR_MALFORMED, ERR_MALFORMED },
        { "events", STREAM_WATCH, 100, "{\"type\":\"A\"}\n{\"type\":\"}\"}\n",
                "{\"type\":\"A\"}|{\"type\":\"}\"}|", NULL, 0, 0 },
        { "events without newlines", STREAM_WATCH, 100, "{}{\"a\":[]}  {}", "{}|{\"a\":[]}|{}|", NULL, 0, 0 },
        { "no event yet", STREAM_WATCH, 100, "\n", "", NULL, 0, 0 },
        { "half an event", STREAM_WATCH, 100, "{}\n{\"a\":", "{}|", NULL, 0, ERR_MALFORMED },
        { "too big an event", STREAM_WATCH, 4, "{\"a\":\"long\"}{}{\"abc\":1}", "{\"a\"~|{}|{\"ab~|", NULL, 0,
                0 },
        { "event that is no object", STREAM_WATCH, 100, "{}[]", "{}|", NULL, ERR_MALFORMED, ERR_MALFORMED },
        { "event of text", STREAM_WATCH, 100, "upstream reset", "", NULL, ERR_MALFORMED, ERR_MALFORMED },
        { "deep nesting", STREAM_WATCH, 400,
                "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]"
                "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}{}",
                "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]"
                "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}|{}|",
                NULL, 0, 0 },
};

static void check_case(int i, size_t chunk)
{
        CLEANUP(stream_freep) struct stream *s = NULL;
        struct seen seen = { .n = 0 };
        size_t len = 0;
        const char *metadata;
        int r;

        ck_assert_int_eq(stream_new(&s, cases[i].mode, cases[i].max, on_object, &seen), 0);
        r = feed(s, cases[i].text, chunk);
        ck_assert_msg(r == cases[i].fed, "%s by %zu: fed %d", cases[i].name, chunk, r);
        ck_assert_msg(
                stream_end(s) == cases[i].end, "%s by %zu: end %d", cases[i].name, chunk, stream_end(s));
        ck_assert_msg(strcmp(buf_str(&seen.text), cases[i].objects) == 0, "%s by %zu: %s", cases[i].name,
                chunk, buf_str(&seen.text));
        metadata = stream_metadata(s, &len);
        ck_assert_msg(!metadata == !cases[i].metadata, "%s: metadata", cases[i].name);
        if (metadata)
                ck_assert_msg(
                        len == strlen(cases[i].metadata) && memcmp(metadata, cases[i].metadata, len) == 0,
                        "%s: %.*s", cases[i].name, (int)len, metadata);
        buf_fini(&seen.text);
}

START_TEST(objects_are_cut_out)
{
        for (size_t chunk = 1; chunk <= strlen(cases[_i].text) + 1; chunk++)
                check_case(_i, chunk);
}
END_TEST

/* Two pieces with the cut at every place: other than equal chunks it hits each byte once as a first and a last one. */
START_TEST(any_cut_gives_the_same)
{
        size_t len = strlen(cases[_i].text);

        for (size_t cut = 0; cut <= len; cut++) {
                CLEANUP(stream_freep) struct stream *s = NULL;
                struct seen seen = { .n = 0 };
                int r;

                ck_assert_int_eq(stream_new(&s, cases[_i].mode, cases[_i].max, on_object, &seen), 0);
                r = stream_feed(s, cases[_i].text, cut);
                if (r == 0)
                        r = stream_feed(s, cases[_i].text + cut, len - cut);
                ck_assert_int_eq(r, cases[_i].fed);
                ck_assert_int_eq(stream_end(s), cases[_i].end);
                ck_assert_str_eq(buf_str(&seen.text), cases[_i].objects);
                buf_fini(&seen.text);
        }
}
END_TEST

/* What is incomplete must never look complete: a list that was cut must not delete what it did not mention. */
START_TEST(a_cut_list_is_never_complete)
{
        size_t len = strlen(cases[_i].text);

        if (cases[_i].mode != STREAM_LIST || cases[_i].end != 0)
                return;
        while (len > 0 && cases[_i].text[len - 1] != '}')
                len--;
        for (size_t cut = 0; cut < len; cut++) {
                CLEANUP(stream_freep) struct stream *s = NULL;
                struct seen seen = { .n = 0 };

                ck_assert_int_eq(stream_new(&s, STREAM_LIST, cases[_i].max, on_object, &seen), 0);
                ck_assert_int_eq(stream_feed(s, cases[_i].text, cut), 0);
                ck_assert_int_eq(stream_end(s), ERR_MALFORMED);
                buf_fini(&seen.text);
        }
}
END_TEST

START_TEST(errors_are_sticky)
{
        CLEANUP(stream_freep) struct stream *s = NULL;
        struct seen seen = { .stop_at = 2 };

        ck_assert_int_eq(stream_new(&s, STREAM_WATCH, 100, on_object, &seen), 0);
        ck_assert_int_eq(stream_feed(s, "{}{}{}", 6), -EINTR);
        ck_assert_int_eq(stream_feed(s, "{}", 2), -EINTR);
        ck_assert_int_eq(stream_end(s), -EINTR);
        ck_assert_uint_eq(seen.n, 2);
        buf_fini(&seen.text);
}
END_TEST

START_TEST(metadata_is_bounded)
{
        CLEANUP(stream_freep) struct stream *s = NULL;
        CLEANUP(buf_fini) struct buf text = BUF_INIT;
        struct seen seen = { .n = 0 };

        buf_adds(&text, "{\"metadata\":{\"continue\":\"");
        for (unsigned i = 0; i < STREAM_METADATA_MAX; i++)
                buf_addc(&text, 'x');
        ck_assert_int_eq(stream_new(&s, STREAM_LIST, 100, on_object, &seen), 0);
        ck_assert_int_eq(stream_feed(s, text.p, text.len), ERR_TOO_BIG);
        ck_assert_int_eq(stream_end(s), ERR_TOO_BIG);
}
END_TEST

START_TEST(memory_is_bounded_by_the_limit)
{
        CLEANUP(stream_freep) struct stream *s = NULL;
        struct seen seen = { .n = 0 };
        char chunk[1000];

        memset(chunk, 'x', sizeof(chunk));
        ck_assert_int_eq(stream_new(&s, STREAM_WATCH, 10000, on_object, &seen), 0);
        ck_assert_int_eq(stream_feed(s, "{\"", 2), 0);
        for (unsigned i = 0; i < 1000; i++)
                ck_assert_int_eq(stream_feed(s, chunk, sizeof(chunk)), 0);
        ck_assert_int_eq(stream_feed(s, "\":1}{}", 6), 0);
        ck_assert_int_eq(stream_end(s), 0);
        ck_assert_uint_eq(seen.n, 2);
        ck_assert_uint_eq(seen.text.len, 10000 + 2 + 3);
        buf_fini(&seen.text);
}
END_TEST

static int count_object(void *ctx, const char *bytes UNUSED, size_t len UNUSED, bool cut UNUSED)
{
        ++*(unsigned *)ctx;
        return 0;
}

START_TEST(any_allocation_may_fail)
{
        static const char text[] = "{\"metadata\":" META ",\"items\":[{\"a\":1},{\"b\":1}]}";

        for (unsigned n = 0;; n++) {
                struct stream *s = NULL;
                unsigned seen = 0;
                int r;

                fault_arm(n);
                r = stream_new(&s, STREAM_LIST, 100, count_object, &seen);
                if (r == 0)
                        r = stream_feed(s, text, sizeof(text) - 1);
                if (!fault_disarm()) {
                        ck_assert_int_eq(r, 0);
                        ck_assert_uint_ge(n, 3);
                        (void)stream_free(s);
                        return;
                }
                ck_assert_int_eq(r, -ENOMEM);
                ck_assert(!s || stream_end(s) == -ENOMEM);
                (void)stream_free(s);
        }
}
END_TEST

static const struct {
        const char *text, *type, *ns, *name, *rv;
} peeks[] = {
        { "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"resourceVersion\":\"3\"}}", "", "b", "a",
                "3" },
        { "{\"type\":\"DELETED\",\"object\":{\"kind\":\"X\",\"metadata\":{\"name\":\"a\",\"namespace\":\"b\"",
                "DELETED", "b", "a", "" },
        { "{ \"object\" : { \"metadata\" : { \"labels\":{\"name\":\"no\"}, \"name\" : \"a\" } }, \"type\":\"ADDED\" }",
                "ADDED", "", "a", "" },
        { "{\"spec\":{\"name\":\"no\",\"metadata\":{\"name\":\"no\"}},\"metadata\":{\"ownerReferences\":[{\"name\":"
          "\"no\"}],\"name\":\"a\"}}",
                "", "", "a", "" },
        { "{\"metadata\":{\"annotations\":{\"a\":\"\\\"name\\\":\\\"no\\\"\"},\"finalizers\":[\"name\"],\"name\":\"a\"",
                "", "", "a", "" },
        { "{\"metadata\":{\"name\":\"a", "", "", "", "" },
        { "{\"metadata\":{\"name\":\"a\\u0062\"}}", "", "", "", "" },
        { "{\"metadata\":{\"name\":5,\"namespace\":null}}", "", "", "", "" },
        { "{\"metadata\":{\"resourceVersion\":\"0123456789012345678901234567890123456789012345678901234567890123\"",
                "", "", "", "" },
        { "{\"metadata\":[{\"name\":\"no\"}]}", "", "", "", "" },
        { "{}{\"metadata\":{\"name\":\"no\"}}", "", "", "", "" },
        { "}", "", "", "", "" },
        { "", "", "", "", "" },
        { "\"", "", "", "", "" },
        { "\"\\", "", "", "", "" },
        { "{\"type\":\"MUCH LONGER THAN IT MAY BE\"}", "", "", "", "" },
};

START_TEST(names_are_found)
{
        size_t len = strlen(peeks[_i].text);
        char *exact = malloc(len > 0 ? len : 1);
        struct peek p;

        ck_assert_ptr_nonnull(exact);
        memcpy(exact, peeks[_i].text, len);
        peek_names(&p, exact, len);
        free(exact);
        ck_assert_str_eq(p.type, peeks[_i].type);
        ck_assert_str_eq(p.ns, peeks[_i].ns);
        ck_assert_str_eq(p.name, peeks[_i].name);
        ck_assert_str_eq(p.rv, peeks[_i].rv);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("stream");
        TCase *tc = tcase_create("cut"), *other = tcase_create("bounds"), *peek = tcase_create("peek");

        tcase_add_loop_test(tc, objects_are_cut_out, 0, (int)ARRAY_LEN(cases));
        tcase_add_loop_test(tc, any_cut_gives_the_same, 0, (int)ARRAY_LEN(cases));
        tcase_add_loop_test(tc, a_cut_list_is_never_complete, 0, (int)ARRAY_LEN(cases));
        suite_add_tcase(s, tc);
        tcase_add_test(other, errors_are_sticky);
        tcase_add_test(other, metadata_is_bounded);
        tcase_add_test(other, memory_is_bounded_by_the_limit);
        tcase_add_test(other, any_allocation_may_fail);
        suite_add_tcase(s, other);
        tcase_add_loop_test(peek, names_are_found, 0, (int)ARRAY_LEN(peeks));
        suite_add_tcase(s, peek);
        return unit_main(s);
}
