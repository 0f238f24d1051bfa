/* SPDX-License-Identifier: Apache-2.0 */
/* ipam_pick - which address a Service gets, or why it gets none. Pure.
 *
 * For the length of one call ipam_pool.flag marks the pools that may serve the request. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/ipam_int.h"

struct pick {
        struct ipam *m;
        const struct request *q;
        struct ipam_svc *svc; /* NULL: unknown yet */
        struct ipam_group *group; /* of the request; NULL: shares with nobody, or nobody has its keys */
        struct ipam_why *why;
        bool missing[2]; /* families to be found */
        struct ipam_hold *have; /* the one that stays, when one family is there already */
};

enum tier { PINNED = 1, UNPINNED = 2, ANY = PINNED | UNPINNED };

static enum ipam_reason pool_reason(const struct pick *k, const struct ipam_pool *p)
{
        enum ipam_reason r;

        if (p->error)
                return IPAM_BAD_POOL;
        r = pool_refuses(p, k->q);
        if (!r && !*k->q->pool && !p->def->auto_assign)
                r = IPAM_NOT_AUTO;
        return r;
}

static void flag_pools(struct pick *k)
{
        for (size_t i = 0; i < k->m->n_pools; i++) {
                struct ipam_pool *p = k->m->by_order[i];

                p->flag = (!*k->q->pool || strcmp(p->def->name, k->q->pool) == 0) && !pool_reason(k, p);
        }
}

/* ---- what one pool offers ---- */

struct offer {
        struct ipam_place place;
        bool joined; /* an address that others with the same key have already */
};

/* The lowest address of @p that is held under the Service's key and has room for its ports. */
static bool offer_joined(const struct pick *k, struct ipam_pool *p, size_t f, struct offer *o)
{
        const struct ipam_hold *best = NULL;
        const struct ipam_svc *who;
        uint32_t port;

        for (struct ipam_hold *h = k->group ? k->group->holds : NULL; h; h = h->next)
                if (h->pool == p && fam_index(h->ip.family) == f &&
                        (!best || ip_order(&h->ip, &best->ip) < 0) && !svc_slot_on(k->svc, h) &&
                        !pool_withholds(k->m, p, &h->ip) &&
                        !share_refuses(h, k->svc, k->group, k->q->ports, k->q->n_ports, &who, &port))
                        best = h;
        if (!best)
                return false;
        *o = (struct offer){ { .ip = best->ip, .pool = p }, true };
        return true;
}

static bool offer(const struct pick *k, struct ipam_pool *p, size_t f, struct offer *o)
{
        if (offer_joined(k, p, f, o))
                return true;
        *o = (struct offer){ .place = { .pool = p, .is_first = true } };
        return space_first(p, f, &o->place.ip);
}

static bool is_in_tier(const struct ipam_pool *p, enum tier tier)
{
        return p->flag && (tier & (p->def->pinned ? PINNED : UNPINNED));
}

/* The first shared address in any of these pools, else the first free one. */
static bool best_one(const struct pick *k, size_t f, enum tier tier, bool joined_only, struct offer *ret)
{
        struct offer o;
        bool found = false;

        for (size_t i = 0; i < k->m->n_pools; i++) {
                struct ipam_pool *p = k->m->by_order[i];

                if (!is_in_tier(p, tier) || !offer(k, p, f, &o) || (found && !o.joined) ||
                        (joined_only && !o.joined))
                        continue;
                *ret = o;
                found = true;
                if (o.joined || !k->group)
                        break;
        }
        return found;
}

/* Both families from one pool; of several pools the first with the most shared addresses, at least @n_joined. */
static bool best_pair(const struct pick *k, enum tier tier, int n_joined, struct offer ret[2])
{
        struct offer o[2];
        int best = n_joined - 1;

        for (size_t i = 0; i < k->m->n_pools; i++) {
                struct ipam_pool *p = k->m->by_order[i];

                if (!is_in_tier(p, tier) || !offer(k, p, 0, &o[0]) || !offer(k, p, 1, &o[1]) ||
                        o[0].joined + o[1].joined <= best)
                        continue;
                memcpy(ret, o, sizeof(o));
                best = o[0].joined + o[1].joined;
                if (best == 2 || !k->group)
                        break;
        }
        return best >= n_joined;
}

