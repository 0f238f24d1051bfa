/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/kube/event.h"
#include "test/lib/fakeapi.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define WALL 1700000000000000000u /* 2023-11-14T22:13:20Z */

static const struct event_object service = { "v1", "Service", "shop", "web", "uid-1" };

static int say(struct event_book *b, uint64_t now_ms, const char *name, const char *message)
{
        struct event_object on = service;
        const struct event_text t = { .on = &on, .reason = "IPAllocated", .message = message };

        on.name = name;
        return event_book_say(b, now_ms, WALL + now_ms * 1000000u, &t);
}

static void body_of(const struct event_entry *e, cJSON **ret)
{
        struct buf b = BUF_INIT;

        event_entry_body(e, "metallb-controller", "node-1", &b);
        ck_assert(buf_ok(&b));
        ck_assert_int_eq(json_parse(ret, b.p, b.len), 0);
        buf_fini(&b);
}

/* ---- the book ---- */

START_TEST(a_new_event_is_written_at_once)
{
        CLEANUP(event_book_freep) struct event_book *b = NULL;
        CLEANUP(json_deletep) cJSON *json = NULL;
        CLEANUP(buf_fini) struct buf name = BUF_INIT;
        const struct event_text t = { .on = &service,
                .type = EVENT_WARNING,
                .reason = "AllocationFailed",
                .message = "no \"free\"\naddress" };
        struct event_entry *e;
        static const struct {
                const char *path, *want;
        } fields[] = {
                { "apiVersion", "v1" },
                { "kind", "Event" },
                { "metadata.namespace", "shop" },
                { "involvedObject.apiVersion", "v1" },
                { "involvedObject.kind", "Service" },
                { "involvedObject.namespace", "shop" },
                { "involvedObject.name", "web" },
                { "involvedObject.uid", "uid-1" },
                { "reason", "AllocationFailed" },
                { "message", "no \"free\"\naddress" },
                { "source.component", "metallb-controller" },
                { "source.host", "node-1" },
                { "firstTimestamp", "2023-11-14T22:13:20Z" },
                { "lastTimestamp", "2023-11-14T22:13:20Z" },
                { "type", "Warning" },
                { "reportingComponent", "metallb-controller" },
                { "reportingInstance", "node-1" },
        };
        int64_t count;

        ck_assert_int_eq(event_book_new(&b), 0);
        ck_assert(event_book_deadline(b, 0) == UINT64_MAX);
        ck_assert_ptr_null(event_book_next(b, 0));
        ck_assert_int_eq(event_book_say(b, 5, WALL, &t), 0);
        ck_assert_uint_eq(event_book_deadline(b, 5), 5);
        e = event_book_next(b, 5);
        ck_assert_ptr_nonnull(e);
        ck_assert(!event_entry_exists(e));
        ck_assert_str_eq(event_entry_ns(e), "shop");
        event_entry_name(e, &name);
        ck_assert_str_eq(buf_str(&name), "web.17979cfe362a0000");
        body_of(e, &json);
        for (size_t i = 0; i < ARRAY_LEN(fields); i++)
                ck_assert_msg(strcmp(json_str_at(json, fields[i].path, "absent"), fields[i].want) == 0,
                        "%s is %s", fields[i].path, json_str_at(json, fields[i].path, "absent"));
        ck_assert_str_eq(json_str_at(json, "metadata.name", ""), buf_str(&name));
        ck_assert_int_eq(json_int(json, "count", &count), 0);
        ck_assert_int_eq(count, 1);
        ck_assert_ptr_null(event_book_next(b, 5));
        ck_assert(event_book_done(b, e, 6, EVENT_WRITTEN, 0));
        ck_assert(event_book_deadline(b, 100000) == UINT64_MAX);
}
END_TEST

