/* SPDX-License-Identifier: Apache-2.0 */
/* Every operation against a sorted array that shares no code with the tree, and the AVL shape after each. */
#include "common/tree.h"

#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "test/lib/unit.h"

/* An assertion of check's writes to a file: too slow for millions of them. */
#define MUST(x) \
        do { \
                if (!(x)) \
                        ck_abort_msg("not so: %s", #x); \
        } while (0)

struct elem {
        struct tree_node node;
        int key;
        bool in;
};

static int elem_cmp(struct tree_node *a, struct tree_node *b)
{
        int x = container_of(a, struct elem, node)->key, y = container_of(b, struct elem, node)->key;

        return (x > y) - (x < y);
}

static int key_cmp(const void *key, struct tree_node *b)
{
        int x = *(const int *)key, y = container_of(b, struct elem, node)->key;

        return (x > y) - (x < y);
}

/* Height of the subtree; fails the test when siblings differ by more than one or a parent pointer is wrong. */
static int height(const struct tree_node *n, const struct tree_node *parent)
{
        int l, r;

        if (!n)
                return 0;
        MUST((const struct tree_node *)(n->up & ~(uintptr_t)3) == parent);
        l = height(n->child[0], n);
        r = height(n->child[1], n);
        MUST(abs(l - r) <= 1);
        MUST((int)(n->up & 3) - 1 == r - l);
        return 1 + MAX(l, r);
}

#define N_KEYS 160

static void compare(const struct tree *t, struct elem *all)
{
        struct tree_node *n = tree_first(t), *last = NULL;
        size_t count = 0;

        height(t->root, NULL);
        for (int k = 0; k < N_KEYS; k++) {
                struct tree_node *at_least = NULL, *at_most = NULL;

                for (int i = k; i < N_KEYS && !at_least; i++)
                        if (all[i].in)
                                at_least = &all[i].node;
                for (int i = k; i >= 0 && !at_most; i--)
                        if (all[i].in)
                                at_most = &all[i].node;
                MUST(tree_at_least(t, &k, key_cmp) == at_least);
                MUST(tree_at_most(t, &k, key_cmp) == at_most);
                MUST(tree_find(t, &k, key_cmp) == (all[k].in ? &all[k].node : NULL));
                if (!all[k].in)
                        continue;
                MUST(n == &all[k].node);
                MUST(tree_prev(n) == last);
                last = n;
                n = tree_next(n);
                count++;
        }
        MUST(n == NULL);
        MUST(tree_last(t) == last);
        MUST(t->n == count);
}

static const struct {
        const char *name;
        unsigned insert_percent;
} mixes[] = { { "growing", 70 }, { "even", 50 }, { "shrinking", 35 } };

START_TEST(random_operations)
{
        struct rng rng = { 42 + (uint64_t)_i };
        struct tree t = TREE_INIT;
        struct elem *all = calloc(N_KEYS, sizeof(*all));
        struct tree_node *n;

        ck_assert_ptr_nonnull(all);
        for (int i = 0; i < N_KEYS; i++)
                all[i].key = i;
        for (int op = 0; op < 1500; op++) {
                struct elem *e = &all[rng_below(&rng, N_KEYS)];

                if (rng_below(&rng, 100) < mixes[_i].insert_percent) {
                        struct elem twin = { .key = e->key };

                        n = tree_insert(&t, e->in ? &twin.node : &e->node, elem_cmp);
                        ck_assert_ptr_eq(n, e->in ? &e->node : NULL);
                        e->in = true;
                } else if (e->in) {
                        tree_remove(&t, &e->node);
                        e->in = false;
                }
                compare(&t, all);
        }
        while ((n = tree_pop_any(&t))) {
                struct elem *e = container_of(n, struct elem, node);

                ck_assert(e->in);
                e->in = false;
        }
        for (int i = 0; i < N_KEYS; i++)
                ck_assert_msg(!all[i].in, "key %d was lost", i);
        ck_assert_uint_eq(t.n, 0);
        free(all);
}
END_TEST

START_TEST(ordered_growth_stays_low)
{
        enum { N = 4096 };
        struct tree t = TREE_INIT;
        struct elem *all = calloc(N, sizeof(*all));
        int want = 0;

        ck_assert_ptr_nonnull(all);
        for (int i = 0; i < N; i++) {
                all[i].key = _i ? N - i : i;
                ck_assert_ptr_null(tree_insert(&t, &all[i].node, elem_cmp));
        }
        ck_assert_int_le(height(t.root, NULL), 17); /* 1.44 log2 n */
        TREE_FOREACH (n, &t)
                ck_assert_int_eq(container_of(n, struct elem, node)->key, want++ + (_i ? 1 : 0));
        free(all);
}
END_TEST

START_TEST(empty_tree)
{
        struct tree t = TREE_INIT;
        int k = 1;

        ck_assert_ptr_null(tree_first(&t));
        ck_assert_ptr_null(tree_last(&t));
        ck_assert_ptr_null(tree_find(&t, &k, key_cmp));
        ck_assert_ptr_null(tree_at_least(&t, &k, key_cmp));
        ck_assert_ptr_null(tree_at_most(&t, &k, key_cmp));
        ck_assert_ptr_null(tree_pop_any(&t));
}
END_TEST

int main(void)
{
        Suite *s = suite_create("tree");
        TCase *tc = tcase_create("tree");

        suite_add_tcase(s, tc);
        tcase_add_loop_test(tc, random_operations, 0, (int)ARRAY_LEN(mixes));
        tcase_add_loop_test(tc, ordered_growth_stays_low, 0, 2);
        tcase_add_test(tc, empty_tree);
        return unit_main(s);
}
