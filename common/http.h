/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* http - reads HTTP/1.1 requests and writes response heads (RFC 9112, RFC 9110). Pure.
 *
 * Strict where leniency lets two readers disagree: lines end in CRLF, no folded fields, no blank before a colon, one
 * Host, one length, never a length beside a transfer coding. Upgrade and unknown fields are ignored. */
#include "common/buf.h"
#include "common/err.h"

#define HTTP_HEAD_MAX 8192 /* bytes of request line and fields that a server should take */

enum http_body { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED };

struct http_head { /* strings are terminated and point into the parsed bytes */
        const char *method;
        const char *path; /* as sent, without query; of an absolute URL only the path; "*" of OPTIONS */
        const char *query; /* "" when none */
        const char *bearer; /* token of "Authorization: Bearer"; NULL when none */
        enum http_body body;
        uint64_t length; /* of HTTP_BODY_LENGTH */
        bool keep_alive; /* the client will take another response on this connection */
        bool expect_continue; /* it waits for "100 Continue" before it sends the body */
};

/* Number of bytes up to and including the empty line that ends a head, 0 when it has not come yet. Empty lines before
 * the request line count (RFC 9112 section 2.2). @from: how much an earlier call has seen without finding it. */
size_t http_head_end(const char *bytes, size_t len, size_t from);

/* Parses a head of exactly @len bytes, as measured by http_head_end(), and writes terminators into it. 0, or
 * ERR_MALFORMED (answer 400), ERR_REJECTED (well-formed but not offered: another version, coding or
 * expectation; answer 501). *ret is untouched on failure. */
int http_head_parse(struct http_head *ret, char *bytes, size_t len) MUST_CHECK;

/* Reads the chunked coding (RFC 9112 section 7.1); zero-initialise it. Trailers are dropped. */
struct http_chunks {
        int state;
        uint64_t left; /* bytes to come of this chunk */
        unsigned n; /* digits of a size, or bytes of a line */
};

/* Takes up to @len bytes and appends what they carry to @body. Returns how many were taken (all of them unless the end
 * was reached; what follows belongs to the next request), or ERR_MALFORMED, ERR_TOO_BIG (beyond body->max, which must
 * be set), -ENOMEM. */
int http_chunks_read(struct http_chunks *c, struct buf *body, const char *bytes, size_t len);
bool http_chunks_done(const struct http_chunks *c);

/* "HTTP/1.1 200 OK" and the fields of a response with @len bytes of body. @date: seconds since 1970. @content_type may
 * be NULL when there is no body. */
void http_response_head(
        struct buf *out, int status, const char *content_type, size_t len, bool keep_alive, int64_t date);
const char *http_reason(int status); /* "Not Found"; "" for one that we never send */
