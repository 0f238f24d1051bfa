/* SPDX-License-Identifier: Apache-2.0 */
/* The view is told a story in short lines and must say what changed. This node is n1; of the addresses used here
 * 192.168.1.200 goes to n1, then n2, n3; 10.4.11.7 to n3, n1, n2; 2001:db8::1 to n2, n3, n1. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/rng.h"
#include "test/lib/fault.h"
#include "test/lib/story.h"
#include "test/lib/unit.h"

/* Lines that start with ">" are what must have been said since the last such line. */
static const struct {
        const char *name;
        const char *const lines[24];
} stories[] = {
        { "a Service comes and goes",
                { "basic", "svc web 192.168.1.200", "slice s web n2=ready", "> +web 192.168.1.200@p; ",
                        "desired 192.168.1.200", ">", "svc- web", "> -web 192.168.1.200 serviceDeleted; ",
                        "desired", "slice- s", ">" } },
        { "the order of arrival does not matter",
                { "slice s web n2=ready", "svc web 192.168.1.200", ">", "ad a", ">", "node n3", ">",
                        "pool p 192.168.1.0/24", ">", "node n1", "node n2", "> +web 192.168.1.200@p; " } },
        { "another node is chosen",
                { "basic", "svc web 10.4.11.7", "slice s web n2=ready", ">", "desired", "node n3 unavailable",
                        "> +web 10.4.11.7@p; ", "node n3", "> -web 10.4.11.7 notOwner n3; " } },
        { "no address yet, then one, then another",
                { "basic", "slice s web n2=ready", "svc web -", ">", "svc web 192.168.1.200",
                        "> +web 192.168.1.200@p; ", "svc web 10.4.11.7",
                        "> -web 192.168.1.200 loadBalancerIPChanged; ", "svc web 192.168.1.200",
                        "> +web 192.168.1.200@p; ", "svc web -", "> -web 192.168.1.200 noIPAllocated; " } },
        { "it stops being a load balancer",
                { "basic", "svc web 192.168.1.200", "slice s web n2=ready", "> +web 192.168.1.200@p; ",
                        "svc web 192.168.1.200 type=ClusterIP", "> -web 192.168.1.200 notLoadBalancer; " } },
        { "classes",
                { "basic", "svc web 192.168.1.200 class=other", "slice s web n2=ready", ">",
                        "svc web 192.168.1.200", "> +web 192.168.1.200@p; ",
                        "svc web 192.168.1.200 class=other", "> -web 192.168.1.200 otherClass; " } },
        { "an entry that is no address withdraws all",
                { "basic", "svc web 192.168.1.200", "slice s web n2=ready", "> +web 192.168.1.200@p; ",
                        "svc web 192.168.1.200,host.example", "> -web 192.168.1.200 invalidIP; ",
                        "svc web 192.168.1.200", "> +web 192.168.1.200@p; ", "svc web 192.168.001.200",
                        "> -web 192.168.1.200 invalidIP; " } },
        { "the same address twice counts once",
                { "basic", "slice s web n2=ready", "svc web 192.168.1.200,::ffff:192.168.1.200",
                        "> +web 192.168.1.200@p; " } },
        { "no pool holds it, then one does",
                { "basic", "pool p 10.0.0.0/24", "svc web 192.168.1.200", "slice s web n2=ready", ">",
                        "pool p 192.168.1.0/24", "> +web 192.168.1.200@p; ", "pool- p",
                        "> -web 192.168.1.200 ipNotAllowed; " } },
        { "two families: one owner, by the first address",
                { "basic", "slice s web n2=ready", "svc web 192.168.1.200,2001:db8::1",
                        "> +web 192.168.1.200@p; +web 2001:db8::1@p; ", "svc web 2001:db8::1,192.168.1.200",
                        "> -web 192.168.1.200 notOwner n2; -web 2001:db8::1 notOwner n2; " } },
        { "two families in two pools",
                { "basic", "pool p 192.168.1.0/24", "pool six 2001:db8::/64", "slice s web n2=ready",
                        "svc web 192.168.1.200,2001:db8::1", "> +web 192.168.1.200@p; +web 2001:db8::1@six; ",
                        "ad a {\"ipAddressPools\":[\"p\"]}",
                        "> -web 2001:db8::1 noAdvertisement; =web 192.168.1.200@p; ", "pool- six", ">",
                        "desired 192.168.1.200" } },
        { "no usable endpoint",
                { "basic", "svc web 192.168.1.200", "slice s web n2=no", ">", "slice s web n2=serving",
                        "> +web 192.168.1.200@p; " } },
        { "endpoints gone for a moment move nothing",
                { "basic", "svc web 192.168.1.200", "slice s web n2=ready", "> +web 192.168.1.200@p; ",
                        "slice s web", ">", "wait 500", ">", "slice s web n3=ready", ">", "wait 5000", ">",
                        "slice s web", ">", "wait 999", ">", "wait 1",
                        "> -web 192.168.1.200 noEndpoints; " } },
        { "a slice deleted and made anew moves nothing",
                { "basic", "svc web 192.168.1.200", "slice s web n2=ready", "> +web 192.168.1.200@p; ",
                        "slice- s", ">", "wait 900", "slice s2 web n2=ready", ">", "wait 5000", ">" } },
        { "a slice changes its Service",
                { "basic", "svc web 192.168.1.200 local", "svc api 192.168.1.200 local",
                        "slice s web n1=ready", "> +web 192.168.1.200@p; ", "slice s api n1=ready",
                        "> -web 192.168.1.200 noEndpoints n1; +api 192.168.1.200@p; " } },
        { "policy Local follows the endpoints at once",
                { "basic", "svc web 192.168.1.200 local", "slice s web n2=ready n3=ready", ">",
                        "slice s web n1=ready n2=ready", "> +web 192.168.1.200@p; ",
                        "slice s web n1=no n2=ready", "> -web 192.168.1.200 notOwner n2; ",
                        "slice s web n1=serving", "> +web 192.168.1.200@p; ", "slice s web",
                        "> -web 192.168.1.200 noEndpoints; " } },
        { "policy Local, endpoints over several slices, one without a node",
                { "basic", "svc web 192.168.1.200 local", "slice s web n2=ready", "slice t web n1=ready",
                        "slice u web ?=ready", "> +web 192.168.1.200@p; ", "slice- t",
                        "> -web 192.168.1.200 notOwner n2; ", "slice- s", ">", "desired" } },
        { "labels and conditions of the own node",
                { "basic", "svc web 192.168.1.200", "slice s web n2=ready", "> +web 192.168.1.200@p; ",
                        "node n1 l:node.kubernetes.io/exclude-from-external-load-balancers=false",
                        "> -web 192.168.1.200 notOwner n2; ", "node n1", "> +web 192.168.1.200@p; ",
                        "node n1 unavailable", "> -web 192.168.1.200 notOwner n2; " } },
        { "a Node object made anew in time moves nothing",
                { "basic", "svc web 192.168.1.200", "slice s web n2=ready", "> +web 192.168.1.200@p; ",
                        "node- n1", ">", "wait 999", ">", "node n1", ">", "wait 5000", ">", "node- n1", ">",
                        "wait 1000", "> -web 192.168.1.200 noMatchingAdvertisement n2; ", "node n1",
                        "> +web 192.168.1.200@p; " } },
        { "the winner's Node goes for good",
                { "basic", "svc web 10.4.11.7", "slice s web n2=ready", ">", "node- n3", ">", "wait 1000",
                        "> +web 10.4.11.7@p; " } },
        { "node selectors",
                { "basic", "node n1 l:rack=b", "svc web 192.168.1.200", "slice s web n2=ready",
                        "> +web 192.168.1.200@p; ",
                        "ad a {\"nodeSelectors\":[{\"matchLabels\":{\"rack\":\"a\"}}]}",
                        "> -web 192.168.1.200 noMatchingAdvertisement; ", "node n2 l:rack=a", ">",
                        "node n1 l:rack=a", "> +web 192.168.1.200@p; " } },
        { "pool selectors",
                { "basic", "ad a {\"ipAddressPoolSelectors\":[{\"matchLabels\":{\"zone\":\"x\"}}]}",
                        "svc web 192.168.1.200", "slice s web n2=ready", ">",
                        "pool p 192.168.1.0/24 l:zone=x", "> +web 192.168.1.200@p; ",
                        "ad a {\"ipAddressPools\":[\"q\"]}", "> -web 192.168.1.200 noAdvertisement; ",
                        "ad a {\"ipAddressPools\":[\"q\",\"p\"]}", "> +web 192.168.1.200@p; " } },
        { "service selectors",
                { "basic", "ad a {\"serviceSelectors\":[{\"matchLabels\":{\"app\":\"x\"}}]}",
                        "svc web 192.168.1.200", "slice s web n2=ready", ">", "svc web 192.168.1.200 l:app=x",
                        "> +web 192.168.1.200@p; ", "svc web 192.168.1.200 l:app=x share",
                        "> -web 192.168.1.200 sharedIPWithServiceSelector; " } },
        { "preferred nodes",
                { "basic", "node n2 l:big=1", "svc web 192.168.1.200", "slice s web n2=ready",
                        "> +web 192.168.1.200@p; ",
                        "ad a {\"preferredNodeSelectors\":[{\"weight\":5,\"preference\":{\"matchLabels\":{\"big\":\"1\"}}}]}",
                        "> -web 192.168.1.200 notOwner n2; ", "node n1 l:big=1",
                        "> +web 192.168.1.200@p; " } },
        { "advertisements add up: nodes and interfaces",
                { "basic", "ad a {\"interfaces\":[\"eth1\",\"eth0\"]}", "svc web 192.168.1.200",
                        "slice s web n2=ready", "> +web 192.168.1.200@p[eth0,eth1]; ",
                        "ad b {\"interfaces\":[\"eth1\",\"eth2\"]}",
                        "> =web 192.168.1.200@p[eth0,eth1,eth2]; ", "desired 192.168.1.200[eth0,eth1,eth2]",
                        "ad c", "> =web 192.168.1.200@p; ", "desired 192.168.1.200", "ad- c",
                        "> =web 192.168.1.200@p[eth0,eth1,eth2]; ",
                        "ad b {\"interfaces\":[\"eth9\"],\"nodeSelectors\":[{\"matchLabels\":{\"no\":\"such\"}}]}",
                        "> =web 192.168.1.200@p[eth0,eth1]; " } },
        { "a broken advertisement hurts only itself",
                { "basic", "svc web 192.168.1.200", "slice s web n2=ready", "> +web 192.168.1.200@p; ",
                        "ad b {\"nodeSelectors\":[{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Bad\"}]}]}",
                        ">", "ad a {\"ipAddressPools\":[\"p\",\"p\"]}",
                        "> -web 192.168.1.200 noAdvertisement; " } },
        { "a broken pool keeps what could be read",
                { "basic", "svc web 192.168.1.200", "slice s web n2=ready", "> +web 192.168.1.200@p; ",
                        "pool p 192.168.1.0/24,nonsense", ">", "pool q nonsense", ">" } },
        { "overlapping pools: the older one counts",
                { "basic", "pool p 192.168.1.0/24 born=2021", "pool z 192.168.0.0/16 born=2022",
                        "svc web 192.168.1.200", "slice s web n2=ready", "> +web 192.168.1.200@p; ",
                        "ad a {\"ipAddressPools\":[\"z\"]}", "> -web 192.168.1.200 noAdvertisement; ",
                        "pool z 192.168.0.0/16 born=2020", "> +web 192.168.1.200@z; " } },
        { "a named interface that does not exist yet",
                { "basic", "links eth0", "ad a {\"interfaces\":[\"eth7\"]}", "svc web 192.168.1.200",
                        "slice s web n2=ready", "> !web 192.168.1.200@p[eth7]; ",
                        "desired 192.168.1.200[eth7]", ">", "links eth0 eth7",
                        "> +web 192.168.1.200@p[eth7]; ", "links eth0 eth1 eth7", ">", "links",
                        "> !web 192.168.1.200@p[eth7]; ", "svc- web",
                        "> -web 192.168.1.200 serviceDeleted; " } },
        { "links are not known yet",
                { "basic", "ad a {\"interfaces\":[\"eth7\"]}", "svc web 192.168.1.200",
                        "slice s web n2=ready", "> +web 192.168.1.200@p[eth7]; ", "links eth7", ">" } },
        { "Services that share an address are elected as one",
                { "basic", "svc a 192.168.1.200 share", "slice sa a n2=ready", "svc b 192.168.1.200 share",
                        "> +a 192.168.1.200@p; ", "slice sb b n3=ready", "> +b 192.168.1.200@p; ", "svc- a",
                        "> -a 192.168.1.200 serviceDeleted; ", "desired 192.168.1.200", "svc- b",
                        "> -b 192.168.1.200 serviceDeleted; ", "desired" } },
        { "sharing under policy Local: the node that serves both",
                { "basic", "svc a 192.168.1.200 share local", "slice sa a n1=ready n2=ready",
                        "> +a 192.168.1.200@p; ", "svc b 192.168.1.200 share local",
                        "slice sb b n2=ready n3=ready", "> -a 192.168.1.200 notOwner n2; ",
                        "slice sb b n3=ready", "> +a 192.168.1.200@p; +b 192.168.1.200@p; " } },
        { "sharing one address of two: every address has one owner",
                { "basic", "svc a 192.168.1.200,2001:db8::1 share", "slice sa a n2=ready",
                        "svc b 2001:db8::1 share", "slice sb b n2=ready",
                        "> +a 192.168.1.200@p; +a 2001:db8::1@p; +b 2001:db8::1@p; " } },
        { "only members with a living speaker",
                { "basic", "svc web 192.168.1.200", "slice s web n2=ready", "> +web 192.168.1.200@p; ",
                        "members", "> -web 192.168.1.200 notOwner n2; " } },
        { "nobody is left",
                { "node n1", "pool p 192.168.1.0/24", "ad a", "svc web 192.168.1.200 local",
                        "slice s web n9=ready", ">", "slice s web n1=ready", "> +web 192.168.1.200@p; ",
                        "slice s web n9=ready", "> -web 192.168.1.200 noCandidate; " } },
        { "status counters of a pool are no change",
                { "basic", "svc web 192.168.1.200", "slice s web n2=ready", "> +web 192.168.1.200@p; ",
                        "pool p 192.168.1.0/24 l:a=b", ">" } },
};

