/* SPDX-License-Identifier: Apache-2.0 */
/* ipam - Services and what they hold. Pure.
 *
 * Everything that changes a holding goes through svc_set(): it takes all the memory it may need first, and then edits
 * without a way to fail. */
#include "common/ipam.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/ipam_int.h"

int ipam_new(struct ipam **ret, const struct ipam_conf *conf)
{
        struct ipam *m = calloc(1, sizeof(*m));

        if (!m)
                return -ENOMEM;
        m->conf = *conf;
        m->cooling_end = &m->cooling;
        *ret = m;
        return 0;
}

struct ipam *ipam_free(struct ipam *m)
{
        if (!m)
                return NULL;
        ipam_forget(m);
        pools_drop(m);
        free(m->nodes);
        free(m->hot);
        free(m->buckets);
        free(m);
        return NULL;
}

/* Names that differ in their last digits get buckets side by side, which is what caches like. */
static uint32_t hash_key(const char *key)
{
        uint32_t h = 0;

        for (; *key; key++)
                h = h * 31 + (unsigned char)*key;
        return h;
}

struct ipam_svc *svc_find(const struct ipam *m, const char *key)
{
        uint32_t hash = hash_key(key);
        struct ipam_svc *s = m->n_buckets ? m->buckets[hash & (m->n_buckets - 1)] : NULL;

        while (s && (s->hash != hash || strcmp(s->key, key) != 0))
                s = s->next;
        return s;
}

static void grow_buckets(struct ipam *m)
{
        size_t n = m->n_buckets ? m->n_buckets * 4 : 64;
        struct ipam_svc **now = calloc(n, sizeof(struct ipam_svc *));

        if (!now)
                return;
        for (size_t i = 0; i < m->n_buckets; i++) {
                struct ipam_svc *s = m->buckets[i], *next;

                for (; s; s = next) {
                        next = s->next;
                        s->next = now[s->hash & (n - 1)];
                        now[s->hash & (n - 1)] = s;
                }
        }
        free(m->buckets);
        m->buckets = now;
        m->n_buckets = n;
}

static void svc_insert(struct ipam *m, struct ipam_svc *s)
{
        struct ipam_svc **b = &m->buckets[s->hash & (m->n_buckets - 1)];

        s->next = *b;
        *b = s;
        m->n_svcs++;
}

static void svc_remove(struct ipam *m, struct ipam_svc *s)
{
        struct ipam_svc **b = &m->buckets[s->hash & (m->n_buckets - 1)];

        while (*b != s)
                b = &(*b)->next;
        *b = s->next;
        m->n_svcs--;
}

int svc_cmp_age(const struct ipam_svc *a, const struct ipam_svc *b)
{
        if (a->created_s != b->created_s)
                return a->created_s < b->created_s ? -1 : 1;
        return strcmp(a->key, b->key);
}

/* Those that hold something come first: they may need it confirmed before others choose. */
static int touch_cmp(struct tree_node *a, struct tree_node *b)
{
        const struct ipam_svc *x = container_of(a, struct ipam_svc, by_touch);
        const struct ipam_svc *y = container_of(b, struct ipam_svc, by_touch);

        if (x->touched_holding != y->touched_holding)
                return x->touched_holding ? -1 : 1;
        return svc_cmp_age(x, y);
}

void svc_touch(struct ipam *m, struct ipam_svc *s)
{
        svc_untouch(m, s);
        s->is_touched = true;
        s->touched_holding = s->slot[0].hold != NULL;
        (void)tree_insert(&m->touched, &s->by_touch, touch_cmp); /* keys are unique */
}

void svc_untouch(struct ipam *m, struct ipam_svc *s)
{
        if (s->is_touched)
                tree_remove(&m->touched, &s->by_touch);
        s->is_touched = false;
}

/* The two searches of every allocation, with the comparison inlined. */
struct ipam_hold *hold_find(const struct ipam *m, const struct ip *ip)
{
        for (struct tree_node *n = m->held.root; n;) {
                struct ipam_hold *h = container_of(n, struct ipam_hold, by_ip);
                int c = ip_order(ip, &h->ip);

                if (c == 0)
                        return h;
                n = n->child[c > 0];
        }
        return NULL;
}

