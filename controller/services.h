/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* services - sees to each Service in turn: plan it, write what differs, say what happened, then leave it alone.
 *
 * A Service is planned from the cache, so it is not planned while a write of ours is under way or its watch event has not
 * come back yet: a stale copy would undo what was just decided. One write is open for a Service at most. Plans are made
 * only while the writer has room, oldest first at the start, then as things happen; Services that wait for what was just
 * freed come before everything else. A Service that somebody else keeps changing back is written more and more
 * rarely, up to once a minute. */
#include "common/ipam.h"
#include "common/kube/event.h"
#include "common/kube/informer.h"
#include "controller/plan.h"
#include "controller/writer.h"

struct services;

struct services_conf { /* all borrowed, and alive until @closed */
        struct kube *kube;
        struct writer *writer;
        struct events *events;
        struct ipam *ipam;
        const struct informer *services, *namespaces;
        const char *lb_class;
        void (*on_turn)(void *ctx); /* some were planned: counters of pools may differ */
        void *ctx;
        uint64_t seed;
};

int services_new(struct services **ret, const struct services_conf *conf) MUST_CHECK;
/* The writer must have answered every job before: close it first. Asynchronous. */
void services_close(struct services *s, void (*closed)(void *ctx), void *ctx);

/* The caches are complete and pools and nodes are in the ipam: claims what every status says, then plans all, oldest
 * first. Before this nothing is planned. 0 or -ENOMEM. */
int services_start(struct services *s) MUST_CHECK;
bool services_started(const struct services *s);

/* The Service changed or is gone. */
void services_touch(struct services *s, const char *ns, const char *name);
/* The labels of a namespace changed. */
void services_touch_namespace(struct services *s, const char *ns);
/* The ipam has woken ones to report. */
void services_woken(struct services *s);

/* The writer has room. */
void services_kick(struct services *s);

size_t services_busy(const struct services *s); /* waiting to be planned, or being written */
