/* SPDX-License-Identifier: Apache-2.0 */
/* control - informers feed the view at once; deciding waits for the next turn, so that everything one read from the
 * socket brought is decided together. One timer does all: the next turn, holds of the view, the next hand-over, a retry
 * when memory was short.
 *
 * No memory for a change: the view lacks that object, so a second later every object is fed again, which is free for those
 * it has. No memory for a decision: it stays marked and is tried again. */
#include "speaker/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/kube/confstate.h"
#include "common/kube/informer.h"
#include "common/log.h"
#include "speaker/l2status.h"
#include "speaker/mistakes.h"
#include "speaker/ownpod.h"
#include "speaker/report.h"
#include "speaker/view.h"

#define TURN_BUDGET  25000 /* candidate nodes looked at in one turn: about ten milliseconds */
#define NO_MEMORY_MS 1000
#define REMIND_MS    300000 /* between two lines about an API server that cannot be used */
#define CONFLICT_MS  10000 /* between two lines about conflicts */

enum source { SERVICES, SLICES, NODES, POOLS, ADS, N_SOURCES };

struct feed { /* one informer */
        struct control *c;
        enum source source;
        struct informer *informer; /* NULL: not open */
        bool failing;
};

struct control {
        uv_loop_t *loop;
        struct kube *kube;
        char *ns, *node, *pod;
        void (*post)(void *ctx, struct desired *d);
        void *ctx;
        struct view *view;
        struct feed feeds[N_SOURCES];
        struct events *events;
        struct l2status_writer *l2status;
        struct confstate *confstate;
        struct report report;
        struct series *updates, *update_errors, *loaded, *stale;

        uv_timer_t timer;
        uint64_t retry_ms; /* no memory: when to go on; 0: no need */
        bool live; /* all informers are synced */
        bool settled; /* everything has been decided once */
        bool refeed; /* an object did not get into the view */
        bool config_dirty; /* pools or advertisements changed since the last look at their errors */
        bool post_needed;
        uint64_t post_ms; /* not before */
        uint64_t posted; /* digest of the last set */
        bool has_posted;

        struct ownpod *ownpod; /* NULL: no name was given */
        bool pod_asked; /* its uid is known, or that it will not be soon */

        uv_timer_t remind_timer;
        struct log_limit conflict_said, memory_said;
        unsigned n_failing;
        uint64_t failing_since_ms, started_ms;

