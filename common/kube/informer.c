/* SPDX-License-Identifier: Apache-2.0 */
/* Two phases, one request at a time. Listing: pages until the server gives no continue token; each object goes into
 * the store as it is read; when the last page is in, what the list did not have is gone. Watching: from the last
 * resourceVersion known; it ends often (its own time-out, a restart, a cut) and simply goes on from there.
 *
 * What sends us back to listing: 410 (the history we ask for is gone), as a status or as an ERROR event, and refusals of
 * the version itself. The store stays meanwhile; the new list says what changed. A 410 in the middle of the pages
 * starts the list over, unpaged, so that no token can expire again. Every other failure retries the very request
 * that failed (the same page, the same version) after a pause.
 *
 * Lists leave resourceVersion unset: the answer is as new as the store behind the API server (a consistent read),
 * so a list never takes us back in time, whichever of several API servers answers. */
#include "common/kube/informer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/backoff.h"
#include "common/buf.h"
#include "common/kube/peek.h"
#include "common/kube/store.h"
#include "common/kube/stream.h"

#define PAGE            500
#define PAGES_MAX       20000 /* a server that never ends its list is stopped here */
#define OBJECT_MAX      ((size_t)2 << 20)
#define CONTINUE_MAX    (16u * 1024)
#define BACKOFF_BASE_MS 100
#define BACKOFF_CAP_MS  10000
#define WATCH_MIN_S     300 /* a watch is renewed after 5 to 10 minutes, as client-go does */
#define WATCH_SPREAD_S  300
#define WATCH_GRACE_S   30 /* a watch that the server does not end by then is ended here */
#define STALL_MS        60000
#define LASTING_MS      1000 /* a watch that held this long was a good one */
#define BAD_MAX         256 /* remembered reports */

enum phase { LISTING, WATCHING };

struct counters {
        struct series *lists, *watches, *errors, *bad, *objects, *contact;
};

struct informer {
        struct kube *k;
        struct informer_conf conf;
        char *path, *query, *resource; /* owned copies behind conf */
        struct store *store;
        enum phase phase;
        struct kube_request *request; /* NULL: none under way */
        struct stream *stream; /* of the request */
        uv_timer_t timer; /* with a request: its guard; without: the pause before the next */
        uint64_t watch_until_ms; /* of the watch under way */
        uint64_t sent_ms; /* the request went out */
        bool stalled; /* the guard cancelled the request */
        struct rng rng;
        struct backoff backoff;

        char rv[128]; /* where the watch goes on; "": list first */
        char list_rv[128]; /* of the list's first page */
        char *cont; /* the next page's token; NULL: the first page */
        unsigned pages;
        bool unpaged; /* after a 410 between pages */
        bool nameless; /* this list has an object of unknown name: nothing can be called missing */

        uint64_t watch_ms; /* when the watch was answered */
        bool watch_gave; /* it brought a change */
        int watch_error; /* an ERROR event's code; 0: none */
        char watch_words[256];

