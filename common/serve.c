/* SPDX-License-Identifier: Apache-2.0 */
#include "common/serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/serve_conn.h"

/* The listener, the list of connections with its bounds, and the certificate files.
 *
 * One timer looks at deadlines, at a listener that ran out of file descriptors, and every CHECK_MS at the files: a worker
 * thread compares and, if they changed, reads them into a new context. When that fails the old one stays and the
 * next look tries again. Without connections and files the timer rests. */

#define BACKLOG      128
#define ACCEPT_BATCH 16 /* in one turn of the loop */
#define TICK_MS      1000
#define CHECK_MS     2000

struct check { /* one look at the files, on a worker thread */
        uv_work_t work;
        struct serve *s;
        struct tlsctx_source *source;
        struct tlsctx_stamp stamp;
        bool changed;
        SSL_CTX *tls;
        int r;
        struct err err;
};

/* ---- listening ---- */

static int open_socket(int family, const struct sockaddr *at, socklen_t len)
{
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, off = 0, r;

        if (fd < 0)
                return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
                (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0) ||
                bind(fd, at, len) < 0 || listen(fd, BACKLOG) < 0) {
                r = -errno;
                (void)close(fd);
                return r;
        }
        return fd;
}

static int listen_on(const char *address, uint16_t port, struct err *e)
{
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
        struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
        bool all = !address || !*address, is_v6 = all || inet_pton(AF_INET6, address, &v6.sin6_addr) == 1;
        int fd = -EAFNOSUPPORT;

        if (!is_v6 && inet_pton(AF_INET, address, &v4.sin_addr) != 1)
                return err_set(e, -EINVAL, "listen on \"%s\": not an IP address", address);
        if (is_v6)
                fd = open_socket(AF_INET6, (struct sockaddr *)&v6, sizeof(v6));
        /* A kernel without IPv6 has no dual-stack wildcard; then IPv4 is all there is. */
        if (!is_v6 || (all && (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)))
                fd = open_socket(AF_INET, (struct sockaddr *)&v4, sizeof(v4));
        if (fd < 0)
                return err_set(e, fd, "listen on %s port %u: %s", all ? "all addresses," : address, port,
                        strerror(-fd));
        return fd;
}

static uint16_t port_of(int fd)
{
        struct sockaddr_in6 at = { 0 }; /* the port is at the same place in both families */
        socklen_t len = sizeof(at);

        if (getsockname(fd, (struct sockaddr *)&at, &len) < 0)
                return 0;
        return ntohs(at.sin6_port);
}

/* ---- the timer ---- */

static void on_tick(uv_timer_t *t);

/* Later deadlines never move an armed timer, or a stream of new connections would keep it from firing. */
static void arm(struct serve *s)
{
        uint64_t now = uv_now(s->loop), due = UINT64_MAX;

        if (s->n_conns > 0 || s->paused)
                due = now + TICK_MS;
        if (s->source && tlsctx_source_has_files(s->source) && !s->checking)
                due = MIN(due, MAX(s->check_ms, now));
        if (s->closing || due == UINT64_MAX) {
                (void)uv_timer_stop(&s->tick);
                return;
        }
        if (!uv_is_active((uv_handle_t *)&s->tick) || uv_timer_get_due_in(&s->tick) > due - now)
                (void)uv_timer_start(&s->tick, on_tick, due - now, 0); /* fails only when closing */
}

static bool is_idle(const struct serve_request *c)
{
        return c->state != CONN_HANDLING && c->state != CONN_WRITING;
}

/* Closes the connection that has been idle longest, else the one that has been reading its answer longest. */
static bool evict(struct serve *s)
{
        struct serve_request *c, *victim = NULL;

        for (c = TAILQ_FIRST(&s->conns); c; c = TAILQ_NEXT(c, link)) {
                if (is_idle(c)) {
                        victim = c;
                        break;
                }
                if (!victim && c->state == CONN_WRITING)
                        victim = c;
        }
        if (victim)
                conn_close(victim, DROP_EVICTED);
        return victim != NULL;
}

static void take_connection(struct serve *s, int fd)
{
        if ((s->source && !s->tls) || (s->n_conns >= s->max_connections && !evict(s))) {
                series_add(s->m_drops[DROP_REFUSED], 1);
                (void)close(fd);
                return;
        }
        if (conn_new(s, fd) < 0)
                series_add(s->m_drops[DROP_REFUSED], 1);
}

