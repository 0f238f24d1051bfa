/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* client - a bare TCP or TLS client on loopback, pumped together with the loop of the server under test, so that one
 * thread sees every interleaving. Waiting ends after 20 s by failing the test. */
#include <openssl/ssl.h>
#include <uv.h>

#include "common/buf.h"

struct client {
        uv_loop_t *loop;
        int fd; /* -1: closed */
        SSL *ssl;
        struct buf in; /* everything received and not yet taken */
        bool eof; /* the server closed, or reset */
};

struct client_tls { /* zero: what OpenSSL offers */
        int max_version;
        const char *alpn; /* one protocol */
        const char *ciphers;
};

void client_open(struct client *c, uv_loop_t *loop, uint16_t port);
/* The handshake; false when the server refused it. */
bool client_handshake(struct client *c, const struct client_tls *tls);
void client_send(struct client *c, const char *bytes, size_t len);
void client_say(struct client *c, const char *text);
/* Runs the loop until a whole response (by its Content-Length; @head: without body) is there and returns it, terminated;
 * free it. NULL: the connection ended before. */
char *client_response(struct client *c, bool head);
/* Says @text and expects that the response begins with "HTTP/1.1 <status>" and has exactly @body (NULL: any).
 * @text NULL: a HEAD has been said already. */
void client_expect(struct client *c, const char *text, int status, const char *body);
/* Runs the loop until the server has closed the connection. */
void client_wait_closed(struct client *c);
void client_close(struct client *c); /* idempotent */

/* One turn of the loop, and what the sockets of @c have for us. */
void client_pump(struct client *c);
/* Runs the loop until @done(@ctx). */
void client_run_until(uv_loop_t *loop, bool (*done)(void *ctx), void *ctx);
