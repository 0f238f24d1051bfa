/* SPDX-License-Identifier: Apache-2.0 */
/* Ports: which interfaces may speak, their sockets, their places in the schedule and in multicast groups. Everything
 * is level-triggered: ports_sync() compares what should be with what is and closes the gap, whoever called it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "speaker/engine_impl.h"
#include "speaker/eth.h"
#include "speaker/ndp.h"

#define MTU_MIN 1280 /* RFC 8200 section 5: an interface below it has no IPv6, and no groups */
#define FILTERS 8 /* programs put into the kernel in one go: each takes about 0.2 ms */

struct port *engine_port(const struct engine *e, unsigned index)
{
        size_t lo = 0, hi = e->n_ports;

        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;

                if (e->ports[mid]->index == index)
                        return e->ports[mid];
                if (e->ports[mid]->index < index)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return NULL;
}

/* Filters are put in a few at a time, so that hundreds of sockets do not hold up the answers. */
void ports_filters(struct engine *e)
{
        unsigned n = 0;

        for (size_t i = 0; i < e->n_ports; i++) {
                for (unsigned f = 0; f < FAMILIES; f++) {
                        struct side *s = &e->ports[i]->side[f];

                        if (!s->responder || s->filter_gen == e->filter_gen)
                                continue;
                        if (n++ == FILTERS) {
                                engine_soon(e);
                                return;
                        }
                        s->filter_gen = e->filter_gen;
                        responder_filter(s->responder, &e->filter[f]);
                }
        }
}

/* Tells the schedule which ports there are. */
void ports_announce(struct engine *e)
{
        uint64_t now = uv_now(e->loop);

        for (size_t i = 0; i < e->n_ports; i++) {
                struct port *p = e->ports[i];

                for (unsigned f = 0; f < FAMILIES; f++) {
                        struct side *s = &p->side[f];
                        bool on = side_speaks(s);

                        if (on && (!s->announced || p->burst)) {
                                s->announced =
                                        announce_port(e->announce, engine_families[f], p->index, now) == 0;
                                if (!s->announced)
                                        engine_again(e);
                        } else if (!on && s->announced) {
                                announce_port_gone(e->announce, engine_families[f], p->index);
                                s->announced = false;
                        }
                }
                p->burst = false;
        }
}

static bool has_vip(const struct engine *e, const struct port *p)
{
        for (size_t i = 0; i < p->link->n_addrs; i++)
                if (desired_find(e->desired, &p->link->addrs[i].ip))
                        return true;
        return false;
}

static void note_shared(struct engine *e)
{
        unsigned n = 0;

        for (size_t i = 0; i < e->n_ports; i++) {
                e->ports[i]->shared = segment_is_shared(e->segment, e->ports[i]->index);
                n += e->ports[i]->shared;
        }
        series_set(e->stat.shared, n);
}

static void burst_shared(struct engine *e)
{
        for (size_t i = 0; i < e->n_ports; i++)
                e->ports[i]->burst |= e->ports[i]->shared;
}

void engine_segments_changed(struct engine *e)
{
        burst_shared(e); /* those that shared before, and those that do now */
        note_shared(e);
        burst_shared(e);
        ports_announce(e);
        engine_pump_soon(e); /* not from here: we may be inside an announcement */
}

struct engine_view *engine_links(const struct engine *e)
{
        size_t subnets = 0, size;
        struct engine_view *view;
        struct ip_prefix *next;

        for (size_t i = 0; i < e->n_ports; i++)
                subnets += e->ports[i]->link->n_addrs;
        size = sizeof(*view) + e->n_ports * sizeof(struct wire_link);
        view = calloc(1, size + subnets * sizeof(struct ip_prefix));
        if (!view)
                return NULL;
        view->n = e->n_ports;
        view->v = (struct wire_link *)(void *)(view + 1);
        next = (struct ip_prefix *)(void *)((char *)view + size);
        for (size_t i = 0; i < e->n_ports; i++) {
                const struct port *p = e->ports[i];
                struct wire_link *w = &view->v[i];

                memcpy(w->name, p->name, sizeof(w->name));
                memcpy(w->mac, p->mac, sizeof(w->mac));
                w->index = p->index;
                w->up = p->running;
                w->arp = p->side[V4].responder && responder_is_open(p->side[V4].responder);
                w->ndp = p->side[V6].responder && responder_is_open(p->side[V6].responder);
                w->subnets = next;
                w->n_subnets = p->link->n_addrs;
                for (size_t k = 0; k < p->link->n_addrs; k++)
                        *next++ = p->link->addrs[k].subnet;
        }
        return view;
}

