/* SPDX-License-Identifier: Apache-2.0 */
#include "test/lib/fakekube.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "test/lib/fakeapi.h"

#define WATCHES_MAX 64

struct item {
        struct item *next;
        char *collection;
        cJSON *json;
};

struct change { /* for watches, also those that start later */
        struct change *next;
        unsigned long rv;
        char *collection, *type;
        cJSON *json;
};

struct watch {
        struct fake_conn *conn;
        char *collection, *query;
        unsigned long rv; /* told so far */
        const struct change *last; /* looked at so far */
};

struct target { /* of a request, taken apart */
        char path[1024], query[2048];
};

struct fakekube {
        struct fake *server;
        struct item *items;
        struct change *changes, **changes_tail;
        struct watch watches[WATCHES_MAX];
        size_t n_watches;
        unsigned long rv;
        unsigned names;
        bool held;
        struct buf writes, reads;
        char fail_method[16], fail_target[256];
        int fail_status;
        unsigned fail_times;
};

static const char *text_at(const cJSON *o, const char *a, const char *b)
{
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(o, a), b);

        return cJSON_IsString(v) ? v->valuestring : "";
}

static void set_text(cJSON *o, const char *key, const char *value)
{
        cJSON_DeleteItemFromObjectCaseSensitive(o, key);
        cJSON_AddStringToObject(o, key, value);
}

static cJSON *metadata_of(cJSON *o)
{
        cJSON *m = cJSON_GetObjectItemCaseSensitive(o, "metadata");

        return m ? m : cJSON_AddObjectToObject(o, "metadata");
}

/* ---- selectors ---- */

static void decode_url(char *text)
{
        char *to = text;

        for (const char *p = text; *p; p++) {
                unsigned c;

                if (*p == '%' && sscanf(p + 1, "%2x", &c) == 1) {
                        *to++ = (char)c;
                        p += 2;
                } else {
                        *to++ = *p;
                }
        }
        *to = '\0';
}

static bool param(const char *query, const char *key, char *out, size_t size)
{
        size_t key_len = strlen(key);

        for (const char *p = query; *p; p += *p == '&') {
                size_t len = strcspn(p, "&");

                if (len > key_len && strncmp(p, key, key_len) == 0 && p[key_len] == '=') {
                        (void)snprintf(out, size, "%.*s", (int)(len - key_len - 1), p + key_len + 1);
                        decode_url(out);
                        return true;
                }
                p += len;
        }
        return false;
}

/* One of "k=v", "k!=v", "k in (a,b)". */
static bool label_matches(const cJSON *labels, const char *rule)
{
        char key[256], value[256];
        const cJSON *have;

        if (sscanf(rule, "%255[^!= ]!=%255s", key, value) == 2) {
                have = cJSON_GetObjectItemCaseSensitive(labels, key);
                return !have || strcmp(have->valuestring, value) != 0;
        }
        if (sscanf(rule, "%255[^!= ]=%255s", key, value) == 2) {
                have = cJSON_GetObjectItemCaseSensitive(labels, key);
                return have && strcmp(have->valuestring, value) == 0;
        }
        if (sscanf(rule, "%255[^!= ] in (%255[^)])", key, value) == 2) {
                have = cJSON_GetObjectItemCaseSensitive(labels, key);
                for (char *p = value, *save = NULL; (p = strtok_r(p, ",", &save)) != NULL; p = NULL)
                        if (have && strcmp(have->valuestring, p) == 0)
                                return true;
                return false;
        }
        abort();
}

static bool selected(const cJSON *o, const char *query)
{
        const cJSON *labels =
                cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(o, "metadata"), "labels");
        char text[2048];

        if (param(query, "fieldSelector", text, sizeof(text)) &&
                strcmp(text + strlen("metadata.name="), text_at(o, "metadata", "name")) != 0)
                return false;
        if (!param(query, "labelSelector", text, sizeof(text)))
                return true;
        for (char *p = text; *p;) {
                char *end = p;
                int depth = 0;

                while (*end && (*end != ',' || depth > 0)) {
                        depth += (*end == '(') - (*end == ')');
                        end++;
                }
                if (*end)
                        *end++ = '\0';
                if (!label_matches(labels, p))
                        return false;
                p = end;
        }
        return true;
}

/* ---- the store ---- */

static struct item **find(struct fakekube *k, const char *collection, const char *ns, const char *name)
{
        struct item **at = &k->items;

        for (; *at; at = &(*at)->next)
                if (strcmp((*at)->collection, collection) == 0 &&
                        strcmp(text_at((*at)->json, "metadata", "name"), name) == 0 &&
                        (!ns || strcmp(text_at((*at)->json, "metadata", "namespace"), ns) == 0))
                        break;
        return at;
}

