/* SPDX-License-Identifier: Apache-2.0 */
/* The whole controller shell against a server with bad days: what is written, how often, and what never is. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/log.h"
#include "controller/reconcile.h"
#include "test/lib/fakeapi.h"
#include "test/lib/fakecluster.h"
#include "test/lib/unit.h"

struct scene {
        uv_loop_t loop;
        struct fakecluster *api;
        struct kube *k;
        struct metrics *m;
        struct events *events;
        struct reconcile *r;
        bool closed;
        int fault, faults_left;
        const char *method, *resource, *contains; /* of the requests that fail; NULL: any */
        unsigned want, n_before; /* for conditions: how many have an address, and had it from the start */
        const char *want_name;
        unsigned reverts;
};

static int fault(void *ctx, const struct fakecluster_request *q)
{
        struct scene *s = ctx;

        if (s->faults_left == 0 || (s->method && strcmp(q->method, s->method) != 0) ||
                (s->resource && strcmp(q->resource, s->resource) != 0) ||
                (s->contains && !strstr(q->target, s->contains)))
                return FAKECLUSTER_NONE;
        s->faults_left--;
        return s->fault;
}

static void open_reconcile(struct scene *s)
{
        const struct reconcile_conf conf = {
                .kube = s->k, .events = s->events, .ns = "lb", .lb_class = "", .seed = 7
        };

        ck_assert_int_eq(reconcile_new(&s->r, &conf), 0);
}

static void scene_init(struct scene *s)
{
        struct kube_conf conf = { .server = NULL };
        struct kube_limits limits = { .max_in_flight = 32 };

        ck_assert_int_eq(log_set_level("none"), 0);
        *s = (struct scene){ .want = 0 };
        ck_assert_int_eq(uv_loop_init(&s->loop), 0);
        s->api = fakecluster_new(&s->loop);
        fakecluster_set_fault(s->api, fault, s);
        ck_assert_int_eq(metrics_new(&s->m), 0);
        conf.server = strdup(fakecluster_url(s->api));
        ck_assert_int_eq(kube_new(&s->k, &s->loop, &conf, &limits, s->m, NULL), 0);
        kube_conf_fini(&conf);
        ck_assert_int_eq(events_new(&s->events, s->k, "metallb-controller", "h", s->m), 0);
        fakecluster_put(s->api, "namespaces", "{\"metadata\":{\"name\":\"d\",\"labels\":{\"team\":\"x\"}}}");
        fakecluster_put(s->api, "nodes",
                "{\"metadata\":{\"name\":\"n1\"},\"status\":{\"addresses\":[{\"type\":\"InternalIP\",\"address\":"
                "\"10.0.0.1\"}]}}");
}

static void on_kube_closed(void *ctx)
{
        struct scene *s = ctx;

        s->closed = true;
        fakecluster_close(s->api);
}

static void on_events_closed(void *ctx)
{
        struct scene *s = ctx;

        kube_close(s->k, on_kube_closed, s);
}

static void on_reconcile_closed(void *ctx)
{
        struct scene *s = ctx;

        s->r = NULL;
        events_close(s->events, on_events_closed, s);
}

static void scene_fini(struct scene *s)
{
        reconcile_close(s->r, on_reconcile_closed, s);
        fake_finish(&s->loop);
        ck_assert(s->closed);
        metrics_free(s->m);
}

static void on_restart_closed(void *ctx)
{
        ((struct scene *)ctx)->r = NULL;
}

static bool is_gone(void *ctx)
{
        return !((struct scene *)ctx)->r;
}

/* As after a crash: nothing is kept but what the server has. */
static void restart(struct scene *s)
{
        reconcile_close(s->r, on_restart_closed, s);
        ck_assert(fake_run_until(&s->loop, is_gone, s));
        open_reconcile(s);
}

static void put_pool(struct scene *s, const char *name, const char *range)
{
        char text[256];

        (void)snprintf(text, sizeof(text),
                "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"lb\",\"generation\":1},\"spec\":{\"addresses\":[\"%s\"]}}",
                name, range);
        fakecluster_put(s->api, "ipaddresspools", text);
}

