/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* ownpod - finds out the uid of the own Pod, which owns the status objects this speaker writes. Asks until it is told, at
 * longer and longer intervals; that it cannot be told is logged once and hurts nothing. */
#include "common/kube/kube.h"

struct ownpod;

struct ownpod_conf { /* copied */
        struct kube *kube;
        const char *ns, *pod;
        /* @uid, once; or NULL, at most once before it: the server answered, but not with a uid. */
        void (*on_uid)(void *ctx, const char *uid);
        void *ctx;
};

int ownpod_new(struct ownpod **ret, const struct ownpod_conf *conf) MUST_CHECK;
void ownpod_close(struct ownpod *p, void (*closed)(void *ctx), void *ctx); /* before kube_close() */
