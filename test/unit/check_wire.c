/* SPDX-License-Identifier: Apache-2.0 */
/* The wire thread on a real LAN, IPv4: who is answered and who is not. Without root there is no LAN to be had, and the
 * tests that need one pass without a look. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "speaker/arp.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"
#include "test/lib/wirebench.h"

#define A0 0x000a /* how the MAC of a0 ends, of a1, ... */
#define A1 0x010a

/* A LAN with a0 here and b0 there; false: not allowed to have one. */
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
        BENCH_OWN(&b, NULL, "192.0.2.10", "192.0.2.11");
        ck_assert_uint_eq(bench_until_answered(&b, b0, "192.0.2.10"), A0);
        ck_assert_uint_eq(bench_until_answered(&b, b0, "192.0.2.11"), A0);
        ck_assert_uint_eq(bench_answers_before(&b, b0, "192.0.2.12", "192.0.2.10"), 0);
        ck_assert_uint_eq(bench_answers_before(&b, b0, "192.0.2.11", "192.0.2.10"), 1);
        BENCH_OWN(&b, NULL, "192.0.2.10", "192.0.2.12");
        (void)bench_until_answered(&b, b0, "192.0.2.12");
        ck_assert_uint_eq(bench_answers_before(&b, b0, "192.0.2.11", "192.0.2.10"), 0);
        bench_stop(&b);
}
END_TEST

/* What must not be answered, sent in front of a question that is. The frame: Ethernet 0-13, ARP from 14, operation at 20,
 * sender at 22 and 28, target at 32 and 38. */
static const struct {
        const char *name;
        size_t at, n;
        uint8_t bytes[10];
        size_t len; /* 0: all */
        const char *counter; /* reason it is counted under; NULL: the kernel filter keeps it away */
} silent_cases[] = {
        { "unicast to another host", 0, 6, { 2, 9, 9, 9, 9, 9 }, 0, NULL },
        { "hardware type 6", 14, 2, { 0, 6 }, 0, "malformed" },
        { "hardware length 5", 18, 1, { 5 }, 0, "malformed" },
        { "operation 8", 20, 2, { 0, 8 }, 0, NULL },
        { "sender MAC is broadcast", 22, 6, { 255, 255, 255, 255, 255, 255 }, 0, "sender" },
        { "sender MAC is zero", 22, 6, { 0 }, 0, "sender" },
        { "sender MAC is our own", 22, 6, { 2, 0, 0, 0, 0, 0x0a }, 0, "sender" },
        { "sender claims the address itself", 28, 4, { 192, 0, 2, 10 }, 0, "conflict" },
        { "sender claims another of ours", 28, 4, { 192, 0, 2, 11 }, 0, "conflict" },
        { "sender is multicast", 28, 4, { 224, 0, 0, 1 }, 0, "malformed" },
        { "target is not ours", 38, 4, { 192, 0, 2, 99 }, 0, NULL },
        { "target is broadcast", 38, 4, { 255, 255, 255, 255 }, 0, NULL },
        { "target is 0.0.0.0", 38, 4, { 0 }, 0, NULL },
        { "cut in the middle", 0, 0, { 0 }, 41, NULL },
};

static bool counted(struct bench *b, const void *arg)
{
        char series[128];

        (void)snprintf(series, sizeof(series), "metallb_layer2_dropped_total{protocol=\"arp\",reason=\"%s\"}",
                (const char *)arg);
        return bench_metric(b, series) == 1;
}

