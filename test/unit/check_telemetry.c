/* SPDX-License-Identifier: Apache-2.0 */
#include "common/telemetry.h"

#include <errno.h>
#include <math.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/procstat.h"
#include "common/tlsctx.h"
#include "test/lib/client.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define GET(path)         "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define SCRAPE(token)     "GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " token "\r\n\r\n"
#define KNOWN             "{\"status\":{\"authenticated\":true,\"user\":{\"username\":\"prom\"}}}"
#define UNKNOWN           "{\"status\":{}}"
#define MAY               "{\"status\":{\"allowed\":true}}"
#define MAY_NOT           "{\"status\":{\"allowed\":false}}"
#define VERBOSE_OK(name)  "[+]" name " ok\n" name " check passed\n"
#define VERBOSE_BAD(name) "[-]" name " failed: lists are not there\n" name " check failed\n"

struct owner {
        uv_loop_t loop;
        struct metrics *reg;
        struct telemetry *t;
        struct tlsopt tls;
        bool alive, ready, no_reason;
        unsigned n_scrapes, n_closed, n_sent;
        struct { /* open reviews */
                void (*on_done)(void *ctx, const struct kube_response *res);
                void *ctx;
        } open[8];
        unsigned n_open;
};

static bool is_alive(void *ctx, struct buf *why)
{
        struct owner *o = ctx;

        if (!o->alive)
                buf_adds(why, "stuck");
        return o->alive;
}

static bool is_ready(void *ctx, struct buf *why)
{
        struct owner *o = ctx;

        if (!o->ready && !o->no_reason)
                buf_adds(why, "lists are not there");
        return o->ready;
}

static void on_scrape(void *ctx)
{
        ((struct owner *)ctx)->n_scrapes++;
}

static int fake_send(void *ctx, struct kube_request **ret UNUSED, const struct kube_call *call)
{
        struct owner *o = ctx;

        o->open[o->n_open].on_done = call->on_done;
        o->open[o->n_open++].ctx = call->ctx;
        o->n_sent++;
        return 0;
}

/* The oldest open review gets an answer. */
static void review(struct owner *o, int code, const char *body)
{
        const struct kube_response res = {
                .code = code, .status = code ? 0 : 201, .body = body, .len = strlen(body), .error = ""
        };
        void *ctx = o->open[0].ctx;
        void (*on_done)(void *, const struct kube_response *) = o->open[0].on_done;

        ck_assert_uint_gt(o->n_open, 0);
        memmove(o->open, o->open + 1, --o->n_open * sizeof(o->open[0]));
        on_done(ctx, &res);
}

static void on_closed(void *ctx)
{
        struct owner *o = ctx;

        o->n_closed++;
        o->t = NULL;
}

static struct telemetry_conf conf_of(struct owner *o)
{
        return (struct telemetry_conf){ .health_address = "127.0.0.1",
                .health_port = TELEMETRY_ANY_PORT,
                .metrics_port = TELEMETRY_ANY_PORT,
                .tls = &o->tls,
                .is_alive = is_alive,
                .is_ready = is_ready,
                .on_scrape = on_scrape,
                .ctx = o,
                .send = fake_send,
                .send_ctx = o,
                .reg = o->reg };
}

static void prepare(struct owner *o)
{
        memset(o, 0, sizeof(*o));
        o->alive = o->ready = true;
        ck_assert_int_eq(log_set_level("none"), 0);
        ck_assert_int_eq(uv_loop_init(&o->loop), 0);
        ck_assert_int_eq(metrics_new(&o->reg), 0);
        ck_assert_int_eq(tlsopt_parse(&o->tls, "", "", "", NULL), 0);
}

static void start(struct owner *o, bool plain)
{
        struct telemetry_conf conf;
        struct err e = { "" };

        prepare(o);
        conf = conf_of(o);
        conf.metrics_plain = plain;
        ck_assert_msg(telemetry_new(&o->t, &o->loop, &conf, &e) == 0, "%s", e.text);
}

static void finish(struct owner *o)
{
        (void)uv_run(&o->loop, UV_RUN_DEFAULT);
        ck_assert_int_eq(uv_loop_close(&o->loop), 0);
        metrics_free(o->reg);
        tlsopt_fini(&o->tls);
}

