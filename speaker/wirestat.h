/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* wirestat - what the wire thread counts. Pure. Names without "_total" and the label ip are MetalLB's. */
#include "common/ip.h"
#include "common/metrics.h"
#include "speaker/heard.h"

enum wire_drop { /* why a frame that reached us was not answered; the first ones are enum heard_verdict */
        DROP_MALFORMED = HEARD_MALFORMED,
        DROP_BAD_SENDER = HEARD_BAD_SENDER,
        DROP_NOT_FOR_US = HEARD_NOT_FOR_US,
        DROP_NOTHING = HEARD_NOTHING,
        DROP_UNOWNED = HEARD_VERDICTS, /* not our address: the kernel filter is coarser than the set */
        DROP_INTERFACE, /* the advertisement does not allow this interface */
        DROP_KERNEL, /* the address is on the interface itself: the kernel answers */
        DROP_SEGMENT, /* another interface on the same LAN answers */
        DROP_CONFLICT, /* the sender claims the address for itself */
        DROP_OWN, /* sent by another interface of this node */
        DROP_RATE, /* the sender asks too often; this and the next are of a question that counts as received */
        DROP_SEND, /* the answer could not be sent */
        WIRE_DROPS
};

struct wirestat {
        struct family *requests, *responses, *gratuitous, *conflicts; /* by ip */
        struct family *links;
        struct series *drops[2][WIRE_DROPS]; /* [ipv6][reason] */
        struct series *latency, *stall, *reopened, *lost, *owned, *shared;
        double stall_max_s;
};

struct vipstat { /* of one address; all NULL is fine */
        struct series *requests, *responses, *gratuitous, *conflicts;
};

/* @reg may be NULL: then nothing is counted. */
void wirestat_init(struct wirestat *s, struct metrics *reg);
void wirestat_drop(struct wirestat *s, bool ipv6, enum wire_drop why);
/* How long the loop was busy without looking at its sockets. */
void wirestat_stall(struct wirestat *s, double seconds);
struct vipstat wirestat_vip(struct wirestat *s, const struct ip *ip);
void wirestat_forget(struct wirestat *s, const struct ip *ip); /* its series are dropped */
void wirestat_link(struct wirestat *s, const char *name, bool known, bool up);
