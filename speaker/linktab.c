/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. */
#include "speaker/linktab.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "speaker/eth.h"

struct linktab {
        struct link **v; /* by index; each owned */
        size_t n, cap;
};

bool link_speaks(const struct link *l)
{
        return l->type == ARPHRD_ETHER && mac_is_host(l->mac) && (l->flags & IFF_BROADCAST) &&
                !(l->flags & (IFF_LOOPBACK | IFF_NOARP));
}

bool link_is_up(const struct link *l)
{
        return l->flags & IFF_UP;
}

bool link_is_running(const struct link *l)
{
        return (l->flags & IFF_UP) && (l->flags & IFF_RUNNING);
}

bool link_has_ip(const struct link *l, const struct ip *ip)
{
        for (size_t i = 0; i < l->n_addrs; i++)
                if (ip_equal(&l->addrs[i].ip, ip))
                        return true;
        return false;
}

bool link_subnet_has(const struct link *l, const struct ip *ip)
{
        for (size_t i = 0; i < l->n_addrs; i++)
                if (ip_prefix_has(&l->addrs[i].subnet, ip))
                        return true;
        return false;
}

static struct link *link_free(struct link *l)
{
        if (l)
                free(l->addrs);
        free(l);
        return NULL;
}
DEFINE_CLEANUP(struct link, link_free);

int linktab_new(struct linktab **ret)
{
        struct linktab *t = calloc(1, sizeof(*t));

        if (!t)
                return -ENOMEM;
        *ret = t;
        return 0;
}

struct linktab *linktab_free(struct linktab *t)
{
        if (!t)
                return NULL;
        for (size_t i = 0; i < t->n; i++)
                (void)link_free(t->v[i]);
        free(t->v);
        free(t);
        return NULL;
}

size_t linktab_count(const struct linktab *t)
{
        return t->n;
}

const struct link *linktab_at(const struct linktab *t, size_t i)
{
        return t->v[i];
}

