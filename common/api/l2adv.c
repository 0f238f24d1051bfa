/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/l2adv.h"

#include <errno.h>
#include <string.h>

static int fill_selectors(struct selector_list *ret, struct l2adv *l, const cJSON *spec, const char *field)
{
        struct err e = { "" };
        int r;

        r = selector_list_parse(
                ret, l->meta.arena, cJSON_GetObjectItemCaseSensitive(spec, field), field, false, &e);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                object_complain(&l->error, l->meta.arena, "%s", e.text);
        return 0;
}

static void sort_unique(struct str_list *texts, struct arena *a)
{
        size_t kept = 0;

        texts->v = arena_sort(a, texts->v, texts->n);
        for (size_t i = 0; texts->v && i < texts->n; i++)
                if (kept == 0 || strcmp(texts->v[kept - 1], texts->v[i]) != 0)
                        texts->v[kept++] = texts->v[i];
        texts->n = kept;
}

static int fill_preferences(struct l2adv *l, const cJSON *spec)
{
        const cJSON *list = json_at(spec, "preferredNodeSelectors"), *item;
        struct err e = { "" };

        if (list && !cJSON_IsArray(list))
                object_complain(&l->error, l->meta.arena, "preferredNodeSelectors is not a list");
        if (!cJSON_IsArray(list))
                return 0;
        l->preferences =
                arena_calloc(l->meta.arena, (size_t)cJSON_GetArraySize(list), sizeof(*l->preferences));
        if (!l->preferences)
                return 0;
        cJSON_ArrayForEach (item, list) {
                struct l2adv_preference *p = &l->preferences[l->n_preferences];
                int r = selector_parse(
                        &p->nodes, l->meta.arena, cJSON_GetObjectItemCaseSensitive(item, "preference"), &e);

                if (r == -ENOMEM)
                        return r;
                if (r < 0) {
                        (void)err_wrap(&e, r, "preferredNodeSelectors[%zu]", l->n_preferences);
                        object_complain(&l->error, l->meta.arena, "%s", e.text);
                        return 0;
                }
                /* The schema wants 1..100; whatever stands there, sums of it must not overflow. */
                p->weight = json_int_clamped(item, "weight", 0);
                p->weight = MAX(MIN(p->weight, (int64_t)INT32_MAX), (int64_t)INT32_MIN);
                l->n_preferences++;
        }
        return 0;
}

static int fill(struct object *o, const cJSON *json)
{
        struct l2adv *l = (struct l2adv *)o;
        const cJSON *spec = json_at(json, "spec");
        const struct {
                const char *field;
                struct selector_list *list;
        } selectors[] = {
                { "ipAddressPoolSelectors", &l->pool_selectors },
                { "nodeSelectors", &l->node_selectors },
                { "serviceSelectors", &l->service_selectors },
        };
        const char *twice;

        l->pools = str_list_field(o->arena, spec, "ipAddressPools", &l->error);
        twice = str_list_repeated(&l->pools, o->arena);
        if (twice)
                object_complain(&l->error, o->arena, "duplicate definition of ipAddressPools \"%s\"", twice);
        for (size_t i = 0; i < ARRAY_LEN(selectors); i++)
                if (fill_selectors(selectors[i].list, l, spec, selectors[i].field) < 0)
                        return -ENOMEM;
        l->interfaces = str_list_field(o->arena, spec, "interfaces", &l->error);
        sort_unique(&l->interfaces, o->arena);
        l->conditions = condition_list_from(o->arena, json_at(json, "status.conditions"));
        return fill_preferences(l, spec);
}

int l2adv_decode(struct object **ret, const cJSON *json)
{
        static const struct object_kind kind = { .size = sizeof(struct l2adv), .fill = fill };

        return object_build(ret, &kind, json);
}
