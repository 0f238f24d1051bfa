/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "speaker/l2status.h"
#include "test/lib/fakeapi.h"
#include "test/lib/fakekube.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define STATES "/apis/metallb.io/v1beta1/namespaces/lb/servicel2statuses"
#define CREATE "POST servicel2statuses; PATCH servicel2statuses/status; "

struct rig {
        uv_loop_t loop;
        struct fakekube *api;
        struct kube *kube;
        struct l2status_writer *writer;
        const char *node;
        unsigned n_closed;
        const char *want; /* writes waited for */
        size_t want_count;
        char read[64];
        unsigned want_reads;
};

static void on_closed(void *ctx)
{
        struct rig *r = ctx;

        r->n_closed++;
}

static struct l2status_conf conf_of(const struct rig *r)
{
        return (struct l2status_conf){ .kube = r->kube, .ns = "lb", .node = r->node, .sweep_ms = 50 };
}

static void rig_init(struct rig *r, const char *node)
{
        struct kube_conf conf = { 0 };

        *r = (struct rig){ .node = node };
        log_set_fd(open("/dev/null", O_WRONLY));
        ck_assert_int_eq(uv_loop_init(&r->loop), 0);
        r->api = fakekube_new(&r->loop);
        conf.server = strdup(fakekube_url(r->api));
        ck_assert_int_eq(kube_new(&r->kube, &r->loop, &conf, NULL, NULL, NULL), 0);
        kube_conf_fini(&conf);
}

static void rig_start(struct rig *r)
{
        const struct l2status_conf conf = conf_of(r);

        ck_assert_int_eq(l2status_new(&r->writer, &conf), 0);
}

static bool one_closed(void *ctx)
{
        return ((struct rig *)ctx)->n_closed == 1;
}

static void rig_stop(struct rig *r)
{
        r->n_closed = 0;
        l2status_close(r->writer, on_closed, r);
        ck_assert(fake_run_until(&r->loop, one_closed, r));
        r->writer = NULL;
}

static void rig_fini(struct rig *r)
{
        if (r->writer)
                rig_stop(r);
        kube_close(r->kube, on_closed, r);
        fakekube_close(r->api);
        fake_finish(&r->loop);
}

static bool has_written(void *ctx)
{
        struct rig *r = ctx;

        return strcmp(fakekube_writes(r->api), r->want) == 0;
}

/* Exactly these, and no more for a while after. */
static void expect_writes(struct rig *r, const char *want)
{
        r->want = want;
        ck_assert_msg(fake_run_until(&r->loop, has_written, r), "wrote \"%s\", not \"%s\"",
                fakekube_writes(r->api), want);
        fake_run_for(&r->loop, 150);
        ck_assert_str_eq(fakekube_writes(r->api), want);
        fakekube_reset_writes(r->api);
}

static bool has_count(void *ctx)
{
        struct rig *r = ctx;

        return fakekube_count(r->api, STATES) == r->want_count;
}

static const char *status(struct rig *r, size_t i, const char *path)
{
        return json_str_at(fakekube_at(r->api, STATES, i), path, "(none)");
}

static const char *label(struct rig *r, size_t i, const char *key)
{
        const char *v = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
                json_at(fakekube_at(r->api, STATES, i), "metadata.labels"), key));

        return v ? v : "(none)";
}

static void announce(struct rig *r, const char *name, const char *interface)
{
        ck_assert_int_eq(l2status_announced(r->writer, "default", name, &interface, interface ? 1 : 0), 0);
}

static void put_state(
        struct rig *r, const char *object, const char *node, const char *service, const char *more)
{
        char json[1024];

        (void)snprintf(json, sizeof(json),
                "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"lb\",\"labels\":{\"metallb.io/node\":\"%s\","
                "\"metallb.io/service-name\":\"%s\",\"metallb.io/service-namespace\":\"default\"}%s}}",
                object, node, service, more);
        fakekube_put(r->api, STATES, json);
}