START_TEST(stays_silent)
{
        uint8_t frame[128];
        struct bench b;
        char reason[32];
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10", "192.0.2.11", "192.0.2.12");
        (void)bench_until_answered(&b, b0, "192.0.2.12");
        while (lan_receive(b0, (uint8_t[2048]){ 0 }) > 0)
                continue;
        (void)bench_frame(frame, "192.0.2.10", "192.0.2.77");
        memcpy(frame + silent_cases[_i].at, silent_cases[_i].bytes, silent_cases[_i].n);
        lan_send(b0, frame, silent_cases[_i].len ? silent_cases[_i].len : ARP_FRAME_LEN);
        bench_ask(b0, "192.0.2.12", "192.0.2.77");
        for (unsigned i = 0; i < 10000; i++) {
                uint8_t got[2048];
                size_t len = lan_receive(b0, got);
                struct arp_msg m;

                if (len == 0) {
                        bench_turn(&b);
                        continue;
                }
                if (arp_parse(&m, got, len) < 0 || mac_is_broadcast(m.eth_dst))
                        continue;
                ck_assert_msg(m.spa[3] == 12, "%s: was answered", silent_cases[_i].name);
                break;
        }
        if (silent_cases[_i].counter) {
                (void)snprintf(reason, sizeof(reason), "%s", silent_cases[_i].counter);
                bench_until(&b, counted, reason, silent_cases[_i].name);
        }
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
        uint8_t frame[128];
        struct bench b;
        struct ip want;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10", "192.0.2.11");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        for (unsigned i = 0; i < 5; i++) {
                (void)bench_frame(frame, "192.0.2.10", "192.0.2.10");
                frame[21] = _i == 0 ? ARP_REQUEST : ARP_REPLY;
                lan_send(b0, frame, ARP_FRAME_LEN);
        }
        bench_until(&b, conflict_told, NULL, "a conflict is told");
        ck_assert_int_eq(ip_parse(&want, "192.0.2.10"), 0);
        ck_assert(ip_equal(&b.conflict, &want));
        ck_assert_mem_eq(b.conflict_mac, bench_prober, 6);
        (void)bench_until_answered(&b, b0, "192.0.2.11"); /* all five have been looked at */
        ck_assert_uint_eq(b.n_conflicts, 1);
        ck_assert_double_eq(bench_metric(&b, "metallb_layer2_conflicts_total{ip=\"192.0.2.10\"}"), 5);
        ck_assert_double_eq(bench_metric(&b, "metallb_layer2_conflicts_total{ip=\"192.0.2.11\"}"), 0);
        bench_stop(&b);
}
END_TEST

/* RFC 5227: a host that probes before it takes the address must hear that it is taken. And NUD asks unicast. */
START_TEST(defends_and_is_reachable)
{
        static const uint8_t a0[6] = { 2, 0, 0, 0, 0, 0x0a };
        struct bench b;
        uint8_t mac[6];
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        while (bench_answered(b0, "192.0.2.10", mac))
                continue;
        if (_i == 0)
                bench_ask(b0, "192.0.2.10", NULL);
        else
                bench_ask_at(b0, "192.0.2.10", "192.0.2.77", a0);
        for (unsigned i = 0; !bench_answered(b0, "192.0.2.10", mac); i++) {
                ck_assert_uint_lt(i, 20000);
                bench_turn(&b);
        }
        ck_assert_mem_eq(mac, a0, 6);
        ck_assert_uint_eq(b.n_conflicts, 0);
        bench_stop(&b);
}
END_TEST

START_TEST(announces_at_once)
{
        struct bench b;
        uint8_t frame[2048];
        struct arp_msg m;
        unsigned seen = 0;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10");
        for (unsigned i = 0; seen < 2; i++) { /* both forms */
                size_t len = lan_receive(b0, frame);

                ck_assert_uint_lt(i, 40000);
                if (len == 0)
                        bench_turn(&b);
                else if (arp_parse(&m, frame, len) == 0) {
                        ck_assert_uint_eq(len, ARP_FRAME_LEN);
                        ck_assert_int_eq(m.op, seen == 0 ? ARP_REQUEST : ARP_REPLY);
                        ck_assert_mem_eq(m.spa, m.tpa, 4);
                        seen++;
                }
        }
        BENCH_OWN(&b, NULL, "192.0.2.10", "192.0.2.11");
        bench_until_announced(&b, b0, "192.0.2.11", A0);
        bench_stop(&b);
}
END_TEST

/* The tag of a VLAN without an interface here has been taken off by the kernel when the frame arrives; it must not be
 * answered on the parent. Priority tags (VLAN 0) are no VLAN. */
