/* SPDX-License-Identifier: Apache-2.0 */
#include "test/lib/fakeapi.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "test/lib/fault.h"

#define PATIENCE_MS 20000

struct fake_conn {
        uv_tcp_t tcp;
        struct fake *f;
        struct fake_conn *next;
        struct buf in;
        bool open; /* the client may still read */
        bool closing;
        char chunk[4096];
};

struct fake {
        uv_tcp_t tcp;
        uv_loop_t *loop;
        fake_handler handler;
        void *ctx;
        struct fake_conn *conns;
        unsigned n_requests, n_connections, n_handles;
        bool frozen, closing;
        char url[64];
};

struct out {
        uv_write_t req;
        char bytes[];
};

static void on_conn_closed(uv_handle_t *h);

static void conn_shut(struct fake_conn *c)
{
        c->open = false;
        if (c->closing)
                return;
        c->closing = true;
        uv_close((uv_handle_t *)&c->tcp, on_conn_closed);
}

static void fake_gone(struct fake *f)
{
        struct fake_conn *next;

        if (--f->n_handles > 0)
                return;
        for (struct fake_conn *c = f->conns; c; c = next) {
                next = c->next;
                buf_fini(&c->in);
                free(c);
        }
        free(f);
}

static void on_conn_closed(uv_handle_t *h)
{
        struct fake_conn *c = container_of(h, struct fake_conn, tcp);

        fake_gone(c->f);
}

static void on_server_closed(uv_handle_t *h)
{
        fake_gone(h->data);
}

static void on_wrote(uv_write_t *req, int status UNUSED)
{
        free(container_of(req, struct out, req));
}

void fake_raw(struct fake_conn *c, const char *bytes, size_t len)
{
        struct out *o;
        uv_buf_t buf;

        if (!c->open || c->closing)
                return;
        o = malloc(sizeof(*o) + len);
        ck_assert_ptr_nonnull(o);
        memcpy(o->bytes, bytes, len);
        buf = uv_buf_init(o->bytes, (unsigned)len);
        if (uv_write(&o->req, (uv_stream_t *)&c->tcp, &buf, 1, on_wrote) < 0)
                free(o);
}

static void head(struct fake_conn *c, int status, const char *headers, const char *framing)
{
        struct buf b = BUF_INIT;

        buf_addf(&b, "HTTP/1.1 %d Answer\r\nContent-Type: application/json\r\n%s%s\r\n\r\n", status, headers,
                framing);
        fake_raw(c, b.p, b.len);
        buf_fini(&b);
}

void fake_reply(struct fake_conn *c, int status, const char *headers, const char *body)
{
        char framing[64];

        (void)snprintf(framing, sizeof(framing), "Content-Length: %zu", strlen(body));
        head(c, status, headers, framing);
        fake_raw(c, body, strlen(body));
}

void fake_begin(struct fake_conn *c, int status, const char *headers)
{
        head(c, status, headers, "Transfer-Encoding: chunked");
}

void fake_chunk_n(struct fake_conn *c, const char *bytes, size_t len)
{
        struct buf b = BUF_INIT;

        if (len == 0)
                return; /* would be the last one */
        buf_addf(&b, "%zx\r\n", len);
        buf_add(&b, bytes, len);
        buf_adds(&b, "\r\n");
        fake_raw(c, b.p, b.len);
        buf_fini(&b);
}

void fake_chunk(struct fake_conn *c, const char *text)
{
        fake_chunk_n(c, text, strlen(text));
}

void fake_end(struct fake_conn *c)
{
        fake_raw(c, "0\r\n\r\n", 5);
}

void fake_hang_up(struct fake_conn *c)
{
        conn_shut(c);
}

void fake_reset(struct fake_conn *c)
{
        if (c->closing)
                return;
        c->closing = true;
        c->open = false;
        if (uv_tcp_close_reset(&c->tcp, on_conn_closed) <
                0) /* bytes are still on their way out: an end must do */
                uv_close((uv_handle_t *)&c->tcp, on_conn_closed);
}

/* ---- requests ---- */

static size_t body_length(const char *headers)
{
        const char *at = strcasestr(headers, "\r\ncontent-length:");

        return at ? strtoul(at + 17, NULL, 10) : 0;
}

/* Handles one whole request at the front of the input; false when there is none yet. */
static bool take_request(struct fake_conn *c)
{
        char *end = c->in.p ? strstr(c->in.p, "\r\n\r\n") : NULL, *method, *target, *body, *rest;
        struct fake_request req;
        size_t used, len;

        if (!end)
                return false;
        end[2] = '\0';
        len = body_length(c->in.p);
        end[2] = '\r';
        used = (size_t)(end - c->in.p) + 4 + len;
        if (c->in.len < used)
                return false;
        method = strndup(c->in.p, (size_t)(end - c->in.p) + 2);
        body = strndup(end + 4, len);
        ck_assert(method && body);
        target = strchr(method, ' ');
        ck_assert_ptr_nonnull(target);
        *target++ = '\0';
        rest = strchr(target, ' ');
        ck_assert_ptr_nonnull(rest);
        *rest++ = '\0';
        req = (struct fake_request){
                .method = method, .target = target, .headers = rest, .body = body, .body_len = len
        };
        c->f->n_requests++;
        memmove(c->in.p, c->in.p + used, c->in.len - used + 1);
        c->in.len -= used;
        c->f->handler(c->f->ctx, c, &req);
        free(method);
        free(body);
        return true;
}

