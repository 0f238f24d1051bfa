/* SPDX-License-Identifier: Apache-2.0 */
/* confstate - level-triggered: every event (the object changed, a new report, an answer, a timer) ends in step(), which
 * compares what is there with what should be and sends at most one request. After a write that worked it waits for
 * the version the server answered with to come by the watch (which may be faster than the answer), so that an old
 * copy is not mended twice.
 *
 * Failures: of the watch - the informer retries; of a write - a pause of 1 s doubling to 5 minutes. Both are said once an
 * hour at most, and only where they will not pass by themselves (the kind is not served, or not permitted). */
#include "common/kube/confstate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/backoff.h"
#include "common/buf.h"
#include "common/kube/informer.h"
#include "common/label.h"
#include "common/log.h"

#define GROUP        "metallb.io"
#define VERSION_NAME "v1beta1"
#define RESOURCE     "configurationstates"
#define ECHO_MS      10000 /* for our own write to come back by the watch */
#define ERRORS_MAX   30000 /* bytes; a condition's message may have 32,768 */
#define SAY_MS       3600000
#define PREFIX       "configuration error: "

enum phase { IDLE, SENT, ECHOING, PAUSING };

struct confstate {
        struct kube *kube;
        struct informer *informer;
        char *ns, *name, *node; /* node NULL: the controller */
        char *pod, *uid;
        bool reported;
        enum confstate_result result;
        char *message; /* of the condition, and the errorSummary; "" when all is well */
        enum phase phase;
        char echo[64]; /* the resourceVersion waited for */
        struct kube_request *request;
        uv_timer_t timer;
        struct backoff backoff;
        struct rng rng;
        struct log_limit said;
        bool closing;
        unsigned n_open; /* informer, timer, request */
        void (*closed)(void *ctx);
        void *closed_ctx;
};

struct stored { /* the object as it is */
        struct object meta;
        const char *result, *summary;
        struct condition_list conditions;
        size_t n_owners;
        const char *owner_uid; /* of the first */
};

static int fill(struct object *o, const cJSON *json)
{
        struct stored *s = (struct stored *)o;
        const cJSON *owners = json_at(json, "metadata.ownerReferences"), *status = json_at(json, "status");

        s->result = object_text(o->arena, status, "result");
        s->summary = object_text(o->arena, status, "errorSummary");
        s->conditions = condition_list_from(o->arena, json_at(status, "conditions"));
        s->n_owners = cJSON_IsArray(owners) ? (size_t)cJSON_GetArraySize(owners) : 0;
        s->owner_uid = object_text(o->arena, s->n_owners > 0 ? cJSON_GetArrayItem(owners, 0) : NULL, "uid");
        return 0;
}

static int decode(struct object **ret, const cJSON *json)
{
        static const struct object_kind kind = { .size = sizeof(struct stored), .fill = fill };

        return object_build(ret, &kind, json);
}

static const char *component(const struct confstate *c)
{
        return c->node ? "speaker" : "controller";
}

static const char *condition_type(const struct confstate *c)
{
        return c->node ? "configReconcilerValid" : "poolReconcilerValid";
}

static const char *result_text(enum confstate_result r)
{
        static const char *const texts[] = { "Unknown", "Valid", "Invalid" };

        return texts[r];
}

/* ---- what should be ---- */

static bool label_is(const struct object *o, const char *key, const char *want)
{
        const char *have = kv_get(&o->labels, key);

        return have && strcmp(have, want) == 0;
}

static bool metadata_is_right(const struct confstate *c, const struct stored *s)
{
        char node[LABEL_VALUE_MAX];

        if (!label_is(&s->meta, "metallb.io/component-type", component(c)))
                return false;
        if (c->node && !label_is(&s->meta, "metallb.io/node-name", label_value(node, c->node)))
                return false;
        return !c->uid || (s->n_owners == 1 && strcmp(s->owner_uid, c->uid) == 0);
}