/* The address is not there. */
static void hold_insert(struct ipam *m, struct ipam_hold *h)
{
        struct tree_node *parent = NULL;
        int side = 0;

        for (struct tree_node *n = m->held.root; n; n = n->child[side]) {
                parent = n;
                side = ip_order(&h->ip, &container_of(n, struct ipam_hold, by_ip)->ip) > 0;
        }
        tree_link(&m->held, &h->by_ip, parent, side);
}

struct ipam_slot *svc_slot_on(struct ipam_svc *s, const struct ipam_hold *h)
{
        for (size_t i = 0; s && h && i < ARRAY_LEN(s->slot); i++)
                if (s->slot[i].hold == h)
                        return &s->slot[i];
        return NULL;
}

/* Out of the tree and back to the pool's free space. */
static void hold_remove(struct ipam *m, struct ipam_hold *h)
{
        struct ipam_pool *p = h->pool;
        struct ip ip = h->ip;

        tree_remove(&m->held, &h->by_ip);
        space_give(m, p, &ip, container_of(h, union ipam_cell, hold));
        wait_event(m, p);
}

static void hold_free_up(struct ipam *m, struct ipam_hold *h, uint64_t now_ms)
{
        group_unlink(h);
        h->pool->n_assigned[fam_index(h->ip.family)]--;
        pool_touch_counts(m, h->pool);
        if (m->conf.reuse_delay_ms == 0 || h->pool->error) {
                hold_remove(m, h);
                return;
        }
        h->until_ms = now_ms + m->conf.reuse_delay_ms;
        h->next = NULL;
        h->prev = m->cooling_end;
        *m->cooling_end = h;
        m->cooling_end = &h->next;
        m->n_cooling++;
}

void cooling_unlink(struct ipam *m, struct ipam_hold *h)
{
        *h->prev = h->next;
        if (h->next)
                h->next->prev = h->prev;
        else
                m->cooling_end = h->prev;
        m->n_cooling--;
}

uint64_t ipam_deadline(const struct ipam *m)
{
        return m->cooling ? m->cooling->until_ms : UINT64_MAX;
}

void ipam_tick(struct ipam *m, uint64_t now_ms)
{
        while (m->cooling && m->cooling->until_ms <= now_ms) {
                struct ipam_hold *h = m->cooling;

                cooling_unlink(m, h);
                pool_touch_counts(m, h->pool);
                hold_remove(m, h);
        }
}

static void slot_detach(struct ipam_slot *u)
{
        *u->prev = u->next;
        if (u->next)
                u->next->prev = u->prev;
        u->hold = NULL;
}

static void slot_attach(struct ipam_slot *u, struct ipam_hold *h)
{
        u->hold = h;
        u->next = h->users;
        u->prev = &h->users;
        if (u->next)
                u->next->prev = &u->next;
        h->users = u;
}

void hold_drop(struct ipam *m, struct ipam_hold *h)
{
        if (h->until_ms > 0)
                cooling_unlink(m, h);
        while (h->users) {
                struct ipam_slot *u = h->users;
                struct ipam_svc *s = u->svc;

                svc_touch(m, s);
                slot_detach(u);
                if (u == &s->slot[0] && s->slot[1].hold) { /* slots are filled from the front */
                        struct ipam_hold *other = s->slot[1].hold;

                        slot_detach(&s->slot[1]);
                        slot_attach(&s->slot[0], other);
                }
        }
        group_unlink(h);
        tree_remove(&m->held, &h->by_ip);
        free(container_of(h, union ipam_cell, hold));
}

/* ---- svc_set: first all memory, then edits that cannot fail ---- */

struct change {
        struct ipam_svc *svc, *new_svc;
        struct ipam_group *group;
        bool has_group; /* a reference is held */
        uint32_t *ports;
        bool same_sharing; /* group and ports stay */
        struct ipam_hold *hold[2]; /* that are there already */
        union ipam_cell *cell[2], *spare[2];
};

static void change_fini(struct ipam *m, struct change *c)
{
        if (c->has_group)
                group_put(m, c->group);
        free(c->new_svc);
        free(c->ports);
        for (size_t i = 0; i < 2; i++) {
                free(c->cell[i]);
                free(c->spare[i]);
        }
}

