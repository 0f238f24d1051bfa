/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* pool - metallb.io/v1beta1 IPAddressPool. Pure.
 * A pool whose content is wrong still decodes: pool.error then says what is wrong, in words for its owner,
 * and the parts that could be read are filled. */
#include "common/api/object.h"

/* Annotation on a pool: addresses and ranges inside it that are never handed out (comma-separated). */
#define POOL_RESERVED_ANNOTATION "reserved-addresses" /* with either prefix */

struct pool {
        struct object meta;
        struct str_list addresses; /* spec.addresses as written */
        struct ip_range *ranges; /* those that parsed, in the order written */
        size_t n_ranges;
        struct ip_range *reserved; /* from POOL_RESERVED_ANNOTATION; bare addresses are allowed there */
        size_t n_reserved;
        bool auto_assign; /* default true */
        bool avoid_buggy_ips;
        bool pinned; /* spec.serviceAllocation is present */
        int64_t priority; /* 0 or absent: last; negative values read as 0, with pool.error unset */
        struct str_list namespaces;
        struct selector_list ns_selectors, service_selectors;
        const char *error; /* NULL: fine */
        bool has_status;
        int64_t assigned4, assigned6, available4, available6; /* status, when has_status */
        int64_t withheld4, withheld6; /* 0 when absent: older CRDs have none */
        struct condition_list conditions;
};

int pool_decode(struct object **ret, const cJSON *json) MUST_CHECK;
static inline const struct pool *pool_of(const struct object *o)
{
        return (const struct pool *)o;
}
