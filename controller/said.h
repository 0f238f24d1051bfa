/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* said - the events of one plan, kept until its write went through: an address is announced to people once it is true. */
#include "common/kube/event.h"
#include "controller/plan.h"

struct said;

/* Copies all. 0 or -ENOMEM. */
int said_new(struct said **ret, const char *ns, const char *name, const char *uid,
        const struct plan *p) MUST_CHECK;
struct said *said_free(struct said *s); /* NULL is fine; returns NULL */
/* Says them. NULL: nothing. */
void said_say(const struct said *s, struct events *events);
