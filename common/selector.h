/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* selector - Kubernetes label selectors (meta/v1 LabelSelector): compile once, match often. Pure.
 *
 * matchLabels and matchExpressions are ANDed; an empty selector matches everything. Operators In, NotIn,
 * Exists, DoesNotExist. A list of selectors is ORed by its users. */
#include <cjson/cJSON.h>

#include "common/arena.h"
#include "common/err.h"

struct kv {
        const char *key, *value;
};

struct kv_list { /* sorted by key; keys are unique */
        struct kv *v;
        size_t n;
};

/* From an object of strings (labels, annotations, spec.selector); members that are no strings are left out, of a key that
 * stands twice the first counts. Memory is the arena's. @json may be NULL (empty list). */
struct kv_list kv_list_from(struct arena *a, const cJSON *json);
/* The same, but only members whose key begins with one of @prefixes (NULL-terminated; NULL: all). */
struct kv_list kv_list_from_prefixed(struct arena *a, const cJSON *json, const char *const *prefixes);
const char *kv_get(const struct kv_list *l, const char *key); /* NULL: absent */

struct selector;

/* Compiles one LabelSelector object into @a. 0; -EINVAL with words: unknown operator, In/NotIn without values,
 * Exists/DoesNotExist with values, a key or value that is no valid label (RFC 1123 rules of the API); -ENOMEM.
 * Values inside an expression are sorted. */
int selector_parse(const struct selector **ret, struct arena *a, const cJSON *json, struct err *e) MUST_CHECK;
bool selector_matches(const struct selector *s, const struct kv_list *labels);
/* A text that is equal for selectors that mean the same (values and expressions sorted). Arena memory. */
const char *selector_text(const struct selector *s);

struct selector_list { /* ORed */
        const struct selector **v;
        size_t n;
};

/* A JSON array of LabelSelectors; NULL is the empty list. @field names it in words ("serviceSelectors").
 * Besides selector_parse()'s errors: two equal selectors, two equal expressions in one selector, a value twice
 * in one expression: -EINVAL, "duplicate definition of <field> ..." (unless @allow_duplicates). */
int selector_list_parse(struct selector_list *ret, struct arena *a, const cJSON *json, const char *field,
        bool allow_duplicates, struct err *e) MUST_CHECK;
/* True when any matches, or when the list is empty. */
bool selector_list_matches(const struct selector_list *l, const struct kv_list *labels);
/* A copy that needs nothing of the original's arena. 0 or -ENOMEM. */
int selector_list_dup(struct selector_list *ret, struct arena *a, const struct selector_list *l) MUST_CHECK;