static bool view_equal(const struct engine_view *a, const struct engine_view *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++) {
                const struct wire_link *x = &a->v[i], *y = &b->v[i];

                if (strcmp(x->name, y->name) != 0 || !mac_equal(x->mac, y->mac) || x->index != y->index ||
                        x->up != y->up || x->arp != y->arp || x->ndp != y->ndp ||
                        x->n_subnets != y->n_subnets)
                        return false;
                for (size_t k = 0; k < x->n_subnets; k++)
                        if (x->subnets[k].len != y->subnets[k].len ||
                                !ip_equal(&x->subnets[k].ip, &y->subnets[k].ip))
                                return false;
        }
        return true;
}

/* Says so when the ports look different from what was last reported. */
static void report(struct engine *e)
{
        struct engine_view *now = engine_links(e);

        if (!now) {
                engine_again(e);
                return;
        }
        if (e->view && view_equal(e->view, now)) {
                free(now);
                return;
        }
        free(e->view);
        e->view = now;
        e->conf.on_links(e->conf.ctx);
}

static void on_frame(void *ctx, const uint8_t *frame, size_t len, uint64_t at_ns)
{
        struct side *s = ctx;

        answer_frame(s->port, (unsigned)(s - s->port->side), frame, len, at_ns);
}

static void on_state(void *ctx, bool open, const char *words)
{
        struct side *s = ctx;
        struct engine *e = s->port->engine;

        if (!open && !words)
                series_add(e->stat.reopened, 1);
        if (words)
                engine_warn(e, words);
        ports_announce(e);
        report(e);
        engine_pump(e);
}

/* Memory for rings is a budget: few sockets get room for a flood, hundreds of them little. */
static uint32_t ring_bytes(const struct engine *e)
{
        return e->n_ports <= 8 ? 128 << 10 : e->n_ports <= 32 ? 64 << 10 : 16 << 10;
}

static void side_want(struct side *s, unsigned f, bool want)
{
        struct port *p = s->port;
        struct engine *e = p->engine;
        struct responder_conf conf = {
                .gate = &e->gate,
                .name = p->name,
                .ifindex = p->index,
                .family = engine_families[f],
                .ring_bytes = ring_bytes(e),
                .filter = &e->filter[f],
                .on_frame = on_frame,
                .on_state = on_state,
                .ctx = s,
        };

        if (want && !s->responder) {
                if (responder_new(&s->responder, e->loop, &conf) < 0) {
                        engine_again(e);
                        return;
                }
                s->filter_gen = e->filter_gen;
                e->n_open++;
        } else if (!want && s->responder) {
                responder_close(TAKE(s->responder), engine_part_closed, e);
        }
}

static bool wanted(const struct engine *e, const struct port *p, unsigned f)
{
        for (size_t i = 0; i < e->desired->n; i++)
                if (side_of(&e->desired->vips[i].ip) == f && engine_allows(&e->desired->vips[i], p))
                        return true;
        return false;
}

static void port_gone(struct engine *e, size_t at)
{
        struct port *p = e->ports[at];

        for (unsigned f = 0; f < FAMILIES; f++) {
                if (p->side[f].announced)
                        announce_port_gone(e->announce, engine_families[f], p->index);
                side_want(&p->side[f], f, false);
        }
        if (segment_reset(e->segment, p->index))
                burst_shared(e);
        wirestat_link(&e->stat, p->name, false, false);
        free(p);
        e->groups_dirty = true;
        e->n_ports--;
        memmove(e->ports + at, e->ports + at + 1, (e->n_ports - at) * sizeof(struct port *));
}

static int port_new(struct engine *e, const struct link *l, struct port **ret)
{
        size_t at = e->n_ports;
        struct port *p;

        if (e->n_ports == e->cap_ports) {
                size_t cap = e->cap_ports ? e->cap_ports * 2 : 8;
                struct port **v = realloc(e->ports, cap * sizeof(struct port *));

                if (!v)
                        return -ENOMEM;
                e->ports = v;
                e->cap_ports = cap;
        }
        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->engine = e;
        p->index = l->index;
        for (unsigned f = 0; f < FAMILIES; f++)
                p->side[f].port = p;
        while (at > 0 && e->ports[at - 1]->index > l->index)
                at--;
        memmove(e->ports + at + 1, e->ports + at, (e->n_ports - at) * sizeof(struct port *));
        e->ports[at] = p;
        e->n_ports++;
        *ret = p;
        return 0;
}

static void port_update(struct engine *e, struct port *p, const struct link *l)
{
        bool renamed = strcmp(p->name, l->name) != 0, moved = !mac_equal(p->mac, l->mac);
        bool running = link_is_running(l);

        p->link = l;
        p->in_vrf = l->in_vrf;
        if (renamed) {
                if (p->name[0] != '\0')
                        wirestat_link(&e->stat, p->name, false, false);
                memcpy(p->name, l->name, sizeof(p->name));
                for (unsigned f = 0; f < FAMILIES; f++)
                        if (p->side[f].responder)
                                responder_rename(p->side[f].responder, p->name);
        }
        memcpy(p->mac, l->mac, sizeof(p->mac));
        if ((moved || running != p->running) && segment_reset(e->segment, p->index))
                burst_shared(e);
        p->burst |= renamed || moved;
        if ((running && !p->running) || (l->mtu >= MTU_MIN && p->mtu < MTU_MIN)) {
                p->generation++;
                e->groups_dirty = true;
        }
        e->groups_dirty |= renamed;
        p->running = running;
        p->mtu = l->mtu;
        if (l->parent != 0)
                (void)segment_stacked(e->segment, p->index, l->parent);
        wirestat_link(&e->stat, p->name, true, running);
}

