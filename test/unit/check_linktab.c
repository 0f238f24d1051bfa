/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "speaker/linktab.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define UP (IFF_UP | IFF_RUNNING | IFF_BROADCAST | IFF_MULTICAST)

/* Messages as the kernel lays them out. */
struct nl {
        _Alignas(4) uint8_t b[4096];
        size_t len, message, nest;
};

static void begin(struct nl *n, uint16_t type, uint16_t flags, const void *body, size_t len)
{
        struct nlmsghdr h = { .nlmsg_type = type, .nlmsg_flags = flags };

        n->message = n->len;
        memcpy(n->b + n->len, &h, sizeof(h));
        memcpy(n->b + n->len + sizeof(h), body, len);
        n->len += sizeof(h) + NLMSG_ALIGN(len);
}

static void end(struct nl *n)
{
        uint32_t len = (uint32_t)(n->len - n->message);

        memcpy(n->b + n->message, &len, sizeof(len));
}

static void attr(struct nl *n, uint16_t type, const void *p, size_t len)
{
        struct rtattr a = { .rta_type = type, .rta_len = (uint16_t)(sizeof(a) + len) };

        memset(n->b + n->len, 0, RTA_ALIGN(a.rta_len));
        memcpy(n->b + n->len, &a, sizeof(a));
        memcpy(n->b + n->len + sizeof(a), p, len);
        n->len += RTA_ALIGN(a.rta_len);
}

static void text(struct nl *n, uint16_t type, const char *s)
{
        attr(n, type, s, strlen(s) + 1);
}

static void number(struct nl *n, uint16_t type, uint32_t v)
{
        attr(n, type, &v, sizeof(v));
}

static void open_nest(struct nl *n, uint16_t type)
{
        n->nest = n->len;
        attr(n, type | NLA_F_NESTED, "", 0);
}

static void close_nest(struct nl *n)
{
        uint16_t len = (uint16_t)(n->len - n->nest);

        memcpy(n->b + n->nest, &len, sizeof(len));
}

struct iface {
        int index;
        const char *name;
        unsigned flags;
        uint8_t mac_last, mac_first;
        uint32_t master, parent, mtu;
        const char *kind, *slave_kind;
        bool parent_elsewhere;
        uint8_t family;
        uint16_t type;
};

static void put_link(struct nl *n, uint16_t message, struct iface f)
{
        struct ifinfomsg body = { .ifi_family = f.family,
                .ifi_index = f.index,
                .ifi_flags = f.flags,
                .ifi_type = f.type ? f.type : ARPHRD_ETHER };
        uint8_t mac[6] = { f.mac_first ? f.mac_first : 2, 0, 0, 0, 0,
                f.mac_last ? f.mac_last : (uint8_t)f.index };

        begin(n, message, 0, &body, sizeof(body));
        text(n, IFLA_IFNAME, f.name);
        attr(n, IFLA_ADDRESS, mac, sizeof(mac));
        number(n, IFLA_MTU, f.mtu ? f.mtu : 1500);
        if (f.master)
                number(n, IFLA_MASTER, f.master);
        if (f.parent)
                number(n, IFLA_LINK, f.parent);
        if (f.parent_elsewhere)
                number(n, IFLA_LINK_NETNSID, 0);
        if (f.kind || f.slave_kind) {
                open_nest(n, IFLA_LINKINFO);
                if (f.kind)
                        text(n, IFLA_INFO_KIND, f.kind);
                if (f.slave_kind)
                        text(n, IFLA_INFO_SLAVE_KIND, f.slave_kind);
                close_nest(n);
        }
        end(n);
}

static void put_addr(
        struct nl *n, uint16_t message, unsigned index, const char *local, const char *address, uint8_t len)
{
        struct ifaddrmsg body = { .ifa_index = index, .ifa_prefixlen = len };
        uint8_t b[16];
        size_t size = strchr(address, ':') ? 16 : 4;

