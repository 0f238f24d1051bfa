/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* stream - cuts a Kubernetes list or watch response into single JSON objects while its bytes arrive. Pure.
 *
 * List mode: of one document, the elements of the top-level array "items" are handed out one at a time, and
 * the object "metadata" (resourceVersion, continue, remainingItemCount) is kept; order of the members does not matter
 * except that metadata after items is seen late. Watch mode: each top-level value is handed out (watch events are separated by
 * newlines, but nothing relies on it). Only one object is ever buffered. Foreign bytes: every error is sticky. */
#include "common/base.h"
#include "common/err.h"

struct stream;

enum stream_mode { STREAM_LIST, STREAM_WATCH };

/* @max_object: bytes of one object; a larger one is skipped and reported by on_object with bytes NULL and its first
 * bytes lost; the stream goes on. */
int stream_new(struct stream **ret, enum stream_mode mode, size_t max_object,
        int (*on_object)(void *ctx, const char *bytes, size_t len), void *ctx) MUST_CHECK;
struct stream *stream_free(struct stream *s);
DEFINE_CLEANUP(struct stream, stream_free);

/* 0; ERR_MALFORMED (sticky); a negative code that on_object returned (sticky); -ENOMEM. Chunks may be cut anywhere. */
int stream_feed(struct stream *s, const char *bytes, size_t len) MUST_CHECK;
/* After the last byte: 0 when no object is half read (and, for a list, the document is complete), else ERR_MALFORMED. */
int stream_end(const struct stream *s) MUST_CHECK;
/* List mode: the "metadata" object's bytes, or NULL if not seen. Borrowed. */
const char *stream_metadata(const struct stream *s, size_t *ret_len);
