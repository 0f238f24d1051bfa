/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* service - core/v1 Service, the fields that allocation and announcement read. Pure. */
#include "common/api/object.h"

enum service_ip_policy { SERVICE_SINGLE_STACK, SERVICE_PREFER_DUAL_STACK, SERVICE_REQUIRE_DUAL_STACK };

struct service_port {
        const char *protocol; /* "TCP" when absent */
        uint16_t port; /* 0 when absent or out of range */
};

struct service_ingress { /* one entry of status.loadBalancer.ingress */
        const char *ip; /* "" when absent */
        const char *hostname; /* "" when absent */
        const char *ip_mode; /* "" when absent; the API server defaults it to "VIP" */
        const char *ports; /* compact JSON of the ports list, NULL when absent */
};

struct service {
        struct object meta;
        bool is_load_balancer; /* spec.type is LoadBalancer */
        bool local_policy; /* spec.externalTrafficPolicy is Local */
        bool publish_not_ready; /* spec.publishNotReadyAddresses */
        bool ipv6_first; /* spec.ipFamilies[0] is IPv6 */
        enum service_ip_policy ip_policy;
        const char *lb_class; /* spec.loadBalancerClass, NULL when absent */
        const char *lb_ip; /* spec.loadBalancerIP, "" when absent */
        struct str_list cluster_ips; /* spec.clusterIPs, else the one of spec.clusterIP; "None" is kept */
        struct kv_list selector;
        struct service_port *ports;
        size_t n_ports;
        struct service_ingress *ingress;
        size_t n_ingress;
        struct condition_list conditions; /* status.conditions */
};

int service_decode(struct object **ret, const cJSON *json) MUST_CHECK;
/* Without conditions, for programs that keep every Service and write none. */
int service_decode_brief(struct object **ret, const cJSON *json) MUST_CHECK;
static inline const struct service *service_of(const struct object *o)
{
        return (const struct service *)o;
}
/* spec.loadBalancerClass against --lb-class ("" = not given): unset goes with unset, set with equal. */
bool service_class_matches(const struct service *s, const char *lb_class);
/* The annotation "metallb.io/<suffix>", else "metallb.universe.tf/<suffix>"; a present current key wins even
 * when empty. NULL when neither is there. */
const char *service_annotation(const struct object *o, const char *suffix);
