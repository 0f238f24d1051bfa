/* SPDX-License-Identifier: Apache-2.0 */
/* The shells around the lease and the memberlist Secret: what they send, what they make of refusals, how they close. The
 * lease's own rules and times are in check_lease.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "controller/leader.h"
#include "controller/secret.h"
#include "test/lib/fakeapi.h"
#include "test/lib/fakecluster.h"
#include "test/lib/unit.h"

struct scene {
        uv_loop_t loop;
        struct fakecluster *api;
        struct kube *k;
        struct leader *a, *b;
        struct secret *secret;
        bool a_leads, b_leads, released;
        unsigned changes, n_open;
        int fault, faults_left;
        const char *fault_method, *fault_resource;
};

static int fault(void *ctx, const struct fakecluster_request *q)
{
        struct scene *s = ctx;

        if (s->faults_left == 0 || (s->fault_method && strcmp(q->method, s->fault_method) != 0) ||
                (s->fault_resource && strcmp(q->resource, s->fault_resource) != 0))
                return FAKECLUSTER_NONE;
        s->faults_left--;
        return s->fault;
}

static void scene_init(struct scene *s)
{
        struct kube_conf conf = { .server = NULL };

        ck_assert_int_eq(log_set_level("none"), 0);
        *s = (struct scene){ .n_open = 0 };
        ck_assert_int_eq(uv_loop_init(&s->loop), 0);
        s->api = fakecluster_new(&s->loop);
        fakecluster_set_fault(s->api, fault, s);
        conf.server = strdup(fakecluster_url(s->api));
        ck_assert_int_eq(kube_new(&s->k, &s->loop, &conf, NULL, NULL, NULL), 0);
        kube_conf_fini(&conf);
}

static void on_a(void *ctx, bool leading)
{
        struct scene *s = ctx;

        ck_assert(s->a_leads != leading);
        s->a_leads = leading;
        s->changes++;
}

static void on_b(void *ctx, bool leading)
{
        struct scene *s = ctx;

        ck_assert(s->b_leads != leading);
        s->b_leads = leading;
        s->changes++;
}

static struct leader *lead(struct scene *s, const char *identity, void (*on_change)(void *, bool))
{
        const struct leader_conf conf = {
                .kube = s->k, .ns = "lb", .identity = identity, .on_change = on_change, .ctx = s
        };
        struct leader *l = NULL;

        ck_assert_int_eq(leader_new(&l, &conf), 0);
        s->n_open++;
        return l;
}

static void on_kube_closed(void *ctx)
{
        struct scene *s = ctx;

        fakecluster_close(s->api);
}

static void on_part_closed(void *ctx)
{
        struct scene *s = ctx;

        if (--s->n_open == 0)
                kube_close(s->k, on_kube_closed, s);
}

static void scene_fini(struct scene *s)
{
        if (s->a)
                leader_close(s->a, on_part_closed, s);
        if (s->b)
                leader_close(s->b, on_part_closed, s);
        if (s->secret)
                secret_close(s->secret, on_part_closed, s);
        s->a = s->b = NULL;
        s->secret = NULL;
        fake_finish(&s->loop);
        ck_assert_uint_eq(s->n_open, 0);
}

static bool a_leads(void *ctx)
{
        return ((struct scene *)ctx)->a_leads;
}

static bool b_leads(void *ctx)
{
        return ((struct scene *)ctx)->b_leads;
}

static bool b_knows(void *ctx)
{
        return strcmp(leader_words(((struct scene *)ctx)->b), "standby, pod-a leads") == 0;
}

static bool is_released(void *ctx)
{
        return ((struct scene *)ctx)->released;
}

static void on_released(void *ctx)
{
        struct scene *s = ctx;

        ck_assert(!s->released);
        s->released = true;
}

START_TEST(leads_then_hands_over)
{
        struct scene s;
        uint64_t began;

        scene_init(&s);
        s.a = lead(&s, "pod-a", on_a);
        ck_assert(!leader_is_leading(s.a));
        ck_assert_str_eq(leader_words(s.a), "looking for the lease");
        ck_assert(fake_run_until(&s.loop, a_leads, &s));
        ck_assert_str_eq(leader_words(s.a), "leading");
        ck_assert(leader_may_write(s.a, 5000) && !leader_may_write(s.a, 12000));
        ck_assert_str_eq(
                json_str_at(fakecluster_get(s.api, "leases", "lb", LEADER_LEASE), "spec.holderIdentity", ""),
                "pod-a");
        s.b = lead(&s, "pod-b", on_b);
        ck_assert(fake_run_until(&s.loop, b_knows, &s));
        ck_assert(!leader_may_write(s.b, 0) && leader_is_well(s.b));
        leader_release(s.a, on_released, &s);
        ck_assert(!s.released && !leader_may_write(s.a, 0));
        ck_assert(fake_run_until(&s.loop, is_released, &s));
        began = uv_now(&s.loop);
        ck_assert(fake_run_until(&s.loop, b_leads, &s));
        ck_assert_uint_le(uv_now(&s.loop) - began, 2000);
        ck_assert_uint_eq(s.changes, 2);
        scene_fini(&s);
}
END_TEST

START_TEST(same_identity_leads_at_once)
{
        struct scene s;
        uint64_t began;

        scene_init(&s);
        fakecluster_put(s.api, "leases",
                "{\"metadata\":{\"name\":\"metallb-controller\",\"namespace\":\"lb\"},\"spec\":{\"holderIdentity\":"
                "\"pod-a\",\"leaseDurationSeconds\":12}}");
        began = uv_now(&s.loop);
        s.a = lead(&s, "pod-a", on_a);
        ck_assert(fake_run_until(&s.loop, a_leads, &s));
        ck_assert_uint_le(uv_now(&s.loop) - began, 5000);
        scene_fini(&s);
}
END_TEST

static const char *const denied_methods[] = { "GET", "POST" };

START_TEST(without_the_right_it_leads_unguarded)
{
        struct scene s;

        scene_init(&s);
        s.fault = 403;
        s.faults_left = 1000;
        s.fault_method = denied_methods[_i];
        s.a = lead(&s, "pod-a", on_a);
        ck_assert(fake_run_until(&s.loop, a_leads, &s));
        ck_assert_str_eq(leader_words(s.a), "leading without a lease");
        ck_assert(leader_may_write(s.a, 1000000));
        leader_release(s.a, on_released, &s);
        ck_assert(fake_run_until(&s.loop, is_released, &s));
        ck_assert_uint_eq(fakecluster_requests(s.api, "PUT", NULL), 0);
        scene_fini(&s);
}
END_TEST

static bool asked_often(void *ctx)
{
        const struct scene *s = ctx;

        return s->faults_left <= 997;
}

START_TEST(an_unwell_server_makes_no_leader)
{
        struct scene s;

        scene_init(&s);
        s.fault = _i == 0 ? 503 : FAKECLUSTER_CUT;
        s.faults_left = 1000;
        s.a = lead(&s, "pod-a", on_a);
        ck_assert(fake_run_until(&s.loop, asked_often, &s));
        ck_assert(!s.a_leads && !leader_is_well(s.a));
        s.faults_left = 0;
        ck_assert(fake_run_until(&s.loop, a_leads, &s));
        ck_assert(leader_is_well(s.a));
        scene_fini(&s);
}
END_TEST

START_TEST(a_deleted_lease_is_noticed)
{
        struct scene s;

        scene_init(&s);
        s.a = lead(&s, "pod-a", on_a);
        ck_assert(fake_run_until(&s.loop, a_leads, &s));
        fakecluster_delete(s.api, "leases", "lb", LEADER_LEASE);
        while (s.a_leads)
                (void)uv_run(&s.loop, UV_RUN_ONCE);
        ck_assert(fake_run_until(&s.loop, a_leads, &s));
        ck_assert_uint_eq(s.changes, 3);
        scene_fini(&s);
}
END_TEST

START_TEST(leader_closes_at_every_step)
{
        static const int faults[] = { FAKECLUSTER_NONE, FAKECLUSTER_HOLD, FAKECLUSTER_LOSE, 403 };

        for (int steps = 0; steps < 25; steps++) {
                struct scene s;

                scene_init(&s);
                s.fault = faults[_i];
                s.faults_left = steps % 3;
                s.a = lead(&s, "pod-a", on_a);
                for (int i = 0; i < steps; i++)
                        (void)uv_run(&s.loop, UV_RUN_NOWAIT);
                if (steps % 2)
                        leader_release(s.a, on_released, &s);
                if (steps % 5 == 0)
                        (void)uv_run(&s.loop, UV_RUN_NOWAIT);
                scene_fini(&s);
        }
}
END_TEST

/* ---- the memberlist Secret ---- */

