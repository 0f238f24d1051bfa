/* SPDX-License-Identifier: Apache-2.0 */
/* A server and its clients in one thread on real loopback sockets: requests, answers, bounds, addresses. */
#include "common/serve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "test/lib/client.h"
#include "test/lib/owner.h"
#include "test/lib/unit.h"

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

        owner_start(&o, (struct serve_conf){ .max_body = 8 });
        client_open(&c, &o.loop, serve_port(o.s));
        client_expect(&c, exchanges[_i].text, exchanges[_i].status, exchanges[_i].body);
        if (exchanges[_i].closes)
                client_wait_closed(&c);
        else
                client_expect(&c, GET("/again"), 200, "GET /again? [-] ");
        client_close(&c);
        owner_stop(&o);
}
END_TEST

START_TEST(bytes_may_trickle)
{
        struct client c;
        struct owner o;

        owner_start(&o, (struct serve_conf){ .max_body = 8 });
        client_open(&c, &o.loop, serve_port(o.s));
        for (const char *p = exchanges[_i].text; *p && !c.eof; p++) {
                client_send(&c, p, 1);
                client_pump(&c);
        }
        client_expect(&c, strncmp(exchanges[_i].text, "HEAD", 4) == 0 ? NULL : "", exchanges[_i].status,
                exchanges[_i].body);
        client_close(&c);
        owner_stop(&o);
}
END_TEST

START_TEST(pipelines)
{
        CLEANUP(buf_fini) struct buf text = BUF_INIT;
        struct client c;
        struct owner o;

        owner_start(&o, (struct serve_conf){ 0 });
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
        owner_stop(&o);
}
END_TEST

