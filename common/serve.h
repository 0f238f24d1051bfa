/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* serve - a small HTTP(S) server for health, metrics and webhooks: HTTP/1.1 (common/http.h) and OpenSSL on the caller's
 * libuv loop.
 *
 * Bounded: connections (beyond the limit the oldest idle one goes, then the slowest reader; requests under way stay and
 * newcomers are refused), header and body size, time for a request, for its answer and for a slow reader. One thread: the
 * loop's. TLS files are looked at every 2 s and read again when they change, without dropping connections.
 * Process-wide side effect: SIGPIPE is ignored. */
#include <uv.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/metrics.h"

struct serve;
struct serve_request; /* one open exchange */

struct serve_tls { /* NULL strings: not given */
        const char *cert_file, *key_file; /* PEM; missing files: listener answers once they appear */
        const char *cert_pem, *key_pem; /* alternatively, in memory */
        int min_version; /* OpenSSL's TLS1_2_VERSION, TLS1_3_VERSION */
        const char *ciphers; /* OpenSSL names for TLS 1.2; NULL: default */
        const char *groups; /* OpenSSL group list; NULL: default */
};

struct serve_conf { /* copied */
        const char *address; /* "" or NULL: all, both families */
        uint16_t port; /* 0: any free one, see serve_port() */
        const struct serve_tls *tls; /* NULL: plain HTTP */
        unsigned max_connections; /* 0: 256 */
        size_t max_body; /* 0: 64 KiB */
        unsigned request_ms; /* for a request to come in, and again for its answer; 0: 10000 */
        /* A complete request. Answer with serve_reply() now or later, exactly once; if the client goes away or closes
         * its side first, the time is over (it then gets a 503) or the server closes, on_gone (may be NULL) is called
         * and the request must not be answered any more. Neither is called from inside a function below. */
        void (*on_request)(void *ctx, struct serve_request *r);
        void (*on_gone)(void *ctx, struct serve_request *r);
        void *ctx;
        struct metrics *reg; /* may be NULL */
};

/* Listens when it returns 0. Else a negative code with words: -EADDRINUSE, -EINVAL (no address), ... */
int serve_new(struct serve **ret, uv_loop_t *loop, const struct serve_conf *conf, struct err *e) MUST_CHECK;
/* Ends every connection, then calls @closed (may be NULL) once; after it @s is gone. Idempotent until then. */
void serve_close(struct serve *s, void (*closed)(void *ctx), void *ctx);
uint16_t serve_port(const struct serve *s);
/* Other certificates from now on (new connections); reads files synchronously. 0 or a negative code with words, -ENOENT
 * too; on failure the old ones stay. */
int serve_set_tls(struct serve *s, const struct serve_tls *tls, struct err *e) MUST_CHECK;

const char *serve_method(const struct serve_request *r);
const char *serve_path(const struct serve_request *r); /* without query */
const char *serve_query(const struct serve_request *r); /* "" when none */
const char *serve_bearer(
        const struct serve_request *r); /* token of "Authorization: Bearer", NULL when none */
const char *serve_body(const struct serve_request *r, size_t *ret_len);
void serve_set_user(struct serve_request *r, void *user);
void *serve_user(const struct serve_request *r);
/* Copies @body; @content_type is static text. @r is not to be touched afterwards. */
void serve_reply(struct serve_request *r, int status, const char *content_type, const void *body, size_t len);
