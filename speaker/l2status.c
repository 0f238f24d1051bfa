/* SPDX-License-Identifier: Apache-2.0 */
/* l2status - an entry for each Service that is announced here or has an object of ours. An entry with something to
 * write stands in a queue once; at most IN_FLIGHT entries are busy. A new object takes two requests (POST, then PATCH of
 * the status under the name the server chose), everything else one.
 *
 * After a write the entry waits until the watch brings the version the server answered with (or ECHO_MS passed), so
 * that an older copy is not mended again. A failed write puts the entry back and pauses all of them. */
#include "speaker/l2status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/backoff.h"
#include "common/kube/informer.h"
#include "common/label.h"
#include "common/log.h"
#include "common/table.h"
#include "speaker/l2object.h"
#include "speaker/l2sweep.h"

#define RESOURCE  "servicel2statuses"
#define IN_FLIGHT 8
#define ECHO_MS   30000
#define SAY_MS    3600000
#define SWEEP_MAX 50 /* Services a sweep asks for by name; beyond, it reads everything */
#define GONE      1 /* an echo: the deletion */
#define KEY_MAX   512 /* namespace and name of a Service; the API allows 63 each */

struct entry {
        UT_hash_handle hh; /* by "<ns>\0<name>" */
        struct l2status_writer *w;
        const struct object *have; /* in the informer's store; NULL: none */
        char **interfaces; /* one block; NULL: every one */
        size_t n_interfaces;
        bool wanted, queued, busy;
        bool refused; /* the server does not take it; until something changes */
        bool fresh; /* came to this node since the last sweep */
        uint64_t echo; /* digest of the version to wait for; 0: none */
        uint64_t echo_due_ms;
        struct kube_request *request;
        TAILQ_ENTRY(entry) link; /* of the queue, or of those that wait for an echo */
        const char *name; /* in key, behind the namespace */
        char key[];
};
TAILQ_HEAD(entry_list, entry);

struct spare { /* an object that should not be: a second one of ours, or another node's */
        TAILQ_ENTRY(spare) link;
        struct l2status_writer *w;
        struct kube_request *request; /* NULL: waits */
        char name[];
};
TAILQ_HEAD(spare_list, spare);

struct l2status_writer {
        struct kube *kube;
        struct informer *informer;
        struct l2sweep *sweep;
        char *ns, *node, *pod, *uid;
        struct entry *entries;
        struct entry_list queue, echoing;
        struct spare_list spares, sent_spares;
        unsigned in_flight;
        bool begun, paused;
        bool sweep_all; /* the next sweep is not limited to Services that came since */
        unsigned sweep_ms;
        uint64_t sweep_at_ms; /* 0: none planned */
        uint64_t pause_until_ms;
        uv_timer_t timer;
        struct backoff backoff;
        struct rng rng;
        struct log_limit said;
        bool closing;
        unsigned n_open; /* informer, timer, requests, a running sweep */
        void (*closed)(void *ctx);
        void *closed_ctx;
};

enum need { NOTHING, CREATE, OWN, STATUS, DELETE };

/* ---- small helpers ---- */

static uint64_t echo_of(const char *rv)
{
        return l2object_owner(rv) | 2; /* any digest will do; never 0 or GONE */
}

static struct l2announcement announcement(const struct entry *e)
{
        return (struct l2announcement){ .node = e->w->node,
                .service_ns = e->key,
                .service_name = e->name,
                .interfaces = (const char *const *)e->interfaces,
                .n_interfaces = e->n_interfaces };
}

/* Needs no memory: what is deleted must be found. */
static struct entry *entry_find(const struct l2status_writer *w, const char *ns, const char *name)
{
        size_t ns_len = strlen(ns) + 1, len = ns_len + strlen(name) + 1;
        struct entry *e = NULL;
        char key[KEY_MAX];

        if (len > sizeof(key))
                return NULL;
        memcpy(key, ns, ns_len);
        memcpy(key + ns_len, name, len - ns_len);
        HASH_FIND(hh, w->entries, key, len, e);
        return e;
}

static struct entry *entry_make(struct l2status_writer *w, const char *ns, const char *name)
{
        size_t ns_len = strlen(ns) + 1, name_len = strlen(name) + 1;
        struct entry *e = entry_find(w, ns, name);

