/* SPDX-License-Identifier: Apache-2.0 */
/* Scripts and the transcripts they must give. Beyond test/lib/world.h:
 *   plan KEY...   one after another, what they write is stored     drain   plan whoever the ipam reports
 *   restart [N]   a new allocator, claims, then plans all, in an order that depends on N; "quiet" ones are not shown
 *   status KEY JSON    somebody else writes the ingress list       wipe KEY   ... or empties status and annotation
 *   stale / fresh      writes are not (are again) seen in the cache
 *   logs               show log facts too                          class C    --lb-class     pools   counters */
#include "controller/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/lib/audit.h"
#include "test/lib/fault.h"
#include "test/lib/objects.h"
#include "test/lib/unit.h"
#include "test/lib/world.h"

static const char *full_key(char out[static 128], const char *name)
{
        (void)snprintf(out, 128, "%s%s", strchr(name, '/') ? "" : "d/", name);
        return out;
}

static void do_plans(struct world *w, char *rest)
{
        const char *word, *sep = "";
        char key[128];

        while ((word = strsep(&rest, " "))) {
                buf_adds(&w->out, sep);
                world_plan(w, full_key(key, word));
                sep = "\n";
        }
}

static void do_drain(struct world *w)
{
        const char *key;
        char copy[128];

        for (int i = 0; (key = ipam_woken(w->m)); i++) {
                ck_assert_int_lt(i, 100);
                (void)snprintf(copy, sizeof(copy), "%s", key);
                buf_adds(&w->out, i ? "\n" : "");
                world_plan(w, copy);
        }
        if (w->out.len == 0 || w->out.p[w->out.len - 1] == '\n')
                buf_adds(&w->out, "nobody");
}

static void do_restart(struct world *w, uint64_t seed)
{
        size_t writes = w->n_writes, events = w->n_events, len;

        world_restart(w);
        world_claim_all(w, seed);
        buf_adds(&w->out, "restart");
        for (size_t i = 0; i < w->n_svcs; i++) {
                size_t before = w->n_writes + w->n_events;

                len = w->out.len;
                buf_adds(&w->out, "\n");
                world_plan(w, w->svcs[(i + seed) % w->n_svcs].key);
                if (before == w->n_writes + w->n_events) {
                        w->out.len = len;
                        w->out.p[len] = '\0';
                }
        }
        if (writes == w->n_writes && events == w->n_events)
                buf_adds(&w->out, " quiet");
}

static void do_status(struct world *w, char *rest)
{
        const char *name = strsep(&rest, " ");
        char key[128];

        world_status(w, full_key(key, name), rest);
}

static void do_wipe(struct world *w, const char *key)
{
        struct world_svc *s = world_svc(w, key);

        free(s->pool);
        free(s->condition);
        s->pool = s->condition = NULL;
        world_status(w, key, NULL);
}

static void do_line(struct world *w, const char *line)
{
        CLEANUP(freep) char *copy = strdup(line);
        char *rest = copy, *verb = strsep(&rest, " ");
        size_t before = w->out.len;
        char key[128];

        if (strcmp(verb, "plan") == 0)
                do_plans(w, rest);
        else if (strcmp(verb, "drain") == 0)
                do_drain(w);
        else if (strcmp(verb, "restart") == 0)
                do_restart(w, rest ? strtoull(rest, NULL, 10) : 1);
        else if (strcmp(verb, "status") == 0)
                do_status(w, rest);
        else if (strcmp(verb, "wipe") == 0)
                do_wipe(w, full_key(key, rest));
        else if (strcmp(verb, "stale") == 0)
                w->stale = true;
        else if (strcmp(verb, "fresh") == 0)
                w->stale = false;
        else if (strcmp(verb, "logs") == 0)
                w->show_logs = true;
        else if (strcmp(verb, "class") == 0)
                w->conf.lb_class = strcmp(rest, "x") == 0 ? "x" : "";
        else if (strcmp(verb, "pools") == 0)
                world_show_pools(w);
        else
                ck_assert_msg(world_line(w, line), "unknown line: %s", line);
        if (w->out.len > before)
                buf_addc(&w->out, '\n');
        ipam_audit(w->m);
}

struct script {
        const char *name, *lines, *want;
};

static void check(const struct script *s)
{
        CLEANUP(freep) char *copy = strdup(s->lines);
        char *rest = copy, *line;
        struct world *w = calloc(1, sizeof(*w));

        ck_assert_ptr_nonnull(w);
        world_init(w, 0);
        while ((line = strsep(&rest, "\n")))
                if (*line)
                        do_line(w, line);
        ck_assert_msg(strcmp(buf_str(&w->out), s->want) == 0, "%s: got\n%s\nwant\n%s", s->name,
                buf_str(&w->out), s->want);
        world_fini(w);
        free(w);
}

/* clang-format off */
#define ASSIGNED(ip) "True IPAllocated: Assigned IP [\"" ip "\"] from pool \"a\"."
#define EVENT(ip)    " N:IPAllocated: Assigned IP [\"" ip "\"]."
#define NEW(s, ip)   s " assigned [" ip "] pool=a " ASSIGNED(ip) EVENT(ip) "\n"

