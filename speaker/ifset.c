/* SPDX-License-Identifier: Apache-2.0 */
#include "speaker/ifset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/table.h"

struct ifset {
        UT_hash_handle hh; /* by the names with their terminators, one behind the other */
        unsigned refs;
        size_t n;
        const char *names[]; /* into the key, which follows them */
};

static int by_text(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A new set with one reference, not in any table. */
static struct ifset *ifset_make(const char *const *names, size_t n, size_t *ret_key_len)
{
        size_t key_len = 0;
        struct ifset *s;
        char *key;

        for (size_t i = 0; i < n; i++)
                key_len += strlen(names[i]) + 1;
        s = calloc(1, sizeof(*s) + n * sizeof(s->names[0]) + key_len);
        if (!s)
                return NULL;
        key = (char *)(s->names + n);
        s->refs = 1;
        s->n = n;
        for (size_t i = 0; i < n; i++) {
                size_t len = strlen(names[i]) + 1;

                memcpy(key, names[i], len);
                s->names[i] = key;
                key += len;
        }
        *ret_key_len = key_len;
        return s;
}

int ifset_get(struct ifset **ret, struct ifset_table *t, const char **names, size_t n)
{
        struct ifset *fresh, *have;
        size_t unique = 0, key_len;

        if (n == 0) {
                *ret = NULL;
                return 0;
        }
        qsort(names, n, sizeof(names[0]), by_text);
        for (size_t i = 0; i < n; i++)
                if (i == 0 || strcmp(names[i], names[unique - 1]) != 0)
                        names[unique++] = names[i];
        fresh = ifset_make(names, unique, &key_len);
        if (!fresh)
                return -ENOMEM;
        HASH_FIND(hh, t->sets, fresh->names[0], key_len, have);
        if (have) {
                free(fresh);
                have->refs++;
                *ret = have;
                return 0;
        }
        HASH_ADD_KEYPTR(hh, t->sets, fresh->names[0], key_len, fresh);
        if (!fresh->hh.tbl) {
                free(fresh);
                return -ENOMEM;
        }
        *ret = fresh;
        return 0;
}

struct ifset *ifset_ref(struct ifset *s)
{
        if (s)
                s->refs++;
        return s;
}

void ifset_unref(struct ifset_table *t, struct ifset *s)
{
        if (!s || --s->refs > 0)
                return;
        HASH_DEL(t->sets, s);
        free(s);
}

size_t ifset_count(const struct ifset *s)
{
        return s ? s->n : 0;
}

const char *const *ifset_names(const struct ifset *s)
{
        return s ? s->names : NULL;
}