START_TEST(waits_for_100_continue)
{
        CLEANUP(freep) char *go_on = NULL;
        struct client c;
        struct owner o;

        owner_start(&o, (struct serve_conf){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        client_say(&c, "POST /v HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        go_on = client_response(&c, true);
        ck_assert_pstr_eq(go_on, "HTTP/1.1 100 Continue\r\n\r\n");
        client_expect(&c, "hello", 200, "POST /v? [-] hello");
        client_close(&c);
        owner_stop(&o);
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

        owner_start(&o, (struct serve_conf){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        buf_adds(&text, first);
        while (text.len < head_sizes[_i].len - 4)
                buf_addc(&text, 'a');
        buf_adds(&text, "\r\n\r\n");
        client_expect(&c, text.p, head_sizes[_i].status, NULL);
        client_close(&c);
        owner_stop(&o);
}
END_TEST

START_TEST(answers_a_megabyte)
{
        struct client c;
        struct owner o;

        owner_start(&o, (struct serve_conf){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        owner_read_big(&o, &c, GET("/big"), 50);
        owner_read_big(&o, &c, GET("/big"), 0);
        client_close(&c);
        owner_stop(&o);
}
END_TEST

/* ---- answers that come later ---- */

START_TEST(answers_later)
{
        struct client c;
        struct owner o;

        owner_start(&o, (struct serve_conf){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        client_say(&c, GET("/later") GET("/next"));
        client_run_until(&o.loop, owner_one_waits, &o);
        for (int i = 0; i < 20; i++)
                client_pump(&c);
        ck_assert_uint_eq(o.n_requests, 1); /* answers keep their order: the next request waits */
        owner_answer(&o);
        ck_assert_uint_eq(o.n_requests, 1); /* nothing is called back from inside the answer */
        client_expect(&c, "", 200, "at last");
        client_expect(&c, "", 200, "GET /next? [-] ");
        client_close(&c);
        ck_assert_uint_eq(o.n_gone, 0);
        owner_stop(&o);
}
END_TEST

START_TEST(tells_that_the_client_left)
{
        struct client c;
        struct owner o;

        owner_start(&o, (struct serve_conf){ 0 });
        client_open(&c, &o.loop, serve_port(o.s));
        client_say(&c, GET("/never"));
        client_run_until(&o.loop, owner_one_waits, &o);
        if (_i == 1) { /* a reset instead of an end */
                struct linger now = { .l_onoff = 1 };

                (void)setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        }
        client_close(&c);
        client_run_until(&o.loop, owner_one_is_gone, &o);
        owner_stop(&o);
        ck_assert_uint_eq(o.n_gone, 1);
}
END_TEST

START_TEST(gives_up_on_its_owner)
{
        struct client c;
        struct owner o;

        owner_start(&o, (struct serve_conf){ .request_ms = 100 });
        o.close_in_gone = _i == 1;
        client_open(&c, &o.loop, serve_port(o.s));
        client_say(&c, GET("/never"));
        if (_i == 0) {
                client_expect(&c, "", 503, "no answer in time\n");
                ck_assert(owner_dropped(&o, "timeout") == 1);
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
        owner_stop(&o);
}
END_TEST

/* ---- bounds ---- */

START_TEST(a_thousand_idle_clients)
{
        static struct client idle[1000];
        struct client c;
        struct owner o;

        owner_start(&o, (struct serve_conf){ .max_connections = 50 });
        for (size_t i = 0; i < ARRAY_LEN(idle); i++) {
                client_open(&idle[i], &o.loop, serve_port(o.s));
                if (i % 2)
                        client_say(&idle[i], "GET / HT");
                client_pump(&idle[i]);
        }
        client_open(&c, &o.loop, serve_port(o.s));
        client_expect(&c, GET("/a"), 200, "GET /a? [-] ");
        ck_assert(owner_dropped(&o, "evicted") >= 1001 - 50);
        ck_assert(owner_dropped(&o, "refused") == 0);
        /* The oldest went, the youngest are still there. */
        client_wait_closed(&idle[0]);
        client_expect(&idle[998], GET("/a"), 200, "GET /a? [-] ");
        client_expect(&c, GET("/a"), 200, "GET /a? [-] ");
        for (size_t i = 0; i < ARRAY_LEN(idle); i++)
                client_close(&idle[i]);
        client_close(&c);
        owner_stop(&o);
}
END_TEST

START_TEST(used_connections_stay)
{
        struct client used, idle[10];
        struct owner o;

        owner_start(&o, (struct serve_conf){ .max_connections = 4 });
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
        owner_stop(&o);
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

        owner_start(&o, (struct serve_conf){ .max_connections = 4 });
        for (size_t i = 0; i < ARRAY_LEN(busy); i++) {
                client_open(&busy[i], &o.loop, serve_port(o.s));
                client_say(&busy[i], GET("/later"));
        }
        client_run_until(&o.loop, four_wait, &o);
        client_open(&c, &o.loop, serve_port(o.s));
        client_wait_closed(&c);
        ck_assert(owner_dropped(&o, "refused") == 1);
        client_close(&c);
        owner_answer(&o);
        for (size_t i = 0; i < ARRAY_LEN(busy); i++)
                client_expect(&busy[i], "", 200, "at last");
        client_open(&c, &o.loop, serve_port(o.s));
        client_expect(&c, GET("/a"), 200, NULL);
        client_close(&c);
        for (size_t i = 0; i < ARRAY_LEN(busy); i++)
                client_close(&busy[i]);
        owner_stop(&o);
}
END_TEST

/* Clients that trickle a head, that send nothing, and that never read: all end, while another is served. */
START_TEST(slow_clients_end)
{
        struct client slow[3], c;
        struct owner o;

        owner_start(&o, (struct serve_conf){ .request_ms = 1000 });
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
        while (owner_dropped(&o, "timeout") < 3)
                client_expect(&c, GET("/a"), 200, "GET /a? [-] ");
        for (size_t i = 0; i < ARRAY_LEN(slow); i++)
                client_close(&slow[i]);
        client_close(&c);
        owner_stop(&o);
}
END_TEST

/* Never-reading clients fill the table; a newcomer takes the place of the oldest. */
START_TEST(readers_that_do_not_read_are_evicted)
{
        struct client slow[3], c;
        struct owner o;

        owner_start(&o, (struct serve_conf){ .max_connections = 3 });
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
        ck_assert(owner_dropped(&o, "evicted") == 1);
        client_close(&c);
        for (size_t i = 0; i < ARRAY_LEN(slow); i++)
                client_close(&slow[i]);
        owner_stop(&o);
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

        owner_start(&o, (struct serve_conf){ 0 });
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
        owner_stop(&o);
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
        struct serve_conf conf = { .address = addresses[_i].address, .on_request = owner_on_request };
        struct serve *s = NULL;
        struct err e = { "" };
        struct owner o = { 0 };

        ck_assert_int_eq(uv_loop_init(&o.loop), 0);
        ck_assert_int_eq(serve_new(&s, &o.loop, &conf, &e), addresses[_i].want);
        if (s)
                serve_close(s, owner_on_closed, &o);
        else
                ck_assert_str_eq(e.text, addresses[_i].words);
        (void)uv_run(&o.loop, UV_RUN_DEFAULT);
        ck_assert_int_eq(uv_loop_close(&o.loop), 0);
}
END_TEST

START_TEST(port_in_use)
{
        struct serve_conf conf = { .address = "127.0.0.1", .on_request = owner_on_request };
        struct err e = { "" };
        struct serve *s = NULL;
        struct owner o;
        char want[80];

        owner_start(&o, (struct serve_conf){ 0 });
        conf.port = serve_port(o.s);
        ck_assert_int_eq(serve_new(&s, &o.loop, &conf, &e), -EADDRINUSE);
        (void)snprintf(want, sizeof(want), "listen on 127.0.0.1 port %u: Address already in use", conf.port);
        ck_assert_str_eq(e.text, want);
        owner_stop(&o);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("serve");
        TCase *tc = tcase_create("http");

        tcase_set_timeout(tc, 120);
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
        suite_add_tcase(s, tc);
        return unit_main(s);
}
