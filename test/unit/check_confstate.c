/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/kube/confstate.h"
#include "common/log.h"
#include "test/lib/fakeapi.h"
#include "test/lib/fakekube.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define STATES "/apis/metallb.io/v1beta1/namespaces/lb/configurationstates"

struct rig {
        uv_loop_t loop;
        struct fakekube *api;
        struct kube *kube;
        struct confstate *state;
        unsigned n_closed;
        const char *want; /* writes waited for */
};

static void on_closed(void *ctx)
{
        struct rig *r = ctx;

        r->n_closed++;
}

static void rig_init(struct rig *r, const char *node)
{
        struct kube_conf conf = { 0 };

        *r = (struct rig){ 0 };
        log_set_fd(open("/dev/null", O_WRONLY));
        ck_assert_int_eq(uv_loop_init(&r->loop), 0);
        r->api = fakekube_new(&r->loop);
        conf.server = strdup(fakekube_url(r->api));
        ck_assert_int_eq(kube_new(&r->kube, &r->loop, &conf, NULL, NULL, NULL), 0);
        kube_conf_fini(&conf);
        ck_assert_int_eq(confstate_new(&r->state, &r->loop,
                                 &(struct confstate_conf){ .kube = r->kube, .ns = "lb", .node = node }),
                0);
}

static bool state_closed(void *ctx)
{
        return ((struct rig *)ctx)->n_closed == 1;
}

static void rig_fini(struct rig *r)
{
        confstate_close(r->state, on_closed, r);
        ck_assert(fake_run_until(&r->loop, state_closed, r));
        kube_close(r->kube, on_closed, r);
        fakekube_close(r->api);
        fake_finish(&r->loop);
        ck_assert_uint_eq(r->n_closed, 2);
}

static bool has_written(void *ctx)
{
        struct rig *r = ctx;

        return strcmp(fakekube_writes(r->api), r->want) == 0;
}

static void expect_writes(struct rig *r, const char *want)
{
        r->want = want;
        ck_assert_msg(fake_run_until(&r->loop, has_written, r), "wrote \"%s\", not \"%s\"",
                fakekube_writes(r->api), want);
        fake_run_for(&r->loop, 100); /* and no more than that */
        ck_assert_str_eq(fakekube_writes(r->api), want);
        fakekube_reset_writes(r->api);
}

static const char *field(struct rig *r, const char *name, const char *path)
{
        return json_str_at(fakekube_get(r->api, STATES, name), path, "(none)");
}

static const cJSON *condition(struct rig *r, const char *name)
{
        return cJSON_GetArrayItem(json_at(fakekube_get(r->api, STATES, name), "status.conditions"), 0);
}