/* ---- both families ---- */

/* Fills @o where @has says so. */
static void choose_both(const struct pick *k, struct offer o[2], bool has[2])
{
        static const enum tier prefer[] = { PINNED, UNPINNED };
        bool require = k->q->policy == SERVICE_REQUIRE_DUAL_STACK;

        has[0] = has[1] = true;
        if (k->group) { /* beside those with the same key, if that serves both families */
                if (best_pair(k, ANY, 2, o))
                        return;
                if (best_one(k, 0, ANY, true, &o[0]) && best_one(k, 1, ANY, true, &o[1]))
                        return;
                if (best_pair(k, ANY, 1, o))
                        return;
        }
        if (require) {
                if (best_pair(k, ANY, 0, o))
                        return;
                has[0] = best_one(k, 0, ANY, false, &o[0]);
                has[1] = best_one(k, 1, ANY, false, &o[1]);
                return;
        }
        for (size_t i = 0; i < ARRAY_LEN(prefer); i++) {
                has[0] = has[1] = true;
                if (best_pair(k, prefer[i], 0, o))
                        return;
                has[0] = best_one(k, 0, prefer[i], false, &o[0]);
                has[1] = best_one(k, 1, prefer[i], false, &o[1]);
                if (!has[0] && !has[1])
                        continue;
                for (size_t f = 0; f < 2; f++)
                        if (!has[f])
                                has[f] = best_one(k, f, ANY, false, &o[f]);
                return;
        }
}

/* One family: from the pool of the address that stays, if there is one and it can. */
static bool choose_one(const struct pick *k, size_t f, struct offer *o)
{
        struct ipam_pool *p = k->have ? k->have->pool : NULL;

        if (p && !p->error && (!*k->q->pool || p->flag) && offer(k, p, f, o))
                return true;
        return best_one(k, f, ANY, false, o);
}

/* ---- why not ---- */

static enum ipam_reason family_reason(const struct ipam_pool *p, size_t f)
{
        struct u128 used = u128_add_sat(p->n_free[f], u128_of(p->n_assigned[f]));

        if (p->free[f].root)
                return 0;
        if (!p->def->has_family[f])
                return IPAM_NO_FAMILY;
        if (u128_cmp(p->def->capacity[f], u128_of(0)) == 0)
                return IPAM_BUGGY;
        return u128_cmp(used, p->def->capacity[f]) < 0 ? IPAM_WITHHELD : IPAM_FULL;
}

static void explain_pool(const struct pick *k, const struct ipam_pool *p)
{
        struct ipam_refusal r = { .pool = p->def->name, .reason = pool_reason(k, p) };
        enum ipam_reason by_family[2] = { 0, 0 };

        if (k->have && k->have->pool == p && r.reason == IPAM_NOT_AUTO)
                r.reason = 0; /* it was asked all the same */
        if (r.reason) {
                why_add(k->why, &r);
                return;
        }
        for (size_t f = 0; f < 2; f++)
                by_family[f] = k->missing[f] ? family_reason(p, f) : 0;
        if (by_family[0] && by_family[0] == by_family[1]) {
                r.reason = by_family[0];
                why_add(k->why, &r);
                return;
        }
        for (size_t f = 0; f < 2; f++) {
                r.reason = by_family[f];
                r.family = fam_of(f);
                if (r.reason)
                        why_add(k->why, &r);
        }
}

static void explain(const struct pick *k)
{
        if (k->m->n_pools == 0) {
                why_add(k->why, &(struct ipam_refusal){ .reason = IPAM_NO_POOLS });
        } else if (*k->q->pool) {
                const struct ipam_pool *p = pool_find(k->m, k->q->pool);

                if (p)
                        explain_pool(k, p);
                else
                        why_add(k->why,
                                &(struct ipam_refusal){ .reason = IPAM_NO_SUCH_POOL, .pool = k->q->pool });
        } else {
                for (size_t i = 0; i < k->m->n_pools; i++)
                        explain_pool(k, k->m->by_order[i]);
        }
}

