/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* fakeapi - an HTTP/1.1 server on 127.0.0.1 in the test's own loop, to answer wrongly at a chosen moment: cut, stall,
 * reset, garbage. It knows nothing of Kubernetes; the real API server is exercised by test/lab. */
#include <uv.h>

#include "common/base.h"
#include "common/buf.h"

struct fake;
struct fake_conn; /* valid until fake_close(), also when the client is gone; answers then go nowhere */

struct fake_request { /* borrowed for the call */
        const char *method;
        const char *target; /* path and query */
        const char *headers; /* all of them, as sent */
        const char *body; /* terminated */
        size_t body_len;
};

/* Called for each request. It may answer at once, later, or never. */
typedef void (*fake_handler)(void *ctx, struct fake_conn *c, const struct fake_request *req);

struct fake *fake_new(uv_loop_t *loop, fake_handler handler, void *ctx); /* aborts the test on failure */
void fake_close(struct fake *f); /* closes every connection; memory goes when the loop has run */
const char *fake_url(const struct fake *f); /* "http://127.0.0.1:port" */
unsigned fake_requests(const struct fake *f); /* seen so far */
unsigned fake_connections(const struct fake *f); /* accepted so far */
unsigned fake_open(const struct fake *f); /* connections the client holds open now */
/* From now on connections are accepted but nothing is read or answered, as by a stopped process; false: again. */
void fake_freeze(struct fake *f, bool frozen);

/* A whole answer. @headers: further lines, each ending in "\r\n"; may be "". */
void fake_reply(struct fake_conn *c, int status, const char *headers, const char *body);
/* An answer in chunks (RFC 9112 section 7.1): begin, any number of chunks, end. */
void fake_begin(struct fake_conn *c, int status, const char *headers);
void fake_chunk(struct fake_conn *c, const char *text);
void fake_chunk_n(struct fake_conn *c, const char *bytes, size_t len);
void fake_end(struct fake_conn *c);
void fake_raw(struct fake_conn *c, const char *bytes, size_t len); /* not even HTTP */
void fake_hang_up(struct fake_conn *c); /* FIN */
void fake_reset(struct fake_conn *c); /* RST */

/* Runs the loop until @cond is true. False after 20 s. */
bool fake_run_until(uv_loop_t *loop, bool (*cond)(void *ctx), void *ctx);
/* Runs the loop for about @ms. */
void fake_run_for(uv_loop_t *loop, unsigned ms);
/* Runs until nothing is left in the loop and closes it; aborts the test when something stays open for 20 s. */
void fake_finish(uv_loop_t *loop);
