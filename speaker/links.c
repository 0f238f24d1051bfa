/* SPDX-License-Identifier: Apache-2.0 */
/* A dump is two requests, interfaces and then addresses, on the socket that also brings the notifications, so nothing
 * falls between them. Old entries stay usable while it runs and are swept at its end. A dump that failed or was
 * disturbed is asked for again after a pause; ENOBUFS (we were too slow) is such a disturbance. */
#include "speaker/links.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define AGAIN_MS     100
#define BATCH        16 /* datagrams read before others get their turn */
#define DATAGRAM_MAX 32768 /* the kernel fills a dump's datagrams up to this */

enum dump { DUMP_NONE, DUMP_LINKS, DUMP_ADDRS };

struct links {
        uv_poll_t poll;
        uv_timer_t timer;
        struct mnl_socket *sock;
        struct linktab *tab;
        enum dump dump;
        bool again, ready;
        bool closing;
        unsigned n_open;
        void (*on_change)(void *ctx);
        void *ctx;
        void (*closed)(void *ctx);
        void *closed_ctx;
        uint8_t bytes[DATAGRAM_MAX];
};

const struct linktab *links_table(const struct links *l)
{
        return l->ready ? l->tab : NULL;
}

static void on_timer(uv_timer_t *t);

static void retry(struct links *l)
{
        l->dump = DUMP_NONE;
        (void)uv_timer_start(&l->timer, on_timer, AGAIN_MS, 0); /* fails only for a closing handle */
}

static int request(struct links *l, uint16_t type)
{
        uint8_t space[64] = { 0 };
        struct nlmsghdr *h = mnl_nlmsg_put_header(space);
        struct rtgenmsg *g;

        h->nlmsg_type = type;
        h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
        g = mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg)); /* the longer of the two bodies */
        g->rtgen_family = AF_UNSPEC;
        return mnl_socket_sendto(l->sock, h, h->nlmsg_len) < 0 ? -errno : 0;
}

static void dump(struct links *l, enum dump what)
{
        if (what == DUMP_LINKS) {
                l->again = false;
                linktab_mark(l->tab);
        }
        l->dump = what;
        if (request(l, what == DUMP_LINKS ? RTM_GETLINK : RTM_GETADDR) < 0)
                retry(l);
}

static void on_timer(uv_timer_t *t)
{
        struct links *l = container_of(t, struct links, timer);

        if (!l->closing && l->dump == DUMP_NONE)
                dump(l, DUMP_LINKS);
}

/* Returns whether the owner should look. */
static bool dump_done(struct links *l)
{
        if (l->dump == DUMP_LINKS && !l->again) {
                dump(l, DUMP_ADDRS);
                return false;
        }
        if (l->again) {
                retry(l);
                return false;
        }
        l->dump = DUMP_NONE;
        (void)linktab_sweep(l->tab);
        l->ready = true;
        return true;
}

/* One datagram. Returns -EAGAIN when there is none. */
static int receive(struct links *l, bool *changed)
{
        struct sockaddr_nl from = { .nl_family = AF_NETLINK };
        struct iovec iov = { l->bytes, sizeof(l->bytes) };
        struct msghdr msg = {
                .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1
        };
        ssize_t len = recvmsg(mnl_socket_get_fd(l->sock), &msg, MSG_DONTWAIT);
        struct linktab_news news;

        if (len < 0 && (errno == EAGAIN || errno == EINTR))
                return -EAGAIN;
        if (len < 0 || (msg.msg_flags & MSG_TRUNC)) { /* ENOBUFS: messages were lost */
                l->again = true;
                return 0;
        }
        if (from.nl_pid != 0) /* only the kernel is believed */
                return 0;
        if (linktab_feed(l->tab, l->bytes, (size_t)len, &news) < 0 || news.again)
                l->again = true;
        if (news.changed && l->ready)
                *changed = true;
        if (news.error < 0 && l->dump != DUMP_NONE)
                retry(l);
        else if (news.done && l->dump != DUMP_NONE && dump_done(l))
                *changed = true;
        return 0;
}

static void on_readable(uv_poll_t *p, int status, int events)
{
        struct links *l = container_of(p, struct links, poll);
        bool changed = false;

        (void)events;
        if (l->closing)
                return;
        if (status < 0) { /* libuv stopped polling on a socket error, which is ENOBUFS; reading clears it */
                l->again = true;
                (void)uv_poll_start(&l->poll, UV_READABLE, on_readable);
        }
        for (unsigned i = 0; i < BATCH; i++)
                if (receive(l, &changed) < 0)
                        break;
        if (l->again && l->dump == DUMP_NONE && !uv_is_active((uv_handle_t *)&l->timer))
                retry(l);
        if (changed)
                l->on_change(l->ctx);
}

static struct links *links_free(struct links *l)
{
        if (!l)
                return NULL;
        if (l->sock)
                (void)mnl_socket_close(l->sock); /* nothing to do about a failure */
        (void)linktab_free(l->tab);
        free(l);
        return NULL;
}
DEFINE_CLEANUP(struct links, links_free);

int links_new(struct links **ret, uv_loop_t *loop, void (*on_change)(void *ctx), void *ctx, struct err *e)
{
        CLEANUP(links_freep) struct links *l = calloc(1, sizeof(*l));
        unsigned groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
        int r;

        if (!l || linktab_new(&l->tab) < 0)
                return err_set(e, -ENOMEM, "interfaces: no memory");
        l->on_change = on_change;
        l->ctx = ctx;
        l->sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (!l->sock || mnl_socket_bind(l->sock, groups, MNL_SOCKET_AUTOPID) < 0) {
                r = -errno;
                return err_set(e, r, "cannot watch the interfaces (rtnetlink): %s", err_name(r));
        }
        r = uv_poll_init(loop, &l->poll, mnl_socket_get_fd(l->sock));
        if (r < 0)
                return err_set(e, r, "cannot watch the interfaces: %s", err_name(r));
        (void)uv_timer_init(loop, &l->timer); /* cannot fail */
        l->n_open = 2;
        (void)uv_poll_start(&l->poll, UV_READABLE, on_readable); /* fails only for a closing handle */
        dump(l, DUMP_LINKS);
        *ret = TAKE(l);
        return 0;
}

static void on_handle_closed(uv_handle_t *h)
{
        struct links *l = h->data;
        void (*closed)(void *ctx) = l->closed;
        void *ctx = l->closed_ctx;

        if (--l->n_open > 0)
                return;
        (void)links_free(l);
        closed(ctx);
}

void links_close(struct links *l, void (*closed)(void *ctx), void *ctx)
{
        if (l->closing)
                return;
        l->closing = true;
        l->closed = closed;
        l->closed_ctx = ctx;
        l->poll.data = l->timer.data = l;
        uv_close((uv_handle_t *)&l->poll, on_handle_closed);
        uv_close((uv_handle_t *)&l->timer, on_handle_closed);
}
