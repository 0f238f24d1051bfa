/* SPDX-License-Identifier: Apache-2.0 */
/* The writer against a server with bad days: every job is answered once, with the truth about what was carried out. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "controller/writer.h"
#include "test/lib/fakeapi.h"
#include "test/lib/fakecluster.h"
#include "test/lib/unit.h"

#define JOBS 40

struct scene {
        uv_loop_t loop;
        struct fakecluster *api;
        struct kube *k;
        struct writer *w;
        struct metrics *m;
        bool closed;
        unsigned n_answers, n[5]; /* by result */
        unsigned n_rooms;
        bool gate;
        int fault, faults_left;
        const char *fault_method;
        unsigned flying, flying_max;
};

static bool may_send(void *ctx, unsigned for_ms)
{
        const struct scene *s = ctx;

        ck_assert_uint_eq(for_ms, 5000);
        return s->gate;
}

static void on_room(void *ctx)
{
        struct scene *s = ctx;

        s->n_rooms++;
}

static int fault(void *ctx, const struct fakecluster_request *q)
{
        struct scene *s = ctx;

        if (s->faults_left == 0 || (s->fault_method && strcmp(q->method, s->fault_method) != 0))
                return FAKECLUSTER_NONE;
        s->faults_left--;
        return s->fault;
}

static void scene_init(struct scene *s)
{
        struct kube_conf conf = { .server = NULL };
        struct kube_limits limits = { .max_in_flight = 64 };
        struct writer_conf wconf = { .may_send = may_send, .on_room = on_room, .ctx = s, .seed = 1 };

        log_set_fd(2);
        ck_assert_int_eq(log_set_level("none"), 0);
        *s = (struct scene){ .gate = true };
        ck_assert_int_eq(uv_loop_init(&s->loop), 0);
        s->api = fakecluster_new(&s->loop);
        fakecluster_set_fault(s->api, fault, s);
        ck_assert_int_eq(metrics_new(&s->m), 0);
        conf.server = strdup(fakecluster_url(s->api));
        ck_assert_int_eq(kube_new(&s->k, &s->loop, &conf, &limits, s->m, NULL), 0);
        kube_conf_fini(&conf);
        ck_assert_int_eq(writer_new(&s->w, s->k, &wconf), 0);
}

static void on_kube_closed(void *ctx)
{
        struct scene *s = ctx;

        s->closed = true;
        fakecluster_close(s->api);
}

static void on_writer_closed(void *ctx)
{
        struct scene *s = ctx;

        kube_close(s->k, on_kube_closed, s);
}

static void scene_fini(struct scene *s)
{
        writer_close(s->w, on_writer_closed, s);
        fake_finish(&s->loop);
        ck_assert(s->closed);
        metrics_free(s->m);
}

static void on_done(void *ctx, const struct writer_answer *a)
{
        struct scene *s = ctx;

        s->n_answers++;
        s->n[a->result]++;
        ck_assert_uint_eq(strlen(a->text), a->len);
}

static void put_service(struct scene *s, const char *name)
{
        char text[256];

        (void)snprintf(text, sizeof(text),
                "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"d\"},\"spec\":{\"type\":\"LoadBalancer\"},\"status\":{}}",
                name);
        fakecluster_put(s->api, "services", text);
}

static struct writer_job *send_rv(struct scene *s, const char *name, const char *rv)
{
        struct writer_job *job = NULL;
        char body[256];
        struct writer_call call = { .group = "",
                .version = "v1",
                .resource = "services",
                .ns = "d",
                .name = name,
                .rv = rv,
                .body = body,
                .strategic = true,
                .on_done = on_done,
                .ctx = s };

        (void)snprintf(body, sizeof(body),
                "{\"metadata\":{\"resourceVersion\":\"%s\",\"annotations\":{\"a\":\"b\"}},\"status\":{\"loadBalancer\":"
                "{\"ingress\":[{\"ip\":\"10.0.0.1\"}]}}}",
                rv);
        call.body_len = strlen(body);
        ck_assert_int_eq(writer_send(s->w, &job, &call), 0);
        return job;
}

