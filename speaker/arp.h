/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* arp - Ethernet frames with ARP for IPv4 inside (RFC 826, RFC 5227): parse, judge, build. Pure. */
#include "speaker/eth.h"
#include "speaker/heard.h"

#define ARP_FRAME_LEN ETH_FRAME_MIN /* every frame we send: 42 bytes and zeros up to the Ethernet minimum */

enum { ARP_REQUEST = 1, ARP_REPLY = 2 };

struct arp_msg { /* no padding inside: may be compared with memcmp */
        uint8_t eth_dst[6], eth_src[6];
        uint16_t op; /* host order; any value parses */
        uint8_t sha[6], spa[4]; /* sender: hardware, protocol address */
        uint8_t tha[6], tpa[4]; /* target */
};

/* Untagged Ethernet frame of @len bytes. 0, or ERR_MALFORMED: shorter than an ARP for IPv4 over Ethernet, or
 * hardware type, protocol type or one of the lengths differs (RFC 826 "Packet Reception"). Trailing bytes (padding) are
 * ignored. */
int arp_parse(struct arp_msg *ret, const uint8_t *frame, size_t len) MUST_CHECK;
void arp_build(uint8_t out[static ARP_FRAME_LEN], const struct arp_msg *m);

/* Parses and judges a frame received on an interface with address @mac. HEARD_OK fills *ret, else it is untouched.
 *   - a request asks for its target address, if it was sent to everybody or to us;
 *   - any frame with a sender protocol address claims that address (RFC 5227 section 2.4);
 *   - a sender protocol address of zero is a probe (RFC 5227 section 2.1.1): asks, claims nothing;
 *   - a sender protocol address that no host can have (multicast, broadcast, 127.x) is malformed. */
enum heard_verdict arp_hear(struct heard *ret, const uint8_t *frame, size_t len, const uint8_t mac[static 6]);

/* The answer to a question heard: "h->ask is at @mac", to the asker alone. */
void arp_answer(uint8_t out[static ARP_FRAME_LEN], const struct heard *h, const uint8_t mac[static 6]);
/* One unsolicited frame to everybody: sender and target protocol address are @ip (RFC 5227 section 3), the target
 * hardware address is broadcast, as MetalLB sends it. @op: both forms exist, some hosts and switches learn from one only. */
void arp_announce(
        uint8_t out[static ARP_FRAME_LEN], const struct ip *ip, const uint8_t mac[static 6], uint16_t op);