static int code_of(const struct ipam_why *w)
{
        static const struct {
                enum ipam_reason from, to;
                int code;
        } codes[] = {
                /* the first that applies */
                { IPAM_HELD, IPAM_PORT_TAKEN, ERR_CONFLICT },
                { IPAM_NO_SUCH_POOL, IPAM_NOT_COVERED, ERR_MISSING },
                { IPAM_FULL, IPAM_NO_FAMILY, ERR_FULL },
                { IPAM_BUGGY, IPAM_WITHHELD, ERR_FULL },
                { IPAM_NO_POOLS, IPAM_NO_POOLS, ERR_MISSING },
        };

        for (size_t i = 0; i < ARRAY_LEN(codes); i++)
                for (size_t j = 0; j < w->n; j++)
                        if (w->v[j].reason >= codes[i].from && w->v[j].reason <= codes[i].to)
                                return codes[i].code;
        return ERR_REJECTED;
}

/* ---- the request by addresses ---- */

static struct ipam_pool *bad_pool_at(const struct ipam *m, const struct ip *ip)
{
        for (size_t i = 0; i < m->n_pools; i++) {
                struct ipam_pool *p = m->by_name[i];

                if (p->error && (def_covers(p->def, ip) || (p->last && def_covers(p->last, ip))))
                        return p;
        }
        return NULL;
}

static enum ipam_reason check_address(
        struct pick *k, const struct ip *ip, struct ipam_place *to, struct ipam_refusal *why)
{
        const struct ipam_range *r = pool_range_at(k->m, ip);
        struct ipam_hold *h = hold_find(k->m, ip);
        struct ipam_svc *s = k->svc;
        const struct ipam_svc *who = NULL;
        enum ipam_reason reason;
        bool mine = svc_slot_on(s, h) != NULL;

        *why = (struct ipam_refusal){ .ip = *ip };
        *to = (struct ipam_place){ .ip = *ip, .pool = mine ? h->pool : r ? r->pool : bad_pool_at(k->m, ip) };
        if (!to->pool) {
                why->pool = pool_nearest(k->m, ip);
                return IPAM_NOT_COVERED;
        }
        why->pool = to->pool->def->name;
        if (*k->q->pool && strcmp(why->pool, k->q->pool) != 0) {
                why->other = k->q->pool;
                return IPAM_OTHER_POOL;
        }
        if (mine)
                return 0;
        if (to->pool->error)
                return IPAM_BAD_POOL;
        if (to->pool->def->avoid_buggy && ip_is_buggy(ip))
                return IPAM_BUGGY;
        reason = pool_refuses(to->pool, k->q);
        if (!reason)
                reason = pool_withholds(k->m, to->pool, ip);
        if (!reason && h && h->until_ms > 0)
                reason = IPAM_IS_COOLING;
        if (!reason && h)
                reason = share_refuses_request(k->m, h, s, k->q, &who, &why->port);
        if (who)
                why->other = who->key;
        return reason;
}

/* Could this change because somebody else frees something? All else changes with the configuration only. */
static bool is_freeable(enum ipam_reason r)
{
        return r == IPAM_HELD || r == IPAM_KEY_DIFFERS || r == IPAM_BACKEND_DIFFERS || r == IPAM_PORT_TAKEN ||
                r == IPAM_IS_NODE || r == IPAM_IS_RESERVED || r == IPAM_IS_COOLING;
}

static int allocate_addresses(struct pick *k, struct ipam_need *need, struct ipam_place *to, size_t *n)
{
        bool waits = true;
        struct ipam_refusal refusal;

        if (*k->q->pool && !pool_find(k->m, k->q->pool)) {
                why_add(k->why, &(struct ipam_refusal){ .reason = IPAM_NO_SUCH_POOL, .pool = k->q->pool });
                return ERR_MISSING;
        }
        for (size_t i = 0; i < k->q->n_ips; i++) {
                refusal.reason = check_address(k, &k->q->ips[i], &to[i], &refusal);
                if (!refusal.reason)
                        continue;
                why_add(k->why, &refusal);
                waits &= is_freeable(refusal.reason);
        }
        *n = k->q->n_ips;
        if (k->why->n == 0)
                return 0;
        if (waits) {
                memcpy(need->ips, k->q->ips, sizeof(need->ips));
                need->n_ips = (uint8_t)k->q->n_ips;
        }
        return code_of(k->why);
}

/* ---- the request by pool, or by nothing ---- */

