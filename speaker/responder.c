/* SPDX-License-Identifier: Apache-2.0 */
/* One life: OPENING (pool) -> OPEN -> SHUTTING (poll handle closes) -> CLOSING (pool) -> WAITING (timer) -> OPENING.
 * A failure to open goes straight to WAITING. responder_close() may come in every state: it only sets the flag, and the
 * step under way ends in finish() instead of the next one. */
#include "speaker/responder.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/err.h"
#include "speaker/eth.h"
#include "speaker/ndp.h"

#define BATCH      64 /* frames read before others get their turn */
#define OPENS_MAX  2 /* at a time; libuv's pool has four threads */
#define CLOSES_MAX 2
#define DRAIN_MAX  16 /* one is enough unless a flood goes on */
#define REVIVALS   5 /* in one second; a socket that needs more is dead */
#define WAIT_FIRST 1000 /* ms until a failed socket is tried again; doubles */
#define WAIT_MAX   30000
#define SNAP_ARP   64
#define SNAP_NDP   NDP_SEEN_MAX

enum state { OPENING, OPEN, SHUTTING, CLOSING, WAITING };

struct responder {
        uv_poll_t
                poll; /* exists in OPEN and SHUTTING; it and the fields behind it are what every frame needs */
        pcap_t *pcap; /* the pool's in OPENING and CLOSING, ours else */
        int fd; /* of pcap, -1 when not OPEN */
        enum state state;
        bool closing, told;
        void (*on_frame)(void *ctx, const uint8_t *frame, size_t len, uint64_t at_ns);
        void *ctx;
        void (*on_state)(void *ctx, bool open, const char *words);
        uv_loop_t *loop;
        uv_work_t work;
        uv_timer_t timer;
        struct responder_gate *gate;
        struct responder *next; /* waiting at the gate */
        char name[IFNAMSIZ];
        char open_name[IFNAMSIZ]; /* the pool's copy in OPENING */
        unsigned ifindex;
        enum ip_family family;
        uint32_t ring_bytes;
        const struct filter *filter;
        uint64_t wait_ms;
        uint64_t revived_ms; /* revivals counts those since then */
        unsigned revivals, lost_seen;
        struct err why; /* of the last failure; the pool's in OPENING */
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static void start_open(struct responder *r);
static void start_close(struct responder *r);
static void pass_gate(struct responder_gate *g);

static void on_timer_closed(uv_handle_t *h)
{
        struct responder *r = container_of((uv_timer_t *)h, struct responder, timer);
        void (*closed)(void *ctx) = r->closed;
        void *ctx = r->closed_ctx;

        free(r);
        closed(ctx);
}

static void finish(struct responder *r)
{
        uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}

static void on_timer(uv_timer_t *t)
{
        struct responder *r = container_of(t, struct responder, timer);

        if (!r->closing && r->state == WAITING)
                start_open(r);
}

static void wait_open(struct responder *r)
{
        r->state = WAITING;
        (void)uv_timer_start(&r->timer, on_timer, r->wait_ms, 0); /* fails only for a closing handle */
        r->wait_ms = MIN(r->wait_ms * 2, (uint64_t)WAIT_MAX);
}

/* The name may have gone to another interface while we opened by name: ask what the socket is bound to. */
static bool bound_right(int fd, unsigned ifindex)
{
        struct sockaddr_ll at;
        socklen_t len = sizeof(at);

        return getsockname(fd, (struct sockaddr *)&at, &len) == 0 && at.sll_ifindex == (int)ifindex;
}

/* In the pool. Leaves r->pcap, or NULL and r->why. */
static void open_work(uv_work_t *w)
{
        struct responder *r = container_of(w, struct responder, work);
        char text[PCAP_ERRBUF_SIZE] = "";
        pcap_t *p = pcap_create(r->open_name, text);
        int status;

        if (!p) {
                (void)err_set(&r->why, 0, "%s: %s", r->open_name, text);
                return;
        }
        (void)pcap_set_snaplen(
                p, r->family == IP_V4 ? SNAP_ARP : SNAP_NDP); /* setters fail only after activation */
        (void)pcap_set_promisc(p, 0);
        (void)pcap_set_immediate_mode(p, 1);
        (void)pcap_set_buffer_size(p, (int)r->ring_bytes);
        (void)pcap_set_protocol_linux(p, r->family == IP_V4 ? ETH_ARP : ETH_IPV6);
        (void)pcap_set_tstamp_precision(p, PCAP_TSTAMP_PRECISION_NANO);
        status = pcap_activate(p);
        if (status < 0)
                (void)err_set(&r->why, 0, "%s: %s", r->open_name,
                        status == PCAP_ERROR_PERM_DENIED
                                ? "no permission for a packet socket (capability NET_RAW)"
                                : pcap_statustostr(status));
        else if (pcap_setnonblock(p, 1, text) < 0)
                (void)err_set(&r->why, 0, "%s: %s", r->open_name, text);
        else if (pcap_datalink(p) != DLT_EN10MB || !bound_right(pcap_fileno(p), r->ifindex))
                (void)err_set(&r->why, 0, "%s: not the Ethernet interface it was", r->open_name);
        else
                r->pcap = TAKE(p);
        if (p)
                pcap_close(p);
}

static void close_work(uv_work_t *w)
{
        struct responder *r = container_of(w, struct responder, work);

        pcap_close(TAKE(r->pcap));
}

static int attach(int fd, const struct filter *f)
{
        struct sock_filter v[FILTER_MAX];
        struct sock_fprog prog = { .len = (unsigned short)f->n, .filter = v };

        memcpy(v, f->v, f->n * sizeof(v[0])); /* sock_fprog wants it writable */
        return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno : 0;
}

static int attach_some(struct responder *r)
{
        struct filter all;
        int e = attach(r->fd, r->filter);

        if (e == 0)
                return 0;
        filter_all(&all,
                r->family); /* too big for this kernel's optmem_max: a short one that lets more through */
        return attach(r->fd, &all);
}

static void ignore_frame(u_char *user, const struct pcap_pkthdr *h, const u_char *frame)
{
        (void)user;
        (void)h;
        (void)frame;
}

static void take_frame(u_char *user, const struct pcap_pkthdr *h, const u_char *frame)
{
        struct responder *r = (struct responder *)(void *)user;

        if (!r->closing) /* the precision asked for puts nanoseconds into tv_usec */
                r->on_frame(r->ctx, frame, h->caplen,
                        (uint64_t)h->ts.tv_sec * 1000000000u + (uint64_t)h->ts.tv_usec);
}

static void on_poll_closed(uv_handle_t *h)
{
        struct responder *r = container_of((uv_poll_t *)h, struct responder, poll);

        start_close(r);
        if (!r->closing)
                r->on_state(r->ctx, false, NULL);
}

static void shut(struct responder *r)
{
        r->state = SHUTTING;
        r->fd = -1;
        uv_close((uv_handle_t *)&r->poll, on_poll_closed);
}

static void on_readable(uv_poll_t *p, int status, int events);

/* libpcap and libuv both stop at the socket error that an interface going down leaves behind. If the socket is still
 * bound it will deliver again when the interface comes up, and frames waiting in the ring are still good. */
static bool revive(struct responder *r)
{
        socklen_t len = sizeof(int);
        int code = 0;

        if (uv_now(r->loop) - r->revived_ms >= 1000) {
                r->revived_ms = uv_now(r->loop);
                r->revivals = 0;
        }
        (void)getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &code, &len); /* reading clears it */
        if (++r->revivals > REVIVALS || (code != 0 && code != ENETDOWN) || !bound_right(r->fd, r->ifindex))
                return false;
        return uv_poll_start(&r->poll, UV_READABLE, on_readable) == 0;
}

