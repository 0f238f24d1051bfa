/* SPDX-License-Identifier: Apache-2.0 */
#include "common/telemetry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/authz.h"
#include "common/procstat.h"
#include "common/serve.h"
#include "common/tlsctx.h"

/* A request for /metrics is either answered at once or waits for authz with its question as user pointer; on_gone drops
 * the question, so that a verdict always finds its request. */

#define DEFAULT_CERT_DIR "/tmp/k8s-metrics-server/serving-certs" /* controller-runtime's */
#define PAGE_MAX         ((size_t)32 * 1024 * 1024)
#define CONNECTIONS      64 /* scrapers and probes are a handful */
#define TEXT             "text/plain; charset=utf-8"
#define PROMETHEUS       "text/plain; version=0.0.4; charset=utf-8"

struct telemetry {
        uv_loop_t *loop;
        struct serve *health, *metrics;
        struct authz *authz;
        struct procstat proc;
        bool (*is_alive)(void *ctx, struct buf *why);
        bool (*is_ready)(void *ctx, struct buf *why);
        void (*on_scrape)(void *ctx);
        void *ctx;
        int (*send)(void *send_ctx, struct kube_request **ret, const struct kube_call *call);
        void *send_ctx;
        struct metrics *reg;
        uv_check_t anchor; /* never started: its closing is what ends a telemetry without servers */
        unsigned n_open; /* servers and the anchor */
        bool closing;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static void reply_text(struct serve_request *r, int status, const char *text)
{
        serve_reply(r, status, TEXT, text, strlen(text));
}

static bool is_get(const struct serve_request *r)
{
        return strcmp(serve_method(r), "GET") == 0 || strcmp(serve_method(r), "HEAD") == 0;
}

/* ---- health ---- */

static bool asks_verbose(const char *query)
{
        while (query) {
                size_t n = strcspn(query, "&=");

                if (n == 7 && memcmp(query, "verbose", 7) == 0)
                        return true;
                query = strchr(query, '&');
                query += query != NULL;
        }
        return false;
}

static void reply_check(struct serve_request *r, const char *name, bool ok, const struct buf *why)
{
        const char *reason = why->len > 0 ? buf_str(why) : "not yet";
        CLEANUP(buf_fini) struct buf text = BUF_INIT;

        if (!asks_verbose(serve_query(r)))
                buf_adds(&text, ok ? "ok" : reason);
        else if (ok)
                buf_addf(&text, "[+]%s ok\n%s check passed\n", name, name);
        else
                buf_addf(&text, "[-]%s failed: %s\n%s check failed\n", name, reason, name);
        serve_reply(r, ok ? 200 : 503, TEXT, buf_str(&text), text.len);
}

static void on_health(void *ctx, struct serve_request *r)
{
        CLEANUP(buf_fini) struct buf why = BUF_INIT;
        const char *path = serve_path(r);
        struct telemetry *t = ctx;

        if (!is_get(r))
                reply_text(r, 405, "only GET\n");
        else if (strcmp(path, "/healthz") == 0 || strcmp(path, "/healthz/healthz") == 0)
                reply_check(r, "healthz", !t->is_alive || t->is_alive(t->ctx, &why), &why);
        else if (strcmp(path, "/readyz") == 0 || strcmp(path, "/readyz/readyz") == 0)
                reply_check(r, "readyz", !t->is_ready || t->is_ready(t->ctx, &why), &why);
        else
                reply_text(r, 404, "404 page not found\n");
}

/* ---- metrics ---- */

static void reply_page(struct telemetry *t, struct serve_request *r)
{
        CLEANUP(buf_fini) struct buf page = { .max = PAGE_MAX };

        procstat_update(&t->proc);
        if (t->on_scrape)
                t->on_scrape(t->ctx);
        metrics_print(t->reg, &page);
        if (buf_ok(&page))
                serve_reply(r, 200, PROMETHEUS, buf_str(&page), page.len);
        else
                reply_text(r, 500, "the page does not fit into memory\n");
}

static void reply_verdict(struct telemetry *t, struct serve_request *r, enum authz_verdict v)
{
        switch (v) {
        case AUTHZ_PENDING: return;
        case AUTHZ_ALLOWED: reply_page(t, r); return;
        case AUTHZ_NOBODY: reply_text(r, 401, "Unauthorized\n"); return;
        case AUTHZ_DENIED:
                reply_text(r, 403, "Forbidden: needs get on the non-resource URL /metrics\n");
                return;
        case AUTHZ_FAILED: reply_text(r, 500, "the API server could not be asked who you are\n"); return;
        case AUTHZ_BUSY: reply_text(r, 503, "too many checks under way\n"); return;
        }
}

struct pending { /* a request that waits for its verdict */
        struct telemetry *t;
        struct serve_request *r;
        struct authz_ask *ask;
};

static void on_verdict(void *ctx, enum authz_verdict v)
{
        struct pending *p = ctx;

        reply_verdict(p->t, p->r, v);
        free(p);
}

static void on_metrics_gone(void *ctx UNUSED, struct serve_request *r)
{
        struct pending *p = serve_user(r);

        authz_drop(p->ask);
        free(p);
}

static void check_reader(struct telemetry *t, struct serve_request *r)
{
        struct pending *p = calloc(1, sizeof(*p));
        enum authz_verdict v = AUTHZ_FAILED;

        if (p) {
                *p = (struct pending){ .t = t, .r = r };
                v = authz_check(t->authz, &p->ask, serve_bearer(r),
                        serve_method(r)[0] == 'G' ? "get" : "head", serve_path(r), on_verdict, p);
        }
        if (v == AUTHZ_PENDING) {
                serve_set_user(r, p);
                return;
        }
        free(p);
        reply_verdict(t, r, v);
}

static void on_metrics(void *ctx, struct serve_request *r)
{
        struct telemetry *t = ctx;

        if (strcmp(serve_path(r), "/metrics") != 0)
                reply_text(r, 404, "404 page not found\n");
        else if (!is_get(r))
                reply_text(r, 405, "only GET\n");
        else if (!t->authz)
                reply_page(t, r);
        else if (!serve_bearer(r))
                reply_text(r, 401, "Unauthorized\n");
        else
                check_reader(t, r);
}

static uint64_t loop_now(void *ctx)
{
        return uv_now(((struct telemetry *)ctx)->loop);
}

static int send_review(void *ctx, struct kube_request **ret, const struct kube_call *call)
{
        struct telemetry *t = ctx;

        return t->send ? t->send(t->send_ctx, ret, call) : -ENOTCONN;
}

/* ---- life ---- */

static struct telemetry *telemetry_free(struct telemetry *t)
{
        if (!t)
                return NULL;
        authz_free(t->authz);
        free(t);
        return NULL;
}

static void on_closed(void *ctx)
{
        struct telemetry *t = ctx;
        void (*closed)(void *ctx) = t->closed;
        void *closed_ctx = t->closed_ctx;

        if (--t->n_open > 0)
                return;
        telemetry_free(t);
        if (closed)
                closed(closed_ctx);
}

static void on_anchor_closed(uv_handle_t *h)
{
        on_closed(h->data);
}

void telemetry_close(struct telemetry *t, void (*closed)(void *ctx), void *ctx)
{
        if (t->closing)
                return;
        t->closing = true;
        t->closed = closed;
        t->closed_ctx = ctx;
        if (t->health)
                serve_close(t->health, on_closed, t);
        if (t->metrics)
                serve_close(t->metrics, on_closed, t);
        uv_close((uv_handle_t *)&t->anchor, on_anchor_closed);
}

static int start_health(struct telemetry *t, const struct telemetry_conf *conf, struct err *e)
{
        const struct serve_conf sc = { .address = conf->health_address,
                .port = (uint16_t)MAX(conf->health_port, 0),
                .max_connections = CONNECTIONS,
                .on_request = on_health,
                .ctx = t,
                .reg = conf->reg };
        int r = serve_new(&t->health, t->loop, &sc, e);

        t->n_open += r == 0;
        return r < 0 ? err_wrap(e, r, "health probes") : 0;
}

static int serve_metrics(
        struct telemetry *t, const struct telemetry_conf *conf, const struct serve_tls *tls, struct err *e)
{
        const struct serve_conf sc = { .port = (uint16_t)MAX(conf->metrics_port, 0),
                .tls = tls,
                .max_connections = CONNECTIONS,
                .on_request = on_metrics,
                .on_gone = on_metrics_gone,
                .ctx = t,
                .reg = conf->reg };
        int r = serve_new(&t->metrics, t->loop, &sc, e);

