/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* filter - the program (classic BPF) that each packet socket runs in the kernel, so that only frames about our
 * addresses wake us. Pure: builds instructions, installs nothing.
 *
 * Let through: ARP frames whose sender protocol address is ours (somebody claims it), ARP requests whose target is ours,
 * neighbour solicitations and advertisements (hop limit 255) whose target is ours. "Ours" is looked up by binary search
 * over ranges of the last 32 bits: exact while there are few, then neighbouring addresses share a range, widest gaps
 * kept, so that a program never has more than FILTER_MAX instructions. It may let through too much, never too little.
 *
 * Dropped always: frames that the kernel marks as meant for somebody else. That is also how a frame with the tag of a
 * VLAN that has no interface here looks (its tag is gone by then), which must not be answered on the parent. */
#include <linux/filter.h>

#include "common/ip.h"

/* The kernel charges a program against net.core.optmem_max, 20 KB on older ones: about 600 instructions. */
#define FILTER_MAX 560

struct filter {
        unsigned n;
        struct sock_filter v[FILTER_MAX];
};

/* @ips: sorted by ip_cmp(), of any families; those of @family count. None: nothing is let through. */
void filter_build(struct filter *ret, enum ip_family family, const struct ip *ips, size_t n);
/* For a kernel that refuses the program above: every ARP frame, or every solicitation and advertisement. */
void filter_all(struct filter *ret, enum ip_family family);