void ports_on_groups(void *ctx, size_t n_failed, int code)
{
        struct engine *e = ctx;
        char words[160];

        e->groups_failed = n_failed; /* on_slow() tries again */
        if (n_failed == 0 || e->closing)
                return;
        (void)snprintf(words, sizeof(words), "IPv6 multicast groups that could not be joined: %zu (%s)",
                n_failed, err_name(code));
        engine_warn(e, words);
}

void ports_groups(struct engine *e)
{
        struct membership *v;
        size_t room = 0, n = 0;

        if (!e->groups_dirty)
                return;
        for (size_t i = 0; i < e->n_ports; i++)
                room += e->ports[i]->side[V6].responder ? e->desired->n : 0;
        v = calloc(room + 1, sizeof(*v));
        if (!v) {
                engine_again(e);
                return;
        }
        for (size_t i = 0; i < e->n_ports; i++) {
                const struct port *p = e->ports[i];

                for (size_t k = 0; p->side[V6].responder && k < e->desired->n; k++) {
                        const struct desired_vip *vip = &e->desired->vips[k];

                        if (vip->ip.family == IP_V6 && engine_allows(vip, p))
                                v[n++] = (struct membership){ p->index, p->generation, ndp_group(&vip->ip) };
                }
        }
        e->groups_dirty = false;
        groups_sync(e->groups, v, n);
}

/* Patterns are slow and a busy node has hundreds of interfaces that come and go, so a name is matched once. */
static bool excluded(struct engine *e, const struct link *l)
{
        struct known *k = &e->known[l->index % ARRAY_LEN(e->known)];

        if (k->index != l->index || strcmp(k->name, l->name) != 0) {
                k->index = l->index;
                memcpy(k->name, l->name, sizeof(k->name));
                k->excluded = exclude_matches(e->exclude, l->name);
        }
        return k->excluded;
}

static bool usable(struct engine *e, const struct link *l)
{
        return link_speaks(l) && link_is_up(l) && (l->master == 0 || l->in_vrf) && !excluded(e, l);
}

/* The ports that should be, each marked as seen; those that should not go. */
static void match_ports(struct engine *e, const struct linktab *tab)
{
        for (size_t i = 0; i < e->n_ports; i++)
                e->ports[i]->seen = false;
        for (size_t i = 0; i < linktab_count(tab); i++) {
                const struct link *l = linktab_at(tab, i);
                struct port *p;

                if (!usable(e, l))
                        continue;
                p = engine_port(e, l->index);
                if (!p && port_new(e, l, &p) < 0)
                        engine_again(e);
                else
                        p->seen = true;
        }
        for (size_t i = e->n_ports; i-- > 0;)
                if (!e->ports[i]->seen)
                        port_gone(e, i);
}

static void warn_if_idle(struct engine *e)
{
        bool idle = e->n_ports == 0 && e->desired->n > 0;

        if (idle && !e->warned_idle)
                e->conf.on_warning(e->conf.ctx, "no usable network interface: nothing can be announced");
        e->warned_idle = idle;
}

void ports_sync(struct engine *e)
{
        const struct linktab *tab = links_table(e->links);

        if (!tab) /* the first dump is not through; it ends here again */
                return;
        e->sync_again = false;
        match_ports(e, tab);
        segment_unstack(e->segment);
        for (size_t i = 0; i < e->n_ports; i++)
                port_update(e, e->ports[i], linktab_find(tab, e->ports[i]->index));
        note_shared(e);
        for (size_t i = 0; i < e->n_ports; i++) {
                e->ports[i]->has_vip = has_vip(e, e->ports[i]);
                for (unsigned f = 0; f < FAMILIES; f++) {
                        struct side *s = &e->ports[i]->side[f];

                        /* Without carrier nothing comes: the first socket waits for it, one that is there may stay. */
                        side_want(s, f, (s->responder || s->port->running) && wanted(e, s->port, f));
                }
        }
        ports_announce(e);
        ports_filters(e);
        ports_groups(e);
        warn_if_idle(e);
        report(e);
        engine_pump(e);
}

void ports_close(struct engine *e)
{
        for (size_t i = 0; i < e->n_ports; i++)
                for (unsigned f = 0; f < FAMILIES; f++)
                        side_want(&e->ports[i]->side[f], f, false);
}
