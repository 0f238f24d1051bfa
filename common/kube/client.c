/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a request: waiting -> running -> ended, each state a list; a 401 may take the way back once (parked).
 * kube_send() and kube_cancel() only move it between lists and start the kick timer; everything else happens in
 * on_kick(), in a turn of the loop of its own. So callers may send, cancel and close from inside any callback, also from
 * on_data, which runs inside curl, where curl itself could not be called. on_done comes from on_kick() alone.
 *
 * Liveness: every byte from the server sets heard_ms. While anything runs and nothing was heard for 5 s, a GET /version
 * goes out on the same connection; if another 5 s bring not one byte, the server is frozen or the path is dead although
 * TCP may look healthy. Then all that runs ends with -ETIMEDOUT and every connection is closed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/kube/curl_uv.h"
#include "common/kube/exchange.h"

#define SILENCE_MS   5000
#define GRACE_MS     100 /* lets the loop read once more: we may have been the one who slept */
#define STREAM_MS    60000 /* for the first headers of a stream */
#define KICK_BATCH   256 /* answers told in one turn */
#define PROBE_PATH   "/version" /* every authenticated user may read it: role system:public-info-viewer */
#define N_DEFAULT    16
#define QUEUE_MAX    20000
#define REQUEST_MS   10000
#define CONNECT_MS   5000
#define RESPONSE_MAX ((size_t)1 << 20)

struct kube {
        uv_loop_t *loop;
        struct kube_conf conf;
        struct kube_limits limits;
        struct exchange_server server;
        struct curl_uv *cu;
        struct creds *creds;
        struct metrics *reg;
        struct family *requests;
        struct series *probe_failures, *connections;
        uint64_t connections_told;

        struct exchange_list waiting, waiting_streams, running, parked, ended;
        unsigned n_waiting; /* in the first of them */
        unsigned n_in_flight; /* running and counted: neither streams nor the probe */
        uint64_t token_gen;

        uv_timer_t kick, clock;
        uint64_t heard_ms; /* the last byte, or the start of the first request after a rest */
        uint64_t probe_ms; /* the last probe was sent */
        uint64_t grace_ms; /* the last verdict was put off */
        struct kube_request *probe; /* from its start until its answer is told; NULL: none */
        bool reachable;

