/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* informer - a local copy of one collection of objects, kept true by list and watch.
 *
 * Lists in pages, decoding object by object as bytes arrive (a document is never held whole; one object is at
 * most limits.max_object bytes), then watches with bookmarks and resumes at the last resourceVersion. 410 and ERROR
 * events relist without losing a delete or inventing one; 429 honours Retry-After; everything else backs off
 * with jitter (100 ms doubling to retry_cap_ms) and keeps what is known. An object that is too big or does not decode is
 * counted, reported once by on_bad, and its old state is kept. One thread: the loop's. */
#include "common/api/object.h"
#include "common/kube/kube.h"

struct informer;

struct informer_conf { /* copied; strings too */
        const char *path; /* the collection: "/api/v1/services"; no query */
        const char *query; /* extra query, "fieldSelector=metadata.name%3Dx"; NULL: none */
        const char *resource; /* "services": for logs and metric labels */
        object_decode_fn decode;
        unsigned page; /* objects a page; 0: 500 */
        unsigned retry_cap_ms; /* the longest pause between tries; 0: 10 s */
        unsigned stall_ms; /* a list that brings no byte for so long is given up and asked again; 0: 60 s */
        size_t max_object; /* bytes of one object's JSON; 0: 2 MiB (etcd's own limit is 1.5 MiB) */
        /* old NULL: new object; new NULL: gone. @old is freed after the call, @now lives in the store until the next
         * change. During the first list and relists changes arrive one by one as they are found; deletes found by
         * a relist arrive at its end. Content equal to the stored resourceVersion is not reported. */
        void (*on_change)(void *ctx, const struct object *old, const struct object *now);
        void (*on_synced)(void *ctx); /* once: the first list is complete */
        /* May be NULL. @ok false: list or watch fails now, with words; true: it works again. Only on change. */
        void (*on_state)(void *ctx, bool ok, int code, const char *words);
        /* May be NULL. Once for each name and resourceVersion. */
        void (*on_bad)(void *ctx, const char *ns, const char *name, const char *words);
        void *ctx;
};

int informer_new(struct informer **ret, struct kube *k, const struct informer_conf *conf) MUST_CHECK;
/* Frees the store; @closed once, after which nothing is touched. Asynchronous. */
void informer_close(struct informer *inf, void (*closed)(void *ctx), void *ctx);

bool informer_is_synced(const struct informer *inf);
const struct object *informer_get(
        const struct informer *inf, const char *ns, const char *name); /* NULL: none */
size_t informer_count(const struct informer *inf);
/* Any order; the store must not change meanwhile. Non-zero from @fn stops and is returned. */
int informer_each(const struct informer *inf, int (*fn)(void *ctx, const struct object *o), void *ctx);

struct informer_stats {
        uint64_t lists, watches, events, bad, errors;
        uint64_t last_contact_ms; /* uv_now() of the last byte from the server */
        bool ok; /* listing or watching works at this moment */
};
void informer_get_stats(const struct informer *inf, struct informer_stats *ret);