        uint64_t bad_seen[BAD_MAX];
        unsigned n_bad_seen;
        struct informer_stats stats;
        struct counters count;
        bool synced, told_failing;
        bool closing;
        unsigned n_open; /* the timer, and the request */
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static void begin(struct informer *inf);
static void on_timer(uv_timer_t *t);
static int on_data(void *ctx, const char *bytes, size_t len);
static void on_done(void *ctx, const struct kube_response *res);

/* ---- telling the owner: each call may close us ---- */

static void tell_state(struct informer *inf, bool ok, int code, const char *words)
{
        inf->stats.ok = ok;
        if (inf->told_failing == !ok)
                return;
        inf->told_failing = !ok;
        if (inf->conf.on_state)
                inf->conf.on_state(inf->conf.ctx, ok, code, words);
}

static void tell_change(struct informer *inf, struct object *old, const struct object *now)
{
        inf->stats.events++;
        series_set(inf->count.objects, (double)store_count(inf->store));
        if (inf->conf.on_change)
                inf->conf.on_change(inf->conf.ctx, old, now);
        (void)object_free(old);
}

static uint64_t hash_text(uint64_t h, const char *text)
{
        do
                h = (h ^ (unsigned char)*text) * 1099511628211u; /* FNV-1a, the end of the text included */
        while (*text++);
        return h;
}

/* An object we cannot take in. Its old state stays, and a running list must not call it missing. */
static void bad(struct informer *inf, const char *ns, const char *name, const char *rv, const char *words)
{
        uint64_t h = hash_text(hash_text(hash_text(14695981039346656037u, ns), name), rv);

        if (name[0] == '\0')
                inf->nameless = true;
        else
                (void)store_mark(inf->store, ns, name); /* not known yet: nothing to keep */
        for (unsigned i = 0; i < MIN(inf->n_bad_seen, (unsigned)BAD_MAX); i++)
                if (inf->bad_seen[i] == h)
                        return;
        inf->bad_seen[inf->n_bad_seen++ % BAD_MAX] = h;
        inf->stats.bad++;
        series_add(inf->count.bad, 1);
        if (inf->conf.on_bad)
                inf->conf.on_bad(inf->conf.ctx, ns, name, words);
}

/* ---- objects ---- */

static int upsert(struct informer *inf, const cJSON *json)
{
        const char *ns = json_str_at(json, "metadata.namespace", "");
        const char *name = json_str_at(json, "metadata.name", "");
        const char *rv = json_str_at(json, "metadata.resourceVersion", "");
        const struct object *known = store_get(inf->store, ns, name);
        CLEANUP(object_freep) struct object *o = NULL;
        struct object *old = NULL;
        const struct object *now;
        int r;

        if (known && rv[0] != '\0' && strcmp(known->rv, rv) == 0) {
                (void)store_mark(inf->store, ns, name);
                return 0;
        }
        r = inf->conf.decode(&o, json);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                bad(inf, ns, name, rv, err_name(r));
                return 0;
        }
        r = store_put(inf->store, o, &old);
        if (r < 0)
                return r;
        now = TAKE(o);
        tell_change(inf, old, now);
        return 0;
}

static void delete (struct informer *inf, const char *ns, const char *name)
{
        struct object *old = store_take(inf->store, ns, name);

        if (old)
                tell_change(inf, old, NULL);
}

/* What on_data returns: the owner may have closed us from a callback. */
static int verdict(const struct informer *inf, int r)
{
        return inf->closing ? -ECANCELED : r;
}

static int on_listed(void *ctx, const char *bytes, size_t len, bool cut)
{
        struct informer *inf = ctx;
        CLEANUP(json_deletep) cJSON *json = NULL;
        int r = cut ? ERR_TOO_BIG : json_parse(&json, bytes, len);

        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                struct peek p;

                peek_names(&p, bytes, len);
                bad(inf, p.ns, p.name, p.rv, err_name(r));
                return verdict(inf, 0);
        }
        return verdict(inf, upsert(inf, json));
}

static void keep_rv(struct informer *inf, const char *rv)
{
        if (rv[0] != '\0' && strlen(rv) < sizeof(inf->rv))
                (void)snprintf(inf->rv, sizeof(inf->rv), "%s", rv);
}

/* An event that is too big, or no JSON: its first bytes usually name it. */
static void on_unreadable_event(struct informer *inf, const char *bytes, size_t len, int why)
{
        struct peek p;

        peek_names(&p, bytes, len);
        keep_rv(inf, p.rv);
        inf->watch_gave = true;
        if (strcmp(p.type, "DELETED") == 0 && p.name[0] != '\0')
                delete (inf, p.ns, p.name);
        else
                bad(inf, p.ns, p.name, p.rv, err_name(why));
}

