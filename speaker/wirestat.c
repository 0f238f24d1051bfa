/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. */
#include "speaker/wirestat.h"

static const char *const by_ip[] = { "ip", NULL };
static const char *const by_reason[] = { "protocol", "reason", NULL };
static const char *const by_interface[] = { "interface", NULL };
static const double latency_bounds[] = { 25e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 50e-3,
        100e-3, 1 };

static const char *const reasons[WIRE_DROPS] = {
        [DROP_MALFORMED] = "malformed",
        [DROP_BAD_SENDER] = "sender",
        [DROP_NOT_FOR_US] = "destination",
        [DROP_NOTHING] = "nothing",
        [DROP_UNOWNED] = "unowned",
        [DROP_INTERFACE] = "interface",
        [DROP_KERNEL] = "kernel",
        [DROP_SEGMENT] = "segment",
        [DROP_CONFLICT] = "conflict",
        [DROP_OWN] = "own",
        [DROP_RATE] = "rate",
        [DROP_SEND] = "send",
};

static struct series *alone(struct metrics *reg, enum metric_type type, const char *name, const char *help)
{
        return metrics_series(metrics_family(reg, type, name, help, NULL, NULL, 0), NULL);
}

void wirestat_init(struct wirestat *s, struct metrics *reg)
{
        struct family *drops;

        *s = (struct wirestat){ .requests = NULL };
        if (!reg)
                return;
        s->requests = metrics_family(reg, METRIC_COUNTER, "metallb_layer2_requests_received",
                "Questions for an owned address that reached this node, ARP and neighbour solicitations",
                by_ip, NULL, 0);
        s->responses = metrics_family(reg, METRIC_COUNTER, "metallb_layer2_responses_sent",
                "Answers sent for an owned address", by_ip, NULL, 0);
        s->gratuitous = metrics_family(reg, METRIC_COUNTER, "metallb_layer2_gratuitous_sent",
                "Unsolicited announcement frames sent for an owned address", by_ip, NULL, 0);
        s->conflicts = metrics_family(reg, METRIC_COUNTER, "metallb_layer2_conflicts_total",
                "Frames in which another host claims an owned address", by_ip, NULL, 0);
        s->links = metrics_family(reg, METRIC_GAUGE, "metallb_layer2_interface_up",
                "1 if the interface is up and has carrier; interfaces that can speak layer 2 and are not excluded",
                by_interface, NULL, 0);
        drops = metrics_family(reg, METRIC_COUNTER, "metallb_layer2_dropped_total",
                "Received frames that were not answered, by reason", by_reason, NULL, 0);
        for (unsigned i = 0; i < WIRE_DROPS; i++) {
                if (!reasons[i])
                        continue;
                s->drops[0][i] = metrics_with(drops, "arp", reasons[i]);
                s->drops[1][i] = metrics_with(drops, "ndp", reasons[i]);
        }
        s->latency =
                metrics_series(metrics_family(reg, METRIC_HISTOGRAM, "metallb_layer2_reply_latency_seconds",
                                       "From the kernel's receive timestamp until the answer is handed to it",
                                       NULL, latency_bounds, ARRAY_LEN(latency_bounds)),
                        NULL);
        s->stall = alone(reg, METRIC_GAUGE, "metallb_layer2_stall_seconds_max",
                "Longest time the wire thread was busy before it looked at its sockets again");
        s->reopened = alone(reg, METRIC_COUNTER, "metallb_layer2_socket_reopened_total",
                "Packet sockets that died and were opened again");
        s->lost = alone(reg, METRIC_COUNTER, "metallb_layer2_capture_lost_total",
                "Frames that found a full capture ring");
        s->owned =
                alone(reg, METRIC_GAUGE, "metallb_layer2_owned_addresses", "Addresses this node answers for");
        s->shared = alone(reg, METRIC_GAUGE, "metallb_layer2_shared_interfaces",
                "Interfaces found to hang on the same LAN as another one of this node");
}

void wirestat_drop(struct wirestat *s, bool ipv6, enum wire_drop why)
{
        series_add(s->drops[ipv6][why], 1);
}

void wirestat_stall(struct wirestat *s, double seconds)
{
        if (seconds <= s->stall_max_s)
                return;
        s->stall_max_s = seconds;
        series_set(s->stall, seconds);
}

struct vipstat wirestat_vip(struct wirestat *s, const struct ip *ip)
{
        char text[IP_TEXT_MAX];

        if (!s->requests)
                return (struct vipstat){ .requests = NULL };
        (void)ip_format(ip, text);
        return (struct vipstat){
                metrics_with(s->requests, text),
                metrics_with(s->responses, text),
                metrics_with(s->gratuitous, text),
                metrics_with(s->conflicts, text),
        };
}

void wirestat_forget(struct wirestat *s, const struct ip *ip)
{
        char text[IP_TEXT_MAX];

        if (!s->requests)
                return;
        (void)ip_format(ip, text);
        metrics_drop(s->requests, text);
        metrics_drop(s->responses, text);
        metrics_drop(s->gratuitous, text);
        metrics_drop(s->conflicts, text);
}

void wirestat_link(struct wirestat *s, const char *name, bool known, bool up)
{
        if (!s->links)
                return;
        if (known)
                series_set(metrics_with(s->links, name), up ? 1 : 0);
        else
                metrics_drop(s->links, name);
}
