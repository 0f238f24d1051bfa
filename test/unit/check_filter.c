/* SPDX-License-Identifier: Apache-2.0 */
/* The programs run in a small interpreter here, and are given to the kernel, which checks every jump. */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/rng.h"
#include "speaker/arp.h"
#include "speaker/filter.h"
#include "speaker/ndp.h"
#include "test/lib/unit.h"

#define MANY 3000

static const uint8_t other[6] = { 2, 0, 0, 0, 0, 7 };

static uint32_t load(
        const uint8_t *frame, size_t len, uint32_t at, unsigned size, unsigned pkttype, bool *bad)
{
        if (at == (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE))
                return pkttype;
        if (at + size > len) {
                *bad = true;
                return 0;
        }
        return size == 1 ? frame[at] : size == 2 ? get_be16(frame + at) : get_be32(frame + at);
}

/* What the kernel would do: bytes to keep, 0 to drop. */
static uint32_t interpret(const struct filter *f, const uint8_t *frame, size_t len, unsigned pkttype)
{
        uint32_t a = 0;

        for (size_t pc = 0; pc < f->n; pc++) {
                const struct sock_filter *i = &f->v[pc];
                bool bad = false;

                switch (i->code) {
                case BPF_LD | BPF_W | BPF_ABS: a = load(frame, len, i->k, 4, pkttype, &bad); break;
                case BPF_LD | BPF_H | BPF_ABS: a = load(frame, len, i->k, 2, pkttype, &bad); break;
                case BPF_LD | BPF_B | BPF_ABS: a = load(frame, len, i->k, 1, pkttype, &bad); break;
                case BPF_JMP | BPF_JA: pc += i->k; break;
                case BPF_JMP | BPF_JEQ | BPF_K: pc += a == i->k ? i->jt : i->jf; break;
                case BPF_JMP | BPF_JGT | BPF_K: pc += a > i->k ? i->jt : i->jf; break;
                case BPF_JMP | BPF_JGE | BPF_K: pc += a >= i->k ? i->jt : i->jf; break;
                case BPF_RET | BPF_K: return i->k;
                default: ck_abort_msg("instruction %zu: code %u", pc, i->code);
                }
                if (bad)
                        return 0;
        }
        ck_abort_msg("fell off the end");
        return 0;
}

static void kernel_takes(const struct filter *f)
{
        struct sock_filter v[FILTER_MAX];
        struct sock_fprog prog = { .len = (unsigned short)f->n, .filter = v };
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        memcpy(v, f->v, f->n * sizeof(v[0]));
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)), 0);
        (void)close(fd);
}

static bool passes_arp(
        const struct filter *f, uint16_t op, const struct ip *spa, const struct ip *tpa, unsigned pkttype)
{
        uint8_t frame[ARP_FRAME_LEN];
        struct arp_msg m = { .op = op };

        memset(m.eth_dst, 0xff, 6);
        memcpy(m.eth_src, other, 6);
        memcpy(m.sha, other, 6);
        memcpy(m.spa, spa->b, 4);
        memcpy(m.tpa, tpa->b, 4);
        arp_build(frame, &m);
        return interpret(f, frame, sizeof(frame), pkttype) > 0;
}

static bool passes_ndp(const struct filter *f, uint8_t type, const struct ip *target, unsigned pkttype)
{
        uint8_t frame[NDP_FRAME_LEN];
        struct ndp_msg m = { .type = type, .has_lladdr = true };

        memcpy(m.src, "\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x07", 16);
        memcpy(m.dst, target->b, 16);
        memcpy(m.target, target->b, 16);
        return interpret(f, frame, ndp_build(frame, &m), pkttype) > 0;
}

static int by_ip(const void *a, const void *b)
{
        return ip_cmp(a, b);
}

/* @n addresses; @spread is how many high bits vary. Sorted, and some may be equal. */
static void make(struct ip *ips, size_t n, enum ip_family family, unsigned spread, struct rng *rng)
{
        for (size_t i = 0; i < n; i++) {
                uint32_t v = (uint32_t)rng_next(rng) >> (32 - spread);
                uint8_t *last = ips[i].b + (family == IP_V4 ? 0 : 12);

                ips[i] = (struct ip){ .family = (uint8_t)family };
                if (family == IP_V6)
                        ips[i].b[0] = 0x20;
                last[0] = (uint8_t)(v >> 24);
                last[1] = (uint8_t)(v >> 16);
                last[2] = (uint8_t)(v >> 8);
                last[3] = (uint8_t)v;
        }
        qsort(ips, n, sizeof(*ips), by_ip);
}

static bool holds(const struct ip *ips, size_t n, const struct ip *ip)
{
        return bsearch(ip, ips, n, sizeof(*ips), by_ip) != NULL;
}