START_TEST(cluster_scoped_objects_go_to_default)
{
        CLEANUP(event_book_freep) struct event_book *b = NULL;
        CLEANUP(json_deletep) cJSON *json = NULL;
        const struct event_object node = { "v1", "Node", "", "n1", NULL };
        const struct event_text t = { .on = &node, .reason = "R", .message = "m" };
        struct event_entry *e;

        ck_assert_int_eq(event_book_new(&b), 0);
        ck_assert_int_eq(event_book_say(b, 0, WALL, &t), 0);
        e = event_book_next(b, 0);
        ck_assert_str_eq(event_entry_ns(e), "default");
        body_of(e, &json);
        ck_assert_str_eq(json_str_at(json, "metadata.namespace", ""), "default");
        ck_assert_str_eq(json_str_at(json, "involvedObject.namespace", "absent"), "absent");
        ck_assert_str_eq(json_str_at(json, "involvedObject.uid", "absent"), "absent");
        ck_assert_str_eq(json_str_at(json, "type", ""), "Normal");
}
END_TEST

START_TEST(a_repeat_is_counted_and_written_after_a_minute)
{
        CLEANUP(event_book_freep) struct event_book *b = NULL;
        CLEANUP(json_deletep) cJSON *json = NULL;
        struct event_entry *e;
        int64_t count;

        ck_assert_int_eq(event_book_new(&b), 0);
        ck_assert_int_eq(say(b, 0, "web", "m"), 0);
        e = event_book_next(b, 0);
        ck_assert(event_book_done(b, e, 0, EVENT_WRITTEN, 0));
        for (uint64_t ms = 1000; ms <= 50000; ms += 1000)
                ck_assert_int_eq(say(b, ms, "web", "m"), 0);
        ck_assert_uint_eq(event_book_deadline(b, 50000), 60000);
        ck_assert_ptr_null(event_book_next(b, 59999));
        ck_assert_ptr_eq(event_book_next(b, 60000), e);
        ck_assert(event_entry_exists(e));
        body_of(e, &json);
        ck_assert_int_eq(json_int(json, "count", &count), 0);
        ck_assert_int_eq(count, 51);
        ck_assert_str_eq(json_str_at(json, "lastTimestamp", ""), "2023-11-14T22:14:10Z");
        ck_assert_int_eq(cJSON_GetArraySize(json), 2); /* nothing else is patched */
        ck_assert_int_eq(say(b, 60100, "web", "m"), 0); /* while it is being written */
        ck_assert(event_book_done(b, e, 60200, EVENT_WRITTEN, 0));
        ck_assert_uint_eq(event_book_deadline(b, 60200), 120200);
        ck_assert_ptr_eq(event_book_next(b, 120200), e);
        ck_assert(event_book_done(b, e, 120300, EVENT_WRITTEN, 0));
        ck_assert(event_book_deadline(b, 500000) == UINT64_MAX);
        ck_assert_uint_eq(event_book_count(b), 1);
}
END_TEST

static const struct {
        const char *name;
        uint64_t again_ms;
        bool exists;
} memory[] = {
        { "within ten minutes of the last time", 599999, true },
        { "after ten minutes", 600000, false },
};

START_TEST(what_was_not_said_for_long_is_a_new_story)
{
        CLEANUP(event_book_freep) struct event_book *b = NULL;
        struct event_entry *e;

        ck_assert_int_eq(event_book_new(&b), 0);
        ck_assert_int_eq(say(b, 0, "web", "m"), 0);
        e = event_book_next(b, 0);
        ck_assert(event_book_done(b, e, 0, EVENT_WRITTEN, 0));
        ck_assert_int_eq(say(b, memory[_i].again_ms, "web", "m"), 0);
        e = event_book_next(b, memory[_i].again_ms);
        ck_assert_msg(event_entry_exists(e) == memory[_i].exists, "%s", memory[_i].name);
}
END_TEST

