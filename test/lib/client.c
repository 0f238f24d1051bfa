/* SPDX-License-Identifier: Apache-2.0 */
#include "test/lib/client.h"

#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

#define WAIT_MS 20000

static uint64_t now_ms(void)
{
        return uv_hrtime() / 1000000;
}

void client_open(struct client *c, uv_loop_t *loop, uint16_t port)
{
        struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };

        *c = (struct client){ .loop = loop, .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0) };
        ck_assert_int_ge(c->fd, 0);
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (connect(c->fd, (struct sockaddr *)&at, sizeof(at)) < 0)
                ck_assert_int_eq(errno, EINPROGRESS);
}

static void read_some(struct client *c)
{
        char bytes[16384];
        ssize_t n;

        while (!c->eof && c->fd >= 0) {
                if (c->ssl) {
                        ERR_clear_error();
                        n = SSL_read(c->ssl, bytes, sizeof(bytes));
                        if (n <= 0 && SSL_get_error(c->ssl, (int)n) == SSL_ERROR_WANT_READ)
                                return;
                } else {
                        n = recv(c->fd, bytes, sizeof(bytes), 0);
                        if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
                                return;
                }
                if (n <= 0)
                        c->eof = true;
                else
                        buf_add(&c->in, bytes, (size_t)n);
        }
}

/* Turns without work wait for the server's sockets and timers, 1 ms at most. */
static void turn(uv_loop_t *loop)
{
        struct pollfd p = { .fd = uv_backend_fd(loop), .events = POLLIN };

        if (uv_run(loop, UV_RUN_NOWAIT) == 0)
                return;
        (void)poll(&p, 1, 1);
}

void client_pump(struct client *c)
{
        turn(c->loop);
        read_some(c);
}

void client_run_until(uv_loop_t *loop, bool (*done)(void *ctx), void *ctx)
{
        uint64_t end = now_ms() + WAIT_MS;

        while (!done(ctx)) {
                ck_assert_msg(now_ms() < end, "waited too long");
                turn(loop);
        }
}

bool client_handshake(struct client *c, const struct client_tls *tls)
{
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        uint64_t end = now_ms() + WAIT_MS;
        unsigned char alpn[32];
        int r = -1;

        ck_assert_ptr_nonnull(ctx);
        if (tls && tls->max_version)
                ck_assert_int_eq(SSL_CTX_set_max_proto_version(ctx, tls->max_version), 1);
        if (tls && tls->ciphers)
                ck_assert_int_eq(SSL_CTX_set_cipher_list(ctx, tls->ciphers), 1);
        c->ssl = SSL_new(ctx);
        SSL_CTX_free(ctx);
        SSL_set_fd(c->ssl, c->fd);
        if (tls && tls->alpn) {
                alpn[0] = (unsigned char)strlen(tls->alpn);
                memcpy(alpn + 1, tls->alpn, alpn[0]);
                ck_assert_int_eq(SSL_set_alpn_protos(c->ssl, alpn, alpn[0] + 1U), 0);
        }
        while (now_ms() < end) {
                ERR_clear_error();
                r = SSL_connect(c->ssl);
                if (r == 1)
                        return true;
                r = SSL_get_error(c->ssl, r);
                if (r != SSL_ERROR_WANT_READ && r != SSL_ERROR_WANT_WRITE &&
                        !(r == SSL_ERROR_SYSCALL && errno == ENOTCONN))
                        return false;
                turn(c->loop);
        }
        ck_abort_msg("handshake took too long");
}

void client_send(struct client *c, const char *bytes, size_t len)
{
        uint64_t end = now_ms() + WAIT_MS;
        size_t at = 0;

        while (at < len && !c->eof) {
                ssize_t n = c->ssl ? SSL_write(c->ssl, bytes + at, (int)(len - at))
                                   : send(c->fd, bytes + at, len - at, MSG_NOSIGNAL);

                if (n > 0)
                        at += (size_t)n;
                else
                        client_pump(c);
                ck_assert_msg(now_ms() < end, "sending took too long");
        }
}

void client_say(struct client *c, const char *text)
{
        client_send(c, text, strlen(text));
}

/* Length of the response at the front of c->in, 0 when it is not complete. */
static size_t response_len(const struct client *c, bool head)
{
        const char *end = c->in.len > 0 ? memmem(c->in.p, c->in.len, "\r\n\r\n", 4) : NULL, *length;
        size_t n;

        if (!end)
                return 0;
        n = (size_t)(end - c->in.p) + 4;
        length = memmem(c->in.p, n, "Content-Length: ", 16);
        if (length && !head)
                n += strtoul(length + 16, NULL, 10);
        return c->in.len >= n ? n : 0;
}

char *client_response(struct client *c, bool head)
{
        uint64_t end = now_ms() + WAIT_MS;
        size_t n;
        char *text;

        while ((n = response_len(c, head)) == 0 && !c->eof) {
                ck_assert_msg(now_ms() < end, "no response; so far: %.300s", buf_str(&c->in));
                client_pump(c);
        }
        if (n == 0)
                return NULL;
        text = malloc(n + 1);
        ck_assert_ptr_nonnull(text);
        memcpy(text, c->in.p, n);
        text[n] = '\0';
        memmove(c->in.p, c->in.p + n, c->in.len - n + 1);
        c->in.len -= n;
        return text;
}

void client_expect(struct client *c, const char *text, int status, const char *body)
{
        CLEANUP(freep) char *got = NULL;
        char start[32];

        if (text)
                client_say(c, text);
        got = client_response(c, !text || strncmp(text, "HEAD ", 5) == 0);
        ck_assert_msg(got != NULL, "closed without a response to: %s", text ? text : "HEAD");
        (void)snprintf(start, sizeof(start), "HTTP/1.1 %d ", status);
        ck_assert_msg(strncmp(got, start, strlen(start)) == 0, "want %d, got: %.300s", status, got);
        if (body)
                ck_assert_str_eq(strstr(got, "\r\n\r\n") + 4, body);
}

void client_wait_closed(struct client *c)
{
        uint64_t end = now_ms() + WAIT_MS;

        while (!c->eof) {
                ck_assert_msg(now_ms() < end, "still open");
                client_pump(c);
        }
}

void client_close(struct client *c)
{
        SSL_free(c->ssl);
        c->ssl = NULL;
        if (c->fd >= 0)
                (void)close(c->fd);
        c->fd = -1;
        buf_fini(&c->in);
}
