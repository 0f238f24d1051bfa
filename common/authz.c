/* SPDX-License-Identifier: Apache-2.0 */
#include "common/authz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/log.h"

/* A question lives until its request completes, which the client guarantees; who asked, or the whole struct authz, may
 * be gone by then. So a question has up to two requests one after the other and is freed in one place, finish(). */

#define REVIEW_MS     4000 /* each; both fit into the 10 s of an HTTP request and a scrape */
#define TOKEN_TTL_MS  60000
#define ALLOW_TTL_MS  300000
#define DENY_TTL_MS   30000
#define CACHE_MAX     64
#define OPEN_MAX      16
#define WARN_EVERY_MS 60000

struct entry {
        unsigned char key[32];
        uint64_t until_ms; /* 0: free */
        bool yes;
        char *user; /* tokens: status.user of the review; NULL when it is nobody's */
};

struct cache {
        struct entry entries[CACHE_MAX];
};

TAILQ_HEAD(ask_list, authz_ask);

struct authz_ask {
        TAILQ_ENTRY(authz_ask) link;
        struct authz *a; /* NULL: nobody waits for the answer */
        void (*done)(void *ctx, enum authz_verdict v); /* NULL: dropped */
        void *ctx;
        bool counted; /* in a->open */
        unsigned char key[32]; /* of the token, then of the user and what they want */
        char *user, *verb, *path;
};

struct authz {
        struct authz_conf conf;
        struct cache tokens, rights;
        struct ask_list open;
        unsigned n_open;
        struct log_limit warned;
};

static void cache_clear(struct cache *c)
{
        for (size_t i = 0; i < CACHE_MAX; i++)
                free(c->entries[i].user);
}

static const struct entry *cache_get(
        const struct cache *c, const unsigned char key[static 32], uint64_t now_ms)
{
        for (size_t i = 0; i < CACHE_MAX; i++)
                if (c->entries[i].until_ms > now_ms && memcmp(c->entries[i].key, key, 32) == 0)
                        return &c->entries[i];
        return NULL;
}

/* Takes the place of an older answer for @key, else of the one that ends first. */
static void cache_put(
        struct cache *c, const unsigned char key[static 32], uint64_t until_ms, bool yes, char *user)
{
        struct entry *at = &c->entries[0];

        for (size_t i = 0; i < CACHE_MAX; i++) {
                if (memcmp(c->entries[i].key, key, 32) == 0) {
                        at = &c->entries[i];
                        break;
                }
                if (c->entries[i].until_ms < at->until_ms)
                        at = &c->entries[i];
        }
        free(at->user);
        memcpy(at->key, key, 32);
        at->until_ms = until_ms;
        at->yes = yes;
        at->user = user;
}

/* SHA-256 over the parts with their terminators. False: OpenSSL has no memory. */
static bool hash(unsigned char ret[static 32], const char *const *parts, size_t n)
{
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;

        for (size_t i = 0; i < n && ok; i++)
                ok = EVP_DigestUpdate(md, parts[i], strlen(parts[i]) + 1) == 1;
        ok = ok && EVP_DigestFinal_ex(md, ret, NULL) == 1;
        EVP_MD_CTX_free(md);
        return ok;
}

static uint64_t now(const struct authz *a)
{
        return a->conf.now_ms(a->conf.ctx);
}

int authz_new(struct authz **ret, const struct authz_conf *conf)
{
        struct authz *a = calloc(1, sizeof(*a));

        if (!a)
                return -ENOMEM;
        a->conf = *conf;
        TAILQ_INIT(&a->open);
        *ret = a;
        return 0;
}

static struct authz_ask *ask_free(struct authz_ask *q)
{
        if (!q)
                return NULL;
        free(q->user);
        free(q->verb);
        free(q->path);
        free(q);
        return NULL;
}
DEFINE_CLEANUP(struct authz_ask, ask_free);

struct authz *authz_free(struct authz *a)
{
        struct authz_ask *q;

        if (!a)
                return NULL;
        for (q = TAILQ_FIRST(&a->open); q; q = TAILQ_NEXT(q, link))
                q->a = NULL;
        cache_clear(&a->tokens);
        cache_clear(&a->rights);
        free(a);
        return NULL;
}

