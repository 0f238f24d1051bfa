/* SPDX-License-Identifier: Apache-2.0 */
#include "test/lib/wirebench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "speaker/arp.h"
#include "speaker/ndp.h"
#include "test/lib/unit.h"

const uint8_t bench_prober[6] = { 2, 0xff, 0, 0, 0, 1 };

static void on_event(void *ctx, const struct wire_event *ev)
{
        struct bench *b = ctx;

        switch (ev->type) {
        case WIRE_LINKS:
                b->n_links = MIN(ev->n_links, ARRAY_LEN(b->links));
                if (b->n_links > 0)
                        memcpy(b->links, ev->links, b->n_links * sizeof(*ev->links));
                b->n_link_events++;
                break;
        case WIRE_CONFLICT:
                b->n_conflicts++;
                b->conflict = ev->ip;
                memcpy(b->conflict_mac, ev->mac, sizeof(b->conflict_mac));
                break;
        case WIRE_WARNING:
                b->n_warnings++;
                (void)snprintf(b->words, sizeof(b->words), "%s", ev->words);
                break;
        }
}

void bench_start(struct bench *b, const struct wire_conf *conf)
{
        struct wire_conf c = { .node = "n1" };
        struct err e = { "" };

        memset(b, 0, sizeof(*b));
        if (conf)
                c = *conf;
        ck_assert_int_eq(uv_loop_init(&b->loop), 0);
        ck_assert_int_eq(metrics_new(&b->reg), 0);
        c.reg = b->reg;
        c.on_event = on_event;
        c.ctx = b;
        ck_assert_msg(wire_new(&b->wire, &b->loop, &c, &e) == 0, "%s", e.text);
}

static void on_closed(void *ctx)
{
        struct bench *b = ctx;

        b->n_closed++;
}

void bench_stop(struct bench *b)
{
        wire_close(b->wire, on_closed, b);
        ck_assert_uint_eq(b->n_closed, 0); /* never from within */
        ck_assert_int_eq(uv_run(&b->loop, UV_RUN_DEFAULT), 0);
        ck_assert_uint_eq(b->n_closed, 1);
        ck_assert_int_eq(uv_loop_close(&b->loop), 0);
        b->reg = metrics_free(b->reg);
}

static struct ip ip_of(const char *text)
{
        struct ip ip = { .family = IP_NONE };

        ck_assert_msg(ip_parse(&ip, text) == 0, "%s", text);
        return ip;
}

void bench_own(struct bench *b, const char *interface, const char *const *texts)
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

void bench_turn(struct bench *b)
{
        (void)uv_run(&b->loop, UV_RUN_NOWAIT);
        (void)usleep(300);
}

static uint64_t now_ms(void)
{
        return uv_hrtime() / 1000000;
}

void bench_until(
        struct bench *b, bool (*done)(struct bench *b, const void *arg), const void *arg, const char *what)
{
        for (uint64_t end = now_ms() + BENCH_WAIT_MS; now_ms() < end;) {
                if (done(b, arg))
                        return;
                bench_turn(b);
        }
        ck_abort_msg("this did not happen: %s", what);
}

static size_t solicit(uint8_t *out, const struct ip *vip, const char *sender)
{
        struct ndp_msg m = { .type = NDP_SOLICIT, .has_lladdr = sender != NULL };
        struct ip group = ndp_group(vip);

        memcpy(m.eth_dst, (const uint8_t[]){ 0x33, 0x33, 0xff, vip->b[13], vip->b[14], vip->b[15] }, 6);
        memcpy(m.eth_src, bench_prober, 6);
        if (sender)
                memcpy(m.src, ip_of(sender).b, 16);
        memcpy(m.dst, group.b, 16);
        memcpy(m.target, vip->b, 16);
        memcpy(m.lladdr, bench_prober, 6);
        return ndp_build(out, &m);
}

size_t bench_frame(uint8_t out[static 128], const char *vip_text, const char *sender)
{
        struct ip vip = ip_of(vip_text);
        struct arp_msg m = { .op = ARP_REQUEST };

        if (vip.family == IP_V6)
                return solicit(out, &vip, sender);
        memset(m.eth_dst, 0xff, 6);
        memcpy(m.eth_src, bench_prober, 6);
        memcpy(m.sha, bench_prober, 6);
        if (sender)
                memcpy(m.spa, ip_of(sender).b, 4);
        memcpy(m.tpa, vip.b, 4);
        arp_build(out, &m);
        return ARP_FRAME_LEN;
}

void bench_ask(int fd, const char *vip, const char *sender)
{
        uint8_t frame[128];

        lan_send(fd, frame, bench_frame(frame, vip, sender));
}

