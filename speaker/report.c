/* SPDX-License-Identifier: Apache-2.0 */
#include "speaker/report.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"

#define PROTOCOL "layer2"

void report_init(struct report *r, const char *node, struct metrics *reg)
{
        static const char *const announced[] = { "ip", "node", "protocol", "service", NULL };
        static const char *const reason[] = { "reason", NULL }, *const able[] = { "able_nodes", NULL };

        *r = (struct report){ .node = node };
        r->announced = metrics_family(reg, METRIC_GAUGE, "metallb_speaker_announced",
                "1 for each address of a Service that this node announces.", announced, NULL, 0);
        r->addresses = metrics_family(reg, METRIC_GAUGE, "metallb_speaker_addresses",
                "Addresses of Services by what this node does about them: announced, or why not.", reason,
                NULL, 0);
        r->candidates = metrics_family(reg, METRIC_GAUGE, "metallb_speaker_addresses_by_candidates",
                "Addresses of Services by how many nodes are able to announce them.", able, NULL, 0);
}

/* ["a","b"] */
static void add_interfaces(struct buf *b, const struct view_address *a)
{
        if (a->n_interfaces == 0)
                buf_adds(b, "[\"*\"");
        for (size_t i = 0; i < a->n_interfaces; i++) {
                buf_adds(b, i == 0 ? "[" : ",");
                buf_add_json(b, a->interfaces[i]);
        }
        buf_adds(b, "]");
}

static void add_ip(struct buf *b, const struct ip *ip)
{
        char text[IP_TEXT_MAX];

        buf_adds(b, b->len == 0 ? "[" : ",");
        buf_add_json(b, ip_format(ip, text));
}

static void count_announced(const struct report *r, const char *service, const struct view_address *a)
{
        char ip[IP_TEXT_MAX];

        (void)ip_format(&a->ip, ip);
        if (a->now == VIEW_ANNOUNCED)
                series_set(metrics_with(r->announced, ip, r->node, PROTOCOL, service), 1);
        else
                metrics_drop(r->announced, ip, r->node, PROTOCOL, service);
}

/* One line for all addresses that came, and one event for the Service. */
static void say_announced(struct report *r, const struct view_change *c, const char *service, bool known)
{
        CLEANUP(buf_fini) struct buf ips = BUF_INIT, interfaces = BUF_INIT;
        const struct view_address *first = NULL;
        char ip[IP_TEXT_MAX];

        for (size_t i = 0; i < c->n; i++) {
                const struct view_address *a = &c->addresses[i];

                if (a->now != VIEW_ANNOUNCED || a->was == VIEW_ANNOUNCED)
                        continue;
                first = first ? first : a;
                add_ip(&ips, &a->ip);
        }
        if (!first)
                return;
        buf_adds(&ips, "]");
        add_interfaces(&interfaces, first);
        log_info("service has IP, announcing", F_STR("event", "serviceAnnounced"), F_STR("service", service),
                F_JSON("ips", buf_ok(&ips) ? buf_str(&ips) : "[]"), F_STR("ip", ip_format(&first->ip, ip)),
                F_STR("pool", first->pool), F_STR("protocol", PROTOCOL), F_STR("node", r->node),
                F_JSON("interfaces", buf_ok(&interfaces) ? buf_str(&interfaces) : "[]"));
        if (r->events && c->service && !known)
                events_say(r->events,
                        &(struct event_object){ "v1", "Service", c->ns, c->name, c->service->meta.uid },
                        EVENT_NORMAL, "nodeAssigned",
                        "announcing from node \"%s\" with protocol \"" PROTOCOL "\"", r->node);
}

static void say_withdrawn(const struct view_address *a, const char *service)
{
        char ip[IP_TEXT_MAX];

        log_info("withdrawing service announcement", F_STR("event", "serviceWithdrawn"),
                F_STR("service", service), F_STR("ip", ip_format(&a->ip, ip)), F_STR("protocol", PROTOCOL),
                F_STR("reason", elect_reason_metallb(a->reason)), F_STR("why", elect_reason_words(a->reason)),
                F_STR("announcer", a->winner ? a->winner : ""));
}

static void say_failed(
        struct report *r, const struct view_change *c, const struct view_address *a, const char *service)
{
        CLEANUP(buf_fini) struct buf interfaces = BUF_INIT;
        char ip[IP_TEXT_MAX];

        (void)ip_format(&a->ip, ip);
        add_interfaces(&interfaces, a);
        log_warn("the specified interfaces used to announce LB IP don't exist",
                F_STR("event", "announceFailed"), F_STR("service", service), F_STR("ip", ip),
                F_STR("node", r->node), F_STR("protocol", PROTOCOL),
                F_JSON("interfaces", buf_ok(&interfaces) ? buf_str(&interfaces) : "[]"));
        if (r->events && c->service)
                events_say(r->events,
                        &(struct event_object){ "v1", "Service", c->ns, c->name, c->service->meta.uid },
                        EVENT_WARNING, "announceFailed",
                        "the interfaces specified by LB IP \"%s\" doesn't exist in assigned node \"%s\" with "
                        "protocol \"" PROTOCOL "\"",
                        ip, r->node);
}

void report_change(struct report *r, const struct view_change *c, bool known)
{
        CLEANUP(buf_fini) struct buf name = BUF_INIT;
        const char *service;

        buf_addf(&name, "%s/%s", c->ns, c->name);
        service = buf_str(&name);
        for (size_t i = 0; i < c->n; i++) {
                const struct view_address *a = &c->addresses[i];

                if (a->was == a->now)
                        continue;
                count_announced(r, service, a);
                if (a->now == VIEW_FAILED)
                        say_failed(r, c, a, service);
                else if (a->was == VIEW_ANNOUNCED)
                        say_withdrawn(a, service);
        }
        say_announced(r, c, service, known);
}

void report_counts(struct report *r, const struct view_counts *c)
{
        static const char *const able[] = { "0", "1", "2", "3+" };

        for (int i = 0; i < ELECT_N_REASONS; i++) {
                const char *name = elect_reason_name((enum elect_reason)i);

                if (c->reasons[i] > 0)
                        series_set(metrics_with(r->addresses, name), (double)c->reasons[i]);
                else
                        metrics_drop(r->addresses, name);
        }
        for (size_t i = 0; i < ARRAY_LEN(able); i++)
                series_set(metrics_with(r->candidates, able[i]), (double)c->candidates[i]);
}