START_TEST(made_reported_and_left_alone)
{
        struct rig r;
        char when[64];

        rig_init(&r, "n1");
        confstate_set_owner(r.state, "speaker-x", "pod-uid");
        expect_writes(&r, "POST configurationstates; ");
        ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
                                 json_at(fakekube_get(r.api, STATES, "speaker-n1"), "metadata.labels"),
                                 "metallb.io/node-name")),
                "n1");
        confstate_report(r.state, CONFSTATE_VALID, "");
        expect_writes(&r, "PATCH configurationstates/status; ");
        ck_assert_str_eq(field(&r, "speaker-n1", "status.result"), "Valid");
        ck_assert_str_eq(field(&r, "speaker-n1", "status.errorSummary"), "");
        ck_assert_str_eq(json_str_at(condition(&r, "speaker-n1"), "type", ""), "configReconcilerValid");
        ck_assert_str_eq(json_str_at(condition(&r, "speaker-n1"), "status", ""), "True");
        ck_assert_str_eq(json_str_at(condition(&r, "speaker-n1"), "reason", ""), "Reconciled");
        confstate_report(r.state, CONFSTATE_VALID, "");
        expect_writes(&r, "");

        confstate_report(r.state, CONFSTATE_INVALID, "pool \"a\": bad\npool \"b\": worse");
        expect_writes(&r, "PATCH configurationstates/status; ");
        ck_assert_str_eq(field(&r, "speaker-n1", "status.result"), "Invalid");
        ck_assert_str_eq(field(&r, "speaker-n1", "status.errorSummary"),
                "configuration error: pool \"a\": bad\npool \"b\": worse");
        ck_assert_str_eq(json_str_at(condition(&r, "speaker-n1"), "reason", ""), "ConfigurationError");
        (void)snprintf(
                when, sizeof(when), "%s", json_str_at(condition(&r, "speaker-n1"), "lastTransitionTime", ""));

        /* Another mistake: the text changes, the time of the transition does not. */
        fake_run_for(&r.loop, 1100);
        confstate_report(r.state, CONFSTATE_INVALID, "pool \"b\": worse");
        expect_writes(&r, "PATCH configurationstates/status; ");
        ck_assert_str_eq(json_str_at(condition(&r, "speaker-n1"), "lastTransitionTime", ""), when);
        confstate_report(r.state, CONFSTATE_UNKNOWN, "");
        expect_writes(&r, "PATCH configurationstates/status; ");
        ck_assert_str_eq(field(&r, "speaker-n1", "status.result"), "Unknown");
        ck_assert_ptr_null(condition(&r, "speaker-n1"));
        rig_fini(&r);
}
END_TEST

START_TEST(mended_when_touched)
{
        struct rig r;

        rig_init(&r, NULL);
        confstate_report(r.state, CONFSTATE_VALID, "");
        expect_writes(&r, "POST configurationstates; PATCH configurationstates/status; ");
        ck_assert_str_eq(json_str_at(condition(&r, "controller"), "type", ""), "poolReconcilerValid");
        fakekube_remove(r.api, STATES, "lb", "controller");
        expect_writes(&r, "POST configurationstates; PATCH configurationstates/status; ");
        fakekube_put(r.api, STATES, "{\"metadata\":{\"name\":\"controller\",\"namespace\":\"lb\"}}");
        expect_writes(&r, "PATCH configurationstates; PATCH configurationstates/status; ");
        confstate_set_owner(r.state, "p", "u");
        expect_writes(&r, "PATCH configurationstates; ");
        ck_assert_str_eq(json_str_at(cJSON_GetArrayItem(json_at(fakekube_get(r.api, STATES, "controller"),
                                                                "metadata.ownerReferences"),
                                             0),
                                 "uid", ""),
                "u");
        rig_fini(&r);
}
END_TEST

START_TEST(a_restart_writes_nothing)
{
        struct rig r;

        rig_init(&r, "n1");
        fakekube_put(r.api, STATES,
                "{\"metadata\":{\"name\":\"speaker-n1\",\"namespace\":\"lb\",\"labels\":{\"metallb.io/component-type\":"
                "\"speaker\",\"metallb.io/node-name\":\"n1\"},\"ownerReferences\":[{\"uid\":\"u\"}]},\"status\":{"
                "\"result\":\"Valid\",\"errorSummary\":\"\",\"conditions\":[{\"type\":\"configReconcilerValid\","
                "\"status\":\"True\",\"reason\":\"Reconciled\",\"message\":\"\",\"lastTransitionTime\":"
                "\"2020-01-01T00:00:00Z\"}]}}");
        confstate_set_owner(r.state, "p", "u");
        confstate_report(r.state, CONFSTATE_VALID, "");
        fake_run_for(&r.loop, 300);
        expect_writes(&r, "");
        rig_fini(&r);
}
END_TEST