#define STATUS(node, service) \
        "},\"status\":{\"node\":\"" node "\",\"serviceName\":\"" service "\",\"serviceNamespace\":\"default\""

/* ---- the tests ---- */

START_TEST(one_object_for_each_service)
{
        struct rig r;

        rig_init(&r, "n1");
        rig_start(&r);
        l2status_set_owner(r.writer, "speaker-x", "pod-uid");
        announce(&r, "web", NULL);
        expect_writes(&r, ""); /* not before all is known */
        l2status_begin(r.writer);
        expect_writes(&r, CREATE);
        ck_assert_uint_eq(fakekube_count(r.api, STATES), 1);
        ck_assert(strncmp(status(&r, 0, "metadata.name"), "l2-", 3) == 0);
        ck_assert_str_eq(status(&r, 0, "status.node"), "n1");
        ck_assert_str_eq(status(&r, 0, "status.serviceName"), "web");
        ck_assert_str_eq(status(&r, 0, "status.serviceNamespace"), "default");
        ck_assert_ptr_null(json_at(fakekube_at(r.api, STATES, 0), "status.interfaces"));
        ck_assert_str_eq(label(&r, 0, "metallb.io/node"), "n1");
        ck_assert(l2status_has(r.writer, "default", "web"));
        announce(&r, "web", NULL);
        expect_writes(&r, "");

        announce(&r, "web", "eth0");
        expect_writes(&r, "PATCH servicel2statuses/status; ");
        ck_assert_str_eq(json_str_at(cJSON_GetArrayItem(
                                             json_at(fakekube_at(r.api, STATES, 0), "status.interfaces"), 0),
                                 "name", ""),
                "eth0");
        announce(&r, "web", NULL);
        expect_writes(&r, "PATCH servicel2statuses/status; ");
        ck_assert_ptr_null(json_at(fakekube_at(r.api, STATES, 0), "status.interfaces"));

        l2status_withdrawn(r.writer, "default", "web");
        expect_writes(&r, "DELETE servicel2statuses; ");
        ck_assert_uint_eq(fakekube_count(r.api, STATES), 0);
        ck_assert(!l2status_has(r.writer, "default", "web"));
        l2status_withdrawn(r.writer, "default", "never");
        expect_writes(&r, "");
        rig_fini(&r);
}
END_TEST

START_TEST(taken_over_after_a_restart)
{
        struct rig r;

        rig_init(&r, "n1");
        put_state(&r, "l2-a", "n1", "web", STATUS("n1", "web"));
        put_state(&r, "l2-b", "n1", "gone", STATUS("n1", "gone"));
        put_state(
                &r, "l2-c", "n1", "old", ",\"ownerReferences\":[{\"uid\":\"old-pod\"}]" STATUS("n1", "old"));
        put_state(&r, "l2-d", "n2", "other", STATUS("n2", "other"));
        rig_start(&r);
        announce(&r, "web", NULL);
        announce(&r, "old", NULL);
        fake_run_for(&r.loop, 100);
        ck_assert(l2status_has(r.writer, "default", "web"));
        ck_assert(!l2status_has(r.writer, "default", "other"));
        l2status_begin(r.writer);
        expect_writes(&r, "DELETE servicel2statuses; ");
        l2status_set_owner(r.writer, "speaker-y", "new-pod");
        expect_writes(&r, "PATCH servicel2statuses; PATCH servicel2statuses; ");
        ck_assert_uint_eq(fakekube_count(r.api, STATES), 3);
        ck_assert_ptr_null(fakekube_get(r.api, STATES, "l2-b"));
        ck_assert_str_eq(json_str_at(cJSON_GetArrayItem(json_at(fakekube_get(r.api, STATES, "l2-c"),
                                                                "metadata.ownerReferences"),
                                             0),
                                 "uid", ""),
                "new-pod");
        rig_fini(&r);
}
END_TEST

