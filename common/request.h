/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* request - what one Service asks of the allocator, read once from spec, labels and annotations.
 * Pure. Decides nothing about pools; what cannot be meant is kept as a fault with words for the owner. */
#include "common/api/service.h"

#define REQUEST_POOL_SUFFIX  "address-pool"
#define REQUEST_IPS_SUFFIX   "loadBalancerIPs"
#define REQUEST_SHARE_SUFFIX "allow-shared-ip"

enum request_fault {
        REQUEST_OK,
        REQUEST_NO_CLUSTER_IPS, /* the Service has none (yet): it keeps nothing */
        REQUEST_NOT_ENOUGH_CLUSTER_IPS, /* RequireDualStack with one of them: it keeps nothing */
        REQUEST_BAD_CLUSTER_IPS, /* they have no family: it keeps what it has */
        REQUEST_BAD_IPS, /* the requested addresses cannot be read: it keeps what it has */
        REQUEST_BAD_FAMILY, /* the requested addresses are not of the Service's families: the same */
};

struct request {
        const char *key; /* "namespace/name" */
        const char *ns, *name;
        int64_t created_s;
        const struct kv_list *labels; /* of the Service */
        const struct kv_list *ns_labels; /* of its namespace; NULL: not known, then no selector matches */
        bool want4, want6; /* the families of its cluster IPs */
        enum ip_family primary; /* that of the first cluster IP; decides order, and who gives way */
        enum service_ip_policy policy;
        struct ip ips[2]; /* requested addresses, in the order asked for */
        size_t n_ips;
        const char *pool; /* requested pool, "" when none */
        const char *share_key; /* "" when it shares with nobody */
        const char *backend_key; /* who answers behind a shared address: the selector for Local, else "" */
        const uint32_t *ports; /* request_port() values, ascending, each once */
        size_t n_ports;
        struct ip current
                [2]; /* what status says now: the first readable address of each family, in its order */
        size_t n_current;
        bool current_is_odd; /* status holds more than that: text that is no address, two of one family */
        const char *current_pool; /* annotation ip-allocated-from-pool (either prefix), "" when absent */
        enum request_fault fault;
        const char *fault_text; /* "" when REQUEST_OK; at most 256 bytes; no trailing stop */
};

/* (protocol, port) as one number; unknown protocols share one code. */
uint32_t request_port(const char *protocol, uint16_t port);

/* Fills @ret from @s. Text is borrowed from @s and @ns_labels or made in @a: both must outlive @ret. 0 or -ENOMEM. */
int request_init(struct request *ret, struct arena *a, const struct service *s,
        const struct kv_list *ns_labels) MUST_CHECK;