START_TEST(all_writes_are_paced)
{
        CLEANUP(event_book_freep) struct event_book *b = NULL;
        char name[16];
        unsigned n = 0;
        uint64_t now = 5000;

        ck_assert_int_eq(event_book_new(&b), 0);
        for (unsigned i = 0; i < 190; i++) {
                (void)snprintf(name, sizeof(name), "s%u", i);
                ck_assert_int_eq(say(b, now, name, "m"), 0);
        }
        for (struct event_entry *e; (e = event_book_next(b, now)); n++)
                ck_assert(event_book_done(b, e, now, EVENT_WRITTEN, 0));
        ck_assert_uint_eq(n, 100);
        for (; n < 190; n++) {
                uint64_t due = event_book_deadline(b, now);
                struct event_entry *e;

                ck_assert_uint_eq(due, now + 10);
                ck_assert_ptr_null(event_book_next(b, due - 1));
                e = event_book_next(b, due);
                ck_assert_ptr_nonnull(e);
                ck_assert(event_book_done(b, e, due, EVENT_WRITTEN, 0));
                now = due;
        }
        ck_assert_uint_eq(now, 5000 + 90 * 10);
}
END_TEST

START_TEST(one_object_cannot_flood)
{
        CLEANUP(event_book_freep) struct event_book *b = NULL;
        char message[32];
        unsigned n = 0;

        ck_assert_int_eq(event_book_new(&b), 0);
        for (unsigned i = 0; i < 100; i++) {
                (void)snprintf(message, sizeof(message), "message %u", i);
                n += say(b, i * 1000, "web", message) == 0;
        }
        ck_assert_uint_eq(n, 25);
        ck_assert_int_eq(say(b, 100000, "web", "message 3"), 0); /* a repeat costs nothing */
        ck_assert_int_eq(say(b, 100000, "other", "m"), 0);
        ck_assert_int_eq(say(b, 299999, "web", "new"), ERR_FULL);
        ck_assert_int_eq(say(b, 300000, "web", "new"), 0);
}
END_TEST

START_TEST(the_book_is_bounded)
{
        CLEANUP(event_book_freep) struct event_book *b = NULL;
        struct event_entry *e;
        char name[16];

        ck_assert_int_eq(event_book_new(&b), 0);
        for (unsigned i = 0; i < 2 * EVENT_BOOK_MAX; i++) {
                (void)snprintf(name, sizeof(name), "s%u", i);
                ck_assert_int_eq(say(b, 0, name, "m"), i < EVENT_BOOK_MAX ? 0 : ERR_FULL);
        }
        ck_assert_uint_eq(event_book_count(b), EVENT_BOOK_MAX);
        e = event_book_next(b, 0);
        ck_assert_int_eq(say(b, 0, "late", "m"), ERR_FULL); /* all wait, or are being written */
        ck_assert(event_book_done(b, e, 0, EVENT_WRITTEN, 0));
        ck_assert_int_eq(say(b, 0, "late", "m"), 0); /* the one that is done makes room */
        ck_assert_uint_eq(event_book_count(b), EVENT_BOOK_MAX);
}
END_TEST

START_TEST(a_failed_write_is_tried_again_with_pauses)
{
        CLEANUP(event_book_freep) struct event_book *b = NULL;
        static const uint64_t pauses[] = { 1000, 2000, 4000, 8000, 16000, 32000, 32000 };
        uint64_t now = 0;
        struct event_entry *e;

        ck_assert_int_eq(event_book_new(&b), 0);
        ck_assert_int_eq(say(b, 0, "web", "m"), 0);
        e = event_book_next(b, 0);
        for (size_t i = 0; i < ARRAY_LEN(pauses); i++) {
                ck_assert(event_book_done(b, e, now, EVENT_RETRY, 0));
                ck_assert_uint_eq(event_book_deadline(b, now), now + pauses[i]);
                now += pauses[i];
                ck_assert_ptr_eq(event_book_next(b, now), e);
                ck_assert(!event_entry_exists(e));
        }
        ck_assert(!event_book_done(b, e, now, EVENT_RETRY, 0)); /* given up */
        ck_assert(event_book_deadline(b, now) == UINT64_MAX);
        ck_assert_int_eq(say(b, now + 1000, "web", "m"), 0); /* it happens still: after a minute, again */
        ck_assert_uint_eq(event_book_deadline(b, now + 1000), now + 60000);
}
END_TEST

