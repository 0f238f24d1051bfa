/* SPDX-License-Identifier: Apache-2.0 */
/* The lists and sockets below "pool" belong to the worker while `busy`, to the loop otherwise. A wish that comes in
 * between waits in `next`, where a newer one replaces it. */
#include "speaker/groups.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NO_SOCKET SIZE_MAX

struct joined {
        struct membership m;
        size_t socket; /* NO_SOCKET: could not be joined */
};

struct holder {
        int fd;
        unsigned n;
        bool full; /* the kernel said so, below our own limit */
};

struct groups {
        uv_loop_t *loop;
        uv_work_t work;
        bool busy, closing, has_next;
        struct membership *next;
        size_t n_next;
        void (*on_done)(void *ctx, size_t n_failed, int code);
        void *ctx;
        void (*closed)(void *ctx);
        void *closed_ctx;
        /* pool */
        struct membership *want;
        size_t n_want;
        struct joined *v; /* sorted, unique */
        size_t n;
        struct holder *holders;
        size_t n_holders;
        size_t n_failed;
        int code;
};

static int cmp(const struct membership *a, const struct membership *b)
{
        if (a->ifindex != b->ifindex)
                return a->ifindex < b->ifindex ? -1 : 1;
        return ip_cmp(&a->group, &b->group);
}

static int cmp_void(const void *a, const void *b)
{
        return cmp(a, b);
}

static int membership_set(int fd, int option, const struct membership *m)
{
        struct ipv6_mreq req = { .ipv6mr_interface = m->ifindex };

        memcpy(&req.ipv6mr_multiaddr, m->group.b, sizeof(m->group.b));
        return setsockopt(fd, IPPROTO_IPV6, option, &req, sizeof(req)) < 0 ? -errno : 0;
}

/* A socket with room, made if there is none. */
static int holder_get(struct groups *g, size_t *ret)
{
        struct holder *v;
        int fd;

        for (size_t i = 0; i < g->n_holders; i++) {
                if (g->holders[i].n < GROUPS_SOCKET_MAX && !g->holders[i].full) {
                        *ret = i;
                        return 0;
                }
        }
        v = realloc(g->holders, (g->n_holders + 1) * sizeof(*v));
        if (!v)
                return -ENOMEM;
        g->holders = v;
        fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        *ret = g->n_holders;
        v[g->n_holders++] = (struct holder){ .fd = fd };
        return 0;
}

static int join_on(struct groups *g, struct joined *j)
{
        struct holder *h;
        size_t at = 0;
        int r = holder_get(g, &at);

        if (r < 0)
                return r;
        h = &g->holders[at];
        r = membership_set(h->fd, IPV6_JOIN_GROUP, &j->m);
        if (r == 0) {
                j->socket = at;
                h->n++;
        } else if ((r == -ENOBUFS || r == -ENOMEM) && h->n > 0) {
                h->full = true; /* optmem_max is smaller than we thought: the next socket */
                return -EAGAIN;
        }
        return r;
}

static void join(struct groups *g, struct joined *j)
{
        int r;

        j->socket = NO_SOCKET;
        do {
                r = join_on(g, j);
        } while (r == -EAGAIN); /* ends: a fresh socket never gives it */
        if (r < 0) {
                g->n_failed++;
                g->code = r;
        }
}

static void leave(struct groups *g, const struct joined *j)
{
        if (j->socket == NO_SOCKET)
                return;
        /* Fails only when the interface has gone, and then the kernel has forgotten the membership itself. */
        (void)membership_set(g->holders[j->socket].fd, IPV6_LEAVE_GROUP, &j->m);
        g->holders[j->socket].n--;
        g->holders[j->socket].full = false;
}

/* What becomes of a wanted membership, given the one there is (NULL: none). */
static struct joined settle(struct groups *g, const struct membership *want, const struct joined *old)
{
        struct joined j = { .m = *want, .socket = old ? old->socket : NO_SOCKET };

        if (old && old->m.generation != want->generation) {
                leave(g, old);
                j.socket = NO_SOCKET;
        }
        if (j.socket == NO_SOCKET)
                join(g, &j);
        return j;
}