static void on_readable(uv_poll_t *p, int status, int events)
{
        struct responder *r = container_of(p, struct responder, poll);

        (void)events;
        if (r->closing)
                return;
        if (status >= 0 && pcap_dispatch(r->pcap, BATCH, take_frame, (u_char *)r) >= 0)
                return;
        if (r->closing || revive(r))
                return;
        shut(r);
}

static void after_open(uv_work_t *w, int status)
{
        struct responder *r = container_of(w, struct responder, work);
        int e = -ENODEV;

        (void)status; /* never cancelled */
        r->gate->n_opening--;
        pass_gate(r->gate);
        if (r->closing && r->pcap) {
                start_close(r);
                return;
        }
        if (r->closing) {
                finish(r);
                return;
        }
        if (r->pcap) {
                r->fd = pcap_fileno(r->pcap);
                e = attach_some(r);
                if (e == 0)
                        e = uv_poll_init(r->loop, &r->poll, r->fd);
                if (e < 0)
                        (void)err_set(&r->why, 0, "%s: packet socket: %s", r->name, err_name(e));
        }
        if (e == 0) {
                for (unsigned i = 0; i < DRAIN_MAX && pcap_dispatch(r->pcap, -1, ignore_frame, NULL) > 0; i++)
                        continue;
                r->lost_seen = 0;
                r->state = OPEN;
                r->told = false;
                r->wait_ms = WAIT_FIRST;
                (void)uv_poll_start(&r->poll, UV_READABLE, on_readable); /* fails only for a closing handle */
                r->on_state(r->ctx, true, NULL);
                return;
        }
        r->fd = -1;
        if (r->pcap)
                start_close(r);
        else
                wait_open(r);
        if (!r->told) {
                r->told = true;
                r->on_state(r->ctx, false, r->why.text);
        }
}