static void on_alloc(uv_handle_t *h, size_t suggested UNUSED, uv_buf_t *buf)
{
        struct fake_conn *c = container_of(h, struct fake_conn, tcp);

        *buf = uv_buf_init(c->chunk, sizeof(c->chunk));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
        struct fake_conn *c = container_of(s, struct fake_conn, tcp);
        bool paused;

        if (n < 0) {
                conn_shut(c);
                return;
        }
        paused = fault_pause();
        buf_add(&c->in, buf->base, (size_t)n);
        while (!c->closing && take_request(c))
                ;
        fault_resume(paused);
}

static void on_connection(uv_stream_t *server, int status)
{
        struct fake *f = server->data;
        bool paused = fault_pause();
        struct fake_conn *c = calloc(1, sizeof(*c));

        ck_assert_int_eq(status, 0);
        ck_assert_ptr_nonnull(c);
        c->f = f;
        ck_assert_int_eq(uv_tcp_init(f->loop, &c->tcp), 0);
        f->n_handles++;
        ck_assert_int_eq(uv_accept(server, (uv_stream_t *)&c->tcp), 0);
        (void)uv_tcp_nodelay(&c->tcp, 1); /* only makes tests faster */
        c->next = f->conns;
        c->open = true;
        f->conns = c;
        f->n_connections++;
        if (!f->frozen)
                ck_assert_int_eq(uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read), 0);
        fault_resume(paused);
}

void fake_freeze(struct fake *f, bool frozen)
{
        f->frozen = frozen;
        for (struct fake_conn *c = f->conns; c; c = c->next) {
                if (c->closing)
                        continue;
                if (frozen)
                        (void)uv_read_stop((uv_stream_t *)&c->tcp); /* always 0 */
                else
                        ck_assert_int_eq(uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read), 0);
        }
}

struct fake *fake_new(uv_loop_t *loop, fake_handler handler, void *ctx)
{
        struct fake *f = calloc(1, sizeof(*f));
        struct sockaddr_in addr;
        int len = sizeof(addr);

        ck_assert_ptr_nonnull(f);
        (void)signal(SIGPIPE, SIG_IGN); /* libuv writes without MSG_NOSIGNAL, and clients hang up */
        f->loop = loop;
        f->handler = handler;
        f->ctx = ctx;
        f->tcp.data = f;
        ck_assert_int_eq(uv_tcp_init(loop, &f->tcp), 0);
        f->tcp.data = f;
        f->n_handles = 1;
        ck_assert_int_eq(uv_ip4_addr("127.0.0.1", 0, &addr), 0);
        ck_assert_int_eq(uv_tcp_bind(&f->tcp, (const struct sockaddr *)&addr, 0), 0);
        ck_assert_int_eq(uv_listen((uv_stream_t *)&f->tcp, 64, on_connection), 0);
        ck_assert_int_eq(uv_tcp_getsockname(&f->tcp, (struct sockaddr *)&addr, &len), 0);
        (void)snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u", ntohs(addr.sin_port));
        return f;
}

void fake_close(struct fake *f)
{
        if (f->closing)
                return;
        f->closing = true;
        for (struct fake_conn *c = f->conns; c; c = c->next)
                conn_shut(c);
        uv_close((uv_handle_t *)&f->tcp, on_server_closed);
}

const char *fake_url(const struct fake *f)
{
        return f->url;
}

unsigned fake_requests(const struct fake *f)
{
        return f->n_requests;
}

unsigned fake_connections(const struct fake *f)
{
        return f->n_connections;
}

unsigned fake_open(const struct fake *f)
{
        unsigned n = 0;

        for (const struct fake_conn *c = f->conns; c; c = c->next)
                n += c->open;
        return n;
}

/* ---- running ---- */

static void on_tick(uv_timer_t *t)
{
        ++*(unsigned *)t->data; /* only wakes uv_run() up */
}

static void on_tick_closed(uv_handle_t *h UNUSED)
{
}

bool fake_run_until(uv_loop_t *loop, bool (*cond)(void *ctx), void *ctx)
{
        uint64_t end = uv_hrtime() / 1000000 + PATIENCE_MS;
        uv_timer_t tick;
        unsigned ticks = 0;
        bool ok;

        /* No ck_assert here: it allocates, and the caller may be making allocations fail. */
        (void)uv_timer_init(loop, &tick);
        tick.data = &ticks;
        (void)uv_timer_start(&tick, on_tick, 5, 5);
        while (!(ok = cond(ctx)) && uv_hrtime() / 1000000 < end)
                (void)uv_run(loop, UV_RUN_ONCE);
        uv_close((uv_handle_t *)&tick, on_tick_closed);
        (void)uv_run(loop, UV_RUN_NOWAIT); /* the tick lives on this stack */
        return ok;
}

static bool is_past(void *ctx)
{
        return uv_hrtime() >= *(uint64_t *)ctx;
}

void fake_run_for(uv_loop_t *loop, unsigned ms)
{
        uint64_t end = uv_hrtime() + (uint64_t)ms * 1000000;

        ck_assert(fake_run_until(loop, is_past, &end));
}

void fake_finish(uv_loop_t *loop)
{
        uint64_t end = uv_hrtime() / 1000000 + PATIENCE_MS;

        while (uv_run(loop, UV_RUN_NOWAIT) != 0 && uv_hrtime() / 1000000 < end)
                (void)usleep(200);
        ck_assert_msg(uv_loop_close(loop) == 0, "something is still open in the loop");
}
