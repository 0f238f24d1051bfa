/* SPDX-License-Identifier: Apache-2.0 */
/* The view is told a story in short lines and must say what changed. This node is n1; of the addresses used here
 * 192.168.1.200 goes to n1, then n2, n3; 10.4.11.7 to n3, n1, n2; 2001:db8::1 to n2, n3, n1. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/rng.h"
#include "speaker/view.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define OBJECTS_MAX 400

enum kind { SERVICE, SLICE, NODE, POOL, AD };
static const object_decode_fn decoders[] = { service_decode, slice_decode, node_decode, pool_decode,
        l2adv_decode };

struct stored {
        enum kind kind;
        struct object *o;
};

struct world {
        struct view *view;
        struct stored objects[OBJECTS_MAX];
        size_t n;
        uint64_t now_ms;
        char said[8192];
        const char *const *alive; /* NULL: every node has a speaker */
};

static bool is_alive(void *ctx, const char *node)
{
        const struct world *w = ctx;

        for (const char *const *p = w->alive; p && *p; p++)
                if (strcmp(*p, node) == 0)
                        return true;
        return w->alive == NULL;
}

/* ---- objects ---- */

static struct object *decode(enum kind kind, const char *json)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        struct object *o = NULL;

        ck_assert_msg(json_parse(&tree, json, strlen(json)) == 0, "%s", json);
        ck_assert_msg(decoders[kind](&o, tree) == 0, "%s", json);
        return o;
}

static int feed(
        struct view *v, enum kind kind, const struct object *old, const struct object *now, uint64_t now_ms)
{
        switch (kind) {
        case SERVICE: return view_service(v, old, now);
        case SLICE: return view_slice(v, old, now);
        case NODE: return view_node(v, old, now, now_ms);
        case POOL: return view_pool(v, old, now);
        case AD: return view_l2adv(v, old, now);
        }
        return -EINVAL;
}

static struct stored *find(struct world *w, enum kind kind, const char *ns, const char *name)
{
        for (size_t i = 0; i < w->n; i++)
                if (w->objects[i].kind == kind && strcmp(w->objects[i].o->name, name) == 0 &&
                        strcmp(w->objects[i].o->ns, ns) == 0)
                        return &w->objects[i];
        return NULL;
}

static void put(struct world *w, enum kind kind, const char *json)
{
        struct object *o = decode(kind, json), *old = NULL;
        struct stored *at = find(w, kind, o->ns, o->name);

        if (!at) {
                ck_assert_uint_lt(w->n, OBJECTS_MAX);
                at = &w->objects[w->n++];
                *at = (struct stored){ .kind = kind };
        }
        old = at->o;
        at->o = o;
        ck_assert_int_eq(feed(w->view, kind, old, o, w->now_ms), 0);
        object_free(old);
}

static void gone(struct world *w, enum kind kind, const char *ns, const char *name)
{
        struct stored *at = find(w, kind, ns, name);
        struct object *old;

        ck_assert_msg(at != NULL, "nothing to remove: %s", name);
        old = at->o;
        *at = w->objects[--w->n];
        ck_assert_int_eq(feed(w->view, kind, old, NULL, w->now_ms), 0);
        object_free(old);
}

static void world_fini(struct world *w)
{
        w->view = view_free(w->view);
        for (size_t i = 0; i < w->n; i++)
                object_free(w->objects[i].o);
        w->n = 0;
}

/* ---- the short lines ---- */

struct words {
        char *v[24];
        size_t n;
        char text[1024];
};

static void split(struct words *w, const char *line)
{
        w->n = 0;
        ck_assert_uint_lt(strlen(line), sizeof(w->text));
        memcpy(w->text, line, strlen(line) + 1);
        for (char *p = w->text; *p;) {
                ck_assert_uint_lt(w->n, ARRAY_LEN(w->v));
                w->v[w->n++] = p;
                p += strcspn(p, " ");
                if (*p)
                        *p++ = '\0';
        }
}

static bool has_word(const struct words *w, const char *word)
{
        for (size_t i = 2; i < w->n; i++)
                if (strcmp(w->v[i], word) == 0)
                        return true;
        return false;
}