START_TEST(mended_when_touched)
{
        struct rig r;
        char name[64];

        rig_init(&r, "n1");
        rig_start(&r);
        announce(&r, "web", NULL);
        l2status_begin(r.writer);
        expect_writes(&r, CREATE);
        fakekube_remove(r.api, STATES, "lb", status(&r, 0, "metadata.name"));
        expect_writes(&r, CREATE);

        (void)snprintf(name, sizeof(name), "%s", status(&r, 0, "metadata.name"));
        put_state(&r, name, "n1", "web", STATUS("n1", "web") ",\"interfaces\":[{\"name\":\"eth9\"}]");
        expect_writes(&r, "PATCH servicel2statuses/status; ");

        /* What cannot be changed any more is made anew. */
        put_state(&r, name, "n1", "web", STATUS("n7", "web"));
        expect_writes(&r, "DELETE servicel2statuses; " CREATE);
        ck_assert_str_eq(status(&r, 0, "status.node"), "n1");

        /* A second object for the same Service. */
        put_state(&r, "l2-second", "n1", "web", STATUS("n1", "web"));
        expect_writes(&r, "DELETE servicel2statuses; ");
        ck_assert_uint_eq(fakekube_count(r.api, STATES), 1);
        ck_assert_ptr_null(fakekube_get(r.api, STATES, "l2-second"));

        /* The labels move to a Service that is not announced. */
        (void)snprintf(name, sizeof(name), "%s", status(&r, 0, "metadata.name"));
        put_state(&r, name, "n1", "api", STATUS("n1", "web"));
        r.want_count = 1;
        ck_assert(fake_run_until(&r.loop, has_count, &r));
        fake_run_for(&r.loop, 300);
        ck_assert_str_eq(label(&r, 0, "metallb.io/service-name"), "web");
        ck_assert_uint_eq(fakekube_count(r.api, STATES), 1);
        rig_fini(&r);
}
END_TEST

static bool has_read(void *ctx)
{
        struct rig *r = ctx;

        return fakekube_reads(r->api, r->read) >= r->want_reads;
}

/* The watch lags behind the answers: nothing is written twice for that. */
START_TEST(a_slow_watch)
{
        struct rig r;

        rig_init(&r, "n1");
        rig_start(&r);
        fake_run_for(&r.loop, 100);
        fakekube_hold_watches(r.api, true);
        announce(&r, "web", NULL);
        l2status_begin(r.writer);
        expect_writes(&r, CREATE);
        announce(&r, "web", "eth0"); /* waits until the object is seen */
        expect_writes(&r, "");
        fakekube_hold_watches(r.api, false);
        expect_writes(&r, "PATCH servicel2statuses/status; ");
        fakekube_hold_watches(r.api, true);
        l2status_withdrawn(r.writer, "default", "web");
        expect_writes(&r, "DELETE servicel2statuses; ");
        announce(&r, "web", NULL);
        expect_writes(&r, "");
        fakekube_hold_watches(r.api, false);
        expect_writes(&r, CREATE);
        rig_fini(&r);
}
END_TEST

START_TEST(what_others_left_is_removed_once)
{
        struct rig r;

        rig_init(&r, "n1");
        put_state(&r, "l2-dead", "n2", "web", STATUS("n2", "web"));
        put_state(&r, "l2-alive", "n2", "api", STATUS("n2", "api"));
        rig_start(&r);
        announce(&r, "web", NULL);
        l2status_begin(r.writer);
        expect_writes(&r, CREATE "DELETE servicel2statuses; ");
        ck_assert_ptr_null(fakekube_get(r.api, STATES, "l2-dead"));
        ck_assert_ptr_nonnull(fakekube_get(r.api, STATES, "l2-alive"));
        ck_assert_uint_eq(fakekube_reads(r.api, "service-name%20in"), 1);

        /* A node that believes otherwise writes its own again: no quarrel about it. */
        put_state(&r, "l2-quarrel", "n2", "web", STATUS("n2", "web"));
        fake_run_for(&r.loop, 300);
        expect_writes(&r, "");
        rig_fini(&r);
}
END_TEST