static void on_connection(uv_poll_t *h, int status, int events UNUSED)
{
        struct serve *s = h->data;

        for (int i = 0; i < ACCEPT_BATCH && status == 0 && !s->closing; i++) {
                int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd >= 0) {
                        take_connection(s, fd);
                        continue;
                }
                if (errno == EAGAIN)
                        break;
                if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                        /* The socket stays readable: polling on would spin. */
                        (void)uv_poll_stop(h);
                        s->paused = true;
                        break;
                }
        }
        arm(s);
}

static void start_check(struct serve *s);

static void on_tick(uv_timer_t *t)
{
        struct serve *s = t->data;
        struct serve_request *c, *next;
        uint64_t now = uv_now(s->loop);

        if (s->closing)
                return;
        if (s->paused)
                s->paused = uv_poll_start(&s->listener, UV_READABLE, on_connection) < 0;
        for (c = TAILQ_FIRST(&s->conns); c && !s->closing; c = next) {
                next = TAILQ_NEXT(c, link); /* conn_expire() unlinks @c only, or, by its owner, everything */
                if (c->deadline_ms <= now)
                        conn_expire(c);
        }
        if (!s->closing && s->source && tlsctx_source_has_files(s->source) && !s->checking &&
                s->check_ms <= now)
                start_check(s);
        arm(s);
}

/* ---- certificates ---- */

static void check_files(uv_work_t *w)
{
        struct check *k = container_of(w, struct check, work);
        struct tlsctx_stamp stamp;

        tlsctx_source_stamp(k->source, &stamp);
        if (memcmp(&stamp, &k->stamp, sizeof(stamp)) == 0)
                return;
        k->stamp = stamp;
        k->changed = true;
        k->r = tlsctx_new(&k->tls, k->source, &k->err);
}

static void adopt(struct serve *s, SSL_CTX *tls, const struct tlsctx_stamp *stamp)
{
        SSL_CTX_free(s->tls);
        s->tls = tls;
        s->stamp = *stamp;
        series_add(s->m_reads, 1);
}

static void on_checked(uv_work_t *w, int status)
{
        struct check *k = container_of(w, struct check, work);
        struct serve *s = k->s;

        s->checking = false;
        if (status == 0 && k->changed && !s->closing && k->source == s->source) {
                if (k->r == 0) {
                        adopt(s, TAKE(k->tls), &k->stamp);
                        log_info("certificate loaded");
                } else if (s->tls || k->r != -ENOENT) { /* that they are not there yet was said at start */
                        series_add(s->m_read_errors, 1);
                        if (log_limit_ok(&s->read_errors, uv_now(s->loop), 60000, NULL))
                                log_warn("certificate not loaded, trying again", F_STR("error", k->err.text));
                }
        }
        if (!s->closing)
                arm(s);
        SSL_CTX_free(k->tls);
        tlsctx_source_unref(k->source);
        free(k);
        serve_released(s);
}

static void start_check(struct serve *s)
{
        struct check *k = calloc(1, sizeof(*k));

        s->check_ms = uv_now(s->loop) + CHECK_MS;
        if (!k)
                return; /* the next look will do */
        k->s = s;
        k->source = tlsctx_source_ref(s->source);
        k->stamp = s->stamp;
        if (uv_queue_work(s->loop, &k->work, check_files, on_checked) < 0) {
                tlsctx_source_unref(k->source);
                free(k);
                return;
        }
        s->checking = true;
        s->n_open++;
}

int serve_set_tls(struct serve *s, const struct serve_tls *tls, struct err *e)
{
        struct tlsctx_source *source;
        struct tlsctx_stamp stamp;
        SSL_CTX *ctx;
        int r;

        if (!s->source)
                return err_set(e, -EINVAL, "a plain server has no certificate");
        r = tlsctx_source_new(&source, tls);
        if (r < 0)
                return err_set(e, r, "no memory");
        tlsctx_source_stamp(source, &stamp);
        r = tlsctx_new(&ctx, source, e);
        if (r < 0) {
                tlsctx_source_unref(source);
                return r;
        }
        tlsctx_source_unref(s->source);
        s->source = source;
        adopt(s, ctx, &stamp);
        arm(s);
        return 0;
}

/* ---- life ---- */

static struct serve *serve_free(struct serve *s)
{
        if (!s)
                return NULL;
        if (s->fd >= 0)
                (void)close(s->fd);
        SSL_CTX_free(s->tls);
        tlsctx_source_unref(s->source);
        free(s);
        return NULL;
}
DEFINE_CLEANUP(struct serve, serve_free);

void serve_released(struct serve *s)
{
        void (*closed)(void *ctx) = s->closed;
        void *ctx = s->closed_ctx;

        if (--s->n_open > 0)
                return;
        serve_free(s);
        if (closed)
                closed(ctx);
}

