/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "speaker/ndp.h"
#include "test/lib/unit.h"

static const uint8_t mine[6] = { 2, 0, 0, 0, 0, 1 };

/* Neighbour solicitation for 2001:db8::1 from 2001:db8::7 (02:00:00:00:00:07) to the solicited-node group, as the
 * kernel of a client sends it; with room for more options behind. */
static const uint8_t solicit[] = {
        0x33, 0x33, 0xff, 0, 0, 1, 2, 0, 0, 0, 0, 7, 0x86, 0xdd, /* 0: Ethernet */
        0x60, 0, 0, 0, 0, 32, 58, 255, /* 14: IPv6: length 32, ICMPv6, hop limit 255 */
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, /* 22: source */
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1, /* 38: destination */
        135, 0, 0, 0, 0, 0, 0, 0, /* 54: type, code, checksum (filled in), reserved */
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, /* 62: target */
        1, 1, 2, 0, 0, 0, 0, 7, /* 78: source link-layer address */
};
#define ROOM (sizeof(solicit) + 256)

/* RFC 1071, written another way than the code under test: over a byte array that has the pseudo-header in front. */
static void fix_checksum(uint8_t *frame)
{
        size_t len = (size_t)frame[18] << 8 | frame[19];
        uint8_t all[40 + 2048] = { 0 };
        uint64_t sum = 0;

        memset(frame + 56, 0, 2);
        memcpy(all, frame + 22, 32);
        all[34] = frame[18];
        all[35] = frame[19];
        all[39] = 58;
        memcpy(all + 40, frame + 54, len);
        for (size_t i = 0; i < 40 + len + len % 2; i += 2)
                sum += (uint64_t)all[i] * 256 + all[i + 1];
        sum %= 65535;
        sum = sum == 0 ? 0 : 65535 - sum;
        frame[56] = (uint8_t)(sum >> 8);
        frame[57] = (uint8_t)sum;
}

/* A change to the solicitation, with the checksum made right again unless it is what is tested. */
static const struct {
        const char *name;
        size_t at, n;
        uint8_t bytes[16];
        bool wrong_sum;
        enum heard_verdict want;
} hear_cases[] = {
        { "as it is", 0, 0, { 0 }, false, HEARD_OK },
        { "unicast (a reachability probe)", 0, 6, { 2, 0, 0, 0, 0, 1 }, false, HEARD_OK },
        { "unicast to another", 0, 6, { 2, 0, 0, 0, 0, 2 }, false, HEARD_NOT_FOR_US },
        { "ethertype IPv4", 12, 2, { 8, 0 }, false, HEARD_MALFORMED },
        { "version 4", 14, 1, { 0x40 }, false, HEARD_MALFORMED },
        { "traffic class and flow label", 14, 4, { 0x6f, 0xff, 0xff, 0xff }, false, HEARD_OK },
        { "length 23", 18, 2, { 0, 23 }, false, HEARD_MALFORMED },
        { "length beyond the frame", 18, 2, { 0, 200 }, false, HEARD_MALFORMED },
        { "fragment header", 20, 1, { 44 }, false, HEARD_MALFORMED },
        { "hop-by-hop options", 20, 1, { 0 }, false, HEARD_MALFORMED },
        { "hop limit 254", 21, 1, { 254 }, false, HEARD_MALFORMED },
        { "hop limit 64", 21, 1, { 64 }, false, HEARD_MALFORMED },
        { "multicast source", 22, 1, { 0xff }, false, HEARD_MALFORMED },
        { "to all nodes", 38, 16, { 0xff, 2, [15] = 1 }, false, HEARD_OK },
        { "to the target", 38, 16, { 0x20, 1, 0xd, 0xb8, [15] = 1 }, false, HEARD_OK },
        { "type 133", 54, 1, { 133 }, false, HEARD_MALFORMED },
        { "type 137", 54, 1, { 137 }, false, HEARD_MALFORMED },
        { "type 128 (echo)", 54, 1, { 128 }, false, HEARD_MALFORMED },
        { "code 1", 55, 1, { 1 }, false, HEARD_MALFORMED },
        { "checksum wrong", 62, 2, { 0x20, 2 }, true, HEARD_MALFORMED },
        { "reserved bits are ignored", 58, 4, { 0xff, 0xff, 0xff, 0xff }, false, HEARD_OK },
        { "multicast target", 62, 1, { 0xff }, false, HEARD_MALFORMED },
        { "option length 0", 79, 1, { 0 }, false, HEARD_MALFORMED },
        { "option past the end", 79, 1, { 2 }, false, HEARD_MALFORMED },
        { "unknown option is skipped", 78, 2, { 200, 1 }, false, HEARD_OK },
        { "nonce option is skipped", 78, 2, { 14, 1 }, false, HEARD_OK },
        { "link-layer address zero", 80, 6, { 0 }, false, HEARD_BAD_SENDER },
        { "link-layer address multicast", 80, 1, { 1 }, false, HEARD_BAD_SENDER },
        { "link-layer address ours", 80, 6, { 2, 0, 0, 0, 0, 1 }, false, HEARD_BAD_SENDER },
        { "Ethernet source ours", 6, 6, { 2, 0, 0, 0, 0, 1 }, false, HEARD_BAD_SENDER },
        { "probe with a source link-layer address", 22, 16, { 0 }, false, HEARD_MALFORMED },
};