        if (e || ns_len + name_len > KEY_MAX)
                return e;
        e = calloc(1, sizeof(*e) + ns_len + name_len);
        if (!e)
                return NULL;
        e->w = w;
        memcpy(e->key, ns, ns_len);
        memcpy(e->key + ns_len, name, name_len);
        e->name = e->key + ns_len;
        HASH_ADD(hh, w->entries, key, ns_len + name_len, e);
        if (e->hh.tbl)
                return e;
        free(e);
        return NULL;
}

static void entry_free(struct entry *e)
{
        HASH_DEL(e->w->entries, e);
        if (e->queued)
                TAILQ_REMOVE(&e->w->queue, e, link);
        if (e->echo)
                TAILQ_REMOVE(&e->w->echoing, e, link);
        free(e->interfaces);
        free(e);
}

static enum need entry_need(const struct entry *e)
{
        const struct l2object *have = l2object_of(e->have);
        const struct l2status_writer *w = e->w;

        if (e->refused || e->busy || e->echo)
                return NOTHING;
        if (!e->wanted || !have)
                return e->wanted ? CREATE : have ? DELETE : NOTHING;
        if (have->has_status && have->identity != l2object_identity(w->node, e->key, e->name))
                return DELETE; /* these fields cannot be changed; then a new one is made */
        if (w->uid && have->owner != l2object_owner(w->uid))
                return OWN;
        if (!have->has_status || !have->is_sorted ||
                have->interfaces != l2object_interfaces((const char *const *)e->interfaces, e->n_interfaces))
                return STATUS;
        return NOTHING;
}

/* ---- the timer: pauses, echoes that do not come, sweeps ---- */

static void pump(struct l2status_writer *w);
static void settle(struct entry *e);
static void sweep(struct l2status_writer *w);

static void on_timer(uv_timer_t *t);

static void arm(struct l2status_writer *w)
{
        const struct entry *first = TAILQ_FIRST(&w->echoing);
        uint64_t due = first ? first->echo_due_ms : UINT64_MAX, now = uv_now(w->timer.loop);

        if (w->closing)
                return;
        if (w->paused)
                due = MIN(due, w->pause_until_ms);
        if (w->sweep_at_ms && w->begun && !w->sweep)
                due = MIN(due, w->sweep_at_ms);
        if (due == UINT64_MAX)
                (void)uv_timer_stop(&w->timer);
        else
                (void)uv_timer_start(&w->timer, on_timer, due > now ? due - now : 0, 0);
}

static void await(struct entry *e, uint64_t echo)
{
        if (e->echo)
                TAILQ_REMOVE(&e->w->echoing, e, link);
        e->echo = echo;
        if (!echo)
                return;
        e->echo_due_ms = uv_now(e->w->timer.loop) + ECHO_MS;
        TAILQ_INSERT_TAIL(&e->w->echoing, e, link); /* the wait is the same for all: in order of time */
}

static void on_timer(uv_timer_t *t)
{
        struct l2status_writer *w = container_of(t, struct l2status_writer, timer);
        uint64_t now = uv_now(t->loop);

        if (w->closing)
                return;
        if (w->paused && now >= w->pause_until_ms)
                w->paused = false;
        for (struct entry *e; (e = TAILQ_FIRST(&w->echoing)) != NULL && now >= e->echo_due_ms;) {
                await(e, 0);
                settle(e);
        }
        if (w->sweep_at_ms && now >= w->sweep_at_ms && w->begun && !w->sweep)
                sweep(w);
        pump(w);
}

static void pause_writing(struct l2status_writer *w, unsigned retry_after_s)
{
        if (w->paused)
                return; /* those that were under way together fail together */
        w->paused = true;
        w->pause_until_ms = uv_now(w->timer.loop) + backoff_next_after(&w->backoff, &w->rng, retry_after_s);
}

static void complain(struct l2status_writer *w, int code, const char *words)
{
        if ((code == ERR_DENIED || code == ERR_MISSING || code == ERR_REJECTED) &&
                log_limit_ok(&w->said, uv_now(w->timer.loop), SAY_MS, NULL))
                log_warn("ServiceL2Status objects cannot be kept up to date; nothing else depends on them",
                        F_STR("reason", words), F_ERR(code));
}

/* ---- requests ---- */

