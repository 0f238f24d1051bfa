/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/kube/store.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

static struct object *make(const char *ns, const char *name, const char *rv)
{
        struct arena *a = arena_new(128);
        struct object *o = a ? arena_calloc(a, 1, sizeof(*o)) : NULL;

        if (!o) {
                (void)arena_free(a);
                return NULL;
        }
        o->arena = a;
        o->ns = arena_dup(a, ns);
        o->name = arena_dup(a, name);
        o->rv = arena_dup(a, rv);
        o->uid = "";
        if (!arena_ok(a)) {
                (void)arena_free(a);
                return NULL;
        }
        return o;
}

/* Puts an object; what it replaced is freed. */
static int put(struct store *s, const char *ns, const char *name, const char *rv, bool *ret_replaced)
{
        struct object *o = make(ns, name, rv), *old = NULL;
        int r = o ? store_put(s, o, &old) : -ENOMEM;

        if (r < 0)
                (void)object_free(o);
        *ret_replaced = old != NULL;
        (void)object_free(old);
        return r;
}

START_TEST(finds_by_namespace_and_name)
{
        CLEANUP(store_freep) struct store *s = NULL;
        struct object *taken;
        bool replaced;

        ck_assert_int_eq(store_new(&s), 0);
        ck_assert_ptr_null(store_get(s, "a", "b"));
        ck_assert_ptr_null(store_take(s, "a", "b"));
        ck_assert_int_eq(put(s, "a", "b", "1", &replaced), 0);
        ck_assert(!replaced);
        ck_assert_int_eq(put(s, "", "a/b", "2", &replaced), 0); /* hashes alike, is another */
        ck_assert_int_eq(put(s, "b", "a", "3", &replaced), 0);
        ck_assert_int_eq(put(s, "a", "b", "4", &replaced), 0);
        ck_assert(replaced);
        ck_assert_uint_eq(store_count(s), 3);
        ck_assert_str_eq(store_get(s, "a", "b")->rv, "4");
        ck_assert_str_eq(store_get(s, "", "a/b")->rv, "2");
        taken = store_take(s, "a", "b");
        ck_assert_str_eq(taken->rv, "4");
        (void)object_free(taken);
        ck_assert_ptr_null(store_get(s, "a", "b"));
        ck_assert_uint_eq(store_count(s), 2);
}
END_TEST

static int count_until(void *ctx, const struct object *o UNUSED)
{
        return --*(int *)ctx == 0 ? -EINTR : 0;
}

START_TEST(each_stops_when_told)
{
        CLEANUP(store_freep) struct store *s = NULL;
        bool replaced;
        int left = 100;

        ck_assert_int_eq(store_new(&s), 0);
        for (int i = 0; i < 10; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "n%d", i);
                ck_assert_int_eq(put(s, "x", name, "1", &replaced), 0);
        }
        ck_assert_int_eq(store_each(s, count_until, &left), 0);
        ck_assert_int_eq(left, 90);
        left = 3;
        ck_assert_int_eq(store_each(s, count_until, &left), -EINTR);
}
END_TEST

/* Every combination of what a list may do to six objects: see again, see changed, only mark, or leave out. */
START_TEST(sweep_takes_what_was_not_seen)
{
        for (unsigned mask = 0; mask < 4096; mask++) {
                CLEANUP(store_freep) struct store *s = NULL;
                unsigned missing = 0, swept = 0;
                struct object *o;
                bool replaced;

                ck_assert_int_eq(store_new(&s), 0);
                for (unsigned i = 0; i < 6; i++)
                        ck_assert_int_eq(put(s, "n", (char[]){ (char)('a' + i), 0 }, "1", &replaced), 0);
                store_begin(s);
                for (unsigned i = 0; i < 6; i++) {
                        const char name[] = { (char)('a' + i), 0 };
                        unsigned what = mask >> 2 * i & 3;

                        if (what == 0)
                                missing |= 1u << i;
                        else if (what == 1)
                                ck_assert(store_mark(s, "n", name));
                        else
                                ck_assert_int_eq(put(s, "n", name, "2", &replaced), 0);
                }
                ck_assert_int_eq(put(s, "n", "new", "1", &replaced), 0);
                while ((o = store_sweep(s))) {
                        swept |= 1u << (o->name[0] - 'a');
                        (void)object_free(o);
                }
                ck_assert_uint_eq(swept, missing);
                ck_assert_ptr_null(store_sweep(s));
                ck_assert(!store_mark(s, "n", "unknown"));
        }
}
END_TEST

START_TEST(many_objects_stay_small)
{
        CLEANUP(store_freep) struct store *s = NULL;
        char name[32];
        bool replaced;

        ck_assert_int_eq(store_new(&s), 0);
        for (unsigned round = 0; round < 2; round++) {
                for (unsigned i = 0; i < 20000; i++) {
                        (void)snprintf(name, sizeof(name), "object-%u", i);
                        ck_assert_int_eq(put(s, "some-namespace", name, "1", &replaced), 0);
                        ck_assert(replaced == (round > 0));
                }
        }
        ck_assert_uint_eq(store_count(s), 20000);
        for (unsigned i = 0; i < 20000; i += 2) {
                (void)snprintf(name, sizeof(name), "object-%u", i);
                (void)object_free(store_take(s, "some-namespace", name));
        }
        ck_assert_uint_eq(store_count(s), 10000);
        ck_assert_ptr_null(store_get(s, "some-namespace", "object-2"));
        ck_assert_ptr_nonnull(store_get(s, "some-namespace", "object-3"));
}
END_TEST

/* The table grows at the 320th object or so: go well beyond. */
START_TEST(any_allocation_may_fail)
{
        for (unsigned n = 0;; n++) {
                struct store *s = NULL;
                unsigned i = 0;
                char name[16];
                bool replaced;
                int r;

                fault_arm(n);
                r = store_new(&s);
                for (; r == 0 && i < 400; i++) {
                        (void)snprintf(name, sizeof(name), "n%u", i);
                        r = put(s, "x", name, "1", &replaced);
                }
                if (!fault_disarm()) {
                        ck_assert_int_eq(r, 0);
                        (void)store_free(s);
                        return;
                }
                ck_assert_int_eq(r, -ENOMEM);
                if (s) {
                        ck_assert_uint_eq(store_count(s), i - 1);
                        ck_assert_int_eq(put(s, "x", "again", "1", &replaced), 0); /* still in order */
                        ck_assert_ptr_nonnull(store_get(s, "x", "again"));
                }
                (void)store_free(s);
        }
}
END_TEST

int main(void)
{
        Suite *s = suite_create("store");
        TCase *tc = tcase_create("store");

        tcase_set_timeout(tc, 20);
        tcase_add_test(tc, finds_by_namespace_and_name);
        tcase_add_test(tc, each_stops_when_told);
        tcase_add_test(tc, sweep_takes_what_was_not_seen);
        tcase_add_test(tc, many_objects_stay_small);
        tcase_add_test(tc, any_allocation_may_fail);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