START_TEST(vlan_tags)
{
        uint8_t frame[160], tagged[160], got[2048];
        struct bench b;
        size_t len;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10", "192.0.2.11");
        (void)bench_until_answered(&b, b0, "192.0.2.11");
        while (lan_receive(b0, got) > 0)
                continue;
        len = bench_frame(frame, "192.0.2.10", "192.0.2.77");
        memcpy(tagged, frame, 12);
        memcpy(tagged + 12, _i == 0 ? "\x81\x00\x00\x0a" : "\x81\x00\xa0\x00", 4);
        memcpy(tagged + 16, frame + 12, len - 12);
        lan_send(b0, tagged, len + 4);
        bench_ask(b0, "192.0.2.11", "192.0.2.77");
        for (unsigned i = 0; i < 40000; i++) {
                struct arp_msg m;

                len = lan_receive(b0, got);
                if (len == 0)
                        bench_turn(&b);
                if (len == 0 || arp_parse(&m, got, len) < 0 || !mac_equal(m.eth_dst, bench_prober))
                        continue;
                ck_assert_int_eq(m.spa[3], _i == 0 ? 11 : 10);
                break;
        }
        bench_stop(&b);
}
END_TEST

START_TEST(interface_filter)
{
        struct bench b;
        int b0, b1;

        if (!plug(&b0))
                return;
        lan_veth("a1", "b1", 1);
        b1 = lan_socket("b1", true);
        bench_start(&b, NULL);
        BENCH_OWN(&b, "a1", "192.0.2.10", "192.0.2.11");
        ck_assert_uint_eq(bench_until_answered(&b, b1, "192.0.2.10"), A1);
        ck_assert_uint_eq(bench_answers_before(&b, b1, "192.0.2.11", "192.0.2.10"), 1);
        ck_assert_uint_eq(b.n_links, 2);
        ck_assert(!b.links[0].arp && b.links[1].arp); /* not even a socket where nothing is allowed */
        BENCH_OWN(&b, NULL, "192.0.2.11", "192.0.2.12");
        ck_assert_uint_eq(bench_until_answered(&b, b0, "192.0.2.12"), A0);
        ck_assert_uint_eq(bench_answers_before(&b, b0, "192.0.2.10", "192.0.2.12"), 0);
        bench_until_announced(&b, b0, "192.0.2.11", A0); /* it may be announced where it was not before */
        bench_stop(&b);
}
END_TEST

static int packet_sockets(void)
{
        FILE *f = fopen("/proc/net/packet", "r");
        char line[256];
        int n = -1;

        ck_assert_ptr_nonnull(f);
        while (fgets(line, sizeof(line), f))
                n++;
        (void)fclose(f);
        return n;
}

static bool no_sockets(struct bench *b, const void *arg)
{
        (void)b;
        (void)arg;
        return packet_sockets() == 0;
}

static bool links_told(struct bench *b, const void *arg)
{
        (void)arg;
        return b->n_link_events > 0;
}

START_TEST(no_address_no_socket)
{
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, NULL);
        bench_until(&b, links_told, NULL, "links are told");
        ck_assert_int_eq(packet_sockets(), 0);
        BENCH_OWN(&b, NULL, "192.0.2.10");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        ck_assert_int_eq(packet_sockets(), 1); /* none for IPv6 */
        ck_assert_double_ge(bench_metric(&b, "metallb_layer2_responses_sent{ip=\"192.0.2.10\"}"), 1);
        ck_assert_double_ge(bench_metric(&b, "metallb_layer2_requests_received{ip=\"192.0.2.10\"}"), 1);
        ck_assert_double_ge(bench_metric(&b, "metallb_layer2_gratuitous_sent{ip=\"192.0.2.10\"}"), 2);
        BENCH_OWN(&b, NULL, NULL);
        bench_until(&b, no_sockets, NULL, "the socket is closed");
        ck_assert_double_eq(bench_metric(&b, "metallb_layer2_responses_sent{ip=\"192.0.2.10\"}"), -1);
        ck_assert_double_eq(bench_metric(&b, "metallb_layer2_gratuitous_sent{ip=\"192.0.2.10\"}"), -1);
        bench_stop(&b);
}
END_TEST

static bool limited(struct bench *b, const void *arg)
{
        (void)arg;
        return bench_metric(b, "metallb_layer2_dropped_total{protocol=\"arp\",reason=\"rate\"}") > 50;
}

