/* SPDX-License-Identifier: Apache-2.0 */
/* Scripts and the transcripts they must give; after every line all structures are audited against each other.
 * Beyond test/lib/world.h:
 *   claim KEY IP...   alloc KEY   free KEY   show KEY   hold KEY, hold-not KEY (alloc, show nothing)   quit KEY (waits no more)
 *   set (the same pools again)   rename POOL NAME
 *   woken             lists who is reported      drain   plans them as a shell does, oldest first
 *   pools             counters                   tick MS   stats   users IP   forget   restart   delay MS (first) */
#include "common/ipam.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "test/lib/audit.h"
#include "test/lib/fault.h"
#include "test/lib/objects.h"
#include "test/lib/unit.h"
#include "test/lib/world.h"

static void read_request(struct request *q, struct arena *a, struct world *w, const char *key)
{
        struct world_svc *s = world_svc(w, key);
        const struct service *o;

        ck_assert_msg(s != NULL, "no Service %s", key);
        o = world_service(s);
        ck_assert_int_eq(request_init(q, a, o, world_ns_labels(w, o->meta.ns)), 0);
        ck_assert_msg(q->fault == REQUEST_OK, "%s", q->fault_text);
}

static void show_why(struct world *w, const char *before, const struct ipam_why *why)
{
        char text[IPAM_WHY_TEXT_MAX];

        if (why->n == 0)
                return;
        ck_assert_str_ne(ipam_why_word(why), "");
        buf_addf(&w->out, " %s %s", before, ipam_why_text(why, text));
}

static int claim(struct world *w, const char *key, const struct ip *ips, size_t n, struct ipam_why *why)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(512);
        struct request q;

        read_request(&q, a, w, key);
        return ipam_claim(w->m, &q, ips, n, w->now_ms, why);
}

/* As a plan does: first what it holds is confirmed, then it asks. */
static int allocate(struct world *w, const char *key, struct ipam_why *lost, struct ipam_why *why)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(512);
        struct ipam_held held;
        struct request q;
        int r;

        ipam_get(w->m, key, &held);
        read_request(&q, a, w, key);
        r = ipam_claim(w->m, &q, held.ips, held.n, w->now_ms, lost);
        return r < 0 ? r : ipam_allocate(w->m, &q, w->now_ms, why);
}

static void do_alloc(struct world *w, const char *key)
{
        struct ipam_why lost = { .n = 0 }, why = { .n = 0 };
        int r = allocate(w, key, &lost, &why);
        static const struct {
                int code;
                const char *word;
        } codes[] = { { 0, "without:" }, { ERR_FULL, "full:" }, { ERR_CONFLICT, "conflict:" },
                { ERR_MISSING, "missing:" }, { ERR_REJECTED, "rejected:" } };

        world_show_held(w, key);
        show_why(w, "lost:", &lost);
        for (size_t i = 0; i < ARRAY_LEN(codes); i++)
                if (codes[i].code == r)
                        show_why(w, codes[i].word, &why);
        ck_assert_msg(r == 0 || why.n > 0, "%s: refused (%d) without a reason", key, r);
}

static void do_claim(struct world *w, const char *key, char *rest)
{
        struct ipam_why why = { .n = 0 };
        struct ip ips[2];
        const char *word;
        size_t n = 0;
        int r;

        while ((word = strsep(&rest, " ")))
                ck_assert_int_eq(ip_parse(&ips[n++], word), 0);
        r = claim(w, key, ips, n, &why);
        ck_assert_int_ge(r, 0);
        ck_assert_uint_eq((size_t)r + why.n, n);
        world_show_held(w, key);
        show_why(w, "lost:", &why);
}

static void do_drain(struct world *w)
{
        const char *sep = "", *key;
        char copy[64];

        for (int i = 0; (key = ipam_woken(w->m)); i++) {
                ck_assert_int_lt(i, 100);
                (void)snprintf(copy, sizeof(copy), "%s", key);
                buf_adds(&w->out, sep);
                do_alloc(w, copy);
                sep = " | ";
        }
}

static void do_woken(struct world *w)
{
        const char *key;

        buf_adds(&w->out, "woken");
        for (int i = 0; (key = ipam_woken(w->m)); i++) {
                ck_assert_int_lt(i, 100);
                buf_addf(&w->out, " %s", key);
        }
}

static void do_users(struct world *w, const char *text)
{
        const char *keys[3];
        struct ip ip;
        size_t n;

        ck_assert_int_eq(ip_parse(&ip, text), 0);
        n = ipam_users(w->m, &ip, keys, ARRAY_LEN(keys));
        buf_addf(&w->out, "users %zu", n);
        for (size_t i = 0; i < MIN(n, ARRAY_LEN(keys)); i++)
                buf_addf(&w->out, " %s", keys[i]);
}

static void do_stats(struct world *w)
{
        struct ipam_stats s;

        ipam_get_stats(w->m, &s);
        buf_addf(&w->out, "services %zu waiting %zu held %zu cooling %zu", s.n_services, s.n_waiting,
                s.n_held, s.n_cooling);
}

static void do_delay(struct world *w, uint64_t ms)
{
        w->m = ipam_free(w->m);
        ck_assert_int_eq(ipam_new(&w->m, &(struct ipam_conf){ ms }), 0);
}

static void do_line(struct world *w, const char *line)
{
        CLEANUP(freep) char *copy = strdup(line);
        char *rest = copy, *verb = strsep(&rest, " "), *name = strsep(&rest, " ");
        size_t before = w->out.len;
        char key[128];

        (void)snprintf(key, sizeof(key), "%s%s", name && strchr(name, '/') ? "" : "d/", name ? name : "");
        if (strcmp(verb, "claim") == 0)
                do_claim(w, key, rest);
        else if (strcmp(verb, "alloc") == 0)
                do_alloc(w, key);
        else if (strcmp(verb, "show") == 0)
                world_show_held(w, key);
        else if (strcmp(verb, "hold") == 0)
                ck_assert_int_eq(allocate(w, key, NULL, NULL), 0);
        else if (strcmp(verb, "free") == 0)
                ck_assert(ipam_release(w->m, key, w->now_ms));
        else if (strcmp(verb, "woken") == 0)
                do_woken(w);
        else if (strcmp(verb, "drain") == 0)
                do_drain(w);
        else if (strcmp(verb, "pools") == 0)
                world_show_pools(w);
        else if (strcmp(verb, "tick") == 0)
                ipam_tick(w->m, w->now_ms += strtoull(name, NULL, 10));
        else if (strcmp(verb, "stats") == 0)
                do_stats(w);
        else if (strcmp(verb, "users") == 0)
                do_users(w, name);
        else if (strcmp(verb, "forget") == 0)
                ipam_forget(w->m);
        else if (strcmp(verb, "restart") == 0)
                world_restart(w);
        else if (strcmp(verb, "hold-not") == 0)
                ck_assert_int_eq(allocate(w, key, NULL, NULL), ERR_FULL);
        else if (strcmp(verb, "quit") == 0)
                ipam_stop_waiting(w->m, key);
        else if (strcmp(verb, "set") == 0)
                buf_addf(&w->out, "set %d", world_set_pools(w));
        else if (strcmp(verb, "rename") == 0)
                world_rename_pool(w, name, rest);
        else if (strcmp(verb, "delay") == 0)
                do_delay(w, strtoull(name, NULL, 10));
        else
                ck_assert_msg(world_line(w, line), "unknown line: %s", line);
        if (w->out.len > before)
                buf_addc(&w->out, '\n');
        ipam_audit(w->m);
}

