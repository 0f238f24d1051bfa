/* SPDX-License-Identifier: Apache-2.0 */
/* tree - AVL: the heights of two siblings differ by at most one, kept as "balance" (right minus left) in the low bits
 * of the parent pointer. Pure. */
#include "common/tree.h"

#define BALANCE_BITS ((uintptr_t)3)

static struct tree_node *parent_of(const struct tree_node *n)
{
        return (struct tree_node *)(n->up & ~BALANCE_BITS);
}

static int balance_of(const struct tree_node *n)
{
        return (int)(n->up & BALANCE_BITS) - 1;
}

static void set_parent(struct tree_node *n, const struct tree_node *parent)
{
        n->up = (uintptr_t)parent | (n->up & BALANCE_BITS);
}

static void set_balance(struct tree_node *n, int balance)
{
        n->up = (n->up & ~BALANCE_BITS) | (uintptr_t)(balance + 1);
}

/* Puts @now (may be NULL) where @old hangs. */
static void replace_child(
        struct tree *t, struct tree_node *parent, const struct tree_node *old, struct tree_node *now)
{
        if (!parent)
                t->root = now;
        else
                parent->child[parent->child[1] == old] = now;
        if (now)
                set_parent(now, parent);
}

/* @p goes down to side @dir, its other child comes up and is returned. Balances are the caller's. */
static struct tree_node *rotate(struct tree *t, struct tree_node *p, int dir)
{
        struct tree_node *c = p->child[!dir], *inner = c->child[dir];

        replace_child(t, parent_of(p), p, c);
        p->child[!dir] = inner;
        if (inner)
                set_parent(inner, p);
        c->child[dir] = p;
        set_parent(p, c);
        return c;
}

/* @p is two higher on side @heavy. Returns the new top of this subtree; *@shrunk says whether it got lower. */
static struct tree_node *fix(struct tree *t, struct tree_node *p, int heavy, bool *shrunk)
{
        int d = heavy ? 1 : -1, b;
        struct tree_node *c = p->child[heavy], *top;

        if (balance_of(c) != -d) {
                bool was_even = balance_of(c) == 0; /* only after a removal */

                top = rotate(t, p, !heavy);
                set_balance(p, was_even ? d : 0);
                set_balance(c, was_even ? -d : 0);
                *shrunk = !was_even;
                return top;
        }
        b = balance_of(c->child[!heavy]);
        rotate(t, c, heavy);
        top = rotate(t, p, !heavy);
        set_balance(p, b == d ? -d : 0);
        set_balance(c, b == -d ? d : 0);
        set_balance(top, 0);
        *shrunk = true;
        return top;
}

void tree_link(struct tree *t, struct tree_node *node, struct tree_node *parent, int side)
{
        struct tree_node *p = parent;
        bool shrunk;

        node->child[0] = node->child[1] = NULL;
        node->up = (uintptr_t)p;
        set_balance(node, 0);
        if (!p)
                t->root = node;
        else
                p->child[side] = node;
        t->n++;

        for (struct tree_node *n = node; p; n = p, p = parent_of(p)) {
                int d = p->child[1] == n ? 1 : -1, b = balance_of(p);

                if (b == d) {
                        fix(t, p, d > 0, &shrunk);
                        break;
                }
                set_balance(p, b + d);
                if (b != 0)
                        break;
        }
}

struct tree_node *tree_insert(struct tree *t, struct tree_node *node, tree_cmp cmp)
{
        struct tree_node *p = NULL;
        int side = 0;

        for (struct tree_node *n = t->root; n; n = n->child[side]) {
                int c = cmp(node, n);

                if (c == 0)
                        return n;
                p = n;
                side = c > 0;
        }
        tree_link(t, node, p, side);
        return NULL;
}

/* The side @dir under @p got lower by one. */
static void shrunk_at(struct tree *t, struct tree_node *p, int dir)
{
        while (p) {
                int d = dir ? -1 : 1, b = balance_of(p);
                struct tree_node *top = p, *up;
                bool shrunk = b != 0;

                if (b == d)
                        top = fix(t, p, !dir, &shrunk);
                else
                        set_balance(p, b + d);
                if (!shrunk)
                        return;
                up = parent_of(top);
                if (up)
                        dir = up->child[1] == top;
                p = up;
        }
}

void tree_remove(struct tree *t, struct tree_node *node)
{
        struct tree_node *p = parent_of(node), *next = node->child[1], *hole;
        int dir = p && p->child[1] == node;

        t->n--;
        if (!node->child[0] || !node->child[1]) {
                replace_child(t, p, node, node->child[0] ? node->child[0] : node->child[1]);
                shrunk_at(t, p, dir);
                return;
        }
        /* Two children: the next node takes the place; the hole is where that one was. */
        while (next->child[0])
                next = next->child[0];
        hole = parent_of(next);
        if (hole == node) {
                hole = next;
                dir = 1;
        } else {
                dir = 0;
                hole->child[0] = next->child[1];
                if (next->child[1])
                        set_parent(next->child[1], hole);
                next->child[1] = node->child[1];
                set_parent(next->child[1], next);
        }
        next->child[0] = node->child[0];
        set_parent(next->child[0], next);
        set_balance(next, balance_of(node));
        replace_child(t, p, node, next);
        shrunk_at(t, hole, dir);
}

struct tree_node *tree_find(const struct tree *t, const void *key, tree_key_cmp cmp)
{
        for (struct tree_node *n = t->root; n;) {
                int c = cmp(key, n);

                if (c == 0)
                        return n;
                n = n->child[c > 0];
        }
        return NULL;
}

struct tree_node *tree_at_least(const struct tree *t, const void *key, tree_key_cmp cmp)
{
        struct tree_node *best = NULL;

        for (struct tree_node *n = t->root; n;) {
                int c = cmp(key, n);

                if (c <= 0)
                        best = n;
                n = n->child[c > 0];
        }
        return best;
}

struct tree_node *tree_at_most(const struct tree *t, const void *key, tree_key_cmp cmp)
{
        struct tree_node *best = NULL;

        for (struct tree_node *n = t->root; n;) {
                int c = cmp(key, n);

                if (c >= 0)
                        best = n;
                n = n->child[c >= 0];
        }
        return best;
}

/* The outermost node of the subtree @n on side @dir. */
static struct tree_node *outermost(struct tree_node *n, int dir)
{
        while (n && n->child[dir])
                n = n->child[dir];
        return n;
}

static struct tree_node *step(const struct tree_node *n, int dir)
{
        struct tree_node *p;

        if (n->child[dir])
                return outermost(n->child[dir], !dir);
        for (p = parent_of(n); p && p->child[dir] == n; p = parent_of(p))
                n = p;
        return p;
}

struct tree_node *tree_first(const struct tree *t)
{
        return outermost(t->root, 0);
}

struct tree_node *tree_last(const struct tree *t)
{
        return outermost(t->root, 1);
}

struct tree_node *tree_next(const struct tree_node *node)
{
        return step(node, 1);
}

struct tree_node *tree_prev(const struct tree_node *node)
{
        return step(node, 0);
}

struct tree_node *tree_pop_any(struct tree *t)
{
        struct tree_node *n = t->root, *p;

        if (!n)
                return NULL;
        while (n->child[0] || n->child[1])
                n = n->child[0] ? n->child[0] : n->child[1];
        p = parent_of(n); /* a leaf: no rebalancing, balances mean nothing from here on */
        if (p)
                p->child[p->child[1] == n] = NULL;
        else
                t->root = NULL;
        t->n--;
        return n;
}
