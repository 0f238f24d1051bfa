/* SPDX-License-Identifier: Apache-2.0 */
/* The wire thread on a real LAN, IPv6: solicitations, probes, multicast groups, and a client that is a real kernel. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "speaker/ndp.h"
#include "test/lib/unit.h"
#include "test/lib/wirebench.h"

#define A0 0x000a

static const uint8_t a0_mac[6] = { 2, 0, 0, 0, 0, 0x0a };

static bool plug(int *ret_b0)
{
        if (!lan_new())
                return false;
        lan_veth("a0", "b0", 0);
        *ret_b0 = lan_socket("b0", true);
        return true;
}

START_TEST(answers_what_it_owns)
{
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "fd00::10", "fd00::11", "192.0.2.10");
        ck_assert_uint_eq(bench_until_answered(&b, b0, "fd00::10"), A0);
        ck_assert_uint_eq(bench_until_answered(&b, b0, "192.0.2.10"), A0);
        ck_assert_uint_eq(bench_answers_before(&b, b0, "fd00::11", "fd00::10"), 1);
        ck_assert_uint_eq(bench_answers_before(&b, b0, "fd00::12", "fd00::10"), 0);
        ck_assert_uint_eq(bench_answers_before(&b, b0, "fd01::10", "fd00::10"), 0); /* the same low bits */
        ck_assert_double_ge(bench_metric(&b, "metallb_layer2_responses_sent{ip=\"fd00::10\"}"), 1);
        BENCH_OWN(&b, NULL, "fd00::10");
        bench_until_announced(&b, b0, "fd00::10", A0); /* its burst goes on */
        ck_assert_uint_eq(bench_answers_before(&b, b0, "fd00::11", "fd00::10"), 0);
        bench_stop(&b);
}
END_TEST

/* The next advertisement for @vip; fails when none comes. */
static struct ndp_msg next_advert(struct bench *b, int fd, const char *vip)
{
        struct ndp_msg m;
        uint8_t frame[2048];
        struct ip ip;

        ck_assert_int_eq(ip_parse(&ip, vip), 0);
        for (unsigned i = 0; i < 60000; i++) {
                size_t len = lan_receive(fd, frame);

                if (len == 0)
                        bench_turn(b);
                else if (ndp_parse(&m, frame, len) == 0 && m.type == NDP_ADVERT &&
                        memcmp(m.target, ip.b, 16) == 0)
                        return m;
        }
        ck_abort_msg("no advertisement of %s", vip);
        return m;
}

/* A reachability probe goes to the address itself and to our MAC. */
START_TEST(unicast_solicitation)
{
        uint8_t frame[128];
        struct ndp_msg ask, m;
        struct bench b;
        size_t len;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "fd00::10");
        (void)bench_until_answered(&b, b0, "fd00::10");
        len = bench_frame(frame, "fd00::10", "fd00::99");
        ck_assert_int_eq(ndp_parse(&ask, frame, len), 0);
        memcpy(ask.eth_dst, a0_mac, 6);
        memcpy(ask.dst, ask.target, 16);
        ask.has_lladdr = _i == 0; /* with the option, and without */
        lan_send(b0, frame, ndp_build(frame, &ask));
        do {
                m = next_advert(&b, b0, "fd00::10");
        } while (memcmp(m.dst, ask.src, 16) != 0);
        ck_assert_mem_eq(m.eth_dst, bench_prober, 6);
        ck_assert_mem_eq(m.eth_src, a0_mac, 6);
        ck_assert_mem_eq(m.src, ask.target, 16);
        ck_assert_int_eq(m.flags, NDP_SOLICITED | NDP_OVERRIDE);
        ck_assert(m.has_lladdr && mac_equal(m.lladdr, a0_mac));
        bench_stop(&b);
}
END_TEST

/* RFC 4862: whoever tries the address before use must hear that it is taken. */
START_TEST(duplicate_address_probe)
{
        struct bench b;
        struct ndp_msg m;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, &(struct wire_conf){ .refresh_ms = UINT32_MAX });
        BENCH_OWN(&b, NULL, "fd00::10");
        for (unsigned i = 0; i < 5; i++)
                (void)next_advert(&b, b0, "fd00::10"); /* the burst is over */
        bench_ask(b0, "fd00::10", NULL);
        m = next_advert(&b, b0, "fd00::10");
        ck_assert_int_eq(m.flags, NDP_OVERRIDE);
        ck_assert_mem_eq(m.eth_dst, "\x33\x33\0\0\0\x01", 6);
        ck_assert_mem_eq(m.dst, "\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
        ck_assert_uint_eq(b.n_conflicts, 0);
        bench_stop(&b);
}
END_TEST