void authz_drop(struct authz_ask *q)
{
        q->done = NULL;
}

static void finish(struct authz_ask *q, enum authz_verdict v)
{
        void (*done)(void *ctx, enum authz_verdict v) = q->a ? q->done : NULL;
        void *ctx = q->ctx;

        if (q->a) {
                TAILQ_REMOVE(&q->a->open, q, link);
                q->a->n_open--;
        }
        ask_free(q);
        if (done)
                done(ctx, v);
}

static void warn(struct authz *a, const char *op, const char *why)
{
        if (log_limit_ok(&a->warned, now(a), WARN_EVERY_MS, NULL))
                log_warn("metrics access not checked, answering 500", F_STR("op", op), F_STR("error", why));
}

/* ---- reviews ---- */

static enum authz_verdict post(struct authz_ask *q, const char *path, const char *resource, struct buf *body,
        void (*on_done)(void *ctx, const struct kube_response *res))
{
        struct kube_call call = { .method = "POST",
                .path = path,
                .body = body->p,
                .body_len = body->len,
                .timeout_ms = REVIEW_MS,
                .on_done = on_done,
                .ctx = q,
                .verb = "create",
                .resource = resource };
        int r = buf_ok(body) ? 0 : -ENOMEM;

        if (!q->counted && q->a->n_open >= OPEN_MAX)
                return AUTHZ_BUSY;
        if (r == 0)
                r = q->a->conf.send(q->a->conf.ctx, NULL, &call);
        if (body->p)
                OPENSSL_cleanse(body->p, body->cap); /* the token */
        if (r == 0)
                return AUTHZ_PENDING;
        warn(q->a, resource, err_name(r));
        return AUTHZ_FAILED;
}

/* The member "status" of a review that was answered, to be freed with @ret_tree. NULL: it was not, which is told. */
static const cJSON *status_of(
        struct authz_ask *q, const char *op, cJSON **ret_tree, const struct kube_response *res)
{
        const cJSON *status;

        if (kube_response_code(res) < 0) {
                warn(q->a, op, *res->error ? res->error : err_name(kube_response_code(res)));
                return NULL;
        }
        if (json_parse(ret_tree, res->body, res->len) < 0 || json_obj(*ret_tree, "status", &status) < 0) {
                warn(q->a, op, "the answer has no status");
                return NULL;
        }
        return status;
}

static enum authz_verdict remember_rights(struct authz *a, const unsigned char key[static 32], bool allowed)
{
        cache_put(&a->rights, key, now(a) + (allowed ? ALLOW_TTL_MS : DENY_TTL_MS), allowed, NULL);
        return allowed ? AUTHZ_ALLOWED : AUTHZ_DENIED;
}

static void on_access(void *ctx, const struct kube_response *res)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        enum authz_verdict v = AUTHZ_FAILED;
        struct authz_ask *q = ctx;
        const cJSON *status = q->a ? status_of(q, "subjectaccessreviews", &tree, res) : NULL;
        bool allowed = false, denied = false;

        if (status) {
                (void)json_bool(status, "allowed", &allowed);
                (void)json_bool(status, "denied", &denied);
                v = remember_rights(q->a, q->key, allowed && !denied);
        }
        finish(q, v);
}

/* SubjectAccessReview.spec wants what TokenReview.status.user has, the name under another name. */
static bool access_body(struct buf *out, const struct authz_ask *q)
{
        static const struct {
                const char *from, *to;
        } members[] = { { "username", "user" }, { "uid", "uid" }, { "groups", "groups" },
                { "extra", "extra" } };
        CLEANUP(json_deletep) cJSON *user = NULL;

        if (json_parse(&user, q->user, strlen(q->user)) < 0)
                return false;
        buf_adds(out,
                "{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":\"SubjectAccessReview\",\"spec\":{");
        for (size_t i = 0; i < ARRAY_LEN(members); i++) {
                const cJSON *member = json_at(user, members[i].from);
                CLEANUP(freep) char *text = member ? cJSON_PrintUnformatted(member) : NULL;

                if (member && !text)
                        return false;
                if (member)
                        buf_addf(out, "\"%s\":%s,", members[i].to, text);
        }
        buf_adds(out, "\"nonResourceAttributes\":{\"path\":");
        buf_add_json(out, q->path);
        buf_adds(out, ",\"verb\":");
        buf_add_json(out, q->verb);
        buf_adds(out, "}}}");
        return true;
}

