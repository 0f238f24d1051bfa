/* SPDX-License-Identifier: Apache-2.0 */
#include "test/lib/audit.h"

#include "common/ipam_int.h"

static void audit_hold(const struct ipam *m, const struct ipam_hold *h)
{
        const struct ipam_range *r = pool_range_at(m, &h->ip);
        char ip[IP_TEXT_MAX];

        ip_format(&h->ip, ip);
        MUST_MSG(h->users || h->until_ms > 0, "%s has no users and does not cool", ip);
        MUST_MSG(!h->users || h->until_ms == 0, "%s has users and cools", ip);
        MUST_MSG(r ? r->pool == h->pool : h->pool->error != NULL, "%s is held from the wrong pool", ip);
        for (const struct ipam_slot *u = h->users; u; u = u->next) {
                MUST(u->hold == h);
                MUST(*u->prev == u);
                if (u->next || u != h->users)
                        MUST_MSG(h->group && u->svc->group == h->group, "%s: users without a common key", ip);
                MUST(u->svc->group == h->group);
                for (const struct ipam_slot *v = u->next; v; v = v->next) {
                        const struct ipam_svc *who;
                        uint32_t port;

                        MUST(u->svc != v->svc);
                        if (v->next == NULL)
                                MUST_MSG(!share_refuses(h, u->svc, u->svc->group, u->svc->ports,
                                                 u->svc->n_ports, &who, &port),
                                        "%s: %s and %s collide", ip, u->svc->key, who->key);
                }
        }
}

static void audit_spans(const struct ipam *m, const struct ipam_pool *p, size_t f)
{
        struct u128 sum = { 0, 0 };
        const struct ipam_span *last = NULL;

        TREE_FOREACH (n, &p->free[f]) {
                const struct ipam_span *s = container_of(n, struct ipam_span, node);
                struct ip first = ip_from_u128(fam_of(f), s->first), end = ip_from_u128(fam_of(f), s->last);
                const struct ipam_range *r = pool_range_at(m, &first);

                MUST(u128_cmp(s->first, s->last) <= 0);
                MUST_MSG(r && r->pool == p && r->order == s->order && pool_range_at(m, &end) == r,
                        "span outside its range");
                MUST_MSG(!p->def->avoid_buggy || (!ip_is_buggy(&first) && !ip_is_buggy(&end)),
                        "span ends buggy");
                MUST_MSG(!pool_withholds(m, p, &first) && !pool_withholds(m, p, &end), "span ends withheld");
                if (last && last->order == s->order)
                        MUST_MSG(
                                u128_cmp(u128_add(last->last, u128_of(1)), s->first) < 0, "spans not joined");
                sum = u128_add_sat(sum, span_usable(p->def, fam_of(f), s->first, s->last));
                last = s;
        }
        if (p->def->capacity[f].hi == UINT64_MAX) /* ::/0 has one more than fits: it is not counted */
                return;
        MUST_MSG(u128_cmp(sum, p->n_free[f]) == 0, "pool %s: free count is wrong", p->def->name);
}

static void audit_pool(const struct ipam *m, const struct ipam_pool *p)
{
        uint64_t assigned[2] = { 0, 0 };

        TREE_FOREACH (n, &m->held) {
                const struct ipam_hold *h = container_of(n, struct ipam_hold, by_ip);
                struct u128 at = ip_to_u128(&h->ip);
                size_t f = fam_index(h->ip.family);

                if (h->pool != p)
                        continue;
                assigned[f] += h->users != NULL;
                TREE_FOREACH (k, &p->free[f]) {
                        const struct ipam_span *s = container_of(k, struct ipam_span, node);

                        MUST_MSG(u128_cmp(at, s->first) < 0 || u128_cmp(at, s->last) > 0, "held and free");
                }
        }
        for (size_t f = 0; f < 2; f++) {
                struct u128 used = u128_add_sat(p->n_free[f], u128_of(p->n_assigned[f]));

                MUST(assigned[f] == p->n_assigned[f]);
                audit_spans(m, p, f);
                if (p->error)
                        MUST(p->free[f].root == NULL);
                else
                        MUST(u128_cmp(used, p->def->capacity[f]) <= 0);
        }
}

static bool audit_svc(const struct ipam_svc *s)
{
        MUST_MSG(s->slot[0].hold || !s->slot[1].hold, "%s: second slot without the first", s->key);
        if (s->slot[1].hold)
                MUST(s->slot[0].hold->ip.family != s->slot[1].hold->ip.family);
        if (s->wait)
                MUST(s->wait->svc == s);
        return s->group != NULL;
}

void ipam_audit(const struct ipam *m)
{
        size_t n_cooling = 0, n_special = 0, n_bit = 0, n_groups = 0, n_svcs = 0;

        TREE_FOREACH (n, &m->held) {
                audit_hold(m, container_of(n, struct ipam_hold, by_ip));
                n_cooling += container_of(n, struct ipam_hold, by_ip)->users == NULL;
        }
        MUST(n_cooling == m->n_cooling);
        for (size_t i = 0; i < m->n_pools; i++)
                audit_pool(m, m->by_name[i]);
        for (size_t i = 0; i < m->n_buckets; i++) {
                for (const struct ipam_svc *s = m->buckets[i]; s; s = s->next) {
                        MUST(svc_find(m, s->key) == s);
                        n_groups += audit_svc(s);
                        n_svcs++;
                }
        }
        MUST(n_svcs == m->n_svcs);
        TREE_FOREACH (n, &m->groups)
                n_groups -= container_of(n, struct ipam_group, by_key)->n_refs;
        MUST(n_groups == 0);
        TREE_FOREACH (n, &m->waiting) {
                const struct ipam_wait *w = container_of(n, struct ipam_wait, by_age);

                MUST(w->svc->wait == w);
                n_special += w->is_special;
                for (size_t i = 0; i < w->n_words; i++)
                        n_bit += (size_t)__builtin_popcountll(w->pools[i]);
        }
        for (size_t i = 0; i < m->n_pools; i++)
                n_bit -= m->by_order[i]->n_waiting;
        MUST(n_bit == 0);
        MUST(n_special == m->n_special);
}