static const struct script scripts[] = {
        { "a new Service: address, annotation, condition in one write, one event; then quiet",
          "logs\npool a 10.4.11.0_-_10.4.15.254\nsvc x\nplan x x\npools",
          "x assigned [10.4.11.0] pool=a " ASSIGNED("10.4.11.0") EVENT("10.4.11.0") " info<ipAllocated||10.4.11.0|a|>\n"
          "x assigned quiet\na 1/1278\n" },
        { "no capacity: one event and a condition, said once; freed means offered, oldest first",
          "pool a 10.0.0.0/32\nsvc x age=1\nsvc y age=3\nsvc z age=2\nplan x y z\nplan y z\nnosvc x\nplan x\ndrain\nplan y",
          NEW("x", "10.0.0.0")
          "y pending(full) False AllocationFailed: no available IPs: pool \"a\" no free IPv4 address."
          " W:AllocationFailed: Failed to allocate IP for \"d/y\": no available IPs: pool \"a\" no free IPv4 address.\n"
          "z pending(full) False AllocationFailed: no available IPs: pool \"a\" no free IPv4 address."
          " W:AllocationFailed: Failed to allocate IP for \"d/z\": no available IPs: pool \"a\" no free IPv4 address.\n"
          "y pending(full) quiet\nz pending(full) quiet\nx other quiet\n" NEW("z", "10.0.0.0") "y pending(full) quiet\n" },
        { "deleted: freed at once; an unknown one is nothing",
          "logs\npool a 10.0.0.0/31\nsvc x\nplan x\nnosvc x\nplan x x\npools",
          "x assigned [10.0.0.0] pool=a " ASSIGNED("10.0.0.0") EVENT("10.0.0.0") " info<ipAllocated||10.0.0.0|a|>\n"
          "x other info<serviceDeleted||10.0.0.0|a|> quiet\nx other quiet\na 0/2\n" },
        { "not a LoadBalancer any more: all of ours is taken off",
          "logs\npool a 10.0.0.0/31\nsvc x\nplan x\nsvc x type=ClusterIP\nplan x x\npools\nsvc x\nplan x",
          "x assigned [10.0.0.0] pool=a " ASSIGNED("10.0.0.0") EVENT("10.0.0.0") " info<ipAllocated||10.0.0.0|a|>\n"
          "x other [] pool=- -condition info<clearAssignment|notLoadBalancer|||>\nx other quiet\na 0/2\n"
          "x assigned [10.0.0.0] pool=a " ASSIGNED("10.0.0.0") EVENT("10.0.0.0") " info<ipAllocated||10.0.0.0|a|>\n" },
        { "a copied annotation is stripped from any Service",
          "pool a 10.0.0.0/31\nsvc x type=NodePort note=metallb.io/ip-allocated-from-pool:zz\nplan x",
          "x other pool=-\n" },
        { "another class: hands off; it leaves our class: the address is free, nothing is written",
          "pool a 10.0.0.0/31\nsvc x class=y\nstatus x [{'ip':'10.0.0.0'}]\nplan x\npools\nclass x\nsvc x class=x\nplan x\nsvc x class=z\nplan x\npools\n"
          "svc y\nplan y\nsvc y type=ClusterIP\nplan y",
          "x other quiet\na 0/2\nx assigned pool=a " ASSIGNED("10.0.0.0") "\nx other quiet\na 0/2\ny other quiet\ny other quiet\n" },
        { "with --lb-class a type change, which drops the class, frees and cleans",
          "class x\npool a 10.0.0.0/31\nsvc x class=x\nplan x\nsvc x type=ClusterIP\nplan x\npools",
          NEW("x", "10.0.0.0") "x other [] pool=- -condition\na 0/2\n" },
        { "no pool: cleared, no event, but a condition",
          "logs\nsvc x\nplan x x\npool a 10.0.0.0/31\ndrain\nnopool a\ndrain\npool a 10.0.0.0/31\ndrain",
          "x pending(noPool) False AllocationFailed: there is no address pool. error<allocationFailed||||there is no address pool>\n"
          "x pending(noPool) quiet\n"
          "x assigned [10.0.0.0] pool=a " ASSIGNED("10.0.0.0") EVENT("10.0.0.0") " info<ipAllocated||10.0.0.0|a|>\n"
          "x pending(noPool) [] pool=- False AllocationFailed: there is no address pool. info<clearAssignment|noConfig|||>"
          " error<allocationFailed||||there is no address pool>\n"
          "x assigned [10.0.0.0] pool=a " ASSIGNED("10.0.0.0") EVENT("10.0.0.0") " info<ipAllocated||10.0.0.0|a|>\n" },
        { "no cluster IPs yet: cleared without an event",
          "logs\npool a 10.0.0.0/31\nsvc x\nplan x\nsvc x 0\nplan x x\nsvc x\nplan x",
          "x assigned [10.0.0.0] pool=a " ASSIGNED("10.0.0.0") EVENT("10.0.0.0") " info<ipAllocated||10.0.0.0|a|>\n"
          "x pending(invalid) [] pool=- False NoClusterIPs: the Service has no cluster IP."
          " info<clearAssignment|noClusterIPs|||> error<allocationFailed||||the Service has no cluster IP>\n"
          "x pending(invalid) quiet\n"
          "x assigned [10.0.0.0] pool=a " ASSIGNED("10.0.0.0") EVENT("10.0.0.0") " info<ipAllocated||10.0.0.0|a|>\n" },
        { "RequireDualStack with one cluster IP",
          "pool a 10.0.0.0/31\nsvc x\nplan x\nsvc x 4 require\nplan x x",
          NEW("x", "10.0.0.0")
          "x pending(invalid) [] pool=- False NotEnoughClusterIPs: ipFamilyPolicy RequireDualStack needs two cluster IPs, the Service has one."
          " W:NotEnoughClusterIPs: Failed to allocate IP for \"d/x\": ipFamilyPolicy RequireDualStack needs two cluster IPs, the Service has one.\n"
          "x pending(invalid) quiet\n" },
        { "cluster IPs without a family: what it has stays",
          "pool a 10.0.0.0/31\nsvc x\nplan x\nsvc x none\nplan x x\nrestart\npools\nsvc x\nplan x",
          NEW("x", "10.0.0.0")
          "x degraded(invalid) False noclusterIPsIPFamily: keeps IP [\"10.0.0.0\"], but cluster IP \"None\" is not an IP address."
          " W:noclusterIPsIPFamily: Failed to allocate IP for \"d/x\": cluster IP \"None\" is not an IP address.\n"
          "x degraded(invalid) quiet\nrestart quiet\na 1/1\nx assigned " ASSIGNED("10.0.0.0") "\n" },
        { "status without a family: said, and what can be kept of it is kept",
          "pool a 10.0.0.0/29\nsvc x\nstatus x [{'ip':'10.0.0.3'},{'ip':'10.0.0.4'}]\nplan x x\nsvc y\nstatus y [{'ip':'junk'}]\nplan y",
          "x assigned [10.0.0.3] pool=a " ASSIGNED("10.0.0.3")
          " W:nolbIPsIPFamily: the addresses in status of \"d/x\" are not one of each family.\nx assigned quiet\n"
          "y assigned [10.0.0.0] pool=a " ASSIGNED("10.0.0.0")
          " W:nolbIPsIPFamily: the addresses in status of \"d/y\" are not one of each family." EVENT("10.0.0.0") "\n" },
        { "a request that cannot be read, on an assigned Service and on a waiting one",
          "pool a 10.0.0.0/31\nsvc x\nsvc y ip=foo\nplan x y\nsvc x ip=foo\nplan x x\nsvc x\nplan x",
          NEW("x", "10.0.0.0")
          "y pending(invalid) False AllocationFailed: requested address \"foo\" is not an IP address."
          " W:AllocationFailed: Failed to allocate IP for \"d/y\": requested address \"foo\" is not an IP address.\n"
          "x degraded(invalid) False LoadBalancerFailed: keeps IP [\"10.0.0.0\"], but requested address \"foo\" is not an IP address."
          " W:LoadBalancerFailed: Failed to allocate IP for \"d/x\": requested address \"foo\" is not an IP address.\n"
          "x degraded(invalid) quiet\nx assigned " ASSIGNED("10.0.0.0") "\n" },
        { "foreign text is made harmless",
          "pool a 10.0.0.0/31\nsvc x ip=\xc3\xa4\\n\\u0007\nplan x x",
          "x pending(invalid) False AllocationFailed: requested address \"?\?\?\?\" is not an IP address."
          " W:AllocationFailed: Failed to allocate IP for \"d/x\": requested address \"?\?\?\?\" is not an IP address.\n"
          "x pending(invalid) quiet\n" },
        { "another address is asked for: free, then taken",
          "logs\npool a 10.0.0.0/29\nsvc x\nsvc y\nplan x y\nsvc x ip=10.0.0.5\nplan x\nsvc x ip=10.0.0.1\nplan x x\nnosvc y\nplan y\ndrain",
          "x assigned [10.0.0.0] pool=a " ASSIGNED("10.0.0.0") EVENT("10.0.0.0") " info<ipAllocated||10.0.0.0|a|>\n"
          "y assigned [10.0.0.1] pool=a " ASSIGNED("10.0.0.1") EVENT("10.0.0.1") " info<ipAllocated||10.0.0.1|a|>\n"
          "x assigned [10.0.0.5] " ASSIGNED("10.0.0.5") EVENT("10.0.0.5")
          " info<clearAssignment|differentIPRequested|10.0.0.5|a|> info<ipAllocated||10.0.0.5|a|>\n"
          "x degraded(conflict) False AllocationFailed: keeps IP [\"10.0.0.5\"], but 10.0.0.1 is used by Service d/y without a common sharing key."
          " W:AllocationFailed: Failed to allocate IP for \"d/x\": 10.0.0.1 is used by Service d/y without a common sharing key."
          " error<allocationFailed||10.0.0.5|a|10.0.0.1 is used by Service d/y without a common sharing key>\n"
          "x degraded(conflict) quiet\ny other info<serviceDeleted||10.0.0.1|a|> quiet\n"
          "x assigned [10.0.0.1] " ASSIGNED("10.0.0.1") EVENT("10.0.0.1")
          " info<clearAssignment|differentIPRequested|10.0.0.1|a|> info<ipAllocated||10.0.0.1|a|>\n" },
        { "moving away wakes who waits for the old address",
          "pool a 10.0.0.0/31\nsvc x\nsvc y ip=10.0.0.0\nplan x\nplan y\nsvc x ip=10.0.0.1\nplan x\ndrain",
          NEW("x", "10.0.0.0")
          "y pending(conflict) False AllocationFailed: 10.0.0.0 is used by Service d/x without a common sharing key."
          " W:AllocationFailed: Failed to allocate IP for \"d/y\": 10.0.0.0 is used by Service d/x without a common sharing key.\n"
          "x assigned [10.0.0.1] " ASSIGNED("10.0.0.1") EVENT("10.0.0.1") "\n" NEW("y", "10.0.0.0") },
        { "another pool is asked for; a full or unknown one changes nothing; the request goes: it stays",
          "pool a 10.0.0.0/31\npool b 10.1.0.0/32\nsvc x\nsvc y pool=b\nplan x y\nsvc x pool=b\nplan x\nsvc x pool=nope\nplan x\nsvc x\nplan x\n"
          "svc x pool=b\nplan x\nsvc y pool=a\nplan y\ndrain\nsvc x\nplan x",
          NEW("x", "10.0.0.0")
          "y assigned [10.1.0.0] pool=b True IPAllocated: Assigned IP [\"10.1.0.0\"] from pool \"b\"." EVENT("10.1.0.0") "\n"
          "x degraded(full) False AllocationFailed: keeps IP [\"10.0.0.0\"], but no available IPs: pool \"b\" no free IPv4 address."
          " W:AllocationFailed: Failed to allocate IP for \"d/x\": no available IPs: pool \"b\" no free IPv4 address.\n"
          "x degraded(noPool) False AllocationFailed: keeps IP [\"10.0.0.0\"], but pool \"nope\" does not exist."
          " W:AllocationFailed: Failed to allocate IP for \"d/x\": pool \"nope\" does not exist.\n"
          "x assigned " ASSIGNED("10.0.0.0") "\n"
          "x degraded(full) False AllocationFailed: keeps IP [\"10.0.0.0\"], but no available IPs: pool \"b\" no free IPv4 address."
          " W:AllocationFailed: Failed to allocate IP for \"d/x\": no available IPs: pool \"b\" no free IPv4 address.\n"
          "y assigned [10.0.0.1] pool=a " ASSIGNED("10.0.0.1") EVENT("10.0.0.1") "\n"
          "x assigned [10.1.0.0] pool=b True IPAllocated: Assigned IP [\"10.1.0.0\"] from pool \"b\"." EVENT("10.1.0.0") "\n"
          "x assigned quiet\n" },
        { "families of the request must be those of the Service",
          "pool a 10.0.0.0/31 fd00::/127\nsvc x 46 prefer ip=10.0.0.1\nplan x x",
          "x pending(invalid) False AllocationFailed: requested is an IPv4 address, but the Service is dual-stack."
          " W:AllocationFailed: Failed to allocate IP for \"d/x\": requested is an IPv4 address, but the Service is dual-stack.\n"
          "x pending(invalid) quiet\n" },
        /* Status as others leave it. */
        { "ipMode VIP, which the API server adds, is no difference; other fields stay while the address does",
          "pool a 10.0.0.0/29\nsvc x\nstatus x [{'ip':'10.0.0.3','ipMode':'Proxy','hostname':'h.example','ports':[{'port':80,'protocol':'TCP'}]},{'hostname':'only.example'}]\n"
          "plan x x\nsvc x ip=10.0.0.4\nplan x x",
          "x assigned pool=a " ASSIGNED("10.0.0.3") "\nx assigned quiet\n"
          "x assigned [10.0.0.4 /only.example] " ASSIGNED("10.0.0.4") EVENT("10.0.0.4") "\nx assigned quiet\n" },
        { "the other half of a pair goes: the entry that stays keeps its fields",
          "pool a 10.0.0.0/29 fd00::/125\nsvc x 46 require\nstatus x [{'ip':'10.0.0.3','ipMode':'Proxy'},{'ip':'fd00::3'}]\nplan x\nsvc x 4\nplan x",
          "x assigned pool=a True IPAllocated: Assigned IP [\"10.0.0.3\" \"fd00::3\"] from pool \"a\".\n"
          "x assigned [10.0.0.3/Proxy] " ASSIGNED("10.0.0.3") "\n" },
        { "a wiped status is restored, not renumbered; the same is not said again",
          "pool a 10.0.0.0/29\nsvc x\nsvc y\nplan x y\nnosvc x\nplan x\nwipe y\nplan y y",
          NEW("x", "10.0.0.0") NEW("y", "10.0.0.1") "x other quiet\ny assigned [10.0.0.1] pool=a " ASSIGNED("10.0.0.1") "\ny assigned quiet\n" },
        { "a stale cache changes nothing and repeats nothing",
          "pool a 10.0.0.0/29\nsvc x\nsvc y\nplan x\nstale\nplan y y\nnosvc x\nplan x\nplan y\nfresh\nplan y y",
          NEW("x", "10.0.0.0") NEW("y", "10.0.0.1") "y assigned [10.0.0.1] pool=a " ASSIGNED("10.0.0.1") "\nx other quiet\n"
          "y assigned [10.0.0.1] pool=a " ASSIGNED("10.0.0.1") "\ny assigned [10.0.0.1] pool=a " ASSIGNED("10.0.0.1") "\ny assigned quiet\n" },
        { "somebody writes an address that is not ours: back to what it was",
          "pool a 10.0.0.0/29\nsvc x\nplan x\nstatus x [{'ip':'192.0.2.1'}]\nplan x x",
          NEW("x", "10.0.0.0") "x assigned [10.0.0.0]\nx assigned quiet\n" },
        { "an address of another load balancer, at the start: cleared, replaced",
          "pool a 10.0.0.0/29\nsvc x\nstatus x [{'ip':'192.0.2.1'}]\nrestart",
          "restart\nx assigned [10.0.0.0] pool=a " ASSIGNED("10.0.0.0")
          " N:ClearAssignment: the current IP of \"d/x\" is not allowed any more: 192.0.2.1 is in no pool, the nearest is pool \"a\"."
          EVENT("10.0.0.0") "\n" },
        { "one address in two statuses: the older Service keeps it, whatever the order; the other is told",
          "pool a 10.0.0.0/29\nsvc x age=9\nsvc y age=4\nstatus x [{'ip':'10.0.0.1'}]\nstatus y [{'ip':'10.0.0.1'}]\nrestart 1\nrestart 2\nrestart 7",
          "restart\ny assigned pool=a " ASSIGNED("10.0.0.1") "\nx assigned [10.0.0.0] pool=a " ASSIGNED("10.0.0.0")
          " N:ClearAssignment: the current IP of \"d/x\" is not allowed any more: 10.0.0.1 is used by Service d/y without a common sharing key."
          EVENT("10.0.0.0") "\nrestart quiet\nrestart quiet\n" },
        { "a move that was decided but not written: who has the address by now keeps it, though younger",
          "pool a 10.0.0.0/29\nsvc x age=1\nsvc y age=2\nplan x\nsvc x ip=10.0.0.5\nstale\nplan x\nfresh\nplan y\nrestart",
          NEW("x", "10.0.0.0") "x assigned [10.0.0.5] " ASSIGNED("10.0.0.5") EVENT("10.0.0.5") "\n" NEW("y", "10.0.0.0")
          "restart\nx assigned [10.0.0.5] " ASSIGNED("10.0.0.5")
          " N:ClearAssignment: the current IP of \"d/x\" is not allowed any more: 10.0.0.0 is used by Service d/y without a common sharing key."
          EVENT("10.0.0.5") "\n" },
        { "the second address of a pair stays when its pool is bad at the start",
          "pool a 10.0.0.0/29\npool b fd00::/125\nsvc x 46 require\nplan x\npool b broken\nrestart\npool b fd00::/125\ndrain\nrestart",
          "x assigned [10.0.0.0 fd00::] pool=a True IPAllocated: Assigned IP [\"10.0.0.0\" \"fd00::\"] from pools \"a\" and \"b\"."
          " N:IPAllocated: Assigned IP [\"10.0.0.0\" \"fd00::\"].\nrestart quiet\nx assigned quiet\nrestart quiet\n" },
        { "what an old leader slips in later loses to what is held",
          "pool a 10.0.0.0/29\nsvc x age=9\nplan x\nsvc y age=1\nstatus y [{'ip':'10.0.0.0'}]\nplan y x",
          NEW("x", "10.0.0.0") "y assigned [10.0.0.1] pool=a " ASSIGNED("10.0.0.1")
          " N:ClearAssignment: the current IP of \"d/y\" is not allowed any more: 10.0.0.0 is used by Service d/x without a common sharing key."
          EVENT("10.0.0.1") "\nx assigned quiet\n" },
        { "claims come before anything new, whatever waits",
          "pool a 10.0.0.0/30\nsvc w1\nsvc w2\nsvc w3 46 prefer\nsvc h age=99\nstatus h [{'ip':'10.0.0.0'}]\nsvc p 46 prefer age=98\nstatus p [{'ip':'10.0.0.1'}]\nrestart 3",
          "restart\nh assigned pool=a " ASSIGNED("10.0.0.0") "\n"
          "p assigned pool=a True IPAllocated: Assigned IP [\"10.0.0.1\"] from pool \"a\", without the second family: pool \"a\" has no IPv6 range."
          " N:AdditionalAssignFailed: no address of the second family for \"d/p\": pool \"a\" has no IPv6 range.\n"
          "w1 assigned [10.0.0.2] pool=a " ASSIGNED("10.0.0.2") EVENT("10.0.0.2") "\n"
          "w2 assigned [10.0.0.3] pool=a " ASSIGNED("10.0.0.3") EVENT("10.0.0.3") "\n"
          "w3 pending(full) False AllocationFailed: no available IPs: pool \"a\" no free IPv4 address; pool \"a\" has no IPv6 range."
          " W:AllocationFailed: Failed to allocate IP for \"d/w3\": no available IPs: pool \"a\" no free IPv4 address; pool \"a\" has no IPv6 range.\n" },
        /* Families. */
        { "PreferDualStack and one family only: one address, said once, also after a restart",
          "pool a 10.0.0.0/30\nsvc x 46 prefer\nplan x x x\nrestart\npool b fd00::/126\ndrain\nrestart",
          "x assigned [10.0.0.0] pool=a True IPAllocated: Assigned IP [\"10.0.0.0\"] from pool \"a\", without the second family: pool \"a\" has no IPv6 range."
          EVENT("10.0.0.0") " N:AdditionalAssignFailed: no address of the second family for \"d/x\": pool \"a\" has no IPv6 range.\n"
          "x assigned quiet\nx assigned quiet\nrestart quiet\n"
          "x assigned [10.0.0.0 fd00::] True IPAllocated: Assigned IP [\"10.0.0.0\" \"fd00::\"] from pools \"a\" and \"b\"."
          " N:IPAllocated: Assigned IP [\"10.0.0.0\" \"fd00::\"].\nrestart quiet\n" },
        { "the order of a pair: primary family first, as asked for, and never turned",
          "pool a 10.0.0.0/29 fd00::/125\nsvc x 64 require\nplan x x\nrestart\nsvc y 46 ip=fd00::3,10.0.0.3\nplan y y\nrestart\nsvc y 46\nplan y\nsvc y 46 ip=10.0.0.3,fd00::3\nplan y y",
          "x assigned [fd00:: 10.0.0.0] pool=a True IPAllocated: Assigned IP [\"fd00::\" \"10.0.0.0\"] from pool \"a\". N:IPAllocated: Assigned IP [\"fd00::\" \"10.0.0.0\"].\n"
          "x assigned quiet\nrestart quiet\n"
          "y assigned [fd00::3 10.0.0.3] pool=a True IPAllocated: Assigned IP [\"fd00::3\" \"10.0.0.3\"] from pool \"a\". N:IPAllocated: Assigned IP [\"fd00::3\" \"10.0.0.3\"].\n"
          "y assigned quiet\nrestart quiet\ny assigned quiet\n"
          "y assigned [10.0.0.3 fd00::3] True IPAllocated: Assigned IP [\"10.0.0.3\" \"fd00::3\"] from pool \"a\".\ny assigned quiet\n" },
        { "SingleStack to RequireDualStack and back: extended and reduced, never renumbered",
          "pool a 10.0.0.0/29 fd00::/125\nsvc o\nsvc x\nplan o x\nnosvc o\nplan o\nsvc x 46 require\nplan x\nsvc x 4\nplan x x",
          NEW("o", "10.0.0.0") NEW("x", "10.0.0.1") "o other quiet\n"
          "x assigned [10.0.0.1 fd00::] True IPAllocated: Assigned IP [\"10.0.0.1\" \"fd00::\"] from pool \"a\". N:IPAllocated: Assigned IP [\"10.0.0.1\" \"fd00::\"].\n"
          "x assigned [10.0.0.1] " ASSIGNED("10.0.0.1") "\nx assigned quiet\n" },
        { "a dual pool loses one family: the other address stays",
          "pool a 10.0.0.0/29 fd00::/125\nsvc o\nsvc x 46 prefer\nplan o x\nnosvc o\nplan o\npool a 10.0.0.0/29\ndrain",
          NEW("o", "10.0.0.0")
          "x assigned [10.0.0.1 fd00::] pool=a True IPAllocated: Assigned IP [\"10.0.0.1\" \"fd00::\"] from pool \"a\". N:IPAllocated: Assigned IP [\"10.0.0.1\" \"fd00::\"].\n"
          "o other quiet\n"
          "x assigned [10.0.0.1] True IPAllocated: Assigned IP [\"10.0.0.1\"] from pool \"a\", without the second family: pool \"a\" has no IPv6 range."
          " N:ClearAssignment: the current IP of \"d/x\" is not allowed any more: fd00:: is in no pool."
          " N:AdditionalAssignFailed: no address of the second family for \"d/x\": pool \"a\" has no IPv6 range.\n" },
        { "the family of the Service changed: another address, no complaint",
          "pool a 10.0.0.0/29 fd00::/125\nsvc x 6\nstatus x [{'ip':'10.0.0.1'}]\nplan x\npools",
          "x assigned [fd00::] pool=a True IPAllocated: Assigned IP [\"fd00::\"] from pool \"a\". N:IPAllocated: Assigned IP [\"fd00::\"].\na 0/8 1/7\n" },
        /* Pools change. */
        { "deleted: from another pool if there is one, else cleared; renamed: the address stays",
          "pool a 10.0.0.0/31\nsvc x\nplan x\npool b 10.1.0.0/31\nnopool a\ndrain\nnopool b\ndrain",
          NEW("x", "10.0.0.0")
          "x assigned [10.1.0.0] pool=b True IPAllocated: Assigned IP [\"10.1.0.0\"] from pool \"b\"."
          " N:ClearAssignment: the current IP of \"d/x\" is not allowed any more: 10.0.0.0 is in no pool, the nearest is pool \"b\"." EVENT("10.1.0.0") "\n"
          "x pending(noPool) [] pool=- False AllocationFailed: there is no address pool.\n" },
        { "autoAssign=false: users keep their address, nobody new comes",
          "pool a 10.0.0.0/31\nsvc x\nplan x\npool a 10.0.0.0/31 noauto\ndrain\nsvc y\nplan y",
          NEW("x", "10.0.0.0") "x assigned quiet\n"
          "y pending(other) False AllocationFailed: pool \"a\" autoAssign is false."
          " W:AllocationFailed: Failed to allocate IP for \"d/y\": pool \"a\" autoAssign is false.\n" },
        { "serviceAllocation takes the Service out: it moves, or is cleared",
          "pool a 10.0.0.0/31\npool b 10.1.0.0/32\nsvc x\nsvc y\nplan x y\npool a 10.0.0.0/31 ns=team\ndrain",
          NEW("x", "10.0.0.0") NEW("y", "10.0.0.1")
          "x assigned [10.1.0.0] pool=b True IPAllocated: Assigned IP [\"10.1.0.0\"] from pool \"b\"."
          " N:ClearAssignment: the current IP of \"d/x\" is not allowed any more: 10.0.0.0 pool \"a\" does not allow the namespace." EVENT("10.1.0.0") "\n"
          "y pending(full) [] pool=- False AllocationFailed: no available IPs: pool \"a\" does not allow the namespace; pool \"b\" no free IPv4 address."
          " N:ClearAssignment: the current IP of \"d/y\" is not allowed any more: 10.0.0.1 pool \"a\" does not allow the namespace."
          " W:AllocationFailed: Failed to allocate IP for \"d/y\": no available IPs: pool \"a\" does not allow the namespace; pool \"b\" no free IPv4 address.\n" },
        { "a bad pool: who is there stays, also over a restart; nobody new; then it is good again",
          "pool a 10.0.0.0/31\nsvc x\nplan x\npool a 10.0.0.0/31 broken\ndrain\nrestart\nsvc y\nplan y\npools\npool a 10.0.0.0/31\ndrain",
          NEW("x", "10.0.0.0") "x assigned quiet\nrestart quiet\n"
          "y pending(badPool) False AllocationFailed: pool \"a\" its configuration is invalid."
          " W:AllocationFailed: Failed to allocate IP for \"d/y\": pool \"a\" its configuration is invalid.\n"
          "a 1/0 BAD: invalid CIDR \"10.0.0.0/99\": the length must be 0 to 32\n" 
          "x assigned quiet\n" NEW("y", "10.0.0.1") },
        { "avoidBuggyIPs switched on moves who has such an address",
          "pool a 10.0.0.0/31\nsvc x\nplan x\npool a 10.0.0.0/31 buggy\ndrain",
          NEW("x", "10.0.0.0") "x assigned [10.0.0.1] " ASSIGNED("10.0.0.1")
          " N:ClearAssignment: the current IP of \"d/x\" is not allowed any more: 10.0.0.0 is left out by avoidBuggyIPs of pool \"a\"." EVENT("10.0.0.1") "\n" },
        { "labels of the namespace change",
          "ns d env:prod\npool a 10.0.0.0/31 nssel=env:prod\nsvc x\nplan x\nns d env:dev\nplan x\nns d env:prod\nplan x",
          NEW("x", "10.0.0.0")
          "x pending(notAllowed) [] pool=- False AllocationFailed: pool \"a\" does not allow the namespace."
          " N:ClearAssignment: the current IP of \"d/x\" is not allowed any more: 10.0.0.0 pool \"a\" does not allow the namespace."
          " W:AllocationFailed: Failed to allocate IP for \"d/x\": pool \"a\" does not allow the namespace.\n" NEW("x", "10.0.0.0") },
        /* Sharing. */
        { "ports dropped on a shared address are offered to who waits for them",
          "pool a 10.0.0.0/32\nsvc x key=k ports=80,81\nsvc y key=k ports=81\nplan x y\nsvc x key=k ports=80\nplan x\ndrain",
          NEW("x", "10.0.0.0")
          "y pending(full) False AllocationFailed: no available IPs: pool \"a\" no free IPv4 address."
          " W:AllocationFailed: Failed to allocate IP for \"d/y\": no available IPs: pool \"a\" no free IPv4 address.\n"
          "x assigned quiet\n" NEW("y", "10.0.0.0") },
        { "keys changed on a shared address: the changed one is told and moves",
          "pool a 10.0.0.0/31\nsvc x key=k ports=80\nsvc y key=k ports=81\nplan x y\nsvc y key=j ports=81\nplan y",
          NEW("x", "10.0.0.0") NEW("y", "10.0.0.0")
          "y assigned [10.0.0.1] " ASSIGNED("10.0.0.1")
          " N:ClearAssignment: the current IP of \"d/y\" is not allowed any more: 10.0.0.0 is used by Service d/x with another sharing key." EVENT("10.0.0.1") "\n" },
        { "old annotations: every one is named when something is written",
          "pool a 10.0.0.0/31\nsvc x note=metallb.universe.tf/address-pool:a note=metallb.universe.tf/foo:bar\nplan x x",
          "x assigned [10.0.0.0] pool=a " ASSIGNED("10.0.0.0") EVENT("10.0.0.0")
          " W:deprecatedAnnotation: annotation \"metallb.universe.tf/address-pool\" is deprecated, use the prefix metallb.io/ instead."
          " W:deprecatedAnnotation: annotation \"metallb.universe.tf/foo\" is deprecated, use the prefix metallb.io/ instead.\nx assigned quiet\n" },
        { "a Service named like MetalLB's inner signal is a Service",
          "pool a 10.0.0.0/31\nsvc metallbreload/reload\nplan metallbreload/reload",
          NEW("metallbreload/reload", "10.0.0.0") },
};
/* clang-format on */

