/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* patch - the bytes of our writes: what differs between an object and how it should be. Pure.
 *
 * A Service is written by one strategic merge patch of services/NAME/status: the API server takes annotations, addresses
 * and conditions from it together, replaces the ingress list as a whole (it has no merge key), merges conditions by
 * type, and refuses it with 409 when metadata.resourceVersion is stale. Custom resources know no strategic merge: a pool's
 * status is a JSON merge patch (RFC 7396), where a list is always replaced as a whole. */
#include "common/buf.h"
#include "common/json.h"
#include "controller/plan.h"

/* What of @p differs from @s, with the resourceVersion of @s. @wall_s (since 1970) is the time of a condition whose status
 * changes; one that keeps its status keeps its time. */
void patch_service(struct buf *out, const struct service *s, const struct plan *p, int64_t wall_s);

#define POOL_CONDITION "metallb.io/Valid"

struct pool_status { /* of an IPAddressPool as it should be */
        struct ipam_counts counts;
        const char *reason; /* "Valid", or CamelCase what is wrong */
        const char *message; /* "" for a valid pool */
        bool extended; /* the CRD has withheld counters and conditions: MetalLB's own has not */
};

/* Whether the status that @p carries is another one. */
bool pool_status_differs(const struct pool *p, const struct pool_status *want);
/* The patch for it; with the resourceVersion of @p. Conditions of other writers are kept. */
void patch_pool(struct buf *out, const struct pool *p, const struct pool_status *want, int64_t wall_s);

/* Carries out @patch on @object, as the server would have done with a PATCH: for a server that lets us only PUT. With
 * @strategic, lists named "conditions" merge by type. 0, -ENOMEM, or ERR_MALFORMED when @object is no JSON object; the
 * object is half changed after a failure. */
int patch_apply(cJSON *object, const cJSON *patch, bool strategic) MUST_CHECK;