static void after_close(uv_work_t *w, int status)
{
        struct responder *r = container_of(w, struct responder, work);

        (void)status;
        r->gate->n_closing--;
        pass_gate(r->gate);
        if (r->closing)
                finish(r);
        else
                wait_open(r);
}

static struct responder *gate_take(struct responder **list)
{
        struct responder *r = *list;

        *list = r->next;
        r->next = NULL;
        return r;
}

static void gate_put(struct responder **list, struct responder *r)
{
        while (*list)
                list = &(*list)->next;
        *list = r;
}

static void pass_gate(struct responder_gate *g)
{
        while (g->opens && (g->opens->closing || g->n_opening < OPENS_MAX)) {
                struct responder *r = gate_take(&g->opens);

                if (r->closing) { /* it had no socket yet */
                        finish(r);
                        continue;
                }
                memcpy(r->open_name, r->name, sizeof(r->name));
                g->n_opening++;
                (void)uv_queue_work(
                        r->loop, &r->work, open_work, after_open); /* fails only without a function */
        }
        while (g->closes && g->n_closing < CLOSES_MAX) {
                struct responder *r = gate_take(&g->closes);

                g->n_closing++;
                (void)uv_queue_work(r->loop, &r->work, close_work, after_close);
        }
}

static void start_open(struct responder *r)
{
        r->state = OPENING;
        gate_put(&r->gate->opens, r);
        pass_gate(r->gate);
}

static void start_close(struct responder *r)
{
        r->state = CLOSING;
        gate_put(&r->gate->closes, r);
        pass_gate(r->gate);
}

int responder_new(struct responder **ret, uv_loop_t *loop, const struct responder_conf *conf)
{
        struct responder *r = calloc(1, sizeof(*r));

        if (!r)
                return -ENOMEM;
        r->loop = loop;
        r->gate = conf->gate;
        r->fd = -1;
        (void)snprintf(r->name, sizeof(r->name), "%s", conf->name); /* names are shorter by definition */
        r->ifindex = conf->ifindex;
        r->family = conf->family;
        r->ring_bytes = conf->ring_bytes;
        r->filter = conf->filter;
        r->on_frame = conf->on_frame;
        r->on_state = conf->on_state;
        r->ctx = conf->ctx;
        r->wait_ms = WAIT_FIRST;
        (void)uv_timer_init(loop, &r->timer); /* cannot fail */
        start_open(r);
        *ret = r;
        return 0;
}

void responder_close(struct responder *r, void (*closed)(void *ctx), void *ctx)
{
        if (r->closing)
                return;
        r->closing = true;
        r->closed = closed;
        r->closed_ctx = ctx;
        if (r->state == OPEN)
                shut(r);
        else if (r->state == WAITING)
                finish(r);
}

void responder_rename(struct responder *r, const char *name)
{
        (void)snprintf(r->name, sizeof(r->name), "%s", name);
}

bool responder_is_open(const struct responder *r)
{
        return r->state == OPEN && !r->closing;
}

void responder_filter(struct responder *r, const struct filter *f)
{
        r->filter = f;
        if (r->state == OPEN && !r->closing && attach_some(r) < 0)
                shut(r); /* the old program does not know the new addresses */
}

int responder_send(struct responder *r, const uint8_t *frame, size_t len)
{
        if (r->state != OPEN)
                return -ENOTCONN;
        return send(r->fd, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

unsigned responder_lost(struct responder *r)
{
        struct pcap_stat now;
        unsigned lost;

        if (r->state != OPEN || pcap_stats(r->pcap, &now) < 0)
                return 0;
        lost = now.ps_drop - r->lost_seen;
        r->lost_seen = now.ps_drop;
        return lost;
}