static int change_svc(struct ipam *m, struct change *c, const struct request *q)
{
        size_t len = strlen(q->key) + 1;
        struct ipam_svc *s;

        if (c->svc)
                return 0;
        if (m->n_svcs >= m->n_buckets)
                grow_buckets(m);
        if (m->n_buckets == 0)
                return -ENOMEM;
        s = calloc(1, sizeof(*s) + len);
        if (!s)
                return -ENOMEM;
        memcpy(s->key, q->key, len);
        s->hash = hash_key(s->key);
        s->slot[0].svc = s->slot[1].svc = s;
        c->svc = c->new_svc = s;
        return 0;
}

static int change_sharing(struct ipam *m, struct change *c, const struct request *q)
{
        const struct ipam_svc *s = c->svc;
        int r;

        c->same_sharing = !c->new_svc && s->group == group_find(m, q) && !s->group == !*q->share_key &&
                (!s->group ||
                        (s->n_ports == q->n_ports &&
                                (q->n_ports == 0 ||
                                        memcmp(s->ports, q->ports, q->n_ports * sizeof(*q->ports)) == 0)));
        if (c->same_sharing)
                return 0;
        r = group_get(&c->group, m, q);
        if (r < 0)
                return r;
        c->has_group = true;
        if (!c->group || q->n_ports == 0)
                return 0;
        c->ports = malloc(q->n_ports * sizeof(*c->ports));
        if (!c->ports)
                return -ENOMEM;
        memcpy(c->ports, q->ports, q->n_ports * sizeof(*c->ports));
        return 0;
}

static int change_cells(struct ipam *m, struct change *c, const struct ipam_place *to, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                c->hold[i] = to[i].is_first ? NULL : hold_find(m, &to[i].ip);
                if (c->hold[i])
                        continue;
                c->cell[i] = malloc(sizeof(*c->cell[i]));
                if (!c->cell[i])
                        return -ENOMEM;
                if (to[i].is_first || !space_splits(m, to[i].pool, &to[i].ip))
                        continue;
                c->spare[i] = malloc(sizeof(*c->spare[i]));
                if (!c->spare[i])
                        return -ENOMEM;
        }
        return 0;
}

static struct ipam_hold *hold_new(
        struct ipam *m, const struct ipam_place *to, union ipam_cell **cell, union ipam_cell **spare)
{
        struct ipam_hold *h = &(*cell)->hold;

        *cell = NULL;
        *h = (struct ipam_hold){ .pool = to->pool, .ip = to->ip };
        if (to->is_first)
                space_take_first(to->pool, fam_index(to->ip.family));
        else
                space_take(m, to->pool, &to->ip, spare);
        hold_insert(m, h);
        to->pool->n_assigned[fam_index(to->ip.family)]++;
        pool_touch_counts(m, to->pool);
        return h;
}

static bool is_in(const struct ip *ip, const struct ipam_place *to, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (ip_equal(&to[i].ip, ip))
                        return true;
        return false;
}

/* The key pair that all users of @h have in common, after one of them changed. */
static void hold_regroup(struct ipam *m, struct ipam_hold *h, struct ipam_group *g)
{
        if (h->group == g)
                return;
        group_unlink(h);
        if (g)
                group_link(g, h);
        wait_event(m, h->pool);
}

/* New addresses are taken before old ones are given back: spans that grow together would need other cells. */
static void change_slots(
        struct ipam *m, struct change *c, const struct ipam_place *to, size_t n, uint64_t now_ms)
{
        struct ipam_svc *s = c->svc;
        struct ipam_hold *gone[2] = { NULL, NULL };

        for (size_t i = 0; i < 2; i++) {
                struct ipam_hold *h = s->slot[i].hold;

                if (!h)
                        continue;
                slot_detach(&s->slot[i]);
                if (!is_in(&h->ip, to, n))
                        gone[i] = h;
        }
        for (size_t i = 0; i < n; i++) {
                struct ipam_hold *h = c->hold[i];

                if (!h) {
                        h = hold_new(m, &to[i], &c->cell[i], &c->spare[i]);
                } else if (h->until_ms > 0) { /* its former user is back, as its status says */
                        cooling_unlink(m, h);
                        h->until_ms = 0;
                        h->pool->n_assigned[fam_index(h->ip.family)]++;
                        pool_touch_counts(m, h->pool);
                }
                slot_attach(&s->slot[i], h);
                hold_regroup(m, h, s->group);
        }
        for (size_t i = 0; i < 2; i++) {
                if (gone[i] && !gone[i]->users)
                        hold_free_up(m, gone[i], now_ms);
                else if (gone[i])
                        wait_event(m, gone[i]->pool); /* its ports are free */
        }
}

