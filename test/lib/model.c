/* SPDX-License-Identifier: Apache-2.0 */
#include "test/lib/model.h"

static bool in_range(const struct model_range *r, int ip)
{
        return r->first <= ip && ip <= r->last;
}

static bool covers(const struct model_pool *p, int ip)
{
        for (int i = 0; i < p->n; i++)
                if (in_range(&p->r[i], ip))
                        return true;
        return false;
}

static bool overlap(const struct model_pool *a, const struct model_pool *b)
{
        for (int i = 0; i < a->n; i++)
                for (int ip = a->r[i].first; ip <= a->r[i].last; ip++)
                        if (covers(b, ip))
                                return true;
        return false;
}

static bool overlaps_itself(const struct model_pool *p)
{
        for (int i = 0; i < p->n; i++)
                for (int j = i + 1; j < p->n; j++)
                        if (p->r[i].first <= p->r[j].last && p->r[j].first <= p->r[i].last)
                                return true;
        return false;
}

/* Older first; index is name order. */
static bool older(const struct model *m, int a, int b)
{
        return m->pools[a].age != m->pools[b].age ? m->pools[a].age < m->pools[b].age : a < b;
}

void model_settle_pools(struct model *m)
{
        bool done[MODEL_POOLS] = { false };

        for (int round = 0; round < MODEL_POOLS; round++) {
                int oldest = MODEL_NONE;
                struct model_pool *p;

                for (int i = 0; i < MODEL_POOLS; i++)
                        if (!done[i] && (oldest == MODEL_NONE || older(m, i, oldest)))
                                oldest = i;
                done[oldest] = true;
                p = &m->pools[oldest];
                p->bad = p->broken || p->n == 0 || overlaps_itself(p);
                for (int i = 0; i < MODEL_POOLS; i++)
                        if (i != oldest && done[i] && m->pools[i].exists && !m->pools[i].bad &&
                                overlap(p, &m->pools[i]))
                                p->bad = true;
        }
}

int model_owner(const struct model *m, int ip)
{
        for (int i = 0; i < MODEL_POOLS; i++)
                if (m->pools[i].exists && !m->pools[i].bad && covers(&m->pools[i], ip))
                        return i;
        return MODEL_NONE;
}

bool model_is_buggy(int ip)
{
        return ip < MODEL_V6 && (ip % 256 == 0 || ip % 256 == 255);
}

bool model_fits(const struct model *m, const struct model_pool *p, const struct model_svc *s)
{
        if (!p->pinned)
                return true;
        if ((p->ns != MODEL_NONE || p->ns_label != MODEL_NONE) && p->ns != s->ns &&
                (p->ns_label == MODEL_NONE || p->ns_label != m->ns_label[s->ns]))
                return false;
        return p->svc_label == MODEL_NONE || p->svc_label == s->label;
}

static bool wants4(const struct model_svc *s)
{
        return s->families == MODEL_4 || s->families == MODEL_46 || s->families == MODEL_64;
}

static bool wants6(const struct model_svc *s)
{
        return s->families == MODEL_6 || s->families == MODEL_46 || s->families == MODEL_64;
}

bool model_wants(const struct model_svc *s, int ip)
{
        return s->families == MODEL_UNKNOWN || (ip >= MODEL_V6 ? wants6(s) : wants4(s));
}

bool model_keeps_nothing(const struct model_svc *s)
{
        return s->families == MODEL_EMPTY ||
                (s->policy == MODEL_REQUIRE && (s->families == MODEL_4 || s->families == MODEL_6));
}

static bool asks_other_families(const struct model_svc *s)
{
        bool has4 = false, has6 = false;

        for (int i = 0; i < s->n_ips; i++) {
                has4 |= s->ips[i] < MODEL_V6;
                has6 |= s->ips[i] >= MODEL_V6;
        }
        return s->n_ips > 0 && (has4 != wants4(s) || has6 != wants6(s));
}

bool model_faulty(const struct model_svc *s)
{
        return s->families >= MODEL_UNKNOWN || model_keeps_nothing(s) || s->bad_ips || asks_other_families(s);
}

bool model_may_share(const struct model_svc *a, const struct model_svc *b)
{
        int backend_a = a->local ? a->selector : 0, backend_b = b->local ? b->selector : 0;

        return a->key != 0 && a->key == b->key && backend_a == backend_b && (a->ports & b->ports) == 0;
}

bool model_may_keep(const struct model *m, const struct model_svc *s, int ip, bool sure)
{
        int owner = model_owner(m, ip);

        if (owner != MODEL_NONE)
                return model_fits(m, &m->pools[owner], s) && !(m->pools[owner].buggy && model_is_buggy(ip));
        for (int i = 0; i < MODEL_POOLS; i++) {
                const struct model_pool *p = &m->pools[i];

                if (!p->exists || !p->bad)
                        continue;
                if (!sure || covers(p, ip) || (s->was_from == i && s->n_was > 0 && s->was[0] == ip))
                        return true;
        }
        return false;
}

static bool is_withheld(const struct model *m, const struct model_pool *p, int ip)
{
        for (int i = 0; i < MODEL_NODES; i++)
                if (m->nodes[i] == ip)
                        return true;
        return p->has_reserved && in_range(&p->reserved, ip);
}

