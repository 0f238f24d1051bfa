/* SPDX-License-Identifier: Apache-2.0 */
#include "test/lib/fakecluster.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"
#include "controller/patch.h"
#include "test/lib/fakeapi.h"

#define SEG_MAX 16

struct entry { /* one object */
        char resource[64];
        cJSON *json;
};

struct event {
        unsigned rv;
        char resource[64], ns[64];
        char *line;
};

struct watch {
        struct fake_conn *c;
        char resource[64], ns[64];
};

struct held {
        struct fake_conn *c;
        int status;
        char *body;
};

struct tally {
        char method[8], what[96];
        unsigned n;
};

struct fakecluster {
        struct fake *http;
        unsigned rv, n_uids;
        struct entry *objects;
        size_t n_objects;
        struct event *events;
        size_t n_events;
        struct watch *watches;
        size_t n_watches;
        struct held *held;
        size_t n_held;
        struct tally tallies[64];
        size_t n_tallies;
        int (*fault)(void *ctx, const struct fakecluster_request *req);
        void *fault_ctx;
        void (*mangle)(void *ctx, const char *resource, cJSON *object);
        void *mangle_ctx;
};

static void *grow(void *v, size_t n, size_t size)
{
        void *p = realloc(v, (n + 1) * size);

        ck_assert_ptr_nonnull(p);
        return p;
}

static void put_text(char *out, size_t cap, const char *text)
{
        (void)snprintf(out, cap, "%s", text);
}

/* ---- objects ---- */

static struct entry *find(const struct fakecluster *f, const char *resource, const char *ns, const char *name)
{
        for (size_t i = 0; i < f->n_objects; i++) {
                struct entry *e = &f->objects[i];

                if (strcmp(e->resource, resource) == 0 &&
                        strcmp(json_str_at(e->json, "metadata.name", ""), name) == 0 &&
                        strcmp(json_str_at(e->json, "metadata.namespace", ""), ns) == 0)
                        return e;
        }
        return NULL;
}

static void set_str(cJSON *obj, const char *key, const char *text)
{
        cJSON_DeleteItemFromObjectCaseSensitive(obj, key);
        cJSON_AddStringToObject(obj, key, text);
}

static void publish(struct fakecluster *f, const char *type, const char *resource, const cJSON *json)
{
        CLEANUP(freep) char *text = cJSON_PrintUnformatted(json);
        struct event *e;
        char *line;

        f->events = grow(f->events, f->n_events, sizeof(*f->events));
        e = &f->events[f->n_events++];
        e->rv = f->rv;
        put_text(e->resource, sizeof(e->resource), resource);
        put_text(e->ns, sizeof(e->ns), json_str_at(json, "metadata.namespace", ""));
        line = malloc(strlen(text) + 64);
        ck_assert_ptr_nonnull(line);
        (void)snprintf(line, strlen(text) + 64, "{\"type\":\"%s\",\"object\":%s}\n", type, text);
        e->line = line;
        for (size_t i = 0; i < f->n_watches; i++) {
                const struct watch *w = &f->watches[i];

                if (strcmp(w->resource, resource) == 0 && (w->ns[0] == '\0' || strcmp(w->ns, e->ns) == 0))
                        fake_chunk(w->c, line);
        }
}

static void bump(struct fakecluster *f, cJSON *json)
{
        char rv[16];

        (void)snprintf(rv, sizeof(rv), "%u", ++f->rv);
        set_str(cJSON_GetObjectItem(json, "metadata"), "resourceVersion", rv);
}

/* Takes @json. */
static cJSON *store(struct fakecluster *f, const char *resource, cJSON *json)
{
        cJSON *meta = cJSON_GetObjectItem(json, "metadata");
        struct entry *e = find(f, resource, json_str_at(json, "metadata.namespace", ""),
                json_str_at(json, "metadata.name", ""));
        char text[32];

        ck_assert_ptr_nonnull(meta);
        if (!json_str_at(json, "metadata.uid", NULL)) {
                (void)snprintf(text, sizeof(text), "uid-%u", ++f->n_uids);
                set_str(meta, "uid", e ? json_str_at(e->json, "metadata.uid", text) : text);
        }
        if (!json_str_at(json, "metadata.creationTimestamp", NULL)) {
                json_time_format(1700000000 + f->n_uids, text);
                set_str(meta, "creationTimestamp", text);
        }
        bump(f, json);
        publish(f, e ? "MODIFIED" : "ADDED", resource, json);
        if (!e) {
                f->objects = grow(f->objects, f->n_objects, sizeof(*f->objects));
                e = &f->objects[f->n_objects++];
                put_text(e->resource, sizeof(e->resource), resource);
                e->json = NULL;
        }
        cJSON_Delete(e->json);
        e->json = json;
        return json;
}