static void run(struct world *w, const char *script)
{
        CLEANUP(freep) char *copy = strdup(script);
        char *rest = copy, *line;

        while ((line = strsep(&rest, "\n")))
                if (*line)
                        do_line(w, line);
}

struct script {
        const char *name, *lines, *want;
};

static void check(const struct script *s)
{
        struct world w;

        world_init(&w, 0);
        run(&w, s->lines);
        ck_assert_msg(strcmp(buf_str(&w.out), s->want) == 0, "%s: got\n%s\nwant\n%s", s->name,
                buf_str(&w.out), s->want);
        world_fini(&w);
}

/* clang-format off */
static const struct script choosing[] = {
        { "lowest first, in the order of the ranges",
          "pool a 10.0.0.8/31 10.0.0.0-10.0.0.1\nsvc x\nsvc y\nsvc z\nsvc u\nsvc v\n"
          "alloc x\nalloc y\nalloc z\nalloc u\nalloc v\npools",
          "x 10.0.0.8@a\ny 10.0.0.9@a\nz 10.0.0.0@a\nu 10.0.0.1@a\nv - full: pool \"a\" no free IPv4 address\na 4/0\n" },
        { "again: the same",
          "pool a 10.0.0.0/30\nsvc x\nalloc x\nalloc x\nclaim x 10.0.0.0\nalloc x\npools",
          "x 10.0.0.0@a\nx 10.0.0.0@a\nx 10.0.0.0@a\nx 10.0.0.0@a\na 1/3\n" },
        { "a freed address is the lowest again, spans grow together",
          "pool a 10.0.0.0/29\nsvc x\nsvc y\nsvc z\nhold x\nhold y\nhold z\nfree x\nfree z\nfree y\nalloc z\npools",
          "z 10.0.0.0@a\na 1/7\n" },
        { "network and broadcast addresses are ordinary ones",
          "pool a 10.0.0.255/32 10.0.1.0/32 fd00::/128\nsvc x\nsvc y\nsvc z 6\nalloc x\nalloc y\nalloc z",
          "x 10.0.0.255@a\ny 10.0.1.0@a\nz fd00::@a\n" },
        { "avoidBuggyIPs skips 0 and 255 at every border",
          "pool a 10.0.0.254-10.0.1.2 buggy\nsvc x\nsvc y\nsvc z\nsvc u\npools\nalloc x\nalloc y\nalloc z\nalloc u\n"
          "free y\nfree x\nfree z\npools\nhold z\nshow z",
          "a 0/3\nx 10.0.0.254@a\ny 10.0.1.1@a\nz 10.0.1.2@a\nu - full: pool \"a\" no free IPv4 address\na 0/3\nz 10.0.0.254@a\n" },
        { "avoidBuggyIPs may leave nothing, and never a negative number",
          "pool a 10.0.0.0/32 10.0.0.255-10.0.1.0 buggy\nsvc x\nalloc x\npools\nsvc x ip=10.0.0.0\nalloc x",
          "x - full: pool \"a\" avoidBuggyIPs leaves no IPv4 address\na\nx - full: 10.0.0.0 is left out by avoidBuggyIPs of pool \"a\"\n" },
        { "avoidBuggyIPs leaves IPv6 alone",
          "pool a fd00::/127 fd00::ff/128 buggy\nsvc x 6\nalloc x\npools",
          "x fd00::@a\na 1/2\n" },
        { "autoAssign=false: only on request",
          "pool a 10.0.0.0/30 noauto\nsvc x\nalloc x\nsvc x pool=a\nalloc x\nsvc y ip=10.0.0.3\nalloc y",
          "x - rejected: pool \"a\" autoAssign is false\nx 10.0.0.0@a\ny 10.0.0.3@a\n" },
        { "unpinned pools by name",
          "pool c 10.0.2.0/32\npool b 10.0.1.0/32\npool a 10.0.0.0/32\nsvc x\nsvc y\nsvc z\nalloc x\nalloc y\nalloc z",
          "x 10.0.0.0@a\ny 10.0.1.0@b\nz 10.0.2.0@c\n" },
        { "pinned pools first, by priority, 0 and negative last, then by name",
          "pool a 10.0.0.0/32\npool e 10.0.1.0/32 prio=0\npool f 10.0.2.0/32 prio=-5\npool p 10.0.3.0/32 prio=20\n"
          "pool q 10.0.4.0/32 prio=3\npool o 10.0.5.0/32 prio=20\n"
          "svc 1\nsvc 2\nsvc 3\nsvc 4\nsvc 5\nsvc 6\nsvc 7\nalloc 1\nalloc 2\nalloc 3\nalloc 4\nalloc 5\nalloc 6\nalloc 7",
          "1 10.0.4.0@q\n2 10.0.5.0@o\n3 10.0.3.0@p\n4 10.0.1.0@e\n5 10.0.2.0@f\n6 10.0.0.0@a\n"
          "7 - full: pool \"q\" no free IPv4 address; pool \"o\" no free IPv4 address; pool \"p\" no free IPv4 address; "
          "pool \"e\" no free IPv4 address; pool \"f\" no free IPv4 address; pool \"a\" no free IPv4 address\n" },
        { "a pool pinned with nothing in it takes everybody",
          "pool a 10.0.0.0/32 pin\nsvc x\nalloc x", "x 10.0.0.0@a\n" },
        { "by namespace name; full pinned pools fall back to unpinned ones",
          "pool t 10.0.0.0/32 ns=team,other\npool z 10.9.0.0/30\nsvc team/x\nsvc team/y\nsvc y\nalloc team/x\nalloc team/y\nalloc y\n"
          "svc y pool=t\nalloc y",
          "team/x 10.0.0.0@t\nteam/y 10.9.0.0@z\ny 10.9.0.1@z\n"
          "y 10.9.0.1@z rejected: pool \"t\" does not allow the namespace\n" },
        { "by namespace label, or by name; an unknown namespace matches no selector",
          "ns team env:prod\nns dev env:dev\npool t 10.0.0.0/29 ns=d nssel=env:prod\nsvc team/x\nsvc dev/x\nsvc x\nsvc new/x\n"
          "alloc team/x\nalloc dev/x\nalloc x\nalloc new/x\nns new env:prod\nalloc new/x",
          "team/x 10.0.0.0@t\ndev/x - rejected: pool \"t\" does not allow the namespace\nx 10.0.0.1@t\n"
          "new/x - rejected: pool \"t\" does not allow the namespace\nnew/x 10.0.0.2@t\n" },
        { "namespace selectors that match nothing open the pool to nobody, also not on request",
          "ns team env:prod\npool t 10.0.0.0/29 nssel=env:none\nsvc team/x\nsvc team/y pool=t\nsvc team/z ip=10.0.0.1\n"
          "alloc team/x\nalloc team/y\nalloc team/z\nclaim team/x 10.0.0.2",
          "team/x - rejected: pool \"t\" does not allow the namespace\n"
          "team/y - rejected: pool \"t\" does not allow the namespace\n"
          "team/z - rejected: 10.0.0.1 pool \"t\" does not allow the namespace\n"
          "team/x - lost: 10.0.0.2 pool \"t\" does not allow the namespace\n" },
        { "by labels of the Service, and of both kinds at once",
          "pool t 10.0.0.0/29 ns=d svcsel=app:web\nsvc x label=app:web\nsvc y label=app:db\nsvc z\nsvc team/x label=app:web\n"
          "alloc x\nalloc y\nalloc z\nalloc team/x",
          "x 10.0.0.0@t\ny - rejected: pool \"t\" its serviceSelectors do not match\n"
          "z - rejected: pool \"t\" its serviceSelectors do not match\n"
          "team/x - rejected: pool \"t\" does not allow the namespace\n" },
        { "huge pools cost nothing",
          "pool a 0.0.0.0/0 ::/0\nsvc x 46 require\nsvc y 6\nalloc x\nalloc y\npools\n"
          "svc z ip=255.255.255.255\nsvc u 6 ip=ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\nalloc z\nalloc u\nfree z\nfree u\nfree x\npools",
          "x 0.0.0.0@a,::@a\ny ::1@a\na 1/4294967295 2/9007199254740991\nz 255.255.255.255@a\n"
          "u ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff@a\na 0/4294967296 1/9007199254740991\n" },
        { "counters stop at 2^53 - 1 and come back exactly",
          "pool a fd00::/75 fd01::/64 10.0.0.0/31\nsvc x 6\nhold x\npools\npool a fd00::/76 10.0.0.0/31\npools",
          "a 0/2 1/9007199254740991\na 0/2 1/4503599627370495\n" },
        { "no pool at all",
          "svc x\nalloc x\nsvc y pool=p\nalloc y\nsvc z ip=10.0.0.1\nalloc z",
          "x - missing: there is no address pool\ny - missing: there is no address pool\nz - missing: 10.0.0.1 is in no pool\n" },
        { "every pool says why, the list is bounded",
          "pool a 10.0.0.0/32 noauto\npool b fd00::/127\npool c 10.0.2.0/32 ns=team\npool d 10.0.3.0/32\n"
          "pool e 10.0.4.0/31 reserve=10.0.4.0/31\npool f 10.0.5.0/99\nsvc x\nsvc y\nhold x\nalloc y",
          "y - full: pool \"c\" does not allow the namespace; pool \"a\" autoAssign is false; pool \"b\" has no IPv4 range; "
          "pool \"d\" no free IPv4 address; pool \"e\" no free IPv4 address, the rest is withheld; "
          "pool \"f\" its configuration is invalid\n" },
};