bool model_can_have(const struct model *m, const struct model_svc *s, int ip, bool on_request)
{
        int owner = model_owner(m, ip);
        const struct model_pool *p = &m->pools[owner == MODEL_NONE ? 0 : owner];

        if (owner == MODEL_NONE || (p->noauto && !on_request) || !model_fits(m, p, s) ||
                (p->buggy && model_is_buggy(ip)) || is_withheld(m, p, ip))
                return false;
        for (int i = 0; i < MODEL_SVCS; i++) {
                const struct model_svc *t = &m->svcs[i];

                for (int j = 0; t->exists && t->is_lb && !t->is_foreign && t != s && j < t->n_now; j++)
                        if (t->now[j] == ip && !model_may_share(s, t))
                                return false;
        }
        return true;
}

static bool holds(const struct model_svc *s, int ip)
{
        return (s->n_now > 0 && s->now[0] == ip) || (s->n_now > 1 && s->now[1] == ip);
}

/* Holds one of this family, from the pool it asks for if it asks for one. */
static bool has_family(const struct model *m, const struct model_svc *s, bool v6)
{
        for (int i = 0; i < s->n_now; i++) {
                int owner = model_owner(m, s->now[i]);

                if ((s->now[i] >= MODEL_V6) == v6 &&
                        (s->pool == MODEL_NONE || s->pool == owner ||
                                (owner == MODEL_NONE && s->pool < MODEL_POOLS && m->pools[s->pool].exists &&
                                        m->pools[s->pool].bad)))
                        return true;
        }
        return false;
}

bool model_satisfied(const struct model *m, const struct model_svc *s)
{
        int n = (wants4(s) ? 1 : 0) + (wants6(s) ? 1 : 0);

        if (model_faulty(s))
                return false;
        for (int i = 0; i < s->n_ips; i++)
                if (!holds(s, s->ips[i]))
                        return false;
        if (s->n_ips > 0 && s->pool == MODEL_POOLS)
                return false;
        return s->n_now == n && (!wants4(s) || has_family(m, s, false)) &&
                (!wants6(s) || has_family(m, s, true));
}

static bool any_free(const struct model *m, const struct model_svc *s, bool v6)
{
        for (int i = 0; i < MODEL_POOLS; i++) {
                const struct model_pool *p = &m->pools[i];
                bool own = false; /* a pool that serves it already is asked for the other family, too */

                if (!p->exists || p->bad || (s->pool != MODEL_NONE && s->pool != i))
                        continue;
                for (int j = 0; j < s->n_now; j++)
                        own |= model_owner(m, s->now[j]) == i;
                for (int k = 0; k < p->n; k++)
                        for (int ip = p->r[k].first; ip <= p->r[k].last; ip++)
                                if ((ip >= MODEL_V6) == v6 && model_can_have(m, s, ip, own || s->pool == i))
                                        return true;
        }
        return false;
}

const char *model_missed(const struct model *m, const struct model_svc *s)
{
        bool want[2] = { wants4(s), wants6(s) }, missing[2], can[2];

        if (model_faulty(s) || model_satisfied(m, s))
                return 0;
        if (s->n_ips > 0) {
                for (int i = 0; i < s->n_ips; i++)
                        if (!(holds(s, s->ips[i]) &&
                                    (s->pool == MODEL_NONE || s->pool == model_owner(m, s->ips[i]))) &&
                                (!model_can_have(m, s, s->ips[i], true) ||
                                        (s->pool != MODEL_NONE && s->pool != model_owner(m, s->ips[i]))))
                                return 0;
                return "the requested addresses are to be had";
        }
        if (want[0] && want[1] && s->policy == MODEL_SINGLE)
                return 0;
        for (int f = 0; f < 2; f++) {
                missing[f] = want[f] && !has_family(m, s, f);
                can[f] = missing[f] && any_free(m, s, f);
        }
        if (s->policy == MODEL_REQUIRE)
                return (can[0] || !missing[0]) && (can[1] || !missing[1])
                        ? "all missing families are to be had"
                        : 0;
        return can[0] ? "an IPv4 address is to be had" : can[1] ? "an IPv6 address is to be had" : 0;
}

/* Pinned ones by priority, then all others; index is name order. */
static bool before(const struct model *m, int a, int b)
{
        const struct model_pool *p = &m->pools[a], *q = &m->pools[b];
        int pa = p->prio > 0 ? p->prio : 1000000, pb = q->prio > 0 ? q->prio : 1000000;

        if (p->pinned != q->pinned)
                return p->pinned;
        if (p->pinned && pa != pb)
                return pa < pb;
        return a < b;
}

int model_first_fit(const struct model *m, const struct model_svc *s, bool v6)
{
        bool tried[MODEL_POOLS] = { false };

        for (int round = 0; round < MODEL_POOLS; round++) {
                int best = MODEL_NONE;

                for (int i = 0; i < MODEL_POOLS; i++)
                        if (!tried[i] && (best == MODEL_NONE || before(m, i, best)))
                                best = i;
                tried[best] = true;
                if (!m->pools[best].exists || m->pools[best].bad)
                        continue;
                for (int k = 0; k < m->pools[best].n; k++)
                        for (int ip = m->pools[best].r[k].first; ip <= m->pools[best].r[k].last; ip++)
                                if ((ip >= MODEL_V6) == v6 && model_can_have(m, s, ip, false))
                                        return ip;
        }
        return MODEL_NONE;
}
