/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* confstate - writes one ConfigurationState object: what this program makes of the configuration it was given.
 *
 * The object is made at start and again whenever it is missing; labels, owner, condition and result are put right when
 * they differ, and nothing is written when they do not (lastTransitionTime moves only with the status). One
 * request at a time; failures back off up to 5 minutes and never disturb anything else. Where the kind is not served or not
 * permitted, one log line says so. Needs get, list, watch, create, patch on configurationstates and patch on
 * configurationstates/status. */
#include "common/kube/kube.h"

struct confstate;

enum confstate_result { CONFSTATE_UNKNOWN, CONFSTATE_VALID, CONFSTATE_INVALID };

struct confstate_conf { /* copied */
        struct kube *kube;
        const char *ns; /* namespace of the installation */
        const char *node; /* NULL: the controller's object "controller"; else "speaker-<node>" */
};

/* The condition's type is configReconcilerValid for a speaker, poolReconcilerValid for the controller. Log lines say
 * "ConfigurationState". 0 or -ENOMEM. */
int confstate_new(struct confstate **ret, uv_loop_t *loop, const struct confstate_conf *conf) MUST_CHECK;
void confstate_close(struct confstate *c, void (*closed)(void *ctx), void *ctx); /* before kube_close() */

/* Own Pod, which becomes an owner beside those that are there. Without it the object has no owner from us. */
void confstate_set_owner(struct confstate *c, const char *pod, const char *uid);

/* What holds now. CONFSTATE_INVALID: @errors says what is wrong, one line a mistake; it becomes the errorSummary and
 * the condition's message behind "configuration error: " (cut at 30,000 bytes). Before the first call: Unknown, and no
 * condition. Calling again with the same is free. */
void confstate_report(struct confstate *c, enum confstate_result result, const char *errors);
