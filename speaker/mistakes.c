/* SPDX-License-Identifier: Apache-2.0 */
#include "speaker/mistakes.h"

#include <stdlib.h>
#include <string.h>

#include "common/api/l2adv.h"
#include "common/api/pool.h"
#include "common/log.h"

#define LINES_MAX 64

static const char *const kinds[] = { "IPAddressPool", "L2Advertisement" };

struct found {
        const struct object *v[LINES_MAX];
        size_t n, total;
        enum mistakes_kind kind;
};

static const char *error_of(enum mistakes_kind kind, const struct object *o)
{
        return kind == MISTAKES_POOLS ? pool_of(o)->error : l2adv_of(o)->error;
}

static int by_name(const void *a, const void *b)
{
        const struct object *x = *(const struct object *const *)a, *y = *(const struct object *const *)b;

        return strcmp(x->name, y->name);
}

static int collect(void *ctx, const struct object *o)
{
        struct found *f = ctx;

        if (!error_of(f->kind, o))
                return 0;
        f->total++;
        if (f->n < LINES_MAX)
                f->v[f->n++] = o;
        return 0;
}

void mistakes_add(struct buf *out, enum mistakes_kind kind, const struct informer *inf)
{
        struct found f = { .kind = kind };

        (void)informer_each(inf, collect, &f); /* collect() never stops it */
        qsort(f.v, f.n, sizeof(f.v[0]), by_name);
        for (size_t i = 0; i < f.n; i++)
                buf_addf(out, "%s%s \"%s\": %s", out->len > 0 ? "\n" : "", kinds[kind], f.v[i]->name,
                        error_of(kind, f.v[i]));
        if (f.total > f.n)
                buf_addf(out, "\nand %zu more of kind %s", f.total - f.n, kinds[kind]);
}

void mistakes_say(enum mistakes_kind kind, const struct object *old, const struct object *now)
{
        const char *was = old ? error_of(kind, old) : NULL, *is = now ? error_of(kind, now) : NULL;

        if (is && (!was || strcmp(was, is) != 0)) {
                if (kind == MISTAKES_POOLS)
                        log_warn("an IPAddressPool has an error; only what could be read of it is in use",
                                F_STR("pool", now->name), F_STR("error", is));
                else
                        log_warn("an L2Advertisement has an error and is ignored",
                                F_STR("advertisement", now->name), F_STR("error", is));
        } else if (was && now && !is) {
                log_info("an error in the configuration is mended", F_STR("kind", kinds[kind]),
                        F_STR("name", now->name));
        }
}