static void one_less(struct l2status_writer *w)
{
        void (*closed)(void *ctx) = w->closed;
        void *ctx = w->closed_ctx;

        if (--w->n_open > 0 || !w->closing)
                return;
        for (struct entry *e = w->entries, *next; e; e = next) {
                next = e->hh.next;
                entry_free(e);
        }
        for (struct spare *s; (s = TAILQ_FIRST(&w->spares)) != NULL;) {
                TAILQ_REMOVE(&w->spares, s, link);
                free(s);
        }
        free(w->ns);
        free(w->node);
        free(w->pod);
        free(w->uid);
        free(w);
        if (closed)
                closed(ctx);
}

static int request(struct l2status_writer *w, struct kube_request **ret, const char *method, const char *name,
        const char *sub, const struct buf *body, void (*on_done)(void *ctx, const struct kube_response *res),
        void *ctx)
{
        CLEANUP(buf_fini) struct buf path = BUF_INIT;
        bool is_patch = strcmp(method, "PATCH") == 0;
        struct kube_call call = {
                .method = method,
                .content_type = is_patch ? KUBE_MERGE_PATCH : NULL,
                .body = body ? buf_str(body) : NULL,
                .body_len = body ? body->len : 0,
                .on_done = on_done,
                .ctx = ctx,
                .verb = is_patch ? "patch"
                        : name   ? "delete"
                                 : "create",
                .resource = RESOURCE,
        };
        int r;

        kube_path(&path, "metallb.io", "v1beta1", w->ns, RESOURCE, name, sub);
        call.path = buf_str(&path);
        if (!buf_ok(&path) || (body && !buf_ok(body)))
                return -ENOMEM;
        r = kube_send(w->kube, ret, &call);
        if (r < 0)
                return r;
        w->in_flight++;
        w->n_open++;
        return 0;
}

/* Of an answer that holds the object: its version, and its name into @name if that is not NULL. 0: not understood. */
static uint64_t read_answer(const struct kube_response *res, struct buf *name)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        const char *rv;

        if (json_parse(&tree, res->body, res->len) < 0)
                return 0;
        if (name)
                buf_adds(name, json_str_at(tree, "metadata.name", ""));
        rv = json_str_at(tree, "metadata.resourceVersion", NULL);
        return rv ? echo_of(rv) : 0;
}

/* Waits for @echo unless the watch was faster than the answer. */
static void await_version(struct entry *e, uint64_t echo)
{
        bool here = echo == GONE ? !e->have : e->have && echo_of(e->have->rv) == echo;

        await(e, here ? 0 : echo);
}

static void failed(struct entry *e, int code, const struct kube_response *res)
{
        struct l2status_writer *w = e->w;

        complain(w, code, res->error);
        if (code == ERR_REJECTED)
                e->refused = true;
        else
                pause_writing(w, res->retry_after_s);
}

static void on_written(void *ctx, const struct kube_response *res)
{
        struct entry *e = ctx;
        struct l2status_writer *w = e->w;
        int code = kube_response_code(res);

        e->request = NULL;
        e->busy = false;
        w->in_flight--;
        if (!w->closing) {
                if (code == 0) {
                        backoff_reset(&w->backoff);
                        await_version(e, read_answer(res, NULL));
                } else if (code == ERR_MISSING && e->have) {
                        await_version(e, GONE); /* the watch will say so */
                } else {
                        failed(e, code, res);
                }
                settle(e);
                pump(w);
        }
        one_less(w);
}

static void on_deleted(void *ctx, const struct kube_response *res)
{
        struct entry *e = ctx;
        struct l2status_writer *w = e->w;
        int code = kube_response_code(res);

        e->request = NULL;
        e->busy = false;
        w->in_flight--;
        if (!w->closing) {
                if (code == 0 || code == ERR_MISSING)
                        await_version(e, GONE);
                else
                        failed(e, code, res);
                settle(e);
                pump(w);
        }
        one_less(w);
}

/* The object is there, without a status: that is the second request. Should it fail, the watch brings the object and it
 * is mended like any other. */
static void on_created(void *ctx, const struct kube_response *res)
{
        CLEANUP(buf_fini) struct buf name = BUF_INIT, body = BUF_INIT;
        struct entry *e = ctx;
        struct l2status_writer *w = e->w;
        int code = kube_response_code(res);
        uint64_t echo = 0;

        e->request = NULL;
        w->in_flight--;
        if (!w->closing && code == 0) {
                const struct l2announcement a = announcement(e);

                backoff_reset(&w->backoff);
                echo = read_answer(res, &name);
                l2object_add_status(&body, &a);
                if (e->wanted && name.len > 0 && buf_ok(&name) &&
                        request(w, &e->request, "PATCH", buf_str(&name), "status", &body, on_written, e) ==
                                0) {
                        one_less(w);
                        return;
                }
        }
        e->busy = false;
        if (!w->closing) {
                if (code == 0)
                        await_version(e, echo);
                else
                        failed(e, code, res);
                settle(e);
                pump(w);
        }
        one_less(w);
}

