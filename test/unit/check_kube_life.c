/* SPDX-License-Identifier: Apache-2.0 */
/* The client over time: a frozen server, tokens that change, and every way to end. */
#include "common/kube/kube.h"
#include "test/lib/fakeapi.h"
#include "test/lib/fault.h"
#include "test/lib/kubeworld.h"
#include "test/lib/unit.h"
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a frozen server ---- */

START_TEST(silence_is_noticed_and_healed)
{
        const struct kube_limits limits = { .silence_ms = 300 };
        struct world w = { .status = 0 };

        world_open(&w, hold, &limits);
        watch(&w, 0, "/s");
        ck_assert(fake_run_until(&w.loop, is_held, &w));
        fake_begin(w.held[0], 200, "");
        ck_assert(fake_run_until(&w.loop, has_opened, &w.seen[0]));
        fake_freeze(w.f, true);
        get(&w, 1, "/lost");
        wait_done(&w, 0);
        wait_done(&w, 1);
        ck_assert_int_eq(w.seen[0].code, -ETIMEDOUT);
        ck_assert_int_eq(w.seen[1].code, -ETIMEDOUT);
        ck_assert(!kube_reachable(w.k));
        fake_freeze(w.f, false);
        fake_run_for(&w.loop, 50); /* the old connections' requests arrive now */
        w.n_held = 0;
        buf_reset(&w.log);
        get(&w, 2, "/again");
        ck_assert(fake_run_until(&w.loop, is_held, &w));
        ck_assert_str_eq(buf_str(&w.log), "GET /again\n");
        fake_reply(w.held[0], 200, "", "");
        wait_done(&w, 2);
        ck_assert_int_eq(w.seen[2].status, 200);
        ck_assert(kube_reachable(w.k));
        world_close(&w);
}
END_TEST

static void answer_probes(void *ctx, struct fake_conn *c, const struct fake_request *req)
{
        struct world *w = ctx;

        if (strcmp(req->target, "/version") == 0)
                fake_reply(c, w->status, "", "{}");
        hold(ctx, c, req);
}

START_TEST(a_quiet_but_living_server_is_kept)
{
        const struct kube_limits limits = { .silence_ms = 100 };
        struct world w = { .status = 0 };

        world_open(&w, answer_probes, &limits);
        w.status = 403; /* any answer is a sign of life */
        watch(&w, 0, "/s");
        ck_assert(fake_run_until(&w.loop, is_held, &w));
        fake_begin(w.held[0], 200, "");
        fake_run_for(&w.loop, 1000);
        ck_assert_uint_eq(w.seen[0].n_done, 0);
        ck_assert_uint_ge(fake_requests(w.f), 3);
        ck_assert_uint_le(fake_requests(w.f), 12);
        world_close(&w);
}
END_TEST

START_TEST(nothing_open_nothing_asked)
{
        const struct kube_limits limits = { .silence_ms = 50 };
        struct world w = { .status = 0 };

        world_open(&w, answer, &limits);
        get(&w, 0, "/x");
        wait_done(&w, 0);
        fake_run_for(&w.loop, 400);
        ck_assert_uint_eq(fake_requests(w.f), 1);
        world_close(&w);
}
END_TEST

/* ---- tokens ---- */

static void put_file(const char *path, const char *text)
{
        char tmp[128];
        FILE *f;

        (void)snprintf(tmp, sizeof(tmp), "%s.new", path);
        f = fopen(tmp, "w");
        ck_assert_ptr_nonnull(f);
        ck_assert_int_ge(fputs(text, f), 0);
        ck_assert_int_eq(fclose(f), 0);
        ck_assert_int_eq(rename(tmp, path), 0); /* as kubelet does: never half a file */
}

static void check_token(void *ctx, struct fake_conn *c, const struct fake_request *req)
{
        struct world *w = ctx;
        char line[128];

        (void)snprintf(line, sizeof(line), "\r\nAuthorization: Bearer %s\r\n", w->want_token);
        fake_reply(c, strstr(req->headers, line) ? 200 : 401, "", "{\"message\":\"Unauthorized\"}");
}

