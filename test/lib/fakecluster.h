/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* fakecluster - as much of a Kubernetes API server as a controller needs, in the test's own loop: lists, watches with
 * resourceVersions, optimistic locking, merge and strategic merge patches of status, creates. With faults at will: refuse,
 * cut, carry out but lose the answer, hold. The real API server is used in test/lab; this one is for its bad days. */
#include <cjson/cJSON.h>
#include <uv.h>

#include "common/base.h"

struct fakecluster;

enum fakecluster_fault {
        FAKECLUSTER_NONE = 0, /* positive values: answer with this HTTP status instead */
        FAKECLUSTER_CUT = -1, /* reset the connection, nothing is carried out */
        FAKECLUSTER_LOSE = -2, /* carry it out, then reset the connection */
        FAKECLUSTER_HOLD = -3, /* carry it out and answer at fakecluster_release() */
};

struct fakecluster_request {
        const char *method, *target;
        const char *resource, *ns, *name, *sub; /* "" when absent */
};

struct fakecluster *fakecluster_new(uv_loop_t *loop);
void fakecluster_close(
        struct fakecluster *f); /* memory goes when the loop has run; the pointer is dead at once */
const char *fakecluster_url(const struct fakecluster *f);

/* Asked before each request is carried out; NULL: no faults. */
void fakecluster_set_fault(
        struct fakecluster *f, int (*fault)(void *ctx, const struct fakecluster_request *req), void *ctx);
/* Called on what a client's write is about to store: another writer who is faster, or a schema that prunes. */
void fakecluster_set_mangle(
        struct fakecluster *f, void (*mangle)(void *ctx, const char *resource, cJSON *object), void *ctx);
void fakecluster_release(struct fakecluster *f); /* answers all that is held */

/* Creates or replaces: metadata.name (and namespace) as in @json; uid, resourceVersion, creationTimestamp are made up.
 * Watchers see it. Aborts the test on bad JSON. */
void fakecluster_put(struct fakecluster *f, const char *resource, const char *json);
void fakecluster_delete(struct fakecluster *f, const char *resource, const char *ns, const char *name);
/* The object as it is, NULL: none. Borrowed until the next change. */
const cJSON *fakecluster_get(
        const struct fakecluster *f, const char *resource, const char *ns, const char *name);
size_t fakecluster_count(const struct fakecluster *f, const char *resource);
/* Ends all watches; @compact: and forgets their history, so that they must list again. */
void fakecluster_cut_watches(struct fakecluster *f, bool compact);

/* Requests seen for @method and @resource[/sub], "services/status"; NULL matches all. Carried out or not. */
unsigned fakecluster_requests(const struct fakecluster *f, const char *method, const char *what);