START_TEST(other_outcomes)
{
        CLEANUP(event_book_freep) struct event_book *b = NULL;
        struct event_entry *e;

        ck_assert_int_eq(event_book_new(&b), 0);
        ck_assert_int_eq(say(b, 0, "web", "m"), 0);
        e = event_book_next(b, 0);
        ck_assert(event_book_done(b, e, 0, EVENT_RETRY, 20)); /* Retry-After */
        ck_assert_uint_eq(event_book_deadline(b, 0), 20000);
        e = event_book_next(b, 20000);
        ck_assert(event_book_done(b, e, 20000, EVENT_RETRY, UINT32_MAX)); /* bounded */
        ck_assert_uint_eq(event_book_deadline(b, 20000), 320000);
        e = event_book_next(b, 320000);
        ck_assert(event_book_done(b, e, 320000, EVENT_WRITTEN, 0));
        ck_assert_int_eq(say(b, 330000, "web", "m"), 0);
        e = event_book_next(b, 380000);
        ck_assert(event_entry_exists(e));
        ck_assert(event_book_done(b, e, 380000, EVENT_GONE, 0)); /* it expired on the server */
        e = event_book_next(b, 381000);
        ck_assert(!event_entry_exists(e)); /* written anew, with its count */
        ck_assert(!event_book_done(b, e, 381000, EVENT_REFUSED, 0));
        ck_assert(event_book_deadline(b, 381000) == UINT64_MAX);
}
END_TEST

START_TEST(names_and_texts_are_cut_to_fit)
{
        CLEANUP(event_book_freep) struct event_book *b = NULL;
        CLEANUP(buf_fini) struct buf name = BUF_INIT, body = BUF_INIT;
        char object[300], message[5000];
        struct event_entry *e;

        memset(object, 'a', sizeof(object));
        object[252] = '\0';
        object[235] = object[234] = '-'; /* where the cut will be */
        memset(message, 'm', sizeof(message));
        message[sizeof(message) - 1] = '\0';
        ck_assert_int_eq(event_book_new(&b), 0);
        ck_assert_int_eq(say(b, 0, object, message), 0);
        e = event_book_next(b, 0);
        event_entry_name(e, &name);
        ck_assert_uint_le(name.len, 253);
        ck_assert_ptr_nonnull(strstr(buf_str(&name), "a.1797"));
        event_entry_body(e, "c", "", &body);
        ck_assert_uint_lt(body.len, EVENT_TEXT_MAX + 1000);
        ck_assert_ptr_null(strstr(buf_str(&body), "\"host\""));
}
END_TEST

START_TEST(names_are_unique)
{
        CLEANUP(event_book_freep) struct event_book *b = NULL;
        CLEANUP(buf_fini) struct buf one = BUF_INIT, two = BUF_INIT;

        ck_assert_int_eq(event_book_new(&b), 0);
        ck_assert_int_eq(say(b, 0, "web", "m1"), 0);
        ck_assert_int_eq(say(b, 0, "web", "m2"), 0); /* at the same nanosecond */
        event_entry_name(event_book_next(b, 0), &one);
        event_entry_name(event_book_next(b, 0), &two);
        ck_assert_str_ne(buf_str(&one), buf_str(&two));
}
END_TEST

START_TEST(any_allocation_of_the_book_may_fail)
{
        for (unsigned n = 0;; n++) {
                struct event_book *b = NULL;
                int r;

                fault_arm(n);
                r = event_book_new(&b);
                if (r == 0)
                        r = say(b, 0, "web", "m");
                if (r == 0)
                        r = say(b, 0, "web", "m2");
                if (!fault_disarm()) {
                        ck_assert_int_eq(r, 0);
                        (void)event_book_free(b);
                        return;
                }
                ck_assert_int_eq(r, -ENOMEM);
                if (b) {
                        ck_assert_int_eq(say(b, 0, "web", "again"), 0);
                        ck_assert_ptr_nonnull(event_book_next(b, 0));
                }
                (void)event_book_free(b);
        }
}
END_TEST

/* ---- the shell ---- */

