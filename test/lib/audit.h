/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* audit - every structure of an ipam against every other: a mistake fails the test. Slow, for small pools. */
#include <check.h>

#include "common/ipam.h"

/* An assertion of libcheck writes to a file each time: too slow for millions of them. */
#define MUST(x) \
        do { \
                if (!(x)) \
                        ck_abort_msg("not so: %s", #x); \
        } while (0)
#define MUST_MSG(x, ...) \
        do { \
                if (!(x)) \
                        ck_abort_msg(__VA_ARGS__); \
        } while (0)

void ipam_audit(const struct ipam *m);
