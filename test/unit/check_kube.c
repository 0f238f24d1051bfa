/* SPDX-License-Identifier: Apache-2.0 */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/kube/kube.h"
#include "test/lib/fakeapi.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define N_MAX 64

struct seen { /* one request of the client's */
        unsigned n_done, n_opened;
        int code, status;
        unsigned retry_after_s;
        struct buf body, error, data; /* data: what a stream gave */
        struct kube_request *req;
        int stop_with; /* on_data returns it for the first bytes */
        bool cancel_in_data;
        bool inside_send; /* a callback from here would be from inside kube_send() */
};

struct world {
        uv_loop_t loop;
        struct fake *f;
        struct kube *k;
        struct seen seen[N_MAX];
        unsigned n_closed;
        struct fake_conn *held[N_MAX]; /* answers that the handler owes */
        unsigned n_held, most_held;
        struct buf log; /* "GET /path\n" of every request */
        struct buf last_headers, last_body;
        char want_token[32];
        int status; /* of the handler's answers */
        const char *headers, *body;
};

static void hold(void *ctx, struct fake_conn *c, const struct fake_request *req)
{
        struct world *w = ctx;

        buf_addf(&w->log, "%s %s\n", req->method, req->target);
        w->held[w->n_held++] = c;
        w->most_held = MAX(w->most_held, w->n_held);
}

static void answer(void *ctx, struct fake_conn *c, const struct fake_request *req)
{
        struct world *w = ctx;

        buf_addf(&w->log, "%s %s\n", req->method, req->target);
        buf_reset(&w->last_headers);
        buf_adds(&w->last_headers, req->headers);
        buf_reset(&w->last_body);
        buf_add(&w->last_body, req->body, req->body_len);
        fake_reply(c, w->status, w->headers, w->body);
}

static void on_done(void *ctx, const struct kube_response *res)
{
        struct seen *s = ctx;
        bool paused = fault_pause();

        ck_assert(!s->inside_send);
        s->req = NULL;
        s->n_done++;
        s->code = res->code;
        s->status = res->status;
        s->retry_after_s = res->retry_after_s;
        ck_assert_uint_eq(strlen(res->body), res->len);
        buf_adds(&s->body, res->body);
        buf_adds(&s->error, res->error);
        fault_resume(paused);
}

static int on_data(void *ctx, const char *bytes, size_t len)
{
        struct seen *s = ctx;

        ck_assert_uint_eq(s->n_done, 0);
        if (len == 0) {
                s->n_opened++;
                return 0;
        }
        ck_assert_uint_eq(s->n_opened, 1);
        buf_add(&s->data, bytes, len);
        if (s->cancel_in_data)
                kube_cancel(s->req);
        return s->stop_with;
}

static void on_closed(void *ctx)
{
        ++*(unsigned *)ctx;
}

/* ---- a world to test in ---- */

static void world_open_conf(
        struct world *w, fake_handler handler, const struct kube_limits *limits, const struct kube_conf *more)
{
        struct kube_conf conf = *more;
        struct err e = { "" };
        int r;

        ck_assert_int_eq(uv_loop_init(&w->loop), 0);
        w->f = fake_new(&w->loop, handler, w);
        w->status = 200;
        w->headers = w->body = "";
        conf.server = strdup(fake_url(w->f));
        r = kube_new(&w->k, &w->loop, &conf, limits, NULL, &e);
        ck_assert_msg(r == 0, "%d %s", r, e.text);
        free(conf.server);
}

static void world_open(struct world *w, fake_handler handler, const struct kube_limits *limits)
{
        world_open_conf(w, handler, limits, &(struct kube_conf){ .server = NULL });
}

static void world_close(struct world *w)
{
        if (w->n_closed == 0) {
                kube_close(w->k, on_closed, &w->n_closed);
                kube_close(w->k, on_closed, &w->n_closed); /* idempotent */
        }
        fake_close(w->f);
        fake_finish(&w->loop);
        ck_assert_uint_eq(w->n_closed, 1);
        for (unsigned i = 0; i < N_MAX; i++) {
                buf_fini(&w->seen[i].body);
                buf_fini(&w->seen[i].error);
                buf_fini(&w->seen[i].data);
        }
        buf_fini(&w->log);
        buf_fini(&w->last_headers);
        buf_fini(&w->last_body);
}

