/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/kube.h"
#include "test/lib/fakeapi.h"
#include "test/lib/fault.h"
#include "test/lib/kubeworld.h"
#include "test/lib/unit.h"
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- answers ---- */

#define STATUS_BODY \
        "{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":\"services \\\"x\\\" not found\",\"code\":404}"

static const struct {
        int status;
        const char *headers, *body;
        int code;
        unsigned retry_after_s;
        const char *error;
} answers[] = {
        { 200, "", "{\"kind\":\"Service\"}", 0, 0, "" },
        { 201, "", "", 0, 0, "" },
        { 404, "", STATUS_BODY, ERR_MISSING, 0, "services \"x\" not found" },
        { 409, "", "", ERR_CONFLICT, 0, "HTTP status 409" },
        { 410, "", "{}", ERR_GONE, 0, "HTTP status 410" },
        { 403, "", "not JSON", ERR_DENIED, 0, "HTTP status 403" },
        { 401, "", "{\"message\":5}", ERR_DENIED, 0, "HTTP status 401" },
        { 429, "Retry-After: 7\r\n", "{\"message\":\"slow\"}", ERR_BUSY, 7, "slow" },
        { 503, "Retry-After: 99999999\r\n", "", ERR_BUSY, UINT16_MAX, "HTTP status 503" },
        { 500, "", "<html>", ERR_BUSY, 0, "HTTP status 500" },
        { 422, "", "", ERR_REJECTED, 0, "HTTP status 422" },
        { 400, "", "", ERR_REJECTED, 0, "HTTP status 400" },
        { 302, "Location: http://127.0.0.1:1/\r\n", "", ERR_REJECTED, 0, "HTTP status 302" },
};

START_TEST(answers_get_a_code_and_words)
{
        struct world w = { .status = 0 };
        struct kube_response res;

        world_open(&w, answer, NULL);
        w.status = answers[_i].status;
        w.headers = answers[_i].headers;
        w.body = answers[_i].body;
        get(&w, 0, "/x");
        ck_assert_uint_eq(w.seen[0].n_done, 0);
        wait_done(&w, 0);
        ck_assert_int_eq(w.seen[0].code, 0);
        ck_assert_int_eq(w.seen[0].status, answers[_i].status);
        res = (struct kube_response){ .status = w.seen[0].status };
        ck_assert_int_eq(kube_response_code(&res), answers[_i].code);
        ck_assert_str_eq(buf_str(&w.seen[0].body), answers[_i].body);
        ck_assert_str_eq(buf_str(&w.seen[0].error), answers[_i].error);
        ck_assert_uint_eq(w.seen[0].retry_after_s, answers[_i].retry_after_s);
        ck_assert(kube_reachable(w.k));
        world_close(&w);
}
END_TEST

static const struct {
        const char *method, *type, *body, *want_type;
} sends[] = {
        { "GET", NULL, NULL, NULL },
        { "DELETE", NULL, NULL, NULL },
        { "DELETE", NULL, "{\"propagationPolicy\":\"Background\"}", "application/json" },
        { "POST", NULL, "{\"a\":1}", "application/json" },
        { "PUT", NULL, "", "application/json" },
        { "PATCH", KUBE_MERGE_PATCH, "{\"b\":\"\xc3\xa4\"}", KUBE_MERGE_PATCH },
        { "PATCH", KUBE_STRATEGIC_PATCH, "{}", KUBE_STRATEGIC_PATCH },
};

START_TEST(requests_go_out_as_called)
{
        const struct kube_conf conf = { .token = (char[]){ "s3cret" } };
        struct world w = { .status = 0 };
        char line[128];

        world_open_conf(&w, answer, NULL, &conf);
        ck_assert_int_eq(send_call(&w, 0,
                                 (struct kube_call){ .method = sends[_i].method,
                                         .path = "/api/v1/namespaces/a/services?x=%2F..",
                                         .content_type = sends[_i].type,
                                         .body = sends[_i].body,
                                         .body_len = sends[_i].body ? strlen(sends[_i].body) : 0 }),
                0);
        wait_done(&w, 0);
        ck_assert_int_eq(w.seen[0].code, 0);
        (void)snprintf(line, sizeof(line), "%s /api/v1/namespaces/a/services?x=%%2F..\n", sends[_i].method);
        ck_assert_str_eq(buf_str(&w.log), line);
        ck_assert_str_eq(buf_str(&w.last_body), sends[_i].body ? sends[_i].body : "");
        ck_assert_ptr_nonnull(strstr(buf_str(&w.last_headers), "\r\nAuthorization: Bearer s3cret\r\n"));
        ck_assert_ptr_nonnull(strstr(buf_str(&w.last_headers), "\r\nAccept: application/json\r\n"));
        ck_assert_ptr_nonnull(strstr(buf_str(&w.last_headers), "\r\nUser-Agent: check_kube/"));
        ck_assert_ptr_null(strstr(buf_str(&w.last_headers), "Accept-Encoding"));
        ck_assert_ptr_null(strstr(buf_str(&w.last_headers), "Expect"));
        (void)snprintf(line, sizeof(line), "\r\nContent-Type: %s\r\n",
                sends[_i].want_type ? sends[_i].want_type : "");
        ck_assert_int_eq(strstr(buf_str(&w.last_headers), line) != NULL, sends[_i].want_type != NULL);
        world_close(&w);
}
END_TEST

