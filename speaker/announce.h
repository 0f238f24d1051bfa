/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* announce - when is which address announced on which interface, without being asked? Pure: no socket, clock or
 * log. The caller passes monotonic milliseconds in and sends what announce_pop() says.
 *
 * An address that is new (or taken again after a loss) and a port that is new (or has carrier again, or another MAC)
 * start a burst: round one at once, then ANNOUNCE_ROUNDS - 1 more, ANNOUNCE_GAP_MS apart, for all their pairs. A pair
 * of a new address and a new port belongs to the burst that started later, so it is not sent twice. After its burst an
 * address is announced again every refresh_ms (10% jitter), for those who missed everything.
 *
 * One pacer over everything: at most rate_s frames a second, and a fifth of a second's worth at once. First rounds
 * go before repeats and refreshes. Memory is one small record an address and one a port, never one a pair. */
#include "common/ip.h"
#include "common/rng.h"

#define ANNOUNCE_ROUNDS 5
#define ANNOUNCE_GAP_MS 1100

struct announce;

struct announce_conf {
        uint32_t refresh_ms; /* UINT32_MAX: never again after the burst; at least 1000 */
        uint32_t rate_s; /* frames a second, 10 or more */
        struct rng *rng; /* borrowed */
        /* False: this pair must stay silent now (not allowed there, another port of the segment speaks, no
         * socket). Asked for each pair each time. */
        bool (*wants)(void *ctx, const struct ip *ip, unsigned ifindex);
        void *ctx;
};

/* A port is one interface for one family. @conf is copied. 0, -EINVAL or -ENOMEM. */
int announce_new(struct announce **ret, const struct announce_conf *conf) MUST_CHECK;
struct announce *announce_free(struct announce *a);
DEFINE_CLEANUP(struct announce, announce_free);

/* The addresses from now on: sorted by ip_cmp(), unique; copied. New ones start a burst, others keep their state,
 * missing ones are forgotten. 0, or -ENOMEM and nothing has changed. */
int announce_vips(struct announce *a, const struct ip *ips, size_t n, uint64_t now_ms) MUST_CHECK;
void announce_restart(struct announce *a, const struct ip *ip, uint64_t now_ms); /* unknown: nothing */
/* Adds a port, or starts its burst again. 0 or -ENOMEM. */
int announce_port(struct announce *a, enum ip_family family, unsigned ifindex, uint64_t now_ms) MUST_CHECK;
void announce_port_gone(struct announce *a, enum ip_family family, unsigned ifindex); /* unknown: nothing */

struct announce_item {
        struct ip ip;
        unsigned ifindex;
        bool first; /* of the first round of a burst */
};

/* True: announce *ret now (IPv4: the request and the reply form, two frames; IPv6: one). False: nothing until
 * announce_deadline(). Call until false; work per call is bounded. */
bool announce_pop(struct announce *a, uint64_t now_ms, struct announce_item *ret);
/* When announce_pop() may have something: monotonic milliseconds, UINT64_MAX: never. */
uint64_t announce_deadline(const struct announce *a);