static const struct script requests[] = {
        { "an address: exactly that one",
          "pool a 10.0.0.0/24\npool b 10.0.1.0/24\nsvc x ip=10.0.0.77\nalloc x\nsvc y ip=10.0.1.77 pool=a\nalloc y\n"
          "svc y ip=10.0.1.77 pool=b\nalloc y\nsvc z ip=10.0.1.78 pool=c\nalloc z",
          "x 10.0.0.77@a\ny - missing: 10.0.1.77 belongs to pool \"b\", not to the requested pool \"a\"\ny 10.0.1.77@b\n"
          "z - missing: pool \"c\" does not exist\n" },
        { "outside all pools: the nearest is named",
          "pool a 10.0.0.0/24\npool b 10.0.2.0/24\nsvc x ip=10.0.1.10\nsvc y ip=10.0.1.250\nsvc z ip=9.0.0.1\nsvc u 6 ip=fd00::1\n"
          "alloc x\nalloc y\nalloc z\nalloc u",
          "x - missing: 10.0.1.10 is in no pool, the nearest is pool \"a\"\ny - missing: 10.0.1.250 is in no pool, the nearest is pool \"b\"\n"
          "z - missing: 9.0.0.1 is in no pool, the nearest is pool \"a\"\nu - missing: fd00::1 is in no pool\n" },
        { "a new address is taken before the old one is given up",
          "pool a 10.0.0.0/24\nsvc x\nsvc y\nhold x\nhold y\nsvc x ip=10.0.0.1\nalloc x\nsvc x ip=10.0.0.9\nalloc x\nsvc x ip=10.9.0.1\nalloc x\n"
          "svc x\nalloc x\npools",
          "x 10.0.0.0@a conflict: 10.0.0.1 is used by Service d/y without a common sharing key\nx 10.0.0.9@a\n"
          "x 10.0.0.9@a missing: 10.9.0.1 is in no pool, the nearest is pool \"a\"\nx 10.0.0.9@a\na 2/254\n" },
        { "another pool: the same; full or unknown ones change nothing",
          "pool a 10.0.0.0/32\npool b 10.0.1.0/32\nsvc x\nsvc y\nhold x\nhold y\nsvc x pool=b\nalloc x\nsvc x pool=zz\nalloc x\n"
          "free y\nsvc x pool=b\nalloc x\npools",
          "x 10.0.0.0@a full: pool \"b\" no free IPv4 address\nx 10.0.0.0@a missing: pool \"zz\" does not exist\nx 10.0.1.0@b\na 0/1; b 1/0\n" },
        { "two addresses, in the order asked for, of two pools",
          "pool a 10.0.0.0/24\npool b fd00::/64\nsvc x 46 ip=fd00::5,10.0.0.5\nalloc x\nsvc x 46 ip=10.0.0.5,fd00::5\nalloc x\n"
          "svc x 46 ip=10.0.0.5,fd00::6\nalloc x\nsvc x 46 ip=10.0.0.6,fd01::6\nalloc x",
          "x fd00::5@b,10.0.0.5@a\nx 10.0.0.5@a,fd00::5@b\nx 10.0.0.5@a,fd00::6@b\n"
          "x 10.0.0.5@a,fd00::6@b missing: fd01::6 is in no pool, the nearest is pool \"b\"\n" },
        { "a request in a pool that refuses the Service",
          "pool a 10.0.0.0/24 ns=team\nsvc x ip=10.0.0.1\nalloc x\nsvc team/x ip=10.0.0.1\nalloc team/x",
          "x - rejected: 10.0.0.1 pool \"a\" does not allow the namespace\nteam/x 10.0.0.1@a\n" },
        { "users of one address, oldest first",
          "pool a 10.0.0.0/24\nsvc x key=k ports=1 age=3\nsvc y key=k ports=2 age=1\nsvc z key=k ports=3 age=2\nsvc u key=k ports=4 age=2\n"
          "hold x\nhold y\nhold z\nhold u\nusers 10.0.0.0\nusers 10.0.0.1",
          "users 4 d/y d/u d/z\nusers 0\n" },
};

