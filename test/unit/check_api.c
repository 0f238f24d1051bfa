/* SPDX-License-Identifier: Apache-2.0 */
/* The objects below are as an API server prints them. Two properties are checked for all decoders at once: whatever type
 * stands in whatever field, decoding succeeds; whichever allocation fails, the answer is -ENOMEM and nothing leaks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/l2adv.h"
#include "common/api/misc.h"
#include "common/api/node.h"
#include "common/api/pool.h"
#include "common/api/service.h"
#include "common/api/slice.h"
#include "common/buf.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define META(more) "\"metadata\":{\"name\":\"x\"" more "}"

static const char service_json[] =
        "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"web\",\"namespace\":\"shop\",\"uid\":"
        "\"f3b1c8f2-6b1d-4c3a-9a77-0242ac120002\",\"resourceVersion\":\"4711\",\"generation\":3,\"creationTimestamp\":"
        "\"2026-11-22T01:02:03Z\",\"labels\":{\"tier\":\"front\",\"app\":\"web\"},\"annotations\":{\"metallb.io/"
        "address-pool\":\"gold\",\"metallb.universe.tf/allow-shared-ip\":\"k\",\"kubectl.kubernetes.io/"
        "last-applied-configuration\":\"{}\",\"metallb.iox/no\":\"1\",\"metallb.io\":\"no\"},\"managedFields\":[{"
        "\"manager\":\"kubectl\"}]},\"spec\":{\"ports\":[{\"name\":\"http\",\"protocol\":\"TCP\",\"port\":80,"
        "\"targetPort\":\"http\",\"nodePort\":30123},{\"name\":\"dns\",\"protocol\":\"UDP\",\"port\":53}],\"selector\":{"
        "\"zone\":\"a\",\"app\":\"web\"},\"clusterIP\":\"fd00::7\",\"clusterIPs\":[\"fd00::7\",\"10.96.0.7\"],"
        "\"type\":\"LoadBalancer\",\"externalTrafficPolicy\":\"Local\",\"ipFamilies\":[\"IPv6\",\"IPv4\"],"
        "\"ipFamilyPolicy\":\"RequireDualStack\",\"loadBalancerClass\":\"example.com/l2\",\"loadBalancerIP\":"
        "\"192.0.2.1\",\"publishNotReadyAddresses\":true},\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":"
        "\"192.0.2.1\",\"ipMode\":\"VIP\",\"ports\":[{\"port\": 80, \"protocol\": \"TCP\"}]},{\"hostname\":"
        "\"web.example.com\"}]},\"conditions\":[{\"type\":\"A\",\"status\":\"True\",\"reason\":\"R\",\"message\":\"M\","
        "\"observedGeneration\":2,\"lastTransitionTime\":\"1970-01-01T00:00:05Z\"},{\"type\":\"B\",\"status\":"
        "\"Unknown\"},{\"status\":\"True\"}]}}";

static const char slice_json[] =
        "{\"metadata\":{\"name\":\"web-x7\",\"namespace\":\"shop\",\"uid\":\"u\",\"resourceVersion\":\"9\",\"labels\":{"
        "\"kubernetes.io/service-name\":\"web\",\"other\":\"x\"}},\"addressType\":\"IPv4\",\"endpoints\":["
        "{\"addresses\":[\"10.0.0.1\"],\"conditions\":{\"ready\":true,\"serving\":true},\"nodeName\":\"n2\"},"
        "{\"addresses\":[\"10.0.0.2\"],\"conditions\":{\"ready\":false,\"serving\":true},\"nodeName\":\"n1\"},"
        "{\"addresses\":[\"10.0.0.3\"],\"conditions\":{\"ready\":false,\"serving\":false},\"nodeName\":\"n2\"},"
        "{\"addresses\":[\"10.0.0.4\"],\"conditions\":{\"ready\":null,\"serving\":false},\"nodeName\":\"n2\"},"
        "{\"addresses\":[\"10.0.0.5\"],\"conditions\":{\"ready\":false},\"nodeName\":\"n3\"},"
        "{\"addresses\":[\"10.0.0.6\"]},"
        "{\"addresses\":[\"10.0.0.7\"],\"conditions\":{\"ready\":false,\"serving\":null,\"terminating\":true},"
        "\"nodeName\":null}],\"ports\":[{\"port\":80}]}";

static const char node_json[] =
        "{\"metadata\":{\"name\":\"n1\",\"labels\":{\"node.kubernetes.io/exclude-from-external-load-balancers\":\"false\","
        "\"rack\":\"r1\"}},\"spec\":{\"podCIDR\":\"10.1.0.0/24\"},\"status\":{\"conditions\":[{\"type\":\"Ready\","
        "\"status\":\"True\"},{\"type\":\"NetworkUnavailable\",\"status\":\"True\"},{\"type\":\"DiskPressure\","
        "\"status\":\"Unknown\"}],\"addresses\":[{\"type\":\"Hostname\",\"address\":\"1.2.3.4\"},{\"type\":"
        "\"InternalIP\",\"address\":\"192.0.2.9\"},{\"type\":\"InternalIP\",\"address\":\"nonsense\"},{\"type\":"
        "\"ExternalIP\",\"address\":\"2001:db8::9\"}],\"images\":[{\"names\":[\"a\"]}]}}";

static const char pod_json[] =
        "{\"metadata\":{\"name\":\"p\",\"namespace\":\"s\"},\"spec\":{\"nodeName\":\"n1\"},\"status\":{\"phase\":"
        "\"Running\",\"podIP\":\"10.0.0.9\",\"podIPs\":[{\"ip\":\"10.0.0.1\"},{\"ip\":\"bad\"},{\"ip\":\"fd00::1\"}],"
        "\"conditions\":[{\"type\":\"Initialized\",\"status\":\"True\"},{\"type\":\"Ready\",\"status\":\"True\"}]}}";

static const char l2status_json[] =
        "{\"metadata\":{\"name\":\"l2-abc\",\"namespace\":\"metallb-system\"},\"spec\":{},\"status\":{\"node\":\"n1\","
        "\"serviceName\":\"web\",\"serviceNamespace\":\"shop\",\"interfaces\":[{\"name\":\"eth0\"},{},{\"name\":"
        "\"eth1\"}]}}";

static const char pool_json[] =
        "{\"metadata\":{\"name\":\"gold\",\"namespace\":\"metallb-system\",\"generation\":2,\"annotations\":{\"metallb.io/"
        "reserved-addresses\":\"192.0.2.1, 192.0.2.8-192.0.2.9 ,, 192.0.2.16/30 \"}},\"spec\":{\"addresses\":["
        "\"192.0.2.0/24\",\"fd00::1-fd00::ff\"],\"autoAssign\":false,\"avoidBuggyIPs\":true,\"serviceAllocation\":{"
        "\"priority\":50,\"namespaces\":[\"shop\",\"bank\"],\"namespaceSelectors\":[{\"matchLabels\":{\"team\":\"a\"}}],"
        "\"serviceSelectors\":[{\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"In\",\"values\":[\"b\",\"a\"]}]}]}},"
        "\"status\":{\"assignedIPv4\":1,\"assignedIPv6\":2,\"availableIPv4\":3,\"availableIPv6\":9223372036854775807,"
        "\"withheldIPv4\":4,\"withheldIPv6\":5,\"conditions\":[{\"type\":\"Valid\",\"status\":\"True\"}]}}";

static const char l2adv_json[] =
        "{\"metadata\":{\"name\":\"adv\",\"namespace\":\"metallb-system\"},\"spec\":{\"ipAddressPools\":[\"gold\","
        "\"silver\"],\"ipAddressPoolSelectors\":[{\"matchLabels\":{\"a\":\"b\"}}],\"nodeSelectors\":[{\"matchLabels\":{"
        "\"rack\":\"r1\"}},{\"matchLabels\":{\"rack\":\"r2\"}}],\"serviceSelectors\":[{}],\"interfaces\":[\"eth1\","
        "\"eth0\",\"eth1\"],\"preferredNodeSelectors\":[{\"weight\":5,\"preference\":{\"matchLabels\":{\"rack\":\"r1\"}}},{"
        "\"weight\":7,\"preference\":{}}]},\"status\":{\"conditions\":[{\"type\":\"Valid\",\"status\":\"False\"}]}}";

static const struct {
        const char *name;
        object_decode_fn decode;
        const char *json;
} kinds[] = {
        { "Service", service_decode, service_json },
        { "Service, brief", service_decode_brief, service_json },
        { "EndpointSlice", slice_decode, slice_json },
        { "Node", node_decode, node_json },
        { "Pod", pod_decode, pod_json },
        { "ServiceL2Status", l2status_decode, l2status_json },
        { "IPAddressPool", pool_decode, pool_json },
        { "L2Advertisement", l2adv_decode, l2adv_json },
        { "metadata", metadata_decode, service_json },
};

static cJSON *parsed(const char *text)
{
        cJSON *tree = NULL;

        ck_assert_msg(json_parse(&tree, text, strlen(text)) == 0, "bad test data: %s", text);
        return tree;
}

/* The tree is freed before the object is looked at: under ASan anything still borrowed from it shows. */
static struct object *decoded(object_decode_fn decode, const char *text)
{
        cJSON *tree = parsed(text);
        struct object *o = NULL;
        int r = decode(&o, tree);

