/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* fakekube - as much of a Kubernetes API server as a writer needs to be tested in one process: collections with list and
 * watch, create with generateName, merge patches with a status subresource, delete, resource versions, label and name
 * selectors; and failures on demand. Built on fakeapi. What is missing: everything else (schemas, RBAC, 410, paging);
 * the real server is in test/lab. */
#include <cjson/cJSON.h>
#include <uv.h>

#include "common/base.h"

struct fakekube;

struct fakekube *fakekube_new(uv_loop_t *loop); /* aborts the test on failure */
void fakekube_close(struct fakekube *k); /* memory goes when the loop has run; @k must not be used */
const char *fakekube_url(const struct fakekube *k);

/* @collection: the path as it is listed, "/api/v1/services". Makes or replaces the object with this namespace and name. */
void fakekube_put(struct fakekube *k, const char *collection, const char *json);
void fakekube_remove(struct fakekube *k, const char *collection, const char *ns, const char *name);
size_t fakekube_count(const struct fakekube *k, const char *collection);
/* The i-th object in order of creation, or the one of that name; NULL: none. */
const cJSON *fakekube_at(const struct fakekube *k, const char *collection, size_t i);
const cJSON *fakekube_get(const struct fakekube *k, const char *collection, const char *name);

/* Requests that were no reads, as "POST events; PATCH servicel2statuses/status; ", since the last reset. Names are left out. */
const char *fakekube_writes(const struct fakekube *k);
void fakekube_reset_writes(struct fakekube *k);
unsigned fakekube_reads(const struct fakekube *k, const char *substring); /* GETs whose target has it */

/* While held, watches are told nothing; afterwards everything they missed: a watch slower than the answers. */
void fakekube_hold_watches(struct fakekube *k, bool hold);
void fakekube_cut(struct fakekube *k); /* ends every watch by closing its connection */
/* The next @times requests of @method whose target contains @substring are answered with @status; 0 as status: never. */
void fakekube_fail(struct fakekube *k, const char *method, const char *substring, int status, unsigned times);