static void token_world(struct world *w, char *path)
{
        const struct kube_conf conf = { .token = (char[]){ "not used" }, .token_file = path };
        int fd = mkstemp(path);

        ck_assert_int_ge(fd, 0);
        (void)close(fd);
        put_file(path, "one\n");
        (void)snprintf(w->want_token, sizeof(w->want_token), "one");
        world_open_conf(w, check_token, NULL, &conf);
        get(w, 0, "/x");
        wait_done(w, 0);
        ck_assert_int_eq(w->seen[0].status, 200);
}

START_TEST(a_401_reads_the_token_again)
{
        char path[] = "/tmp/check_kube.XXXXXX";
        struct world w = { .status = 0 };

        token_world(&w, path);
        put_file(path, "two");
        (void)snprintf(w.want_token, sizeof(w.want_token), "two");
        for (unsigned i = 1; i < 20; i++)
                get(&w, i, "/x");
        watch(&w, 20, "/s");
        for (unsigned i = 1; i <= 20; i++)
                wait_done(&w, i);
        for (unsigned i = 1; i <= 20; i++)
                ck_assert_int_eq(w.seen[i].status, 200);
        (void)unlink(path);
        world_close(&w);
}
END_TEST

START_TEST(a_401_with_the_same_token_is_told)
{
        char path[] = "/tmp/check_kube.XXXXXX";
        struct world w = { .status = 0 };
        unsigned before;

        token_world(&w, path);
        (void)snprintf(w.want_token, sizeof(w.want_token), "unknown");
        before = fake_requests(w.f);
        get(&w, 1, "/x");
        wait_done(&w, 1);
        ck_assert_int_eq(w.seen[1].status, 401);
        ck_assert_str_eq(buf_str(&w.seen[1].error), "Unauthorized");
        ck_assert_uint_eq(fake_requests(w.f), before + 1);
        (void)unlink(path); /* and a file that is gone changes nothing */
        get(&w, 2, "/x");
        wait_done(&w, 2);
        ck_assert_int_eq(w.seen[2].status, 401);
        (void)snprintf(w.want_token, sizeof(w.want_token), "one");
        get(&w, 3, "/x");
        wait_done(&w, 3);
        ck_assert_int_eq(w.seen[3].status, 200);
        world_close(&w);
}
END_TEST

static char *changing_file;

static void never_content(void *ctx UNUSED, struct fake_conn *c, const struct fake_request *req UNUSED)
{
        static unsigned n;
        char text[16];

        (void)snprintf(text, sizeof(text), "token-%u", n++);
        put_file(changing_file, text);
        fake_reply(c, 401, "", "");
}

START_TEST(a_401_is_tried_again_only_once)
{
        char path[] = "/tmp/check_kube.XXXXXX";
        const struct kube_conf conf = { .token_file = path };
        struct world w = { .status = 0 };
        int fd = mkstemp(path);

        ck_assert_int_ge(fd, 0);
        (void)close(fd);
        changing_file = path;
        world_open_conf(&w, never_content, NULL, &conf);
        get(&w, 0, "/x");
        wait_done(&w, 0);
        ck_assert_int_eq(w.seen[0].status, 401);
        ck_assert_uint_eq(fake_requests(w.f), 2);
        (void)unlink(path);
        world_close(&w);
}
END_TEST

static bool sent_two(void *ctx)
{
        struct world *w = ctx;

        if (w->seen[1].n_done > 0) { /* ask again and again */
                w->seen[1].n_done = 0;
                get(w, 1, "/x");
        }
        return strstr(buf_str(&w->last_headers), "\r\nAuthorization: Bearer two\r\n") != NULL;
}

START_TEST(a_new_token_is_found_without_a_401)
{
        char path[] = "/tmp/check_kube.XXXXXX";
        const struct kube_conf conf = { .token_file = path };
        struct world w = { .status = 0 };
        int fd = mkstemp(path);

        ck_assert_int_ge(fd, 0);
        (void)close(fd);
        put_file(path, "one\n");
        world_open_conf(&w, answer, NULL, &conf);
        get(&w, 1, "/x");
        wait_done(&w, 1);
        ck_assert_ptr_nonnull(strstr(buf_str(&w.last_headers), "\r\nAuthorization: Bearer one\r\n"));
        put_file(path, "two");
        ck_assert(fake_run_until(&w.loop, sent_two, &w));
        (void)unlink(path);
        world_close(&w);
}
END_TEST

