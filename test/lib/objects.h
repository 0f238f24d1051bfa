/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* objects - decoded Kubernetes objects from short texts: JSON in which ' stands for ". A mistake fails the test. */
#include "common/api/pool.h"
#include "common/api/service.h"

struct object *object_from(object_decode_fn decode, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Any part may be NULL: { metadata: { namespace, name, creationTimestamp, @meta }, spec: { @spec }, status: { @status } } */
struct object_text {
        const char *ns, *name;
        int64_t created_s;
        const char *meta, *spec, *status;
};
struct object *object_make(object_decode_fn decode, const struct object_text *t);