        body.ifa_family = size == 16 ? AF_INET6 : AF_INET;
        begin(n, message, 0, &body, sizeof(body));
        ck_assert_int_eq(inet_pton(body.ifa_family, address, b), 1);
        attr(n, IFA_ADDRESS, b, size);
        if (local) {
                ck_assert_int_eq(inet_pton(body.ifa_family, local, b), 1);
                attr(n, IFA_LOCAL, b, size);
        }
        end(n);
}

static void put_done(struct nl *n, uint16_t type, uint16_t flags, int code)
{
        begin(n, type, flags, &code, sizeof(code));
        end(n);
}

static struct linktab *table(void)
{
        struct linktab *t = NULL;

        ck_assert_int_eq(linktab_new(&t), 0);
        return t;
}

static struct linktab_news feed(struct linktab *t, struct nl *n)
{
        struct linktab_news news;

        ck_assert_int_eq(linktab_feed(t, n->b, n->len, &news), 0);
        n->len = 0;
        return news;
}

static struct ip ip_of(const char *s)
{
        struct ip ip;

        ck_assert_int_eq(ip_parse(&ip, s), 0);
        return ip;
}

START_TEST(interfaces_come_change_and_go)
{
        struct linktab *t = table();
        struct nl n = { .len = 0 };

        put_link(&n, RTM_NEWLINK, (struct iface){ .index = 5, .name = "eth1", .flags = UP });
        put_link(&n, RTM_NEWLINK, (struct iface){ .index = 2, .name = "eth0", .flags = UP });
        ck_assert(feed(t, &n).changed);
        ck_assert_uint_eq(linktab_count(t), 2);
        ck_assert_str_eq(linktab_at(t, 0)->name, "eth0");
        ck_assert_str_eq(linktab_at(t, 1)->name, "eth1");
        ck_assert(link_speaks(linktab_find(t, 2)) && link_is_up(linktab_find(t, 2)) &&
                link_is_running(linktab_find(t, 2)));
        ck_assert_ptr_null(linktab_find(t, 3));
        ck_assert_ptr_eq(linktab_by_mac(t, (const uint8_t[]){ 2, 0, 0, 0, 0, 5 }), linktab_at(t, 1));
        ck_assert_ptr_null(linktab_by_mac(t, (const uint8_t[]){ 2, 0, 0, 0, 0, 6 }));

        put_link(&n, RTM_NEWLINK, (struct iface){ .index = 2, .name = "eth0", .flags = UP });
        ck_assert_msg(!feed(t, &n).changed, "nothing differs");
        put_link(&n, RTM_NEWLINK, (struct iface){ .index = 2, .name = "lan", .flags = UP });
        ck_assert(feed(t, &n).changed);
        ck_assert_str_eq(linktab_find(t, 2)->name, "lan");
        put_link(&n, RTM_NEWLINK, (struct iface){ .index = 2, .name = "lan", .flags = UP, .mac_last = 9 });
        ck_assert(feed(t, &n).changed);
        ck_assert_int_eq(linktab_find(t, 2)->mac[5], 9);
        put_link(&n, RTM_NEWLINK,
                (struct iface){ .index = 2, .name = "lan", .flags = IFF_UP | IFF_BROADCAST, .mac_last = 9 });
        ck_assert(feed(t, &n).changed);
        ck_assert(link_is_up(linktab_find(t, 2)) && !link_is_running(linktab_find(t, 2)));
        put_link(&n, RTM_NEWLINK,
                (struct iface){ .index = 2, .name = "lan", .flags = UP, .mac_last = 9, .mtu = 1000 });
        ck_assert(feed(t, &n).changed);
        ck_assert_uint_eq(linktab_find(t, 2)->mtu, 1000);
        put_link(&n, RTM_DELLINK, (struct iface){ .index = 2, .name = "lan" });
        put_link(&n, RTM_DELLINK, (struct iface){ .index = 77, .name = "unknown" });
        ck_assert(feed(t, &n).changed);
        ck_assert_uint_eq(linktab_count(t), 1);
        ck_assert_ptr_null(linktab_find(t, 2));
        (void)linktab_free(t);
}
END_TEST