/* The object of an ERROR event is a Status. 410 is the usual one: our version is too old. */
static int on_error_event(struct informer *inf, const cJSON *status)
{
        int64_t code = 0;

        (void)json_int(status, "code", &code); /* absent: 0, an unknown error */
        (void)snprintf(inf->watch_words, sizeof(inf->watch_words), "%s",
                json_str_at(status, "message", "the server ended the watch with an error"));
        if (code == 410 || strcmp(json_str_at(status, "reason", ""), "Expired") == 0)
                inf->watch_error = ERR_GONE;
        else
                inf->watch_error = code == 429 || code >= 500 ? ERR_BUSY : ERR_REJECTED;
        return inf->watch_error;
}

static int on_event(struct informer *inf, const cJSON *event)
{
        const char *type = json_str_at(event, "type", "");
        const cJSON *obj = NULL;
        int r = 0;

        if (json_obj(event, "object", &obj) < 0)
                return 0; /* nothing we know; the next event may be */
        if (strcmp(type, "ERROR") == 0)
                return on_error_event(inf, obj);
        if (strcmp(type, "ADDED") == 0 || strcmp(type, "MODIFIED") == 0)
                r = upsert(inf, obj);
        else if (strcmp(type, "DELETED") == 0)
                delete (inf, json_str_at(obj, "metadata.namespace", ""),
                        json_str_at(obj, "metadata.name", ""));
        else if (strcmp(type, "BOOKMARK") != 0)
                return 0;
        if (r < 0)
                return r;
        inf->watch_gave |= strcmp(type, "BOOKMARK") != 0;
        keep_rv(inf, json_str_at(obj, "metadata.resourceVersion", ""));
        return 0;
}

static int on_watched(void *ctx, const char *bytes, size_t len, bool cut)
{
        struct informer *inf = ctx;
        CLEANUP(json_deletep) cJSON *json = NULL;
        int r = cut ? ERR_TOO_BIG : json_parse(&json, bytes, len);

        if (r == -ENOMEM)
                return r;
        if (r == 0)
                r = on_event(inf, json);
        else {
                on_unreadable_event(inf, bytes, len, r);
                r = 0;
        }
        return verdict(inf, r);
}

/* ---- requests ---- */

static void closed_one(struct informer *inf)
{
        void (*closed)(void *) = inf->closed;
        void *ctx = inf->closed_ctx;

        if (--inf->n_open > 0)
                return;
        (void)store_free(inf->store);
        (void)stream_free(inf->stream);
        free(inf->cont);
        free(inf->path);
        free(inf->query);
        free(inf->resource);
        free(inf);
        closed(ctx);
}

static void list_url(const struct informer *inf, struct buf *url)
{
        buf_addf(url, "%s?", inf->conf.path);
        if (!inf->unpaged)
                buf_addf(url, "limit=%u", inf->conf.page);
        if (inf->cont) {
                buf_adds(url, "&continue=");
                buf_add_url(url, inf->cont);
        }
        if (inf->conf.query)
                buf_addf(url, "&%s", inf->conf.query);
}

static void watch_url(struct informer *inf, struct buf *url)
{
        unsigned for_s = WATCH_MIN_S + (unsigned)rng_below(&inf->rng, WATCH_SPREAD_S);

        inf->watch_until_ms = uv_now(kube_loop(inf->k)) + (uint64_t)(for_s + WATCH_GRACE_S) * 1000;
        buf_addf(url,
                "%s?watch=1&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=", inf->conf.path,
                for_s);
        buf_add_url(url, inf->rv);
        if (inf->conf.query)
                buf_addf(url, "&%s", inf->conf.query);
}

static int send_request(struct informer *inf)
{
        CLEANUP(buf_fini) struct buf url = BUF_INIT;
        bool watch = inf->rv[0] != '\0';
        struct kube_call call = { .method = "GET",
                .stream = true,
                .on_data = on_data,
                .on_done = on_done,
                .ctx = inf,
                .verb = watch ? "watch" : "list",
                .resource = inf->conf.resource };
        int r;

        inf->stream = stream_free(inf->stream);
        r = stream_new(&inf->stream, watch ? STREAM_WATCH : STREAM_LIST, inf->conf.max_object,
                watch ? on_watched : on_listed, inf);
        if (r < 0)
                return r;
        if (watch)
                watch_url(inf, &url);
        else
                list_url(inf, &url);
        if (!buf_ok(&url))
                return -ENOMEM;
        call.path = buf_str(&url);
        r = kube_send(inf->k, &inf->request, &call);
        if (r < 0)
                return r;
        inf->n_open++;
        inf->phase = watch ? WATCHING : LISTING;
        inf->watch_gave = inf->stalled = false;
        inf->watch_error = 0;
        inf->watch_ms = 0;
        inf->sent_ms = uv_now(kube_loop(inf->k));
        return 0;
}

