/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* backoff - how long to wait before the next try. Pure.
 *
 * The pause doubles from @base_ms to @cap_ms, and each is drawn at random from its upper half ("equal jitter"), so
 * that many clients of one dead server do not come back in step, and none comes back at once. */
#include "common/rng.h"

struct backoff {
        uint32_t base_ms; /* at least 1 */
        uint32_t cap_ms; /* at least base_ms */
        unsigned tries; /* failures in a row so far */
};

/* The pause before the next try, in ms: between half of min(base << tries, cap) and all of it. Counts one failure. */
uint64_t backoff_next(struct backoff *b, struct rng *rng);
/* The same, but not before the server's Retry-After (seconds, 0: none; more than 300 s counts as 300 s). Up to
 * a tenth is added to a Retry-After, since many clients are told the same. */
uint64_t backoff_next_after(struct backoff *b, struct rng *rng, unsigned retry_after_s);
void backoff_reset(struct backoff *b);
