/* SPDX-License-Identifier: Apache-2.0 */
#include "common/tlsctx.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#define PEM_MAX ((size_t)256 * 1024) /* chains are a few KiB */

struct tlsctx_source {
        unsigned refs;
        char *cert_file, *key_file, *cert_pem, *key_pem, *ciphers, *groups;
        int min_version;
};

static bool copy(char **ret, const char *text)
{
        *ret = text ? strdup(text) : NULL;
        return !text || *ret;
}

int tlsctx_source_new(struct tlsctx_source **ret, const struct serve_tls *tls)
{
        struct tlsctx_source *t = calloc(1, sizeof(*t));

        if (!t)
                return -ENOMEM;
        t->refs = 1;
        t->min_version = tls->min_version;
        if (!copy(&t->cert_file, tls->cert_file) || !copy(&t->key_file, tls->key_file) ||
                !copy(&t->cert_pem, tls->cert_pem) || !copy(&t->key_pem, tls->key_pem) ||
                !copy(&t->ciphers, tls->ciphers) || !copy(&t->groups, tls->groups)) {
                tlsctx_source_unref(t);
                return -ENOMEM;
        }
        *ret = t;
        return 0;
}

struct tlsctx_source *tlsctx_source_ref(struct tlsctx_source *t)
{
        t->refs++;
        return t;
}

struct tlsctx_source *tlsctx_source_unref(struct tlsctx_source *t)
{
        if (!t || --t->refs > 0)
                return NULL;
        if (t->key_pem)
                OPENSSL_cleanse(t->key_pem, strlen(t->key_pem));
        free(t->cert_file);
        free(t->key_file);
        free(t->cert_pem);
        free(t->key_pem);
        free(t->ciphers);
        free(t->groups);
        free(t);
        return NULL;
}

bool tlsctx_source_has_files(const struct tlsctx_source *t)
{
        return t->cert_file && t->key_file;
}

void tlsctx_source_stamp(const struct tlsctx_source *t, struct tlsctx_stamp *ret)
{
        const char *files[] = { t->cert_file, t->key_file };

        memset(ret, 0, sizeof(*ret));
        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
                uint64_t *f = ret->field + 4 * i;
                struct stat st;

                if (!files[i] || stat(files[i], &st) < 0) {
                        memset(ret, 0, sizeof(*ret));
                        return;
                }
                f[0] = st.st_ino;
                f[1] = (uint64_t)st.st_size;
                f[2] = (uint64_t)st.st_mtim.tv_sec;
                f[3] = (uint64_t)st.st_mtim.tv_nsec;
        }
}

static void close_fd(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd); /* only read from */
}

static int read_file(struct buf *out, const char *path, struct err *e)
{
        CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        char bytes[4096];
        ssize_t n;

        if (fd < 0)
                return err_set(e, -errno, "%s: %s", path, strerror(errno));
        out->max = PEM_MAX;
        while ((n = read(fd, bytes, sizeof(bytes))) > 0)
                buf_add(out, bytes, (size_t)n);
        OPENSSL_cleanse(bytes, sizeof(bytes));
        if (n < 0)
                return err_set(e, -errno, "%s: %s", path, strerror(errno));
        if (!buf_ok(out))
                return err_set(e, ERR_TOO_BIG, "%s: too long for a PEM file", path);
        return 0;
}

/* What OpenSSL thinks was wrong, and a clean error queue. */
static int openssl_error(struct err *e, int code, const char *what)
{
        const char *why = ERR_reason_error_string(ERR_peek_last_error());

        ERR_clear_error();
        return err_set(e, code, "%s: %s", what, why ? why : "no memory");
}

/* Keys with a passphrase are refused; OpenSSL would ask on the terminal. */
static int no_passphrase(char *out UNUSED, int size UNUSED, int writing UNUSED, void *ctx UNUSED)
{
        return -1;
}

static void bio_freep(BIO **b)
{
        BIO_free(*b);
}

static void pkey_freep(EVP_PKEY **k)
{
        EVP_PKEY_free(*k);
}

static void x509_freep(X509 **x)
{
        X509_free(*x);
}

static void ctx_freep(SSL_CTX **c)
{
        SSL_CTX_free(*c);
}

static BIO *text_bio(const char *text)
{
        return BIO_new_mem_buf(text, -1);
}

static int use_chain(SSL_CTX *ctx, const char *pem, struct err *e)
{
        CLEANUP(bio_freep) BIO *bio = text_bio(pem);
        CLEANUP(x509_freep) X509 *leaf = NULL;
        X509 *more;

        if (!bio)
                return -ENOMEM;
        leaf = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
        if (!leaf)
                return openssl_error(e, ERR_MALFORMED, "certificate");
        if (SSL_CTX_use_certificate(ctx, leaf) != 1)
                return openssl_error(e, ERR_MALFORMED, "certificate");
        while ((more = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL))) {
                if (SSL_CTX_add0_chain_cert(ctx, more) != 1) {
                        X509_free(more);
                        return openssl_error(e, ERR_MALFORMED, "certificate chain");
                }
        }
        if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
                return openssl_error(e, ERR_MALFORMED, "certificate chain");
        ERR_clear_error(); /* the end of the text reads as an error */
        return 0;
}

