/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* tree - an intrusive balanced tree (AVL): ordered, never allocates, so that unlinking cannot fail. Pure.
 * The node lives inside the element, is reached with container_of(), and must not move while it is linked. */
#include "common/base.h"

struct tree_node {
        struct tree_node *child[2];
        uintptr_t up; /* parent, and balance + 1 in the two lowest bits */
};

struct tree {
        struct tree_node *root;
        size_t n;
};

#define TREE_INIT \
        { \
                0 \
        }

/* <0, 0, >0 as the key (or the first node) is before, at, or after the node. */
typedef int (*tree_key_cmp)(const void *key, struct tree_node *node);
typedef int (*tree_cmp)(struct tree_node *a, struct tree_node *b);

/* NULL, or the equal node that is there already (then nothing changed). */
struct tree_node *tree_insert(struct tree *t, struct tree_node *node, tree_cmp cmp);
/* The second half of tree_insert(), for who searched the place himself: @node becomes child @side of @parent, which has
 * none there. @parent NULL: the tree is empty. */
void tree_link(struct tree *t, struct tree_node *node, struct tree_node *parent, int side);
void tree_remove(struct tree *t, struct tree_node *node); /* @node must be in @t */

struct tree_node *tree_find(const struct tree *t, const void *key, tree_key_cmp cmp);
struct tree_node *tree_at_least(const struct tree *t, const void *key, tree_key_cmp cmp); /* first >= key */
struct tree_node *tree_at_most(const struct tree *t, const void *key, tree_key_cmp cmp); /* last <= key */
struct tree_node *tree_first(const struct tree *t);
struct tree_node *tree_last(const struct tree *t);
struct tree_node *tree_next(const struct tree_node *node);
struct tree_node *tree_prev(const struct tree_node *node);

/* The body may not remove the node. */
#define TREE_FOREACH(pos, t) for (struct tree_node *pos = tree_first(t); pos; pos = tree_next(pos))

/* Takes any node out until the tree is empty: for tearing down. NULL when empty. Order is not kept. */
struct tree_node *tree_pop_any(struct tree *t);
