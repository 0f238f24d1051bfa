/* SPDX-License-Identifier: Apache-2.0 */
#include "speaker/ownpod.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/backoff.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/log.h"

struct ownpod {
        struct kube *kube;
        char *path, *pod;
        void (*on_uid)(void *ctx, const char *uid);
        void *ctx;
        struct kube_request *request;
        uv_timer_t timer;
        struct backoff backoff;
        struct rng rng;
        bool told;
        bool closing;
        unsigned n_open; /* the timer, the request */
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static void ask(struct ownpod *p);

static struct ownpod *ownpod_free(struct ownpod *p)
{
        if (!p)
                return NULL;
        free(p->path);
        free(p->pod);
        free(p);
        return NULL;
}
DEFINE_CLEANUP(struct ownpod, ownpod_free);

static void one_less(struct ownpod *p)
{
        void (*closed)(void *ctx) = p->closed;
        void *ctx = p->closed_ctx;

        if (--p->n_open > 0 || !p->closing)
                return;
        ownpod_free(p);
        if (closed)
                closed(ctx);
}

static void on_timer(uv_timer_t *t)
{
        struct ownpod *p = container_of(t, struct ownpod, timer);

        if (!p->closing)
                ask(p);
}

/* Without any answer nothing is said: that the server is away others notice, and tell. */
static void told_nothing(struct ownpod *p, int code, const struct kube_response *res)
{
        (void)uv_timer_start(
                &p->timer, on_timer, backoff_next_after(&p->backoff, &p->rng, res->retry_after_s), 0);
        if (p->told || res->code < 0)
                return;
        p->told = true;
        log_warn("own Pod cannot be read; status objects have no owner", F_STR("pod", p->pod),
                F_STR("reason", res->error), F_ERR(code));
        p->on_uid(p->ctx, NULL);
}

static void on_done(void *ctx, const struct kube_response *res)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        struct ownpod *p = ctx;
        int code = kube_response_code(res);
        const char *uid = "";

        p->request = NULL;
        if (code == 0 && json_parse(&tree, res->body, res->len) == 0)
                uid = json_str_at(tree, "metadata.uid", "");
        if (!p->closing && uid[0] != '\0')
                p->on_uid(p->ctx, uid);
        else if (!p->closing)
                told_nothing(p, code < 0 ? code : ERR_MALFORMED, res);
        one_less(p);
}

static void ask(struct ownpod *p)
{
        const struct kube_call call = { .method = "GET",
                .path = p->path,
                .on_done = on_done,
                .ctx = p,
                .verb = "get",
                .resource = "pods" };

        if (kube_send(p->kube, &p->request, &call) < 0)
                (void)uv_timer_start(&p->timer, on_timer, backoff_next(&p->backoff, &p->rng), 0);
        else
                p->n_open++;
}

int ownpod_new(struct ownpod **ret, const struct ownpod_conf *conf)
{
        CLEANUP(ownpod_freep) struct ownpod *p = calloc(1, sizeof(*p));
        CLEANUP(buf_fini) struct buf path = BUF_INIT;

        if (!p)
                return -ENOMEM;
        p->kube = conf->kube;
        p->on_uid = conf->on_uid;
        p->ctx = conf->ctx;
        p->backoff = (struct backoff){ .base_ms = 1000, .cap_ms = 300000 };
        p->rng.state = uv_hrtime() ^ (uint64_t)getpid();
        kube_path(&path, "", "v1", conf->ns, "pods", conf->pod, NULL);
        p->path = buf_take(&path);
        p->pod = strdup(conf->pod);
        if (!p->path || !p->pod)
                return -ENOMEM;
        (void)uv_timer_init(kube_loop(conf->kube), &p->timer); /* never fails */
        p->n_open = 1;
        ask(p);

        *ret = TAKE(p);
        return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
        one_less(container_of((uv_timer_t *)h, struct ownpod, timer));
}

void ownpod_close(struct ownpod *p, void (*closed)(void *ctx), void *ctx)
{
        if (p->closing)
                return;
        p->closing = true;
        p->closed = closed;
        p->closed_ctx = ctx;
        if (p->request)
                kube_cancel(p->request);
        uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}