static struct view *new_view(struct story *w, uint32_t hold_ms)
{
        static struct members members;
        struct view *v = NULL;

        members = (struct members){ .has = story_alive, .ctx = w };
        ck_assert_int_eq(
                view_new(&v,
                        &(struct view_conf){
                                .node = "n1", .lb_class = "", .hold_ms = hold_ms, .members = &members }),
                0);
        return v;
}

START_TEST(tells_what_changed)
{
        static struct story w;

        w = (struct story){ .now_ms = 1000000 };
        w.view = new_view(&w, 1000);
        for (size_t i = 0; i < ARRAY_LEN(stories[0].lines) && stories[_i].lines[i]; i++) {
                const char *line = stories[_i].lines[i];

                if (line[0] == '>')
                        story_expect(&w, line[1] ? line + 2 : "", stories[_i].name);
                else
                        story_obey(&w, line, stories[_i].name);
        }
        story_expect(&w, "", stories[_i].name);
        story_fini(&w);
}
END_TEST

/* ---- what is not worth an election ---- */

static const char pool_json[] =
        "{\"metadata\":{\"name\":\"p\",\"namespace\":\"lb\",\"uid\":\"u\",\"generation\":%d,"
        "\"resourceVersion\":\"%d\"},\"spec\":{\"addresses\":[\"192.168.1.0/24\"]}}";

