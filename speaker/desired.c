/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. A hash index lies beside the array: it finds duplicates while the set is built and answers the wire thread, for
 * every frame, after sealing. */
#include "speaker/desired.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct set {
        struct desired pub; /* what the header shows; first, so that both are at one address */
        size_t cap; /* of pub.vips */
        uint32_t *slots; /* open addressing: position in pub.vips + 1; 0: free */
        size_t n_slots; /* a power of two, at least twice cap */
};

static struct set *set_of(struct desired *d)
{
        return container_of(d, struct set, pub);
}

static uint32_t *slot_of(const struct set *s, const struct ip *ip)
{
        size_t at = ip_hash(ip) & (s->n_slots - 1);

        while (s->slots[at] != 0 && !ip_equal(&s->pub.vips[s->slots[at] - 1].ip, ip))
                at = (at + 1) & (s->n_slots - 1);
        return &s->slots[at];
}

static void index_all(struct set *s)
{
        memset(s->slots, 0, s->n_slots * sizeof(*s->slots));
        for (size_t i = 0; i < s->pub.n; i++)
                *slot_of(s, &s->pub.vips[i].ip) = (uint32_t)i + 1;
}

/* Room for @cap addresses; what is there already moves. On failure nothing has changed. */
static int set_grow(struct set *s, size_t cap)
{
        size_t n_slots = 8;
        struct desired_vip *vips;
        uint32_t *slots;

        if (cap > UINT32_MAX / 4)
                return -ENOMEM;
        while (n_slots < cap * 2)
                n_slots *= 2;
        vips = arena_calloc(s->pub.arena, cap, sizeof(*vips));
        slots = arena_calloc(s->pub.arena, n_slots, sizeof(*slots));
        if (!vips || !slots)
                return -ENOMEM;
        if (s->pub.n > 0)
                memcpy(vips, s->pub.vips, s->pub.n * sizeof(*vips));
        s->pub.vips = vips;
        s->cap = cap;
        s->slots = slots;
        s->n_slots = n_slots;
        index_all(s);
        return 0;
}

int desired_new(struct desired **ret, size_t max_vips)
{
        struct set *s = calloc(1, sizeof(*s));
        struct desired *d;

        if (!s)
                return -ENOMEM;
        d = &s->pub;
        d->arena = arena_new(256);
        if (!d->arena || set_grow(s, MAX(max_vips, (size_t)1)) < 0) {
                (void)desired_free(d);
                return -ENOMEM;
        }
        *ret = d;
        return 0;
}

struct desired *desired_free(struct desired *d)
{
        if (!d)
                return NULL;
        (void)arena_free(d->arena);
        free(set_of(d));
        return NULL;
}

static int by_name(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* @v's names and @more: sorted, unique, copied. */
static int unite(struct arena *a, struct desired_vip *v, const char *const *more, size_t n)
{
        const char **all = arena_calloc(a, v->n_interfaces + n, sizeof(*all));
        size_t out = 1, total = v->n_interfaces;

        if (!all)
                return -ENOMEM;
        if (total > 0)
                memcpy(all, v->interfaces, total * sizeof(*all));
        for (size_t i = 0; i < n; i++)
                if (!desired_vip_allows(v, more[i]) || v->n_interfaces == 0)
                        all[total++] = arena_dup(a, more[i]);
        if (!arena_ok(a))
                return -ENOMEM;
        qsort(all, total, sizeof(*all), by_name);
        for (size_t i = 1; i < total; i++)
                if (strcmp(all[i], all[out - 1]) != 0)
                        all[out++] = all[i];
        v->interfaces = all;
        v->n_interfaces = out;
        return 0;
}

int desired_add(struct desired *d, const struct ip *ip, const char *const *interfaces, size_t n)
{
        struct desired_vip fresh = { .ip = *ip };
        struct set *s = set_of(d);
        uint32_t *slot = slot_of(s, ip);
        struct desired_vip *v;

        if (*slot != 0) {
                v = &d->vips[*slot - 1];
                if (v->n_interfaces == 0)
                        return 0;
                if (n > 0)
                        return unite(d->arena, v, interfaces, n);
                v->interfaces = NULL;
                v->n_interfaces = 0;
                return 0;
        }
        if (n > 0 && unite(d->arena, &fresh, interfaces, n) < 0)
                return -ENOMEM;
        if (d->n == s->cap) {
                if (set_grow(s, s->cap * 2) < 0)
                        return -ENOMEM;
                slot = slot_of(s, ip);
        }
        d->vips[d->n++] = fresh;
        *slot = (uint32_t)d->n;
        return 0;
}

static int by_ip(const void *a, const void *b)
{
        const struct desired_vip *x = a, *y = b;

        return ip_cmp(&x->ip, &y->ip);
}

void desired_seal(struct desired *d)
{
        qsort(d->vips, d->n, sizeof(*d->vips), by_ip);
        index_all(set_of(d));
}

const struct desired_vip *desired_find(const struct desired *d, const struct ip *ip)
{
        uint32_t at = *slot_of((const void *)d, ip);

        return at ? &d->vips[at - 1] : NULL;
}

bool desired_vip_allows(const struct desired_vip *v, const char *interface)
{
        if (v->n_interfaces == 0)
                return true;
        for (size_t i = 0; i < v->n_interfaces; i++)
                if (strcmp(v->interfaces[i], interface) == 0)
                        return true;
        return false;
}

static bool vip_equal(const struct desired_vip *a, const struct desired_vip *b)
{
        if (!ip_equal(&a->ip, &b->ip) || a->n_interfaces != b->n_interfaces)
                return false;
        for (size_t i = 0; i < a->n_interfaces; i++)
                if (strcmp(a->interfaces[i], b->interfaces[i]) != 0)
                        return false;
        return true;
}

bool desired_equal(const struct desired *a, const struct desired *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (!vip_equal(&a->vips[i], &b->vips[i]))
                        return false;
        return true;
}
