/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* reconcile - everything that lives while this process leads: caches, allocator, plans and writes.
 *
 * It is made when the lease is ours and closed when it is lost, so that its first lists are always newer than the last
 * write of whoever led before: what they show is claimed before anything is given out. Observes Services and
 * Namespaces everywhere, Nodes, and the pools of the own namespace. Nodes are a nicety (their addresses are withheld):
 * where the role may only list them they are listed every minute, where it may not even that, the rest works. */
#include "common/kube/confstate.h"
#include "common/kube/event.h"
#include "common/kube/kube.h"

struct reconcile;
struct buf;

struct reconcile_conf { /* pointers are borrowed, and alive until @closed; strings too */
        struct kube *kube;
        struct events *events;
        struct confstate *confstate; /* NULL: nothing is reported */
        const char *ns; /* of the pools */
        const char *lb_class;
        uint64_t reuse_delay_ms;
        bool (*may_write)(void *ctx, unsigned for_ms); /* NULL: always */
        void *ctx;
        uint64_t seed;
};

int reconcile_new(struct reconcile **ret, const struct reconcile_conf *conf) MUST_CHECK;
/* Cancels what is on its way. Asynchronous. */
void reconcile_close(struct reconcile *r, void (*closed)(void *ctx), void *ctx);

/* Begins nothing new; what was sent may end. */
void reconcile_stop(struct reconcile *r);
bool reconcile_is_idle(const struct reconcile *r); /* nothing on its way */

/* Lists are complete, holders are claimed, and the API server answers; else @words (may be NULL) says what is missing. */
bool reconcile_is_ready(const struct reconcile *r, struct buf *words);
/* Services that wait to be planned or written: for tests. */
size_t reconcile_busy(const struct reconcile *r);
