/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing is hand-written, and not inet_pton(): the answers must be those of Go's net and net/netip packages, which
 * read the same texts in MetalLB, kube-proxy and the API server, and they must not depend on the libc. */
#include "common/ip.h"

#include <stdio.h>
#include <string.h>

#define V4_BITS 32u
#define V6_BITS 128u

struct text { /* borrowed, not terminated */
        const char *p;
        size_t len;
};

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff }; /* RFC 4291 section 2.5.5.2 */

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

/* Exactly four decimal octets and nothing behind them. A leading zero is refused: some readers take it as octal
 * (RFC 6943 section 3.1.1). */
static bool parse_v4(uint8_t out[static 4], struct text t)
{
        size_t at = 0;

        for (unsigned octet = 0; octet < 4; octet++) {
                unsigned value = 0, digits = 0;

                if (octet > 0 && (at >= t.len || t.p[at++] != '.'))
                        return false;
                for (; at < t.len && t.p[at] >= '0' && t.p[at] <= '9'; at++, digits++) {
                        if (digits == 3 || (digits > 0 && value == 0))
                                return false;
                        value = value * 10 + (unsigned)(t.p[at] - '0');
                }
                if (digits == 0 || value > 255)
                        return false;
                out[octet] = (uint8_t)value;
        }
        return at == t.len;
}

/* RFC 4291 section 2.2, forms 1 to 3. "::" stands for at least one group. */
static bool parse_v6(uint8_t out[static 16], struct text t)
{
        uint8_t b[16] = { 0 };
        size_t at = 0, n = 0, gap = SIZE_MAX;

        if (t.len >= 2 && t.p[0] == ':' && t.p[1] == ':') {
                gap = 0;
                at = 2;
        }
        while (at < t.len) {
                size_t start = at;
                unsigned value = 0;

                for (; at < t.len && hex_value(t.p[at]) >= 0; at++) {
                        if (at - start == 4)
                                return false;
                        value = value * 16 + (unsigned)hex_value(t.p[at]);
                }
                if (at == start)
                        return false;
                if (at < t.len && t.p[at] == '.') { /* the last two groups as a dotted quad */
                        if (n > 12 || !parse_v4(b + n, (struct text){ t.p + start, t.len - start }))
                                return false;
                        n += 4;
                        break;
                }
                if (n > 14)
                        return false;
                b[n++] = (uint8_t)(value >> 8);
                b[n++] = (uint8_t)(value & 0xff);
                if (at == t.len)
                        break;
                if (t.p[at++] != ':' || at == t.len)
                        return false;
                if (t.p[at] == ':') {
                        if (gap != SIZE_MAX)
                                return false;
                        gap = n;
                        at++;
                }
        }
        if (gap == SIZE_MAX ? n != 16 : n == 16)
                return false;
        memset(out, 0, 16);
        if (gap == SIZE_MAX)
                gap = n;
        memcpy(out, b, gap);
        memcpy(out + 16 - (n - gap), b + gap, n - gap);
        return true;
}

static bool parse_literal(struct ip *ret, struct text t, bool *ret_mapped)
{
        struct ip ip = { 0 };
        bool was_mapped = false;

        if (memchr(t.p, ':', t.len)) {
                ip.family = IP_V6;
                if (!parse_v6(ip.b, t))
                        return false;
                if (memcmp(ip.b, mapped, sizeof(mapped)) == 0) {
                        ip.family = IP_V4;
                        memcpy(ip.b, ip.b + 12, 4);
                        memset(ip.b + 4, 0, 12);
                        was_mapped = true;
                }
        } else {
                ip.family = IP_V4;
                if (!parse_v4(ip.b, t))
                        return false;
        }
        *ret = ip;
        *ret_mapped = was_mapped;
        return true;
}

int ip_parse_n(struct ip *ret, const char *text, size_t len)
{
        bool was_mapped;

        return parse_literal(ret, (struct text){ text, len }, &was_mapped) ? 0 : ERR_MALFORMED;
}

