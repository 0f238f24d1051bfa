/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* arena - memory that is freed as a whole: one decoded object, one decision. Pure.
 *
 * Errors are sticky: after a failed allocation every call returns NULL (arena_dup() returns ""), and
 * arena_ok() is false, so that a decoder fills everything and tests once. */
#include "common/base.h"

struct arena;

/* @first is the size of the first block in bytes; further blocks are made as needed. NULL: no memory. */
struct arena *arena_new(size_t first) MUST_CHECK;
struct arena *arena_free(struct arena *a); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct arena, arena_free);

bool arena_ok(const struct arena *a);
size_t arena_size(const struct arena *a); /* bytes held, for limits and metrics */

void *arena_calloc(struct arena *a, size_t n, size_t size); /* zeroed, aligned for any type; n == 0: NULL */
const char *arena_dup(struct arena *a, const char *text); /* NULL stays NULL */
const char *arena_dup_n(struct arena *a, const char *text, size_t len);
const char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
