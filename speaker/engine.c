/* SPDX-License-Identifier: Apache-2.0 */
/* The announced set, the timers, start and end. What fails for want of memory is tried again a second later. */
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

const enum ip_family engine_families[FAMILIES] = { IP_V4, IP_V6 };

static void on_pump(uv_timer_t *t);
static void on_chores(uv_timer_t *t);

void engine_again(struct engine *e)
{
        e->sync_again = true;
        if (!uv_is_active((uv_handle_t *)&e->chores)) /* starting fails only for a closing handle */
                (void)uv_timer_start(&e->chores, on_chores, AGAIN_MS, 0);
}

void engine_soon(struct engine *e)
{
        (void)uv_timer_start(&e->chores, on_chores, 1, 0);
}

void engine_warn(struct engine *e, const char *words)
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

void engine_pump(struct engine *e)
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

void engine_pump_soon(struct engine *e)
{
        (void)uv_timer_start(&e->pump, on_pump, 0, 0);
}

static void on_pump(uv_timer_t *t)
{
        struct engine *e = container_of(t, struct engine, pump);

        if (!e->closing)
                engine_pump(e);
}

static void on_chores(uv_timer_t *t)
{
        struct engine *e = container_of(t, struct engine, chores);

        if (e->closing)
                return;
        if (e->sync_again)
                ports_sync(e);
        else
                ports_filters(e);
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
        if (e->groups_failed > 0) {
                e->groups_failed = 0;
                e->groups_dirty = true;
                ports_groups(e);
        }
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

static void on_links_changed(void *ctx)
{
        struct engine *e = ctx;

        if (!e->closing)
                ports_sync(e);
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
                filter_build(&f, engine_families[side], ips, d->n);
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
        e->groups_dirty = true;
        return 0;
}

void engine_desired(struct engine *e, struct desired *d)
{
        CLEANUP(desired_freep) struct desired *next = d;

        if (e->closing)
                return;
        if (adopt(e, next) < 0) {
                engine_warn(e, "no memory for the announced set: the one before stays");
                return;
        }
        (void)TAKE(next);
        ports_sync(e);
}

void engine_exclude(struct engine *e, struct exclude *x)
{
        (void)exclude_free(e->exclude);
        e->exclude = x;
        memset(e->known, 0, sizeof(e->known));
        if (!e->closing)
                ports_sync(e);
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
        (void)groups_free(e->groups);
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
                r = groups_new(&e->groups, e->loop, ports_on_groups, e);
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
                filter_build(&e->filter[f], engine_families[f], NULL, 0);
        r = links_new(&e->links, loop, on_links_changed, e, err);
        if (r < 0)
                return r;
        (void)uv_timer_init(loop, &e->pump); /* these cannot fail */
        (void)uv_timer_init(loop, &e->chores);
        (void)uv_timer_init(loop, &e->slow);
        (void)uv_prepare_init(loop, &e->prepare);
        (void)uv_check_init(loop, &e->check);
        e->n_open = 7; /* with the links and the groups */
        (void)uv_timer_start(
                &e->slow, on_slow, SLOW_MS, SLOW_MS); /* starting fails only for a closing handle */
        (void)uv_prepare_start(&e->prepare, on_prepare);
        (void)uv_check_start(&e->check, on_check);
        e->exclude = conf->exclude;
        *ret = TAKE(e);
        return 0;
}

void engine_part_closed(void *ctx)
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
        engine_part_closed(h->data);
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
        ports_close(e);
        links_close(e->links, engine_part_closed, e);
        groups_close(TAKE(e->groups), engine_part_closed, e);
        for (size_t i = 0; i < ARRAY_LEN(handles); i++) {
                handles[i]->data = e;
                uv_close(handles[i], on_handle_closed);
        }
}