START_TEST(plans)
{
        check(&scripts[_i]);
}
END_TEST

/* ---- memory fails ---- */

static const char *const failing[] = {
        "svc x 46 prefer key=k ports=80 note=metallb.universe.tf/foo:bar",
        "svc y ip=10.0.0.1",
        "svc z ip=10.0.0.1",
        "svc x 46 prefer key=k ports=80 ip=10.0.0.2,fd00::7 pool=a",
        "svc u ip=foo",
        "svc v 46 require local sel=a:b key=k",
        "svc y type=ClusterIP",
        "nosvc x",
};

static int plan_once(struct world *w, const char *key, unsigned n, bool *failed, struct plan *p)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(64);
        struct world_svc *s = world_svc(w, key);
        struct plan_in in = { s ? world_service(s) : NULL, NULL };
        int r;

        ck_assert_ptr_nonnull(a);
        fault_arm(n);
        r = s ? plan_service(p, a, w->m, &w->conf, &in, 0) : plan_gone(p, a, w->m, key, 0);
        *failed = fault_disarm();
        if (r == 0 && p->write) { /* everything was there to be written */
                ck_assert_uint_eq(p->n_ingress > 0, p->state == PLAN_ASSIGNED || p->state == PLAN_DEGRADED);
                ck_assert(p->state == PLAN_NOT_OURS || p->condition);
        }
        return r;
}

