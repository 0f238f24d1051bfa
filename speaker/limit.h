/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* limit - how many requests one sender gets answered: a token bucket for each hardware address, in a table of fixed
 * size. Pure.
 *
 * A sender may use a whole second's worth at once, so over any time of t seconds it gets at most rate * (t + 1). When
 * the table's row for a new sender is full, the one heard longest ago is forgotten. A flood with ever new addresses is
 * not slowed down by this: it also cannot push out a sender's bucket to that sender's harm, since a forgotten sender
 * starts with a full one. */
#include "common/base.h"

struct limit;

/* @salt: any random number, so that nobody can choose addresses that share a row. 0, -EINVAL (rate 0) or -ENOMEM. */
int limit_new(struct limit **ret, uint32_t rate_s, uint64_t salt) MUST_CHECK;
struct limit *limit_free(struct limit *l);
DEFINE_CLEANUP(struct limit, limit_free);

/* Takes one token of @mac's bucket; false: it is empty. @now_ms is monotonic. */
bool limit_ok(struct limit *l, const uint8_t mac[static 6], uint64_t now_ms);