static const struct script dual[] = {
        { "both from one pool, the primary family first",
          "pool a 10.0.0.0/30\npool b 10.1.0.0/30 fd00::/126\nsvc x 46 require\nsvc y 64 require\nsvc z 64 prefer\nalloc x\nalloc y\nalloc z",
          "x 10.1.0.0@b,fd00::@b\ny fd00::1@b,10.1.0.1@b\nz fd00::2@b,10.1.0.2@b\n" },
        { "two pools when no single one has both",
          "pool a 10.0.0.0/30\npool b fd00::/126\nsvc x 46 require\nsvc y 64 prefer\nalloc x\nalloc y\nalloc x",
          "x 10.0.0.0@a,fd00::@b\ny fd00::1@b,10.0.0.1@a\nx 10.0.0.0@a,fd00::@b\n" },
        { "RequireDualStack takes both or nothing",
          "pool a 10.0.0.0/30\npool b fd00::/128\nsvc x 6\nhold x\nsvc y 46 require\nalloc y\nfree x\nalloc y\npools",
          "y - full: pool \"a\" has no IPv6 range; pool \"b\" no free IPv6 address\ny 10.0.0.0@a,fd00::@b\na 1/3; b 1/0\n" },
        { "PreferDualStack takes one rather than none, and says what is missing",
          "pool a 10.0.0.0/30\nsvc x 46 prefer\nsvc y 64 prefer\nsvc z 6\nalloc x\nalloc y\nalloc z",
          "x 10.0.0.0@a without: pool \"a\" has no IPv6 range\ny 10.0.0.1@a without: pool \"a\" has no IPv6 range\n"
          "z - full: pool \"a\" has no IPv6 range\n" },
        { "PreferDualStack with one cluster IP stays at one address, however often it is asked",
          "pool a 10.0.0.0/30 fd00::/126\nsvc x 4 prefer\nalloc x\nalloc x\nalloc x\nwoken",
          "x 10.0.0.0@a\nx 10.0.0.0@a\nx 10.0.0.0@a\nwoken\n" },
        { "PreferDualStack: a pinned pool decides before unpinned ones, which add what it lacks",
          "pool p 10.0.0.0/30 ns=d\npool u 10.1.0.0/30 fd00::/126\nsvc x 46 prefer\nsvc y 46 require\nsvc z\nalloc x\nalloc y\nalloc z",
          "x 10.0.0.0@p,fd00::@u\ny 10.1.0.0@u,fd00::1@u\nz 10.0.0.1@p\n" },
        { "PreferDualStack: of pinned pools one with both is better than two",
          "pool p 10.0.0.0/30 prio=1\npool q fd00::/126 prio=2\npool r 10.1.0.0/30 fd01::/126 prio=3\nsvc x 46 prefer\nsvc y 46 require\nalloc x\nalloc y",
          "x 10.1.0.0@r,fd01::@r\ny 10.1.0.1@r,fd01::1@r\n" },
        { "dual without a policy: nothing is chosen for it, what it has stays",
          "pool a 10.0.0.0/30 fd00::/126\nsvc x 46\nalloc x\nsvc y 46 ip=10.0.0.1,fd00::1\nalloc y\nsvc y 46\nalloc y",
          "x - rejected: the Service has cluster IPs of both families, but ipFamilyPolicy is SingleStack\n"
          "y 10.0.0.1@a,fd00::1@a\ny 10.0.0.1@a,fd00::1@a\n" },
        { "a single address is extended, not renumbered; the same pool first",
          "pool a 10.0.0.0/30 fd00::/126\npool b 10.1.0.0/30 fd01::/126\nsvc f\nsvc x\nhold f\nsvc x ip=10.1.0.3\nhold x\nfree f\n"
          "svc x 46 require\nalloc x\nsvc x 4\nclaim x 10.1.0.3\nalloc x\nsvc x 46 prefer\nalloc x",
          "x 10.1.0.3@b,fd01::@b\nx 10.1.0.3@b\nx 10.1.0.3@b\nx 10.1.0.3@b,fd01::@b\n" },
        { "extended from another pool when its own has nothing",
          "pool a 10.0.0.0/30\npool b fd01::/126\nsvc x 6\nhold x\nsvc x 46 require\nalloc x",
          "x fd01::@b,10.0.0.0@a\n" },
        { "RequireDualStack that cannot be extended keeps what it has and waits",
          "pool a 10.0.0.0/30\nsvc x\nhold x\nsvc x 46 require\nalloc x\nwoken\npool b fd00::/126\ndrain",
          "x 10.0.0.0@a full: pool \"a\" has no IPv6 range\nwoken\nx 10.0.0.0@a,fd00::@b\n" },
        { "a requested pool serves both families, or what it has",
          "pool a 10.0.0.0/30 fd00::/126\npool b 10.1.0.0/30\nsvc x 46 prefer pool=b\nsvc y 46 require pool=b\nsvc z 46 require pool=a\n"
          "alloc x\nalloc y\nalloc z\nsvc z 46 prefer pool=b\nalloc z",
          "x 10.1.0.0@b without: pool \"b\" has no IPv6 range\ny - full: pool \"b\" has no IPv6 range\n"
          "z 10.0.0.0@a,fd00::@a\nz 10.1.0.1@b without: pool \"b\" has no IPv6 range\n" },
        { "a pair over two pools and a requested pool: the half that fits stays",
          "pool a 10.0.0.0/30\npool b fd00::/126\nsvc x 46 require\nhold x\npool a 10.0.0.0/30 fd01::/126\nsvc x 46 require pool=a\nalloc x",
          "x 10.0.0.0@a,fd01::@a\n" },
};

