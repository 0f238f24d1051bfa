/* SPDX-License-Identifier: Apache-2.0 */
/* curl says through two callbacks which sockets to watch and when to wake it; we do so with uv_poll_t and one timer.
 *
 * What bites: libuv aborts when a descriptor is closed while it is polled, and curl closes descriptors on its own,
 * so the close-socket callback stops the poll first (a poll handle lives until libuv says it is closed, its
 * descriptor may go at once). The timer callback may run inside curl_multi_socket_action(), so it only arms.
 * While the multi handle is being destroyed curl may still ask for polls: they are refused. */
#include "common/kube/curl_uv.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* A peer that vanished is noticed in about 14 s although nothing is sent: a probe after 5 s of silence, then two more
 * 3 s apart. Unacknowledged data fails after 10 s (RFC 5482; Linux: it also bounds the keepalives). */
#define KEEP_IDLE_S     5
#define KEEP_INTERVAL_S 3
#define KEEP_COUNT      3
#define USER_TIMEOUT_MS 10000

struct sock {
        uv_poll_t poll; /* first closed, then freed */
        struct curl_uv *cu;
        struct sock *next; /* in cu->socks while curl knows it */
        curl_socket_t fd;
};

struct curl_uv {
        uv_loop_t *loop;
        CURLM *multi; /* NULL: could not be made again yet */
        uv_timer_t timer;
        struct sock *socks; /* being polled; few */
        unsigned n_open; /* uv handles not yet closed */
        bool closing, destroying, broken;
        uint64_t n_connections;
        void (*on_done)(void *ctx, CURL *easy, CURLcode code);
        void *ctx;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static void handle_gone(struct curl_uv *cu)
{
        void (*closed)(void *) = cu->closed;
        void *ctx = cu->closed_ctx;

        if (--cu->n_open > 0)
                return;
        free(cu);
        closed(ctx);
}

static void on_poll_closed(uv_handle_t *h)
{
        struct sock *s = h->data;
        struct curl_uv *cu = s->cu;

        free(s);
        handle_gone(cu);
}

static void on_timer_closed(uv_handle_t *h)
{
        handle_gone(h->data);
}

static void sock_close(struct sock *s)
{
        struct sock **at = &s->cu->socks;

        while (*at != s)
                at = &(*at)->next;
        *at = s->next;
        uv_close((uv_handle_t *)&s->poll, on_poll_closed);
}

static void drain(struct curl_uv *cu)
{
        CURLMsg *msg;
        int left;

        while ((msg = curl_multi_info_read(cu->multi, &left))) {
                CURL *easy = msg->easy_handle;
                CURLcode code = msg->data.result;

                if (msg->msg != CURLMSG_DONE)
                        continue;
                (void)curl_multi_remove_handle(
                        cu->multi, easy); /* @msg dies here; fails only for a foreign handle */
                cu->on_done(cu->ctx, easy, code);
        }
}

static void act(struct curl_uv *cu, curl_socket_t fd, int events)
{
        int running;

        if (cu->closing || !cu->multi)
                return;
        if (curl_multi_socket_action(cu->multi, fd, events, &running) != CURLM_OK)
                cu->broken = true;
        drain(cu);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
        struct sock *s = poll->data;
        int flags = 0;

        if (s->cu->closing)
                return;
        if (status < 0)
                flags = CURL_CSELECT_ERR;
        if (events & UV_READABLE)
                flags |= CURL_CSELECT_IN;
        if (events & UV_WRITABLE)
                flags |= CURL_CSELECT_OUT;
        act(s->cu, s->fd, flags); /* may free @s in a later turn, not now */
}

static void on_timer(uv_timer_t *t)
{
        act(t->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_curl_timer(CURLM *multi UNUSED, long timeout_ms, void *ctx)
{
        struct curl_uv *cu = ctx;

        if (timeout_ms < 0 || cu->closing)
                (void)uv_timer_stop(&cu->timer); /* never fails */
        else if (uv_timer_start(&cu->timer, on_timer, (uint64_t)timeout_ms, 0) < 0)
                cu->broken = true;
        return 0;
}

static struct sock *sock_open(struct curl_uv *cu, curl_socket_t fd)
{
        struct sock *s = calloc(1, sizeof(*s));

        if (!s)
                return NULL;
        if (uv_poll_init_socket(cu->loop, &s->poll, fd) < 0) {
                free(s);
                return NULL;
        }
        s->poll.data = s;
        s->cu = cu;
        s->fd = fd;
        s->next = cu->socks;
        cu->socks = s;
        cu->n_open++;
        return s;
}

static struct sock *sock_find(const struct curl_uv *cu, curl_socket_t fd)
{
        struct sock *s = cu->socks;

        while (s && s->fd != fd)
                s = s->next;
        return s;
}

static int on_curl_socket(CURL *easy UNUSED, curl_socket_t fd, int what, void *ctx, void *sockp UNUSED)
{
        struct curl_uv *cu = ctx;
        struct sock *s = sock_find(cu, fd);
        int events = 0;

        if (what == CURL_POLL_REMOVE || cu->destroying) {
                if (s)
                        sock_close(s);
                return 0;
        }
        if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
                events |= UV_READABLE;
        if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
                events |= UV_WRITABLE;
        if (!s)
                s = sock_open(cu, fd);
        if (!s || uv_poll_start(&s->poll, events, on_poll) < 0)
                cu->broken =
                        true; /* the owner looks, and starts afresh; -1 here would do it to all transfers at once */
        return 0;
}

static int on_close_socket(void *ctx, curl_socket_t fd)
{
        struct sock *s = sock_find(ctx, fd);

        if (s)
                sock_close(s);
        return close(fd);
}

/* Best effort: without these options a dead peer is still found by the owner's own probe. */
static int on_sockopt(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
        const int on = 1, idle = KEEP_IDLE_S, interval = KEEP_INTERVAL_S, count = KEEP_COUNT;
        const unsigned user_ms = USER_TIMEOUT_MS;
        struct curl_uv *cu = ctx;

        if (purpose != CURLSOCKTYPE_IPCXN)
                return CURL_SOCKOPT_OK;
        cu->n_connections++;
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof(user_ms));
        return CURL_SOCKOPT_OK;
}

static CURLM *multi_new(struct curl_uv *cu)
{
        CURLM *m = curl_multi_init();

        if (!m)
                return NULL;
        if (curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, on_curl_socket) == CURLM_OK &&
                curl_multi_setopt(m, CURLMOPT_SOCKETDATA, cu) == CURLM_OK &&
                curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, on_curl_timer) == CURLM_OK &&
                curl_multi_setopt(m, CURLMOPT_TIMERDATA, cu) == CURLM_OK &&
                curl_multi_setopt(m, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX) == CURLM_OK)
                return m;
        (void)curl_multi_cleanup(m);
        return NULL;
}