static const struct {
        const char *name;
        struct iface f;
        bool speaks, in_vrf;
        unsigned parent;
} speak_cases[] = {
        { "plain", { .flags = UP }, true, false, 0 },
        { "down speaks too, once it is up", { .flags = IFF_BROADCAST }, true, false, 0 },
        { "loopback", { .flags = UP | IFF_LOOPBACK, .type = ARPHRD_LOOPBACK }, false, false, 0 },
        { "no ARP (dummy, kube-ipvs0)", { .flags = UP | IFF_NOARP }, false, false, 0 },
        { "point to point", { .flags = IFF_UP | IFF_POINTOPOINT }, false, false, 0 },
        { "tunnel", { .flags = UP, .type = ARPHRD_TUNNEL }, false, false, 0 },
        { "group MAC", { .flags = UP, .mac_first = 3 }, false, false, 0 },
        { "bridge port", { .flags = UP, .master = 9, .slave_kind = "bridge" }, true, false, 0 },
        { "member of a VRF", { .flags = UP, .master = 9, .slave_kind = "vrf" }, true, true, 0 },
        { "VRF kind without a master", { .flags = UP, .slave_kind = "vrf" }, true, false, 0 },
        { "kind that starts like vrf", { .flags = UP, .master = 9, .slave_kind = "vrfx" }, true, false, 0 },
        { "macvlan", { .flags = UP, .kind = "macvlan", .parent = 2 }, true, false, 2 },
        { "macvlan whose parent is in another namespace",
                { .flags = UP, .kind = "macvlan", .parent = 2, .parent_elsewhere = true }, true, false, 0 },
        { "VLAN is another LAN than its parent", { .flags = UP, .kind = "vlan", .parent = 2 }, true, false,
                0 },
        { "veth", { .flags = UP, .kind = "veth", .parent = 2 }, true, false, 0 },
};

START_TEST(speaks)
{
        struct linktab *t = table();
        struct iface f = speak_cases[_i].f;
        struct nl n = { .len = 0 };
        const struct link *l;

        f.index = 4;
        f.name = "x0";
        put_link(&n, RTM_NEWLINK, f);
        ck_assert(feed(t, &n).changed);
        l = linktab_find(t, 4);
        ck_assert_msg(link_speaks(l) == speak_cases[_i].speaks, "%s", speak_cases[_i].name);
        ck_assert_msg(l->in_vrf == speak_cases[_i].in_vrf, "%s: VRF", speak_cases[_i].name);
        ck_assert_msg(l->parent == speak_cases[_i].parent, "%s: parent %u", speak_cases[_i].name, l->parent);
        ck_assert_uint_eq(l->master, f.master);
        (void)linktab_free(t);
}
END_TEST

START_TEST(addresses)
{
        struct linktab *t = table();
        struct nl n = { .len = 0 };
        struct ip a = ip_of("192.0.2.5"), in = ip_of("192.0.2.200"), out = ip_of("192.0.3.1"),
                  six = ip_of("fd00::5");
        struct ip six_in = ip_of("fd00::ffff"), peer = ip_of("10.0.0.9"), own = ip_of("10.0.0.1");

        put_link(&n, RTM_NEWLINK, (struct iface){ .index = 2, .name = "eth0", .flags = UP });
        put_addr(&n, RTM_NEWADDR, 2, "192.0.2.5", "192.0.2.5", 24);
        put_addr(&n, RTM_NEWADDR, 2, NULL, "fd00::5", 64);
        put_addr(&n, RTM_NEWADDR, 2, "10.0.0.1", "10.0.0.9", 32); /* a peer */
        put_addr(&n, RTM_NEWADDR, 99, "192.0.2.9", "192.0.2.9", 24);
        ck_assert(feed(t, &n).changed);
        ck_assert_uint_eq(linktab_find(t, 2)->n_addrs, 3);
        ck_assert(link_has_ip(linktab_find(t, 2), &a) && link_has_ip(linktab_find(t, 2), &six));
        ck_assert(link_has_ip(linktab_find(t, 2), &own) && !link_has_ip(linktab_find(t, 2), &peer));
        ck_assert(link_subnet_has(linktab_find(t, 2), &in) && link_subnet_has(linktab_find(t, 2), &six_in));
        ck_assert(link_subnet_has(linktab_find(t, 2), &peer) && !link_subnet_has(linktab_find(t, 2), &out));
        put_addr(&n, RTM_NEWADDR, 2, "192.0.2.5", "192.0.2.5", 24);
        ck_assert(!feed(t, &n).changed);
        put_addr(&n, RTM_DELADDR, 2, "192.0.2.5", "192.0.2.5", 25); /* another one */
        ck_assert(!feed(t, &n).changed);
        put_addr(&n, RTM_DELADDR, 2, "192.0.2.5", "192.0.2.5", 24);
        ck_assert(feed(t, &n).changed);
        ck_assert(!link_has_ip(linktab_find(t, 2), &a) && !link_subnet_has(linktab_find(t, 2), &in));
        ck_assert(link_has_ip(linktab_find(t, 2), &six));
        put_link(&n, RTM_NEWLINK, (struct iface){ .index = 2, .name = "eth9", .flags = UP }); /* they stay */
        (void)feed(t, &n);
        ck_assert(link_has_ip(linktab_find(t, 2), &six));
        (void)linktab_free(t);
}
END_TEST

