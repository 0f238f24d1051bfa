/* SPDX-License-Identifier: Apache-2.0 */
#include "common/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN _Alignof(max_align_t)
#define BLOCK 512

struct block {
        struct block *next;
        size_t used, cap;
        _Alignas(max_align_t) char data[];
};

struct arena {
        struct block *head; /* the block being filled; fuller ones behind it */
        size_t total;
        bool bad;
};

static struct block *block_new(struct arena *a, size_t cap)
{
        struct block *b = malloc(sizeof(*b) + cap);

        if (!b) {
                a->bad = true;
                return NULL;
        }
        b->next = a->head;
        b->used = 0;
        b->cap = cap;
        a->head = b;
        a->total += sizeof(*b) + cap;
        return b;
}

struct arena *arena_new(size_t first)
{
        struct arena *a = calloc(1, sizeof(*a));

        if (a && !block_new(a, MAX(first, (size_t)64)))
                return arena_free(a);
        return a;
}

struct arena *arena_free(struct arena *a)
{
        struct block *next;

        if (!a)
                return NULL;
        for (struct block *b = a->head; b; b = next) {
                next = b->next;
                free(b);
        }
        free(a);
        return NULL;
}

bool arena_ok(const struct arena *a)
{
        return !a->bad;
}

size_t arena_size(const struct arena *a)
{
        return a->total + sizeof(*a);
}

static void *arena_take(struct arena *a, size_t size, size_t align)
{
        struct block *b = a->head;
        size_t at;

        if (a->bad)
                return NULL;
        at = (b->used + align - 1) & ~(align - 1);
        if (at > b->cap || size > b->cap - at) {
                if (size > SIZE_MAX / 4) {
                        a->bad = true;
                        return NULL;
                }
                b = block_new(a, MAX(size, (size_t)BLOCK));
                if (!b)
                        return NULL;
                at = 0;
        }
        b->used = at + size;
        return b->data + at;
}

void *arena_calloc(struct arena *a, size_t n, size_t size)
{
        void *p;

        if (n == 0)
                return NULL;
        if (size > SIZE_MAX / n) {
                a->bad = true;
                return NULL;
        }
        p = arena_take(a, n * size, ALIGN);
        if (p)
                memset(p, 0, n * size);
        return p;
}

const char *arena_dup_n(struct arena *a, const char *text, size_t len)
{
        char *p = len < SIZE_MAX ? arena_take(a, len + 1, 1) : NULL;

        if (!p)
                return "";
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
                p = arena_take(a, (size_t)n + 1, 1);
        if (p)
                (void)vsnprintf(p, (size_t)n + 1, fmt, again); /* measured just above */
        else
                a->bad = true;
        va_end(again);
        va_end(ap);
        return p ? p : "";
}
