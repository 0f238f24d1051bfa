/* SPDX-License-Identifier: Apache-2.0 */
/* ipam_space - the free space of one pool: spans ordered by (range, address), both ends of each usable. Pure.
 *
 * avoidBuggyIPs never costs a scan: buggy addresses may lie inside a span, but its ends are trimmed, and of two
 * neighbours in IPv4 (.255, .0) at most two steps lead to a usable one. */
#include <errno.h>
#include <stdlib.h>

#include "common/ipam_int.h"

struct span_key {
        uint32_t order;
        struct u128 at;
};

static int span_key_cmp(const void *key, struct tree_node *node)
{
        const struct span_key *k = key;
        const struct ipam_span *s = container_of(node, struct ipam_span, node);

        if (k->order != s->order)
                return k->order < s->order ? -1 : 1;
        return u128_cmp(k->at, s->first);
}

static int span_cmp(struct tree_node *a, struct tree_node *b)
{
        const struct ipam_span *s = container_of(a, struct ipam_span, node);
        const struct span_key k = { s->order, s->first };

        return span_key_cmp(&k, b);
}

static bool is_buggy(const struct ipam_def *d, enum ip_family family, struct u128 at)
{
        return d->avoid_buggy && family == IP_V4 && ((at.lo & 0xff) == 0 || (at.lo & 0xff) == 0xff);
}

/* Moves both ends inwards to usable addresses; false when there is none. */
static bool trim(const struct ipam_def *d, enum ip_family family, struct u128 *first, struct u128 *last)
{
        while (is_buggy(d, family, *first)) {
                if (u128_cmp(*first, *last) >= 0)
                        return false;
                *first = u128_add(*first, u128_of(1));
        }
        while (is_buggy(d, family, *last)) /* stops at @first, which is usable */
                *last = u128_sub(*last, u128_of(1));
        return true;
}

struct u128 span_usable(const struct ipam_def *d, enum ip_family family, struct u128 first, struct u128 last)
{
        struct u128 n = u128_add_sat(u128_sub(last, first), u128_of(1));
        struct ip_range r = { ip_from_u128(family, first), ip_from_u128(family, last) };

        return d->avoid_buggy ? u128_sub(n, u128_of(ip_range_count_buggy(&r))) : n;
}

void space_drop(struct tree free_[2])
{
        struct tree_node *n;

        for (size_t f = 0; f < 2; f++)
                while ((n = tree_pop_any(&free_[f])))
                        free(container_of(n, union ipam_cell, span.node));
}

static int ip_key_cmp(const void *key, struct tree_node *node)
{
        return ip_order(key, &container_of(node, struct ipam_hold, by_ip)->ip);
}

/* Three sorted sources of addresses that cannot be handed out, read side by side. */
struct blockers {
        enum ip_family family;
        struct tree_node *held;
        const struct ip *nodes;
        size_t i_node, n_nodes;
        const struct ipam_bounds *reserved;
        size_t i_reserved, n_reserved;
};

