/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* responder - one packet socket: the frames of one family on one interface, through libpcap (immediate mode, not
 * promiscuous), and a way to send.
 *
 * The kernel needs 10-30 ms to set up or take down a capture ring (it waits for all CPUs to pass by), so both are done in
 * libuv's thread pool and the loop goes on answering. A gate lets only a few do so at a time, openings first, since the pool
 * is small and others need it. A socket that cannot be opened is tried again, 1 s up to
 * 30 s later; one that dies is closed and opened again. An interface that goes down and up again keeps its socket.
 *
 * What arrives has passed a kernel filter; see filter.h. Frames that came before the filter was in place are thrown
 * away, since only the kernel can tell a frame of another VLAN from an untagged one. */
#include <uv.h>

#include "common/ip.h"
#include "speaker/filter.h"

struct responder;

struct responder_gate { /* shared by all responders of a loop, which it outlives; zero-initialised */
        struct responder *opens, *closes; /* waiting, first come first */
        unsigned n_opening, n_closing;
};

struct responder_conf {
        struct responder_gate *gate;
        const char *name; /* of the interface; copied */
        unsigned ifindex;
        enum ip_family family;
        uint32_t ring_bytes; /* of the capture ring */
        const struct filter
                *filter; /* borrowed until replaced by responder_filter() or the responder is closed */
        /* A frame, and when the kernel received it (nanoseconds since 1970). */
        void (*on_frame)(void *ctx, const uint8_t *frame, size_t len, uint64_t at_ns);
        /* After every change. Open: true. It died and will be opened again: false, no words. It could not be opened
         * and will be tried again: false with words, once for a run of failures. */
        void (*on_state)(void *ctx, bool open, const char *words);
        void *ctx;
};

/* Starts opening; never calls back synchronously. 0 or -ENOMEM. */
int responder_new(struct responder **ret, uv_loop_t *loop, const struct responder_conf *conf) MUST_CHECK;
void responder_close(struct responder *r, void (*closed)(void *ctx), void *ctx);

/* The interface's name now; the socket stays as it is. */
void responder_rename(struct responder *r, const char *name);
bool responder_is_open(const struct responder *r);
/* Another program from now on, swapped without losing a frame. */
void responder_filter(struct responder *r, const struct filter *f);
/* 0 or -errno: -ENOTCONN (not open), -ENETDOWN, -ENOBUFS, -EAGAIN and what else send(2) says. Never blocks. */
int responder_send(struct responder *r, const uint8_t *frame, size_t len);
/* Frames the kernel could not put into the ring, since the last call. */
unsigned responder_lost(struct responder *r);
