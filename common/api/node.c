/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/node.h"

#include <string.h>

static bool is_true(const cJSON *condition)
{
        return strcmp(json_str_at(condition, "status", ""), "True") == 0;
}

static void fill_addresses(struct node *n, const cJSON *list)
{
        const cJSON *item;
        size_t room = cJSON_IsArray(list) ? (size_t)cJSON_GetArraySize(list) : 0;

        n->addresses = arena_calloc(n->meta.arena, room, sizeof(*n->addresses));
        if (!n->addresses)
                return;
        cJSON_ArrayForEach (item, list) {
                const char *type = json_str_at(item, "type", "");

                if ((strcmp(type, "InternalIP") == 0 || strcmp(type, "ExternalIP") == 0) &&
                        ip_parse(&n->addresses[n->n_addresses], json_str_at(item, "address", "")) == 0)
                        n->n_addresses++;
        }
}

static int fill(struct object *o, const cJSON *json)
{
        struct node *n = (struct node *)o;
        const cJSON *item, *conditions = json_at(json, "status.conditions");

        if (cJSON_IsArray(conditions)) {
                cJSON_ArrayForEach (item, conditions) {
                        const char *type = json_str_at(item, "type", "");

                        if (strcmp(type, "NetworkUnavailable") == 0)
                                n->network_unavailable = is_true(item);
                        else if (strcmp(type, "Ready") == 0)
                                n->ready = is_true(item);
                }
        }
        n->excluded = kv_get(&o->labels, NODE_EXCLUDE_LABEL) != NULL;
        fill_addresses(n, json_at(json, "status.addresses"));
        return 0;
}

int node_decode(struct object **ret, const cJSON *json)
{
        static const struct object_kind kind = { .size = sizeof(struct node), .fill = fill };

        return object_build(ret, &kind, json);
}
