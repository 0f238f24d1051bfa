/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. */
#include "controller/patch.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void add_member(struct buf *out, const char *key, const char *value)
{
        if (out->len > 0 && out->p[out->len - 1] != '{')
                buf_addc(out, ',');
        buf_add_json(out, key);
        buf_addc(out, ':');
        buf_add_json(out, value);
}

static void add_ingress(struct buf *out, const struct service_ingress *v, size_t n)
{
        if (n == 0) {
                buf_adds(out, "null");
                return;
        }
        buf_addc(out, '[');
        for (size_t i = 0; i < n; i++) {
                buf_adds(out, i > 0 ? ",{" : "{");
                if (v[i].ip[0] != '\0')
                        add_member(out, "ip", v[i].ip);
                if (v[i].hostname[0] != '\0')
                        add_member(out, "hostname", v[i].hostname);
                if (v[i].ip_mode[0] != '\0')
                        add_member(out, "ipMode", v[i].ip_mode);
                if (v[i].ports) {
                        buf_adds(out, ",\"ports\":");
                        buf_adds(out, v[i].ports);
                }
                buf_addc(out, '}');
        }
        buf_addc(out, ']');
}

static void add_condition(struct buf *out, const char *type, const char *status, const char *reason,
        const char *message, int64_t since_s, int64_t generation)
{
        char text[32];

        buf_addc(out, '{');
        add_member(out, "type", type);
        add_member(out, "status", status);
        add_member(out, "reason", reason);
        add_member(out, "message", message);
        add_member(out, "lastTransitionTime", json_time_format(since_s, text));
        if (generation > 0)
                buf_addf(out, ",\"observedGeneration\":%" PRId64, generation);
        buf_addc(out, '}');
}

/* Since when it has its status. */
static int64_t condition_since(const struct condition *old, const char *status, int64_t wall_s)
{
        return old && strcmp(old->status, status) == 0 && old->last_transition_s > 0 ? old->last_transition_s
                                                                                     : wall_s;
}

static void add_service_condition(
        struct buf *out, const struct service *s, const struct plan_condition *c, int64_t wall_s)
{
        const struct condition *old = condition_get(&s->conditions, PLAN_CONDITION);

        if (c)
                add_condition(out, PLAN_CONDITION, c->status, c->reason, c->message,
                        condition_since(old, c->status, wall_s), 0);
        else
                buf_adds(out, "{\"$patch\":\"delete\",\"type\":\"" PLAN_CONDITION "\"}");
}

void patch_service(struct buf *out, const struct service *s, const struct plan *p, int64_t wall_s)
{
        buf_adds(out, "{\"metadata\":{\"resourceVersion\":");
        buf_add_json(out, s->meta.rv);
        if (p->pool_differs) {
                buf_adds(out, ",\"annotations\":{\"" PLAN_POOL_ANNOTATION "\":");
                if (p->pool)
                        buf_add_json(out, p->pool);
                else
                        buf_adds(out, "null");
                buf_addc(out, '}');
        }
        buf_addc(out, '}');
        if (p->ingress_differs || p->condition_differs)
                buf_adds(out, ",\"status\":{");
        if (p->ingress_differs) {
                buf_adds(out, "\"loadBalancer\":{\"ingress\":");
                add_ingress(out, p->ingress, p->n_ingress);
                buf_addc(out, '}');
        }
        if (p->condition_differs) {
                buf_adds(out, p->ingress_differs ? ",\"conditions\":[" : "\"conditions\":[");
                add_service_condition(out, s, p->condition, wall_s);
                buf_addc(out, ']');
        }
        buf_adds(out, p->ingress_differs || p->condition_differs ? "}}" : "}");
}

static const char *pool_verdict(const struct pool_status *want)
{
        return want->message[0] == '\0' ? "True" : "False";
}

bool pool_status_differs(const struct pool *p, const struct pool_status *want)
{
        const struct ipam_counts *c = &want->counts;
        const struct condition *old = condition_get(&p->conditions, POOL_CONDITION);

        if (!p->has_status || p->assigned4 != c->assigned[0] || p->assigned6 != c->assigned[1] ||
                p->available4 != c->available[0] || p->available6 != c->available[1])
                return true;
        if (!want->extended)
                return false;
        return p->withheld4 != c->withheld[0] || p->withheld6 != c->withheld[1] || !old ||
                strcmp(old->status, pool_verdict(want)) != 0 || strcmp(old->reason, want->reason) != 0 ||
                strcmp(old->message, want->message) != 0;
}

static void add_pool_conditions(
        struct buf *out, const struct pool *p, const struct pool_status *want, int64_t wall_s)
{
        const struct condition *old = condition_get(&p->conditions, POOL_CONDITION);

