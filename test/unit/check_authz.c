/* SPDX-License-Identifier: Apache-2.0 */
/* The API server is a table of answers, the clock a number. */
#include "common/authz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/log.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define TOKEN_PATH  "/apis/authentication.k8s.io/v1/tokenreviews"
#define ACCESS_PATH "/apis/authorization.k8s.io/v1/subjectaccessreviews"
#define USER \
        "{\"username\":\"system:serviceaccount:mon:prom\",\"uid\":\"u1\",\"groups\":[\"a\",\"b\"]," \
        "\"extra\":{\"k\":[\"v\"]},\"other\":1}"
#define KNOWN   "{\"kind\":\"TokenReview\",\"status\":{\"authenticated\":true,\"user\":" USER "}}"
#define UNKNOWN "{\"kind\":\"TokenReview\",\"status\":{\"error\":\"invalid bearer token\"}}"
#define MAY     "{\"status\":{\"allowed\":true}}"
#define MAY_NOT "{\"status\":{\"allowed\":false}}"

struct call {
        char path[80], body[512];
        void (*on_done)(void *ctx, const struct kube_response *res);
        void *ctx;
};

struct api {
        struct call calls[64];
        unsigned n_calls, n_answered;
        int send_error;
        uint64_t now_ms;
        struct authz *a;
        enum authz_verdict verdicts[64];
        unsigned n_verdicts;
        bool free_in_done;
};

static int fake_send(void *ctx, struct kube_request **ret, const struct kube_call *call)
{
        struct api *api = ctx;
        struct call *c = &api->calls[api->n_calls % 64];

        if (ret || strcmp(call->method, "POST") != 0 || call->content_type || call->stream)
                abort();
        if (api->send_error)
                return api->send_error;
        api->n_calls++;
        (void)snprintf(c->path, sizeof(c->path), "%s", call->path);
        (void)snprintf(c->body, sizeof(c->body), "%.*s", (int)call->body_len, call->body);
        c->on_done = call->on_done;
        c->ctx = call->ctx;
        return 0;
}

static uint64_t fake_now(void *ctx)
{
        return ((struct api *)ctx)->now_ms;
}

static void on_verdict(void *ctx, enum authz_verdict v)
{
        struct api *api = ctx;

        api->verdicts[api->n_verdicts++] = v;
        if (api->free_in_done)
                api->a = authz_free(api->a);
}

/* The oldest open call gets @body, or with @code < 0 or another @status no good answer. */
static void answer(struct api *api, int code, int status, const char *body)
{
        struct call *c = &api->calls[api->n_answered++ % 64];
        const struct kube_response res = { .code = code,
                .status = status,
                .body = body,
                .len = strlen(body),
                .error = code || status >= 300 ? "refused" : "" };

        c->on_done(c->ctx, &res);
}

static void start(struct api *api)
{
        const struct authz_conf conf = { .send = fake_send, .now_ms = fake_now, .ctx = api };

        memset(api, 0, sizeof(*api));
        api->now_ms = 1000;
        ck_assert_int_eq(log_set_level("none"), 0);
        ck_assert_int_eq(authz_new(&api->a, &conf), 0);
}

static enum authz_verdict ask_for(
        struct api *api, const char *token, const char *verb, struct authz_ask **ret)
{
        return authz_check(api->a, ret, token, verb, "/metrics", on_verdict, api);
}

static enum authz_verdict ask(struct api *api, const char *token)
{
        struct authz_ask *q;

        return ask_for(api, token, "get", &q);
}

