/* SPDX-License-Identifier: Apache-2.0 */
/* A job is in one list at a time: ready (to be sent in order), flying (a request of it is open; it holds one of the
 * places), delayed (failed by itself, due later) or over (to be answered WRITER_CANCELED from the loop). One timer serves
 * the pause of all, the delays, the gate and the answers. Jobs end in finish() only. */
#include "controller/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/backoff.h"
#include "common/buf.h"
#include "common/log.h"
#include "controller/patch.h"

#define GATE_MS      250 /* how often a closed gate is looked at, beside writer_kick() */
#define PATCH_AGAIN  (10 * 60 * 1000)
#define RESOURCE_MAX 4

struct writer_job {
        TAILQ_ENTRY(writer_job) next;
        TAILQ_HEAD(jobs, writer_job) * list; /* the one it is in */
        struct writer *w;
        struct kube_request *request; /* while flying */
        const char *resource;
        bool strategic, as_put;
        uint64_t due_ms; /* while delayed */
        struct backoff backoff;
        void (*on_done)(void *ctx, const struct writer_answer *answer);
        void *ctx;
        char *path; /* of the object; the subresource is path + "/status" */
        char *rv, *body;
        size_t body_len;
};

struct no_patch { /* a resource that may not be patched */
        const char *resource;
        uint64_t again_ms;
};

