/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* informodel - a model API server with faults, and an owner that checks what an informer (common/kube/informer.h) tells it. */
#include "common/api/misc.h"
#include "common/kube/informer.h"
#include "common/rng.h"
#include "test/lib/fakeapi.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAMES  12 /* objects n0..n11 */
#define LOG    4096
#define CONNS  256
#define SCRIPT 32

struct change {
        unsigned rv;
        int name;
        bool deleted, fresh; /* fresh: created, not modified */
};

enum fault {
        FINE,
        REFUSE_500,
        REFUSE_429, /* Retry-After: 1 */
        REFUSE_410,
        REFUSE_400,
        RESET_NOW,
        RESET_IN_MIDDLE, /* after half of what there is to say */
        END_IN_MIDDLE, /* the same, but as a clean end */
        GARBAGE,
        ERROR_410, /* watch: an ERROR event */
        ERROR_500,
        END_AT_ONCE, /* watch: as by timeoutSeconds */
        N_FAULTS,
        STALL = N_FAULTS, /* list: half of it, then nothing more */
};

struct model {
        uv_loop_t loop;
        struct fake *f;
        struct kube *k;
        struct informer *inf;
        struct rng rng;

        /* the server */
        unsigned rv, oldest; /* versions before @oldest are compacted away */
        unsigned now[NAMES]; /* current version of each object, 0: none */
        struct change log[LOG];
        unsigned n_log;
        struct {
                struct fake_conn *c;
                unsigned sent; /* changes of the log that it has */
        } watches[CONNS];
        unsigned n_watches;
        const char *broken_name; /* listed and watched without content that decodes */
        size_t padding; /* added to objects of @broken_name */
        bool padding_first; /* so that the limit comes before the name */
        enum fault script[SCRIPT]; /* of the next requests; then FINE */
        unsigned script_len, script_at;
        bool random_faults, bookmarks;
        unsigned retry_cap_ms;
        struct buf targets; /* every request's, one a line */
        unsigned last_list_limit;

        /* the informer's owner */
        char told[NAMES][16]; /* the version told last, "" : gone */
        unsigned n_synced, n_changes, n_bad, n_states, n_closed, n_kube_closed;
        bool state_ok;
        int state_code;
        char bad_name[64];
        enum { CLOSE_NEVER, CLOSE_IN_CHANGE, CLOSE_IN_SYNCED, CLOSE_IN_STATE, CLOSE_IN_BAD } close_when;
        bool closing;
};

/* ---- the server ---- */

static inline UNUSED void add_padding(const struct model *m, struct buf *b)
{
        buf_adds(b, "\"pad\":\"");
        for (size_t i = 0; i < m->padding; i++)
                buf_addc(b, 'x');
        buf_addc(b, '"');
}

static inline UNUSED void add_object(const struct model *m, struct buf *b, int name, unsigned rv)
{
        bool broken;
        char text[16];

        (void)snprintf(text, sizeof(text), "n%d", name);
        broken = m->broken_name && strcmp(m->broken_name, text) == 0;
        buf_addc(b, '{');
        if (broken && m->padding_first) {
                add_padding(m, b);
                buf_addc(b, ',');
        }
        buf_addf(b,
                "\"metadata\":{\"name\":\"%s\",\"namespace\":\"ns\",\"resourceVersion\":\"%u\",\"labels\":{\"}\":\"\\\"\"}}",
                text, rv);
        if (broken && !m->padding_first) {
                buf_addc(b, ',');
                add_padding(m, b);
        }
        buf_addc(b, '}');
}

static inline UNUSED void add_event(const struct model *m, struct buf *b, const struct change *c)
{
        buf_addf(b, "{\"type\":\"%s\",\"object\":", c->deleted ? "DELETED" : c->fresh ? "ADDED" : "MODIFIED");
        add_object(m, b, c->name, c->rv);
        buf_adds(b, "}\n");
}

static inline UNUSED void pump_watch(struct model *m, unsigned i)
{
        struct buf b = BUF_INIT;

        for (; m->watches[i].sent < m->n_log; m->watches[i].sent++)
                add_event(m, &b, &m->log[m->watches[i].sent]);
        if (b.len > 0)
                fake_chunk_n(m->watches[i].c, b.p, b.len);
        buf_fini(&b);
}

static inline UNUSED void pump(struct model *m)
{
        for (unsigned i = 0; i < m->n_watches; i++)
                pump_watch(m, i);
}

