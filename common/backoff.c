/* SPDX-License-Identifier: Apache-2.0 */
#include "common/backoff.h"

#define RETRY_AFTER_MAX_S 300 /* no server may silence us for longer */

uint64_t backoff_next(struct backoff *b, struct rng *rng)
{
        uint64_t full = b->base_ms;

        for (unsigned i = 0; i < b->tries && full < b->cap_ms; i++)
                full *= 2;
        full = MAX(MIN(full, (uint64_t)b->cap_ms), (uint64_t)1);
        if (b->tries < UINT16_MAX)
                b->tries++;
        return full - rng_below(rng, full / 2 + 1);
}

uint64_t backoff_next_after(struct backoff *b, struct rng *rng, unsigned retry_after_s)
{
        uint64_t own = backoff_next(b, rng);
        uint64_t asked = (uint64_t)MIN(retry_after_s, (unsigned)RETRY_AFTER_MAX_S) * 1000;

        asked += rng_below(rng, asked / 10 + 1);
        return MAX(own, asked);
}

void backoff_reset(struct backoff *b)
{
        b->tries = 0;
}