static int use_key(SSL_CTX *ctx, const char *pem, struct err *e)
{
        CLEANUP(bio_freep) BIO *bio = text_bio(pem);
        CLEANUP(pkey_freep) EVP_PKEY *key = NULL;

        if (!bio)
                return -ENOMEM;
        key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
        if (!key)
                return openssl_error(e, ERR_MALFORMED, "private key");
        if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
                return openssl_error(e, ERR_CONFLICT, "private key");
        return 0;
}

/* RFC 7301. Only HTTP/1.1 is spoken; a client that names others and not this one would not understand us. */
static int choose_alpn(SSL *ssl UNUSED, const unsigned char **out, unsigned char *out_len,
        const unsigned char *in, unsigned in_len, void *arg UNUSED)
{
        static const unsigned char ours[] = "\x08http/1.1";
        unsigned char *chosen;

        if (SSL_select_next_proto(&chosen, out_len, ours, sizeof(ours) - 1, in, in_len) !=
                OPENSSL_NPN_NEGOTIATED)
                return SSL_TLSEXT_ERR_ALERT_FATAL;
        *out = chosen;
        return SSL_TLSEXT_ERR_OK;
}

static int configure(SSL_CTX *ctx, const struct tlsctx_source *t, struct err *e)
{
        /* No tickets: a resumed session would outlive the certificate. Buffers are released between records, so that an
         * idle connection costs little. */
        SSL_CTX_set_options(ctx,
                SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                        SSL_OP_IGNORE_UNEXPECTED_EOF);
        SSL_CTX_set_num_tickets(ctx, 0);
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_mode(ctx,
                SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
        if (t->min_version && SSL_CTX_set_min_proto_version(ctx, t->min_version) != 1)
                return openssl_error(e, -EINVAL, "minimum TLS version");
        if (t->ciphers && SSL_CTX_set_cipher_list(ctx, t->ciphers) != 1)
                return openssl_error(e, -EINVAL, "TLS cipher suites");
        if (t->groups && SSL_CTX_set1_groups_list(ctx, t->groups) != 1)
                return openssl_error(e, -EINVAL, "TLS curve preferences");
        return 0;
}

static void wipe(struct buf *b)
{
        if (b->p)
                OPENSSL_cleanse(b->p, b->cap);
        buf_fini(b);
}

int tlsctx_new(SSL_CTX **ret, const struct tlsctx_source *t, struct err *e)
{
        CLEANUP(wipe) struct buf cert = BUF_INIT, key = BUF_INIT;
        CLEANUP(ctx_freep) SSL_CTX *ctx = NULL;
        int r = 0;

        if (tlsctx_source_has_files(t)) {
                r = read_file(&cert, t->cert_file, e);
                if (r == 0)
                        r = read_file(&key, t->key_file, e);
        } else if (!t->cert_pem || !t->key_pem) {
                r = err_set(e, -EINVAL, "no certificate given");
        }
        if (r < 0)
                return r;
        ctx = SSL_CTX_new(TLS_server_method());
        if (!ctx)
                return openssl_error(e, -ENOMEM, "TLS");
        r = configure(ctx, t, e);
        if (r == 0)
                r = use_chain(ctx, cert.p ? cert.p : t->cert_pem ? t->cert_pem : "", e);
        if (r == 0)
                r = use_key(ctx, key.p ? key.p : t->key_pem ? t->key_pem : "", e);
        if (r < 0)
                return r;
        *ret = TAKE(ctx);
        return 0;
}

static bool add_extension(X509 *x, int nid, const char *value)
{
        X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
        bool ok = ext && X509_add_ext(x, ext, -1) == 1;

        X509_EXTENSION_free(ext);
        return ok;
}

static bool fill(X509 *x, EVP_PKEY *key)
{
        static const unsigned char cn[] = "localhost";
        X509_NAME *name = X509_get_subject_name(x);
        uint64_t serial;

        if (RAND_bytes((unsigned char *)&serial, sizeof(serial)) != 1)
                return false;
        return X509_set_version(x, X509_VERSION_3) == 1 &&
                ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1 | 1) == 1 &&
                X509_gmtime_adj(X509_getm_notBefore(x), -3600) &&
                X509_time_adj_ex(X509_getm_notAfter(x), 3650, 0, NULL) &&
                X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, cn, -1, -1, 0) == 1 &&
                X509_set_issuer_name(x, name) == 1 && X509_set_pubkey(x, key) == 1 &&
                add_extension(x, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1") &&
                add_extension(x, NID_basic_constraints, "critical,CA:TRUE") &&
                add_extension(x, NID_ext_key_usage, "serverAuth") && X509_sign(x, key, EVP_sha256()) > 0;
}

static char *bio_text(BIO *bio)
{
        char *p;
        long n = BIO_get_mem_data(bio, &p);

        return n > 0 ? strndup(p, (size_t)n) : NULL;
}

int tlsctx_self_signed(char **ret_cert, char **ret_key)
{
        CLEANUP(pkey_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
        CLEANUP(x509_freep) X509 *x = X509_new();
        CLEANUP(bio_freep) BIO *cert_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_secmem());
        CLEANUP(freep) char *cert = NULL;
        char *text;

        if (!key || !x || !cert_bio || !key_bio || !fill(x, key) || PEM_write_bio_X509(cert_bio, x) != 1 ||
                PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
                ERR_clear_error();
                return -ENOMEM;
        }
        cert = bio_text(cert_bio);
        text = bio_text(key_bio);
        if (!cert || !text) {
                free(text);
                return -ENOMEM;
        }
        *ret_cert = TAKE(cert);
        *ret_key = text;
        return 0;
}
