/* SPDX-License-Identifier: Apache-2.0 */
/* What is there: ports, their sockets, the announced set. Everything is level-triggered: sync() compares what should be
 * with what is and closes the gap, whoever called it. What fails for want of memory is tried again a second later. */
#include "speaker/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "speaker/engine_impl.h"
#include "speaker/eth.h"

#define AGAIN_MS   1000
#define SLOW_MS    10000
#define WARN_MS    60000 /* the same reason is not reported twice in this time */
#define PUMP_BATCH 64 /* announcements before the sockets get their turn */
#define FILTERS    8 /* programs put into the kernel in one go: each takes about 0.2 ms */

static const enum ip_family families[FAMILIES] = { IP_V4, IP_V6 };

static void sync_all(struct engine *e);
static void report(struct engine *e);
static void on_pump(uv_timer_t *t);
static void on_chores(uv_timer_t *t);
static void on_closed(void *ctx);

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

static void again(struct engine *e)
{
        e->sync_again = true;
        if (!uv_is_active((uv_handle_t *)&e->chores))
                (void)uv_timer_start(
                        &e->chores, on_chores, AGAIN_MS, 0); /* fails only for a closing handle */
}

static void warn(struct engine *e, const char *words)
{
        const char *reason = strchr(words, ':'); /* without the interface's name */
        uint64_t now = uv_now(e->loop);

        reason = reason ? reason : words;
        if (e->warned && strcmp(e->warned, reason) == 0 && now - e->warned_ms < WARN_MS)
                return;
        free(e->warned);
        e->warned = strdup(reason); /* NULL: the reason may be said once more than needed */
        e->warned_ms = now;
        e->conf.on_warning(e->conf.ctx, words);
}

static void pump(struct engine *e)
{
        uint64_t now = uv_now(e->loop), due;
        struct announce_item item;
        unsigned n = 0;

        while (n < PUMP_BATCH && announce_pop(e->announce, now, &item)) {
                answer_announce(e, &item);
                n++;
        }
        due = n == PUMP_BATCH ? now : announce_deadline(e->announce);
        if (due == UINT64_MAX)
                (void)uv_timer_stop(&e->pump);
        else
                (void)uv_timer_start(&e->pump, on_pump, due > now ? due - now : 0, 0);
}

static void on_pump(uv_timer_t *t)
{
        struct engine *e = container_of(t, struct engine, pump);

        if (!e->closing)
                pump(e);
}

/* Filters are put in a few at a time, so that hundreds of sockets do not hold up the answers. */
static void attach_filters(struct engine *e)
{
        unsigned n = 0;

        for (size_t i = 0; i < e->n_ports; i++) {
                for (unsigned f = 0; f < FAMILIES; f++) {
                        struct side *s = &e->ports[i]->side[f];

                        if (!s->responder || s->filter_gen == e->filter_gen)
                                continue;
                        if (n++ == FILTERS) {
                                (void)uv_timer_start(&e->chores, on_chores, 1, 0);
                                return;
                        }
                        s->filter_gen = e->filter_gen;
                        responder_filter(s->responder, &e->filter[f]);
                }
        }
}

static void on_chores(uv_timer_t *t)
{
        struct engine *e = container_of(t, struct engine, chores);

        if (e->closing)
                return;
        if (e->sync_again)
                sync_all(e);
        else
                attach_filters(e);
}

static void on_slow(uv_timer_t *t)
{
        struct engine *e = container_of(t, struct engine, slow);

        if (e->closing)
                return;
        for (size_t i = 0; i < e->n_ports; i++)
                for (unsigned f = 0; f < FAMILIES; f++)
                        if (e->ports[i]->side[f].responder)
                                series_add(e->stat.lost, responder_lost(e->ports[i]->side[f].responder));
}