START_TEST(one_sender_cannot_have_it_all)
{
        struct wire_conf conf = { .max_sender_s = 20 };
        uint8_t frame[128], got[2048];
        struct bench b;
        bool other = false;
        size_t len;
        int b0;

        if (!plug(&b0))
                return;
        bench_start(&b, &conf);
        BENCH_OWN(&b, NULL, "192.0.2.10");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        for (unsigned i = 0; i < 200; i++)
                bench_ask(b0, "192.0.2.10", "192.0.2.77");
        bench_until(&b, limited, NULL, "the flood is limited");
        len = bench_frame(frame, "192.0.2.10", "192.0.2.78");
        frame[11] = frame[27] = 9; /* another host */
        lan_send(b0, frame, len);
        for (unsigned i = 0; i < 40000 && !other; i++) {
                len = lan_receive(b0, got);
                if (len == 0)
                        bench_turn(&b);
                other = len >= 42 && memcmp(got, frame + 6, 6) == 0;
        }
        ck_assert(other);
        bench_stop(&b);
}
END_TEST

static bool warned(struct bench *b, const void *arg)
{
        (void)arg;
        return b->n_warnings > 0;
}

/* The threads inherit what this one may do. */
START_TEST(without_net_raw)
{
        struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
        struct __user_cap_data_struct caps[2];
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        lan_veth("a1", "b1", 1);
        ck_assert_int_eq(syscall(SYS_capget, &head, caps), 0);
        caps[0].effective &= ~(1u << CAP_NET_RAW);
        caps[0].permitted &= ~(1u << CAP_NET_RAW);
        ck_assert_int_eq(syscall(SYS_capset, &head, caps), 0);
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10", "fd00::10");
        bench_until(&b, warned, NULL, "it says so");
        ck_assert_msg(strstr(b.words, "NET_RAW"), "%s", b.words);
        for (unsigned i = 0; i < 3000; i++) /* a few seconds: the second try has failed, too */
                bench_turn(&b);
        ck_assert_uint_eq(b.n_warnings, 1); /* once, for four sockets */
        bench_stop(&b);
}
END_TEST

START_TEST(without_interfaces)
{
        struct bench b;

        if (!lan_new())
                return;
        bench_start(&b, NULL);
        BENCH_OWN(&b, NULL, "192.0.2.10");
        bench_until(&b, warned, NULL, "it says so");
        ck_assert_msg(strstr(b.words, "no usable network interface"), "%s", b.words);
        BENCH_OWN(&b, NULL, "192.0.2.10", "192.0.2.11");
        for (unsigned i = 0; i < 300; i++)
                bench_turn(&b);
        ck_assert_uint_eq(b.n_warnings, 1);
        bench_stop(&b);
}
END_TEST

static void noted(void *ctx)
{
        unsigned *n = ctx;

        (*n)++;
}

/* Closing at any moment: while links are read, sockets are being opened, frames come in. */
START_TEST(close_at_every_step)
{
        int b0;

        if (!plug(&b0))
                return;
        for (unsigned step = 0; step < 40; step++) {
                struct bench b;
                unsigned n = 0;

                bench_start(&b, NULL);
                if (step > 0)
                        BENCH_OWN(&b, NULL, "192.0.2.10", "fd00::10");
                for (unsigned i = 0; i < step; i++) {
                        bench_ask(b0, "192.0.2.10", "192.0.2.77");
                        (void)uv_run(&b.loop, UV_RUN_NOWAIT);
                        (void)usleep(step * 40);
                }
                if (step % 3 == 0)
                        BENCH_OWN(&b, NULL, NULL);
                wire_close(b.wire, noted, &n);
                wire_close(b.wire, noted, &n); /* idempotent */
                BENCH_OWN(&b, NULL, "192.0.2.11"); /* too late, and taken all the same */
                ck_assert_uint_eq(n, 0);
                ck_assert_int_eq(uv_run(&b.loop, UV_RUN_DEFAULT), 0);
                ck_assert_uint_eq(n, 1);
                ck_assert_int_eq(uv_loop_close(&b.loop), 0);
                (void)metrics_free(b.reg);
        }
}
END_TEST

