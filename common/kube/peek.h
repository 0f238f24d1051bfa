/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* peek - reads the names of an object from the first bytes of its JSON, when the whole is too big to parse. Pure.
 * Best effort on foreign bytes: what is not found, or would not fit, is "". */
#include "common/base.h"

struct peek {
        char type[16]; /* a watch event's "type"; "" for a bare object */
        char ns[256],
                name[256]; /* metadata.namespace and metadata.name: at most 253 characters in Kubernetes */
        char rv[64]; /* metadata.resourceVersion */
};

/* @bytes begin with the "{" of an object, or of a watch event that has the object in its member "object". */
void peek_names(struct peek *ret, const char *bytes, size_t len);
