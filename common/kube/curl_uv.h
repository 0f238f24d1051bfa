/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* curl_uv - libcurl's multi interface on a libuv loop: sockets, timer, finished transfers. Nothing of HTTP in it.
 *
 * Transfers are added and removed only outside of curl's callbacks (curl refuses it inside): callers queue and act
 * from a callback of the loop. */
#include <curl/curl.h>
#include <uv.h>

#include "common/base.h"

struct curl_uv;

/* @on_done: a transfer ended, and was removed already; the handle is the caller's again. Called from the loop only.
 * It must not call curl_uv_reset() or curl_uv_close(). 0 or -ENOMEM. */
int curl_uv_new(struct curl_uv **ret, uv_loop_t *loop, void (*on_done)(void *ctx, CURL *easy, CURLcode code),
        void *ctx) MUST_CHECK;
/* Puts its timer into the loop: from now on it is closed, before that freed. */
void curl_uv_start(struct curl_uv *cu);
struct curl_uv *curl_uv_free(struct curl_uv *cu); /* NULL is fine; returns NULL */
/* Every transfer must have been removed. Asynchronous. */
void curl_uv_close(struct curl_uv *cu, void (*closed)(void *ctx), void *ctx);

/* Lets @easy use our sockets: call it on each handle before curl_uv_add(). False: no memory. */
bool curl_uv_prepare(struct curl_uv *cu, CURL *easy) MUST_CHECK;
/* Starts a transfer. 0 or -ENOMEM. */
int curl_uv_add(struct curl_uv *cu, CURL *easy) MUST_CHECK;
/* Takes a running transfer back; on_done is not called for it. */
void curl_uv_remove(struct curl_uv *cu, CURL *easy);
/* Closes every connection, so that the next transfer makes a new one. Every transfer must have been removed. */
void curl_uv_reset(struct curl_uv *cu);
/* True when curl gave up as a whole (no memory for a poll handle): remove every transfer and reset. */
bool curl_uv_broken(const struct curl_uv *cu);
/* Connections tried so far: for metrics and tests. */
uint64_t curl_uv_connections(const struct curl_uv *cu);
