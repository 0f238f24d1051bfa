/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. */
#include "speaker/limit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 256 /* a power of two */
#define WAYS 4

struct bucket {
        uint64_t mac; /* 0: free */
        uint64_t heard_ms;
        uint64_t millis; /* thousandths of a request */
};

struct limit {
        uint32_t rate_s;
        uint64_t salt;
        struct bucket v[ROWS][WAYS];
};

int limit_new(struct limit **ret, uint32_t rate_s, uint64_t salt)
{
        struct limit *l;

        if (rate_s == 0)
                return -EINVAL;
        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->rate_s = rate_s;
        l->salt = salt;
        *ret = l;
        return 0;
}

struct limit *limit_free(struct limit *l)
{
        free(l);
        return NULL;
}

static struct bucket *bucket_of(struct limit *l, uint64_t mac, uint64_t now_ms)
{
        uint64_t mixed = (mac ^ l->salt) * 0x9e3779b97f4a7c15u;
        struct bucket *row = l->v[(mixed ^ mixed >> 32) >> 8 & (ROWS - 1)], *oldest = row;

        for (unsigned i = 0; i < WAYS; i++) {
                if (row[i].mac == mac)
                        return &row[i];
                if (row[i].heard_ms < oldest->heard_ms)
                        oldest = &row[i];
        }
        *oldest = (struct bucket){ .mac = mac, .heard_ms = now_ms, .millis = (uint64_t)l->rate_s * 1000 };
        return oldest;
}

bool limit_ok(struct limit *l, const uint8_t mac[static 6], uint64_t now_ms)
{
        uint64_t full = (uint64_t)l->rate_s * 1000, key = 1; /* never 0 */
        struct bucket *b;

        for (unsigned i = 0; i < 6; i++)
                key = key << 8 | mac[i];
        b = bucket_of(l, key, now_ms);
        if (now_ms - b->heard_ms >= 1000)
                b->millis = full;
        else
                b->millis = MIN(full, b->millis + (now_ms - b->heard_ms) * l->rate_s);
        b->heard_ms = now_ms;
        if (b->millis < 1000)
                return false;
        b->millis -= 1000;
        return true;
}