        cJSON_Delete(tree);
        ck_assert_msg(r == 0, "%s: got %d", text, r);
        return o;
}

START_TEST(metadata)
{
        CLEANUP(object_freep) struct object *o = decoded(metadata_decode, service_json);

        ck_assert_str_eq(o->ns, "shop");
        ck_assert_str_eq(o->name, "web");
        ck_assert_str_eq(o->uid, "f3b1c8f2-6b1d-4c3a-9a77-0242ac120002");
        ck_assert_str_eq(o->rv, "4711");
        ck_assert_int_eq(o->generation, 3);
        ck_assert_int_eq(o->created_s, 1795309323);
        ck_assert(!o->deleting);
        ck_assert_uint_eq(o->labels.n, 2);
        ck_assert_str_eq(kv_get(&o->labels, "app"), "web");
        ck_assert_uint_eq(o->annotations.n, 2); /* only those that concern us */
        ck_assert_str_eq(kv_get(&o->annotations, "metallb.io/address-pool"), "gold");
        ck_assert_str_eq(kv_get(&o->annotations, "metallb.universe.tf/allow-shared-ip"), "k");
}
END_TEST

START_TEST(metadata_defaults)
{
        CLEANUP(object_freep)
        struct object *o = decoded(metadata_decode, "{" META("") "}"),
                      *going = decoded(metadata_decode,
                              "{" META(",\"deletionTimestamp\":\"2026-11-22T01:02:03Z\","
                                       "\"creationTimestamp\":\"yesterday\"") "}");

        ck_assert_str_eq(o->ns, "");
        ck_assert_str_eq(o->uid, "");
        ck_assert_str_eq(o->rv, "");
        ck_assert_int_eq(o->generation, 0);
        ck_assert_int_eq(o->created_s, 0);
        ck_assert_uint_eq(o->labels.n, 0);
        ck_assert(going->deleting);
        ck_assert_int_eq(going->created_s, 0);
        ck_assert_ptr_null(object_free(NULL));
}
END_TEST

static const char *const nameless[] = {
        "{}",
        "[]",
        "null",
        "5",
        "\"x\"",
        "{\"metadata\":null}",
        "{\"metadata\":[]}",
        "{\"metadata\":{}}",
        "{\"metadata\":{\"name\":\"\"}}",
        "{\"metadata\":{\"name\":null}}",
        "{\"metadata\":{\"name\":5}}",
};

