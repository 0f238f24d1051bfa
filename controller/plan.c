/* SPDX-License-Identifier: Apache-2.0 */
/* plan - one Service from its object and the ipam to what must be written and said. Pure.
 *
 * What the ipam remembers of a Service counts more than its status: the status may be older than our last write, or
 * somebody may have wiped it. Only what the ipam does not know (a fresh start) is read from the status.
 *
 * Nobody is told the same thing twice: a refusal is said when it is not what the condition says already, and all
 * events of a plan are dropped when they are those of the plan before (ipam_mark() remembers a hash of them). */
#include "controller/plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OLD_PREFIX "metallb.universe.tf/"
#define TEXT_MAX   1024

struct build {
        struct plan *p;
        struct arena *a;
        struct ipam *m;
        const struct service *s;
        struct request q;
        struct ipam_held held; /* what the Service holds in the end */
        struct ipam_why lost, why;
        bool is_refused; /* events so far say why something cannot be had */
};

/* ---- texts ---- */

/* Printable ASCII, bounded, in the arena: foreign text may hold anything, and what is written must be read back equal. */
static const char *PRINTF_LIKE(2, 3) text(struct arena *a, const char *fmt, ...)
{
        char out[TEXT_MAX];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(out, sizeof(out), fmt, ap); /* cut when longer */
        va_end(ap);
        for (char *c = out; *c; c++)
                if (*c < ' ' || *c > '~')
                        *c = '?';
        return arena_dup(a, out);
}

struct ip_list_text {
        char v[2 * IP_TEXT_MAX + 8];
};

/* ["10.0.0.1" "fd00::1"], as people know it from MetalLB's events. */
static const char *quoted(const struct ipam_held *h, struct ip_list_text *out)
{
        char ip[2][IP_TEXT_MAX] = { "", "" };

        for (size_t i = 0; i < h->n; i++)
                ip_format(&h->ips[i], ip[i]);
        if (h->n == 2)
                (void)snprintf(out->v, sizeof(out->v), "[\"%s\" \"%s\"]", ip[0], ip[1]);
        else
                (void)snprintf(out->v, sizeof(out->v), h->n ? "[\"%s\"]" : "[]%s", ip[0]);
        return out->v;
}

static const char *from_pools(struct build *b)
{
        const struct ipam_held *h = &b->held;

        if (h->n == 2 && strcmp(h->pools[0], h->pools[1]) != 0)
                return text(b->a, "pools \"%s\" and \"%s\"", h->pools[0], h->pools[1]);
        return text(b->a, "pool \"%s\"", h->n ? h->pools[0] : "");
}

static void say(struct build *b, bool is_warning, const char *reason, const char *message)
{
        struct plan *p = b->p;

        if (p->n_events < PLAN_EVENTS_MAX)
                p->events[p->n_events++] = (struct plan_event){ is_warning, reason, message };
}

static void note(struct build *b, enum plan_level level, const char *event, const char *reason,
        const char *error, const char *msg)
{
        struct plan *p = b->p;
        const struct ipam_held *h = &b->held;
        char ip[2][IP_TEXT_MAX] = { "", "" };

        for (size_t i = 0; i < h->n; i++)
                ip_format(&h->ips[i], ip[i]);
        if (p->n_logs < PLAN_LOGS_MAX)
                p->logs[p->n_logs++] = (struct plan_log){
                        .level = level,
                        .event = event,
                        .reason = reason,
                        .ips = arena_printf(b->a, "%s%s%s", ip[0], h->n == 2 ? "," : "", ip[1]),
                        .pool = h->n ? arena_dup(b->a, h->pools[0]) : "",
                        .error = error,
                        .msg = msg,
                };
}

static void set_condition(struct build *b, bool is_true, const char *reason, const char *message)
{
        struct plan_condition *c = arena_calloc(b->a, 1, sizeof(*c));

        if (!c)
                return;
        *c = (struct plan_condition){ is_true ? "True" : "False", reason, message };
        b->p->condition = c;
}

/* ---- what it holds ---- */

static bool wants(const struct request *q, const struct ip *ip)
{
        if (q->fault == REQUEST_BAD_CLUSTER_IPS)
                return true; /* nobody knows: nothing is given up */
        return ip->family == IP_V4 ? q->want4 : q->want6;
}

