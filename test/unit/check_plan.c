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
                world_status(w, full_key(key, strsep(&rest, " ")), rest);
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
};
/* clang-format on */

START_TEST(plans)
{
        check(&scripts[_i]);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("plan");
        TCase *tc = tcase_create("plan");

        suite_add_tcase(s, tc);
        tcase_add_loop_test(tc, plans, 0, (int)ARRAY_LEN(scripts));
        return unit_main(s);
}