/* The connection's life is the client's business; here is one stream that hangs while others do not. */
static void guard(struct informer *inf)
{
        uint64_t now = uv_now(kube_loop(inf->k)), due = inf->watch_until_ms;

        if (inf->phase == LISTING)
                due = MAX(inf->sent_ms, inf->stats.last_contact_ms) + inf->conf.stall_ms;
        if (now < due) {
                (void)uv_timer_start(&inf->timer, on_timer, due - now, 0); /* fails only while closing */
                return;
        }
        inf->stalled = true;
        kube_cancel(inf->request);
}

static void on_timer(uv_timer_t *t)
{
        struct informer *inf = t->data;

        if (inf->closing)
                return;
        if (!inf->request)
                begin(inf);
        else if (!inf->stalled)
                guard(inf);
}

static void retry_in(struct informer *inf, uint64_t ms)
{
        (void)uv_timer_start(&inf->timer, on_timer, ms, 0); /* fails only while closing */
}

/* A list from its first page on. What is known stays. */
static void forget_list(struct informer *inf)
{
        free(TAKE(inf->cont));
        inf->pages = 0;
        inf->nameless = false;
        inf->rv[0] = inf->list_rv[0] = '\0';
        store_begin(inf->store);
}

static void failed(struct informer *inf, int code, const char *words, unsigned retry_after_s)
{
        inf->stats.errors++;
        series_add(inf->count.errors, 1);
        retry_in(inf, backoff_next_after(&inf->backoff, &inf->rng, retry_after_s));
        tell_state(inf, false, code, words[0] != '\0' ? words : err_name(code)); /* last: may close us */
}

static void begin(struct informer *inf)
{
        int r = send_request(inf);

        if (r == 0)
                guard(inf);
        else if (r != -ECANCELED) /* -ECANCELED: the client is closing, and so will our owner close us */
                failed(inf, r, "", 0);
}

/* ---- the list ---- */

static void list_complete(struct informer *inf)
{
        struct object *gone;

        while (!inf->nameless && !inf->closing && (gone = store_sweep(inf->store)))
                tell_change(inf, gone, NULL);
        if (inf->closing)
                return;
        (void)snprintf(inf->rv, sizeof(inf->rv), "%s", inf->list_rv);
        free(TAKE(inf->cont));
        inf->unpaged = false;
        inf->stats.lists++;
        series_add(inf->count.lists, 1);
        series_set(inf->count.objects, (double)store_count(inf->store));
        if (!inf->synced) {
                inf->synced = true;
                if (inf->conf.on_synced)
                        inf->conf.on_synced(inf->conf.ctx);
        }
        if (!inf->closing)
                tell_state(inf, true, 0, "");
}

/* Reads the page's metadata: ERR_MALFORMED when it is not that of a list. */
static int page_done(struct informer *inf)
{
        CLEANUP(json_deletep) cJSON *json = NULL;
        size_t len = 0;
        const char *bytes = stream_metadata(inf->stream, &len), *rv, *cont;
        int r = bytes ? json_parse(&json, bytes, len) : ERR_MALFORMED;

        if (r < 0)
                return r;
        rv = json_str_at(json, "resourceVersion", "");
        cont = json_str_at(json, "continue", "");
        if (rv[0] == '\0' || strlen(rv) >= sizeof(inf->list_rv) || strlen(cont) > CONTINUE_MAX)
                return ERR_MALFORMED;
        if (++inf->pages > PAGES_MAX)
                return ERR_TOO_BIG;
        if (inf->pages == 1)
                (void)snprintf(inf->list_rv, sizeof(inf->list_rv), "%s", rv);
        free(TAKE(inf->cont));
        if (cont[0] == '\0')
                return 0;
        inf->cont = strdup(cont);
        return inf->cont ? 1 : -ENOMEM;
}