        bool closing;
        unsigned n_open; /* timers, informers, writers */
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static const char *const source_names[] = { "services", "endpointslices", "nodes", "ipaddresspools",
        "l2advertisements" };

/* ---- deciding ---- */

static void on_timer(uv_timer_t *t);

/* Arms the timer for whatever comes first. */
static void arm(struct control *c)
{
        uint64_t due = UINT64_MAX, now = uv_now(c->loop);

        if (c->closing || !c->live)
                return;
        if (c->retry_ms)
                due = c->retry_ms;
        else if (view_is_dirty(c->view) || c->config_dirty)
                due = now;
        else
                due = view_deadline(c->view);
        if (c->post_needed)
                due = MIN(due, c->post_ms);
        if (due == UINT64_MAX)
                (void)uv_timer_stop(&c->timer);
        else
                (void)uv_timer_start(&c->timer, on_timer, due > now ? due - now : 0, 0);
}

static void no_memory(struct control *c)
{
        c->retry_ms = uv_now(c->loop) + NO_MEMORY_MS;
        series_add(c->update_errors, 1);
        if (log_limit_ok(&c->memory_said, uv_now(c->loop), REMIND_MS, NULL))
                log_error("out of memory, trying again; announcements stay as they are");
}

static void on_change(void *ctx, const struct view_change *change)
{
        const struct view_address *announced = NULL;
        struct control *c = ctx;
        bool known;

        for (size_t i = 0; i < change->n && !announced; i++)
                if (change->addresses[i].now == VIEW_ANNOUNCED)
                        announced = &change->addresses[i];
        known = announced && l2status_has(c->l2status, change->ns, change->name);
        c->post_needed = true;
        report_change(&c->report, change, known);
        if (!announced)
                l2status_withdrawn(c->l2status, change->ns, change->name);
        else if (l2status_announced(c->l2status, change->ns, change->name, announced->interfaces,
                         announced->n_interfaces) < 0)
                no_memory(c);
}

static uint64_t desired_digest(const struct desired *d)
{
        uint64_t h = 14695981039346656037u; /* FNV-1a, 64 bits */

        for (size_t i = 0; i < d->n; i++) {
                const struct desired_vip *v = &d->vips[i];

                for (size_t b = 0; b < sizeof(v->ip.b); b++)
                        h = (h ^ v->ip.b[b]) * 1099511628211u;
                h = (h ^ v->ip.family) * 1099511628211u;
                for (size_t k = 0; k < v->n_interfaces; k++)
                        for (const char *p = v->interfaces[k]; p == v->interfaces[k] || p[-1] != '\0'; p++)
                                h = (h ^ (unsigned char)*p) * 1099511628211u;
        }
        return h;
}

static void hand_over(struct control *c)
{
        struct desired *d = NULL;
        uint64_t digest, now = uv_now(c->loop);

        if (view_desired(c->view, &d) < 0) {
                no_memory(c);
                c->post_ms = c->retry_ms;
                return;
        }
        c->post_needed = false;
        /* Building and comparing costs time by the size of the set: 10,000 addresses wait 100 ms for each other. */
        c->post_ms = now + 2 + d->n / 100;
        digest = desired_digest(d);
        if (c->has_posted && digest == c->posted) {
                desired_free(d);
                return;
        }
        c->posted = digest;
        c->has_posted = true;
        c->post(c->ctx, d);
}

/* Objects with errors are left out one by one; the rest is in use. */
static void judge_config(struct control *c)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        c->config_dirty = false;
        mistakes_add(&b, MISTAKES_POOLS, c->feeds[POOLS].informer);
        mistakes_add(&b, MISTAKES_ADS, c->feeds[ADS].informer);
        series_set(c->loaded, 1);
        series_set(c->stale, b.len > 0);
        confstate_report(c->confstate, b.len > 0 ? CONFSTATE_INVALID : CONFSTATE_VALID, buf_str(&b));
}

/* ---- feeding ---- */

static int feed(struct control *c, enum source source, const struct object *old, const struct object *now)
{
        switch (source) {
        case SERVICES: return view_service(c->view, old, now);
        case SLICES: return view_slice(c->view, old, now);
        case NODES: return view_node(c->view, old, now, uv_now(c->loop));
        case POOLS: return view_pool(c->view, old, now);
        case ADS: return view_l2adv(c->view, old, now);
        case N_SOURCES: break;
        }
        return 0;
}

static int feed_again(void *ctx, const struct object *o)
{
        const struct feed *f = ctx;

        return feed(f->c, f->source, o, o);
}

static void feed_all_again(struct control *c)
{
        c->refeed = false;
        for (int i = 0; i < N_SOURCES; i++)
                if (informer_each(c->feeds[i].informer, feed_again, &c->feeds[i]) < 0)
                        c->refeed = true;
        if (c->refeed)
                no_memory(c);
}

static void on_object(void *ctx, const struct object *old, const struct object *now)
{
        struct feed *f = ctx;
        struct control *c = f->c;

        if (c->closing)
                return;
        series_add(c->updates, 1);
        if (f->source == POOLS || f->source == ADS) {
                mistakes_say(f->source == POOLS ? MISTAKES_POOLS : MISTAKES_ADS, old, now);
                c->config_dirty = true;
        }
        if (feed(c, f->source, old, now) < 0) {
                c->refeed = true;
                no_memory(c);
        }
        arm(c);
}

static void on_bad(void *ctx, const char *ns, const char *name, const char *words)
{
        const struct feed *f = ctx;

        series_add(f->c->update_errors, 1);
        log_warn("an object cannot be read and keeps its last state",
                F_STR("resource", source_names[f->source]), F_STR("namespace", ns), F_STR("name", name),
                F_STR("error", words));
}

/* ---- the turn ---- */