START_TEST(nameless_is_malformed)
{
        CLEANUP(json_deletep) cJSON *json = parsed(nameless[_i]);
        struct object *o = NULL;

        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
                ck_assert_msg(kinds[i].decode(&o, json) == ERR_MALFORMED, "%s", kinds[i].name);
        ck_assert_ptr_null(o);
}
END_TEST

START_TEST(service)
{
        CLEANUP(object_freep) struct object *o = decoded(service_decode, service_json);
        const struct service *s = service_of(o);
        const struct condition *c = condition_get(&s->conditions, "A");

        ck_assert(s->is_load_balancer && s->local_policy && s->publish_not_ready && s->ipv6_first);
        ck_assert_str_eq(s->lb_class, "example.com/l2");
        ck_assert_str_eq(s->lb_ip, "192.0.2.1");
        ck_assert_uint_eq(s->cluster_ips.n, 2);
        ck_assert_str_eq(s->cluster_ips.v[0], "fd00::7");
        ck_assert_int_eq(s->ip_policy, SERVICE_REQUIRE_DUAL_STACK);
        ck_assert_uint_eq(s->selector.n, 2);
        ck_assert_str_eq(s->selector.v[0].key, "app");
        ck_assert_uint_eq(s->n_ports, 2);
        ck_assert_str_eq(s->ports[0].protocol, "TCP");
        ck_assert_uint_eq(s->ports[0].port, 80);
        ck_assert_str_eq(s->ports[1].protocol, "UDP");
        ck_assert_uint_eq(s->ports[1].port, 53);
        ck_assert_uint_eq(s->n_ingress, 2);
        ck_assert_str_eq(s->ingress[0].ip, "192.0.2.1");
        ck_assert_str_eq(s->ingress[0].hostname, "");
        ck_assert_str_eq(s->ingress[0].ip_mode, "VIP");
        ck_assert_str_eq(s->ingress[0].ports, "[{\"port\":80,\"protocol\":\"TCP\"}]");
        ck_assert_str_eq(s->ingress[1].ip, "");
        ck_assert_str_eq(s->ingress[1].hostname, "web.example.com");
        ck_assert_ptr_null(s->ingress[1].ports);
        ck_assert_uint_eq(s->conditions.n, 2);
        ck_assert_str_eq(c->status, "True");
        ck_assert_str_eq(c->reason, "R");
        ck_assert_str_eq(c->message, "M");
        ck_assert_int_eq(c->observed_generation, 2);
        ck_assert_int_eq(c->last_transition_s, 5);
        ck_assert_str_eq(condition_get(&s->conditions, "B")->message, "");
        ck_assert_ptr_null(condition_get(&s->conditions, "C"));
}
END_TEST

START_TEST(service_defaults)
{
        CLEANUP(object_freep) struct object *o = decoded(service_decode, "{" META("") "}");
        const struct service *s = service_of(o);

        ck_assert(!s->is_load_balancer && !s->local_policy && !s->publish_not_ready && !s->ipv6_first);
        ck_assert_ptr_null(s->lb_class);
        ck_assert_str_eq(s->lb_ip, "");
        ck_assert_uint_eq(s->cluster_ips.n, 0);
        ck_assert_int_eq(s->ip_policy, SERVICE_SINGLE_STACK);
        ck_assert_uint_eq(s->n_ports + s->n_ingress + s->conditions.n + s->selector.n, 0);
}
END_TEST

static const struct {
        const char *text;
        enum service_ip_policy want;
} policies[] = {
        { "\"SingleStack\"", SERVICE_SINGLE_STACK },
        { "\"PreferDualStack\"", SERVICE_PREFER_DUAL_STACK },
        { "\"RequireDualStack\"", SERVICE_REQUIRE_DUAL_STACK },
        { "\"dualstack\"", SERVICE_SINGLE_STACK },
        { "null", SERVICE_SINGLE_STACK },
        { "5", SERVICE_SINGLE_STACK },
};

START_TEST(service_policy)
{
        CLEANUP(object_freep) struct object *o = NULL;
        char text[128];

        (void)snprintf(
                text, sizeof(text), "{" META("") ",\"spec\":{\"ipFamilyPolicy\":%s}}", policies[_i].text);
        o = decoded(service_decode, text);
        ck_assert_int_eq(service_of(o)->ip_policy, policies[_i].want);
}
END_TEST

START_TEST(service_brief_has_no_conditions)
{
        CLEANUP(object_freep) struct object *o = decoded(service_decode_brief, service_json);
        const struct service *s = service_of(o);

        ck_assert_uint_eq(s->conditions.n, 0);
        ck_assert_uint_eq(s->n_ingress, 2);
        ck_assert_uint_eq(s->n_ports, 2);
}
END_TEST

static const struct {
        const char *spec;
        const char *ips; /* joined by blanks */
} cluster_ips[] = {
        { "\"clusterIP\":\"10.0.0.1\"", "10.0.0.1" },
        { "\"clusterIP\":\"None\"", "None" },
        { "\"clusterIP\":\"None\",\"clusterIPs\":[\"None\"]", "None" },
        { "\"clusterIP\":\"10.0.0.1\",\"clusterIPs\":[\"10.0.0.2\"]", "10.0.0.2" },
        { "\"clusterIP\":\"10.0.0.1\",\"clusterIPs\":[]", "10.0.0.1" },
        { "\"clusterIP\":\"10.0.0.1\",\"clusterIPs\":null", "10.0.0.1" },
        { "\"clusterIP\":\"\",\"clusterIPs\":[]", "" },
        { "\"clusterIPs\":[\"a\",5,\"b\",\"c\"]", "a b c" },
};

