/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* table - uthash the way this project uses it. Pure.
 * Running out of memory is not fatal: after HASH_ADD*, an element whose hh.tbl is NULL was not added. The hash is FNV-1a
 * with MurmurHash3's finalizer (uthash takes the low bits); uthash's own falls through in ways clang warns about. */
#include "common/base.h"

static inline UNUSED unsigned table_hash(const void *key, size_t len)
{
        const uint8_t *p = key;
        uint32_t h = 2166136261u;

        for (size_t i = 0; i < len; i++)
                h = (h ^ p[i]) * 16777619u;
        h = (h ^ (h >> 16)) * 0x85ebca6bu;
        h = (h ^ (h >> 13)) * 0xc2b2ae35u;
        return h ^ (h >> 16);
}

#define HASH_NONFATAL_OOM              1
#define HASH_FUNCTION(key, len, value) ((value) = table_hash((key), (len)))
#include <uthash.h>