/* IPVS keeps thousands of addresses on an interface that never speaks: they must cost nothing. */
START_TEST(addresses_only_where_somebody_speaks)
{
        struct linktab *t = table();
        struct nl n = { .len = 0 };
        struct ip ip = ip_of("192.0.2.5");

        put_link(
                &n, RTM_NEWLINK, (struct iface){ .index = 2, .name = "kube-ipvs0", .flags = UP | IFF_NOARP });
        put_addr(&n, RTM_NEWADDR, 2, "192.0.2.5", "192.0.2.5", 32);
        (void)feed(t, &n);
        ck_assert(!link_has_ip(linktab_find(t, 2), &ip));
        put_link(&n, RTM_NEWLINK, (struct iface){ .index = 2, .name = "kube-ipvs0", .flags = UP });
        ck_assert_msg(feed(t, &n).again, "it speaks now: its addresses have to be asked for");
        put_addr(&n, RTM_NEWADDR, 2, "192.0.2.5", "192.0.2.5", 32);
        (void)feed(t, &n);
        ck_assert(link_has_ip(linktab_find(t, 2), &ip));
        put_link(
                &n, RTM_NEWLINK, (struct iface){ .index = 2, .name = "kube-ipvs0", .flags = UP | IFF_NOARP });
        ck_assert(!feed(t, &n).again);
        ck_assert(!link_has_ip(linktab_find(t, 2), &ip));
        (void)linktab_free(t);
}
END_TEST

START_TEST(addresses_are_bounded)
{
        struct linktab *t = table();
        struct nl n = { .len = 0 };

        put_link(&n, RTM_NEWLINK, (struct iface){ .index = 2, .name = "eth0", .flags = UP });
        (void)feed(t, &n);
        for (unsigned i = 0; i < LINK_ADDRS_MAX + 50; i++) {
                char s[32];

                (void)snprintf(s, sizeof(s), "10.1.%u.%u", i / 250, i % 250 + 1);
                put_addr(&n, RTM_NEWADDR, 2, s, s, 32);
                (void)feed(t, &n);
        }
        ck_assert_uint_eq(linktab_find(t, 2)->n_addrs, LINK_ADDRS_MAX);
        put_addr(&n, RTM_DELADDR, 2, "10.1.0.1", "10.1.0.1", 32);
        ck_assert_msg(feed(t, &n).again, "one that was left out fits now");
        (void)linktab_free(t);
}
END_TEST