static int send_call(struct world *w, unsigned i, struct kube_call call)
{
        struct seen *s = &w->seen[i];
        int r;

        call.on_done = on_done;
        call.on_data = on_data;
        call.ctx = s;
        s->inside_send = true;
        r = kube_send(w->k, &s->req, &call);
        s->inside_send = false;
        return r;
}

static void get(struct world *w, unsigned i, const char *path)
{
        ck_assert_int_eq(send_call(w, i, (struct kube_call){ .method = "GET", .path = path }), 0);
}

static void watch(struct world *w, unsigned i, const char *path)
{
        ck_assert_int_eq(
                send_call(w, i, (struct kube_call){ .method = "GET", .path = path, .stream = true }), 0);
}

static bool is_done(void *ctx)
{
        return ((struct seen *)ctx)->n_done > 0;
}

static void wait_done(struct world *w, unsigned i)
{
        ck_assert(fake_run_until(&w->loop, is_done, &w->seen[i]));
        ck_assert_uint_eq(w->seen[i].n_done, 1);
}

static bool is_held(void *ctx)
{
        return ((struct world *)ctx)->n_held > 0;
}

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

static bool has_opened(void *ctx)
{
        return ((struct seen *)ctx)->n_opened > 0;
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

/* ---- a frozen server ---- */

START_TEST(silence_is_noticed_and_healed)
{
        const struct kube_limits limits = { .silence_ms = 300 };
        struct world w = { .status = 0 };

        world_open(&w, hold, &limits);
        watch(&w, 0, "/s");
        ck_assert(fake_run_until(&w.loop, is_held, &w));
        fake_begin(w.held[0], 200, "");
        ck_assert(fake_run_until(&w.loop, has_opened, &w.seen[0]));
        fake_freeze(w.f, true);
        get(&w, 1, "/lost");
        wait_done(&w, 0);
        wait_done(&w, 1);
        ck_assert_int_eq(w.seen[0].code, -ETIMEDOUT);
        ck_assert_int_eq(w.seen[1].code, -ETIMEDOUT);
        ck_assert(!kube_reachable(w.k));
        fake_freeze(w.f, false);
        fake_run_for(&w.loop, 50); /* the old connections' requests arrive now */
        w.n_held = 0;
        buf_reset(&w.log);
        get(&w, 2, "/again");
        ck_assert(fake_run_until(&w.loop, is_held, &w));
        ck_assert_str_eq(buf_str(&w.log), "GET /again\n");
        fake_reply(w.held[0], 200, "", "");
        wait_done(&w, 2);
        ck_assert_int_eq(w.seen[2].status, 200);
        ck_assert(kube_reachable(w.k));
        world_close(&w);
}
END_TEST

static void answer_probes(void *ctx, struct fake_conn *c, const struct fake_request *req)
{
        struct world *w = ctx;

        if (strcmp(req->target, "/version") == 0)
                fake_reply(c, w->status, "", "{}");
        hold(ctx, c, req);
}

START_TEST(a_quiet_but_living_server_is_kept)
{
        const struct kube_limits limits = { .silence_ms = 100 };
        struct world w = { .status = 0 };

        world_open(&w, answer_probes, &limits);
        w.status = 403; /* any answer is a sign of life */
        watch(&w, 0, "/s");
        ck_assert(fake_run_until(&w.loop, is_held, &w));
        fake_begin(w.held[0], 200, "");
        fake_run_for(&w.loop, 1000);
        ck_assert_uint_eq(w.seen[0].n_done, 0);
        ck_assert_uint_ge(fake_requests(w.f), 3);
        ck_assert_uint_le(fake_requests(w.f), 12);
        world_close(&w);
}
END_TEST

START_TEST(nothing_open_nothing_asked)
{
        const struct kube_limits limits = { .silence_ms = 50 };
        struct world w = { .status = 0 };

        world_open(&w, answer, &limits);
        get(&w, 0, "/x");
        wait_done(&w, 0);
        fake_run_for(&w.loop, 400);
        ck_assert_uint_eq(fake_requests(w.f), 1);
        world_close(&w);
}
END_TEST

/* ---- tokens ---- */

static void put_file(const char *path, const char *text)
{
        char tmp[128];
        FILE *f;

        (void)snprintf(tmp, sizeof(tmp), "%s.new", path);
        f = fopen(tmp, "w");
        ck_assert_ptr_nonnull(f);
        ck_assert_int_ge(fputs(text, f), 0);
        ck_assert_int_eq(fclose(f), 0);
        ck_assert_int_eq(rename(tmp, path), 0); /* as kubelet does: never half a file */
}

static void check_token(void *ctx, struct fake_conn *c, const struct fake_request *req)
{
        struct world *w = ctx;
        char line[128];

        (void)snprintf(line, sizeof(line), "\r\nAuthorization: Bearer %s\r\n", w->want_token);
        fake_reply(c, strstr(req->headers, line) ? 200 : 401, "", "{\"message\":\"Unauthorized\"}");
}

static void token_world(struct world *w, char *path)
{
        const struct kube_conf conf = { .token = (char[]){ "not used" }, .token_file = path };
        int fd = mkstemp(path);

        ck_assert_int_ge(fd, 0);
        (void)close(fd);
        put_file(path, "one\n");
        (void)snprintf(w->want_token, sizeof(w->want_token), "one");
        world_open_conf(w, check_token, NULL, &conf);
        get(w, 0, "/x");
        wait_done(w, 0);
        ck_assert_int_eq(w->seen[0].status, 200);
}

START_TEST(a_401_reads_the_token_again)
{
        char path[] = "/tmp/check_kube.XXXXXX";
        struct world w = { .status = 0 };

        token_world(&w, path);
        put_file(path, "two");
        (void)snprintf(w.want_token, sizeof(w.want_token), "two");
        for (unsigned i = 1; i < 20; i++)
                get(&w, i, "/x");
        watch(&w, 20, "/s");
        for (unsigned i = 1; i <= 20; i++)
                wait_done(&w, i);
        for (unsigned i = 1; i <= 20; i++)
                ck_assert_int_eq(w.seen[i].status, 200);
        (void)unlink(path);
        world_close(&w);
}
END_TEST

START_TEST(a_401_with_the_same_token_is_told)
{
        char path[] = "/tmp/check_kube.XXXXXX";
        struct world w = { .status = 0 };
        unsigned before;

        token_world(&w, path);
        (void)snprintf(w.want_token, sizeof(w.want_token), "unknown");
        before = fake_requests(w.f);
        get(&w, 1, "/x");
        wait_done(&w, 1);
        ck_assert_int_eq(w.seen[1].status, 401);
        ck_assert_str_eq(buf_str(&w.seen[1].error), "Unauthorized");
        ck_assert_uint_eq(fake_requests(w.f), before + 1);
        (void)unlink(path); /* and a file that is gone changes nothing */
        get(&w, 2, "/x");
        wait_done(&w, 2);
        ck_assert_int_eq(w.seen[2].status, 401);
        (void)snprintf(w.want_token, sizeof(w.want_token), "one");
        get(&w, 3, "/x");
        wait_done(&w, 3);
        ck_assert_int_eq(w.seen[3].status, 200);
        world_close(&w);
}
END_TEST

static char *changing_file;

static void never_content(void *ctx UNUSED, struct fake_conn *c, const struct fake_request *req UNUSED)
{
        static unsigned n;
        char text[16];

        (void)snprintf(text, sizeof(text), "token-%u", n++);
        put_file(changing_file, text);
        fake_reply(c, 401, "", "");
}

START_TEST(a_401_is_tried_again_only_once)
{
        char path[] = "/tmp/check_kube.XXXXXX";
        const struct kube_conf conf = { .token_file = path };
        struct world w = { .status = 0 };
        int fd = mkstemp(path);

        ck_assert_int_ge(fd, 0);
        (void)close(fd);
        changing_file = path;
        world_open_conf(&w, never_content, NULL, &conf);
        get(&w, 0, "/x");
        wait_done(&w, 0);
        ck_assert_int_eq(w.seen[0].status, 401);
        ck_assert_uint_eq(fake_requests(w.f), 2);
        (void)unlink(path);
        world_close(&w);
}
END_TEST

static bool sent_two(void *ctx)
{
        struct world *w = ctx;

        if (w->seen[1].n_done > 0) { /* ask again and again */
                w->seen[1].n_done = 0;
                get(w, 1, "/x");
        }
        return strstr(buf_str(&w->last_headers), "\r\nAuthorization: Bearer two\r\n") != NULL;
}

START_TEST(a_new_token_is_found_without_a_401)
{
        char path[] = "/tmp/check_kube.XXXXXX";
        const struct kube_conf conf = { .token_file = path };
        struct world w = { .status = 0 };
        int fd = mkstemp(path);

        ck_assert_int_ge(fd, 0);
        (void)close(fd);
        put_file(path, "one\n");
        world_open_conf(&w, answer, NULL, &conf);
        get(&w, 1, "/x");
        wait_done(&w, 1);
        ck_assert_ptr_nonnull(strstr(buf_str(&w.last_headers), "\r\nAuthorization: Bearer one\r\n"));
        put_file(path, "two");
        ck_assert(fake_run_until(&w.loop, sent_two, &w));
        (void)unlink(path);
        world_close(&w);
}
END_TEST

/* ---- ends ---- */

/* Cancels at every state a request goes through, one loop turn later each time. */
START_TEST(cancel_at_any_time)
{
        for (unsigned turns = 0; turns < 40; turns++) {
                struct world w = { .status = 0 };

                world_open(&w, answer, NULL);
                w.body = "{}";
                get(&w, 0, "/x");
                watch(&w, 1, "/s");
                for (unsigned i = 0; i < turns; i++)
                        (void)uv_run(&w.loop, UV_RUN_NOWAIT);
                for (unsigned i = 0; i < 2; i++) {
                        if (!w.seen[i].req)
                                continue;
                        kube_cancel(w.seen[i].req);
                        kube_cancel(w.seen[i].req); /* harmless */
                        ck_assert_uint_eq(w.seen[i].n_done, 0);
                        wait_done(&w, i);
                        ck_assert_int_eq(w.seen[i].code, -ECANCELED);
                        ck_assert_int_eq(w.seen[i].status, 0);
                }
                get(&w, 2, "/next"); /* the client is none the worse */
                wait_done(&w, 2);
                ck_assert_int_eq(w.seen[2].status, 200);
                world_close(&w);
        }
}
END_TEST

START_TEST(close_at_any_time)
{
        for (unsigned turns = 0; turns < 80; turns++) {
                const struct kube_limits limits = { .max_in_flight = 2, .silence_ms = 1 };
                struct world w = { .status = 0 };

                world_open(&w, turns % 2 ? answer : hold, &limits);
                for (unsigned i = 0; i < 5; i++)
                        get(&w, i, "/x");
                watch(&w, 5, "/s");
                watch(&w, 6, "/s");
                for (unsigned i = 0; i < turns; i++) {
                        (void)uv_run(&w.loop, UV_RUN_NOWAIT);
                        (void)usleep(100); /* lets the kernel and the probe's timer move on too */
                }
                kube_close(w.k, on_closed, &w.n_closed);
                ck_assert_uint_eq(w.n_closed, 0);
                ck_assert_int_eq(
                        send_call(&w, 7, (struct kube_call){ .method = "GET", .path = "/x" }), -ECANCELED);
                world_close(&w);
                for (unsigned i = 0; i < 7; i++)
                        ck_assert_uint_eq(w.seen[i].n_done, 1);
                ck_assert_uint_eq(w.seen[7].n_done, 0);
        }
}
END_TEST

static struct world *closer;

static void on_done_close(void *ctx, const struct kube_response *res)
{
        on_done(ctx, res);
        kube_close(closer->k, on_closed, &closer->n_closed);
}

START_TEST(close_from_a_callback)
{
        struct world w = { .status = 0 };
        const struct kube_call call = {
                .method = "GET", .path = "/x", .on_done = on_done_close, .ctx = &w.seen[0]
        };

        closer = &w;
        world_open(&w, answer, NULL);
        ck_assert_int_eq(kube_send(w.k, NULL, &call), 0);
        get(&w, 1, "/x");
        wait_done(&w, 0);
        world_close(&w);
        ck_assert_uint_eq(w.seen[1].n_done, 1);
}
END_TEST

static char *fault_strdup(const char *text)
{
        char *p = fault_malloc(strlen(text) + 1);

        return p ? memcpy(p, text, strlen(text) + 1) : NULL;
}

/* Our allocations and curl's, one after the other: making a client. */
START_TEST(any_allocation_of_new_may_fail)
{
        const struct kube_conf conf = { .server = (char[]){ "https://127.0.0.1:1" },
                .token = (char[]){ "x" },
                .tls_server_name = (char[]){ "kubernetes" } };

        ck_assert_int_eq(curl_global_init_mem(CURL_GLOBAL_DEFAULT, fault_malloc, free, fault_realloc,
                                 fault_strdup, fault_calloc),
                0);
        for (unsigned n = 0;; n++) {
                struct kube *k = NULL;
                unsigned closed = 0;
                struct err e;
                uv_loop_t loop;
                int r;

                ck_assert_int_eq(uv_loop_init(&loop), 0);
                fault_arm(n);
                r = kube_new(&k, &loop, &conf, NULL, NULL, &e);
                if (!fault_disarm()) {
                        ck_assert_int_eq(r, 0);
                        kube_close(k, on_closed, &closed);
                        fake_finish(&loop);
                        ck_assert_uint_eq(closed, 1);
                        return;
                }
                if (r == 0) { /* curl did without */
                        kube_close(k, on_closed, &closed);
                } else {
                        ck_assert_int_eq(r, -ENOMEM);
                        ck_assert_ptr_null(k);
                }
                fake_finish(&loop);
        }
}
END_TEST

/* The same for the whole life of two requests. Whatever fails, each is told once, and the next one works. */
START_TEST(any_allocation_of_a_request_may_fail)
{
        unsigned n_failed = 0;

        ck_assert_int_eq(curl_global_init_mem(CURL_GLOBAL_DEFAULT, fault_malloc, free, fault_realloc,
                                 fault_strdup, fault_calloc),
                0);
        for (unsigned n = 0;; n++) {
                const struct kube_limits limits = { .request_ms = 2000, .silence_ms = 300 };
                const struct kube_call call = { .method = "PATCH",
                        .path = "/p",
                        .content_type = KUBE_MERGE_PATCH,
                        .body = "{}",
                        .body_len = 2 };
                struct world w = { .status = 0 };
                bool hit;
                int r;

                world_open(&w, answer, &limits);
                w.body = "{\"a\":1}";
                fault_arm(n);
                r = send_call(&w, 0, call);
                if (r == 0)
                        (void)fake_run_until(&w.loop, is_done, &w.seen[0]);
                hit = fault_disarm();
                ck_assert_uint_eq(w.seen[0].n_done, r == 0);
                ck_assert(r == 0 || r == -ENOMEM);
                n_failed += r < 0 || w.seen[0].code < 0;
                if (!hit)
                        ck_assert_int_eq(w.seen[0].status, 200);
                get(&w, 1, "/next");
                wait_done(&w, 1);
                ck_assert_msg(w.seen[1].status == 200, "after %u: %d %s", n, w.seen[1].code,
                        buf_str(&w.seen[1].error));
                world_close(&w);
                if (!hit)
                        break;
        }
        ck_assert_uint_ge(n_failed, 20);
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
        tcase_add_test(stream, silence_is_noticed_and_healed);
        tcase_add_test(stream, a_quiet_but_living_server_is_kept);
        tcase_add_test(stream, nothing_open_nothing_asked);
        suite_add_tcase(s, stream);
        tcase_add_test(token, a_401_reads_the_token_again);
        tcase_add_test(token, a_401_with_the_same_token_is_told);
        tcase_add_test(token, a_401_is_tried_again_only_once);
        tcase_add_test(token, a_new_token_is_found_without_a_401);
        suite_add_tcase(s, token);
        tcase_add_test(end, cancel_at_any_time);
        tcase_add_test(end, close_at_any_time);
        tcase_add_test(end, close_from_a_callback);
        suite_add_tcase(s, end);
        tcase_add_test(memory, any_allocation_of_new_may_fail);
        tcase_add_test(memory, any_allocation_of_a_request_may_fail);
        suite_add_tcase(s, memory);
        return unit_main(s);
}