static bool status_is_right(const struct confstate *c, const struct stored *s)
{
        const struct condition *k = condition_get(&s->conditions, condition_type(c));

        if (!c->reported)
                return true;
        if (strcmp(s->result, result_text(c->result)) != 0 || strcmp(s->summary, c->message) != 0)
                return false;
        if (c->result == CONFSTATE_UNKNOWN)
                return s->conditions.n == 0;
        return s->conditions.n == 1 && k &&
                strcmp(k->status, c->result == CONFSTATE_VALID ? "True" : "False") == 0 &&
                strcmp(k->reason, c->result == CONFSTATE_VALID ? "Reconciled" : "ConfigurationError") == 0 &&
                strcmp(k->message, c->message) == 0;
}

static void add_metadata(struct buf *b, const struct confstate *c)
{
        char node[LABEL_VALUE_MAX];

        buf_addf(b, "\"labels\":{\"metallb.io/component-type\":\"%s\"", component(c));
        if (c->node) {
                buf_adds(b, ",\"metallb.io/node-name\":");
                buf_add_json(b, label_value(node, c->node));
        }
        buf_adds(b, "}");
        if (c->uid) {
                buf_adds(b, ",\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":");
                buf_add_json(b, c->pod);
                buf_adds(b, ",\"uid\":");
                buf_add_json(b, c->uid);
                buf_adds(b, "}]");
        }
}

static void add_object(struct buf *b, const struct confstate *c)
{
        buf_adds(b,
                "{\"apiVersion\":\"" GROUP "/" VERSION_NAME
                "\",\"kind\":\"ConfigurationState\",\"metadata\":{");
        buf_adds(b, "\"name\":");
        buf_add_json(b, c->name);
        buf_adds(b, ",");
        add_metadata(b, c);
        buf_adds(b, "}}");
}

/* The whole list of conditions: it is ours alone. A time is kept while the status stands. */
static void add_status(struct buf *b, const struct confstate *c, const struct stored *s)
{
        const struct condition *before = condition_get(&s->conditions, condition_type(c));
        const char *status = c->result == CONFSTATE_VALID ? "True" : "False";
        bool same = before && strcmp(before->status, status) == 0 && before->last_transition_s > 0;
        char when[32];

        buf_addf(b, "{\"status\":{\"result\":\"%s\",\"errorSummary\":", result_text(c->result));
        buf_add_json(b, c->message);
        buf_adds(b, ",\"conditions\":[");
        if (c->result != CONFSTATE_UNKNOWN) {
                buf_addf(b,
                        "{\"type\":\"%s\",\"status\":\"%s\",\"reason\":\"%s\",\"lastTransitionTime\":\"%s\"",
                        condition_type(c), status,
                        c->result == CONFSTATE_VALID ? "Reconciled" : "ConfigurationError",
                        json_time_format(same ? before->last_transition_s : (int64_t)time(NULL), when));
                buf_adds(b, ",\"message\":");
                buf_add_json(b, c->message);
                buf_adds(b, "}");
        }
        buf_adds(b, "]}}");
}

/* ---- one request at a time ---- */

static void step(struct confstate *c);

static void one_less(struct confstate *c)
{
        void (*closed)(void *ctx) = c->closed;
        void *ctx = c->closed_ctx;

        if (--c->n_open > 0 || !c->closing)
                return;
        free(c->ns);
        free(c->name);
        free(c->node);
        free(c->pod);
        free(c->uid);
        free(c->message);
        free(c);
        if (closed)
                closed(ctx);
}

static void on_timer(uv_timer_t *t)
{
        struct confstate *c = container_of(t, struct confstate, timer);

        if (c->closing)
                return;
        c->phase = IDLE;
        step(c);
}

static void pause_for(struct confstate *c, enum phase phase, uint64_t ms)
{
        c->phase = phase;
        (void)uv_timer_start(&c->timer, on_timer, ms, 0); /* cannot fail with a callback */
}

static void complain(struct confstate *c, int code, const char *words)
{
        if ((code == ERR_DENIED || code == ERR_MISSING || code == ERR_REJECTED) &&
                log_limit_ok(&c->said, uv_now(c->timer.loop), SAY_MS, NULL))
                log_warn("the ConfigurationState cannot be kept up to date; nothing else depends on it",
                        F_STR("name", c->name), F_STR("reason", words), F_ERR(code));
}

/* The version in the answer into c->echo, "" if it cannot be read. */
static void read_echo(struct confstate *c, const struct kube_response *res)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;

        c->echo[0] = '\0';
        if (json_parse(&tree, res->body, res->len) == 0)
                (void)snprintf(
                        c->echo, sizeof(c->echo), "%s", json_str_at(tree, "metadata.resourceVersion", ""));
}