void bench_ask_at(int fd, const char *vip, const char *sender, const uint8_t mac[static 6])
{
        uint8_t frame[128];
        size_t len = bench_frame(frame, vip, sender);

        memcpy(frame, mac, 6);
        lan_send(fd, frame, len);
}

/* What a received frame says of @vip: 0 nothing, 1 it answers the prober, 2 it announces. @asker: only answers to that
 * address count; NULL: all do. */
static unsigned says(
        const uint8_t *frame, size_t len, const struct ip *vip, const struct ip *asker, uint8_t mac[static 6])
{
        struct arp_msg a;
        struct ndp_msg n;

        if (vip->family == IP_V4) {
                if (arp_parse(&a, frame, len) < 0 || memcmp(a.spa, vip->b, 4) != 0)
                        return 0;
                memcpy(mac, a.sha, 6);
                if (mac_is_broadcast(a.eth_dst) && memcmp(a.tpa, vip->b, 4) == 0)
                        return 2;
                if (asker && memcmp(a.tpa, asker->b, 4) != 0)
                        return 0;
                return a.op == ARP_REPLY && mac_equal(a.eth_dst, bench_prober) ? 1 : 0;
        }
        if (ndp_parse(&n, frame, len) < 0 || n.type != NDP_ADVERT || memcmp(n.target, vip->b, 16) != 0)
                return 0;
        memcpy(mac, n.lladdr, 6);
        if (n.dst[0] == 0xff)
                return 2;
        if (asker && memcmp(n.dst, asker->b, 16) != 0)
                return 0;
        return mac_equal(n.eth_dst, bench_prober) && (n.flags & NDP_SOLICITED) ? 1 : 0;
}

bool bench_answered(int fd, const char *vip, uint8_t mac[static 6])
{
        struct ip ip = ip_of(vip);
        uint8_t frame[2048];
        size_t len;

        while ((len = lan_receive(fd, frame)) > 0)
                if (says(frame, len, &ip, NULL, mac) == 1)
                        return true;
        return false;
}

unsigned bench_until_answered(struct bench *b, int fd, const char *vip)
{
        const char *sender = strchr(vip, ':') ? "fd00::77" : "192.0.2.77";
        uint8_t mac[6];

        for (uint64_t end = now_ms() + BENCH_WAIT_MS; now_ms() < end;) {
                bench_ask(fd, vip, sender);
                for (unsigned i = 0; i < 30; i++) {
                        bench_turn(b);
                        if (bench_answered(fd, vip, mac))
                                return (unsigned)mac[4] << 8 | mac[5];
                }
        }
        ck_abort_msg("%s is not answered", vip);
        return 0;
}

unsigned bench_answers_before(struct bench *b, int fd, const char *vip, const char *sentinel)
{
        const char *sender =
                strchr(vip, ':') ? "fd00::78" : "192.0.2.78"; /* tells late answers to others apart */
        struct ip ip = ip_of(vip), end_ip = ip_of(sentinel), asker = ip_of(sender);
        uint8_t frame[2048], mac[6];
        unsigned n = 0;
        size_t len;

        (void)bench_until_answered(b, fd, sentinel);
        bench_ask(fd, vip, sender);
        bench_ask(fd, sentinel, sender);
        for (uint64_t end = now_ms() + BENCH_WAIT_MS; now_ms() < end; bench_turn(b)) {
                while ((len = lan_receive(fd, frame)) > 0) {
                        if (says(frame, len, &end_ip, &asker, mac) == 1)
                                return n;
                        n += says(frame, len, &ip, &asker, mac) == 1;
                }
        }
        ck_abort_msg("%s is not answered any more", sentinel);
        return n;
}

void bench_until_announced(struct bench *b, int fd, const char *vip, unsigned mac_end)
{
        struct ip ip = ip_of(vip);
        uint8_t frame[2048], mac[6];
        size_t len;

        for (uint64_t end = now_ms() + BENCH_WAIT_MS; now_ms() < end; bench_turn(b))
                while ((len = lan_receive(fd, frame)) > 0)
                        if (says(frame, len, &ip, NULL, mac) == 2 &&
                                ((unsigned)mac[4] << 8 | mac[5]) == mac_end)
                                return;
        ck_abort_msg("%s is not announced from %04x", vip, mac_end);
}

double bench_metric(struct bench *b, const char *series)
{
        CLEANUP(buf_fini) struct buf page = BUF_INIT;
        const char *at;

        metrics_print(b->reg, &page);
        for (at = buf_str(&page); (at = strstr(at, series)); at++)
                if (at[-1] == '\n' && at[strlen(series)] == ' ')
                        return strtod(at + strlen(series), NULL);
        return -1;
}
