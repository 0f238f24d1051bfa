/* SPDX-License-Identifier: Apache-2.0 */
/* One frame as it came from the wire. So that the fuzzer gets past it, a second round puts a right checksum into the
 * frame. What parses is built and parsed again to the same; an answer is one: from the target, to the asker alone. */
#include <stdlib.h>
#include <string.h>

#include "speaker/ndp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t mine[6] = { 2, 0, 0, 0, 0, 1 };

static void require(bool what)
{
        if (!what)
                abort();
}

static void fix_checksum(uint8_t *frame, size_t size)
{
        size_t len;
        uint32_t sum;

        if (size < 58)
                return;
        len = get_be16(frame + 18);
        if (len < 4 || len > size - 54)
                return;
        put_be16(frame + 56, 0);
        sum = (uint32_t)len + 58;
        for (size_t i = 22; i < 54; i += 2)
                sum += get_be16(frame + i);
        for (size_t i = 0; i < len; i++)
                sum += (uint32_t)frame[54 + i] << (i % 2 ? 0 : 8);
        while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
        put_be16(frame + 56, (uint16_t)~sum);
}

static void check_answer(const struct heard *h)
{
        uint8_t out[NDP_FRAME_LEN];
        struct ndp_msg m;

        ndp_answer(out, h, mine);
        require(ndp_parse(&m, out, sizeof(out)) == 0 && m.type == NDP_ADVERT);
        require(mac_equal(m.eth_src, mine) && m.has_lladdr && mac_equal(m.lladdr, mine));
        require(memcmp(m.target, h->ask.b, 16) == 0 && memcmp(m.src, h->ask.b, 16) == 0);
        require(!(m.flags & NDP_ROUTER) && (m.flags & NDP_OVERRIDE));
        if (h->sender.family == IP_V6)
                require((m.flags & NDP_SOLICITED) && mac_equal(m.eth_dst, h->sender_mac) &&
                        memcmp(m.dst, h->sender.b, 16) == 0);
        else
                require(!(m.flags & NDP_SOLICITED) && m.eth_dst[0] == 0x33 && m.dst[0] == 0xff);
}

static void check(const uint8_t *frame, size_t size)
{
        uint8_t out[NDP_FRAME_LEN];
        struct ndp_msg m, again;
        struct heard h;

        if (ndp_parse(&m, frame, size) < 0)
                return;
        require(ndp_parse(&again, out, ndp_build(out, &m)) == 0);
        require(mac_equal(m.eth_dst, again.eth_dst) && mac_equal(m.eth_src, again.eth_src));
        require(memcmp(m.src, again.src, 16) == 0 && memcmp(m.dst, again.dst, 16) == 0);
        require(m.type == again.type && m.flags == again.flags && memcmp(m.target, again.target, 16) == 0);
        require(m.has_lladdr == again.has_lladdr &&
                memcmp(m.lladdr, again.lladdr, m.has_lladdr ? 6 : 0) == 0);
        if (ndp_hear(&h, frame, size, mine) != HEARD_OK)
                return;
        require(mac_is_host(h.sender_mac) && !mac_equal(h.sender_mac, mine));
        require(h.ask.family == IP_V6 || h.claim.family == IP_V6);
        if (h.ask.family == IP_V6 && h.ask.b[0] != 0) /* :: and the like are never owned */
                check_answer(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t *exact = malloc(size ? size : 1);

        if (!exact)
                return 0;
        memcpy(exact, data, size);
        check(exact, size);
        fix_checksum(exact, size);
        check(exact, size);
        free(exact);
        return 0;
}
