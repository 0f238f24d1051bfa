/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* desired - what this node should answer for: one immutable set, built by the control loop and handed whole to the
 * wire loop. Pure. After desired_seal() nobody changes it; the wire loop frees it. */
#include "common/arena.h"
#include "common/ip.h"

struct desired_vip {
        struct ip ip;
        const char **interfaces; /* names, sorted and unique; n_interfaces 0: every interface */
        size_t n_interfaces;
};

struct desired {
        struct arena *arena; /* owns all */
        struct desired_vip *vips; /* sorted by ip, unique */
        size_t n;
};

int desired_new(struct desired **ret, size_t max_vips) MUST_CHECK; /* empty, room for @max_vips */
struct desired *desired_free(struct desired *d);
DEFINE_CLEANUP(struct desired, desired_free);

/* Adds an address. The same address twice: interfaces are united (every interface wins). 0 or -ENOMEM. */
int desired_add(struct desired *d, const struct ip *ip, const char *const *interfaces, size_t n) MUST_CHECK;
void desired_seal(struct desired *d); /* sorts; call once, last */
const struct desired_vip *desired_find(
        const struct desired *d, const struct ip *ip); /* sealed sets; NULL: none */
bool desired_vip_allows(const struct desired_vip *v, const char *interface);
bool desired_equal(const struct desired *a, const struct desired *b);