void fakecluster_put(struct fakecluster *f, const char *resource, const char *text)
{
        cJSON *json = NULL;

        ck_assert_msg(json_parse(&json, text, strlen(text)) == 0, "bad JSON: %s", text);
        (void)store(f, resource, json);
}

void fakecluster_delete(struct fakecluster *f, const char *resource, const char *ns, const char *name)
{
        struct entry *e = find(f, resource, ns, name);

        ck_assert_ptr_nonnull(e);
        bump(f, e->json);
        publish(f, "DELETED", resource, e->json);
        cJSON_Delete(e->json);
        *e = f->objects[--f->n_objects];
}

const cJSON *fakecluster_get(
        const struct fakecluster *f, const char *resource, const char *ns, const char *name)
{
        const struct entry *e = find(f, resource, ns, name);

        return e ? e->json : NULL;
}

size_t fakecluster_count(const struct fakecluster *f, const char *resource)
{
        size_t n = 0;

        for (size_t i = 0; i < f->n_objects; i++)
                n += strcmp(f->objects[i].resource, resource) == 0;
        return n;
}

/* ---- requests ---- */

static void answer(struct fakecluster *f, struct fake_conn *c, int fault, int status, const char *body)
{
        if (fault == FAKECLUSTER_LOSE) {
                fake_reset(c);
        } else if (fault == FAKECLUSTER_HOLD) {
                f->held = grow(f->held, f->n_held, sizeof(*f->held));
                f->held[f->n_held++] = (struct held){ c, status, strdup(body) };
        } else {
                fake_reply(c, status, "Content-Type: application/json\r\n", body);
        }
}

static void answer_status(struct fakecluster *f, struct fake_conn *c, int fault, int status)
{
        char body[128];

        (void)snprintf(body, sizeof(body),
                "{\"kind\":\"Status\",\"status\":\"Failure\",\"code\":%d,\"message\":\"made-up %d\"}", status,
                status);
        answer(f, c, fault, status, body);
}

static void answer_object(
        struct fakecluster *f, struct fake_conn *c, int fault, int status, const cJSON *json)
{
        CLEANUP(freep) char *text = cJSON_PrintUnformatted(json);

        answer(f, c, fault, status, text);
}

static void list(struct fakecluster *f, struct fake_conn *c, int fault, const struct fakecluster_request *q)
{
        CLEANUP(buf_fini) struct buf out = BUF_INIT;
        bool first = true;

        buf_addf(&out, "{\"kind\":\"List\",\"metadata\":{\"resourceVersion\":\"%u\"},\"items\":[", f->rv);
        for (size_t i = 0; i < f->n_objects; i++) {
                const struct entry *e = &f->objects[i];
                CLEANUP(freep) char *text = NULL;

                if (strcmp(e->resource, q->resource) != 0 ||
                        (q->ns[0] != '\0' &&
                                strcmp(json_str_at(e->json, "metadata.namespace", ""), q->ns) != 0))
                        continue;
                text = cJSON_PrintUnformatted(e->json);
                buf_adds(&out, first ? "" : ",");
                buf_adds(&out, text);
                first = false;
        }
        buf_adds(&out, "]}");
        answer(f, c, fault, 200, buf_str(&out));
}

static void watch(struct fakecluster *f, struct fake_conn *c, const struct fakecluster_request *q)
{
        const char *rv = strstr(q->target, "resourceVersion=");
        unsigned since = rv ? (unsigned)strtoul(rv + strlen("resourceVersion="), NULL, 10) : 0;
        struct watch *w;

        if (f->n_events > 0 && since + 1 < f->events[0].rv && f->events[0].rv > 1 && since < f->rv) {
                fake_reply(c, 410, "", "{\"kind\":\"Status\",\"code\":410,\"message\":\"too old\"}");
                return;
        }
        fake_begin(c, 200, "Content-Type: application/json\r\n");
        f->watches = grow(f->watches, f->n_watches, sizeof(*f->watches));
        w = &f->watches[f->n_watches++];
        w->c = c;
        put_text(w->resource, sizeof(w->resource), q->resource);
        put_text(w->ns, sizeof(w->ns), q->ns);
        for (size_t i = 0; i < f->n_events; i++) {
                const struct event *e = &f->events[i];

                if (e->rv > since && strcmp(e->resource, w->resource) == 0 &&
                        (w->ns[0] == '\0' || strcmp(w->ns, e->ns) == 0))
                        fake_chunk(c, e->line);
        }
}

