/* SPDX-License-Identifier: Apache-2.0 */
/* The wire thread while interfaces come, go and change, on a real LAN. */
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "speaker/arp.h"
#include "test/lib/unit.h"
#include "test/lib/wirebench.h"

#define A0 0x000a
#define A1 0x010a

#define SEGMENT_DROPS "metallb_layer2_dropped_total{protocol=\"arp\",reason=\"segment\"}"

static bool plug(int *ret_b0)
{
        if (!lan_new())
                return false;
        lan_veth("a0", "b0", 0);
        *ret_b0 = lan_socket("b0", true);
        return true;
}

static const struct wire_link *link_of(const struct bench *b, const char *name)
{
        for (size_t i = 0; i < b->n_links; i++)
                if (strcmp(b->links[i].name, name) == 0)
                        return &b->links[i];
        return NULL;
}

static bool is_there(struct bench *b, const void *name)
{
        return link_of(b, name) != NULL;
}

static bool is_gone(struct bench *b, const void *name)
{
        return link_of(b, name) == NULL;
}

static bool is_up(struct bench *b, const void *name)
{
        return link_of(b, name) && link_of(b, name)->up;
}

static bool is_down(struct bench *b, const void *name)
{
        return link_of(b, name) && !link_of(b, name)->up;
}

START_TEST(carrier_comes_back)
{
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        for (unsigned i = 0; i < 3; i++) {
                lan_ip_there("link set b0 down"); /* a veth without its peer has no carrier */
                bench_until(&b, is_down, "a0", "the carrier is lost");
                lan_ip_there("link set b0 up");
                bench_until_announced(&b, b0, "192.0.2.10", A0);
                bench_until(&b, is_up, "a0", "the carrier is back");
                (void)bench_until_answered(&b, b0, "192.0.2.10");
        }
        bench_stop(&b);
}
END_TEST

START_TEST(down_and_up)
{
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        for (unsigned i = 0; i < 3; i++) {
                lan_ip("link set a0 down");
                bench_until(&b, is_gone, "a0", "a0 is down");
                lan_ip("link set a0 up");
                bench_until_announced(&b, b0, "192.0.2.10", A0);
                (void)bench_until_answered(&b, b0, "192.0.2.10");
        }
        lan_ip("link set a0 down"); /* so short that nobody sees it */
        lan_ip("link set a0 up");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        bench_stop(&b);
}
END_TEST

START_TEST(changes_its_mac)
{
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        lan_ip("link set a0 address 02:00:00:00:55:66");
        bench_until_announced(&b, b0, "192.0.2.10", 0x5566);
        ck_assert_uint_eq(bench_until_answered(&b, b0, "192.0.2.10"), 0x5566);
        bench_stop(&b);
}
END_TEST

START_TEST(is_renamed)
{
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        lan_veth("a1", "b1", 1);
        bench_start(&b, NULL);
        BENCH_OWN(&b, "lan", "192.0.2.10");
        bench_until(&b, is_there, "a0", "a0 is known");
        lan_ip("link set a0 name lan");
        bench_until_announced(&b, b0, "192.0.2.10", A0);
        ck_assert_uint_eq(bench_until_answered(&b, b0, "192.0.2.10"), A0);
        BENCH_OWN(&b, NULL, "192.0.2.10", "192.0.2.11");
        (void)bench_until_answered(&b, b0, "192.0.2.11");
        lan_ip("link set lan name lan0");
        bench_until(&b, is_there, "lan0", "the new name is known");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        ck_assert_double_eq(bench_metric(&b, "metallb_layer2_interface_up{interface=\"lan\"}"), -1);
        ck_assert_double_eq(bench_metric(&b, "metallb_layer2_interface_up{interface=\"lan0\"}"), 1);
        bench_stop(&b);
}
END_TEST

START_TEST(appears_and_vanishes)
{
        struct bench b;
        int b0, b1;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        for (unsigned i = 0; i < 3; i++) {
                lan_veth("a1", "b1", 1);
                b1 = lan_socket("b1", true);
                ck_assert_uint_eq(bench_until_answered(&b, b1, "192.0.2.10"), A1);
                lan_ip("link del a1");
                bench_until(&b, is_gone, "a1", "a1 is gone");
                ck_assert_double_eq(bench_metric(&b, "metallb_layer2_interface_up{interface=\"a1\"}"), -1);
                ck_assert_uint_eq(bench_until_answered(&b, b0, "192.0.2.10"), A0);
                (void)close(b1);
        }
        bench_stop(&b);
}
END_TEST

START_TEST(late_interface_is_announced_on)
{
        struct bench b;
        int b0, b1;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, "a1", "192.0.2.10");
        bench_until(&b, is_up, "a0", "a0 is known");
        lan_ip("link add a1 address 02:00:00:00:01:0a type veth peer name b1 netns THERE");
        lan_ip_there("link set b1 up");
        b1 = lan_socket("b1", true);
        lan_ip("link set a1 up");
        bench_until_announced(&b, b1, "192.0.2.10", A1);
        bench_stop(&b);
}
END_TEST