static const struct {
        size_t n;
        unsigned spread; /* low bits that vary */
        bool exact; /* nothing else may pass */
} sets[] = {
        { 0, 32, true },
        { 1, 32, true },
        { 2, 32, true },
        { 3, 8, true },
        { 16, 32, true },
        { 54, 32, true },
        { 55, 32, false },
        { 64, 6, true },
        { 200, 32, false },
        { 1000, 10, false },
        { 1000, 32, false },
        { MANY, 32, false },
        { MANY, 16, false },
};

START_TEST(arp_never_drops_ours)
{
        struct ip *ips = calloc(MANY, sizeof(*ips)), none = { IP_V4, { 0 } }, far = { IP_V4, { 9, 9, 9, 9 } };
        struct rng rng = { (uint64_t)_i + 1 };
        struct filter f;
        size_t n = sets[_i].n, leaks = 0;

        ck_assert_ptr_nonnull(ips);
        make(ips, n, IP_V4, sets[_i].spread, &rng);
        filter_build(&f, IP_V4, ips, n);
        kernel_takes(&f);
        ck_assert_uint_le(f.n, FILTER_MAX);
        for (size_t i = 0; i < n; i++) {
                ck_assert(passes_arp(&f, ARP_REQUEST, &far, &ips[i], PACKET_BROADCAST));
                ck_assert(passes_arp(&f, ARP_REQUEST, &none, &ips[i], PACKET_HOST)); /* a probe */
                ck_assert(passes_arp(&f, ARP_REQUEST, &ips[i], &far, PACKET_BROADCAST)); /* claims */
                ck_assert(passes_arp(&f, ARP_REPLY, &ips[i], &far, PACKET_BROADCAST));
                ck_assert(
                        !passes_arp(&f, ARP_REQUEST, &far, &ips[i], PACKET_OTHERHOST)); /* a foreign VLAN's */
        }
        for (unsigned i = 0; i < 20000; i++) {
                struct ip ip;

                make(&ip, 1, IP_V4, sets[_i].spread, &rng);
                if (!holds(ips, n, &ip))
                        leaks += passes_arp(&f, ARP_REQUEST, &far, &ip, PACKET_BROADCAST);
        }
        if (sets[_i].exact)
                ck_assert_uint_eq(leaks, 0);
        if (sets[_i].exact && !holds(ips, n, &far))
                ck_assert(!passes_arp(&f, ARP_REPLY, &far, &far, PACKET_BROADCAST));
        free(ips);
}
END_TEST

START_TEST(ndp_never_drops_ours)
{
        struct ip *ips = calloc(MANY, sizeof(*ips));
        struct rng rng = { (uint64_t)_i + 99 };
        struct filter f;
        size_t n = sets[_i].n, leaks = 0;

        ck_assert_ptr_nonnull(ips);
        make(ips, n, IP_V6, sets[_i].spread, &rng);
        filter_build(&f, IP_V6, ips, n);
        kernel_takes(&f);
        for (size_t i = 0; i < n; i++) {
                struct ip twin = ips[i];

                twin.b[1] ^=
                        1; /* the same low bits under another prefix: may pass, must not break anything */
                (void)passes_ndp(&f, NDP_SOLICIT, &twin, PACKET_MULTICAST);
                ck_assert(passes_ndp(&f, NDP_SOLICIT, &ips[i], PACKET_MULTICAST));
                ck_assert(passes_ndp(&f, NDP_SOLICIT, &ips[i], PACKET_HOST));
                ck_assert(passes_ndp(&f, NDP_ADVERT, &ips[i], PACKET_MULTICAST));
                ck_assert(!passes_ndp(&f, NDP_SOLICIT, &ips[i], PACKET_OTHERHOST));
                ck_assert(!passes_ndp(&f, 133, &ips[i], PACKET_MULTICAST));
        }
        for (unsigned i = 0; i < 20000; i++) {
                struct ip ip;

                make(&ip, 1, IP_V6, sets[_i].spread, &rng);
                if (!holds(ips, n, &ip))
                        leaks += passes_ndp(&f, NDP_SOLICIT, &ip, PACKET_MULTICAST);
        }
        if (sets[_i].exact)
                ck_assert_uint_eq(leaks, 0);
        free(ips);
}
END_TEST