/* Words of the form "<prefix>KEY=VALUE" as members of an object. */
static void add_labels(struct buf *b, const struct words *w, const char *prefix)
{
        bool first = true;

        buf_adds(b, "{");
        for (size_t i = 2; i < w->n; i++) {
                const char *eq = strchr(w->v[i], '=');

                if (strncmp(w->v[i], prefix, strlen(prefix)) != 0 || !eq)
                        continue;
                buf_addf(b, "%s\"%.*s\":\"%s\"", first ? "" : ",", (int)(eq - w->v[i] - (long)strlen(prefix)),
                        w->v[i] + strlen(prefix), eq + 1);
                first = false;
        }
        buf_adds(b, "}");
}

static void add_list(struct buf *b, const char *text)
{
        buf_adds(b, "[");
        for (const char *p = text; *p;) {
                size_t len = strcspn(p, ",");

                buf_addf(b, "%s\"%.*s\"", p == text ? "" : ",", (int)len, p);
                p += len + (p[len] == ',');
        }
        buf_adds(b, "]");
}

/* node NAME [unavailable] [l:KEY=VALUE] */
static void line_node(struct world *w, const struct words *in)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        buf_addf(&b, "{\"metadata\":{\"name\":\"%s\",\"labels\":", in->v[1]);
        add_labels(&b, in, "l:");
        buf_addf(&b, "},\"status\":{\"conditions\":[{\"type\":\"NetworkUnavailable\",\"status\":\"%s\"}]}}",
                has_word(in, "unavailable") ? "True" : "False");
        put(w, NODE, buf_str(&b));
}

/* pool NAME RANGES [l:KEY=VALUE] [gen=N] [born=YEAR] */
static void line_pool(struct world *w, const struct words *in)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        const char *year = "2020";

        for (size_t i = 3; i < in->n; i++)
                if (strncmp(in->v[i], "born=", 5) == 0)
                        year = in->v[i] + 5;
        buf_addf(&b,
                "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"lb\",\"uid\":\"u\",\"creationTimestamp\":"
                "\"%s-01-01T00:00:00Z\",\"labels\":",
                in->v[1], year);
        add_labels(&b, in, "l:");
        buf_adds(&b, "},\"spec\":{\"addresses\":");
        add_list(&b, in->v[2]);
        buf_adds(&b, "}}");
        put(w, POOL, buf_str(&b));
}

/* ad NAME [spec as JSON without blanks] */
static void line_ad(struct world *w, const struct words *in)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        buf_addf(&b, "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"lb\",\"uid\":\"u\"},\"spec\":%s}",
                in->v[1], in->n > 2 ? in->v[2] : "{}");
        put(w, AD, buf_str(&b));
}

/* svc NAME IPS|- [local] [share] [class=X] [type=X] [l:KEY=VALUE] */
static void line_service(struct world *w, const struct words *in)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        const char *type = "LoadBalancer", *class = NULL;

        for (size_t i = 3; i < in->n; i++) {
                if (strncmp(in->v[i], "type=", 5) == 0)
                        type = in->v[i] + 5;
                if (strncmp(in->v[i], "class=", 6) == 0)
                        class = in->v[i] + 6;
        }
        buf_addf(&b, "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"default\",\"labels\":", in->v[1]);
        add_labels(&b, in, "l:");
        if (has_word(in, "share"))
                buf_adds(&b, ",\"annotations\":{\"metallb.universe.tf/allow-shared-ip\":\"\"}");
        buf_addf(&b, "},\"spec\":{\"type\":\"%s\",\"externalTrafficPolicy\":\"%s\"", type,
                has_word(in, "local") ? "Local" : "Cluster");
        if (class)
                buf_addf(&b, ",\"loadBalancerClass\":\"%s\"", class);
        buf_adds(&b, "},\"status\":{\"loadBalancer\":{\"ingress\":[");
        for (const char *p = in->v[2]; *p && strcmp(in->v[2], "-") != 0;) {
                size_t len = strcspn(p, ",");

                if (strncmp(p, "host.", 5) == 0)
                        buf_addf(&b, "%s{\"hostname\":\"%.*s\"}", p == in->v[2] ? "" : ",", (int)len, p);
                else
                        buf_addf(&b, "%s{\"ip\":\"%.*s\"}", p == in->v[2] ? "" : ",", (int)len, p);
                p += len + (p[len] == ',');
        }
        buf_adds(&b, "]}}}");
        put(w, SERVICE, buf_str(&b));
}

