/* SPDX-License-Identifier: Apache-2.0 */
#include "test/lib/world.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/misc.h"
#include "test/lib/objects.h"

void world_init(struct world *w, uint64_t reuse_delay_ms)
{
        memset(w, 0, sizeof(*w));
        w->conf.lb_class = "";
        w->now_ms = 1000;
        ck_assert_int_eq(ipam_new(&w->m, &(struct ipam_conf){ reuse_delay_ms }), 0);
}

static void svc_fini(struct world_svc *s)
{
        free(s->key);
        free(s->meta);
        free(s->spec);
        free(s->notes);
        free(s->ingress);
        free(s->pool);
        free(s->condition);
        object_free(s->o);
        memset(s, 0, sizeof(*s));
}

void world_fini(struct world *w)
{
        for (size_t i = 0; i < w->n_pools; i++) {
                free(w->pools[i].name);
                object_free(w->pools[i].o);
        }
        for (size_t i = 0; i < w->n_svcs; i++)
                svc_fini(&w->svcs[i]);
        for (size_t i = 0; i < w->n_namespaces; i++)
                object_free(w->namespaces[i]);
        buf_fini(&w->out);
        w->m = ipam_free(w->m);
}

int world_set_pools(struct world *w)
{
        const struct pool *v[WORLD_POOLS];
        int r;

        for (size_t i = 0; i < w->n_pools; i++)
                v[i] = pool_of(w->pools[i].o);
        r = ipam_set_pools(w->m, v, w->n_pools, w->now_ms);
        ck_assert_int_ge(r, 0);
        return r;
}

void world_restart(struct world *w)
{
        w->m = ipam_free(w->m);
        ck_assert_int_eq(ipam_new(&w->m, &(struct ipam_conf){ 0 }), 0);
        world_set_pools(w);
}

/* ---- words ---- */