static bool holds_exactly(const struct ipam_svc *s, const struct ipam_place *to, size_t n)
{
        for (size_t i = 0; i < 2; i++) {
                const struct ipam_hold *h = s->slot[i].hold;

                if ((h != NULL) != (i < n) || (h && !ip_equal(&h->ip, &to[i].ip)))
                        return false;
        }
        return true;
}

static void change_keys(struct ipam *m, struct change *c, const struct request *q)
{
        struct ipam_svc *s = c->svc;

        free(s->ports);
        s->group = c->group;
        s->ports = TAKE(c->ports);
        s->n_ports = s->group ? (uint32_t)q->n_ports : 0;
        c->has_group = false;
        if (s->slot[0].hold)
                wait_event(m, s->slot[0].hold->pool); /* a port may be free now */
}

static void change_commit(struct ipam *m, struct change *c, const struct request *q,
        const struct ipam_place *to, size_t n, uint64_t now_ms)
{
        struct ipam_svc *s = c->svc;
        struct ipam_group *old = c->same_sharing ? NULL : s->group;
        bool same = c->same_sharing && holds_exactly(s, to, n);

        if (c->new_svc)
                svc_insert(m, s);
        c->new_svc = NULL;
        if (s->created_s != q->created_s) { /* new, or made again under the same name */
                svc_untouch(m, s);
                wait_remove(m, s);
                s->created_s = q->created_s;
        }
        if (!c->same_sharing)
                change_keys(m, c, q);
        if (!same)
                change_slots(m, c, to, n, now_ms);
        group_put(m, old);
}

int svc_set(struct ipam_svc **s, struct ipam *m, const struct request *q, const struct ipam_place *to,
        size_t n, uint64_t now_ms)
{
        struct change c = { .svc = *s };
        int r = change_svc(m, &c, q);

        if (r == 0)
                r = change_sharing(m, &c, q);
        if (r == 0)
                r = change_cells(m, &c, to, n);
        if (r == 0) {
                change_commit(m, &c, q, to, n, now_ms);
                *s = c.svc;
        }
        change_fini(m, &c);
        return r;
}

/* ---- claims ---- */

/* The bad pool from which the Service may go on holding @ip, or NULL. The annotation names the pool of the first address. */
static struct ipam_pool *bad_pool_for(const struct ipam *m, const struct request *q, const struct ip *ip)
{
        struct ipam_pool *named = *q->current_pool ? pool_find(m, q->current_pool) : NULL, *unreadable = NULL;

        if (named && !named->error)
                named = NULL;
        if (named && q->n_current > 0 && ip_equal(&q->current[0], ip))
                return named;
        for (size_t i = 0; i < m->n_pools; i++) {
                struct ipam_pool *p = m->by_name[i];

                if (p->error && ((p->last && def_covers(p->last, ip)) || def_covers(p->def, ip)))
                        return p;
                if (p->def->error && !unreadable)
                        unreadable = p;
        }
        if (named)
                return named;
        /* The second address of ours may be from any pool of which not everything can be read. */
        return *q->current_pool && q->n_current == 2 ? unreadable : NULL;
}

/* 0: @to says where; else why not. */
static enum ipam_reason keep(struct ipam *m, struct ipam_svc *s, const struct request *q, const struct ip *ip,
        struct ipam_place *to, struct ipam_refusal *why)
{
        const struct ipam_range *r = pool_range_at(m, ip);
        struct ipam_hold *h = hold_find(m, ip);
        const struct ipam_svc *who = NULL;
        enum ipam_reason reason = 0;

        *to = (struct ipam_place){ .ip = *ip };
        to->pool = r ? r->pool : svc_slot_on(s, h) ? h->pool : bad_pool_for(m, q, ip);
        *why = (struct ipam_refusal){ .ip = *ip };
        if (!to->pool) {
                why->pool = pool_nearest(m, ip);
                return IPAM_NOT_COVERED;
        }
        why->pool = to->pool->def->name;
        if (r && r->pool->def->avoid_buggy && ip_is_buggy(ip))
                return IPAM_BUGGY;
        if (r)
                reason = pool_refuses(r->pool, q);
        if (!reason && h)
                reason = share_refuses_request(m, h, s, q, &who, &why->port);
        if (who)
                why->other = who->key;
        return reason;
}

