/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* owner - looks up our own Pod, once: its uid makes it the owner of what we write about ourselves. */
#include "common/kube/kube.h"

struct owner;

/* @found at most once, from the loop; never when the Pod cannot be read (403, 404), which is said in one line. Other
 * failures are retried. Copies both texts. */
int owner_new(struct owner **ret, struct kube *k, const char *ns, const char *pod,
        void (*found)(void *ctx, const char *uid), void *ctx) MUST_CHECK;
void owner_close(struct owner *o, void (*closed)(void *ctx), void *ctx); /* asynchronous */