static void begin_status(struct control *c)
{
        if (c->settled && c->pod_asked)
                l2status_begin(c->l2status);
}

static void settle(struct control *c)
{
        struct view_counts counts;

        view_count(c->view, &counts);
        report_counts(&c->report, &counts);
        if (c->settled)
                return;
        c->settled = true;
        log_info("synced with the API server",
                F_UINT("services", informer_count(c->feeds[SERVICES].informer)),
                F_UINT("nodes", counts.nodes), F_UINT("addresses", counts.addresses),
                F_UINT("announced", counts.announced), F_UINT("ms", uv_now(c->loop) - c->started_ms));
        begin_status(c);
}

static void turn(struct control *c)
{
        int r;

        if (c->refeed)
                feed_all_again(c);
        if (c->config_dirty)
                judge_config(c);
        r = view_run(c->view, uv_now(c->loop), TURN_BUDGET, on_change, c);
        if (r < 0)
                no_memory(c);
        else if (r == 0)
                settle(c);
}

static void on_timer(uv_timer_t *t)
{
        struct control *c = container_of(t, struct control, timer);
        uint64_t now = uv_now(t->loop);

        if (c->closing)
                return;
        if (c->retry_ms && now >= c->retry_ms)
                c->retry_ms = 0;
        if (c->retry_ms == 0)
                turn(c);
        if (c->post_needed && now >= c->post_ms)
                hand_over(c);
        arm(c);
}

/* ---- the API server: is it there ---- */

static void remind(uv_timer_t *t)
{
        struct control *c = container_of(t, struct control, remind_timer);

        if (c->n_failing > 0)
                log_warn("the API server still cannot be used; what is announced stays as it is",
                        F_STR("server", kube_server(c->kube)),
                        F_UINT("seconds", (uv_now(c->loop) - c->failing_since_ms) / 1000));
}

static void on_state(void *ctx, bool ok, int code, const char *words)
{
        struct feed *f = ctx;
        struct control *c = f->c;
        bool own = code == ERR_DENIED || code == ERR_MISSING; /* a matter of this resource alone */

        if (c->closing || ok == !f->failing)
                return;
        f->failing = !ok;
        if (ok) {
                c->n_failing--;
                if (c->n_failing == 0) {
                        (void)uv_timer_stop(&c->remind_timer);
                        log_info("the API server can be used again", F_STR("server", kube_server(c->kube)));
                }
                return;
        }
        c->n_failing++;
        if (c->n_failing == 1) {
                c->failing_since_ms = uv_now(c->loop);
                (void)uv_timer_start(&c->remind_timer, remind, REMIND_MS, REMIND_MS);
        }
        if (c->n_failing == 1 || own)
                log_warn("the API server cannot be used; trying again", F_STR("server", kube_server(c->kube)),
                        F_STR("resource", source_names[f->source]), F_STR("reason", words), F_ERR(code));
}

static void on_synced(void *ctx)
{
        struct feed *f = ctx;
        struct control *c = f->c;

        for (int i = 0; i < N_SOURCES; i++)
                if (!informer_is_synced(c->feeds[i].informer))
                        return;
        c->live = true;
        c->config_dirty = true;
        c->post_needed = true; /* also an empty set is one: the wire thread then knows that all is decided */
        arm(c);
}

bool control_is_ready(const struct control *c, struct buf *words)
{
        bool first = true;

        if (!c->live) {
                buf_adds(words, "waiting for the first list of");
                for (int i = 0; i < N_SOURCES; i++) {
                        if (informer_is_synced(c->feeds[i].informer))
                                continue;
                        buf_addf(words, "%s %s", first ? "" : ",", source_names[i]);
                        first = false;
                }
        } else {
                buf_adds(words, c->settled ? "synced" : "synced, deciding who announces what");
        }
        if (c->n_failing > 0)
                buf_addf(words, "; the API server cannot be used for %llu s",
                        (unsigned long long)((uv_now(c->loop) - c->failing_since_ms) / 1000));
        return c->settled;
}

