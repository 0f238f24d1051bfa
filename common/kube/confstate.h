/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* confstate - writes one ConfigurationState object: what this program makes of the configuration it was given.
 *
 * The object is made at start and again whenever it is missing; labels, owner, condition and result are put
 * right when they differ, and nothing is written when they do not (lastTransitionTime moves only with the status).
 * One request at a time; failures back off up to 5 minutes and never disturb anything else. Where the kind is
 * not served or not permitted, a log line says so. Needs list, watch, create and patch on
 * configurationstates, and patch on configurationstates/status. */
#include "common/kube/kube.h"

struct confstate;

enum confstate_result { CONFSTATE_UNKNOWN, CONFSTATE_VALID, CONFSTATE_INVALID };

struct confstate_conf { /* copied */
        struct kube *kube;
        const char *ns; /* namespace of the installation */
        const char *node; /* NULL: the controller's object "controller"; else "speaker-<node>" */
};

/* The condition's type is configReconcilerValid for a speaker, poolReconcilerValid for the controller. 0 or a
 * negative code of informer_new(). */
int confstate_new(struct confstate **ret, uv_loop_t *loop, const struct confstate_conf *conf) MUST_CHECK;
void confstate_close(struct confstate *c, void (*closed)(void *ctx), void *ctx); /* before kube_close() */

/* Own Pod, which becomes the only owner. Before this is called, owners are left as they are. */
void confstate_set_owner(struct confstate *c, const char *pod, const char *uid);

/* What holds now. CONFSTATE_INVALID: @errors says what is wrong, one line a mistake; behind "configuration error: "
 * (and cut at 30,000 bytes) it becomes the errorSummary and the condition's message. CONFSTATE_UNKNOWN: no
 * condition. Before the first call the status is left as it is. Calling again with the same is free. */
void confstate_report(struct confstate *c, enum confstate_result result, const char *errors);