/* Position of @index, or where it would go. */
static size_t position(const struct linktab *t, unsigned index)
{
        size_t lo = 0, hi = t->n;

        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;

                if (t->v[mid]->index < index)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

static struct link *find(const struct linktab *t, unsigned index)
{
        size_t at = position(t, index);

        return at < t->n && t->v[at]->index == index ? t->v[at] : NULL;
}

const struct link *linktab_find(const struct linktab *t, unsigned index)
{
        return find(t, index);
}

const struct link *linktab_by_mac(const struct linktab *t, const uint8_t mac[static 6])
{
        for (size_t i = 0; i < t->n; i++)
                if (mac_equal(t->v[i]->mac, mac))
                        return t->v[i];
        return NULL;
}

static int insert(struct linktab *t, struct link *l)
{
        size_t at = position(t, l->index);

        if (t->n == t->cap) {
                size_t cap = t->cap ? t->cap * 2 : 16;
                struct link **v = realloc(t->v, cap * sizeof(struct link *));

                if (!v)
                        return -ENOMEM;
                t->v = v;
                t->cap = cap;
        }
        memmove(t->v + at + 1, t->v + at, (t->n - at) * sizeof(struct link *));
        t->v[at] = l;
        t->n++;
        return 0;
}

static void take_out(struct linktab *t, size_t at)
{
        (void)link_free(t->v[at]);
        t->n--;
        memmove(t->v + at, t->v + at + 1, (t->n - at) * sizeof(struct link *));
}

struct attr {
        unsigned type;
        const uint8_t *p;
        size_t len;
};

/* The next attribute of *@p, *@left; false at the end or at the first that does not fit. */
static bool attr_next(struct attr *ret, const uint8_t **p, size_t *left)
{
        struct rtattr head;
        size_t step;

        if (*left < sizeof(head))
                return false;
        memcpy(&head, *p, sizeof(head));
        if (head.rta_len < sizeof(head) || head.rta_len > *left)
                return false;
        ret->type = head.rta_type & NLA_TYPE_MASK;
        ret->p = *p + sizeof(head);
        ret->len = head.rta_len - sizeof(head);
        step = MIN((size_t)RTA_ALIGN(head.rta_len), *left);
        *p += step;
        *left -= step;
        return true;
}

static bool attr_is(const struct attr *a, const char *text)
{
        size_t len = strlen(text);

        return a->len >= len && memcmp(a->p, text, len) == 0 && (a->len == len || a->p[len] == '\0');
}

static unsigned attr_u32(const struct attr *a)
{
        uint32_t v = 0;

        if (a->len == sizeof(v))
                memcpy(&v, a->p, sizeof(v));
        return v;
}

struct kinds {
        bool shares_lan; /* macvlan, macvtap, ipvlan: same LAN as the interface below */
        bool vrf_slave;
};

static void kinds_parse(struct kinds *ret, const struct attr *info)
{
        const uint8_t *p = info->p;
        size_t left = info->len;
        struct attr a;

        while (attr_next(&a, &p, &left)) {
                if (a.type == IFLA_INFO_KIND)
                        ret->shares_lan =
                                attr_is(&a, "macvlan") || attr_is(&a, "macvtap") || attr_is(&a, "ipvlan");
                else if (a.type == IFLA_INFO_SLAVE_KIND)
                        ret->vrf_slave = attr_is(&a, "vrf");
        }
}

/* Everything but addresses. False: nothing we could use. */
static bool link_parse(struct link *l, const uint8_t *p, size_t left)
{
        struct kinds kinds = { .shares_lan = false };
        struct ifinfomsg head;
        bool elsewhere = false;
        unsigned below = 0;
        struct attr a;

        if (left < sizeof(head))
                return false;
        memcpy(&head, p, sizeof(head));
        /* A bridge reports its ports with family AF_BRIDGE, and a deleted port is no deleted interface. */
        if (head.ifi_family != 0 || head.ifi_index <= 0)
                return false;
        l->index = (unsigned)head.ifi_index;
        l->flags = head.ifi_flags;
        l->type = head.ifi_type;
        p += NLMSG_ALIGN(sizeof(head));
        left -= NLMSG_ALIGN(sizeof(head));
        while (attr_next(&a, &p, &left)) {
                switch (a.type) {
                case IFLA_IFNAME:
                        if (a.len > 0 && memchr(a.p, 0, MIN(a.len, sizeof(l->name))))
                                memcpy(l->name, a.p, strnlen((const char *)a.p, a.len) + 1);
                        break;
                case IFLA_ADDRESS:
                        if (a.len == sizeof(l->mac))
                                memcpy(l->mac, a.p, sizeof(l->mac));
                        break;
                case IFLA_MTU: l->mtu = attr_u32(&a); break;
                case IFLA_MASTER: l->master = attr_u32(&a); break;
                case IFLA_LINK: below = attr_u32(&a); break;
                case IFLA_LINK_NETNSID: elsewhere = true; break;
                case IFLA_LINKINFO: kinds_parse(&kinds, &a); break;
                default: break;
                }
        }
        l->parent = kinds.shares_lan && !elsewhere ? below : 0;
        l->in_vrf = l->master != 0 && kinds.vrf_slave;
        return l->name[0] != '\0';
}

static bool same(const struct link *a, const struct link *b)
{
        return strcmp(a->name, b->name) == 0 && mac_equal(a->mac, b->mac) && a->flags == b->flags &&
                a->type == b->type && a->mtu == b->mtu && a->master == b->master && a->in_vrf == b->in_vrf &&
                a->parent == b->parent;
}

static void forget_addrs(struct link *l)
{
        free(l->addrs);
        l->addrs = NULL;
        l->n_addrs = 0;
}

static int new_link(struct linktab *t, const uint8_t *p, size_t len, struct linktab_news *news)
{
        CLEANUP(link_freep) struct link *fresh = calloc(1, sizeof(*fresh));
        struct link *old;

        if (!fresh)
                return -ENOMEM;
        if (!link_parse(fresh, p, len))
                return 0;
        old = find(t, fresh->index);
        if (!old) {
                if (insert(t, fresh) < 0)
                        return -ENOMEM;
                (void)TAKE(fresh);
                news->changed = true;
                return 0;
        }
        if (same(old, fresh)) {
                old->stale = false;
                return 0;
        }
        fresh->addrs = TAKE(old->addrs);
        fresh->n_addrs = old->n_addrs;
        if (!link_speaks(fresh))
                forget_addrs(fresh);
        else if (!link_speaks(old))
                news->again = true; /* its addresses were not kept so far */
        free(old->addrs);
        *old = *fresh;
        fresh->addrs = NULL;
        news->changed = true;
        return 0;
}

static void del_link(struct linktab *t, const uint8_t *p, size_t len, struct linktab_news *news)
{
        struct link gone = { .index = 0 };
        size_t at;

        if (!link_parse(&gone, p, len))
                return;
        at = position(t, gone.index);
        if (at < t->n && t->v[at]->index == gone.index) {
                take_out(t, at);
                news->changed = true;
        }
}

static bool ip_from_attr(struct ip *ret, unsigned family, const struct attr *a)
{
        size_t want = family == IP_V4 ? 4 : 16;

        if (a->len != want)
                return false;
        *ret = (struct ip){ .family = (uint8_t)family };
        memcpy(ret->b, a->p, want);
        return true;
}

static struct ip_prefix prefix_of(const struct ip *ip, unsigned len)
{
        struct ip_prefix p = { .ip = *ip, .len = (uint8_t)len };

        for (unsigned bit = len; bit < ip_bits(ip); bit++)
                p.ip.b[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
        return p;
}

/* AF_INET and AF_INET6 by number: their names live in <sys/socket.h>, which a pure file leaves alone. */
static bool addr_parse(struct link_addr *ret, unsigned *ret_index, const uint8_t *p, size_t left)
{
        struct ip local = { .family = IP_NONE }, address = { .family = IP_NONE };
        struct ifaddrmsg head;
        unsigned family;
        struct attr a;

        if (left < sizeof(head))
                return false;
        memcpy(&head, p, sizeof(head));
        family = head.ifa_family == 2 ? IP_V4 : head.ifa_family == 10 ? IP_V6 : IP_NONE;
        if (family == IP_NONE || head.ifa_prefixlen > (family == IP_V4 ? 32 : 128))
                return false;
        p += NLMSG_ALIGN(sizeof(head));
        left -= NLMSG_ALIGN(sizeof(head));
        while (attr_next(&a, &p, &left)) {
                if (a.type == IFA_LOCAL && !ip_from_attr(&local, family, &a))
                        return false;
                if (a.type == IFA_ADDRESS && !ip_from_attr(&address, family, &a))
                        return false;
        }
        if (address.family == IP_NONE)
                return false;
        ret->ip = local.family != IP_NONE ? local : address;
        ret->subnet = prefix_of(&address, head.ifa_prefixlen);
        ret->stale = false;
        *ret_index = head.ifa_index;
        return true;
}

static struct link_addr *find_addr(struct link *l, const struct link_addr *a)
{
        for (size_t i = 0; i < l->n_addrs; i++)
                if (ip_equal(&l->addrs[i].ip, &a->ip) && l->addrs[i].subnet.len == a->subnet.len &&
                        ip_equal(&l->addrs[i].subnet.ip, &a->subnet.ip))
                        return &l->addrs[i];
        return NULL;
}

static int new_addr(struct linktab *t, const uint8_t *p, size_t len, struct linktab_news *news)
{
        struct link_addr a, *v, *old;
        struct link *l;
        unsigned index;

        if (!addr_parse(&a, &index, p, len))
                return 0;
        l = find(t, index);
        if (!l || !link_speaks(l))
                return 0;
        old = find_addr(l, &a);
        if (old) {
                old->stale = false;
                return 0;
        }
        if (l->n_addrs == LINK_ADDRS_MAX)
                return 0;
        v = realloc(l->addrs, (l->n_addrs + 1) * sizeof(*v));
        if (!v)
                return -ENOMEM;
        l->addrs = v;
        v[l->n_addrs++] = a;
        news->changed = true;
        return 0;
}

static void del_addr(struct linktab *t, const uint8_t *p, size_t len, struct linktab_news *news)
{
        struct link_addr a, *old;
        struct link *l;
        unsigned index;

        if (!addr_parse(&a, &index, p, len))
                return;
        l = find(t, index);
        old = l ? find_addr(l, &a) : NULL;
        if (!old)
                return;
        if (l->n_addrs == LINK_ADDRS_MAX)
                news->again = true; /* one that was left out fits now */
        *old = l->addrs[--l->n_addrs];
        news->changed = true;
}

static int feed_one(
        struct linktab *t, const struct nlmsghdr *h, const uint8_t *p, size_t len, struct linktab_news *news)
{
        if (h->nlmsg_flags & NLM_F_DUMP_INTR)
                news->again = true;
        switch (h->nlmsg_type) {
        case NLMSG_ERROR:
        case NLMSG_DONE: {
                int code = 0;

                if (len >= sizeof(code))
                        memcpy(&code, p, sizeof(code));
                if (code < 0 && code > -4096)
                        news->error = code;
                else if (h->nlmsg_type == NLMSG_DONE)
                        news->done = true;
                return 0;
        }
        case NLMSG_OVERRUN: news->again = true; return 0;
        case RTM_NEWLINK: return new_link(t, p, len, news);
        case RTM_DELLINK: del_link(t, p, len, news); return 0;
        case RTM_NEWADDR: return new_addr(t, p, len, news);
        case RTM_DELADDR: del_addr(t, p, len, news); return 0;
        default: return 0;
        }
}

int linktab_feed(struct linktab *t, const void *bytes, size_t len, struct linktab_news *news)
{
        const uint8_t *p = bytes;
        int r = 0;

        *news = (struct linktab_news){ .changed = false };
        while (len >= sizeof(struct nlmsghdr)) {
                struct nlmsghdr h;
                size_t step;

                memcpy(&h, p, sizeof(h));
                if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > len)
                        break;
                if (feed_one(t, &h, p + sizeof(h), h.nlmsg_len - sizeof(h), news) < 0)
                        r = -ENOMEM;
                step = MIN((size_t)NLMSG_ALIGN(h.nlmsg_len), len);
                p += step;
                len -= step;
        }
        return r;
}

void linktab_mark(struct linktab *t)
{
        for (size_t i = 0; i < t->n; i++) {
                t->v[i]->stale = true;
                for (size_t k = 0; k < t->v[i]->n_addrs; k++)
                        t->v[i]->addrs[k].stale = true;
        }
}

bool linktab_sweep(struct linktab *t)
{
        bool removed = false;

        for (size_t i = t->n; i-- > 0;) {
                struct link *l = t->v[i];

                for (size_t k = l->n_addrs; k-- > 0;) {
                        if (!l->addrs[k].stale)
                                continue;
                        l->addrs[k] = l->addrs[--l->n_addrs];
                        removed = true;
                }
                if (l->stale) {
                        take_out(t, i);
                        removed = true;
                }
        }
        return removed;
}
