/* SPDX-License-Identifier: Apache-2.0 */
#include "common/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN     _Alignof(max_align_t)
#define BLOCK_MIN 512
#define BLOCK_MAX 65536 /* of those made for growth; a larger request gets a block of its own size */
#define TOTAL_MAX ((size_t)1 << 30) /* of one arena */

struct block {
        struct block *next;
        _Alignas(max_align_t) char data[];
};

/* Ten thousand of these are alive at once: 32 bytes on 64-bit machines. */
struct arena {
        char *at, *end; /* what is left of the block being filled; at NULL: an allocation failed */
        struct block *more; /* all blocks but the first */
        uint32_t total, used;
        _Alignas(max_align_t) char data[]; /* the first block */
};

struct arena *arena_new(size_t first)
{
        struct arena *a = first <= TOTAL_MAX ? malloc(sizeof(*a) + first) : NULL;

        if (!a)
                return NULL;
        *a = (struct arena){ .at = a->data, .end = a->data + first };
        a->total = (uint32_t)(sizeof(*a) + first);
        return a;
}

struct arena *arena_free(struct arena *a)
{
        struct block *next;

        if (!a)
                return NULL;
        for (struct block *b = a->more; b; b = next) {
                next = b->next;
                free(b);
        }
        free(a);
        return NULL;
}

bool arena_ok(const struct arena *a)
{
        return a->at != NULL;
}

size_t arena_size(const struct arena *a)
{
        return a->total;
}

size_t arena_used(const struct arena *a)
{
        return a->used;
}

static void *fail(struct arena *a)
{
        a->at = a->end = NULL;
        return NULL;
}

static bool grow(struct arena *a, size_t size)
{
        size_t cap = MAX(size, MIN(MAX(a->total, (size_t)BLOCK_MIN), (size_t)BLOCK_MAX));
        struct block *b = size <= TOTAL_MAX && a->total <= TOTAL_MAX ? malloc(sizeof(*b) + cap) : NULL;

        if (!b)
                return false;
        b->next = a->more;
        a->more = b;
        a->at = b->data;
        a->end = b->data + cap;
        a->total += (uint32_t)(sizeof(*b) + cap);
        return true;
}

/* @align is a power of two, and blocks start aligned for anything. */
static void *take(struct arena *a, size_t size, size_t align)
{
        size_t pad;
        char *p;

        if (!a->at)
                return NULL;
        pad = -(uintptr_t)a->at & (align - 1);
        if (pad > (size_t)(a->end - a->at) || size > (size_t)(a->end - a->at) - pad) {
                if (!grow(a, size))
                        return fail(a);
                pad = 0;
        }
        p = a->at + pad;
        a->at = p + size;
        a->used += (uint32_t)((-a->used & (align - 1)) + size); /* as if there were one block */
        return p;
}

void *arena_calloc(struct arena *a, size_t n, size_t size)
{
        size_t align = size & -size; /* the size of a type is a multiple of its alignment */
        void *p;

        if (n == 0)
                return NULL;
        if (size == 0 || size > SIZE_MAX / n)
                return fail(a);
        p = take(a, n * size, MIN(align, ALIGN));
        if (p)
                memset(p, 0, n * size);
        return p;
}

const char *arena_dup_n(struct arena *a, const char *text, size_t len)
{
        char *p = len < SIZE_MAX ? take(a, len + 1, 1) : fail(a);

        if (!p)
                return "";
        if (len > 0)
                memcpy(p, text, len);
        p[len] = '\0';
        return p;
}

const char *arena_dup(struct arena *a, const char *text)
{
        return text ? arena_dup_n(a, text, strlen(text)) : NULL;
}

const char *arena_printf(struct arena *a, const char *fmt, ...)
{
        va_list ap, again;
        char *p = NULL;
        int n;

        va_start(ap, fmt);
        va_copy(again, ap);
        n = vsnprintf(NULL, 0, fmt, ap);
        if (n >= 0)
                p = take(a, (size_t)n + 1, 1);
        if (p)
                (void)vsnprintf(p, (size_t)n + 1, fmt, again); /* measured just above */
        else
                (void)fail(a);
        va_end(again);
        va_end(ap);
        return p ? p : "";
}

static int by_text(const void *a, const void *b)
{
        const char *const *x = a, *const *y = b;

        return strcmp(*x, *y);
}

const char **arena_sort(struct arena *a, const char *const *texts, size_t n)
{
        const char **sorted = arena_calloc(a, n, sizeof(*sorted));

        if (sorted) {
                memcpy(sorted, texts, n * sizeof(*sorted));
                qsort(sorted, n, sizeof(*sorted), by_text);
        }
        return sorted;
}
