/* SPDX-License-Identifier: Apache-2.0 */
/* ipam_why - refusals as words. Pure. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/ipam_int.h"

#define ITEM_MAX 900 /* holds the longest item: names of Kubernetes objects end at 253 bytes */

struct line { /* needs no memory, so that words never fail */
        char text[ITEM_MAX];
        size_t len;
        bool cut;
};

static void PRINTF_LIKE(2, 3) add(struct line *l, const char *fmt, ...)
{
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(l->text + l->len, sizeof(l->text) - l->len, fmt, ap);
        va_end(ap);
        if (n < 0 || (size_t)n >= sizeof(l->text) - l->len)
                l->cut = true;
        else
                l->len += (size_t)n;
}

void why_add(struct ipam_why *w, const struct ipam_refusal *r)
{
        if (!w)
                return;
        if (w->n == ARRAY_LEN(w->v)) {
                w->n_more++;
                return;
        }
        w->v[w->n] = *r;
        if (!r->pool)
                w->v[w->n].pool = "";
        if (!r->other)
                w->v[w->n].other = "";
        w->n++;
}

static const char *family_text(enum ip_family family)
{
        return family == IP_V4 ? " IPv4" : family == IP_V6 ? " IPv6" : "";
}

static void add_port(struct line *l, uint32_t port)
{
        static const char *const known[] = { "protocol", "TCP", "UDP", "SCTP" };
        uint32_t code = port >> 16;

        add(l, "%s %u", known[code < ARRAY_LEN(known) ? code : 0], port & 0xffff);
}

/* What is said about one pool, after its name. */
static void add_pool_reason(struct line *l, const struct ipam_refusal *r)
{
        switch (r->reason) {
        case IPAM_FULL: add(l, "no free%s address", family_text(r->family)); break;
        case IPAM_NO_FAMILY: add(l, "has no%s range", family_text(r->family)); break;
        case IPAM_NOT_AUTO: add(l, "autoAssign is false"); break;
        case IPAM_NOT_NAMESPACE: add(l, "does not allow the namespace"); break;
        case IPAM_NOT_SERVICE: add(l, "its serviceSelectors do not match"); break;
        case IPAM_BAD_POOL: add(l, "its configuration is invalid"); break;
        case IPAM_NO_SUCH_POOL: add(l, "does not exist"); break;
        case IPAM_BUGGY: add(l, "avoidBuggyIPs leaves no%s address", family_text(r->family)); break;
        case IPAM_WITHHELD: add(l, "no free%s address, the rest is withheld", family_text(r->family)); break;
        default: add(l, "refused"); break;
        }
}

static void add_address_reason(struct line *l, const struct ipam_refusal *r)
{
        switch (r->reason) {
        case IPAM_OTHER_POOL:
                add(l, "belongs to pool \"%.253s\", not to the requested pool \"%.253s\"", r->pool, r->other);
                break;
        case IPAM_NOT_COVERED:
                add(l, "is in no pool");
                if (*r->pool)
                        add(l, ", the nearest is pool \"%.253s\"", r->pool);
                break;
        case IPAM_BUGGY: add(l, "is left out by avoidBuggyIPs of pool \"%.253s\"", r->pool); break;
        case IPAM_IS_NODE: add(l, "belongs to a node"); break;
        case IPAM_IS_RESERVED: add(l, "is reserved in pool \"%.253s\"", r->pool); break;
        case IPAM_IS_COOLING: add(l, "was freed a moment ago and is still kept back"); break;
        case IPAM_HELD: add(l, "is used by Service %s without a common sharing key", r->other); break;
        case IPAM_KEY_DIFFERS: add(l, "is used by Service %s with another sharing key", r->other); break;
        case IPAM_BACKEND_DIFFERS:
                add(l, "is used by Service %s with another traffic policy or selector", r->other);
                break;
        case IPAM_PORT_TAKEN:
                add(l, "has port ");
                add_port(l, r->port);
                add(l, " in use by Service %s", r->other);
                break;
        default:
                add(l, "pool \"%.253s\" ", r->pool);
                add_pool_reason(l, r);
                break;
        }
}

static void add_item(struct line *l, const struct ipam_refusal *r)
{
        char ip[IP_TEXT_MAX];

        if (r->reason == IPAM_NO_POOLS) {
                add(l, "there is no address pool");
        } else if (r->reason == IPAM_SINGLE_POLICY) {
                add(l, "the Service has cluster IPs of both families, but ipFamilyPolicy is SingleStack");
        } else if (r->ip.family != IP_NONE) {
                add(l, "%s ", ip_format(&r->ip, ip));
                add_address_reason(l, r);
        } else {
                add(l, "pool \"%.253s\" ", r->pool);
                add_pool_reason(l, r);
        }
}

const char *ipam_why_text(const struct ipam_why *w, char out[static IPAM_WHY_TEXT_MAX])
{
        struct line item;
        size_t len = 0, left = w->n + w->n_more;
        char more[48];

        out[0] = '\0';
        for (size_t i = 0; i < w->n; i++) {
                item.len = 0;
                item.cut = false;
                if (i > 0)
                        add(&item, "; ");
                add_item(&item, &w->v[i]);
                if (item.cut || len + item.len + sizeof(more) > IPAM_WHY_TEXT_MAX)
                        break;
                memcpy(out + len, item.text, item.len + 1);
                len += item.len;
                left--;
        }
        if (left > 0) {
                int n = snprintf(more, sizeof(more), "%s%zu more", len ? "; and " : "", left);

                if (n > 0 && (size_t)n < sizeof(more))
                        memcpy(out + len, more, (size_t)n + 1);
        }
        return out;
}

const char *ipam_why_word(const struct ipam_why *w)
{
        static const struct {
                enum ipam_reason reason;
                const char *word;
        } words[] = {
                /* the first that applies */
                { IPAM_HELD, "conflict" },
                { IPAM_KEY_DIFFERS, "conflict" },
                { IPAM_BACKEND_DIFFERS, "conflict" },
                { IPAM_PORT_TAKEN, "conflict" },
                { IPAM_NOT_COVERED, "notCovered" },
                { IPAM_BUGGY, "notCovered" },
                { IPAM_OTHER_POOL, "notCovered" },
                { IPAM_IS_NODE, "withheld" },
                { IPAM_IS_RESERVED, "withheld" },
                { IPAM_IS_COOLING, "withheld" },
                { IPAM_FULL, "full" },
                { IPAM_WITHHELD, "withheld" },
                { IPAM_BAD_POOL, "badPool" },
                { IPAM_NO_SUCH_POOL, "noPool" },
                { IPAM_NO_POOLS, "noPool" },
                { IPAM_NOT_NAMESPACE, "notAllowed" },
                { IPAM_NOT_SERVICE, "notAllowed" },
        };

        for (size_t i = 0; i < ARRAY_LEN(words); i++)
                for (size_t j = 0; j < w->n; j++)
                        if (w->v[j].reason == words[i].reason)
                                return words[i].word;
        return "other";
}