START_TEST(service_cluster_ips)
{
        CLEANUP(object_freep) struct object *o = NULL;
        char text[256], joined[256] = "";
        const struct service *s;

        (void)snprintf(text, sizeof(text), "{" META("") ",\"spec\":{%s}}", cluster_ips[_i].spec);
        o = decoded(service_decode, text);
        s = service_of(o);
        for (size_t i = 0; i < s->cluster_ips.n; i++)
                (void)snprintf(joined + strlen(joined), sizeof(joined) - strlen(joined), "%s%s",
                        i > 0 ? " " : "", s->cluster_ips.v[i]);
        ck_assert_str_eq(joined, cluster_ips[_i].ips);
}
END_TEST

static const struct {
        const char *port;
        const char *protocol;
        unsigned number;
} ports[] = {
        { "{\"port\":1}", "TCP", 1 },
        { "{\"port\":65535,\"protocol\":\"SCTP\"}", "SCTP", 65535 },
        { "{\"port\":65536}", "TCP", 0 },
        { "{\"port\":0}", "TCP", 0 },
        { "{\"port\":-1}", "TCP", 0 },
        { "{\"port\":1.5}", "TCP", 0 },
        { "{\"port\":1e300}", "TCP", 0 },
        { "{\"port\":\"80\"}", "TCP", 0 },
        { "{\"protocol\":\"QUIC\"}", "QUIC", 0 },
        { "{\"protocol\":5,\"port\":80}", "TCP", 80 },
        { "null", "TCP", 0 },
        { "5", "TCP", 0 },
};

START_TEST(service_ports)
{
        CLEANUP(object_freep) struct object *o = NULL;
        char text[256];

        (void)snprintf(text, sizeof(text), "{" META("") ",\"spec\":{\"ports\":[%s]}}", ports[_i].port);
        o = decoded(service_decode, text);
        ck_assert_uint_eq(service_of(o)->n_ports, 1);
        ck_assert_str_eq(service_of(o)->ports[0].protocol, ports[_i].protocol);
        ck_assert_uint_eq(service_of(o)->ports[0].port, ports[_i].number);
}
END_TEST

static const struct {
        const char *class, *flag;
        bool want;
} classes[] = {
        { NULL, "", true },
        { NULL, "foo", false },
        { "foo", "", false },
        { "foo", "bar", false },
        { "foo", "foo", true },
        { "foo", "Foo", false },
        { "", "", false },
};

START_TEST(service_class)
{
        struct service s = { .lb_class = classes[_i].class };

        ck_assert_int_eq(service_class_matches(&s, classes[_i].flag), classes[_i].want);
}
END_TEST

static const struct {
        const char *annotations;
        const char *want;
} annotations[] = {
        { "", NULL },
        { "\"metallb.io/address-pool\":\"new\"", "new" },
        { "\"metallb.universe.tf/address-pool\":\"old\"", "old" },
        { "\"metallb.universe.tf/address-pool\":\"old\",\"metallb.io/address-pool\":\"new\"", "new" },
        { "\"metallb.universe.tf/address-pool\":\"old\",\"metallb.io/address-pool\":\"\"", "" },
        { "\"metallb.universe.tf/address-pool\":\"old\",\"metallb.io/address-pool\":null", "old" },
        { "\"metallb.io/address-pools\":\"x\"", NULL },
        { "\"metallb.io/\":\"x\"", NULL },
};

START_TEST(annotation_precedence)
{
        CLEANUP(object_freep) struct object *o = NULL;
        char text[256];
        const char *got;

        (void)snprintf(
                text, sizeof(text), "{" META(",\"annotations\":{%s}") "}", annotations[_i].annotations);
        o = decoded(service_decode, text);
        got = service_annotation(o, "address-pool");
        if (annotations[_i].want)
                ck_assert_str_eq(got, annotations[_i].want);
        else
                ck_assert_ptr_null(got);
}
END_TEST

START_TEST(slice)
{
        CLEANUP(object_freep) struct object *o = decoded(slice_decode, slice_json);
        static const struct slice_node want[] = { { "", 1, 1 }, { "n1", 1, 0 }, { "n2", 2, 1 },
                { "n3", 0, 1 } };
        const struct slice *s = slice_of(o);

        ck_assert_str_eq(s->service, "web");
        ck_assert_str_eq(o->ns, "shop");
        ck_assert_str_eq(o->rv, "9");
        ck_assert_str_eq(o->uid, "");
        ck_assert_uint_eq(o->labels.n, 0);
        ck_assert_uint_eq(s->n_nodes, ARRAY_LEN(want));
        for (size_t i = 0; i < ARRAY_LEN(want); i++) {
                ck_assert_str_eq(s->nodes[i].node, want[i].node);
                ck_assert_uint_eq(s->nodes[i].usable, want[i].usable);
                ck_assert_uint_eq(s->nodes[i].not_usable, want[i].not_usable);
        }
}
END_TEST

static const struct {
        const char *conditions;
        bool usable;
} usability[] = {
        { "{}", true }, { "null", true }, { "5", true }, { "{\"ready\":true}", true },
        { "{\"ready\":true,\"serving\":false}", true }, { "{\"ready\":null,\"serving\":false}", true },
        { "{\"serving\":false}", true }, { "{\"ready\":false}", false },
        { "{\"ready\":false,\"serving\":null}", false }, { "{\"ready\":false,\"serving\":false}", false },
        { "{\"ready\":false,\"serving\":true}", true },
        { "{\"ready\":false,\"serving\":true,\"terminating\":true}", true },
        { "{\"ready\":\"false\"}", true }, /* another type reads as absent */
};

START_TEST(endpoint_usability)
{
        CLEANUP(object_freep) struct object *o = NULL;
        char text[256];

        (void)snprintf(text, sizeof(text), "{" META("") ",\"endpoints\":[5,{\"conditions\":%s}]}",
                usability[_i].conditions);
        o = decoded(slice_decode, text);
        ck_assert_uint_eq(slice_of(o)->n_nodes, 1);
        ck_assert_uint_eq(slice_of(o)->nodes[0].usable, usability[_i].usable);
        ck_assert_uint_eq(slice_of(o)->nodes[0].not_usable, !usability[_i].usable);
}
END_TEST