static void put_service(struct scene *s, const char *name, const char *type, const char *status)
{
        char text[512];

        (void)snprintf(text, sizeof(text),
                "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"d\"},\"spec\":{\"type\":\"%s\",\"clusterIP\":\"10.96.0.1\","
                "\"clusterIPs\":[\"10.96.0.1\"],\"ports\":[{\"port\":80,\"protocol\":\"TCP\"}]},\"status\":%s}",
                name, type, status);
        fakecluster_put(s->api, "services", text);
}

static const char *ip_of(const struct scene *s, const char *name)
{
        const cJSON *o = fakecluster_get(s->api, "services", "d", name);

        return json_str_at(cJSON_GetArrayItem(json_at(o, "status.loadBalancer.ingress"), 0), "ip", "");
}

static const char *condition_of(const cJSON *o, const char *type, const char *field)
{
        const cJSON *c;

        cJSON_ArrayForEach (c, json_at(o, "status.conditions")) {
                if (strcmp(json_str_at(c, "type", ""), type) == 0)
                        return json_str_at(c, field, "");
        }
        return "";
}

static unsigned n_assigned(const struct scene *s)
{
        unsigned n = 0;
        char name[32];

        for (int i = 0; i < 500; i++) {
                (void)snprintf(name, sizeof(name), "s%d", i);
                n += ip_of(s, name)[0] != '\0';
        }
        return n;
}

static bool is_settled(void *ctx)
{
        struct scene *s = ctx;

        return s->r && reconcile_is_ready(s->r, NULL) && reconcile_busy(s->r) == 0;
}

static bool are_assigned(void *ctx)
{
        const struct scene *s = ctx;

        return fakecluster_requests(s->api, NULL, "services/status") + s->n_before >= s->want &&
                n_assigned(s) >= s->want;
}

static bool has_ip(void *ctx)
{
        const struct scene *s = ctx;

        return ip_of(s, s->want_name)[0] != '\0';
}

static bool has_none(void *ctx)
{
        return !has_ip(ctx);
}

static void settle(struct scene *s)
{
        ck_assert(fake_run_until(&s->loop, is_settled, s));
        fake_run_for(&s->loop, 100); /* for echoes and pool counters that come after */
        ck_assert(fake_run_until(&s->loop, is_settled, s));
}

static void assign(struct scene *s, unsigned n)
{
        s->want = n;
        ck_assert_msg(fake_run_until(&s->loop, are_assigned, s), "%u of %u assigned", n_assigned(s), n);
}

static void no_address_twice(const struct scene *s)
{
        char ips[200][64], name[32];

        for (int i = 0; i < 200; i++) {
                (void)snprintf(name, sizeof(name), "s%d", i);
                (void)snprintf(ips[i], sizeof(ips[i]), "%s", ip_of(s, name));
                for (int j = 0; j < i && ips[i][0] != '\0'; j++)
                        ck_assert_msg(strcmp(ips[i], ips[j]) != 0, "%s twice", ips[i]);
        }
}

/* ---- the plain day ---- */

START_TEST(one_write_for_each)
{
        struct scene s;
        char name[32];
        unsigned pool_writes;

        scene_init(&s);
        put_pool(&s, "p", "10.0.0.0/24");
        for (int i = 0; i < 200; i++) {
                (void)snprintf(name, sizeof(name), "s%d", i);
                put_service(&s, name, "LoadBalancer", "{}");
        }
        put_service(&s, "other", "ClusterIP", "{}");
        open_reconcile(&s);
        assign(&s, 200);
        settle(&s);
        no_address_twice(&s);
        ck_assert_uint_eq(fakecluster_requests(s.api, "PATCH", "services/status"), 200);
        ck_assert_uint_eq(fakecluster_requests(s.api, "PUT", NULL), 0);
        ck_assert_str_eq(ip_of(&s, "s0"), "10.0.0.0");
        ck_assert_str_eq(ip_of(&s, "s1"), "10.0.0.2"); /* 10.0.0.1 is a node's */
        ck_assert_str_eq(condition_of(fakecluster_get(s.api, "services", "d", "s0"), "metallb.io/IPAllocated",
                                 "status"),
                "True");
        fake_run_for(&s.loop, 1500);
        pool_writes = fakecluster_requests(s.api, "PATCH", "ipaddresspools/status");
        ck_assert_msg(pool_writes >= 1 && pool_writes < 10, "%u pool writes", pool_writes);
        ck_assert_int_eq(
                json_at(fakecluster_get(s.api, "ipaddresspools", "lb", "p"), "status.assignedIPv4")->valueint,
                200);
        ck_assert_int_eq(json_at(fakecluster_get(s.api, "ipaddresspools", "lb", "p"), "status.availableIPv4")
                                 ->valueint,
                55);
        ck_assert_str_eq(condition_of(fakecluster_get(s.api, "ipaddresspools", "lb", "p"), "metallb.io/Valid",
                                 "status"),
                "True");

        restart(&s);
        settle(&s);
        fake_run_for(&s.loop, 1500);
        ck_assert_uint_eq(fakecluster_requests(s.api, "PATCH", "services/status"), 200);
        ck_assert_uint_eq(fakecluster_requests(s.api, "PATCH", "ipaddresspools/status"), pool_writes);
        scene_fini(&s);
}
END_TEST