        buf_adds(out, ",\"conditions\":[");
        for (size_t i = 0; i < p->conditions.n; i++) {
                const struct condition *c = &p->conditions.v[i];

                if (strcmp(c->type, POOL_CONDITION) == 0)
                        continue;
                add_condition(out, c->type, c->status, c->reason, c->message, c->last_transition_s,
                        c->observed_generation);
                buf_addc(out, ',');
        }
        add_condition(out, POOL_CONDITION, pool_verdict(want), want->reason, want->message,
                condition_since(old, pool_verdict(want), wall_s), p->meta.generation);
        buf_addc(out, ']');
}

void patch_pool(struct buf *out, const struct pool *p, const struct pool_status *want, int64_t wall_s)
{
        const struct ipam_counts *c = &want->counts;

        buf_adds(out, "{\"metadata\":{\"resourceVersion\":");
        buf_add_json(out, p->meta.rv);
        buf_addf(out,
                "},\"status\":{\"assignedIPv4\":%" PRId64 ",\"assignedIPv6\":%" PRId64
                ",\"availableIPv4\":%" PRId64 ",\"availableIPv6\":%" PRId64,
                c->assigned[0], c->assigned[1], c->available[0], c->available[1]);
        if (want->extended) {
                buf_addf(out, ",\"withheldIPv4\":%" PRId64 ",\"withheldIPv6\":%" PRId64, c->withheld[0],
                        c->withheld[1]);
                add_pool_conditions(out, p, want, wall_s);
        }
        buf_adds(out, "}}");
}

/* Not cJSON's own replacing: 1.7.15 leaves a member without a name when it runs out of memory there. */
static int set_member(cJSON *object, const char *key, cJSON *value)
{
        if (!value)
                return -ENOMEM;
        cJSON_DeleteItemFromObjectCaseSensitive(object, key);
        if (cJSON_AddItemToObject(object, key, value))
                return 0;
        cJSON_Delete(value);
        return -ENOMEM;
}

static int merge_condition(cJSON *list, const cJSON *c)
{
        const char *type = json_str_at(c, "type", "");
        bool drop = json_at(c, "$patch") != NULL;
        cJSON *old, *copy;
        int at = 0;

        cJSON_ArrayForEach (old, list) {
                if (strcmp(json_str_at(old, "type", ""), type) == 0)
                        break;
                at++;
        }
        if (drop) {
                if (old)
                        cJSON_DeleteItemFromArray(list, at);
                return 0;
        }
        if (old)
                return patch_apply(old, c, true);
        copy = cJSON_Duplicate(c, true);
        if (!copy)
                return -ENOMEM;
        if (cJSON_AddItemToArray(list, copy))
                return 0;
        cJSON_Delete(copy);
        return -ENOMEM;
}

static int merge_conditions(cJSON *object, const cJSON *conditions)
{
        cJSON *list = cJSON_GetObjectItemCaseSensitive(object, conditions->string);
        const cJSON *c;
        int r;

        if (!cJSON_IsArray(list)) {
                r = set_member(object, conditions->string, cJSON_CreateArray());
                if (r < 0)
                        return r;
                list = cJSON_GetObjectItemCaseSensitive(object, conditions->string);
        }
        cJSON_ArrayForEach (c, conditions) {
                r = merge_condition(list, c);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int merge_member(cJSON *object, const cJSON *m, bool strategic)
{
        cJSON *old = cJSON_GetObjectItemCaseSensitive(object, m->string);
        int r;

        if (cJSON_IsNull(m)) {
                cJSON_DeleteItemFromObjectCaseSensitive(object, m->string);
                return 0;
        }
        if (strategic && cJSON_IsArray(m) && strcmp(m->string, "conditions") == 0)
                return merge_conditions(object, m);
        if (!cJSON_IsObject(m))
                return set_member(object, m->string, cJSON_Duplicate(m, true));
        if (!cJSON_IsObject(old)) { /* also then nulls inside must not come through */
                r = set_member(object, m->string, cJSON_CreateObject());
                if (r < 0)
                        return r;
                old = cJSON_GetObjectItemCaseSensitive(object, m->string);
        }
        return patch_apply(old, m, strategic);
}

int patch_apply(cJSON *object, const cJSON *patch, bool strategic)
{
        const cJSON *m;
        int r;

        if (!cJSON_IsObject(object))
                return ERR_MALFORMED;
        cJSON_ArrayForEach (m, patch) {
                r = merge_member(object, m, strategic);
                if (r < 0)
                        return r;
        }
        return 0;
}
