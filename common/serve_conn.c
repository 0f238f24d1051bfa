/* SPDX-License-Identifier: Apache-2.0 */
#include "common/serve_conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>

/* A connection is a small state machine: conn_run() takes steps until one would block, a budget is spent or the owner
 * holds the request. Answers given inside on_request are sent by the same run; later ones by the next turn of the loop,
 * so that no call into this file calls back into the owner.
 *
 * Closing: conn_close() unlinks at once and lets uv_close() finish. Until then the memory stays, so an owner that closes
 * the server inside on_request may read on; a request that was never answered is reported gone from the close callback. */

#define STEPS      16 /* in one turn; a step reads 4 KiB or writes 16 KiB */
#define WRITE_MAX  16384 /* a TLS record */
#define IDLE_MS    120000 /* between requests; Prometheus scrapes every 15 to 60 s */
#define LINGER_MS  2000
#define SLOWEST_BS 262144 /* bytes a second that a reader of an answer must take */

#define IN_SIZE (HTTP_HEAD_MAX + CONN_WINDOW)

/* ---- bytes ---- */

static ssize_t ssl_result(struct serve_request *c, int r)
{
        switch (SSL_get_error(c->ssl, r)) {
        case SSL_ERROR_WANT_READ: c->want = UV_READABLE; return -EAGAIN;
        case SSL_ERROR_WANT_WRITE: c->want = UV_WRITABLE; return -EAGAIN;
        case SSL_ERROR_ZERO_RETURN: return 0;
        default: return -ECONNRESET;
        }
}

/* Both return bytes, 0 at the end (reading), -EAGAIN with c->want set, or another error. */
static ssize_t conn_read(struct serve_request *c, char *p, size_t len)
{
        ssize_t n;

        if (c->ssl) {
                ERR_clear_error();
                n = SSL_read(c->ssl, p, (int)len);
                return n > 0 ? n : ssl_result(c, (int)n);
        }
        do
                n = recv(c->fd, p, len, 0);
        while (n < 0 && errno == EINTR);
        c->want = UV_READABLE;
        return n < 0 ? -errno : n;
}