static int start(struct entry *e, enum need need)
{
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        const struct l2announcement a = announcement(e);
        struct l2status_writer *w = e->w;
        const char *name = e->have ? e->have->name : NULL;

        switch (need) {
        case CREATE:
                l2object_add_new(&body, &a, w->pod, w->uid);
                return request(w, &e->request, "POST", NULL, NULL, &body, on_created, e);
        case OWN:
                l2object_add_owner(&body, w->pod, w->uid);
                return request(w, &e->request, "PATCH", name, NULL, &body, on_written, e);
        case STATUS:
                l2object_add_status(&body, &a);
                return request(w, &e->request, "PATCH", name, "status", &body, on_written, e);
        case DELETE: return request(w, &e->request, "DELETE", name, NULL, NULL, on_deleted, e);
        case NOTHING: break;
        }
        return 0;
}

/* Queues what has something to write, and lets go of what has no more reason to be. */
static void settle(struct entry *e)
{
        if (entry_need(e) != NOTHING && !e->queued) {
                e->queued = true;
                TAILQ_INSERT_TAIL(&e->w->queue, e, link);
        } else if (!e->wanted && !e->have && !e->busy && !e->echo) {
                entry_free(e);
        }
}

static void on_spare_deleted(void *ctx, const struct kube_response *res)
{
        struct spare *s = ctx;
        struct l2status_writer *w = s->w;
        int code = kube_response_code(res);

        TAILQ_REMOVE(&w->sent_spares, s, link);
        w->in_flight--;
        s->request = NULL;
        if (w->closing || code == 0 || code == ERR_MISSING || code == ERR_REJECTED) {
                free(s);
        } else {
                complain(w, code, res->error);
                pause_writing(w, res->retry_after_s);
                TAILQ_INSERT_TAIL(&w->spares, s, link);
        }
        if (!w->closing)
                pump(w);
        one_less(w);
}

static void pump(struct l2status_writer *w)
{
        bool may = w->begun && informer_is_synced(w->informer);

        while (may && !w->closing && !w->paused && w->in_flight < IN_FLIGHT) {
                struct spare *s = TAILQ_FIRST(&w->spares);
                struct entry *e = TAILQ_FIRST(&w->queue);
                enum need need = NOTHING;

                if (e) {
                        TAILQ_REMOVE(&w->queue, e, link);
                        e->queued = false;
                        need = entry_need(e);
                }
                if (need != NOTHING) {
                        e->busy = true;
                        if (start(e, need) < 0) {
                                e->busy = false;
                                pause_writing(w, 0);
                                settle(e);
                        }
                } else if (!e && s) {
                        if (request(w, &s->request, "DELETE", s->name, NULL, NULL, on_spare_deleted, s) < 0) {
                                pause_writing(w, 0);
                                continue;
                        }
                        TAILQ_REMOVE(&w->spares, s, link);
                        TAILQ_INSERT_TAIL(&w->sent_spares, s, link);
                } else if (!e) {
                        break;
                } else {
                        settle(e);
                }
        }
        arm(w);
}

static void add_spare(struct l2status_writer *w, const char *name)
{
        size_t len = strlen(name) + 1;
        struct spare *s = malloc(sizeof(*s) + len);

        if (!s)
                return; /* it stays; the next speaker or sweep will see it */
        s->w = w;
        s->request = NULL;
        memcpy(s->name, name, len);
        TAILQ_INSERT_TAIL(&w->spares, s, link);
}

/* ---- what other nodes left ---- */

static bool is_ours(void *ctx, const char *ns, const char *name)
{
        const struct entry *e = entry_find(ctx, ns, name);

        return e && e->wanted;
}

static void on_foreign(void *ctx, const char *object)
{
        add_spare(ctx, object);
}

static void plan_sweep(struct l2status_writer *w, uint64_t in_ms)
{
        if (w->sweep_at_ms == 0)
                w->sweep_at_ms = uv_now(w->timer.loop) + in_ms + 1;
}