static inline UNUSED void change(struct model *m, int name, bool delete)
{
        if (delete &&m->now[name] == 0)
                return;
        ck_assert_uint_lt(m->n_log, LOG);
        m->rv++;
        m->log[m->n_log++] =
                (struct change){ .rv = m->rv, .name = name, .deleted = delete, .fresh = m->now[name] == 0 };
        m->now[name] = delete ? 0 : m->rv;
}

static inline UNUSED unsigned number_after(const char *target, const char *key)
{
        const char *at = strstr(target, key);

        return at ? (unsigned)strtoul(at + strlen(key), NULL, 10) : 0;
}

static inline UNUSED void fail_request(struct fake_conn *c, enum fault how)
{
        switch (how) {
        case REFUSE_500: fake_reply(c, 500, "", "{\"message\":\"etcd is away\"}"); break;
        case REFUSE_429: fake_reply(c, 429, "Retry-After: 1\r\n", "{\"message\":\"slow down\"}"); break;
        case REFUSE_410: fake_reply(c, 410, "", "{\"message\":\"too old\"}"); break;
        case REFUSE_400: fake_reply(c, 400, "", "{\"message\":\"what?\"}"); break;
        case RESET_NOW: fake_reset(c); break;
        default: fake_reply(c, 200, "", "upstream connect error"); break;
        }
}

/* A continue token is "<index>.<version of the list>", so that a page is of the same version as the first; an object
 * that changed since is shown as it is now, as real servers may do after compaction: only names are paged here. */
static inline UNUSED void serve_list(struct model *m, struct fake_conn *c, const char *target, enum fault how)
{
        unsigned limit = number_after(target, "limit="), at = number_after(target, "continue="), n = 0;
        const char *dot = strstr(target, "continue=");
        unsigned rv = dot ? (unsigned)strtoul(strchr(dot, '.') + 1, NULL, 10) : m->rv;
        struct buf items = BUF_INIT, b = BUF_INIT;
        const char *sep = "";

        m->last_list_limit = limit;
        if (rv < m->oldest) {
                fail_request(c, REFUSE_410);
                return;
        }
        for (; at < NAMES && (limit == 0 || n < limit); at++) {
                unsigned then = 0;

                /* The object as it was at the list's version. */
                for (unsigned i = 0; i < m->n_log && m->log[i].rv <= rv; i++)
                        if (m->log[i].name == (int)at)
                                then = m->log[i].deleted ? 0 : m->log[i].rv;
                if (then == 0)
                        continue;
                buf_adds(&items, sep);
                add_object(m, &items, (int)at, then);
                sep = ",";
                n++;
        }
        buf_addf(&b, "{\"kind\":\"List\",\"metadata\":{\"resourceVersion\":\"%u\"", rv);
        if (at < NAMES)
                buf_addf(&b, ",\"continue\":\"%u.%u\"", at, rv);
        buf_addf(&b, "},\"items\":[%s]}\n", buf_str(&items)); /* metadata comes first, as from the real one */
        fake_begin(c, 200, "");
        if (how == FINE) {
                for (size_t i = 0; i < b.len; i += 7)
                        fake_chunk_n(c, b.p + i, MIN((size_t)7, b.len - i));
                fake_end(c);
        } else {
                fake_chunk_n(c, b.p, b.len / 2);
                if (how == END_IN_MIDDLE)
                        fake_end(c);
                else if (how != STALL)
                        fake_reset(c);
        }
        buf_fini(&items);
        buf_fini(&b);
}

static inline UNUSED void serve_watch(
        struct model *m, struct fake_conn *c, const char *target, enum fault how)
{
        unsigned rv = number_after(target, "resourceVersion="), at = 0;
        struct buf b = BUF_INIT;

        ck_assert_ptr_nonnull(strstr(target, "allowWatchBookmarks=true"));
        ck_assert_uint_ge(number_after(target, "timeoutSeconds="), 300);
        ck_assert_uint_le(number_after(target, "timeoutSeconds="), 600);
        if (rv < m->oldest) {
                fail_request(c, REFUSE_410);
                return;
        }
        while (at < m->n_log && m->log[at].rv <= rv)
                at++;
        fake_begin(c, 200, "");
        if (how == ERROR_410 || how == ERROR_500) {
                buf_addf(&b,
                        "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":%d,\"message\":\"no more\"}}\n",
                        how == ERROR_410 ? 410 : 500);
                fake_chunk_n(c, b.p, b.len);
                fake_end(c);
        } else if (how == END_AT_ONCE) {
                fake_end(c);
        } else if (how != FINE) {
                for (unsigned i = at; i < m->n_log; i++)
                        add_event(m, &b, &m->log[i]);
                if (b.len == 0)
                        buf_adds(&b, "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"never\"}}}\n");
                fake_chunk_n(c, b.p, b.len / 2);
                if (how == END_IN_MIDDLE)
                        fake_end(c);
                else
                        fake_reset(c);
        } else {
                ck_assert_uint_lt(m->n_watches, CONNS);
                m->watches[m->n_watches].c = c;
                m->watches[m->n_watches++].sent = at;
                if (m->bookmarks) {
                        buf_addf(&b,
                                "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"%u\"}}}\n",
                                m->rv);
                        pump_watch(m, m->n_watches - 1);
                        fake_chunk_n(c, b.p, b.len);
                }
                pump_watch(m, m->n_watches - 1);
        }
        buf_fini(&b);
}

