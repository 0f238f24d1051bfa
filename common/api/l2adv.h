/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* l2adv - metallb.io/v1beta1 L2Advertisement. Pure. Wrong content decodes with l2adv.error set, as in pool.h. */
#include "common/api/object.h"

struct l2adv_preference {
        int64_t weight;
        const struct selector *nodes;
};

struct l2adv {
        struct object meta;
        struct str_list pools; /* spec.ipAddressPools */
        struct selector_list pool_selectors; /* with pools both empty: every pool */
        struct selector_list node_selectors; /* empty: every node */
        struct selector_list service_selectors;
        struct str_list interfaces; /* sorted, unique; empty: all interfaces */
        struct l2adv_preference *preferences;
        size_t n_preferences;
        const char *error; /* NULL: fine; else the advertisement must not be used */
        struct condition_list conditions;
};

int l2adv_decode(struct object **ret, const cJSON *json) MUST_CHECK;
static inline const struct l2adv *l2adv_of(const struct object *o)
{
        return (const struct l2adv *)o;
}