static struct writer_job *send_job(struct scene *s, const char *name)
{
        const cJSON *o = fakecluster_get(s->api, "services", "d", name);
        char rv[32];

        (void)snprintf(rv, sizeof(rv), "%s", o ? json_str_at(o, "metadata.resourceVersion", "") : "1");
        return send_rv(s, name, rv);
}

static bool all_answered(void *ctx)
{
        const struct scene *s = ctx;

        return s->n_answers > 0;
}

static bool is_written(const struct scene *s, const char *name)
{
        const cJSON *o = fakecluster_get(s->api, "services", "d", name);
        const cJSON *ingress = json_at(o, "status.loadBalancer.ingress");

        return strcmp(json_str_at(cJSON_GetArrayItem(ingress, 0), "ip", ""), "10.0.0.1") == 0 &&
                strcmp(json_str_at(o, "metadata.annotations.a", ""), "b") == 0;
}

static const struct {
        const char *name;
        const char *object; /* that exists; the job is for "a" */
        const char *rv; /* NULL: the right one */
        int fault, n_faults;
        const char *fault_method;
        enum writer_result want;
        bool written;
        unsigned patches, puts;
} one_cases[] = {
        { "plain", "a", NULL, 0, 0, NULL, WRITER_DONE, true, 1, 0 },
        { "stale", "a", "1", 0, 0, NULL, WRITER_CONFLICT, false, 1, 0 },
        { "not there", "b", "1", 0, 0, NULL, WRITER_GONE, false, 1, 0 },
        { "refused", "a", NULL, 422, 9, NULL, WRITER_REFUSED, false, 1, 0 },
        { "busy twice", "a", NULL, 503, 2, NULL, WRITER_DONE, true, 3, 0 },
        { "too many requests", "a", NULL, 429, 1, NULL, WRITER_DONE, true, 2, 0 },
        { "an admission webhook is down", "a", NULL, 500, 1, NULL, WRITER_DONE, true, 2, 0 },
        { "token ran out", "a", NULL, 401, 1, NULL, WRITER_DONE, true, 2, 0 },
        { "cut", "a", NULL, FAKECLUSTER_CUT, 2, NULL, WRITER_DONE, true, 3, 0 },
        { "carried out, but the answer was lost", "a", NULL, FAKECLUSTER_LOSE, 1, "PATCH", WRITER_CONFLICT,
                true, 2, 0 },
        { "no right to patch", "a", NULL, 403, 1, "PATCH", WRITER_DONE, true, 1, 1 },
        { "no right at all", "a", NULL, 403, 9, NULL, WRITER_REFUSED, false, 1, 0 },
        { "no right to patch, stale", "a", "1", 403, 1, "PATCH", WRITER_CONFLICT, false, 1, 0 },
        { "no right to patch, and gone", "b", "1", 403, 1, "PATCH", WRITER_GONE, false, 1, 0 },
};

START_TEST(answers_the_truth)
{
        struct scene s;

        scene_init(&s);
        put_service(&s, one_cases[_i].object);
        s.fault = one_cases[_i].fault;
        s.faults_left = one_cases[_i].n_faults;
        s.fault_method = one_cases[_i].fault_method;
        if (one_cases[_i].rv)
                (void)send_rv(&s, "a", one_cases[_i].rv);
        else
                (void)send_job(&s, "a");
        ck_assert_msg(fake_run_until(&s.loop, all_answered, &s), "%s: no answer", one_cases[_i].name);
        ck_assert_msg(
                s.n[one_cases[_i].want] == 1 && s.n_answers == 1, "%s: other answer", one_cases[_i].name);
        ck_assert_msg(is_written(&s, "a") == one_cases[_i].written, "%s", one_cases[_i].name);
        ck_assert_uint_eq(fakecluster_requests(s.api, "PATCH", "services/status"), one_cases[_i].patches);
        ck_assert_uint_eq(fakecluster_requests(s.api, "PUT", "services/status"), one_cases[_i].puts);
        ck_assert(writer_is_idle(s.w) && writer_has_room(s.w));
        ck_assert_uint_ge(s.n_rooms, 1);
        scene_fini(&s);
}
END_TEST

