/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/http.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define H "Host: x\r\n"

static const struct {
        const char *name, *bytes;
        struct http_head want;
} good_cases[] = {
        { "plain", "GET /healthz HTTP/1.1\r\n" H "\r\n",
                { "GET", "/healthz", "", NULL, HTTP_BODY_NONE, 0, true, false } },
        { "query", "GET /readyz?verbose&a=%20 HTTP/1.1\r\n" H "\r\n",
                { "GET", "/readyz", "verbose&a=%20", NULL, HTTP_BODY_NONE, 0, true, false } },
        { "empty query, second mark", "GET /?a?b HTTP/1.1\r\n" H "\r\n",
                { "GET", "/", "a?b", NULL, HTTP_BODY_NONE, 0, true, false } },
        { "empty lines first", "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n",
                { "GET", "/", "", NULL, HTTP_BODY_NONE, 0, true, false } },
        { "absolute", "GET http://a:1/x?y HTTP/1.1\r\n" H "\r\n",
                { "GET", "/x", "y", NULL, HTTP_BODY_NONE, 0, true, false } },
        { "absolute https", "GET HTTPS://a/ HTTP/1.1\r\n" H "\r\n",
                { "GET", "/", "", NULL, HTTP_BODY_NONE, 0, true, false } },
        { "url in the path", "GET /a://b/c HTTP/1.1\r\n" H "\r\n",
                { "GET", "/a://b/c", "", NULL, HTTP_BODY_NONE, 0, true, false } },
        { "asterisk", "OPTIONS * HTTP/1.1\r\n" H "\r\n",
                { "OPTIONS", "*", "", NULL, HTTP_BODY_NONE, 0, true, false } },
        { "close", "GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n",
                { "GET", "/", "", NULL, HTTP_BODY_NONE, 0, false, false } },
        { "close in a list", "GET / HTTP/1.1\r\n" H "connection:\tfoo, Close ,bar\r\n\r\n",
                { "GET", "/", "", NULL, HTTP_BODY_NONE, 0, false, false } },
        { "not close", "GET / HTTP/1.1\r\n" H "Connection: closed, xclose\r\n\r\n",
                { "GET", "/", "", NULL, HTTP_BODY_NONE, 0, true, false } },
        { "1.0", "GET / HTTP/1.0\r\n\r\n", { "GET", "/", "", NULL, HTTP_BODY_NONE, 0, false, false } },
        { "1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
                { "GET", "/", "", NULL, HTTP_BODY_NONE, 0, true, false } },
        { "bearer", "GET / HTTP/1.1\r\n" H "Authorization: Bearer abc.def \r\n\r\n",
                { "GET", "/", "", "abc.def", HTTP_BODY_NONE, 0, true, false } },
        { "bearer, lower case", "GET / HTTP/1.1\r\n" H "authorization:bearer   t\r\n\r\n",
                { "GET", "/", "", "t", HTTP_BODY_NONE, 0, true, false } },
        { "basic", "GET / HTTP/1.1\r\n" H "Authorization: Basic eDp5\r\n\r\n",
                { "GET", "/", "", NULL, HTTP_BODY_NONE, 0, true, false } },
        { "bearer without token", "GET / HTTP/1.1\r\n" H "Authorization: Bearer \r\n\r\n",
                { "GET", "/", "", NULL, HTTP_BODY_NONE, 0, true, false } },
        { "length", "POST /v HTTP/1.1\r\n" H "Content-Length: 12\r\n\r\n",
                { "POST", "/v", "", NULL, HTTP_BODY_LENGTH, 12, true, false } },
        { "longest length", "POST /v HTTP/1.1\r\n" H "Content-Length: 999999999999999999\r\n\r\n",
                { "POST", "/v", "", NULL, HTTP_BODY_LENGTH, 999999999999999999, true, false } },
        { "chunked, waiting",
                "POST /v HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n",
                { "POST", "/v", "", NULL, HTTP_BODY_CHUNKED, 0, true, true } },
        { "upgrade ignored",
                "GET / HTTP/1.1\r\n" H "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
                { "GET", "/", "", NULL, HTTP_BODY_NONE, 0, true, false } },
        { "8-bit and empty values", "GET / HTTP/1.1\r\n" H "X: \xc3\xbc\r\nY:\r\nZ: \t \r\n\r\n",
                { "GET", "/", "", NULL, HTTP_BODY_NONE, 0, true, false } },
};