/* The watch lags behind the answers: nothing is written twice for that. */
START_TEST(a_slow_watch)
{
        struct rig r;

        rig_init(&r, "n1");
        fake_run_for(&r.loop, 100);
        fakekube_reset_writes(r.api);
        fakekube_hold_watches(r.api, true);
        confstate_report(r.state, CONFSTATE_VALID, "");
        expect_writes(&r, "PATCH configurationstates/status; ");
        confstate_report(r.state, CONFSTATE_INVALID, "x");
        expect_writes(&r, "");
        fakekube_hold_watches(r.api, false);
        expect_writes(&r, "PATCH configurationstates/status; ");
        rig_fini(&r);
}
END_TEST

START_TEST(survives_no_memory_at_birth)
{
        struct rig r;
        unsigned n;

        rig_init(&r, "n1");
        for (n = 0;; n++) {
                struct confstate *c = NULL;
                bool failed;
                int code;

                fault_arm(n);
                code = confstate_new(
                        &c, &r.loop, &(struct confstate_conf){ .kube = r.kube, .ns = "lb", .node = "n1" });
                failed = fault_disarm();
                ck_assert_int_eq(code, failed ? -ENOMEM : 0);
                if (!failed) {
                        confstate_close(r.state, on_closed, &r);
                        ck_assert(fake_run_until(&r.loop, state_closed, &r));
                        r.n_closed = 0;
                        r.state = c;
                        break;
                }
        }
        ck_assert_uint_gt(n, 3);
        rig_fini(&r);
}
END_TEST

static const int failures[] = { 500, 503, 429, 409, 422, 403 };

START_TEST(tries_again)
{
        struct rig r;

        rig_init(&r, "n1");
        fakekube_fail(r.api, "POST", "configurationstates", failures[_i], 1);
        confstate_report(r.state, CONFSTATE_VALID, "");
        expect_writes(
                &r, "POST configurationstates; POST configurationstates; PATCH configurationstates/status; ");
        rig_fini(&r);
}
END_TEST

START_TEST(a_long_text_is_cut_between_characters)
{
        struct rig r;
        char *text = malloc(40001);
        const char *message;

        rig_init(&r, "n1");
        for (size_t i = 0; i < 40000; i += 2)
                memcpy(text + i, "\xc3\xa4", 2);
        memcpy(text, "x", 1); /* so that the limit falls inside a character */
        text[1] = 'x';
        text[2] = 'x';
        memmove(text + 3, text + 4, 40000 - 4);
        text[39999] = '\0';
        confstate_report(r.state, CONFSTATE_INVALID, text);
        expect_writes(&r, "POST configurationstates; PATCH configurationstates/status; ");
        message = json_str_at(condition(&r, "speaker-n1"), "message", "");
        ck_assert_uint_lt(strlen(message), 30100);
        ck_assert_uint_gt(strlen(message), 29900);
        ck_assert_ptr_null(strstr(message, "\xef\xbf\xbd"));
        free(text);
        rig_fini(&r);
}
END_TEST

/* Closed after any number of loop turns: one answer, nothing left in the loop. */
START_TEST(closes_at_any_step)
{
        struct rig r;

        rig_init(&r, "n1");
        confstate_set_owner(r.state, "p", "u");
        confstate_report(r.state, CONFSTATE_INVALID, "x");
        for (int i = 0; i < _i * 3; i++)
                (void)uv_run(&r.loop, UV_RUN_NOWAIT);
        rig_fini(&r);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("confstate");
        TCase *tc = tcase_create("confstate");

        tcase_set_timeout(tc, 30);
        tcase_add_test(tc, made_reported_and_left_alone);
        tcase_add_test(tc, mended_when_touched);
        tcase_add_test(tc, a_restart_writes_nothing);
        tcase_add_test(tc, a_slow_watch);
        tcase_add_test(tc, survives_no_memory_at_birth);
        tcase_add_loop_test(tc, tries_again, 0, (int)ARRAY_LEN(failures));
        tcase_add_test(tc, a_long_text_is_cut_between_characters);
        tcase_add_loop_test(tc, closes_at_any_step, 0, 30);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