/* What the ipam knows, and from status what it does not know; only families that the Service has. */
static size_t claimed(const struct ipam *m, const struct request *q, struct ip ips[static 2])
{
        struct ipam_held held;
        bool has[2] = { false, false };
        size_t n = 0;

        ipam_get(m, q->key, &held);
        for (size_t i = 0; i < held.n; i++) {
                has[held.ips[i].family == IP_V6] = true;
                if (wants(q, &held.ips[i]))
                        ips[n++] = held.ips[i];
        }
        for (size_t i = 0; i < q->n_current; i++)
                if (!has[q->current[i].family == IP_V6] && wants(q, &q->current[i]))
                        ips[n++] = q->current[i];
        return n;
}

static bool keeps_nothing(const struct request *q)
{
        return q->fault == REQUEST_NO_CLUSTER_IPS || q->fault == REQUEST_NOT_ENOUGH_CLUSTER_IPS;
}

static bool is_ours(const struct plan_conf *conf, const struct service *s)
{
        return s->is_load_balancer && service_class_matches(s, conf->lb_class);
}

static bool in_status(const struct request *q, const struct ip *ip)
{
        for (size_t i = 0; i < q->n_current; i++)
                if (ip_equal(&q->current[i], ip))
                        return true;
        return false;
}

/* ---- what is said ---- */

/* An address that it had is not its any more. */
static void say_lost(struct build *b)
{
        char why[IPAM_WHY_TEXT_MAX];
        const char *message;

        if (b->q.current_is_odd) {
                say(b, true, "nolbIPsIPFamily",
                        text(b->a, "the addresses in status of \"%s\" are not one of each family", b->q.key));
                note(b, PLAN_ERROR, "clearAssignment", "nolbIPsIPFamily", "",
                        "status holds no valid set of addresses");
        }
        if (b->lost.n == 0)
                return;
        if (ipam_n_pools(b->m) ==
                0) { /* no event, as ever: it is a Service like any other that waits for pools */
                note(b, PLAN_INFO, "clearAssignment", "noConfig", "", "there is no address pool");
                return;
        }
        message = text(b->a, "the current IP of \"%s\" is not allowed any more: %s", b->q.key,
                ipam_why_text(&b->lost, why));
        say(b, false, "ClearAssignment", message);
        note(b, PLAN_INFO, "clearAssignment", "notAllowed", message, "current IP is not allowed any more");
}

static void say_refused(struct build *b, const char *reason, const char *message, const char *what)
{
        struct ip_list_text ips;

        if (b->held.n > 0)
                set_condition(
                        b, false, reason, text(b->a, "keeps IP %s, but %s", quoted(&b->held, &ips), what));
        else
                set_condition(b, false, reason, text(b->a, "%s", what));
        say(b, true, reason, message);
        b->is_refused = true;
        b->p->state = b->held.n > 0 ? PLAN_DEGRADED : PLAN_PENDING;
        note(b, PLAN_ERROR, "allocationFailed", "", what, "IP allocation failed");
}

static void say_fault(struct build *b)
{
        static const char *const reasons[] = {
                [REQUEST_NO_CLUSTER_IPS] = "NoClusterIPs",
                [REQUEST_NOT_ENOUGH_CLUSTER_IPS] = "NotEnoughClusterIPs",
                [REQUEST_BAD_CLUSTER_IPS] = "noclusterIPsIPFamily",
                [REQUEST_BAD_IPS] = "AllocationFailed",
                [REQUEST_BAD_FAMILY] = "AllocationFailed",
        };
        const char *reason = reasons[b->q.fault], *what = text(b->a, "%s", b->q.fault_text);

        if (b->q.fault == REQUEST_BAD_IPS && b->held.n > 0)
                reason = "LoadBalancerFailed";
        say_refused(b, reason, text(b->a, "Failed to allocate IP for \"%s\": %s", b->q.key, what), what);
        if (b->q.fault == REQUEST_NO_CLUSTER_IPS)
                b->p->n_events = 0; /* the API server is about to set them: nobody did anything wrong */
        b->p->pending = "invalid";
}

/* The request for more than it has was refused with @code. */
static void say_failed(struct build *b, int code)
{
        char why[IPAM_WHY_TEXT_MAX];
        const char *what =
                text(b->a, "%s%s", code == ERR_FULL ? "no available IPs: " : "", ipam_why_text(&b->why, why));

        say_refused(b, "AllocationFailed", text(b->a, "Failed to allocate IP for \"%s\": %s", b->q.key, what),
                what);
        b->p->pending = ipam_why_word(&b->why);
        if (ipam_n_pools(b->m) == 0)
                b->p->n_events = 0; /* the same */
}

