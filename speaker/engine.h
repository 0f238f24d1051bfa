/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* engine - everything that the wire thread does, on one loop and without threads of its own: it joins links, packet
 * sockets, the announced set, the schedule and the counters. wire.h puts it on a thread. All calls and callbacks are on
 * the loop given to engine_new().
 *
 * A port is an interface that can speak and may: up, Ethernet, broadcast-capable, not excluded, and not enslaved to
 * a bridge or bond. A member of a VRF is used only for addresses whose advertisement names it. A port has a packet
 * socket for a family while an owned address of that family is allowed on it.
 *
 * Who answers, where several ports hang on one LAN (see segment.h): of those that are allowed and running, the one with
 * an own subnet that holds the address, then the one with the lowest interface index. */
#include <uv.h>

#include "common/err.h"
#include "common/metrics.h"
#include "speaker/desired.h"
#include "speaker/exclude.h"
#include "speaker/wire.h"

struct engine;

struct engine_conf { /* copied */
        uint32_t refresh_ms, max_frames_s, max_sender_s; /* see wire.h; no defaults here */
        struct metrics *reg; /* may be NULL */
        struct exclude *exclude; /* taken on success; NULL: nothing is excluded */
        void (*on_links)(void *ctx); /* engine_links() gives something else now */
        void (*on_conflict)(
                void *ctx, const struct ip *ip, const uint8_t mac[static 6], const char *interface);
        void (*on_warning)(void *ctx, const char *words);
        void *ctx;
};

/* A copy of the ports, in one block of memory. */
struct engine_view {
        size_t n;
        struct wire_link *v;
};

/* Never calls back synchronously. 0 or a negative code with words. */
int engine_new(
        struct engine **ret, uv_loop_t *loop, const struct engine_conf *conf, struct err *e) MUST_CHECK;
void engine_close(struct engine *e, void (*closed)(void *ctx), void *ctx);

void engine_desired(struct engine *e, struct desired *d); /* takes @d */
void engine_exclude(struct engine *e, struct exclude *x); /* takes @x; NULL: nothing is excluded */
/* NULL: no memory. The caller frees with free(). */
struct engine_view *engine_links(const struct engine *e) MUST_CHECK;
