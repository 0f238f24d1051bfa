/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "speaker/arp.h"
#include "test/lib/unit.h"

static const uint8_t mine[6] = { 2, 0, 0, 0, 0, 1 };

/* Who has 192.168.1.200? Tell 192.168.1.7 (02:00:00:00:00:07). As tcpdump -xx shows it, padded by the sender's card. */
static const uint8_t request[60] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 0x08, 0x06, /* Ethernet */
        0, 1, 8, 0, 6, 4, 0, 1, /* hardware, protocol, lengths, operation */
        2, 0, 0, 0, 0, 7, 192, 168, 1, 7, /* sender */
        0, 0, 0, 0, 0, 0, 192, 168, 1, 200, /* target */
};

static struct ip v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
        return (struct ip){ IP_V4, { a, b, c, d } };
}

/* One byte of the request, or two, are changed. */
static const struct {
        const char *name;
        size_t at, n;
        uint8_t bytes[8];
        enum heard_verdict want;
        bool asks, claims;
} hear_cases[] = {
        { "as it is", 0, 0, { 0 }, HEARD_OK, true, true },
        { "unicast to us (a reachability check)", 0, 6, { 2, 0, 0, 0, 0, 1 }, HEARD_OK, true, true },
        { "unicast to another", 0, 6, { 2, 0, 0, 0, 0, 2 }, HEARD_NOT_FOR_US, false, false },
        { "to a multicast group", 0, 6, { 1, 0, 0x5e, 0, 0, 1 }, HEARD_NOT_FOR_US, false, false },
        { "Ethernet source differs from the sender (proxy)", 11, 1, { 9 }, HEARD_OK, true, true },
        { "ethertype IPv4", 12, 2, { 8, 0 }, HEARD_MALFORMED, false, false },
        { "tagged", 12, 2, { 0x81, 0 }, HEARD_MALFORMED, false, false },
        { "hardware type 6", 14, 2, { 0, 6 }, HEARD_MALFORMED, false, false },
        { "hardware type high byte", 14, 1, { 1 }, HEARD_MALFORMED, false, false },
        { "protocol type 0x0801", 16, 2, { 8, 1 }, HEARD_MALFORMED, false, false },
        { "protocol type high byte", 16, 1, { 0x86 }, HEARD_MALFORMED, false, false },
        { "hardware length 5", 18, 1, { 5 }, HEARD_MALFORMED, false, false },
        { "hardware length 0", 18, 1, { 0 }, HEARD_MALFORMED, false, false },
        { "protocol length 16", 19, 1, { 16 }, HEARD_MALFORMED, false, false },
        { "operation 0", 20, 2, { 0, 0 }, HEARD_NOTHING, false, false },
        { "operation 2: a reply claims", 20, 2, { 0, 2 }, HEARD_OK, false, true },
        { "operation 3: reverse request", 20, 2, { 0, 3 }, HEARD_NOTHING, false, false },
        { "operation 8: inverse request", 20, 2, { 0, 8 }, HEARD_NOTHING, false, false },
        { "operation 257", 20, 2, { 1, 1 }, HEARD_NOTHING, false, false },
        { "sender hardware address zero", 22, 6, { 0 }, HEARD_BAD_SENDER, false, false },
        { "sender hardware address broadcast", 22, 6, { 255, 255, 255, 255, 255, 255 }, HEARD_BAD_SENDER,
                false, false },
        { "sender hardware address multicast", 22, 1, { 3 }, HEARD_BAD_SENDER, false, false },
        { "sender hardware address ours", 22, 6, { 2, 0, 0, 0, 0, 1 }, HEARD_BAD_SENDER, false, false },
        { "probe", 28, 4, { 0, 0, 0, 0 }, HEARD_OK, true, false },
        { "sender is multicast", 28, 4, { 224, 0, 0, 1 }, HEARD_MALFORMED, false, false },
        { "sender is broadcast", 28, 4, { 255, 255, 255, 255 }, HEARD_MALFORMED, false, false },
        { "sender is loopback", 28, 4, { 127, 0, 0, 1 }, HEARD_MALFORMED, false, false },
        { "sender is class E", 28, 4, { 240, 0, 0, 1 }, HEARD_OK, true, true },
        { "gratuitous", 28, 4, { 192, 168, 1, 200 }, HEARD_OK, true, true },
        { "target hardware address is ignored", 32, 6, { 255, 255, 255, 255, 255, 255 }, HEARD_OK, true,
                true },
        { "padding is ignored", 42, 8, { 1, 2, 3, 4, 5, 6, 7, 8 }, HEARD_OK, true, true },
};

