/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* node - core/v1 Node: labels, addresses and the conditions that matter for announcing. Pure. */
#include "common/api/object.h"

#define NODE_EXCLUDE_LABEL "node.kubernetes.io/exclude-from-external-load-balancers" /* presence counts */

struct node {
        struct object meta;
        bool network_unavailable; /* condition NetworkUnavailable is "True" */
        bool ready; /* condition Ready is "True" */
        bool excluded; /* carries NODE_EXCLUDE_LABEL */
        struct ip *addresses; /* status.addresses of type InternalIP and ExternalIP that parse */
        size_t n_addresses;
};

int node_decode(struct object **ret, const cJSON *json) MUST_CHECK;
static inline const struct node *node_of(const struct object *o)
{
        return (const struct node *)o;
}
