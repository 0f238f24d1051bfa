/* SPDX-License-Identifier: Apache-2.0 */
/* A server and its clients in one thread on real loopback sockets: TLS, certificates, closing, and curl. */
#include "common/serve.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test/lib/client.h"
#include "test/lib/fault.h"
#include "test/lib/owner.h"
#include "test/lib/unit.h"

/* ---- TLS ---- */

START_TEST(serves_tls)
{
        struct client c;
        struct owner o;

        owner_start_tls(&o, (struct serve_conf){ 0 }, (struct serve_tls){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        ck_assert(client_handshake(&c, NULL));
        client_expect(&c, GET("/a"), 200, "GET /a? [-] ");
        client_expect(&c, "POST /v HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 200,
                "POST /v? [-] hello");
        owner_read_big(&o, &c, GET("/big"), 50);
        client_expect(&c, "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, NULL);
        client_wait_closed(&c);
        ck_assert_int_eq(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
        client_close(&c);
        owner_stop(&o);
}
END_TEST

static const struct {
        const char *name;
        struct serve_tls server;
        struct client_tls client;
        bool works;
} handshakes[] = {
        { "1.3 only, 1.3", { .min_version = TLS1_3_VERSION }, { 0 }, true },
        { "1.3 only, 1.2", { .min_version = TLS1_3_VERSION }, { .max_version = TLS1_2_VERSION }, false },
        { "1.2, 1.2", { .min_version = TLS1_2_VERSION }, { .max_version = TLS1_2_VERSION }, true },
        { "suite", { .min_version = TLS1_2_VERSION, .ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" },
                { .max_version = TLS1_2_VERSION, .ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" }, true },
        { "other suite", { .min_version = TLS1_2_VERSION, .ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384" },
                { .max_version = TLS1_2_VERSION, .ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" }, false },
        { "group", { .groups = "P-384" }, { 0 }, true },
        { "alpn http/1.1", { 0 }, { .alpn = "http/1.1" }, true },
        { "alpn h2", { 0 }, { .alpn = "h2" }, false },
};

START_TEST(shakes_hands)
{
        struct client c;
        struct owner o;

        owner_start_tls(&o, (struct serve_conf){ 0 }, handshakes[_i].server);
        client_open(&c, &o.loop, serve_port(o.s));
        ck_assert_msg(client_handshake(&c, &handshakes[_i].client) == handshakes[_i].works, "%s",
                handshakes[_i].name);
        if (handshakes[_i].works)
                client_expect(&c, GET("/a"), 200, NULL);
        else
                ck_assert(owner_dropped(&o, "tls") == 1);
        client_close(&c);
        owner_stop(&o);
}
END_TEST

static const struct {
        struct serve_tls tls;
        int want;
} bad_settings[] = {
        { { .ciphers = "NO-SUCH" }, -EINVAL },
        { { .groups = "NO-SUCH" }, -EINVAL },
        { { .min_version = 7 }, -EINVAL },
        { { .cert_pem = "x" }, ERR_MALFORMED },
        { { .cert_pem = "" }, ERR_MALFORMED },
        { { .key_pem = "x" }, ERR_MALFORMED },
        { { .key_pem = "other" }, ERR_CONFLICT },
};

START_TEST(refuses_settings)
{
        struct pair p = pair_new(), other = pair_new();
        struct serve_tls tls = bad_settings[_i].tls;
        struct serve_conf conf = { .address = "127.0.0.1", .tls = &tls, .on_request = owner_on_request };
        struct err e = { "" };
        struct serve *s;
        uv_loop_t loop;

        ck_assert_int_eq(uv_loop_init(&loop), 0);
        tls.cert_pem = tls.cert_pem ? tls.cert_pem : p.cert;
        tls.key_pem = tls.key_pem ? strcmp(tls.key_pem, "other") == 0 ? other.key : tls.key_pem : p.key;
        ck_assert_int_eq(serve_new(&s, &loop, &conf, &e), bad_settings[_i].want);
        ck_assert_str_ne(e.text, "");
        ck_assert_int_eq(uv_loop_close(&loop), 0);
        pair_free(&p);
        pair_free(&other);
}
END_TEST

START_TEST(plain_text_on_a_tls_port)
{
        struct client c;
        struct owner o;

        owner_start_tls(&o, (struct serve_conf){ .request_ms = 1000 }, (struct serve_tls){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        client_say(&c, GET("/a"));
        client_wait_closed(&c);
        ck_assert_uint_eq(o.n_requests, 0);
        client_close(&c);
        client_open(&c, &o.loop, serve_port(o.s)); /* and one that says nothing */
        client_wait_closed(&c);
        client_close(&c);
        ck_assert(owner_dropped(&o, "tls") == 1);
        ck_assert(owner_dropped(&o, "timeout") == 1);
        owner_stop(&o);
}
END_TEST

static void write_file(const char *dir, const char *name, const char *text)
{
        char path[300], temporary[300];
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        (void)snprintf(temporary, sizeof(temporary), "%s/new", dir);
        f = fopen(temporary, "w");
        ck_assert_ptr_nonnull(f);
        ck_assert_int_ge(fputs(text, f), 0);
        ck_assert_int_eq(fclose(f), 0);
        ck_assert_int_eq(rename(temporary, path), 0);
}

/* A handshake with a fresh connection shows the certificate @cert. */
static bool shows(struct owner *o, const char *cert)
{
        struct client c;
        bool same = false;

        client_open(&c, &o->loop, serve_port(o->s));
        if (client_handshake(&c, NULL)) {
                X509 *peer = SSL_get1_peer_certificate(c.ssl);
                BIO *bio = BIO_new(BIO_s_mem());
                char *text;
                long n;

                ck_assert_int_eq(PEM_write_bio_X509(bio, peer), 1);
                n = BIO_get_mem_data(bio, &text);
                same = (size_t)n == strlen(cert) && memcmp(text, cert, (size_t)n) == 0;
                BIO_free(bio);
                X509_free(peer);
        }
        client_close(&c);
        return same;
}

static bool reads_changed(void *ctx)
{
        struct owner *o = ctx;

        return owner_counted(o, "certwatcher_read_certificate_total", NULL, NULL) +
                owner_counted(o, "certwatcher_read_certificate_errors_total", NULL, NULL) >
                o->n_gone;
}

START_TEST(reloads_certificates)
{
        struct pair first = pair_new(), second = pair_new();
        char dir[] = "/tmp/check-serve-XXXXXX", cert[64], key[64];
        struct serve_tls tls = { .cert_file = cert, .key_file = key };
        struct client old;
        struct owner o;

        ck_assert_ptr_nonnull(mkdtemp(dir));
        (void)snprintf(cert, sizeof(cert), "%s/tls.crt", dir);
        (void)snprintf(key, sizeof(key), "%s/tls.key", dir);
        owner_start(&o, (struct serve_conf){ .tls = &tls });
        ck_assert(!shows(&o, first.cert)); /* not there yet: refused */
        ck_assert(owner_dropped(&o, "refused") == 1);
        write_file(dir, "tls.key", first.key);
        write_file(dir, "tls.crt", first.cert);
        o.n_gone = 0; /* what reads_changed() compares with */
        client_run_until(&o.loop, reads_changed, &o);
        ck_assert(shows(&o, first.cert));
        client_open(&old, &o.loop, serve_port(o.s));
        ck_assert(client_handshake(&old, NULL));
        client_expect(&old, GET("/a"), 200, NULL);

        write_file(dir, "tls.crt", second.cert); /* half a change: refused, the old pair stays */
        o.n_gone = 1;
        client_run_until(&o.loop, reads_changed, &o);
        ck_assert(owner_counted(&o, "certwatcher_read_certificate_errors_total", NULL, NULL) == 1);
        ck_assert(shows(&o, first.cert));
        write_file(dir, "tls.key", second.key);
        o.n_gone = 2;
        client_run_until(&o.loop, reads_changed, &o);
        ck_assert(shows(&o, second.cert));
        client_expect(&old, GET("/a"), 200, NULL); /* not dropped */
        o.n_gone = 0;

        client_close(&old);
        owner_stop(&o);
        (void)unlink(cert);
        (void)unlink(key);
        ck_assert_int_eq(rmdir(dir), 0);
        pair_free(&first);
        pair_free(&second);
}
END_TEST

START_TEST(takes_other_certificates)
{
        struct pair second = pair_new();
        struct serve_tls tls = { .cert_pem = second.cert, .key_pem = "nonsense" };
        struct err e = { "" };
        struct owner o;

        owner_start_tls(&o, (struct serve_conf){ 0 }, (struct serve_tls){ 0 });
        ck_assert_int_eq(serve_set_tls(o.s, &tls, &e), ERR_MALFORMED);
        ck_assert(!shows(&o, second.cert));
        tls.key_pem = second.key;
        ck_assert_int_eq(serve_set_tls(o.s, &tls, &e), 0);
        ck_assert(shows(&o, second.cert));
        owner_stop(&o);
        pair_free(&second);
}
END_TEST

/* ---- life ---- */

/* Clients in every state; the server is closed after _i turns of the loop. */
static void close_at_step(unsigned step, bool tls)
{
        static const char *const say[] = { "", "GET / HT", GET("/a"), GET("/big"), GET("/never"),
                "POST /v HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe",
                "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "\r\rnonsense\r\n\r\n" };
        struct client c[ARRAY_LEN(say)];
        struct owner o;

        if (tls)
                owner_start_tls(&o, (struct serve_conf){ 0 }, (struct serve_tls){ 0 });
        else
                owner_start(&o, (struct serve_conf){ 0 });
        for (size_t i = 0; i < ARRAY_LEN(c); i++) {
                client_open(&c[i], &o.loop, serve_port(o.s));
                if (tls && step > 8)
                        ck_assert(client_handshake(&c[i], NULL));
                client_say(&c[i], say[i]);
        }
        for (unsigned i = 0; i < step; i++)
                (void)uv_run(&o.loop, UV_RUN_NOWAIT);
        owner_stop(&o);
        for (size_t i = 0; i < ARRAY_LEN(c); i++)
                client_close(&c[i]);
}

START_TEST(closes_at_any_step)
{
        close_at_step((unsigned)_i, false);
        close_at_step((unsigned)_i, true);
}
END_TEST

START_TEST(closes_inside_a_request)
{
        static const char *const paths[] = { GET("/a"), GET("/big"), GET("/never"), GET("/a") GET("/a") };
        struct client c;
        struct owner o;

        owner_start(&o, (struct serve_conf){ 0 });
        o.close_in_request = true;
        client_open(&c, &o.loop, serve_port(o.s));
        client_say(&c, paths[_i]);
        client_wait_closed(&c);
        (void)uv_run(&o.loop, UV_RUN_DEFAULT);
        ck_assert_uint_eq(o.n_closed, 1);
        ck_assert_uint_eq(o.n_requests, 1);
        ck_assert_uint_eq(o.n_gone, _i == 2);
        ck_assert_int_eq(uv_loop_close(&o.loop), 0);
        metrics_free(o.reg);
        free(o.big);
        client_close(&c);
}
END_TEST

START_TEST(answer_after_close)
{
        struct client c;
        struct owner o;

        owner_start(&o, (struct serve_conf){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        client_say(&c, GET("/later"));
        client_run_until(&o.loop, owner_one_waits, &o);
        serve_close(o.s, owner_on_closed, &o);
        serve_close(o.s, owner_on_closed, &o); /* idempotent */
        owner_answer(&o); /* before anyone said that it is gone */
        (void)uv_run(&o.loop, UV_RUN_DEFAULT);
        ck_assert_uint_eq(o.n_gone, 0);
        ck_assert_uint_eq(o.n_closed, 1);
        ck_assert_int_eq(uv_loop_close(&o.loop), 0);
        metrics_free(o.reg);
        free(o.big);
        client_close(&c);
}
END_TEST

START_TEST(starts_without_memory)
{
        struct pair p = pair_new();
        struct serve_tls tls = { .cert_pem = p.cert, .key_pem = p.key };
        struct serve_conf conf = {
                .address = "127.0.0.1", .tls = _i ? &tls : NULL, .on_request = owner_on_request
        };
        struct owner o = { 0 };
        unsigned n;

        ck_assert_int_eq(uv_loop_init(&o.loop), 0);
        for (n = 0;; n++) {
                struct serve *s = NULL;
                struct err e;
                int r;

                fault_arm(n);
                r = serve_new(&s, &o.loop, &conf, &e);
                if (!fault_disarm()) {
                        ck_assert_int_eq(r, 0);
                        serve_close(s, owner_on_closed, &o);
                        break;
                }
                ck_assert_int_eq(r, -ENOMEM);
        }
        ck_assert_uint_ge(n, _i ? 4 : 1);
        (void)uv_run(&o.loop, UV_RUN_DEFAULT);
        ck_assert_int_eq(uv_loop_close(&o.loop), 0);
        pair_free(&p);
}
END_TEST

/* An exchange in which the n-th allocation fails ends with the answer or the end of that connection, never worse. */
START_TEST(exchanges_without_memory)
{
        struct owner o;
        bool failed = true;

        owner_start(&o, (struct serve_conf){ 0 });
        for (unsigned n = 0; failed; n++) {
                CLEANUP(freep) char *got = NULL;
                struct client c;

                client_open(&c, &o.loop, serve_port(o.s));
                client_say(&c,
                        "POST /v HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\n\r\n");
                fault_arm(n);
                for (int i = 0; i < 50; i++)
                        (void)uv_run(&o.loop, UV_RUN_NOWAIT);
                failed = fault_disarm();
                got = client_response(&c, false);
                ck_assert(failed || got);
                client_close(&c);
        }
        owner_stop(&o);
}
END_TEST

/* ---- a real client as second opinion ---- */

struct curl_run {
        uint16_t port;
        bool tls, done;
        uv_async_t wake;
        long status[3];
        char text[3][64];
};

static size_t keep(char *p, size_t size, size_t n, void *ctx)
{
        char *text = ctx;

        (void)snprintf(text + strlen(text), 64 - strlen(text), "%.*s", (int)(size * n), p);
        return size * n;
}

static size_t upload(char *p, size_t size UNUSED, size_t n UNUSED, void *ctx)
{
        unsigned *sent = ctx;

        memcpy(p, "abc", 3);
        return (*sent)++ < 3 ? 3 : 0;
}

static void *curl_thread(void *ctx)
{
        struct curl_slist *headers = curl_slist_append(NULL, "Transfer-Encoding: chunked");
        struct curl_run *run = ctx;
        CURL *curl = curl_easy_init();
        unsigned sent = 0;
        char url[64];

        headers = curl_slist_append(headers, "Expect: 100-continue");
        (void)snprintf(url, sizeof(url), "%s://127.0.0.1:%u/c", run->tls ? "https" : "http", run->port);
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2_0); /* asks h2c where plain */
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
        for (int i = 0; i < 3; i++) {
                if (i == 1)
                        curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, "tok");
                if (i == 1)
                        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
                if (i == 2) {
                        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
                        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
                        curl_easy_setopt(curl, CURLOPT_READFUNCTION, upload);
                        curl_easy_setopt(curl, CURLOPT_READDATA, &sent);
                }
                curl_easy_setopt(curl, CURLOPT_WRITEDATA, run->text[i]);
                if (curl_easy_perform(curl) == CURLE_OK)
                        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &run->status[i]);
        }
        curl_slist_free_all(headers);
        curl_easy_cleanup(curl);
        (void)uv_async_send(&run->wake);
        return NULL;
}

static void on_wake(uv_async_t *a)
{
        struct curl_run *run = container_of(a, struct curl_run, wake);

        run->done = true;
        uv_close((uv_handle_t *)a, NULL);
}

static bool curl_done(void *ctx)
{
        return ((struct curl_run *)ctx)->done;
}

START_TEST(curl_agrees)
{
        struct curl_run run = { .tls = _i == 1 };
        pthread_t thread;
        struct owner o;

        if (run.tls)
                owner_start_tls(
                        &o, (struct serve_conf){ 0 }, (struct serve_tls){ .min_version = TLS1_3_VERSION });
        else
                owner_start(&o, (struct serve_conf){ 0 });
        run.port = serve_port(o.s);
        ck_assert_int_eq(curl_global_init(CURL_GLOBAL_DEFAULT), 0);
        ck_assert_int_eq(uv_async_init(&o.loop, &run.wake, on_wake), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, curl_thread, &run), 0);
        client_run_until(&o.loop, curl_done, &run);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(run.status[i], 200);
        ck_assert_str_eq(run.text[0], "GET /c? [-] ");
        ck_assert_str_eq(run.text[1], "GET /c? [tok] ");
        ck_assert_str_eq(run.text[2], "PUT /c? [tok] abcabcabc");
        owner_stop(&o);
        curl_global_cleanup();
}
END_TEST

int main(void)
{
        Suite *s = suite_create("serve_tls");
        TCase *tls = tcase_create("tls"), *life = tcase_create("life");

        tcase_set_timeout(tls, 120);
        tcase_set_timeout(life, 120);
        tcase_add_test(tls, serves_tls);
        tcase_add_loop_test(tls, shakes_hands, 0, (int)ARRAY_LEN(handshakes));
        tcase_add_loop_test(tls, refuses_settings, 0, (int)ARRAY_LEN(bad_settings));
        tcase_add_test(tls, plain_text_on_a_tls_port);
        tcase_add_test(tls, reloads_certificates);
        tcase_add_test(tls, takes_other_certificates);
        tcase_add_loop_test(life, closes_at_any_step, 0, 20);
        tcase_add_loop_test(life, closes_inside_a_request, 0, 4);
        tcase_add_test(life, answer_after_close);
        tcase_add_loop_test(life, starts_without_memory, 0, 2);
        tcase_add_test(life, exchanges_without_memory);
        tcase_add_loop_test(life, curl_agrees, 0, 2);
        suite_add_tcase(s, tls);
        suite_add_tcase(s, life);
        return unit_main(s);
}