static void say_assigned(struct build *b)
{
        char why[IPAM_WHY_TEXT_MAX];
        struct ip_list_text ips;
        bool is_new = false;

        b->p->state = PLAN_ASSIGNED;
        for (size_t i = 0; i < b->held.n; i++)
                is_new |= !in_status(&b->q, &b->held.ips[i]);
        if (is_new) {
                say(b, false, "IPAllocated", text(b->a, "Assigned IP %s", quoted(&b->held, &ips)));
                note(b, PLAN_INFO, "ipAllocated", "", "", "IP address assigned by controller");
        }
        if (b->why.n == 0) {
                set_condition(b, true, "IPAllocated",
                        text(b->a, "Assigned IP %s from %s", quoted(&b->held, &ips), from_pools(b)));
                return;
        }
        ipam_why_text(&b->why, why);
        set_condition(b, true, "IPAllocated",
                text(b->a, "Assigned IP %s from %s, without the second family: %s", quoted(&b->held, &ips),
                        from_pools(b), why));
        say(b, false, "AdditionalAssignFailed",
                text(b->a, "no address of the second family for \"%s\": %s", b->q.key, why));
        b->is_refused = true;
}

/* ---- what is written ---- */

static bool same_ips(const struct request *q, const struct ipam_held *h)
{
        bool same = !q->current_is_odd && q->n_current == h->n;

        for (size_t i = 0; same && i < h->n; i++)
                same = ip_equal(&q->current[i], &h->ips[i]);
        return same;
}

/* The entry of status for @ip as it stands there: its other fields may be somebody else's. */
static struct service_ingress entry_for(struct build *b, const struct ip *ip)
{
        char out[IP_TEXT_MAX];
        struct ip there;

        for (size_t i = 0; i < b->s->n_ingress; i++)
                if (ip_parse(&there, b->s->ingress[i].ip) == 0 && ip_equal(&there, ip))
                        return b->s->ingress[i];
        return (struct service_ingress){
                .ip = arena_dup(b->a, ip_format(ip, out)), .hostname = "", .ip_mode = ""
        };
}

static void want_ingress(struct build *b)
{
        struct plan *p = b->p;
        struct service_ingress *v;
        size_t n = 0;

        if (same_ips(&b->q, &b->held)) {
                p->ingress = b->s->ingress;
                p->n_ingress = b->s->n_ingress;
                return;
        }
        v = arena_calloc(b->a, b->held.n + b->s->n_ingress, sizeof(*v));
        for (size_t i = 0; v && i < b->held.n; i++)
                v[n++] = entry_for(b, &b->held.ips[i]);
        for (size_t i = 0; v && i < b->s->n_ingress; i++) /* host names without an address are not ours */
                if (!*b->s->ingress[i].ip)
                        v[n++] = b->s->ingress[i];
        p->ingress = v;
        p->n_ingress = n;
        p->ingress_differs = true;
}

static void want_pool(struct build *b)
{
        const char *there = kv_get(&b->s->meta.annotations, PLAN_POOL_ANNOTATION);

        b->p->pool = b->held.n ? arena_dup(b->a, b->held.pools[0]) : NULL;
        b->p->pool_differs = !there != !b->p->pool || (there && strcmp(there, b->p->pool) != 0);
}

static void compare_condition(struct build *b)
{
        const struct condition *there = condition_get(&b->s->conditions, PLAN_CONDITION);
        const struct plan_condition *c = b->p->condition;

        b->p->condition_differs = !there != !c ||
                (c &&
                        (strcmp(there->status, c->status) != 0 || strcmp(there->reason, c->reason) != 0 ||
                                strcmp(there->message, c->message) != 0));
}

static uint64_t hash_text(uint64_t h, const char *t)
{
        do
                h = (h ^ (unsigned char)*t) * 0x100000001b3u; /* FNV-1a; the terminator separates */
        while (*t++);
        return h;
}

static void say_deprecated(struct build *b)
{
        const struct kv_list *l = &b->s->meta.annotations;

        if (!b->p->ingress_differs && !b->p->pool_differs)
                return;
        for (size_t i = 0; i < l->n; i++)
                if (strncmp(l->v[i].key, OLD_PREFIX, strlen(OLD_PREFIX)) == 0)
                        say(b, true, "deprecatedAnnotation",
                                text(b->a,
                                        "annotation \"%s\" is deprecated, use the prefix metallb.io/ instead",
                                        l->v[i].key));
}