START_TEST(node)
{
        CLEANUP(object_freep)
        struct object *o = decoded(node_decode, node_json), *bare = decoded(node_decode, "{" META("") "}");
        const struct node *n = node_of(o);
        char text[IP_TEXT_MAX];

        ck_assert(n->ready && n->network_unavailable && n->excluded);
        ck_assert_uint_eq(n->n_addresses, 2);
        ck_assert_str_eq(ip_format(&n->addresses[0], text), "192.0.2.9");
        ck_assert_str_eq(ip_format(&n->addresses[1], text), "2001:db8::9");
        ck_assert_str_eq(kv_get(&o->labels, "rack"), "r1");
        n = node_of(bare);
        ck_assert(!n->ready && !n->network_unavailable && !n->excluded);
        ck_assert_uint_eq(n->n_addresses, 0);
}
END_TEST

START_TEST(pod)
{
        CLEANUP(object_freep)
        struct object *
                o = decoded(pod_decode, pod_json),
               *old = decoded(pod_decode,
                       "{" META("") ",\"status\":{\"podIP\":\"10.0.0.9\",\"podIPs\":[{\"ip\":\"?\"}]}}"),
               *none = decoded(pod_decode, "{" META("") ",\"status\":{\"podIPs\":[],\"phase\":\"Pending\"}}");
        char text[IP_TEXT_MAX];

        ck_assert_str_eq(pod_of(o)->node, "n1");
        ck_assert_str_eq(pod_of(o)->phase, "Running");
        ck_assert(pod_of(o)->ready);
        ck_assert_uint_eq(pod_of(o)->n_ips, 2);
        ck_assert_str_eq(ip_format(&pod_of(o)->ips[1], text), "fd00::1");
        ck_assert_uint_eq(pod_of(old)->n_ips, 1);
        ck_assert_str_eq(ip_format(&pod_of(old)->ips[0], text), "10.0.0.9");
        ck_assert_uint_eq(pod_of(none)->n_ips, 0);
        ck_assert(!pod_of(none)->ready);
        ck_assert_str_eq(pod_of(none)->node, "");
}
END_TEST

START_TEST(l2status)
{
        CLEANUP(object_freep) struct object *o = decoded(l2status_decode, l2status_json);
        const struct l2status *s = l2status_of(o);

        ck_assert_str_eq(s->node, "n1");
        ck_assert_str_eq(s->service_name, "web");
        ck_assert_str_eq(s->service_ns, "shop");
        ck_assert_uint_eq(s->interfaces.n, 2);
        ck_assert_str_eq(s->interfaces.v[1], "eth1");
}
END_TEST

START_TEST(pool)
{
        CLEANUP(object_freep) struct object *o = decoded(pool_decode, pool_json);
        const struct pool *p = pool_of(o);
        char text[IP_TEXT_MAX];

        ck_assert_ptr_null(p->error);
        ck_assert_uint_eq(p->addresses.n, 2);
        ck_assert_uint_eq(p->n_ranges, 2);
        ck_assert_str_eq(ip_format(&p->ranges[1].last, text), "fd00::ff");
        ck_assert_uint_eq(p->n_reserved, 3);
        ck_assert_uint_eq(ip_range_count(&p->reserved[0]), 1);
        ck_assert_uint_eq(ip_range_count(&p->reserved[1]), 2);
        ck_assert_uint_eq(ip_range_count(&p->reserved[2]), 4);
        ck_assert(!p->auto_assign && p->avoid_buggy_ips && p->pinned && p->has_status);
        ck_assert_int_eq(p->priority, 50);
        ck_assert(str_list_has(&p->namespaces, "bank") && !str_list_has(&p->namespaces, "ban"));
        ck_assert_uint_eq(p->ns_selectors.n, 1);
        ck_assert_str_eq(selector_text(p->ns_selectors.v[0]), "team=a");
        ck_assert_str_eq(selector_text(p->service_selectors.v[0]), "app in (a,b)");
        ck_assert_int_eq(p->assigned4, 1);
        ck_assert_int_eq(p->assigned6, 2);
        ck_assert_int_eq(p->available4, 3);
        ck_assert_int_eq(p->available6, INT64_MAX);
        ck_assert_int_eq(p->withheld4, 4);
        ck_assert_int_eq(p->withheld6, 5);
        ck_assert_ptr_nonnull(condition_get(&p->conditions, "Valid"));
}
END_TEST

#define POOL(spec)        "{" META("") ",\"spec\":{" spec "}}"
#define ADDRESSES(list)   POOL("\"addresses\":[" list "]")
#define ALLOCATION(alloc) POOL("\"addresses\":[\"10.0.0.0/24\"],\"serviceAllocation\":" alloc)
#define RESERVED(text) \
        "{" META(",\"annotations\":{\"metallb.io/reserved-addresses\":\"" text \
                 "\"}") ",\"spec\":{\"addresses\":[\"10.0.0.0/24\"]}}"

