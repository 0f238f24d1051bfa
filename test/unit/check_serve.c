/* SPDX-License-Identifier: Apache-2.0 */
/* A server and its clients in one thread on real loopback sockets. */
#include "common/serve.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/tlsctx.h"
#include "test/lib/client.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define BIG       ((size_t)1024 * 1024)

/* The owner: answers with what it was asked; "/big" with a megabyte, "/later" when told, "/never" not at all. */
struct owner {
        uv_loop_t loop;
        struct serve *s;
        struct metrics *reg;
        struct serve_request *waiting[64];
        unsigned n_waiting, n_requests, n_gone, n_closed;
        bool close_in_request, close_in_gone;
        char *big;
};

/* In callbacks: check's own assertions allocate, which would use up injected failures. */
static void require(bool what)
{
        if (!what)
                abort();
}

static void on_closed(void *ctx)
{
        struct owner *o = ctx;

        o->n_closed++;
        o->s = NULL;
}

static void forget(struct owner *o, struct serve_request *r)
{
        for (unsigned i = 0; i < o->n_waiting; i++) {
                if (o->waiting[i] == r) {
                        o->waiting[i] = o->waiting[--o->n_waiting];
                        return;
                }
        }
        require(false); /* gone without having been asked */
}

static void on_request(void *ctx, struct serve_request *r)
{
        CLEANUP(buf_fini) struct buf text = BUF_INIT;
        struct owner *o = ctx;
        const char *body;
        size_t len;

        o->n_requests++;
        require(serve_user(r) == NULL);
        serve_set_user(r, o);
        if (o->close_in_request)
                serve_close(o->s, on_closed, o);
        if (strcmp(serve_path(r), "/later") == 0 || strcmp(serve_path(r), "/never") == 0) {
                require(o->n_waiting < ARRAY_LEN(o->waiting));
                o->waiting[o->n_waiting++] = r;
                return;
        }
        if (strcmp(serve_path(r), "/big") == 0) {
                serve_reply(r, 200, "text/plain", o->big, BIG);
                return;
        }
        body = serve_body(r, &len);
        buf_addf(&text, "%s %s?%s [%s] ", serve_method(r), serve_path(r), serve_query(r),
                serve_bearer(r) ? serve_bearer(r) : "-");
        buf_add(&text, body, len);
        serve_reply(r, 200, "text/plain", text.p, text.len);
}

static void on_gone(void *ctx, struct serve_request *r)
{
        struct owner *o = ctx;

        require(serve_user(r) == o);
        o->n_gone++;
        forget(o, r);
        if (o->close_in_gone)
                serve_close(o->s, on_closed, o);
}

static void answer_waiting(struct owner *o)
{
        while (o->n_waiting > 0) {
                struct serve_request *r = o->waiting[--o->n_waiting];

                serve_reply(r, 200, "text/plain", "at last", 7);
        }
}

static void start(struct owner *o, struct serve_conf conf)
{
        struct err e = { "" };

        memset(o, 0, sizeof(*o));
        log_set_fd(2);
        ck_assert_int_eq(log_set_level("none"), 0);
        ck_assert_int_eq(uv_loop_init(&o->loop), 0);
        ck_assert_int_eq(metrics_new(&o->reg), 0);
        o->big = malloc(BIG);
        ck_assert_ptr_nonnull(o->big);
        for (size_t i = 0; i < BIG; i++)
                o->big[i] = (char)('a' + i % 26);
        if (!conf.address)
                conf.address = "127.0.0.1";
        conf.on_request = on_request;
        conf.on_gone = on_gone;
        conf.ctx = o;
        conf.reg = o->reg;
        ck_assert_msg(serve_new(&o->s, &o->loop, &conf, &e) == 0, "%s", e.text);
        ck_assert_uint_gt(serve_port(o->s), 0);
}

static void stop(struct owner *o)
{
        if (o->s)
                serve_close(o->s, on_closed, o);
        ck_assert_uint_eq(o->n_closed, 0);
        (void)uv_run(&o->loop, UV_RUN_DEFAULT);
        ck_assert_uint_eq(o->n_closed, 1);
        ck_assert_uint_eq(o->n_waiting, 0);
        ck_assert_int_eq(uv_loop_close(&o->loop), 0);
        metrics_free(o->reg);
        free(o->big);
}