/* A port of a bridge is silent; the bridge speaks, with its own MAC. */
START_TEST(bridge)
{
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        lan_ip("link add br0 address 02:00:00:00:99:99 type bridge");
        lan_ip("link set br0 up");
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10");
        ck_assert_uint_eq(bench_until_answered(&b, b0, "192.0.2.10"), A0);
        lan_ip("link set a0 master br0");
        bench_until(&b, is_gone, "a0", "a0 is a port now");
        ck_assert_uint_eq(bench_until_answered(&b, b0, "192.0.2.10"), 0x9999);
        lan_ip("link set a0 nomaster");
        bench_until(&b, is_there, "a0", "a0 is free again");
        ck_assert_uint_eq(bench_until_answered(&b, b0, "192.0.2.10"), A0);
        bench_stop(&b);
}
END_TEST

START_TEST(no_arp_no_answer)
{
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        lan_ip("link set a0 arp off");
        bench_until(&b, is_gone, "a0", "a0 does not speak");
        lan_ip("link set a0 arp on");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        bench_stop(&b);
}
END_TEST

/* The kernel answers for what is on the interface itself: two answers would be one too many. */
START_TEST(kernel_has_it)
{
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10", "192.0.2.11");
        lan_ip("addr add 192.0.2.10/24 dev a0");
        for (unsigned i = 0; i < BENCH_WAIT_MS; i++) { /* until the address is known to the thread */
                if (link_of(&b, "a0") && link_of(&b, "a0")->n_subnets > 1)
                        break;
                bench_turn(&b);
        }
        ck_assert_uint_eq(bench_answers_before(&b, b0, "192.0.2.10", "192.0.2.11"), 1);
        ck_assert_double_ge(
                bench_metric(&b, "metallb_layer2_dropped_total{protocol=\"arp\",reason=\"kernel\"}"), 1);
        bench_stop(&b);
}
END_TEST

static bool sharing(struct bench *b, const void *n)
{
        return bench_metric(b, "metallb_layer2_shared_interfaces") == *(const unsigned *)n;
}

/* Two cards on one LAN: over there, both peers are ports of one bridge. */
static int one_segment(void)
{
        lan_veth("a0", "b0", 0);
        lan_veth("a1", "b1", 1);
        lan_ip_there(
                "link add br0 address 02:ff:00:00:00:01 type bridge"); /* the prober's MAC is at home there */
        lan_ip_there("link set b0 master br0");
        lan_ip_there("link set b1 master br0");
        lan_ip_there("link set br0 up");
        return lan_socket("br0", true);
}

static bool both_looked(struct bench *b, const void *drops)
{
        return bench_metric(b, SEGMENT_DROPS) >= *(const double *)drops;
}

/* Both cards hear both questions, on sockets of their own: the silent one must have looked at them, too, before the
 * answers are counted. */
static void expect_one_answer(struct bench *b, int fd)
{
        double drops = bench_metric(b, SEGMENT_DROPS) + 2;
        uint8_t mac[6];

        ck_assert_uint_eq(bench_answers_before(b, fd, "192.0.2.11", "192.0.2.10"), 1);
        bench_until(b, both_looked, &drops, "the silent card hears the questions");
        ck_assert(!bench_answered(fd, "192.0.2.11", mac));
}

START_TEST(two_cards_one_answer)
{
        unsigned two = 2, none = 0;
        struct bench b;
        int br0;

        if (!lan_new())
                return;
        br0 = one_segment();
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10", "192.0.2.11");
        bench_until(&b, sharing, &two, "both cards are found on one LAN");
        ck_assert_uint_eq(bench_until_answered(&b, br0, "192.0.2.10"), A0); /* the lower index */
        expect_one_answer(&b, br0);
        ck_assert_uint_eq(b.n_conflicts, 0);
        lan_ip("addr add 192.0.2.2/24 dev a1"); /* the one with the right subnet */
        while (bench_until_answered(&b, br0, "192.0.2.10") != A1)
                bench_turn(&b);
        expect_one_answer(&b, br0);
        lan_ip("link set a1 down"); /* the speaker of the two falls: the other takes over at once */
        bench_until_announced(&b, br0, "192.0.2.10", A0);
        ck_assert_uint_eq(bench_until_answered(&b, br0, "192.0.2.10"), A0);
        bench_until(&b, sharing, &none, "what was learnt is forgotten");
        lan_ip("link set a1 up");
        bench_until(&b, sharing, &two, "both cards are found again");
        bench_stop(&b);
}
END_TEST

START_TEST(allowed_card_answers_alone)
{
        struct bench b;
        int br0;

        if (!lan_new())
                return;
        br0 = one_segment();
        bench_start(&b, NULL);
        BENCH_OWN(&b, "a1", "192.0.2.10", "192.0.2.11");
        ck_assert_uint_eq(bench_until_answered(&b, br0, "192.0.2.10"), A1);
        ck_assert_uint_eq(bench_answers_before(&b, br0, "192.0.2.11", "192.0.2.10"), 1);
        bench_stop(&b);
}
END_TEST