START_TEST(parses)
{
        const struct http_head *want = &good_cases[_i].want;
        CLEANUP(freep) char *bytes = strdup(good_cases[_i].bytes);
        struct http_head h;
        size_t len = strlen(bytes);

        ck_assert_uint_eq(http_head_end(bytes, len, 0), len);
        ck_assert_msg(http_head_parse(&h, bytes, len) == 0, "%s", good_cases[_i].name);
        ck_assert_str_eq(h.method, want->method);
        ck_assert_str_eq(h.path, want->path);
        ck_assert_str_eq(h.query, want->query);
        ck_assert_pstr_eq(h.bearer, want->bearer);
        ck_assert_int_eq(h.body, want->body);
        ck_assert_uint_eq(h.length, want->length);
        ck_assert_int_eq(h.keep_alive, want->keep_alive);
        ck_assert_int_eq(h.expect_continue, want->expect_continue);
}
END_TEST

static const struct {
        const char *bytes;
        int want;
} bad_cases[] = {
        { "GET /\r\n\r\n", ERR_MALFORMED }, /* HTTP/0.9 */
        { "GET  / HTTP/1.1\r\n" H "\r\n", ERR_MALFORMED },
        { "GET / x HTTP/1.1\r\n" H "\r\n", ERR_MALFORMED },
        { "GET /  HTTP/1.1\r\n" H "\r\n", ERR_MALFORMED },
        { " GET / HTTP/1.1\r\n" H "\r\n", ERR_MALFORMED },
        { "GET / HTTP/1.1 \r\n" H "\r\n", ERR_MALFORMED },
        { "G(T / HTTP/1.1\r\n" H "\r\n", ERR_MALFORMED },
        { "GET x HTTP/1.1\r\n" H "\r\n", ERR_MALFORMED },
        { "GET /a\tb HTTP/1.1\r\n" H "\r\n", ERR_MALFORMED },
        { "GET /\xc3\xbc HTTP/1.1\r\n" H "\r\n", ERR_MALFORMED },
        { "GET /#a HTTP/1.1\r\n" H "\r\n", ERR_MALFORMED },
        { "GET http://a HTTP/1.1\r\n" H "\r\n", ERR_REJECTED },
        { "CONNECT a:1 HTTP/1.1\r\n" H "\r\n", ERR_MALFORMED },
        { "GET / HTTP/11\r\n" H "\r\n", ERR_MALFORMED },
        { "GET / http/1.1\r\n" H "\r\n", ERR_MALFORMED },
        { "GET / HTTP/1.10\r\n" H "\r\n", ERR_MALFORMED },
        { "GET / HTTP/1.2\r\n" H "\r\n", ERR_REJECTED },
        { "PRI * HTTP/2.0\r\n\r\n", ERR_REJECTED },
        { "GET / HTTP/1.1\r\n\r\n", ERR_MALFORMED }, /* no Host */
        { "GET / HTTP/1.1\r\n" H H "\r\n", ERR_MALFORMED },
        { "GET / HTTP/1.1\n" H "\r\n", ERR_MALFORMED },
        { "GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", ERR_MALFORMED },
        { "GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", ERR_MALFORMED },
        { "GET / HTTP/1.1\r\n" H "X : y\r\n\r\n", ERR_MALFORMED },
        { "GET / HTTP/1.1\r\n" H "X: y\r\n z\r\n\r\n", ERR_MALFORMED },
        { "GET / HTTP/1.1\r\n" H "X\r\n\r\n", ERR_MALFORMED },
        { "GET / HTTP/1.1\r\n" H ": y\r\n\r\n", ERR_MALFORMED },
        { "GET / HTTP/1.1\r\n" H "X: \x01\r\n\r\n", ERR_MALFORMED },
        { "GET / HTTP/1.1\r\n" H "X: \x7f\r\n\r\n", ERR_MALFORMED },
        { "GET / HTTP/1.1\r\n" H "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
                ERR_MALFORMED },
        { "POST / HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\n", ERR_MALFORMED },
        { "POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n", ERR_MALFORMED },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 5 6\r\n\r\n", ERR_MALFORMED },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n", ERR_MALFORMED },
        { "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", ERR_MALFORMED },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1000000000000000000\r\n\r\n", ERR_MALFORMED },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", ERR_MALFORMED },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", ERR_MALFORMED },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                ERR_MALFORMED },
        { "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", ERR_MALFORMED },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", ERR_REJECTED },
        { "POST / HTTP/1.1\r\n" H "Expect: 200-ok\r\n\r\n", ERR_REJECTED },
};