/* The first of @nodes that is not below @ip. */
static size_t first_node(const struct ip *nodes, size_t n, const struct ip *ip)
{
        size_t lo = 0, hi = n;

        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;

                if (ip_cmp(&nodes[mid], ip) < 0)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

static struct blockers blockers_from(const struct ipam *m, const struct ipam_def *d,
        const struct ipam_range *r, const struct ip *nodes, size_t n_nodes)
{
        size_t f = fam_index(r->family);
        struct ip first = ip_from_u128(r->family, r->first);
        struct blockers b = {
                .family = r->family,
                .held = tree_at_least(&m->held, &first, ip_key_cmp),
                .nodes = nodes,
                .i_node = first_node(nodes, n_nodes, &first),
                .n_nodes = n_nodes,
                .reserved = d->reserved[f],
                .n_reserved = d->n_reserved[f],
        };

        while (b.i_reserved < b.n_reserved && u128_cmp(b.reserved[b.i_reserved].last, r->first) < 0)
                b.i_reserved++;
        return b;
}

/* The blocker with the lowest start, removed from its source; false when none is left of this family. */
static bool blockers_next(struct blockers *b, struct ipam_bounds *ret)
{
        const struct ip *held = b->held ? &container_of(b->held, struct ipam_hold, by_ip)->ip : NULL;
        const struct ip *node = b->i_node < b->n_nodes ? &b->nodes[b->i_node] : NULL;
        const struct ip *one = held && held->family == b->family ? held : NULL;

        if (node && node->family == b->family && (!one || ip_cmp(node, one) < 0))
                one = node;
        if (b->i_reserved < b->n_reserved &&
                (!one || u128_cmp(b->reserved[b->i_reserved].first, ip_u128(one)) < 0)) {
                *ret = b->reserved[b->i_reserved++];
                return true;
        }
        if (!one)
                return false;
        ret->first = ret->last = ip_u128(one);
        if (one == node)
                b->i_node++;
        else
                b->held = tree_next(b->held);
        return true;
}

static int emit(const struct ipam_def *d, const struct ipam_range *r, struct u128 first, struct u128 last,
        struct tree *free_, struct u128 *n_free)
{
        union ipam_cell *c;

        if (!trim(d, r->family, &first, &last))
                return 0;
        c = malloc(sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->span = (struct ipam_span){ .first = first, .last = last, .order = r->order };
        (void)tree_insert(free_, &c->span.node, span_cmp); /* spans are disjoint */
        *n_free = u128_add_sat(*n_free, span_usable(d, r->family, first, last));
        return 0;
}

static int build_range(const struct ipam *m, const struct ipam_def *d, const struct ipam_range *r,
        const struct ip *nodes, size_t n_nodes, struct tree *free_, struct u128 *n_free)
{
        struct blockers b = blockers_from(m, d, r, nodes, n_nodes);
        struct u128 at = r->first;
        struct ipam_bounds x;
        int e;

        while (blockers_next(&b, &x) && u128_cmp(x.first, r->last) <= 0) {
                if (u128_cmp(x.first, at) > 0) {
                        e = emit(d, r, at, u128_sub(x.first, u128_of(1)), free_, n_free);
                        if (e < 0)
                                return e;
                }
                if (u128_cmp(x.last, r->last) >= 0)
                        return 0;
                if (u128_cmp(x.last, at) >= 0)
                        at = u128_add(x.last, u128_of(1));
        }
        return emit(d, r, at, r->last, free_, n_free);
}

int space_build(const struct ipam *m, const struct ipam_def *d, const struct ip *nodes, size_t n_nodes,
        struct tree free_[2], struct u128 n_free[2])
{
        for (size_t i = 0; i < d->n_ranges; i++) {
                size_t f = fam_index(d->ranges[i].family);
                int e = build_range(m, d, &d->ranges[i], nodes, n_nodes, &free_[f], &n_free[f]);

                if (e < 0) {
                        space_drop(free_);
                        return e;
                }
        }
        return 0;
}

bool space_first(const struct ipam_pool *p, size_t f, struct ip *ret)
{
        struct tree_node *n = tree_first(&p->free[f]);

        if (!n)
                return false;
        *ret = ip_from_u128(fam_of(f), container_of(n, struct ipam_span, node)->first);
        return true;
}

/* The span that holds @at, or NULL. */
static struct ipam_span *span_at(const struct ipam *m, const struct ipam_pool *p, const struct ip *ip)
{
        const struct ipam_range *r = pool_range_at(m, ip);
        struct span_key k = { r && r->pool == p ? r->order : UINT32_MAX, ip_u128(ip) };
        struct tree_node *n = tree_at_most(&p->free[fam_index(ip->family)], &k, span_key_cmp);
        struct ipam_span *s = n ? container_of(n, struct ipam_span, node) : NULL;

        return s && s->order == k.order && u128_cmp(k.at, s->last) <= 0 ? s : NULL;
}

bool space_splits(const struct ipam *m, const struct ipam_pool *p, const struct ip *ip)
{
        const struct ipam_span *s = span_at(m, p, ip);
        struct u128 at = ip_u128(ip);

        return s && u128_cmp(s->first, at) < 0 && u128_cmp(at, s->last) < 0;
}

/* The order in the tree stays: the start moves inside the span only. Both ends are usable, so trimming stops at the
 * other one. */
static void take_first_of(struct ipam_pool *p, size_t f, struct ipam_span *s)
{
        if (u128_cmp(s->first, s->last) == 0) {
                tree_remove(&p->free[f], &s->node);
                free(container_of(s, union ipam_cell, span));
                return;
        }
        s->first = u128_add(s->first, u128_of(1));
        (void)trim(p->def, fam_of(f), &s->first, &s->last);
}

void space_take_first(struct ipam_pool *p, size_t f)
{
        p->n_free[f] = u128_sub(p->n_free[f], u128_of(1));
        take_first_of(p, f, container_of(tree_first(&p->free[f]), struct ipam_span, node));
}

void space_take(struct ipam *m, struct ipam_pool *p, const struct ip *ip, union ipam_cell **spare)
{
        struct ipam_span *s = span_at(m, p, ip), *high;
        struct u128 at = ip_u128(ip), one = u128_of(1), last;
        size_t f = fam_index(ip->family);

        if (!s)
                return;
        p->n_free[f] = u128_sub(p->n_free[f], one);
        last = s->last;
        if (u128_cmp(s->first, at) == 0) {
                take_first_of(p, f, s);
                return;
        }
        s->last = u128_sub(at, one);
        (void)trim(p->def, ip->family, &s->first, &s->last);
        if (u128_cmp(at, last) == 0)
                return;
        high = &(*spare)->span;
        *spare = NULL;
        *high = (struct ipam_span){ .first = u128_add(at, one), .last = last, .order = s->order };
        (void)trim(p->def, ip->family, &high->first, &high->last);
        (void)tree_insert(&p->free[f], &high->node, span_cmp); /* disjoint from all others */
}

/* Nothing usable lies between @low and @high. */
static bool are_neighbours(const struct ipam_def *d, enum ip_family family, struct u128 low, struct u128 high)
{
        do
                low = u128_add(low, u128_of(1));
        while (u128_cmp(low, high) < 0 && is_buggy(d, family, low));
        return u128_cmp(low, high) == 0;
}

void space_give(struct ipam *m, struct ipam_pool *p, const struct ip *ip, union ipam_cell *cell)
{
        const struct ipam_range *r = pool_range_at(m, ip);
        size_t f = fam_index(ip->family);
        struct u128 at = ip_u128(ip);
        struct ipam_span *low, *high, *s = &cell->span;
        struct tree_node *n;

        if (p->error || !r || r->pool != p || is_buggy(p->def, ip->family, at) || pool_withholds(m, p, ip)) {
                free(cell);
                return;
        }
        p->n_free[f] = u128_add(p->n_free[f], u128_of(1));
        *s = (struct ipam_span){ .first = at, .last = at, .order = r->order };
        (void)tree_insert(&p->free[f], &s->node, span_cmp); /* it was not free before */
        n = tree_prev(&s->node);
        low = n ? container_of(n, struct ipam_span, node) : NULL;
        if (low && low->order == s->order && are_neighbours(p->def, ip->family, low->last, s->first)) {
                tree_remove(&p->free[f], &s->node);
                free(cell);
                low->last = at;
                s = low;
        }
        n = tree_next(&s->node);
        high = n ? container_of(n, struct ipam_span, node) : NULL;
        if (high && high->order == s->order && are_neighbours(p->def, ip->family, s->last, high->first)) {
                tree_remove(&p->free[f], &high->node);
                s->last = high->last;
                free(container_of(high, union ipam_cell, span));
        }
}