static const struct script sharing[] = {
        { "the same key and other ports: the same address",
          "pool a 10.0.0.0/30\nsvc x key=k ports=80\nsvc y key=k ports=81\nsvc z key=k ports=80\nsvc u key=k ports=80u\nsvc v ports=99\n"
          "alloc x\nalloc y\nalloc z\nalloc u\nalloc v\npools",
          "x 10.0.0.0@a\ny 10.0.0.0@a\nz 10.0.0.1@a\nu 10.0.0.0@a\nv 10.0.0.2@a\na 3/1\n" },
        { "beside the key also when a lower address is free, and in another pool",
          "pool a 10.0.0.0/30\npool b 10.1.0.0/30\nsvc x key=k ports=80 ip=10.1.0.3\nsvc y key=k ports=81\nalloc x\nalloc y",
          "x 10.1.0.3@b\ny 10.1.0.3@b\n" },
        { "but not in a pool that it may not use by itself",
          "pool a 10.0.0.0/30\npool b 10.1.0.0/30 noauto\npool c 10.2.0.0/30 ns=team\nsvc x key=k ports=80 pool=b\nsvc y key=k ports=81\n"
          "svc team/x key=k ports=82\nalloc x\nalloc y\nalloc team/x\nsvc z key=k ports=83 pool=b\nalloc z",
          "x 10.1.0.0@b\ny 10.0.0.0@a\nteam/x 10.0.0.0@a\nz 10.1.0.0@b\n" },
        { "no key shares with nobody; keys of other names neither",
          "pool a 10.0.0.0/32\nsvc x key=k ports=80\nhold x\nsvc y ports=81 ip=10.0.0.0\nalloc y\nsvc z key=kk ports=82 ip=10.0.0.0\nalloc z\n"
          "svc u key=k ports=80 ip=10.0.0.0\nalloc u\nsvc v key=k ports=83 local sel=a:b ip=10.0.0.0\nalloc v\n"
          "svc w key=k ports=84 local ip=10.0.0.0\nalloc w",
          "y - conflict: 10.0.0.0 is used by Service d/x without a common sharing key\n"
          "z - conflict: 10.0.0.0 is used by Service d/x with another sharing key\n"
          "u - conflict: 10.0.0.0 has port TCP 80 in use by Service d/x\n"
          "v - conflict: 10.0.0.0 is used by Service d/x with another traffic policy or selector\nw 10.0.0.0@a\n" },
        { "Local with one selector, in any namespace",
          "pool a 10.0.0.0/30\nsvc x key=k ports=80 local sel=a:b\nsvc t/y key=k ports=81 local sel=a:b\nsvc z key=k ports=82 local sel=a:c\n"
          "alloc x\nalloc t/y\nalloc z",
          "x 10.0.0.0@a\nt/y 10.0.0.0@a\nz 10.0.0.1@a\n" },
        { "(\"a\", \"bc\") is not (\"ab\", \"c\")",
          "pool a 10.0.0.0/30\nsvc x key=a ports=80 local sel=b:c\nsvc y key=ab ports=81 local sel=c:c\nalloc x\nalloc y",
          "x 10.0.0.0@a\ny 10.0.0.1@a\n" },
        { "the only user changes its key and ports as it likes",
          "pool a 10.0.0.0/30\nsvc x key=k ports=80\nhold x\nsvc x ports=81\nalloc x\nsvc x key=z ports=80,81\nalloc x\nsvc y key=z ports=82\nalloc y",
          "x 10.0.0.0@a\nx 10.0.0.0@a\ny 10.0.0.0@a\n" },
        { "one of several that changes its key or ports has to go",
          "pool a 10.0.0.0/30\nsvc x key=k ports=80\nsvc y key=k ports=81\nhold x\nhold y\nsvc y key=k ports=80,81\nalloc y\n"
          "svc y key=k ports=82\nsvc z key=k ports=83\nalloc z\nsvc x key=j ports=80\nalloc x",
          "y 10.0.0.1@a lost: 10.0.0.0 has port TCP 80 in use by Service d/x\nz 10.0.0.0@a\n"
          "x 10.0.0.2@a lost: 10.0.0.0 is used by Service d/z with another sharing key\n" },
        { "the same port twice in one Service",
          "pool a 10.0.0.0/31\nsvc x key=k ports=80,80,80\nalloc x\nsvc y key=k ports=80\nalloc y\nfree x\nfree y\nstats",
          "x 10.0.0.0@a\ny 10.0.0.1@a\nservices 0 waiting 0 held 0 cooling 0\n" },
        { "no ports at all",
          "pool a 10.0.0.0/31\nsvc x key=k\nsvc y key=k\nalloc x\nalloc y\nfree x\nshow y\npools",
          "x 10.0.0.0@a\ny 10.0.0.0@a\ny 10.0.0.0@a\na 1/1\n" },
        { "both families beside the same partner, over two pools",
          "pool a 10.0.0.0/30\npool b fd00::/126\nsvc x 46 require key=k ports=80\nhold x\npool c 10.2.0.0/30 fd02::/126\n"
          "svc y 46 require key=k ports=81\nalloc y\nsvc z 46 require\nalloc z",
          "y 10.0.0.0@a,fd00::@b\nz 10.2.0.0@c,fd02::@c\n" },
        { "one family shared, the other fresh from the same pool",
          "pool a 10.0.0.0/30 fd00::/126\nsvc x key=k ports=80 ip=10.0.0.2\nsvc y 46 require key=k ports=81\nalloc x\nalloc y",
          "x 10.0.0.2@a\ny 10.0.0.2@a,fd00::@a\n" },
        { "leaving a shared address leaves it to the others",
          "pool a 10.0.0.0/30\nsvc x key=k ports=80\nsvc y key=k ports=81\nhold x\nhold y\nfree x\nshow y\npools\nfree y\npools",
          "y 10.0.0.0@a\na 1/3\na 0/4\n" },
        { "shared addresses that are withheld now take nobody new",
          "pool a 10.0.0.0/30\nsvc x key=k ports=80\nhold x\nnodes 10.0.0.0\nsvc y key=k ports=81\nalloc y\nsvc z key=k ports=82 ip=10.0.0.0\nalloc z",
          "y 10.0.0.1@a\nz - full: 10.0.0.0 belongs to a node\n" },
};

static const struct script claims[] = {
        { "what a status says is held, whatever is lower",
          "pool a 10.0.0.0/24\nsvc x\nsvc y\nclaim x 10.0.0.200\nalloc x\nalloc y\npools",
          "x 10.0.0.200@a\nx 10.0.0.200@a\ny 10.0.0.0@a\na 2/254\n" },
        { "two of one address: the first one has it",
          "pool a 10.0.0.0/24\nsvc x\nsvc y\nclaim x 10.0.0.1\nclaim y 10.0.0.1\nalloc y",
          "x 10.0.0.1@a\ny - lost: 10.0.0.1 is used by Service d/x without a common sharing key\ny 10.0.0.0@a\n" },
        { "shared ones are claimed in any order",
          "pool a 10.0.0.0/24\nsvc x key=k ports=1\nsvc y key=k ports=2\nclaim y 10.0.0.1\nclaim x 10.0.0.1\nrestart\nclaim x 10.0.0.1\nclaim y 10.0.0.1\npools",
          "y 10.0.0.1@a\nx 10.0.0.1@a\nx 10.0.0.1@a\ny 10.0.0.1@a\na 1/255\n" },
        { "half of a pair may be lost, the other half stays",
          "pool a 10.0.0.0/24\nsvc x 46 require\nclaim x 10.0.0.7 fd00::7\nalloc x\npool b fd00::/64\ndrain",
          "x 10.0.0.7@a lost: fd00::7 is in no pool\nx 10.0.0.7@a full: pool \"a\" has no IPv6 range\nx 10.0.0.7@a,fd00::@b\n" },
        { "outside all pools",
          "pool a 10.0.0.0/24\nsvc x\nclaim x 192.0.2.1\nalloc x",
          "x - lost: 192.0.2.1 is in no pool, the nearest is pool \"a\"\nx 10.0.0.0@a\n" },
        { "autoAssign does not matter to who is there",
          "pool a 10.0.0.0/24 noauto\nsvc x\nclaim x 10.0.0.5\nalloc x", "x 10.0.0.5@a\nx 10.0.0.5@a\n" },
        { "forgetting everything",
          "pool a 10.0.0.0/24\nsvc x\nsvc y\nhold x\nhold y\nforget\nstats\npools\nclaim y 10.0.0.1\npools",
          "services 0 waiting 0 held 0 cooling 0\na 0/256\ny 10.0.0.1@a\na 1/255\n" },
        { "made again under the same name, with another age",
          "pool a 10.0.0.0/32\nsvc o\nhold o\nsvc x age=5\nsvc y age=3\nalloc x\nalloc y\nsvc x age=1\nalloc x\nfree o\nwoken",
          "x - full: pool \"a\" no free IPv4 address\ny - full: pool \"a\" no free IPv4 address\nx - full: pool \"a\" no free IPv4 address\nwoken d/x d/y\n" },
};