static ssize_t conn_write(struct serve_request *c, const char *p, size_t len)
{
        ssize_t n;

        if (c->ssl) {
                ERR_clear_error();
                n = SSL_write(c->ssl, p, (int)len);
                return n > 0 ? n : ssl_result(c, (int)n);
        }
        do
                n = send(c->fd, p, len, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        c->want = UV_WRITABLE;
        return n < 0 ? -errno : n;
}

/* ---- life ---- */

static void input_free(struct serve_request *c)
{
        if (c->in)
                OPENSSL_cleanse(c->in, IN_SIZE); /* bearer tokens */
        free(c->in);
        c->in = NULL;
        c->in_len = c->head_len = c->at = c->scanned = 0;
}

static void on_conn_closed(uv_handle_t *h)
{
        struct serve_request *c = h->data;
        struct serve *s = c->s;

        if (c->state == CONN_HANDLING && s->on_gone)
                s->on_gone(s->ctx, c);
        (void)close(c->fd); /* nothing is buffered that could fail */
        input_free(c);
        buf_fini(&c->body);
        buf_fini(&c->out);
        free(c);
        serve_released(s);
}

void conn_close(struct serve_request *c, int drop)
{
        if (c->closing)
                return;
        c->closing = true;
        if (drop >= 0)
                series_add(c->s->m_drops[drop], 1);
        TAILQ_REMOVE(&c->s->conns, c, link);
        c->s->n_conns--;
        SSL_free(c->ssl);
        c->ssl = NULL;
        uv_close((uv_handle_t *)&c->poll, on_conn_closed);
}

static void on_poll(uv_poll_t *h, int status, int events);

static void conn_poll(struct serve_request *c)
{
        int events = c->state == CONN_HANDLING ? UV_DISCONNECT : c->want;

        if (c->closing || events == c->polled)
                return;
        c->polled = events;
        if (uv_poll_start(&c->poll, events, on_poll) < 0)
                conn_close(c, -1);
}

static int conn_open(struct serve_request *c)
{
        if (c->s->source) {
                ERR_clear_error();
                c->ssl = SSL_new(c->s->tls);
                if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
                        return -ENOMEM;
                SSL_set_accept_state(c->ssl);
                c->state = CONN_HANDSHAKE;
        }
        return uv_poll_init(c->s->loop, &c->poll, c->fd);
}

int conn_new(struct serve *s, int fd)
{
        struct serve_request *c = calloc(1, sizeof(*c));
        int r = -ENOMEM;

        if (c) {
                c->s = s;
                c->fd = fd;
                c->state = CONN_HEAD;
                r = conn_open(c);
        }
        if (r < 0) {
                if (c)
                        SSL_free(c->ssl);
                free(c);
                (void)close(fd);
                return r;
        }
        c->poll.data = c;
        c->want = UV_READABLE;
        c->deadline_ms = uv_now(s->loop) + s->request_ms;
        TAILQ_INSERT_TAIL(&s->conns, c, link);
        s->n_conns++;
        s->n_open++;
        conn_poll(c);
        return 0;
}

/* ---- answers ---- */

static void answer(
        struct serve_request *c, int status, const char *content_type, const void *body, size_t len)
{
        struct serve *s = c->s;
        char code[16];

        (void)snprintf(code, sizeof(code), "%d", status);
        series_add(metrics_with(s->m_responses, code), 1);
        http_response_head(&c->out, status, content_type, len, c->keep_alive, (int64_t)time(NULL));
        if (!c->is_head)
                buf_add(&c->out, body, len);
        if (!buf_ok(&c->out)) {
                c->state = CONN_WRITING; /* answered: nobody is told that it is gone */
                conn_close(c, -1);
                return;
        }
        c->out_at = 0;
        c->state = CONN_WRITING;
        c->want = UV_WRITABLE;
        c->deadline_ms = uv_now(s->loop) + s->request_ms + c->out.len * 1000 / SLOWEST_BS;
        if (!c->running)
                conn_poll(c);
}

/* Answers for the owner, and ends the connection after it: what follows in the stream cannot be trusted. */
static void refuse(struct serve_request *c, int status)
{
        char text[64];
        int n = snprintf(text, sizeof(text), "%d %s\n", status, http_reason(status));

        series_add(c->s->m_drops[DROP_MALFORMED], 1);
        c->keep_alive = false;
        answer(c, status, "text/plain; charset=utf-8", text, (size_t)n);
}

void serve_reply(struct serve_request *r, int status, const char *content_type, const void *body, size_t len)
{
        assert(r->state == CONN_HANDLING);
        if (r->closing) {
                r->state = CONN_WRITING; /* answered, though nobody will read it */
                return;
        }
        answer(r, status, content_type, body, len);
}

void conn_expire(struct serve_request *c)
{
        struct serve *s = c->s;

        if (c->closing)
                return;
        if (c->state != CONN_HANDLING) {
                conn_close(c, c->state == CONN_LINGER ? -1 : DROP_TIMEOUT);
                return;
        }
        series_add(s->m_drops[DROP_TIMEOUT], 1);
        if (s->on_gone)
                s->on_gone(s->ctx, c);
        if (c->closing) {
                c->state = CONN_WRITING;
                return;
        }
        c->keep_alive = false;
        answer(c, 503, "text/plain; charset=utf-8", "no answer in time\n", 18);
}

/* ---- steps: 0 to go on, -EAGAIN to wait, another error to close ---- */

static int step_handshake(struct serve_request *c)
{
        int r;

        ERR_clear_error();
        r = SSL_do_handshake(c->ssl);
        if (r == 1) {
                c->state = CONN_HEAD;
                return 0;
        }
        r = (int)ssl_result(c, r);
        if (r != -EAGAIN)
                series_add(c->s->m_drops[DROP_TLS], 1);
        return r == 0 ? -ECONNRESET : r;
}

static int request_complete(struct serve_request *c)
{
        c->state = CONN_HANDLING;
        c->deadline_ms = uv_now(c->s->loop) + c->s->request_ms;
        c->s->on_request(c->s->ctx, c);
        return c->state == CONN_HANDLING ? -EAGAIN : 0;
}

static int read_more(struct serve_request *c, size_t limit)
{
        ssize_t n = conn_read(c, c->in + c->in_len, limit - c->in_len);

        if (n <= 0)
                return n == 0 ? -ECONNRESET : (int)n;
        if (c->in_len == 0) /* the first byte of a request that is not the first one */
                c->deadline_ms = MIN(c->deadline_ms, uv_now(c->s->loop) + c->s->request_ms);
        c->in_len += (size_t)n;
        return 0;
}

static int head_complete(struct serve_request *c)
{
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        int r = http_head_parse(&c->head, c->in, c->head_len);

        if (r < 0) {
                refuse(c, r == ERR_REJECTED ? 501 : 400);
                return 0;
        }
        c->at = c->head_len;
        c->keep_alive = c->head.keep_alive;
        c->is_head = strcmp(c->head.method, "HEAD") == 0;
        c->chunks = (struct http_chunks){ 0 };
        c->body.max = c->s->max_body;
        if (c->head.body == HTTP_BODY_NONE || (c->head.body == HTTP_BODY_LENGTH && c->head.length == 0))
                return request_complete(c);
        if (c->head.length > c->s->max_body) {
                refuse(c, 413);
                return 0;
        }
        c->state = CONN_BODY;
        /* Nothing else is under way in this direction, so these few bytes fit or the connection is dead. */
        if (c->head.expect_continue && c->in_len == c->head_len)
                return conn_write(c, go_on, sizeof(go_on) - 1) == (ssize_t)sizeof(go_on) - 1 ? 0
                                                                                             : -ECONNRESET;
        return 0;
}

static int step_head(struct serve_request *c)
{
        int r;

        if (!c->in) {
                c->in = malloc(IN_SIZE);
                if (!c->in)
                        return -ENOMEM;
        }
        c->head_len = http_head_end(c->in, MIN(c->in_len, (size_t)HTTP_HEAD_MAX), c->scanned);
        if (c->head_len > 0)
                return head_complete(c);
        c->scanned = MIN(c->in_len, (size_t)HTTP_HEAD_MAX);
        if (c->in_len >= HTTP_HEAD_MAX) {
                refuse(c, 431);
                return 0;
        }
        r = read_more(c, HTTP_HEAD_MAX);
        if (r < 0 && c->in_len == 0)
                input_free(c); /* an idle connection holds no buffer */
        return r;
}

static int step_body(struct serve_request *c)
{
        size_t n = c->in_len - c->at;
        bool done;
        int r = 0;

        if (c->head.body == HTTP_BODY_LENGTH) {
                n = (size_t)MIN((uint64_t)n, c->head.length - c->body.len);
                buf_add(&c->body, c->in + c->at, n);
                r = buf_ok(&c->body) ? (int)n : -ENOMEM;
                done = c->body.len == c->head.length;
        } else {
                r = http_chunks_read(&c->chunks, &c->body, c->in + c->at, n);
                done = http_chunks_done(&c->chunks);
        }
        if (r == ERR_TOO_BIG || r == ERR_MALFORMED) {
                refuse(c, r == ERR_TOO_BIG ? 413 : 400);
                return 0;
        }
        if (r < 0)
                return r;
        c->at += (size_t)r;
        if (done)
                return request_complete(c);
        c->in_len = c->at = c->head_len; /* all was taken: the window is free again */
        return read_more(c, IN_SIZE);
}

static int start_linger(struct serve_request *c)
{
        if (c->ssl) {
                ERR_clear_error();
                (void)SSL_shutdown(c->ssl); /* tells the client; whether it answers does not matter */
        }
        (void)shutdown(c->fd, SHUT_WR);
        input_free(c);
        c->state = CONN_LINGER;
        c->deadline_ms = uv_now(c->s->loop) + LINGER_MS;
        return 0;
}

/* The answer is out: gets ready for the next request, which may be there already. */
static int next_request(struct serve_request *c)
{
        size_t rest = c->in_len - c->at;

        buf_fini(&c->out);
        buf_fini(&c->body);
        c->user = NULL;
        c->is_head = false;
        TAILQ_REMOVE(&c->s->conns, c, link);
        TAILQ_INSERT_TAIL(&c->s->conns, c, link);
        if (!c->keep_alive)
                return start_linger(c);
        c->state = CONN_HEAD;
        c->deadline_ms = uv_now(c->s->loop) + (rest > 0 ? c->s->request_ms : IDLE_MS);
        if (rest == 0) {
                input_free(c);
                return 0;
        }
        memmove(c->in, c->in + c->at, rest);
        OPENSSL_cleanse(c->in + rest, IN_SIZE - rest);
        c->in_len = rest;
        c->head_len = c->at = c->scanned = 0;
        return 0;
}

static int step_writing(struct serve_request *c)
{
        size_t left = c->out.len - c->out_at;
        ssize_t n = conn_write(c, c->out.p + c->out_at, MIN(left, (size_t)WRITE_MAX));

        if (n <= 0)
                return n == 0 ? -ECONNRESET : (int)n;
        c->out_at += (size_t)n;
        return c->out_at == c->out.len ? next_request(c) : 0;
}

static int step_linger(struct serve_request *c)
{
        char dropped[4096];
        ssize_t n = recv(c->fd, dropped, sizeof(dropped), 0);

        c->want = UV_READABLE;
        return n > 0 ? 0 : n == 0 ? -ECONNRESET : -errno;
}

static void conn_run(struct serve_request *c)
{
        static int (*const steps[])(struct serve_request *) = { [CONN_HANDSHAKE] = step_handshake,
                [CONN_HEAD] = step_head,
                [CONN_BODY] = step_body,
                [CONN_WRITING] = step_writing,
                [CONN_LINGER] = step_linger };
        int r = 0, left = STEPS;

        c->running = true;
        while (r == 0 && left-- > 0 && !c->closing)
                r = steps[c->state](c);
        c->running = false;
        if (c->closing)
                return;
        if (r < 0 && r != -EAGAIN) {
                conn_close(c, -1);
                return;
        }
        if (r == 0)
                c->want = UV_WRITABLE; /* out of budget: which is at once, after the others had their turn */
        conn_poll(c);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
        struct serve_request *c = h->data;

        if (c->closing)
                return;
        if (status < 0 || (c->state == CONN_HANDLING && (events & UV_DISCONNECT)))
                conn_close(c, -1);
        else if (c->state != CONN_HANDLING)
                conn_run(c);
}

/* ---- what the owner sees ---- */

const char *serve_method(const struct serve_request *r)
{
        return r->head.method;
}

const char *serve_path(const struct serve_request *r)
{
        return r->head.path;
}

const char *serve_query(const struct serve_request *r)
{
        return r->head.query;
}

const char *serve_bearer(const struct serve_request *r)
{
        return r->head.bearer;
}

const char *serve_body(const struct serve_request *r, size_t *ret_len)
{
        *ret_len = r->body.len;
        return buf_str(&r->body);
}

void serve_set_user(struct serve_request *r, void *user)
{
        r->user = user;
}

void *serve_user(const struct serve_request *r)
{
        return r->user;
}
