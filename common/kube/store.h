/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* store - decoded objects by namespace and name, with a generation mark that tells what a new list did not have. Pure.
 * About 100 bytes for each object besides the object itself. */
#include "common/api/object.h"

struct store;

int store_new(struct store **ret) MUST_CHECK;
struct store *store_free(struct store *s); /* NULL is fine; frees all objects; returns NULL */
DEFINE_CLEANUP(struct store, store_free);

/* Takes @o on success and marks it as seen; *ret_old is what it replaced (now the caller's), or NULL. -ENOMEM. */
int store_put(struct store *s, struct object *o, struct object **ret_old) MUST_CHECK;
const struct object *store_get(const struct store *s, const char *ns, const char *name); /* NULL: none */
/* Out of the store, to the caller. NULL: none. */
struct object *store_take(struct store *s, const char *ns, const char *name);
size_t store_count(const struct store *s);
int store_each(const struct store *s, int (*fn)(void *ctx, const struct object *o), void *ctx);

/* A list begins: nothing is seen yet. */
void store_begin(struct store *s);
/* Seen, although there is no (new) content. False: not in the store. */
bool store_mark(struct store *s, const char *ns, const char *name);
/* One object that was not seen since store_begin(), out of the store; NULL when no more. All of them together take
 * one pass; nothing else may change the store in between. */
struct object *store_sweep(struct store *s);
