/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations on pools, Services, nodes and leaders; after each, a naive model (test/lib/model.h) says whether what
 * the product did is allowed:
 *   once        no address twice, unless the Services may share it
 *   valid       every address comes from a pool that may give it
 *   kept        no valid holder lost an address that it did not ask to give up
 *   explained   nobody was written but who was edited, touched by a change of pools, or not satisfied
 *   offered     nobody goes without what is to be had, and of equals the oldest is served first
 *   counted     counters of pools are exact
 *   first       a plain new Service gets exactly the first address
 *
 * MODEL_SEED and MODEL_OPS replay and lengthen it; a failure prints both and the last operations. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "test/lib/audit.h"
#include "test/lib/model.h"
#include "test/lib/unit.h"
#include "test/lib/world.h"

#define LOG_LINES 24

struct run {
        struct world w;
        struct ipam *standby; /* another instance, which was the leader before */
        struct model m;
        struct rng rng;
        uint64_t seed;
        unsigned op, n_ops;
        char log[LOG_LINES][240];
        unsigned n_log;
        bool lossy; /* some writes never arrive */
        bool pools_changed;
        bool is_start; /* this operation was a restart or a takeover: order of plans is random */
        bool may_collide[MODEL_SVCS]; /* a lost write left two of one address behind */
        int slipped[MODEL_SVCS]; /* an address that somebody else wrote into its status */
        unsigned written[MODEL_SVCS];
        int expect_svc, expect_ip; /* what a new plain Service must get */
        size_t n_assigned, n_moved; /* that it was no idle run */
};

static void NORETURN PRINTF_LIKE(2, 3) breach(struct run *r, const char *fmt, ...)
{
        va_list ap;

        fprintf(stderr, "\nMODEL_SEED=%llu, operation %u:\n", (unsigned long long)r->seed, r->op);
        for (unsigned i = r->n_log > LOG_LINES ? r->n_log - LOG_LINES : 0; i < r->n_log; i++)
                fprintf(stderr, "    %s\n", r->log[i % LOG_LINES]);
        va_start(ap, fmt);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
        fputc('\n', stderr);
        ck_abort_msg("MODEL_SEED=%llu fails at operation %u", (unsigned long long)r->seed, r->op);
}

static int below(struct run *r, int n)
{
        return (int)rng_below(&r->rng, (uint64_t)n);
}

static bool chance(struct run *r, int percent)
{
        return below(r, 100) < percent;
}

static void PRINTF_LIKE(2, 3) line(struct run *r, const char *fmt, ...)
{
        char *text = r->log[r->n_log++ % LOG_LINES];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(r->log[0]), fmt, ap);
        va_end(ap);
        if (strncmp(text, "--", 2) != 0)
                MUST_MSG(world_line(&r->w, text), "no such line: %s", text);
}

/* ---- texts ---- */

static const char *ip_text(int ip, char out[static 32])
{
        if (ip < MODEL_V6)
                (void)snprintf(out, 32, "10.0.%d.%d", ip / 256, ip % 256);
        else if (ip == MODEL_V6)
                (void)snprintf(out, 32, "fd00::");
        else
                (void)snprintf(out, 32, "fd00::%x", (unsigned)(ip - MODEL_V6));
        return out;
}

static int ip_number(const char *text)
{
        unsigned a, b;

        if (sscanf(text, "10.0.%u.%u", &a, &b) == 2)
                return (int)(a * 256 + b);
        if (sscanf(text, "fd00::%x", &a) == 1)
                return (int)(MODEL_V6 + a);
        return strncmp(text, "fd00::", 6) == 0 ? MODEL_V6 : MODEL_NONE;
}

static const char *key_text(int i, char out[static 16])
{
        (void)snprintf(out, 16, "n%d/s%02d", i % MODEL_NS, i);
        return out;
}

static void add_range(struct buf *b, const struct model_range *r)
{
        char text[32];

        buf_adds(b, ip_text(r->first, text));
        buf_addf(b, "-%s", ip_text(r->last, text));
}

