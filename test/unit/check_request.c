/* SPDX-License-Identifier: Apache-2.0 */
#include "common/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "test/lib/fault.h"
#include "test/lib/objects.h"
#include "test/lib/unit.h"

#define V4         "'clusterIP':'10.96.0.1','clusterIPs':['10.96.0.1']"
#define V6         "'clusterIP':'fd96::1','clusterIPs':['fd96::1']"
#define DUAL       "'clusterIPs':['10.96.0.1','fd96::1']"
#define LAUD       "'clusterIPs':['fd96::1','10.96.0.1']"
#define IPS(x)     "'annotations':{'metallb.io/loadBalancerIPs':'" x "'}"
#define NOTE(k, v) "'annotations':{'" k "':'" v "'}"
#define INGRESS(x) "'loadBalancer':{'ingress':[" x "]}"
#define TEN(x)     x x x x x x x x x x

/* The request as one line; every row of the tables compares the whole of it. */
static void show(struct buf *b, const struct request *q)
{
        static const char *const faults[] = {
                [REQUEST_OK] = "",
                [REQUEST_NO_CLUSTER_IPS] = " NO_CLUSTER_IPS",
                [REQUEST_NOT_ENOUGH_CLUSTER_IPS] = " NOT_ENOUGH",
                [REQUEST_BAD_CLUSTER_IPS] = " BAD_CLUSTER_IPS",
                [REQUEST_BAD_IPS] = " BAD_IPS",
                [REQUEST_BAD_FAMILY] = " BAD_FAMILY",
        };
        static const char *const policies[] = { "single", "prefer", "require" };
        char ip[IP_TEXT_MAX];

        buf_addf(b, "%s%s%s %s", q->want4 ? "4" : "", q->want6 ? "6" : "",
                q->want4 && q->want6 ? (q->primary == IP_V4 ? " 4first" : " 6first") : "",
                policies[q->policy]);
        for (size_t i = 0; i < q->n_ips; i++)
                buf_addf(b, " ip=%s", ip_format(&q->ips[i], ip));
        if (*q->pool)
                buf_addf(b, " pool=%s", q->pool);
        if (*q->share_key)
                buf_addf(b, " key=%s", q->share_key);
        if (*q->backend_key)
                buf_addf(b, " backend=%s", q->backend_key);
        for (size_t i = 0; i < q->n_ports; i++)
                buf_addf(b, " %u:%u", q->ports[i] >> 16, q->ports[i] & 0xffff);
        for (size_t i = 0; i < q->n_current; i++)
                buf_addf(b, " now=%s", ip_format(&q->current[i], ip));
        if (q->current_is_odd)
                buf_adds(b, " odd");
        if (*q->current_pool)
                buf_addf(b, " from=%s", q->current_pool);
        buf_addf(b, "%s", faults[q->fault]);
        if (*q->fault_text)
                buf_addf(b, ": %s", q->fault_text);
}