/* The user is known; AUTHZ_PENDING when the API server has to be asked what they may. */
static enum authz_verdict ask_access(struct authz_ask *q)
{
        static const char path[] = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        const char *const parts[] = { q->user, q->verb, q->path };
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        const struct entry *known;

        if (!hash(q->key, parts, ARRAY_LEN(parts)))
                return AUTHZ_FAILED;
        known = cache_get(&q->a->rights, q->key, now(q->a));
        if (known)
                return known->yes ? AUTHZ_ALLOWED : AUTHZ_DENIED;
        if (!access_body(&body, q))
                return AUTHZ_FAILED;
        return post(q, path, "subjectaccessreviews", &body, on_access);
}

/* @user of an authenticated token as text; NULL: nobody, for us. */
static int user_text(char **ret, const cJSON *status)
{
        const char *name = json_str_at(status, "user.username", "");
        bool authenticated = false;

        *ret = NULL;
        (void)json_bool(status, "authenticated", &authenticated);
        if (!authenticated || !*name || strcmp(name, "system:anonymous") == 0)
                return 0;
        *ret = cJSON_PrintUnformatted(json_at(status, "user"));
        return *ret ? 0 : -ENOMEM;
}

static void on_token(void *ctx, const struct kube_response *res)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        CLEANUP(freep) char *user = NULL;
        struct authz_ask *q = ctx;
        const cJSON *status = q->a ? status_of(q, "tokenreviews", &tree, res) : NULL;
        enum authz_verdict v = AUTHZ_FAILED;

        if (!status || user_text(&user, status) < 0) {
                finish(q, AUTHZ_FAILED);
                return;
        }
        q->user = user ? strdup(user) : NULL;
        if (!user)
                v = AUTHZ_NOBODY;
        cache_put(&q->a->tokens, q->key, now(q->a) + TOKEN_TTL_MS, user != NULL, user);
        user = NULL;
        if (q->user && q->done)
                v = ask_access(q);
        if (v != AUTHZ_PENDING)
                finish(q, v);
}

static enum authz_verdict ask_token(struct authz_ask *q, const char *token)
{
        CLEANUP(buf_fini) struct buf body = BUF_INIT;

        buf_adds(&body,
                "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\",\"spec\":{\"token\":");
        buf_add_json(&body, token);
        buf_adds(&body, "}}");
        return post(q, "/apis/authentication.k8s.io/v1/tokenreviews", "tokenreviews", &body, on_token);
}

enum authz_verdict authz_check(struct authz *a, struct authz_ask **ret, const char *token, const char *verb,
        const char *path, void (*done)(void *ctx, enum authz_verdict v), void *ctx)
{
        CLEANUP(ask_freep) struct authz_ask *q = NULL;
        const struct entry *known;
        enum authz_verdict v;

        q = calloc(1, sizeof(*q));
        if (!q || !hash(q->key, &token, 1))
                return AUTHZ_FAILED;
        known = cache_get(&a->tokens, q->key, now(a));
        if (known && !known->user)
                return AUTHZ_NOBODY;
        q->a = a;
        q->done = done;
        q->ctx = ctx;
        q->user = known ? strdup(known->user) : NULL;
        q->verb = strdup(verb);
        q->path = strdup(path);
        if ((known && !q->user) || !q->verb || !q->path)
                return AUTHZ_FAILED;
        v = known ? ask_access(q) : ask_token(q, token);
        if (v != AUTHZ_PENDING)
                return v;
        q->counted = true;
        a->n_open++;
        TAILQ_INSERT_TAIL(&a->open, q, link);
        *ret = TAKE(q);
        return AUTHZ_PENDING;
}