static const struct script editing[] = {
        { "nothing changed: nothing is touched; order and age alone do not matter",
          "pool b 10.1.0.0/30\npool a 10.0.0.0/30\nsvc x\nhold x\nwoken\nset\nwoken", "woken\nset 0\nwoken\n" },
        { "grown and shrunk in place",
          "pool a 10.0.0.0/31\nsvc x\nsvc y\nhold x\nhold y\npool a 10.0.0.0/29\npools\ndrain\npool a 10.0.0.1/32 10.0.0.4/31\npools\ndrain\npools",
          "a 2/6\nx 10.0.0.0@a | y 10.0.0.1@a\na 1/2\nx 10.0.0.4@a | y 10.0.0.1@a\na 2/1\n" },
        { "ranges in another order: other addresses come first",
          "pool a 10.0.0.0/30\nsvc x\nsvc y\nhold x\npool a 10.0.0.2/31 10.0.0.0/31\nalloc y\nalloc x", "y 10.0.0.2@a\nx 10.0.0.0@a\n" },
        { "renamed in one step: addresses stay",
          "pool a 10.0.0.0/30\nsvc x\nhold x\nrename a b\ndrain\npools", "x 10.0.0.0@b\nb 1/3\n" },
        { "deleted: dropped",
          "pool a 10.0.0.0/30\nsvc x\nhold x\nnopool a\nshow x\nwoken", "x -\nwoken d/x\n" },
        { "split over two pools: a pair stays a pair",
          "pool a 10.0.0.0/30 fd00::/126\nsvc x 46 require\nhold x\npool a 10.0.0.0/30\npool b fd00::/126 age=9\nshow x",
          "x 10.0.0.0@a\n" },
        { "an overlap: the older pool has it, the younger is bad and says why",
          "pool a 10.0.0.0/30 age=5\npool b 10.0.0.2-10.0.0.9 age=4\npools\nsvc x\nalloc x\npool b 10.0.1.0/30 age=4\npools\ndrain",
          "a 0/0 BAD: range 10.0.0.0-10.0.0.3 overlaps 10.0.0.2-10.0.0.9 of the older pool \"b\"; b 0/8\nx 10.0.0.2@b\na 1/3; b 0/4\nx 10.0.0.2@a\n" },
        { "of one age: by name",
          "pool b 10.0.0.0/32\npool a 10.0.0.0/32\npools", "a 0/1; b 0/0 BAD: range 10.0.0.0 overlaps 10.0.0.0 of the older pool \"a\"\n" },
        { "a v4-mapped twin overlaps",
          "pool a 10.0.0.0/24\npool b ::ffff:10.0.0.128/121\npools",
          "a 0/256; b 0/0 BAD: range 10.0.0.128-10.0.0.255 overlaps 10.0.0.0-10.0.0.255 of the older pool \"a\"\n" },
        { "a bad pool does not stand in the way of others",
          "pool a 10.0.0.0/30 broken\npool b 10.0.0.0/30 age=9\nsvc x\nalloc x\npools",
          "x 10.0.0.0@b\na 0/0 BAD: invalid CIDR \"10.0.0.0/99\": the length must be 0 to 32; b 1/3\n" },
        { "bad: who holds keeps, nobody new comes, the freed is not offered; good again: all as before",
          "pool a 10.0.0.0/30\nsvc x key=k ports=80\nsvc y\nhold x\nhold y\npool a 10.0.0.0/30 broken\npools\ndrain\nsvc z\nalloc z\n"
          "svc z key=k ports=81 ip=10.0.0.0\nalloc z\nfree y\npools\nwoken\npool a 10.0.0.0/30\ndrain\npools",
          "a 2/0 BAD: invalid CIDR \"10.0.0.0/99\": the length must be 0 to 32\nx 10.0.0.0@a | y 10.0.0.1@a\n"
          "z - rejected: pool \"a\" its configuration is invalid\nz - rejected: 10.0.0.0 pool \"a\" its configuration is invalid\n"
          "a 1/0 BAD: invalid CIDR \"10.0.0.0/99\": the length must be 0 to 32\nwoken\nx 10.0.0.0@a | z 10.0.0.0@a\na 1/3\n" },
        { "bad and shrunk at once: the last good definition counts for its holders, the next good one decides",
          "pool a 10.0.0.0/24\nsvc x ip=10.0.0.77\nhold x\npool a 10.0.0.0/30 broken\ndrain\npool a 10.0.0.0/29 broken\ndrain\npool a 10.0.0.0/28\ndrain",
          "x 10.0.0.77@a\nx 10.0.0.77@a\nx - missing: 10.0.0.77 is in no pool, the nearest is pool \"a\"\n" },
        { "bad, then deleted: dropped",
          "pool a 10.0.0.0/24\nsvc x\nhold x\npool a broken\nshow x\nnopool a\nshow x\nwoken", "x 10.0.0.0@a\nx -\nwoken d/x\n" },
        { "a restart while a pool is bad: the annotation says whose address it is",
          "pool a broken\nsvc x note=metallb.io/ip-allocated-from-pool:a\nsvc y note=metallb.io/ip-allocated-from-pool:b\nsvc z\nclaim x 10.0.0.7\nclaim y 10.0.0.8\n"
          "pool a 10.0.0.8/30 broken\nclaim z 10.0.0.9\npools\npool a 10.0.0.0/28\ndrain",
          "x 10.0.0.7@a\ny - lost: 10.0.0.8 is in no pool\nz 10.0.0.9@a\na 2/0 BAD: invalid CIDR \"10.0.0.0/99\": the length must be 0 to 32\n"
          "x 10.0.0.7@a | z 10.0.0.9@a\n" },
        { "two bad pools; another one takes over an address of theirs",
          "pool a 10.0.0.0/30\nsvc x\nsvc y\nhold x\nhold y\npool a broken\npool b 10.0.0.0/32\npools\ndrain\npool b broken\npools\npool a 10.0.0.0/30\npools",
          "a 1/0 BAD: invalid CIDR \"10.0.0.0/99\": the length must be 0 to 32; b 1/0\nx 10.0.0.0@b | y 10.0.0.1@a\n"
          "a 1/0 BAD: invalid CIDR \"10.0.0.0/99\": the length must be 0 to 32; b 1/0 BAD: invalid CIDR \"10.0.0.0/99\": the length must be 0 to 32\n"
          "a 2/2; b 0/0 BAD: invalid CIDR \"10.0.0.0/99\": the length must be 0 to 32\n" },
        { "the older one grows over the younger: its holders change hands, the others stay",
          "pool a 10.0.0.0/30 age=1\npool b 10.0.1.0/30 age=2\nsvc x ip=10.0.1.0\nsvc y ip=10.0.1.3\nhold x\nhold y\npool a 10.0.0.0-10.0.1.1 age=1\npools\ndrain",
          "a 1/257; b 1/0 BAD: range 10.0.1.0-10.0.1.3 overlaps 10.0.0.0-10.0.1.1 of the older pool \"a\"\nx 10.0.1.0@a | y 10.0.1.3@b\n" },
        { "avoidBuggyIPs on and off",
          "pool a 10.0.0.0/31\nsvc x\nsvc y\nhold x\npool a 10.0.0.0/31 buggy\npools\ndrain\npool a 10.0.0.0/31\npools",
          "a 0/1\nx 10.0.0.1@a\na 1/1\n" },
        { "who waits is asked again after any change",
          "svc x\nsvc y pool=c\nalloc x\nalloc y\npool a 10.0.0.0/32 ns=team\ndrain\npool c 10.2.0.0/32 noauto\ndrain\npool a 10.0.0.0/32\ndrain",
          "x - missing: there is no address pool\ny - missing: there is no address pool\n"
          "x - rejected: pool \"a\" does not allow the namespace | y - missing: pool \"c\" does not exist\n"
          "x - rejected: pool \"a\" does not allow the namespace; pool \"c\" autoAssign is false | y 10.2.0.0@c\nx 10.0.0.0@a\n" },
};

