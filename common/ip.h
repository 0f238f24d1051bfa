/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* ip - addresses, prefixes and ranges of both families: parse, format, order, count. Pure. */
#include "common/base.h"
#include "common/err.h"

enum ip_family { IP_NONE = 0, IP_V4 = 4, IP_V6 = 6 };

/* Network byte order; an IPv4 address is in b[0..3] and the rest is zero, so memcmp and struct copies
 * are exact. Sixteen-byte v4-mapped text (::ffff:1.2.3.4) parses as IPv4, as in MetalLB. */
struct ip {
        uint8_t family; /* enum ip_family */
        uint8_t b[16];
};

struct ip_range {
        struct ip first, last; /* same family, first <= last; both included */
};

struct ip_prefix {
        struct ip ip; /* host bits are zero */
        uint8_t len; /* 0..32 or 0..128 */
};

/* 128 bits for counting where the machine has none (32-bit ARM). */
struct u128 {
        uint64_t hi, lo;
};

#define IP_TEXT_MAX 46 /* longest text with its terminator */

/* An IP literal and nothing else: no blanks, no zone, no leading zeros in IPv4 octets (RFC 4291 section
 * 2.2, RFC 6943 section 3.1.1). 0 or ERR_MALFORMED. */
int ip_parse(struct ip *ret, const char *text) MUST_CHECK;
int ip_parse_n(struct ip *ret, const char *text, size_t len) MUST_CHECK;
/* Canonical text: dotted quad, or RFC 5952. Returns @out. */
const char *ip_format(const struct ip *ip, char out[static IP_TEXT_MAX]);

int ip_cmp(const struct ip *a, const struct ip *b); /* IPv4 before IPv6, then by value */
bool ip_equal(const struct ip *a, const struct ip *b);
uint32_t ip_hash(const struct ip *ip);
bool ip_next(struct ip *ip); /* false, and unchanged, at the last address of the family */
bool ip_prev(struct ip *ip);
struct u128 ip_to_u128(const struct ip *ip);
struct ip ip_from_u128(enum ip_family family, struct u128 v); /* IPv4: the low 32 bits */
unsigned ip_bits(const struct ip *ip); /* 32 or 128 */
/* The last octet of an IPv4 address is 0 or 255 (spec.avoidBuggyIPs). Never true for IPv6. */
bool ip_is_buggy(const struct ip *ip);
bool ip_is_link_local(const struct ip *ip);
bool ip_is_multicast(const struct ip *ip); /* also the IPv4 limited broadcast */

/* "192.0.2.0/24", host bits dropped. 0 or ERR_MALFORMED with words. */
int ip_prefix_parse(struct ip_prefix *ret, const char *text, struct err *e) MUST_CHECK;
bool ip_prefix_has(const struct ip_prefix *p, const struct ip *ip);
struct ip_range ip_prefix_range(const struct ip_prefix *p);

/* One entry of IPAddressPool spec.addresses: a prefix, or "first-last" with blanks allowed around both
 * ends. Ends of different families are an error. 0 or ERR_MALFORMED with words that name the entry. */
int ip_range_parse(struct ip_range *ret, const char *text, struct err *e) MUST_CHECK;
bool ip_range_has(const struct ip_range *r, const struct ip *ip);
bool ip_range_overlaps(const struct ip_range *a, const struct ip_range *b);
/* Number of addresses, UINT64_MAX where it is that or more. */
uint64_t ip_range_count(const struct ip_range *r);
/* Those of them with last octet 0 or 255 (IPv4 only). */
uint64_t ip_range_count_buggy(const struct ip_range *r);
/* How far @ip lies outside @r (0 inside, UINT64_MAX for another family): names the nearest pool. */
uint64_t ip_range_distance(const struct ip_range *r, const struct ip *ip);
