/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* err - one signed code space, and words for a human beside it.
 *
 * Every fallible function returns 0 (or a count) or a negative code: -errno for the system, libuv's codes
 * unchanged (on Linux they are -errno and a few below -3000), ours from -2000 down to -2099. A code of
 * ours is an answer that the caller must handle; the header of the function lists it.
 * Pure: formats into the caller's storage. */
#include "common/base.h"

enum {
        ERR_MALFORMED = -2000, /* bytes or text that break their format */
        ERR_TOO_BIG = -2001, /* beyond a stated limit */
        ERR_FULL = -2002, /* no room left: pool, queue, table */
        ERR_CONFLICT = -2003, /* somebody else holds it; HTTP 409 */
        ERR_GONE = -2004, /* HTTP 410: the asked-for history is no longer kept */
        ERR_DENIED = -2005, /* HTTP 401 or 403 */
        ERR_MISSING = -2006, /* HTTP 404, unknown name */
        ERR_REJECTED = -2007, /* HTTP 400, 422 and other final refusals */
        ERR_BUSY = -2008, /* HTTP 429 or 5xx: the same request may work later */
};

struct err {
        char text[256]; /* always terminated; "" when nothing was said */
};

/* Both return @code, so that a leaf can say: return err_set(e, -EINVAL, "...", ...);
 * @e may be NULL. err_wrap() puts "<formatted>: " in front of what is there. Over-long text is cut. */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
int err_wrap(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* A short text for any code of the space above; never NULL. Static storage, except that for unknown
 * codes it is written into a thread-local buffer valid until the next call. */
const char *err_name(int code);