/* uv_now() is set when the loop wakes and when its timers run; what has passed since then was spent in callbacks. */
static void note_stall(struct engine *e)
{
        uint64_t now = uv_hrtime() / 1000000;

        if (now > uv_now(e->loop))
                wirestat_stall(&e->stat, (double)(now - uv_now(e->loop)) / 1000);
}

static void on_prepare(uv_prepare_t *p)
{
        note_stall(container_of(p, struct engine, prepare));
}

static void on_check(uv_check_t *c)
{
        note_stall(container_of(c, struct engine, check));
}

/* Tells the schedule which ports there are. */
static void announce_ports(struct engine *e)
{
        uint64_t now = uv_now(e->loop);

        for (size_t i = 0; i < e->n_ports; i++) {
                struct port *p = e->ports[i];

                for (unsigned f = 0; f < FAMILIES; f++) {
                        struct side *s = &p->side[f];
                        bool on = side_speaks(s);

                        if (on && (!s->announced || p->burst)) {
                                s->announced = announce_port(e->announce, families[f], p->index, now) == 0;
                                if (!s->announced)
                                        again(e);
                        } else if (!on && s->announced) {
                                announce_port_gone(e->announce, families[f], p->index);
                                s->announced = false;
                        }
                }
                p->burst = false;
        }
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

void engine_segments_changed(struct engine *e)
{
        for (size_t i = 0; i < e->n_ports; i++)
                e->ports[i]->burst |= e->ports[i]->shared;
        note_shared(e);
        for (size_t i = 0; i < e->n_ports; i++)
                e->ports[i]->burst |= e->ports[i]->shared;
        announce_ports(e);
        (void)uv_timer_start(&e->pump, on_pump, 0, 0); /* not from here: we may be inside an announcement */
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
                warn(e, words);
        announce_ports(e);
        report(e);
        pump(e);
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
                .name = p->name,
                .ifindex = p->index,
                .family = families[f],
                .ring_bytes = ring_bytes(e),
                .filter = &e->filter[f],
                .on_frame = on_frame,
                .on_state = on_state,
                .ctx = s,
        };

        if (want && !s->responder) {
                if (responder_new(&s->responder, e->loop, &conf) < 0) {
                        again(e);
                        return;
                }
                s->filter_gen = e->filter_gen;
                e->n_open++;
        } else if (!want && s->responder) {
                responder_close(TAKE(s->responder), on_closed, e);
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
                        announce_port_gone(e->announce, families[f], p->index);
                side_want(&p->side[f], f, false);
        }
        if (segment_reset(e->segment, p->index))
                for (size_t i = 0; i < e->n_ports; i++)
                        e->ports[i]->burst |= e->ports[i]->shared;
        wirestat_link(&e->stat, p->name, false, false);
        free(p);
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
                for (size_t i = 0; i < e->n_ports; i++)
                        e->ports[i]->burst |= e->ports[i]->shared;
        p->burst |= renamed || moved;
        p->running = running;
        if (l->parent != 0)
                (void)segment_stacked(e->segment, p->index, l->parent);
        wirestat_link(&e->stat, p->name, true, running);
}

static bool usable(const struct engine *e, const struct link *l)
{
        return link_speaks(l) && link_is_up(l) && (l->master == 0 || l->in_vrf) &&
                !exclude_matches(e->exclude, l->name);
}