static void tell(struct fakekube *k, struct watch *w)
{
        for (const struct change *c = w->last ? w->last->next : k->changes; c; c = c->next) {
                char *json;

                w->last = c;
                if (c->rv <= w->rv || strcmp(c->collection, w->collection) != 0)
                        continue;
                w->rv = c->rv;
                if (!selected(c->json, w->query))
                        continue;
                json = cJSON_PrintUnformatted(c->json);
                {
                        CLEANUP(buf_fini) struct buf b = BUF_INIT;

                        buf_addf(&b, "{\"type\":\"%s\",\"object\":%s}\n", c->type, json);
                        fake_chunk(w->conn, buf_str(&b));
                }
                cJSON_free(json);
        }
}

static void changed(struct fakekube *k, const char *type, const char *collection, const cJSON *json)
{
        struct change *c = calloc(1, sizeof(*c));

        c->rv = k->rv;
        c->collection = strdup(collection);
        c->type = strdup(type);
        c->json = cJSON_Duplicate(json, true);
        *k->changes_tail = c;
        k->changes_tail = &c->next;
        for (size_t i = 0; i < k->n_watches && !k->held; i++)
                tell(k, &k->watches[i]);
}

static void stamp(struct fakekube *k, cJSON *o)
{
        char rv[32];

        (void)snprintf(rv, sizeof(rv), "%lu", ++k->rv);
        set_text(metadata_of(o), "resourceVersion", rv);
        if (text_at(o, "metadata", "uid")[0] == '\0') {
                (void)snprintf(rv, sizeof(rv), "uid-%lu", k->rv);
                set_text(metadata_of(o), "uid", rv);
        }
}

/* Takes @json. */
static const cJSON *store(struct fakekube *k, const char *collection, cJSON *json)
{
        struct item **at = find(
                k, collection, text_at(json, "metadata", "namespace"), text_at(json, "metadata", "name"));
        bool is_new = !*at;

        stamp(k, json);
        if (is_new) {
                struct item *i = calloc(1, sizeof(*i));

                i->collection = strdup(collection);
                i->json = json;
                *at = i;
        } else {
                cJSON_Delete((*at)->json);
                (*at)->json = json;
        }
        changed(k, is_new ? "ADDED" : "MODIFIED", collection, json);
        return json;
}

static void drop(struct fakekube *k, struct item **at)
{
        struct item *i = *at;

        *at = i->next;
        stamp(k, i->json);
        changed(k, "DELETED", i->collection, i->json);
        cJSON_Delete(i->json);
        free(i->collection);
        free(i);
}

/* RFC 7396. Takes @target, gives the result. */
static cJSON *merge(cJSON *target, const cJSON *patch)
{
        const cJSON *p;

        if (!cJSON_IsObject(patch)) {
                cJSON_Delete(target);
                return cJSON_Duplicate(patch, true);
        }
        if (!cJSON_IsObject(target)) {
                cJSON_Delete(target);
                target = cJSON_CreateObject();
        }
        cJSON_ArrayForEach (p, patch) {
                cJSON *had = cJSON_DetachItemFromObjectCaseSensitive(target, p->string);

                if (cJSON_IsNull(p))
                        cJSON_Delete(had);
                else
                        cJSON_AddItemToObject(target, p->string, merge(had, p));
        }
        return target;
}

/* ---- requests ---- */

static void reply_json(struct fake_conn *c, int status, const cJSON *json)
{
        char *text = cJSON_PrintUnformatted(json);

        fake_reply(c, status, "", text);
        cJSON_free(text);
}

static void reply_status(struct fake_conn *c, int status)
{
        char body[256];

        (void)snprintf(body, sizeof(body),
                "{\"kind\":\"Status\",\"status\":\"Failure\",\"code\":%d,\"message\":\"fake answer %d\"}",
                status, status);
        fake_reply(c, status, "", body);
}

static void serve_list(struct fakekube *k, struct fake_conn *c, const struct target *t)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        bool first = true;

        buf_addf(&b, "{\"kind\":\"List\",\"metadata\":{\"resourceVersion\":\"%lu\"},\"items\":[", k->rv);
        for (const struct item *i = k->items; i; i = i->next) {
                char *text;

                if (strcmp(i->collection, t->path) != 0 || !selected(i->json, t->query))
                        continue;
                text = cJSON_PrintUnformatted(i->json);
                buf_addf(&b, "%s%s", first ? "" : ",", text);
                cJSON_free(text);
                first = false;
        }
        buf_adds(&b, "]}");
        fake_reply(c, 200, "", buf_str(&b));
}

