/* SPDX-License-Identifier: Apache-2.0 */
/* ipam_def - the content of one pool, copied so that it outlives the decoded object. Pure. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/ipam_int.h"

static void add_ranges(struct buf *b, const struct ip_range *v, size_t n)
{
        char first[IP_TEXT_MAX], last[IP_TEXT_MAX];

        for (size_t i = 0; i < n; i++)
                buf_addf(b, "%s-%s,", ip_format(&v[i].first, first), ip_format(&v[i].last, last));
        buf_addc(b, ';');
}

static void add_selectors(struct buf *b, const struct selector_list *l)
{
        for (size_t i = 0; i < l->n; i++)
                buf_add_json(b, selector_text(l->v[i]));
        buf_addc(b, ';');
}

char *def_content(const struct pool *in)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        buf_addf(&b, "%lld,%d,%d,%d,%lld;", (long long)in->meta.created_s, in->auto_assign,
                in->avoid_buggy_ips, in->pinned, (long long)in->priority);
        add_ranges(&b, in->ranges, in->n_ranges);
        add_ranges(&b, in->reserved, in->n_reserved);
        for (size_t i = 0; i < in->namespaces.n; i++)
                buf_add_json(&b, in->namespaces.v[i]);
        buf_addc(&b, ';');
        add_selectors(&b, &in->ns_selectors);
        add_selectors(&b, &in->service_selectors);
        if (in->error)
                buf_add_json(&b, in->error);
        return buf_take(&b);
}

static int bounds_cmp(const void *a, const void *b)
{
        const struct ipam_bounds *x = a, *y = b;

        return u128_cmp(x->first, y->first);
}

/* Ascending and disjoint; touching ones need not be joined. */
static void copy_reserved(struct ipam_def *d, const struct pool *in, size_t f)
{
        struct ipam_bounds *v = arena_calloc(d->arena, in->n_reserved, sizeof(*v));
        size_t n = 0, kept = 0;

        for (size_t i = 0; v && i < in->n_reserved; i++)
                if (in->reserved[i].first.family == fam_of(f))
                        v[n++] = (struct ipam_bounds){ ip_u128(&in->reserved[i].first),
                                ip_u128(&in->reserved[i].last) };
        if (n > 1)
                qsort(v, n, sizeof(*v), bounds_cmp);
        for (size_t i = 0; i < n; i++) {
                if (kept > 0 && u128_cmp(v[i].first, v[kept - 1].last) <= 0) {
                        if (u128_cmp(v[i].last, v[kept - 1].last) > 0)
                                v[kept - 1].last = v[i].last;
                        continue;
                }
                v[kept++] = v[i];
        }
        d->reserved[f] = v;
        d->n_reserved[f] = kept;
}

static void copy_ranges(struct ipam_def *d, const struct pool *in)
{
        d->ranges = arena_calloc(d->arena, in->n_ranges, sizeof(*d->ranges));
        for (size_t i = 0; d->ranges && i < in->n_ranges; i++) {
                struct ipam_range *r = &d->ranges[i];
                size_t f = fam_index(in->ranges[i].first.family);

                r->first = ip_u128(&in->ranges[i].first);
                r->last = ip_u128(&in->ranges[i].last);
                r->family = in->ranges[i].first.family;
                r->order = (uint32_t)i;
                d->n_ranges++;
                d->has_family[f] = true;
                d->capacity[f] = u128_add_sat(d->capacity[f], span_usable(d, fam_of(f), r->first, r->last));
        }
}

int def_new(struct ipam_def **ret, const struct pool *in, const char *content)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(512 + in->n_ranges * sizeof(struct ipam_range));
        struct ipam_def *d = a ? arena_calloc(a, 1, sizeof(*d)) : NULL;

        if (!d)
                return -ENOMEM;
        d->arena = a;
        d->name = arena_dup(a, in->meta.name);
        d->content = arena_dup(a, content);
        d->created_s = in->meta.created_s;
        d->error = arena_dup(a, in->error);
        d->auto_assign = in->auto_assign;
        d->avoid_buggy = in->avoid_buggy_ips;
        d->pinned = in->pinned;
        d->priority = in->priority > 0 ? in->priority : INT64_MAX;
        d->namespaces.v = arena_calloc(a, in->namespaces.n, sizeof(*d->namespaces.v));
        for (size_t i = 0; d->namespaces.v && i < in->namespaces.n; i++)
                d->namespaces.v[d->namespaces.n++] = arena_dup(a, in->namespaces.v[i]);
        copy_ranges(d, in);
        copy_reserved(d, in, 0);
        copy_reserved(d, in, 1);
        if (selector_list_dup(&d->ns_selectors, a, &in->ns_selectors) < 0 ||
                selector_list_dup(&d->service_selectors, a, &in->service_selectors) < 0 || !arena_ok(a))
                return -ENOMEM;
        *ret = d;
        a = NULL; /* it owns itself now */
        return 0;
}

void def_free(struct ipam_def *d)
{
        if (d)
                arena_free(d->arena);
}

bool def_covers(const struct ipam_def *d, const struct ip *ip)
{
        struct u128 at = ip_u128(ip);

        for (size_t i = 0; i < d->n_ranges; i++)
                if (d->ranges[i].family == ip->family && u128_cmp(d->ranges[i].first, at) <= 0 &&
                        u128_cmp(at, d->ranges[i].last) <= 0)
                        return true;
        return false;
}
