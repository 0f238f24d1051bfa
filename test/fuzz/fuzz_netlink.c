/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams of rtnetlink messages: the first two bytes say where the input is cut into two of them. Whatever comes, the
 * table keeps its promises, a repetition changes nothing more, and a dump that mentions nothing empties it. */
#include <stdlib.h>
#include <string.h>

#include "speaker/eth.h"
#include "speaker/linktab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool what)
{
        if (!what)
                abort();
}

static void feed(struct linktab *t, const uint8_t *p, size_t len, struct linktab_news *news)
{
        uint8_t *exact = malloc(len ? len : 1);

        require(exact != NULL);
        memcpy(exact, p, len);
        require(linktab_feed(t, exact, len, news) == 0);
        free(exact);
}

static void check(const struct linktab *t)
{
        for (size_t i = 0; i < linktab_count(t); i++) {
                const struct link *l = linktab_at(t, i);

                require(i == 0 || linktab_at(t, i - 1)->index < l->index);
                require(linktab_find(t, l->index) == l && linktab_by_mac(t, l->mac) != NULL);
                require(l->index != 0 && l->name[0] != '\0' && memchr(l->name, 0, sizeof(l->name)) != NULL);
                require(l->n_addrs <= LINK_ADDRS_MAX && (l->n_addrs == 0 || link_speaks(l)));
                for (size_t k = 0; k < l->n_addrs; k++) {
                        const struct link_addr *a = &l->addrs[k];

                        require(a->ip.family == IP_V4 || a->ip.family == IP_V6);
                        require(a->subnet.ip.family == a->ip.family && a->subnet.len <= ip_bits(&a->ip));
                        require(ip_prefix_has(&a->subnet, &a->subnet.ip) && link_has_ip(l, &a->ip));
                }
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct linktab *t = NULL;
        struct linktab_news news;
        size_t cut;

        if (size < 2 || linktab_new(&t) < 0)
                return 0;
        cut = MIN((size_t)get_be16(data), size - 2);
        data += 2;
        feed(t, data, cut, &news);
        check(t);
        feed(t, data + cut, size - 2 - cut, &news);
        check(t);
        linktab_mark(t);
        feed(t, data, cut, &news);
        (void)linktab_sweep(t);
        check(t);
        linktab_mark(t);
        require(linktab_sweep(t) || linktab_count(t) == 0);
        require(linktab_count(t) == 0);
        (void)linktab_free(t);
        return 0;
}
