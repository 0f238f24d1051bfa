/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* ipam_int - what the files of ipam share among themselves. Pure; for common/ipam*.c only.
 *
 * Who points to whom:
 *   svc  -> two slots -> hold      each hold lists the slots on it; a hold without users cools down
 *   hold -> pool                   the pool that covers the address, or the bad pool that it is still held from
 *   svc  -> group, hold -> group   one group for each (sharing key, backend key) in use
 *   pool -> def -> ranges          ranges of good pools are also in ipam.ranges, ordered by address
 *   pool -> free -> spans          what can be handed out: never held, withheld or buggy at its ends
 *
 * Freeing must not fail, so nothing is allocated on the way back: a hold and a span are the same block of memory. */
#include <endian.h>
#include <string.h>

#include "common/ipam.h"
#include "common/tree.h"

struct ipam_svc;
struct ipam_pool;

/* ---- 128-bit numbers: an address of either family, or how many there are ---- */

static inline struct u128 u128_of(uint64_t v)
{
        return (struct u128){ 0, v };
}

static inline int u128_cmp(struct u128 a, struct u128 b)
{
        if (a.hi != b.hi)
                return a.hi < b.hi ? -1 : 1;
        return (a.lo > b.lo) - (a.lo < b.lo);
}

static inline struct u128 u128_add(struct u128 a, struct u128 b)
{
        struct u128 r = { a.hi + b.hi, a.lo + b.lo };

        r.hi += r.lo < a.lo;
        return r;
}

static inline struct u128 u128_sub(struct u128 a, struct u128 b)
{
        return (struct u128){ a.hi - b.hi - (a.lo < b.lo), a.lo - b.lo };
}

/* Stops at the largest number instead of going round. */
static inline struct u128 u128_add_sat(struct u128 a, struct u128 b)
{
        struct u128 r = u128_add(a, b);

        return u128_cmp(r, a) < 0 ? (struct u128){ UINT64_MAX, UINT64_MAX } : r;
}

/* ip_cmp() for two of one family or of both, without a call: this is what most of a search costs. */
static inline int ip_order(const struct ip *a, const struct ip *b)
{
        uint64_t x, y;

        if (a->family != b->family)
                return a->family < b->family ? -1 : 1;
        memcpy(&x, a->b, sizeof(x));
        memcpy(&y, b->b, sizeof(y));
        if (x == y) {
                memcpy(&x, a->b + 8, sizeof(x));
                memcpy(&y, b->b + 8, sizeof(y));
        }
        x = be64toh(x);
        y = be64toh(y);
        return (x > y) - (x < y);
}

/* ip_to_u128() without a call. */
static inline struct u128 ip_u128(const struct ip *ip)
{
        uint64_t x, y;
        uint32_t v4;

        if (ip->family == IP_V4) {
                memcpy(&v4, ip->b, sizeof(v4));
                return u128_of(be32toh(v4));
        }
        memcpy(&x, ip->b, sizeof(x));
        memcpy(&y, ip->b + 8, sizeof(y));
        return (struct u128){ be64toh(x), be64toh(y) };
}

static inline size_t fam_index(uint8_t family)
{
        return family == IP_V6;
}

static inline enum ip_family fam_of(size_t index)
{
        return index ? IP_V6 : IP_V4;
}

/* ---- pools ---- */

struct ipam_bounds {
        struct u128 first, last;
};

struct ipam_range {
        struct tree_node by_addr; /* in ipam.ranges of its family while the pool is good */
        struct ipam_pool *pool; /* valid while linked */
        struct u128 first, last;
        uint32_t order; /* position in spec.addresses */
        uint8_t family;
};

struct ipam_def { /* one version of a pool's content; owns its arena, and lives in it */
        struct arena *arena;
        const char *name;
        const char *content; /* equal texts mean equal definitions */
        int64_t created_s;
        const char *error; /* what the decoder found, NULL */
        bool auto_assign, avoid_buggy, pinned;
        int64_t priority; /* as it sorts: INT64_MAX for 0 and below */
        struct str_list namespaces;
        struct selector_list ns_selectors, service_selectors;
        struct ipam_range *ranges;
        size_t n_ranges;
        struct ipam_bounds *reserved[2]; /* ascending, disjoint */
        size_t n_reserved[2];
        struct u128 capacity[2];
        bool has_family[2]; /* also when avoidBuggyIPs leaves nothing */
};

