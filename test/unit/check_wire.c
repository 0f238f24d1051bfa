/* SPDX-License-Identifier: Apache-2.0 */
/* The wire thread on a real LAN: see test/lib/lan.h. The prober is a raw socket in the other namespace. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "speaker/arp.h"
#include "speaker/ndp.h"
#include "speaker/wire.h"
#include "test/lib/lan.h"
#include "test/lib/unit.h"

#define WAIT_MS 15000 /* a safety limit; everything waited for takes milliseconds */

struct bench {
        uv_loop_t loop;
        struct wire *wire;
        struct metrics *reg;
        int b0;
        unsigned n_closed, n_conflicts, n_warnings, n_links;
        struct wire_link links[8];
        struct ip conflict;
        char words[256];
};

static const uint8_t prober[6] = { 2, 0xff, 0, 0, 0, 1 };

static void on_event(void *ctx, const struct wire_event *ev)
{
        struct bench *b = ctx;

        switch (ev->type) {
        case WIRE_LINKS:
                ck_assert_uint_le(ev->n_links, ARRAY_LEN(b->links));
                memcpy(b->links, ev->links, ev->n_links * sizeof(*ev->links));
                b->n_links = (unsigned)ev->n_links;
                break;
        case WIRE_CONFLICT:
                b->n_conflicts++;
                b->conflict = ev->ip;
                break;
        case WIRE_WARNING:
                b->n_warnings++;
                (void)snprintf(b->words, sizeof(b->words), "%s", ev->words);
                break;
        }
}

static void start(struct bench *b, const char *exclude_file)
{
        struct wire_conf conf = { .exclude_file = exclude_file, .on_event = on_event, .ctx = b };
        struct err e = { "" };

        ck_assert_int_eq(uv_loop_init(&b->loop), 0);
        ck_assert_int_eq(metrics_new(&b->reg), 0);
        conf.reg = b->reg;
        ck_assert_msg(wire_new(&b->wire, &b->loop, &conf, &e) == 0, "%s", e.text);
}

static void on_closed(void *ctx)
{
        struct bench *b = ctx;

        b->n_closed++;
}

static void stop(struct bench *b)
{
        wire_close(b->wire, on_closed, b);
        ck_assert_int_eq(uv_run(&b->loop, UV_RUN_DEFAULT), 0);
        ck_assert_uint_eq(b->n_closed, 1);
        ck_assert_int_eq(uv_loop_close(&b->loop), 0);
        b->reg = metrics_free(b->reg);
}

static struct ip ip_of(const char *text)
{
        struct ip ip;

        ck_assert_int_eq(ip_parse(&ip, text), 0);
        return ip;
}

static void own(struct bench *b, const char *const *texts, const char *interface)
{
        struct desired *d = NULL;

        ck_assert_int_eq(desired_new(&d, 4), 0);
        for (; *texts; texts++) {
                struct ip ip = ip_of(*texts);

                ck_assert_int_eq(desired_add(d, &ip, &interface, interface ? 1 : 0), 0);
        }
        desired_seal(d);
        wire_post(b->wire, d);
}
#define OWN(b, interface, ...) own((b), (const char *const[]){ __VA_ARGS__, NULL }, (interface))

static uint64_t now_ms(void)
{
        return uv_hrtime() / 1000000;
}

static void turn(struct bench *b)
{
        (void)uv_run(&b->loop, UV_RUN_NOWAIT);
        (void)usleep(500);
}

static void ask(int fd, const char *vip, const char *sender)
{
        struct arp_msg m = { .op = ARP_REQUEST };
        struct ip target = ip_of(vip), from = ip_of(sender);
        uint8_t frame[ARP_FRAME_LEN];

        memset(m.eth_dst, 0xff, 6);
        memcpy(m.eth_src, prober, 6);
        memcpy(m.sha, prober, 6);
        memcpy(m.spa, from.b, 4);
        memcpy(m.tpa, target.b, 4);
        arp_build(frame, &m);
        lan_send(fd, frame, sizeof(frame));
}

/* An answer to the prober for @vip. */
static bool answered(int fd, const char *vip, uint8_t mac[static 6])
{
        struct ip want = ip_of(vip);
        uint8_t frame[2048];
        struct arp_msg m;
        size_t len;

        while ((len = lan_receive(fd, frame)) > 0) {
                if (arp_parse(&m, frame, len) == 0 && m.op == ARP_REPLY && mac_equal(m.eth_dst, prober) &&
                        memcmp(m.spa, want.b, 4) == 0) {
                        memcpy(mac, m.sha, 6);
                        return true;
                }
        }
        return false;
}

/* Asks again and again until an answer comes. */
static void until_answered(struct bench *b, int fd, const char *vip, uint8_t mac[static 6])
{
        for (uint64_t end = now_ms() + WAIT_MS; now_ms() < end;) {
                ask(fd, vip, "192.0.2.77");
                for (unsigned i = 0; i < 20; i++) {
                        turn(b);
                        if (answered(fd, vip, mac))
                                return;
                }
        }
        ck_abort_msg("%s is not answered", vip);
}

START_TEST(owned_is_answered)
{
        struct bench b = { .n_closed = 0 };
        uint8_t mac[6];

        if (!lan_new())
                return;
        lan_veth("a0", "b0", 0);
        b.b0 = lan_socket("b0", true);
        start(&b, NULL);
        OWN(&b, NULL, "192.0.2.10", "192.0.2.11");
        until_answered(&b, b.b0, "192.0.2.10", mac);
        ck_assert_mem_eq(mac, "\x02\0\0\0\0\x0a", 6);
        until_answered(&b, b.b0, "192.0.2.11", mac);
        stop(&b);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("wire");
        TCase *tc = tcase_create("lan");

        tcase_set_timeout(tc, 60);
        tcase_add_test(tc, owned_is_answered);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