START_TEST(no_memory)
{
        uv_loop_t loop;
        int b0;

        if (!plug(&b0))
                return;
        ck_assert_int_eq(uv_loop_init(&loop), 0);
        for (unsigned n = 0;; n++) {
                struct wire_conf conf = { .exclude_file = "/nowhere/at/all" };
                struct wire *w = NULL;
                struct err e = { "" };
                unsigned closed = 0;
                bool hit;
                int r;

                fault_arm(n);
                r = wire_new(&w, &loop, &conf, &e);
                hit = fault_disarm();
                ck_assert_msg(r == (hit ? -ENOMEM : 0), "allocation %u: %s", n, e.text);
                if (w)
                        wire_close(w, noted, &closed);
                ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
                ck_assert_uint_eq(closed, hit ? 0 : 1);
                if (!hit)
                        break;
        }
        ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

static void write_file(const char *path, const char *text)
{
        FILE *f = fopen(path, "w");

        ck_assert_ptr_nonnull(f);
        ck_assert_int_ge(fputs(text, f), 0);
        ck_assert_int_eq(fclose(f), 0);
}

static bool one_link(struct bench *b, const void *arg)
{
        return b->n_links == *(const size_t *)arg;
}

START_TEST(exclusion_file)
{
        char dir[] = "/tmp/check_wire.XXXXXX", path[64];
        struct wire_conf conf = { .exclude_file = path };
        size_t one = 1, two = 2;
        struct bench b;
        int b0;

        if (!plug(&b0))
                return;
        ck_assert_ptr_nonnull(mkdtemp(dir));
        (void)snprintf(path, sizeof(path), "%s/excludel2.yaml", dir);
        lan_veth("veth1", "b1", 1);
        write_file(path, "announcedInterfacesToExclude: ['^veth.*', '^lo$']\n");
        bench_start(&b, &conf);
        BENCH_OWN(&b, NULL, "192.0.2.10");
        (void)bench_until_answered(&b, b0, "192.0.2.10");
        bench_until(&b, one_link, &one, "one interface is left");
        ck_assert_str_eq(b.links[0].name, "a0");
        write_file(path, "announcedInterfacesToExclude: []\n");
        bench_until(&b, one_link, &two, "the change is seen");
        write_file(path, "announcedInterfacesToExclude: ['(']\n");
        bench_until(&b, warned, NULL, "a broken file is told");
        ck_assert_msg(
                strstr(b.words, path) && strstr(b.words, "announcedInterfacesToExclude[0]"), "%s", b.words);
        ck_assert_uint_eq(b.n_links, 2);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(rmdir(dir), 0);
        bench_stop(&b);
}
END_TEST

START_TEST(broken_exclusion_file_at_start)
{
        char dir[] = "/tmp/check_wire.XXXXXX", path[64];
        struct wire_conf conf = { .exclude_file = path };
        struct wire *w = NULL;
        struct err e = { "" };
        uv_loop_t loop;

        ck_assert_ptr_nonnull(mkdtemp(dir));
        (void)snprintf(path, sizeof(path), "%s/excludel2.yaml", dir);
        write_file(path, "announcedInterfacesToExclude: yes please\n");
        ck_assert_int_eq(uv_loop_init(&loop), 0);
        ck_assert_int_eq(wire_new(&w, &loop, &conf, &e), ERR_MALFORMED);
        ck_assert_msg(strncmp(e.text, path, strlen(path)) == 0, "%s", e.text);
        ck_assert_ptr_null(w);
        ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
        ck_assert_int_eq(uv_loop_close(&loop), 0);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("wire");
        TCase *tc = tcase_create("answers");

        tcase_set_timeout(tc, 60);
        tcase_add_test(tc, answers_what_it_owns);
        tcase_add_loop_test(tc, stays_silent, 0, (int)ARRAY_LEN(silent_cases));
        tcase_add_loop_test(tc, reports_conflict, 0, 2);
        tcase_add_loop_test(tc, defends_and_is_reachable, 0, 2);
        tcase_add_test(tc, announces_at_once);
        tcase_add_loop_test(tc, vlan_tags, 0, 2);
        tcase_add_test(tc, interface_filter);
        tcase_add_test(tc, no_address_no_socket);
        tcase_add_test(tc, one_sender_cannot_have_it_all);
        suite_add_tcase(s, tc);
        tc = tcase_create("life");
        tcase_set_timeout(tc, 90);
        tcase_add_test(tc, without_net_raw);
        tcase_add_test(tc, without_interfaces);
        tcase_add_test(tc, close_at_every_step);
        tcase_add_test(tc, no_memory);
        tcase_add_test(tc, exclusion_file);
        tcase_add_test(tc, broken_exclusion_file_at_start);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