int ip_parse(struct ip *ret, const char *text)
{
        return ip_parse_n(ret, text, strlen(text));
}

/* The longest run of two or more zero groups, the first one on a tie (RFC 5952 section 4.2). 8: none. */
static unsigned zero_run(const struct ip *ip, unsigned *ret_len)
{
        unsigned best = 8, best_len = 1;

        for (unsigned i = 0; i < 8; i++) {
                unsigned n = 0;

                while (i + n < 8 && ip->b[2 * (i + n)] == 0 && ip->b[2 * (i + n) + 1] == 0)
                        n++;
                if (n > best_len) {
                        best = i;
                        best_len = n;
                }
                i += n;
        }
        *ret_len = best < 8 ? best_len : 0;
        return best;
}

const char *ip_format(const struct ip *ip, char out[static IP_TEXT_MAX])
{
        unsigned run, run_len;
        size_t at = 0;

        if (ip->family != IP_V6) {
                (void)snprintf(out, IP_TEXT_MAX, "%u.%u.%u.%u", ip->b[0], ip->b[1], ip->b[2], ip->b[3]);
                return out;
        }
        if (memcmp(ip->b, mapped, sizeof(mapped)) == 0) { /* RFC 5952 section 5 */
                (void)snprintf(
                        out, IP_TEXT_MAX, "::ffff:%u.%u.%u.%u", ip->b[12], ip->b[13], ip->b[14], ip->b[15]);
                return out;
        }
        run = zero_run(ip, &run_len);
        for (unsigned i = 0; i < 8;) {
                if (i == run) {
                        at += (size_t)snprintf(out + at, IP_TEXT_MAX - at, "::");
                        i += run_len;
                        continue;
                }
                at += (size_t)snprintf(out + at, IP_TEXT_MAX - at, "%s%x",
                        i > 0 && i != run + run_len ? ":" : "",
                        (unsigned)ip->b[2 * i] << 8 | ip->b[2 * i + 1]);
                i++;
        }
        return out;
}

int ip_cmp(const struct ip *a, const struct ip *b)
{
        if (a->family != b->family)
                return a->family < b->family ? -1 : 1;
        return memcmp(a->b, b->b, sizeof(a->b));
}

bool ip_equal(const struct ip *a, const struct ip *b)
{
        return ip_cmp(a, b) == 0;
}

uint32_t ip_hash(const struct ip *ip)
{
        struct u128 v = ip_to_u128(ip);
        uint64_t z = (v.hi ^ ip->family) * 0x9e3779b97f4a7c15u + v.lo;

        /* The finisher of splitmix64: neighbours must not share buckets. */
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return (uint32_t)((z ^ (z >> 31)) >> 32);
}

unsigned ip_bits(const struct ip *ip)
{
        return ip->family == IP_V6 ? V6_BITS : V4_BITS;
}

static uint64_t load64(const uint8_t *p)
{
        uint64_t v = 0;

        for (unsigned i = 0; i < 8; i++)
                v = v << 8 | p[i];
        return v;
}

struct u128 ip_to_u128(const struct ip *ip)
{
        if (ip->family == IP_V6)
                return (struct u128){ load64(ip->b), load64(ip->b + 8) };
        return (struct u128){ 0, load64(ip->b) >> 32 };
}

struct ip ip_from_u128(enum ip_family family, struct u128 v)
{
        struct ip ip = { .family = (uint8_t)family };
        unsigned n = family == IP_V6 ? 16 : 4;

        for (unsigned i = 0; i < n; i++) {
                unsigned shift = 8 * (n - 1 - i);

                ip.b[i] = (uint8_t)(shift >= 64 ? v.hi >> (shift - 64) : v.lo >> shift);
        }
        return ip;
}

bool ip_next(struct ip *ip)
{
        struct ip next = *ip;

        for (unsigned i = ip_bits(ip) / 8; i-- > 0;) {
                if (++next.b[i] != 0) {
                        *ip = next;
                        return true;
                }
        }
        return false;
}