START_TEST(asks_twice_then_remembers)
{
        struct api api;

        start(&api);
        ck_assert_int_eq(ask(&api, "to\"ken"), AUTHZ_PENDING);
        ck_assert_str_eq(api.calls[0].path, TOKEN_PATH);
        ck_assert_str_eq(api.calls[0].body,
                "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\",\"spec\":{\"token\":\"to\\\"ken\"}}");
        answer(&api, 0, 201, KNOWN);
        ck_assert_uint_eq(api.n_verdicts, 0);
        ck_assert_str_eq(api.calls[1].path, ACCESS_PATH);
        ck_assert_str_eq(api.calls[1].body,
                "{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":\"SubjectAccessReview\",\"spec\":{"
                "\"user\":\"system:serviceaccount:mon:prom\",\"uid\":\"u1\",\"groups\":[\"a\",\"b\"],"
                "\"extra\":{\"k\":[\"v\"]},\"nonResourceAttributes\":{\"path\":\"/metrics\",\"verb\":\"get\"}}}");
        answer(&api, 0, 201, MAY);
        ck_assert_uint_eq(api.n_verdicts, 1);
        ck_assert_int_eq(api.verdicts[0], AUTHZ_ALLOWED);
        ck_assert_int_eq(ask(&api, "to\"ken"), AUTHZ_ALLOWED);
        ck_assert_uint_eq(api.n_calls, 2);
        authz_free(api.a);
}
END_TEST

static const struct {
        const char *name;
        int token_code, token_status;
        const char *token_body;
        const char *access_body; /* NULL: never asked */
        int access_status;
        enum authz_verdict want;
} reviews[] = {
        { "allowed", 0, 201, KNOWN, MAY, 201, AUTHZ_ALLOWED },
        { "not allowed", 0, 201, KNOWN, MAY_NOT, 201, AUTHZ_DENIED },
        { "denied wins", 0, 201, KNOWN, "{\"status\":{\"allowed\":true,\"denied\":true}}", 201,
                AUTHZ_DENIED },
        { "nothing said", 0, 201, KNOWN, "{\"status\":{}}", 201, AUTHZ_DENIED },
        { "wrong type", 0, 201, KNOWN, "{\"status\":{\"allowed\":\"true\"}}", 201, AUTHZ_DENIED },
        { "access: no status", 0, 201, KNOWN, "{}", 201, AUTHZ_FAILED },
        { "access: no json", 0, 201, KNOWN, "<html>", 201, AUTHZ_FAILED },
        { "access: forbidden to ask", 0, 201, KNOWN, MAY, 403, AUTHZ_FAILED },
        { "invalid token", 0, 201, UNKNOWN, NULL, 0, AUTHZ_NOBODY },
        { "authenticated without a user", 0, 201, "{\"status\":{\"authenticated\":true}}", NULL, 0,
                AUTHZ_NOBODY },
        { "anonymous", 0, 201,
                "{\"status\":{\"authenticated\":true,\"user\":{\"username\":\"system:anonymous\"}}}", NULL, 0,
                AUTHZ_NOBODY },
        { "user but not authenticated", 0, 201, "{\"status\":{\"authenticated\":false,\"user\":" USER "}}",
                NULL, 0, AUTHZ_NOBODY },
        { "token: forbidden to ask", 0, 403, "{\"kind\":\"Status\"}", NULL, 0, AUTHZ_FAILED },
        { "token: server error", 0, 500, "", NULL, 0, AUTHZ_FAILED },
        { "token: no answer", -ETIMEDOUT, 0, "", NULL, 0, AUTHZ_FAILED },
        { "token: cancelled", -ECANCELED, 0, "", NULL, 0, AUTHZ_FAILED },
        { "token: no status", 0, 201, "{}", NULL, 0, AUTHZ_FAILED },
        { "token: no json", 0, 201, "", NULL, 0, AUTHZ_FAILED },
};

START_TEST(judges)
{
        struct api api;

        start(&api);
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_PENDING);
        answer(&api, reviews[_i].token_code, reviews[_i].token_status, reviews[_i].token_body);
        if (reviews[_i].access_body)
                answer(&api, 0, reviews[_i].access_status, reviews[_i].access_body);
        ck_assert_uint_eq(api.n_calls, api.n_answered);
        ck_assert_uint_eq(api.n_verdicts, 1);
        ck_assert_msg(api.verdicts[0] == reviews[_i].want, "%s: %d", reviews[_i].name, api.verdicts[0]);
        /* Failures are asked again, verdicts are not. */
        ck_assert_int_eq(ask(&api, "t"), reviews[_i].want == AUTHZ_FAILED ? AUTHZ_PENDING : reviews[_i].want);
        if (api.n_calls > api.n_answered)
                answer(&api, -ECANCELED, 0, "");
        authz_free(api.a);
}
END_TEST

