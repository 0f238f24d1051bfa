/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* ifset - sets of interface names, each kept once however many addresses use it. Pure.
 * NULL stands for every interface. */
#include "common/base.h"

struct ifset; /* counted; equal sets of one table are one pointer */
struct ifset_table {
        struct ifset *sets;
};

/* A reference to the set of @names, which are sorted in place. 0 or -ENOMEM. n 0: *ret is NULL. */
int ifset_get(struct ifset **ret, struct ifset_table *t, const char **names, size_t n) MUST_CHECK;
struct ifset *ifset_ref(struct ifset *s);
void ifset_unref(struct ifset_table *t, struct ifset *s); /* NULL is fine */

size_t ifset_count(const struct ifset *s); /* 0 for NULL */
const char *const *ifset_names(const struct ifset *s); /* sorted, unique; NULL for NULL */
