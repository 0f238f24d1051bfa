/* SPDX-License-Identifier: Apache-2.0 */
/* ipam_set - a new set of pools or node addresses, taken over while addresses are held. Pure.
 *
 * First the whole new world is made beside the old one (definitions, overlaps, free space): all of that may fail for
 * memory, and is then thrown away. The second half only moves pointers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/ipam_int.h"

struct next { /* one pool of the new world */
        const struct pool *in;
        struct ipam_pool *pool; /* the old one of this name, or a new one */
        struct ipam_def *def; /* the old one when its content is the same */
        struct ipam_def *garbage; /* was replaced; names in use point into it until the end of the call */
        bool is_new, def_is_new, is_good, is_rebuilt;
        char *error_text;
        const char *other;
        struct tree free[2];
        struct u128 n_free[2];
};

struct taken { /* a range that an accepted pool has */
        struct tree_node node;
        struct u128 first, last;
        uint8_t family;
        size_t i; /* in edit.v */
};

struct edit {
        struct ipam *m;
        struct next *v; /* oldest first */
        size_t n;
        bool is_changed;
        struct taken *taken;
        size_t n_taken;
        struct tree tree[2];
        struct ipam_pool **by_name, **by_order;
        uint64_t *hot;
};

static void edit_fini(struct edit *e)
{
        for (size_t i = 0; e->v && i < e->n; i++) {
                struct next *x = &e->v[i];

                if (x->def_is_new)
                        def_free(x->def);
                def_free(x->garbage);
                if (x->is_new)
                        free(x->pool);
                free(x->error_text);
                space_drop(x->free);
        }
        free(e->v);
        free(e->taken);
        free(e->by_name);
        free(e->by_order);
        free(e->hot);
}

static int age_cmp(const void *a, const void *b)
{
        const struct pool *x = ((const struct next *)a)->in, *y = ((const struct next *)b)->in;

        if (x->meta.created_s != y->meta.created_s)
                return x->meta.created_s < y->meta.created_s ? -1 : 1;
        return strcmp(x->meta.name, y->meta.name);
}

static int name_cmp(const void *a, const void *b)
{
        int c = strcmp(((const struct next *)a)->in->meta.name, ((const struct next *)b)->in->meta.name);

        return c ? c : age_cmp(a, b);
}

static int load_one(struct edit *e, struct next *x)
{
        CLEANUP(freep) char *content = def_content(x->in);
        struct ipam_pool *old = pool_find(e->m, x->in->meta.name);
        int r;

        if (!content)
                return -ENOMEM;
        if (old && strcmp(old->def->content, content) == 0) {
                x->pool = old;
                x->def = old->def;
                return 0;
        }
        r = def_new(&x->def, x->in, content);
        if (r < 0)
                return r;
        x->def_is_new = true;
        e->is_changed = true;
        x->pool = old ? old : calloc(1, sizeof(*x->pool));
        x->is_new = !old;
        return x->pool ? 0 : -ENOMEM;
}

