/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* eth - Ethernet header fields and MAC addresses, as bytes. Pure. */
#include <string.h>

#include "common/base.h"

#define ETH_HEADER    14 /* destination, source, type */
#define ETH_FRAME_MIN 60 /* IEEE 802.3 minimum without the check sequence; shorter frames are padded */
#define ETH_ARP       0x0806
#define ETH_IPV6      0x86dd

static inline uint16_t get_be16(const uint8_t *p)
{
        return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
        return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

static inline void put_be16(uint8_t *p, uint16_t v)
{
        p[0] = (uint8_t)(v >> 8);
        p[1] = (uint8_t)v;
}

static inline bool mac_equal(const uint8_t a[static 6], const uint8_t b[static 6])
{
        return memcmp(a, b, 6) == 0;
}

static inline bool mac_is_broadcast(const uint8_t mac[static 6])
{
        return memcmp(mac, "\xff\xff\xff\xff\xff\xff", 6) == 0;
}

/* Could be one host's own address: neither zero nor a group (the low bit of the first byte, which the
 * broadcast address has too). */
static inline bool mac_is_host(const uint8_t mac[static 6])
{
        return !(mac[0] & 1) && memcmp(mac, "\0\0\0\0\0\0", 6) != 0;
}

/* Header of a frame; the caller has room for ETH_HEADER bytes. */
static inline void eth_build(
        uint8_t *out, const uint8_t dst[static 6], const uint8_t src[static 6], uint16_t type)
{
        memcpy(out, dst, 6);
        memcpy(out + 6, src, 6);
        put_be16(out + 12, type);
}
