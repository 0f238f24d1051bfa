/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* misc - kinds of which we read little: Namespace, Pod, and objects of which only metadata counts. Pure. */
#include "common/api/object.h"

struct pod {
        struct object meta;
        const char *node; /* spec.nodeName, "" when absent */
        const char *phase; /* status.phase, "" when absent */
        struct ip *ips; /* status.podIPs (else podIP) that parse */
        size_t n_ips;
        bool ready; /* condition Ready is "True" */
};

int pod_decode(struct object **ret, const cJSON *json) MUST_CHECK;
static inline const struct pod *pod_of(const struct object *o)
{
        return (const struct pod *)o;
}

/* metallb.io/v1beta1 ServiceL2Status: which node announces a Service. */
struct l2status {
        struct object meta;
        const char *node, *service_name, *service_ns; /* status, "" when absent */
        struct str_list interfaces; /* status.interfaces[].name; empty: all */
};

int l2status_decode(struct object **ret, const cJSON *json) MUST_CHECK;
static inline const struct l2status *l2status_of(const struct object *o)
{
        return (const struct l2status *)o;
}

/* Only struct object: for Namespaces and everything else of which metadata is enough. */
int metadata_decode(struct object **ret, const cJSON *json) MUST_CHECK;