static void list_ended(struct informer *inf, int code, const struct kube_response *res)
{
        if (code == 0)
                code = page_done(inf);
        if (code == 0)
                list_complete(inf);
        if (inf->closing)
                return;
        if (code >= 0) {
                begin(inf); /* the next page, or the watch */
                return;
        }
        if (code == ERR_GONE || code == ERR_REJECTED || code == ERR_TOO_BIG ||
                (code == -ENOMEM && inf->pages > 0)) {
                inf->unpaged |= code == ERR_GONE;
                forget_list(inf);
        }
        failed(inf, code, res->error, res->retry_after_s);
}

/* ---- the watch ---- */

static void watch_ended(struct informer *inf, int code, const struct kube_response *res)
{
        uint64_t lasted = inf->watch_ms ? uv_now(kube_loop(inf->k)) - inf->watch_ms : 0;
        const char *words = res->error;

        if (inf->watch_gave || lasted >= LASTING_MS)
                backoff_reset(&inf->backoff);
        if (inf->watch_error != 0) {
                code = inf->watch_error;
                words = inf->watch_words;
        }
        if (code ==
                0) { /* the usual end. A server that ends each watch at once is not asked in a tight loop. */
                retry_in(inf, lasted >= LASTING_MS ? 0 : backoff_next(&inf->backoff, &inf->rng));
                return;
        }
        if (code == ERR_GONE) { /* part of normal life: no failure */
                forget_list(inf);
                retry_in(inf, backoff_next(&inf->backoff, &inf->rng));
                return;
        }
        if (code == ERR_REJECTED || code == ERR_MISSING)
                forget_list(inf); /* the version, or the whole kind, is not known there */
        failed(inf, code, words, res->retry_after_s);
}

/* ---- from the client ---- */

static int on_data(void *ctx, const char *bytes, size_t len)
{
        struct informer *inf = ctx;

        if (inf->closing)
                return -ECANCELED;
        inf->stats.last_contact_ms = uv_now(kube_loop(inf->k));
        if (inf->count.contact)
                series_set(inf->count.contact, (double)time(NULL));
        if (len == 0 && inf->phase == WATCHING) {
                inf->watch_ms = inf->stats.last_contact_ms;
                inf->stats.watches++;
                series_add(inf->count.watches, 1);
                tell_state(inf, true, 0, "");
                return verdict(inf, 0);
        }
        return stream_feed(inf->stream, bytes, len);
}

static void on_done(void *ctx, const struct kube_response *res)
{
        struct informer *inf = ctx;
        int code = kube_response_code(res);

        inf->request = NULL;
        (void)uv_timer_stop(&inf->timer); /* the guard; never fails */
        if (inf->stalled && code == -ECANCELED)
                code = -ETIMEDOUT;
        if (code == 0)
                code = stream_end(inf->stream);
        if (!inf->closing && code != -ECANCELED) {
                if (inf->phase == LISTING)
                        list_ended(inf, code, res);
                else
                        watch_ended(inf, code, res);
        }
        closed_one(inf);
}

/* ---- the interface ---- */