/* As the real server does for Services of type LoadBalancer. */
static void default_ip_mode(cJSON *object)
{
        const cJSON *ingress = json_at(object, "status.loadBalancer.ingress");
        cJSON *i;

        cJSON_ArrayForEach (i, ingress) {
                if (!cJSON_GetObjectItem(i, "ipMode"))
                        cJSON_AddStringToObject(i, "ipMode", "VIP");
        }
}

static void write_object(struct fakecluster *f, struct fake_conn *c, int fault,
        const struct fakecluster_request *q, const struct fake_request *http)
{
        struct entry *e = find(f, q->resource, q->ns, q->name);
        bool strategic = strstr(http->headers, "strategic-merge-patch") != NULL;
        CLEANUP(json_deletep) cJSON *body = NULL;
        cJSON *next;
        const char *rv;

        if (!e) {
                answer_status(f, c, fault, 404);
                return;
        }
        if (json_parse(&body, http->body, http->body_len) < 0) {
                answer_status(f, c, fault, 400);
                return;
        }
        rv = json_str_at(body, "metadata.resourceVersion", NULL);
        if (rv && strcmp(rv, json_str_at(e->json, "metadata.resourceVersion", "")) != 0) {
                answer_status(f, c, fault, 409);
                return;
        }
        next = cJSON_Duplicate(e->json, true);
        if (strcmp(http->method, "PATCH") == 0) {
                ck_assert_int_eq(patch_apply(next, body, strategic), 0);
        } else {
                cJSON_Delete(next);
                next = TAKE(body);
        }
        default_ip_mode(next);
        if (f->mangle)
                f->mangle(f->mangle_ctx, q->resource, next);
        if (cJSON_Compare(next, e->json, true)) {
                cJSON_Delete(next);
                answer_object(f, c, fault, 200, e->json);
                return;
        }
        answer_object(f, c, fault, 200, store(f, q->resource, next));
}

static void create(struct fakecluster *f, struct fake_conn *c, int fault, const struct fakecluster_request *q,
        const struct fake_request *http)
{
        cJSON *body = NULL;

        if (json_parse(&body, http->body, http->body_len) < 0) {
                answer_status(f, c, fault, 400);
        } else if (find(f, q->resource, q->ns, json_str_at(body, "metadata.name", ""))) {
                cJSON_Delete(body);
                answer_status(f, c, fault, 409);
        } else {
                answer_object(f, c, fault, 201, store(f, q->resource, body));
        }
}

/* "/api/v1[/namespaces/NS]/RES[/NAME[/SUB]]", "/apis/GROUP/VERSION/..."; @parts holds the copies. */
static bool split(struct fakecluster_request *q, char *parts)
{
        char *seg[SEG_MAX] = { NULL }, *p = parts;
        size_t n = 0, at;

        parts[strcspn(parts, "?")] = '\0';
        while (n < SEG_MAX && *p != '\0') {
                *p++ = '\0';
                seg[n++] = p;
                p += strcspn(p, "/");
        }
        at = n > 0 && strcmp(seg[0], "api") == 0 ? 2 : 3;
        if (n <= at)
                return false;
        if (strcmp(seg[at], "namespaces") == 0 && n > at + 2) {
                q->ns = seg[at + 1];
                at += 2;
        }
        q->resource = seg[at];
        q->name = n > at + 1 ? seg[at + 1] : "";
        q->sub = n > at + 2 ? seg[at + 2] : "";
        return true;
}

static void count(struct fakecluster *f, const struct fakecluster_request *q)
{
        char what[96];

        (void)snprintf(what, sizeof(what), "%.40s%s%.40s", q->resource, q->sub[0] != '\0' ? "/" : "", q->sub);
        for (size_t i = 0; i < f->n_tallies; i++) {
                if (strcmp(f->tallies[i].method, q->method) == 0 && strcmp(f->tallies[i].what, what) == 0) {
                        f->tallies[i].n++;
                        return;
                }
        }
        ck_assert_uint_lt(f->n_tallies, ARRAY_LEN(f->tallies));
        put_text(f->tallies[f->n_tallies].method, sizeof(f->tallies[0].method), q->method);
        put_text(f->tallies[f->n_tallies].what, sizeof(f->tallies[0].what), what);
        f->tallies[f->n_tallies++].n = 1;
}

