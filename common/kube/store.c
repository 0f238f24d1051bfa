/* SPDX-License-Identifier: Apache-2.0 */
/* A uthash whose keys are the objects themselves: hash and comparison read ns and name through the pointer, so that no
 * key is stored a second time. Pure. */
#include "common/kube/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM    1
#define HASH_KEYCMP(a, b, n) key_differs((a), (b))
#include <uthash.h>

struct entry {
        UT_hash_handle hh; /* hh.key is the object */
        struct object *o;
        uint32_t generation;
};

struct store {
        struct entry *all;
        struct entry *sweep; /* where store_sweep() goes on, when sweeping */
        bool sweeping;
        uint32_t generation;
};

static int key_differs(const void *a, const void *b)
{
        const struct object *x = a, *y = b;

        return strcmp(x->name, y->name) != 0 || strcmp(x->ns, y->ns) != 0;
}

/* FNV-1a, then the finalizer of MurmurHash3, since uthash takes the low bits. */
static unsigned hash_of(const char *ns, const char *name)
{
        uint32_t h = 2166136261u;

        for (; *ns; ns++)
                h = (h ^ (unsigned char)*ns) * 16777619u;
        h = (h ^ '/') * 16777619u;
        for (; *name; name++)
                h = (h ^ (unsigned char)*name) * 16777619u;
        h = (h ^ (h >> 16)) * 0x85ebca6bu;
        h = (h ^ (h >> 13)) * 0xc2b2ae35u;
        return h ^ (h >> 16);
}

int store_new(struct store **ret)
{
        struct store *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        *ret = s;
        return 0;
}

struct store *store_free(struct store *s)
{
        struct entry *e, *next;

        if (!s)
                return NULL;
        e = s->all;
        HASH_CLEAR(hh, s->all); /* the table; the entries stay linked */
        for (; e; e = next) {
                next = e->hh.next;
                (void)object_free(e->o);
                free(e);
        }
        free(s);
        return NULL;
}

static struct entry *find(const struct store *s, const char *ns, const char *name)
{
        const struct object key = { .ns = ns, .name = name };
        struct entry *e = NULL;

        HASH_FIND_BYHASHVALUE(hh, s->all, &key, sizeof(key), hash_of(ns, name), e);
        return e;
}

int store_put(struct store *s, struct object *o, struct object **ret_old)
{
        struct entry *e = find(s, o->ns, o->name);

        if (e) {
                *ret_old = e->o;
                e->o = o;
                e->hh.key = o;
                e->generation = s->generation;
                return 0;
        }
        e = calloc(1, sizeof(*e));
        if (!e)
                return -ENOMEM;
        e->o = o;
        e->generation = s->generation;
        HASH_ADD_KEYPTR_BYHASHVALUE(hh, s->all, o, sizeof(*o), hash_of(o->ns, o->name), e);
        if (!e->hh.tbl) { /* no memory for the table */
                free(e);
                return -ENOMEM;
        }
        *ret_old = NULL;
        return 0;
}

const struct object *store_get(const struct store *s, const char *ns, const char *name)
{
        const struct entry *e = find(s, ns, name);

        return e ? e->o : NULL;
}

static struct object *take(struct store *s, struct entry *e)
{
        struct object *o = e->o;

        HASH_DELETE(hh, s->all, e);
        free(e);
        return o;
}

struct object *store_take(struct store *s, const char *ns, const char *name)
{
        struct entry *e = find(s, ns, name);

        return e ? take(s, e) : NULL;
}

size_t store_count(const struct store *s)
{
        return HASH_COUNT(s->all);
}

int store_each(const struct store *s, int (*fn)(void *ctx, const struct object *o), void *ctx)
{
        int r = 0;

        for (const struct entry *e = s->all; e && r == 0; e = e->hh.next)
                r = fn(ctx, e->o);
        return r;
}

void store_begin(struct store *s)
{
        s->generation++;
        s->sweeping = false;
}

bool store_mark(struct store *s, const char *ns, const char *name)
{
        struct entry *e = find(s, ns, name);

        if (e)
                e->generation = s->generation;
        return e != NULL;
}

struct object *store_sweep(struct store *s)
{
        struct entry *e = s->sweeping ? s->sweep : s->all;

        while (e && e->generation == s->generation)
                e = e->hh.next;
        s->sweep = e ? e->hh.next : NULL;
        s->sweeping = true;
        return e ? take(s, e) : NULL;
}