static void stop(struct owner *o)
{
        telemetry_close(o->t, on_closed, o);
        telemetry_close(o->t, on_closed, o);
        ck_assert_uint_eq(o->n_closed, 0);
        (void)uv_run(&o->loop, UV_RUN_DEFAULT);
        ck_assert_uint_eq(o->n_closed, 1);
        while (o->n_open > 0) /* the client completes what it sent when it closes, after us */
                review(o, -ECANCELED, "");
        finish(o);
}

/* ---- health ---- */

static const struct {
        const char *text;
        bool alive, ready;
        int status;
        const char *body;
} probes[] = {
        { GET("/healthz"), true, false, 200, "ok" },
        { GET("/readyz"), false, true, 200, "ok" },
        { GET("/healthz/healthz"), true, true, 200, "ok" },
        { GET("/readyz/readyz"), true, true, 200, "ok" },
        { GET("/healthz"), false, true, 503, "stuck" },
        { GET("/readyz"), true, false, 503, "lists are not there" },
        { GET("/healthz?verbose"), true, true, 200, VERBOSE_OK("healthz") },
        { GET("/readyz?a=b&verbose=true"), true, true, 200, VERBOSE_OK("readyz") },
        { GET("/readyz/readyz?verbose"), true, false, 503, VERBOSE_BAD("readyz") },
        { GET("/readyz?verbosely&xverbose&"), true, true, 200, "ok" },
        { "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", true, true, 200, "" },
        { "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", true, true, 405, "only GET\n" },
        { GET("/"), true, true, 404, "404 page not found\n" },
        { GET("/healthz/"), true, true, 404, NULL },
        { GET("/metrics"), true, true, 404, NULL },
};

START_TEST(answers_probes)
{
        struct client c;
        struct owner o;

        start(&o, true);
        o.alive = probes[_i].alive;
        o.ready = probes[_i].ready;
        client_open(&c, &o.loop, telemetry_health_port(o.t));
        client_expect(&c, probes[_i].text, probes[_i].status, probes[_i].body);
        client_close(&c);
        stop(&o);
}
END_TEST

START_TEST(no_checks_and_no_reasons)
{
        struct telemetry_conf conf;
        struct client c;
        struct owner o;

        start(&o, true);
        o.ready = false;
        o.no_reason = true;
        client_open(&c, &o.loop, telemetry_health_port(o.t));
        client_expect(&c, GET("/readyz"), 503, "not yet");
        client_close(&c);
        stop(&o);
        prepare(&o);
        conf = conf_of(&o);
        conf.is_alive = conf.is_ready = NULL;
        conf.metrics_port = 0;
        ck_assert_int_eq(telemetry_new(&o.t, &o.loop, &conf, NULL), 0);
        ck_assert_uint_eq(telemetry_metrics_port(o.t), 0);
        client_open(&c, &o.loop, telemetry_health_port(o.t));
        client_expect(&c, GET("/healthz"), 200, "ok");
        client_expect(&c, GET("/readyz"), 200, "ok");
        client_close(&c);
        stop(&o);
}
END_TEST

/* ---- metrics ---- */