/* Drops what was said before. */
static void settle_events(struct build *b)
{
        struct plan *p = b->p;
        uint64_t h = 0xcbf29ce484222325u;

        if (b->is_refused && !p->condition_differs) { /* people can read it there */
                size_t n = 0;

                for (size_t i = 0; i < p->n_events; i++)
                        if (strcmp(p->events[i].reason, "IPAllocated") == 0 ||
                                strcmp(p->events[i].reason, "ClearAssignment") == 0)
                                p->events[n++] = p->events[i];
                p->n_logs = n ? p->n_logs : 0;
                p->n_events = n;
        }
        if (p->n_events == 0) {
                if (p->write) /* something else is the case now: what was said may be said again */
                        ipam_set_mark(b->m, b->q.key, 0);
                return;
        }
        h = hash_text(h, b->s->meta.uid);
        for (size_t i = 0; i < p->n_events; i++)
                h = hash_text(hash_text(h, p->events[i].reason), p->events[i].message);
        if (h == ipam_mark(b->m, b->q.key)) {
                p->n_events = 0;
                p->n_logs = 0;
        }
        ipam_set_mark(b->m, b->q.key, h);
}

static int finish(struct build *b)
{
        want_ingress(b);
        want_pool(b);
        compare_condition(b);
        say_deprecated(b);
        if (!arena_ok(b->a))
                return -ENOMEM;
        b->p->write = b->p->ingress_differs || b->p->pool_differs || b->p->condition_differs;
        return 0;
}

/* ---- the decision ---- */

/* An address that it had was exchanged because the user asked for another one. */
static void say_moved(struct build *b, const struct ip *before, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                bool is_kept = false;

                for (size_t j = 0; j < b->held.n; j++)
                        is_kept |= ip_equal(&before[i], &b->held.ips[j]);
                if (is_kept)
                        continue;
                note(b, PLAN_INFO, "clearAssignment",
                        b->q.n_ips ? "differentIPRequested" : "differentPoolRequested", "",
                        "user requested another address");
                return;
        }
}

static int plan_faulty(struct build *b)
{
        bool had = b->q.n_current > 0 || b->q.current_is_odd;

        ipam_stop_waiting(b->m, b->q.key);
        if (had && b->q.fault == REQUEST_NO_CLUSTER_IPS)
                note(b, PLAN_INFO, "clearAssignment", "noClusterIPs", "", "the Service has no cluster IP");
        if (had && b->q.fault == REQUEST_NOT_ENOUGH_CLUSTER_IPS)
                note(b, PLAN_INFO, "clearAssignment", "notEnoughClusterIPs", "",
                        "the Service has one cluster IP only");
        ipam_get(b->m, b->q.key, &b->held);
        say_fault(b);
        return finish(b);
}

static int plan_ours(struct build *b, uint64_t now_ms)
{
        struct ip before[2];
        size_t n = keeps_nothing(&b->q) ? 0 : claimed(b->m, &b->q, before);
        int r = ipam_claim(b->m, &b->q, before, n, now_ms, &b->lost);

        if (r < 0)
                return r;
        if (b->lost.n > 0 || b->q.current_is_odd)
                say_lost(b);
        if (b->q.fault != REQUEST_OK)
                return plan_faulty(b);
        ipam_get(b->m, b->q.key, &b->held);
        for (size_t i = 0; i < b->held.n; i++)
                before[i] = b->held.ips[i];
        n = b->held.n;
        r = ipam_allocate(b->m, &b->q, now_ms, &b->why);
        if (r == -ENOMEM)
                return r;
        ipam_get(b->m, b->q.key, &b->held);
        if (r < 0) {
                say_failed(b, r);
        } else {
                say_moved(b, before, n);
                say_assigned(b);
        }
        return finish(b);
}

/* Not a load balancer (any more): nothing of ours stays on it, whatever its class was. */
static int plan_not_lb(struct build *b, uint64_t now_ms)
{
        struct plan *p = b->p;

        p->state = PLAN_NOT_OURS;
        p->ingress_differs = b->s->n_ingress > 0;
        p->pool_differs = kv_get(&b->s->meta.annotations, PLAN_POOL_ANNOTATION) != NULL;
        compare_condition(b);
        p->write = p->ingress_differs || p->pool_differs || p->condition_differs;
        if (ipam_release(b->m, b->q.key, now_ms) || p->write)
                note(b, PLAN_INFO, "clearAssignment", "notLoadBalancer", "", "not a LoadBalancer");
        return arena_ok(b->a) ? 0 : -ENOMEM;
}

