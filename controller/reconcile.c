/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of pools and nodes only leave a mark; the timer then takes them in, once for many. Closing goes in three steps,
 * because the later parts are used by the earlier: writer; services and pool status; informers and timer. */
#include "controller/reconcile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/misc.h"
#include "common/api/node.h"
#include "common/buf.h"
#include "common/ipam.h"
#include "common/kube/informer.h"
#include "common/log.h"
#include "controller/poolstatus.h"
#include "controller/services.h"
#include "controller/writer.h"

#define NODES_LIST_MS  60000 /* when they can be listed but not watched */
#define NODES_AGAIN_MS 600000 /* when they cannot be listed */
#define RETRY_MS       500
#define SAY_MS         60000

enum kind { SERVICES, POOLS, NAMESPACES, NODES, N_KINDS };

struct source { /* one informer and what became of it */
        struct reconcile *r;
        enum kind kind;
        struct informer *inf; /* NULL: none now (nodes only) */
        bool known; /* its first list is complete, or there is none to wait for */
        bool failing, told;
        char words[128]; /* why, while failing */
};

struct reconcile {
        struct reconcile_conf conf;
        struct source sources[N_KINDS];
        struct ipam *ipam;
        struct writer *writer;
        struct services *services;
        struct poolstatus *poolstatus;
        uv_timer_t timer;
        bool pools_dirty, nodes_dirty;
        struct ip *node_ips; /* the last complete view */
        size_t n_node_ips;
        uint64_t nodes_ms; /* when nodes are listed again; UINT64_MAX: they are watched */
        bool told_nodes;
        struct log_limit say;
        struct series *loaded;
        bool stopped, closing;
        unsigned n_open;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static const struct {
        const char *group, *version, *resource;
        bool own_namespace;
        object_decode_fn decode;
} kinds[N_KINDS] = {
        [SERVICES] = { "", "v1", "services", false, service_decode },
        [POOLS] = { "metallb.io", "v1beta1", "ipaddresspools", true, pool_decode },
        [NAMESPACES] = { "", "v1", "namespaces", false, metadata_decode },
        [NODES] = { "", "v1", "nodes", false, node_decode },
};

static void on_timer(uv_timer_t *t);
static int source_open(struct source *s);

static uint64_t now(const struct reconcile *r)
{
        return uv_now(kube_loop(r->conf.kube));
}

static void arm(struct reconcile *r, uint64_t at_ms)
{
        uint64_t now_ms = now(r);

        at_ms = MIN(at_ms, MIN(r->nodes_ms, ipam_deadline(r->ipam)));
        if (r->pools_dirty || r->nodes_dirty)
                at_ms = MIN(at_ms, now_ms);
        if (!r->closing && at_ms != UINT64_MAX)
                uv_timer_start(&r->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

/* ---- pools and nodes into the allocator ---- */

struct pools_view {
        const struct pool **v;
        size_t n;
};

static int gather_pool(void *ctx, const struct object *o)
{
        struct pools_view *g = ctx;

        g->v[g->n++] = pool_of(o);
        return 0;
}

static int take_pools(struct reconcile *r)
{
        const struct informer *inf = r->sources[POOLS].inf;
        CLEANUP(freep) const struct pool **v = calloc(informer_count(inf) + 1, sizeof(const struct pool *));
        struct pools_view g = { .v = v };
        int code;

        if (!v)
                return -ENOMEM;
        (void)informer_each(inf, gather_pool, &g); /* gather_pool() never stops it */
        code = ipam_set_pools(r->ipam, v, g.n, now(r));
        if (code >= 0)
                r->pools_dirty = false;
        return code;
}

struct ips_view {
        struct ip *v;
        size_t n;
};

static int count_ips(void *ctx, const struct object *o)
{
        *(size_t *)ctx += node_of(o)->n_addresses;
        return 0;
}

static int gather_ips(void *ctx, const struct object *o)
{
        struct ips_view *g = ctx;
        const struct node *n = node_of(o);

        for (size_t i = 0; i < n->n_addresses; i++)
                g->v[g->n++] = n->addresses[i];
        return 0;
}

/* While nodes are only listed now and then, what was listed last stands. */
static int take_nodes(struct reconcile *r)
{
        const struct informer *inf = r->sources[NODES].inf;
        struct ips_view g = { .n = 0 };
        size_t n = 0;
        int code;

        if (inf && informer_is_synced(inf)) {
                (void)informer_each(inf, count_ips, &n); /* neither stops it */
                g.v = calloc(n + 1, sizeof(*g.v));
                if (!g.v)
                        return -ENOMEM;
                (void)informer_each(inf, gather_ips, &g);
                free(r->node_ips);
                r->node_ips = g.v;
                r->n_node_ips = g.n;
        }
        code = ipam_set_nodes(r->ipam, r->node_ips, r->n_node_ips);
        if (code >= 0)
                r->nodes_dirty = false;
        return code;
}

/* Everything is known for the first time: claim, then plan. */
static int start(struct reconcile *r)
{
        int code = take_pools(r);

        if (code >= 0)
                code = take_nodes(r);
        if (code >= 0)
                code = services_start(r->services);
        if (code < 0)
                return code;
        series_set(r->loaded, 1);
        log_info("caches are complete, holders of addresses are claimed", F_STR("event", "configLoaded"),
                F_UINT("services", informer_count(r->sources[SERVICES].inf)),
                F_UINT("pools", informer_count(r->sources[POOLS].inf)));
        poolstatus_update(r->poolstatus);
        return 0;
}

static void take_changes(struct reconcile *r)
{
        int pools = r->pools_dirty ? take_pools(r) : 0;
        int nodes = r->nodes_dirty ? take_nodes(r) : 0;

        if (pools < 0 || nodes < 0)
                log_error("no memory for a change of pools or nodes, retrying", F_ERR(MIN(pools, nodes)));
        if (pools > 0)
                log_info("pools changed", F_STR("event", "config reloaded"));
        services_woken(r->services);
        poolstatus_update(r->poolstatus);
}

static void maybe_start(struct reconcile *r)
{
        int code;

        for (size_t i = 0; i < N_KINDS; i++) {
                if (!r->sources[i].known)
                        return;
        }
        code = start(r);
        if (code < 0) {
                log_error("no memory to begin with, retrying", F_ERR(code));
                arm(r, now(r) + RETRY_MS);
        }
}

static void nodes_again(struct reconcile *r)
{
        if (now(r) < r->nodes_ms)
                return;
        r->nodes_ms = UINT64_MAX;
        if (!r->sources[NODES].inf && source_open(&r->sources[NODES]) < 0)
                r->nodes_ms = now(r) + RETRY_MS;
}

static void on_timer(uv_timer_t *t)
{
        struct reconcile *r = container_of(t, struct reconcile, timer);
        uint64_t at_ms = UINT64_MAX;

        if (r->closing || r->stopped)
                return;
        nodes_again(r);
        if (!services_started(r->services)) {
                maybe_start(r);
        } else if (r->pools_dirty || r->nodes_dirty) {
                take_changes(r);
                if (r->pools_dirty || r->nodes_dirty) { /* no memory */
                        uv_timer_start(&r->timer, on_timer, RETRY_MS, 0);
                        return;
                }
        }
        if (ipam_deadline(r->ipam) <= now(r)) {
                ipam_tick(r->ipam, now(r));
                services_woken(r->services);
                poolstatus_update(r->poolstatus);
        }
        if (services_started(r->services))
                arm(r, at_ms);
}

/* ---- what the informers tell ---- */

static bool same_labels(const struct kv_list *a, const struct kv_list *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++) {
                if (strcmp(a->v[i].key, b->v[i].key) != 0 || strcmp(a->v[i].value, b->v[i].value) != 0)
                        return false;
        }
        return true;
}

static bool same_addresses(const struct node *a, const struct node *b)
{
        if (a->n_addresses != b->n_addresses)
                return false;
        for (size_t i = 0; i < a->n_addresses; i++) {
                if (!ip_equal(&a->addresses[i], &b->addresses[i]))
                        return false;
        }
        return true;
}

static void on_pool(struct reconcile *r, const struct object *old, const struct object *o)
{
        /* A status that changed is no other configuration. */
        if (!old || !o || old->generation != o->generation || o->generation == 0 ||
                strcmp(old->uid, o->uid) != 0 || !same_labels(&old->annotations, &o->annotations))
                r->pools_dirty = true;
        if (services_started(r->services))
                poolstatus_touch(r->poolstatus, o ? o->name : old->name);
}

static void on_change(void *ctx, const struct object *old, const struct object *o)
{
        struct source *s = ctx;
        struct reconcile *r = s->r;

        if (r->closing)
                return;
        switch (s->kind) {
        case SERVICES: services_touch(r->services, (o ? o : old)->ns, (o ? o : old)->name); break;
        case POOLS: on_pool(r, old, o); break;
        case NAMESPACES:
                if (!old || !o || !same_labels(&old->labels, &o->labels))
                        services_touch_namespace(r->services, (o ? o : old)->name);
                break;
        case NODES:
                if (!old || !o || !same_addresses(node_of(old), node_of(o)))
                        r->nodes_dirty = true;
                break;
        case N_KINDS: break;
        }
        if (services_started(r->services) && (r->pools_dirty || r->nodes_dirty))
                arm(r, UINT64_MAX);
}

static void on_synced(void *ctx)
{
        struct source *s = ctx;
        struct reconcile *r = s->r;

        if (r->closing)
                return;
        s->known = true;
        if (s->kind == NODES)
                r->nodes_dirty = true;
        arm(r, now(r)); /* a start does much: from the loop, not from within the informer */
}

static void source_closed(void *ctx);

/* The role does not let us watch nodes, maybe not even list them. */
static void nodes_denied(struct source *s, const char *words)
{
        struct reconcile *r = s->r;
        bool listed = informer_is_synced(s->inf);

        if (!r->told_nodes && listed)
                log_warn("this role may not watch nodes; listing them every minute instead",
                        F_STR("error", words));
        else if (!r->told_nodes)
                log_warn("this role may not list nodes; their addresses are not withheld",
                        F_STR("error", words));
        r->told_nodes = true;
        if (listed && take_nodes(r) < 0)
                r->nodes_dirty = true; /* with the next list */
        s->known = true;
        r->nodes_ms = now(r) + (listed ? NODES_LIST_MS : NODES_AGAIN_MS);
        informer_close(TAKE(s->inf), source_closed, r);
        arm(r, now(r));
}

static void on_state(void *ctx, bool ok, int code, const char *words)
{
        struct source *s = ctx;
        struct reconcile *r = s->r;
        uint64_t held = 0;

        if (r->closing)
                return;
        s->failing = !ok;
        (void)snprintf(s->words, sizeof(s->words), "%s", ok ? "" : words);
        if (ok && s->told)
                log_info("the API server answers again", F_STR("resource", kinds[s->kind].resource));
        if (ok) {
                s->told = false;
                return;
        }
        if (s->kind == NODES && code == ERR_DENIED) {
                nodes_denied(s, words);
                return;
        }
        /* Without an answer all of them fail together: one line is enough. */
        s->told = code == ERR_DENIED || code == ERR_MISSING || log_limit_ok(&r->say, now(r), SAY_MS, &held);
        if (s->told)
                log_warn("cannot list or watch, retrying", F_STR("resource", kinds[s->kind].resource),
                        F_STR("server", kube_server(r->conf.kube)), F_STR("error", words),
                        F_UINT("more", held));
}

static void on_bad(void *ctx, const char *ns, const char *name, const char *words)
{
        const struct source *s = ctx;

        log_error("an object cannot be read and is ignored as it is now",
                F_STR("resource", kinds[s->kind].resource), F_STR("namespace", ns), F_STR("name", name),
                F_STR("error", words));
}

static int source_open(struct source *s)
{
        CLEANUP(buf_fini) struct buf path = BUF_INIT;
        struct reconcile *r = s->r;
        struct informer_conf conf = { .resource = kinds[s->kind].resource,
                .decode = kinds[s->kind].decode,
                .on_change = on_change,
                .on_synced = on_synced,
                .on_state = on_state,
                .on_bad = on_bad,
                .ctx = s };
        int code;

        kube_path(&path, kinds[s->kind].group, kinds[s->kind].version,
                kinds[s->kind].own_namespace ? r->conf.ns : NULL, kinds[s->kind].resource, NULL, NULL);
        if (!buf_ok(&path))
                return -ENOMEM;
        conf.path = buf_str(&path);
        code = informer_new(&s->inf, r->conf.kube, &conf);
        if (code == 0)
                r->n_open++;
        return code;
}

/* ---- glue ---- */

static void on_turn(void *ctx)
{
        struct reconcile *r = ctx;

        if (r->closing || !services_started(r->services))
                return;
        poolstatus_update(r->poolstatus);
        if (ipam_deadline(r->ipam) != UINT64_MAX)
                arm(r, UINT64_MAX);
}

static bool may_send(void *ctx, unsigned for_ms)
{
        const struct reconcile *r = ctx;

        return !r->conf.may_write || r->conf.may_write(r->conf.ctx, for_ms);
}

static void on_room(void *ctx)
{
        struct reconcile *r = ctx;

        if (!r->closing && !r->stopped)
                services_kick(r->services);
}

static void on_verdict(void *ctx)
{
        struct reconcile *r = ctx;
        CLEANUP(buf_fini) struct buf text = BUF_INIT;
        size_t n;

        if (!r->conf.confstate || r->closing)
                return;
        n = poolstatus_errors(r->poolstatus, &text);
        confstate_report(r->conf.confstate, n > 0 ? CONFSTATE_INVALID : CONFSTATE_VALID, buf_str(&text));
}

static void finish(struct reconcile *r)
{
        void (*closed)(void *ctx) = r->closed;
        void *ctx = r->closed_ctx;

        ipam_free(r->ipam);
        free(r->node_ips);
        free(r);
        if (closed)
                closed(ctx);
}

static void source_closed(void *ctx)
{
        struct reconcile *r = ctx;

        if (--r->n_open == 0)
                finish(r);
}

static void on_timer_closed(uv_handle_t *h)
{
        source_closed(container_of(h, struct reconcile, timer));
}

/* Third step: what observes. */
static void close_sources(struct reconcile *r)
{
        for (size_t i = 0; i < N_KINDS; i++) {
                if (r->sources[i].inf)
                        informer_close(TAKE(r->sources[i].inf), source_closed, r);
        }
        uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}

static void on_poolstatus_closed(void *ctx)
{
        struct reconcile *r = ctx;

        r->poolstatus = NULL;
        close_sources(r);
}

static void on_services_closed(void *ctx)
{
        struct reconcile *r = ctx;

        r->services = NULL;
        if (r->poolstatus)
                poolstatus_close(r->poolstatus, on_poolstatus_closed, r);
        else
                close_sources(r);
}

/* Second step: what decides. */
static void on_writer_closed(void *ctx)
{
        struct reconcile *r = ctx;

        r->writer = NULL;
        if (r->services)
                services_close(r->services, on_services_closed, r);
        else
                on_services_closed(r);
}

void reconcile_close(struct reconcile *r, void (*closed)(void *ctx), void *ctx)
{
        if (r->closing)
                return;
        r->closing = true;
        r->closed = closed;
        r->closed_ctx = ctx;
        if (r->writer)
                writer_close(r->writer, on_writer_closed, r);
        else
                on_writer_closed(r);
}

static int make_parts(struct reconcile *r)
{
        const struct ipam_conf ipam_conf = { .reuse_delay_ms = r->conf.reuse_delay_ms };
        const struct writer_conf writer_conf = {
                .may_send = may_send, .on_room = on_room, .ctx = r, .seed = r->conf.seed
        };
        struct services_conf services_conf = { .kube = r->conf.kube,
                .events = r->conf.events,
                .lb_class = r->conf.lb_class,
                .on_turn = on_turn,
                .ctx = r,
                .seed = r->conf.seed + 1 };
        struct poolstatus_conf pools_conf = { .kube = r->conf.kube,
                .events = r->conf.events,
                .ns = r->conf.ns,
                .on_verdict = on_verdict,
                .ctx = r };
        int code = ipam_new(&r->ipam, &ipam_conf);

        if (code == 0)
                code = writer_new(&r->writer, r->conf.kube, &writer_conf);
        for (size_t i = 0; i < N_KINDS && code == 0; i++)
                code = source_open(&r->sources[i]);
        if (code < 0)
                return code;
        services_conf.writer = pools_conf.writer = r->writer;
        services_conf.ipam = r->ipam;
        pools_conf.ipam = r->ipam;
        services_conf.services = r->sources[SERVICES].inf;
        services_conf.namespaces = r->sources[NAMESPACES].inf;
        pools_conf.pools = r->sources[POOLS].inf;
        code = services_new(&r->services, &services_conf);
        if (code == 0)
                code = poolstatus_new(&r->poolstatus, &pools_conf);
        return code;
}

int reconcile_new(struct reconcile **ret, const struct reconcile_conf *conf)
{
        struct metrics *m = kube_metrics(conf->kube);
        struct reconcile *r = calloc(1, sizeof(*r));
        int code;

        if (!r)
                return -ENOMEM;
        r->conf = *conf;
        r->nodes_ms = UINT64_MAX;
        for (size_t i = 0; i < N_KINDS; i++)
                r->sources[i] = (struct source){ .r = r, .kind = (enum kind)i };
        code = uv_timer_init(kube_loop(conf->kube), &r->timer);
        if (code < 0) {
                free(r);
                return code;
        }
        r->n_open = 1;
        code = make_parts(r);
        if (code < 0) {
                reconcile_close(r, NULL, NULL); /* frees itself from the loop */
                return code;
        }
        if (m)
                r->loaded = metrics_series(
                        metrics_family(m, METRIC_GAUGE, "metallb_k8s_client_config_loaded_bool",
                                "1 if the MetalLB configuration was successfully loaded at least once.", NULL,
                                NULL, 0),
                        NULL);
        *ret = r;
        return 0;
}

void reconcile_stop(struct reconcile *r)
{
        r->stopped = true;
        if (r->writer)
                writer_stop(r->writer);
}

bool reconcile_is_idle(const struct reconcile *r)
{
        return !r->writer || writer_is_idle(r->writer);
}

bool reconcile_is_ready(const struct reconcile *r, struct buf *words)
{
        bool ready = true;

        for (size_t i = 0; i < N_KINDS; i++) {
                const struct source *s = &r->sources[i];

                if (s->known && !s->failing)
                        continue;
                if (s->kind == NODES && s->known)
                        continue; /* a nicety */
                if (words)
                        buf_addf(words, "%s%s: %s", ready ? "" : "; ", kinds[i].resource,
                                s->failing ? s->words : "not listed yet");
                ready = false;
        }
        if (ready && !services_started(r->services)) {
                if (words)
                        buf_adds(words, "services are not claimed yet");
                ready = false;
        }
        return ready;
}

size_t reconcile_busy(const struct reconcile *r)
{
        return r->services ? services_busy(r->services) : 0;
}
