/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* buf - a growable text, for building paths, bodies and pages. Pure.
 *
 * Errors are sticky: after a failed allocation or past @max every call does nothing and buf_ok() is
 * false, so that a builder writes everything and tests once. What was written before stays readable. */
#include "common/base.h"

struct buf {
        char *p; /* owned; NULL before the first append, else terminated */
        size_t len; /* without the terminator */
        size_t cap;
        size_t max; /* 0: no limit but memory */
        bool bad;
};

#define BUF_INIT \
        { \
                0 \
        }

void buf_fini(struct buf *b); /* idempotent; fits CLEANUP(buf_fini) */
void buf_reset(struct buf *b); /* empties, keeps the memory, clears the error */
bool buf_ok(const struct buf *b);
const char *buf_str(const struct buf *b); /* borrowed, "" when empty */
/* The text, which the caller frees; the buffer is empty then. NULL if bad: the buffer keeps what it has. */
char *buf_take(struct buf *b);

void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_adds(struct buf *b, const char *text);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The text as a JSON string with its quotes (RFC 8259 section 7). Bytes that are no UTF-8 become U+FFFD. */
void buf_add_json(struct buf *b, const char *text);
void buf_add_json_n(struct buf *b, const char *text, size_t len);
/* Percent-encodes all but unreserved characters (RFC 3986 section 2.3). */
void buf_add_url(struct buf *b, const char *text);
/* Length of the well-formed UTF-8 sequence that @p begins with (RFC 3629 section 4); 0: none. @left >= 1. */
size_t buf_utf8_len(const unsigned char *p, size_t left);