START_TEST(status_writes_elect_nobody)
{
        static struct story w;
        char json[512];

        w = (struct story){ 0 };
        w.view = new_view(&w, 0);
        (void)snprintf(json, sizeof(json), pool_json, 1, 1);
        story_put(&w, STORY_POOL, json);
        story_obey(&w, "node n1", "");
        story_run(&w);
        (void)snprintf(json, sizeof(json), pool_json, 1, 2);
        story_put(&w, STORY_POOL, json);
        ck_assert(!view_is_dirty(w.view));
        story_obey(&w, "node n1", "");
        ck_assert(!view_is_dirty(w.view));
        (void)snprintf(json, sizeof(json), pool_json, 2, 3);
        story_put(&w, STORY_POOL, json);
        ck_assert(view_is_dirty(w.view));
        story_run(&w);
        story_fini(&w);
}
END_TEST

START_TEST(knows_when_to_look_again)
{
        static struct story w;

        w = (struct story){ .now_ms = 5000 };
        w.view = new_view(&w, 1000);
        story_obey(&w, "basic", "");
        story_obey(&w, "svc web 192.168.1.200", "");
        story_obey(&w, "slice s web n2=ready", "");
        story_run(&w);
        ck_assert_uint_eq(view_deadline(w.view), UINT64_MAX);
        story_obey(&w, "slice s web", "");
        story_run(&w);
        ck_assert_uint_eq(view_deadline(w.view), 6000);
        w.now_ms = 5500;
        story_obey(&w, "node- n2", "");
        story_run(&w);
        ck_assert_uint_eq(view_deadline(w.view), 6000);
        w.now_ms = 6000;
        story_run(&w);
        ck_assert_uint_eq(view_deadline(w.view), 6500);
        w.now_ms = 6500;
        story_run(&w);
        ck_assert_uint_eq(view_deadline(w.view), UINT64_MAX);
        story_fini(&w);
}
END_TEST