START_TEST(refuses)
{
        CLEANUP(freep) char *bytes = strdup(bad_cases[_i].bytes);
        struct http_head h = { .method = "untouched" };

        ck_assert_msg(
                http_head_parse(&h, bytes, strlen(bytes)) == bad_cases[_i].want, "%s", bad_cases[_i].bytes);
        ck_assert_str_eq(h.method, "untouched");
}
END_TEST

START_TEST(refuses_zero_bytes)
{
        static const char text[] = "GET / HTTP/1.1\r\n" H "X: y\r\n\r\n";

        for (size_t i = 0; i < sizeof(text) - 5; i++) {
                char bytes[sizeof(text)];
                struct http_head h;

                memcpy(bytes, text, sizeof(text));
                bytes[i] = '\0';
                ck_assert_msg(http_head_parse(&h, bytes, sizeof(text) - 1) < 0, "at %zu", i);
        }
}
END_TEST

START_TEST(finds_the_end)
{
        static const char text[] = "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        const size_t end = 4 + 16 + 9 + 2;

        for (size_t len = 0; len < sizeof(text); len++)
                for (size_t from = 0; from <= MIN(len, end - 1); from++)
                        ck_assert_msg(http_head_end(text, len, from) == (len < end ? 0 : end), "%zu %zu", len,
                                from);
        ck_assert_uint_eq(http_head_end("\r\n\r\n\r\n\r\n", 8, 0), 0);
        ck_assert_uint_eq(http_head_end("\r\r\r\n\r\n", 6, 0), 6);
}
END_TEST

static const struct {
        const char *name, *bytes;
        int want; /* the error, or 0; then all is taken but @rest */
        const char *body;
        bool done;
        size_t rest;
} chunk_cases[] = {
        { "none", "0\r\n\r\n", 0, "", true, 0 },
        { "one", "5\r\nhello\r\n0\r\n\r\n", 0, "hello", true, 0 },
        { "two", "5\r\nhello\r\n00b\r\n, you there\r\n0\r\n\r\n", 0, "hello, you there", true, 0 },
        { "hex", "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", 0, "01234567890123456789", true, 0 },
        { "extension", "1;a=\"b\"\r\nx\r\n0 \r\n\r\n", 0, "x", true, 0 },
        { "trailers", "1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n", 0, "x", true, 0 },
        { "more follows", "0\r\n\r\nGET", 0, "", true, 3 },
        { "not yet", "5\r\nhel", 0, "hel", false, 0 },
        { "no size", "\r\n", ERR_MALFORMED, "", false, 0 },
        { "only an extension", ";a\r\n", ERR_MALFORMED, "", false, 0 },
        { "no number", "x\r\n", ERR_MALFORMED, "", false, 0 },
        { "negative", "-1\r\n", ERR_MALFORMED, "", false, 0 },
        { "size with LF", "1\nx", ERR_MALFORMED, "", false, 0 },
        { "extension with LF", "1;\nx", ERR_MALFORMED, "", false, 0 },
        { "CR without LF", "1\rx", ERR_MALFORMED, "", false, 0 },
        { "too short", "1\r\nxy\r\n", ERR_MALFORMED, "x", false, 0 },
        { "data then no LF", "1\r\nx\rx", ERR_MALFORMED, "x", false, 0 },
        { "trailer with LF", "0\r\na\n", ERR_MALFORMED, "", false, 0 },
        { "end without LF", "0\r\n\rx", ERR_MALFORMED, "", false, 0 },
        { "too big", "28\r\n", ERR_TOO_BIG, "", false, 0 },
        { "too big together", "20\r\n01234567890123456789012345678901\r\n1\r\n", ERR_TOO_BIG,
                "01234567890123456789012345678901", false, 0 },
        { "huge", "fffffffffffffff\r\n", ERR_TOO_BIG, "", false, 0 },
        { "overflow", "ffffffffffffffff\r\n", ERR_MALFORMED, "", false, 0 },
};