int ipam_claim(struct ipam *m, const struct request *q, const struct ip *ips, size_t n, uint64_t now_ms,
        struct ipam_why *why)
{
        struct ipam_svc *s = svc_find(m, q->key);
        struct ipam_place to[2];
        struct ipam_refusal refusal;
        size_t kept = 0;
        int r;

        for (size_t i = 0; i < MIN(n, ARRAY_LEN(to)); i++) {
                if (kept > 0 && to[0].ip.family == ips[i].family)
                        continue;
                refusal.reason = keep(m, s, q, &ips[i], &to[kept], &refusal);
                if (!refusal.reason)
                        kept++;
                else
                        why_add(why, &refusal);
        }
        r = svc_set(&s, m, q, to, kept, now_ms);
        return r < 0 ? r : (int)kept;
}

/* ---- the rest of a Service's life ---- */

bool ipam_get(const struct ipam *m, const char *key, struct ipam_held *ret)
{
        const struct ipam_svc *s = svc_find(m, key);

        *ret = (struct ipam_held){ 0 };
        for (size_t i = 0; s && i < 2 && s->slot[i].hold; i++) {
                ret->ips[i] = s->slot[i].hold->ip;
                ret->pools[i] = s->slot[i].hold->pool->def->name;
                ret->n++;
        }
        return s != NULL;
}

static void svc_free(struct ipam *m, struct ipam_svc *s, uint64_t now_ms)
{
        wait_remove(m, s);
        svc_untouch(m, s);
        for (size_t i = 0; i < 2; i++) {
                struct ipam_hold *h = s->slot[i].hold;

                if (!h)
                        continue;
                slot_detach(&s->slot[i]);
                if (h->users)
                        wait_event(m, h->pool);
                else
                        hold_free_up(m, h, now_ms);
        }
        group_put(m, s->group);
        free(s->ports);
        svc_remove(m, s);
        free(s);
}

bool ipam_release(struct ipam *m, const char *key, uint64_t now_ms)
{
        struct ipam_svc *s = svc_find(m, key);

        if (s)
                svc_free(m, s, now_ms);
        return s != NULL;
}

void ipam_forget(struct ipam *m)
{
        uint64_t delay = m->conf.reuse_delay_ms;

        m->conf.reuse_delay_ms = 0; /* what cools was ours to know, and we know nothing any more */
        ipam_tick(m, UINT64_MAX);
        for (size_t i = 0; i < m->n_buckets; i++)
                while (m->buckets[i])
                        svc_free(m, m->buckets[i], 0);
        m->conf.reuse_delay_ms = delay;
}

uint64_t ipam_mark(const struct ipam *m, const char *key)
{
        const struct ipam_svc *s = svc_find(m, key);

        return s ? s->mark : 0;
}

void ipam_set_mark(struct ipam *m, const char *key, uint64_t mark)
{
        struct ipam_svc *s = svc_find(m, key);

        if (s)
                s->mark = mark;
}

void ipam_get_stats(const struct ipam *m, struct ipam_stats *ret)
{
        *ret = (struct ipam_stats){
                .n_services = m->n_svcs,
                .n_waiting = m->waiting.n,
                .n_held = m->held.n - m->n_cooling,
                .n_cooling = m->n_cooling,
        };
}

size_t ipam_users(const struct ipam *m, const struct ip *ip, const char **keys, size_t max)
{
        const struct ipam_hold *h = hold_find(m, ip);
        const struct ipam_svc *last = NULL, *next;
        size_t n = 0;

        for (const struct ipam_slot *u = h ? h->users : NULL; u; u = u->next)
                n++;
        for (size_t i = 0; i < MIN(n, max); i++, last = next) {
                next = NULL;
                for (const struct ipam_slot *u = h->users; u; u = u->next)
                        if ((!last || svc_cmp_age(u->svc, last) > 0) &&
                                (!next || svc_cmp_age(u->svc, next) < 0))
                                next = u->svc;
                keys[i] = next->key;
        }
        return n;
}
