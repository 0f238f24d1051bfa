/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. */
#include "speaker/ndp.h"

#define IP6       ETH_HEADER /* offsets into the frame */
#define ICMP6     (IP6 + 40)
#define OPTIONS   (ICMP6 + 24)
#define NDP_FIXED 24 /* type, code, checksum, flags, target */
#define NEXT_ICMP 58
#define HOPS      255

enum { OPT_SOURCE = 1, OPT_TARGET = 2 };

static const uint8_t all_nodes[16] = { 0xff, 0x02, [15] = 1 };
static const uint8_t all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
static const uint8_t group_prefix[13] = { 0xff, 0x02, [11] = 1, [12] = 0xff };
static const uint8_t unspecified[16];

/* RFC 1071 over the pseudo-header of RFC 8200 section 8.1 and @len bytes of ICMPv6; 0 when a stored sum is right. */
static uint16_t checksum(const uint8_t *ip6, const uint8_t *icmp, size_t len)
{
        uint32_t sum = (uint32_t)len + NEXT_ICMP;

        for (size_t i = 8; i < 40; i += 2)
                sum += get_be16(ip6 + i);
        for (size_t i = 0; i + 1 < len; i += 2)
                sum += get_be16(icmp + i);
        if (len & 1)
                sum += (uint32_t)icmp[len - 1] << 8;
        while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
        return (uint16_t)~sum;
}

/* Options tile their space exactly; the one of @want, if there, gives the link-layer address. */
static bool options_parse(struct ndp_msg *m, const uint8_t *p, size_t left, uint8_t want)
{
        while (left > 0) {
                size_t len = left >= 2 ? (size_t)p[1] * 8 : 0;

                if (len == 0 || len > left)
                        return false;
                if (p[0] == want) {
                        if (len != 8)
                                return false;
                        m->has_lladdr = true;
                        memcpy(m->lladdr, p + 2, 6);
                }
                p += len;
                left -= len;
        }
        return true;
}

/* RFC 4861 section 7.1.1 and 7.1.2, the rules that need more than one field. */
static bool rules_hold(const struct ndp_msg *m)
{
        if (m->target[0] == 0xff || m->src[0] == 0xff)
                return false;
        if (m->type == NDP_ADVERT)
                return !(m->dst[0] == 0xff && (m->flags & NDP_SOLICITED));
        if (memcmp(m->src, unspecified, 16) != 0)
                return true;
        return memcmp(m->dst, group_prefix, sizeof(group_prefix)) == 0 && !m->has_lladdr;
}

int ndp_parse(struct ndp_msg *ret, const uint8_t *frame, size_t len)
{
        struct ndp_msg m = { .type = 0 };
        const uint8_t *ip6 = frame + IP6, *icmp = frame + ICMP6;
        size_t payload;

        if (len < OPTIONS || get_be16(frame + 12) != ETH_IPV6 || ip6[0] >> 4 != 6)
                return ERR_MALFORMED;
        payload = get_be16(ip6 + 4);
        if (payload < NDP_FIXED || payload > len - ICMP6 || ip6[6] != NEXT_ICMP || ip6[7] != HOPS)
                return ERR_MALFORMED;
        if ((icmp[0] != NDP_SOLICIT && icmp[0] != NDP_ADVERT) || icmp[1] != 0 ||
                checksum(ip6, icmp, payload) != 0)
                return ERR_MALFORMED;
        memcpy(m.eth_dst, frame, 6);
        memcpy(m.eth_src, frame + 6, 6);
        memcpy(m.src, ip6 + 8, 16);
        memcpy(m.dst, ip6 + 24, 16);
        m.type = icmp[0];
        if (m.type == NDP_ADVERT)
                m.flags = icmp[4] & (NDP_ROUTER | NDP_SOLICITED | NDP_OVERRIDE);
        memcpy(m.target, icmp + 8, 16);
        if (!options_parse(&m, frame + OPTIONS, payload - NDP_FIXED,
                    m.type == NDP_SOLICIT ? OPT_SOURCE : OPT_TARGET))
                return ERR_MALFORMED;
        if (!rules_hold(&m))
                return ERR_MALFORMED;
        *ret = m;
        return 0;
}