START_TEST(a_put_keeps_what_others_wrote)
{
        struct scene s;
        const cJSON *o;

        scene_init(&s);
        fakecluster_put(s.api, "services",
                "{\"metadata\":{\"name\":\"a\",\"namespace\":\"d\",\"annotations\":{\"x\":\"y\"}},\"spec\":{\"type\":"
                "\"LoadBalancer\"},\"status\":{\"conditions\":[{\"type\":\"o\",\"status\":\"True\"}]}}");
        s.fault = 403;
        s.faults_left = 1;
        (void)send_job(&s, "a");
        ck_assert(fake_run_until(&s.loop, all_answered, &s));
        ck_assert_uint_eq(s.n[WRITER_DONE], 1);
        ck_assert(is_written(&s, "a"));
        o = fakecluster_get(s.api, "services", "d", "a");
        ck_assert_str_eq(json_str_at(o, "metadata.annotations.x", ""), "y");
        ck_assert_int_eq(cJSON_GetArraySize(json_at(o, "status.conditions")), 1);
        s.n_answers = 0;
        (void)send_job(&s, "a"); /* from now on without asking */
        ck_assert(fake_run_until(&s.loop, all_answered, &s));
        ck_assert_uint_eq(fakecluster_requests(s.api, "PATCH", NULL), 1);
        ck_assert_uint_eq(fakecluster_requests(s.api, "PUT", NULL), 2);
        scene_fini(&s);
}
END_TEST

/* The client sends in parallel once an answer has told it which HTTP the server speaks. */
static void warm_up(struct scene *s)
{
        put_service(s, "warm");
        (void)send_job(s, "warm");
        ck_assert(fake_run_until(&s->loop, all_answered, s));
        s->n_answers = s->n[WRITER_DONE] = 0;
}

static bool jobs_answered(void *ctx)
{
        const struct scene *s = ctx;

        return s->n_answers == JOBS;
}

static bool holds_sixteen(void *ctx)
{
        const struct scene *s = ctx;

        return fakecluster_requests(s->api, "PATCH", NULL) >= 17;
}

START_TEST(sixteen_at_a_time)
{
        struct scene s;

        scene_init(&s);
        warm_up(&s);
        s.fault = FAKECLUSTER_HOLD;
        s.faults_left = JOBS;
        for (int i = 0; i < JOBS; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "s%d", i);
                put_service(&s, name);
                ck_assert(writer_has_room(s.w) == (i < 16));
                (void)send_job(&s, name);
        }
        ck_assert_uint_eq(s.n_answers, 0); /* nothing from within writer_send() */
        ck_assert(fake_run_until(&s.loop, holds_sixteen, &s));
        fake_run_for(&s.loop, 100);
        ck_assert_uint_eq(fakecluster_requests(s.api, "PATCH", NULL), 17);
        s.faults_left = 0;
        fakecluster_release(s.api);
        ck_assert(fake_run_until(&s.loop, jobs_answered, &s));
        ck_assert_uint_eq(s.n[WRITER_DONE], JOBS);
        scene_fini(&s);
}
END_TEST

START_TEST(one_bad_object_stops_nobody)
{
        struct scene s;

        scene_init(&s);
        put_service(&s, "bad");
        s.fault = 500;
        s.faults_left = 1;
        (void)send_job(&s, "bad");
        for (int i = 1; i < JOBS; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "s%d", i);
                put_service(&s, name);
                (void)send_job(&s, name);
        }
        ck_assert(fake_run_until(&s.loop, jobs_answered, &s));
        ck_assert_uint_eq(s.n[WRITER_DONE], JOBS);
        ck_assert(is_written(&s, "bad"));
        scene_fini(&s);
}
END_TEST

