/* SPDX-License-Identifier: Apache-2.0 */
#include "common/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

#define FROM_POOL_SUFFIX "ip-allocated-from-pool"
#define SHOWN_MAX        64 /* bytes of foreign text that are repeated in words */

uint32_t request_port(const char *protocol, uint16_t port)
{
        static const char *const known[] = { "TCP", "UDP", "SCTP" };
        uint32_t code = 0xff;

        for (uint32_t i = 0; i < ARRAY_LEN(known); i++)
                if (strcmp(protocol, known[i]) == 0)
                        code = i + 1;
        return code << 16 | port;
}

/* The first fault counts. */
static void set_fault(struct request *q, enum request_fault fault, const char *words)
{
        if (q->fault != REQUEST_OK)
                return;
        q->fault = fault;
        q->fault_text = words;
}

static void read_families(struct request *q, struct arena *a, const struct service *s)
{
        struct ip ip[2] = { 0 };

        if (s->cluster_ips.n == 0) {
                set_fault(q, REQUEST_NO_CLUSTER_IPS, "the Service has no cluster IP");
                return;
        }
        for (size_t i = 0; i < MIN(s->cluster_ips.n, ARRAY_LEN(ip)); i++) {
                if (ip_parse(&ip[i], s->cluster_ips.v[i]) < 0) {
                        set_fault(q, REQUEST_BAD_CLUSTER_IPS,
                                arena_printf(a, "cluster IP \"%.*s\" is not an IP address", SHOWN_MAX,
                                        s->cluster_ips.v[i]));
                        return;
                }
                q->want4 |= ip[i].family == IP_V4;
                q->want6 |= ip[i].family == IP_V6;
        }
        q->primary = ip[0].family;
        if (s->cluster_ips.n > 2 || (s->cluster_ips.n == 2 && ip[0].family == ip[1].family)) {
                q->want4 = q->want6 = false;
                set_fault(q, REQUEST_BAD_CLUSTER_IPS, "the cluster IPs are not one of each family");
        } else if (s->ip_policy == SERVICE_REQUIRE_DUAL_STACK && s->cluster_ips.n < 2) {
                set_fault(q, REQUEST_NOT_ENOUGH_CLUSTER_IPS,
                        "ipFamilyPolicy RequireDualStack needs two cluster IPs, the Service has one");
        }
}

