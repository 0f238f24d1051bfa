/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* serve_conn - one connection of a server, shared by serve.c and serve_conn.c only. */
#include <openssl/ssl.h>
#include <sys/queue.h>

#include "common/http.h"
#include "common/log.h"
#include "common/serve.h"
#include "common/tlsctx.h"

enum serve_drop { DROP_EVICTED, DROP_REFUSED, DROP_TIMEOUT, DROP_TLS, DROP_MALFORMED, N_DROPS };

enum conn_state {
        CONN_HANDSHAKE, /* TLS */
        CONN_HEAD, /* between requests, or a head is coming in */
        CONN_BODY,
        CONN_HANDLING, /* the owner has the request and owes the answer */
        CONN_WRITING,
        CONN_LINGER, /* all is said; waits for the client to close, so that no reset overtakes the answer */
};

#define CONN_WINDOW 4096 /* bytes of the input buffer that are left beside the longest head */

TAILQ_HEAD(conn_list, serve_request);

struct serve_request { /* a connection, and the one request it is busy with */
        TAILQ_ENTRY(serve_request) link; /* serve.conns, until closing */
        struct serve *s;
        uv_poll_t poll;
        int fd;
        SSL *ssl; /* NULL: plain */
        enum conn_state state;
        bool closing, running, keep_alive, is_head;
        int want,
                polled; /* UV_READABLE or UV_WRITABLE: what the last -EAGAIN waits for; what is being polled */
        uint64_t deadline_ms;
        char *in; /* HTTP_HEAD_MAX + CONN_WINDOW bytes, only while there are any: head, then window on the body */
        size_t in_len, head_len, at; /* bytes there; of them the head's; read so far */
        size_t scanned;
        struct http_head head;
        struct http_chunks chunks;
        struct buf body, out;
        size_t out_at;
        void *user;
};

struct serve {
        uv_loop_t *loop;
        uv_poll_t listener;
        uv_timer_t tick; /* armed while there are connections, a paused listener or files to look at */
        int fd;
        uint16_t port;
        unsigned n_open; /* handles, connections and worker jobs that still have a callback to come */
        bool closing;
        bool paused; /* out of file descriptors: accepting again at the next tick */
        unsigned max_connections, request_ms;
        size_t max_body;
        void (*on_request)(void *ctx, struct serve_request *r);
        void (*on_gone)(void *ctx, struct serve_request *r);
        void *ctx;
        void (*closed)(void *ctx);
        void *closed_ctx;
        struct conn_list conns; /* the one that has been idle longest comes first */
        unsigned n_conns;
        struct tlsctx_source *source; /* NULL: plain */
        struct tlsctx_stamp stamp; /* of the files in use */
        SSL_CTX *tls; /* NULL while the files are missing */
        bool checking; /* a worker looks at the files */
        uint64_t check_ms;
        struct log_limit read_errors;
        struct family *m_responses;
        struct series *m_drops[N_DROPS], *m_reads, *m_read_errors;
};

/* Takes over @fd, also on failure, and links the connection. */
int conn_new(struct serve *s, int fd) MUST_CHECK;
void conn_close(struct serve_request *c, int drop); /* idempotent; @drop: why, or -1 */
void conn_expire(struct serve_request *c); /* its deadline has passed */
void serve_released(struct serve *s); /* one of n_open has ended; may free @s */