START_TEST(nothing_before_all_is_known)
{
        static const char *const resources[] = { "services", "ipaddresspools", "namespaces", "nodes" };
        struct scene s;

        scene_init(&s);
        put_pool(&s, "p", "10.0.0.0/24");
        put_service(&s, "s0", "LoadBalancer", "{}");
        s.fault = FAKECLUSTER_HOLD;
        s.faults_left = 1;
        s.resource = resources[_i];
        open_reconcile(&s);
        fake_run_for(&s.loop, 300);
        ck_assert(!is_settled(&s));
        ck_assert_uint_eq(fakecluster_requests(s.api, "PATCH", NULL), 0);
        fakecluster_release(s.api);
        assign(&s, 1);
        scene_fini(&s);
}
END_TEST

START_TEST(claims_before_it_allocates)
{
        struct scene s;

        scene_init(&s);
        put_pool(&s, "p", "10.0.0.10-10.0.0.12");
        put_service(&s, "s0", "LoadBalancer", "{}"); /* older, waits */
        put_service(&s, "s1", "LoadBalancer", "{\"loadBalancer\":{\"ingress\":[{\"ip\":\"10.0.0.10\"}]}}");
        put_service(&s, "s2", "LoadBalancer", "{}");
        put_service(&s, "s3", "LoadBalancer", "{\"loadBalancer\":{\"ingress\":[{\"ip\":\"10.0.0.12\"}]}}");
        s.n_before = 2;
        open_reconcile(&s);
        assign(&s, 3);
        settle(&s);
        ck_assert_str_eq(ip_of(&s, "s0"), "10.0.0.11");
        ck_assert_str_eq(ip_of(&s, "s1"), "10.0.0.10");
        ck_assert_str_eq(ip_of(&s, "s2"), "");
        ck_assert_str_eq(ip_of(&s, "s3"), "10.0.0.12");
        ck_assert_str_eq(condition_of(fakecluster_get(s.api, "services", "d", "s2"), "metallb.io/IPAllocated",
                                 "status"),
                "False");
        /* Freed means offered. */
        fakecluster_delete(s.api, "services", "d", "s1");
        s.want_name = "s2";
        ck_assert(fake_run_until(&s.loop, has_ip, &s));
        ck_assert_str_eq(ip_of(&s, "s2"), "10.0.0.10");
        scene_fini(&s);
}
END_TEST

START_TEST(follows_type_and_pool_changes)
{
        struct scene s;

        scene_init(&s);
        put_pool(&s, "p", "10.0.0.10/32");
        put_service(&s, "s0", "LoadBalancer", "{}");
        open_reconcile(&s);
        assign(&s, 1);
        settle(&s);
        put_service(&s, "s0", "ClusterIP",
                "{\"conditions\":[{\"type\":\"metallb.io/IPAllocated\",\"status\":\"True\"}],\"loadBalancer\":{\"ingress\":"
                "[{\"ip\":\"10.0.0.10\"}]}}");
        s.want_name = "s0";
        ck_assert(fake_run_until(&s.loop, has_none, &s));
        ck_assert_str_eq(condition_of(fakecluster_get(s.api, "services", "d", "s0"), "metallb.io/IPAllocated",
                                 "status"),
                "");
        put_service(&s, "s1", "LoadBalancer", "{}");
        s.want_name = "s1";
        ck_assert(fake_run_until(&s.loop, has_ip, &s));
        fakecluster_put(s.api, "ipaddresspools",
                "{\"metadata\":{\"name\":\"p\",\"namespace\":\"lb\",\"generation\":2},\"spec\":{\"addresses\":"
                "[\"10.0.9.0/30\"]}}");
        ck_assert(fake_run_until(&s.loop, is_settled, &s));
        while (strcmp(ip_of(&s, "s1"), "10.0.9.0") != 0)
                (void)uv_run(&s.loop, UV_RUN_ONCE);
        scene_fini(&s);
}
END_TEST

