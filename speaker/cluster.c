/* SPDX-License-Identifier: Apache-2.0 */
/* cluster - Pure. What a kubelet reports about its Node every few minutes, and the controller's counters in a
 * pool's status, are no change here: only labels, conditions and specs that an election reads are. */
#include "speaker/cluster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/table.h"

struct item { /* a pool or an advertisement */
        UT_hash_handle hh; /* by name */
        const struct object *o;
        char name[];
};

struct known_node { /* owns what it knows, since it outlives the object by the hold */
        UT_hash_handle hh;
        struct arena *arena;
        const char *name;
        struct kv_list labels;
        bool network_unavailable, excluded;
        bool gone; /* the API no longer has it */
        uint64_t gone_ms; /* when it then stops counting */
        size_t index; /* in the tables */
};

struct cluster_range {
        struct ip_range range;
        struct ip reach; /* the largest last address of this and all ranges before it */
        size_t pool;
};

struct cluster {
        char *self;
        const struct members *members;
        uint32_t hold_ms;
        bool ignore_exclude, changed;
        struct known_node *nodes;
        struct item *pools, *ads;
        struct cluster_tables t;
};

int cluster_new(struct cluster **ret, const char *self, bool ignore_exclude, uint32_t hold_ms,
        const struct members *members)
{
        CLEANUP(cluster_freep) struct cluster *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        c->self = strdup(self);
        if (!c->self)
                return -ENOMEM;
        c->ignore_exclude = ignore_exclude;
        c->hold_ms = hold_ms;
        c->members = members;
        c->changed = true;

        *ret = TAKE(c);
        return 0;
}

static struct known_node *node_free(struct known_node *n)
{
        if (!n)
                return NULL;
        arena_free(n->arena);
        free(n);
        return NULL;
}
DEFINE_CLEANUP(struct known_node, node_free);

static void node_drop(struct cluster *c, struct known_node *n)
{
        HASH_DEL(c->nodes, n);
        node_free(n);
        c->changed = true;
}

static void item_drop(struct item **all, struct item *it)
{
        HASH_DEL(*all, it);
        free(it);
}

struct cluster *cluster_free(struct cluster *c)
{
        struct known_node *n, *next;
        struct item *it, *after;

        if (!c)
                return NULL;
        HASH_ITER (hh, c->nodes, n, next)
                node_drop(c, n);
        HASH_ITER (hh, c->pools, it, after)
                item_drop(&c->pools, it);
        HASH_ITER (hh, c->ads, it, after)
                item_drop(&c->ads, it);
        arena_free(c->t.arena);
        free(c->self);
        free(c);
        return NULL;
}

/* ---- what is fed ---- */

static bool labels_equal(const struct kv_list *a, const struct kv_list *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (strcmp(a->v[i].key, b->v[i].key) != 0 || strcmp(a->v[i].value, b->v[i].value) != 0)
                        return false;
        return true;
}

/* The generation counts changes of the spec; labels do not move it. */
static bool spec_is_same(const struct object *a, const struct object *b)
{
        return a->generation != 0 && a->generation == b->generation && strcmp(a->uid, b->uid) == 0 &&
                labels_equal(&a->labels, &b->labels);
}

static int feed_item(struct cluster *c, struct item **all, const struct object *old, const struct object *now)
{
        const char *name = now ? now->name : old->name;
        struct item *it;

        HASH_FIND_STR(*all, name, it);
        if (!now) {
                if (it) {
                        item_drop(all, it);
                        c->changed = true;
                }
                return 0;
        }
        if (it) {
                if (!old || it->o != old || (old != now && !spec_is_same(old, now)))
                        c->changed = true;
                it->o = now;
                return 0;
        }
        it = calloc(1, sizeof(*it) + strlen(name) + 1);
        if (!it)
                return -ENOMEM;
        memcpy(it->name, name, strlen(name) + 1);
        it->o = now;
        HASH_ADD_STR(*all, name, it);
        if (!it->hh.tbl) {
                free(it);
                return -ENOMEM;
        }
        c->changed = true;
        return 0;
}