bool ip_prev(struct ip *ip)
{
        struct ip prev = *ip;

        for (unsigned i = ip_bits(ip) / 8; i-- > 0;) {
                if (prev.b[i]-- != 0) {
                        *ip = prev;
                        return true;
                }
        }
        return false;
}

bool ip_is_buggy(const struct ip *ip)
{
        return ip->family == IP_V4 && (ip->b[3] == 0 || ip->b[3] == 255);
}

bool ip_is_link_local(const struct ip *ip)
{
        if (ip->family == IP_V4)
                return ip->b[0] == 169 && ip->b[1] == 254; /* RFC 3927 section 2.1 */
        return ip->family == IP_V6 && ip->b[0] == 0xfe &&
                (ip->b[1] & 0xc0) == 0x80; /* RFC 4291 section 2.5.6 */
}

bool ip_is_multicast(const struct ip *ip)
{
        static const uint8_t limited[4] = { 255, 255, 255, 255 };

        if (ip->family == IP_V4)
                return (ip->b[0] & 0xf0) == 0xe0 || memcmp(ip->b, limited, sizeof(limited)) == 0;
        return ip->family == IP_V6 && ip->b[0] == 0xff;
}

/* The mask length behind the slash, as Go reads it: digits only, leading zeros allowed. */
static bool parse_len(struct text t, unsigned max, unsigned *ret)
{
        unsigned value = 0;

        if (t.len == 0)
                return false;
        for (size_t i = 0; i < t.len; i++) {
                if (t.p[i] < '0' || t.p[i] > '9')
                        return false;
                value = value * 10 + (unsigned)(t.p[i] - '0');
                if (value > max)
                        return false;
        }
        *ret = value;
        return true;
}

static void clear_host_bits(struct ip *ip, unsigned len)
{
        for (unsigned i = 0; i < ip_bits(ip) / 8; i++) {
                unsigned keep = len > 8 * i ? MIN(len - 8 * i, 8u) : 0;

                ip->b[i] &= (uint8_t)(0xff00u >> keep);
        }
}

int ip_prefix_parse(struct ip_prefix *ret, const char *text, struct err *e)
{
        const char *slash = strchr(text, '/');
        struct ip_prefix p = { 0 };
        struct ip whole;
        bool was_mapped;
        unsigned len;

        if (!slash) {
                if (ip_parse(&whole, text) == 0)
                        return err_set(e, ERR_MALFORMED, "invalid CIDR \"%s\": one address is written %s/%u",
                                text, text, whole.family == IP_V4 && !strchr(text, ':') ? V4_BITS : V6_BITS);
                return err_set(
                        e, ERR_MALFORMED, "invalid CIDR \"%.100s\": want address/length or first-last", text);
        }
        if (!parse_literal(&p.ip, (struct text){ text, (size_t)(slash - text) }, &was_mapped))
                return err_set(e, ERR_MALFORMED, "invalid CIDR \"%.100s\": the address is not one", text);
        if (!parse_len((struct text){ slash + 1, strlen(slash + 1) }, was_mapped ? V6_BITS : ip_bits(&p.ip),
                    &len))
                return err_set(e, ERR_MALFORMED, "invalid CIDR \"%.100s\": the length must be 0 to %u", text,
                        was_mapped ? V6_BITS : ip_bits(&p.ip));
        if (was_mapped) {
                if (len < V6_BITS - V4_BITS)
                        return err_set(e, ERR_MALFORMED,
                                "invalid CIDR \"%.100s\": an IPv4-mapped prefix needs a length of 96 to 128",
                                text);
                len -= V6_BITS - V4_BITS;
        }
        p.len = (uint8_t)len;
        clear_host_bits(&p.ip, len);
        *ret = p;
        return 0;
}

bool ip_prefix_has(const struct ip_prefix *p, const struct ip *ip)
{
        struct ip net = *ip;

        if (p->ip.family != ip->family)
                return false;
        clear_host_bits(&net, p->len);
        return ip_equal(&net, &p->ip);
}

struct ip_range ip_prefix_range(const struct ip_prefix *p)
{
        struct ip_range r = { p->ip, p->ip };

