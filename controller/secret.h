/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* secret - makes the memberlist Secret at start when it is missing, and never touches one that is there.
 *
 * Its data key "secretkey" holds 22 characters: the unpadded base64 text of 16 random bytes, as MetalLB's. It belongs to
 * our Deployment, if that can be read. Failures are retried for as long as it takes; speakers wait for the Secret. */
#include "common/kube/kube.h"

struct secret;

struct secret_conf { /* copied */
        struct kube *kube;
        const char *ns, *name;
        const char *deployment; /* "": no owner */
};

int secret_new(struct secret **ret, const struct secret_conf *conf) MUST_CHECK;
void secret_close(struct secret *s, void (*closed)(void *ctx), void *ctx); /* asynchronous */
bool secret_is_there(const struct secret *s);