static void on_uid(void *ctx, const char *uid)
{
        struct control *c = ctx;

        if (c->closing)
                return;
        if (uid) {
                l2status_set_owner(c->l2status, c->pod, uid);
                confstate_set_owner(c->confstate, c->pod, uid);
        }
        c->pod_asked = true;
        begin_status(c);
}

/* ---- the wire thread, the ring ---- */

void control_on_wire(struct control *c, const struct wire_event *ev)
{
        CLEANUP(freep) const char **names = NULL;
        char ip[IP_TEXT_MAX], mac[18];

        if (c->closing)
                return;
        switch (ev->type) {
        case WIRE_LINKS:
                names = calloc(ev->n_links + 1, sizeof(*names));
                for (size_t i = 0; names && i < ev->n_links; i++)
                        names[i] = ev->links[i].name;
                if (!names || view_links(c->view, names, ev->n_links) < 0)
                        no_memory(c); /* the next change of links will do */
                arm(c);
                break;
        case WIRE_CONFLICT:
                if (!log_limit_ok(&c->conflict_said, uv_now(c->loop), CONFLICT_MS, NULL))
                        break;
                (void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", ev->mac[0], ev->mac[1],
                        ev->mac[2], ev->mac[3], ev->mac[4], ev->mac[5]);
                log_warn("somebody else claims an address that this node announces",
                        F_STR("event", "addressConflict"), F_STR("ip", ip_format(&ev->ip, ip)),
                        F_STR("mac", mac), F_STR("interface", ev->link_name));
                break;
        case WIRE_WARNING: log_warn("wire", F_STR("reason", ev->words)); break;
        }
}

void control_members_changed(struct control *c)
{
        view_members_changed(c->view);
        arm(c);
}

/* ---- life ---- */

static void control_free(struct control *c)
{
        view_free(c->view);
        free(c->ns);
        free(c->node);
        free(c->pod);
        free(c);
}

static void one_less(struct control *c)
{
        void (*closed)(void *ctx) = c->closed;
        void *ctx = c->closed_ctx;

        if (--c->n_open > 0 || !c->closing)
                return;
        control_free(c);
        if (closed)
                closed(ctx);
}

static void on_part_closed(void *ctx)
{
        one_less(ctx);
}

static void on_handle_closed(uv_handle_t *h)
{
        one_less(h->data);
}

void control_close(struct control *c, void (*closed)(void *ctx), void *ctx)
{
        uv_timer_t *timers[] = { &c->timer, &c->remind_timer };

        if (c->closing)
                return;
        c->closing = true;
        c->closed = closed;
        c->closed_ctx = ctx;
        if (c->ownpod)
                ownpod_close(c->ownpod, on_part_closed, c);
        for (int i = 0; i < N_SOURCES; i++)
                if (c->feeds[i].informer)
                        informer_close(c->feeds[i].informer, on_part_closed, c);
        if (c->events)
                events_close(c->events, on_part_closed, c);
        if (c->l2status)
                l2status_close(c->l2status, on_part_closed, c);
        if (c->confstate)
                confstate_close(c->confstate, on_part_closed, c);
        for (size_t i = 0; i < ARRAY_LEN(timers); i++)
                uv_close((uv_handle_t *)timers[i], on_handle_closed);
}

static int open_feeds(struct control *c)
{
        static const struct {
                const char *group, *version;
                bool own_ns;
                object_decode_fn decode;
        } kinds[N_SOURCES] = {
                [SERVICES] = { "", "v1", false, service_decode_brief },
                [SLICES] = { "discovery.k8s.io", "v1", false, slice_decode },
                [NODES] = { "", "v1", false, node_decode },
                [POOLS] = { "metallb.io", "v1beta1", true, pool_decode },
                [ADS] = { "metallb.io", "v1beta1", true, l2adv_decode },
        };

        for (int i = 0; i < N_SOURCES; i++) {
                CLEANUP(buf_fini) struct buf path = BUF_INIT;
                struct feed *f = &c->feeds[i];
                int r;

                f->c = c;
                f->source = (enum source)i;
                kube_path(&path, kinds[i].group, kinds[i].version, kinds[i].own_ns ? c->ns : NULL,
                        source_names[i], NULL, NULL);
                if (!buf_ok(&path))
                        return -ENOMEM;
                r = informer_new(&f->informer, c->kube,
                        &(struct informer_conf){ .path = buf_str(&path),
                                .resource = source_names[i],
                                .decode = kinds[i].decode,
                                .on_change = on_object,
                                .on_synced = on_synced,
                                .on_state = on_state,
                                .on_bad = on_bad,
                                .ctx = f });
                if (r < 0)
                        return r;
                c->n_open++;
        }
        return 0;
}

