/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* segment - which of the node's interfaces hang on the same LAN, so that only one of them speaks for an address. Pure.
 *
 * Two interfaces on one LAN would both answer a broadcast question, with different MACs (ARP flux). Nothing in the
 * kernel says which interfaces share a LAN, so it is learnt from the one sure sign: a frame that we sent from one of
 * them arrives at the other. Until then both speak: an address is never silent for a guess. What was learnt is
 * forgotten when either interface changes, and when SEGMENT_MISSES of our announcements in a row, over at least
 * SEGMENT_GRACE_MS, were not heard any more (somebody changed a cable or a VLAN behind a switch). An interface stacked
 * on another (macvlan) shares its LAN by construction. Sharing is transitive. */
#include "common/base.h"

#define SEGMENT_MISSES   3
#define SEGMENT_GRACE_MS 2000
#define SEGMENT_PAIRS    256 /* remembered; more are not learnt */

struct segment;

int segment_new(struct segment **ret) MUST_CHECK; /* 0 or -ENOMEM */
struct segment *segment_free(struct segment *s);
DEFINE_CLEANUP(struct segment, segment_free);

/* Interface @on received what we sent from @from. True: that is news. */
bool segment_heard(struct segment *s, unsigned from, unsigned on);
/* @upper is stacked on @lower. True: that is news. */
bool segment_stacked(struct segment *s, unsigned upper, unsigned lower);
/* We announced something from @from. True: a pair was forgotten for not having heard it. */
bool segment_sent(struct segment *s, unsigned from, uint64_t now_ms);
void segment_unstack(struct segment *s); /* forgets what segment_stacked() said, of all interfaces */
/* Forgets what was learnt of @index. True: there were some. */
bool segment_reset(struct segment *s, unsigned index);
/* @index shares its LAN with somebody: the quick question. */
bool segment_is_shared(const struct segment *s, unsigned index);
bool segment_same(const struct segment *s, unsigned a, unsigned b);