static const struct {
        const char *name;
        size_t at, n;
        uint8_t bytes[6];
        const char *counter; /* NULL: the kernel filter keeps it away */
} silent_cases[] = {
        { "hop limit 64", 21, 1, { 64 }, NULL },
        { "checksum", 56, 2, { 0xde, 0xad }, "malformed" },
        { "code 1", 55, 1, { 1 }, "malformed" },
        { "option of length 0", 79, 1, { 0 }, "malformed" },
        { "unicast to another host", 0, 6, { 2, 9, 9, 9, 9, 9 }, NULL },
        { "fragment", 20, 1, { 44 }, NULL },
        { "target is multicast", 62, 1, { 0xff }, "malformed" },
};

static bool counted(struct bench *b, const void *reason)
{
        char series[128];

        (void)snprintf(series, sizeof(series), "metallb_layer2_dropped_total{protocol=\"ndp\",reason=\"%s\"}",
                (const char *)reason);
        return bench_metric(b, series) >= 1;
}

START_TEST(stays_silent)
{
        uint8_t frame[128], mac[6];
        struct bench b;
        size_t len;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "fd00::10", "fd00::11");
        (void)bench_until_answered(&b, b0, "fd00::10");
        (void)bench_until_answered(&b, b0, "fd00::11");
        while (bench_answered(b0, "fd00::11", mac))
                continue;
        len = bench_frame(frame, "fd00::11", "fd00::99");
        memcpy(frame + silent_cases[_i].at, silent_cases[_i].bytes, silent_cases[_i].n);
        lan_send(b0, frame, len);
        (void)bench_answers_before(&b, b0, "fd00::12", "fd00::10");
        ck_assert_msg(!bench_answered(b0, "fd00::11", mac), "%s: was answered", silent_cases[_i].name);
        if (silent_cases[_i].counter)
                bench_until(&b, counted, silent_cases[_i].counter, silent_cases[_i].name);
        bench_stop(&b);
}
END_TEST

static bool conflict_told(struct bench *b, const void *arg)
{
        (void)arg;
        return b->n_conflicts > 0;
}

START_TEST(reports_conflict)
{
        uint8_t frame[NDP_FRAME_LEN];
        struct bench b;
        struct ip ip;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "fd00::10");
        (void)bench_until_answered(&b, b0, "fd00::10");
        ck_assert_int_eq(ip_parse(&ip, "fd00::10"), 0);
        ndp_announce(frame, &ip, bench_prober);
        lan_send(b0, frame, sizeof(frame));
        bench_until(&b, conflict_told, NULL, "a conflict is told");
        ck_assert(ip_equal(&b.conflict, &ip));
        ck_assert_mem_eq(b.conflict_mac, bench_prober, 6);
        bench_stop(&b);
}
END_TEST

struct grouping {
        const char *interface, *group; /* as /proc/net/igmp6 prints it */
        bool member;
};

static bool grouped(struct bench *b, const void *arg)
{
        const struct grouping *g = arg;
        FILE *f = fopen("/proc/net/igmp6", "r");
        char line[256], name[32], group[40];
        bool member = false;

        (void)b;
        ck_assert_ptr_nonnull(f);
        while (fgets(line, sizeof(line), f))
                if (sscanf(line, "%*d %31s %39s", name, group) == 2 && strcmp(name, g->interface) == 0)
                        member |= strcmp(group, g->group) == 0;
        (void)fclose(f);
        return member == g->member;
}

static void until_group(struct bench *b, const char *interface, const char *group, bool member)
{
        const struct grouping g = { interface, group, member };

        bench_until(b, grouped, &g, member ? "the group is joined" : "the group is left");
}

#define G10 "ff0200000000000000000001ff000010"
#define G11 "ff0200000000000000000001ff000011"

