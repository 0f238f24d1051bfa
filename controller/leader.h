/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* leader - holds the Lease that says which controller may write, and tells when that changes.
 *
 * All decisions are lease.h's; this file sends and measures. Where the role has no Leases (403) the process leads without
 * one, with one warning, and looks again every minute. */
#include "common/kube/kube.h"

#define LEADER_LEASE "metallb-controller"

struct leader;

struct leader_conf { /* copied */
        struct kube *kube;
        const char *ns, *identity;
        /* Only on change, from the loop; at first nobody leads. */
        void (*on_change)(void *ctx, bool leading);
        void *ctx;
};

int leader_new(struct leader **ret, const struct leader_conf *conf) MUST_CHECK;
/* Without giving the lease up. Asynchronous. */
void leader_close(struct leader *l, void (*closed)(void *ctx), void *ctx);

bool leader_is_leading(const struct leader *l);
/* A request that takes at most @for_ms would end while we still lead. */
bool leader_may_write(const struct leader *l, unsigned for_ms);
/* The API server answered our last question: a standby that cannot see the lease is not ready. */
bool leader_is_well(const struct leader *l);
/* "leading", "leading without a lease", "standby, NAME leads", "looking for the lease". Valid until the next turn. */
const char *leader_words(struct leader *l);

/* Gives the lease up, so that a standby takes over at once; @done once, also when that failed or there was nothing to
 * give up. Leads no more from the call on (without on_change). */
void leader_release(struct leader *l, void (*done)(void *ctx), void *ctx);
