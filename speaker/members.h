/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* members - which nodes have a living speaker: what an election asks of whoever knows. Pure. */
#include "common/base.h"

struct members {
        /* True when a living speaker is known on @node. NULL: nobody knows, so every Node of the API counts;
         * there must then be a speaker on each. */
        bool (*has)(void *ctx, const char *node);
        void *ctx;
};

static inline bool members_has(const struct members *m, const char *node)
{
        return !m->has || m->has(m->ctx, node);
}