static const struct {
        const char *json;
        const char *error; /* NULL: fine */
        size_t n_ranges;
} pools[] = {
        { "{" META("") "}", "spec.addresses is empty: the pool has no address to give", 0 },
        { ADDRESSES(""), "spec.addresses is empty: the pool has no address to give", 0 },
        { POOL("\"addresses\":null"), "spec.addresses is empty: the pool has no address to give", 0 },
        { POOL("\"addresses\":\"10.0.0.0/24\""), "spec.addresses is empty: the pool has no address to give",
                0 },
        { ADDRESSES("\"10.0.0.0/24\",5"), "spec.addresses holds an entry that is no text", 1 },
        { ADDRESSES("\"10.0.0.0/24\",\"10.0.1.0\",\"10.0.2.0/24\""),
                "invalid CIDR \"10.0.1.0\": one address is written 10.0.1.0/32", 2 },
        { ADDRESSES("\"10.0.0.9-10.0.0.1\""),
                "invalid IP range \"10.0.0.9-10.0.0.1\": the start is after the end", 0 },
        { ADDRESSES("\"1.2.3.4-fc00::1\""),
                "invalid IP range \"1.2.3.4-fc00::1\": start and end are of different families", 0 },
        { ADDRESSES("\"10.0.0.0/24\",\"10.0.0.0/24\""),
                "CIDR \"10.0.0.0/24\" overlaps with already defined CIDR \"10.0.0.0/24\"", 2 },
        { ADDRESSES("\"10.0.0.128/25\",\"10.0.0.0/24\""),
                "CIDR \"10.0.0.0/24\" overlaps with already defined CIDR \"10.0.0.128/25\"", 2 },
        { ADDRESSES("\"10.0.0.0/16\",\"10.0.1.0/24\",\"10.0.9.0-10.0.9.3\""),
                "CIDR \"10.0.1.0/24\" overlaps with already defined CIDR \"10.0.0.0/16\"", 3 },
        /* The second does not touch the third, but the first covers both. */
        { ADDRESSES("\"10.0.0.0/16\",\"10.1.0.0/24\",\"10.0.9.0-10.0.9.3\""),
                "CIDR \"10.0.9.0-10.0.9.3\" overlaps with already defined CIDR \"10.0.0.0/16\"", 3 },
        { ADDRESSES("\"10.0.0.0/24\",\"::ffff:10.0.0.9-10.0.0.10\""),
                "CIDR \"::ffff:10.0.0.9-10.0.0.10\" overlaps with already defined CIDR \"10.0.0.0/24\"", 2 },
        { ADDRESSES("\"10.0.0.0-10.0.0.4\",\"10.0.0.5-10.0.0.9\",\"fd00::/64\",\"fd00:0:0:1::/64\",\"::/8\""),
                NULL, 5 },
        { ADDRESSES("\"0.0.0.0/0\",\"::/0\""), NULL, 2 },
        { ALLOCATION("null"), NULL, 1 },
        { ALLOCATION("{}"), NULL, 1 },
        { ALLOCATION("5"), "serviceAllocation is not an object", 1 },
        { ALLOCATION("{\"namespaces\":[\"a\",\"b\",\"a\"]}"), "duplicate definition of namespaces \"a\"", 1 },
        { ALLOCATION("{\"namespaces\":\"a\"}"), "namespaces is not a list of texts", 1 },
        { ALLOCATION("{\"namespaces\":[\"a\",5]}"), "namespaces is not a list of texts", 1 },
        { ALLOCATION("{\"namespaceSelectors\":[{},{}]}"), "duplicate definition of namespaceSelectors \"\"",
                1 },
        { ALLOCATION("{\"serviceSelectors\":{}}"), "serviceSelectors is not a list", 1 },
        { ALLOCATION("{\"serviceSelectors\":[{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Is\"}]}]}"),
                "serviceSelectors[0]: matchExpressions[0]: unknown operator \"Is\"", 1 },
        { RESERVED(""), NULL, 1 },
        { RESERVED(" , "), NULL, 1 },
        { RESERVED("10.0.0.1"), NULL, 1 },
        { RESERVED("192.0.2.1,fd00::1"), NULL, 1 },
        { RESERVED("10.0.0.1 10.0.0.2"),
                "annotation reserved-addresses: invalid CIDR \"10.0.0.1 10.0.0.2\": want address/length or first-last",
                1 },
        { RESERVED("10.0.0.1,10.0.0.x/3,10.0.0.y"),
                "annotation reserved-addresses: invalid CIDR \"10.0.0.x/3\": the address is not one", 1 },
};

START_TEST(pool_error)
{
        CLEANUP(object_freep) struct object *o = decoded(pool_decode, pools[_i].json);
        const struct pool *p = pool_of(o);

        if (pools[_i].error) {
                ck_assert_ptr_nonnull(p->error);
                ck_assert_str_eq(p->error, pools[_i].error);
        } else {
                ck_assert_msg(!p->error, "%s", p->error);
        }
        ck_assert_uint_eq(p->n_ranges, pools[_i].n_ranges);
        ck_assert(p->auto_assign && !p->avoid_buggy_ips && !p->has_status);
}
END_TEST

static const struct {
        const char *priority;
        int64_t want;
} priorities[] = {
        { "1", 1 },
        { "0", 0 },
        { "-5", 0 },
        { "-1e300", 0 },
        { "1e300", INT64_MAX },
        { "9007199254740991", 9007199254740991 },
        { "9007199254740993", INT64_MAX },
        { "1.5", 0 },
        { "\"1\"", 0 },
        { "null", 0 },
};

START_TEST(pool_priority)
{
        CLEANUP(object_freep) struct object *o = NULL;
        char text[256];

        (void)snprintf(text, sizeof(text), ALLOCATION("{\"priority\":%s}"), priorities[_i].priority);
        o = decoded(pool_decode, text);
        ck_assert(pool_of(o)->pinned);
        ck_assert_int_eq(pool_of(o)->priority, priorities[_i].want);
        ck_assert_ptr_null(pool_of(o)->error);
}
END_TEST

START_TEST(pool_status_needs_all_counters)
{
        CLEANUP(object_freep)
        struct object *o = decoded(pool_decode,
                "{" META("") ",\"status\":{\"assignedIPv4\":1,\"assignedIPv6\":0,"
                             "\"availableIPv4\":2,\"availableIPv6\":\"0\"}}");

        ck_assert(!pool_of(o)->has_status);
        ck_assert_int_eq(pool_of(o)->available4, 2);
}
END_TEST