START_TEST(counts_by_reason)
{
        static struct story w;
        struct view_counts c;

        w = (struct story){ 0 };
        w.view = new_view(&w, 0);
        story_obey(&w, "basic", "");
        story_obey(&w, "svc a 192.168.1.200", "");
        story_obey(&w, "slice sa a n2=ready", "");
        story_obey(&w, "svc b 10.4.11.7", "");
        story_obey(&w, "slice sb b n2=ready", "");
        story_obey(&w, "svc c -", "");
        story_obey(&w, "svc d x", "");
        story_obey(&w, "svc e 10.4.11.8", "");
        story_obey(&w, "svc f 10.9.9.9", "");
        story_obey(&w, "svc g - type=ClusterIP", "");
        story_run(&w);
        view_count(w.view, &c);
        ck_assert_uint_eq(c.announced, 1);
        ck_assert_uint_eq(c.addresses, 4);
        ck_assert_uint_eq(c.nodes, 3);
        ck_assert_uint_eq(c.services, 7);
        ck_assert_uint_eq(c.reasons[ELECT_ANNOUNCED], 1);
        ck_assert_uint_eq(c.reasons[ELECT_NOT_OWNER], 1);
        ck_assert_uint_eq(c.reasons[ELECT_NO_IP], 1);
        ck_assert_uint_eq(c.reasons[ELECT_INVALID_IP], 1);
        ck_assert_uint_eq(c.reasons[ELECT_NO_ENDPOINTS], 1);
        ck_assert_uint_eq(c.reasons[ELECT_IP_NOT_ALLOWED], 1);
        ck_assert_uint_eq(c.candidates[0], 2);
        ck_assert_uint_eq(c.candidates[3], 2);
        for (const char *p = "abcdefg"; *p; p++)
                story_gone(&w, STORY_SERVICE, "default", (char[]){ *p, '\0' });
        story_obey(&w, "slice- sa", "");
        story_obey(&w, "slice- sb", "");
        story_run(&w);
        view_count(w.view, &c);
        for (size_t i = 0; i < ELECT_N_REASONS; i++)
                ck_assert_uint_eq(c.reasons[i], 0);
        ck_assert_uint_eq(c.services + c.addresses + c.announced, 0);
        ck_assert_uint_eq(c.candidates[0] + c.candidates[1] + c.candidates[2] + c.candidates[3], 0);
        story_fini(&w);
}
END_TEST