struct world {
        uv_loop_t loop;
        struct fake *f;
        struct kube *k;
        struct events *ev;
        struct metrics *reg;
        struct buf log; /* "POST /path\n" */
        int status; /* 0: never answered */
        unsigned n_closed, n_kube_closed;
        unsigned at_once, most_at_once;
};

static void on_closed(void *ctx)
{
        ++*(unsigned *)ctx;
}

static void on_request(void *ctx, struct fake_conn *c, const struct fake_request *req)
{
        struct world *w = ctx;

        buf_addf(&w->log, "%s %s\n", req->method, req->target);
        w->at_once++;
        w->most_at_once = MAX(w->most_at_once, w->at_once);
        if (w->status == 0)
                return;
        w->at_once--;
        fake_reply(c, w->status, "", "{}");
}

static void world_open(struct world *w, int status)
{
        struct kube_conf conf = { .server = NULL };

        w->status = status;
        ck_assert_int_eq(uv_loop_init(&w->loop), 0);
        w->f = fake_new(&w->loop, on_request, w);
        conf.server = strdup(fake_url(w->f));
        ck_assert_int_eq(metrics_new(&w->reg), 0);
        ck_assert_int_eq(kube_new(&w->k, &w->loop, &conf, NULL, w->reg, NULL), 0);
        ck_assert_int_eq(events_new(&w->ev, w->k, "speaker", "n1", w->reg), 0);
        free(conf.server);
}

static void world_close(struct world *w)
{
        if (w->n_closed == 0)
                events_close(w->ev, on_closed, &w->n_closed);
        if (w->n_kube_closed == 0)
                kube_close(w->k, on_closed, &w->n_kube_closed);
        fake_close(w->f);
        fake_finish(&w->loop);
        ck_assert_uint_eq(w->n_closed, 1);
        ck_assert_uint_eq(w->n_kube_closed, 1);
        buf_fini(&w->log);
        (void)metrics_free(w->reg);
}

static double counted(const struct world *w, const char *result)
{
        static const char *const labels[] = { "result", NULL };

        return series_value(metrics_with(
                metrics_family(w->reg, METRIC_COUNTER, "metallb_k8s_events_total", "", labels, NULL, 0),
                result));
}

static bool has_counted_three(void *ctx)
{
        return counted(ctx, "written") + counted(ctx, "failed") >= 3;
}

static const struct {
        int status;
        double written, failed;
} shell[] = { { 201, 3, 0 }, { 409, 3, 0 }, { 403, 0, 3 }, { 404, 0, 3 }, { 422, 0, 3 } };

START_TEST(events_are_written)
{
        struct world w = { .status = 0 };

        world_open(&w, shell[_i].status);
        for (unsigned i = 0; i < 3; i++)
                for (unsigned again = 0; again < 5; again++)
                        events_say(w.ev, &service, EVENT_NORMAL, "Reason", "address %u of %s", i, "the pool");
        ck_assert_uint_eq(w.log.len, 0);
        ck_assert(fake_run_until(&w.loop, has_counted_three, &w));
        ck_assert_str_eq(buf_str(&w.log),
                "POST /api/v1/namespaces/shop/events\nPOST /api/v1/namespaces/shop/events\n"
                "POST /api/v1/namespaces/shop/events\n");
        ck_assert(counted(&w, "written") == shell[_i].written);
        ck_assert(counted(&w, "failed") == shell[_i].failed);
        fake_run_for(&w.loop, 100); /* and nothing more */
        ck_assert_uint_eq(fake_requests(w.f), 3);
        world_close(&w);
}
END_TEST

static bool has_retried(void *ctx)
{
        return fake_requests(((struct world *)ctx)->f) >= 2;
}

START_TEST(a_busy_server_is_asked_again)
{
        struct world w = { .status = 0 };

        world_open(&w, 503);
        events_say(w.ev, &service, EVENT_WARNING, "Reason", "m");
        ck_assert(fake_run_until(&w.loop, has_retried, &w));
        ck_assert(counted(&w, "failed") == 0);
        world_close(&w);
}
END_TEST