START_TEST(joins_groups)
{
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        lan_veth("a1", "b1", 1);
        bench_start(&b, NULL);
        BENCH_OWN(&b, "a0", "fd00::10", "fd01::10"); /* two addresses, one group */
        until_group(&b, "a0", G10, true);
        until_group(&b, "a1", G10, false);
        BENCH_OWN(&b, NULL, "fd00::10", "fd00::11");
        until_group(&b, "a1", G10, true);
        until_group(&b, "a1", G11, true);
        until_group(&b, "a0", G11, true);
        lan_ip("link del a1"); /* and one that comes late */
        lan_veth("a1", "b1", 1);
        until_group(&b, "a1", G10, true);
        lan_ip("link set a0 mtu 1000"); /* too small for IPv6: the kernel forgets all groups of the interface */
        until_group(&b, "a0", G10, false);
        lan_ip("link set a0 mtu 1500");
        until_group(&b, "a0", G10, true);
        until_group(&b, "a0", G11, true);
        lan_ip("link set a0 down");
        lan_ip("link set a0 up");
        until_group(&b, "a0", G10, true);
        (void)bench_until_answered(&b, b0, "fd00::10");
        BENCH_OWN(&b, NULL, "fd00::11");
        until_group(&b, "a0", G10, false);
        until_group(&b, "a1", G10, false);
        until_group(&b, "a1", G11, true);
        bench_stop(&b);
        until_group(&b, "a0", G11, false);
}
END_TEST

/* No IPv6 on the node's interface at all: frames come and go all the same. */
START_TEST(without_own_address)
{
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        lan_sysctl(false, "net/ipv6/conf/a0/disable_ipv6", "1");
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "fd00::10");
        ck_assert_uint_eq(bench_until_answered(&b, b0, "fd00::10"), A0);
        bench_stop(&b);
}
END_TEST

/* What the client's kernel sends, seen at a0: [0] multicast solicitations of the address, [1] unicast ones, [2] the
 * datagrams themselves, which need a resolved neighbour. */
static void count_client(int a0, unsigned counts[3])
{
        uint8_t frame[2048];
        struct ndp_msg m;
        size_t len;

        while ((len = lan_receive(a0, frame)) > 0) {
                if (ndp_parse(&m, frame, len) == 0 && m.type == NDP_SOLICIT && m.target[15] == 0x10)
                        counts[m.eth_dst[0] == 0x33 ? 0 : 1]++;
                else if (len > 54 && get_be16(frame + 12) == ETH_IPV6 && frame[20] == IPPROTO_UDP &&
                        mac_equal(frame, a0_mac))
                        counts[2]++;
        }
}

/* Linux resolves the address, keeps using it, and confirms it by unicast solicitations, several times over. Were one
 * not answered, it would fall back to multicast. */
START_TEST(real_client_stays_reachable)
{
        struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(9) };
        unsigned counts[3] = { 0, 0, 0 };
        struct bench b;
        int b0, a0, udp;

        if (!plug(&b0))
                return;
        lan_sysctl(true, "net/ipv6/neigh/b0/base_reachable_time_ms", "200");
        lan_sysctl(true, "net/ipv6/neigh/b0/delay_first_probe_time", "0");
        lan_sysctl(true, "net/ipv6/neigh/b0/retrans_time_ms", "300");
        lan_ip_there("addr add fd00::2/64 dev b0 nodad");
        udp = lan_udp6(true);
        a0 = lan_socket("a0", false);
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "fd00::10");
        (void)bench_until_answered(&b, b0, "fd00::10");
        ck_assert_int_eq(inet_pton(AF_INET6, "fd00::10", &to.sin6_addr), 1);
        count_client(a0, counts);
        memset(counts, 0, sizeof(counts));
        for (unsigned i = 0; counts[1] < 3; i++) {
                ck_assert_msg(
                        i < 4000, "%u multicast, %u unicast, %u datagrams", counts[0], counts[1], counts[2]);
                (void)sendto(
                        udp, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)); /* may fail while it resolves */
                for (unsigned k = 0; k < 10; k++)
                        bench_turn(&b);
                count_client(a0, counts);
        }
        ck_assert_uint_gt(counts[2], 3);
        ck_assert_uint_le(counts[0], 1);
        bench_stop(&b);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("wire_ndp");
        TCase *tc = tcase_create("ndp");

        tcase_set_timeout(tc, 90);
        tcase_add_test(tc, answers_what_it_owns);
        tcase_add_loop_test(tc, unicast_solicitation, 0, 2);
        tcase_add_test(tc, duplicate_address_probe);
        tcase_add_loop_test(tc, stays_silent, 0, (int)ARRAY_LEN(silent_cases));
        tcase_add_test(tc, reports_conflict);
        tcase_add_test(tc, joins_groups);
        tcase_add_test(tc, without_own_address);
        tcase_add_test(tc, real_client_stays_reachable);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