unsigned fakecluster_requests(const struct fakecluster *f, const char *method, const char *what)
{
        unsigned n = 0;

        for (size_t i = 0; i < f->n_tallies; i++) {
                if ((!method || strcmp(f->tallies[i].method, method) == 0) &&
                        (!what || strcmp(f->tallies[i].what, what) == 0))
                        n += f->tallies[i].n;
        }
        return n;
}

static void on_request(void *ctx, struct fake_conn *c, const struct fake_request *http)
{
        struct fakecluster *f = ctx;
        struct fakecluster_request q = { .method = http->method,
                .target = http->target,
                .resource = "",
                .ns = "",
                .name = "",
                .sub = "" };
        CLEANUP(freep) char *parts = strdup(http->target);
        int fault;

        if (!split(&q, parts)) { /* "/version" and the like */
                fake_reply(c, 200, "Content-Type: application/json\r\n", "{\"gitVersion\":\"v1.34.2\"}");
                return;
        }
        count(f, &q);
        fault = f->fault ? f->fault(f->fault_ctx, &q) : FAKECLUSTER_NONE;
        if (fault > 0) {
                answer_status(f, c, FAKECLUSTER_NONE, fault);
        } else if (fault == FAKECLUSTER_CUT) {
                fake_reset(c);
        } else if (strcmp(q.method, "GET") == 0 && strstr(q.target, "watch=")) {
                watch(f, c, &q);
        } else if (strcmp(q.method, "GET") == 0 && q.name[0] == '\0') {
                list(f, c, fault, &q);
        } else if (strcmp(q.method, "GET") == 0) {
                const cJSON *o = fakecluster_get(f, q.resource, q.ns, q.name);

                if (o)
                        answer_object(f, c, fault, 200, o);
                else
                        answer_status(f, c, fault, 404);
        } else if (strcmp(q.method, "POST") == 0) {
                create(f, c, fault, &q, http);
        } else {
                write_object(f, c, fault, &q, http);
        }
}

void fakecluster_set_fault(
        struct fakecluster *f, int (*fault)(void *ctx, const struct fakecluster_request *req), void *ctx)
{
        f->fault = fault;
        f->fault_ctx = ctx;
}

void fakecluster_set_mangle(
        struct fakecluster *f, void (*mangle)(void *ctx, const char *resource, cJSON *object), void *ctx)
{
        f->mangle = mangle;
        f->mangle_ctx = ctx;
}

void fakecluster_release(struct fakecluster *f)
{
        for (size_t i = 0; i < f->n_held; i++) {
                fake_reply(f->held[i].c, f->held[i].status, "Content-Type: application/json\r\n",
                        f->held[i].body);
                free(f->held[i].body);
        }
        f->n_held = 0;
}

static void forget_events(struct fakecluster *f, size_t keep)
{
        for (size_t i = 0; i + keep < f->n_events; i++)
                free(f->events[i].line);
        if (keep > 0 && f->n_events > keep)
                f->events[0] = f->events[f->n_events - 1];
        f->n_events = MIN(f->n_events, keep);
}

void fakecluster_cut_watches(struct fakecluster *f, bool compact)
{
        for (size_t i = 0; i < f->n_watches; i++)
                fake_reset(f->watches[i].c);
        f->n_watches = 0;
        if (compact)
                forget_events(f, 1);
}

struct fakecluster *fakecluster_new(uv_loop_t *loop)
{
        struct fakecluster *f = calloc(1, sizeof(*f));

        ck_assert_ptr_nonnull(f);
        f->rv = 100;
        f->http = fake_new(loop, on_request, f);
        return f;
}

const char *fakecluster_url(const struct fakecluster *f)
{
        return fake_url(f->http);
}

void fakecluster_close(struct fakecluster *f)
{
        fake_close(f->http);
        for (size_t i = 0; i < f->n_objects; i++)
                cJSON_Delete(f->objects[i].json);
        for (size_t i = 0; i < f->n_held; i++)
                free(f->held[i].body);
        forget_events(f, 0);
        free(f->objects);
        free(f->events);
        free(f->watches);
        free(f->held);
        free(f);
}