static int count_init(struct informer *inf)
{
        static const char *const labels[] = { "resource", NULL };
        const struct {
                struct series **to;
                enum metric_type type;
                const char *name, *help;
        } all[] = {
                { &inf->count.lists, METRIC_COUNTER, "metallb_k8s_informer_lists_total",
                        "Complete lists read." },
                { &inf->count.watches, METRIC_COUNTER, "metallb_k8s_informer_watches_total",
                        "Watches opened." },
                { &inf->count.errors, METRIC_COUNTER, "metallb_k8s_informer_retries_total",
                        "Lists and watches that failed and were tried again." },
                { &inf->count.bad, METRIC_COUNTER, "metallb_k8s_informer_bad_objects_total",
                        "Objects that could not be read." },
                { &inf->count.objects, METRIC_GAUGE, "metallb_k8s_informer_objects", "Objects known." },
                { &inf->count.contact, METRIC_GAUGE, "metallb_k8s_informer_last_contact_seconds",
                        "Unix time of the last byte from the server." },
        };
        struct metrics *reg = kube_metrics(inf->k);

        for (size_t i = 0; reg && i < ARRAY_LEN(all); i++) {
                *all[i].to = metrics_with(
                        metrics_family(reg, all[i].type, all[i].name, all[i].help, labels, NULL, 0),
                        inf->resource);
                if (!*all[i].to)
                        return -ENOMEM;
        }
        return 0;
}

static int conf_copy(struct informer *inf, const struct informer_conf *conf)
{
        inf->conf = *conf;
        inf->path = strdup(conf->path);
        inf->query = conf->query ? strdup(conf->query) : NULL;
        inf->resource = strdup(conf->resource);
        if (!inf->path || !inf->resource || (conf->query && !inf->query))
                return -ENOMEM;
        inf->conf.path = inf->path;
        inf->conf.query = inf->query;
        inf->conf.resource = inf->resource;
        if (inf->conf.page == 0)
                inf->conf.page = PAGE;
        if (inf->conf.stall_ms == 0)
                inf->conf.stall_ms = STALL_MS;
        if (inf->conf.max_object == 0)
                inf->conf.max_object = OBJECT_MAX;
        return 0;
}

static struct informer *discard(struct informer *inf) /* before its timer is in the loop */
{
        if (!inf)
                return NULL;
        (void)store_free(inf->store);
        (void)stream_free(inf->stream);
        free(inf->path);
        free(inf->query);
        free(inf->resource);
        free(inf);
        return NULL;
}
DEFINE_CLEANUP(struct informer, discard);

int informer_new(struct informer **ret, struct kube *k, const struct informer_conf *conf)
{
        CLEANUP(discardp) struct informer *inf = calloc(1, sizeof(*inf));
        int r;

        if (!inf)
                return -ENOMEM;
        inf->k = k;
        inf->backoff = (struct backoff){ .base_ms = BACKOFF_BASE_MS,
                .cap_ms = conf->retry_cap_ms > 0 ? conf->retry_cap_ms : BACKOFF_CAP_MS };
        r = conf_copy(inf, conf);
        if (r == 0)
                r = store_new(&inf->store);
        if (r == 0)
                r = count_init(inf);
        if (r == 0)
                r = uv_random(NULL, NULL, &inf->rng.state, sizeof(inf->rng.state), 0, NULL);
        if (r == 0) {
                store_begin(inf->store);
                r = send_request(inf);
        }
        if (r < 0)
                return r;
        (void)uv_timer_init(kube_loop(k), &inf->timer); /* libuv: always 0 */
        inf->timer.data = inf;
        inf->n_open++;
        guard(inf);
        *ret = TAKE(inf);
        return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
        closed_one(h->data);
}

void informer_close(struct informer *inf, void (*closed)(void *ctx), void *ctx)
{
        if (inf->closing)
                return;
        inf->closing = true;
        inf->closed = closed;
        inf->closed_ctx = ctx;
        if (inf->request)
                kube_cancel(inf->request);
        uv_close((uv_handle_t *)&inf->timer, on_timer_closed);
}

bool informer_is_synced(const struct informer *inf)
{
        return inf->synced;
}

const struct object *informer_get(const struct informer *inf, const char *ns, const char *name)
{
        return store_get(inf->store, ns, name);
}

size_t informer_count(const struct informer *inf)
{
        return store_count(inf->store);
}

int informer_each(const struct informer *inf, int (*fn)(void *ctx, const struct object *o), void *ctx)
{
        return store_each(inf->store, fn, ctx);
}

void informer_get_stats(const struct informer *inf, struct informer_stats *ret)
{
        *ret = inf->stats;
}