static void tell_pool(struct run *r, int i)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        const struct model_pool *p = &r->m.pools[i];

        for (int j = 0; j < p->n; j++) {
                if (p->broken && j == 1)
                        buf_adds(&b, " broken");
                buf_addc(&b, ' ');
                add_range(&b, &p->r[j]);
        }
        buf_addf(&b, "%s%s%s%s age=%d", p->broken && p->n < 2 ? " broken" : "", p->noauto ? " noauto" : "",
                p->buggy ? " buggy" : "", p->pinned ? " pin" : "", p->age);
        if (p->pinned && p->prio != MODEL_NONE)
                buf_addf(&b, " prio=%d", p->prio);
        if (p->pinned && p->ns != MODEL_NONE)
                buf_addf(&b, " ns=n%d", p->ns);
        if (p->pinned && p->ns_label != MODEL_NONE)
                buf_addf(&b, " nssel=e:%d", p->ns_label);
        if (p->pinned && p->svc_label != MODEL_NONE)
                buf_addf(&b, " svcsel=l:%d", p->svc_label);
        if (p->has_reserved) {
                buf_adds(&b, " reserve=");
                add_range(&b, &p->reserved);
        }
        line(r, "pool p%d%s", i, buf_str(&b));
}

static void tell_svc(struct run *r, int i)
{
        static const char *const families[] = { "4", "6", "46", "64", "none", "0" };
        static const char *const policies[] = { "", " prefer", " require" };
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        const struct model_svc *s = &r->m.svcs[i];
        char key[16], ip[2][32];

        buf_addf(&b, "svc %s %s%s age=%d label=l:%d", key_text(i, key), families[s->families],
                policies[s->policy], s->age, s->label);
        if (s->bad_ips)
                buf_adds(&b, " ip=junk");
        else if (s->n_ips == 1)
                buf_addf(&b, " ip=%s", ip_text(s->ips[0], ip[0]));
        else if (s->n_ips == 2)
                buf_addf(&b, " ip=%s,%s", ip_text(s->ips[0], ip[0]), ip_text(s->ips[1], ip[1]));
        if (s->pool != MODEL_NONE)
                buf_addf(&b, " pool=p%d", s->pool);
        if (s->key)
                buf_addf(&b, " key=k%d", s->key);
        if (s->local)
                buf_addf(&b, " local");
        if (s->selector)
                buf_addf(&b, " sel=a:%d", s->selector);
        for (int p = 0, n = 0; p < 4; p++)
                if (s->ports >> p & 1)
                        buf_addf(&b, "%s%d", n++ ? "," : " ports=", 80 + p);
        if (!s->is_lb)
                buf_adds(&b, " type=ClusterIP");
        if (s->is_foreign)
                buf_adds(&b, " class=z");
        line(r, "%s", buf_str(&b));
}

static void tell_nodes(struct run *r)
{
        char a[32], b[32];

        line(r, "nodes %s %s", ip_text(r->m.nodes[0], a), ip_text(r->m.nodes[1], b));
}

/* ---- what the world says ---- */

static void read_status(struct run *r)
{
        char key[16];

        for (int i = 0; i < MODEL_SVCS; i++) {
                struct model_svc *s = &r->m.svcs[i];
                const struct world_svc *there = s->exists ? world_svc(&r->w, key_text(i, key)) : NULL;
                const char *p = there && there->ingress ? there->ingress : "";

                s->n_now = 0;
                s->from = there && there->pool ? there->pool[1] - '0' : MODEL_NONE;
                while ((p = strstr(p, "'ip':'"))) {
                        p += strlen("'ip':'");
                        if (s->n_now == 2)
                                breach(r, "%s has three addresses", key);
                        s->now[s->n_now++] = ip_number(p);
                }
        }
}

static void snapshot(struct run *r)
{
        for (int i = 0; i < MODEL_SVCS; i++) {
                struct model_svc *s = &r->m.svcs[i];

                memcpy(s->was, s->now, sizeof(s->was));
                s->n_was = s->n_now;
                s->was_from = s->from;
                s->was_satisfied = s->exists && model_satisfied(&r->m, s);
                s->was_touched = false;
                for (int j = 0; j < s->n_now; j++)
                        s->was_owner[j] = model_owner(&r->m, s->now[j]);
                r->slipped[i] = MODEL_NONE;
                r->written[i] = 0;
                r->may_collide[i] = false;
        }
        r->is_start = r->pools_changed = false;
        r->expect_svc = MODEL_NONE;
}

