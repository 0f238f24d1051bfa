/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. */
#include "speaker/arp.h"

#define ARP_LEN 42 /* Ethernet header and the 28 bytes of ARP */

/* Hardware type Ethernet, protocol type IPv4, lengths 6 and 4: the only form we speak. */
static const uint8_t preamble[6] = { 0x00, 0x01, 0x08, 0x00, 6, 4 };

int arp_parse(struct arp_msg *ret, const uint8_t *frame, size_t len)
{
        if (len < ARP_LEN || get_be16(frame + 12) != ETH_ARP ||
                memcmp(frame + ETH_HEADER, preamble, sizeof(preamble)) != 0)
                return ERR_MALFORMED;
        memcpy(ret->eth_dst, frame, 6);
        memcpy(ret->eth_src, frame + 6, 6);
        ret->op = get_be16(frame + 20);
        memcpy(ret->sha, frame + 22, 6);
        memcpy(ret->spa, frame + 28, 4);
        memcpy(ret->tha, frame + 32, 6);
        memcpy(ret->tpa, frame + 38, 4);
        return 0;
}

void arp_build(uint8_t out[static ARP_FRAME_LEN], const struct arp_msg *m)
{
        eth_build(out, m->eth_dst, m->eth_src, ETH_ARP);
        memcpy(out + ETH_HEADER, preamble, sizeof(preamble));
        put_be16(out + 20, m->op);
        memcpy(out + 22, m->sha, 6);
        memcpy(out + 28, m->spa, 4);
        memcpy(out + 32, m->tha, 6);
        memcpy(out + 38, m->tpa, 4);
        memset(out + ARP_LEN, 0, ARP_FRAME_LEN - ARP_LEN);
}

static struct ip from_bytes(const uint8_t b[static 4])
{
        struct ip ip = { .family = IP_V4 };

        memcpy(ip.b, b, 4);
        return ip;
}

enum heard_verdict arp_hear(struct heard *ret, const uint8_t *frame, size_t len, const uint8_t mac[static 6])
{
        struct heard h = { .ask.family = IP_NONE };
        struct arp_msg m;
        struct ip from;
        bool probe;

        if (arp_parse(&m, frame, len) < 0)
                return HEARD_MALFORMED;
        from = from_bytes(m.spa);
        probe = get_be32(m.spa) == 0;
        if (m.spa[0] == 127 || ip_is_multicast(&from))
                return HEARD_MALFORMED;
        if (!mac_is_host(m.sha) || mac_equal(m.sha, mac))
                return HEARD_BAD_SENDER;
        if (!mac_is_broadcast(m.eth_dst) && !mac_equal(m.eth_dst, mac))
                return HEARD_NOT_FOR_US;
        if (!probe)
                h.claim = h.sender = from;
        if (m.op == ARP_REQUEST)
                h.ask = from_bytes(m.tpa);
        if (m.op != ARP_REQUEST && (probe || m.op != ARP_REPLY))
                return HEARD_NOTHING;
        memcpy(h.sender_mac, m.sha, 6);
        memcpy(h.eth_src, m.eth_src, 6);
        *ret = h;
        return HEARD_OK;
}

void arp_answer(uint8_t out[static ARP_FRAME_LEN], const struct heard *h, const uint8_t mac[static 6])
{
        struct arp_msg m = { .op = ARP_REPLY };

        memcpy(m.eth_dst, h->sender_mac, 6);
        memcpy(m.eth_src, mac, 6);
        memcpy(m.sha, mac, 6);
        memcpy(m.spa, h->ask.b, 4);
        memcpy(m.tha, h->sender_mac, 6);
        memcpy(m.tpa, h->sender.b, 4); /* zeros for a probe */
        arp_build(out, &m);
}

void arp_announce(
        uint8_t out[static ARP_FRAME_LEN], const struct ip *ip, const uint8_t mac[static 6], uint16_t op)
{
        struct arp_msg m = { .op = op };

        memset(m.eth_dst, 0xff, 6);
        memcpy(m.eth_src, mac, 6);
        memcpy(m.sha, mac, 6);
        memcpy(m.spa, ip->b, 4);
        memset(m.tha, 0xff, 6);
        memcpy(m.tpa, ip->b, 4);
        arp_build(out, &m);
}