static void sync_all(struct engine *e)
{
        const struct linktab *tab = links_table(e->links);

        e->sync_again = false;
        for (size_t i = 0; i < e->n_ports; i++)
                e->ports[i]->seen = false;
        for (size_t i = 0; i < linktab_count(tab); i++) {
                const struct link *l = linktab_at(tab, i);

                struct port *p;

                if (!usable(e, l))
                        continue;
                p = engine_port(e, l->index);
                if (!p && port_new(e, l, &p) < 0)
                        again(e);
                else
                        p->seen = true;
        }
        for (size_t i = e->n_ports; i-- > 0;)
                if (!e->ports[i]->seen)
                        port_gone(e, i);
        segment_unstack(e->segment);
        for (size_t i = 0; i < e->n_ports; i++)
                port_update(e, e->ports[i], linktab_find(tab, e->ports[i]->index));
        note_shared(e);
        for (size_t i = 0; i < e->n_ports; i++)
                for (unsigned f = 0; f < FAMILIES; f++)
                        side_want(&e->ports[i]->side[f], f, wanted(e, e->ports[i], f));
        announce_ports(e);
        attach_filters(e);
        if (e->n_ports == 0 && e->desired->n > 0 && !e->warned_idle) {
                e->warned_idle = true;
                e->conf.on_warning(e->conf.ctx, "no usable network interface: nothing can be announced");
        }
        if (e->n_ports > 0)
                e->warned_idle = false;
        report(e);
        pump(e);
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
                again(e);
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

static void on_links_changed(void *ctx)
{
        struct engine *e = ctx;

        if (!e->closing)
                sync_all(e);
}

/* The address may be announced where it was not before. */
static bool widened(const struct desired_vip *was, const struct desired_vip *is)
{
        if (was->n_interfaces == 0 || is->n_interfaces == 0)
                return was->n_interfaces != 0;
        for (size_t i = 0; i < is->n_interfaces; i++)
                if (!desired_vip_allows(was, is->interfaces[i]))
                        return true;
        return false;
}

static void forget_missing(struct engine *e, const struct desired *next)
{
        for (size_t i = 0; i < e->desired->n; i++)
                if (!desired_find(next, &e->desired->vips[i].ip))
                        wirestat_forget(&e->stat, &e->desired->vips[i].ip);
}

/* Everything that can fail comes first; @d is not taken then. */
static int adopt(struct engine *e, struct desired *d)
{
        CLEANUP(freep) struct vip *vips = calloc(d->n + 1, sizeof(*vips));
        CLEANUP(freep) struct ip *ips = calloc(d->n + 1, sizeof(*ips));
        uint64_t now = uv_now(e->loop);
        struct filter f;

        if (!vips || !ips)
                return -ENOMEM;
        for (size_t i = 0; i < d->n; i++)
                ips[i] = d->vips[i].ip;
        if (announce_vips(e->announce, ips, d->n, now) < 0)
                return -ENOMEM;
        forget_missing(e, d);
        for (size_t i = 0; i < d->n; i++) {
                struct vip *old = NULL;
                const struct desired_vip *was = engine_find(e, &ips[i], &old);

                if (was)
                        vips[i] = *old;
                else
                        vips[i].stat = wirestat_vip(&e->stat, &ips[i]);
                if (was && widened(was, &d->vips[i]))
                        announce_restart(e->announce, &ips[i], now);
        }
        for (unsigned side = 0; side < FAMILIES; side++) {
                memset(&f, 0, sizeof(f));
                filter_build(&f, families[side], ips, d->n);
                if (memcmp(&f, &e->filter[side], sizeof(f)) == 0)
                        continue;
                e->filter[side] = f;
                e->filter_gen++;
        }
        (void)desired_free(e->desired);
        e->desired = d;
        free(e->vips);
        e->vips = TAKE(vips);
        series_set(e->stat.owned, (double)d->n);
        return 0;
}

void engine_desired(struct engine *e, struct desired *d)
{
        CLEANUP(desired_freep) struct desired *next = d;

        if (e->closing)
                return;
        if (adopt(e, next) < 0) {
                warn(e, "no memory for the announced set: the one before stays");
                return;
        }
        (void)TAKE(next);
        sync_all(e);
}

void engine_exclude(struct engine *e, struct exclude *x)
{
        (void)exclude_free(e->exclude);
        e->exclude = x;
        if (!e->closing)
                sync_all(e);
}

static struct engine *engine_free(struct engine *e)
{
        if (!e)
                return NULL;
        for (size_t i = 0; i < e->n_ports; i++)
                free(e->ports[i]);
        free(e->ports);
        (void)exclude_free(e->exclude);
        (void)desired_free(e->desired);
        (void)announce_free(e->announce);
        (void)segment_free(e->segment);
        (void)limit_free(e->limit);
        free(e->vips);
        free(e->view);
        free(e->warned);
        free(e);
        return NULL;
}
DEFINE_CLEANUP(struct engine, engine_free);

static int parts_new(struct engine *e)
{
        struct announce_conf conf = {
                .refresh_ms = e->conf.refresh_ms,
                .rate_s = e->conf.max_frames_s,
                .rng = &e->rng,
                .wants = answer_wants,
                .ctx = e,
        };
        uint64_t salt;
        int r = uv_random(NULL, NULL, &e->rng.state, sizeof(e->rng.state), 0, NULL);

        if (r >= 0)
                r = uv_random(NULL, NULL, &salt, sizeof(salt), 0, NULL);
        if (r >= 0)
                r = announce_new(&e->announce, &conf);
        if (r >= 0)
                r = limit_new(&e->limit, e->conf.max_sender_s, salt);
        if (r >= 0)
                r = segment_new(&e->segment);
        if (r >= 0)
                r = desired_new(&e->desired, 0);
        if (r >= 0)
                desired_seal(e->desired);
        return r;
}

int engine_new(struct engine **ret, uv_loop_t *loop, const struct engine_conf *conf, struct err *err)
{
        CLEANUP(engine_freep) struct engine *e = calloc(1, sizeof(*e));
        int r;

        if (!e)
                return err_set(err, -ENOMEM, "no memory");
        e->loop = loop;
        e->conf = *conf;
        wirestat_init(&e->stat, conf->reg);
        r = parts_new(e);
        if (r < 0)
                return err_set(err, r, "layer 2 cannot start: %s", err_name(r));
        for (unsigned f = 0; f < FAMILIES; f++)
                filter_build(&e->filter[f], families[f], NULL, 0);
        r = links_new(&e->links, loop, on_links_changed, e, err);
        if (r < 0)
                return r;
        (void)uv_timer_init(loop, &e->pump); /* these cannot fail */
        (void)uv_timer_init(loop, &e->chores);
        (void)uv_timer_init(loop, &e->slow);
        (void)uv_prepare_init(loop, &e->prepare);
        (void)uv_check_init(loop, &e->check);
        e->n_open = 6; /* with the links */
        (void)uv_timer_start(
                &e->slow, on_slow, SLOW_MS, SLOW_MS); /* starting fails only for a closing handle */
        (void)uv_prepare_start(&e->prepare, on_prepare);
        (void)uv_check_start(&e->check, on_check);
        e->exclude = conf->exclude;
        *ret = TAKE(e);
        return 0;
}

static void on_closed(void *ctx)
{
        struct engine *e = ctx;
        void (*closed)(void *ctx) = e->closed;
        void *closed_ctx = e->closed_ctx;

        if (--e->n_open > 0)
                return;
        (void)engine_free(e);
        closed(closed_ctx);
}

static void on_handle_closed(uv_handle_t *h)
{
        on_closed(h->data);
}

void engine_close(struct engine *e, void (*closed)(void *ctx), void *ctx)
{
        uv_handle_t *const handles[] = {
                (uv_handle_t *)&e->pump,
                (uv_handle_t *)&e->chores,
                (uv_handle_t *)&e->slow,
                (uv_handle_t *)&e->prepare,
                (uv_handle_t *)&e->check,
        };

        if (e->closing)
                return;
        e->closing = true;
        e->closed = closed;
        e->closed_ctx = ctx;
        for (size_t i = 0; i < e->n_ports; i++)
                for (unsigned f = 0; f < FAMILIES; f++)
                        side_want(&e->ports[i]->side[f], f, false);
        links_close(e->links, on_closed, e);
        for (size_t i = 0; i < ARRAY_LEN(handles); i++) {
                handles[i]->data = e;
                uv_close(handles[i], on_handle_closed);
        }
}