START_TEST(a_large_body_arrives_whole)
{
        struct world w = { .status = 0 };
        size_t len = 300000;
        char *body = malloc(len);

        ck_assert_ptr_nonnull(body);
        memset(body, 'x', len);
        world_open(&w, answer, NULL);
        ck_assert_int_eq(
                send_call(&w, 0,
                        (struct kube_call){ .method = "POST", .path = "/", .body = body, .body_len = len }),
                0);
        memset(body, 'y', len); /* it was copied */
        wait_done(&w, 0);
        ck_assert_int_eq(w.seen[0].status, 200);
        ck_assert_uint_eq(w.last_body.len, len);
        ck_assert(w.last_body.p[0] == 'x' && w.last_body.p[len - 1] == 'x');
        free(body);
        world_close(&w);
}
END_TEST

/* ---- the queue ---- */

static bool all_done(void *ctx)
{
        struct world *w = ctx;

        while (w->n_held > 0)
                fake_reply(w->held[--w->n_held], 200, "", "");
        for (unsigned i = 0; i < 40; i++)
                if (w->seen[i].n_done == 0)
                        return false;
        return true;
}

START_TEST(at_most_so_many_at_once)
{
        const struct kube_limits limits = { .max_in_flight = 4 };
        struct world w = { .status = 0 };

        world_open(&w, hold, &limits);
        for (unsigned i = 0; i < 40; i++)
                get(&w, i, "/x");
        fake_run_for(&w.loop, 300);
        ck_assert_uint_eq(w.n_held, 4);
        ck_assert(fake_run_until(&w.loop, all_done, &w));
        ck_assert_uint_eq(w.most_held, 4);
        ck_assert_uint_le(fake_connections(w.f), 4); /* connections are used again */
        for (unsigned i = 0; i < 40; i++)
                ck_assert(w.seen[i].n_done == 1 && w.seen[i].code == 0);
        world_close(&w);
}
END_TEST

START_TEST(streams_do_not_count)
{
        const struct kube_limits limits = { .max_in_flight = 1 };
        struct world w = { .status = 0 };

        world_open(&w, hold, &limits);
        get(&w, 0, "/held");
        get(&w, 1, "/waits");
        for (unsigned i = 2; i < 6; i++)
                watch(&w, i, "/stream");
        fake_run_for(&w.loop, 300);
        ck_assert_uint_eq(w.n_held, 5);
        ck_assert_ptr_null(strstr(buf_str(&w.log), "waits"));
        world_close(&w);
        for (unsigned i = 0; i < 6; i++)
                ck_assert(w.seen[i].n_done == 1 && w.seen[i].code == -ECANCELED);
}
END_TEST

START_TEST(the_queue_is_bounded)
{
        const struct kube_limits limits = { .max_in_flight = 1, .max_queued = 3 };
        struct world w = { .status = 0 };

        world_open(&w, hold, &limits);
        for (unsigned i = 0; i < 3; i++)
                get(&w, i, "/x");
        ck_assert_int_eq(send_call(&w, 3, (struct kube_call){ .method = "GET", .path = "/x" }), -ENOBUFS);
        watch(&w, 4, "/stream"); /* not of the queue */
        ck_assert(fake_run_until(&w.loop, is_held, &w));
        get(&w, 5, "/x"); /* one has left it */
        world_close(&w);
        ck_assert_uint_eq(w.seen[3].n_done, 0);
}
END_TEST

/* ---- failures ---- */

enum way {
        RESET,
        HANG_UP,
        GARBAGE,
        CUT_BODY,
        CUT_CHUNK,
        RESET_IN_BODY,
        STALL,
        STALL_IN_BODY,
        STALL_IN_ERROR
};

static enum way way;