/* ---- bad days ---- */

static const struct {
        const char *name;
        int fault, n;
        const char *method, *resource, *contains;
} day_cases[] = {
        { "nothing", 0, 0, NULL, NULL, NULL },
        { "first answers cut", FAKECLUSTER_CUT, 6, NULL, NULL, NULL },
        { "writes cut", FAKECLUSTER_CUT, 4, "PATCH", "services", NULL },
        { "answers to writes lost", FAKECLUSTER_LOSE, 4, "PATCH", "services", NULL },
        { "overloaded", 429, 3, "PATCH", NULL, NULL },
        { "unavailable", 503, 6, NULL, NULL, NULL },
        { "internal errors", 500, 20, "PATCH", "services", NULL },
        { "made-up conflicts", 409, 4, "PATCH", "services", NULL },
        { "may not patch", 403, 10000, "PATCH", NULL, NULL },
        { "may not watch nodes", 403, 10000, "GET", "nodes", "watch=" },
        { "may not list nodes", 403, 10000, "GET", "nodes", NULL },
        { "watches fail", 500, 6, "GET", NULL, "watch=" },
        { "history is gone", 410, 6, "GET", NULL, "watch=" },
        { "lists fail", 503, 3, "GET", "services", NULL },
};

START_TEST(bad_days_end_well)
{
        struct scene s;
        char name[32];
        unsigned writes;

        scene_init(&s);
        put_pool(&s, "p", "10.0.0.0/25");
        put_pool(&s, "q", "10.0.1.0/25");
        for (int i = 0; i < 40; i++) {
                (void)snprintf(name, sizeof(name), "s%d", i);
                put_service(&s, name, "LoadBalancer", "{}");
        }
        s.fault = day_cases[_i].fault;
        s.faults_left = day_cases[_i].n;
        s.method = day_cases[_i].method;
        s.resource = day_cases[_i].resource;
        s.contains = day_cases[_i].contains;
        open_reconcile(&s);
        assign(&s, 40);
        settle(&s);
        no_address_twice(&s);
        /* Quiet afterwards: nothing is written that is already so. */
        fake_run_for(&s.loop, 1300);
        writes = fakecluster_requests(s.api, "PATCH", NULL) + fakecluster_requests(s.api, "PUT", NULL);
        fake_run_for(&s.loop, 200);
        ck_assert_uint_eq(
                fakecluster_requests(s.api, "PATCH", NULL) + fakecluster_requests(s.api, "PUT", NULL),
                writes);
        scene_fini(&s);
}
END_TEST

START_TEST(watches_cut_in_the_middle)
{
        struct scene s;
        char name[32];

        scene_init(&s);
        put_pool(&s, "p", "10.0.0.0/24");
        open_reconcile(&s);
        settle(&s);
        for (int i = 0; i < 60; i++) {
                (void)snprintf(name, sizeof(name), "s%d", i);
                put_service(&s, name, "LoadBalancer", "{}");
                if (i % 10 == 9)
                        fakecluster_cut_watches(s.api, i % 20 == 19);
                fake_run_for(&s.loop, 5);
        }
        assign(&s, 60);
        settle(&s);
        no_address_twice(&s);
        ck_assert_uint_le(fakecluster_requests(s.api, "PATCH", "services/status"), 120);
        scene_fini(&s);
}
END_TEST

