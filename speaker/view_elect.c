/* SPDX-License-Identifier: Apache-2.0 */
/* view_elect - step 2 of view: who announces an address. Pure. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "speaker/view_int.h"

static void local_nodes(const struct view *v, const struct vservice *s, uint64_t *map)
{
        for (const struct slot *slot = s->slices; slot; slot = slot->next) {
                for (size_t i = 0; i < slot->o->n_nodes; i++) {
                        const struct slice_node *n = &slot->o->nodes[i];
                        size_t at = n->usable > 0 && n->node[0] != '\0'
                                ? cluster_node_index(v->cluster, n->node)
                                : SIZE_MAX;

                        if (at != SIZE_MAX)
                                elect_set_bit(map, at);
                }
        }
}

/* What one Service brings to the election. @ads and @local are its parts of the scratch. */
static void fill_claim(struct view *v, const struct claim *c, const struct cluster_pool *pool,
        struct elect_claim *ret, const struct elect_ad **ads, uint64_t *local)
{
        const struct service *o = c->s->o;

        *ret = (struct elect_claim){
                .shares = service_annotation(&o->meta, "allow-shared-ip") != NULL,
                .any_endpoint = c->s->any_endpoint,
                .local_policy = o->local_policy,
                .local = local,
                .ads = ads,
        };
        for (size_t i = 0; i < pool->n_ads; i++) {
                const struct l2adv *ad = l2adv_of(*pool->ads[i]->object);

                if (selector_list_matches(&ad->service_selectors, &o->meta.labels))
                        ads[ret->n_ads++] = &pool->ads[i]->elect;
        }
        if (o->local_policy)
                local_nodes(v, c->s, local);
}

/* All claims on @p into the scratch. MetalLB hashes the first address of a Service for all of its addresses; of
 * several Services the smallest such address is taken, by all speakers alike. */
static int fill_input(struct view *v, const struct vip *p, const struct cluster_pool *pool,
        struct elect_input *in, struct ip *key)
{
        const struct cluster_tables *t = cluster_tables(v->cluster);
        size_t n = 0, words = ELECT_WORDS(t->n_nodes);
        struct elect_claim *claims;

        for (const struct claim *c = p->claims; c; c = c->next_in_vip)
                n++;
        if (view_scratch(&v->claims, n, sizeof(struct elect_claim)) < 0 ||
                view_scratch(&v->ads, n * pool->n_ads, sizeof(const struct elect_ad *)) < 0 ||
                view_scratch(&v->local, n * words, sizeof(uint64_t)) < 0 ||
                view_scratch(&v->places, t->n_nodes, sizeof(struct elect_place)) < 0)
                return -ENOMEM;
        if (n * words > 0)
                memset(v->local.p, 0, n * words * sizeof(uint64_t));
        claims = v->claims.p;
        n = 0;
        for (const struct claim *c = p->claims; c; c = c->next_in_vip, n++) {
                fill_claim(v, c, pool, &claims[n], (const struct elect_ad **)v->ads.p + n * pool->n_ads,
                        (uint64_t *)v->local.p + n * words);
                if (n == 0 || ip_cmp(&c->s->claims->ip, key) < 0)
                        *key = c->s->claims->ip;
        }
        *in = (struct elect_input){
                .nodes = t->nodes, .n_nodes = t->n_nodes, .claims = claims, .n_claims = n
        };
        return 0;
}

/* The interfaces of every advertisement that takes part and covers this node, united; NULL is all of them. */
static int unite_interfaces(struct view *v, const struct elect_input *in, struct ifset **ret)
{
        size_t me = cluster_tables(v->cluster)->me, n = 0;

        for (size_t c = 0; c < in->n_claims; c++) {
                if (elect_claim_reason(&in->claims[c]) != ELECT_ANNOUNCED)
                        continue;
                for (size_t a = 0; a < in->claims[c].n_ads; a++) {
                        const struct cluster_ad *ad =
                                (const void *)in->claims[c].ads[a]; /* its first member */
                        const struct str_list *names = &l2adv_of(*ad->object)->interfaces;

                        if (!elect_bit(ad->elect.covers, me))
                                continue;
                        if (names->n == 0) {
                                *ret = NULL;
                                return 0;
                        }
                        if (view_scratch(&v->names, n + names->n, sizeof(const char *)) < 0)
                                return -ENOMEM;
                        memcpy((const char **)v->names.p + n, names->v, names->n * sizeof(const char *));
                        n += names->n;
                }
        }
        return ifset_get(ret, &v->interfaces, v->names.p, n);
}

/* What the outcome is to one claim, seen from this node. */
static enum elect_reason claim_outcome(const struct view *v, const struct elect_claim *c,
        const struct elect_result *res, const struct elect_place *places)
{
        size_t me = cluster_tables(v->cluster)->me;
        enum elect_reason r = elect_claim_reason(c);

        if (r != ELECT_ANNOUNCED)
                return r;
        if (me == SIZE_MAX || places[me].why == ELECT_NOT_COVERED)
                return ELECT_NOT_COVERED_HERE;
        if (res->chosen == me)
                return ELECT_ANNOUNCED;
        return res->chosen == SIZE_MAX ? ELECT_NO_CANDIDATE : ELECT_NOT_OWNER;
}

static void settle(struct view *v, struct vip *p, const struct elect_result *res, struct ifset *interfaces)
{
        ifset_unref(&v->interfaces, p->interfaces);
        p->interfaces = interfaces;
        p->chosen = res->chosen;
        p->mine = res->chosen != SIZE_MAX && res->chosen == cluster_tables(v->cluster)->me;
        view_count_candidates(v, p, res->n_candidates);
        for (struct claim *c = p->claims; c; c = c->next_in_vip)
                view_mark_report(v, c->s);
}

int view_elect_vip(struct view *v, struct vip *p)
{
        const struct cluster_pool *pool = cluster_pool_of(v->cluster, &p->ip);
        struct elect_result res = { .reason = ELECT_IP_NOT_ALLOWED, .chosen = SIZE_MAX };
        struct ifset *interfaces = NULL;
        struct elect_input in = { 0 };
        char text[IP_TEXT_MAX];
        size_t n = 0;
        struct ip key;
        int r;

        if (pool) {
                r = fill_input(v, p, pool, &in, &key);
                if (r < 0)
                        return r;
                in.key = ip_format(&key, text);
                r = elect_run(&res, v->elect, &in, v->places.p);
                if (r < 0)
                        return r;
        }
        if (res.chosen != SIZE_MAX && res.chosen == cluster_tables(v->cluster)->me) {
                r = unite_interfaces(v, &in, &interfaces);
                if (r < 0)
                        return r;
        }
        for (struct claim *c = p->claims; c; c = c->next_in_vip)
                c->reason =
                        pool ? claim_outcome(v, &in.claims[n++], &res, v->places.p) : ELECT_IP_NOT_ALLOWED;
        settle(v, p, &res, interfaces);
        return 0;
}
