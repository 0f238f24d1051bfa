/* SPDX-License-Identifier: Apache-2.0 */
#include "test/lib/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);

static _Thread_local bool armed, hit;
static _Thread_local unsigned left;

void fault_arm(unsigned n)
{
        armed = true;
        hit = false;
        left = n;
}

bool fault_disarm(void)
{
        armed = false;
        return hit;
}

bool fault_pause(void)
{
        bool was = armed;

        armed = false;
        return was;
}

void fault_resume(bool paused)
{
        armed = paused;
}

static bool fails(void)
{
        if (!armed || hit || left-- > 0)
                return false;
        hit = true;
        errno = ENOMEM;
        return true;
}

void *fault_malloc(size_t size)
{
        return fails() ? NULL : __real_malloc(size);
}

void *fault_calloc(size_t n, size_t size)
{
        return fails() ? NULL : __real_calloc(n, size);
}

void *fault_realloc(void *p, size_t size)
{
        return fails() ? NULL : __real_realloc(p, size);
}

void *__wrap_malloc(size_t size)
{
        return fault_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
        return fault_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
        return fault_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
        return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
        return fails() ? NULL : __real_strndup(s, n);
}