int cluster_pool(struct cluster *c, const struct object *old, const struct object *now)
{
        return feed_item(c, &c->pools, old, now);
}

int cluster_ad(struct cluster *c, const struct object *old, const struct object *now)
{
        return feed_item(c, &c->ads, old, now);
}

static int copy_labels(struct known_node *n, const struct kv_list *labels)
{
        n->labels.v = arena_calloc(n->arena, labels->n, sizeof(*n->labels.v));
        if (!arena_ok(n->arena))
                return -ENOMEM;
        n->labels.n = labels->n;
        for (size_t i = 0; i < labels->n; i++)
                n->labels.v[i] = (struct kv){ arena_dup(n->arena, labels->v[i].key),
                        arena_dup(n->arena, labels->v[i].value) };
        return arena_ok(n->arena) ? 0 : -ENOMEM;
}

static int node_new(struct known_node **ret, const struct node *from)
{
        CLEANUP(node_freep) struct known_node *n = calloc(1, sizeof(*n));

        if (!n)
                return -ENOMEM;
        n->arena = arena_new(1024);
        if (!n->arena)
                return -ENOMEM;
        n->name = arena_dup(n->arena, from->meta.name);
        n->network_unavailable = from->network_unavailable;
        n->excluded = from->excluded;
        if (copy_labels(n, &from->meta.labels) < 0)
                return -ENOMEM;

        *ret = TAKE(n);
        return 0;
}

static bool node_is_same(const struct known_node *n, const struct node *now)
{
        return n->network_unavailable == now->network_unavailable && n->excluded == now->excluded &&
                labels_equal(&n->labels, &now->meta.labels);
}

int cluster_node(struct cluster *c, const struct object *old, const struct object *now, uint64_t now_ms)
{
        const char *name = now ? now->name : old->name;
        struct known_node *n, *fresh = NULL;
        int r;

        HASH_FIND_STR(c->nodes, name, n);
        if (!now) {
                if (n && !n->gone) {
                        n->gone = true;
                        n->gone_ms = now_ms + c->hold_ms;
                        cluster_expire(c, now_ms);
                }
                return 0;
        }
        if (n && node_is_same(n, node_of(now))) {
                n->gone = false;
                return 0;
        }
        r = node_new(&fresh, node_of(now));
        if (r < 0)
                return r;
        if (n)
                node_drop(c, n);
        HASH_ADD_KEYPTR(hh, c->nodes, fresh->name, strlen(fresh->name), fresh);
        c->changed = true;
        if (!fresh->hh.tbl) {
                node_free(fresh);
                return -ENOMEM;
        }
        return 0;
}

void cluster_members_changed(struct cluster *c)
{
        c->changed = true;
}

bool cluster_is_changed(const struct cluster *c)
{
        return c->changed;
}

uint64_t cluster_deadline(const struct cluster *c)
{
        uint64_t due = UINT64_MAX;

        for (const struct known_node *n = c->nodes; n; n = n->hh.next)
                if (n->gone)
                        due = MIN(due, n->gone_ms);
        return due;
}

void cluster_expire(struct cluster *c, uint64_t now_ms)
{
        struct known_node *n, *next;

        HASH_ITER (hh, c->nodes, n, next)
                if (n->gone && now_ms >= n->gone_ms)
                        node_drop(c, n);
}

/* ---- what is built from it ---- */

static int by_name(const void *a, const void *b)
{
        const struct known_node *x = *(struct known_node *const *)a, *y = *(struct known_node *const *)b;

        return strcmp(x->name, y->name);
}

static int by_item_name(const void *a, const void *b)
{
        const struct item *x = *(struct item *const *)a, *y = *(struct item *const *)b;

        return strcmp(x->name, y->name);
}

static int by_age(const void *a, const void *b)
{
        const struct item *x = *(struct item *const *)a, *y = *(struct item *const *)b;

        if (x->o->created_s != y->o->created_s)
                return x->o->created_s < y->o->created_s ? -1 : 1;
        return strcmp(x->name, y->name);
}