static int index_of(const char *key)
{
        return (int)strtol(strchr(key, '/') + 2, NULL, 10);
}

static void plan(struct run *r, int i)
{
        size_t before = r->w.n_writes;
        bool was_stale = r->w.stale;
        char key[16];

        buf_reset(&r->w.out);
        r->w.stale |= r->lossy && chance(r, 30);
        world_plan(&r->w, key_text(i, key));
        if (r->w.n_writes > before) {
                r->written[i]++;
                r->m.svcs[i].was_touched |= r->w.stale;
        }
        r->w.stale = was_stale;
        if (r->w.n_writes > before)
                line(r, "-- written: %.200s", buf_str(&r->w.out));
        if (r->written[i] > 4)
                breach(r, "%s is written again and again", key);
}

static void drain(struct run *r)
{
        const char *key;

        for (int n = 0; (key = ipam_woken(r->w.m)); n++) {
                if (n > 20 * MODEL_SVCS)
                        breach(r, "woken without end");
                plan(r, index_of(key));
        }
}

/* ---- operations ---- */

static int some_ip(struct run *r, bool v6)
{
        static const int last[] = { 0, 1, 2, 3, 4, 5, 252, 253, 254, 255 };

        return (v6 ? MODEL_V6 : 0) + below(r, 3) * 256 + last[below(r, (int)ARRAY_LEN(last))];
}

static int some_svc(struct run *r)
{
        for (int n = 0; n < 50; n++) {
                int i = below(r, MODEL_SVCS);

                if (r->m.svcs[i].exists)
                        return i;
        }
        return MODEL_NONE;
}

static void pick_request(struct run *r, struct model_svc *s)
{
        bool dual = s->families == MODEL_46 || s->families == MODEL_64;

        s->n_ips = 0;
        s->bad_ips = chance(r, 4);
        s->pool = chance(r, 20) ? below(r, MODEL_POOLS + 1) : MODEL_NONE;
        if (s->bad_ips || !chance(r, 25))
                return;
        s->ips[s->n_ips++] = some_ip(r, s->families == MODEL_6 || s->families == MODEL_64);
        if (dual && chance(r, 85))
                s->ips[s->n_ips++] = some_ip(r, s->families == MODEL_46);
}

static void pick_families(struct run *r, struct model_svc *s)
{
        s->families = chance(r, 50) ? MODEL_4
                : chance(r, 90)     ? (enum model_families)below(r, 4)
                                    : MODEL_UNKNOWN + (unsigned)below(r, 2);
        s->policy = (enum model_policy)below(r, 3);
        if (s->policy == MODEL_REQUIRE && (s->families == MODEL_4 || s->families == MODEL_6) && chance(r, 90))
                s->policy = MODEL_SINGLE;
}

static void pick_sharing(struct run *r, struct model_svc *s)
{
        s->key = chance(r, 40) ? 1 + below(r, 2) : 0;
        s->local = chance(r, 25);
        s->selector = below(r, 3);
        s->ports = (unsigned)below(r, 16);
}

static void op_create(struct run *r)
{
        int i = below(r, MODEL_SVCS);
        struct model_svc *s = &r->m.svcs[i];

        if (s->exists)
                return;
        *s = (struct model_svc){ .exists = true,
                .is_lb = !chance(r, 5),
                .is_foreign = chance(r, 4),
                .age = 1 + below(r, 9),
                .ns = i % MODEL_NS,
                .label = below(r, 2),
                .from = MODEL_NONE,
                .was_from = MODEL_NONE,
                .was_touched = true };
        pick_families(r, s);
        pick_request(r, s);
        pick_sharing(r, s);
        tell_svc(r, i);
        if (s->is_lb && !s->is_foreign && s->families <= MODEL_6 && !model_faulty(s) && s->n_ips == 0 &&
                s->pool == MODEL_NONE && s->key == 0) {
                r->expect_svc = i;
                r->expect_ip = model_first_fit(&r->m, s, s->families == MODEL_6);
        }
        plan(r, i);
}

