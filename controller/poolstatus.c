/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/poolstatus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/tree.h"
#include "controller/patch.h"

#define SETTLE_MS 200 /* several changes at once make one write */
#define EVERY_MS  1000 /* between two writes of a pool; doubles while the changes go on */
#define EVERY_MAX 4000
#define JOBS_MAX  4
#define AGAIN_MS  60000 /* after a refusal, or a write that somebody changed back */

enum gauge { TOTAL, TOTAL4, TOTAL6, USED, USED4, USED6, WITHHELD, N_GAUGES };

struct record {
        struct tree_node node;
        struct poolstatus *p;
        uint64_t stamp; /* of the ipam's counters that were seen last */
        uint64_t due_ms; /* UINT64_MAX: nothing to do */
        uint64_t last_ms, every_ms; /* of the last write; until the next */
        bool seen; /* still in the ipam, while poolstatus_update() runs */
        bool bad;
        bool sent_extended;
        struct ipam_counts sent; /* by the last write */
        struct writer_job *job;
        char *rv; /* that the last write was made from; its echo has not come while the cache still has it */
        char *error; /* what was said last; NULL: nothing */
        struct series *gauges[N_GAUGES];
        char name[];
};

struct poolstatus {
        struct poolstatus_conf conf;
        uv_timer_t timer;
        struct tree all; /* by name */
        unsigned n_jobs;
        bool extended; /* the CRD has all our fields, as far as we know */
        bool closing;
        struct family *families[N_GAUGES];
        struct series *stale;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static const struct {
        const char *name, *help;
} gauge_defs[N_GAUGES] = {
        [TOTAL] = { "metallb_allocator_addresses_total", "Number of usable IP addresses, per pool." },
        [TOTAL4] = { "metallb_allocator_ipv4_addresses_total", "Number of usable IPv4 addresses, per pool." },
        [TOTAL6] = { "metallb_allocator_ipv6_addresses_total", "Number of usable IPv6 addresses, per pool." },
        [USED] = { "metallb_allocator_addresses_in_use_total", "Number of IP addresses in use, per pool." },
        [USED4] = { "metallb_allocator_ipv4_addresses_in_use_total",
                "Number of IPv4 addresses in use, per pool." },
        [USED6] = { "metallb_allocator_ipv6_addresses_in_use_total",
                "Number of IPv6 addresses in use, per pool." },
        [WITHHELD] = { "metallb_allocator_addresses_withheld",
                "Addresses that are not given out: a node's own, reserved, or cooling down, per pool." },
};
static const char *const pool_label[] = { "pool", NULL };

static struct record *record_of(struct tree_node *n)
{
        return container_of(n, struct record, node);
}

static int by_name(const void *name, struct tree_node *n)
{
        return strcmp(name, record_of(n)->name);
}

static int by_record(struct tree_node *a, struct tree_node *b)
{
        return by_name(record_of(a)->name, b);
}

static uint64_t now(const struct poolstatus *p)
{
        return uv_now(kube_loop(p->conf.kube));
}

static const struct pool *cached(const struct record *r)
{
        const struct object *o = informer_get(r->p->conf.pools, r->p->conf.ns, r->name);

        return o ? pool_of(o) : NULL;
}

/* ---- what is right ---- */

static const char *reason_of(const struct ipam_pool_info *i)
{
        return !i->error ? "Valid" : i->other ? "Overlap" : "InvalidSpec";
}

static struct pool_status wanted(const struct poolstatus *p, const struct ipam_pool_info *i)
{
        return (struct pool_status){ .counts = i->counts,
                .reason = reason_of(i),
                .message = i->error ? i->error : "",
                .extended = p->extended };
}

static void set_gauges(struct record *r, const struct ipam_counts *c)
{
        const int64_t v[N_GAUGES] = { [TOTAL] = c->capacity[0] + c->capacity[1],
                [TOTAL4] = c->capacity[0],
                [TOTAL6] = c->capacity[1],
                [USED] = c->assigned[0] + c->assigned[1],
                [USED4] = c->assigned[0],
                [USED6] = c->assigned[1],
                [WITHHELD] = c->withheld[0] + c->withheld[1] };

        for (size_t i = 0; i < N_GAUGES; i++)
                series_set(r->gauges[i], (double)v[i]);
}

/* Says once what is wrong with a pool; not again after a restart when its condition says so already. */
static void say_error(struct record *r, const struct ipam_pool_info *i)
{
        const struct event_object on = { "metallb.io/v1beta1", "IPAddressPool", r->p->conf.ns, r->name, "" };
        const struct pool *o = cached(r);
        const struct condition *c = o ? condition_get(&o->conditions, POOL_CONDITION) : NULL;
        struct event_object about = on;

        if (!i->error) {
                if (r->error)
                        log_info("the pool is usable now", F_STR("pool", r->name));
                free(r->error);
                r->error = NULL;
                return;
        }
        if (r->error && strcmp(r->error, i->error) == 0)
                return;
        free(r->error);
        r->error = strdup(i->error); /* no memory: it is said again */
        log_error("failed to parse the configuration of a pool; nothing new is given out from it",
                F_STR("pool", r->name), F_STR("error", i->error));
        if (!o || (c && strcmp(c->message, i->error) == 0))
                return;
        about.uid = o->meta.uid;
        events_say(r->p->conf.events, &about, EVENT_WARNING, reason_of(i), "%s", i->error);
}

/* ---- writing ---- */

static void on_timer(uv_timer_t *t);

static void arm(struct poolstatus *p)
{
        uint64_t due_ms = UINT64_MAX, now_ms = now(p);

        TREE_FOREACH (n, &p->all) {
                struct record *r = record_of(n);

                due_ms = MIN(due_ms, r->job ? UINT64_MAX : r->due_ms);
        }
        if (!p->closing && due_ms != UINT64_MAX)
                uv_timer_start(&p->timer, on_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

static void mark(struct record *r)
{
        uint64_t at_ms = now(r->p) + SETTLE_MS;

        if (r->last_ms > 0)
                at_ms = MAX(at_ms, r->last_ms + r->every_ms);
        if (r->due_ms == UINT64_MAX)
                r->due_ms = at_ms;
}

static void not_extended(struct poolstatus *p, const char *words)
{
        if (p->extended)
                log_warn(
                        "the installed IPAddressPool definition has no conditions and withheld counters; they are left out",
                        F_STR("error", words));
        p->extended = false;
}

static void on_written(void *ctx, const struct writer_answer *a)
{
        struct record *r = ctx;
        struct poolstatus *p = r->p;

        r->job = NULL;
        p->n_jobs--;
        if (a->result != WRITER_DONE) { /* no echo will come */
                free(r->rv);
                r->rv = NULL;
        }
        if (a->result == WRITER_REFUSED && r->sent_extended && (a->status == 422 || a->status == 400)) {
                not_extended(p, a->text);
                mark(r);
        } else if (a->result == WRITER_REFUSED) {
                log_warn("the API server refused the status of a pool, retrying later",
                        F_STR("pool", r->name), F_INT("code", a->status), F_STR("error", a->text));
                r->due_ms = now(p) + AGAIN_MS;
        } else if (a->result == WRITER_CONFLICT) {
                mark(r);
        }
        arm(p);
}

/* The object as our write left it has come back. */
static void check_echo(struct record *r, const struct pool *o)
{
        const struct pool_status sent = { .counts = r->sent, .reason = "", .message = "", .extended = false };
        bool lost = r->sent_extended &&
                (!condition_get(&o->conditions, POOL_CONDITION) || o->withheld4 != r->sent.withheld[0] ||
                        o->withheld6 != r->sent.withheld[1]);

        free(r->rv);
        r->rv = NULL;
        if (pool_status_differs(o, &sent))
                r->due_ms = now(r->p) + AGAIN_MS; /* somebody else was at it */
        else if (lost)
                not_extended(r->p, "dropped by the API server");
}

static int send_status(struct record *r, const struct pool *o, const struct pool_status *want)
{
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        CLEANUP(freep) char *rv = strdup(o->meta.rv);
        struct poolstatus *p = r->p;
        struct writer_call call = { .group = "metallb.io",
                .version = "v1beta1",
                .resource = "ipaddresspools",
                .ns = p->conf.ns,
                .name = r->name,
                .rv = rv,
                .on_done = on_written,
                .ctx = r };
        uv_timeval64_t wall = { 0 };
        int code;

        (void)uv_gettimeofday(&wall); /* cannot fail with a valid pointer */
        patch_pool(&body, o, want, wall.tv_sec);
        if (!rv || !buf_ok(&body))
                return -ENOMEM;
        call.body = body.p;
        call.body_len = body.len;
        code = writer_send(p->conf.writer, &r->job, &call);
        if (code < 0)
                return code;
        p->n_jobs++;
        r->sent = want->counts;
        r->sent_extended = want->extended;
        free(r->rv);
        r->rv = TAKE(rv);
        return 0;
}

static void pace(struct record *r)
{
        uint64_t now_ms = now(r->p);
        bool goes_on = r->last_ms > 0 && now_ms - r->last_ms < 2 * r->every_ms;

        r->every_ms = goes_on ? MIN(2 * r->every_ms, EVERY_MAX) : EVERY_MS;
        r->last_ms = now_ms;
}

static void settle(struct record *r)
{
        struct poolstatus *p = r->p;
        const struct pool *o = cached(r);
        struct ipam_pool_info info;
        struct pool_status want;

        r->due_ms = UINT64_MAX;
        if (!o || !ipam_pool_get(p->conf.ipam, r->name, &info))
                return;
        if (r->rv && strcmp(r->rv, o->meta.rv) == 0)
                return; /* the echo of our write comes first, and marks it */
        want = wanted(p, &info);
        if (!pool_status_differs(o, &want))
                return;
        /* Beside the limit for Services: counters are wanted just while those keep the writer full. */
        if (p->n_jobs >= JOBS_MAX || send_status(r, o, &want) < 0)
                r->due_ms = now(p) + SETTLE_MS;
        else
                pace(r);
}

static void on_timer(uv_timer_t *t)
{
        struct poolstatus *p = container_of(t, struct poolstatus, timer);

        if (p->closing)
                return;
        TREE_FOREACH (n, &p->all) {
                struct record *r = record_of(n);

                if (!r->job && r->due_ms <= now(p))
                        settle(r);
        }
        arm(p);
}

/* ---- what happens around us ---- */

static struct record *record_find(const struct poolstatus *p, const char *name)
{
        struct tree_node *n = tree_find(&p->all, name, by_name);

        return n ? record_of(n) : NULL;
}

static struct record *record_new(struct poolstatus *p, const char *name)
{
        size_t n = strlen(name) + 1;
        struct record *r = calloc(1, sizeof(*r) + n);

        if (!r)
                return NULL;
        memcpy(r->name, name, n);
        r->p = p;
        r->due_ms = UINT64_MAX;
        r->stamp = UINT64_MAX;
        for (size_t i = 0; i < N_GAUGES; i++)
                r->gauges[i] = metrics_with(p->families[i], name);
        (void)tree_insert(&p->all, &r->node, by_record); /* it was not there */
        return r;
}

static void record_free(struct record *r)
{
        for (size_t i = 0; i < N_GAUGES; i++)
                metrics_drop(r->p->families[i], r->name);
        free(r->rv);
        free(r->error);
        free(r);
}

void poolstatus_update(struct poolstatus *p)
{
        size_t n = ipam_n_pools(p->conf.ipam);
        bool verdict = false, bad = false;
        struct ipam_pool_info info;
        struct tree_node *at, *next;

        TREE_FOREACH (t, &p->all)
                record_of(t)->seen = false;
        for (size_t i = 0; i < n && ipam_pool_at(p->conf.ipam, i, &info); i++) {
                struct record *r = record_find(p, info.name);

                if (!r)
                        r = record_new(p, info.name);
                if (!r)
                        continue; /* no memory: at the next change */
                r->seen = true;
                bad = bad || info.error;
                if (r->stamp == info.stamp)
                        continue;
                verdict = verdict || r->stamp == UINT64_MAX || r->error || info.error;
                r->stamp = info.stamp;
                r->bad = info.error != NULL;
                set_gauges(r, &info.counts);
                say_error(r, &info);
                mark(r);
        }
        for (at = tree_first(&p->all); at; at = next) {
                next = tree_next(at);
                if (record_of(at)->seen || record_of(at)->job)
                        continue;
                verdict = verdict || record_of(at)->bad;
                tree_remove(&p->all, at);
                record_free(record_of(at));
        }
        series_set(p->stale, bad);
        arm(p);
        if (verdict)
                p->conf.on_verdict(p->conf.ctx);
}

void poolstatus_touch(struct poolstatus *p, const char *name)
{
        struct record *r = record_find(p, name);
        const struct pool *o;

        if (!r || p->closing)
                return;
        o = cached(r);
        if (o && r->rv && !r->job && strcmp(r->rv, o->meta.rv) != 0)
                check_echo(r, o);
        mark(r);
        arm(p);
}

size_t poolstatus_errors(const struct poolstatus *p, struct buf *out)
{
        size_t n = ipam_n_pools(p->conf.ipam), n_bad = 0;
        struct ipam_pool_info info;

        for (size_t i = 0; i < n && ipam_pool_at(p->conf.ipam, i, &info); i++) {
                if (!info.error)
                        continue;
                buf_addf(out, "%spool \"%s\": %s", n_bad++ > 0 ? "\n" : "", info.name, info.error);
        }
        return n_bad;
}

int poolstatus_new(struct poolstatus **ret, const struct poolstatus_conf *conf)
{
        struct poolstatus *p = calloc(1, sizeof(*p));
        struct metrics *m = kube_metrics(conf->kube);
        int r;

        if (!p)
                return -ENOMEM;
        r = uv_timer_init(kube_loop(conf->kube), &p->timer);
        if (r < 0) {
                free(p);
                return r;
        }
        p->conf = *conf;
        p->extended = true;
        for (size_t i = 0; m && i < N_GAUGES; i++)
                p->families[i] = metrics_family(
                        m, METRIC_GAUGE, gauge_defs[i].name, gauge_defs[i].help, pool_label, NULL, 0);
        if (m)
                p->stale =
                        metrics_series(metrics_family(m, METRIC_GAUGE, "metallb_k8s_client_config_stale_bool",
                                               "1 if a pool's configuration cannot be used as it is written.",
                                               NULL, NULL, 0),
                                NULL);
        *ret = p;
        return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
        struct poolstatus *p = container_of(h, struct poolstatus, timer);
        void (*closed)(void *ctx) = p->closed;
        void *ctx = p->closed_ctx;
        struct tree_node *n;

        while ((n = tree_pop_any(&p->all)))
                record_free(record_of(n));
        free(p);
        closed(ctx);
}

void poolstatus_close(struct poolstatus *p, void (*closed)(void *ctx), void *ctx)
{
        if (p->closing)
                return;
        p->closing = true;
        p->closed = closed;
        p->closed_ctx = ctx;
        uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}