static bool is_echo(const struct confstate *c, const struct object *o)
{
        return o && strcmp(o->rv, c->echo) == 0;
}

static void on_done(void *ctx, const struct kube_response *res)
{
        struct confstate *c = ctx;
        int code = kube_response_code(res);

        c->request = NULL;
        if (!c->closing && code == 0) {
                backoff_reset(&c->backoff);
                read_echo(c, res);
                pause_for(c, ECHOING, is_echo(c, informer_get(c->informer, c->ns, c->name)) ? 0 : ECHO_MS);
        } else if (!c->closing) {
                complain(c, code, res->error);
                pause_for(c, PAUSING, backoff_next_after(&c->backoff, &c->rng, res->retry_after_s));
        }
        one_less(c);
}

static void send_it(
        struct confstate *c, const char *method, const char *name, const char *sub, const struct buf *body)
{
        CLEANUP(buf_fini) struct buf path = BUF_INIT;
        const struct kube_call call = {
                .method = method,
                .body = buf_str(body),
                .body_len = body->len,
                .content_type = name ? KUBE_MERGE_PATCH : NULL,
                .on_done = on_done,
                .ctx = c,
                .verb = name ? "patch" : "create",
                .resource = RESOURCE,
        };
        struct kube_call with_path = call;

        kube_path(&path, GROUP, VERSION_NAME, c->ns, RESOURCE, name, sub);
        with_path.path = buf_str(&path);
        if (!buf_ok(body) || !buf_ok(&path) || kube_send(c->kube, &c->request, &with_path) < 0) {
                pause_for(c, PAUSING, backoff_next(&c->backoff, &c->rng));
                return;
        }
        c->n_open++;
        c->phase = SENT;
}

static void step(struct confstate *c)
{
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        const struct stored *s;

        if (c->closing || c->phase != IDLE || !informer_is_synced(c->informer))
                return;
        s = (const struct stored *)informer_get(c->informer, c->ns, c->name);
        if (!s) {
                add_object(&body, c);
                send_it(c, "POST", NULL, NULL, &body);
        } else if (!metadata_is_right(c, s)) {
                buf_adds(&body, "{\"metadata\":{");
                add_metadata(&body, c);
                buf_adds(&body, "}}");
                send_it(c, "PATCH", c->name, NULL, &body);
        } else if (!status_is_right(c, s)) {
                add_status(&body, c, s);
                send_it(c, "PATCH", c->name, "status", &body);
        }
}

static void on_change(void *ctx, const struct object *old, const struct object *now)
{
        struct confstate *c = ctx;

        (void)old;
        if (c->closing || (c->phase != IDLE && c->phase != ECHOING))
                return;
        /* Not from here: the informer is in the middle of its change. */
        if (c->phase == IDLE || !now || is_echo(c, now))
                pause_for(c, ECHOING, 0);
}

static void on_synced(void *ctx)
{
        step(ctx);
}

static void on_state(void *ctx, bool ok, int code, const char *words)
{
        struct confstate *c = ctx;

        if (!ok && !c->closing)
                complain(c, code, words);
}

/* ---- life ---- */

static void on_informer_closed(void *ctx)
{
        one_less(ctx);
}

