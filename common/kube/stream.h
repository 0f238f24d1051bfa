/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* stream - cuts a Kubernetes list or watch response into single JSON objects while its bytes arrive. Pure.
 *
 * List mode: of one document, the elements of the top-level array "items" are handed out one at a time, and
 * the object "metadata" (resourceVersion, continue, remainingItemCount) is kept; the order of the members does not
 * matter, except that metadata after items is seen late. Watch mode: each top-level object is handed out (watch events
 * are separated by newlines, but nothing relies on it). Only one object is ever buffered. Inside an object only strings
 * and brackets are followed: its text is for json_parse() to judge. Foreign bytes: every error is sticky. */
#include "common/base.h"
#include "common/err.h"

struct stream;

enum stream_mode { STREAM_LIST, STREAM_WATCH };

#define STREAM_METADATA_MAX \
        (64u * 1024) /* bytes of a list's metadata; it holds a continue token of about 200 */

/* @max_object: bytes of one object. Of a larger one the first @max_object bytes are handed out with @cut true (the
 * object's name is usually among them, see peek.h), and the stream goes on. @bytes are borrowed for the call. */
int stream_new(struct stream **ret, enum stream_mode mode, size_t max_object,
        int (*on_object)(void *ctx, const char *bytes, size_t len, bool cut), void *ctx) MUST_CHECK;
struct stream *stream_free(struct stream *s);
DEFINE_CLEANUP(struct stream, stream_free);

/* 0; ERR_MALFORMED (sticky); ERR_TOO_BIG for a list's metadata (sticky); a negative code that on_object returned
 * (sticky); -ENOMEM (sticky). Chunks may be cut anywhere. */
int stream_feed(struct stream *s, const char *bytes, size_t len) MUST_CHECK;
/* After the last byte: 0 when no object is half read (and, for a list, the document is complete), else the sticky error
 * or ERR_MALFORMED. */
int stream_end(const struct stream *s) MUST_CHECK;
/* List mode: the "metadata" object's bytes, or NULL if not seen. Borrowed. */
const char *stream_metadata(const struct stream *s, size_t *ret_len);