        bool closing, shut;
        unsigned n_open; /* handles and modules to close */
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static void on_kick(uv_timer_t *t);
static void on_clock(uv_timer_t *t);

static void kick(struct kube *k)
{
        if (!k->shut)
                (void)uv_timer_start(
                        &k->kick, on_kick, 0, 0); /* fails only once closing, and then not needed */
}

void client_heard(struct kube *k, bool http)
{
        k->heard_ms = uv_now(k->loop);
        k->reachable |= http;
}

/* ---- counting ---- */

static void count_request(const struct kube_request *r)
{
        char code[16] = "error";

        if (r->code == 0)
                (void)snprintf(code, sizeof(code), "%d", r->status);
        else if (r->code == -ECANCELED)
                return;
        series_add(metrics_with(r->k->requests, r->call.verb ? r->call.verb : "",
                           r->call.resource ? r->call.resource : "", code),
                1);
}

static void count_connections(struct kube *k)
{
        uint64_t n = curl_uv_connections(k->cu);

        series_add(k->connections, (double)(n - k->connections_told));
        k->connections_told = n;
}

static int metrics_init(struct kube *k)
{
        static const char *const labels[] = { "verb", "resource", "code", NULL };

        if (!k->reg)
                return 0;
        k->requests = metrics_family(k->reg, METRIC_COUNTER, "metallb_k8s_api_requests_total",
                "Requests to the Kubernetes API by outcome; code \"error\": no answer.", labels, NULL, 0);
        k->probe_failures =
                metrics_series(metrics_family(k->reg, METRIC_COUNTER, "metallb_k8s_api_probe_failures_total",
                                       "Times the Kubernetes API was given up because nothing came any more.",
                                       NULL, NULL, 0),
                        (const char *const[]){ NULL });
        k->connections =
                metrics_series(metrics_family(k->reg, METRIC_COUNTER, "metallb_k8s_api_connections_total",
                                       "Connections to the Kubernetes API tried.", NULL, NULL, 0),
                        (const char *const[]){ NULL });
        return k->requests && k->probe_failures && k->connections ? 0 : -ENOMEM;
}

/* ---- moving requests between states ---- */

static bool is_counted(const struct kube_request *r)
{
        return !r->call.stream && !r->probe;
}

static struct exchange_list *list_of(struct kube *k, const struct kube_request *r, enum exchange_state state)
{
        switch (state) {
        case EXCHANGE_WAITING: return is_counted(r) ? &k->waiting : &k->waiting_streams;
        case EXCHANGE_RUNNING: return &k->running;
        case EXCHANGE_PARKED: return &k->parked;
        case EXCHANGE_ENDED: break;
        }
        return &k->ended;
}

static void enter(struct kube_request *r, enum exchange_state state)
{
        struct kube *k = r->k;

        r->state = state;
        TAILQ_INSERT_TAIL(list_of(k, r, state), r, link);
        if (is_counted(r)) {
                k->n_waiting += state == EXCHANGE_WAITING;
                k->n_in_flight += state == EXCHANGE_RUNNING;
        }
        kick(k);
}

static void leave(struct kube_request *r)
{
        struct kube *k = r->k;

        TAILQ_REMOVE(list_of(k, r, r->state), r, link);
        if (is_counted(r)) {
                k->n_waiting -= r->state == EXCHANGE_WAITING;
                k->n_in_flight -= r->state == EXCHANGE_RUNNING;
        }
}

static void move(struct kube_request *r, enum exchange_state to)
{
        leave(r);
        enter(r, to);
}

static void end_with(struct kube_request *r, int code, const char *words)
{
        if (r->easy)
                curl_uv_remove(r->k->cu, r->easy);
        exchange_fail(r, code, words);
        move(r, EXCHANGE_ENDED);
}

/* Gives one to curl; a failure is told like any other. */
static void start(struct kube_request *r)
{
        struct kube *k = r->k;
        uint64_t now = uv_now(k->loop), allowed = r->call.timeout_ms;
        int code = exchange_build(r, &k->server);

        if (code == 0 && !curl_uv_prepare(k->cu, r->easy))
                code = -ENOMEM;
        if (code == 0)
                code = curl_uv_add(k->cu, r->easy);
        if (code < 0) {
                exchange_fail(r, code, err_name(code));
                move(r, EXCHANGE_ENDED);
                return;
        }
        if (allowed == 0)
                allowed = r->call.stream ? STREAM_MS : k->limits.request_ms;
        r->deadline_ms = now + allowed;
        r->token_gen = k->token_gen;
        if (TAILQ_EMPTY(&k->running))
                k->heard_ms = now; /* silence is counted from here */
        move(r, EXCHANGE_RUNNING);
}

static void start_waiting(struct kube *k)
{
        struct kube_request *r;

        while ((r = TAILQ_FIRST(&k->waiting_streams)))
                start(r);
        while (k->n_in_flight < k->limits.max_in_flight && (r = TAILQ_FIRST(&k->waiting)))
                start(r);
}

/* ---- liveness ---- */

/* When to look next: to ask after silence, or to judge the silence after asking. */
static uint64_t liveness_due(const struct kube *k)
{
        uint64_t since = MAX(k->heard_ms, k->probe_ms);

        if (k->probe && k->grace_ms > since)
                return k->grace_ms + GRACE_MS;
        return since + k->limits.silence_ms;
}

static void clock_arm(struct kube *k)
{
        uint64_t now = uv_now(k->loop), due;
        struct kube_request *r;

        if (k->shut || TAILQ_EMPTY(&k->running)) {
                (void)uv_timer_stop(&k->clock); /* never fails */
                return;
        }
        due = liveness_due(k);
        TAILQ_FOREACH(r, &k->running, link)
        due = MIN(due, r->deadline_ms);
        (void)uv_timer_start(&k->clock, on_clock, due > now ? due - now : 0, 0); /* fails only once closing */
}

static void on_probe_done(void *ctx, const struct kube_response *res UNUSED)
{
        struct kube *k = ctx;

        k->probe = NULL; /* any byte of it was a sign of life; its own failure proves nothing */
}

static void probe_start(struct kube *k)
{
        const struct kube_call call = { .method = "GET",
                .path = PROBE_PATH,
                .on_done = on_probe_done,
                .ctx = k,
                .verb = "get",
                .resource = "version" };
        struct kube_request *r = exchange_new(k, &call);

        k->probe_ms = uv_now(k->loop);
        if (!r)
                return; /* asked again after the next silence */
        r->probe = true;
        k->probe = r;
        enter(r, EXCHANGE_WAITING);
        start(r);
}

/* Everything that runs hangs on connections that are good for nothing any more. */
static void drop_connections(struct kube *k, int code, const char *words)
{
        struct kube_request *r;

        while ((r = TAILQ_FIRST(&k->running)))
                end_with(r, code, words);
        curl_uv_reset(k->cu);
        k->reachable = false;
}

static void liveness(struct kube *k, uint64_t now)
{
        if (TAILQ_EMPTY(&k->running) || now < liveness_due(k))
                return;
        if (!k->probe) {
                probe_start(k);
        } else if (k->grace_ms <= MAX(k->heard_ms, k->probe_ms)) {
                k->grace_ms = now;
        } else {
                series_add(k->probe_failures, 1);
                drop_connections(k, -ETIMEDOUT, "the server sends nothing any more");
        }
}

static void on_clock(uv_timer_t *t)
{
        struct kube *k = t->data;
        uint64_t now = uv_now(k->loop);
        struct kube_request *r, *next;

        if (k->closing)
                return;
        if (curl_uv_broken(k->cu))
                drop_connections(k, -ENOMEM, err_name(-ENOMEM));
        liveness(k, now);
        for (r = TAILQ_FIRST(&k->running); r; r = next) {
                next = TAILQ_NEXT(r, link);
                if (now >= r->deadline_ms)
                        end_with(r, -ETIMEDOUT, "no answer in time");
        }
        clock_arm(k);
}

/* ---- ends ---- */

static void on_transfer_done(void *ctx, CURL *easy, CURLcode code)
{
        struct kube *k = ctx;
        struct kube_request *r = NULL;

        if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&r) != CURLE_OK || !r)
                return;
        exchange_finish(r, code);
        if (r->code < 0 && r->code != -ECANCELED && !r->opened && !r->cancelled)
                k->reachable = false;
        if (r->code == 0 && r->status == 401 && !r->retried && creds_has_files(k->creds)) {
                r->retried = true; /* the token may have been replaced since */
                move(r, EXCHANGE_PARKED);
                if (r->token_gen == k->token_gen)
                        creds_poke(k->creds, uv_now(k->loop), true);
                else
                        move(r, EXCHANGE_WAITING);
                return;
        }
        move(r, EXCHANGE_ENDED);
}

