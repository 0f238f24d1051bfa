/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* rng - a small seeded generator (splitmix64), so that pure code can be replayed. Not for secrets. */
#include "common/base.h"

struct rng {
        uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
        uint64_t z = (r->state += 0x9e3779b97f4a7c15u);

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
}

/* 0 .. @bound - 1; 0 for a bound of 0. The bias is below 2^-32 for bounds under 2^32. */
static inline uint64_t rng_below(struct rng *r, uint64_t bound)
{
        return bound ? rng_next(r) % bound : 0;
}

/* @ms (below 2^57) shortened or lengthened by at most @percent; more than 100 counts as 100. */
static inline uint64_t rng_jitter(struct rng *r, uint64_t ms, unsigned percent)
{
        uint64_t span = ms * MIN(percent, 100u) / 100;

        return ms - span + rng_below(r, 2 * span + 1);
}