struct ipam_pool {
        struct ipam_def *def;
        struct ipam_def *last; /* while bad: the last good definition, or NULL */
        const char *error; /* NULL: good. In def->arena or error_text */
        char *error_text; /* owned, of an overlap */
        const char *other; /* name of the pool that it overlaps: that pool's def owns it, or NULL */
        size_t bit; /* position in ipam.by_order, and in ipam_wait.pools */
        size_t n_waiting; /* who has that bit */
        bool flag; /* for the length of one call: removed, or to be built anew */
        bool changed; /* the same: another definition, or good for bad */
        struct tree free[2]; /* spans by (order, address) */
        struct u128 n_free[2];
        uint64_t n_assigned[2];
        uint64_t stamp;
};

struct ipam_span {
        struct tree_node node;
        struct u128 first, last; /* ends are usable addresses */
        uint32_t order;
};

/* ---- holdings ---- */

struct ipam_slot {
        struct ipam_svc *svc;
        struct ipam_hold *hold; /* NULL: empty */
        struct ipam_slot *next, **prev; /* users of the hold */
};

struct ipam_hold {
        struct tree_node by_ip;
        struct ipam_pool *pool;
        struct ipam_slot *users; /* NULL: cooling */
        struct ipam_group *group; /* of all its users; NULL: cannot be shared */
        struct ipam_hold *next, **prev; /* of the group, or of the cooling queue */
        uint64_t until_ms; /* cooling: free from then on */
        struct ip ip;
};

union ipam_cell {
        struct ipam_span span;
        struct ipam_hold hold;
};

struct ipam_group {
        struct tree_node by_key;
        struct ipam_hold *holds;
        size_t n_refs; /* Services */
        const char *share, *backend; /* in text */
        char text[];
};

struct ipam_need { /* what somebody waits for: nothing but another configuration, or ... */
        struct ip ips[2]; /* ... these addresses, or ... */
        uint8_t n_ips;
        bool family[2]; /* ... these families, from pools with ipam_pool.flag set */
        bool all; /* of both families, not one of them */
};

struct ipam_wait {
        struct tree_node by_age;
        struct ipam_svc *svc;
        uint64_t tried; /* ipam.change when it was last reported */
        struct ipam_need need;
        bool is_special; /* asks for addresses, or may share one: any freed port can help */
        size_t n_words; /* 0 after a change of pools, until it is planned again */
        uint64_t pools[]; /* a bit for each pool of ipam.by_order that could serve it */
};

struct ipam_svc {
        struct ipam_svc *next; /* in the bucket of its hash */
        struct tree_node by_touch;
        int64_t created_s;
        struct ipam_slot slot[2]; /* filled from the front */
        struct ipam_group *group;
        uint32_t *ports; /* only with a group */
        uint32_t n_ports, hash;
        bool is_touched, touched_holding;
        struct ipam_wait *wait;
        uint64_t mark;
        char key[];
};

struct ipam {
        struct ipam_conf conf;
        /* By key: chains of one element on average. One pointer a Service, and never an error: when there is no
         * memory to grow, chains get longer. */
        struct ipam_svc **buckets;
        size_t n_buckets, n_svcs; /* n_buckets: 0 or a power of two */
        struct tree groups, held; /* by (share, backend); by address */
        struct tree ranges[2];
        struct ipam_pool **by_name, **by_order; /* the same pools; by_order: as they are tried */
        size_t n_pools;
        struct ip *nodes; /* ascending, unique */
        size_t n_nodes;
        struct ipam_hold *cooling, **cooling_end; /* oldest first */
        size_t n_cooling;
        struct tree touched, waiting;
        uint64_t change; /* counts events that could help somebody who waits */
        uint64_t *hot; /* bits of pools with such events since the last full pass over the waiting */
        size_t n_words; /* of hot */
        bool is_hot, hot_special;
        bool in_pass;
        struct ipam_wait *cursor; /* in_pass: the next one to look at */
        size_t n_special; /* those who wait for an address, or may share one */
        uint64_t stamp;
};

/* ipam_space.c */
struct u128 span_usable(const struct ipam_def *d, enum ip_family family, struct u128 first, struct u128 last);
/* Builds the free space of @d into @free, @n_free (both zeroed before). 0, or -ENOMEM with @free emptied. */
int space_build(const struct ipam *m, const struct ipam_def *d, const struct ip *nodes, size_t n_nodes,
        struct tree free[2], struct u128 n_free[2]);
void space_drop(struct tree free[2]);
/* The lowest free address; false when there is none. */
bool space_first(const struct ipam_pool *p, size_t f, struct ip *ret);
/* Does taking @ip need a spare cell (does it split a span)? */
bool space_splits(const struct ipam *m, const struct ipam_pool *p, const struct ip *ip);
void space_take_first(struct ipam_pool *p, size_t f);
/* Takes @ip out, if it is there. *spare is used (set to NULL) when space_splits(). */
void space_take(struct ipam *m, struct ipam_pool *p, const struct ip *ip, union ipam_cell **spare);
/* Puts @ip back when it may be handed out; takes over @cell. */
void space_give(struct ipam *m, struct ipam_pool *p, const struct ip *ip, union ipam_cell *cell);

