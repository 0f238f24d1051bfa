/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/misc.h"

#include <string.h>

static void fill_ips(struct pod *p, const cJSON *status)
{
        const cJSON *list = NULL, *item;
        size_t room = 1;

        if (json_arr(status, "podIPs", &list) == 0)
                room += (size_t)cJSON_GetArraySize(list);
        p->ips = arena_calloc(p->meta.arena, room, sizeof(*p->ips));
        if (!p->ips)
                return;
        cJSON_ArrayForEach (item, list) {
                if (ip_parse(&p->ips[p->n_ips], json_str_at(item, "ip", "")) == 0)
                        p->n_ips++;
        }
        if (p->n_ips == 0 && ip_parse(&p->ips[0], json_str_at(status, "podIP", "")) == 0)
                p->n_ips = 1;
}

static int fill_pod(struct object *o, const cJSON *json)
{
        struct pod *p = (struct pod *)o;
        const cJSON *status = json_at(json, "status"), *conditions = NULL, *item;

        p->node = object_text(o->arena, json_at(json, "spec"), "nodeName");
        p->phase = object_text(o->arena, status, "phase");
        (void)json_arr(status, "conditions", &conditions);
        cJSON_ArrayForEach (item, conditions) {
                if (strcmp(json_str_at(item, "type", ""), "Ready") == 0)
                        p->ready = strcmp(json_str_at(item, "status", ""), "True") == 0;
        }
        fill_ips(p, status);
        return 0;
}

int pod_decode(struct object **ret, const cJSON *json)
{
        static const struct object_kind kind = { .size = sizeof(struct pod), .fill = fill_pod };

        return object_build(ret, &kind, json);
}

static int fill_l2status(struct object *o, const cJSON *json)
{
        struct l2status *s = (struct l2status *)o;
        const cJSON *status = json_at(json, "status"), *list = NULL, *item;

        s->node = object_text(o->arena, status, "node");
        s->service_name = object_text(o->arena, status, "serviceName");
        s->service_ns = object_text(o->arena, status, "serviceNamespace");
        if (json_arr(status, "interfaces", &list) < 0)
                return 0;
        s->interfaces.v = arena_calloc(o->arena, (size_t)cJSON_GetArraySize(list), sizeof(*s->interfaces.v));
        if (!s->interfaces.v)
                return 0;
        cJSON_ArrayForEach (item, list) {
                const char *name = json_str_at(item, "name", NULL);

                if (name)
                        s->interfaces.v[s->interfaces.n++] = arena_dup(o->arena, name);
        }
        return 0;
}

int l2status_decode(struct object **ret, const cJSON *json)
{
        static const struct object_kind kind = { .size = sizeof(struct l2status), .fill = fill_l2status };

        return object_build(ret, &kind, json);
}

int metadata_decode(struct object **ret, const cJSON *json)
{
        static const struct object_kind kind = { .size = sizeof(struct object) };

        return object_build(ret, &kind, json);
}