static void op_delete(struct run *r)
{
        int i = some_svc(r);
        char key[16];

        if (i == MODEL_NONE)
                return;
        r->m.svcs[i] = (struct model_svc){ .was_touched = true, .from = MODEL_NONE, .was_from = MODEL_NONE };
        line(r, "nosvc %s", key_text(i, key));
        plan(r, i);
}

static void op_edit(struct run *r)
{
        int i = some_svc(r);
        struct model_svc *s = &r->m.svcs[i == MODEL_NONE ? 0 : i];

        if (i == MODEL_NONE)
                return;
        s->was_touched = true;
        switch (below(r, 6)) {
        case 0:
                pick_families(r, s);
                if (chance(r, 50))
                        s->n_ips = 0;
                break;
        case 1: pick_request(r, s); break;
        case 2: pick_sharing(r, s); break;
        case 3: s->ports = (unsigned)below(r, 16); break;
        case 4: s->label = below(r, 2); break;
        case 5: s->is_lb = !s->is_lb || chance(r, 60); break;
        }
        tell_svc(r, i);
        plan(r, i);
}

static void pick_ranges(struct run *r, struct model_pool *p)
{
        p->n = 1 + below(r, 3);
        for (int i = 0; i < p->n; i++) {
                p->r[i].first = some_ip(r, chance(r, 35));
                p->r[i].last = p->r[i].first + below(r, 6);
        }
}

static void pick_rules(struct run *r, struct model_pool *p)
{
        p->noauto = chance(r, 15);
        p->buggy = chance(r, 25);
        p->pinned = chance(r, 40);
        p->prio = p->pinned ? below(r, 5) - 1 : MODEL_NONE;
        p->ns = p->pinned && chance(r, 40) ? below(r, MODEL_NS) : MODEL_NONE;
        p->ns_label = p->pinned && chance(r, 30) ? below(r, 3) : MODEL_NONE;
        p->svc_label = p->pinned && chance(r, 25) ? below(r, 2) : MODEL_NONE;
        p->has_reserved = chance(r, 20);
        p->reserved.first = some_ip(r, false);
        p->reserved.last = p->reserved.first + below(r, 3);
}

static void op_pool(struct run *r)
{
        int i = below(r, MODEL_POOLS);
        struct model_pool *p = &r->m.pools[i];

        if (!p->exists) {
                *p = (struct model_pool){ .exists = true, .age = 1 + below(r, 9) };
                pick_ranges(r, p);
                pick_rules(r, p);
        } else if (chance(r, 45)) {
                pick_ranges(r, p);
        } else {
                pick_rules(r, p);
        }
        model_settle_pools(&r->m);
        r->pools_changed = true;
        tell_pool(r, i);
}

static void op_break(struct run *r)
{
        int i = below(r, MODEL_POOLS);
        struct model_pool *p = &r->m.pools[i];

        if (!p->exists)
                return;
        p->broken = !p->broken;
        if (chance(r, 20))
                pick_ranges(r, p);
        model_settle_pools(&r->m);
        r->pools_changed = true;
        tell_pool(r, i);
}

static void op_nopool(struct run *r)
{
        int i = below(r, MODEL_POOLS);

        if (!r->m.pools[i].exists)
                return;
        r->m.pools[i] = (struct model_pool){ .age = 0 };
        model_settle_pools(&r->m);
        r->pools_changed = true;
        line(r, "nopool p%d", i);
}

static void op_ns(struct run *r)
{
        int ns = below(r, MODEL_NS);

        r->m.ns_label[ns] = below(r, 3);
        line(r, "ns n%d e:%d", ns, r->m.ns_label[ns]);
        for (int i = 0; i < MODEL_SVCS; i++) {
                if (!r->m.svcs[i].exists || r->m.svcs[i].ns != ns)
                        continue;
                r->m.svcs[i].was_touched = true;
                plan(r, i);
        }
}