static const struct script withheld[] = {
        { "addresses of nodes are not handed out, also not on request; who has one keeps it",
          "pool a 10.0.0.0/30\nsvc x\nhold x\nnodes 10.0.0.0 10.0.0.1 10.0.0.1 192.0.2.1 fd00::1\npools\nsvc y\nalloc y\nsvc z ip=10.0.0.1\nalloc z\nalloc x\n"
          "free x\npools\nnodes 192.0.2.1\npools\ndrain",
          "a 1/2-1\ny 10.0.0.2@a\nz - full: 10.0.0.1 belongs to a node\nx 10.0.0.0@a\na 1/1-2\na 1/3\nz 10.0.0.1@a\n" },
        { "nodes known before pools",
          "nodes 10.0.0.0\npool a 10.0.0.0/31\nsvc x\nsvc y\nalloc x\nalloc y\npools",
          "x 10.0.0.1@a\ny - full: pool \"a\" no free IPv4 address, the rest is withheld\na 1/0-1\n" },
        { "a restart leaves a node address with its holder",
          "pool a 10.0.0.0/30\nnodes 10.0.0.2\nsvc x\nclaim x 10.0.0.2\npools\nfree x\npools", "x 10.0.0.2@a\na 1/3\na 0/3-1\n" },
        { "reserved by the pool: addresses and ranges, overlapping ones too",
          "pool a 10.0.0.0/28 fd00::/64 reserve=10.0.0.0,10.0.0.2-10.0.0.5,10.0.0.4/30,fd00::/65\npools\nsvc x\nsvc y\nsvc z 6\nalloc x\nalloc y\nalloc z\n"
          "svc u ip=10.0.0.3\nalloc u\npool a 10.0.0.0/28 fd00::/64\ndrain\npools",
          "a 0/9-7 0/9007199254740991-9007199254740991\nx 10.0.0.1@a\ny 10.0.0.8@a\nz fd00::8000:0:0:0@a\nu - full: 10.0.0.3 is reserved in pool \"a\"\n"
          "x 10.0.0.1@a | y 10.0.0.8@a | z fd00::8000:0:0:0@a | u 10.0.0.3@a\na 3/13 1/9007199254740991\n" },
        { "avoidBuggyIPs and reservations together count once",
          "pool a 10.0.0.0-10.0.1.255 buggy reserve=10.0.0.250-10.0.1.5\npools\nnodes 10.0.0.255 10.0.0.1\npools", "a 0/498-10\na 0/497-11\n" },
        { "freed addresses cool down, then they are offered",
          "delay 1000\npool a 10.0.0.0/31\nsvc x\nsvc y\nhold x\nhold y\nfree x\npools\nstats\nsvc z\nalloc z\nsvc u ip=10.0.0.0\nalloc u\n"
          "tick 999\nwoken\ntick 1\npools\ndrain\nstats",
          "a 1/0-1\nservices 1 waiting 0 held 1 cooling 1\nz - full: pool \"a\" no free IPv4 address, the rest is withheld\n"
          "u - full: 10.0.0.0 was freed a moment ago and is still kept back\nwoken\na 1/1\nu 10.0.0.0@a\nservices 3 waiting 1 held 2 cooling 0\n" },
        { "what cools may be claimed by whose status it is",
          "delay 1000\npool a 10.0.0.0/31\nsvc x\nhold x\nfree x\npools\nclaim x 10.0.0.0\npools\ntick 5000\npools\nfree x\npool a 10.0.1.0/31\nstats\npools",
          "a 0/1-1\nx 10.0.0.0@a\na 1/1\na 1/1\nservices 0 waiting 0 held 0 cooling 0\na 0/2\n" },
        { "cooling ones follow their range to another pool, and end with a bad one",
          "delay 1000\npool a 10.0.0.0/31\nsvc x\nhold x\nfree x\nrename a b\npools\nstats\ntick 1000\npools\nhold x\nfree x\npool b broken\nstats",
          "b 0/1-1\nservices 0 waiting 0 held 0 cooling 1\nb 0/2\nservices 0 waiting 0 held 0 cooling 0\n" },
        { "forgetting ends the cooling",
          "delay 1000\npool a 10.0.0.0/31\nsvc x\nhold x\nfree x\nforget\npools", "a 0/2\n" },
};