/* ipam_def.c */
/* The text by which two versions of a pool are compared; caller frees. NULL: no memory. */
char *def_content(const struct pool *in);
int def_new(struct ipam_def **ret, const struct pool *in, const char *content);
void def_free(struct ipam_def *d); /* NULL is fine */
bool def_covers(const struct ipam_def *d, const struct ip *ip);

/* ipam_set.c */
void pools_drop(struct ipam *m); /* nothing may be held any more */

/* ipam_pool.c */
struct ipam_range *pool_range_at(const struct ipam *m, const struct ip *ip); /* of a good pool, or NULL */
struct ipam_pool *pool_find(const struct ipam *m, const char *name);
const char *pool_nearest(const struct ipam *m, const struct ip *ip); /* "" when there is none */
/* 0: the Service may use it; else IPAM_NOT_NAMESPACE or IPAM_NOT_SERVICE. */
enum ipam_reason pool_refuses(const struct ipam_pool *p, const struct request *q);
/* 0, IPAM_IS_NODE or IPAM_IS_RESERVED. */
enum ipam_reason pool_withholds(const struct ipam *m, const struct ipam_pool *p, const struct ip *ip);
void pool_touch_counts(struct ipam *m, struct ipam_pool *p);

/* ipam_share.c */
struct ipam_group *group_find(const struct ipam *m, const struct request *q);
int group_get(struct ipam_group **ret, struct ipam *m,
        const struct request *q); /* one reference more; NULL: no key */
void group_put(struct ipam *m, struct ipam_group *g);
void group_unlink(struct ipam_hold *h); /* fine when it is in none */
void group_link(struct ipam_group *g, struct ipam_hold *h);
/* May @self (NULL: somebody new) with these keys and ports stand on @h beside its other users? 0, or the reason and who. */
enum ipam_reason share_refuses(const struct ipam_hold *h, const struct ipam_svc *self,
        const struct ipam_group *g, const uint32_t *ports, size_t n_ports, const struct ipam_svc **who,
        uint32_t *port);
/* The same for a request whose keys may be in use by nobody yet. */
enum ipam_reason share_refuses_request(const struct ipam *m, const struct ipam_hold *h,
        const struct ipam_svc *self, const struct request *q, const struct ipam_svc **who, uint32_t *port);

/* ipam.c */
struct ipam_svc *svc_find(const struct ipam *m, const char *key);
struct ipam_hold *hold_find(const struct ipam *m, const struct ip *ip);
struct ipam_slot *svc_slot_on(struct ipam_svc *s, const struct ipam_hold *h); /* NULL: it does not hold it */
int svc_cmp_age(const struct ipam_svc *a, const struct ipam_svc *b);
/* Where to hold an address: an existing hold, else @pool. */
struct ipam_place {
        struct ip ip;
        struct ipam_pool *pool;
        bool is_first; /* space_first() said so: it is not held, and needs no search */
};
/* Makes @q's Service hold exactly @to, in this order; *@s is what svc_find() said, NULL: it is made. All checks are the
 * caller's. 0 or -ENOMEM. */
int svc_set(struct ipam_svc **s, struct ipam *m, const struct request *q, const struct ipam_place *to,
        size_t n, uint64_t now_ms);
void svc_touch(struct ipam *m, struct ipam_svc *s);
/* Drops a hold that no pool stands for any more; its users are touched. */
void hold_drop(struct ipam *m, struct ipam_hold *h);
void svc_untouch(struct ipam *m, struct ipam_svc *s);
void cooling_unlink(struct ipam *m, struct ipam_hold *h);

/* ipam_wait.c */
void wait_remove(struct ipam *m, struct ipam_svc *s);
/* Room for one entry of the queue; with the pools that are flagged now. -ENOMEM. */
int wait_new(struct ipam_wait **ret, const struct ipam *m, const struct ipam_need *need);
void wait_add(struct ipam *m, struct ipam_svc *s, struct ipam_wait *w); /* replaces an older one; takes @w */
void wait_event(
        struct ipam *m, const struct ipam_pool *p); /* something of @p was freed, or can be shared now */
/* Pools have changed, and with them the meaning of bits; takes over @hot. Touches everyone who waits. */
void wait_reset(struct ipam *m, uint64_t *hot, size_t n_words);

/* ipam_why.c */
void why_add(struct ipam_why *w, const struct ipam_refusal *r); /* @w may be NULL */