START_TEST(reads_chunks)
{
        for (size_t step = 1; step < 40; step++) { /* however the bytes come */
                CLEANUP(buf_fini) struct buf body = { .max = 32 };
                struct http_chunks c = { 0 };
                size_t len = strlen(chunk_cases[_i].bytes), at = 0;
                int r = 0;

                while (at < len && r >= 0 && !http_chunks_done(&c)) {
                        r = http_chunks_read(&c, &body, chunk_cases[_i].bytes + at, MIN(step, len - at));
                        if (r > 0)
                                at += (size_t)r;
                }
                ck_assert_msg(
                        MIN(r, 0) == chunk_cases[_i].want, "%s: %d, step %zu", chunk_cases[_i].name, r, step);
                if (r >= 0)
                        ck_assert_uint_eq(at, len - chunk_cases[_i].rest);
                ck_assert_str_eq(buf_str(&body), chunk_cases[_i].body);
                ck_assert_int_eq(http_chunks_done(&c), chunk_cases[_i].done);
        }
}
END_TEST

START_TEST(bounds_chunk_lines)
{
        CLEANUP(buf_fini) struct buf body = { .max = 32 };
        struct http_chunks c = { 0 };
        char line[400];

        memset(line, 'x', sizeof(line));
        line[0] = '1';
        line[1] = ';';
        ck_assert_int_eq(http_chunks_read(&c, &body, line, sizeof(line)), ERR_MALFORMED);
        c = (struct http_chunks){ 0 };
        ck_assert_int_eq(http_chunks_read(&c, &body, "0\r\n", 3), 3);
        ck_assert_int_eq(http_chunks_read(&c, &body, line, sizeof(line)), ERR_MALFORMED);
}
END_TEST

START_TEST(chunks_without_memory)
{
        for (unsigned n = 0;; n++) {
                CLEANUP(buf_fini) struct buf body = { .max = 1000 };
                struct http_chunks c = { 0 };
                int r;

                fault_arm(n);
                r = http_chunks_read(&c, &body, "5\r\nhello\r\n0\r\n\r\n", 15);
                if (!fault_disarm())
                        break;
                ck_assert_int_eq(r, -ENOMEM);
        }
}
END_TEST

static const struct {
        int status;
        const char *type;
        size_t len;
        bool keep;
        int64_t date;
        const char *want;
} head_cases[] = {
        { 200, "text/plain", 2, true, 784111777,
                "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\n"
                "X-Content-Type-Options: nosniff\r\nContent-Length: 2\r\n\r\n" },
        { 401, NULL, 0, false, 951782400,
                "HTTP/1.1 401 Unauthorized\r\nDate: Tue, 29 Feb 2000 00:00:00 GMT\r\nWWW-Authenticate: Bearer\r\n"
                "Content-Length: 0\r\nConnection: close\r\n\r\n" },
        { 299, NULL, 0, true, 0,
                "HTTP/1.1 299 \r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n" },
};

START_TEST(writes_heads)
{
        CLEANUP(buf_fini) struct buf out = BUF_INIT;

        http_response_head(&out, head_cases[_i].status, head_cases[_i].type, head_cases[_i].len,
                head_cases[_i].keep, head_cases[_i].date);
        ck_assert_str_eq(buf_str(&out), head_cases[_i].want);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("http");
        TCase *tc = tcase_create("http");

        tcase_add_loop_test(tc, parses, 0, (int)ARRAY_LEN(good_cases));
        tcase_add_loop_test(tc, refuses, 0, (int)ARRAY_LEN(bad_cases));
        tcase_add_test(tc, refuses_zero_bytes);
        tcase_add_test(tc, finds_the_end);
        tcase_add_loop_test(tc, reads_chunks, 0, (int)ARRAY_LEN(chunk_cases));
        tcase_add_test(tc, bounds_chunk_lines);
        tcase_add_test(tc, chunks_without_memory);
        tcase_add_loop_test(tc, writes_heads, 0, (int)ARRAY_LEN(head_cases));
        suite_add_tcase(s, tc);
        return unit_main(s);
}