START_TEST(plain_metrics_for_everybody)
{
        CLEANUP(freep) char *got = NULL;
        struct client c;
        struct owner o;

        start(&o, true);
        series_set(
                metrics_series(metrics_family(o.reg, METRIC_GAUGE, "metallb_x", "X.", NULL, NULL, 0), NULL),
                7);
        client_open(&c, &o.loop, telemetry_metrics_port(o.t));
        client_say(&c, GET("/metrics"));
        got = client_response(&c, false);
        ck_assert_ptr_nonnull(strstr(got, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
        ck_assert_ptr_nonnull(strstr(got, "\n# HELP metallb_x X.\n# TYPE metallb_x gauge\nmetallb_x 7\n"));
        ck_assert_ptr_nonnull(strstr(got, "\nprocess_resident_memory_bytes "));
        ck_assert_uint_eq(o.n_scrapes, 1);
        ck_assert_uint_eq(o.n_sent, 0);
        client_expect(&c, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200, "");
        client_expect(&c, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, NULL);
        client_expect(&c, GET("/healthz"), 404, NULL);
        client_close(&c);
        stop(&o);
}
END_TEST

static bool one_open(void *ctx)
{
        return ((struct owner *)ctx)->n_open == 1;
}

static const struct {
        const char *name, *text, *token, *access;
        int status;
} scrapes[] = {
        { "no token", GET("/metrics"), NULL, NULL, 401 },
        { "basic", "GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDp5\r\n\r\n", NULL, NULL, 401 },
        { "other path", "GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\n", NULL, NULL, 404 },
        { "other method", "PUT /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", NULL, NULL, 405 },
        { "wrong token", SCRAPE("t"), UNKNOWN, NULL, 401 },
        { "no right", SCRAPE("t"), KNOWN, MAY_NOT, 403 },
        { "no answer", SCRAPE("t"), "", NULL, 500 },
        { "allowed", SCRAPE("t"), KNOWN, MAY, 200 },
};

START_TEST(checks_who_scrapes)
{
        struct client c;
        struct owner o;

        start(&o, false);
        client_open(&c, &o.loop, telemetry_metrics_port(o.t));
        ck_assert(client_handshake(&c, NULL));
        client_say(&c, scrapes[_i].text);
        if (scrapes[_i].token) {
                client_run_until(&o.loop, one_open, &o);
                review(&o, 0, scrapes[_i].token);
        }
        if (scrapes[_i].access) {
                client_run_until(&o.loop, one_open, &o);
                review(&o, 0, scrapes[_i].access);
        }
        client_expect(&c, "", scrapes[_i].status, NULL);
        if (scrapes[_i].status == 200) { /* remembered */
                client_expect(&c, SCRAPE("t"), 200, NULL);
                ck_assert_uint_eq(o.n_sent, 2);
        }
        ck_assert_uint_eq(o.n_scrapes, scrapes[_i].status == 200 ? 2 : 0);
        client_close(&c);
        stop(&o);
}
END_TEST

START_TEST(scraper_leaves)
{
        struct client c;
        struct owner o;

        start(&o, false);
        client_open(&c, &o.loop, telemetry_metrics_port(o.t));
        ck_assert(client_handshake(&c, NULL));
        client_say(&c, SCRAPE("t"));
        client_run_until(&o.loop, one_open, &o);
        client_close(&c);
        for (int i = 0; i < 100; i++)
                client_pump(&c);
        review(&o, 0, KNOWN);
        ck_assert_uint_eq(o.n_open, 0); /* nobody asks further */
        ck_assert_uint_eq(o.n_scrapes, 0);
        stop(&o);
}
END_TEST

START_TEST(needs_tls_1_3)
{
        struct client_tls old = { .max_version = TLS1_2_VERSION };
        struct client c;
        struct owner o;

        start(&o, false);
        client_open(&c, &o.loop, telemetry_metrics_port(o.t));
        ck_assert(!client_handshake(&c, &old));
        client_close(&c);
        stop(&o);
}
END_TEST

static void put(const char *dir, const char *name, const char *text)
{
        char path[300];
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        f = fopen(path, "w");
        ck_assert_ptr_nonnull(f);
        ck_assert_int_ge(fputs(text, f), 0);
        ck_assert_int_eq(fclose(f), 0);
}

START_TEST(uses_a_certificate_directory)
{
        char dir[] = "/tmp/check-telemetry-XXXXXX", path[64], *cert, *key;
        struct telemetry_conf conf;
        struct client c;
        struct owner o;
        X509 *peer, *want;
        BIO *bio;

        ck_assert_int_eq(tlsctx_self_signed(&cert, &key), 0);
        ck_assert_ptr_nonnull(mkdtemp(dir));
        put(dir, "tls.crt", cert);
        put(dir, "tls.key", key);
        prepare(&o);
        conf = conf_of(&o);
        conf.cert_dir = dir;
        ck_assert_int_eq(telemetry_new(&o.t, &o.loop, &conf, NULL), 0);
        client_open(&c, &o.loop, telemetry_metrics_port(o.t));
        ck_assert(client_handshake(&c, NULL));
        bio = BIO_new_mem_buf(cert, -1);
        want = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        peer = SSL_get1_peer_certificate(c.ssl);
        ck_assert_int_eq(X509_cmp(want, peer), 0);
        X509_free(want);
        X509_free(peer);
        BIO_free(bio);
        client_expect(&c, GET("/metrics"), 401, NULL);
        client_close(&c);
        stop(&o);
        for (int i = 0; i < 2; i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", dir, i ? "tls.key" : "tls.crt");
                (void)unlink(path);
        }
        ck_assert_int_eq(rmdir(dir), 0);
        free(cert);
        free(key);
}
END_TEST

START_TEST(process_metrics_are_sane)
{
        struct metrics *reg;
        struct procstat p;
        volatile double burn = 1;

        ck_assert_int_eq(metrics_new(&reg), 0);
        procstat_init(&p, reg);
        for (int i = 0; i < 20000000; i++)
                burn = burn + 1;
        procstat_update(&p);
        ck_assert(series_value(p.resident) > 1e6);
        ck_assert(series_value(p.virtual) >= series_value(p.resident));
        ck_assert(series_value(p.open_fds) >= 3 && series_value(p.open_fds) < 200);
        ck_assert(series_value(p.max_fds) >= series_value(p.open_fds));
        ck_assert(series_value(p.cpu) > 0 && series_value(p.cpu) < 120);
        ck_assert(fabs(series_value(p.start) - (double)time(NULL)) < 300);
        metrics_free(reg);
}
END_TEST

/* ---- life ---- */

START_TEST(closes_at_any_step)
{
        struct client probe, scraper;
        struct owner o;

        start(&o, _i % 2);
        client_open(&probe, &o.loop, telemetry_health_port(o.t));
        client_say(&probe, GET("/readyz") GET("/healthz"));
        client_open(&scraper, &o.loop, telemetry_metrics_port(o.t));
        if (_i % 2 == 0 && _i > 6)
                ck_assert(client_handshake(&scraper, NULL));
        client_say(&scraper, SCRAPE("t"));
        for (int i = 0; i < _i; i++)
                (void)uv_run(&o.loop, UV_RUN_NOWAIT);
        stop(&o);
        client_close(&probe);
        client_close(&scraper);
}
END_TEST

START_TEST(closes_without_servers)
{
        struct telemetry_conf conf;
        struct owner o;

        prepare(&o);
        conf = conf_of(&o);
        conf.health_port = conf.metrics_port = 0;
        ck_assert_int_eq(telemetry_new(&o.t, &o.loop, &conf, NULL), 0);
        stop(&o);
}
END_TEST

START_TEST(says_what_failed)
{
        struct telemetry_conf conf;
        struct telemetry *second;
        struct err e = { "" };
        struct owner o;
        char want[100];

        start(&o, true);
        conf = conf_of(&o);
        conf.metrics_plain = true;
        conf.metrics_port = telemetry_metrics_port(o.t);
        ck_assert_int_eq(telemetry_new(&second, &o.loop, &conf, &e), -EADDRINUSE);
        (void)snprintf(want, sizeof(want),
                "metrics: listen on all addresses, port %d: Address already in use", conf.metrics_port);
        ck_assert_str_eq(e.text, want);
        conf.metrics_port = TELEMETRY_ANY_PORT;
        conf.health_port = telemetry_health_port(o.t);
        ck_assert_int_eq(telemetry_new(&second, &o.loop, &conf, &e), -EADDRINUSE);
        ck_assert_int_eq(strncmp(e.text, "health probes: listen on 127.0.0.1 port ", 40), 0);
        stop(&o);
}
END_TEST

START_TEST(starts_without_memory)
{
        unsigned n;

        for (n = 0;; n++) {
                struct telemetry_conf conf;
                struct owner o;
                bool failed;
                int r;

                prepare(&o);
                conf = conf_of(&o);
                fault_arm(n);
                r = telemetry_new(&o.t, &o.loop, &conf, NULL);
                failed = fault_disarm();
                ck_assert(r == 0 || (failed && r == -ENOMEM));
                if (r == 0) {
                        stop(&o); /* metrics that could not be registered are left out */
                        if (!failed)
                                break;
                } else {
                        finish(&o);
                }
        }
        ck_assert_uint_ge(n, 10);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("telemetry");
        TCase *tc = tcase_create("pages"), *life = tcase_create("life");

        tcase_set_timeout(tc, 60);
        tcase_set_timeout(life, 120);
        tcase_add_loop_test(tc, answers_probes, 0, (int)ARRAY_LEN(probes));
        tcase_add_test(tc, no_checks_and_no_reasons);
        tcase_add_test(tc, plain_metrics_for_everybody);
        tcase_add_loop_test(tc, checks_who_scrapes, 0, (int)ARRAY_LEN(scrapes));
        tcase_add_test(tc, scraper_leaves);
        tcase_add_test(tc, needs_tls_1_3);
        tcase_add_test(tc, uses_a_certificate_directory);
        tcase_add_test(tc, process_metrics_are_sane);
        tcase_add_loop_test(life, closes_at_any_step, 0, 20);
        tcase_add_test(life, closes_without_servers);
        tcase_add_test(life, says_what_failed);
        tcase_add_test(life, starts_without_memory);
        suite_add_tcase(s, tc);
        suite_add_tcase(s, life);
        return unit_main(s);
}
