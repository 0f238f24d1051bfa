/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* base - the few macros that every file shares: ownership, attributes, sizes.
 * Pure. Nothing here allocates or keeps state. */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLEANUP(fn)       __attribute__((cleanup(fn)))
#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define NORETURN          __attribute__((noreturn))
#define UNUSED            __attribute__((unused))
#define ARRAY_LEN(a)      (sizeof(a) / sizeof((a)[0]))
#ifndef MIN /* <sys/param.h>, which <uv.h> includes, has the same two */
/* These two evaluate one argument twice: no calls in them. */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif

#define container_of(p, T, m) ((T *)(void *)((char *)(p)-offsetof(T, m)))

/* Moves a value out of an owner, so that the owner's cleanup does nothing. */
#define TAKE(p) \
        __extension__({ \
                __typeof__(p) *src_ = &(p), tmp_ = *src_; \
                *src_ = NULL; \
                tmp_; \
        })

/* Emits "void fnp(T **)" for CLEANUP(fnp), given "T *fn(T *)". */
#define DEFINE_CLEANUP(T, fn) \
        static inline UNUSED void fn##p(T **p) \
        { \
                *p = fn(*p); \
        } \
        struct require_semicolon

/* For locals from malloc() and friends: CLEANUP(freep) char *text = NULL; */
void freep(void *p);