START_TEST(a_failed_sweep_is_done_again)
{
        struct rig r;

        rig_init(&r, "n1");
        put_state(&r, "l2-dead", "n2", "web", STATUS("n2", "web"));
        rig_start(&r);
        announce(&r, "web", NULL);
        fakekube_fail(r.api, "GET", "service-name%20in", 500, 1);
        l2status_begin(r.writer);
        expect_writes(&r, CREATE "DELETE servicel2statuses; ");
        (void)snprintf(r.read, sizeof(r.read), "resourceVersion=0&labelSelector");
        r.want_reads = 2;
        ck_assert(has_read(&r));
        rig_fini(&r);
}
END_TEST

START_TEST(a_hundred_at_a_time)
{
        struct rig r;
        char name[32];

        rig_init(&r, "n1");
        rig_start(&r);
        for (int i = 0; i < 100; i++) {
                (void)snprintf(name, sizeof(name), "web-%d", i);
                announce(&r, name, "eth0");
        }
        put_state(&r, "l2-dead", "n2", "web-7", STATUS("n2", "web-7"));
        l2status_begin(r.writer);
        (void)snprintf(r.read, sizeof(r.read), "resourceVersion=0&labelSelector");
        r.want_reads = 1;
        ck_assert(fake_run_until(&r.loop, has_read, &r));
        ck_assert_uint_eq(fakekube_reads(r.api, "service-name%20in"), 0); /* too many to name */
        r.want_count = 100;
        ck_assert(fake_run_until(&r.loop, has_count, &r));
        fake_run_for(&r.loop, 300);
        ck_assert_uint_eq(fakekube_count(r.api, STATES), 100);
        for (size_t i = 0; i < 100; i++)
                ck_assert_str_eq(status(&r, i, "status.node"), "n1");
        fakekube_reset_writes(r.api);
        for (int i = 0; i < 100; i++) {
                (void)snprintf(name, sizeof(name), "web-%d", i);
                l2status_withdrawn(r.writer, "default", name);
        }
        r.want_count = 0;
        ck_assert(fake_run_until(&r.loop, has_count, &r));
        rig_fini(&r);
}
END_TEST

START_TEST(long_node_names)
{
        static const char node[] = "node.with-a-name.that-is.longer.than-any-label.may-be.example.com.x";
        struct rig r;

        rig_init(&r, node);
        rig_start(&r);
        announce(&r, "web", NULL);
        l2status_begin(r.writer);
        expect_writes(&r, CREATE);
        ck_assert_uint_eq(strlen(label(&r, 0, "metallb.io/node")), 63);
        ck_assert_str_eq(status(&r, 0, "status.node"), node);
        rig_stop(&r);
        rig_start(&r); /* and finds it again */
        announce(&r, "web", NULL);
        l2status_begin(r.writer);
        expect_writes(&r, "");
        ck_assert(l2status_has(r.writer, "default", "web"));
        rig_fini(&r);
}
END_TEST

static const struct {
        const char *method, *target;
        int status;
        const char *writes;
} failures[] = {
        { "POST", "servicel2statuses", 500, "POST servicel2statuses; " CREATE },
        { "POST", "servicel2statuses", 429, "POST servicel2statuses; " CREATE },
        { "POST", "servicel2statuses", 409, "POST servicel2statuses; " CREATE },
        { "POST", "servicel2statuses", 403, "POST servicel2statuses; " CREATE },
        { "PATCH", "status", 500, CREATE "PATCH servicel2statuses/status; " },
        { "PATCH", "status", 403, CREATE "PATCH servicel2statuses/status; " },
};

START_TEST(tries_again)
{
        struct rig r;

        rig_init(&r, "n1");
        rig_start(&r);
        announce(&r, "web", NULL);
        fakekube_fail(r.api, failures[_i].method, failures[_i].target, failures[_i].status, 1);
        l2status_begin(r.writer);
        expect_writes(&r, failures[_i].writes);
        ck_assert_str_eq(status(&r, 0, "status.node"), "n1");
        rig_fini(&r);
}
END_TEST

