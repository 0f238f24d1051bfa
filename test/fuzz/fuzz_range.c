/* SPDX-License-Identifier: Apache-2.0 */
/* Text of addresses, prefixes and ranges. Oracles: what is accepted reads back equal from its canonical form; a literal is
 * accepted exactly when inet_pton() takes it, with the same bytes. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
        if (!holds)
                abort();
}

static void check_literal(const char *text)
{
        uint8_t v4[4], v6[16];
        bool is4 = inet_pton(AF_INET, text, v4) == 1, is6 = inet_pton(AF_INET6, text, v6) == 1;
        char canonical[IP_TEXT_MAX];
        struct ip ip, again;

        if (ip_parse(&ip, text) < 0) {
                require(!is4 && !is6);
                return;
        }
        if (ip.family == IP_V6)
                require(is6 && memcmp(ip.b, v6, sizeof(v6)) == 0);
        else
                require(is4 ? memcmp(ip.b, v4, sizeof(v4)) == 0 : is6 && memcmp(ip.b, v6 + 12, 4) == 0);
        require(ip_parse(&again, ip_format(&ip, canonical)) == 0 && ip_equal(&ip, &again));
        again = ip_from_u128(ip.family, ip_to_u128(&ip));
        require(ip_equal(&ip, &again));
        if (ip_next(&again))
                require(ip_cmp(&again, &ip) > 0 && ip_prev(&again) && ip_equal(&again, &ip));
}

static bool is_mapped(const struct ip *ip)
{
        static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

        return ip->family == IP_V6 && memcmp(ip->b, prefix, sizeof(prefix)) == 0;
}

static void check_range(const char *text)
{
        char first[IP_TEXT_MAX], last[IP_TEXT_MAX], canonical[2 * IP_TEXT_MAX + 4];
        struct ip_range r, again;
        struct err e = { "" };

        if (ip_range_parse(&r, text, &e) < 0) {
                require(e.text[0] != '\0');
                return;
        }
        require(r.first.family == r.last.family && ip_cmp(&r.first, &r.last) <= 0);
        require(ip_range_count(&r) >= 1 && ip_range_count_buggy(&r) <= ip_range_count(&r));
        require(ip_range_has(&r, &r.first) && ip_range_has(&r, &r.last) && ip_range_overlaps(&r, &r));
        require(ip_range_distance(&r, &r.last) == 0);
        if (is_mapped(&r.first) || is_mapped(&r.last)) /* only inside ranges; alone it would read as IPv4 */
                return;
        (void)snprintf(canonical, sizeof(canonical), "%s - %s", ip_format(&r.first, first),
                ip_format(&r.last, last));
        require(ip_range_parse(&again, canonical, NULL) == 0);
        require(ip_equal(&r.first, &again.first) && ip_equal(&r.last, &again.last));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *text = malloc(size + 1), *exact = malloc(size ? size : 1);
        struct ip_prefix p;
        struct ip ip;

        if (text && exact) {
                memcpy(text, data, size);
                text[size] = '\0';
                memcpy(exact, data, size);
                if (ip_parse_n(&ip, exact, size) == 0) /* no terminator: ASan watches */
                        require(memchr(exact, '\0', size) == NULL);
                check_literal(text);
                check_range(text);
                if (ip_prefix_parse(&p, text, NULL) == 0)
                        require(ip_prefix_has(&p, &p.ip) && p.len <= ip_bits(&p.ip));
        }
        free(text);
        free(exact);
        return 0;
}