START_TEST(l2adv)
{
        CLEANUP(object_freep) struct object *o = decoded(l2adv_decode, l2adv_json);
        const struct l2adv *l = l2adv_of(o);

        ck_assert_ptr_null(l->error);
        ck_assert_uint_eq(l->pools.n, 2);
        ck_assert_str_eq(l->pools.v[1], "silver");
        ck_assert_uint_eq(l->pool_selectors.n, 1);
        ck_assert_uint_eq(l->node_selectors.n, 2);
        ck_assert_uint_eq(l->service_selectors.n, 1);
        ck_assert_uint_eq(l->interfaces.n, 2);
        ck_assert_str_eq(l->interfaces.v[0], "eth0");
        ck_assert_str_eq(l->interfaces.v[1], "eth1");
        ck_assert_uint_eq(l->n_preferences, 2);
        ck_assert_int_eq(l->preferences[0].weight, 5);
        ck_assert_str_eq(selector_text(l->preferences[0].nodes), "rack=r1");
        ck_assert_int_eq(l->preferences[1].weight, 7);
        ck_assert_str_eq(selector_text(l->preferences[1].nodes), "");
        ck_assert_uint_eq(l->conditions.n, 1);
}
END_TEST

static const struct {
        const char *spec;
        const char *error; /* NULL: fine */
} advertisements[] = {
        { "", NULL },
        { "\"ipAddressPools\":[],\"nodeSelectors\":null", NULL },
        { "\"ipAddressPools\":[\"a\",\"b\",\"a\"]", "duplicate definition of ipAddressPools \"a\"" },
        { "\"ipAddressPools\":\"a\"", "ipAddressPools is not a list of texts" },
        { "\"ipAddressPools\":[5]", "ipAddressPools is not a list of texts" },
        { "\"interfaces\":[\"a\",\"a\"]", NULL },
        { "\"interfaces\":{\"a\":1}", "interfaces is not a list of texts" },
        { "\"nodeSelectors\":5", "nodeSelectors is not a list" },
        { "\"nodeSelectors\":[null]", "nodeSelectors[0]: a selector must be an object" },
        { "\"nodeSelectors\":[{},{}]", "duplicate definition of nodeSelectors \"\"" },
        { "\"serviceSelectors\":[{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\",\"values\":[\"x\",\"x\"]}]}]",
                "duplicate definition of serviceSelectors expression value \"x\"" },
        { "\"ipAddressPoolSelectors\":[{\"matchLabels\":{\"!\":\"\"}}]",
                "ipAddressPoolSelectors[0]: matchLabels: \"!\" is no label key" },
        { "\"preferredNodeSelectors\":[{\"weight\":1,\"preference\":{}},{\"weight\":1,\"preference\":{}}]",
                NULL },
        { "\"preferredNodeSelectors\":{}", "preferredNodeSelectors is not a list" },
        { "\"preferredNodeSelectors\":[{\"weight\":1}]",
                "preferredNodeSelectors[0]: a selector must be an object" },
        { "\"preferredNodeSelectors\":[5]", "preferredNodeSelectors[0]: a selector must be an object" },
        { "\"preferredNodeSelectors\":[{\"weight\":1e300,\"preference\":{}}]", NULL },
        /* Two mistakes: the first one is told. */
        { "\"ipAddressPools\":[\"a\",\"a\"],\"nodeSelectors\":5",
                "duplicate definition of ipAddressPools \"a\"" },
};

START_TEST(l2adv_error)
{
        CLEANUP(object_freep) struct object *o = NULL;
        char text[512];

        (void)snprintf(text, sizeof(text), "{" META("") ",\"spec\":{%s}}", advertisements[_i].spec);
        o = decoded(l2adv_decode, text);
        if (advertisements[_i].error) {
                ck_assert_ptr_nonnull(l2adv_of(o)->error);
                ck_assert_str_eq(l2adv_of(o)->error, advertisements[_i].error);
        } else {
                ck_assert_msg(!l2adv_of(o)->error, "%s", l2adv_of(o)->error);
        }
        for (size_t i = 0; i < l2adv_of(o)->n_preferences; i++)
                ck_assert_int_le(l2adv_of(o)->preferences[i].weight, INT32_MAX);
}
END_TEST

/* ---- all kinds ---- */

static const char *const strangers[] = { "null", "true", "false", "0", "-1", "1e300", "1e999", "\"\"",
        "\"x\"", "[]", "{}", "[null,5,\"x\",[],{}]",
        "{\"type\":5,\"ip\":5,\"key\":[],\"name\":{},\"values\":[5]}" };

/* Decodes with each stranger in place of @item and of all below it. */
static void swap_all(object_decode_fn decode, const cJSON *root, cJSON *parent)
{
        for (int at = 0; at < cJSON_GetArraySize(parent); at++) {
                cJSON *item = cJSON_GetArrayItem(parent, at);

                for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
                        cJSON *stranger = parsed(strangers[i]), saved = *item;
                        struct object *o = NULL;
                        int r;

                        /* The stranger's value under the item's name and in its place. */
                        item->type = stranger->type;
                        item->valuedouble = stranger->valuedouble;
                        item->valueint = stranger->valueint;
                        item->valuestring = stranger->valuestring;
                        item->child = stranger->child;
                        r = decode(&o, root);
                        *item = saved;
                        cJSON_Delete(stranger);
                        ck_assert_msg(r == 0 || r == ERR_MALFORMED, "got %d", r);
                        if (r == ERR_MALFORMED)
                                ck_assert_msg(strcmp(item->string, "metadata") == 0 ||
                                                strcmp(item->string, "name") == 0,
                                        "%s decides whether the object decodes", item->string);
                        (void)object_free(o);
                }
                swap_all(decode, root, item);
        }
}

START_TEST(any_type_in_any_field)
{
        CLEANUP(json_deletep) cJSON *json = parsed(kinds[_i].json);

        swap_all(kinds[_i].decode, json, json);
}
END_TEST

START_TEST(arena_fits_exactly)
{
        CLEANUP(object_freep) struct object *o = decoded(kinds[_i].decode, kinds[_i].json);
        struct arena *empty = arena_new(0);

        ck_assert_uint_eq(arena_size(o->arena), arena_used(o->arena) + arena_size(empty));
        (void)arena_free(empty);
}
END_TEST

