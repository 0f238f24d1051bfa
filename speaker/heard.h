/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* heard - what one received frame says, in the same words for ARP and NDP. Pure.
 *
 * A frame can do two things: ask for an address, and claim one for its sender (an ARP request does both). Whether
 * the address is ours to answer for, and on that interface, is decided elsewhere. */
#include "common/ip.h"

enum heard_verdict {
        HEARD_OK,
        HEARD_MALFORMED, /* breaks the layout or a rule that its RFC says "MUST" about */
        HEARD_BAD_SENDER, /* the sender's hardware address is zero, a group, or the interface's own */
        HEARD_NOT_FOR_US, /* sent to another host */
        HEARD_NOTHING, /* well-formed, but neither asks nor claims */
        HEARD_VERDICTS
};

struct heard {
        struct ip ask; /* family IP_NONE: no question */
        struct ip claim; /* what the sender says is its own; IP_NONE: nothing */
        struct ip sender; /* where an answer goes; IP_NONE: the sender has no address yet (a probe) */
        uint8_t sender_mac[6]; /* the hardware address an answer goes to, and that a claim names */
        uint8_t eth_src[6]; /* who put the frame on the wire */
};