/* What is held already and fits, in its order; the rest is missing. */
static size_t find_missing(struct pick *k, struct ipam_place *to)
{
        size_t n = 0;

        k->missing[0] = k->q->want4;
        k->missing[1] = k->q->want6;
        for (size_t i = 0; i < 2; i++) {
                struct ipam_hold *h = k->svc ? k->svc->slot[i].hold : NULL;

                if (!h || !k->missing[fam_index(h->ip.family)])
                        continue;
                if (*k->q->pool && strcmp(h->pool->def->name, k->q->pool) != 0)
                        continue;
                to[n++] = (struct ipam_place){ .ip = h->ip, .pool = h->pool };
                k->missing[fam_index(h->ip.family)] = false;
                k->have = h;
        }
        return n;
}

/* Flags are left on those pools whose freed addresses would help. */
static void wait_for_pools(const struct pick *k, struct ipam_need *need)
{
        for (size_t i = 0; i < k->m->n_pools; i++) {
                struct ipam_pool *p = k->m->by_order[i];
                bool is_asked = p->flag || (k->have && k->have->pool == p && !p->error && !*k->q->pool);

                p->flag = is_asked &&
                        ((k->missing[0] && p->def->has_family[0]) ||
                                (k->missing[1] && p->def->has_family[1]));
        }
        need->family[0] = k->missing[0];
        need->family[1] = k->missing[1];
        need->all = k->q->policy == SERVICE_REQUIRE_DUAL_STACK;
}

static int allocate_any(struct pick *k, struct ipam_need *need, struct ipam_place *to, size_t *n)
{
        struct offer o[2];
        bool has[2] = { false, false }, enough;
        size_t first = k->q->primary == IP_V6;

        *n = find_missing(k, to);
        if (!k->missing[0] && !k->missing[1])
                return 0;
        if (k->q->want4 && k->q->want6 && k->q->policy == SERVICE_SINGLE_STACK) {
                why_add(k->why, &(struct ipam_refusal){ .reason = IPAM_SINGLE_POLICY });
                return ERR_REJECTED;
        }
        flag_pools(k);
        if (k->missing[0] && k->missing[1])
                choose_both(k, o, has);
        else
                has[k->missing[1]] = choose_one(k, k->missing[1], &o[k->missing[1]]);
        for (size_t i = 0; i < 2; i++) { /* the primary family first */
                size_t f = i ? !first : first;

                if (has[f])
                        to[(*n)++] = o[f].place;
                k->missing[f] &= !has[f];
        }
        if (!k->missing[0] && !k->missing[1])
                return 0;
        enough = k->q->policy == SERVICE_PREFER_DUAL_STACK && *n > 0;
        explain(k);
        if (!enough) /* all that was asked for is missing again */
                (void)find_missing(k, (struct ipam_place[2]){ 0 });
        wait_for_pools(k, need);
        return enough ? 0 : code_of(k->why);
}

int ipam_allocate(struct ipam *m, const struct request *q, uint64_t now_ms, struct ipam_why *why)
{
        CLEANUP(freep) struct ipam_wait *wait = NULL;
        struct ipam_why own;
        struct ipam_need need = { .n_ips = 0 };
        struct pick k = {
                .m = m, .q = q, .svc = svc_find(m, q->key), .group = group_find(m, q), .why = &own
        };
        struct ipam_place to[2];
        size_t n = 0;
        int r, set = 0;

        assert(q->fault == REQUEST_OK);
        own.n = own.n_more = 0; /* the rest is large, and mostly not needed */
        r = q->n_ips > 0 ? allocate_addresses(&k, &need, to, &n) : allocate_any(&k, &need, to, &n);
        if (own.n > 0)
                set = wait_new(&wait, m, &need);
        if (set == 0 && (r == 0 || !k.svc))
                set = svc_set(&k.svc, m, q, to, r == 0 ? n : 0, now_ms);
        if (set < 0)
                return set;
        svc_untouch(m, k.svc);
        if (wait)
                wait_add(m, k.svc, TAKE(wait));
        else
                wait_remove(m, k.svc);
        if (why) {
                memcpy(why->v, own.v, own.n * sizeof(own.v[0]));
                why->n = own.n;
                why->n_more = own.n_more;
        }
        return r;
}
