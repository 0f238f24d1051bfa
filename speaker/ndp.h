/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* ndp - Ethernet frames with IPv6 neighbour discovery inside (RFC 4861, RFC 4862): parse, judge, build. Pure.
 *
 * What we send:
 *   - to a solicitation: an advertisement to the asker, Router 0, Solicited 1, Override 1. Override is set since the
 *     address is ours, neither anycast nor proxied (RFC 4861 section 7.2.4); MetalLB leaves it off, which makes a client
 *     keep a dead node's MAC until its own probes fail.
 *   - to a duplicate address probe (source ::): to all nodes, Solicited 0 (section 7.2.4), Override 1.
 *   - unsolicited: to all nodes, Solicited 0, Override 1 (section 7.2.6). Routers are among all nodes, and those that
 *     follow RFC 9131 make an entry from it before the first packet arrives.
 * The source is the announced address itself, as a kernel that owned it would choose: it needs no link-local address on
 * the interface, and tools that look only for an answer from the target (ndisc6) find it. */
#include "speaker/eth.h"
#include "speaker/heard.h"

#define NDP_FRAME_LEN 86 /* every frame we send: an advertisement with one option */
#define NDP_SEEN_MAX  512 /* a longer solicitation is not looked at: its options cannot concern us */

enum { NDP_SOLICIT = 135, NDP_ADVERT = 136 };
enum { NDP_ROUTER = 0x80, NDP_SOLICITED = 0x40, NDP_OVERRIDE = 0x20 };

struct ndp_msg {
        uint8_t eth_dst[6], eth_src[6];
        uint8_t src[16], dst[16];
        uint8_t type; /* NDP_SOLICIT or NDP_ADVERT */
        uint8_t flags; /* of an advertisement, else 0 */
        uint8_t target[16];
        bool has_lladdr; /* the source (solicitation) or target (advertisement) link-layer address option */
        uint8_t lladdr[6];
};

/* Untagged Ethernet frame of @len bytes. 0, or ERR_MALFORMED: no neighbour solicitation or advertisement, or one that
 * RFC 4861 section 7.1 says MUST be discarded: hop limit not 255, wrong checksum, code not 0, too short, multicast
 * target, an option of length zero or past the end; a probe (source ::) not to a solicited-node group or with a source
 * link-layer address; Solicited set in an advertisement to a group. Also: extension headers (fragments among them, RFC
 * 6980), a multicast source, a link-layer address option that does not hold a MAC address. */
int ndp_parse(struct ndp_msg *ret, const uint8_t *frame, size_t len) MUST_CHECK;
/* With the checksum. @m as ndp_parse() would give it. Returns the frame's length, at most NDP_FRAME_LEN. */
size_t ndp_build(uint8_t out[static NDP_FRAME_LEN], const struct ndp_msg *m);

/* Parses and judges a frame received on an interface with address @mac. HEARD_OK fills *ret, else it is untouched.
 *   - a solicitation asks for its target; its source, unless ::, is claimed by the sender;
 *   - an advertisement claims its target;
 *   - sent to another host's MAC: not for us. Unicast ones (reachability probes) do count. */
enum heard_verdict ndp_hear(struct heard *ret, const uint8_t *frame, size_t len, const uint8_t mac[static 6]);

/* Both fill NDP_FRAME_LEN bytes. */
void ndp_answer(uint8_t out[static NDP_FRAME_LEN], const struct heard *h, const uint8_t mac[static 6]);
void ndp_announce(uint8_t out[static NDP_FRAME_LEN], const struct ip *ip, const uint8_t mac[static 6]);

/* The solicited-node group of @ip: ff02::1:ffXX:XXXX with its low 24 bits (RFC 4291 section 2.7.1). */
struct ip ndp_group(const struct ip *ip);