static const char *held_text(struct world *w, const char *key)
{
        buf_reset(&w->out);
        world_show_held(w, key);
        return buf_str(&w->out);
}

START_TEST(memory_fails)
{
        struct world *w = calloc(1, sizeof(*w)), *calm = calloc(1, sizeof(*calm));
        static const char *const pools[] = { "pool a 10.0.0.0/30 fd00::/125 buggy",
                "pool b 10.1.0.0/30 ns=d" };
        unsigned n_failed = 0;

        world_init(w, 0);
        world_init(calm, 0);
        for (size_t i = 0; i < ARRAY_LEN(pools); i++)
                ck_assert(world_line(w, pools[i]) && world_line(calm, pools[i]));
        for (size_t i = 0; i < ARRAY_LEN(failing); i++) {
                struct plan p, q;
                char key[128];
                bool failed = true;

                (void)snprintf(key, sizeof(key), "d/%c", strchr(failing[i], ' ')[1]);
                ck_assert(world_line(w, failing[i]) && world_line(calm, failing[i]));
                for (unsigned n = 0; failed; n++) {
                        int r = plan_once(w, key, n, &failed, &p);

                        ck_assert_msg(r == (failed ? -ENOMEM : 0), "%s: allocation %u: %d", failing[i], n, r);
                        n_failed += failed;
                        ipam_audit(w->m);
                }
                ck_assert_int_eq(plan_once(calm, key, UINT32_MAX, &failed, &q), 0);
                ck_assert_str_eq(held_text(w, key), held_text(calm, key));
                ck_assert_msg(p.n_events == q.n_events && p.state == q.state && p.write == q.write,
                        "%s: another plan", failing[i]);
                world_plan(w, key);
                world_plan(calm, key);
        }
        ck_assert_uint_gt(n_failed, 12);
        world_fini(w);
        world_fini(calm);
        free(w);
        free(calm);
}
END_TEST

