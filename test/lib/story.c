/* SPDX-License-Identifier: Apache-2.0 */
#include "test/lib/story.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

static const object_decode_fn decoders[] = { service_decode, slice_decode, node_decode, pool_decode,
        l2adv_decode };

bool story_alive(void *ctx, const char *node)
{
        const struct story *w = ctx;

        for (const char *const *p = w->alive; p && *p; p++)
                if (strcmp(*p, node) == 0)
                        return true;
        return w->alive == NULL;
}

/* ---- objects ---- */

static struct object *decode(enum story_kind kind, const char *json)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        struct object *o = NULL;

        ck_assert_msg(json_parse(&tree, json, strlen(json)) == 0, "%s", json);
        ck_assert_msg(decoders[kind](&o, tree) == 0, "%s", json);
        return o;
}

int story_feed(struct view *v, enum story_kind kind, const struct object *old, const struct object *now,
        uint64_t now_ms)
{
        switch (kind) {
        case STORY_SERVICE: return view_service(v, old, now);
        case STORY_SLICE: return view_slice(v, old, now);
        case STORY_NODE: return view_node(v, old, now, now_ms);
        case STORY_POOL: return view_pool(v, old, now);
        case STORY_AD: return view_l2adv(v, old, now);
        }
        return -EINVAL;
}

static struct story_object *find(struct story *w, enum story_kind kind, const char *ns, const char *name)
{
        for (size_t i = 0; i < w->n; i++)
                if (w->objects[i].kind == kind && strcmp(w->objects[i].o->name, name) == 0 &&
                        strcmp(w->objects[i].o->ns, ns) == 0)
                        return &w->objects[i];
        return NULL;
}

void story_put(struct story *w, enum story_kind kind, const char *json)
{
        struct object *o = decode(kind, json), *old = NULL;
        struct story_object *at = find(w, kind, o->ns, o->name);

        if (!at) {
                ck_assert_uint_lt(w->n, STORY_OBJECTS_MAX);
                at = &w->objects[w->n++];
                *at = (struct story_object){ .kind = kind };
        }
        old = at->o;
        at->o = o;
        ck_assert_int_eq(story_feed(w->view, kind, old, o, w->now_ms), 0);
        object_free(old);
}

void story_gone(struct story *w, enum story_kind kind, const char *ns, const char *name)
{
        struct story_object *at = find(w, kind, ns, name);
        struct object *old;

        ck_assert_msg(at != NULL, "nothing to remove: %s", name);
        old = at->o;
        *at = w->objects[--w->n];
        ck_assert_int_eq(story_feed(w->view, kind, old, NULL, w->now_ms), 0);
        object_free(old);
}

void story_fini(struct story *w)
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
static void line_node(struct story *w, const struct words *in)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        buf_addf(&b, "{\"metadata\":{\"name\":\"%s\",\"labels\":", in->v[1]);
        add_labels(&b, in, "l:");
        buf_addf(&b, "},\"status\":{\"conditions\":[{\"type\":\"NetworkUnavailable\",\"status\":\"%s\"}]}}",
                has_word(in, "unavailable") ? "True" : "False");
        story_put(w, STORY_NODE, buf_str(&b));
}

/* pool NAME RANGES [l:KEY=VALUE] [gen=N] [born=YEAR] */
static void line_pool(struct story *w, const struct words *in)
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
        story_put(w, STORY_POOL, buf_str(&b));
}

/* ad NAME [spec as JSON without blanks] */
static void line_ad(struct story *w, const struct words *in)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        buf_addf(&b, "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"lb\",\"uid\":\"u\"},\"spec\":%s}",
                in->v[1], in->n > 2 ? in->v[2] : "{}");
        story_put(w, STORY_AD, buf_str(&b));
}

/* svc NAME IPS|- [local] [share] [class=X] [type=X] [l:KEY=VALUE] */
static void line_service(struct story *w, const struct words *in)
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
        story_put(w, STORY_SERVICE, buf_str(&b));
}

/* slice NAME STORY_SERVICE [STORY_NODE=ready|serving|no ...]; STORY_NODE "?" is an endpoint without a node name */
static void line_slice(struct story *w, const struct words *in)
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
        story_put(w, STORY_SLICE, buf_str(&b));
}

/* "+web 192.168.1.200@p[eth0]" announced, "!web ..." failed, "-web ... reason" silent, "=web" other interfaces. */
static void on_change(void *ctx, const struct view_change *c)
{
        struct story *w = ctx;

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

void story_run(struct story *w)
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

void story_expect(struct story *w, const char *want, const char *story)
{
        char got[8192], wanted[8192];

        story_run(w);
        sort_said(w->said, got, sizeof(got));
        sort_said(want, wanted, sizeof(wanted));
        ck_assert_msg(strcmp(got, wanted) == 0, "%s:\n  said   \"%s\"\n  wanted \"%s\"", story, got, wanted);
        w->said[0] = '\0';
}

/* The desired set as text: "192.168.1.200[eth0] " */
void story_desired(const struct view *v, char out[static 512])
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

void story_obey(struct story *w, const char *line, const char *story)
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
                story_gone(w, STORY_NODE, "", in.v[1]);
        else if (strcmp(in.v[0], "pool-") == 0)
                story_gone(w, STORY_POOL, "lb", in.v[1]);
        else if (strcmp(in.v[0], "ad-") == 0)
                story_gone(w, STORY_AD, "lb", in.v[1]);
        else if (strcmp(in.v[0], "svc-") == 0)
                story_gone(w, STORY_SERVICE, "default", in.v[1]);
        else if (strcmp(in.v[0], "slice-") == 0)
                story_gone(w, STORY_SLICE, "default", in.v[1]);
        else if (strcmp(in.v[0], "links") == 0)
                ck_assert_int_eq(view_links(w->view, (const char *const *)in.v + 1, in.n - 1), 0);
        else if (strcmp(in.v[0], "wait") == 0)
                w->now_ms += strtoull(in.v[1], NULL, 10);
        else if (strcmp(in.v[0], "members") == 0) {
                w->alive = alive;
                view_members_changed(w->view);
        } else if (strcmp(in.v[0], "desired") == 0) {
                story_run(w);
                story_desired(w->view, text);
                ck_assert_msg(strcmp(text, line + strlen("desired") + (in.n > 1)) == 0,
                        "%s: desired is \"%s\"", story, text);
        } else if (strcmp(in.v[0], "basic") == 0) {
                /* Three nodes, a pool, an advertisement: the background of most stories. */
                story_obey(w, "node n1", story);
                story_obey(w, "node n2", story);
                story_obey(w, "node n3", story);
                story_obey(w, "pool p 192.168.1.0/24,10.4.11.0/24,2001:db8::/64", story);
                story_obey(w, "ad a", story);
        } else {
                ck_abort_msg("no such line: %s", line);
        }
}
