/* SPDX-License-Identifier: Apache-2.0 */
/* Three requests in a row: list by name, get the Deployment, create. A failure starts over after a pause. */
#include "controller/secret.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "common/backoff.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/log.h"

#define KEY_BYTES 16
#define KEY_TEXT  22 /* base64 of 16 bytes without the two padding characters */
#define SAY_MS    60000

struct secret {
        struct kube *k;
        char *ns, *name, *deployment;
        char *uid; /* of the Deployment, NULL: none */
        uv_timer_t timer;
        struct kube_request *request;
        struct backoff backoff;
        struct rng rng;
        struct log_limit say;
        bool there, closing, timer_closed;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static void begin(struct secret *s);

static void maybe_closed(struct secret *s)
{
        void (*closed)(void *ctx) = s->closed;
        void *ctx = s->closed_ctx;

        if (!s->timer_closed || s->request)
                return;
        free(s->ns);
        free(s->name);
        free(s->deployment);
        free(s->uid);
        free(s);
        closed(ctx);
}

static void on_timer(uv_timer_t *t)
{
        struct secret *s = container_of(t, struct secret, timer);

        if (!s->closing && !s->there && !s->request)
                begin(s);
}

static void again(struct secret *s, const char *what, const char *words)
{
        uint64_t now_ms = uv_now(kube_loop(s->k)), held = 0;

        if (log_limit_ok(&s->say, now_ms, SAY_MS, &held))
                log_error("cannot make the memberlist secret, retrying", F_STR("secret", s->name),
                        F_STR("op", what), F_STR("error", words), F_UINT("more", held));
        uv_timer_start(&s->timer, on_timer, backoff_next(&s->backoff, &s->rng), 0);
}

/* True when the answer may be used: not while closing. */
static bool answered(struct secret *s)
{
        s->request = NULL;
        if (s->closing)
                maybe_closed(s);
        return !s->closing;
}

static int send_call(struct secret *s, struct buf *path, struct kube_call *call)
{
        if (!buf_ok(path))
                return -ENOMEM;
        call->path = buf_str(path);
        call->ctx = s;
        return kube_send(s->k, &s->request, call);
}

static void on_created(void *ctx, const struct kube_response *res)
{
        struct secret *s = ctx;
        int code = kube_response_code(res);

        if (!answered(s))
                return;
        if (code < 0 && code != ERR_CONFLICT) {
                again(s, "create", res->error);
                return;
        }
        s->there = true; /* on conflict: another instance was faster */
        if (code >= 0)
                log_info("memberlist secret made", F_STR("secret", s->name), F_STR("namespace", s->ns));
}

/* The value as the API wants it: base64 of the 22 characters. */
static int make_value(char out[static 4 * KEY_TEXT])
{
        unsigned char key[KEY_BYTES], text[4 * KEY_BYTES];
        int r = RAND_bytes(key, sizeof(key)) == 1 ? 0 : -EIO;

        if (r == 0) {
                EVP_EncodeBlock(text, key, sizeof(key));
                EVP_EncodeBlock((unsigned char *)out, text, KEY_TEXT);
        }
        OPENSSL_cleanse(key, sizeof(key));
        OPENSSL_cleanse(text, sizeof(text));
        return r;
}

static int create(struct secret *s)
{
        CLEANUP(buf_fini) struct buf path = BUF_INIT;
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        struct kube_call call = {
                .method = "POST", .on_done = on_created, .verb = "create", .resource = "secrets"
        };
        char value[4 * KEY_TEXT] = { 0 };
        int r = make_value(value);

        buf_adds(&body, "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":");
        buf_add_json(&body, s->name);
        buf_adds(&body, ",\"namespace\":");
        buf_add_json(&body, s->ns);
        if (s->uid) {
                buf_adds(&body,
                        ",\"ownerReferences\":[{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"name\":");
                buf_add_json(&body, s->deployment);
                buf_adds(&body, ",\"uid\":");
                buf_add_json(&body, s->uid);
                buf_adds(&body, "}]");
        }
        buf_adds(&body, "},\"data\":{\"secretkey\":");
        buf_add_json(&body, value);
        buf_adds(&body, "}}");
        kube_path(&path, "", "v1", s->ns, "secrets", NULL, NULL);
        call.body = buf_str(&body);
        call.body_len = body.len;
        if (r == 0)
                r = buf_ok(&body) ? send_call(s, &path, &call) : -ENOMEM;
        OPENSSL_cleanse(value, sizeof(value));
        if (body.p)
                OPENSSL_cleanse(body.p, body.len);
        return r;
}

static void on_deployment(void *ctx, const struct kube_response *res)
{
        struct secret *s = ctx;
        CLEANUP(json_deletep) cJSON *object = NULL;
        int code = kube_response_code(res), r;

        if (!answered(s))
                return;
        if (code >= 0)
                code = json_parse(&object, res->body, res->len);
        if (code == ERR_DENIED || code == ERR_MISSING) {
                log_warn("the memberlist secret gets no owner: its deployment cannot be read",
                        F_STR("deployment", s->deployment), F_STR("error", res->error));
        } else if (code < 0) {
                again(s, "get deployment", res->error);
                return;
        } else {
                free(s->uid);
                s->uid = json_str_at(object, "metadata.uid", NULL)
                        ? strdup(json_str_at(object, "metadata.uid", ""))
                        : NULL;
        }
        r = create(s);
        if (r < 0)
                again(s, "create", err_name(r));
}

static int get_deployment(struct secret *s)
{
        CLEANUP(buf_fini) struct buf path = BUF_INIT;
        struct kube_call call = {
                .method = "GET", .on_done = on_deployment, .verb = "get", .resource = "deployments"
        };

        kube_path(&path, "apps", "v1", s->ns, "deployments", s->deployment, NULL);
        return send_call(s, &path, &call);
}

static void on_listed(void *ctx, const struct kube_response *res)
{
        struct secret *s = ctx;
        CLEANUP(json_deletep) cJSON *list = NULL;
        const cJSON *items = NULL;
        int r = kube_response_code(res);

        if (!answered(s))
                return;
        if (r >= 0)
                r = json_parse(&list, res->body, res->len);
        if (r >= 0)
                r = json_arr(list, "items", &items);
        if (r < 0 && r != -ENOENT) {
                again(s, "list", res->error[0] != '\0' ? res->error : err_name(r));
                return;
        }
        if (cJSON_GetArraySize(items) > 0) {
                s->there = true;
                return;
        }
        r = s->deployment[0] != '\0' ? get_deployment(s) : create(s);
        if (r < 0)
                again(s, "create", err_name(r));
}

static void begin(struct secret *s)
{
        CLEANUP(buf_fini) struct buf path = BUF_INIT;
        struct kube_call call = {
                .method = "GET", .on_done = on_listed, .verb = "list", .resource = "secrets"
        };
        int r;

        kube_path(&path, "", "v1", s->ns, "secrets", NULL, NULL);
        buf_adds(&path, "?fieldSelector=metadata.name%3D");
        buf_add_url(&path, s->name);
        r = send_call(s, &path, &call);
        if (r < 0)
                again(s, "list", err_name(r));
}

int secret_new(struct secret **ret, const struct secret_conf *conf)
{
        struct secret *s = calloc(1, sizeof(*s));
        int r = -ENOMEM;

        if (!s)
                return r;
        s->k = conf->kube;
        s->ns = strdup(conf->ns);
        s->name = strdup(conf->name);
        s->deployment = strdup(conf->deployment);
        s->backoff = (struct backoff){ .base_ms = 500, .cap_ms = 30000 };
        s->rng.state = uv_hrtime();
        if (s->ns && s->name && s->deployment)
                r = uv_timer_init(kube_loop(s->k), &s->timer);
        if (r < 0) {
                free(s->ns);
                free(s->name);
                free(s->deployment);
                free(s);
                return r;
        }
        uv_timer_start(&s->timer, on_timer, 0, 0);
        *ret = s;
        return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
        struct secret *s = container_of(h, struct secret, timer);

        s->timer_closed = true;
        maybe_closed(s);
}

void secret_close(struct secret *s, void (*closed)(void *ctx), void *ctx)
{
        if (s->closing)
                return;
        s->closing = true;
        s->closed = closed;
        s->closed_ctx = ctx;
        if (s->request)
                kube_cancel(s->request);
        uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

bool secret_is_there(const struct secret *s)
{
        return s->there;
}
