/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/service.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool text_is(const cJSON *obj, const char *key, const char *want)
{
        const char *text;

        return json_str(obj, key, &text) == 0 && strcmp(text, want) == 0;
}

static struct str_list cluster_ips(struct arena *a, const cJSON *spec)
{
        struct str_list l = str_list_from(a, json_at(spec, "clusterIPs"));
        const char *one = "";

        if (l.n == 0)
                (void)json_str(spec, "clusterIP", &one);
        if (one[0] == '\0')
                return l;
        l.v = arena_calloc(a, 1, sizeof(*l.v));
        if (l.v)
                l.v[l.n++] = arena_dup(a, one);
        return l;
}

static enum service_ip_policy ip_policy(const cJSON *spec)
{
        if (text_is(spec, "ipFamilyPolicy", "PreferDualStack"))
                return SERVICE_PREFER_DUAL_STACK;
        if (text_is(spec, "ipFamilyPolicy", "RequireDualStack"))
                return SERVICE_REQUIRE_DUAL_STACK;
        return SERVICE_SINGLE_STACK;
}

static const char *protocol(struct arena *a, const cJSON *port)
{
        static const char *const known[] = { "TCP", "UDP", "SCTP" };
        const char *text = known[0];

        (void)json_str(port, "protocol", &text);
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
                if (strcmp(known[i], text) == 0)
                        return known[i];
        return arena_dup(a, text);
}

static void fill_ports(struct service *s, const cJSON *spec)
{
        const cJSON *list = NULL, *item;

        if (json_arr(spec, "ports", &list) < 0)
                return;
        s->ports = arena_calloc(s->meta.arena, (size_t)cJSON_GetArraySize(list), sizeof(*s->ports));
        if (!s->ports)
                return;
        cJSON_ArrayForEach (item, list) {
                int64_t port = 0;

                (void)json_int(item, "port", &port);
                s->ports[s->n_ports++] = (struct service_port){
                        .protocol = protocol(s->meta.arena, item),
                        .port = port > 0 && port <= UINT16_MAX ? (uint16_t)port : 0,
                };
        }
}

/* The list as compact JSON: nobody here reads it, but whoever rewrites the status must give it back. */
static int ingress_ports(const char **ret, struct arena *a, const cJSON *item)
{
        const cJSON *list = NULL;
        char *text;

        if (json_arr(item, "ports", &list) < 0 || cJSON_GetArraySize(list) == 0)
                return 0;
        text = cJSON_PrintUnformatted(list);
        if (!text)
                return -ENOMEM;
        *ret = arena_dup(a, text);
        cJSON_free(text);
        return 0;
}

static int fill_ingress(struct service *s, const cJSON *json)
{
        const cJSON *list = json_at(json, "status.loadBalancer.ingress"), *item;
        struct arena *a = s->meta.arena;

        if (!cJSON_IsArray(list))
                return 0;
        s->ingress = arena_calloc(a, (size_t)cJSON_GetArraySize(list), sizeof(*s->ingress));
        if (!s->ingress)
                return 0;
        cJSON_ArrayForEach (item, list) {
                struct service_ingress *in = &s->ingress[s->n_ingress++];

                in->ip = object_text(a, item, "ip");
                in->hostname = object_text(a, item, "hostname");
                in->ip_mode = object_text(a, item, "ipMode");
                if (ingress_ports(&in->ports, a, item) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int fill_brief(struct object *o, const cJSON *json)
{
        struct service *s = (struct service *)o;
        const cJSON *spec = json_at(json, "spec"), *families = NULL, *first;
        const char *text;

        s->is_load_balancer = text_is(spec, "type", "LoadBalancer");
        s->local_policy = text_is(spec, "externalTrafficPolicy", "Local");
        (void)json_bool(spec, "publishNotReadyAddresses", &s->publish_not_ready);
        if (json_str(spec, "loadBalancerClass", &text) == 0)
                s->lb_class = arena_dup(o->arena, text);
        s->lb_ip = object_text(o->arena, spec, "loadBalancerIP");
        s->cluster_ips = cluster_ips(o->arena, spec);
        s->ip_policy = ip_policy(spec);
        (void)json_arr(spec, "ipFamilies", &families);
        first = families ? families->child : NULL;
        s->ipv6_first = cJSON_IsString(first) && strcmp(first->valuestring, "IPv6") == 0;
        s->selector = kv_list_from(o->arena, json_at(spec, "selector"));
        fill_ports(s, spec);
        return fill_ingress(s, json);
}

static int fill(struct object *o, const cJSON *json)
{
        struct service *s = (struct service *)o;

        s->conditions = condition_list_from(o->arena, json_at(json, "status.conditions"));
        return fill_brief(o, json);
}

int service_decode_brief(struct object **ret, const cJSON *json)
{
        static const struct object_kind kind = { .size = sizeof(struct service), .fill = fill_brief };

        return object_build(ret, &kind, json);
}

int service_decode(struct object **ret, const cJSON *json)
{
        static const struct object_kind kind = { .size = sizeof(struct service), .fill = fill };

        return object_build(ret, &kind, json);
}

bool service_class_matches(const struct service *s, const char *lb_class)
{
        if (!s->lb_class)
                return lb_class[0] == '\0';
        return lb_class[0] != '\0' && strcmp(s->lb_class, lb_class) == 0;
}

const char *service_annotation(const struct object *o, const char *suffix)
{
        for (size_t i = 0; object_annotation_prefixes[i]; i++) {
                size_t len = strlen(object_annotation_prefixes[i]);

                for (size_t j = 0; j < o->annotations.n; j++) {
                        const struct kv *kv = &o->annotations.v[j];

                        if (strncmp(kv->key, object_annotation_prefixes[i], len) == 0 &&
                                strcmp(kv->key + len, suffix) == 0)
                                return kv->value;
                }
        }
        return NULL;
}
