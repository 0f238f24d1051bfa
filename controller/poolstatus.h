/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* poolstatus - keeps status and metrics of IPAddressPools true: counters, and whether the pool can be used.
 *
 * A pool is written when what its object says differs, at most once a second (once in four while changes go on), and
 * not while a write of ours is under way. Where the CRD is MetalLB's own, without withheld counters and conditions, the server drops or refuses them: that
 * is said once, and from then on only what it knows is written. */
#include "common/ipam.h"
#include "common/kube/event.h"
#include "common/kube/informer.h"
#include "controller/writer.h"

struct poolstatus;

struct poolstatus_conf { /* all borrowed, and alive until @closed */
        struct kube *kube;
        struct writer *writer;
        struct events *events;
        const struct ipam *ipam;
        const struct informer *pools;
        const char *ns;
        void (*on_verdict)(void *ctx); /* poolstatus_errors() may differ */
        void *ctx;
};

int poolstatus_new(struct poolstatus **ret, const struct poolstatus_conf *conf) MUST_CHECK;
/* The writer must have answered every job before: close it first. Asynchronous. */
void poolstatus_close(struct poolstatus *p, void (*closed)(void *ctx), void *ctx);

/* Counters in the ipam may differ, or pools came and went. Not before the holders are claimed: the counters would be
 * wrong until then. */
void poolstatus_update(struct poolstatus *p);
/* The object of the pool changed. */
void poolstatus_touch(struct poolstatus *p, const char *name);

/* "pool \"a\": ..." for every bad pool, a line each, into @out; returns how many there are. */
struct buf;
size_t poolstatus_errors(const struct poolstatus *p, struct buf *out);