/* slice NAME SERVICE [NODE=ready|serving|no ...]; NODE "?" is an endpoint without a node name */
static void line_slice(struct world *w, const struct words *in)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        buf_addf(&b,
                "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"default\",\"labels\":"
                "{\"kubernetes.io/service-name\":\"%s\"}},\"endpoints\":[",
                in->v[1], in->v[2]);
        for (size_t i = 3; i < in->n; i++) {
                const char *eq = strchr(in->v[i], '=');
                bool ready = strcmp(eq, "=ready") == 0, serving = strcmp(eq, "=serving") == 0;

                buf_addf(&b, "%s{\"addresses\":[\"10.1.1.1\"],\"conditions\":{\"ready\":%s,\"serving\":%s}",
                        i > 3 ? "," : "", ready ? "true" : "false", serving || ready ? "true" : "false");
                if (in->v[i][0] != '?')
                        buf_addf(&b, ",\"nodeName\":\"%.*s\"", (int)(eq - in->v[i]), in->v[i]);
                buf_adds(&b, "}");
        }
        buf_adds(&b, "]}");
        put(w, SLICE, buf_str(&b));
}

/* "+web 192.168.1.200@p[eth0]" announced, "!web ..." failed, "-web ... reason" silent, "=web" other interfaces. */
static void on_change(void *ctx, const struct view_change *c)
{
        struct world *w = ctx;

        ck_assert_str_eq(c->ns, "default");
        for (size_t i = 0; i < c->n; i++) {
                const struct view_address *a = &c->addresses[i];
                char text[IP_TEXT_MAX], interfaces[128] = "", line[256];

                if (a->was == a->now && a->now != VIEW_ANNOUNCED)
                        continue;
                for (size_t k = 0; k < a->n_interfaces; k++)
                        (void)snprintf(interfaces + strlen(interfaces),
                                sizeof(interfaces) - strlen(interfaces), "%s%s%s", k == 0 ? "[" : ",",
                                a->interfaces[k], k + 1 == a->n_interfaces ? "]" : "");
                if (a->now == VIEW_SILENT)
                        (void)snprintf(line, sizeof(line), "-%s %s %s%s%s; ", c->name,
                                ip_format(&a->ip, text), elect_reason_name(a->reason), a->winner ? " " : "",
                                a->winner ? a->winner : "");
                else
                        (void)snprintf(line, sizeof(line), "%s%s %s@%s%s; ",
                                a->now == VIEW_FAILED      ? "!"
                                        : a->was == a->now ? "="
                                                           : "+",
                                c->name, ip_format(&a->ip, text), a->pool, interfaces);
                ck_assert_uint_lt(strlen(w->said) + strlen(line), sizeof(w->said));
                memcpy(w->said + strlen(w->said), line, strlen(line) + 1);
        }
}

static void run(struct world *w)
{
        int r;

        while ((r = view_run(w->view, w->now_ms, 1, on_change, w)) == 1)
                ck_assert(view_is_dirty(w->view));
        ck_assert_int_eq(r, 0);
        ck_assert(!view_is_dirty(w->view));
}

