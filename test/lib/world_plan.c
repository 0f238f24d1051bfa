/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "test/lib/world.h"

static void store_ingress(struct world_svc *s, const struct plan *p)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        for (size_t i = 0; i < p->n_ingress; i++) {
                const struct service_ingress *in = &p->ingress[i];

                buf_adds(&b, i ? ",{" : "[{");
                if (*in->ip) /* the API server puts in "VIP" */
                        buf_addf(&b, "'ip':'%s','ipMode':'%s'%s", in->ip, *in->ip_mode ? in->ip_mode : "VIP",
                                *in->hostname ? "," : "");
                if (*in->hostname)
                        buf_addf(&b, "'hostname':'%s'", in->hostname);
                if (in->ports)
                        buf_addf(&b, ",'ports':%s", in->ports);
                buf_addc(&b, '}');
        }
        buf_adds(&b, p->n_ingress ? "]" : "[]");
        free(s->ingress);
        s->ingress = buf_take(&b);
        for (char *c = s->ingress; *c; c++)
                if (*c == '"')
                        *c = '\'';
}

static void store(struct world_svc *s, const struct plan *p)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        if (p->ingress_differs)
                store_ingress(s, p);
        if (p->pool_differs) {
                free(s->pool);
                s->pool = p->pool ? strdup(p->pool) : NULL;
        }
        if (p->condition_differs) {
                free(s->condition);
                s->condition = NULL;
        }
        if (p->condition_differs && p->condition) {
                buf_addf(&b, "[{'type':'%s','status':'%s','reason':'%s','message':", PLAN_CONDITION,
                        p->condition->status, p->condition->reason);
                buf_add_json(&b, p->condition->message);
                buf_adds(&b, "}]");
                s->condition = buf_take(&b);
        }
        s->o = object_free(s->o);
}

static void show_ingress(struct world *w, const struct plan *p)
{
        buf_adds(&w->out, " [");
        for (size_t i = 0; i < p->n_ingress; i++) {
                const struct service_ingress *in = &p->ingress[i];

                buf_addf(&w->out, "%s%s", i ? " " : "", in->ip);
                if (*in->hostname)
                        buf_addf(&w->out, "/%s", in->hostname);
                if (*in->ip_mode && strcmp(in->ip_mode, "VIP") != 0)
                        buf_addf(&w->out, "/%s", in->ip_mode);
                if (in->ports)
                        buf_addf(&w->out, "/%s", in->ports);
        }
        buf_addc(&w->out, ']');
}

static void show_plan(struct world *w, const struct plan *p)
{
        static const char *const states[] = {
                [PLAN_NOT_OURS] = "other",
                [PLAN_ASSIGNED] = "assigned",
                [PLAN_DEGRADED] = "degraded",
                [PLAN_PENDING] = "pending",
        };
        static const char *const levels[] = { "debug", "info", "warn", "error" };

        buf_addf(&w->out, " %s%s%s%s", states[p->state], *p->pending ? "(" : "", p->pending,
                *p->pending ? ")" : "");
        if (p->ingress_differs)
                show_ingress(w, p);
        if (p->pool_differs)
                buf_addf(&w->out, " pool=%s", p->pool ? p->pool : "-");
        if (p->condition_differs && p->condition)
                buf_addf(&w->out, " %s %s: %s.", p->condition->status, p->condition->reason,
                        p->condition->message);
        else if (p->condition_differs)
                buf_adds(&w->out, " -condition");
        for (size_t i = 0; i < p->n_events; i++)
                buf_addf(&w->out, " %c:%s: %s.", p->events[i].is_warning ? 'W' : 'N', p->events[i].reason,
                        p->events[i].message);
        for (size_t i = 0; w->show_logs && i < p->n_logs; i++) {
                const struct plan_log *l = &p->logs[i];

                buf_addf(&w->out, " %s<%s|%s|%s|%s|%s>", levels[l->level], l->event, l->reason, l->ips,
                        l->pool, l->error);
        }
        if (!p->write && p->n_events == 0)
                buf_adds(&w->out, " quiet");
}

static void check_plan(const struct plan *p)
{
        ck_assert_int_eq(p->write, p->ingress_differs || p->pool_differs || p->condition_differs);
        for (size_t i = 0; i < p->n_events; i++) {
                ck_assert_uint_le(strlen(p->events[i].message), 1024);
                ck_assert_ptr_null(strstr(p->events[i].message, "<nil>"));
                ck_assert_ptr_null(strpbrk(p->events[i].reason, " \n\""));
        }
        if (p->condition) {
                ck_assert_uint_le(strlen(p->condition->message), 1024);
                ck_assert_ptr_null(strpbrk(p->condition->message, "\r\n\t"));
                ck_assert_str_ne(p->condition->message, "");
        }
        for (size_t i = 0; i < p->n_logs; i++) {
                const struct plan_log *l = &p->logs[i];

                ck_assert(l->event && l->reason && l->ips && l->pool && l->error && *l->msg);
        }
}

void world_plan(struct world *w, const char *key)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(1024);
        struct world_svc *s = world_svc(w, key);
        const struct service *o = s ? world_service(s) : NULL;
        struct plan p;

        if (o)
                ck_assert_int_eq(plan_service(&p, a, w->m, &w->conf,
                                         &(struct plan_in){ o, world_ns_labels(w, o->meta.ns) }, w->now_ms),
                        0);
        else
                ck_assert_int_eq(plan_gone(&p, a, w->m, key, w->now_ms), 0);
        check_plan(&p);
        buf_adds(&w->out, strncmp(key, "d/", 2) == 0 ? key + 2 : key);
        show_plan(w, &p);
        w->n_writes += p.write;
        w->n_events += p.n_events;
        if (s && p.write && !w->stale)
                store(s, &p);
}

void world_claim_all(struct world *w, uint64_t seed)
{
        CLEANUP(freep) struct plan_in *v = calloc(w->n_svcs + 1, sizeof(*v));
        struct rng rng = { seed };

        ck_assert_ptr_nonnull(v);
        for (size_t i = 0; i < w->n_svcs; i++) {
                size_t j = rng_below(&rng, i + 1);
                const struct service *o = world_service(&w->svcs[i]);

                v[i] = v[j];
                v[j] = (struct plan_in){ o, world_ns_labels(w, o->meta.ns) };
        }
        ck_assert_int_eq(plan_claim_all(w->m, &w->conf, v, w->n_svcs, w->now_ms), 0);
}

void world_status(struct world *w, const char *key, const char *ingress)
{
        struct world_svc *s = world_svc(w, key);

        ck_assert_msg(s != NULL, "no Service %s", key);
        free(s->ingress);
        s->ingress = ingress ? strdup(ingress) : NULL;
        s->o = object_free(s->o);
}