START_TEST(memory_fails_at_the_start)
{
        struct world *w = calloc(1, sizeof(*w));
        struct plan_in v[3];
        bool failed = true;

        world_init(w, 0);
        for (int i = 0; i < 3; i++) {
                char line[64], key[16];

                (void)snprintf(line, sizeof(line), "svc s%d age=%d", i, i + 1);
                ck_assert(world_line(w, line));
                (void)snprintf(key, sizeof(key), "d/s%d", i);
                (void)snprintf(line, sizeof(line), "[{'ip':'10.0.0.%d'}]", i);
                world_status(w, key, line);
                v[i] = (struct plan_in){ world_service(world_svc(w, key)), NULL };
        }
        ck_assert(world_line(w, "pool a 10.0.0.0/30"));
        for (unsigned n = 0; failed; n++) {
                int r;

                fault_arm(n);
                r = plan_claim_all(w->m, &w->conf, v, 3, 0);
                failed = fault_disarm();
                ck_assert_int_eq(r, failed ? -ENOMEM : 0);
                ipam_audit(w->m);
        }
        ck_assert_str_eq(held_text(w, "d/s0"), "s0 10.0.0.0@a");
        ck_assert_str_eq(held_text(w, "d/s2"), "s2 10.0.0.2@a");
        world_fini(w);
        free(w);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("plan");
        TCase *tc = tcase_create("plan");

        suite_add_tcase(s, tc);
        tcase_add_loop_test(tc, plans, 0, (int)ARRAY_LEN(scripts));
        tcase_add_test(tc, memory_fails);
        tcase_add_test(tc, memory_fails_at_the_start);
        return unit_main(s);
}