static bool secret_done(void *ctx)
{
        return secret_is_there(((struct scene *)ctx)->secret);
}

static void make_secret(struct scene *s, const char *deployment)
{
        const struct secret_conf conf = {
                .kube = s->k, .ns = "lb", .name = "memberlist", .deployment = deployment
        };

        ck_assert_int_eq(secret_new(&s->secret, &conf), 0);
        s->n_open++;
}

static const char *owner_uid(const cJSON *o)
{
        const cJSON *owners = json_at(o, "metadata.ownerReferences");

        return json_str_at(cJSON_GetArrayItem(owners, 0), "uid", "");
}

static const struct {
        const char *name;
        const char *deployment;
        int fault, n_faults;
        const char *method, *resource;
        const char *owner;
} secret_cases[] = {
        { "owned", "controller", 0, 0, NULL, NULL, "dep-uid" },
        { "no deployment named", "", 0, 0, NULL, NULL, "" },
        { "deployment unknown", "other", 0, 0, NULL, NULL, "" },
        { "deployment not to be read", "controller", 403, 1, "GET", "deployments", "" },
        { "a bad start", "controller", 503, 2, NULL, NULL, "dep-uid" },
        { "cut while creating", "controller", FAKECLUSTER_CUT, 1, "POST", "secrets", "dep-uid" },
        { "made, but the answer was lost", "controller", FAKECLUSTER_LOSE, 1, "POST", "secrets", "dep-uid" },
};