static void on_timer_closed(uv_handle_t *h)
{
        one_less(container_of((uv_timer_t *)h, struct confstate, timer));
}

static struct confstate *confstate_free(struct confstate *c) /* before any handle is open */
{
        if (!c)
                return NULL;
        free(c->ns);
        free(c->name);
        free(c->node);
        free(c->message);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(struct confstate, confstate_free);

static int name_it(struct confstate *c, const struct confstate_conf *conf)
{
        CLEANUP(buf_fini) struct buf name = BUF_INIT;

        buf_adds(&name, conf->node ? "speaker-" : "controller");
        buf_adds(&name, conf->node ? conf->node : "");
        c->name = buf_take(&name);
        c->ns = strdup(conf->ns);
        c->message = strdup("");
        c->node = conf->node ? strdup(conf->node) : NULL;
        return c->name && c->ns && c->message && (c->node || !conf->node) ? 0 : -ENOMEM;
}

int confstate_new(struct confstate **ret, uv_loop_t *loop, const struct confstate_conf *conf)
{
        CLEANUP(confstate_freep) struct confstate *c = calloc(1, sizeof(*c));
        CLEANUP(buf_fini) struct buf path = BUF_INIT, query = BUF_INIT;
        int r;

        if (!c)
                return -ENOMEM;
        r = name_it(c, conf);
        if (r < 0)
                return r;
        c->kube = conf->kube;
        c->backoff = (struct backoff){ .base_ms = 1000, .cap_ms = 300000 };
        c->rng.state = uv_hrtime() ^ (uint64_t)getpid();
        kube_path(&path, GROUP, VERSION_NAME, conf->ns, RESOURCE, NULL, NULL);
        buf_adds(&query, "fieldSelector=metadata.name%3D");
        buf_add_url(&query, c->name);
        if (!buf_ok(&path) || !buf_ok(&query))
                return -ENOMEM;
        r = informer_new(&c->informer, conf->kube,
                &(struct informer_conf){ .path = buf_str(&path),
                        .query = buf_str(&query),
                        .resource = RESOURCE,
                        .decode = decode,
                        .on_change = on_change,
                        .on_synced = on_synced,
                        .on_state = on_state,
                        .ctx = c });
        if (r < 0)
                return r;
        (void)uv_timer_init(loop, &c->timer); /* never fails */
        c->n_open = 2;

        *ret = TAKE(c);
        return 0;
}

void confstate_close(struct confstate *c, void (*closed)(void *ctx), void *ctx)
{
        if (c->closing)
                return;
        c->closing = true;
        c->closed = closed;
        c->closed_ctx = ctx;
        if (c->request)
                kube_cancel(c->request);
        informer_close(c->informer, on_informer_closed, c);
        uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

void confstate_set_owner(struct confstate *c, const char *pod, const char *uid)
{
        char *own_pod = strdup(pod), *own_uid = strdup(uid);

        if (!own_pod || !own_uid) { /* goes on without an owner */
                free(own_pod);
                free(own_uid);
                return;
        }
        free(c->pod);
        free(c->uid);
        c->pod = own_pod;
        c->uid = own_uid;
        step(c);
}

/* "configuration error: ..." cut between two characters, or "". */
static char *message_of(enum confstate_result result, const char *errors)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        size_t len = strlen(errors);

        if (len > ERRORS_MAX) {
                len = ERRORS_MAX;
                while (len > 0 && ((unsigned char)errors[len] & 0xc0) == 0x80)
                        len--;
        }
        if (result == CONFSTATE_INVALID) {
                buf_adds(&b, PREFIX);
                buf_add(&b, errors, len);
        }
        return buf_take(&b);
}

void confstate_report(struct confstate *c, enum confstate_result result, const char *errors)
{
        char *message = message_of(result, errors ? errors : "");

        if (!message)
                return; /* the next report will do */
        free(c->message);
        c->message = message;
        c->result = result;
        c->reported = true;
        step(c);
}