static void op_nodes(struct run *r)
{
        r->m.nodes[below(r, MODEL_NODES)] = some_ip(r, chance(r, 20));
        tell_nodes(r);
}

static void start(struct run *r)
{
        int first = below(r, MODEL_SVCS);

        r->is_start = true;
        tell_nodes(r);
        world_claim_all(&r->w, rng_next(&r->rng));
        for (int i = 0; i < MODEL_SVCS; i++)
                if (r->m.svcs[(first + i * 7) % MODEL_SVCS].exists)
                        plan(r, (first + i * 7) % MODEL_SVCS);
}

static void op_restart(struct run *r)
{
        line(r, "-- restart");
        world_restart(&r->w);
        start(r);
}

static void op_takeover(struct run *r)
{
        struct ipam *mine = r->w.m;

        line(r, "-- takeover");
        r->w.m = r->standby;
        r->standby = mine;
        ipam_forget(r->w.m);
        world_set_pools(&r->w);
        start(r);
}

static void find_collisions(struct run *r)
{
        for (int i = 0; i < MODEL_SVCS; i++)
                for (int j = 0; j < MODEL_SVCS; j++) {
                        const struct model_svc *s = &r->m.svcs[i], *t = &r->m.svcs[j];

                        for (int a = 0; i != j && a < s->n_now; a++)
                                for (int b = 0; b < t->n_now; b++)
                                        if (s->now[a] == t->now[b] && !model_may_share(s, t))
                                                r->may_collide[i] = r->may_collide[j] = true;
                }
}

static void op_crash(struct run *r)
{
        bool lost[MODEL_SVCS];

        line(r, "-- some writes get lost");
        r->lossy = true;
        if (chance(r, 50))
                op_edit(r);
        else
                op_pool(r);
        drain(r);
        r->lossy = false;
        for (int i = 0; i < MODEL_SVCS; i++)
                lost[i] = r->m.svcs[i].was_touched;
        read_status(r);
        snapshot(r);
        for (int i = 0; i < MODEL_SVCS; i++)
                r->m.svcs[i].was_touched = lost[i];
        find_collisions(r);
        op_restart(r);
}

static void op_status(struct run *r)
{
        int i = some_svc(r);
        char key[16], ip[32], text[64];

        if (i == MODEL_NONE || r->m.svcs[i].is_foreign)
                return;
        r->m.svcs[i].was_touched = true;
        if (chance(r, 50)) {
                line(r, "-- %s: status is wiped", key_text(i, key));
                world_status(&r->w, key, NULL);
        } else {
                r->slipped[i] = some_ip(r, chance(r, 30));
                (void)snprintf(text, sizeof(text), "[{'ip':'%s'}]", ip_text(r->slipped[i], ip));
                line(r, "-- %s: somebody writes %s", key_text(i, key), text);
                world_status(&r->w, key, text);
        }
        plan(r, i);
}

/* The cache shows an older status than ours: nothing may come of it. */
static void op_stale(struct run *r)
{
        int i = some_svc(r);
        struct world_svc *s;
        char *now, key[16], ip[32], text[64];

        if (i == MODEL_NONE || r->m.svcs[i].is_foreign || !r->m.svcs[i].was_satisfied)
                return;
        s = world_svc(&r->w, key_text(i, key));
        now = TAKE(s->ingress);
        (void)snprintf(text, sizeof(text), "[{'ip':'%s'}]", ip_text(some_ip(r, false), ip));
        line(r, "-- %s: stale %s", key, text);
        world_status(&r->w, key, chance(r, 50) ? text : NULL);
        r->w.stale = true;
        plan(r, i);
        r->w.stale = false;
        world_status(&r->w, key, now);
        free(now);
        r->written[i] = 0;
        r->m.svcs[i].was_touched = false;
        plan(r, i);
}

