/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* json - typed access over cJSON: a missing field and a field of the wrong type are different answers.
 * Pure. Values are borrowed from the tree. Numbers: cJSON keeps doubles, so integers beyond 2^53 - 1 are
 * refused (-ERANGE), never rounded. Of a member that stands twice the first counts. */
#include <cjson/cJSON.h>

#include "common/base.h"
#include "common/err.h"

#define JSON_DEPTH_MAX 64 /* nesting that json_parse() accepts */

/* A tree from exactly @len bytes (they need no terminator), or ERR_MALFORMED, ERR_TOO_BIG (nesting),
 * -ENOMEM. Free with cJSON_Delete(). Trailing blanks are allowed, trailing text and NUL bytes are not; an escaped NUL
 * (\u0000) reads as U+FFFD, because a C string would end there. */
int json_parse(cJSON **ret, const char *bytes, size_t len) MUST_CHECK;
static inline UNUSED void json_deletep(cJSON **p)
{
        cJSON_Delete(*p);
        *p = NULL;
}

/* 0; -ENOENT: no such member, or null; -EPROTOTYPE: another type; -ERANGE: does not fit.
 * On failure *ret is untouched, so a default can stand in it. @obj may be NULL (-ENOENT). */
int json_str(const cJSON *obj, const char *key, const char **ret);
int json_bool(const cJSON *obj, const char *key, bool *ret);
int json_int(const cJSON *obj, const char *key, int64_t *ret);
/* The integer; INT64_MAX or INT64_MIN where it is beyond 2^53; @fallback for everything else. */
int64_t json_int_clamped(const cJSON *obj, const char *key, int64_t fallback);
int json_obj(const cJSON *obj, const char *key, const cJSON **ret);
int json_arr(const cJSON *obj, const char *key, const cJSON **ret);
/* Follows a dotted path of object members: "spec.loadBalancerIP". NULL when any step is missing. */
const cJSON *json_at(const cJSON *obj, const char *path);
/* The string at a dotted path, or @fallback. */
const char *json_str_at(const cJSON *obj, const char *path, const char *fallback);

/* "2026-11-22T01:02:03Z" (RFC 3339) to seconds since 1970. Fractions are dropped. 0 or ERR_MALFORMED. */
int json_time(const char *text, int64_t *ret) MUST_CHECK;
/* The other way; @out holds at least 21 bytes. Returns @out. */
const char *json_time_format(int64_t seconds, char out[static 32]);