size_t ndp_build(uint8_t out[static NDP_FRAME_LEN], const struct ndp_msg *m)
{
        size_t payload = m->has_lladdr ? NDP_FIXED + 8 : NDP_FIXED;
        uint8_t *ip6 = out + IP6, *icmp = out + ICMP6;

        memset(out, 0, NDP_FRAME_LEN);
        eth_build(out, m->eth_dst, m->eth_src, ETH_IPV6);
        ip6[0] = 6 << 4;
        put_be16(ip6 + 4, (uint16_t)payload);
        ip6[6] = NEXT_ICMP;
        ip6[7] = HOPS;
        memcpy(ip6 + 8, m->src, 16);
        memcpy(ip6 + 24, m->dst, 16);
        icmp[0] = m->type;
        icmp[4] = m->flags;
        memcpy(icmp + 8, m->target, 16);
        if (m->has_lladdr) {
                out[OPTIONS] = m->type == NDP_SOLICIT ? OPT_SOURCE : OPT_TARGET;
                out[OPTIONS + 1] = 1;
                memcpy(out + OPTIONS + 2, m->lladdr, 6);
        }
        put_be16(icmp + 2, checksum(ip6, icmp, payload));
        return ICMP6 + payload;
}

static struct ip from_bytes(const uint8_t b[static 16])
{
        struct ip ip = { .family = IP_V6 };

        memcpy(ip.b, b, 16);
        return ip;
}

enum heard_verdict ndp_hear(struct heard *ret, const uint8_t *frame, size_t len, const uint8_t mac[static 6])
{
        struct heard h = { .ask.family = IP_NONE };
        struct ndp_msg m;
        bool probe;

        if (ndp_parse(&m, frame, len) < 0)
                return HEARD_MALFORMED;
        probe = memcmp(m.src, unspecified, 16) == 0;
        memcpy(h.sender_mac, m.has_lladdr ? m.lladdr : m.eth_src, 6);
        memcpy(h.eth_src, m.eth_src, 6);
        if (!mac_is_host(h.sender_mac) || mac_equal(h.sender_mac, mac) || mac_equal(m.eth_src, mac))
                return HEARD_BAD_SENDER;
        if (!(m.eth_dst[0] & 1) && !mac_equal(m.eth_dst, mac))
                return HEARD_NOT_FOR_US;
        if (m.type == NDP_SOLICIT)
                h.ask = from_bytes(m.target);
        if (m.type == NDP_ADVERT)
                h.claim = from_bytes(m.target);
        else if (!probe)
                h.claim = h.sender = from_bytes(m.src);
        *ret = h;
        return HEARD_OK;
}

static void advertise(uint8_t *out, const struct ip *ip, const uint8_t *mac, const struct heard *to)
{
        struct ndp_msg m = { .type = NDP_ADVERT, .flags = NDP_OVERRIDE, .has_lladdr = true };

        if (to && to->sender.family != IP_NONE) {
                m.flags |= NDP_SOLICITED;
                memcpy(m.eth_dst, to->sender_mac, 6);
                memcpy(m.dst, to->sender.b, 16);
        } else {
                memcpy(m.eth_dst, all_nodes_mac, 6);
                memcpy(m.dst, all_nodes, 16);
        }
        memcpy(m.eth_src, mac, 6);
        memcpy(m.src, ip->b, 16);
        memcpy(m.target, ip->b, 16);
        memcpy(m.lladdr, mac, 6);
        (void)ndp_build(out, &m); /* always NDP_FRAME_LEN: there is an option */
}

void ndp_answer(uint8_t out[static NDP_FRAME_LEN], const struct heard *h, const uint8_t mac[static 6])
{
        advertise(out, &h->ask, mac, h);
}

void ndp_announce(uint8_t out[static NDP_FRAME_LEN], const struct ip *ip, const uint8_t mac[static 6])
{
        advertise(out, ip, mac, NULL);
}

struct ip ndp_group(const struct ip *ip)
{
        struct ip group = { .family = IP_V6 };

        memcpy(group.b, group_prefix, sizeof(group_prefix));
        memcpy(group.b + 13, ip->b + 13, 3);
        return group;
}