static inline UNUSED void on_request(void *ctx, struct fake_conn *c, const struct fake_request *req)
{
        struct model *m = ctx;
        bool is_watch = strstr(req->target, "watch=1") != NULL;
        enum fault how = FINE;

        if (strcmp(req->target, "/version") == 0) {
                fake_reply(c, 200, "", "{}");
                return;
        }
        buf_addf(&m->targets, "%s\n", req->target);
        if (m->script_at < m->script_len)
                how = m->script[m->script_at++];
        else if (m->random_faults && rng_below(&m->rng, 2) == 0)
                how = (enum fault)rng_below(&m->rng, N_FAULTS);
        if (!is_watch && (how == ERROR_410 || how == ERROR_500 || how == END_AT_ONCE))
                how = FINE;
        if (how != FINE && how < RESET_IN_MIDDLE)
                fail_request(c, how);
        else if (how == GARBAGE)
                fail_request(c, how);
        else if (is_watch)
                serve_watch(m, c, req->target, how);
        else
                serve_list(m, c, req->target, how);
}

/* ---- the owner ---- */

static inline UNUSED void on_closed(void *ctx)
{
        ++*(unsigned *)ctx;
}

static inline UNUSED void close_informer(struct model *m)
{
        m->closing = true;
        informer_close(m->inf, on_closed, &m->n_closed);
}

/* Each change must follow from what was told before, and a delete must be true. */
static inline UNUSED void on_change(void *ctx, const struct object *old, const struct object *now)
{
        struct model *m = ctx;
        const struct object *o = now ? now : old;
        bool paused = fault_pause();
        int name = (int)strtol(o->name + 1, NULL, 10);

        ck_assert(!m->closing);
        ck_assert_str_eq(o->ns, "ns");
        ck_assert_int_lt(name, NAMES);
        m->n_changes++;
        if (old)
                ck_assert_str_eq(old->rv, m->told[name]);
        else
                ck_assert_str_eq("", m->told[name]);
        if (now) {
                ck_assert_str_ne(now->rv, m->told[name]);
                ck_assert(!old || strtoul(now->rv, NULL, 10) > strtoul(old->rv, NULL, 10));
                ck_assert_ptr_eq(informer_get(m->inf, "ns", o->name), now);
        } else {
                bool deleted_since = false;

                for (unsigned i = 0; i < m->n_log; i++)
                        deleted_since |= m->log[i].name == name && m->log[i].deleted &&
                                m->log[i].rv > strtoul(old->rv, NULL, 10);
                ck_assert_msg(deleted_since, "a delete of n%d was invented", name);
                ck_assert_ptr_null(informer_get(m->inf, "ns", o->name));
        }
        (void)snprintf(m->told[name], sizeof(m->told[name]), "%s", now ? now->rv : "");
        if (m->close_when == CLOSE_IN_CHANGE)
                close_informer(m);
        fault_resume(paused);
}

static inline UNUSED void on_synced(void *ctx)
{
        struct model *m = ctx;
        bool paused = fault_pause();

        ck_assert(!m->closing);
        ck_assert(informer_is_synced(m->inf));
        m->n_synced++;
        if (m->close_when == CLOSE_IN_SYNCED)
                close_informer(m);
        fault_resume(paused);
}

static inline UNUSED void on_state(void *ctx, bool ok, int code, const char *words)
{
        struct model *m = ctx;
        bool paused = fault_pause();

        ck_assert(!m->closing);
        ck_assert_int_ne(m->state_ok, ok); /* only on change */
        ck_assert_int_eq(ok, code == 0);
        ck_assert_int_eq(ok, words[0] == '\0');
        m->state_ok = ok;
        m->state_code = code;
        m->n_states++;
        if (m->close_when == CLOSE_IN_STATE)
                close_informer(m);
        fault_resume(paused);
}

