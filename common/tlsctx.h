/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* tlsctx - OpenSSL server contexts made from a struct serve_tls.
 *
 * A context is never changed: another certificate means another context, and connections that run keep theirs (OpenSSL
 * counts references). A source may be read by one worker thread while the owner keeps using it. */
#include <openssl/ssl.h>

#include "common/serve.h"

struct tlsctx_source; /* an immutable copy of a struct serve_tls; counted, but only on the owner's thread */

int tlsctx_source_new(struct tlsctx_source **ret, const struct serve_tls *tls) MUST_CHECK;
struct tlsctx_source *tlsctx_source_ref(struct tlsctx_source *t);
struct tlsctx_source *tlsctx_source_unref(struct tlsctx_source *t); /* NULL is fine; returns NULL */
bool tlsctx_source_has_files(const struct tlsctx_source *t);

struct tlsctx_stamp { /* changes when a file does; all zero when one is missing */
        uint64_t field[8];
};
void tlsctx_source_stamp(const struct tlsctx_source *t, struct tlsctx_stamp *ret);

/* Reads the files, if it is files. -ENOENT: one is missing; ERR_MALFORMED, ERR_CONFLICT (key of another certificate),
 * ERR_TOO_BIG, -EINVAL (a setting that OpenSSL does not know), -ENOMEM, and what reading gives. */
int tlsctx_new(SSL_CTX **ret, const struct tlsctx_source *t, struct err *e) MUST_CHECK;

/* A certificate for localhost, 127.0.0.1 and ::1 with a new P-256 key, signed by itself, valid for ten years; PEM.
 * For endpoints whose clients have no way to check a name. */
int tlsctx_self_signed(char **ret_cert, char **ret_key) MUST_CHECK;