/* 500 addresses in ten pools far apart: every pool gets its own range, and what lies between is dropped. */
START_TEST(keeps_wide_gaps)
{
        struct ip ips[500], far = { IP_V4, { 9, 9, 9, 9 } };
        struct filter f;

        for (unsigned i = 0; i < 500; i++)
                ips[i] = (struct ip){ IP_V4, { 10, (uint8_t)(i / 50), 1, (uint8_t)(i % 50 * 3) } };
        filter_build(&f, IP_V4, ips, ARRAY_LEN(ips));
        for (uint8_t net = 0; net < 10; net++) {
                struct ip outside = { IP_V4, { 10, net, 2, 1 } };

                ck_assert(!passes_arp(&f, ARP_REQUEST, &far, &outside, PACKET_BROADCAST));
        }
}
END_TEST

START_TEST(edges)
{
        struct ip ips[] = { { IP_V4, { 0, 0, 0, 0 } }, { IP_V4, { 127, 255, 255, 255 } },
                { IP_V4, { 128, 0, 0, 0 } }, { IP_V4, { 255, 255, 255, 255 } } };
        struct ip far = { IP_V4, { 9, 9, 9, 9 } },
                  near[] = { { IP_V4, { 0, 0, 0, 1 } }, { IP_V4, { 127, 255, 255, 254 } },
                          { IP_V4, { 128, 0, 0, 1 } }, { IP_V4, { 255, 255, 255, 254 } } };
        struct filter f;

        filter_build(&f, IP_V4, ips, ARRAY_LEN(ips));
        for (size_t i = 0; i < ARRAY_LEN(ips); i++) {
                ck_assert(passes_arp(&f, ARP_REQUEST, &far, &ips[i], PACKET_BROADCAST));
                ck_assert(!passes_arp(&f, ARP_REQUEST, &far, &near[i], PACKET_BROADCAST));
        }
}
END_TEST

START_TEST(other_family_does_not_count)
{
        struct ip ips[] = { { IP_V4, { 192, 0, 2, 1 } }, { IP_V6, { 0x20, [15] = 1 } } };
        struct filter f;

        filter_build(&f, IP_V4, ips + 1, 1);
        ck_assert(!passes_arp(&f, ARP_REQUEST, &ips[0], &ips[0], PACKET_BROADCAST));
        filter_build(&f, IP_V6, ips, 1);
        ck_assert(!passes_ndp(&f, NDP_SOLICIT, &ips[1], PACKET_MULTICAST));
}
END_TEST

START_TEST(all_is_all)
{
        struct ip a = { IP_V4, { 192, 0, 2, 1 } }, b = { IP_V6, { 0x20, [15] = 1 } };
        uint8_t frame[NDP_FRAME_LEN] = { 0 };
        struct filter f;

        filter_all(&f, IP_V4);
        kernel_takes(&f);
        ck_assert(passes_arp(&f, ARP_REQUEST, &a, &a, PACKET_BROADCAST));
        ck_assert(!passes_arp(&f, ARP_REQUEST, &a, &a, PACKET_OTHERHOST));
        ck_assert_uint_eq(interpret(&f, frame, sizeof(frame), PACKET_HOST), 0);
        filter_all(&f, IP_V6);
        kernel_takes(&f);
        ck_assert(passes_ndp(&f, NDP_SOLICIT, &b, PACKET_HOST));
        ck_assert(passes_ndp(&f, NDP_ADVERT, &b, PACKET_MULTICAST));
        ck_assert(!passes_ndp(&f, 133, &b, PACKET_MULTICAST));
        ck_assert(!passes_ndp(&f, NDP_SOLICIT, &b, PACKET_OTHERHOST));
        ck_assert_uint_eq(interpret(&f, frame, sizeof(frame), PACKET_HOST), 0);
}
END_TEST

/* A frame too short to hold what the program looks at is dropped, by the kernel's own rule for loads. */
START_TEST(short_frames)
{
        struct ip ip = { IP_V4, { 192, 0, 2, 1 } };
        uint8_t frame[ARP_FRAME_LEN];
        struct filter f;

        filter_build(&f, IP_V4, &ip, 1);
        arp_announce(frame, &ip, other, ARP_REQUEST);
        for (size_t len = 0; len < 32; len++)
                ck_assert_uint_eq(interpret(&f, frame, len, PACKET_BROADCAST), 0);
        ck_assert_uint_gt(interpret(&f, frame, sizeof(frame), PACKET_BROADCAST), 0);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("filter");
        TCase *tc = tcase_create("program");

        tcase_set_timeout(tc, 60);
        tcase_add_loop_test(tc, arp_never_drops_ours, 0, (int)ARRAY_LEN(sets));
        tcase_add_loop_test(tc, ndp_never_drops_ours, 0, (int)ARRAY_LEN(sets));
        tcase_add_test(tc, keeps_wide_gaps);
        tcase_add_test(tc, edges);
        tcase_add_test(tc, other_family_does_not_count);
        tcase_add_test(tc, all_is_all);
        tcase_add_test(tc, short_frames);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
