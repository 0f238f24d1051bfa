/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* groups - membership in the solicited-node groups of the owned IPv6 addresses, so that the interface's own filter lets
 * their solicitations in, and the kernel tells snooping switches about it (MLD). Joined through ordinary sockets, which
 * nothing ever arrives at: it needs no capability.
 *
 * A socket holds a bounded number of memberships (net.core.optmem_max), so they are spread. Each change takes a lock of
 * the kernel that others may hold for long (network plug-ins creating interfaces), so it happens in libuv's thread
 * pool. Only the newest wish counts. */
#include <uv.h>

#include "common/ip.h"

#define GROUPS_MAX        16384 /* memberships; what is beyond is counted as failed */
#define GROUPS_SOCKET_MAX 300 /* of one socket */

struct groups;

struct membership {
        unsigned ifindex;
        unsigned
                generation; /* another one than before: leave and join again (the interface lost its groups) */
        struct ip group;
};

/* @on_done: the newest wish is fulfilled but for @n_failed memberships; @code is the reason of one of them. What failed
 * is tried again with the next wish. 0 or -ENOMEM. */
int groups_new(struct groups **ret, uv_loop_t *loop, void (*on_done)(void *ctx, size_t n_failed, int code),
        void *ctx) MUST_CHECK;
/* For one that has had no groups_sync() yet. NULL is fine; returns NULL. */
struct groups *groups_free(struct groups *g);
void groups_close(struct groups *g, void (*closed)(void *ctx), void *ctx);

/* The memberships from now on; takes @v (from malloc(), in any order, repetitions are fine). */
void groups_sync(struct groups *g, struct membership *v, size_t n);