static void operate(struct run *r)
{
        static const struct {
                void (*run)(struct run *r);
                int weight;
        } ops[] = { { op_create, 26 }, { op_delete, 14 }, { op_edit, 20 }, { op_pool, 10 }, { op_nopool, 2 },
                { op_break, 5 }, { op_ns, 2 }, { op_nodes, 3 }, { op_restart, 3 }, { op_takeover, 2 },
                { op_crash, 3 }, { op_status, 4 }, { op_stale, 4 } };
        int roll = below(r, 98);

        for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
                roll -= ops[i].weight;
                if (roll < 0) {
                        ops[i].run(r);
                        break;
                }
        }
        drain(r);
        read_status(r);
}

/* ---- what must be true now ---- */

static bool had(const struct model_svc *s, int ip)
{
        return (s->n_was > 0 && s->was[0] == ip) || (s->n_was > 1 && s->was[1] == ip);
}

static bool has(const struct model_svc *s, int ip)
{
        return (s->n_now > 0 && s->now[0] == ip) || (s->n_now > 1 && s->now[1] == ip);
}

static bool is_ours(const struct model_svc *s)
{
        return s->exists && s->is_lb && !s->is_foreign;
}

static void check_once(struct run *r, int i)
{
        const struct model_svc *s = &r->m.svcs[i];
        char ip[32];

        for (int j = 0; j < i; j++)
                for (int a = 0; a < s->n_now; a++)
                        if (has(&r->m.svcs[j], s->now[a]) && !model_may_share(s, &r->m.svcs[j]))
                                breach(r, "%s is held by s%02d and s%02d", ip_text(s->now[a], ip), i, j);
}

static void check_valid(struct run *r, int i)
{
        const struct model_svc *s = &r->m.svcs[i];
        char ip[32];

        if ((!is_ours(s) || model_keeps_nothing(s)) && (s->n_now > 0 || s->from != MODEL_NONE))
                breach(r, "s%02d still has something", i);
        if (s->n_now == 2 && (s->now[0] >= MODEL_V6) == (s->now[1] >= MODEL_V6))
                breach(r, "s%02d has two addresses of one family", i);
        for (int a = 0; a < s->n_now; a++) {
                int owner = model_owner(&r->m, s->now[a]);
                bool own = s->n_now == 2 && model_owner(&r->m, s->now[!a]) == owner;

                ip_text(s->now[a], ip);
                if (!model_wants(s, s->now[a]))
                        breach(r, "s%02d has %s of another family", i, ip);
                if (had(s, s->now[a]) || r->slipped[i] == s->now[a]) {
                        if (!model_may_keep(&r->m, s, s->now[a], false))
                                breach(r, "s%02d may not keep %s", i, ip);
                } else if (!model_can_have(
                                   &r->m, s, s->now[a], s->n_ips > 0 || s->pool != MODEL_NONE || own)) {
                        breach(r, "s%02d may not get %s", i, ip);
                }
                if (a == 0 && s->from != owner && (owner != MODEL_NONE || !r->m.pools[s->from].bad))
                        breach(r, "s%02d: annotation says p%d, %s is of p%d", i, s->from, ip, owner);
        }
        if (s->n_now == 0 && is_ours(s) && s->from != MODEL_NONE)
                breach(r, "s%02d has an annotation without an address", i);
}

/* Did its own wish take @ip from it? */
static bool moved_by_wish(const struct run *r, const struct model_svc *s, int ip)
{
        bool all_there = true;

        for (int j = 0; j < s->n_ips; j++) {
                if (s->ips[j] == ip)
                        return false;
                all_there &= has(s, s->ips[j]);
        }
        if (s->n_ips > 0)
                return all_there && s->n_now == s->n_ips;
        for (int j = 0; s->pool != MODEL_NONE && j < s->n_now; j++)
                all_there &= model_owner(&r->m, s->now[j]) == s->pool ||
                        (model_owner(&r->m, s->now[j]) == MODEL_NONE && had(s, s->now[j]));
        return s->pool != MODEL_NONE && s->n_now > 0 && all_there && model_owner(&r->m, ip) != s->pool;
}