static void on_swept(void *ctx, int code)
{
        struct l2status_writer *w = ctx;

        w->sweep = NULL;
        if (!w->closing && code < 0) {
                w->sweep_all = true;
                plan_sweep(w, backoff_next(&w->backoff, &w->rng));
        }
        if (!w->closing)
                pump(w);
        one_less(w);
}

static void sweep(struct l2status_writer *w)
{
        const char *names[SWEEP_MAX];
        size_t n = 0, fresh = 0;

        w->sweep_at_ms = 0;
        for (struct entry *e = w->entries; e; e = e->hh.next) {
                if (e->fresh && e->wanted && fresh++ < SWEEP_MAX)
                        names[n++] = e->name;
                e->fresh = false;
        }
        if (fresh == 0 && !w->sweep_all)
                return;
        if (fresh > SWEEP_MAX || w->sweep_all)
                n = 0;
        w->sweep_all = false;
        if (l2sweep_start(&w->sweep,
                    &(struct l2sweep_conf){ .kube = w->kube,
                            .ns = w->ns,
                            .node = w->node,
                            .services = names,
                            .n_services = n,
                            .is_ours = is_ours,
                            .on_foreign = on_foreign,
                            .on_done = on_swept,
                            .ctx = w }) < 0) {
                w->sweep_all = true;
                plan_sweep(w, w->sweep_ms);
                return;
        }
        w->n_open++;
}

/* ---- what the watch brings ---- */

static bool has_service(const struct object *o)
{
        return o && l2object_of(o)->service_name[0] != '\0';
}

static void forget(struct l2status_writer *w, const struct object *old)
{
        struct entry *e = entry_find(w, l2object_of(old)->service_ns, l2object_of(old)->service_name);

        if (!e || e->have != old)
                return;
        e->have = NULL;
        e->refused = false;
        if (e->echo == GONE)
                await(e, 0);
        settle(e);
}

static void learn(struct l2status_writer *w, const struct object *old, const struct object *now)
{
        struct entry *e = entry_make(w, l2object_of(now)->service_ns, l2object_of(now)->service_name);

        if (!e)
                return; /* no memory: it stays as it is until its next change */
        if (e->have && e->have != old) {
                add_spare(w, now->name);
                return;
        }
        e->have = now;
        e->refused = false;
        if (e->echo == echo_of(now->rv))
                await(e, 0);
        settle(e);
}

static void on_change(void *ctx, const struct object *old, const struct object *now)
{
        struct l2status_writer *w = ctx;
        bool same = has_service(old) && has_service(now) &&
                strcmp(l2object_of(old)->service_name, l2object_of(now)->service_name) == 0 &&
                strcmp(l2object_of(old)->service_ns, l2object_of(now)->service_ns) == 0;

        if (w->closing)
                return;
        if (has_service(old) && !same)
                forget(w, old);
        if (has_service(now))
                learn(w, old, now);
        pump(w);
}

static void on_synced(void *ctx)
{
        pump(ctx);
}

static void on_state(void *ctx, bool ok, int code, const char *words)
{
        struct l2status_writer *w = ctx;

        if (!ok && !w->closing)
                complain(w, code, words);
}

/* ---- life ---- */

static struct l2status_writer *writer_free(struct l2status_writer *w) /* before any handle is open */
{
        if (!w)
                return NULL;
        free(w->ns);
        free(w->node);
        free(w);
        return NULL;
}
DEFINE_CLEANUP(struct l2status_writer, writer_free);