static bool is_blank(char c)
{
        return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Splits at commas and trims; at most two are read, so that a list of 10,000 costs nothing. */
static void read_ip_list(struct request *q, struct arena *a, const char *text)
{
        const char *end;

        for (const char *p = text;; p = end + 1) {
                size_t len;

                end = strchrnul(p, ',');
                while (p < end && is_blank(*p))
                        p++;
                for (len = (size_t)(end - p); len > 0 && is_blank(p[len - 1]);)
                        len--;
                if (q->n_ips == ARRAY_LEN(q->ips)) {
                        set_fault(q, REQUEST_BAD_IPS, "more than two addresses are requested");
                        return;
                }
                if (len == 0) {
                        set_fault(q, REQUEST_BAD_IPS, "the list of requested addresses has an empty entry");
                        return;
                }
                if (ip_parse_n(&q->ips[q->n_ips], p, len) < 0) {
                        set_fault(q, REQUEST_BAD_IPS,
                                arena_printf(a, "requested address \"%.*s\" is not an IP address",
                                        (int)MIN(len, (size_t)SHOWN_MAX), p));
                        return;
                }
                q->n_ips++;
                if (!*end)
                        return;
        }
}

static void read_ips(struct request *q, struct arena *a, const struct service *s)
{
        const char *list = service_annotation(&s->meta, REQUEST_IPS_SUFFIX);
        bool has4 = false, has6 = false;

        if (list && *list && *s->lb_ip) {
                set_fault(q, REQUEST_BAD_IPS,
                        "addresses are requested by both spec.loadBalancerIP and annotation loadBalancerIPs");
                return;
        }
        if (list && *list) {
                read_ip_list(q, a, list);
        } else if (*s->lb_ip) {
                if (ip_parse(&q->ips[0], s->lb_ip) == 0)
                        q->n_ips = 1;
                else
                        set_fault(q, REQUEST_BAD_IPS,
                                arena_printf(a, "spec.loadBalancerIP \"%.*s\" is not an IP address",
                                        SHOWN_MAX, s->lb_ip));
        }
        if (q->n_ips == 2 && q->ips[0].family == q->ips[1].family)
                set_fault(q, REQUEST_BAD_IPS, "the two requested addresses are of the same family");
        for (size_t i = 0; i < q->n_ips; i++) {
                has4 |= q->ips[i].family == IP_V4;
                has6 |= q->ips[i].family == IP_V6;
        }
        if (q->n_ips > 0 && (has4 != q->want4 || has6 != q->want6))
                set_fault(q, REQUEST_BAD_FAMILY,
                        arena_printf(a, "requested is %s, but the Service is %s",
                                has4 && has6   ? "one address of each family"
                                        : has4 ? "an IPv4 address"
                                               : "an IPv6 address",
                                q->want4 && q->want6 ? "dual-stack"
                                        : q->want4   ? "IPv4"
                                                     : "IPv6"));
        if (q->fault != REQUEST_OK)
                q->n_ips = 0;
}

static void read_current(struct request *q, const struct service *s)
{
        bool seen[2] = { false, false };

        for (size_t i = 0; i < s->n_ingress; i++) {
                struct ip ip;

                if (!*s->ingress[i].ip)
                        continue;
                if (ip_parse(&ip, s->ingress[i].ip) < 0 || seen[ip.family == IP_V6]) {
                        q->current_is_odd = true;
                        continue;
                }
                seen[ip.family == IP_V6] = true;
                q->current[q->n_current++] = ip;
        }
}

static int port_cmp(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return (x > y) - (x < y);
}

static void read_ports(struct request *q, struct arena *a, const struct service *s)
{
        uint32_t *v = arena_calloc(a, s->n_ports, sizeof(*v));
        size_t n = 0;

        if (!v)
                return;
        for (size_t i = 0; i < s->n_ports; i++)
                v[i] = request_port(s->ports[i].protocol, s->ports[i].port);
        qsort(v, s->n_ports, sizeof(*v), port_cmp);
        for (size_t i = 0; i < s->n_ports; i++)
                if (i == 0 || v[i] != v[n - 1])
                        v[n++] = v[i];
        q->ports = v;
        q->n_ports = n;
}

/* Two Services may stand behind one address when every node would send its traffic to the same pods: with policy
 * Cluster always, with Local only for equal selectors. */
static const char *backend_key(struct arena *a, const struct service *s)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        const char *text;

        if (!s->local_policy)
                return "";
        for (size_t i = 0; i < s->selector.n; i++)
                buf_addf(&b, "%s%s=%s", i ? "," : "", s->selector.v[i].key, s->selector.v[i].value);
        text = buf_ok(&b) ? arena_dup(a, buf_str(&b)) : NULL;
        return text;
}

int request_init(
        struct request *ret, struct arena *a, const struct service *s, const struct kv_list *ns_labels)
{
        const char *pool = service_annotation(&s->meta, REQUEST_POOL_SUFFIX);
        const char *share = service_annotation(&s->meta, REQUEST_SHARE_SUFFIX);
        const char *from = service_annotation(&s->meta, FROM_POOL_SUFFIX);
        struct request q = {
                .key = arena_printf(a, "%s/%s", s->meta.ns, s->meta.name),
                .ns = s->meta.ns,
                .name = s->meta.name,
                .created_s = s->meta.created_s,
                .labels = &s->meta.labels,
                .ns_labels = ns_labels,
                .policy = s->ip_policy,
                .pool = pool ? pool : "",
                .share_key = share ? share : "",
                .backend_key = backend_key(a, s),
                .current_pool = from ? from : "",
                .fault_text = "",
        };

        read_families(&q, a, s);
        if (q.fault == REQUEST_OK)
                read_ips(&q, a, s);
        read_current(&q, s);
        read_ports(&q, a, s);
        if (!arena_ok(a) || !q.backend_key)
                return -ENOMEM;
        *ret = q;
        return 0;
}