/* ---- ends ---- */

/* Cancels at every state a request goes through, one loop turn later each time. */
START_TEST(cancel_at_any_time)
{
        for (unsigned turns = 0; turns < 40; turns++) {
                struct world w = { .status = 0 };

                world_open(&w, answer, NULL);
                w.body = "{}";
                get(&w, 0, "/x");
                watch(&w, 1, "/s");
                for (unsigned i = 0; i < turns; i++)
                        (void)uv_run(&w.loop, UV_RUN_NOWAIT);
                for (unsigned i = 0; i < 2; i++) {
                        if (!w.seen[i].req)
                                continue;
                        kube_cancel(w.seen[i].req);
                        kube_cancel(w.seen[i].req); /* harmless */
                        ck_assert_uint_eq(w.seen[i].n_done, 0);
                        wait_done(&w, i);
                        ck_assert_int_eq(w.seen[i].code, -ECANCELED);
                        ck_assert_int_eq(w.seen[i].status, 0);
                }
                get(&w, 2, "/next"); /* the client is none the worse */
                wait_done(&w, 2);
                ck_assert_int_eq(w.seen[2].status, 200);
                world_close(&w);
        }
}
END_TEST

START_TEST(close_at_any_time)
{
        for (unsigned turns = 0; turns < 80; turns++) {
                const struct kube_limits limits = { .max_in_flight = 2, .silence_ms = 1 };
                struct world w = { .status = 0 };

                world_open(&w, turns % 2 ? answer : hold, &limits);
                for (unsigned i = 0; i < 5; i++)
                        get(&w, i, "/x");
                watch(&w, 5, "/s");
                watch(&w, 6, "/s");
                for (unsigned i = 0; i < turns; i++) {
                        (void)uv_run(&w.loop, UV_RUN_NOWAIT);
                        (void)usleep(100); /* lets the kernel and the probe's timer move on too */
                }
                kube_close(w.k, on_closed, &w.n_closed);
                ck_assert_uint_eq(w.n_closed, 0);
                ck_assert_int_eq(
                        send_call(&w, 7, (struct kube_call){ .method = "GET", .path = "/x" }), -ECANCELED);
                world_close(&w);
                for (unsigned i = 0; i < 7; i++)
                        ck_assert_uint_eq(w.seen[i].n_done, 1);
                ck_assert_uint_eq(w.seen[7].n_done, 0);
        }
}
END_TEST

static struct world *closer;

static void on_done_close(void *ctx, const struct kube_response *res)
{
        on_done(ctx, res);
        kube_close(closer->k, on_closed, &closer->n_closed);
}

START_TEST(close_from_a_callback)
{
        struct world w = { .status = 0 };
        const struct kube_call call = {
                .method = "GET", .path = "/x", .on_done = on_done_close, .ctx = &w.seen[0]
        };

        closer = &w;
        world_open(&w, answer, NULL);
        ck_assert_int_eq(kube_send(w.k, NULL, &call), 0);
        get(&w, 1, "/x");
        wait_done(&w, 0);
        world_close(&w);
        ck_assert_uint_eq(w.seen[1].n_done, 1);
}
END_TEST

static char *fault_strdup(const char *text)
{
        char *p = fault_malloc(strlen(text) + 1);

        return p ? memcpy(p, text, strlen(text) + 1) : NULL;
}