START_TEST(makes_the_secret)
{
        struct scene s;
        const cJSON *o;
        const char *value;

        scene_init(&s);
        fakecluster_put(s.api, "deployments",
                "{\"metadata\":{\"name\":\"controller\",\"namespace\":\"lb\",\"uid\":\"dep-uid\"}}");
        s.fault = secret_cases[_i].fault;
        s.faults_left = secret_cases[_i].n_faults;
        s.fault_method = secret_cases[_i].method;
        s.fault_resource = secret_cases[_i].resource;
        make_secret(&s, secret_cases[_i].deployment);
        ck_assert_msg(fake_run_until(&s.loop, secret_done, &s), "%s", secret_cases[_i].name);
        o = fakecluster_get(s.api, "secrets", "lb", "memberlist");
        ck_assert_ptr_nonnull(o);
        ck_assert_str_eq(owner_uid(o), secret_cases[_i].owner);
        value = json_str_at(o, "data.secretkey", "");
        ck_assert_uint_eq(strlen(value), 32); /* base64 of 22 characters */
        ck_assert_str_eq(value + 30, "==");
        ck_assert_uint_eq(fakecluster_count(s.api, "secrets"), 1);
        scene_fini(&s);
}
END_TEST

START_TEST(leaves_a_secret_alone)
{
        struct scene s;

        scene_init(&s);
        fakecluster_put(s.api, "secrets",
                "{\"metadata\":{\"name\":\"memberlist\",\"namespace\":\"lb\"},\"data\":{\"secretkey\":\"b2xk\"}}");
        make_secret(&s, "controller");
        ck_assert(fake_run_until(&s.loop, secret_done, &s));
        ck_assert_str_eq(
                json_str_at(fakecluster_get(s.api, "secrets", "lb", "memberlist"), "data.secretkey", ""),
                "b2xk");
        ck_assert_uint_eq(fakecluster_requests(s.api, "POST", NULL), 0);
        scene_fini(&s);
}
END_TEST

START_TEST(secrets_differ)
{
        char first[64] = "";

        for (int i = 0; i < 2; i++) {
                struct scene s;
                const char *value;

                scene_init(&s);
                make_secret(&s, "");
                ck_assert(fake_run_until(&s.loop, secret_done, &s));
                value = json_str_at(
                        fakecluster_get(s.api, "secrets", "lb", "memberlist"), "data.secretkey", "");
                ck_assert_str_ne(value, first);
                (void)snprintf(first, sizeof(first), "%s", value);
                scene_fini(&s);
        }
}
END_TEST

START_TEST(secret_closes_at_every_step)
{
        for (int steps = 0; steps < 25; steps++) {
                struct scene s;

                scene_init(&s);
                s.fault = FAKECLUSTER_HOLD;
                s.faults_left = steps % 4 == 3 ? 1 : 0;
                make_secret(&s, "controller");
                for (int i = 0; i < steps; i++)
                        (void)uv_run(&s.loop, UV_RUN_NOWAIT);
                scene_fini(&s);
        }
}
END_TEST

static Suite *suite(void)
{
        Suite *s = suite_create("leader");
        TCase *tc = tcase_create("leader");

        tcase_set_timeout(tc, 60);
        tcase_add_test(tc, leads_then_hands_over);
        tcase_add_test(tc, same_identity_leads_at_once);
        tcase_add_loop_test(tc, without_the_right_it_leads_unguarded, 0, (int)ARRAY_LEN(denied_methods));
        tcase_add_loop_test(tc, an_unwell_server_makes_no_leader, 0, 2);
        tcase_add_test(tc, a_deleted_lease_is_noticed);
        tcase_add_loop_test(tc, leader_closes_at_every_step, 0, 4);
        tcase_add_loop_test(tc, makes_the_secret, 0, (int)ARRAY_LEN(secret_cases));
        tcase_add_test(tc, leaves_a_secret_alone);
        tcase_add_test(tc, secrets_differ);
        tcase_add_test(tc, secret_closes_at_every_step);
        suite_add_tcase(s, tc);
        return s;
}

int main(void)
{
        return unit_main(suite());
}