static void on_creds_checked(void *ctx, bool changed)
{
        struct kube *k = ctx;
        struct kube_request *r;

        k->token_gen += changed;
        while ((r = TAILQ_FIRST(&k->parked)))
                move(r, r->token_gen != k->token_gen && !k->closing ? EXCHANGE_WAITING : EXCHANGE_ENDED);
}

static void tell(struct kube_request *r)
{
        struct kube_response res;

        leave(r);
        if (r->cancelled)
                exchange_fail(r, -ECANCELED, "cancelled");
        count_request(r);
        res = exchange_response(r);
        r->call.on_done(r->call.ctx, &res);
        (void)exchange_free(r);
}

static void cancel_all(struct exchange_list *list)
{
        struct kube_request *r;

        while ((r = TAILQ_FIRST(list)))
                end_with(r, -ECANCELED, "cancelled");
}

static void on_part_closed(void *ctx)
{
        struct kube *k = ctx;
        void (*closed)(void *) = k->closed;
        void *closed_ctx = k->closed_ctx;

        if (--k->n_open > 0)
                return;
        exchange_server_fini(&k->server);
        kube_conf_fini(&k->conf);
        free(k);
        closed(closed_ctx);
}

static void on_handle_closed(uv_handle_t *h)
{
        on_part_closed(h->data);
}

static void shut(struct kube *k)
{
        k->shut = true;
        k->n_open = 4;
        uv_close((uv_handle_t *)&k->kick, on_handle_closed);
        uv_close((uv_handle_t *)&k->clock, on_handle_closed);
        curl_uv_close(k->cu, on_part_closed, k);
        creds_close(k->creds, on_part_closed, k);
}

static void on_kick(uv_timer_t *t)
{
        struct kube *k = t->data;
        struct kube_request *r, *next;

        if (k->closing) {
                cancel_all(&k->waiting);
                cancel_all(&k->waiting_streams);
                cancel_all(&k->parked);
                cancel_all(&k->running);
        }
        if (curl_uv_broken(k->cu))
                drop_connections(k, -ENOMEM, err_name(-ENOMEM));
        for (r = TAILQ_FIRST(&k->running); r; r = next) {
                next = TAILQ_NEXT(r, link);
                if (r->cancelled)
                        end_with(r, -ECANCELED, "cancelled");
        }
        for (unsigned i = 0; i < KICK_BATCH && (r = TAILQ_FIRST(&k->ended)); i++)
                tell(r);
        if (!TAILQ_EMPTY(&k->ended)) {
                (void)uv_timer_start(&k->kick, on_kick, 1, 0); /* 0 would come before any byte is read */
        } else if (k->closing) {
                shut(k);
                return;
        }
        if (!k->closing) {
                creds_poke(k->creds, uv_now(k->loop), false);
                start_waiting(k);
        }
        count_connections(k);
        clock_arm(k);
}

