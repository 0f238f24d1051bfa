/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* wirebench - the wire thread on a LAN (test/lib/lan.h) with a prober on the other side: start, own, ask, wait. */
#include "speaker/wire.h"
#include "test/lib/lan.h"

#define BENCH_WAIT_MS 20000 /* a safety limit; what is waited for takes milliseconds */

struct bench {
        uv_loop_t loop;
        struct wire *wire;
        struct metrics *reg;
        unsigned n_closed, n_conflicts, n_warnings, n_link_events;
        struct wire_link links[16];
        size_t n_links;
        struct ip conflict;
        uint8_t conflict_mac[6];
        char words[256]; /* of the last warning */
};

extern const uint8_t bench_prober[6]; /* the MAC that asks */

/* @conf may be NULL; its callback and registry are filled in. */
void bench_start(struct bench *b, const struct wire_conf *conf);
void bench_stop(struct bench *b); /* closes, runs the loop dry, checks that nothing is left */

/* The announced set from now on: @texts ends with NULL; @interface NULL: all. */
void bench_own(struct bench *b, const char *interface, const char *const *texts);
#define BENCH_OWN(b, interface, ...) bench_own((b), (interface), (const char *const[]){ __VA_ARGS__, NULL })

void bench_turn(struct bench *b); /* lets the control loop run, briefly */
/* Turns until @done says so; fails the test, naming @what, when it takes too long. */
void bench_until(
        struct bench *b, bool (*done)(struct bench *b, const void *arg), const void *arg, const char *what);

/* Questions from @sender (NULL: a probe, source 0.0.0.0 or ::) to everybody, or to the group. */
void bench_ask(int fd, const char *vip, const char *sender);
/* The same, unicast to @mac. */
void bench_ask_at(int fd, const char *vip, const char *sender, const uint8_t mac[static 6]);
/* Frames of an ARP question, for damage. */
size_t bench_frame(uint8_t out[static 128], const char *vip, const char *sender);

/* Reads what has come: an answer to the prober for @vip (true, and whose MAC). Others are dropped. */
bool bench_answered(int fd, const char *vip, uint8_t mac[static 6]);
/* Asks again and again until there is an answer; returns the MAC's last byte but one and last as a number. */
unsigned bench_until_answered(struct bench *b, int fd, const char *vip);
/* Sends nothing for @vip: asks for it, then for @sentinel, which is owned; since both go through one socket, no answer
 * before the sentinel's is no answer at all. Returns the number of answers for @vip. */
unsigned bench_answers_before(struct bench *b, int fd, const char *vip, const char *sentinel);
/* Reads until an unsolicited announcement of @vip from a MAC ending in @mac_end comes by. */
void bench_until_announced(struct bench *b, int fd, const char *vip, unsigned mac_end);

/* The value of a series as printed, e.g. "metallb_layer2_conflicts_total{ip=\"192.0.2.1\"}"; -1: there is none. */
double bench_metric(struct bench *b, const char *series);
