/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* arena - memory that is freed as a whole: one decoded object, one decision. Pure.
 *
 * Errors are sticky: after a failed allocation every call returns NULL (those that return a text: ""), and
 * arena_ok() is false, so that a decoder fills everything and tests once. */
#include "common/base.h"

struct arena;

/* @first is the room of the first block in bytes; it is part of the same allocation, so an arena that never needs more
 * costs one malloc(). Further blocks grow with the arena, to 1 GiB in all. NULL: no memory. */
struct arena *arena_new(size_t first) MUST_CHECK;
struct arena *arena_free(struct arena *a); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct arena, arena_free);

bool arena_ok(const struct arena *a);
size_t arena_size(const struct arena *a); /* bytes held, for limits and metrics */
/* Bytes handed out: the @first with which the same calls would have needed one block. */
size_t arena_used(const struct arena *a);

/* Zeroed, and aligned for any type of @size bytes. n == 0: NULL, and no error. */
void *arena_calloc(struct arena *a, size_t n, size_t size);
const char *arena_dup(struct arena *a, const char *text); /* NULL stays NULL */
const char *arena_dup_n(struct arena *a, const char *text, size_t len);
const char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The @n texts in the order of strcmp(), in an array of the arena's; the texts themselves are not copied.
 * n == 0: NULL, and no error. */
const char **arena_sort(struct arena *a, const char *const *texts, size_t n);