static void serve_watch(struct fakekube *k, struct fake_conn *c, const struct target *t)
{
        struct watch *w = &k->watches[k->n_watches++];
        char rv[64] = "0";

        if (k->n_watches > WATCHES_MAX)
                abort();
        (void)param(t->query, "resourceVersion", rv, sizeof(rv));
        *w = (struct watch){ .conn = c,
                .collection = strdup(t->path),
                .query = strdup(t->query),
                .rv = strtoul(rv, NULL, 10) };
        fake_begin(c, 200, "");
        tell(k, w);
}

static void serve_post(struct fakekube *k, struct fake_conn *c, const struct target *t, const char *body)
{
        cJSON *o = cJSON_Parse(body);
        const char *prefix = o ? text_at(o, "metadata", "generateName") : "",
                   *ns = strstr(t->path, "/namespaces/");
        char name[300];

        if (!o) {
                reply_status(c, 400);
                return;
        }
        if (prefix[0] != '\0') {
                (void)snprintf(name, sizeof(name), "%s%05u", prefix, ++k->names);
                set_text(metadata_of(o), "name", name);
        }
        if (ns) {
                ns += strlen("/namespaces/");
                (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(ns, "/"), ns);
                set_text(metadata_of(o), "namespace", name);
        }
        if (*find(k, t->path, NULL, text_at(o, "metadata", "name"))) {
                cJSON_Delete(o);
                reply_status(c, 409);
                return;
        }
        cJSON_DeleteItemFromObjectCaseSensitive(o, "status");
        reply_json(c, 201, store(k, t->path, o));
}

/* "<collection>/<name>[/status]" */
static struct item **find_named(struct fakekube *k, const char *path, bool *ret_status)
{
        char copy[1024], *slash;
        size_t len;

        (void)snprintf(copy, sizeof(copy), "%s", path);
        len = strlen(copy);
        *ret_status = len > 7 && strcmp(copy + len - 7, "/status") == 0;
        if (*ret_status)
                copy[len - 7] = '\0';
        slash = strrchr(copy, '/');
        if (!slash)
                abort();
        *slash = '\0';
        decode_url(slash + 1);
        return find(k, copy, NULL, slash + 1);
}

static void serve_patch(struct fakekube *k, struct fake_conn *c, const struct target *t, const char *body)
{
        cJSON *patch = cJSON_Parse(body), *o, *status;
        bool is_status;
        struct item **at = find_named(k, t->path, &is_status);

        if (!*at || !patch) {
                cJSON_Delete(patch);
                reply_status(c, *at ? 400 : 404);
                return;
        }
        o = cJSON_Duplicate((*at)->json, true);
        status = cJSON_DetachItemFromObjectCaseSensitive(o, "status");
        if (is_status) {
                const cJSON *p = cJSON_GetObjectItemCaseSensitive(patch, "status");

                status = p ? merge(status, p) : status;
        } else {
                cJSON_DeleteItemFromObjectCaseSensitive(patch, "status");
                o = merge(o, patch);
        }
        if (status)
                cJSON_AddItemToObject(o, "status", status);
        cJSON_Delete(patch);
        reply_json(c, 200, store(k, (*at)->collection, o));
}

static void serve_named(struct fakekube *k, struct fake_conn *c, const struct target *t, bool remove)
{
        bool is_status;
        struct item **at = find_named(k, t->path, &is_status);

        if (!*at) {
                reply_status(c, 404);
                return;
        }
        reply_json(c, 200, (*at)->json);
        if (remove)
                drop(k, at);
}

static bool is_collection(const struct fakekube *k, const struct target *t)
{
        const char *last = strrchr(t->path, '/');

        (void)k;
        /* "/api/v1/nodes", ".../namespaces/lb/ipaddresspools": what is listed ends in a plural, or has a query */
        return t->query[0] != '\0' || (last && strncmp(t->path, "/api/v1/namespaces/", 19) != 0);
}

static void note_write(struct fakekube *k, const char *method, const struct target *t)
{
        const char *p = strstr(t->path, "/namespaces/"), *resource, *name, *sub;

        resource = p ? strchr(p + strlen("/namespaces/"), '/') : strrchr(t->path, '/');
        resource = resource ? resource + 1 : t->path;
        name = strchr(resource, '/');
        sub = name ? strchr(name + 1, '/') : NULL;
        buf_addf(&k->writes, "%s %.*s%s; ", method, (int)strcspn(resource, "/"), resource, sub ? sub : "");
}

