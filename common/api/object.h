/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* object - what every decoded Kubernetes object has: metadata, conditions, one arena that holds it all. Pure.
 *
 * A decoder takes the JSON of one object and copies only the fields we use, so the tree can be freed at
 * once. Decoders are total: what the API server can store never fails to decode for its content; a field of an
 * unexpected type reads as absent. The only failures are ERR_MALFORMED (no metadata.name) and -ENOMEM.
 * A mistake in the content (a range that does not parse) is kept in the object as words, for its owner. */
#include "common/arena.h"
#include "common/ip.h"
#include "common/json.h"
#include "common/selector.h"

struct object { /* first member of every decoded kind */
        struct arena *arena; /* owns this object and all it points to */
        const char *ns; /* "" for cluster-scoped kinds */
        const char *name;
        const char *uid;
        const char *rv; /* metadata.resourceVersion: opaque text */
        int64_t generation; /* 0 when absent */
        int64_t created_s; /* seconds since 1970, 0 when absent */
        bool deleting; /* metadata.deletionTimestamp is set */
        struct kv_list labels;
        struct kv_list annotations; /* only those with one of the prefixes in object_annotation_prefixes */
};

/* NULL-terminated: "metallb.io/", "metallb.universe.tf/". Others are not kept: they can be large. */
extern const char *const object_annotation_prefixes[];

/* Decodes one object of a kind. On success *ret is owned by the caller; free with object_free(). */
typedef int (*object_decode_fn)(struct object **ret, const cJSON *json);

/* Frees any decoded kind. NULL is fine; returns NULL. */
struct object *object_free(struct object *o);
DEFINE_CLEANUP(struct object, object_free);

/* For decoders: what object_build() must know of a kind. */
struct object_kind {
        size_t size; /* of its struct, which begins with struct object */
        bool lean; /* uid, labels and annotations are not kept ("", empty lists) */
        /* Copies the fields of the kind from @json into @o, which is zeroed but for the metadata; texts and arrays go to
         * o->arena, whose failure needs no test here. Called twice: the first time only measures. 0 or -ENOMEM. NULL:
         * nothing but metadata. */
        int (*fill)(struct object *o, const cJSON *json);
};
/* An object in an arena of exactly its size. 0, ERR_MALFORMED (no metadata.name), -ENOMEM. */
int object_build(struct object **ret, const struct object_kind *kind, const cJSON *json) MUST_CHECK;
/* Keeps the first thing found wrong, as words in the arena; does nothing when *error is set. */
void object_complain(const char **error, struct arena *a, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The string member, copied; "" when it is absent or no string. */
const char *object_text(struct arena *a, const cJSON *obj, const char *key);

struct condition { /* meta/v1 Condition */
        const char *type, *status, *reason, *message; /* never NULL */
        int64_t observed_generation, last_transition_s;
};

struct condition_list {
        struct condition *v;
        size_t n;
};

struct condition_list condition_list_from(struct arena *a, const cJSON *json);
const struct condition *condition_get(const struct condition_list *l, const char *type); /* NULL: absent */

struct str_list {
        const char **v;
        size_t n;
};

/* Members that are no strings are left out. */
struct str_list str_list_from(struct arena *a, const cJSON *json);
/* The same for a field named @field that must be a list of strings or absent: anything else is complained about, because
 * reading a restriction of the wrong type as absent would lift it. */
struct str_list str_list_field(struct arena *a, const cJSON *obj, const char *field, const char **error);
bool str_list_has(const struct str_list *l, const char *text);
/* A text that stands in the list twice, or NULL. Needs the arena to sort. */
const char *str_list_repeated(const struct str_list *l, struct arena *a);