static int load(struct edit *e, const struct pool *const *pools, size_t n)
{
        e->v = calloc(n ? n : 1, sizeof(*e->v));
        if (!e->v)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                e->v[i].in = pools[i];
        if (n > 1)
                qsort(e->v, n, sizeof(*e->v), name_cmp);
        for (size_t i = 0; i < n; i++) /* of equal names (they come from no API server) the oldest counts */
                if (i == 0 || strcmp(e->v[i].in->meta.name, e->v[e->n - 1].in->meta.name) != 0)
                        e->v[e->n++].in = e->v[i].in;
        if (e->n > 1)
                qsort(e->v, e->n, sizeof(*e->v), age_cmp);
        e->is_changed = e->n != e->m->n_pools;
        for (size_t i = 0; i < e->n; i++) {
                int r = load_one(e, &e->v[i]);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- overlaps: the older pool keeps its ranges ---- */

static int taken_key_cmp(const void *key, struct tree_node *node)
{
        return u128_cmp(*(const struct u128 *)key, container_of(node, struct taken, node)->first);
}

static int taken_cmp(struct tree_node *a, struct tree_node *b)
{
        return taken_key_cmp(&container_of(a, struct taken, node)->first, b);
}

static void add_range(struct buf *b, uint8_t family, struct u128 first, struct u128 last)
{
        struct ip x = ip_from_u128(family, first), y = ip_from_u128(family, last);
        char text[IP_TEXT_MAX];

        buf_adds(b, ip_format(&x, text));
        if (!ip_equal(&x, &y))
                buf_addf(b, "-%s", ip_format(&y, text));
}

static int say_overlap(struct edit *e, size_t i, const struct ipam_range *r, const struct taken *t)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        struct next *x = &e->v[i];

        buf_adds(&b, "range ");
        add_range(&b, r->family, r->first, r->last);
        buf_adds(&b, " overlaps ");
        add_range(&b, r->family, t->first, t->last);
        if (t->i == i) {
                buf_adds(&b, " of the same pool");
        } else {
                x->other = e->v[t->i].def->name;
                buf_addf(&b, " of the older pool \"%s\"", x->other);
        }
        x->error_text = buf_take(&b);
        return x->error_text ? 0 : -ENOMEM;
}

/* The accepted range that @r overlaps, or NULL. */
static struct taken *overlap(const struct edit *e, const struct ipam_range *r)
{
        struct tree_node *n = tree_at_most(&e->tree[fam_index(r->family)], &r->last, taken_key_cmp);
        struct taken *t = n ? container_of(n, struct taken, node) : NULL;

        return t && u128_cmp(t->last, r->first) >= 0 ? t : NULL;
}

static int accept_one(struct edit *e, size_t i)
{
        const struct ipam_def *d = e->v[i].def;
        size_t before = e->n_taken;

        for (size_t j = 0; j < d->n_ranges; j++) {
                const struct ipam_range *r = &d->ranges[j];
                struct taken *t = overlap(e, r);

                if (t) {
                        int err = say_overlap(e, i, r, t);

                        while (e->n_taken > before) {
                                e->n_taken--;
                                t = &e->taken[e->n_taken];
                                tree_remove(&e->tree[fam_index(t->family)], &t->node);
                        }
                        return err;
                }
                t = &e->taken[e->n_taken++];
                *t = (struct taken){ .first = r->first, .last = r->last, .family = r->family, .i = i };
                (void)tree_insert(&e->tree[fam_index(r->family)], &t->node, taken_cmp);
        }
        e->v[i].is_good = true;
        return 0;
}

static int accept_all(struct edit *e)
{
        size_t n = 0;

        for (size_t i = 0; i < e->n; i++)
                n += e->v[i].def->n_ranges;
        e->taken = calloc(n ? n : 1, sizeof(*e->taken));
        if (!e->taken)
                return -ENOMEM;
        for (size_t i = 0; i < e->n; i++) {
                int r = e->v[i].def->error ? 0 : accept_one(e, i);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- order and space ---- */

static int by_name_cmp(const void *a, const void *b)
{
        const struct next *x = *(const struct next *const *)a, *y = *(const struct next *const *)b;

        return strcmp(x->def->name, y->def->name);
}

static int by_order_cmp(const void *a, const void *b)
{
        const struct next *x = *(const struct next *const *)a, *y = *(const struct next *const *)b;

        if (x->def->pinned != y->def->pinned)
                return x->def->pinned ? -1 : 1;
        if (x->def->pinned && x->def->priority != y->def->priority)
                return x->def->priority < y->def->priority ? -1 : 1;
        return by_name_cmp(a, b);
}

static int sorted(struct ipam_pool ***ret, const struct edit *e, int (*cmp)(const void *, const void *))
{
        CLEANUP(freep) const struct next **v = calloc(e->n ? e->n : 1, sizeof(*v));
        struct ipam_pool **out = calloc(e->n ? e->n : 1, sizeof(*out));

        if (!v || !out) {
                free(out);
                return -ENOMEM;
        }
        for (size_t i = 0; i < e->n; i++)
                v[i] = &e->v[i];
        if (e->n > 1)
                qsort(v, e->n, sizeof(*v), cmp);
        for (size_t i = 0; i < e->n; i++)
                out[i] = v[i]->pool;
        *ret = out;
        return 0;
}

static int prepare(struct edit *e)
{
        int r = sorted(&e->by_name, e, by_name_cmp);

        if (r == 0)
                r = sorted(&e->by_order, e, by_order_cmp);
        e->hot = calloc(e->n / 64 + 1, sizeof(*e->hot));
        if (!e->hot)
                r = -ENOMEM;
        for (size_t i = 0; r == 0 && i < e->n; i++) {
                struct next *x = &e->v[i];

                x->is_rebuilt = x->is_good && (x->def_is_new || x->pool->error);
                if (x->is_rebuilt)
                        r = space_build(e->m, x->def, e->m->nodes, e->m->n_nodes, x->free, x->n_free);
        }
        return r;
}

/* ---- from here on nothing can fail ---- */

static int range_cmp(struct tree_node *a, struct tree_node *b)
{
        return u128_cmp(container_of(a, struct ipam_range, by_addr)->first,
                container_of(b, struct ipam_range, by_addr)->first);
}

static void unlink_ranges(struct ipam *m, struct ipam_def *d)
{
        for (size_t i = 0; i < d->n_ranges; i++)
                tree_remove(&m->ranges[fam_index(d->ranges[i].family)], &d->ranges[i].by_addr);
}

static void link_ranges(struct ipam *m, struct ipam_pool *p)
{
        for (size_t i = 0; i < p->def->n_ranges; i++) {
                struct ipam_range *r = &p->def->ranges[i];

                r->pool = p;
                (void)tree_insert(&m->ranges[fam_index(r->family)], &r->by_addr, range_cmp); /* disjoint */
        }
}

static void install_def(struct next *x)
{
        struct ipam_pool *p = x->pool;

        if (x->def_is_new) {
                if (p->def && !x->is_good && !p->last)
                        p->last = p->def;
                else
                        x->garbage = p->def;
                p->def = x->def;
                x->def_is_new = false;
        }
        if (x->is_good && p->last) {
                def_free(p->last);
                p->last = NULL;
        }
}

/* Holds go to the pool that covers them now; the rest is dropped, unless it hangs on a bad pool. */
static void rehome(struct ipam *m)
{
        struct tree_node *next;

        for (struct tree_node *n = tree_first(&m->held); n; n = next) {
                struct ipam_hold *h = container_of(n, struct ipam_hold, by_ip);
                const struct ipam_range *r = pool_range_at(m, &h->ip);
                struct ipam_pool *old = h->pool, *to = r ? r->pool : NULL;

                next = tree_next(n);
                if (to && to->def->avoid_buggy && ip_is_buggy(&h->ip))
                        to = NULL;
                else if (!to && !old->flag && old->error && h->users)
                        to = old;
                if (!to) {
                        hold_drop(m, h);
                        continue;
                }
                h->pool = to;
                if (!h->users)
                        continue;
                to->n_assigned[fam_index(h->ip.family)]++;
                if (to != old || to->changed)
                        for (struct ipam_slot *u = h->users; u; u = u->next)
                                svc_touch(m, u->svc);
        }
}

static void pool_free(struct ipam_pool *p)
{
        space_drop(p->free);
        def_free(p->def);
        def_free(p->last);
        free(p->error_text);
        free(p);
}

static void commit(struct edit *e)
{
        struct ipam *m = e->m;
        struct ipam_pool **old = m->by_name;
        size_t n_old = m->n_pools;

        for (size_t i = 0; i < n_old; i++) {
                old[i]->flag = true; /* removed, until proved otherwise */
                if (!old[i]->error)
                        unlink_ranges(m, old[i]->def);
        }
        for (size_t i = 0; i < e->n; i++) {
                struct next *x = &e->v[i];
                struct ipam_pool *p = x->pool;

                p->flag = false;
                p->changed = x->def_is_new || !p->error != x->is_good;
                install_def(x);
                free(p->error_text);
                p->error_text = TAKE(x->error_text);
                p->error = x->is_good ? NULL : p->error_text ? p->error_text : p->def->error;
                p->other = x->other;
                p->n_assigned[0] = p->n_assigned[1] = 0;
                if (x->is_rebuilt || p->error) {
                        space_drop(p->free);
                        memcpy(p->free, x->free, sizeof(p->free));
                        memcpy(p->n_free, x->n_free, sizeof(p->n_free));
                        memset(x->free, 0, sizeof(x->free));
                }
                x->is_new = false;
                if (x->is_good)
                        link_ranges(m, p);
                pool_touch_counts(m, p);
        }
        m->by_name = TAKE(e->by_name);
        free(m->by_order);
        m->by_order = TAKE(e->by_order);
        m->n_pools = e->n;
        for (size_t i = 0; i < m->n_pools; i++)
                m->by_order[i]->bit = i;
        rehome(m);
        wait_reset(m, TAKE(e->hot), (e->n + 63) / 64);
        for (size_t i = 0; i < n_old; i++)
                if (old[i]->flag)
                        pool_free(old[i]);
        free(old);
}

int ipam_set_pools(struct ipam *m, const struct pool *const *pools, size_t n, uint64_t now_ms)
{
        struct edit e = { .m = m };
        int r = load(&e, pools, n);

        ipam_tick(m, now_ms);
        if (r == 0 && e.is_changed)
                r = accept_all(&e);
        if (r == 0 && e.is_changed)
                r = prepare(&e);
        if (r == 0 && e.is_changed) {
                commit(&e);
                r = 1;
        }
        edit_fini(&e);
        return r;
}

void pools_drop(struct ipam *m)
{
        for (size_t i = 0; i < m->n_pools; i++)
                pool_free(m->by_name[i]);
        free(m->by_name);
        free(m->by_order);
        m->by_name = m->by_order = NULL;
        m->n_pools = 0;
}

/* ---- nodes ---- */

static int ip_cmp_v(const void *a, const void *b)
{
        return ip_cmp(a, b);
}

/* Flags the good pools that cover an address which is in only one of the two lists; returns how many. */
static size_t flag_affected(struct ipam *m, const struct ip *now, size_t n_now)
{
        size_t i = 0, j = 0, n = 0;

        while (i < m->n_nodes || j < n_now) {
                int c = i == m->n_nodes ? 1 : j == n_now ? -1 : ip_cmp(&m->nodes[i], &now[j]);
                const struct ipam_range *r = NULL;

                if (c != 0)
                        r = pool_range_at(m, c < 0 ? &m->nodes[i] : &now[j]);
                i += c <= 0;
                j += c >= 0;
                if (r && !r->pool->flag) {
                        r->pool->flag = true;
                        n++;
                }
        }
        return n;
}

struct space {
        struct tree free[2];
        struct u128 n_free[2];
};

static int build_flagged(const struct ipam *m, const struct ip *ips, size_t n, struct space *v)
{
        for (size_t i = 0, k = 0; i < m->n_pools; i++) {
                int r = 0;

                if (m->by_name[i]->flag) {
                        r = space_build(m, m->by_name[i]->def, ips, n, v[k].free, v[k].n_free);
                        k++;
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

int ipam_set_nodes(struct ipam *m, const struct ip *ips, size_t n)
{
        CLEANUP(freep) struct ip *sorted_ips = calloc(n ? n : 1, sizeof(*sorted_ips));
        CLEANUP(freep) struct space *v = calloc(m->n_pools ? m->n_pools : 1, sizeof(*v));
        size_t kept = 0, n_affected;
        int r;

        if (!sorted_ips || !v)
                return -ENOMEM;
        if (n > 0) {
                memcpy(sorted_ips, ips, n * sizeof(*ips));
                qsort(sorted_ips, n, sizeof(*ips), ip_cmp_v);
        }
        for (size_t i = 0; i < n; i++)
                if (i == 0 || !ip_equal(&sorted_ips[i], &sorted_ips[kept - 1]))
                        sorted_ips[kept++] = sorted_ips[i];
        for (size_t i = 0; i < m->n_pools; i++)
                m->by_name[i]->flag = false;
        n_affected = flag_affected(m, sorted_ips, kept);
        r = build_flagged(m, sorted_ips, kept, v);
        for (size_t i = 0, k = 0; i < m->n_pools; i++) {
                struct ipam_pool *p = m->by_name[i];

                if (!p->flag)
                        continue;
                if (r == 0) {
                        space_drop(p->free);
                        memcpy(p->free, v[k].free, sizeof(p->free));
                        memcpy(p->n_free, v[k].n_free, sizeof(p->n_free));
                        pool_touch_counts(m, p);
                } else {
                        space_drop(v[k].free);
                }
                k++;
        }
        if (r < 0)
                return r;
        free(m->nodes);
        m->nodes = TAKE(sorted_ips);
        m->n_nodes = kept;
        for (size_t i = 0; i < m->n_pools; i++)
                if (m->by_name[i]->flag)
                        wait_event(m, m->by_name[i]);
        return n_affected > 0;
}