START_TEST(few_writes_at_once)
{
        struct world w = { .status = 0 };

        world_open(&w, 0);
        for (unsigned i = 0; i < 20; i++)
                events_say(w.ev, &service, EVENT_NORMAL, "Reason", "m%u", i);
        fake_run_for(&w.loop, 300);
        ck_assert_uint_eq(w.most_at_once, 4);
        for (unsigned i = 20; i < 30; i++)
                events_say(w.ev, &service, EVENT_NORMAL, "Reason", "m%u", i);
        ck_assert(counted(&w, "dropped") == 5);
        world_close(&w);
}
END_TEST

START_TEST(close_at_any_time)
{
        for (unsigned turns = 0; turns < 60; turns++) {
                struct world w = { .status = 0 };

                world_open(&w, turns % 2 ? 201 : turns % 3 ? 500 : 0);
                for (unsigned i = 0; i < 6; i++)
                        events_say(w.ev, &service, EVENT_NORMAL, "Reason", "m%u", i);
                for (unsigned i = 0; i < turns; i++) {
                        (void)uv_run(&w.loop, UV_RUN_NOWAIT);
                        (void)usleep(50);
                }
                if (turns % 4 == 0) /* the client goes first */
                        kube_close(w.k, on_closed, &w.n_kube_closed);
                events_close(w.ev, on_closed, &w.n_closed);
                events_close(w.ev, on_closed, &w.n_closed); /* idempotent */
                events_say(w.ev, &service, EVENT_NORMAL, "Reason", "too late");
                ck_assert_uint_eq(w.n_closed, 0);
                fake_run_for(&w.loop, 5);
                world_close(&w);
        }
}
END_TEST

START_TEST(any_allocation_may_fail)
{
        struct world w = { .status = 0 };

        world_open(&w, 201);
        for (unsigned n = 0;; n++) {
                struct events *ev = NULL;
                unsigned closed = 0;
                int r;

                fault_arm(n);
                r = events_new(&ev, w.k, "c", "h", NULL);
                if (!fault_disarm()) {
                        ck_assert_int_eq(r, 0);
                        events_close(ev, on_closed, &closed);
                        fake_run_for(&w.loop, 5);
                        ck_assert_uint_eq(closed, 1);
                        break;
                }
                ck_assert_int_eq(r, -ENOMEM);
                ck_assert_ptr_null(ev);
        }
        for (unsigned n = 0; n < 100;
                n++) { /* saying never fails; at worst the event is dropped or retried */
                fault_arm(n);
                events_say(w.ev, &service, EVENT_NORMAL, "Reason", "m%u", n % 20);
                for (unsigned i = 0; i < 4; i++)
                        (void)uv_run(&w.loop, UV_RUN_NOWAIT);
                (void)fault_disarm();
        }
        world_close(&w);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("events");
        TCase *book = tcase_create("book"), *tc = tcase_create("shell");

        tcase_add_test(book, a_new_event_is_written_at_once);
        tcase_add_test(book, cluster_scoped_objects_go_to_default);
        tcase_add_test(book, a_repeat_is_counted_and_written_after_a_minute);
        tcase_add_loop_test(book, what_was_not_said_for_long_is_a_new_story, 0, (int)ARRAY_LEN(memory));
        tcase_add_test(book, all_writes_are_paced);
        tcase_add_test(book, one_object_cannot_flood);
        tcase_add_test(book, the_book_is_bounded);
        tcase_add_test(book, a_failed_write_is_tried_again_with_pauses);
        tcase_add_test(book, other_outcomes);
        tcase_add_test(book, names_and_texts_are_cut_to_fit);
        tcase_add_test(book, names_are_unique);
        tcase_add_test(book, any_allocation_of_the_book_may_fail);
        suite_add_tcase(s, book);
        tcase_set_timeout(book, 60);
        tcase_set_timeout(tc, 60);
        tcase_add_loop_test(tc, events_are_written, 0, (int)ARRAY_LEN(shell));
        tcase_add_test(tc, a_busy_server_is_asked_again);
        tcase_add_test(tc, few_writes_at_once);
        tcase_add_test(tc, close_at_any_time);
        tcase_add_test(tc, any_allocation_may_fail);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
