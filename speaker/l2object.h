/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* l2object - a ServiceL2Status as its writer needs it: read back as little more than digests, since there may be thousands,
 * and the bodies that make and change it. Pure. */
#include "common/api/object.h"
#include "common/buf.h"

struct l2object { /* what is stored; labels and texts of the status are not kept */
        struct object meta;
        const char *service_ns, *service_name; /* from the labels; "" when absent */
        bool has_status;
        uint64_t identity; /* of status.node, serviceName and serviceNamespace, which can be set only once */
        uint64_t interfaces; /* of the set in the status, whatever its order */
        bool is_sorted; /* the set is written as we would */
        uint64_t owner; /* of the owner's uid; 0: none, or several */
};

int l2object_decode(struct object **ret, const cJSON *json) MUST_CHECK;
static inline const struct l2object *l2object_of(const struct object *o)
{
        return (const struct l2object *)o;
}

struct l2announcement { /* what should be stored; borrowed */
        const char *node, *service_ns, *service_name;
        const char *const *interfaces; /* sorted; none: every one */
        size_t n_interfaces;
};

uint64_t l2object_identity(const char *node, const char *service_ns, const char *service_name);
uint64_t l2object_interfaces(const char *const *interfaces, size_t n);
uint64_t l2object_owner(const char *uid);

/* Bodies: POST of the collection (the server chooses the name), PATCH (merge) of the object, PATCH (merge) of its status.
 * @pod NULL: without an owner. */
void l2object_add_new(struct buf *b, const struct l2announcement *a, const char *pod, const char *uid);
void l2object_add_owner(struct buf *b, const char *pod, const char *uid);
void l2object_add_status(struct buf *b, const struct l2announcement *a);