START_TEST(hears)
{
        uint8_t frame[60];
        struct heard h = { .ask = { .family = 99 } };
        enum heard_verdict got;

        memcpy(frame, request, sizeof(frame));
        memcpy(frame + hear_cases[_i].at, hear_cases[_i].bytes, hear_cases[_i].n);
        got = arp_hear(&h, frame, sizeof(frame), mine);
        ck_assert_msg(got == hear_cases[_i].want, "%s: got %d", hear_cases[_i].name, (int)got);
        if (got != HEARD_OK) {
                ck_assert_msg(h.ask.family == 99, "%s: output touched", hear_cases[_i].name);
                return;
        }
        ck_assert_msg((h.ask.family == IP_V4) == hear_cases[_i].asks, "%s: asks", hear_cases[_i].name);
        ck_assert_msg((h.claim.family == IP_V4) == hear_cases[_i].claims, "%s: claims", hear_cases[_i].name);
        ck_assert(ip_equal(&h.claim, &h.sender));
        ck_assert_mem_eq(h.sender_mac, frame + 22, 6);
        ck_assert_mem_eq(h.eth_src, frame + 6, 6);
        if (hear_cases[_i].asks)
                ck_assert_mem_eq(h.ask.b, frame + 38, 4);
}
END_TEST

START_TEST(probe_then_reply_is_nothing)
{
        uint8_t frame[60];
        struct heard h;

        memcpy(frame, request, sizeof(frame));
        memset(frame + 28, 0, 4);
        frame[21] = ARP_REPLY;
        ck_assert_int_eq(arp_hear(&h, frame, sizeof(frame), mine), HEARD_NOTHING);
}
END_TEST

START_TEST(truncated_everywhere)
{
        for (size_t len = 0; len <= sizeof(request); len++) {
                uint8_t *exact = malloc(len ? len : 1); /* its own block: a byte read behind it is seen */
                struct arp_msg m;

                ck_assert_ptr_nonnull(exact);
                memcpy(exact, request, len);
                ck_assert_int_eq(arp_parse(&m, exact, len), len < 42 ? ERR_MALFORMED : 0);
                free(exact);
        }
}
END_TEST

START_TEST(answers)
{
        static const uint8_t want[ARP_FRAME_LEN] = {
                2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 1, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2, /* a reply */
                2, 0, 0, 0, 0, 1, 192, 168, 1, 200, 2, 0, 0, 0, 0, 7, 192, 168, 1, 7, /* zeros follow */
        };
        uint8_t out[ARP_FRAME_LEN];
        struct heard h;

        memset(out, 0xaa, sizeof(out));
        ck_assert_int_eq(arp_hear(&h, request, sizeof(request), mine), HEARD_OK);
        arp_answer(out, &h, mine);
        ck_assert_mem_eq(out, want, sizeof(out));
}
END_TEST

/* To the hardware address inside the request, which for a proxy is not the frame's source; a probe's sender is zero. */
START_TEST(answers_a_proxied_probe)
{
        uint8_t frame[60], out[ARP_FRAME_LEN];
        struct heard h;

        memcpy(frame, request, sizeof(frame));
        frame[11] = 9;
        memset(frame + 28, 0, 4);
        ck_assert_int_eq(arp_hear(&h, frame, sizeof(frame), mine), HEARD_OK);
        arp_answer(out, &h, mine);
        ck_assert_mem_eq(out, "\x02\0\0\0\0\x07", 6);
        ck_assert_mem_eq(out + 32, "\x02\0\0\0\0\x07\0\0\0\0", 10);
}
END_TEST

/* Recorded from MetalLB. */
START_TEST(announces)
{
        uint8_t want[ARP_FRAME_LEN] = {
                0xff,
                0xff,
                0xff,
                0xff,
                0xff,
                0xff,
                2,
                0,
                0,
                0,
                0,
                1,
                0x08,
                0x06,
                0,
                1,
                8,
                0,
                6,
                4,
                0,
                1,
                2,
                0,
                0,
                0,
                0,
                1,
                0xc0,
                0xa8,
                0x01,
                0xc8,
                0xff,
                0xff,
                0xff,
                0xff,
                0xff,
                0xff,
                0xc0,
                0xa8,
                0x01,
                0xc8,
        };
        struct ip vip = v4(192, 168, 1, 200);
        uint8_t out[ARP_FRAME_LEN];

        memset(out, 0xaa, sizeof(out));
        arp_announce(out, &vip, mine, ARP_REQUEST);
        ck_assert_mem_eq(out, want, sizeof(out));
        want[21] = 2;
        arp_announce(out, &vip, mine, ARP_REPLY);
        ck_assert_mem_eq(out, want, sizeof(out));
}
END_TEST

START_TEST(builds_what_it_parses)
{
        uint8_t out[ARP_FRAME_LEN];
        struct arp_msg m;

        ck_assert_int_eq(arp_parse(&m, request, sizeof(request)), 0);
        arp_build(out, &m);
        ck_assert_mem_eq(out, request, sizeof(out));
}
END_TEST

int main(void)
{
        Suite *s = suite_create("arp");
        TCase *tc = tcase_create("codec");

        tcase_add_loop_test(tc, hears, 0, (int)ARRAY_LEN(hear_cases));
        tcase_add_test(tc, probe_then_reply_is_nothing);
        tcase_add_test(tc, truncated_everywhere);
        tcase_add_test(tc, answers);
        tcase_add_test(tc, answers_a_proxied_probe);
        tcase_add_test(tc, announces);
        tcase_add_test(tc, builds_what_it_parses);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