/* ---- random histories: the outcome is that of a view that is told only the end ---- */

static void random_line(struct rng *rng, struct story *w, char *line, size_t size)
{
        static const char *const ips[] = { "192.168.1.200", "10.4.11.7", "2001:db8::1", "192.168.1.201",
                "192.168.1.200,2001:db8::1", "10.4.11.7,2001:db8::2", "-", "x", "10.9.9.9" };
        static const char *const specs[] = { "{}", "{\"ipAddressPools\":[\"p0\"]}",
                "{\"nodeSelectors\":[{\"matchLabels\":{\"rack\":\"1\"}}]}", "{\"interfaces\":[\"eth0\"]}",
                "{\"serviceSelectors\":[{\"matchLabels\":{\"app\":\"1\"}}]}",
                "{\"preferredNodeSelectors\":[{\"weight\":3,\"preference\":{\"matchLabels\":{\"rack\":\"0\"}}}]}",
                "{\"ipAddressPools\":[\"p0\",\"p0\"]}" };
        static const char *const ranges[] = { "192.168.1.0/24", "10.4.11.0/24,2001:db8::/64",
                "192.168.0.0/16,2001:db8::/64", "nonsense" };
        unsigned n = (unsigned)rng_below(rng, 6), m = (unsigned)rng_below(rng, 3);
        const struct story_object *victim = w->n > 0 ? &w->objects[rng_below(rng, w->n)] : NULL;
        static const char *const removals[] = { "svc-", "slice-", "node-", "pool-", "ad-" };

        switch (rng_below(rng, 7)) {
        case 0:
                (void)snprintf(line, size, "svc w%u %s%s%s%s%s", n, ips[rng_below(rng, ARRAY_LEN(ips))],
                        rng_below(rng, 3) == 0 ? " local" : "", rng_below(rng, 3) == 0 ? " share" : "",
                        rng_below(rng, 3) == 0 ? " l:app=1" : "",
                        rng_below(rng, 9) == 0 ? " type=NodePort" : "");
                break;
        case 1:
        case 2:
                (void)snprintf(line, size, "slice s%u-%u w%u%s%s%s", n, m, n,
                        rng_below(rng, 2) ? " n1=ready" : "", rng_below(rng, 2) ? " n2=serving" : "",
                        rng_below(rng, 2) ? " n3=no" : "");
                break;
        case 3:
                (void)snprintf(line, size, "node n%u%s%s", m + 1,
                        rng_below(rng, 5) == 0 ? " unavailable" : "",
                        rng_below(rng, 2) ? " l:rack=1" : " l:rack=0");
                break;
        case 4:
                (void)snprintf(line, size, "pool p%u %s born=202%u", m,
                        ranges[rng_below(rng, ARRAY_LEN(ranges))], m);
                break;
        case 5: (void)snprintf(line, size, "ad a%u %s", m, specs[rng_below(rng, ARRAY_LEN(specs))]); break;
        default:
                if (victim)
                        (void)snprintf(line, size, "%s %s", removals[victim->kind], victim->o->name);
                else
                        (void)snprintf(line, size, "node n1");
                break;
        }
}