static bool lost_by_edit(const struct run *r, int i, int ip)
{
        for (int j = 0; j < MODEL_SVCS; j++)
                if (j != i && had(&r->m.svcs[j], ip) && is_ours(&r->m.svcs[j]) &&
                        !model_may_share(&r->m.svcs[i], &r->m.svcs[j]))
                        return r->m.svcs[i].was_touched;
        return false;
}

static void check_kept(struct run *r, int i)
{
        const struct model_svc *s = &r->m.svcs[i];
        char ip[32];

        if (!is_ours(s) || model_keeps_nothing(s) || r->may_collide[i])
                return;
        for (int a = 0; a < s->n_was; a++) {
                if (has(s, s->was[a]))
                        continue;
                r->n_moved++;
                if (model_wants(s, s->was[a]) && model_may_keep(&r->m, s, s->was[a], true) &&
                        !moved_by_wish(r, s, s->was[a]) && !lost_by_edit(r, i, s->was[a]))
                        breach(r, "s%02d lost %s", i, ip_text(s->was[a], ip));
        }
}

static void check_explained(struct run *r, int i)
{
        const struct model_svc *s = &r->m.svcs[i];
        bool reason = s->was_touched || !s->was_satisfied || !model_satisfied(&r->m, s) || r->may_collide[i];

        for (int a = 0; a < s->n_was; a++)
                reason |= model_owner(&r->m, s->was[a]) != s->was_owner[a] ||
                        !model_may_keep(&r->m, s, s->was[a], true) ||
                        (s->was_owner[a] == MODEL_NONE &&
                                (r->pools_changed || r->is_start)); /* other bad ones */
        if (r->written[i] && !reason)
                breach(r, "s%02d was written without a reason", i);
        if (r->written[i] > 2)
                breach(r, "s%02d was written %u times", i, r->written[i]);
        if (s->is_foreign && s->is_lb && r->written[i])
                breach(r, "s%02d of another class was written", i);
}

static bool is_plain(const struct model_svc *s)
{
        return is_ours(s) && !model_faulty(s) && s->n_ips == 0 && s->key == 0;
}

static void check_offered(struct run *r, int i)
{
        const struct model_svc *s = &r->m.svcs[i], *t;
        const char *missed = is_ours(s) ? model_missed(&r->m, s) : NULL;

        if (missed)
                breach(r, "s%02d was not offered: %s", i, missed);
        if (r->is_start || !is_plain(s) || s->n_now > 0 || s->was_touched)
                return;
        for (int j = 0; j < MODEL_SVCS; j++) {
                t = &r->m.svcs[j];
                if (is_plain(t) && !t->was_touched && t->n_was == 0 && t->n_now > 0 &&
                        t->families == s->families && t->policy == s->policy && t->pool == s->pool &&
                        t->ns == s->ns && t->label == s->label &&
                        (t->age > s->age || (t->age == s->age && j > i)))
                        breach(r, "s%02d was served before the older s%02d", j, i);
        }
}

static bool is_held(const struct run *r, int ip)
{
        for (int i = 0; i < MODEL_SVCS; i++)
                if (is_ours(&r->m.svcs[i]) && has(&r->m.svcs[i], ip))
                        return true;
        return false;
}