int curl_uv_new(struct curl_uv **ret, uv_loop_t *loop, void (*on_done)(void *ctx, CURL *easy, CURLcode code),
        void *ctx)
{
        struct curl_uv *cu = calloc(1, sizeof(*cu));

        if (!cu)
                return -ENOMEM;
        cu->loop = loop;
        cu->on_done = on_done;
        cu->ctx = ctx;
        cu->multi = multi_new(cu);
        if (!cu->multi) {
                free(cu);
                return -ENOMEM;
        }
        *ret = cu;
        return 0;
}

void curl_uv_start(struct curl_uv *cu)
{
        (void)uv_timer_init(cu->loop, &cu->timer); /* libuv: always 0 */
        cu->timer.data = cu;
        cu->n_open = 1;
}

struct curl_uv *curl_uv_free(struct curl_uv *cu)
{
        if (!cu)
                return NULL;
        if (cu->multi)
                (void)curl_multi_cleanup(cu->multi); /* fails only for a bad handle */
        free(cu);
        return NULL;
}

static void multi_destroy(struct curl_uv *cu)
{
        cu->destroying = true;
        if (cu->multi)
                (void)curl_multi_cleanup(cu->multi); /* its sockets go through on_close_socket() */
        cu->multi = NULL;
        while (cu->socks)
                sock_close(cu->socks);
        (void)uv_timer_stop(&cu->timer);
        cu->destroying = false;
}

void curl_uv_close(struct curl_uv *cu, void (*closed)(void *ctx), void *ctx)
{
        if (cu->closing)
                return;
        cu->closing = true;
        cu->closed = closed;
        cu->closed_ctx = ctx;
        multi_destroy(cu);
        uv_close((uv_handle_t *)&cu->timer, on_timer_closed);
}

bool curl_uv_prepare(struct curl_uv *cu, CURL *easy)
{
        return curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_sockopt) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, cu) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, cu) == CURLE_OK;
}

int curl_uv_add(struct curl_uv *cu, CURL *easy)
{
        if (!cu->multi)
                cu->multi = multi_new(cu);
        if (!cu->multi || curl_multi_add_handle(cu->multi, easy) != CURLM_OK)
                return -ENOMEM;
        return 0;
}

void curl_uv_remove(struct curl_uv *cu, CURL *easy)
{
        if (cu->multi)
                (void)curl_multi_remove_handle(
                        cu->multi, easy); /* fails only for a handle that is not in it */
}

void curl_uv_reset(struct curl_uv *cu)
{
        multi_destroy(cu);
        cu->broken = false;
}

bool curl_uv_broken(const struct curl_uv *cu)
{
        return cu->broken;
}

uint64_t curl_uv_connections(const struct curl_uv *cu)
{
        return cu->n_connections;
}