static void on_handle_closed(uv_handle_t *h)
{
        serve_released(h->data);
}

void serve_close(struct serve *s, void (*closed)(void *ctx), void *ctx)
{
        if (s->closing)
                return;
        s->closing = true;
        s->closed = closed;
        s->closed_ctx = ctx;
        while (!TAILQ_EMPTY(&s->conns))
                conn_close(TAILQ_FIRST(&s->conns), -1);
        uv_close((uv_handle_t *)&s->listener, on_handle_closed);
        uv_close((uv_handle_t *)&s->tick, on_handle_closed);
}

static int load_tls(struct serve *s, const struct serve_tls *tls, struct err *e)
{
        struct err why = { "" };
        SSL_CTX *ctx;
        int r = tlsctx_source_new(&s->source, tls);

        if (r < 0)
                return err_set(e, r, "no memory");
        tlsctx_source_stamp(s->source, &s->stamp);
        r = tlsctx_new(&ctx, s->source, &why);
        if (r == 0) {
                adopt(s, ctx, &s->stamp);
                return 0;
        }
        if (r != -ENOENT)
                return err_set(e, r, "%s", why.text);
        log_warn("certificate is not there yet, refusing connections until it is", F_STR("error", why.text));
        memset(&s->stamp, 0, sizeof(s->stamp));
        return 0;
}

static void register_metrics(struct serve *s, struct metrics *reg, bool with_tls)
{
        static const char *const codes[] = { "code", NULL }, *const reasons[] = { "reason", NULL };
        static const char *const drops[N_DROPS] = { [DROP_EVICTED] = "evicted",
                [DROP_REFUSED] = "refused",
                [DROP_TIMEOUT] = "timeout",
                [DROP_TLS] = "tls",
                [DROP_MALFORMED] = "malformed" };
        struct family *f;

        if (!reg)
                return;
        s->m_responses = metrics_family(reg, METRIC_COUNTER, "metallb_http_responses_total",
                "Answers of the HTTP servers of this process, by status.", codes, NULL, 0);
        f = metrics_family(reg, METRIC_COUNTER, "metallb_http_dropped_total",
                "Connections that were closed early, by reason.", reasons, NULL, 0);
        for (int i = 0; i < N_DROPS; i++)
                s->m_drops[i] = metrics_with(f, drops[i]);
        if (!with_tls)
                return;
        f = metrics_family(reg, METRIC_COUNTER, "certwatcher_read_certificate_total",
                "Certificates that were read and taken into use.", NULL, NULL, 0);
        s->m_reads = f ? metrics_series(f, NULL) : NULL;
        f = metrics_family(reg, METRIC_COUNTER, "certwatcher_read_certificate_errors_total",
                "Certificates that could not be used.", NULL, NULL, 0);
        s->m_read_errors = f ? metrics_series(f, NULL) : NULL;
}

int serve_new(struct serve **ret, uv_loop_t *loop, const struct serve_conf *conf, struct err *e)
{
        CLEANUP(serve_freep) struct serve *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return err_set(e, -ENOMEM, "no memory");
        *s = (struct serve){ .loop = loop,
                .fd = -1,
                .on_request = conf->on_request,
                .on_gone = conf->on_gone,
                .ctx = conf->ctx };
        s->max_connections = conf->max_connections ? conf->max_connections : 256;
        s->max_body = conf->max_body ? conf->max_body : (size_t)64 * 1024;
        s->request_ms = conf->request_ms ? conf->request_ms : 10000;
        TAILQ_INIT(&s->conns);
        register_metrics(s, conf->reg, conf->tls != NULL);
        if (conf->tls) {
                r = load_tls(s, conf->tls, e);
                if (r < 0)
                        return r;
        }
        /* OpenSSL writes to sockets with write(2): a client that left must not end the process. */
        (void)signal(SIGPIPE, SIG_IGN);
        s->fd = listen_on(conf->address, conf->port, e);
        if (s->fd < 0)
                return s->fd;
        s->port = port_of(s->fd);
        r = uv_poll_init(loop, &s->listener, s->fd);
        if (r < 0)
                return err_set(e, r, "listen: %s", uv_strerror(r));
        (void)uv_timer_init(loop, &s->tick); /* cannot fail */
        s->listener.data = s->tick.data = s;
        s->n_open = 2;
        s->check_ms = uv_now(loop) + CHECK_MS;
        s->paused =
                uv_poll_start(&s->listener, UV_READABLE, on_connection) < 0; /* then the tick tries again */
        arm(s);
        *ret = TAKE(s);
        return 0;
}

uint16_t serve_port(const struct serve *s)
{
        return s->port;
}