        for (unsigned i = 0; i < ip_bits(&p->ip) / 8; i++) {
                unsigned keep = p->len > 8 * i ? MIN(p->len - 8 * i, 8u) : 0;

                r.last.b[i] |= (uint8_t)(0xffu >> keep);
        }
        return r;
}

static struct text trimmed(const char *p, size_t len)
{
        while (len > 0 && (p[0] == ' ' || (p[0] >= '\t' && p[0] <= '\r'))) {
                p++;
                len--;
        }
        while (len > 0 && (p[len - 1] == ' ' || (p[len - 1] >= '\t' && p[len - 1] <= '\r')))
                len--;
        return (struct text){ p, len };
}

int ip_range_parse(struct ip_range *ret, const char *text, struct err *e)
{
        const char *dash = strchr(text, '-');
        struct text first, last;
        struct ip_prefix prefix;
        struct ip_range range;
        bool was_mapped;
        int r;

        if (!dash) {
                r = ip_prefix_parse(&prefix, text, e);
                if (r == 0)
                        *ret = ip_prefix_range(&prefix);
                return r;
        }
        first = trimmed(text, (size_t)(dash - text));
        last = trimmed(dash + 1, strlen(dash + 1));
        if (!parse_literal(&range.first, first, &was_mapped))
                return err_set(e, ERR_MALFORMED, "invalid IP range \"%.100s\": invalid start \"%.*s\"", text,
                        (int)MIN(first.len, (size_t)60), first.p);
        if (!parse_literal(&range.last, last, &was_mapped))
                return err_set(e, ERR_MALFORMED, "invalid IP range \"%.100s\": invalid end \"%.*s\"", text,
                        (int)MIN(last.len, (size_t)60), last.p);
        if (range.first.family != range.last.family)
                return err_set(e, ERR_MALFORMED,
                        "invalid IP range \"%.100s\": start and end are of different families", text);
        if (ip_cmp(&range.first, &range.last) > 0)
                return err_set(
                        e, ERR_MALFORMED, "invalid IP range \"%.100s\": the start is after the end", text);
        *ret = range;
        return 0;
}

bool ip_range_has(const struct ip_range *r, const struct ip *ip)
{
        return ip->family == r->first.family && ip_cmp(&r->first, ip) <= 0 && ip_cmp(ip, &r->last) <= 0;
}

bool ip_range_overlaps(const struct ip_range *a, const struct ip_range *b)
{
        return a->first.family == b->first.family && ip_cmp(&a->first, &b->last) <= 0 &&
                ip_cmp(&b->first, &a->last) <= 0;
}

/* @a - @b, where @a is not smaller; UINT64_MAX when it does not fit. */
static uint64_t difference(const struct ip *a, const struct ip *b)
{
        struct u128 x = ip_to_u128(a), y = ip_to_u128(b);
        uint64_t hi = x.hi - y.hi - (x.lo < y.lo);

        return hi > 0 ? UINT64_MAX : x.lo - y.lo;
}

uint64_t ip_range_count(const struct ip_range *r)
{
        uint64_t d = difference(&r->last, &r->first);

        return d == UINT64_MAX ? d : d + 1;
}

/* How many of 0 .. @n - 1 have a last octet of 0 or 255. */
static uint64_t buggy_below(uint64_t n)
{
        return 2 * (n >> 8) + ((n & 0xff) > 0);
}

uint64_t ip_range_count_buggy(const struct ip_range *r)
{
        if (r->first.family != IP_V4)
                return 0;
        return buggy_below(ip_to_u128(&r->last).lo + 1) - buggy_below(ip_to_u128(&r->first).lo);
}

uint64_t ip_range_distance(const struct ip_range *r, const struct ip *ip)
{
        if (ip->family != r->first.family)
                return UINT64_MAX;
        if (ip_cmp(ip, &r->first) < 0)
                return difference(&r->first, ip);
        return ip_cmp(ip, &r->last) > 0 ? difference(ip, &r->last) : 0;
}