int l2status_new(struct l2status_writer **ret, const struct l2status_conf *conf)
{
        CLEANUP(writer_freep) struct l2status_writer *w = calloc(1, sizeof(*w));
        CLEANUP(buf_fini) struct buf path = BUF_INIT, query = BUF_INIT;
        char label[LABEL_VALUE_MAX];
        int r;

        if (!w)
                return -ENOMEM;
        w->ns = strdup(conf->ns);
        w->node = strdup(conf->node);
        w->kube = conf->kube;
        w->sweep_ms = conf->sweep_ms ? conf->sweep_ms : 2000;
        w->backoff = (struct backoff){ .base_ms = 1000, .cap_ms = 300000 };
        w->rng.state = uv_hrtime() ^ (uint64_t)getpid();
        TAILQ_INIT(&w->queue);
        TAILQ_INIT(&w->echoing);
        TAILQ_INIT(&w->spares);
        TAILQ_INIT(&w->sent_spares);
        kube_path(&path, "metallb.io", "v1beta1", conf->ns, RESOURCE, NULL, NULL);
        buf_adds(&query, "labelSelector=metallb.io%2Fnode%3D");
        buf_add_url(&query, label_value(label, conf->node));
        if (!w->ns || !w->node || !buf_ok(&path) || !buf_ok(&query))
                return -ENOMEM;
        r = informer_new(&w->informer, conf->kube,
                &(struct informer_conf){ .path = buf_str(&path),
                        .query = buf_str(&query),
                        .resource = RESOURCE,
                        .decode = l2object_decode,
                        .on_change = on_change,
                        .on_synced = on_synced,
                        .on_state = on_state,
                        .ctx = w });
        if (r < 0)
                return r;
        (void)uv_timer_init(kube_loop(conf->kube), &w->timer); /* never fails */
        w->n_open = 2;

        *ret = TAKE(w);
        return 0;
}

static void on_informer_closed(void *ctx)
{
        one_less(ctx);
}

static void on_timer_closed(uv_handle_t *h)
{
        one_less(container_of((uv_timer_t *)h, struct l2status_writer, timer));
}

void l2status_close(struct l2status_writer *w, void (*closed)(void *ctx), void *ctx)
{
        if (w->closing)
                return;
        w->closing = true;
        w->closed = closed;
        w->closed_ctx = ctx;
        for (struct entry *e = w->entries; e; e = e->hh.next)
                if (e->request)
                        kube_cancel(e->request);
        for (struct spare *s = TAILQ_FIRST(&w->sent_spares); s; s = TAILQ_NEXT(s, link))
                kube_cancel(s->request);
        if (w->sweep)
                l2sweep_cancel(w->sweep);
        informer_close(w->informer, on_informer_closed, w);
        uv_close((uv_handle_t *)&w->timer, on_timer_closed);
}

void l2status_set_owner(struct l2status_writer *w, const char *pod, const char *uid)
{
        char *own_pod = strdup(pod), *own_uid = strdup(uid);

        if (!own_pod || !own_uid) { /* goes on without an owner */
                free(own_pod);
                free(own_uid);
                return;
        }
        free(w->pod);
        free(w->uid);
        w->pod = own_pod;
        w->uid = own_uid;
        for (struct entry *e = w->entries, *next; e; e = next) {
                next = e->hh.next;
                settle(e);
        }
        pump(w);
}

/* The names behind their pointers in one block; NULL for none. */
static int copy_names(char ***ret, const char *const *names, size_t n)
{
        size_t size = n * sizeof(char *);
        char **block, *p;

        *ret = NULL;
        if (n == 0)
                return 0;
        for (size_t i = 0; i < n; i++)
                size += strlen(names[i]) + 1;
        block = malloc(size);
        if (!block)
                return -ENOMEM;
        p = (char *)(block + n);
        for (size_t i = 0; i < n; i++) {
                size_t len = strlen(names[i]) + 1;

                memcpy(p, names[i], len);
                block[i] = p;
                p += len;
        }
        *ret = block;
        return 0;
}

int l2status_announced(
        struct l2status_writer *w, const char *ns, const char *name, const char *const *interfaces, size_t n)
{
        struct entry *e = entry_make(w, ns, name);
        char **copy;
        int r;

        if (!e)
                return -ENOMEM;
        r = copy_names(&copy, interfaces, n);
        if (r < 0) {
                settle(e);
                return r;
        }
        free(e->interfaces);
        e->interfaces = copy;
        e->n_interfaces = n;
        e->refused = false;
        if (!e->wanted) {
                e->wanted = e->fresh = true;
                plan_sweep(w, w->sweep_ms);
        }
        settle(e);
        pump(w);
        return 0;
}

bool l2status_has(const struct l2status_writer *w, const char *ns, const char *name)
{
        const struct entry *e = entry_find(w, ns, name);

        return e && e->have && l2object_of(e->have)->has_status;
}

void l2status_withdrawn(struct l2status_writer *w, const char *ns, const char *name)
{
        struct entry *e = entry_find(w, ns, name);

        if (!e)
                return;
        e->wanted = false;
        e->refused = false;
        settle(e);
        pump(w);
}

void l2status_begin(struct l2status_writer *w)
{
        w->begun = true;
        pump(w);
}
