/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* slice - discovery.k8s.io/v1 EndpointSlice, reduced to what an election asks: where are usable endpoints?
 * Pure. Addresses are not kept, only counts by node, and of the metadata no uid, labels or annotations, so that
 * 10,000 slices stay small. */
#include "common/api/object.h"

struct slice_node {
        const char *node; /* endpoints[].nodeName, "" when absent */
        uint32_t usable; /* ready (absent counts as true), or serving */
        uint32_t not_usable;
};

struct slice {
        struct object meta;
        const char *service; /* label kubernetes.io/service-name, "" when absent */
        struct slice_node *nodes; /* sorted by node, each once */
        size_t n_nodes;
};

int slice_decode(struct object **ret, const cJSON *json) MUST_CHECK;
static inline const struct slice *slice_of(const struct object *o)
{
        return (const struct slice *)o;
}
