/* SPDX-License-Identifier: Apache-2.0 */
/* One frame as it came from the wire. Parsing and building agree, and an answer is one: from us, to the asker alone. */
#include <stdlib.h>
#include <string.h>

#include "speaker/arp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t mine[6] = { 2, 0, 0, 0, 0, 1 };

static void require(bool what)
{
        if (!what)
                abort();
}

static void check_heard(const uint8_t *frame, size_t len)
{
        struct heard h, back;
        uint8_t out[ARP_FRAME_LEN];
        struct arp_msg m;

        if (arp_hear(&h, frame, len, mine) != HEARD_OK)
                return;
        require(h.ask.family == IP_V4 || (h.ask.family == IP_NONE && h.claim.family == IP_V4));
        require(mac_is_host(h.sender_mac) && !mac_equal(h.sender_mac, mine));
        if (h.ask.family == IP_NONE)
                return;
        arp_answer(out, &h, mine);
        require(arp_parse(&m, out, sizeof(out)) == 0 && m.op == ARP_REPLY);
        require(mac_equal(m.eth_dst, h.sender_mac) && mac_equal(m.eth_src, mine) && mac_equal(m.sha, mine));
        require(memcmp(m.spa, h.ask.b, 4) == 0 && memcmp(m.tpa, h.sender.b, 4) == 0);
        if (m.spa[0] != 0 && m.spa[0] != 127 &&
                !ip_is_multicast(&h.ask)) /* the asker hears it as our claim */
                require(arp_hear(&back, out, sizeof(out), h.sender_mac) == HEARD_OK &&
                        ip_equal(&back.claim, &h.ask));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t *exact = malloc(size ? size : 1), out[ARP_FRAME_LEN];
        struct arp_msg m, again;

        if (!exact)
                return 0;
        memcpy(exact, data, size); /* its own block: ASan sees byte size + 1 */
        if (arp_parse(&m, exact, size) == 0) {
                arp_build(out, &m);
                require(memcmp(out, exact, 42) == 0);
                require(arp_parse(&again, out, sizeof(out)) == 0 && memcmp(&m, &again, sizeof(m)) == 0);
        } else {
                require(arp_hear(&(struct heard){ .ask.family = 0 }, exact, size, mine) == HEARD_MALFORMED);
        }
        check_heard(exact, size);
        free(exact);
        return 0;
}