/* Somebody wipes the status as often as it is written. */
static void wipe(void *ctx, const char *resource, cJSON *object)
{
        struct scene *s = ctx;

        if (strcmp(resource, "services") != 0)
                return;
        s->reverts++;
        cJSON_DeleteItemFromObject(cJSON_GetObjectItem(object, "status"), "loadBalancer");
        cJSON_DeleteItemFromObject(cJSON_GetObjectItem(object, "metadata"), "labels");
        cJSON_AddItemToObject(
                cJSON_GetObjectItem(object, "metadata"), "generation", cJSON_CreateNumber(s->reverts));
}

static bool was_reverted_often(void *ctx)
{
        return ((struct scene *)ctx)->reverts >= 4;
}

START_TEST(no_war_with_another_writer)
{
        struct scene s;

        scene_init(&s);
        put_pool(&s, "p", "10.0.0.0/24");
        put_service(&s, "s0", "LoadBalancer", "{}");
        fakecluster_set_mangle(s.api, wipe, &s);
        open_reconcile(&s);
        ck_assert(fake_run_until(&s.loop, was_reverted_often, &s));
        fake_run_for(&s.loop, 2500);
        ck_assert_msg(s.reverts <= 6, "%u writes", s.reverts);
        ck_assert_uint_ge(fakecluster_count(s.api, "events"), 1);
        fakecluster_set_mangle(s.api, NULL, NULL); /* it gives up */
        s.want_name = "s0";
        ck_assert(fake_run_until(&s.loop, has_ip, &s));
        scene_fini(&s);
}
END_TEST

/* Somebody else is always a little faster. */
static int rival(void *ctx, const struct fakecluster_request *q)
{
        struct scene *s = ctx;
        char text[64];

        if (strcmp(q->method, "PATCH") != 0 || strcmp(q->resource, "services") != 0 || s->faults_left == 0)
                return FAKECLUSTER_NONE;
        s->faults_left--;
        (void)snprintf(text, sizeof(text), "{\"n\":%d}", s->faults_left);
        put_service(s, "s0", "LoadBalancer", text);
        return FAKECLUSTER_NONE;
}

START_TEST(conflicts_slow_down_and_end)
{
        struct scene s;

        scene_init(&s);
        put_pool(&s, "p", "10.0.0.0/24");
        put_service(&s, "s0", "LoadBalancer", "{}");
        s.faults_left = 5;
        fakecluster_set_fault(s.api, rival, &s);
        open_reconcile(&s);
        s.want_name = "s0";
        ck_assert(fake_run_until(&s.loop, has_ip, &s));
        settle(&s);
        ck_assert_uint_eq(fakecluster_requests(s.api, "PATCH", "services/status"), 6);
        ck_assert_str_eq(ip_of(&s, "s0"), "10.0.0.0");
        scene_fini(&s);
}
END_TEST

/* ---- pools ---- */

static bool pool_says_bad(void *ctx)
{
        const struct scene *s = ctx;

        return strcmp(condition_of(fakecluster_get(s->api, "ipaddresspools", "lb", "bad"), "metallb.io/Valid",
                              "status"),
                       "False") == 0;
}

START_TEST(a_bad_pool_hurts_only_itself)
{
        struct scene s;

        scene_init(&s);
        put_pool(&s, "bad", "10.0.0.9-10.0.0.1");
        put_pool(&s, "good", "10.0.0.0/24");
        put_service(&s, "s0", "LoadBalancer", "{}");
        open_reconcile(&s);
        assign(&s, 1);
        ck_assert(fake_run_until(&s.loop, pool_says_bad, &s));
        ck_assert_str_eq(condition_of(fakecluster_get(s.api, "ipaddresspools", "lb", "bad"),
                                 "metallb.io/Valid", "reason"),
                "InvalidSpec");
        fake_run_for(&s.loop, 1500);
        ck_assert_uint_le(fakecluster_requests(s.api, "PATCH", "ipaddresspools/status"), 4);
        scene_fini(&s);
}
END_TEST

/* MetalLB's own definition: what it does not know is dropped. */
static void prune(void *ctx, const char *resource, cJSON *object)
{
        cJSON *status = cJSON_GetObjectItem(object, "status");

        (void)ctx;
        if (strcmp(resource, "ipaddresspools") != 0)
                return;
        cJSON_DeleteItemFromObject(status, "conditions");
        cJSON_DeleteItemFromObject(status, "withheldIPv4");
        cJSON_DeleteItemFromObject(status, "withheldIPv6");
}