START_TEST(forgets_in_time)
{
        struct api api;

        start(&api);
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_PENDING);
        answer(&api, 0, 201, KNOWN);
        answer(&api, 0, 201, MAY);
        api.now_ms += 59999;
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_ALLOWED);
        api.now_ms += 1; /* the token is looked at again after 1 min, the right is still known */
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_PENDING);
        answer(&api, 0, 201, KNOWN);
        ck_assert_int_eq(api.verdicts[1], AUTHZ_ALLOWED);
        ck_assert_uint_eq(api.n_calls, 3);
        api.now_ms += 240000; /* 5 min: both are asked */
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_PENDING);
        answer(&api, 0, 201, KNOWN);
        answer(&api, 0, 201, MAY_NOT);
        ck_assert_int_eq(api.verdicts[2], AUTHZ_DENIED);
        api.now_ms += 29999;
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_DENIED);
        api.now_ms += 1; /* 30 s: the token is still known */
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_PENDING);
        ck_assert_str_eq(api.calls[5].path, ACCESS_PATH);
        answer(&api, 0, 201, MAY);
        ck_assert_int_eq(api.verdicts[3], AUTHZ_ALLOWED);
        authz_free(api.a);
}
END_TEST

START_TEST(invalid_tokens_are_remembered)
{
        struct api api;

        start(&api);
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_PENDING);
        answer(&api, 0, 201, UNKNOWN);
        api.now_ms += 59999;
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_NOBODY);
        api.now_ms += 1;
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_PENDING);
        answer(&api, 0, 201, UNKNOWN);
        authz_free(api.a);
}
END_TEST

START_TEST(verbs_and_tokens_differ)
{
        struct authz_ask *q;
        struct api api;

        start(&api);
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_PENDING);
        answer(&api, 0, 201, KNOWN);
        answer(&api, 0, 201, MAY);
        ck_assert_int_eq(ask_for(&api, "t", "head", &q), AUTHZ_PENDING);
        ck_assert_str_eq(api.calls[2].path, ACCESS_PATH);
        answer(&api, 0, 201, MAY_NOT);
        ck_assert_int_eq(ask_for(&api, "t", "head", &q), AUTHZ_DENIED);
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_ALLOWED);
        ck_assert_int_eq(ask(&api, "T"), AUTHZ_PENDING);
        ck_assert_str_eq(api.calls[3].path, TOKEN_PATH);
        answer(&api, 0, 201, UNKNOWN);
        authz_free(api.a);
}
END_TEST

START_TEST(cache_is_bounded)
{
        struct api api;
        char token[16];

        start(&api);
        for (int i = 0; i < 200; i++) {
                (void)snprintf(token, sizeof(token), "%d", i);
                ck_assert_int_eq(ask(&api, token), AUTHZ_PENDING);
                answer(&api, 0, 201, UNKNOWN);
                api.n_verdicts = 0;
                api.now_ms++;
        }
        for (int i = 199; i >= 199 - 63; i--) { /* the youngest are known */
                (void)snprintf(token, sizeof(token), "%d", i);
                ck_assert_int_eq(ask(&api, token), AUTHZ_NOBODY);
        }
        ck_assert_int_eq(ask(&api, "0"), AUTHZ_PENDING);
        answer(&api, 0, 201, UNKNOWN);
        authz_free(api.a);
}
END_TEST

START_TEST(questions_are_bounded)
{
        struct api api;
        char token[16];

        start(&api);
        for (int i = 0; i < 16; i++) {
                (void)snprintf(token, sizeof(token), "%d", i);
                ck_assert_int_eq(ask(&api, token), AUTHZ_PENDING);
        }
        ck_assert_int_eq(ask(&api, "more"), AUTHZ_BUSY);
        ck_assert_uint_eq(api.n_calls, 16);
        answer(&api, 0, 201, KNOWN); /* its second question goes out all the same */
        ck_assert_uint_eq(api.n_calls, 17);
        for (int i = 1; i < 16; i++)
                answer(&api, 0, 201, UNKNOWN);
        answer(&api, 0, 201, MAY);
        ck_assert_uint_eq(api.n_verdicts, 16);
        ck_assert_int_eq(ask(&api, "0"), AUTHZ_ALLOWED);
        ck_assert_int_eq(ask(&api, "more"), AUTHZ_PENDING);
        answer(&api, 0, 201, UNKNOWN);
        authz_free(api.a);
}
END_TEST

