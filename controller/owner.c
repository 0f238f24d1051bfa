/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/owner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/backoff.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/log.h"

struct owner {
        struct kube *k;
        char *ns, *pod;
        void (*found)(void *ctx, const char *uid);
        void *ctx;
        uv_timer_t timer;
        struct kube_request *request;
        struct backoff backoff;
        struct rng rng;
        bool closing, timer_closed;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static void on_timer(uv_timer_t *t);

static void maybe_closed(struct owner *o)
{
        void (*closed)(void *ctx) = o->closed;
        void *ctx = o->closed_ctx;

        if (!o->timer_closed || o->request)
                return;
        free(o->ns);
        free(o->pod);
        free(o);
        closed(ctx);
}

static void again(struct owner *o)
{
        uv_timer_start(&o->timer, on_timer, backoff_next(&o->backoff, &o->rng), 0);
}

static void on_answer(void *ctx, const struct kube_response *res)
{
        struct owner *o = ctx;
        CLEANUP(json_deletep) cJSON *pod = NULL;
        int code = kube_response_code(res);

        o->request = NULL;
        if (o->closing) {
                maybe_closed(o);
                return;
        }
        if (code >= 0)
                code = json_parse(&pod, res->body, res->len);
        if (code >= 0 && json_str_at(pod, "metadata.uid", NULL))
                o->found(o->ctx, json_str_at(pod, "metadata.uid", ""));
        else if (code == ERR_DENIED || code == ERR_MISSING)
                log_warn("own pod cannot be read; nothing gets it as an owner", F_STR("pod", o->pod),
                        F_STR("error", res->error));
        else
                again(o);
}

static void on_timer(uv_timer_t *t)
{
        struct owner *o = container_of(t, struct owner, timer);
        CLEANUP(buf_fini) struct buf path = BUF_INIT;
        struct kube_call call = {
                .method = "GET", .on_done = on_answer, .ctx = o, .verb = "get", .resource = "pods"
        };

        if (o->closing)
                return;
        kube_path(&path, "", "v1", o->ns, "pods", o->pod, NULL);
        call.path = buf_str(&path);
        if (!buf_ok(&path) || kube_send(o->k, &o->request, &call) < 0)
                again(o);
}

int owner_new(struct owner **ret, struct kube *k, const char *ns, const char *pod,
        void (*found)(void *ctx, const char *uid), void *ctx)
{
        struct owner *o = calloc(1, sizeof(*o));
        int r = -ENOMEM;

        if (!o)
                return r;
        *o = (struct owner){ .k = k,
                .ns = strdup(ns),
                .pod = strdup(pod),
                .found = found,
                .ctx = ctx,
                .backoff = { .base_ms = 500, .cap_ms = 30000 },
                .rng = { .state = uv_hrtime() } };
        if (o->ns && o->pod)
                r = uv_timer_init(kube_loop(k), &o->timer);
        if (r < 0) {
                free(o->ns);
                free(o->pod);
                free(o);
                return r;
        }
        uv_timer_start(&o->timer, on_timer, 0, 0);
        *ret = o;
        return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
        struct owner *o = container_of(h, struct owner, timer);

        o->timer_closed = true;
        maybe_closed(o);
}

void owner_close(struct owner *o, void (*closed)(void *ctx), void *ctx)
{
        if (o->closing)
                return;
        o->closing = true;
        o->closed = closed;
        o->closed_ctx = ctx;
        if (o->request)
                kube_cancel(o->request);
        uv_close((uv_handle_t *)&o->timer, on_timer_closed);
}
