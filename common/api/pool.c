/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/service.h"

struct entry { /* a range and where it stands in spec.addresses */
        struct ip_range range;
        size_t at;
};

static int by_first(const void *a, const void *b)
{
        const struct entry *x = a, *y = b;

        return ip_cmp(&x->range.first, &y->range.first);
}

/* In order of their first addresses, ranges that do not overlap their neighbours overlap nobody: a pool of ten thousand
 * entries costs no hundred million comparisons. */
static void check_overlap(struct pool *p, struct entry *v, size_t n)
{
        qsort(v, n, sizeof(*v), by_first);
        for (size_t i = 1; i < n; i++) {
                if (!ip_range_overlaps(&v[i - 1].range, &v[i].range))
                        continue;
                object_complain(&p->error, p->meta.arena,
                        "CIDR \"%.80s\" overlaps with already defined CIDR \"%.80s\"",
                        p->addresses.v[MAX(v[i - 1].at, v[i].at)], p->addresses.v[MIN(v[i - 1].at, v[i].at)]);
                return;
        }
}

static int fill_ranges(struct pool *p, const cJSON *list)
{
        CLEANUP(freep) struct entry *entries = NULL;
        struct err e;

        p->addresses = str_list_from(p->meta.arena, list);
        if (p->addresses.n == 0) {
                object_complain(
                        &p->error, p->meta.arena, "spec.addresses is empty: the pool has no address to give");
                return 0;
        }
        if (p->addresses.n != (size_t)cJSON_GetArraySize(list))
                object_complain(&p->error, p->meta.arena, "spec.addresses holds an entry that is no text");
        entries = calloc(p->addresses.n, sizeof(*entries));
        p->ranges = arena_calloc(p->meta.arena, p->addresses.n, sizeof(*p->ranges));
        if (!entries || !p->ranges)
                return -ENOMEM;
        for (size_t i = 0; i < p->addresses.n; i++) {
                struct ip_range *range = &p->ranges[p->n_ranges];

                if (ip_range_parse(range, p->addresses.v[i], &e) < 0)
                        object_complain(&p->error, p->meta.arena, "%s", e.text);
                else
                        entries[p->n_ranges++] = (struct entry){ .range = *range, .at = i };
        }
        check_overlap(p, entries, p->n_ranges);
        return 0;
}

/* One entry of the annotation: what spec.addresses allows, or a bare address. */
static int parse_reserved(struct ip_range *ret, const char *text, struct err *e)
{
        struct ip ip;

        if (ip_parse(&ip, text) < 0)
                return ip_range_parse(ret, text, e);
        *ret = (struct ip_range){ ip, ip };
        return 0;
}

static int fill_reserved(struct pool *p)
{
        const char *text = service_annotation(&p->meta, POOL_RESERVED_ANNOTATION);
        CLEANUP(freep) char *copy = NULL;
        size_t room = 1;
        char *rest;
        struct err e;

        if (!text)
                return 0;
        copy = rest = strdup(text);
        for (const char *c = text; *c; c++)
                room += *c == ',';
        p->reserved = arena_calloc(p->meta.arena, room, sizeof(*p->reserved));
        if (!copy || !p->reserved)
                return -ENOMEM;
        while (rest) {
                char *part = strsep(&rest, ",");
                size_t len;

                part += strspn(part, " \t\r\n");
                len = strlen(part);
                while (len > 0 && strchr(" \t\r\n", part[len - 1]))
                        part[--len] = '\0';
                if (len == 0)
                        continue;
                if (parse_reserved(&p->reserved[p->n_reserved], part, &e) == 0) {
                        p->n_reserved++;
                } else {
                        (void)err_wrap(&e, 0, "annotation " POOL_RESERVED_ANNOTATION);
                        object_complain(&p->error, p->meta.arena, "%s", e.text);
                }
        }
        return 0;
}

static int fill_selectors(
        struct selector_list *ret, struct pool *p, const cJSON *allocation, const char *field)
{
        struct err e = { "" };
        int r;

        r = selector_list_parse(
                ret, p->meta.arena, cJSON_GetObjectItemCaseSensitive(allocation, field), field, false, &e);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                object_complain(&p->error, p->meta.arena, "%s", e.text);
        return 0;
}

static int fill_allocation(struct pool *p, const cJSON *allocation)
{
        const char *twice;
        int r;

        p->pinned = true;
        p->priority = MAX(json_int_clamped(allocation, "priority", 0), (int64_t)0);
        p->namespaces = str_list_field(p->meta.arena, allocation, "namespaces", &p->error);
        twice = str_list_repeated(&p->namespaces, p->meta.arena);
        if (twice)
                object_complain(&p->error, p->meta.arena, "duplicate definition of namespaces \"%s\"", twice);
        r = fill_selectors(&p->ns_selectors, p, allocation, "namespaceSelectors");
        return r < 0 ? r : fill_selectors(&p->service_selectors, p, allocation, "serviceSelectors");
}

static void fill_status(struct pool *p, const cJSON *json)
{
        const cJSON *status = json_at(json, "status");
        const struct {
                const char *key;
                int64_t *value;
        } counters[] = {
                { "assignedIPv4", &p->assigned4 },
                { "assignedIPv6", &p->assigned6 },
                { "availableIPv4", &p->available4 },
                { "availableIPv6", &p->available6 },
        };

        p->has_status = cJSON_IsObject(status) != 0;
        for (size_t i = 0; i < ARRAY_LEN(counters); i++) {
                *counters[i].value = json_int_clamped(status, counters[i].key, 0);
                if (!cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(status, counters[i].key)))
                        p->has_status = false;
        }
        p->withheld4 = json_int_clamped(status, "withheldIPv4", 0);
        p->withheld6 = json_int_clamped(status, "withheldIPv6", 0);
        p->conditions = condition_list_from(p->meta.arena, json_at(status, "conditions"));
}

static int fill(struct object *o, const cJSON *json)
{
        struct pool *p = (struct pool *)o;
        const cJSON *spec = json_at(json, "spec"), *allocation = NULL;
        int r;

        p->auto_assign = true;
        (void)json_bool(spec, "autoAssign", &p->auto_assign);
        (void)json_bool(spec, "avoidBuggyIPs", &p->avoid_buggy_ips);
        fill_status(p, json);
        r = fill_ranges(p, json_at(spec, "addresses"));
        if (json_obj(spec, "serviceAllocation", &allocation) == -EPROTOTYPE)
                object_complain(&p->error, o->arena, "serviceAllocation is not an object");
        if (r == 0 && allocation)
                r = fill_allocation(p, allocation);
        return r < 0 ? r : fill_reserved(p);
}

int pool_decode(struct object **ret, const cJSON *json)
{
        static const struct object_kind kind = { .size = sizeof(struct pool), .fill = fill };

        return object_build(ret, &kind, json);
}
