/* SPDX-License-Identifier: Apache-2.0 */
/* What is said on the wire: the answer to one frame, and one announcement. The first runs for every frame that the kernel
 * filter let through, so it allocates nothing and makes no system call but the one that sends. */
#include <time.h>

#include "speaker/arp.h"
#include "speaker/engine_impl.h"
#include "speaker/ndp.h"

#define CONFLICT_MS 10000 /* one report of a conflict for one address in this time; every frame is counted */
#define FRAME_MAX   MAX(ARP_FRAME_LEN, NDP_FRAME_LEN)

const struct desired_vip *engine_find(const struct engine *e, const struct ip *ip, struct vip **ret)
{
        const struct desired_vip *v = desired_find(e->desired, ip);

        if (v)
                *ret = &e->vips[v - e->desired->vips];
        return v;
}

bool engine_allows(const struct desired_vip *v, const struct port *p)
{
        if (v->n_interfaces == 0)
                return !p->in_vrf;
        return desired_vip_allows(v, p->name);
}

/* Lower speaks. */
static uint64_t rank(const struct port *p, const struct ip *ip)
{
        return (link_subnet_has(p->link, ip) ? 0 : (uint64_t)1 << 32) + p->index;
}

bool engine_leads(const struct engine *e, const struct desired_vip *v, const struct port *p)
{
        if (!p->shared)
                return true;
        for (size_t i = 0; i < e->n_ports; i++) {
                const struct port *q = e->ports[i];

                if (q == p || !q->shared || !side_speaks(&q->side[side_of(&v->ip)]) || !engine_allows(v, q))
                        continue;
                if (rank(q, &v->ip) < rank(p, &v->ip) && segment_same(e->segment, p->index, q->index))
                        return false;
        }
        return true;
}

/* The frame came from ourselves. If it surely came from one certain port, that port and @p share a LAN. */
static void learn(struct port *p, const struct heard *h)
{
        struct engine *e = p->engine;
        const struct port *from = NULL;

        if (!mac_equal(h->sender_mac, h->eth_src))
                return;
        for (size_t i = 0; i < e->n_ports; i++) {
                if (!mac_equal(e->ports[i]->mac, h->eth_src))
                        continue;
                if (from) /* a VLAN interface has its parent's MAC: it could have been either */
                        return;
                from = e->ports[i];
        }
        if (from && segment_heard(e->segment, from->index, p->index))
                engine_segments_changed(e);
}

/* The sender says that an address is its own. True: it is one of ours here, and there is nothing to answer. */
static bool claimed(struct port *p, unsigned side, const struct heard *h)
{
        struct engine *e = p->engine;
        uint64_t now = uv_now(e->loop);
        const struct desired_vip *v;
        struct vip *own;

        v = h->claim.family != IP_NONE ? engine_find(e, &h->claim, &own) : NULL;
        if (!v || !engine_allows(v, p))
                return false;
        if (linktab_by_mac(links_table(e->links), h->sender_mac)) {
                wirestat_drop(&e->stat, side == V6, DROP_OWN);
                learn(p, h);
                return true;
        }
        wirestat_drop(&e->stat, side == V6, DROP_CONFLICT);
        series_add(own->stat.conflicts, 1);
        if (own->conflict_ms == 0 || now - own->conflict_ms >= CONFLICT_MS) {
                own->conflict_ms = now;
                e->conf.on_conflict(e->conf.ctx, &h->claim, h->sender_mac, p->name);
        }
        return true;
}

/* Whether to answer the question; 0, or why not. */
static unsigned refusal(struct port *p, const struct heard *h, struct vip **ret)
{
        struct engine *e = p->engine;
        const struct desired_vip *v = engine_find(e, &h->ask, ret);

        if (!v)
                return DROP_UNOWNED;
        if (!engine_allows(v, p))
                return DROP_INTERFACE;
        if (p->has_vip && link_has_ip(p->link, &h->ask))
                return DROP_KERNEL;
        if (!engine_leads(e, v, p))
                return DROP_SEGMENT;
        return limit_ok(e->limit, h->eth_src, uv_now(e->loop)) ? 0 : DROP_RATE;
}

void answer_frame(struct port *p, unsigned side, const uint8_t *frame, size_t len, uint64_t at_ns)
{
        struct engine *e = p->engine;
        uint8_t out[FRAME_MAX];
        struct timespec now;
        enum heard_verdict verdict;
        struct vip *own = NULL;
        struct heard h;
        uint64_t now_ns;
        unsigned why;

        verdict = side == V4 ? arp_hear(&h, frame, len, p->mac) : ndp_hear(&h, frame, len, p->mac);
        if (verdict != HEARD_OK) {
                wirestat_drop(&e->stat, side == V6, (enum wire_drop)verdict);
                return;
        }
        if (claimed(p, side, &h) || h.ask.family == IP_NONE)
                return;
        why = refusal(p, &h, &own);
        if (why == 0) {
                if (side == V4)
                        arp_answer(out, &h, p->mac);
                else
                        ndp_answer(out, &h, p->mac);
                if (responder_send(p->side[side].responder, out, side == V4 ? ARP_FRAME_LEN : NDP_FRAME_LEN) <
                        0)
                        why = DROP_SEND;
        }
        /* Counting comes last: the asker need not wait for it. */
        if (why == 0 || why >= DROP_RATE)
                series_add(own->stat.requests, 1);
        if (why != 0) {
                wirestat_drop(&e->stat, side == V6, (enum wire_drop)why);
                return;
        }
        series_add(own->stat.responses, 1);
        (void)clock_gettime(CLOCK_REALTIME, &now); /* the clock of the kernel's timestamp; cannot fail */
        now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
        series_observe(e->stat.latency,
                now_ns > at_ns ? (double)(now_ns - at_ns) / 1e9 : 0); /* the clock may be set */
}

bool answer_wants(void *engine, const struct ip *ip, unsigned ifindex)
{
        struct engine *e = engine;
        const struct desired_vip *v = desired_find(e->desired, ip);
        const struct port *p = engine_port(e, ifindex);

        return v && p && side_speaks(&p->side[side_of(ip)]) && engine_allows(v, p) && engine_leads(e, v, p);
}

void answer_announce(struct engine *e, const struct announce_item *item)
{
        struct port *p = engine_port(e, item->ifindex);
        struct side *s = &p->side[side_of(&item->ip)];
        uint8_t out[FRAME_MAX];
        struct vip *own = NULL;
        unsigned sent = 0;

        (void)engine_find(e, &item->ip, &own); /* answer_wants() has just found both */
        if (s == &p->side[V6]) {
                ndp_announce(out, &item->ip, p->mac);
                sent += responder_send(s->responder, out, NDP_FRAME_LEN) == 0;
        } else {
                arp_announce(out, &item->ip, p->mac, ARP_REQUEST);
                sent += responder_send(s->responder, out, ARP_FRAME_LEN) == 0;
                arp_announce(out, &item->ip, p->mac, ARP_REPLY);
                sent += responder_send(s->responder, out, ARP_FRAME_LEN) == 0;
        }
        series_add(own->stat.gratuitous, sent);
        if (sent > 0 && p->shared && segment_sent(e->segment, p->index, uv_now(e->loop)))
                engine_segments_changed(e);
}