static void compare_with_fresh(struct story *w, struct rng *rng, const char *trace)
{
        static struct story f;
        struct view_counts a, b;
        char got[512], want[512];
        size_t order[STORY_OBJECTS_MAX];

        f = (struct story){ .now_ms = w->now_ms };
        f.view = new_view(w, 0);
        for (size_t i = 0; i < w->n; i++) {
                size_t k = rng_below(rng, i + 1);

                order[i] = order[k];
                order[k] = i;
        }
        for (size_t i = 0; i < w->n; i++)
                ck_assert_int_eq(story_feed(f.view, w->objects[order[i]].kind, NULL, w->objects[order[i]].o,
                                         w->now_ms),
                        0);
        story_run(&f);
        story_desired(w->view, got);
        story_desired(f.view, want);
        ck_assert_msg(strcmp(got, want) == 0, "after %s: \"%s\", told at once \"%s\"", trace, got, want);
        view_count(w->view, &a);
        view_count(f.view, &b);
        ck_assert_msg(memcmp(&a, &b, sizeof(a)) == 0, "after %s: other counts", trace);
        view_free(f.view);
}

START_TEST(history_does_not_matter)
{
        static struct story w;
        struct rng rng = { (uint64_t)_i + 100 };
        char line[512];

        w = (struct story){ 0 };
        w.view = new_view(&w, 0);
        for (unsigned step = 0; step < 1500; step++) {
                random_line(&rng, &w, line, sizeof(line));
                story_obey(&w, line, "random");
                if (rng_below(&rng, 4) == 0) {
                        story_run(&w);
                        w.said[0] = '\0';
                        compare_with_fresh(&w, &rng, line);
                }
        }
        story_fini(&w);
}
END_TEST