START_TEST(dump_sweeps)
{
        struct linktab *t = table();
        struct nl n = { .len = 0 };
        struct ip kept = ip_of("192.0.2.5"), gone = ip_of("192.0.2.6");

        for (int i = 2; i < 5; i++)
                put_link(&n, RTM_NEWLINK, (struct iface){ .index = i, .name = "ethX", .flags = UP });
        put_addr(&n, RTM_NEWADDR, 2, "192.0.2.5", "192.0.2.5", 24);
        put_addr(&n, RTM_NEWADDR, 2, "192.0.2.6", "192.0.2.6", 24);
        (void)feed(t, &n);
        linktab_mark(t);
        put_link(&n, RTM_NEWLINK, (struct iface){ .index = 2, .name = "ethX", .flags = UP });
        put_link(&n, RTM_NEWLINK, (struct iface){ .index = 4, .name = "eth4", .flags = UP });
        put_link(&n, RTM_NEWLINK,
                (struct iface){ .index = 7, .name = "eth7", .flags = UP }); /* a notification */
        put_addr(&n, RTM_NEWADDR, 2, "192.0.2.5", "192.0.2.5", 24);
        put_done(&n, NLMSG_DONE, NLM_F_MULTI, 0);
        ck_assert(feed(t, &n).done);
        ck_assert(linktab_sweep(t));
        ck_assert_uint_eq(linktab_count(t), 3);
        ck_assert_ptr_null(linktab_find(t, 3));
        ck_assert(link_has_ip(linktab_find(t, 2), &kept) && !link_has_ip(linktab_find(t, 2), &gone));
        ck_assert(!linktab_sweep(t));
        (void)linktab_free(t);
}
END_TEST

static const struct {
        const char *name;
        uint16_t type, flags;
        int code;
        struct linktab_news want;
} news_cases[] = {
        { "end of a dump", NLMSG_DONE, NLM_F_MULTI, 0, { .done = true } },
        { "dump that failed at its end", NLMSG_DONE, NLM_F_MULTI, -EBUSY, { .error = -EBUSY } },
        { "disturbed dump", NLMSG_DONE, NLM_F_MULTI | NLM_F_DUMP_INTR, 0, { .done = true, .again = true } },
        { "refusal", NLMSG_ERROR, 0, -EPERM, { .error = -EPERM } },
        { "acknowledgement", NLMSG_ERROR, 0, 0, { .done = false } },
        { "error that is none", NLMSG_ERROR, 0, 77, { .done = false } },
        { "overrun", NLMSG_OVERRUN, 0, 0, { .again = true } },
        { "other", RTM_NEWROUTE, 0, 0, { .done = false } },
};

START_TEST(tells_news)
{
        struct linktab *t = table();
        struct linktab_news got, want = news_cases[_i].want;
        struct nl n = { .len = 0 };

        put_done(&n, news_cases[_i].type, news_cases[_i].flags, news_cases[_i].code);
        got = feed(t, &n);
        ck_assert_msg(got.changed == want.changed && got.done == want.done && got.again == want.again &&
                        got.error == want.error,
                "%s", news_cases[_i].name);
        (void)linktab_free(t);
}
END_TEST

/* A bridge tells of its ports with the same message types and another family: a port that leaves is no interface gone. */
START_TEST(bridge_messages_are_ignored)
{
        struct linktab *t = table();
        struct nl n = { .len = 0 };

        put_link(&n, RTM_NEWLINK, (struct iface){ .index = 2, .name = "eth0", .flags = UP });
        (void)feed(t, &n);
        put_link(&n, RTM_DELLINK, (struct iface){ .index = 2, .name = "eth0", .family = AF_BRIDGE });
        put_link(&n, RTM_NEWLINK, (struct iface){ .index = 3, .name = "eth1", .family = AF_BRIDGE });
        ck_assert(!feed(t, &n).changed);
        ck_assert_uint_eq(linktab_count(t), 1);
        (void)linktab_free(t);
}
END_TEST

static size_t typical(struct nl *n)
{
        put_link(n, RTM_NEWLINK,
                (struct iface){ .index = 2,
                        .name = "eth0",
                        .flags = UP,
                        .master = 7,
                        .kind = "veth",
                        .slave_kind = "vrf" });
        put_addr(n, RTM_NEWADDR, 2, "192.0.2.5", "192.0.2.5", 24);
        put_done(n, NLMSG_DONE, NLM_F_MULTI, 0);
        return n->len;
}