START_TEST(cannot_send)
{
        struct api api;

        start(&api);
        api.send_error = -ENOBUFS;
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_FAILED);
        api.send_error = 0;
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_PENDING);
        api.send_error = -ENOBUFS;
        answer(&api, 0, 201, KNOWN);
        ck_assert_int_eq(api.verdicts[0], AUTHZ_FAILED);
        ck_assert_uint_eq(api.n_verdicts, 1);
        authz_free(api.a);
}
END_TEST

/* _i: 0 the asker leaves before the first answer, 1 before the second, 2 and 3: everything goes. */
START_TEST(nobody_waits)
{
        struct authz_ask *q;
        struct api api;

        start(&api);
        ck_assert_int_eq(ask_for(&api, "t", "get", &q), AUTHZ_PENDING);
        if (_i % 2 == 1)
                answer(&api, 0, 201, KNOWN);
        if (_i < 2)
                authz_drop(q);
        else
                api.a = authz_free(api.a);
        answer(&api, 0, 201, _i % 2 ? MAY : KNOWN);
        ck_assert_uint_eq(api.n_calls, api.n_answered);
        ck_assert_uint_eq(api.n_verdicts, 0);
        if (_i < 2) { /* what was learned is kept */
                ck_assert_int_eq(ask(&api, "t"), _i ? AUTHZ_ALLOWED : AUTHZ_PENDING);
                if (_i == 0) {
                        ck_assert_str_eq(api.calls[1].path, ACCESS_PATH);
                        answer(&api, 0, 201, MAY);
                }
        }
        authz_free(api.a);
}
END_TEST

START_TEST(owner_may_end_it_all_in_done)
{
        struct api api;

        start(&api);
        api.free_in_done = true;
        ck_assert_int_eq(ask(&api, "t"), AUTHZ_PENDING);
        ck_assert_int_eq(ask(&api, "u"), AUTHZ_PENDING);
        answer(&api, 0, 201, UNKNOWN);
        ck_assert_ptr_null(api.a);
        answer(&api, 0, 201, KNOWN);
        ck_assert_uint_eq(api.n_verdicts, 1);
        ck_assert_uint_eq(api.n_calls, 2);
}
END_TEST

START_TEST(without_memory)
{
        for (unsigned n = 0;; n++) {
                enum authz_verdict v;
                struct api api;
                bool failed;

                start(&api);
                fault_arm(n);
                v = ask(&api, "t");
                if (v == AUTHZ_PENDING) {
                        answer(&api, 0, 201, KNOWN);
                        if (api.n_calls == 2)
                                answer(&api, 0, 201, MAY);
                        v = api.verdicts[0];
                }
                failed = fault_disarm();
                ck_assert_int_eq(v, failed ? AUTHZ_FAILED : AUTHZ_ALLOWED);
                authz_free(api.a);
                if (!failed)
                        break;
        }
}
END_TEST

int main(void)
{
        Suite *s = suite_create("authz");
        TCase *tc = tcase_create("authz");

        tcase_add_test(tc, asks_twice_then_remembers);
        tcase_add_loop_test(tc, judges, 0, (int)ARRAY_LEN(reviews));
        tcase_add_test(tc, forgets_in_time);
        tcase_add_test(tc, invalid_tokens_are_remembered);
        tcase_add_test(tc, verbs_and_tokens_differ);
        tcase_add_test(tc, cache_is_bounded);
        tcase_add_test(tc, questions_are_bounded);
        tcase_add_test(tc, cannot_send);
        tcase_add_loop_test(tc, nobody_waits, 0, 4);
        tcase_add_test(tc, owner_may_end_it_all_in_done);
        tcase_add_test(tc, without_memory);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