START_TEST(hears)
{
        uint8_t frame[ROOM] = { 0 };
        struct heard h = { .ask = { .family = 99 } };
        enum heard_verdict got;

        memcpy(frame, solicit, sizeof(solicit));
        fix_checksum(frame);
        memcpy(frame + hear_cases[_i].at, hear_cases[_i].bytes, hear_cases[_i].n);
        if (!hear_cases[_i].wrong_sum)
                fix_checksum(frame);
        got = ndp_hear(&h, frame, sizeof(solicit), mine);
        ck_assert_msg(got == hear_cases[_i].want, "%s: got %d", hear_cases[_i].name, (int)got);
        if (got != HEARD_OK) {
                ck_assert_msg(h.ask.family == 99, "%s: output touched", hear_cases[_i].name);
                return;
        }
        ck_assert_mem_eq(h.ask.b, frame + 62, 16);
        ck_assert_mem_eq(h.claim.b, frame + 22, 16);
        ck_assert(ip_equal(&h.claim, &h.sender));
        ck_assert_mem_eq(h.sender_mac, "\x02\0\0\0\0\x07", 6);
}
END_TEST

/* Source ::, to the solicited-node group, no option: RFC 4862 section 5.4.2. */
static size_t probe(uint8_t *frame)
{
        memcpy(frame, solicit, sizeof(solicit));
        memset(frame + 22, 0, 16);
        frame[19] = 24;
        fix_checksum(frame);
        return 78;
}

START_TEST(hears_probe)
{
        uint8_t frame[ROOM];
        struct heard h;
        size_t len = probe(frame);

        ck_assert_int_eq(ndp_hear(&h, frame, len, mine), HEARD_OK);
        ck_assert_int_eq(h.ask.family, IP_V6);
        ck_assert_int_eq(h.claim.family, IP_NONE);
        ck_assert_int_eq(h.sender.family, IP_NONE);
        memcpy(frame + 38, "\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
                16); /* to all nodes: not a group of one address */
        fix_checksum(frame);
        ck_assert_int_eq(ndp_hear(&h, frame, len, mine), HEARD_MALFORMED);
        memcpy(frame + 38, frame + 62, 16); /* unicast */
        fix_checksum(frame);
        ck_assert_int_eq(ndp_hear(&h, frame, len, mine), HEARD_MALFORMED);
}
END_TEST

/* A unicast solicitation may come without the option: the answer goes where the frame came from. */
START_TEST(hears_without_option)
{
        uint8_t frame[ROOM];
        struct heard h;

        memcpy(frame, solicit, sizeof(solicit));
        frame[11] = 8;
        frame[19] = 24;
        fix_checksum(frame);
        ck_assert_int_eq(ndp_hear(&h, frame, 78, mine), HEARD_OK);
        ck_assert_mem_eq(h.sender_mac, "\x02\0\0\0\0\x08", 6);
}
END_TEST

static const struct {
        const char *name;
        uint8_t flags, dst_first, option;
        enum heard_verdict want;
} advert_cases[] = {
        { "unsolicited to all nodes", NDP_OVERRIDE, 0xff, 2, HEARD_OK },
        { "solicited, unicast", NDP_SOLICITED | NDP_OVERRIDE, 0x20, 2, HEARD_OK },
        { "solicited to a group", NDP_SOLICITED, 0xff, 2, HEARD_MALFORMED },
        { "from a router", NDP_ROUTER, 0xff, 2, HEARD_OK },
        { "other option", NDP_OVERRIDE, 0xff, 1, HEARD_OK },
};

