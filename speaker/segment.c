/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. Pairs are few (a node has a handful of LAN interfaces), so a plain list and a small walk do. */
#include "speaker/segment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct pair {
        unsigned from, on;
        unsigned label; /* equal for all pairs of one LAN: the lowest index on it */
        bool stacked; /* known, not learnt */
        unsigned missed; /* announcements from @from since @on last heard one */
        uint64_t missed_ms; /* when the first of them was sent */
};

struct segment {
        struct pair v[SEGMENT_PAIRS];
        size_t n;
};

int segment_new(struct segment **ret)
{
        struct segment *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        *ret = s;
        return 0;
}

struct segment *segment_free(struct segment *s)
{
        free(s);
        return NULL;
}

static bool touch(const struct pair *x, const struct pair *y)
{
        return x->from == y->from || x->from == y->on || x->on == y->from || x->on == y->on;
}

/* After every change: lets the lowest index run along pairs that touch, until nothing moves. */
static void label_all(struct segment *s)
{
        bool moved = true;

        for (size_t i = 0; i < s->n; i++)
                s->v[i].label = MIN(s->v[i].from, s->v[i].on);
        while (moved) {
                moved = false;
                for (size_t i = 0; i < s->n; i++) {
                        for (size_t k = 0; k < s->n; k++) {
                                if (s->v[k].label >= s->v[i].label || !touch(&s->v[i], &s->v[k]))
                                        continue;
                                s->v[i].label = s->v[k].label;
                                moved = true;
                        }
                }
        }
}

static unsigned label_of(const struct segment *s, unsigned index)
{
        for (size_t i = 0; i < s->n; i++)
                if (s->v[i].from == index || s->v[i].on == index)
                        return s->v[i].label;
        return 0;
}

static bool add(struct segment *s, struct pair p)
{
        for (size_t i = 0; i < s->n; i++) {
                if (s->v[i].from == p.from && s->v[i].on == p.on && s->v[i].stacked == p.stacked) {
                        s->v[i].missed = 0;
                        return false;
                }
        }
        if (s->n == SEGMENT_PAIRS || p.from == p.on)
                return false;
        s->v[s->n++] = p;
        label_all(s);
        return true;
}

bool segment_heard(struct segment *s, unsigned from, unsigned on)
{
        return add(s, (struct pair){ .from = from, .on = on });
}

bool segment_stacked(struct segment *s, unsigned upper, unsigned lower)
{
        return add(s, (struct pair){ .from = upper, .on = lower, .stacked = true });
}

bool segment_sent(struct segment *s, unsigned from, uint64_t now_ms)
{
        bool forgot = false;

        for (size_t i = s->n; i-- > 0;) {
                struct pair *p = &s->v[i];

                if (p->from != from || p->stacked)
                        continue;
                if (p->missed == 0)
                        p->missed_ms = now_ms;
                if (p->missed >= SEGMENT_MISSES && now_ms - p->missed_ms >= SEGMENT_GRACE_MS) {
                        *p = s->v[--s->n];
                        forgot = true;
                } else {
                        p->missed++;
                }
        }
        if (forgot)
                label_all(s);
        return forgot;
}

bool segment_reset(struct segment *s, unsigned index)
{
        size_t before = s->n;

        for (size_t i = s->n; i-- > 0;)
                if (!s->v[i].stacked && (s->v[i].from == index || s->v[i].on == index))
                        s->v[i] = s->v[--s->n];
        if (s->n != before)
                label_all(s);
        return s->n != before;
}

void segment_unstack(struct segment *s)
{
        for (size_t i = s->n; i-- > 0;)
                if (s->v[i].stacked)
                        s->v[i] = s->v[--s->n];
        label_all(s);
}

bool segment_is_shared(const struct segment *s, unsigned index)
{
        return label_of(s, index) != 0;
}

bool segment_same(const struct segment *s, unsigned a, unsigned b)
{
        unsigned label = label_of(s, a);

        return label != 0 && label == label_of(s, b);
}
