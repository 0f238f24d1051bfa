/* SPDX-License-Identifier: Apache-2.0 */
/* ipam_wait - who waits for what, and who is woken when something is freed. Pure.
 *
 * Waiting Services stand in one queue by age. Whatever frees an address, a port or a key marks its pool "hot"; the next
 * ipam_woken() walks the queue once, oldest first, and reports those for whom an answer exists at that moment. As
 * the caller plans each one before it asks for the next, one freed address wakes one Service, not the whole queue. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/ipam_int.h"

static int wait_cmp(struct tree_node *a, struct tree_node *b)
{
        return svc_cmp_age(container_of(a, struct ipam_wait, by_age)->svc,
                container_of(b, struct ipam_wait, by_age)->svc);
}

static struct ipam_wait *wait_of(struct tree_node *n)
{
        return n ? container_of(n, struct ipam_wait, by_age) : NULL;
}

static bool has_bit(const uint64_t *words, size_t n_words, size_t bit)
{
        return bit / 64 < n_words && (words[bit / 64] >> bit % 64 & 1);
}

static bool waits_for(const struct ipam_wait *w, const struct ipam_pool *p)
{
        return has_bit(w->pools, w->n_words, p->bit);
}

static void count_waiting(struct ipam *m, const struct ipam_wait *w, size_t by)
{
        for (size_t i = 0; w->n_words > 0 && i < m->n_pools; i++)
                if (waits_for(w, m->by_order[i]))
                        m->by_order[i]->n_waiting += by;
        if (w->is_special)
                m->n_special += by;
}

int wait_new(struct ipam_wait **ret, const struct ipam *m, const struct ipam_need *need)
{
        struct ipam_wait *w = calloc(1, sizeof(*w) + m->n_words * sizeof(*w->pools));

        if (!w)
                return -ENOMEM;
        w->need = *need;
        w->n_words = need->family[0] || need->family[1] ? m->n_words : 0;
        for (size_t i = 0; w->n_words > 0 && i < m->n_pools; i++)
                if (m->by_order[i]->flag)
                        w->pools[i / 64] |= (uint64_t)1 << i % 64;
        *ret = w;
        return 0;
}

void wait_remove(struct ipam *m, struct ipam_svc *s)
{
        struct ipam_wait *w = s->wait;

        if (!w)
                return;
        if (m->cursor == w)
                m->cursor = wait_of(tree_next(&w->by_age));
        count_waiting(m, w, (size_t)-1);
        tree_remove(&m->waiting, &w->by_age);
        s->wait = NULL;
        free(w);
}

void wait_add(struct ipam *m, struct ipam_svc *s, struct ipam_wait *w)
{
        wait_remove(m, s);
        w->svc = s;
        w->tried = m->change; /* what is there now was just refused */
        w->is_special = w->need.n_ips > 0 || s->group;
        s->wait = w;
        (void)tree_insert(&m->waiting, &w->by_age, wait_cmp); /* one for each Service */
        count_waiting(m, w, 1);
}

void ipam_stop_waiting(struct ipam *m, const char *key)
{
        struct ipam_svc *s = svc_find(m, key);

        if (!s)
                return;
        svc_untouch(m, s);
        wait_remove(m, s);
}

void wait_event(struct ipam *m, const struct ipam_pool *p)
{
        m->change++;
        if (p->n_waiting > 0) {
                m->hot[p->bit / 64] |= (uint64_t)1 << p->bit % 64;
                m->is_hot = true;
        }
        if (m->n_special > 0)
                m->hot_special = true;
        m->in_pass = false; /* from the oldest again */
}

void wait_reset(struct ipam *m, uint64_t *hot, size_t n_words)
{
        free(m->hot);
        m->hot = hot;
        m->n_words = n_words;
        m->change++;
        m->is_hot = m->hot_special = m->in_pass = false;
        for (size_t i = 0; i < m->n_pools; i++)
                m->by_order[i]->n_waiting = 0;
        TREE_FOREACH (n, &m->waiting) {
                wait_of(n)->n_words = 0;
                svc_touch(m, wait_of(n)->svc);
        }
}