        t->n_open += r == 0;
        return r < 0 ? err_wrap(e, r, "metrics") : 0;
}

static int start_metrics_on_files(struct telemetry *t, const struct telemetry_conf *conf,
        struct serve_tls *tls, const char *dir, struct err *e)
{
        CLEANUP(buf_fini) struct buf cert = BUF_INIT, key = BUF_INIT;

        buf_addf(&cert, "%s/tls.crt", dir);
        buf_addf(&key, "%s/tls.key", dir);
        if (!buf_ok(&cert) || !buf_ok(&key))
                return err_set(e, -ENOMEM, "no memory");
        tls->cert_file = cert.p;
        tls->key_file = key.p;
        return serve_metrics(t, conf, tls, e);
}

static int start_metrics_self_signed(
        struct telemetry *t, const struct telemetry_conf *conf, struct serve_tls *tls, struct err *e)
{
        CLEANUP(freep) char *cert = NULL, *key = NULL;
        int r = tlsctx_self_signed(&cert, &key);

        if (r < 0)
                return err_set(e, r, "metrics: no certificate could be made");
        tls->cert_pem = cert;
        tls->key_pem = key;
        r = serve_metrics(t, conf, tls, e);
        OPENSSL_cleanse(key, strlen(key));
        return r;
}

static int start_metrics(struct telemetry *t, const struct telemetry_conf *conf, struct err *e)
{
        const struct authz_conf ac = { .send = send_review, .now_ms = loop_now, .ctx = t };
        struct serve_tls tls = { .min_version = conf->tls->min_version,
                .ciphers = conf->tls->ciphers,
                .groups = conf->tls->groups };
        int r;

        if (conf->metrics_plain)
                return serve_metrics(t, conf, NULL, e);
        r = authz_new(&t->authz, &ac);
        if (r < 0)
                return err_set(e, r, "no memory");
        if (conf->cert_dir && *conf->cert_dir)
                return start_metrics_on_files(t, conf, &tls, conf->cert_dir, e);
        if (access(DEFAULT_CERT_DIR "/tls.crt", R_OK) == 0 && access(DEFAULT_CERT_DIR "/tls.key", R_OK) == 0)
                return start_metrics_on_files(t, conf, &tls, DEFAULT_CERT_DIR, e);
        return start_metrics_self_signed(t, conf, &tls, e);
}

int telemetry_new(struct telemetry **ret, uv_loop_t *loop, const struct telemetry_conf *conf, struct err *e)
{
        struct telemetry *t = calloc(1, sizeof(*t));
        int r = 0;

        if (!t)
                return err_set(e, -ENOMEM, "no memory");
        *t = (struct telemetry){ .loop = loop,
                .is_alive = conf->is_alive,
                .is_ready = conf->is_ready,
                .on_scrape = conf->on_scrape,
                .ctx = conf->ctx,
                .send = conf->send,
                .send_ctx = conf->send_ctx,
                .reg = conf->reg,
                .n_open = 1 };
        (void)uv_check_init(loop, &t->anchor); /* cannot fail */
        t->anchor.data = t;
        procstat_init(&t->proc, conf->reg);
        if (conf->health_port != 0)
                r = start_health(t, conf, e);
        if (r == 0 && conf->metrics_port != 0)
                r = start_metrics(t, conf, e);
        if (r < 0) {
                telemetry_close(t, NULL, NULL);
                return r;
        }
        *ret = t;
        return 0;
}

uint16_t telemetry_health_port(const struct telemetry *t)
{
        return t->health ? serve_port(t->health) : 0;
}

uint16_t telemetry_metrics_port(const struct telemetry *t)
{
        return t->metrics ? serve_port(t->metrics) : 0;
}

int telemetry_kube_send(void *kube, struct kube_request **ret, const struct kube_call *call)
{
        return kube_send(kube, ret, call);
}
