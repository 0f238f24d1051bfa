/* SPDX-License-Identifier: Apache-2.0 */
#include "test/lib/owner.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/tlsctx.h"

/* In callbacks: check's own assertions allocate, which would use up injected failures. */
static void require(bool what)
{
        if (!what)
                abort();
}

void owner_on_closed(void *ctx)
{
        struct owner *o = ctx;

        o->n_closed++;
        o->s = NULL;
}

static void forget(struct owner *o, struct serve_request *r)
{
        for (unsigned i = 0; i < o->n_waiting; i++) {
                if (o->waiting[i] == r) {
                        o->waiting[i] = o->waiting[--o->n_waiting];
                        return;
                }
        }
        require(false); /* gone without having been asked */
}

void owner_on_request(void *ctx, struct serve_request *r)
{
        CLEANUP(buf_fini) struct buf text = BUF_INIT;
        struct owner *o = ctx;
        const char *body;
        size_t len;

        o->n_requests++;
        require(serve_user(r) == NULL);
        serve_set_user(r, o);
        if (o->close_in_request)
                serve_close(o->s, owner_on_closed, o);
        if (strcmp(serve_path(r), "/later") == 0 || strcmp(serve_path(r), "/never") == 0) {
                require(o->n_waiting < ARRAY_LEN(o->waiting));
                o->waiting[o->n_waiting++] = r;
                return;
        }
        if (strcmp(serve_path(r), "/big") == 0) {
                serve_reply(r, 200, "text/plain", o->big, OWNER_BIG);
                return;
        }
        body = serve_body(r, &len);
        buf_addf(&text, "%s %s?%s [%s] ", serve_method(r), serve_path(r), serve_query(r),
                serve_bearer(r) ? serve_bearer(r) : "-");
        buf_add(&text, body, len);
        serve_reply(r, 200, "text/plain", text.p, text.len);
}

static void on_gone(void *ctx, struct serve_request *r)
{
        struct owner *o = ctx;

        require(serve_user(r) == o);
        o->n_gone++;
        forget(o, r);
        if (o->close_in_gone)
                serve_close(o->s, owner_on_closed, o);
}

void owner_answer(struct owner *o)
{
        while (o->n_waiting > 0) {
                struct serve_request *r = o->waiting[--o->n_waiting];

                serve_reply(r, 200, "text/plain", "at last", 7);
        }
}

void owner_start(struct owner *o, struct serve_conf conf)
{
        struct err e = { "" };

        memset(o, 0, sizeof(*o));
        log_set_fd(2);
        ck_assert_int_eq(log_set_level("none"), 0);
        ck_assert_int_eq(uv_loop_init(&o->loop), 0);
        ck_assert_int_eq(metrics_new(&o->reg), 0);
        o->big = malloc(OWNER_BIG);
        ck_assert_ptr_nonnull(o->big);
        for (size_t i = 0; i < OWNER_BIG; i++)
                o->big[i] = (char)('a' + i % 26);
        if (!conf.address)
                conf.address = "127.0.0.1";
        conf.on_request = owner_on_request;
        conf.on_gone = on_gone;
        conf.ctx = o;
        conf.reg = o->reg;
        ck_assert_msg(serve_new(&o->s, &o->loop, &conf, &e) == 0, "%s", e.text);
        ck_assert_uint_gt(serve_port(o->s), 0);
}

void owner_stop(struct owner *o)
{
        if (o->s)
                serve_close(o->s, owner_on_closed, o);
        ck_assert_uint_eq(o->n_closed, 0);
        (void)uv_run(&o->loop, UV_RUN_DEFAULT);
        ck_assert_uint_eq(o->n_closed, 1);
        ck_assert_uint_eq(o->n_waiting, 0);
        ck_assert_int_eq(uv_loop_close(&o->loop), 0);
        metrics_free(o->reg);
        free(o->big);
}

double owner_counted(struct owner *o, const char *family, const char *label, const char *value)
{
        const char *labels[] = { label, NULL };
        struct family *f = metrics_family(o->reg, METRIC_COUNTER, family, "", label ? labels : NULL, NULL, 0);

        return series_value(metrics_series(f, label ? (const char *const[]){ value, NULL } : NULL));
}

double owner_dropped(struct owner *o, const char *reason)
{
        return owner_counted(o, "metallb_http_dropped_total", "reason", reason);
}

struct pair pair_new(void)
{
        struct pair p;

        ck_assert_int_eq(tlsctx_self_signed(&p.cert, &p.key), 0);
        return p;
}

void pair_free(struct pair *p)
{
        free(p->cert);
        free(p->key);
}

void owner_start_tls(struct owner *o, struct serve_conf conf, struct serve_tls tls)
{
        struct pair p = pair_new();

        tls.cert_pem = p.cert;
        tls.key_pem = p.key;
        conf.tls = &tls;
        owner_start(o, conf);
        pair_free(&p);
}

void owner_read_big(struct owner *o, struct client *c, const char *before, size_t turns)
{
        CLEANUP(freep) char *got = NULL;
        int size = 65536;

        (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
        client_say(c, before);
        for (size_t i = 0; i < turns; i++)
                (void)uv_run(&o->loop, UV_RUN_NOWAIT);
        got = client_response(c, false);
        ck_assert_ptr_nonnull(got);
        ck_assert_uint_eq(strlen(strstr(got, "\r\n\r\n") + 4), OWNER_BIG);
        ck_assert(memcmp(strstr(got, "\r\n\r\n") + 4, o->big, OWNER_BIG) == 0);
}

bool owner_one_waits(void *ctx)
{
        return ((struct owner *)ctx)->n_waiting == 1;
}

bool owner_one_is_gone(void *ctx)
{
        return ((struct owner *)ctx)->n_gone == 1;
}