static const struct {
        const char *meta, *spec, *status, *want;
} cases[] = {
        /* Families. */
        { NULL, V4, NULL, "4 single" },
        { NULL, V6, NULL, "6 single" },
        { NULL, "'clusterIP':'10.96.0.1'", NULL, "4 single" },
        { NULL, DUAL, NULL, "46 4first single" },
        { NULL, LAUD ",'ipFamilyPolicy':'PreferDualStack'", NULL, "46 6first prefer" },
        { NULL, DUAL ",'ipFamilyPolicy':'RequireDualStack'", NULL, "46 4first require" },
        { NULL, V4 ",'ipFamilyPolicy':'PreferDualStack'", NULL, "4 prefer" },
        { NULL, V4 ",'ipFamilyPolicy':'RequireDualStack'", NULL,
                "4 require NOT_ENOUGH: ipFamilyPolicy RequireDualStack needs two cluster IPs, the Service has one" },
        { NULL, "", NULL, " single NO_CLUSTER_IPS: the Service has no cluster IP" },
        { NULL, "'clusterIP':'','clusterIPs':[]", NULL,
                " single NO_CLUSTER_IPS: the Service has no cluster IP" },
        { NULL, "'clusterIP':'None','clusterIPs':['None']", NULL,
                " single BAD_CLUSTER_IPS: cluster IP \"None\" is not an IP address" },
        { NULL, "'clusterIPs':['10.96.0.1','10.96.0.2']", NULL,
                " single BAD_CLUSTER_IPS: the cluster IPs are not one of each family" },
        { NULL, "'clusterIPs':['10.96.0.1','fd96::1','fd96::2']", NULL,
                " single BAD_CLUSTER_IPS: the cluster IPs are not one of each family" },
        /* Requested addresses. */
        { IPS("10.0.0.9"), V4, NULL, "4 single ip=10.0.0.9" },
        { NULL, V4 ",'loadBalancerIP':'10.0.0.9'", NULL, "4 single ip=10.0.0.9" },
        { IPS("::ffff:10.0.0.9"), V4, NULL, "4 single ip=10.0.0.9" },
        { IPS(" 10.0.0.9 , fd00::9\\t"), DUAL, NULL, "46 4first single ip=10.0.0.9 ip=fd00::9" },
        { IPS("fd00::9,10.0.0.9"), DUAL, NULL, "46 4first single ip=fd00::9 ip=10.0.0.9" },
        { IPS(""), V4, NULL, "4 single" },
        { IPS(""), V4 ",'loadBalancerIP':'10.0.0.9'", NULL, "4 single ip=10.0.0.9" },
        { IPS("10.0.0.9"), V4 ",'loadBalancerIP':'10.0.0.9'", NULL,
                "4 single BAD_IPS: addresses are requested by both spec.loadBalancerIP and annotation loadBalancerIPs" },
        { IPS("10.0.0.9,"), V4, NULL,
                "4 single BAD_IPS: the list of requested addresses has an empty entry" },
        { IPS(" "), V4, NULL, "4 single BAD_IPS: the list of requested addresses has an empty entry" },
        { IPS("10.0.0.9,10.0.0.8"), DUAL, NULL,
                "46 4first single BAD_IPS: the two requested addresses are of the same family" },
        { IPS("10.0.0.9,fd00::9,fd00::8"), DUAL, NULL,
                "46 4first single BAD_IPS: more than two addresses are requested" },
        { IPS("10.0.0.9/32"), V4, NULL,
                "4 single BAD_IPS: requested address \"10.0.0.9/32\" is not an IP address" },
        { IPS("010.0.0.9"), V4, NULL,
                "4 single BAD_IPS: requested address \"010.0.0.9\" is not an IP address" },
        { IPS("fe80::1%eth0"), V6, NULL,
                "6 single BAD_IPS: requested address \"fe80::1%eth0\" is not an IP address" },
        { NULL, V4 ",'loadBalancerIP':' 10.0.0.9'", NULL,
                "4 single BAD_IPS: spec.loadBalancerIP \" 10.0.0.9\" is not an IP address" },
        { IPS(TEN(TEN("x"))), V4, NULL,
                "4 single BAD_IPS: requested address \"" TEN("xxxxxx") "xxxx\" is not an IP address" },
        { IPS("fd00::9"), V4, NULL,
                "4 single BAD_FAMILY: requested is an IPv6 address, but the Service is IPv4" },
        { IPS("10.0.0.9"), V6, NULL,
                "6 single BAD_FAMILY: requested is an IPv4 address, but the Service is IPv6" },
        { IPS("10.0.0.9"), DUAL ",'ipFamilyPolicy':'PreferDualStack'", NULL,
                "46 4first prefer BAD_FAMILY: requested is an IPv4 address, but the Service is dual-stack" },
        { IPS("10.0.0.9,fd00::9"), V4, NULL,
                "4 single BAD_FAMILY: requested is one address of each family, but the Service is IPv4" },
        /* Annotations: the current prefix wins when it is there at all. */
        { NOTE("metallb.io/address-pool", "gold"), V4, NULL, "4 single pool=gold" },
        { NOTE("metallb.io/address-pool", " gold "), V4, NULL, "4 single pool= gold " },
        { NOTE("metallb.universe.tf/address-pool", "old"), V4, NULL, "4 single pool=old" },
        { "'annotations':{'metallb.io/address-pool':'','metallb.universe.tf/address-pool':'old'}", V4, NULL,
                "4 single" },
        { "'annotations':{'metallb.io/loadBalancerIPs':'','metallb.universe.tf/loadBalancerIPs':'10.0.0.9'}",
                V4, NULL, "4 single" },
        { NOTE("metallb.universe.tf/loadBalancerIPs", "10.0.0.9"), V4, NULL, "4 single ip=10.0.0.9" },
        { NOTE("example.com/address-pool", "x"), V4, NULL, "4 single" },
        { NOTE("metallb.io/ip-allocated-from-pool", "p"), V4, NULL, "4 single from=p" },
        /* Sharing: key, backend and ports. */
        { NOTE("metallb.io/allow-shared-ip", "k"), V4 ",'ports':[{'port':80}]", NULL, "4 single key=k 1:80" },
        { NOTE("metallb.io/allow-shared-ip", ""), V4, NULL, "4 single" },
        { NULL,
                V4
                ",'ports':[{'port':53,'protocol':'UDP'},{'port':53,'protocol':'TCP'},{'port':9,'protocol':'SCTP'}]",
                NULL, "4 single 1:53 2:53 3:9" },
        { NULL, V4 ",'ports':[{'port':80},{'port':80,'protocol':'TCP'},{'port':443},{'port':80}]", NULL,
                "4 single 1:80 1:443" },
        { NULL, V4 ",'ports':[{'port':80,'protocol':'XYZ'}]", NULL, "4 single 255:80" },
        { NULL, V4 ",'externalTrafficPolicy':'Local','selector':{'b':'2','a':'1'}", NULL,
                "4 single backend=a=1,b=2" },
        { NULL, V4 ",'externalTrafficPolicy':'Local'", NULL, "4 single" },
        { NULL, V4 ",'externalTrafficPolicy':'Cluster','selector':{'a':'1'}", NULL, "4 single" },
        /* What status holds. */
        { NULL, V4, INGRESS("{'ip':'10.0.0.1'}"), "4 single now=10.0.0.1" },
        { NULL, DUAL, INGRESS("{'ip':'fd00::1'},{'ip':'10.0.0.1'}"),
                "46 4first single now=fd00::1 now=10.0.0.1" },
        { NULL, V4, INGRESS("{'hostname':'x.example'},{'ip':'10.0.0.1'}"), "4 single now=10.0.0.1" },
        { NULL, V4, INGRESS("{'ip':'10.0.0.1'},{'ip':'10.0.0.2'}"), "4 single now=10.0.0.1 odd" },
        { NULL, V4, INGRESS("{'ip':'junk'},{'ip':'10.0.0.2'}"), "4 single now=10.0.0.2 odd" },
        { NULL, DUAL, INGRESS("{'ip':'10.0.0.1'},{'ip':'fd00::1'},{'ip':'fd00::2'}"),
                "46 4first single now=10.0.0.1 now=fd00::1 odd" },
};

