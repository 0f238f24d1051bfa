/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/slice.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE_NAME_LABEL "kubernetes.io/service-name"

struct place { /* one endpoint; borrows from the JSON tree */
        const char *node;
        bool usable;
};

/* Ready, where absent means yes; or still serving while it terminates (API: EndpointConditions). */
static bool is_usable(const cJSON *endpoint)
{
        const cJSON *conditions = json_at(endpoint, "conditions");
        bool ready = true, serving = false;

        (void)json_bool(conditions, "ready", &ready);
        (void)json_bool(conditions, "serving", &serving);
        return ready || serving;
}

static int by_node(const void *a, const void *b)
{
        const struct place *x = a, *y = b;

        return strcmp(x->node, y->node);
}

static bool starts_node(const struct place *p, size_t i)
{
        return i == 0 || strcmp(p[i - 1].node, p[i].node) != 0;
}

static int fill(struct object *o, const cJSON *json)
{
        struct slice *s = (struct slice *)o;
        const cJSON *list = NULL, *item, *labels = json_at(json_at(json, "metadata"), "labels");
        CLEANUP(freep) struct place *places = NULL;
        size_t n = 0, n_nodes = 0;

        s->service = object_text(o->arena, labels, SERVICE_NAME_LABEL);
        if (json_arr(json, "endpoints", &list) < 0 || cJSON_GetArraySize(list) == 0)
                return 0;
        places = calloc((size_t)cJSON_GetArraySize(list), sizeof(*places));
        if (!places)
                return -ENOMEM;
        cJSON_ArrayForEach (item, list) {
                if (!cJSON_IsObject(item))
                        continue;
                places[n++] = (struct place){ .node = json_str_at(item, "nodeName", ""),
                        .usable = is_usable(item) };
        }
        qsort(places, n, sizeof(*places), by_node);
        for (size_t i = 0; i < n; i++)
                n_nodes += starts_node(places, i);
        s->nodes = arena_calloc(o->arena, n_nodes, sizeof(*s->nodes));
        for (size_t i = 0; s->nodes && i < n; i++) {
                if (starts_node(places, i))
                        s->nodes[s->n_nodes++].node = arena_dup(o->arena, places[i].node);
                if (places[i].usable)
                        s->nodes[s->n_nodes - 1].usable++;
                else
                        s->nodes[s->n_nodes - 1].not_usable++;
        }
        return 0;
}

int slice_decode(struct object **ret, const cJSON *json)
{
        static const struct object_kind kind = { .size = sizeof(struct slice), .lean = true, .fill = fill };

        return object_build(ret, &kind, json);
}
