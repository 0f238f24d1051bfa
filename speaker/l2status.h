/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* l2status - writes the ServiceL2Status objects of this node: one for each Service it announces.
 *
 * Level-triggered: what is announced is compared with what the API holds, and only differences are written, a few
 * at a time. Objects of an earlier speaker on this node are taken over; those of Services that are not announced
 * here, and second ones, are deleted. Objects that other nodes left for a Service that came to us are deleted once, a
 * little after it came. Failures pause all writing (1 s doubling to 5 minutes) and disturb nothing else; where the kind is not
 * served or not permitted, a log line says so. Needs list, watch, create, patch and delete on servicel2statuses, and
 * patch on servicel2statuses/status. */
#include "common/kube/kube.h"

struct l2status_writer;

struct l2status_conf { /* copied */
        struct kube *kube;
        const char *ns; /* namespace of the installation */
        const char *node;
        unsigned sweep_ms; /* how long after a Service came its other objects are looked for; 0: 2000 */
};

int l2status_new(struct l2status_writer **ret, const struct l2status_conf *conf) MUST_CHECK;
void l2status_close(
        struct l2status_writer *w, void (*closed)(void *ctx), void *ctx); /* before kube_close() */

/* Own Pod: the owner of what is written from now on; what is there gets it too. Without it objects have no owner. */
void l2status_set_owner(struct l2status_writer *w, const char *pod, const char *uid);
/* This node announces the Service on these interfaces (sorted; none: every one), or no longer does. Saying it again is
 * free. 0 or -ENOMEM, after which it should be said again. */
int l2status_announced(struct l2status_writer *w, const char *ns, const char *name,
        const char *const *interfaces, size_t n) MUST_CHECK;
/* The API holds an object of this node with a status for the Service: it was announced from here before. */
bool l2status_has(const struct l2status_writer *w, const char *ns, const char *name);
void l2status_withdrawn(struct l2status_writer *w, const char *ns, const char *name);
/* Everything that is announced has been said: only from now on is anything written or deleted. */
void l2status_begin(struct l2status_writer *w);