static void check_counted(struct run *r)
{
        struct ipam_pool_info info;
        char name[16];

        for (int i = 0; i < MODEL_POOLS; i++) {
                const struct model_pool *p = &r->m.pools[i];
                int all[2] = { 0, 0 }, held[2] = { 0, 0 }, withheld[2] = { 0, 0 };

                (void)snprintf(name, sizeof(name), "p%d", i);
                if (ipam_pool_get(r->w.m, name, &info) != p->exists)
                        breach(r, "%s is there or is not", name);
                if (!p->exists)
                        continue;
                if ((info.error != NULL) != p->bad)
                        breach(r, "%s: bad is %d: %s", name, p->bad, info.error ? info.error : "-");
                if (p->bad)
                        continue;
                for (int k = 0; k < p->n; k++)
                        for (int ip = p->r[k].first; ip <= p->r[k].last; ip++) {
                                bool kept_back =
                                        p->has_reserved && p->reserved.first <= ip && ip <= p->reserved.last;

                                if (p->buggy && model_is_buggy(ip))
                                        continue;
                                for (int n = 0; n < MODEL_NODES; n++)
                                        kept_back |= r->m.nodes[n] == ip;
                                all[ip >= MODEL_V6]++;
                                held[ip >= MODEL_V6] += is_held(r, ip);
                                withheld[ip >= MODEL_V6] += kept_back && !is_held(r, ip);
                        }
                for (int f = 0; f < 2; f++)
                        if (info.counts.capacity[f] != all[f] || info.counts.assigned[f] != held[f] ||
                                info.counts.withheld[f] != withheld[f] ||
                                info.counts.available[f] != all[f] - held[f] - withheld[f])
                                breach(r, "%s family %d: %lld/%lld/%lld/%lld instead of %d/%d/%d", name, f,
                                        (long long)info.counts.capacity[f],
                                        (long long)info.counts.assigned[f],
                                        (long long)info.counts.available[f],
                                        (long long)info.counts.withheld[f], all[f], held[f], withheld[f]);
        }
}

static void check_all(struct run *r)
{
        char a[32], b[32];

        for (int i = 0; i < MODEL_SVCS; i++) {
                const struct model_svc *s = &r->m.svcs[i];

                check_explained(r, i);
                if (s->exists && s->is_lb && s->is_foreign)
                        continue;
                check_once(r, i);
                check_valid(r, i);
                check_kept(r, i);
                check_offered(r, i);
                r->n_assigned += s->n_was == 0 && s->n_now > 0;
        }
        check_counted(r);
        if (r->expect_svc != MODEL_NONE) {
                const struct model_svc *s = &r->m.svcs[r->expect_svc];
                int got = s->n_now ? s->now[0] : MODEL_NONE;

                if (got != r->expect_ip)
                        breach(r, "s%02d got %s instead of %s", r->expect_svc,
                                got < 0 ? "nothing" : ip_text(got, a),
                                r->expect_ip < 0 ? "nothing" : ip_text(r->expect_ip, b));
        }
}

static void run_model(uint64_t seed, unsigned n_ops)
{
        struct run *r = calloc(1, sizeof(*r));

        ck_assert_ptr_nonnull(r);
        world_init(&r->w, 0);
        ck_assert_int_eq(ipam_new(&r->standby, &(struct ipam_conf){ 0 }), 0);
        r->seed = seed;
        r->rng.state = seed;
        for (int i = 0; i < MODEL_SVCS; i++)
                r->m.svcs[i].from = r->m.svcs[i].was_from = MODEL_NONE;
        for (int i = 0; i < MODEL_NS; i++)
                line(r, "ns n%d e:0", i);
        model_settle_pools(&r->m);
        tell_nodes(r);
        for (r->op = 0; r->op < n_ops; r->op++) {
                snapshot(r);
                operate(r);
                check_all(r);
                if (r->op % 16 == 0)
                        ipam_audit(r->w.m);
        }
        if (n_ops >= 10000 && (r->n_assigned < n_ops / 20 || r->n_moved < n_ops / 100))
                breach(r, "an idle run: %zu assigned, %zu moved", r->n_assigned, r->n_moved);
        ipam_free(r->standby);
        world_fini(&r->w);
        free(r);
}

static unsigned long long env_number(const char *name, unsigned long long fallback)
{
        const char *text = getenv(name);

        return text && *text ? strtoull(text, NULL, 10) : fallback;
}

START_TEST(random_operations)
{
        run_model(env_number("MODEL_SEED", 20261122), (unsigned)env_number("MODEL_OPS", 10000));
}
END_TEST

int main(void)
{
        Suite *s = suite_create("ipam model");
        TCase *tc = tcase_create("model");

        printf("MODEL_SEED=%llu MODEL_OPS=%llu\n", env_number("MODEL_SEED", 20261122),
                env_number("MODEL_OPS", 10000));
        suite_add_tcase(s, tc);
        tcase_set_timeout(tc, 3600);
        tcase_add_test(tc, random_operations);
        return unit_main(s);
}
