/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* l2sweep - one look for the ServiceL2Status objects that other nodes left for Services this node announces. A
 * single list, read object by object; nothing is kept of it but what is told. */
#include "common/kube/kube.h"

struct l2sweep;

struct l2sweep_conf { /* copied, the names not */
        struct kube *kube;
        const char *ns, *node;
        const char *const *services; /* only objects of Services with these names; n 0: of all */
        size_t n_services;
        bool (*is_ours)(void *ctx, const char *ns, const char *name); /* this node announces that Service */
        void (*on_foreign)(
                void *ctx, const char *object); /* name of an object that should not be; not after a cancel */
        void (*on_done)(void *ctx, int code); /* exactly once, last; not from l2sweep_start() */
        void *ctx;
};

int l2sweep_start(struct l2sweep **ret, const struct l2sweep_conf *conf) MUST_CHECK;
void l2sweep_cancel(struct l2sweep *s); /* on_done follows with -ECANCELED */