/* As large as the API server stores: many elements must not cost quadratic time or memory beyond their own. */
static const struct {
        object_decode_fn decode;
        const char *head, *before, *after, *tail; /* a number stands between before and after */
} huge[] = {
        { slice_decode, "{" META("") ",\"endpoints\":[", "{\"nodeName\":\"n", "\"}", "]}" },
        { pool_decode, "{" META("") ",\"spec\":{\"addresses\":[", "\"fd00::", "/128\"", "]}}" },
        { pool_decode, "{" META("") ",\"spec\":{\"serviceAllocation\":{\"namespaces\":[", "\"n", "\"",
                "]}}}" },
        { service_decode, "{" META("") ",\"spec\":{\"ports\":[", "{\"port\":", "}", "]}}" },
        { service_decode, "{\"metadata\":{\"name\":\"x\",\"labels\":{", "\"l", "\":\"\"", "}}}" },
        { l2adv_decode, "{" META("") ",\"spec\":{\"nodeSelectors\":[", "{\"matchLabels\":{\"a\":\"", "\"}}",
                "]}}" },
};

/* Numbers of four digits, so that they are groups of an address too. */
static void build_huge(struct buf *text, int kind, unsigned n)
{
        buf_adds(text, huge[kind].head);
        for (unsigned i = 0; i < n; i++)
                buf_addf(text, "%s%s%u%s", i > 0 ? "," : "", huge[kind].before, 1000 + i, huge[kind].after);
        buf_adds(text, huge[kind].tail);
        ck_assert(buf_ok(text));
}

START_TEST(huge_lists)
{
        CLEANUP(object_freep) struct object *o = NULL;
        CLEANUP(buf_fini) struct buf text = BUF_INIT;
        const unsigned n = 8999;

        build_huge(&text, _i, n);
        o = decoded(huge[_i].decode, buf_str(&text));
        ck_assert_uint_gt(arena_size(o->arena), n * 4);
        ck_assert_uint_lt(arena_size(o->arena), n * 600);
}
END_TEST

static void decode_with_faults(object_decode_fn decode, const char *text, unsigned at_least)
{
        CLEANUP(json_deletep) cJSON *json = NULL;
        cJSON_Hooks hooks = { fault_malloc, free };
        unsigned n;

        cJSON_InitHooks(&hooks);
        json = parsed(text);
        for (n = 0;; n++) {
                struct object *o = NULL;
                int r;

                fault_arm(n);
                r = decode(&o, json);
                if (!fault_disarm()) {
                        ck_assert_int_eq(r, 0);
                        (void)object_free(o);
                        break;
                }
                ck_assert_int_eq(r, -ENOMEM);
                ck_assert_ptr_null(o);
        }
        ck_assert_uint_ge(n, at_least);
}

START_TEST(survives_failing_allocations)
{
        decode_with_faults(kinds[_i].decode, kinds[_i].json, 2);
}
END_TEST

/* Objects beyond the first block of their arena, so that the arena itself fails too. */
START_TEST(huge_survives_failing_allocations)
{
        CLEANUP(buf_fini) struct buf text = BUF_INIT;

        build_huge(&text, _i, huge[_i].decode == l2adv_decode ? 60 : 600); /* its elements are large */
        decode_with_faults(huge[_i].decode, buf_str(&text), 3);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("api");
        TCase *tc = tcase_create("objects");

        tcase_add_test(tc, metadata);
        tcase_add_test(tc, metadata_defaults);
        tcase_add_loop_test(tc, nameless_is_malformed, 0, (int)ARRAY_LEN(nameless));
        tcase_add_test(tc, service);
        tcase_add_test(tc, service_defaults);
        tcase_add_loop_test(tc, service_policy, 0, (int)ARRAY_LEN(policies));
        tcase_add_test(tc, service_brief_has_no_conditions);
        tcase_add_loop_test(tc, service_cluster_ips, 0, (int)ARRAY_LEN(cluster_ips));
        tcase_add_loop_test(tc, service_ports, 0, (int)ARRAY_LEN(ports));
        tcase_add_loop_test(tc, service_class, 0, (int)ARRAY_LEN(classes));
        tcase_add_loop_test(tc, annotation_precedence, 0, (int)ARRAY_LEN(annotations));
        tcase_add_test(tc, slice);
        tcase_add_loop_test(tc, endpoint_usability, 0, (int)ARRAY_LEN(usability));
        tcase_add_test(tc, node);
        tcase_add_test(tc, pod);
        tcase_add_test(tc, l2status);
        tcase_add_test(tc, pool);
        tcase_add_loop_test(tc, pool_error, 0, (int)ARRAY_LEN(pools));
        tcase_add_loop_test(tc, pool_priority, 0, (int)ARRAY_LEN(priorities));
        tcase_add_test(tc, pool_status_needs_all_counters);
        tcase_add_test(tc, l2adv);
        tcase_add_loop_test(tc, l2adv_error, 0, (int)ARRAY_LEN(advertisements));
        suite_add_tcase(s, tc);
        tc = tcase_create("all kinds");
        tcase_set_timeout(tc, 60);
        tcase_add_loop_test(tc, any_type_in_any_field, 0, (int)ARRAY_LEN(kinds));
        tcase_add_loop_test(tc, survives_failing_allocations, 0, (int)ARRAY_LEN(kinds));
        tcase_add_loop_test(tc, arena_fits_exactly, 0, (int)ARRAY_LEN(kinds));
        tcase_add_loop_test(tc, huge_lists, 0, (int)ARRAY_LEN(huge));
        tcase_add_loop_test(tc, huge_survives_failing_allocations, 0, (int)ARRAY_LEN(huge));
        suite_add_tcase(s, tc);
        return unit_main(s);
}