/* A macvlan and the interface below it hang on one LAN, and neither hears the other. */
START_TEST(macvlan)
{
        unsigned two = 2;
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        lan_ip("link add mv0 link a0 address 02:00:00:00:77:77 type macvlan mode bridge");
        lan_ip("link set mv0 up");
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10", "192.0.2.11");
        bench_until(&b, sharing, &two, "both are known to share the LAN");
        ck_assert_uint_eq(bench_until_answered(&b, b0, "192.0.2.10"), A0);
        ck_assert_uint_eq(bench_answers_before(&b, b0, "192.0.2.11", "192.0.2.10"), 1);
        BENCH_OWN(&b, "mv0", "192.0.2.10", "192.0.2.11");
        while (bench_until_answered(&b, b0, "192.0.2.10") != 0x7777)
                bench_turn(&b);
        ck_assert_uint_eq(bench_answers_before(&b, b0, "192.0.2.11", "192.0.2.10"), 1);
        bench_stop(&b);
}
END_TEST

/* The thread's packet socket, found among this process' descriptors, gets bound to another interface, which is then
 * deleted: the socket is dead and a0 lives on. */
static void kill_socket(const char *interface, const char *victim, int not_this)
{
        int wanted = (int)if_nametoindex(interface), other = (int)if_nametoindex(victim);

        for (int fd = 3; fd < 256; fd++) {
                struct sockaddr_ll at = { 0 };
                socklen_t len = sizeof(at);

                if (fd == not_this || getsockname(fd, (struct sockaddr *)&at, &len) < 0 ||
                        at.sll_family != AF_PACKET || at.sll_ifindex != wanted)
                        continue;
                at.sll_ifindex = other;
                /* Past the thread sanitizer, which is right that one does not do such things. */
                ck_assert_int_eq(syscall(SYS_bind, fd, &at, sizeof(at)), 0);
                return;
        }
        ck_abort_msg("no packet socket on %s", interface);
}

static bool reopened(struct bench *b, const void *arg)
{
        (void)arg;
        return bench_metric(b, "metallb_layer2_socket_reopened_total") == 1;
}

START_TEST(dead_socket_is_reopened)
{
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        lan_veth("other", "p1", 1);
        bench_start(&b, NULL);
        BENCH_OWN(&b, "a0", "192.0.2.10");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        kill_socket("a0", "other", b0);
        lan_ip("link del other");
        bench_until(&b, reopened, NULL, "the dead socket is noticed");
        bench_until_announced(&b, b0, "192.0.2.10", A0);
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        bench_stop(&b);
}
END_TEST

/* Sets, links and questions at once, from three sides; for the sanitizers. Afterwards everything is as it should be. */
START_TEST(churn)
{
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        for (unsigned i = 0; i < 60; i++) {
                if (i % 2)
                        BENCH_OWN(&b, NULL, "192.0.2.10", "fd00::10");
                else
                        BENCH_OWN(&b, i % 4 ? "a0" : NULL, "192.0.2.10", "192.0.2.11", "fd00::11");
                if (i % 10 == 5)
                        lan_veth("a1", "b1", 1);
                if (i % 10 == 9)
                        lan_ip("link del a1");
                if (i % 15 == 14) {
                        lan_ip("link set a0 down");
                        lan_ip("link set a0 up");
                }
                for (unsigned k = 0; k < 20 && i % 15 != 14; k++) {
                        bench_ask(b0, k % 2 ? "192.0.2.10" : "fd00::10", k % 2 ? "192.0.2.77" : "fd00::77");
                        bench_turn(&b);
                }
        }
        BENCH_OWN(&b, NULL, "192.0.2.10", "fd00::10");
        ck_assert_uint_eq(bench_until_answered(&b, b0, "192.0.2.10"), A0);
        ck_assert_uint_eq(bench_until_answered(&b, b0, "fd00::10"), A0);
        bench_stop(&b);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("wire_links");
        TCase *tc = tcase_create("links");

        tcase_set_timeout(tc, 90);
        tcase_add_test(tc, carrier_comes_back);
        tcase_add_test(tc, down_and_up);
        tcase_add_test(tc, changes_its_mac);
        tcase_add_test(tc, is_renamed);
        tcase_add_test(tc, appears_and_vanishes);
        tcase_add_test(tc, late_interface_is_announced_on);
        tcase_add_test(tc, bridge);
        tcase_add_test(tc, no_arp_no_answer);
        tcase_add_test(tc, kernel_has_it);
        tcase_add_test(tc, two_cards_one_answer);
        tcase_add_test(tc, allowed_card_answers_alone);
        tcase_add_test(tc, macvlan);
        tcase_add_test(tc, dead_socket_is_reopened);
        tcase_add_test(tc, churn);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