static const struct script waiting[] = {
        { "one address freed: the oldest of those who can use it, and nobody else",
          "pool a 10.0.0.0/31\npool t 10.1.0.0/32 ns=team\nsvc 1\nsvc 2\nsvc team/1\nhold 1\nhold 2\nhold team/1\n"
          "svc w1 age=30\nsvc w2 age=10\nsvc w3 age=20\nsvc 6w 6 age=1\nsvc team/w age=5\nalloc w1\nalloc w2\nalloc w3\nalloc 6w\nalloc team/w\n"
          "free 1\ndrain\nfree team/1\ndrain\nfree 2\ndrain\nwoken",
          "w1 - full: pool \"t\" does not allow the namespace; pool \"a\" no free IPv4 address\n"
          "w2 - full: pool \"t\" does not allow the namespace; pool \"a\" no free IPv4 address\n"
          "w3 - full: pool \"t\" does not allow the namespace; pool \"a\" no free IPv4 address\n"
          "6w - full: pool \"t\" does not allow the namespace; pool \"a\" has no IPv6 range\n"
          "team/w - full: pool \"t\" no free IPv4 address; pool \"a\" no free IPv4 address\n"
          "team/w 10.0.0.0@a\nw2 10.0.0.1@a\nwoken\n" },
        { "both families must be there for RequireDualStack",
          "pool a 10.0.0.0/32\npool b fd00::/128\nsvc x\nsvc y 6\nhold x\nhold y\nsvc w 46 require\nsvc p 46 prefer age=5\nalloc w\nalloc p\nfree x\nwoken\nfree y\ndrain",
          "w - full: pool \"a\" no free IPv4 address; pool \"a\" has no IPv6 range; pool \"b\" has no IPv4 range; pool \"b\" no free IPv6 address\n"
          "p - full: pool \"a\" no free IPv4 address; pool \"a\" has no IPv6 range; pool \"b\" has no IPv4 range; pool \"b\" no free IPv6 address\n"
          "woken d/p\nw 10.0.0.0@a,fd00::@b\n" },
        { "PreferDualStack waits for the half that it lacks",
          "pool a 10.0.0.0/30\npool b fd00::/128\nsvc y 6\nhold y\nsvc p 46 prefer\nalloc p\nfree y\ndrain\nwoken",
          "p 10.0.0.0@a without: pool \"a\" has no IPv6 range; pool \"b\" no free IPv6 address\np 10.0.0.0@a,fd00::@b\nwoken\n" },
        { "an address, freed by delete, by moving, by sharing",
          "pool a 10.0.0.0/29\nsvc x ip=10.0.0.3\nhold x\nsvc w ip=10.0.0.3 key=k ports=80\nalloc w\nsvc x ip=10.0.0.4\nalloc x\ndrain\n"
          "svc v ip=10.0.0.3 key=k ports=80 age=1\nalloc v\nsvc w ip=10.0.0.3 key=k ports=81\nalloc w\ndrain",
          "w - conflict: 10.0.0.3 is used by Service d/x without a common sharing key\nx 10.0.0.4@a\nw 10.0.0.3@a\n"
          "v - conflict: 10.0.0.3 has port TCP 80 in use by Service d/w\nw 10.0.0.3@a\nv 10.0.0.3@a\n" },
        { "a key that appears on a full pool",
          "pool a 10.0.0.0/32\nsvc x\nhold x\nsvc w key=k ports=80\nsvc v ports=81\nalloc w\nalloc v\nsvc x key=k ports=82\nalloc x\ndrain",
          "w - full: pool \"a\" no free IPv4 address\nv - full: pool \"a\" no free IPv4 address\nx 10.0.0.0@a\nw 10.0.0.0@a\n" },
        { "one of several leaves: its port, not its address, is free",
          "pool a 10.0.0.0/32\nsvc x key=k ports=80\nsvc y key=k ports=81\nhold x\nhold y\nsvc w key=k ports=80\nsvc v key=j ports=80\nalloc w\nalloc v\nfree x\ndrain\nfree y\nfree w\ndrain",
          "w - full: pool \"a\" no free IPv4 address\nv - full: pool \"a\" no free IPv4 address\nw 10.0.0.0@a\nv 10.0.0.0@a\n" },
        { "nobody is woken for what does not help, or twice for one thing",
          "pool a 10.0.0.0/31\nsvc x\nsvc y\nhold x\nhold y\nsvc w ip=10.0.0.1\nsvc n ip=10.9.9.9\nalloc w\nalloc n\nfree x\nwoken\nfree y\nwoken\nwoken",
          "w - conflict: 10.0.0.1 is used by Service d/y without a common sharing key\nn - missing: 10.9.9.9 is in no pool, the nearest is pool \"a\"\n"
          "woken\nwoken d/w\nwoken\n" },
        { "gone or given up: no longer waiting",
          "pool a 10.0.0.0/32\nsvc x\nhold x\nsvc w\nsvc v\nalloc w\nalloc v\nstats\nfree w\nquit v\nstats\nfree x\nwoken",
          "w - full: pool \"a\" no free IPv4 address\nv - full: pool \"a\" no free IPv4 address\nservices 3 waiting 2 held 1 cooling 0\n"
          "services 2 waiting 0 held 1 cooling 0\nwoken\n" },
        { "several freed at once: as many are woken, oldest first",
          "pool a 10.0.0.0/30\nsvc 1\nsvc 2\nsvc 3\nsvc 4\nhold 1\nhold 2\nhold 3\nhold 4\nsvc w1\nsvc w2\nsvc w3\nhold-not w1\nhold-not w2\nhold-not w3\nfree 4\nfree 2\ndrain",
          "w1 10.0.0.1@a | w2 10.0.0.3@a\n" },
};
/* clang-format on */

#define SCRIPTS(table) \
        START_TEST(table##_scripts) \
        { \
                check(&table[_i]); \
        } \
        END_TEST
SCRIPTS(choosing)
SCRIPTS(requests)
SCRIPTS(dual)
SCRIPTS(sharing)
SCRIPTS(claims)
SCRIPTS(editing)
SCRIPTS(withheld)
SCRIPTS(waiting)

int main(void)
{
        Suite *s = suite_create("ipam");
        TCase *tc = tcase_create("ipam");

        suite_add_tcase(s, tc);
        tcase_add_loop_test(tc, choosing_scripts, 0, (int)ARRAY_LEN(choosing));
        tcase_add_loop_test(tc, requests_scripts, 0, (int)ARRAY_LEN(requests));
        tcase_add_loop_test(tc, dual_scripts, 0, (int)ARRAY_LEN(dual));
        tcase_add_loop_test(tc, sharing_scripts, 0, (int)ARRAY_LEN(sharing));
        tcase_add_loop_test(tc, claims_scripts, 0, (int)ARRAY_LEN(claims));
        tcase_add_loop_test(tc, editing_scripts, 0, (int)ARRAY_LEN(editing));
        tcase_add_loop_test(tc, withheld_scripts, 0, (int)ARRAY_LEN(withheld));
        tcase_add_loop_test(tc, waiting_scripts, 0, (int)ARRAY_LEN(waiting));
        return unit_main(s);
}
