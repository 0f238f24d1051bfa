/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* control - the speaker's control loop: what the API says goes into the view, what the view decides goes to the
 * wire thread, into the log, events, metrics and status objects.
 *
 * Nothing is decided before every informer is synced. Afterwards the API may be slow or gone: the last desired set stays.
 * Changes are gathered for one turn of the loop; a turn elects for a bounded time, and a large desired set is handed
 * over at most every few tens of milliseconds. */
#include <uv.h>

#include "common/kube/kube.h"
#include "common/metrics.h"
#include "speaker/desired.h"
#include "speaker/members.h"
#include "speaker/wire.h"

struct control;

struct control_conf { /* copied, strings too */
        struct kube *kube; /* its loop is ours */
        struct metrics *reg;
        const char *ns, *node;
        const char *pod; /* own Pod; "": unknown */
        const char *lb_class;
        bool ignore_exclude;
        uint32_t hold_ms; /* see view_conf */
        const struct members *members; /* borrowed */
        void (*post)(void *ctx, struct desired *d); /* takes a sealed set: wire_post() */
        void *ctx;
};

/* 0 or a negative code. After a failure *ret is NULL or must still be closed. */
int control_new(struct control **ret, const struct control_conf *conf) MUST_CHECK;
void control_close(struct control *c, void (*closed)(void *ctx), void *ctx); /* before kube_close() */

void control_on_wire(struct control *c, const struct wire_event *ev); /* what the wire thread reports */
void control_members_changed(struct control *c);

/* True once decisions are made on complete knowledge. @words always says how things stand. */
bool control_is_ready(const struct control *c, struct buf *words);