START_TEST(hears_advertisement)
{
        uint8_t frame[ROOM];
        struct heard h;
        enum heard_verdict got;

        memcpy(frame, solicit, sizeof(solicit));
        frame[0] = advert_cases[_i].dst_first == 0xff ? 0x33 : 2;
        if (frame[0] == 2)
                memcpy(frame, mine, 6);
        frame[38] = advert_cases[_i].dst_first;
        frame[54] = NDP_ADVERT;
        frame[58] = advert_cases[_i].flags;
        frame[78] = advert_cases[_i].option;
        fix_checksum(frame);
        got = ndp_hear(&h, frame, sizeof(solicit), mine);
        ck_assert_msg(got == advert_cases[_i].want, "%s: got %d", advert_cases[_i].name, (int)got);
        if (got != HEARD_OK)
                return;
        ck_assert_int_eq(h.ask.family, IP_NONE);
        ck_assert_mem_eq(h.claim.b, frame + 62, 16);
}
END_TEST

START_TEST(truncated_everywhere)
{
        uint8_t frame[sizeof(solicit)];

        memcpy(frame, solicit, sizeof(solicit));
        fix_checksum(frame);
        for (size_t len = 0; len <= sizeof(solicit); len++) {
                uint8_t *exact = malloc(len ? len : 1);
                struct ndp_msg m;

                ck_assert_ptr_nonnull(exact);
                memcpy(exact, frame, len);
                ck_assert_int_eq(ndp_parse(&m, exact, len), len < sizeof(solicit) ? ERR_MALFORMED : 0);
                free(exact);
        }
}
END_TEST

/* Option bytes behind the 24 fixed ones: every length of 0..32, tiled or not. */
START_TEST(options_tile)
{
        for (unsigned extra = 0; extra <= 32; extra++) {
                uint8_t frame[ROOM] = { 0 };
                struct ndp_msg m;

                memcpy(frame, solicit, sizeof(solicit));
                memset(frame + 78, 0, 32);
                for (unsigned i = 0; i + 8 <= extra; i += 8) {
                        frame[78 + i] = 14;
                        frame[79 + i] = 1;
                }
                frame[19] = (uint8_t)(24 + extra);
                fix_checksum(frame);
                ck_assert_msg(ndp_parse(&m, frame, 78 + extra) == (extra % 8 ? ERR_MALFORMED : 0), "%u bytes",
                        extra);
        }
}
END_TEST

START_TEST(padding_is_ignored)
{
        uint8_t frame[ROOM];
        struct heard h;

        memset(frame, 0xee, sizeof(frame));
        memcpy(frame, solicit, sizeof(solicit));
        fix_checksum(frame);
        ck_assert_int_eq(ndp_hear(&h, frame, sizeof(frame), mine), HEARD_OK);
}
END_TEST

START_TEST(long_option_address)
{
        uint8_t frame[ROOM] = { 0 };
        struct ndp_msg m;

        memcpy(frame, solicit,
                sizeof(solicit)); /* an address of 14 bytes (InfiniBand has 20) is no Ethernet address */
        frame[79] = 2;
        frame[19] = 40;
        fix_checksum(frame);
        ck_assert_int_eq(ndp_parse(&m, frame, sizeof(solicit) + 8), ERR_MALFORMED);
}
END_TEST

static void expect_sum(uint8_t *frame)
{
        uint8_t before[2];

        memcpy(before, frame + 56, 2);
        fix_checksum(frame);
        ck_assert_mem_eq(before, frame + 56, 2);
}

START_TEST(answers)
{
        static const uint8_t body[] = { 136, 0 };
        uint8_t frame[ROOM], out[NDP_FRAME_LEN];
        struct heard h;

        memcpy(frame, solicit, sizeof(solicit));
        fix_checksum(frame);
        ck_assert_int_eq(ndp_hear(&h, frame, sizeof(solicit), mine), HEARD_OK);
        memset(out, 0xaa, sizeof(out));
        ndp_answer(out, &h, mine);
        ck_assert_mem_eq(out, "\x02\0\0\0\0\x07\x02\0\0\0\0\x01\x86\xdd\x60\0\0\0\0\x20\x3a\xff", 22);
        ck_assert_mem_eq(out + 22, frame + 62, 16); /* from the target */
        ck_assert_mem_eq(out + 38, frame + 22, 16); /* to the asker */
        ck_assert_mem_eq(out + 54, body, 2);
        ck_assert_mem_eq(out + 58, "\x60\0\0\0", 4); /* Router 0, Solicited 1, Override 1 */
        ck_assert_mem_eq(out + 62, frame + 62, 16);
        ck_assert_mem_eq(out + 78, "\x02\x01\x02\0\0\0\0\x01", 8);
        expect_sum(out);
}
END_TEST