/* The nodes by name, in @t and in @ret. */
static int build_nodes(struct cluster *c, struct cluster_tables *t, struct known_node ***ret)
{
        size_t n = HASH_COUNT(c->nodes), i = 0;
        struct known_node **list = arena_calloc(t->arena, n + 1, sizeof(struct known_node *));

        t->nodes = arena_calloc(t->arena, n + 1, sizeof(*t->nodes));
        t->me = SIZE_MAX;
        if (!arena_ok(t->arena))
                return -ENOMEM;
        for (struct known_node *node = c->nodes; node; node = node->hh.next)
                list[i++] = node;
        qsort(list, n, sizeof(struct known_node *), by_name);
        for (i = 0; i < n; i++) {
                list[i]->index = i;
                t->nodes[i] = (struct elect_node){
                        .name = arena_dup(t->arena, list[i]->name),
                        .has_speaker = members_has(c->members, list[i]->name),
                        .network_unavailable = list[i]->network_unavailable,
                        .excluded = list[i]->excluded && !c->ignore_exclude,
                };
                if (strcmp(list[i]->name, c->self) == 0)
                        t->me = i;
        }
        t->n_nodes = n;
        *ret = list;
        return arena_ok(t->arena) ? 0 : -ENOMEM;
}

static int64_t score_of(const struct l2adv *ad, const struct kv_list *labels)
{
        uint64_t sum = 0; /* wraps, as MetalLB's does */

        for (size_t i = 0; i < ad->n_preferences; i++)
                if (selector_matches(ad->preferences[i].nodes, labels))
                        sum += (uint64_t)ad->preferences[i].weight;
        return (int64_t)sum;
}

static int build_ad(struct cluster_ad *ret, struct cluster_tables *t, struct known_node *const *nodes,
        const struct item *it)
{
        const struct l2adv *ad = l2adv_of(it->o);
        uint64_t *covers = arena_calloc(t->arena, ELECT_WORDS(t->n_nodes) + 1, sizeof(*covers));
        int64_t *scores =
                ad->n_preferences > 0 ? arena_calloc(t->arena, t->n_nodes + 1, sizeof(*scores)) : NULL;

        if (!arena_ok(t->arena))
                return -ENOMEM;
        for (size_t i = 0; i < t->n_nodes; i++) {
                if (!selector_list_matches(&ad->node_selectors, &nodes[i]->labels))
                        continue;
                elect_set_bit(covers, i);
                if (scores)
                        scores[i] = score_of(ad, &nodes[i]->labels);
        }
        *ret = (struct cluster_ad){
                .elect = { .covers = covers,
                        .scores = scores,
                        .selects_services = ad->service_selectors.n > 0 },
                .object = &it->o,
        };
        return 0;
}

static bool ad_serves(const struct l2adv *ad, const struct object *pool)
{
        if (ad->pools.n == 0 && ad->pool_selectors.n == 0)
                return true;
        return str_list_has(&ad->pools, pool->name) ||
                (ad->pool_selectors.n > 0 && selector_list_matches(&ad->pool_selectors, &pool->labels));
}

/* The advertisements that may be used, by name. */
static int build_ads(struct cluster *c, struct cluster_tables *t, struct known_node *const *nodes,
        struct cluster_ad **ret, size_t *ret_n)
{
        size_t n_items = HASH_COUNT(c->ads), n = 0;
        const struct item **list = arena_calloc(t->arena, n_items + 1, sizeof(const struct item *));
        struct cluster_ad *ads = arena_calloc(t->arena, n_items + 1, sizeof(*ads));

        if (!arena_ok(t->arena))
                return -ENOMEM;
        for (const struct item *it = c->ads; it; it = it->hh.next)
                if (!l2adv_of(it->o)->error)
                        list[n++] = it;
        qsort(list, n, sizeof(const struct item *), by_item_name);
        for (size_t i = 0; i < n; i++)
                if (build_ad(&ads[i], t, nodes, list[i]) < 0)
                        return -ENOMEM;
        *ret = ads;
        *ret_n = n;
        return 0;
}