/* ---- the interface ---- */

static void limits_default(struct kube_limits *l)
{
        if (l->max_in_flight == 0)
                l->max_in_flight = N_DEFAULT;
        if (l->max_queued == 0)
                l->max_queued = QUEUE_MAX;
        if (l->request_ms == 0)
                l->request_ms = REQUEST_MS;
        if (l->connect_ms == 0)
                l->connect_ms = CONNECT_MS;
        if (l->silence_ms == 0)
                l->silence_ms = SILENCE_MS;
        if (l->max_response == 0)
                l->max_response = RESPONSE_MAX;
}

static struct kube *kube_discard(struct kube *k) /* before its handles are in the loop */
{
        if (!k)
                return NULL;
        (void)curl_uv_free(k->cu);
        (void)creds_free(k->creds);
        exchange_server_fini(&k->server);
        kube_conf_fini(&k->conf);
        free(k);
        return NULL;
}
DEFINE_CLEANUP(struct kube, kube_discard);

static void global_init(void)
{
        (void)curl_global_init(CURL_GLOBAL_DEFAULT); /* a failure shows again in curl_multi_init() */
}

int kube_new(struct kube **ret, uv_loop_t *loop, const struct kube_conf *conf,
        const struct kube_limits *limits, struct metrics *reg, struct err *e)
{
        static uv_once_t once = UV_ONCE_INIT;
        CLEANUP(kube_discardp) struct kube *k = calloc(1, sizeof(*k));
        int r;

        uv_once(&once, global_init);
        if (!k)
                return -ENOMEM;
        TAILQ_INIT(&k->waiting);
        TAILQ_INIT(&k->waiting_streams);
        TAILQ_INIT(&k->running);
        TAILQ_INIT(&k->parked);
        TAILQ_INIT(&k->ended);
        k->loop = loop;
        k->reg = reg;
        if (limits)
                k->limits = *limits;
        limits_default(&k->limits);
        r = kube_conf_copy(&k->conf, conf);
        if (r == 0)
                r = metrics_init(k);
        if (r == 0)
                r = creds_new(&k->creds, loop, &k->conf, on_creds_checked, k, e);
        if (r == 0)
                r = exchange_server_init(&k->server, &k->conf, k->creds, &k->limits, e);
        if (r == 0)
                r = curl_uv_new(&k->cu, loop, on_transfer_done, k);
        if (r < 0)
                return r;
        curl_uv_start(k->cu);
        creds_start(k->creds);
        (void)uv_timer_init(loop, &k->kick); /* libuv: always 0 */
        (void)uv_timer_init(loop, &k->clock);
        k->kick.data = k->clock.data = k;
        *ret = TAKE(k);
        return 0;
}

void kube_close(struct kube *k, void (*closed)(void *ctx), void *ctx)
{
        if (k->closing)
                return;
        k->closing = true;
        k->closed = closed;
        k->closed_ctx = ctx;
        kick(k);
}

const char *kube_server(const struct kube *k)
{
        return k->conf.server;
}

bool kube_reachable(const struct kube *k)
{
        return k->reachable;
}

uv_loop_t *kube_loop(const struct kube *k)
{
        return k->loop;
}

struct metrics *kube_metrics(const struct kube *k)
{
        return k->reg;
}

int kube_send(struct kube *k, struct kube_request **ret, const struct kube_call *call)
{
        struct kube_request *r;

        if (k->closing)
                return -ECANCELED;
        if (!call->stream && k->n_waiting >= k->limits.max_queued)
                return -ENOBUFS;
        r = exchange_new(k, call);
        if (!r)
                return -ENOMEM;
        enter(r, EXCHANGE_WAITING);
        if (ret)
                *ret = r;
        return 0;
}

void kube_cancel(struct kube_request *r)
{
        r->cancelled = true;
        if (r->state == EXCHANGE_WAITING || r->state == EXCHANGE_PARKED)
                move(r, EXCHANGE_ENDED);
        else
                kick(r->k); /* it may be inside curl right now */
}