/* Sorts @v, drops repetitions (two addresses with the same low 24 bits) and what is beyond the limit. */
static size_t tidy(struct groups *g, struct membership *v, size_t n)
{
        size_t out = 0;

        qsort(v, n, sizeof(*v), cmp_void);
        for (size_t i = 0; i < n; i++)
                if (out == 0 || cmp(&v[out - 1], &v[i]) != 0)
                        v[out++] = v[i];
        if (out <= GROUPS_MAX)
                return out;
        g->n_failed += out - GROUPS_MAX;
        g->code = -ENOBUFS;
        return GROUPS_MAX;
}

static void sync_work(uv_work_t *w)
{
        struct groups *g = container_of(w, struct groups, work);
        struct joined *v = calloc(g->n_want + 1, sizeof(*v));
        size_t old = 0, i = 0;

        g->n_failed = 0;
        g->code = 0;
        if (!v) {
                g->n_failed = g->n_want;
                g->code = -ENOMEM;
                return;
        }
        g->n_want = tidy(g, g->want, g->n_want);
        while (i < g->n_want || old < g->n) { /* both are sorted: one walk over the two */
                int c = i == g->n_want ? 1 : old == g->n ? -1 : cmp(&g->want[i], &g->v[old].m);

                if (c > 0) {
                        leave(g, &g->v[old++]);
                        continue;
                }
                v[i] = settle(g, &g->want[i], c == 0 ? &g->v[old] : NULL);
                old += c == 0;
                i++;
        }
        free(g->v);
        g->v = v;
        g->n = g->n_want;
}

struct groups *groups_free(struct groups *g)
{
        if (!g)
                return NULL;
        free(g->next);
        free(g->want);
        free(g->v);
        free(g->holders);
        free(g);
        return NULL;
}

static void close_work(uv_work_t *w)
{
        struct groups *g = container_of(w, struct groups, work);

        for (size_t i = 0; i < g->n_holders; i++)
                (void)close(g->holders[i].fd); /* leaves its groups */
}

static void after_close(uv_work_t *w, int status)
{
        struct groups *g = container_of(w, struct groups, work);
        void (*closed)(void *ctx) = g->closed;
        void *ctx = g->closed_ctx;

        (void)status; /* never cancelled */
        (void)groups_free(g);
        closed(ctx);
}

static void start(struct groups *g);

static void after_sync(uv_work_t *w, int status)
{
        struct groups *g = container_of(w, struct groups, work);

        (void)status;
        g->busy = false;
        if (g->closing)
                (void)uv_queue_work(
                        g->loop, &g->work, close_work, after_close); /* fails only without a function */
        else if (g->has_next)
                start(g);
        else
                g->on_done(g->ctx, g->n_failed, g->code);
}

static void start(struct groups *g)
{
        free(g->want);
        g->want = TAKE(g->next);
        g->n_want = g->n_next;
        g->has_next = false;
        g->busy = true;
        (void)uv_queue_work(g->loop, &g->work, sync_work, after_sync);
}

int groups_new(struct groups **ret, uv_loop_t *loop, void (*on_done)(void *ctx, size_t n_failed, int code),
        void *ctx)
{
        struct groups *g = calloc(1, sizeof(*g));

        if (!g)
                return -ENOMEM;
        g->loop = loop;
        g->on_done = on_done;
        g->ctx = ctx;
        *ret = g;
        return 0;
}

void groups_sync(struct groups *g, struct membership *v, size_t n)
{
        if (g->closing || (!g->busy && n == 0 && g->n == 0)) { /* g->n is the pool's while busy */
                free(v);
                return;
        }
        free(g->next);
        g->next = v;
        g->n_next = n;
        g->has_next = true;
        if (!g->busy)
                start(g);
}

void groups_close(struct groups *g, void (*closed)(void *ctx), void *ctx)
{
        if (g->closing)
                return;
        g->closing = true;
        g->closed = closed;
        g->closed_ctx = ctx;
        if (!g->busy)
                (void)uv_queue_work(g->loop, &g->work, close_work, after_close);
}