static const int old_crd_faults[] = { FAKECLUSTER_NONE, 422 };

static bool has_counters(void *ctx)
{
        const struct scene *s = ctx;
        const cJSON *n = json_at(fakecluster_get(s->api, "ipaddresspools", "lb", "p"), "status.assignedIPv4");

        return n && n->valueint == 1;
}

START_TEST(an_old_definition_is_left_in_peace)
{
        struct scene s;
        unsigned writes;

        scene_init(&s);
        put_pool(&s, "p", "10.0.0.0/24");
        put_service(&s, "s0", "LoadBalancer", "{}");
        fakecluster_set_mangle(s.api, prune, &s);
        s.fault = old_crd_faults[_i];
        s.faults_left = 1;
        s.method = "PATCH";
        s.resource = "ipaddresspools";
        open_reconcile(&s);
        ck_assert(fake_run_until(&s.loop, has_counters, &s));
        fake_run_for(&s.loop, 2500);
        writes = fakecluster_requests(s.api, "PATCH", "ipaddresspools/status");
        ck_assert_msg(writes <= 2, "%u writes", writes);
        scene_fini(&s);
}
END_TEST

/* ---- closing ---- */

START_TEST(closes_at_every_step)
{
        static const int faults[] = { FAKECLUSTER_NONE, FAKECLUSTER_HOLD, FAKECLUSTER_LOSE, 403 };

        for (int steps = 0; steps < 40; steps++) {
                struct scene s;

                scene_init(&s);
                put_pool(&s, "p", "10.0.0.0/24");
                put_service(&s, "s0", "LoadBalancer", "{}");
                put_service(&s, "s1", "LoadBalancer", "{}");
                s.fault = faults[_i];
                s.faults_left = 2;
                s.method = "PATCH";
                open_reconcile(&s);
                for (int i = 0; i < steps; i++)
                        (void)uv_run(&s.loop, UV_RUN_NOWAIT);
                if (steps % 3 == 0)
                        reconcile_stop(s.r);
                scene_fini(&s);
        }
}
END_TEST

static bool is_idle(void *ctx)
{
        return reconcile_is_idle(((struct scene *)ctx)->r);
}

START_TEST(stop_ends_what_was_begun)
{
        struct scene s;
        char name[32];

        scene_init(&s);
        put_pool(&s, "p", "10.0.0.0/24");
        for (int i = 0; i < 100; i++) {
                (void)snprintf(name, sizeof(name), "s%d", i);
                put_service(&s, name, "LoadBalancer", "{}");
        }
        open_reconcile(&s);
        assign(&s, 20);
        reconcile_stop(s.r);
        ck_assert(fake_run_until(&s.loop, is_idle, &s));
        ck_assert_uint_eq(n_assigned(&s), fakecluster_requests(s.api, "PATCH", "services/status"));
        ck_assert_uint_lt(n_assigned(&s), 100);
        scene_fini(&s);
}
END_TEST

static Suite *suite(void)
{
        Suite *s = suite_create("reconcile");
        TCase *tc = tcase_create("reconcile");

        tcase_set_timeout(tc, 60);
        tcase_add_test(tc, one_write_for_each);
        tcase_add_loop_test(tc, nothing_before_all_is_known, 0, 4);
        tcase_add_test(tc, claims_before_it_allocates);
        tcase_add_test(tc, follows_type_and_pool_changes);
        tcase_add_loop_test(tc, bad_days_end_well, 0, (int)ARRAY_LEN(day_cases));
        tcase_add_test(tc, watches_cut_in_the_middle);
        tcase_add_test(tc, no_war_with_another_writer);
        tcase_add_test(tc, conflicts_slow_down_and_end);
        tcase_add_test(tc, a_bad_pool_hurts_only_itself);
        tcase_add_loop_test(tc, an_old_definition_is_left_in_peace, 0, (int)ARRAY_LEN(old_crd_faults));
        tcase_add_loop_test(tc, closes_at_every_step, 0, 4);
        tcase_add_test(tc, stop_ends_what_was_begun);
        suite_add_tcase(s, tc);
        return s;
}

int main(void)
{
        return unit_main(suite());
}
