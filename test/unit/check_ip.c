/* SPDX-License-Identifier: Apache-2.0 */
/* The accepted and refused texts are those that Go's net package was seen to accept and refuse, except where ip.h says
 * otherwise (ends of different families). */
#include <stdio.h>
#include <string.h>

#include "common/ip.h"
#include "test/lib/unit.h"

static const struct {
        const char *text;
        const char *want; /* NULL: malformed */
} literals[] = {
        { "0.0.0.0", "0.0.0.0" },
        { "1.2.3.4", "1.2.3.4" },
        { "255.255.255.255", "255.255.255.255" },
        { "", NULL },
        { ".", NULL },
        { "1", NULL },
        { "1.2.3", NULL },
        { "1.2.3.", NULL },
        { ".1.2.3", NULL },
        { "1..2.3", NULL },
        { "1.2.3.4.", NULL },
        { "1.2.3.4.5", NULL },
        { "1.2.3.256", NULL },
        { "1.2.3.0256", NULL },
        { "1.2.3.1000", NULL },
        { "01.2.3.4", NULL },
        { "1.2.3.04", NULL },
        { "1.2.3.00", NULL },
        { "0x1.2.3.4", NULL },
        { "+1.2.3.4", NULL },
        { "-1.2.3.4", NULL },
        { " 1.2.3.4", NULL },
        { "1.2.3.4 ", NULL },
        { "1.2.3.4\n", NULL },
        { "1.2.3.4/32", NULL },
        { "1.2.3.a", NULL },
        { "16909060", NULL },
        { "::", "::" },
        { "::1", "::1" },
        { "1::", "1::" },
        { "FC00::ABCD", "fc00::abcd" },
        { "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1" }, /* RFC 5952 section 4.2.3: the first on a tie */
        { "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1" }, /* section 4.2.2: one group is not shortened */
        { "2001:0db8::0001", "2001:db8::1" }, /* section 4.1 */
        { "2001:0:0:1:0:0:0:1", "2001:0:0:1::1" }, /* section 4.2.3: the longest */
        { "0:0:1::", "0:0:1::" },
        { "0:1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7" },
        { "1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0" },
        { "1:2:3:4:5:6:0:0", "1:2:3:4:5:6::" },
        { "0:0:3:4:5:6:7:8", "::3:4:5:6:7:8" },
        { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
        { "1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0" },
        { "::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8" },
        { "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304" },
        { "::1.2.3.4", "::102:304" },
        { "64:ff9b::192.0.2.33", "64:ff9b::c000:221" },
        { "::ffff:1.2.3.4", "1.2.3.4" },
        { "::FFFF:0102:0304", "1.2.3.4" },
        { "0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4" },
        { "::ffff:0:0", "0.0.0.0" },
        { "::fffe:1.2.3.4", "::fffe:102:304" },
        { ":", NULL },
        { ":::", NULL },
        { ":1", NULL },
        { "1:", NULL },
        { "1:::2", NULL },
        { "1::2::3", NULL },
        { "::1::", NULL },
        { "1:2:3:4:5:6:7", NULL },
        { "1:2:3:4:5:6:7:8:9", NULL },
        { "1:2:3:4:5:6:7:8:", NULL },
        { ":1:2:3:4:5:6:7:8", NULL },
        { "1:2:3:4:5:6:7:8::", NULL },
        { "1:2:3:4::5:6:7:8", NULL }, /* :: must stand for something */
        { "::1:2:3:4:5:6:7:8", NULL },
        { "12345::", NULL },
        { "00001::", NULL },
        { "g::", NULL },
        { "::1%eth0", NULL },
        { "fe80::1%1", NULL },
        { "[::1]", NULL },
        { "1:2:3:4:5:6:7:1.2.3.4", NULL },
        { "1.2.3.4::", NULL },
        { "::1.2.3", NULL },
        { "::1.2.3.4.5", NULL },
        { "::01.2.3.4", NULL },
        { "::1.2.3.4:5", NULL },
        { "1:2:3:4:5:1.2.3.4", NULL },
        { "1:2:3:4:5:6::1.2.3.4", NULL },
        { " ::1", NULL },
        { "::1 ", NULL },
};

START_TEST(literal_parses)
{
        const char *want = literals[_i].want;
        struct ip ip, again, untouched;
        char text[IP_TEXT_MAX];

        memset(&ip, 0x5a, sizeof(ip));
        memset(&untouched, 0x5a, sizeof(untouched));
        if (!want) {
                ck_assert_int_eq(ip_parse(&ip, literals[_i].text), ERR_MALFORMED);
                ck_assert_mem_eq(&ip, &untouched, sizeof(ip));
                return;
        }
        ck_assert_int_eq(ip_parse(&ip, literals[_i].text), 0);
        ck_assert_str_eq(ip_format(&ip, text), want);
        ck_assert_int_eq(ip_parse(&again, text), 0);
        ck_assert_mem_eq(&ip, &again, sizeof(ip));
}
END_TEST

START_TEST(literal_stops_at_its_length)
{
        struct ip ip;
        char text[IP_TEXT_MAX];

        ck_assert_int_eq(ip_parse_n(&ip, "1.2.3.45", 7), 0);
        ck_assert_str_eq(ip_format(&ip, text), "1.2.3.4");
        ck_assert_int_eq(ip_parse_n(&ip, "1.2.3.4", 0), ERR_MALFORMED);
        ck_assert_int_eq(ip_parse_n(&ip, "1.2.3.4\0", 8), ERR_MALFORMED);
        ck_assert_int_eq(ip_parse_n(&ip, "::1\0", 4), ERR_MALFORMED);
}
END_TEST

START_TEST(longest_texts_fit)
{
        struct ip ip = { .family = IP_V6 };
        char text[IP_TEXT_MAX];

        memset(ip.b, 0xff, sizeof(ip.b));
        ck_assert_uint_eq(strlen(ip_format(&ip, text)), 39);
        memset(ip.b, 0, 10); /* only made by counting through a range: it would parse as IPv4 */
        ck_assert_str_eq(ip_format(&ip, text), "::ffff:255.255.255.255");
}
END_TEST

#define V4_MAPPED_SHORT "::ffff:1.2.3.0/95"

static const struct {
        const char *text;
        const char *first, *last; /* NULL: malformed */
        uint64_t count, buggy;
} ranges[] = {
        { "1.2.3.4/32", "1.2.3.4", "1.2.3.4", 1, 0 },
        { "1.2.3.4/24", "1.2.3.0", "1.2.3.255", 256, 2 },
        { "1.2.3.0/024", "1.2.3.0", "1.2.3.255", 256, 2 },
        { "1.2.3.0/0000000000000000000000024", "1.2.3.0", "1.2.3.255", 256, 2 },
        { "1.2.3.0 - 1.2.3.7", "1.2.3.0", "1.2.3.7", 8, 1 },
        { "1.2.3.0-1.2.3.6", "1.2.3.0", "1.2.3.6", 7, 1 },
        { "1.2.3.5-1.2.3.5", "1.2.3.5", "1.2.3.5", 1, 0 },
        { "\t1.2.3.5\n-\r\v\f 1.2.3.6 ", "1.2.3.5", "1.2.3.6", 2, 0 },
        { "fc00::1-fc00::4", "fc00::1", "fc00::4", 4, 0 },
        { "0.0.0.0-255.255.255.255", "0.0.0.0", "255.255.255.255", 1ull << 32, 1ull << 25 },
        { "0.0.0.0/0", "0.0.0.0", "255.255.255.255", 1ull << 32, 1ull << 25 },
        { "10.0.0.0/32", "10.0.0.0", "10.0.0.0", 1, 1 },
        { "10.0.0.255/32", "10.0.0.255", "10.0.0.255", 1, 1 },
        { "10.0.0.0/31", "10.0.0.0", "10.0.0.1", 2, 1 },
        { "10.4.11.0 - 10.4.15.254", "10.4.11.0", "10.4.15.254", 1279, 9 },
        { "10.0.0.255-10.0.1.0", "10.0.0.255", "10.0.1.0", 2, 2 },
        { "10.0.0.0/16", "10.0.0.0", "10.0.255.255", 65536, 512 },
        { "255.255.255.255-255.255.255.255", "255.255.255.255", "255.255.255.255", 1, 1 },
        { "FC00::1/128", "fc00::1", "fc00::1", 1, 0 },
        { "fc00::/64", "fc00::", "fc00::ffff:ffff:ffff:ffff", UINT64_MAX, 0 },
        { "fc00::/65", "fc00::", "fc00::7fff:ffff:ffff:ffff", 1ull << 63, 0 },
        { "fc00::1-fc00::ffff:ffff:ffff:ffff", "fc00::1", "fc00::ffff:ffff:ffff:ffff", UINT64_MAX, 0 },
        { "fc00::2-fc00::ffff:ffff:ffff:ffff", "fc00::2", "fc00::ffff:ffff:ffff:ffff", UINT64_MAX - 1, 0 },
        { "fc00::ffff:ffff:ffff:ffff-fc00:0:0:1::", "fc00::ffff:ffff:ffff:ffff", "fc00:0:0:1::", 2, 0 },
        { "::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", UINT64_MAX, 0 },
        { "fc00::ff/120", "fc00::", "fc00::ff", 256, 0 },
        { "fc00::1ff/119", "fc00::", "fc00::1ff", 512, 0 },
        { "::ffff:1.2.3.0/120", "1.2.3.0", "1.2.3.255", 256, 2 },
        { "::ffff:1.2.3.9/96", "0.0.0.0", "255.255.255.255", 1ull << 32, 1ull << 25 },
        { "::ffff:1.2.3.9/128", "1.2.3.9", "1.2.3.9", 1, 0 },
        { "::ffff:1.2.3.4-1.2.3.7", "1.2.3.4", "1.2.3.7", 4, 0 },
        { "127.0.0.0/8", "127.0.0.0", "127.255.255.255", 1 << 24, 1 << 17 },
        { "224.0.0.1-240.0.0.1", "224.0.0.1", "240.0.0.1", (1 << 28) + 1, 1 << 21 },
        { "1.2.3.4", NULL, NULL, 0, 0 },
        { "fc00::1", NULL, NULL, 0, 0 },
        { "", NULL, NULL, 0, 0 },
        { " 1.2.3.0/24", NULL, NULL, 0, 0 },
        { "1.2.3.0/24 ", NULL, NULL, 0, 0 },
        { "1.2.3.0/33", NULL, NULL, 0, 0 },
        { "1.2.3.0/99999999999999999999", NULL, NULL, 0, 0 },
        { "1.2.3.0/", NULL, NULL, 0, 0 },
        { "/24", NULL, NULL, 0, 0 },
        { "/", NULL, NULL, 0, 0 },
        { "1.2.3.0/24/24", NULL, NULL, 0, 0 },
        { "1.2.3.0/+24", NULL, NULL, 0, 0 },
        { "1.2.3.0/2 4", NULL, NULL, 0, 0 },
        { "1.2.3.0/0x18", NULL, NULL, 0, 0 },
        { "1.2.3.0/255.255.255.0", NULL, NULL, 0, 0 },
        { "01.2.3.4/32", NULL, NULL, 0, 0 },
        { "1.2.3/24", NULL, NULL, 0, 0 },
        { "fc00::/129", NULL, NULL, 0, 0 },
        { "::ffff:1.2.3.0/129", NULL, NULL, 0, 0 },
        { V4_MAPPED_SHORT, NULL, NULL, 0, 0 },
        { "::ffff:1.2.3.0/24", NULL, NULL, 0, 0 },
        { "1.2.3.0-7", NULL, NULL, 0, 0 },
        { "1.2.3.4-", NULL, NULL, 0, 0 },
        { "-1.2.3.4", NULL, NULL, 0, 0 },
        { "-", NULL, NULL, 0, 0 },
        { " - ", NULL, NULL, 0, 0 },
        { "a-b-c", NULL, NULL, 0, 0 },
        { "1.2.3.0-1.2.3.4-1.2.3.9", NULL, NULL, 0, 0 },
        { "1.2.3.0/-1", NULL, NULL, 0, 0 },
        { "1.2.3.0/24-1.2.4.0/24", NULL, NULL, 0, 0 },
        { "1.2.3.0/24,1.2.4.0/24", NULL, NULL, 0, 0 },
        { "1.2.3.9-1.2.3.1", NULL, NULL, 0, 0 },
        { "1.2.3.4-fc00::1", NULL, NULL, 0, 0 },
        { "fc00::1-1.2.3.4", NULL, NULL, 0, 0 },
        { "fe80::1%eth0-fe80::2%eth0", NULL, NULL, 0, 0 },
        { "fe80::1%eth0/64", NULL, NULL, 0, 0 },
        { "1.2.3. 4-1.2.3.5", NULL, NULL, 0, 0 },
};

START_TEST(range_parses)
{
        struct ip_range r, untouched;
        struct err e = { "" };
        char first[IP_TEXT_MAX], last[IP_TEXT_MAX];

        memset(&r, 0x5a, sizeof(r));
        memset(&untouched, 0x5a, sizeof(untouched));
        if (!ranges[_i].first) {
                ck_assert_int_eq(ip_range_parse(&r, ranges[_i].text, &e), ERR_MALFORMED);
                ck_assert_mem_eq(&r, &untouched, sizeof(r));
                ck_assert_msg(
                        strstr(e.text, ranges[_i].text) != NULL, "words do not name the entry: %s", e.text);
                ck_assert_int_eq(ip_range_parse(&r, ranges[_i].text, NULL), ERR_MALFORMED);
                return;
        }
        ck_assert_msg(ip_range_parse(&r, ranges[_i].text, &e) == 0, "%s", e.text);
        ck_assert_str_eq(ip_format(&r.first, first), ranges[_i].first);
        ck_assert_str_eq(ip_format(&r.last, last), ranges[_i].last);
        ck_assert_uint_eq(ip_range_count(&r), ranges[_i].count);
        ck_assert_uint_eq(ip_range_count_buggy(&r), ranges[_i].buggy);
        ck_assert(ip_range_has(&r, &r.first) && ip_range_has(&r, &r.last));
        ck_assert_uint_eq(ip_range_distance(&r, &r.first), 0);
        ck_assert_uint_eq(ip_range_distance(&r, &r.last), 0);
}
END_TEST

START_TEST(error_says_how_to_write_one_address)
{
        struct err e = { "" };
        struct ip_range r;

        ck_assert_int_eq(ip_range_parse(&r, "1.2.3.4", &e), ERR_MALFORMED);
        ck_assert_str_eq(e.text, "invalid CIDR \"1.2.3.4\": one address is written 1.2.3.4/32");
        ck_assert_int_eq(ip_range_parse(&r, "fc00::1", &e), ERR_MALFORMED);
        ck_assert_ptr_ne(strstr(e.text, "fc00::1/128"), NULL);
        ck_assert_int_eq(ip_range_parse(&r, "::ffff:1.2.3.4", &e), ERR_MALFORMED);
        ck_assert_ptr_ne(strstr(e.text, "::ffff:1.2.3.4/128"), NULL);
}
END_TEST

START_TEST(long_garbage_is_cut_in_the_words)
{
        char text[4096];
        struct err e = { "" };
        struct ip_range r;

        memset(text, 'x', sizeof(text));
        text[sizeof(text) - 1] = '\0';
        ck_assert_int_eq(ip_range_parse(&r, text, &e), ERR_MALFORMED);
        text[2000] = '-';
        ck_assert_int_eq(ip_range_parse(&r, text, &e), ERR_MALFORMED);
        ck_assert_ptr_ne(strstr(e.text, "invalid start"), NULL);
        text[2000] = '/';
        ck_assert_int_eq(ip_range_parse(&r, text, &e), ERR_MALFORMED);
        ck_assert_uint_lt(strlen(e.text), sizeof(e.text));
}
END_TEST

static const struct {
        const char *prefix, *ip;
        bool want;
} members[] = {
        { "192.0.2.0/24", "192.0.2.0", true },
        { "192.0.2.0/24", "192.0.2.255", true },
        { "192.0.2.0/24", "192.0.3.0", false },
        { "192.0.2.0/24", "192.0.1.255", false },
        { "192.0.2.128/25", "192.0.2.127", false },
        { "192.0.2.7/32", "192.0.2.7", true },
        { "192.0.2.7/32", "192.0.2.6", false },
        { "0.0.0.0/0", "255.1.2.3", true },
        { "0.0.0.0/0", "::1", false },
        { "::/0", "2001:db8::1", true },
        { "::/0", "1.2.3.4", false },
        { "2001:db8::/33", "2001:db8:7fff::", true },
        { "2001:db8::/33", "2001:db8:8000::", false },
        { "2001:db8::1/128", "2001:db8::1", true },
        { "2001:db8::1/128", "2001:db8::2", false },
};

START_TEST(prefix_has)
{
        struct ip_prefix p;
        struct ip_range r;
        struct ip ip;

        ck_assert_int_eq(ip_prefix_parse(&p, members[_i].prefix, NULL), 0);
        ck_assert_int_eq(ip_parse(&ip, members[_i].ip), 0);
        ck_assert_int_eq(ip_prefix_has(&p, &ip), members[_i].want);
        r = ip_prefix_range(&p);
        ck_assert_int_eq(ip_range_has(&r, &ip), members[_i].want);
}
END_TEST

START_TEST(prefix_is_no_range)
{
        struct ip_prefix p;
        struct err e = { "" };

        ck_assert_int_eq(ip_prefix_parse(&p, "1.2.3.0-1.2.3.4", &e), ERR_MALFORMED);
        ck_assert_int_eq(ip_prefix_parse(&p, "1.2.3.0/24", &e), 0);
        ck_assert_uint_eq(p.len, 24);
        ck_assert_int_eq(ip_prefix_parse(&p, "::ffff:1.2.3.0/120", &e), 0);
        ck_assert_uint_eq(p.len, 24);
        ck_assert_uint_eq(p.ip.family, IP_V4);
}
END_TEST

static const struct {
        const char *a, *b;
        bool want;
} overlaps[] = {
        { "10.0.0.0/24", "10.0.0.0/24", true },
        { "10.0.0.0/24", "10.0.1.0/24", false },
        { "10.0.0.0/16", "10.0.1.0/24", true },
        { "10.0.0.0-10.0.0.9", "10.0.0.9-10.0.0.20", true },
        { "10.0.0.0-10.0.0.9", "10.0.0.10-10.0.0.20", false },
        { "10.0.0.5/32", "10.0.0.0-10.0.0.9", true },
        { "::/0", "10.0.0.0/24", false },
        { "::ffff:10.0.0.0/120", "10.0.0.7/32", true },
        { "fc00::/64", "fc00::ffff:0:0:0-fc00:0:0:1::", true },
        { "fc00::/64", "fc00:0:0:1::/64", false },
};

START_TEST(range_overlaps)
{
        struct ip_range a, b;

        ck_assert_int_eq(ip_range_parse(&a, overlaps[_i].a, NULL), 0);
        ck_assert_int_eq(ip_range_parse(&b, overlaps[_i].b, NULL), 0);
        ck_assert_int_eq(ip_range_overlaps(&a, &b), overlaps[_i].want);
        ck_assert_int_eq(ip_range_overlaps(&b, &a), overlaps[_i].want);
}
END_TEST

static const struct {
        const char *range, *ip;
        uint64_t want;
} distances[] = {
        { "10.0.0.10-10.0.0.20", "10.0.0.9", 1 },
        { "10.0.0.10-10.0.0.20", "10.0.0.21", 1 },
        { "10.0.0.10-10.0.0.20", "10.0.0.15", 0 },
        { "10.0.0.10-10.0.0.20", "0.0.0.0", 0x0a00000a },
        { "10.0.0.10-10.0.0.20", "::1", UINT64_MAX },
        { "fc00::10-fc00::20", "fc00::1", 15 },
        { "fc00::10-fc00::20", "fc00:0:0:1::", 0xffffffffffffffe0 },
        { "fc00::10-fc00::20", "fc01::", UINT64_MAX },
        { "fc00:0:0:1::/128", "fc00::ffff:ffff:ffff:ffff", 1 },
        { "fc00:0:0:2::1/128", "fc00:0:0:1::", UINT64_MAX },
};

START_TEST(range_distance)
{
        struct ip_range r;
        struct ip ip;

        ck_assert_int_eq(ip_range_parse(&r, distances[_i].range, NULL), 0);
        ck_assert_int_eq(ip_parse(&ip, distances[_i].ip), 0);
        ck_assert_uint_eq(ip_range_distance(&r, &ip), distances[_i].want);
}
END_TEST

/* Ascending; each row's next is the following address. */
static const struct {
        const char *ip, *next; /* NULL: the last of its family */
} steps[] = {
        { "0.0.0.0", "0.0.0.1" },
        { "0.0.0.255", "0.0.1.0" },
        { "10.255.255.255", "11.0.0.0" },
        { "255.255.255.254", "255.255.255.255" },
        { "255.255.255.255", NULL },
        { "::", "::1" },
        { "::ffff:ffff:ffff", "0:0:0:1::" },
        { "2001:db8::ffff", "2001:db8::1:0" },
        { "2001:db8:0:0:ffff:ffff:ffff:ffff", "2001:db8:0:1::" },
        { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL },
};

START_TEST(steps_and_counts_agree)
{
        struct ip ip, want, from;
        char text[IP_TEXT_MAX];

        if (strcmp(steps[_i].ip, "::ffff:ffff:ffff") == 0) { /* as text this is 255.255.255.255 */
                struct u128 v = { 0, 0xffffffffffff };

                ip = ip_from_u128(IP_V6, (struct u128){ 0, UINT64_MAX });
                ck_assert(ip_next(&ip));
                ck_assert_str_eq(ip_format(&ip, text), steps[_i].next);
                ip = ip_from_u128(IP_V6, v);
                ck_assert_uint_eq(ip_to_u128(&ip).lo, v.lo);
                return;
        }
        ck_assert_int_eq(ip_parse(&ip, steps[_i].ip), 0);
        from = ip_from_u128(ip.family, ip_to_u128(&ip));
        ck_assert(ip_equal(&from, &ip));
        from = ip;
        if (!steps[_i].next) {
                ck_assert(!ip_next(&ip));
                ck_assert(ip_equal(&ip, &from));
                return;
        }
        ck_assert_int_eq(ip_parse(&want, steps[_i].next), 0);
        ck_assert(ip_next(&ip));
        ck_assert(ip_equal(&ip, &want));
        ck_assert_int_lt(ip_cmp(&from, &ip), 0);
        ck_assert_int_gt(ip_cmp(&ip, &from), 0);
        ck_assert(ip_prev(&ip));
        ck_assert(ip_equal(&ip, &from));
}
END_TEST

START_TEST(first_has_no_previous)
{
        struct ip ip = { .family = IP_V4 }, before = ip;

        ck_assert(!ip_prev(&ip));
        ck_assert(ip_equal(&ip, &before));
        ip.family = before.family = IP_V6;
        ck_assert(!ip_prev(&ip));
        ck_assert(ip_equal(&ip, &before));
}
END_TEST

START_TEST(families_are_ordered)
{
        struct ip high4, low6;

        ck_assert_int_eq(ip_parse(&high4, "255.255.255.255"), 0);
        ck_assert_int_eq(ip_parse(&low6, "::"), 0);
        ck_assert_int_lt(ip_cmp(&high4, &low6), 0);
        ck_assert_int_gt(ip_cmp(&low6, &high4), 0);
        ck_assert_uint_eq(ip_bits(&high4), 32);
        ck_assert_uint_eq(ip_bits(&low6), 128);
}
END_TEST

static const struct {
        const char *ip;
        bool buggy, link_local, multicast;
} kinds[] = {
        { "10.0.0.0", true, false, false },
        { "10.0.0.255", true, false, false },
        { "10.0.255.1", false, false, false },
        { "10.0.0.254", false, false, false },
        { "169.254.0.1", false, true, false },
        { "169.255.0.1", false, false, false },
        { "223.255.255.254", false, false, false },
        { "224.0.0.1", false, false, true },
        { "239.255.255.255", true, false, true },
        { "240.0.0.1", false, false, false },
        { "255.255.255.255", true, false, true },
        { "fc00::", false, false, false },
        { "fc00::ff", false, false, false },
        { "fe80::1", false, true, false },
        { "febf::1", false, true, false },
        { "fec0::1", false, false, false },
        { "fe7f::1", false, false, false },
        { "ff02::1", false, false, true },
        { "fe00::1", false, false, false },
};

START_TEST(kind_of_address)
{
        struct ip ip;

        ck_assert_int_eq(ip_parse(&ip, kinds[_i].ip), 0);
        ck_assert_int_eq(ip_is_buggy(&ip), kinds[_i].buggy);
        ck_assert_int_eq(ip_is_link_local(&ip), kinds[_i].link_local);
        ck_assert_int_eq(ip_is_multicast(&ip), kinds[_i].multicast);
}
END_TEST

START_TEST(counting_buggy_ones_agrees_with_looking)
{
        struct ip_range r;

        for (unsigned first = 0; first < 600; first += 7) {
                for (unsigned last = first; last < 1100; last += 13) {
                        uint64_t n = 0;

                        r.first = ip_from_u128(IP_V4, (struct u128){ 0, 0x0a000000 + first });
                        r.last = ip_from_u128(IP_V4, (struct u128){ 0, 0x0a000000 + last });
                        for (unsigned i = first; i <= last; i++)
                                n += (i & 255) == 0 || (i & 255) == 255;
                        ck_assert_uint_eq(ip_range_count_buggy(&r), n);
                        ck_assert_uint_eq(ip_range_count(&r), last - first + 1);
                }
        }
}
END_TEST

START_TEST(hash_spreads_neighbours)
{
        unsigned used[64] = { 0 }, filled = 0;

        for (unsigned i = 0; i < 256; i++) {
                struct ip ip = ip_from_u128(IP_V4, (struct u128){ 0, 0xc0000200 + i });

                used[ip_hash(&ip) % ARRAY_LEN(used)]++;
        }
        for (size_t i = 0; i < ARRAY_LEN(used); i++) {
                filled += used[i] > 0;
                ck_assert_uint_lt(used[i], 20);
        }
        ck_assert_uint_gt(filled, 50);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("ip");
        TCase *tc = tcase_create("text");

        tcase_add_loop_test(tc, literal_parses, 0, (int)ARRAY_LEN(literals));
        tcase_add_test(tc, literal_stops_at_its_length);
        tcase_add_test(tc, longest_texts_fit);
        tcase_add_loop_test(tc, range_parses, 0, (int)ARRAY_LEN(ranges));
        tcase_add_test(tc, error_says_how_to_write_one_address);
        tcase_add_test(tc, long_garbage_is_cut_in_the_words);
        tcase_add_test(tc, prefix_is_no_range);
        suite_add_tcase(s, tc);
        tc = tcase_create("values");
        tcase_add_loop_test(tc, prefix_has, 0, (int)ARRAY_LEN(members));
        tcase_add_loop_test(tc, range_overlaps, 0, (int)ARRAY_LEN(overlaps));
        tcase_add_loop_test(tc, range_distance, 0, (int)ARRAY_LEN(distances));
        tcase_add_loop_test(tc, steps_and_counts_agree, 0, (int)ARRAY_LEN(steps));
        tcase_add_test(tc, first_has_no_previous);
        tcase_add_test(tc, families_are_ordered);
        tcase_add_loop_test(tc, kind_of_address, 0, (int)ARRAY_LEN(kinds));
        tcase_add_test(tc, counting_buggy_ones_agrees_with_looking);
        tcase_add_test(tc, hash_spreads_neighbours);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