/* ---- no memory ---- */

static void on_change_quiet(void *ctx, const struct view_change *c)
{
        (void)ctx;
        (void)c;
}

/* Feeds and runs everything, each step again until it works. No assertions: they allocate. 0, -ENOMEM when there is
 * no view, and anything else is wrong. */
static int try_it_all(struct story *w, struct view **ret)
{
        static struct members everybody;
        static const char *const eth0[] = { "eth0" };
        struct desired *d = NULL;
        struct view *v = NULL;
        int r = view_new(&v, &(struct view_conf){ .node = "n1", .lb_class = "", .members = &everybody });

        if (r < 0)
                return r;
        *ret = v;
        for (size_t i = 0; i < w->n; i++)
                while ((r = story_feed(v, w->objects[i].kind, NULL, w->objects[i].o, 0)) < 0)
                        if (r != -ENOMEM)
                                return r;
        while ((r = view_links(v, eth0, 1)) < 0)
                if (r != -ENOMEM)
                        return r;
        while ((r = view_run(v, 0, SIZE_MAX, on_change_quiet, NULL)) != 0)
                if (r != -ENOMEM)
                        return r;
        while ((r = view_desired(v, &d)) < 0)
                if (r != -ENOMEM)
                        return r;
        desired_free(d);
        for (size_t i = 0; i < w->n; i++) {
                r = story_feed(v, w->objects[i].kind, w->objects[i].o, w->objects[i].o, 0);
                if (r != 0 && r != -ENOMEM)
                        return r;
        }
        for (size_t i = 0; i < w->n; i += 2)
                if (story_feed(v, w->objects[i].kind, w->objects[i].o, NULL, 0) != 0)
                        return -EINVAL;
        return 0;
}

START_TEST(survives_no_memory)
{
        static struct story w;
        unsigned n;

        /* Objects are made first; then everything is fed and run with the n-th allocation failing, tried again, and
         * must come to the same end. */
        w = (struct story){ 0 };
        w.view = new_view(&w, 0);
        story_obey(&w, "basic", "");
        story_obey(&w,
                "ad a {\"interfaces\":[\"eth0\"],\"preferredNodeSelectors\":[{\"weight\":3,\"preference\":{}}]}",
                "");
        story_obey(&w, "svc a 192.168.1.200,2001:db8::1 share local", "");
        story_obey(&w, "slice sa a n1=ready n2=ready", "");
        story_obey(&w, "svc b 192.168.1.200 share", "");
        story_obey(&w, "slice sb b n1=ready", "");
        for (n = 0; n < 10000; n++) {
                struct view *v = NULL;
                char text[512] = "";
                bool failed;
                int r;

                fault_arm(n);
                r = try_it_all(&w, &v);
                failed = fault_disarm();
                ck_assert(r == 0 || (r == -ENOMEM && failed));
                if (!v)
                        continue;
                for (size_t i = 0; i < w.n; i += 2)
                        ck_assert_int_eq(story_feed(v, w.objects[i].kind, NULL, w.objects[i].o, 0), 0);
                ck_assert_int_eq(view_run(v, 0, SIZE_MAX, on_change_quiet, NULL), 0);
                story_desired(v, text);
                ck_assert_str_eq(text, "192.168.1.200[eth0] 2001:db8::1[eth0]");
                view_free(v);
                if (!failed)
                        break;
        }
        ck_assert_uint_gt(n, 40);
        story_fini(&w);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("view");
        TCase *tc = tcase_create("view");

        tcase_set_timeout(tc, 60);
        tcase_add_loop_test(tc, tells_what_changed, 0, (int)ARRAY_LEN(stories));
        tcase_add_test(tc, status_writes_elect_nobody);
        tcase_add_test(tc, knows_when_to_look_again);
        tcase_add_test(tc, counts_by_reason);
        tcase_add_loop_test(tc, history_does_not_matter, 0, 4);
        tcase_add_test(tc, survives_no_memory);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