struct writer {
        struct kube *k;
        uv_timer_t timer;
        struct jobs ready, flying, delayed, over;
        unsigned n_ready, n_flying;
        unsigned max_in_flight, timeout_ms;
        bool (*may_send)(void *ctx, unsigned for_ms);
        void (*on_room)(void *ctx);
        void *conf_ctx;
        struct rng rng;
        struct backoff pause;
        uint64_t pause_until_ms;
        struct no_patch no_patch[RESOURCE_MAX];
        struct family *results;
        bool stopped, closing, timer_closed;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static const char *const result_labels[] = { "resource", "result", NULL };
static const char *const result_names[] = { "done", "conflict", "gone", "refused", "canceled" };

static void pump(struct writer *w);
static int job_send(struct writer_job *j);

static uint64_t now(const struct writer *w)
{
        return uv_now(kube_loop(w->k));
}

static void job_move(struct writer_job *j, struct jobs *to)
{
        struct writer *w = j->w;

        if (j->list) {
                TAILQ_REMOVE(j->list, j, next);
                w->n_ready -= j->list == &w->ready;
                w->n_flying -= j->list == &w->flying;
        }
        j->list = to;
        if (to) {
                TAILQ_INSERT_TAIL(to, j, next);
                w->n_ready += to == &w->ready;
                w->n_flying += to == &w->flying;
        }
}

static void job_free(struct writer_job *j)
{
        free(j->path);
        free(j->rv);
        free(j->body);
        free(j);
}

static void finish(struct writer_job *j, enum writer_result result, int status, const char *text)
{
        const struct writer_answer answer = { result, status, text, strlen(text) };
        struct writer *w = j->w;

        job_move(j, NULL);
        series_add(metrics_with(w->results, j->resource, result_names[result]), 1);
        j->on_done(j->ctx, &answer); /* may send, drop others, stop or close us */
        job_free(j);
        if (w->on_room && writer_has_room(w))
                w->on_room(w->conf_ctx);
}

static void maybe_closed(struct writer *w)
{
        void (*closed)(void *ctx) = w->closed;
        void *ctx = w->closed_ctx;

        if (!w->closing || !w->timer_closed || !TAILQ_EMPTY(&w->flying))
                return;
        free(w);
        closed(ctx);
}

static bool may_send(const struct writer *w)
{
        return !w->may_send || w->may_send(w->conf_ctx, w->timeout_ms);
}

/* ---- one job on its way ---- */

static struct no_patch *no_patch_of(struct writer *w, const char *resource)
{
        for (size_t i = 0; i < RESOURCE_MAX; i++) {
                if (w->no_patch[i].resource && strcmp(w->no_patch[i].resource, resource) == 0)
                        return &w->no_patch[i];
        }
        return NULL;
}

/* 403 to a PATCH: from now on read and PUT. */
static void patch_denied(struct writer *w, const char *resource, const char *words)
{
        struct no_patch *n = no_patch_of(w, resource);

        for (size_t i = 0; i < RESOURCE_MAX && !n; i++) {
                if (w->no_patch[i].resource)
                        continue;
                n = &w->no_patch[i];
                n->resource = resource;
                log_warn("this role may not patch a status; reading and updating whole objects instead",
                        F_STR("resource", resource), F_STR("error", words));
        }
        if (n)
                n->again_ms = now(w) + PATCH_AGAIN;
}

static void retry_later(struct writer_job *j, const struct kube_response *res)
{
        struct writer *w = j->w;
        int code = kube_response_code(res);

        if (w->stopped) {
                finish(j, WRITER_CANCELED, res->status, "");
                return;
        }
        if (res->code == -ETIMEDOUT || (res->status >= 500 && res->status != 503)) {
                j->due_ms = now(w) + backoff_next_after(&j->backoff, &w->rng, res->retry_after_s);
                job_move(j, &w->delayed);
                return;
        }
        w->pause_until_ms = now(w) + backoff_next_after(&w->pause, &w->rng, res->retry_after_s);
        log_debug("write failed, retrying", F_STR("resource", j->resource), F_STR("error", res->error),
                F_ERR(code));
        job_move(j, &w->ready);
}

/* The answer to a PATCH, or to the PUT that stands for it. */
static void settle(struct writer_job *j, const struct kube_response *res)
{
        struct writer *w = j->w;
        int code = kube_response_code(res);

        if (code != ERR_BUSY && res->status > 0)
                backoff_reset(&w->pause);
        if (code == -ECANCELED)
                finish(j, WRITER_CANCELED, 0, "");
        else if (code >= 0)
                finish(j, WRITER_DONE, res->status, res->body);
        else if (code == ERR_CONFLICT)
                finish(j, WRITER_CONFLICT, res->status, "");
        else if (code == ERR_MISSING || code == ERR_GONE)
                finish(j, WRITER_GONE, res->status, "");
        else if (res->status == 403 && !j->as_put) {
                patch_denied(w, j->resource, res->error);
                j->as_put = true;
                job_move(j, &w->ready);
        } else if (res->status > 0 && code != ERR_BUSY && res->status != 401)
                finish(j, WRITER_REFUSED, res->status, res->error);
        else
                retry_later(j, res);
}

static void on_written(void *ctx, const struct kube_response *res)
{
        struct writer_job *j = ctx;
        struct writer *w = j->w;

        j->request = NULL;
        settle(j, res);
        if (w->closing)
                maybe_closed(w);
        else
                pump(w);
}

/* The object as it is now with our patch carried out on it, or why there is none. */
static int put_body(struct writer_job *j, const struct kube_response *res, char **ret)
{
        CLEANUP(json_deletep) cJSON *object = NULL;
        CLEANUP(json_deletep) cJSON *patch = NULL;
        int r = json_parse(&object, res->body, res->len);

        if (r < 0)
                return r;
        if (strcmp(json_str_at(object, "metadata.resourceVersion", ""), j->rv) != 0)
                return ERR_CONFLICT;
        r = json_parse(&patch, j->body, j->body_len);
        if (r == 0)
                r = patch_apply(object, patch, j->strategic);
        if (r < 0)
                return r;
        *ret = cJSON_PrintUnformatted(object);
        return *ret ? 0 : -ENOMEM;
}

static int request(struct writer_job *j, const char *method, const char *type, const char *body, size_t len,
        void (*on_done)(void *, const struct kube_response *))
{
        CLEANUP(buf_fini) struct buf path = BUF_INIT;
        struct kube_call call = { .method = method,
                .content_type = type,
                .body = body,
                .body_len = len,
                .timeout_ms = j->w->timeout_ms,
                .on_done = on_done,
                .ctx = j,
                .verb = method[1] == 'A'   ? "patch"
                        : method[0] == 'P' ? "update"
                                           : "get",
                .resource = j->resource };

        buf_adds(&path, j->path);
        if (method[0] == 'P')
                buf_adds(&path, "/status");
        if (!buf_ok(&path))
                return -ENOMEM;
        call.path = buf_str(&path);
        return kube_send(j->w->k, &j->request, &call);
}

static void on_read(void *ctx, const struct kube_response *res)
{
        struct writer_job *j = ctx;
        struct writer *w = j->w;
        CLEANUP(freep) char *body = NULL;
        int r;

        j->request = NULL;
        if (kube_response_code(res) < 0) {
                settle(j, res);
        } else if (w->stopped) {
                finish(j, WRITER_CANCELED, 0, "");
        } else if (!may_send(w)) {
                job_move(j, &w->ready);
        } else {
                r = put_body(j, res, &body);
                if (r == 0)
                        r = request(j, "PUT", NULL, body, strlen(body), on_written);
                if (r == 0)
                        return;
                finish(j, r == ERR_CONFLICT ? WRITER_CONFLICT : WRITER_REFUSED, 0,
                        r == ERR_CONFLICT ? "" : err_name(r));
        }
        if (w->closing)
                maybe_closed(w);
        else
                pump(w);
}

static int job_send(struct writer_job *j)
{
        const struct no_patch *n = no_patch_of(j->w, j->resource);

        if (n && now(j->w) < n->again_ms)
                j->as_put = true;
        if (j->as_put)
                return request(j, "GET", NULL, NULL, 0, on_read);
        return request(j, "PATCH", j->strategic ? KUBE_STRATEGIC_PATCH : KUBE_MERGE_PATCH, j->body,
                j->body_len, on_written);
}

/* ---- the queue ---- */

static void on_timer(uv_timer_t *t)
{
        struct writer *w = container_of(t, struct writer, timer);

        if (!w->closing)
                pump(w);
}

static void arm(struct writer *w, uint64_t at_ms)
{
        uint64_t now_ms = now(w);

        uv_timer_start(&w->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

static uint64_t wake_delayed(struct writer *w)
{
        struct writer_job *j = TAILQ_FIRST(&w->delayed), *next;
        uint64_t due_ms = UINT64_MAX;

        for (; j; j = next) {
                next = TAILQ_NEXT(j, next);
                if (j->due_ms <= now(w))
                        job_move(j, &w->ready);
                else
                        due_ms = MIN(due_ms, j->due_ms);
        }
        return due_ms;
}

static void pump(struct writer *w)
{
        uint64_t due_ms = wake_delayed(w);
        struct writer_job *j;

        while (!w->closing && (j = TAILQ_FIRST(&w->over)))
                finish(j, WRITER_CANCELED, 0, "");
        while (!w->closing && w->n_flying < w->max_in_flight && (j = TAILQ_FIRST(&w->ready))) {
                if (now(w) < w->pause_until_ms) {
                        due_ms = MIN(due_ms, w->pause_until_ms);
                        break;
                }
                if (!may_send(w)) {
                        due_ms = MIN(due_ms, now(w) + GATE_MS);
                        break;
                }
                if (job_send(j) < 0) { /* no memory or a full queue: in a moment there may be */
                        due_ms = MIN(due_ms, now(w) + GATE_MS);
                        break;
                }
                job_move(j, &w->flying);
        }
        if (!w->closing && due_ms != UINT64_MAX)
                arm(w, due_ms);
}

int writer_new(struct writer **ret, struct kube *k, const struct writer_conf *conf)
{
        struct writer *w = calloc(1, sizeof(*w));
        int r;

        if (!w)
                return -ENOMEM;
        r = uv_timer_init(kube_loop(k), &w->timer);
        if (r < 0) {
                free(w);
                return r;
        }
        w->k = k;
        TAILQ_INIT(&w->ready);
        TAILQ_INIT(&w->flying);
        TAILQ_INIT(&w->delayed);
        TAILQ_INIT(&w->over);
        w->max_in_flight = conf->max_in_flight ? conf->max_in_flight : 16;
        w->timeout_ms = conf->timeout_ms ? conf->timeout_ms : 5000;
        w->may_send = conf->may_send;
        w->on_room = conf->on_room;
        w->conf_ctx = conf->ctx;
        w->rng.state = conf->seed;
        w->pause = (struct backoff){ .base_ms = 200, .cap_ms = 5000 };
        if (kube_metrics(k))
                w->results = metrics_family(kube_metrics(k), METRIC_COUNTER,
                        "metallb_controller_status_writes_total", "Status writes by resource and result.",
                        result_labels, NULL, 0);
        *ret = w;
        return 0;
}

bool writer_has_room(const struct writer *w)
{
        return !w->stopped && w->n_ready + w->n_flying < w->max_in_flight;
}

int writer_send(struct writer *w, struct writer_job **ret, const struct writer_call *call)
{
        CLEANUP(buf_fini) struct buf path = BUF_INIT;
        struct writer_job *j;

        if (w->stopped)
                return -ECANCELED;
        kube_path(&path, call->group, call->version, call->ns, call->resource, call->name, NULL);
        j = calloc(1, sizeof(*j));
        if (!j)
                return -ENOMEM;
        *j = (struct writer_job){ .w = w,
                .resource = call->resource,
                .strategic = call->strategic,
                .backoff = { .base_ms = 500, .cap_ms = 60000 },
                .on_done = call->on_done,
                .ctx = call->ctx,
                .path = buf_ok(&path) ? buf_take(&path) : NULL,
                .rv = strdup(call->rv),
                .body = strndup(call->body, call->body_len),
                .body_len = call->body_len };
        if (!j->path || !j->rv || !j->body) {
                job_free(j);
                return -ENOMEM;
        }
        job_move(j, &w->ready);
        arm(w, 0); /* sent from the loop: nothing calls back from in here */
        if (ret)
                *ret = j;
        return 0;
}

bool writer_drop(struct writer *w, struct writer_job *job)
{
        if (job->list != &w->ready && job->list != &w->delayed)
                return false;
        job_move(job, NULL);
        job_free(job);
        return true;
}

void writer_kick(struct writer *w)
{
        if (!w->closing)
                arm(w, 0);
}

void writer_stop(struct writer *w)
{
        struct writer_job *j;

        if (w->stopped)
                return;
        w->stopped = true;
        while ((j = TAILQ_FIRST(&w->ready)) || (j = TAILQ_FIRST(&w->delayed)))
                job_move(j, &w->over);
        if (!w->closing)
                arm(w, 0);
}

bool writer_is_idle(const struct writer *w)
{
        return TAILQ_EMPTY(&w->flying) && TAILQ_EMPTY(&w->over);
}

static void on_timer_closed(uv_handle_t *h)
{
        struct writer *w = h->data;
        struct writer_job *j;

        w->timer_closed = true;
        while ((j = TAILQ_FIRST(&w->over)))
                finish(j, WRITER_CANCELED, 0, "");
        maybe_closed(w);
}

void writer_close(struct writer *w, void (*closed)(void *ctx), void *ctx)
{
        struct writer_job *j;

        if (w->closing)
                return;
        writer_stop(w);
        w->closing = true;
        w->closed = closed;
        w->closed_ctx = ctx;
        TAILQ_FOREACH(j, &w->flying, next)
        {
                if (j->request)
                        kube_cancel(j->request);
        }
        w->timer.data = w;
        uv_close((uv_handle_t *)&w->timer, on_timer_closed);
}