static const char *value_of(const char *word, const char *name)
{
        size_t len = strlen(name);

        return strncmp(word, name, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

/* "a:b" as 'a':'b'. */
static void add_pair(struct buf *b, const char *text)
{
        const char *colon = strchr(text, ':');

        ck_assert_msg(colon != NULL, "no pair: %s", text);
        buf_addf(b, "'%.*s':'%s'", (int)(colon - text), text, colon + 1);
}

/* "a,b" as 'a','b'; "_" is a blank. */
static void add_list(struct buf *b, const char *text)
{
        buf_addc(b, '\'');
        for (; *text; text++)
                buf_adds(b, *text == ',' ? "','" : *text == '_' ? " " : (const char[]){ *text, '\0' });
        buf_addc(b, '\'');
}

static void pool_words(struct buf *meta, struct buf *spec, struct buf *allocation, char *rest, int64_t *age)
{
        const char *sep = "", *word, *v;

        buf_adds(spec, "'addresses':[");
        while ((word = strsep(&rest, " "))) {
                if (!*word)
                        continue;
                if (strcmp(word, "noauto") == 0 || strcmp(word, "buggy") == 0 || strcmp(word, "pin") == 0)
                        continue;
                if (strcmp(word, "broken") == 0)
                        word = "10.0.0.0/99";
                if (strchr(word, '=')) {
                        if ((v = value_of(word, "age"))) {
                                *age = strtoll(v, NULL, 10);
                        } else if ((v = value_of(word, "reserve"))) {
                                buf_addf(meta, "'annotations':{'metallb.io/reserved-addresses':'%s'}", v);
                        } else if ((v = value_of(word, "prio"))) {
                                buf_addf(allocation, ",'priority':%s", v);
                        } else if ((v = value_of(word, "ns"))) {
                                buf_adds(allocation, ",'namespaces':[");
                                add_list(allocation, v);
                                buf_addc(allocation, ']');
                        } else if ((v = value_of(word, "nssel")) || (v = value_of(word, "svcsel"))) {
                                buf_addf(allocation, ",'%s':[{'matchLabels':{",
                                        word[0] == 'n' ? "namespaceSelectors" : "serviceSelectors");
                                add_pair(allocation, v);
                                buf_adds(allocation, "}}]");
                        } else {
                                ck_abort_msg("unknown word %s", word);
                        }
                        continue;
                }
                buf_adds(spec, sep);
                add_list(spec, word);
                sep = ",";
        }
        buf_addc(spec, ']');
}

static struct object *pool_from(const char *name, const char *text)
{
        CLEANUP(buf_fini) struct buf meta = BUF_INIT, spec = BUF_INIT, allocation = BUF_INIT;
        CLEANUP(freep) char *copy = strdup(text);
        int64_t age = 0;

        pool_words(&meta, &spec, &allocation, copy, &age);
        if (strstr(text, " noauto"))
                buf_adds(&spec, ",'autoAssign':false");
        if (strstr(text, " buggy"))
                buf_adds(&spec, ",'avoidBuggyIPs':true");
        if (allocation.len > 0 || strstr(text, " pin"))
                buf_addf(&spec, ",'serviceAllocation':{%s}", allocation.len ? buf_str(&allocation) + 1 : "");
        return object_make(pool_decode,
                &(struct object_text){ "metallb-system", name, age, buf_str(&meta), buf_str(&spec), NULL });
}

static void line_pool(struct world *w, const char *name, const char *rest)
{
        struct object *o = pool_from(name, rest);

        for (size_t i = 0; i < w->n_pools; i++)
                if (strcmp(w->pools[i].name, name) == 0) {
                        object_free(w->pools[i].o);
                        w->pools[i].o = o;
                        return;
                }
        ck_assert_uint_lt(w->n_pools, WORLD_POOLS);
        w->pools[w->n_pools++] = (struct world_pool){ strdup(name), o };
}

void world_describe_pool(struct world *w, const char *line)
{
        CLEANUP(freep) char *copy = strdup(line);
        char *rest = copy, *name;

        (void)strsep(&rest, " ");
        name = strsep(&rest, " ");
        line_pool(w, name, strchr(strchr(line, ' ') + 1, ' '));
}

static void del_pool(struct world *w, const char *name)
{
        for (size_t i = 0; i < w->n_pools; i++) {
                if (strcmp(w->pools[i].name, name) != 0)
                        continue;
                free(w->pools[i].name);
                object_free(w->pools[i].o);
                w->pools[i] = w->pools[--w->n_pools];
                return;
        }
}

void world_rename_pool(struct world *w, const char *name, const char *now)
{
        for (size_t i = 0; i < w->n_pools; i++)
                if (strcmp(w->pools[i].name, name) == 0) {
                        free(w->pools[i].name);
                        w->pools[i].name = strdup(now);
                        w->pools[i].o->name = w->pools[i].name; /* the text that it was made of is not kept */
                }
        world_set_pools(w);
}

static void line_nodes(struct world *w, char *rest)
{
        struct ip ips[64];
        const char *word;
        size_t n = 0;

        while ((word = strsep(&rest, " ")))
                if (*word)
                        ck_assert_msg(n < 64 && ip_parse(&ips[n++], word) == 0, "no address: %s", word);
        ck_assert_int_ge(ipam_set_nodes(w->m, ips, n), 0);
}

static void line_ns(struct world *w, const char *name, char *rest)
{
        CLEANUP(buf_fini) struct buf meta = BUF_INIT;
        const char *word;
        size_t i;

        buf_adds(&meta, "'labels':{");
        while ((word = strsep(&rest, " ")))
                if (*word) {
                        buf_adds(&meta, meta.p[meta.len - 1] == '{' ? "" : ",");
                        add_pair(&meta, word);
                }
        buf_addc(&meta, '}');
        for (i = 0; i < w->n_namespaces; i++)
                if (strcmp(w->namespaces[i]->name, name) == 0)
                        break;
        ck_assert_uint_lt(i, WORLD_NS);
        if (i < w->n_namespaces)
                object_free(w->namespaces[i]);
        else
                w->n_namespaces++;
        w->namespaces[i] = object_make(
                metadata_decode, &(struct object_text){ NULL, name, 0, buf_str(&meta), NULL, NULL });
}

const struct kv_list *world_ns_labels(const struct world *w, const char *ns)
{
        for (size_t i = 0; i < w->n_namespaces; i++)
                if (strcmp(w->namespaces[i]->name, ns) == 0)
                        return &w->namespaces[i]->labels;
        return NULL;
}

/* ---- Services ---- */

struct svc_text {
        struct buf spec, notes, labels;
        const char *type, *families, *ip_policy;
        int64_t age;
};

static void add_ports(struct buf *b, const char *text)
{
        buf_adds(b, ",'ports':[");
        for (const char *sep = ""; *text; sep = ",") {
                char *end;
                unsigned long port = strtoul(text, &end, 10);

                buf_addf(b, "%s{'port':%lu,'protocol':'%s'}", sep, port, *end == 'u' ? "UDP" : "TCP");
                end += *end == 'u';
                text = end + (*end == ',');
        }
        buf_addc(b, ']');
}

static void svc_word(struct svc_text *t, const char *word)
{
        const char *v;

        if (strcmp(word, "4") == 0 || strcmp(word, "6") == 0 || strcmp(word, "46") == 0 ||
                strcmp(word, "64") == 0 || strcmp(word, "0") == 0 || strcmp(word, "none") == 0) {
                t->families = word;
        } else if (strcmp(word, "prefer") == 0) {
                t->ip_policy = "PreferDualStack";
        } else if (strcmp(word, "require") == 0) {
                t->ip_policy = "RequireDualStack";
        } else if (strcmp(word, "local") == 0) {
                buf_adds(&t->spec, ",'externalTrafficPolicy':'Local'");
        } else if ((v = value_of(word, "sel"))) {
                buf_adds(&t->spec, ",'selector':{");
                add_pair(&t->spec, v);
                buf_addc(&t->spec, '}');
        } else if ((v = value_of(word, "ports"))) {
                add_ports(&t->spec, v);
        } else if ((v = value_of(word, "lbip"))) {
                buf_addf(&t->spec, ",'loadBalancerIP':'%s'", v);
        } else if ((v = value_of(word, "class"))) {
                buf_addf(&t->spec, ",'loadBalancerClass':'%s'", v);
        } else if ((v = value_of(word, "type"))) {
                t->type = v;
        } else if ((v = value_of(word, "ip"))) {
                buf_addf(&t->notes, "'metallb.io/loadBalancerIPs':'%s',", v);
        } else if ((v = value_of(word, "pool"))) {
                buf_addf(&t->notes, "'metallb.io/address-pool':'%s',", v);
        } else if ((v = value_of(word, "key"))) {
                buf_addf(&t->notes, "'metallb.io/allow-shared-ip':'%s',", v);
        } else if ((v = value_of(word, "note"))) {
                add_pair(&t->notes, v);
                buf_addc(&t->notes, ',');
        } else if ((v = value_of(word, "label"))) {
                buf_adds(&t->labels, t->labels.len ? "," : "");
                add_pair(&t->labels, v);
        } else if ((v = value_of(word, "age"))) {
                t->age = strtoll(v, NULL, 10);
        } else {
                ck_abort_msg("unknown word %s", word);
        }
}

static const char *cluster_ips(const char *families)
{
        return strcmp(families, "4") == 0       ? "'10.96.0.1'"
                : strcmp(families, "6") == 0    ? "'fd96::1'"
                : strcmp(families, "0") == 0    ? ""
                : strcmp(families, "none") == 0 ? "'None'"
                : strcmp(families, "46") == 0   ? "'10.96.0.1','fd96::1'"
                                                : "'fd96::1','10.96.0.1'";
}

static void line_svc(struct world *w, const char *key, char *rest)
{
        struct svc_text t = { BUF_INIT, BUF_INIT, BUF_INIT, "LoadBalancer", "4", "SingleStack", 0 };
        struct world_svc *s = world_svc(w, key);
        CLEANUP(buf_fini) struct buf all = BUF_INIT;
        const char *word;

        while ((word = strsep(&rest, " ")))
                if (*word)
                        svc_word(&t, word);
        if (!s) {
                ck_assert_uint_lt(w->n_svcs, WORLD_SVCS);
                s = &w->svcs[w->n_svcs++];
                s->key = strdup(key);
        }
        free(s->meta);
        free(s->spec);
        free(s->notes);
        buf_addf(&all, "'labels':{%s}", buf_str(&t.labels));
        s->meta = buf_take(&all);
        buf_addf(&all, "'type':'%s','clusterIPs':[%s],'ipFamilyPolicy':'%s'%s", t.type,
                cluster_ips(t.families), t.ip_policy, buf_str(&t.spec));
        s->spec = buf_take(&all);
        s->notes = buf_take(&t.notes);
        s->created_s = t.age ? t.age : s->created_s;
        s->o = object_free(s->o);
        buf_fini(&t.spec);
        buf_fini(&t.labels);
}

struct world_svc *world_svc(struct world *w, const char *key)
{
        for (size_t i = 0; i < w->n_svcs; i++)
                if (strcmp(w->svcs[i].key, key) == 0)
                        return &w->svcs[i];
        return NULL;
}

const struct service *world_service(struct world_svc *s)
{
        CLEANUP(buf_fini) struct buf meta = BUF_INIT, status = BUF_INIT;
        char ns[64];
        const char *slash = strchr(s->key, '/');

        if (s->o)
                return service_of(s->o);
        ck_assert_ptr_nonnull(slash);
        (void)snprintf(ns, sizeof(ns), "%.*s", (int)(slash - s->key), s->key);
        buf_addf(&meta, "%s,'annotations':{%s", s->meta, s->notes);
        if (s->pool)
                buf_addf(&meta, "'%s':'%s',", PLAN_POOL_ANNOTATION, s->pool);
        buf_adds(&meta, "'x':''}");
        if (s->ingress)
                buf_addf(&status, "'loadBalancer':{'ingress':%s}", s->ingress);
        if (s->condition)
                buf_addf(&status, "%s'conditions':%s", status.len ? "," : "", s->condition);
        s->o = object_make(service_decode,
                &(struct object_text){
                        ns, slash + 1, s->created_s, buf_str(&meta), s->spec, buf_str(&status) });
        return service_of(s->o);
}

static void line_nosvc(struct world *w, const char *key)
{
        struct world_svc *s = world_svc(w, key);

        ck_assert_msg(s != NULL, "no Service %s", key);
        svc_fini(s);
        *s = w->svcs[--w->n_svcs];
        memset(&w->svcs[w->n_svcs], 0, sizeof(*s));
}

bool world_line(struct world *w, const char *line)
{
        CLEANUP(freep) char *copy = strdup(line);
        char *rest = copy, *verb = strsep(&rest, " "), *name;
        char key[128];

        if (strcmp(verb, "nodes") == 0) {
                line_nodes(w, rest);
                return true;
        }
        name = strsep(&rest, " ");
        (void)snprintf(key, sizeof(key), "%s%s", name && strchr(name, '/') ? "" : "d/", name ? name : "");
        if (strcmp(verb, "pool") == 0) {
                world_describe_pool(w, line);
                world_set_pools(w);
        } else if (strcmp(verb, "nopool") == 0) {
                del_pool(w, name);
                world_set_pools(w);
        } else if (strcmp(verb, "ns") == 0) {
                line_ns(w, name, rest);
        } else if (strcmp(verb, "svc") == 0) {
                line_svc(w, key, rest);
        } else if (strcmp(verb, "nosvc") == 0) {
                line_nosvc(w, key);
        } else {
                return false;
        }
        return true;
}

/* ---- what it looks like ---- */

void world_show_held(struct world *w, const char *key)
{
        struct ipam_held held;
        char ip[IP_TEXT_MAX];

        buf_adds(&w->out, strncmp(key, "d/", 2) == 0 ? key + 2 : key);
        if (!ipam_get(w->m, key, &held) || held.n == 0)
                buf_adds(&w->out, " -");
        for (size_t i = 0; i < held.n; i++)
                buf_addf(&w->out, "%s%s@%s", i ? "," : " ", ip_format(&held.ips[i], ip), held.pools[i]);
}

void world_show_pools(struct world *w)
{
        struct ipam_pool_info info;

        for (size_t i = 0; ipam_pool_at(w->m, i, &info); i++) {
                const struct ipam_counts *c = &info.counts;

                buf_addf(&w->out, "%s%s", i ? "; " : "", info.name);
                for (size_t f = 0; f < 2; f++) {
                        if (c->capacity[f] == 0 && c->assigned[f] == 0)
                                continue;
                        buf_addf(
                                &w->out, " %lld/%lld", (long long)c->assigned[f], (long long)c->available[f]);
                        if (c->withheld[f])
                                buf_addf(&w->out, "-%lld", (long long)c->withheld[f]);
                }
                if (info.error)
                        buf_addf(&w->out, " BAD: %s", info.error);
        }
}
