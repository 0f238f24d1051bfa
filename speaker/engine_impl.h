/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* engine_impl - what engine.c, ports.c (what is there) and answer.c (what is said) share. Nobody else includes it. */
#include "common/rng.h"
#include "speaker/announce.h"
#include "speaker/engine.h"
#include "speaker/groups.h"
#include "speaker/limit.h"
#include "speaker/links.h"
#include "speaker/responder.h"
#include "speaker/segment.h"
#include "speaker/wirestat.h"

enum { V4, V6, FAMILIES }; /* index of everything that exists once a family */

static inline unsigned side_of(const struct ip *ip)
{
        return ip->family == IP_V6 ? V6 : V4;
}

struct port;

struct side { /* one family of a port */
        struct port *port;
        struct responder *responder; /* NULL: no address of this family is allowed here */
        bool announced; /* the schedule knows the port */
        unsigned filter_gen; /* of the program that the socket has */
};

struct port {
        struct engine *engine;
        const struct link *link; /* of the current table */
        unsigned index;
        char name[LINK_NAME_MAX];
        uint8_t mac[6];
        bool in_vrf, running;
        unsigned mtu;
        unsigned generation; /* of its group memberships: another one, join again */
        bool has_vip; /* an owned address is on the interface itself */
        bool shared; /* another port is on the same LAN */
        bool burst; /* announce everything again */
        bool seen; /* in the table, during a sync */
        struct side side[FAMILIES];
};

struct vip { /* beside desired->vips, at the same position */
        struct vipstat stat;
        uint64_t conflict_ms; /* when the last conflict was reported */
};

struct known { /* whether an interface is excluded, remembered */
        unsigned index; /* 0: free */
        char name[LINK_NAME_MAX];
        bool excluded;
};

struct engine {
        /* What every frame needs, side by side: an answer is mostly waiting for memory. */
        uv_loop_t *loop;
        struct desired *desired; /* never NULL */
        struct vip *vips;
        struct limit *limit;
        struct links *links;
        struct port **ports; /* by index; each owned */
        size_t n_ports, cap_ports;
        struct segment *segment;
        struct announce *announce;
        struct wirestat stat;
        struct engine_conf conf;
        struct exclude *exclude;
        struct responder_gate gate;
        struct groups *groups;
        bool groups_dirty; /* other memberships are wanted, or some failed */
        size_t groups_failed;
        struct filter filter[FAMILIES];
        unsigned filter_gen;
        struct known known[512]; /* by index modulo its size */
        struct rng rng;
        struct engine_view *view; /* the last one reported */
        char *warned; /* the last warning's reason */
        uint64_t warned_ms;
        bool warned_idle; /* said that there is no usable interface */
        uv_timer_t pump; /* armed to the schedule's deadline */
        uv_timer_t chores; /* work left over: filters to attach, a sync that lacked memory */
        uv_timer_t slow; /* now and then: counters that have to be asked for */
        uv_prepare_t prepare;
        uv_check_t check;
        bool sync_again, closing;
        unsigned n_open;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static inline bool side_speaks(const struct side *s)
{
        return s->responder && responder_is_open(s->responder) && s->port->running;
}

extern const enum ip_family engine_families[FAMILIES];

/* engine.c */
void engine_again(struct engine *e); /* memory was short: ports_sync() in a second */
void engine_soon(struct engine *e); /* ports_filters() in a moment */
void engine_warn(struct engine *e, const char *words); /* the same reason at most once a minute */
void engine_pump(struct engine *e); /* sends what is due */
void engine_pump_soon(struct engine *e);
void engine_part_closed(void *engine); /* one of n_open */

/* ports.c */
void ports_sync(struct engine *e);
void ports_announce(struct engine *e); /* tells the schedule which ports there are */
void ports_filters(struct engine *e); /* gives the sockets the programs they lack, a few at a time */
void ports_groups(struct engine *e); /* asks for other memberships, if the flag says so */
void ports_on_groups(void *engine, size_t n_failed, int code);
void ports_close(struct engine *e); /* their sockets */
struct port *engine_port(const struct engine *e, unsigned index); /* NULL: none */
/* Which ports share a LAN is other than before: everybody on it announces again. */
void engine_segments_changed(struct engine *e);

/* answer.c */
const struct desired_vip *engine_find(const struct engine *e, const struct ip *ip, struct vip **ret);
bool engine_allows(const struct desired_vip *v, const struct port *p);
/* Of the ports on this LAN, @p is the one to speak for @v. */
bool engine_leads(const struct engine *e, const struct desired_vip *v, const struct port *p);
void answer_frame(struct port *p, unsigned side, const uint8_t *frame, size_t len, uint64_t at_ns);
void answer_announce(struct engine *e, const struct announce_item *item);
bool answer_wants(void *engine, const struct ip *ip, unsigned ifindex);
