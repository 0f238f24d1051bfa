/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/object.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SCRATCH 4096 /* room in which most objects can be measured without a second block */

const char *const object_annotation_prefixes[] = { "metallb.io/", "metallb.universe.tf/", NULL };

struct object *object_free(struct object *o)
{
        if (o)
                (void)arena_free(o->arena);
        return NULL;
}

const char *object_text(struct arena *a, const cJSON *obj, const char *key)
{
        const char *text = "";

        (void)json_str(obj, key, &text); /* absent, or another type: stays "" */
        return text[0] != '\0' ? arena_dup(a, text) : "";
}

void object_complain(const char **error, struct arena *a, const char *fmt, ...)
{
        char text[sizeof(struct err)];
        va_list ap;

        if (*error)
                return;
        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, ap); /* cut is fine: words for a human */
        va_end(ap);
        *error = arena_dup(a, text);
}

static int64_t time_of(const cJSON *obj, const char *key)
{
        const char *text = "";
        int64_t seconds = 0;

        if (json_str(obj, key, &text) < 0 || json_time(text, &seconds) < 0)
                return 0;
        return seconds;
}

static void fill_metadata(struct object *o, bool lean, const cJSON *meta)
{
        const char *text;

        o->ns = object_text(o->arena, meta, "namespace");
        o->name = object_text(o->arena, meta, "name");
        o->uid = lean ? "" : object_text(o->arena, meta, "uid");
        o->rv = object_text(o->arena, meta, "resourceVersion");
        o->generation = json_int_clamped(meta, "generation", 0);
        o->created_s = time_of(meta, "creationTimestamp");
        o->deleting = json_str(meta, "deletionTimestamp", &text) == 0;
        if (lean)
                return;
        o->labels = kv_list_from(o->arena, json_at(meta, "labels"));
        o->annotations =
                kv_list_from_prefixed(o->arena, json_at(meta, "annotations"), object_annotation_prefixes);
}

static int build_in(struct object **ret, size_t room, const struct object_kind *kind, const cJSON *json)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(room);
        struct object *o = a ? arena_calloc(a, 1, kind->size) : NULL;
        int r;

        if (!o)
                return -ENOMEM;
        o->arena = a;
        fill_metadata(o, kind->lean, json_at(json, "metadata"));
        r = kind->fill ? kind->fill(o, json) : 0;
        if (r < 0 || !arena_ok(a))
                return -ENOMEM;
        (void)TAKE(a); /* the object owns it now */
        *ret = o;
        return 0;
}

/* Ten thousand objects are kept for hours and decoded in a second, so each is measured first and then built in a
 * block without slack. */
int object_build(struct object **ret, const struct object_kind *kind, const cJSON *json)
{
        CLEANUP(object_freep) struct object *measured = NULL;
        const char *name = "";
        int r;

        (void)json_str(json_at(json, "metadata"), "name", &name);
        if (name[0] == '\0')
                return ERR_MALFORMED;
        r = build_in(&measured, SCRATCH, kind, json);
        return r < 0 ? r : build_in(ret, arena_used(measured->arena), kind, json);
}

struct condition_list condition_list_from(struct arena *a, const cJSON *json)
{
        struct condition_list l = { 0 };
        const cJSON *item;
        size_t n = 0;

        if (!cJSON_IsArray(json))
                return l;
        cJSON_ArrayForEach (item, json)
                n += json_str_at(item, "type", NULL) != NULL;
        l.v = arena_calloc(a, n, sizeof(*l.v));
        if (!l.v)
                return l;
        cJSON_ArrayForEach (item, json) {
                if (!json_str_at(item, "type", NULL))
                        continue;
                l.v[l.n++] = (struct condition){
                        .type = object_text(a, item, "type"),
                        .status = object_text(a, item, "status"),
                        .reason = object_text(a, item, "reason"),
                        .message = object_text(a, item, "message"),
                        .observed_generation = json_int_clamped(item, "observedGeneration", 0),
                        .last_transition_s = time_of(item, "lastTransitionTime"),
                };
        }
        return l;
}

const struct condition *condition_get(const struct condition_list *l, const char *type)
{
        for (size_t i = 0; i < l->n; i++)
                if (strcmp(l->v[i].type, type) == 0)
                        return &l->v[i];
        return NULL;
}

struct str_list str_list_from(struct arena *a, const cJSON *json)
{
        struct str_list l = { 0 };
        const cJSON *item;
        size_t n = 0;

        if (!cJSON_IsArray(json))
                return l;
        cJSON_ArrayForEach (item, json)
                n += cJSON_IsString(item) != 0;
        l.v = arena_calloc(a, n, sizeof(*l.v));
        if (!l.v)
                return l;
        cJSON_ArrayForEach (item, json) {
                if (cJSON_IsString(item))
                        l.v[l.n++] = arena_dup(a, item->valuestring);
        }
        return l;
}

struct str_list str_list_field(struct arena *a, const cJSON *obj, const char *field, const char **error)
{
        const cJSON *list = json_at(obj, field);
        struct str_list l = str_list_from(a, list);

        if (list && (!cJSON_IsArray(list) || l.n != (size_t)cJSON_GetArraySize(list)))
                object_complain(error, a, "%s is not a list of texts", field);
        return l;
}

bool str_list_has(const struct str_list *l, const char *text)
{
        for (size_t i = 0; i < l->n; i++)
                if (strcmp(l->v[i], text) == 0)
                        return true;
        return false;
}

const char *str_list_repeated(const struct str_list *l, struct arena *a)
{
        const char **sorted = arena_sort(a, l->v, l->n);

        for (size_t i = 1; sorted && i < l->n; i++)
                if (strcmp(sorted[i - 1], sorted[i]) == 0)
                        return sorted[i];
        return NULL;
}
