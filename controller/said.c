/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/said.h"

#include <errno.h>

struct said {
        struct arena *arena; /* holds this too */
        struct event_object on;
        const struct plan_event *v;
        size_t n;
};

int said_new(struct said **ret, const char *ns, const char *name, const char *uid, const struct plan *p)
{
        struct arena *a = arena_new(512);
        struct said *s = a ? arena_calloc(a, 1, sizeof(*s)) : NULL;
        struct plan_event *v = a ? arena_calloc(a, p->n_events + 1, sizeof(*v)) : NULL;

        for (size_t i = 0; v && i < p->n_events; i++)
                v[i] = (struct plan_event){ p->events[i].is_warning, arena_dup(a, p->events[i].reason),
                        arena_dup(a, p->events[i].message) };
        if (s)
                *s = (struct said){ .arena = a,
                        .on = { "v1", "Service", arena_dup(a, ns), arena_dup(a, name), arena_dup(a, uid) },
                        .v = v,
                        .n = p->n_events };
        if (!a || !arena_ok(a)) {
                arena_free(a);
                return -ENOMEM;
        }
        *ret = s;
        return 0;
}

struct said *said_free(struct said *s)
{
        if (s)
                arena_free(s->arena);
        return NULL;
}

void said_say(const struct said *s, struct events *events)
{
        for (size_t i = 0; s && i < s->n; i++)
                events_say(events, &s->on, s->v[i].is_warning ? EVENT_WARNING : EVENT_NORMAL, s->v[i].reason,
                        "%s", s->v[i].message);
}