START_TEST(a_refused_object_hurts_only_itself)
{
        struct rig r;

        rig_init(&r, "n1");
        rig_start(&r);
        fakekube_fail(r.api, "POST", "servicel2statuses", 422, 1);
        announce(&r, "bad", NULL);
        l2status_begin(r.writer);
        expect_writes(&r, "POST servicel2statuses; ");
        announce(&r, "good", NULL);
        expect_writes(&r, CREATE);
        announce(&r, "bad", NULL); /* said again: tried again */
        expect_writes(&r, CREATE);
        rig_fini(&r);
}
END_TEST

/* Withdrawn and announced again while requests are under way: it ends with what was said last. */
START_TEST(minds_change_at_any_step)
{
        struct rig r;

        rig_init(&r, "n1");
        rig_start(&r);
        l2status_begin(r.writer);
        announce(&r, "web", NULL);
        for (int i = 0; i < _i; i++)
                (void)uv_run(&r.loop, UV_RUN_NOWAIT);
        l2status_withdrawn(r.writer, "default", "web");
        for (int i = 0; i < 10 + _i; i++)
                (void)uv_run(&r.loop, UV_RUN_NOWAIT);
        if (_i % 2 == 0)
                announce(&r, "web", "eth1");
        fake_run_for(&r.loop, 200);
        ck_assert_uint_eq(fakekube_count(r.api, STATES), _i % 2 == 0);
        if (_i % 2 == 0)
                ck_assert_str_eq(status(&r, 0, "status.node"), "n1");
        rig_fini(&r);
}
END_TEST

START_TEST(closes_at_any_step)
{
        struct rig r;

        rig_init(&r, "n1");
        put_state(&r, "l2-dead", "n2", "web", STATUS("n2", "web"));
        put_state(&r, "l2-gone", "n1", "gone", STATUS("n1", "gone"));
        rig_start(&r);
        l2status_set_owner(r.writer, "p", "u");
        announce(&r, "web", "eth0");
        announce(&r, "api", NULL);
        l2status_begin(r.writer);
        for (int i = 0; i < _i * 3; i++)
                (void)uv_run(&r.loop, UV_RUN_NOWAIT);
        rig_fini(&r);
}
END_TEST

START_TEST(survives_no_memory_at_birth)
{
        struct rig r;
        unsigned n;

        rig_init(&r, "n1");
        for (n = 0;; n++) {
                const struct l2status_conf conf = conf_of(&r);
                bool failed;
                int code;

                r.writer = NULL;
                fault_arm(n);
                code = l2status_new(&r.writer, &conf);
                failed = fault_disarm();
                ck_assert_int_eq(code, failed ? -ENOMEM : 0);
                if (code == 0)
                        rig_stop(&r);
                if (!failed)
                        break;
        }
        ck_assert_uint_gt(n, 3);
        rig_fini(&r);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("l2status");
        TCase *tc = tcase_create("l2status");

        tcase_set_timeout(tc, 60);
        tcase_add_test(tc, one_object_for_each_service);
        tcase_add_test(tc, taken_over_after_a_restart);
        tcase_add_test(tc, mended_when_touched);
        tcase_add_test(tc, a_slow_watch);
        tcase_add_test(tc, what_others_left_is_removed_once);
        tcase_add_test(tc, a_failed_sweep_is_done_again);
        tcase_add_test(tc, a_hundred_at_a_time);
        tcase_add_test(tc, long_node_names);
        tcase_add_loop_test(tc, tries_again, 0, (int)ARRAY_LEN(failures));
        tcase_add_test(tc, a_refused_object_hurts_only_itself);
        tcase_add_loop_test(tc, minds_change_at_any_step, 0, 20);
        tcase_add_loop_test(tc, closes_at_any_step, 0, 30);
        tcase_add_test(tc, survives_no_memory_at_birth);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