static void misbehave(void *ctx, struct fake_conn *c, const struct fake_request *req)
{
        struct world *w = ctx;

        buf_addf(&w->log, "%s\n", req->target);
        switch (way) {
        case RESET: fake_reset(c); break;
        case HANG_UP: fake_hang_up(c); break;
        case GARBAGE: fake_raw(c, "SSH-2.0-OpenSSH_9.2\r\n\r\n", 23); break;
        case CUT_BODY:
                fake_raw(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", 42);
                fake_hang_up(c);
                break;
        case CUT_CHUNK:
                fake_begin(c, 200, "");
                fake_raw(c, "10\r\nabc", 7);
                fake_hang_up(c);
                break;
        case RESET_IN_BODY:
                fake_begin(c, 200, "");
                fake_chunk(c, "abc");
                fake_reset(c);
                break;
        case STALL: break;
        case STALL_IN_ERROR: fake_raw(c, "HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nabc", 43); break;
        case STALL_IN_BODY: fake_raw(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", 42); break;
        }
}

static const struct {
        enum way way;
        int code;
} failures[] = {
        { RESET, -ECONNRESET },
        { HANG_UP, -ECONNRESET },
        { GARBAGE, -EPROTO },
        { CUT_BODY, -ECONNRESET },
        { CUT_CHUNK, -ECONNRESET },
        { RESET_IN_BODY, -ECONNRESET },
        { STALL, -ETIMEDOUT },
        { STALL_IN_BODY, -ETIMEDOUT },
};

START_TEST(failures_are_told_once)
{
        const struct kube_limits limits = { .request_ms = 500 };
        struct world w = { .status = 0 };

        way = failures[_i].way;
        world_open(&w, misbehave, &limits);
        get(&w, 0, "/x");
        wait_done(&w, 0);
        ck_assert_int_eq(w.seen[0].code, failures[_i].code);
        ck_assert_int_eq(w.seen[0].status, 0);
        ck_assert_str_eq(buf_str(&w.seen[0].body), "");
        ck_assert_str_ne(buf_str(&w.seen[0].error), "");
        world_close(&w);
}
END_TEST

START_TEST(nobody_listens)
{
        const struct kube_conf conf = { .server = (char[]){ "http://127.0.0.1:1/" } };
        struct world w = { .status = 0 };
        struct err e;

        ck_assert_int_eq(uv_loop_init(&w.loop), 0);
        w.f = fake_new(&w.loop, hold, &w);
        ck_assert_int_eq(kube_new(&w.k, &w.loop, &conf, NULL, NULL, &e), 0);
        get(&w, 0, "/x");
        wait_done(&w, 0);
        ck_assert_int_eq(w.seen[0].code, -ECONNREFUSED);
        ck_assert_str_ne(buf_str(&w.seen[0].error), "");
        ck_assert(!kube_reachable(w.k));
        world_close(&w);
}
END_TEST

static void big(void *ctx, struct fake_conn *c, const struct fake_request *req UNUSED)
{
        struct world *w = ctx;
        char body[3001];

        memset(body, 'x', 3000);
        body[3000] = '\0';
        fake_reply(c, w->status, "", body);
}

START_TEST(answers_are_bounded)
{
        const struct kube_limits limits = { .max_response = 2999 }, enough = { .max_response = 3000 };
        struct world w = { .status = 0 }, v = { .status = 0 };

        world_open(&w, big, &limits);
        get(&w, 0, "/x");
        wait_done(&w, 0);
        ck_assert_int_eq(w.seen[0].code, ERR_TOO_BIG);
        w.status = 500; /* of an error, the beginning is enough */
        get(&w, 1, "/x");
        wait_done(&w, 1);
        ck_assert_int_eq(w.seen[1].status, 500);
        ck_assert_uint_eq(w.seen[1].body.len, 2999);
        world_close(&w);
        world_open(&v, big, &enough);
        get(&v, 0, "/x");
        wait_done(&v, 0);
        ck_assert_int_eq(v.seen[0].code, 0);
        ck_assert_uint_eq(v.seen[0].body.len, 3000);
        world_close(&v);
}
END_TEST

/* ---- streams ---- */

static bool has_data(void *ctx)
{
        return ((struct seen *)ctx)->data.len >= 3;
}

START_TEST(a_stream_gives_bytes_as_they_come)
{
        const struct kube_limits limits = { .request_ms = 100 };
        struct world w = { .status = 0 };

        world_open(&w, hold, &limits);
        watch(&w, 0, "/s");
        ck_assert(fake_run_until(&w.loop, is_held, &w));
        ck_assert_uint_eq(w.seen[0].n_opened, 0);
        fake_begin(w.held[0], 200, "");
        ck_assert(fake_run_until(&w.loop, has_opened, &w.seen[0]));
        fake_chunk(w.held[0], "abc");
        ck_assert(fake_run_until(&w.loop, has_data, &w.seen[0]));
        fake_run_for(&w.loop, 300); /* longer than any request may take */
        ck_assert_uint_eq(w.seen[0].n_done, 0);
        fake_chunk(w.held[0], "def");
        fake_end(w.held[0]);
        wait_done(&w, 0);
        ck_assert_int_eq(w.seen[0].code, 0);
        ck_assert_int_eq(w.seen[0].status, 200);
        ck_assert_str_eq(buf_str(&w.seen[0].data), "abcdef");
        ck_assert_str_eq(buf_str(&w.seen[0].body), "");
        ck_assert_uint_eq(w.seen[0].n_opened, 1);
        world_close(&w);
}
END_TEST

START_TEST(a_refused_stream_gives_no_data)
{
        struct world w = { .status = 0 };

        world_open(&w, answer, NULL);
        w.status = 410;
        w.body = "{\"message\":\"too old\"}";
        watch(&w, 0, "/s");
        wait_done(&w, 0);
        ck_assert_int_eq(w.seen[0].status, 410);
        ck_assert_str_eq(buf_str(&w.seen[0].error), "too old");
        ck_assert_str_eq(buf_str(&w.seen[0].body), w.body);
        ck_assert_uint_eq(w.seen[0].n_opened, 0);
        world_close(&w);
}
END_TEST

START_TEST(a_stream_can_be_ended_by_its_reader)
{
        struct world w = { .status = 0 };

        world_open(&w, hold, NULL);
        watch(&w, 0, "/s");
        watch(&w, 1, "/s");
        w.seen[0].stop_with = -EINTR;
        w.seen[1].cancel_in_data = true;
        ck_assert(fake_run_until(&w.loop, is_held, &w));
        fake_run_for(&w.loop, 50);
        for (unsigned i = 0; i < w.n_held; i++) {
                fake_begin(w.held[i], 200, "");
                fake_chunk(w.held[i], "abc");
                fake_chunk(w.held[i], "def");
        }
        wait_done(&w, 0);
        wait_done(&w, 1);
        ck_assert_int_eq(w.seen[0].code, -EINTR);
        ck_assert_int_eq(w.seen[1].code, -ECANCELED);
        world_close(&w);
}
END_TEST

static const enum way silences[] = { STALL, STALL_IN_ERROR };

START_TEST(a_stream_must_be_answered)
{
        struct world w = { .status = 0 };

        way = silences[_i];
        world_open(&w, misbehave, NULL);
        ck_assert_int_eq(send_call(&w, 0,
                                 (struct kube_call){
                                         .method = "GET", .path = "/s", .stream = true, .timeout_ms = 200 }),
                0);
        wait_done(&w, 0);
        ck_assert_int_eq(w.seen[0].code, -ETIMEDOUT);
        world_close(&w);
}
END_TEST
int main(void)
{
        Suite *s = suite_create("kube");
        TCase *tc = tcase_create("answers"), *queue = tcase_create("queue"), *fail = tcase_create("failures"),
              *stream = tcase_create("streams"), *token = tcase_create("tokens"), *end = tcase_create("ends"),
              *memory = tcase_create("memory");

        for (size_t i = 0; i < 7; i++)
                tcase_set_timeout((TCase *[]){ tc, queue, fail, stream, token, end, memory }[i], 60);
        tcase_add_loop_test(tc, answers_get_a_code_and_words, 0, (int)ARRAY_LEN(answers));
        tcase_add_loop_test(tc, requests_go_out_as_called, 0, (int)ARRAY_LEN(sends));
        tcase_add_test(tc, a_large_body_arrives_whole);
        suite_add_tcase(s, tc);
        tcase_add_test(queue, at_most_so_many_at_once);
        tcase_add_test(queue, streams_do_not_count);
        tcase_add_test(queue, the_queue_is_bounded);
        suite_add_tcase(s, queue);
        tcase_add_loop_test(fail, failures_are_told_once, 0, (int)ARRAY_LEN(failures));
        tcase_add_test(fail, nobody_listens);
        tcase_add_test(fail, answers_are_bounded);
        suite_add_tcase(s, fail);
        tcase_add_test(stream, a_stream_gives_bytes_as_they_come);
        tcase_add_test(stream, a_refused_stream_gives_no_data);
        tcase_add_test(stream, a_stream_can_be_ended_by_its_reader);
        tcase_add_loop_test(stream, a_stream_must_be_answered, 0, (int)ARRAY_LEN(silences));
        suite_add_tcase(s, stream);
        suite_add_tcase(s, token);
        suite_add_tcase(s, end);
        suite_add_tcase(s, memory);
        return unit_main(s);
}
