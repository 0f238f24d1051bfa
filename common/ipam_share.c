/* SPDX-License-Identifier: Apache-2.0 */
/* ipam_share - who may stand beside whom on one address. Pure. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/ipam_int.h"

struct group_key {
        const char *share, *backend;
};

static int group_key_cmp(const void *key, struct tree_node *node)
{
        const struct group_key *k = key;
        const struct ipam_group *g = container_of(node, struct ipam_group, by_key);
        int c = strcmp(k->share, g->share);

        return c ? c : strcmp(k->backend, g->backend);
}

static int group_cmp(struct tree_node *a, struct tree_node *b)
{
        const struct ipam_group *g = container_of(a, struct ipam_group, by_key);
        const struct group_key k = { g->share, g->backend };

        return group_key_cmp(&k, b);
}

struct ipam_group *group_find(const struct ipam *m, const struct request *q)
{
        const struct group_key k = { q->share_key, q->backend_key };
        struct tree_node *n = *q->share_key ? tree_find(&m->groups, &k, group_key_cmp) : NULL;

        return n ? container_of(n, struct ipam_group, by_key) : NULL;
}

int group_get(struct ipam_group **ret, struct ipam *m, const struct request *q)
{
        size_t share_len = strlen(q->share_key) + 1, backend_len = strlen(q->backend_key) + 1;
        struct ipam_group *g = group_find(m, q);

        if (!g && *q->share_key) {
                g = calloc(1, sizeof(*g) + share_len + backend_len);
                if (!g)
                        return -ENOMEM;
                memcpy(g->text, q->share_key, share_len);
                memcpy(g->text + share_len, q->backend_key, backend_len);
                g->share = g->text;
                g->backend = g->text + share_len;
                (void)tree_insert(&m->groups, &g->by_key, group_cmp); /* just not found */
        }
        if (g)
                g->n_refs++;
        *ret = g;
        return 0;
}

void group_put(struct ipam *m, struct ipam_group *g)
{
        if (!g || --g->n_refs > 0)
                return;
        assert(!g->holds);
        tree_remove(&m->groups, &g->by_key);
        free(g);
}

void group_unlink(struct ipam_hold *h)
{
        if (!h->group)
                return;
        *h->prev = h->next;
        if (h->next)
                h->next->prev = h->prev;
        h->group = NULL;
}

void group_link(struct ipam_group *g, struct ipam_hold *h)
{
        h->group = g;
        h->next = g->holds;
        h->prev = &g->holds;
        if (h->next)
                h->next->prev = &h->next;
        g->holds = h;
}

/* Both ascending. 0: no number in common (ports of a request are never 0). */
static uint32_t common_port(const uint32_t *a, size_t n_a, const uint32_t *b, size_t n_b)
{
        for (size_t i = 0, j = 0; i < n_a && j < n_b;) {
                if (a[i] == b[j])
                        return a[i];
                if (a[i] < b[j])
                        i++;
                else
                        j++;
        }
        return 0;
}

enum ipam_reason share_refuses(const struct ipam_hold *h, const struct ipam_svc *self,
        const struct ipam_group *g, const uint32_t *ports, size_t n_ports, const struct ipam_svc **who,
        uint32_t *port)
{
        bool keys_fit = g && h->group == g;

        *who = NULL;
        *port = 0;
        for (const struct ipam_slot *u = h->users; u; u = u->next) {
                uint32_t taken;

                if (u->svc == self)
                        continue;
                taken = keys_fit ? common_port(ports, n_ports, u->svc->ports, u->svc->n_ports) : 0;
                if ((taken || !keys_fit) && (!*who || svc_cmp_age(u->svc, *who) < 0)) {
                        *who = u->svc;
                        *port = taken;
                }
        }
        if (!*who)
                return 0;
        return keys_fit ? IPAM_PORT_TAKEN : IPAM_HELD;
}

enum ipam_reason share_refuses_request(const struct ipam *m, const struct ipam_hold *h,
        const struct ipam_svc *self, const struct request *q, const struct ipam_svc **who, uint32_t *port)
{
        enum ipam_reason r = share_refuses(h, self, group_find(m, q), q->ports, q->n_ports, who, port);

        if (r != IPAM_HELD || !*q->share_key || !h->group)
                return r;
        return strcmp(q->share_key, h->group->share) == 0 ? IPAM_BACKEND_DIFFERS : IPAM_KEY_DIFFERS;
}
