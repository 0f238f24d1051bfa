/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* linktab - the node's network interfaces, kept from rtnetlink messages. Pure: takes bytes, opens nothing.
 *
 * The kernel's messages are read with bounds like anybody's. A dump is folded in between linktab_mark() and
 * linktab_sweep(): what the dump did not mention is gone. */
#include "common/ip.h"

#define LINK_NAME_MAX  16 /* IFNAMSIZ */
#define LINK_ADDRS_MAX 256 /* kept for one interface; more are ignored */

struct link_addr {
        struct ip ip; /* the node's own */
        struct ip_prefix subnet; /* on a point-to-point interface: the peer's */
        bool stale;
};

struct link {
        unsigned index;
        char name[LINK_NAME_MAX];
        uint8_t mac[6]; /* zero when it has none of six bytes */
        unsigned flags; /* IFF_* */
        unsigned type; /* ARPHRD_* */
        unsigned mtu; /* 0: unknown */
        unsigned master; /* interface it is enslaved to (bridge, bond, team, VRF); 0: none */
        bool in_vrf; /* ... and that is a VRF: frames still arrive here, not at the master */
        unsigned parent; /* macvlan, ipvlan: the interface below, which is on the same LAN; 0: none here */
        struct link_addr *addrs; /* only for interfaces that link_speaks() */
        size_t n_addrs;
        bool stale;
};

/* Ethernet with a host's MAC, no loopback, broadcast-capable, ARP not switched off. */
bool link_speaks(const struct link *l);
bool link_is_up(const struct link *l); /* administratively */
bool link_is_running(const struct link *l); /* up, with carrier */
bool link_has_ip(const struct link *l, const struct ip *ip); /* the kernel itself answers for it here */
bool link_subnet_has(const struct link *l, const struct ip *ip);

struct linktab;

int linktab_new(struct linktab **ret) MUST_CHECK;
struct linktab *linktab_free(struct linktab *t);
DEFINE_CLEANUP(struct linktab, linktab_free);

struct linktab_news {
        bool changed; /* something in the table differs now */
        bool done; /* the end of a dump went by */
        bool again; /* the dump was inconsistent, or messages were lost: ask for another */
        int error; /* the kernel's answer to a request: -errno, 0 for none */
};

/* One datagram of rtnetlink messages. 0, or -ENOMEM (the table is whole, but a message was not taken: ask again).
 * Malformed messages are skipped. @news is always filled. */
int linktab_feed(struct linktab *t, const void *bytes, size_t len, struct linktab_news *news) MUST_CHECK;
void linktab_mark(struct linktab *t);
bool linktab_sweep(struct linktab *t); /* true: something was removed */

size_t linktab_count(const struct linktab *t);
const struct link *linktab_at(const struct linktab *t, size_t i); /* by ascending index */
const struct link *linktab_find(const struct linktab *t, unsigned index); /* NULL: none */
/* An interface with this MAC; NULL: none. */
const struct link *linktab_by_mac(const struct linktab *t, const uint8_t mac[static 6]);