START_TEST(reads)
{
        CLEANUP(object_freep)
        struct object *o = object_make(service_decode,
                &(struct object_text){ "ns", "web", 77, cases[_i].meta, cases[_i].spec, cases[_i].status });
        CLEANUP(arena_freep) struct arena *a = arena_new(256);
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        struct kv_list labels = { 0 };
        struct request q;

        ck_assert_int_eq(request_init(&q, a, service_of(o), &labels), 0);
        show(&b, &q);
        ck_assert_str_eq(buf_str(&b), cases[_i].want);
        ck_assert_str_eq(q.key, "ns/web");
        ck_assert_int_eq(q.created_s, 77);
        ck_assert_ptr_eq(q.ns_labels, &labels);
}
END_TEST

/* The list is read no further than it can matter. */
START_TEST(ten_thousand_addresses)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        CLEANUP(arena_freep) struct arena *a = arena_new(256);
        CLEANUP(object_freep) struct object *o = NULL;
        struct request q;

        buf_adds(&b, "'annotations':{'metallb.io/loadBalancerIPs':'10.0.0.1");
        for (int i = 0; i < 10000; i++)
                buf_adds(&b, ",10.0.0.1");
        buf_adds(&b, "'}");
        o = object_make(service_decode, &(struct object_text){ "ns", "web", 1, buf_str(&b), V4, NULL });
        ck_assert_int_eq(request_init(&q, a, service_of(o), NULL), 0);
        ck_assert_int_eq(q.fault, REQUEST_BAD_IPS);
        ck_assert_str_eq(q.fault_text, "more than two addresses are requested");
        ck_assert_uint_eq(q.n_ips, 0);
}
END_TEST

START_TEST(survives_failing_allocations)
{
        CLEANUP(object_freep)
        struct object *o = object_make(service_decode,
                &(struct object_text){ "ns", "web", 1, IPS("nonsense"),
                        V4 ",'ports':[{'port':80}],'externalTrafficPolicy':'Local','selector':{'a':'1'}",
                        NULL });
        unsigned n;

        for (n = 0;; n++) {
                CLEANUP(arena_freep) struct arena *a = arena_new(1);
                struct request q = { .name = "untouched" };
                int r;

                ck_assert_ptr_nonnull(a);
                fault_arm(n);
                r = request_init(&q, a, service_of(o), NULL);
                if (!fault_disarm()) {
                        ck_assert_int_eq(r, 0);
                        break;
                }
                ck_assert_int_eq(r, -ENOMEM);
                ck_assert_str_eq(q.name, "untouched");
        }
        ck_assert_uint_gt(n, 1);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("request");
        TCase *tc = tcase_create("request");

        suite_add_tcase(s, tc);
        tcase_add_loop_test(tc, reads, 0, (int)ARRAY_LEN(cases));
        tcase_add_test(tc, ten_thousand_addresses);
        tcase_add_test(tc, survives_failing_allocations);
        return unit_main(s);
}