START_TEST(a_closed_gate_holds_everything)
{
        struct scene s;

        scene_init(&s);
        put_service(&s, "a");
        s.gate = false;
        (void)send_job(&s, "a");
        fake_run_for(&s.loop, 300);
        ck_assert_uint_eq(fakecluster_requests(s.api, "PATCH", NULL), 0);
        s.gate = true;
        writer_kick(s.w);
        ck_assert(fake_run_until(&s.loop, all_answered, &s));
        ck_assert_uint_eq(s.n[WRITER_DONE], 1);
        scene_fini(&s);
}
END_TEST

START_TEST(drops_only_what_is_not_on_its_way)
{
        struct scene s;
        struct writer_job *job;

        scene_init(&s);
        put_service(&s, "a");
        job = send_job(&s, "a");
        ck_assert(writer_drop(s.w, job));
        fake_run_for(&s.loop, 50);
        ck_assert_uint_eq(fakecluster_requests(s.api, "PATCH", NULL), 0);
        s.fault = FAKECLUSTER_HOLD;
        s.faults_left = 1;
        job = send_job(&s, "a");
        fake_run_for(&s.loop, 100);
        ck_assert_uint_eq(fakecluster_requests(s.api, "PATCH", NULL), 1);
        ck_assert(!writer_drop(s.w, job));
        fakecluster_release(s.api);
        ck_assert(fake_run_until(&s.loop, all_answered, &s));
        ck_assert_uint_eq(s.n[WRITER_DONE], 1);
        scene_fini(&s);
}
END_TEST

START_TEST(stop_lets_the_sent_ones_end)
{
        struct scene s;

        scene_init(&s);
        warm_up(&s);
        s.fault = FAKECLUSTER_HOLD;
        s.faults_left = JOBS;
        for (int i = 0; i < JOBS; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "s%d", i);
                put_service(&s, name);
                (void)send_job(&s, name);
        }
        ck_assert(fake_run_until(&s.loop, holds_sixteen, &s));
        writer_stop(s.w);
        ck_assert(!writer_is_idle(s.w) && !writer_has_room(s.w));
        fakecluster_release(s.api);
        ck_assert(fake_run_until(&s.loop, jobs_answered, &s));
        ck_assert_uint_eq(s.n[WRITER_DONE], 16);
        ck_assert_uint_eq(s.n[WRITER_CANCELED], JOBS - 16);
        ck_assert(writer_is_idle(s.w));
        scene_fini(&s);
}
END_TEST

static const int close_faults[] = { FAKECLUSTER_NONE, FAKECLUSTER_HOLD, FAKECLUSTER_LOSE, 403, 500, 503 };

/* Closed after N turns of the loop, wherever the jobs are by then. */
START_TEST(closes_at_every_step)
{
        for (int steps = 0; steps < 30; steps++) {
                struct scene s;

                scene_init(&s);
                s.fault = close_faults[_i];
                s.faults_left = 3;
                for (int i = 0; i < 3; i++) {
                        char name[16];

                        (void)snprintf(name, sizeof(name), "s%d", i);
                        put_service(&s, name);
                        (void)send_job(&s, name);
                }
                for (int i = 0; i < steps; i++)
                        (void)uv_run(&s.loop, UV_RUN_NOWAIT);
                scene_fini(&s);
                ck_assert_uint_eq(s.n_answers, 3);
        }
}
END_TEST

static Suite *suite(void)
{
        Suite *s = suite_create("writer");
        TCase *tc = tcase_create("writer");

        tcase_set_timeout(tc, 60);
        tcase_add_loop_test(tc, answers_the_truth, 0, (int)ARRAY_LEN(one_cases));
        tcase_add_test(tc, a_put_keeps_what_others_wrote);
        tcase_add_test(tc, sixteen_at_a_time);
        tcase_add_test(tc, one_bad_object_stops_nobody);
        tcase_add_test(tc, a_closed_gate_holds_everything);
        tcase_add_test(tc, drops_only_what_is_not_on_its_way);
        tcase_add_test(tc, stop_lets_the_sent_ones_end);
        tcase_add_loop_test(tc, closes_at_every_step, 0, (int)ARRAY_LEN(close_faults));
        suite_add_tcase(s, tc);
        return s;
}

int main(void)
{
        return unit_main(suite());
}