static bool may_join(const struct ipam *m, const struct ipam_svc *s, const struct ipam_hold *h)
{
        const struct ipam_svc *who;
        uint32_t port;

        return h->users && !h->pool->error && !pool_withholds(m, h->pool, &h->ip) &&
                !share_refuses(h, s, s->group, s->ports, s->n_ports, &who, &port);
}

static bool can_have_address(const struct ipam *m, struct ipam_svc *s, const struct ip *ip)
{
        const struct ipam_hold *h = hold_find(m, ip);
        const struct ipam_range *r = pool_range_at(m, ip);

        if (h)
                return svc_slot_on(s, h) || may_join(m, s, h);
        return r && !pool_withholds(m, r->pool, ip);
}

static bool can_have_family(const struct ipam *m, const struct ipam_wait *w, size_t f)
{
        for (size_t i = 0; i < m->n_pools; i++) {
                const struct ipam_pool *p = m->by_order[i];

                if (p->free[f].root && waits_for(w, p))
                        return true;
        }
        for (const struct ipam_hold *h = w->svc->group ? w->svc->group->holds : NULL; h; h = h->next)
                if (fam_index(h->ip.family) == f && waits_for(w, h->pool) && !svc_slot_on(w->svc, h) &&
                        may_join(m, w->svc, h))
                        return true;
        return false;
}

static bool may_succeed(const struct ipam *m, const struct ipam_wait *w)
{
        bool all = true, any = false;

        for (size_t i = 0; i < w->need.n_ips; i++)
                if (!can_have_address(m, w->svc, &w->need.ips[i]))
                        return false;
        if (w->need.n_ips > 0)
                return true;
        for (size_t f = 0; f < 2; f++) {
                bool can = w->need.family[f] && can_have_family(m, w, f);

                any |= can;
                all &= can || !w->need.family[f];
        }
        return w->need.all ? any && all : any;
}

/* Pools that have nothing free any more are of no use to anybody: this ends a pass early. */
static void cool_pools(struct ipam *m)
{
        bool any = false;

        for (size_t i = 0; m->is_hot && i < m->n_pools; i++) {
                const struct ipam_pool *p = m->by_order[i];

                if (!p->free[0].root && !p->free[1].root)
                        m->hot[i / 64] &= ~((uint64_t)1 << i % 64);
                any |= has_bit(m->hot, m->n_words, i);
        }
        m->is_hot = any;
}

static bool is_concerned(const struct ipam *m, const struct ipam_wait *w)
{
        if (w->is_special && m->hot_special)
                return true;
        for (size_t i = 0; i < w->n_words; i++)
                if (w->pools[i] & m->hot[i])
                        return true;
        return false;
}

static const char *woken_waiting(struct ipam *m)
{
        struct ipam_wait *w;

        cool_pools(m);
        if (!m->in_pass)
                m->cursor = wait_of(tree_first(&m->waiting));
        m->in_pass = true;
        while ((m->is_hot || m->hot_special) && (w = m->cursor)) {
                m->cursor = wait_of(tree_next(&w->by_age));
                if (w->tried == m->change || !is_concerned(m, w) || !may_succeed(m, w))
                        continue;
                w->tried = m->change;
                return w->svc->key;
        }
        if (m->n_words > 0)
                memset(m->hot, 0, m->n_words * sizeof(*m->hot));
        m->is_hot = m->hot_special = m->in_pass = false;
        return NULL;
}

const char *ipam_woken(struct ipam *m)
{
        struct tree_node *n = tree_first(&m->touched);

        if (n) {
                struct ipam_svc *s = container_of(n, struct ipam_svc, by_touch);

                svc_untouch(m, s);
                return s->key;
        }
        return m->is_hot || m->hot_special ? woken_waiting(m) : NULL;
}