static inline UNUSED void on_bad(void *ctx, const char *ns UNUSED, const char *name, const char *words)
{
        struct model *m = ctx;
        bool paused = fault_pause();

        ck_assert(!m->closing);
        ck_assert_str_ne(words, "");
        (void)snprintf(m->bad_name, sizeof(m->bad_name), "%s", name);
        m->n_bad++;
        if (m->close_when == CLOSE_IN_BAD)
                close_informer(m);
        fault_resume(paused);
}

/* Takes an object unless the model says that it is broken in a way that a decoder sees. */
static struct model *decoding;

static inline UNUSED int decode(struct object **ret, const cJSON *json)
{
        const char *name = json_str_at(json, "metadata.name", "");

        if (decoding->broken_name && strcmp(decoding->broken_name, name) == 0)
                return ERR_MALFORMED;
        return metadata_decode(ret, json);
}

static inline UNUSED void open_client(struct model *m)
{
        const struct kube_limits limits = { .silence_ms = 2000 };
        struct kube_conf conf = { .server = NULL };

        decoding = m;
        m->rv = 100;
        m->oldest = 1;
        m->state_ok = true;
        ck_assert_int_eq(uv_loop_init(&m->loop), 0);
        m->f = fake_new(&m->loop, on_request, m);
        conf.server = strdup(fake_url(m->f));
        ck_assert_int_eq(kube_new(&m->k, &m->loop, &conf, &limits, NULL, NULL), 0);
        free(conf.server);
}

static inline UNUSED struct informer_conf informer_conf(struct model *m)
{
        return (struct informer_conf){ .path = "/api/v1/things",
                .query = "fieldSelector=metadata.name%21%3Dx",
                .resource = "things",
                .decode = decode,
                .page = 3,
                .retry_cap_ms = m->retry_cap_ms,
                .stall_ms = 500,
                .max_object = 1000,
                .on_change = on_change,
                .on_synced = on_synced,
                .on_state = on_state,
                .on_bad = on_bad,
                .ctx = m };
}

static inline UNUSED void start(struct model *m)
{
        const struct informer_conf conf = informer_conf(m);

        ck_assert_int_eq(informer_new(&m->inf, m->k, &conf), 0);
        ck_assert_uint_eq(m->n_changes, 0);
}

static inline UNUSED void finish(struct model *m)
{
        if (m->inf && !m->closing) {
                close_informer(m);
                informer_close(m->inf, on_closed, &m->n_closed); /* idempotent */
        }
        kube_close(m->k, on_closed, &m->n_kube_closed);
        fake_close(m->f);
        fake_finish(&m->loop);
        ck_assert_uint_eq(m->n_closed, m->inf != NULL);
        ck_assert_uint_eq(m->n_kube_closed, 1);
        buf_fini(&m->targets);
}

/* ---- conditions ---- */

static inline UNUSED bool is_true_copy(void *ctx)
{
        struct model *m = ctx;
        size_t n = 0;

        pump(m);
        for (int i = 0; i < NAMES; i++) {
                char rv[16] = "";

                if (m->now[i] > 0)
                        (void)snprintf(rv, sizeof(rv), "%u", m->now[i]);
                if (strcmp(rv, m->told[i]) != 0)
                        return false;
                n += m->now[i] > 0;
        }
        return informer_is_synced(m->inf) && informer_count(m->inf) == n;
}

static inline UNUSED bool is_watching(void *ctx)
{
        struct model *m = ctx;
        struct informer_stats s;

        informer_get_stats(m->inf, &s);
        return s.ok && is_true_copy(m) && strstr(buf_str(&m->targets), "watch=1");
}

static inline UNUSED void wait_for(struct model *m, bool (*cond)(void *ctx))
{
        ck_assert_msg(
                fake_run_until(&m->loop, cond, m), "not reached; requests so far:\n%s", buf_str(&m->targets));
}

static inline UNUSED unsigned count_lines(const struct model *m, const char *word)
{
        unsigned n = 0;

        for (const char *at = buf_str(&m->targets); (at = strstr(at, word)); at++)
                n++;
        return n;
}

static inline UNUSED unsigned lists(const struct model *m)
{
        struct informer_stats s;

        informer_get_stats(m->inf, &s);
        return (unsigned)s.lists;
}

/* Ends every watch; the next one comes with its own fault. */
static inline UNUSED void end_watches(struct model *m, bool by_reset)
{
        for (unsigned i = 0; i < m->n_watches; i++) {
                if (by_reset) {
                        fake_reset(m->watches[i].c);
                } else {
                        fake_end(m->watches[i].c);
                }
        }
        m->n_watches = 0;
}

static inline UNUSED void fill(struct model *m)
{
        for (int i = 0; i < NAMES; i++)
                change(m, i, false);
}
