/* SPDX-License-Identifier: Apache-2.0 */
/* ipam_pool - questions about pools: which one covers an address, whom it takes, how full it is. Pure. */
#include <stdlib.h>
#include <string.h>

#include "common/ipam_int.h"

static int range_key_cmp(const void *key, struct tree_node *node)
{
        return u128_cmp(*(const struct u128 *)key, container_of(node, struct ipam_range, by_addr)->first);
}

struct ipam_range *pool_range_at(const struct ipam *m, const struct ip *ip)
{
        struct u128 at = ip_u128(ip);
        struct tree_node *n = tree_at_most(&m->ranges[fam_index(ip->family)], &at, range_key_cmp);
        struct ipam_range *r = n ? container_of(n, struct ipam_range, by_addr) : NULL;

        return r && u128_cmp(at, r->last) <= 0 ? r : NULL;
}

const char *pool_nearest(const struct ipam *m, const struct ip *ip)
{
        const struct tree *t = &m->ranges[fam_index(ip->family)];
        struct u128 at = ip_u128(ip);
        struct tree_node *low = tree_at_most(t, &at, range_key_cmp),
                         *high = tree_at_least(t, &at, range_key_cmp);
        const struct ipam_range *below = low ? container_of(low, struct ipam_range, by_addr) : NULL;
        const struct ipam_range *above = high ? container_of(high, struct ipam_range, by_addr) : NULL;

        if (below && above && u128_cmp(u128_sub(above->first, at), u128_sub(at, below->last)) < 0)
                below = NULL;
        if (!below)
                below = above;
        return below ? below->pool->def->name : "";
}

static int name_cmp(const void *key, const void *p)
{
        return strcmp(key, (*(struct ipam_pool *const *)p)->def->name);
}

struct ipam_pool *pool_find(const struct ipam *m, const char *name)
{
        struct ipam_pool **p =
                m->n_pools ? bsearch(name, m->by_name, m->n_pools, sizeof(*m->by_name), name_cmp) : NULL;

        return p ? *p : NULL;
}

enum ipam_reason pool_refuses(const struct ipam_pool *p, const struct request *q)
{
        const struct ipam_def *d = p->def;
        bool by_name = str_list_has(&d->namespaces, q->ns);
        /* An empty list of selectors matches everything elsewhere, but names nobody here. */
        bool by_label = d->ns_selectors.n > 0 && q->ns_labels &&
                selector_list_matches(&d->ns_selectors, q->ns_labels);

        if (!d->pinned)
                return 0;
        if ((d->namespaces.n > 0 || d->ns_selectors.n > 0) && !by_name && !by_label)
                return IPAM_NOT_NAMESPACE;
        return selector_list_matches(&d->service_selectors, q->labels) ? 0 : IPAM_NOT_SERVICE;
}

static int ip_cmp_v(const void *a, const void *b)
{
        return ip_cmp(a, b);
}

enum ipam_reason pool_withholds(const struct ipam *m, const struct ipam_pool *p, const struct ip *ip)
{
        const struct ipam_def *d = p->def;
        size_t f = fam_index(ip->family), lo = 0, hi = d->n_reserved[f];
        struct u128 at = ip_u128(ip);

        if (m->n_nodes > 0 && bsearch(ip, m->nodes, m->n_nodes, sizeof(*ip), ip_cmp_v))
                return IPAM_IS_NODE;
        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;

                if (u128_cmp(d->reserved[f][mid].last, at) < 0)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo < d->n_reserved[f] && u128_cmp(d->reserved[f][lo].first, at) <= 0 ? IPAM_IS_RESERVED : 0;
}

void pool_touch_counts(struct ipam *m, struct ipam_pool *p)
{
        p->stamp = ++m->stamp;
}

/* ---- what others may ask ---- */

static int64_t for_json(struct u128 n)
{
        return n.hi > 0 || n.lo > (uint64_t)IPAM_COUNT_MAX ? IPAM_COUNT_MAX : (int64_t)n.lo;
}

static void pool_info(const struct ipam_pool *p, struct ipam_pool_info *ret)
{
        *ret = (struct ipam_pool_info){
                .name = p->def->name,
                .error = p->error,
                .other = p->other,
                .auto_assign = p->def->auto_assign,
                .stamp = p->stamp,
        };
        for (size_t f = 0; f < 2; f++) {
                struct u128 all = (p->error && p->last ? p->last : p->def)->capacity[f];
                struct u128 used = u128_add_sat(p->n_free[f], u128_of(p->n_assigned[f]));

                ret->counts.capacity[f] = for_json(all);
                ret->counts.assigned[f] = for_json(u128_of(p->n_assigned[f]));
                if (p->error)
                        continue;
                ret->counts.available[f] = for_json(p->n_free[f]);
                if (u128_cmp(used, all) < 0)
                        ret->counts.withheld[f] = for_json(u128_sub(all, used));
        }
}

size_t ipam_n_pools(const struct ipam *m)
{
        return m->n_pools;
}

bool ipam_pool_at(const struct ipam *m, size_t i, struct ipam_pool_info *ret)
{
        if (i >= m->n_pools)
                return false;
        pool_info(m->by_name[i], ret);
        return true;
}

bool ipam_pool_get(const struct ipam *m, const char *name, struct ipam_pool_info *ret)
{
        const struct ipam_pool *p = pool_find(m, name);

        if (p)
                pool_info(p, ret);
        return p != NULL;
}