/* Every length, and every byte set to every of a few nasty values: nothing is read behind the end (ASan looks). */
START_TEST(damaged_everywhere)
{
        static const uint8_t nasty[] = { 0, 1, 3, 4, 15, 16, 0x7f, 0xff };
        struct nl n = { .len = 0 };
        size_t len = typical(&n);

        for (size_t i = 0; i <= len; i++) {
                for (size_t k = 0; k < ARRAY_LEN(nasty); k++) {
                        struct linktab *t = table();
                        uint8_t *exact = malloc(len), *shorter = malloc(i ? i : 1);
                        struct linktab_news news;

                        ck_assert(exact && shorter);
                        memcpy(shorter, n.b, i);
                        ck_assert_int_eq(linktab_feed(t, shorter, i, &news), 0);
                        memcpy(exact, n.b, len);
                        if (i < len)
                                exact[i] = nasty[k];
                        ck_assert_int_eq(linktab_feed(t, exact, len, &news), 0);
                        free(exact);
                        free(shorter);
                        (void)linktab_free(t);
                }
        }
}
END_TEST

static const struct {
        const char *name, *interface;
        bool taken;
} name_cases[] = {
        { "longest", "abcdefghijklmno", true },
        { "too long", "abcdefghijklmnop", false },
        { "empty", "", false },
};

START_TEST(names)
{
        struct linktab *t = table();
        struct nl n = { .len = 0 };

        put_link(
                &n, RTM_NEWLINK, (struct iface){ .index = 2, .name = name_cases[_i].interface, .flags = UP });
        ck_assert_msg(feed(t, &n).changed == name_cases[_i].taken, "%s", name_cases[_i].name);
        if (name_cases[_i].taken)
                ck_assert_str_eq(linktab_find(t, 2)->name, name_cases[_i].interface);
        (void)linktab_free(t);
}
END_TEST

START_TEST(no_memory)
{
        struct nl n = { .len = 0 };

        for (int i = 1; i < 40; i++)
                put_link(&n, RTM_NEWLINK, (struct iface){ .index = i, .name = "eth0", .flags = UP });
        put_addr(&n, RTM_NEWADDR, 2, "192.0.2.5", "192.0.2.5", 24);
        for (unsigned k = 0;; k++) {
                struct linktab *t = NULL;
                struct linktab_news news;
                bool hit;
                int r;

                fault_arm(k);
                r = linktab_new(&t);
                if (r == 0)
                        r = linktab_feed(t, n.b, n.len, &news);
                hit = fault_disarm();
                ck_assert_int_eq(r, hit ? -ENOMEM : 0);
                if (t && hit) { /* what was missed comes with the next dump */
                        ck_assert_int_eq(linktab_feed(t, n.b, n.len, &news), 0);
                        ck_assert_uint_eq(linktab_count(t), 39);
                        ck_assert_uint_eq(linktab_find(t, 2)->n_addrs, 1);
                }
                (void)linktab_free(t);
                if (!hit)
                        break;
        }
}
END_TEST

int main(void)
{
        Suite *s = suite_create("linktab");
        TCase *tc = tcase_create("table");

        tcase_set_timeout(tc, 60);
        tcase_add_loop_test(tc, speaks, 0, (int)ARRAY_LEN(speak_cases));
        tcase_add_loop_test(tc, tells_news, 0, (int)ARRAY_LEN(news_cases));
        tcase_add_loop_test(tc, names, 0, (int)ARRAY_LEN(name_cases));
        tcase_add_test(tc, interfaces_come_change_and_go);
        tcase_add_test(tc, addresses);
        tcase_add_test(tc, addresses_only_where_somebody_speaks);
        tcase_add_test(tc, addresses_are_bounded);
        tcase_add_test(tc, dump_sweeps);
        tcase_add_test(tc, bridge_messages_are_ignored);
        tcase_add_test(tc, damaged_everywhere);
        tcase_add_test(tc, no_memory);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