/* Our allocations and curl's, one after the other: making a client. */
START_TEST(any_allocation_of_new_may_fail)
{
        const struct kube_conf conf = { .server = (char[]){ "https://127.0.0.1:1" },
                .token = (char[]){ "x" },
                .tls_server_name = (char[]){ "kubernetes" } };

        ck_assert_int_eq(curl_global_init_mem(CURL_GLOBAL_DEFAULT, fault_malloc, free, fault_realloc,
                                 fault_strdup, fault_calloc),
                0);
        for (unsigned n = 0;; n++) {
                struct kube *k = NULL;
                unsigned closed = 0;
                struct err e;
                uv_loop_t loop;
                int r;

                ck_assert_int_eq(uv_loop_init(&loop), 0);
                fault_arm(n);
                r = kube_new(&k, &loop, &conf, NULL, NULL, &e);
                if (!fault_disarm()) {
                        ck_assert_int_eq(r, 0);
                        kube_close(k, on_closed, &closed);
                        fake_finish(&loop);
                        ck_assert_uint_eq(closed, 1);
                        return;
                }
                if (r == 0) { /* curl did without */
                        kube_close(k, on_closed, &closed);
                } else {
                        ck_assert_int_eq(r, -ENOMEM);
                        ck_assert_ptr_null(k);
                }
                fake_finish(&loop);
        }
}
END_TEST

/* The same for the whole life of two requests. Whatever fails, each is told once, and the next one works. */
START_TEST(any_allocation_of_a_request_may_fail)
{
        unsigned n_failed = 0;

        ck_assert_int_eq(curl_global_init_mem(CURL_GLOBAL_DEFAULT, fault_malloc, free, fault_realloc,
                                 fault_strdup, fault_calloc),
                0);
        for (unsigned n = 0;; n++) {
                const struct kube_limits limits = { .request_ms = 2000, .silence_ms = 300 };
                const struct kube_call call = { .method = "PATCH",
                        .path = "/p",
                        .content_type = KUBE_MERGE_PATCH,
                        .body = "{}",
                        .body_len = 2 };
                struct world w = { .status = 0 };
                bool hit;
                int r;

                world_open(&w, answer, &limits);
                w.body = "{\"a\":1}";
                fault_arm(n);
                r = send_call(&w, 0, call);
                if (r == 0)
                        (void)fake_run_until(&w.loop, is_done, &w.seen[0]);
                hit = fault_disarm();
                ck_assert_uint_eq(w.seen[0].n_done, r == 0);
                ck_assert(r == 0 || r == -ENOMEM);
                n_failed += r < 0 || w.seen[0].code < 0;
                if (!hit)
                        ck_assert_int_eq(w.seen[0].status, 200);
                get(&w, 1, "/next");
                wait_done(&w, 1);
                ck_assert_msg(w.seen[1].status == 200, "after %u: %d %s", n, w.seen[1].code,
                        buf_str(&w.seen[1].error));
                world_close(&w);
                if (!hit)
                        break;
        }
        ck_assert_uint_ge(n_failed, 20);
}
END_TEST
int main(void)
{
        Suite *s = suite_create("kube_life");
        TCase *tc = tcase_create("answers"), *queue = tcase_create("queue"), *fail = tcase_create("failures"),
              *stream = tcase_create("streams"), *token = tcase_create("tokens"), *end = tcase_create("ends"),
              *memory = tcase_create("memory");

        for (size_t i = 0; i < 7; i++)
                tcase_set_timeout((TCase *[]){ tc, queue, fail, stream, token, end, memory }[i], 60);
        suite_add_tcase(s, tc);
        suite_add_tcase(s, queue);
        suite_add_tcase(s, fail);
        tcase_add_test(stream, silence_is_noticed_and_healed);
        tcase_add_test(stream, a_quiet_but_living_server_is_kept);
        tcase_add_test(stream, nothing_open_nothing_asked);
        suite_add_tcase(s, stream);
        tcase_add_test(token, a_401_reads_the_token_again);
        tcase_add_test(token, a_401_with_the_same_token_is_told);
        tcase_add_test(token, a_401_is_tried_again_only_once);
        tcase_add_test(token, a_new_token_is_found_without_a_401);
        suite_add_tcase(s, token);
        tcase_add_test(end, cancel_at_any_time);
        tcase_add_test(end, close_at_any_time);
        tcase_add_test(end, close_from_a_callback);
        suite_add_tcase(s, end);
        tcase_add_test(memory, any_allocation_of_new_may_fail);
        tcase_add_test(memory, any_allocation_of_a_request_may_fail);
        suite_add_tcase(s, memory);
        return unit_main(s);
}
