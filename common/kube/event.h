/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* event - core/v1 Events on objects, said once.
 *
 * The same (object, reason, message) within 10 minutes of its last time is counted and written at most once more
 * a minute (PATCH of count and lastTimestamp), never repeated. At most 100 new events a second and 25 per object per
 * five minutes are sent; others wait or are dropped and counted. Needs create and patch on events. */
#include "common/kube/event_book.h"
#include "common/kube/kube.h"

struct events;

int events_new(struct events **ret, struct kube *k, const char *component, const char *host,
        struct metrics *reg) MUST_CHECK;
void events_close(struct events *ev, void (*closed)(void *ctx), void *ctx);

/* Fire and forget: a failed write is retried a few times, then counted. Copies all. */
void events_say(struct events *ev, const struct event_object *on, enum event_type type, const char *reason,
        const char *fmt, ...) PRINTF_LIKE(5, 6);