START_TEST(answers_probe)
{
        uint8_t frame[ROOM], out[NDP_FRAME_LEN];
        struct heard h;

        ck_assert_int_eq(ndp_hear(&h, frame, probe(frame), mine), HEARD_OK);
        ndp_answer(out, &h, mine);
        ck_assert_mem_eq(out, "\x33\x33\0\0\0\x01", 6);
        ck_assert_mem_eq(out + 38, "\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
        ck_assert_int_eq(out[58], NDP_OVERRIDE); /* RFC 4861 section 7.2.4: Solicited must be zero */
        expect_sum(out);
}
END_TEST

/* The body is MetalLB's, byte for byte. */
START_TEST(announces)
{
        static const uint8_t body[] = {
                0x20,
                0,
                0,
                0,
                0x20,
                0x01,
                0x0d,
                0xb8,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                1,
                2,
                1,
                2,
                0,
                0,
                0,
                0,
                1,
        };
        struct ip vip;
        uint8_t out[NDP_FRAME_LEN];

        ck_assert_int_eq(ip_parse(&vip, "2001:db8::1"), 0);
        ndp_announce(out, &vip, mine);
        ck_assert_mem_eq(out, "\x33\x33\0\0\0\x01\x02\0\0\0\0\x01\x86\xdd", 14);
        ck_assert_mem_eq(out + 22, vip.b, 16);
        ck_assert_mem_eq(out + 38, "\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
        ck_assert_int_eq(out[54], NDP_ADVERT);
        ck_assert_int_eq(out[55], 0);
        ck_assert_mem_eq(out + 58, body, sizeof(body));
        expect_sum(out);
}
END_TEST

START_TEST(what_we_send_parses)
{
        uint8_t out[NDP_FRAME_LEN], again[NDP_FRAME_LEN];
        struct ip vip;
        struct ndp_msg m;

        ck_assert_int_eq(ip_parse(&vip, "fd00::ff:ffff"), 0);
        ndp_announce(out, &vip, mine);
        ck_assert_int_eq(ndp_parse(&m, out, sizeof(out)), 0);
        ck_assert_uint_eq(ndp_build(again, &m), sizeof(again));
        ck_assert_mem_eq(out, again, sizeof(again));
}
END_TEST

static const struct {
        const char *ip, *group;
} group_cases[] = {
        { "2001:db8::1", "ff02::1:ff00:1" },
        { "fe80::0123:4567:89ab:cdef", "ff02::1:ffab:cdef" },
        { "2001:db8:0:1::ff:ffff", "ff02::1:ffff:ffff" },
        { "::", "ff02::1:ff00:0" },
};

START_TEST(groups)
{
        struct ip ip, want, got;

        ck_assert_int_eq(ip_parse(&ip, group_cases[_i].ip), 0);
        ck_assert_int_eq(ip_parse(&want, group_cases[_i].group), 0);
        got = ndp_group(&ip);
        ck_assert(ip_equal(&got, &want));
}
END_TEST

int main(void)
{
        Suite *s = suite_create("ndp");
        TCase *tc = tcase_create("codec");

        tcase_add_loop_test(tc, hears, 0, (int)ARRAY_LEN(hear_cases));
        tcase_add_loop_test(tc, hears_advertisement, 0, (int)ARRAY_LEN(advert_cases));
        tcase_add_loop_test(tc, groups, 0, (int)ARRAY_LEN(group_cases));
        tcase_add_test(tc, hears_probe);
        tcase_add_test(tc, hears_without_option);
        tcase_add_test(tc, truncated_everywhere);
        tcase_add_test(tc, options_tile);
        tcase_add_test(tc, padding_is_ignored);
        tcase_add_test(tc, long_option_address);
        tcase_add_test(tc, answers);
        tcase_add_test(tc, answers_probe);
        tcase_add_test(tc, announces);
        tcase_add_test(tc, what_we_send_parses);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