int plan_service(struct plan *ret, struct arena *a, struct ipam *m, const struct plan_conf *conf,
        const struct plan_in *in, uint64_t now_ms)
{
        struct plan p = { .pending = "" };
        struct build b = { .p = &p, .a = a, .m = m, .s = in->service };
        int r = request_init(&b.q, a, in->service, in->ns_labels);

        if (r < 0)
                return r;
        if (!b.s->is_load_balancer) {
                r = plan_not_lb(&b, now_ms);
        } else if (!is_ours(conf, b.s)) { /* another controller writes it: hands off */
                p.ingress = b.s->ingress;
                p.n_ingress = b.s->n_ingress;
                p.pool = kv_get(&b.s->meta.annotations, PLAN_POOL_ANNOTATION);
                if (ipam_release(m, b.q.key, now_ms))
                        note(&b, PLAN_INFO, "clearAssignment", "otherClass", "",
                                "the Service is of another class");
        } else {
                r = plan_ours(&b, now_ms);
        }
        if (r == 0 && !arena_ok(a))
                r = -ENOMEM;
        if (r < 0)
                return r;
        settle_events(&b);
        *ret = p;
        return 0;
}

int plan_gone(struct plan *ret, struct arena *a, struct ipam *m, const char *key, uint64_t now_ms)
{
        struct plan p = { .pending = "" };
        struct build b = { .p = &p, .a = a, .m = m };

        ipam_get(m, key, &b.held);
        if (b.held.n > 0)
                note(&b, PLAN_INFO, "serviceDeleted", "", "", "Service was deleted, its addresses are free");
        if (!arena_ok(a))
                return -ENOMEM;
        (void)ipam_release(m, key, now_ms);
        *ret = p;
        return 0;
}

/* ---- the start ---- */

/* As strcmp of "namespace/name". */
static int key_cmp(const struct object *a, const struct object *b)
{
        size_t la = strlen(a->ns), lb = strlen(b->ns);
        int c = memcmp(a->ns, b->ns, MIN(la, lb));

        if (c != 0 || la == lb)
                return c ? c : strcmp(a->name, b->name);
        return la < lb ? '/' - (unsigned char)b->ns[la] : (unsigned char)a->ns[lb] - '/';
}

static int age_cmp(const void *a, const void *b)
{
        const struct object *x = &((const struct plan_in *)a)->service->meta;
        const struct object *y = &((const struct plan_in *)b)->service->meta;

        if (x->created_s != y->created_s)
                return x->created_s < y->created_s ? -1 : 1;
        return key_cmp(x, y);
}

/* It holds something that it asked to give up. If its move was decided, but not written before a crash, the address may be
 * somebody else's by now. */
static bool is_leaving(const struct request *q)
{
        bool leaves = *q->pool && *q->current_pool && strcmp(q->pool, q->current_pool) != 0;

        for (size_t i = 0; q->n_ips > 0 && i < q->n_current; i++) {
                bool asked = false;

                for (size_t j = 0; j < q->n_ips; j++)
                        asked |= ip_equal(&q->current[i], &q->ips[j]);
                leaves |= !asked;
        }
        return leaves;
}

static int claim_one(struct ipam *m, const struct plan_in *in, bool leaving, uint64_t now_ms)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(256);
        struct request q;
        struct ip ips[2];
        int r = a ? request_init(&q, a, in->service, in->ns_labels) : -ENOMEM;

        if (r == 0 && !keeps_nothing(&q) && is_leaving(&q) == leaving)
                r = ipam_claim(m, &q, ips, claimed(m, &q, ips), now_ms, NULL);
        return MIN(r, 0);
}

int plan_claim_all(struct ipam *m, const struct plan_conf *conf, struct plan_in *v, size_t n, uint64_t now_ms)
{
        int r = 0;

        if (n > 1)
                qsort(v, n, sizeof(*v), age_cmp);
        for (size_t i = 0; r == 0 && i < 2 * n; i++) {
                const struct plan_in *in = &v[i % n];

                if (is_ours(conf, in->service))
                        r = claim_one(m, in, i >= n, now_ms);
        }
        return r;
}