static int build_pools(
        struct cluster *c, struct cluster_tables *t, const struct cluster_ad *ads, size_t n_ads)
{
        size_t n = HASH_COUNT(c->pools), at = 0;
        const struct item **list = arena_calloc(t->arena, n + 1, sizeof(const struct item *));

        t->pools = arena_calloc(t->arena, n + 1, sizeof(*t->pools));
        if (!arena_ok(t->arena))
                return -ENOMEM;
        for (const struct item *it = c->pools; it; it = it->hh.next)
                list[at++] = it;
        qsort(list, n, sizeof(const struct item *), by_age);
        for (size_t i = 0; i < n; i++) {
                struct cluster_pool *p = &t->pools[i];

                p->object = &list[i]->o;
                p->ads = arena_calloc(t->arena, n_ads + 1, sizeof(const struct cluster_ad *));
                if (!arena_ok(t->arena))
                        return -ENOMEM;
                for (size_t a = 0; a < n_ads; a++)
                        if (ad_serves(l2adv_of(*ads[a].object), list[i]->o))
                                p->ads[p->n_ads++] = &ads[a];
                t->n_ranges += pool_of(list[i]->o)->n_ranges;
        }
        t->n_pools = n;
        return 0;
}

static int by_first(const void *a, const void *b)
{
        const struct cluster_range *x = a, *y = b;

        return ip_cmp(&x->range.first, &y->range.first);
}

static int build_ranges(struct cluster_tables *t)
{
        size_t at = 0;

        t->ranges = arena_calloc(t->arena, t->n_ranges + 1, sizeof(*t->ranges));
        if (!arena_ok(t->arena))
                return -ENOMEM;
        for (size_t i = 0; i < t->n_pools; i++) {
                const struct pool *p = pool_of(*t->pools[i].object);

                for (size_t r = 0; r < p->n_ranges; r++)
                        t->ranges[at++] = (struct cluster_range){ .range = p->ranges[r], .pool = i };
        }
        qsort(t->ranges, t->n_ranges, sizeof(*t->ranges), by_first);
        for (size_t i = 0; i < t->n_ranges; i++) {
                const struct ip *last = &t->ranges[i].range.last;
                const struct ip *before = i > 0 ? &t->ranges[i - 1].reach : last;

                t->ranges[i].reach = ip_cmp(last, before) > 0 ? *last : *before;
        }
        return 0;
}

int cluster_build(struct cluster *c)
{
        CLEANUP(arena_freep) struct arena *arena = arena_new(4096);
        struct cluster_tables t = { .arena = arena };
        struct known_node **nodes;
        struct cluster_ad *ads;
        size_t n_ads;

        if (!arena)
                return -ENOMEM;
        if (build_nodes(c, &t, &nodes) < 0 || build_ads(c, &t, nodes, &ads, &n_ads) < 0 ||
                build_pools(c, &t, ads, n_ads) < 0 || build_ranges(&t) < 0)
                return -ENOMEM;
        arena_free(c->t.arena);
        c->t = t;
        c->changed = false;
        (void)TAKE(arena); /* the tables own it now */
        return 0;
}

const struct cluster_tables *cluster_tables(const struct cluster *c)
{
        return &c->t;
}

const struct cluster_pool *cluster_pool_of(const struct cluster *c, const struct ip *ip)
{
        const struct cluster_range *ranges = c->t.ranges;
        size_t lo = 0, hi = c->t.n_ranges, best = SIZE_MAX;

        while (lo < hi) { /* the first range that starts behind @ip */
                size_t mid = lo + (hi - lo) / 2;

                if (ip_cmp(&ranges[mid].range.first, ip) <= 0)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        for (size_t i = lo; i > 0 && ip_cmp(&ranges[i - 1].reach, ip) >= 0; i--)
                if (ip_range_has(&ranges[i - 1].range, ip))
                        best = MIN(best, ranges[i - 1].pool);
        return best == SIZE_MAX ? NULL : &c->t.pools[best];
}

size_t cluster_node_index(const struct cluster *c, const char *name)
{
        struct known_node *n;

        HASH_FIND_STR(c->nodes, name, n);
        return n ? n->index : SIZE_MAX;
}
