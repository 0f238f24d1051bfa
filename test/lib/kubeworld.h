/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* kubeworld - a client and a fake server for the tests of common/kube/kube.h. */
#include "common/kube/kube.h"
#include "test/lib/fakeapi.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static inline UNUSED void hold(void *ctx, struct fake_conn *c, const struct fake_request *req)
{
        struct world *w = ctx;

        buf_addf(&w->log, "%s %s\n", req->method, req->target);
        w->held[w->n_held++] = c;
        w->most_held = MAX(w->most_held, w->n_held);
}

static inline UNUSED void answer(void *ctx, struct fake_conn *c, const struct fake_request *req)
{
        struct world *w = ctx;

        buf_addf(&w->log, "%s %s\n", req->method, req->target);
        buf_reset(&w->last_headers);
        buf_adds(&w->last_headers, req->headers);
        buf_reset(&w->last_body);
        buf_add(&w->last_body, req->body, req->body_len);
        fake_reply(c, w->status, w->headers, w->body);
}

static inline UNUSED void on_done(void *ctx, const struct kube_response *res)
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

static inline UNUSED int on_data(void *ctx, const char *bytes, size_t len)
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

static inline UNUSED void on_closed(void *ctx)
{
        ++*(unsigned *)ctx;
}

/* ---- a world to test in ---- */

static inline UNUSED void world_open_conf(
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

static inline UNUSED void world_open(struct world *w, fake_handler handler, const struct kube_limits *limits)
{
        world_open_conf(w, handler, limits, &(struct kube_conf){ .server = NULL });
}

static inline UNUSED void world_close(struct world *w)
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

static inline UNUSED int send_call(struct world *w, unsigned i, struct kube_call call)
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

static inline UNUSED void get(struct world *w, unsigned i, const char *path)
{
        ck_assert_int_eq(send_call(w, i, (struct kube_call){ .method = "GET", .path = path }), 0);
}

static inline UNUSED void watch(struct world *w, unsigned i, const char *path)
{
        ck_assert_int_eq(
                send_call(w, i, (struct kube_call){ .method = "GET", .path = path, .stream = true }), 0);
}

static inline UNUSED bool is_done(void *ctx)
{
        return ((struct seen *)ctx)->n_done > 0;
}

static inline UNUSED void wait_done(struct world *w, unsigned i)
{
        ck_assert(fake_run_until(&w->loop, is_done, &w->seen[i]));
        ck_assert_uint_eq(w->seen[i].n_done, 1);
}

static inline UNUSED bool is_held(void *ctx)
{
        return ((struct world *)ctx)->n_held > 0;
}

static inline UNUSED bool has_opened(void *ctx)
{
        return ((struct seen *)ctx)->n_opened > 0;
}