static int open_writers(struct control *c, struct metrics *reg)
{
        int r = events_new(&c->events, c->kube, "metallb-speaker", c->node, reg);

        if (r < 0)
                return r;
        c->n_open++;
        c->report.events = c->events;
        r = l2status_new(
                &c->l2status, &(struct l2status_conf){ .kube = c->kube, .ns = c->ns, .node = c->node });
        if (r < 0)
                return r;
        c->n_open++;
        r = confstate_new(&c->confstate, c->loop,
                &(struct confstate_conf){ .kube = c->kube, .ns = c->ns, .node = c->node });
        if (r < 0)
                return r;
        c->n_open++;
        c->pod_asked = c->pod[0] == '\0';
        if (c->pod_asked)
                return 0;
        r = ownpod_new(&c->ownpod,
                &(struct ownpod_conf){
                        .kube = c->kube, .ns = c->ns, .pod = c->pod, .on_uid = on_uid, .ctx = c });
        if (r == 0)
                c->n_open++;
        return r;
}

static void open_metrics(struct control *c, struct metrics *reg)
{
        static const struct {
                size_t at;
                enum metric_type type;
                const char *name, *help;
        } families[] = {
                { offsetof(struct control, updates), METRIC_COUNTER, "metallb_k8s_client_updates_total",
                        "Changes of Kubernetes objects that were taken in." },
                { offsetof(struct control, update_errors), METRIC_COUNTER,
                        "metallb_k8s_client_update_errors_total",
                        "Changes of Kubernetes objects that could not be taken in at once." },
                { offsetof(struct control, loaded), METRIC_GAUGE, "metallb_k8s_client_config_loaded_bool",
                        "1 when the configuration was read at least once." },
                { offsetof(struct control, stale), METRIC_GAUGE, "metallb_k8s_client_config_stale_bool",
                        "1 while an IPAddressPool or L2Advertisement has an error and is not wholly in use." },
        };

        for (size_t i = 0; i < ARRAY_LEN(families); i++) {
                struct family *f = metrics_family(
                        reg, families[i].type, families[i].name, families[i].help, NULL, NULL, 0);
                struct series **at = (struct series **)(void *)((char *)c + families[i].at);

                *at = metrics_series(f, (const char *const[]){ NULL });
        }
        report_init(&c->report, c->node, reg);
}

int control_new(struct control **ret, const struct control_conf *conf)
{
        struct control *c = calloc(1, sizeof(*c));
        int r = -ENOMEM;

        *ret = NULL;
        if (!c)
                return -ENOMEM;
        c->kube = conf->kube;
        c->loop = kube_loop(conf->kube);
        c->post = conf->post;
        c->ctx = conf->ctx;
        c->ns = strdup(conf->ns);
        c->node = strdup(conf->node);
        c->pod = strdup(conf->pod);
        if (c->ns && c->node && c->pod)
                r = view_new(&c->view,
                        &(struct view_conf){ .node = conf->node,
                                .lb_class = conf->lb_class,
                                .ignore_exclude = conf->ignore_exclude,
                                .hold_ms = conf->hold_ms,
                                .members = conf->members });
        if (r < 0) {
                control_free(c);
                return r;
        }
        c->started_ms = uv_now(c->loop);
        (void)uv_timer_init(c->loop, &c->timer); /* never fails */
        (void)uv_timer_init(c->loop, &c->remind_timer);
        c->timer.data = c->remind_timer.data = c;
        c->n_open = 2;
        *ret = c;
        open_metrics(c, conf->reg);
        r = open_writers(c, conf->reg);
        if (r < 0)
                return r;
        return open_feeds(c);
}