static double counted(struct owner *o, const char *family, const char *label, const char *value)
{
        const char *labels[] = { label, NULL };
        struct family *f = metrics_family(o->reg, METRIC_COUNTER, family, "", label ? labels : NULL, NULL, 0);

        return series_value(metrics_series(f, label ? (const char *const[]){ value, NULL } : NULL));
}

static double dropped(struct owner *o, const char *reason)
{
        return counted(o, "metallb_http_dropped_total", "reason", reason);
}

/* ---- what is asked and answered ---- */

static const struct {
        const char *name, *text;
        int status;
        const char *body;
        bool closes;
} exchanges[] = {
        { "get", GET("/a?b=c"), 200, "GET /a?b=c [-] ", false },
        { "bearer", "GET /m HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer tok\r\n\r\n", 200, "GET /m? [tok] ",
                false },
        { "close", "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, "GET /a? [-] ", true },
        { "1.0", "GET /a HTTP/1.0\r\n\r\n", 200, "GET /a? [-] ", true },
        { "head", "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n", 200, "", false },
        { "post", "POST /v HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 200, "POST /v? [-] hello",
                false },
        { "empty post", "POST /v HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 200, "POST /v? [-] ",
                false },
        { "chunked",
                "POST /v HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
                200, "POST /v? [-] hello", false },
        { "body at the limit", "POST /v HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n12345678", 200,
                "POST /v? [-] 12345678", false },
        { "body too big", "POST /v HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", 413,
                "413 Content Too Large\n", true },
        { "chunks too big", "POST /v HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n", 413,
                NULL, true },
        { "bad chunk", "POST /v HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400, NULL,
                true },
        { "no http", "\x16\x03\x01 hello\r\n\r\n", 400, "400 Bad Request\n", true },
        { "h2 preface", "PRI * HTTP/2.0\r\n\r\n", 501, NULL, true },
        { "upgrade ignored", "GET /a HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 200,
                "GET /a? [-] ", false },
};

START_TEST(exchanges_requests)
{
        struct client c;
        struct owner o;

        start(&o, (struct serve_conf){ .max_body = 8 });
        client_open(&c, &o.loop, serve_port(o.s));
        client_expect(&c, exchanges[_i].text, exchanges[_i].status, exchanges[_i].body);
        if (exchanges[_i].closes)
                client_wait_closed(&c);
        else
                client_expect(&c, GET("/again"), 200, "GET /again? [-] ");
        client_close(&c);
        stop(&o);
}
END_TEST

START_TEST(bytes_may_trickle)
{
        struct client c;
        struct owner o;

        start(&o, (struct serve_conf){ .max_body = 8 });
        client_open(&c, &o.loop, serve_port(o.s));
        for (const char *p = exchanges[_i].text; *p && !c.eof; p++) {
                client_send(&c, p, 1);
                client_pump(&c);
        }
        client_expect(&c, strncmp(exchanges[_i].text, "HEAD", 4) == 0 ? NULL : "", exchanges[_i].status,
                exchanges[_i].body);
        client_close(&c);
        stop(&o);
}
END_TEST

START_TEST(pipelines)
{
        CLEANUP(buf_fini) struct buf text = BUF_INIT;
        struct client c;
        struct owner o;

        start(&o, (struct serve_conf){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        for (int i = 0; i < 500; i++) /* more than one input buffer */
                buf_addf(&text, "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n%03d", i, i);
        client_send(&c, text.p, text.len);
        for (int i = 0; i < 500; i++) {
                char want[64];

                (void)snprintf(want, sizeof(want), "POST /%d? [-] %03d", i, i);
                client_expect(&c, "", 200, want);
        }
        client_close(&c);
        stop(&o);
}
END_TEST

START_TEST(waits_for_100_continue)
{
        CLEANUP(freep) char *go_on = NULL;
        struct client c;
        struct owner o;

        start(&o, (struct serve_conf){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        client_say(&c, "POST /v HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        go_on = client_response(&c, true);
        ck_assert_pstr_eq(go_on, "HTTP/1.1 100 Continue\r\n\r\n");
        client_expect(&c, "hello", 200, "POST /v? [-] hello");
        client_close(&c);
        stop(&o);
}
END_TEST

static const struct {
        size_t len; /* of the whole head */
        int status;
} head_sizes[] = { { 8192, 200 }, { 8193, 431 }, { 20000, 431 } };

START_TEST(bounds_heads)
{
        static const char first[] = "GET /a HTTP/1.1\r\nHost: x\r\nX: ";
        CLEANUP(buf_fini) struct buf text = BUF_INIT;
        struct client c;
        struct owner o;

        start(&o, (struct serve_conf){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        buf_adds(&text, first);
        while (text.len < head_sizes[_i].len - 4)
                buf_addc(&text, 'a');
        buf_adds(&text, "\r\n\r\n");
        client_expect(&c, text.p, head_sizes[_i].status, NULL);
        client_close(&c);
        stop(&o);
}
END_TEST

/* A large answer arrives whole although the reader takes little at a time. */
static void read_big(struct owner *o, struct client *c, const char *before, size_t step)
{
        CLEANUP(freep) char *got = NULL;
        int size = 65536;

        (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
        client_say(c, before);
        for (size_t i = 0; i < step; i++)
                (void)uv_run(&o->loop, UV_RUN_NOWAIT);
        got = client_response(c, false);
        ck_assert_ptr_nonnull(got);
        ck_assert_uint_eq(strlen(strstr(got, "\r\n\r\n") + 4), BIG);
        ck_assert(memcmp(strstr(got, "\r\n\r\n") + 4, o->big, BIG) == 0);
}

START_TEST(answers_a_megabyte)
{
        struct client c;
        struct owner o;

        start(&o, (struct serve_conf){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        read_big(&o, &c, GET("/big"), 50);
        read_big(&o, &c, GET("/big"), 0);
        client_close(&c);
        stop(&o);
}
END_TEST

/* ---- answers that come later ---- */

static bool one_waits(void *ctx)
{
        return ((struct owner *)ctx)->n_waiting == 1;
}

static bool one_is_gone(void *ctx)
{
        return ((struct owner *)ctx)->n_gone == 1;
}

START_TEST(answers_later)
{
        struct client c;
        struct owner o;

        start(&o, (struct serve_conf){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        client_say(&c, GET("/later") GET("/next"));
        client_run_until(&o.loop, one_waits, &o);
        for (int i = 0; i < 20; i++)
                client_pump(&c);
        ck_assert_uint_eq(o.n_requests, 1); /* answers keep their order: the next request waits */
        answer_waiting(&o);
        ck_assert_uint_eq(o.n_requests, 1); /* nothing is called back from inside the answer */
        client_expect(&c, "", 200, "at last");
        client_expect(&c, "", 200, "GET /next? [-] ");
        client_close(&c);
        ck_assert_uint_eq(o.n_gone, 0);
        stop(&o);
}
END_TEST

START_TEST(tells_that_the_client_left)
{
        struct client c;
        struct owner o;

        start(&o, (struct serve_conf){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        client_say(&c, GET("/never"));
        client_run_until(&o.loop, one_waits, &o);
        if (_i == 1) { /* a reset instead of an end */
                struct linger now = { .l_onoff = 1 };

                (void)setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        }
        client_close(&c);
        client_run_until(&o.loop, one_is_gone, &o);
        stop(&o);
        ck_assert_uint_eq(o.n_gone, 1);
}
END_TEST

START_TEST(gives_up_on_its_owner)
{
        struct client c;
        struct owner o;

        start(&o, (struct serve_conf){ .request_ms = 100 });
        o.close_in_gone = _i == 1;
        client_open(&c, &o.loop, serve_port(o.s));
        client_say(&c, GET("/never"));
        if (_i == 0) {
                client_expect(&c, "", 503, "no answer in time\n");
                ck_assert(dropped(&o, "timeout") == 1);
        }
        client_wait_closed(&c);
        ck_assert_uint_eq(o.n_gone, 1);
        client_close(&c);
        if (_i == 1) {
                (void)uv_run(&o.loop, UV_RUN_DEFAULT);
                ck_assert_uint_eq(o.n_closed, 1);
                ck_assert_int_eq(uv_loop_close(&o.loop), 0);
                metrics_free(o.reg);
                free(o.big);
                return;
        }
        stop(&o);
}
END_TEST

/* ---- bounds ---- */

START_TEST(a_thousand_idle_clients)
{
        static struct client idle[1000];
        struct client c;
        struct owner o;

        start(&o, (struct serve_conf){ .max_connections = 50 });
        for (size_t i = 0; i < ARRAY_LEN(idle); i++) {
                client_open(&idle[i], &o.loop, serve_port(o.s));
                if (i % 2)
                        client_say(&idle[i], "GET / HT");
                client_pump(&idle[i]);
        }
        client_open(&c, &o.loop, serve_port(o.s));
        client_expect(&c, GET("/a"), 200, "GET /a? [-] ");
        ck_assert(dropped(&o, "evicted") >= 1001 - 50);
        ck_assert(dropped(&o, "refused") == 0);
        /* The oldest went, the youngest are still there. */
        client_wait_closed(&idle[0]);
        client_expect(&idle[998], GET("/a"), 200, "GET /a? [-] ");
        client_expect(&c, GET("/a"), 200, "GET /a? [-] ");
        for (size_t i = 0; i < ARRAY_LEN(idle); i++)
                client_close(&idle[i]);
        client_close(&c);
        stop(&o);
}
END_TEST

START_TEST(used_connections_stay)
{
        struct client used, idle[10];
        struct owner o;

        start(&o, (struct serve_conf){ .max_connections = 4 });
        client_open(&used, &o.loop, serve_port(o.s));
        for (size_t i = 0; i < ARRAY_LEN(idle); i++) {
                client_expect(&used, GET("/a"), 200, NULL);
                client_open(&idle[i], &o.loop, serve_port(o.s));
                client_pump(&idle[i]);
        }
        client_expect(&used, GET("/a"), 200, NULL);
        client_wait_closed(&idle[0]);
        for (size_t i = 0; i < ARRAY_LEN(idle); i++)
                client_close(&idle[i]);
        client_close(&used);
        stop(&o);
}
END_TEST

static bool four_wait(void *ctx)
{
        return ((struct owner *)ctx)->n_waiting == 4;
}

START_TEST(busy_connections_stay)
{
        struct client busy[4], c;
        struct owner o;

        start(&o, (struct serve_conf){ .max_connections = 4 });
        for (size_t i = 0; i < ARRAY_LEN(busy); i++) {
                client_open(&busy[i], &o.loop, serve_port(o.s));
                client_say(&busy[i], GET("/later"));
        }
        client_run_until(&o.loop, four_wait, &o);
        client_open(&c, &o.loop, serve_port(o.s));
        client_wait_closed(&c);
        ck_assert(dropped(&o, "refused") == 1);
        client_close(&c);
        answer_waiting(&o);
        for (size_t i = 0; i < ARRAY_LEN(busy); i++)
                client_expect(&busy[i], "", 200, "at last");
        client_open(&c, &o.loop, serve_port(o.s));
        client_expect(&c, GET("/a"), 200, NULL);
        client_close(&c);
        for (size_t i = 0; i < ARRAY_LEN(busy); i++)
                client_close(&busy[i]);
        stop(&o);
}
END_TEST

/* Clients that trickle a head, that send nothing, and that never read: all end, while another is served. */
START_TEST(slow_clients_end)
{
        struct client slow[3], c;
        struct owner o;

        start(&o, (struct serve_conf){ .request_ms = 1000 });
        for (size_t i = 0; i < ARRAY_LEN(slow); i++)
                client_open(&slow[i], &o.loop, serve_port(o.s));
        client_say(&slow[2],
                GET("/big") GET("/big") GET("/big") GET("/big") GET("/big") GET("/big") GET("/big"));
        client_open(&c, &o.loop, serve_port(o.s));
        while (!slow[0].eof || !slow[1].eof) {
                client_say(&slow[0], "G");
                client_pump(&slow[0]);
                client_pump(&slow[1]);
                client_expect(&c, GET("/a"), 200, "GET /a? [-] ");
        }
        while (dropped(&o, "timeout") < 3)
                client_expect(&c, GET("/a"), 200, "GET /a? [-] ");
        for (size_t i = 0; i < ARRAY_LEN(slow); i++)
                client_close(&slow[i]);
        client_close(&c);
        stop(&o);
}
END_TEST

/* Never-reading clients fill the table; a newcomer takes the place of the oldest. */
START_TEST(readers_that_do_not_read_are_evicted)
{
        struct client slow[3], c;
        struct owner o;

        start(&o, (struct serve_conf){ .max_connections = 3 });
        for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
                int size = 4096;

                client_open(&slow[i], &o.loop, serve_port(o.s));
                (void)setsockopt(slow[i].fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
                client_say(&slow[i], GET("/big") GET("/big") GET("/big") GET("/big") GET("/big") GET("/big"));
        }
        for (int i = 0; i < 200; i++)
                (void)uv_run(&o.loop, UV_RUN_NOWAIT);
        client_open(&c, &o.loop, serve_port(o.s));
        client_expect(&c, GET("/a"), 200, "GET /a? [-] ");
        ck_assert(dropped(&o, "evicted") == 1);
        client_close(&c);
        for (size_t i = 0; i < ARRAY_LEN(slow); i++)
                client_close(&slow[i]);
        stop(&o);
}
END_TEST

static unsigned n_turns;

static void count_turn(uv_prepare_t *p UNUSED)
{
        n_turns++;
}

START_TEST(survives_without_file_descriptors)
{
        struct rlimit old, tight;
        struct client c[8];
        uv_prepare_t turns;
        struct owner o;

        start(&o, (struct serve_conf){ 0 });
        (void)uv_prepare_init(&o.loop, &turns);
        for (size_t i = 0; i < ARRAY_LEN(c); i++)
                client_open(&c[i], &o.loop, serve_port(o.s));
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
        tight = old;
        tight.rlim_cur = (rlim_t)c[7].fd + 3; /* two more connections */
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
        client_expect(&c[0], GET("/a"), 200, NULL);
        client_expect(&c[1], GET("/a"), 200, NULL);
        (void)uv_prepare_start(&turns, count_turn);
        for (uint64_t end = uv_hrtime() + 300000000; uv_hrtime() < end;)
                client_pump(&c[0]);
        ck_assert_uint_lt(n_turns, 10000); /* one a millisecond is the pump's own pace */
        n_turns = 0;
        (void)uv_run(&o.loop, UV_RUN_ONCE);
        ck_assert_uint_le(n_turns, 1);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
        for (size_t i = 0; i < ARRAY_LEN(c); i++)
                client_expect(&c[i], GET("/a"), 200, NULL);
        for (size_t i = 0; i < ARRAY_LEN(c); i++)
                client_close(&c[i]);
        uv_close((uv_handle_t *)&turns, NULL);
        stop(&o);
}
END_TEST

/* ---- addresses ---- */

static const struct {
        const char *address;
        int want;
        const char *words;
} addresses[] = {
        { "", 0, NULL },
        { "127.0.0.1", 0, NULL },
        { "0.0.0.0", 0, NULL },
        { "::1", 0, NULL },
        { "localhost", -EINVAL, "listen on \"localhost\": not an IP address" },
        { "192.0.2.1", -EADDRNOTAVAIL, "listen on 192.0.2.1 port 0: Cannot assign requested address" },
};

START_TEST(listens_on_addresses)
{
        struct serve_conf conf = { .address = addresses[_i].address, .on_request = on_request };
        struct serve *s = NULL;
        struct err e = { "" };
        struct owner o = { 0 };

        ck_assert_int_eq(uv_loop_init(&o.loop), 0);
        ck_assert_int_eq(serve_new(&s, &o.loop, &conf, &e), addresses[_i].want);
        if (s)
                serve_close(s, on_closed, &o);
        else
                ck_assert_str_eq(e.text, addresses[_i].words);
        (void)uv_run(&o.loop, UV_RUN_DEFAULT);
        ck_assert_int_eq(uv_loop_close(&o.loop), 0);
}
END_TEST

START_TEST(port_in_use)
{
        struct serve_conf conf = { .address = "127.0.0.1", .on_request = on_request };
        struct err e = { "" };
        struct serve *s = NULL;
        struct owner o;
        char want[80];

        start(&o, (struct serve_conf){ 0 });
        conf.port = serve_port(o.s);
        ck_assert_int_eq(serve_new(&s, &o.loop, &conf, &e), -EADDRINUSE);
        (void)snprintf(want, sizeof(want), "listen on 127.0.0.1 port %u: Address already in use", conf.port);
        ck_assert_str_eq(e.text, want);
        stop(&o);
}
END_TEST

/* ---- TLS ---- */

struct pair {
        char *cert, *key;
};

static struct pair new_pair(void)
{
        struct pair p;

        ck_assert_int_eq(tlsctx_self_signed(&p.cert, &p.key), 0);
        return p;
}

static void free_pair(struct pair *p)
{
        free(p->cert);
        free(p->key);
}

static void start_tls(struct owner *o, struct serve_conf conf, struct serve_tls tls)
{
        struct pair p = new_pair();

        tls.cert_pem = p.cert;
        tls.key_pem = p.key;
        conf.tls = &tls;
        start(o, conf);
        free_pair(&p);
}

START_TEST(serves_tls)
{
        struct client c;
        struct owner o;

        start_tls(&o, (struct serve_conf){ 0 }, (struct serve_tls){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        ck_assert(client_handshake(&c, NULL));
        client_expect(&c, GET("/a"), 200, "GET /a? [-] ");
        client_expect(&c, "POST /v HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 200,
                "POST /v? [-] hello");
        read_big(&o, &c, GET("/big"), 50);
        client_expect(&c, "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, NULL);
        client_wait_closed(&c);
        ck_assert_int_eq(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
        client_close(&c);
        stop(&o);
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

        start_tls(&o, (struct serve_conf){ 0 }, handshakes[_i].server);
        client_open(&c, &o.loop, serve_port(o.s));
        ck_assert_msg(client_handshake(&c, &handshakes[_i].client) == handshakes[_i].works, "%s",
                handshakes[_i].name);
        if (handshakes[_i].works)
                client_expect(&c, GET("/a"), 200, NULL);
        else
                ck_assert(dropped(&o, "tls") == 1);
        client_close(&c);
        stop(&o);
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
        struct pair p = new_pair(), other = new_pair();
        struct serve_tls tls = bad_settings[_i].tls;
        struct serve_conf conf = { .address = "127.0.0.1", .tls = &tls, .on_request = on_request };
        struct err e = { "" };
        struct serve *s;
        uv_loop_t loop;

        ck_assert_int_eq(uv_loop_init(&loop), 0);
        tls.cert_pem = tls.cert_pem ? tls.cert_pem : p.cert;
        tls.key_pem = tls.key_pem ? strcmp(tls.key_pem, "other") == 0 ? other.key : tls.key_pem : p.key;
        ck_assert_int_eq(serve_new(&s, &loop, &conf, &e), bad_settings[_i].want);
        ck_assert_str_ne(e.text, "");
        ck_assert_int_eq(uv_loop_close(&loop), 0);
        free_pair(&p);
        free_pair(&other);
}
END_TEST

START_TEST(plain_text_on_a_tls_port)
{
        struct client c;
        struct owner o;

        start_tls(&o, (struct serve_conf){ .request_ms = 1000 }, (struct serve_tls){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        client_say(&c, GET("/a"));
        client_wait_closed(&c);
        ck_assert_uint_eq(o.n_requests, 0);
        client_close(&c);
        client_open(&c, &o.loop, serve_port(o.s)); /* and one that says nothing */
        client_wait_closed(&c);
        client_close(&c);
        ck_assert(dropped(&o, "tls") == 1);
        ck_assert(dropped(&o, "timeout") == 1);
        stop(&o);
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

        return counted(o, "certwatcher_read_certificate_total", NULL, NULL) +
                counted(o, "certwatcher_read_certificate_errors_total", NULL, NULL) >
                o->n_gone;
}

START_TEST(reloads_certificates)
{
        struct pair first = new_pair(), second = new_pair();
        char dir[] = "/tmp/check-serve-XXXXXX", cert[64], key[64];
        struct serve_tls tls = { .cert_file = cert, .key_file = key };
        struct client old;
        struct owner o;

        ck_assert_ptr_nonnull(mkdtemp(dir));
        (void)snprintf(cert, sizeof(cert), "%s/tls.crt", dir);
        (void)snprintf(key, sizeof(key), "%s/tls.key", dir);
        start(&o, (struct serve_conf){ .tls = &tls });
        ck_assert(!shows(&o, first.cert)); /* not there yet: refused */
        ck_assert(dropped(&o, "refused") == 1);
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
        ck_assert(counted(&o, "certwatcher_read_certificate_errors_total", NULL, NULL) == 1);
        ck_assert(shows(&o, first.cert));
        write_file(dir, "tls.key", second.key);
        o.n_gone = 2;
        client_run_until(&o.loop, reads_changed, &o);
        ck_assert(shows(&o, second.cert));
        client_expect(&old, GET("/a"), 200, NULL); /* not dropped */
        o.n_gone = 0;

        client_close(&old);
        stop(&o);
        (void)unlink(cert);
        (void)unlink(key);
        ck_assert_int_eq(rmdir(dir), 0);
        free_pair(&first);
        free_pair(&second);
}
END_TEST

START_TEST(takes_other_certificates)
{
        struct pair second = new_pair();
        struct serve_tls tls = { .cert_pem = second.cert, .key_pem = "nonsense" };
        struct err e = { "" };
        struct owner o;

        start_tls(&o, (struct serve_conf){ 0 }, (struct serve_tls){ 0 });
        ck_assert_int_eq(serve_set_tls(o.s, &tls, &e), ERR_MALFORMED);
        ck_assert(!shows(&o, second.cert));
        tls.key_pem = second.key;
        ck_assert_int_eq(serve_set_tls(o.s, &tls, &e), 0);
        ck_assert(shows(&o, second.cert));
        stop(&o);
        free_pair(&second);
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
                start_tls(&o, (struct serve_conf){ 0 }, (struct serve_tls){ 0 });
        else
                start(&o, (struct serve_conf){ 0 });
        for (size_t i = 0; i < ARRAY_LEN(c); i++) {
                client_open(&c[i], &o.loop, serve_port(o.s));
                if (tls && step > 8)
                        ck_assert(client_handshake(&c[i], NULL));
                client_say(&c[i], say[i]);
        }
        for (unsigned i = 0; i < step; i++)
                (void)uv_run(&o.loop, UV_RUN_NOWAIT);
        stop(&o);
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

        start(&o, (struct serve_conf){ 0 });
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

        start(&o, (struct serve_conf){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        client_say(&c, GET("/later"));
        client_run_until(&o.loop, one_waits, &o);
        serve_close(o.s, on_closed, &o);
        serve_close(o.s, on_closed, &o); /* idempotent */
        answer_waiting(&o); /* before anyone said that it is gone */
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
        struct pair p = new_pair();
        struct serve_tls tls = { .cert_pem = p.cert, .key_pem = p.key };
        struct serve_conf conf = {
                .address = "127.0.0.1", .tls = _i ? &tls : NULL, .on_request = on_request
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
                        serve_close(s, on_closed, &o);
                        break;
                }
                ck_assert_int_eq(r, -ENOMEM);
        }
        ck_assert_uint_ge(n, _i ? 4 : 1);
        (void)uv_run(&o.loop, UV_RUN_DEFAULT);
        ck_assert_int_eq(uv_loop_close(&o.loop), 0);
        free_pair(&p);
}
END_TEST

/* An exchange in which the n-th allocation fails ends with the answer or the end of that connection, never worse. */
START_TEST(exchanges_without_memory)
{
        struct owner o;
        bool failed = true;

        start(&o, (struct serve_conf){ 0 });
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
        stop(&o);
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
                start_tls(&o, (struct serve_conf){ 0 }, (struct serve_tls){ .min_version = TLS1_3_VERSION });
        else
                start(&o, (struct serve_conf){ 0 });
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
        stop(&o);
        curl_global_cleanup();
}
END_TEST

int main(void)
{
        Suite *s = suite_create("serve");
        TCase *tc = tcase_create("http"), *life = tcase_create("life"), *tls = tcase_create("tls");

        tcase_set_timeout(tc, 120);
        tcase_set_timeout(life, 120);
        tcase_set_timeout(tls, 120);
        tcase_add_loop_test(tc, exchanges_requests, 0, (int)ARRAY_LEN(exchanges));
        tcase_add_loop_test(tc, bytes_may_trickle, 0, (int)ARRAY_LEN(exchanges));
        tcase_add_test(tc, pipelines);
        tcase_add_test(tc, waits_for_100_continue);
        tcase_add_loop_test(tc, bounds_heads, 0, (int)ARRAY_LEN(head_sizes));
        tcase_add_test(tc, answers_a_megabyte);
        tcase_add_test(tc, answers_later);
        tcase_add_loop_test(tc, tells_that_the_client_left, 0, 2);
        tcase_add_loop_test(tc, gives_up_on_its_owner, 0, 2);
        tcase_add_test(tc, a_thousand_idle_clients);
        tcase_add_test(tc, used_connections_stay);
        tcase_add_test(tc, busy_connections_stay);
        tcase_add_test(tc, slow_clients_end);
        tcase_add_test(tc, readers_that_do_not_read_are_evicted);
        tcase_add_test(tc, survives_without_file_descriptors);
        tcase_add_loop_test(tc, listens_on_addresses, 0, (int)ARRAY_LEN(addresses));
        tcase_add_test(tc, port_in_use);
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
        suite_add_tcase(s, tc);
        suite_add_tcase(s, tls);
        suite_add_tcase(s, life);
        return unit_main(s);
}