/* "run" is done before every expectation; order within one run is free, so lines are compared sorted. */
static int by_text(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_said(const char *in, char *out, size_t size)
{
        char copy[8192], *parts[64];
        size_t n = 0;

        (void)snprintf(copy, sizeof(copy), "%s", in);
        for (char *p = copy, *end; (end = strstr(p, "; ")) != NULL; p = end + 2) {
                *end = '\0';
                ck_assert_uint_lt(n, ARRAY_LEN(parts));
                parts[n++] = p;
        }
        qsort(parts, n, sizeof(parts[0]), by_text);
        out[0] = '\0';
        for (size_t i = 0; i < n; i++)
                (void)snprintf(out + strlen(out), size - strlen(out), "%s; ", parts[i]);
}

static void expect(struct world *w, const char *want, const char *story)
{
        char got[8192], wanted[8192];

        run(w);
        sort_said(w->said, got, sizeof(got));
        sort_said(want, wanted, sizeof(wanted));
        ck_assert_msg(strcmp(got, wanted) == 0, "%s:\n  said   \"%s\"\n  wanted \"%s\"", story, got, wanted);
        w->said[0] = '\0';
}

/* The desired set as text: "192.168.1.200[eth0] " */
static void desired_text(const struct view *v, char out[static 512])
{
        CLEANUP(desired_freep) struct desired *d = NULL;

        ck_assert_int_eq(view_desired(v, &d), 0);
        out[0] = '\0';
        for (size_t i = 0; i < d->n; i++) {
                char text[IP_TEXT_MAX];

                (void)snprintf(out + strlen(out), 512 - strlen(out), "%s%s", i > 0 ? " " : "",
                        ip_format(&d->vips[i].ip, text));
                for (size_t k = 0; k < d->vips[i].n_interfaces; k++)
                        (void)snprintf(out + strlen(out), 512 - strlen(out), "%s%s%s", k == 0 ? "[" : ",",
                                d->vips[i].interfaces[k], k + 1 == d->vips[i].n_interfaces ? "]" : "");
        }
}

static void obey(struct world *w, const char *line, const char *story)
{
        static const char *const alive[] = { "n2", "n3", NULL };
        char text[512];
        struct words in;

        split(&in, line);
        if (strcmp(in.v[0], "node") == 0)
                line_node(w, &in);
        else if (strcmp(in.v[0], "pool") == 0)
                line_pool(w, &in);
        else if (strcmp(in.v[0], "ad") == 0)
                line_ad(w, &in);
        else if (strcmp(in.v[0], "svc") == 0)
                line_service(w, &in);
        else if (strcmp(in.v[0], "slice") == 0)
                line_slice(w, &in);
        else if (strcmp(in.v[0], "node-") == 0)
                gone(w, NODE, "", in.v[1]);
        else if (strcmp(in.v[0], "pool-") == 0)
                gone(w, POOL, "lb", in.v[1]);
        else if (strcmp(in.v[0], "ad-") == 0)
                gone(w, AD, "lb", in.v[1]);
        else if (strcmp(in.v[0], "svc-") == 0)
                gone(w, SERVICE, "default", in.v[1]);
        else if (strcmp(in.v[0], "slice-") == 0)
                gone(w, SLICE, "default", in.v[1]);
        else if (strcmp(in.v[0], "links") == 0)
                ck_assert_int_eq(view_links(w->view, (const char *const *)in.v + 1, in.n - 1), 0);
        else if (strcmp(in.v[0], "wait") == 0)
                w->now_ms += strtoull(in.v[1], NULL, 10);
        else if (strcmp(in.v[0], "members") == 0) {
                w->alive = alive;
                view_members_changed(w->view);
        } else if (strcmp(in.v[0], "desired") == 0) {
                run(w);
                desired_text(w->view, text);
                ck_assert_msg(strcmp(text, line + strlen("desired") + (in.n > 1)) == 0,
                        "%s: desired is \"%s\"", story, text);
        } else if (strcmp(in.v[0], "basic") == 0) {
                /* Three nodes, a pool, an advertisement: the background of most stories. */
                obey(w, "node n1", story);
                obey(w, "node n2", story);
                obey(w, "node n3", story);
                obey(w, "pool p 192.168.1.0/24,10.4.11.0/24,2001:db8::/64", story);
                obey(w, "ad a", story);
        } else {
                ck_abort_msg("no such line: %s", line);
        }
}

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

static struct view *new_view(struct world *w, uint32_t hold_ms)
{
        static struct members members;
        struct view *v = NULL;

        members = (struct members){ .has = is_alive, .ctx = w };
        ck_assert_int_eq(
                view_new(&v,
                        &(struct view_conf){
                                .node = "n1", .lb_class = "", .hold_ms = hold_ms, .members = &members }),
                0);
        return v;
}

START_TEST(tells_what_changed)
{
        static struct world w;

        w = (struct world){ .now_ms = 1000000 };
        w.view = new_view(&w, 1000);
        for (size_t i = 0; i < ARRAY_LEN(stories[0].lines) && stories[_i].lines[i]; i++) {
                const char *line = stories[_i].lines[i];

                if (line[0] == '>')
                        expect(&w, line[1] ? line + 2 : "", stories[_i].name);
                else
                        obey(&w, line, stories[_i].name);
        }
        expect(&w, "", stories[_i].name);
        world_fini(&w);
}
END_TEST

/* ---- what is not worth an election ---- */

static const char pool_json[] =
        "{\"metadata\":{\"name\":\"p\",\"namespace\":\"lb\",\"uid\":\"u\",\"generation\":%d,"
        "\"resourceVersion\":\"%d\"},\"spec\":{\"addresses\":[\"192.168.1.0/24\"]}}";

START_TEST(status_writes_elect_nobody)
{
        static struct world w;
        char json[512];

        w = (struct world){ 0 };
        w.view = new_view(&w, 0);
        (void)snprintf(json, sizeof(json), pool_json, 1, 1);
        put(&w, POOL, json);
        obey(&w, "node n1", "");
        run(&w);
        (void)snprintf(json, sizeof(json), pool_json, 1, 2);
        put(&w, POOL, json);
        ck_assert(!view_is_dirty(w.view));
        obey(&w, "node n1", "");
        ck_assert(!view_is_dirty(w.view));
        (void)snprintf(json, sizeof(json), pool_json, 2, 3);
        put(&w, POOL, json);
        ck_assert(view_is_dirty(w.view));
        run(&w);
        world_fini(&w);
}
END_TEST

START_TEST(knows_when_to_look_again)
{
        static struct world w;

        w = (struct world){ .now_ms = 5000 };
        w.view = new_view(&w, 1000);
        obey(&w, "basic", "");
        obey(&w, "svc web 192.168.1.200", "");
        obey(&w, "slice s web n2=ready", "");
        run(&w);
        ck_assert_uint_eq(view_deadline(w.view), UINT64_MAX);
        obey(&w, "slice s web", "");
        run(&w);
        ck_assert_uint_eq(view_deadline(w.view), 6000);
        w.now_ms = 5500;
        obey(&w, "node- n2", "");
        run(&w);
        ck_assert_uint_eq(view_deadline(w.view), 6000);
        w.now_ms = 6000;
        run(&w);
        ck_assert_uint_eq(view_deadline(w.view), 6500);
        w.now_ms = 6500;
        run(&w);
        ck_assert_uint_eq(view_deadline(w.view), UINT64_MAX);
        world_fini(&w);
}
END_TEST

START_TEST(counts_by_reason)
{
        static struct world w;
        struct view_counts c;

        w = (struct world){ 0 };
        w.view = new_view(&w, 0);
        obey(&w, "basic", "");
        obey(&w, "svc a 192.168.1.200", "");
        obey(&w, "slice sa a n2=ready", "");
        obey(&w, "svc b 10.4.11.7", "");
        obey(&w, "slice sb b n2=ready", "");
        obey(&w, "svc c -", "");
        obey(&w, "svc d x", "");
        obey(&w, "svc e 10.4.11.8", "");
        obey(&w, "svc f 10.9.9.9", "");
        obey(&w, "svc g - type=ClusterIP", "");
        run(&w);
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
                gone(&w, SERVICE, "default", (char[]){ *p, '\0' });
        obey(&w, "slice- sa", "");
        obey(&w, "slice- sb", "");
        run(&w);
        view_count(w.view, &c);
        for (size_t i = 0; i < ELECT_N_REASONS; i++)
                ck_assert_uint_eq(c.reasons[i], 0);
        ck_assert_uint_eq(c.services + c.addresses + c.announced, 0);
        ck_assert_uint_eq(c.candidates[0] + c.candidates[1] + c.candidates[2] + c.candidates[3], 0);
        world_fini(&w);
}
END_TEST

/* ---- random histories: the outcome is that of a view that is told only the end ---- */

static void random_line(struct rng *rng, struct world *w, char *line, size_t size)
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
        const struct stored *victim = w->n > 0 ? &w->objects[rng_below(rng, w->n)] : NULL;
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

static void compare_with_fresh(struct world *w, struct rng *rng, const char *trace)
{
        static struct world f;
        struct view_counts a, b;
        char got[512], want[512];
        size_t order[OBJECTS_MAX];

        f = (struct world){ .now_ms = w->now_ms };
        f.view = new_view(w, 0);
        for (size_t i = 0; i < w->n; i++) {
                size_t k = rng_below(rng, i + 1);

                order[i] = order[k];
                order[k] = i;
        }
        for (size_t i = 0; i < w->n; i++)
                ck_assert_int_eq(
                        feed(f.view, w->objects[order[i]].kind, NULL, w->objects[order[i]].o, w->now_ms), 0);
        run(&f);
        desired_text(w->view, got);
        desired_text(f.view, want);
        ck_assert_msg(strcmp(got, want) == 0, "after %s: \"%s\", told at once \"%s\"", trace, got, want);
        view_count(w->view, &a);
        view_count(f.view, &b);
        ck_assert_msg(memcmp(&a, &b, sizeof(a)) == 0, "after %s: other counts", trace);
        view_free(f.view);
}

START_TEST(history_does_not_matter)
{
        static struct world w;
        struct rng rng = { (uint64_t)_i + 100 };
        char line[512];

        w = (struct world){ 0 };
        w.view = new_view(&w, 0);
        for (unsigned step = 0; step < 1500; step++) {
                random_line(&rng, &w, line, sizeof(line));
                obey(&w, line, "random");
                if (rng_below(&rng, 4) == 0) {
                        run(&w);
                        w.said[0] = '\0';
                        compare_with_fresh(&w, &rng, line);
                }
        }
        world_fini(&w);
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
static int try_it_all(struct world *w, struct view **ret)
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
                while ((r = feed(v, w->objects[i].kind, NULL, w->objects[i].o, 0)) < 0)
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
                r = feed(v, w->objects[i].kind, w->objects[i].o, w->objects[i].o, 0);
                if (r != 0 && r != -ENOMEM)
                        return r;
        }
        for (size_t i = 0; i < w->n; i += 2)
                if (feed(v, w->objects[i].kind, w->objects[i].o, NULL, 0) != 0)
                        return -EINVAL;
        return 0;
}

START_TEST(survives_no_memory)
{
        static struct world w;
        unsigned n;

        /* Objects are made first; then everything is fed and run with the n-th allocation failing, tried again, and
         * must come to the same end. */
        w = (struct world){ 0 };
        w.view = new_view(&w, 0);
        obey(&w, "basic", "");
        obey(&w,
                "ad a {\"interfaces\":[\"eth0\"],\"preferredNodeSelectors\":[{\"weight\":3,\"preference\":{}}]}",
                "");
        obey(&w, "svc a 192.168.1.200,2001:db8::1 share local", "");
        obey(&w, "slice sa a n1=ready n2=ready", "");
        obey(&w, "svc b 192.168.1.200 share", "");
        obey(&w, "slice sb b n1=ready", "");
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
                        ck_assert_int_eq(feed(v, w.objects[i].kind, NULL, w.objects[i].o, 0), 0);
                ck_assert_int_eq(view_run(v, 0, SIZE_MAX, on_change_quiet, NULL), 0);
                desired_text(v, text);
                ck_assert_str_eq(text, "192.168.1.200[eth0] 2001:db8::1[eth0]");
                view_free(v);
                if (!failed)
                        break;
        }
        ck_assert_uint_gt(n, 40);
        world_fini(&w);
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
