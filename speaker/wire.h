/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* wire - the second thread of the speaker: its own libuv loop, every packet socket, the links, the timers of
 * announcements (and later gossip). It holds the announced set and nothing else decides for it.
 *
 * The control loop hands over whole desired sets and gets observations back; no other state is shared, and no
 * handler takes a lock that the other thread can hold for long. A relist of 10,000 objects in the control loop does not
 * delay one answer here. */
#include <uv.h>

#include "common/err.h"
#include "common/metrics.h"
#include "speaker/desired.h"

struct wire;

struct wire_link { /* one interface as the wire loop sees it; only those that are not excluded */
        char name[16];
        uint8_t mac[6];
        unsigned index;
        bool up; /* administratively up and has carrier */
        bool arp, ndp; /* a responder runs */
        const struct ip_prefix *subnets; /* addresses' prefixes on it */
        size_t n_subnets;
};

enum wire_event_type {
        WIRE_LINKS, /* the set of links changed: links, n_links */
        WIRE_CONFLICT, /* somebody else claims ip: mac, link_name */
        WIRE_WARNING, /* words: something the owner should see (a socket that cannot be opened, ...) */
};

struct wire_event {
        enum wire_event_type type;
        struct ip ip;
        uint8_t mac[6];
        char link_name[16];
        const struct wire_link *links;
        size_t n_links;
        const char *words;
};

struct wire_conf { /* zero: the default in brackets; copied */
        const char *
                exclude_file; /* YAML, key announcedInterfacesToExclude; missing file: nothing excluded; re-read
                                        * when it changes */
        uint32_t refresh_ms; /* periodic announcement [30000]; UINT32_MAX: off */
        uint32_t max_frames_s; /* unsolicited frames a second over all addresses [500] */
        uint32_t max_sender_s; /* requests answered a second for one sender [10000] */
        struct metrics *reg; /* may be NULL */
        const char *node; /* metric label */
        /* On the control loop's thread. Pointers in @ev are valid during the call. */
        void (*on_event)(void *ctx, const struct wire_event *ev);
        void *ctx;
};

/* Starts the thread. The exclusion file is read at once: one that is there but broken is an error with words. */
int wire_new(struct wire **ret, uv_loop_t *control, const struct wire_conf *conf, struct err *e) MUST_CHECK;
/* Hands over the next set; takes @d. Never blocks; only the newest set counts. */
void wire_post(struct wire *w, struct desired *d);
/* Withdraws everything, stops the thread, then @closed on the control loop. Asynchronous. */
void wire_close(struct wire *w, void (*closed)(void *ctx), void *ctx);
