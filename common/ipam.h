/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* ipam - who holds which address, which are free, and who waits for what.
 * Pure: no clock, log or I/O; time comes in as monotonic milliseconds. One object lives as long as the process; it is
 * edited in place, never rebuilt. Every call is atomic: a refusal or -ENOMEM leaves everything as it was.
 *
 * Free space is kept per pool and family as a balanced tree of intervals in pool order (ranges in spec order,
 * ascending inside), so the lowest usable address costs O(log n) whatever the size of the pool.
 *
 * Life of an allocator in a program:
 *   ipam_set_pools(), ipam_set_nodes()     at start and after every change of pools or nodes
 *   ipam_claim() for every Service         oldest first: what a status says is held (plan_claim_all() does this)
 *   ipam_claim() + ipam_allocate()         for one Service at a time (plan_service() does this)
 *   ipam_release()                         when a Service is gone
 *   ipam_woken() until NULL                after each of these: Services that must be planned again
 *   ipam_tick() at ipam_deadline()         only with a reuse delay
 *   ipam_forget()                          before claiming anew when another instance was the leader meanwhile
 *
 * Rules (numbers: the facts' sections as docs/differences.md cites them):
 * - A pool is usable by a Service when it is not pinned, or (its namespaces and namespace selectors are both empty, or
 *   one of them takes the Service's namespace) and (its service selectors are empty, or one matches). A pool whose
 *   namespace selectors match nothing is usable by nobody.
 * - Automatic choice: pinned pools by priority (1, 2, ...; then 0 and negative), then by name; then unpinned ones by
 *   name; only those with autoAssign. Inside a pool: the lowest free address. A Service with a sharing key prefers
 *   an address that is already held under its key, in the first of these pools where it may join.
 * - Two families come from one pool where one can serve both; else from two pools. PreferDualStack takes what a pinned
 *   pool has before it looks at unpinned ones, and then one family rather than none (its primary one first).
 * - An address is shared by Services with equal, non-empty sharing keys, equal backend keys and disjoint ports. The only
 *   user of an address may change its keys and ports freely.
 * - Addresses of nodes, reserved ones and freed ones that still cool down are never handed out, also not on request;
 *   whoever holds one keeps it.
 * - Two pools must not overlap: the younger one (creation time, then name) is bad. A bad pool hands out nothing; what is
 *   held from it stays held. */
#include "common/api/pool.h"
#include "common/request.h"

struct ipam;
struct buf;

struct ipam_conf {
        uint64_t reuse_delay_ms; /* how long a freed address is kept back; 0: not at all */
};

int ipam_new(struct ipam **ret, const struct ipam_conf *conf) MUST_CHECK;
struct ipam *ipam_free(struct ipam *m);
DEFINE_CLEANUP(struct ipam, ipam_free);

/* ---- pools and nodes ---- */

/* @pools is the whole set, in any order; all that is needed is copied. 1: something changed, 0: nothing did, or
 * -ENOMEM. Held addresses follow the range that covers them now; those that no pool covers any more are dropped. Every
 * Service that this touches, and everyone who waits, is then reported by ipam_woken(). */
int ipam_set_pools(struct ipam *m, const struct pool *const *pools, size_t n, uint64_t now_ms) MUST_CHECK;
/* Addresses that belong to nodes. Same results. */
int ipam_set_nodes(struct ipam *m, const struct ip *ips, size_t n) MUST_CHECK;

#define IPAM_COUNT_MAX ((int64_t)9007199254740991) /* 2^53 - 1: exact in every JSON reader */

struct ipam_counts { /* by family: [0] IPv4, [1] IPv6; each at most IPAM_COUNT_MAX */
        int64_t capacity[2]; /* addresses of the ranges, less those that avoidBuggyIPs takes out */
        int64_t assigned[2]; /* distinct addresses that are held */
        int64_t available[2]; /* can be handed out now; 0 while the pool is bad */
        int64_t withheld[2]; /* free, but of a node, reserved, or cooling down */
};

struct ipam_pool_info {
        const char *name; /* valid until the next ipam_set_pools() */
        const char *error; /* NULL: usable; else what is wrong, naming the other pool of an overlap */
        const char *other; /* the pool it overlaps, NULL */
        bool auto_assign;
        struct ipam_counts counts;
        uint64_t stamp; /* differs whenever the counts or the error may differ */
};

size_t ipam_n_pools(const struct ipam *m);
/* By position in name order, or by name: false when there is none. */
bool ipam_pool_at(const struct ipam *m, size_t i, struct ipam_pool_info *ret);
bool ipam_pool_get(const struct ipam *m, const char *name, struct ipam_pool_info *ret);

/* ---- why an address or a pool refused ---- */

enum ipam_reason {
        IPAM_FULL = 1, /* pool: no free address of the family */
        IPAM_NO_FAMILY, /* pool: no range of the family */
        IPAM_NOT_AUTO, /* pool: autoAssign is false */
        IPAM_NOT_NAMESPACE, /* pool: does not take the Service's namespace */
        IPAM_NOT_SERVICE, /* pool: its service selectors do not match */
        IPAM_BAD_POOL, /* pool: bad */
        IPAM_NO_SUCH_POOL, /* the pool asked for does not exist */
        IPAM_OTHER_POOL, /* address: belongs to @pool, not to the one asked for (@other) */
        IPAM_NOT_COVERED, /* address: in no pool; @pool is the nearest one, "" when there is none */
        IPAM_BUGGY, /* address: last octet 0 or 255 in a pool with avoidBuggyIPs */
        IPAM_IS_NODE, /* address or pool: what is left belongs to nodes, ... */
        IPAM_IS_RESERVED, /* ... is reserved, ... */
        IPAM_IS_COOLING, /* ... or was freed a moment ago */
        IPAM_WITHHELD, /* pool: all that is not held is withheld for reasons of several kinds */
        IPAM_HELD, /* address: held by @other, one of the two has no sharing key */
        IPAM_KEY_DIFFERS, /* address: held by @other with another sharing key */
        IPAM_BACKEND_DIFFERS, /* address: held by @other, whose traffic policy or selector differs */
        IPAM_PORT_TAKEN, /* address: held by @other with the same key, but it has @port */
        IPAM_SINGLE_POLICY, /* two cluster IPs, but ipFamilyPolicy SingleStack: nothing is chosen for it */
        IPAM_NO_POOLS, /* there is no pool at all */
};

struct ipam_refusal {
        enum ipam_reason reason;
        enum ip_family family; /* IP_NONE: both or neither */
        struct ip ip; /* family IP_NONE when it is about a pool */
        const char *pool; /* "" when none; names are valid until the next change of the ipam */
        const char *other; /* "ns/name" of a Service, or a pool; "" when none */
        uint32_t port; /* request_port(), 0 when none */
};

#define IPAM_WHY_MAX 24
struct ipam_why {
        struct ipam_refusal v[IPAM_WHY_MAX];
        size_t n;
        size_t n_more; /* refusals beyond IPAM_WHY_MAX */
};

#define IPAM_WHY_TEXT_MAX 1024
/* One line for people, at most IPAM_WHY_TEXT_MAX bytes with its terminator, cut at an item ("and 7 more"). */
const char *ipam_why_text(const struct ipam_why *w, char out[static IPAM_WHY_TEXT_MAX]);
/* A word for metrics: "full", "conflict", "notAllowed", "notCovered", "badPool", "noPool", "withheld", "other"; the
 * one that a person can do most about. */
const char *ipam_why_word(const struct ipam_why *w);

/* ---- Services ---- */

struct ipam_held {
        struct ip ips[2];
        const char *pools[2]; /* names; valid until the next ipam_set_pools() */
        size_t n; /* in the order of ipam_claim() or ipam_allocate() */
};

/* What the Service holds; false when it is unknown. */
bool ipam_get(const struct ipam *m, const char *key, struct ipam_held *ret);

/* Makes the Service known and its holding exactly those of @ips (0..2, families differ) that it may keep, as it is now:
 * pool, keys, ports. It may keep withheld addresses, and those of a bad pool that it held before, that the last good
 * definition or the readable part of the pool covers, or that its annotation says came from there. @why (may be NULL) gets a refusal for each lost one.
 * Returns the number kept, or -ENOMEM. */
int ipam_claim(struct ipam *m, const struct request *q, const struct ip *ips, size_t n, uint64_t now_ms,
        struct ipam_why *why) MUST_CHECK;

/* Gives a claimed Service what it asks for, starting from what it holds: addresses that fit stay, missing families are
 * added, a requested address or pool replaces the old one only when it is to be had.
 * 0: it holds all it asked for; @why may still list what a PreferDualStack Service goes without. Else nothing changed:
 * ERR_FULL (no address), ERR_CONFLICT (somebody else holds it), ERR_MISSING (no such pool, or in no pool),
 * ERR_REJECTED (not allowed), or -ENOMEM. Who did not get all waits from then on for what it lacks. @q must be without a
 * fault. */
int ipam_allocate(struct ipam *m, const struct request *q, uint64_t now_ms, struct ipam_why *why) MUST_CHECK;

/* Forgets the Service and frees what it held. False: it was not known. */
bool ipam_release(struct ipam *m, const char *key, uint64_t now_ms);
/* It no longer waits for anything (its request cannot be met by what others free). */
void ipam_stop_waiting(struct ipam *m, const char *key);
/* Forgets all Services, as if the process had just started; pools and nodes stay. */
void ipam_forget(struct ipam *m);

/* The next Service that must be planned again: first those whose holding a change of pools touched, then those that wait
 * for something which can be had now. Oldest first (creation time, then key). NULL: none. Each is reported once for a
 * change; plan it before asking for the next. The key is valid until the next change. */
const char *ipam_woken(struct ipam *m);

/* When the next cooling address is free again; UINT64_MAX: none cools. ipam_tick() frees those that are due. */
uint64_t ipam_deadline(const struct ipam *m);
void ipam_tick(struct ipam *m, uint64_t now_ms);

/* One number that the caller may keep with a known Service (0 at first), e.g. a hash of what was last said about it. */
uint64_t ipam_mark(const struct ipam *m, const char *key);
void ipam_set_mark(struct ipam *m, const char *key, uint64_t mark);

struct ipam_stats {
        size_t n_services; /* known */
        size_t n_waiting;
        size_t n_held; /* distinct addresses */
        size_t n_cooling;
};
void ipam_get_stats(const struct ipam *m, struct ipam_stats *ret);

/* The Services on one address, oldest first, into @keys; returns how many there are (may exceed @max). */
size_t ipam_users(const struct ipam *m, const struct ip *ip, const char **keys, size_t max);
