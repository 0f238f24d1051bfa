/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. Jumps of classic BPF reach 255 instructions, so a search is laid out depth first: each inner node skips its left
 * half, each leaf ends the program or leaves the search by an unconditional jump, which reaches anywhere. */
#include "speaker/filter.h"

#include <assert.h>
#include <linux/if_packet.h>
#include <string.h>

#include "speaker/eth.h"

/* Two searches over the same ranges for ARP, one for NDP; 5 instructions a range at the most. */
#define RANGES_ARP 54
#define RANGES_NDP 108
#define ACCEPT     0xffff /* bytes to keep: all, the ring's frame size cuts */

enum {
        ARP_OP = 20,
        ARP_SENDER = 28,
        ARP_TARGET = 38,
        IP6_NEXT = 20,
        IP6_HOPS = 21,
        ICMP_TYPE = 54,
        ND_TARGET_END = 74
};

struct range {
        uint32_t first, last;
};

struct cover {
        struct range v[RANGES_NDP + 1];
        size_t n, max;
};

static void merge_next(struct cover *c, size_t i)
{
        c->v[i].last = MAX(c->v[i].last, c->v[i + 1].last);
        c->n--;
        memmove(&c->v[i + 1], &c->v[i + 2], (c->n - i - 1) * sizeof(c->v[0]));
}

static void cover_add(struct cover *c, uint32_t v)
{
        size_t at = c->n, best = 0;

        while (at > 0 && c->v[at - 1].first > v)
                at--;
        if (at > 0 && v <= c->v[at - 1].last)
                return;
        memmove(&c->v[at + 1], &c->v[at], (c->n - at) * sizeof(c->v[0]));
        c->v[at] = (struct range){ v, v };
        c->n++;
        if (at + 1 < c->n && c->v[at + 1].first == v + 1)
                merge_next(c, at);
        if (at > 0 && c->v[at - 1].last + 1 == v)
                merge_next(c, at - 1);
        if (c->n <= c->max)
                return;
        for (size_t i = 1; i + 1 < c->n; i++)
                if (c->v[i + 1].first - c->v[i].last < c->v[best + 1].first - c->v[best].last)
                        best = i;
        merge_next(c, best);
}

static void put(struct filter *f, uint16_t code, uint32_t k, unsigned jt, unsigned jf)
{
        assert(f->n < FILTER_MAX && jt <= 255 && jf <= 255);
        f->v[f->n++] = (struct sock_filter){ code, (uint8_t)jt, (uint8_t)jf, k };
}

static void load(struct filter *f, unsigned size, uint32_t at)
{
        put(f, (uint16_t)(BPF_LD | BPF_ABS | size), at, 0, 0);
}

/* Drops the frame unless the loaded value is @k. */
static void require(struct filter *f, uint32_t k)
{
        put(f, BPF_JMP | BPF_JEQ | BPF_K, k, 1, 0);
        put(f, BPF_RET | BPF_K, 0, 0, 0);
}

static size_t search_size(size_t n)
{
        size_t left = n / 2, size;

        if (n == 1)
                return 3;
        size = search_size(left);
        return size + search_size(n - left) + (size <= 255 ? 1 : 2);
}

/* Lets the frame through if the loaded value is in one of the ranges; else goes on at instruction @miss. The value
 * is known to be at least v[0].first. */
static void search(struct filter *f, const struct range *v, size_t n, size_t miss)
{
        size_t left = n / 2;

        if (n == 1) {
                put(f, BPF_JMP | BPF_JGT | BPF_K, v->last, 0, 1);
                put(f, BPF_JMP | BPF_JA, (uint32_t)(miss - f->n - 1), 0, 0);
                put(f, BPF_RET | BPF_K, ACCEPT, 0, 0);
                return;
        }
        if (search_size(left) <= 255) {
                put(f, BPF_JMP | BPF_JGE | BPF_K, v[left].first, (unsigned)search_size(left), 0);
        } else {
                put(f, BPF_JMP | BPF_JGE | BPF_K, v[left].first, 0, 1);
                put(f, BPF_JMP | BPF_JA, (uint32_t)search_size(left), 0, 0);
        }
        search(f, v, left, miss);
        search(f, v + left, n - left, miss);
}

static void let_through(struct filter *f, const struct cover *c)
{
        size_t miss;

        if (c->n == 0)
                return;
        miss = f->n + 2 + search_size(c->n);
        put(f, BPF_JMP | BPF_JGE | BPF_K, c->v[0].first, 1, 0);
        put(f, BPF_JMP | BPF_JA, (uint32_t)(miss - f->n - 1), 0, 0);
        search(f, c->v, c->n, miss);
}

static void head(struct filter *f, enum ip_family family)
{
        f->n = 0;
        load(f, BPF_W, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE));
        put(f, BPF_JMP | BPF_JEQ | BPF_K, PACKET_OTHERHOST, 0, 1);
        put(f, BPF_RET | BPF_K, 0, 0, 0);
        load(f, BPF_H, 12);
        require(f, family == IP_V4 ? ETH_ARP : ETH_IPV6);
        if (family == IP_V4)
                return;
        load(f, BPF_B, IP6_NEXT);
        require(f, 58);
        load(f, BPF_B, IP6_HOPS);
        require(f, 255);
        load(f, BPF_B, ICMP_TYPE);
        put(f, BPF_JMP | BPF_JEQ | BPF_K, 135, 2, 0);
        put(f, BPF_JMP | BPF_JEQ | BPF_K, 136, 1, 0);
        put(f, BPF_RET | BPF_K, 0, 0, 0);
}

void filter_build(struct filter *ret, enum ip_family family, const struct ip *ips, size_t n)
{
        struct cover c = { .max = family == IP_V4 ? RANGES_ARP : RANGES_NDP };

        for (size_t i = 0; i < n; i++)
                if (ips[i].family == family)
                        cover_add(&c, get_be32(ips[i].b + (family == IP_V4 ? 0 : 12)));
        head(ret, family);
        if (family == IP_V4) {
                load(ret, BPF_W, ARP_SENDER);
                let_through(ret, &c);
                load(ret, BPF_H, ARP_OP);
                require(ret, 1);
                load(ret, BPF_W, ARP_TARGET);
        } else {
                load(ret, BPF_W, ND_TARGET_END);
        }
        let_through(ret, &c);
        put(ret, BPF_RET | BPF_K, 0, 0, 0);
}

void filter_all(struct filter *ret, enum ip_family family)
{
        head(ret, family);
        put(ret, BPF_RET | BPF_K, ACCEPT, 0, 0);
}