static void on_request(void *ctx, struct fake_conn *c, const struct fake_request *req)
{
        struct fakekube *k = ctx;
        struct target t = { "", "" };
        bool is_get = strcmp(req->method, "GET") == 0;

        (void)snprintf(t.path, sizeof(t.path), "%.*s", (int)strcspn(req->target, "?"), req->target);
        if (strchr(req->target, '?'))
                (void)snprintf(t.query, sizeof(t.query), "%s", strchr(req->target, '?') + 1);
        if (is_get)
                buf_addf(&k->reads, "%s\n", req->target);
        else
                note_write(k, req->method, &t);
        if (k->fail_times > 0 && strcmp(req->method, k->fail_method) == 0 &&
                strstr(req->target, k->fail_target)) {
                k->fail_times--;
                if (k->fail_status)
                        reply_status(c, k->fail_status);
                return;
        }
        if (strcmp(t.path, "/version") == 0)
                fake_reply(c, 200, "", "{}");
        else if (is_get && strstr(t.query, "watch="))
                serve_watch(k, c, &t);
        else if (is_get && is_collection(k, &t))
                serve_list(k, c, &t);
        else if (is_get)
                serve_named(k, c, &t, false);
        else if (strcmp(req->method, "POST") == 0)
                serve_post(k, c, &t, req->body);
        else if (strcmp(req->method, "PATCH") == 0)
                serve_patch(k, c, &t, req->body);
        else if (strcmp(req->method, "DELETE") == 0)
                serve_named(k, c, &t, true);
        else
                reply_status(c, 405);
}

/* ---- for tests ---- */

struct fakekube *fakekube_new(uv_loop_t *loop)
{
        struct fakekube *k = calloc(1, sizeof(*k));

        k->changes_tail = &k->changes;
        k->server = fake_new(loop, on_request, k);
        return k;
}

void fakekube_close(struct fakekube *k)
{
        fake_close(k->server);
        for (struct item *i = k->items, *next; i; i = next) {
                next = i->next;
                cJSON_Delete(i->json);
                free(i->collection);
                free(i);
        }
        for (struct change *c = k->changes, *next; c; c = next) {
                next = c->next;
                cJSON_Delete(c->json);
                free(c->collection);
                free(c->type);
                free(c);
        }
        for (size_t i = 0; i < k->n_watches; i++) {
                free(k->watches[i].collection);
                free(k->watches[i].query);
        }
        buf_fini(&k->writes);
        buf_fini(&k->reads);
        free(k);
}

const char *fakekube_url(const struct fakekube *k)
{
        return fake_url(k->server);
}

void fakekube_put(struct fakekube *k, const char *collection, const char *json)
{
        cJSON *o = cJSON_Parse(json);

        if (!o)
                abort();
        (void)store(k, collection, o);
}

void fakekube_remove(struct fakekube *k, const char *collection, const char *ns, const char *name)
{
        struct item **at = find(k, collection, ns, name);

        if (!*at)
                abort();
        drop(k, at);
}

const cJSON *fakekube_at(const struct fakekube *k, const char *collection, size_t i)
{
        for (const struct item *it = k->items; it; it = it->next)
                if (strcmp(it->collection, collection) == 0 && i-- == 0)
                        return it->json;
        return NULL;
}

const cJSON *fakekube_get(const struct fakekube *k, const char *collection, const char *name)
{
        for (const struct item *it = k->items; it; it = it->next)
                if (strcmp(it->collection, collection) == 0 &&
                        strcmp(text_at(it->json, "metadata", "name"), name) == 0)
                        return it->json;
        return NULL;
}

size_t fakekube_count(const struct fakekube *k, const char *collection)
{
        size_t n = 0;

        while (fakekube_at(k, collection, n))
                n++;
        return n;
}

const char *fakekube_writes(const struct fakekube *k)
{
        return buf_str(&k->writes);
}

void fakekube_reset_writes(struct fakekube *k)
{
        buf_reset(&k->writes);
}

unsigned fakekube_reads(const struct fakekube *k, const char *substring)
{
        unsigned n = 0;

        for (const char *p = buf_str(&k->reads); *p;) {
                size_t len = strcspn(p, "\n");
                const char *hit = strstr(p, substring);

                n += hit && hit < p + len;
                p += len + (p[len] == '\n');
        }
        return n;
}

void fakekube_hold_watches(struct fakekube *k, bool hold)
{
        k->held = hold;
        for (size_t i = 0; i < k->n_watches && !hold; i++)
                tell(k, &k->watches[i]);
}

void fakekube_cut(struct fakekube *k)
{
        for (size_t i = 0; i < k->n_watches; i++) {
                fake_reset(k->watches[i].conn);
                free(k->watches[i].collection);
                free(k->watches[i].query);
        }
        k->n_watches = 0;
}

void fakekube_fail(struct fakekube *k, const char *method, const char *substring, int status, unsigned times)
{
        (void)snprintf(k->fail_method, sizeof(k->fail_method), "%s", method);
        (void)snprintf(k->fail_target, sizeof(k->fail_target), "%s", substring);
        k->fail_status = status;
        k->fail_times = times;
}
