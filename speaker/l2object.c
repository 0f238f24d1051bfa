/* SPDX-License-Identifier: Apache-2.0 */
#include "speaker/l2object.h"

#include <string.h>

#include "common/label.h"

#define FNV_BASIS 14695981039346656037u
#define FNV_PRIME 1099511628211u

/* FNV-1a over the text and a separator. 64 bits tell apart what one node announces. */
static uint64_t digest(uint64_t h, const char *text)
{
        for (; *text; text++)
                h = (h ^ (unsigned char)*text) * FNV_PRIME;
        return (h ^ 0xff) * FNV_PRIME; /* 0xff: no byte of UTF-8 */
}

uint64_t l2object_identity(const char *node, const char *service_ns, const char *service_name)
{
        return digest(digest(digest(FNV_BASIS, node), service_ns), service_name);
}

/* A sum, so that the order does not count. */
uint64_t l2object_interfaces(const char *const *interfaces, size_t n)
{
        uint64_t sum = n;

        for (size_t i = 0; i < n; i++)
                sum += digest(FNV_BASIS, interfaces[i]);
        return sum;
}

uint64_t l2object_owner(const char *uid)
{
        return digest(FNV_BASIS, uid);
}

static int fill(struct object *o, const cJSON *json)
{
        struct l2object *s = (struct l2object *)o;
        const cJSON *meta = json_at(json, "metadata"), *labels = json_at(meta, "labels");
        const cJSON *status = json_at(json, "status"), *list = NULL, *item, *owners = NULL;
        const char *before = "";

        s->service_ns = object_text(o->arena, labels, "metallb.io/service-namespace");
        s->service_name = object_text(o->arena, labels, "metallb.io/service-name");
        s->has_status = json_str_at(status, "node", NULL) != NULL;
        s->identity = l2object_identity(json_str_at(status, "node", ""),
                json_str_at(status, "serviceNamespace", ""), json_str_at(status, "serviceName", ""));
        s->is_sorted = true;
        if (json_arr(status, "interfaces", &list) == 0) {
                cJSON_ArrayForEach (item, list) {
                        const char *name = json_str_at(item, "name", "");

                        s->interfaces += digest(FNV_BASIS, name) + 1;
                        s->is_sorted = s->is_sorted && strcmp(before, name) < 0;
                        before = name;
                }
        }
        if (json_arr(meta, "ownerReferences", &owners) == 0 && cJSON_GetArraySize(owners) == 1)
                s->owner = l2object_owner(json_str_at(cJSON_GetArrayItem(owners, 0), "uid", ""));
        return 0;
}

int l2object_decode(struct object **ret, const cJSON *json)
{
        static const struct object_kind kind = {
                .size = sizeof(struct l2object), .lean = true, .fill = fill
        };

        return object_build(ret, &kind, json);
}

static void add_owners(struct buf *b, const char *pod, const char *uid)
{
        buf_adds(b, "\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":");
        buf_add_json(b, pod);
        buf_adds(b, ",\"uid\":");
        buf_add_json(b, uid);
        buf_adds(b, "}]");
}

void l2object_add_new(struct buf *b, const struct l2announcement *a, const char *pod, const char *uid)
{
        char value[LABEL_VALUE_MAX];

        buf_adds(b,
                "{\"apiVersion\":\"metallb.io/v1beta1\",\"kind\":\"ServiceL2Status\",\"metadata\":"
                "{\"generateName\":\"l2-\",\"labels\":{\"metallb.io/node\":");
        buf_add_json(b, label_value(value, a->node));
        buf_adds(b, ",\"metallb.io/service-name\":");
        buf_add_json(b, label_value(value, a->service_name));
        buf_adds(b, ",\"metallb.io/service-namespace\":");
        buf_add_json(b, label_value(value, a->service_ns));
        buf_adds(b, "}");
        if (pod) {
                buf_adds(b, ",");
                add_owners(b, pod, uid);
        }
        buf_adds(b, "},\"spec\":{}}");
}

void l2object_add_owner(struct buf *b, const char *pod, const char *uid)
{
        buf_adds(b, "{\"metadata\":{");
        add_owners(b, pod, uid);
        buf_adds(b, "}}");
}

void l2object_add_status(struct buf *b, const struct l2announcement *a)
{
        buf_adds(b, "{\"status\":{\"node\":");
        buf_add_json(b, a->node);
        buf_adds(b, ",\"serviceName\":");
        buf_add_json(b, a->service_name);
        buf_adds(b, ",\"serviceNamespace\":");
        buf_add_json(b, a->service_ns);
        buf_adds(b, ",\"interfaces\":");
        if (a->n_interfaces == 0)
                buf_adds(b, "null"); /* removes an older list */
        for (size_t i = 0; i < a->n_interfaces; i++) {
                buf_adds(b, i == 0 ? "[{\"name\":" : ",{\"name\":");
                buf_add_json(b, a->interfaces[i]);
                buf_adds(b, i + 1 == a->n_interfaces ? "}]" : "}");
        }
        buf_adds(b, "}}");
}
