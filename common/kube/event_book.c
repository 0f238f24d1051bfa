/* SPDX-License-Identifier: Apache-2.0 */
/* An entry is always in the table and in the list "recent" (oldest first, for forgetting). Besides, it is in at most
 * one of two queues: "fresh" (first write, in the order said) or "later" (by due time: repeats and retries). While a
 * write is under way it is in none. Pure. */
#include "common/kube/event_book.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/json.h"

#define HASH_NONFATAL_OOM      1
#define HASH_FUNCTION(p, n, h) HASH_FNV(p, n, h) /* the default falls through cases in a way clang warns of */
#include <uthash.h>

#define FORGET_MS      (10 * 60 * 1000u)
#define REPEAT_MS      (60 * 1000u)
#define WINDOW_MS      (5 * 60 * 1000u)
#define WINDOW_EVENTS  25
#define BURST          100 /* writes at once after a rest, and writes a second */
#define TOKEN_MS       (1000 / BURST)
#define RETRY_BASE_MS  1000
#define RETRY_CAP_MS   32000
#define RETRY_AFTER_S  300 /* no server may silence us for longer */
#define NAME_MAX_BYTES 253 /* of a Kubernetes name (RFC 1123 subdomain) */

enum where { NOWHERE, FRESH, LATER, BUSY };

struct window { /* events of one object in the last five minutes; a fixed window, not a sliding one */
        UT_hash_handle hh;
        TAILQ_ENTRY(window) link; /* by start */
        uint64_t start_ms;
        unsigned n;
        size_t key_len;
        char key[];
};

struct event_entry {
        UT_hash_handle hh; /* key: the texts below, from kind to message */
        TAILQ_ENTRY(event_entry) recent, queue;
        enum where where;
        bool exists; /* on the server */
        enum event_type type;
        unsigned tries;
        uint64_t said_ms, written_ms, due_ms;
        uint64_t first_ns, last_ns;
        unsigned count, count_written;
        const char *kind, *ns, *name, *uid, *api_version, *reason, *message; /* in text[] */
        char text[];
};

TAILQ_HEAD(entry_list, event_entry);
TAILQ_HEAD(window_list, window);

struct event_book {
        struct event_entry *all;
        struct window *windows;
        struct entry_list recent, fresh, later;
        struct window_list windows_by_start;
        uint64_t tokens_ms; /* saved-up time: TOKEN_MS of it buys a write */
        uint64_t filled_ms; /* when it was counted last */
        uint64_t last_ns; /* the last name's time: names are unique */
};

int event_book_new(struct event_book **ret)
{
        struct event_book *b = calloc(1, sizeof(*b));

        if (!b)
                return -ENOMEM;
        TAILQ_INIT(&b->recent);
        TAILQ_INIT(&b->fresh);
        TAILQ_INIT(&b->later);
        TAILQ_INIT(&b->windows_by_start);
        b->tokens_ms = BURST * TOKEN_MS;
        *ret = b;
        return 0;
}

static void window_forget(struct event_book *b, struct window *w)
{
        HASH_DEL(b->windows, w);
        TAILQ_REMOVE(&b->windows_by_start, w, link);
        free(w);
}

static void leave_queue(struct event_book *b, struct event_entry *e)
{
        if (e->where == FRESH)
                TAILQ_REMOVE(&b->fresh, e, queue);
        if (e->where == LATER)
                TAILQ_REMOVE(&b->later, e, queue);
        e->where = NOWHERE;
}

static void entry_forget(struct event_book *b, struct event_entry *e)
{
        leave_queue(b, e);
        HASH_DEL(b->all, e);
        TAILQ_REMOVE(&b->recent, e, recent);
        free(e);
}

struct event_book *event_book_free(struct event_book *b)
{
        struct event_entry *e;
        struct window *w;

        if (!b)
                return NULL;
        while ((e = TAILQ_FIRST(&b->recent)))
                entry_forget(b, e);
        while ((w = TAILQ_FIRST(&b->windows_by_start)))
                window_forget(b, w);
        free(b);
        return NULL;
}

/* ---- limits ---- */

static void fill_tokens(struct event_book *b, uint64_t now_ms)
{
        uint64_t passed = now_ms > b->filled_ms ? now_ms - b->filled_ms : 0;

        b->tokens_ms =
                MIN(b->tokens_ms + MIN(passed, (uint64_t)BURST * TOKEN_MS), (uint64_t)BURST * TOKEN_MS);
        b->filled_ms = MAX(now_ms, b->filled_ms);
}

/* 0: one more event for this object; ERR_FULL; -ENOMEM. @key: its texts. */
static int window_take(struct event_book *b, uint64_t now_ms, const char *key, size_t len)
{
        struct window *w;

        while ((w = TAILQ_FIRST(&b->windows_by_start)) &&
                (now_ms - w->start_ms >= WINDOW_MS || HASH_COUNT(b->windows) > EVENT_BOOK_MAX))
                window_forget(b, w);
        HASH_FIND(hh, b->windows, key, len, w);
        if (w)
                return w->n < WINDOW_EVENTS ? (int)(w->n++, 0) : ERR_FULL;
        w = calloc(1, sizeof(*w) + len);
        if (!w)
                return -ENOMEM;
        memcpy(w->key, key, len);
        w->key_len = len;
        w->start_ms = now_ms;
        w->n = 1;
        HASH_ADD_KEYPTR(hh, b->windows, w->key, w->key_len, w);
        if (!w->hh.tbl) {
                free(w);
                return -ENOMEM;
        }
        TAILQ_INSERT_TAIL(&b->windows_by_start, w, link);
        return 0;
}

/* Forgets what was not said for long, and when the book is full the oldest that does not wait for a write. */
static int make_room(struct event_book *b, uint64_t now_ms)
{
        struct event_entry *e, *next;

        for (e = TAILQ_FIRST(&b->recent); e; e = next) {
                bool old = now_ms - e->said_ms >= FORGET_MS;

                next = TAILQ_NEXT(e, recent);
                if (!old && HASH_COUNT(b->all) < EVENT_BOOK_MAX)
                        break;
                if (e->where == NOWHERE)
                        entry_forget(b, e);
        }
        return HASH_COUNT(b->all) < EVENT_BOOK_MAX ? 0 : ERR_FULL;
}

/* ---- saying ---- */

static void put_later(struct event_book *b, struct event_entry *e, uint64_t due_ms)
{
        struct event_entry *at = TAILQ_LAST(&b->later, entry_list);

        while (at && at->due_ms > due_ms)
                at = TAILQ_PREV(at, entry_list, queue);
        e->due_ms = due_ms;
        e->where = LATER;
        if (at)
                TAILQ_INSERT_AFTER(&b->later, at, e, queue);
        else
                TAILQ_INSERT_HEAD(&b->later, e, queue);
}

/* The texts one behind the other, each with its end; the first four name the object. */
static void add_texts(struct buf *key, const struct event_text *t, size_t *ret_object_len)
{
        const struct event_object *on = t->on;
        const char *const object[] = { on->kind, on->ns, on->name, on->uid, on->api_version };

        for (size_t i = 0; i < ARRAY_LEN(object); i++)
                buf_add(key, object[i] ? object[i] : "", object[i] ? strlen(object[i]) + 1 : 1);
        *ret_object_len = key->len;
        buf_add(key, t->reason, strlen(t->reason) + 1);
        buf_add(key, t->message, strnlen(t->message, EVENT_TEXT_MAX));
        buf_addc(key, '\0');
        buf_addc(key, (char)t->type);
}

static const char *next_text(const char **at)
{
        const char *text = *at;

        *at += strlen(text) + 1;
        return text;
}

static struct event_entry *entry_new(const struct buf *key)
{
        struct event_entry *e = calloc(1, sizeof(*e) + key->len);
        const char *at;

        if (!e)
                return NULL;
        memcpy(e->text, key->p, key->len);
        at = e->text;
        e->kind = next_text(&at);
        e->ns = next_text(&at);
        e->name = next_text(&at);
        e->uid = next_text(&at);
        e->api_version = next_text(&at);
        e->reason = next_text(&at);
        e->message = next_text(&at);
        return e;
}

static void count_again(struct event_book *b, struct event_entry *e, uint64_t now_ms, uint64_t wall_ns)
{
        e->count += e->count < UINT32_MAX;
        e->said_ms = now_ms;
        e->last_ns = MAX(wall_ns, e->last_ns);
        TAILQ_REMOVE(&b->recent, e, recent);
        TAILQ_INSERT_TAIL(&b->recent, e, recent);
        if (e->where == NOWHERE)
                put_later(b, e, e->written_ms + REPEAT_MS);
}

static int say_new(struct event_book *b, uint64_t now_ms, uint64_t wall_ns, const struct event_text *t,
        const struct buf *key)
{
        struct event_entry *e = entry_new(key);

        if (!e)
                return -ENOMEM;
        HASH_ADD_KEYPTR(hh, b->all, e->text, key->len, e);
        if (!e->hh.tbl) {
                free(e);
                return -ENOMEM;
        }
        TAILQ_INSERT_TAIL(&b->recent, e, recent);
        b->last_ns = MAX(wall_ns, b->last_ns + 1);
        e->first_ns = e->last_ns = b->last_ns;
        e->type = t->type;
        e->count = 1;
        e->said_ms = now_ms;
        e->where = FRESH;
        TAILQ_INSERT_TAIL(&b->fresh, e, queue);
        return 0;
}

int event_book_say(struct event_book *b, uint64_t now_ms, uint64_t wall_ns, const struct event_text *t)
{
        CLEANUP(buf_fini) struct buf key = BUF_INIT;
        struct event_entry *e;
        size_t object_len = 0;
        int r;

        add_texts(&key, t, &object_len);
        if (!buf_ok(&key))
                return -ENOMEM;
        HASH_FIND(hh, b->all, key.p, key.len, e);
        if (e && (e->where != NOWHERE || now_ms - e->said_ms < FORGET_MS)) {
                count_again(b, e, now_ms, wall_ns);
                return 0;
        }
        if (e)
                entry_forget(b, e); /* long ago: a new story, with a count of its own */
        r = make_room(b, now_ms);
        if (r == 0)
                r = window_take(b, now_ms, key.p, object_len);
        return r == 0 ? say_new(b, now_ms, wall_ns, t, &key) : r;
}

/* ---- writing ---- */

uint64_t event_book_deadline(struct event_book *b, uint64_t now_ms)
{
        const struct event_entry *later = TAILQ_FIRST(&b->later);
        uint64_t due = UINT64_MAX, token;

        fill_tokens(b, now_ms);
        token = b->tokens_ms >= TOKEN_MS ? now_ms : now_ms + TOKEN_MS - b->tokens_ms;
        if (!TAILQ_EMPTY(&b->fresh))
                due = now_ms;
        else if (later)
                due = later->due_ms;
        return due == UINT64_MAX ? due : MAX(due, token);
}

struct event_entry *event_book_next(struct event_book *b, uint64_t now_ms)
{
        struct event_entry *e = TAILQ_FIRST(&b->fresh);

        if (!e)
                e = TAILQ_FIRST(&b->later);
        if (!e || event_book_deadline(b, now_ms) > now_ms)
                return NULL;
        leave_queue(b, e);
        b->tokens_ms -= TOKEN_MS;
        e->where = BUSY;
        e->count_written = e->count;
        return e;
}

static bool retry(struct event_book *b, struct event_entry *e, uint64_t now_ms, unsigned retry_after_s)
{
        uint64_t pause = RETRY_BASE_MS;

        if (++e->tries >= EVENT_TRIES_MAX)
                return false;
        for (unsigned i = 1; i < e->tries && pause < RETRY_CAP_MS; i++)
                pause *= 2;
        put_later(b, e, now_ms + MAX(pause, (uint64_t)MIN(retry_after_s, (unsigned)RETRY_AFTER_S) * 1000));
        return true;
}

bool event_book_done(struct event_book *b, struct event_entry *e, uint64_t now_ms, enum event_outcome outcome,
        unsigned retry_after_s)
{
        e->where = NOWHERE;
        e->written_ms = now_ms;
        switch (outcome) {
        case EVENT_WRITTEN:
                e->exists = true;
                e->tries = 0;
                if (e->count > e->count_written) /* said again while it was being written */
                        put_later(b, e, now_ms + REPEAT_MS);
                return true;
        case EVENT_GONE:
                e->exists = false;
                if (retry(b, e, now_ms, 0))
                        return true;
                break;
        case EVENT_RETRY:
                if (retry(b, e, now_ms, retry_after_s))
                        return true;
                break;
        case EVENT_REFUSED: break;
        }
        e->tries = 0; /* given up; said again, it is tried again after a minute */
        return false;
}

size_t event_book_count(const struct event_book *b)
{
        return HASH_COUNT(b->all);
}

/* ---- the object ---- */

bool event_entry_exists(const struct event_entry *e)
{
        return e->exists;
}

const char *event_entry_ns(const struct event_entry *e)
{
        return e->ns[0] != '\0' ? e->ns : "default";
}

void event_entry_name(const struct event_entry *e, struct buf *out)
{
        char stamp[24];
        size_t len;

        (void)snprintf(stamp, sizeof(stamp), ".%" PRIx64, e->first_ns);
        len = strnlen(e->name, NAME_MAX_BYTES - strlen(stamp));
        while (len > 0 && (e->name[len - 1] == '.' || e->name[len - 1] == '-'))
                len--; /* a name that was cut must still end in a letter or digit before the dot */
        buf_add(out, e->name, len);
        buf_adds(out, stamp);
}

static void add_text(struct buf *out, const char *before, const char *value)
{
        buf_adds(out, before);
        buf_add_json(out, value);
}

static void add_time(struct buf *out, const char *before, uint64_t ns)
{
        char text[32];

        add_text(out, before, json_time_format((int64_t)(ns / 1000000000u), text));
}

void event_entry_body(const struct event_entry *e, const char *component, const char *host, struct buf *out)
{
        CLEANUP(buf_fini) struct buf name = BUF_INIT;

        if (e->exists) {
                buf_addf(out, "{\"count\":%u", e->count);
                add_time(out, ",\"lastTimestamp\":", e->last_ns);
                buf_addc(out, '}');
                return;
        }
        event_entry_name(e, &name);
        out->bad |= !buf_ok(&name);
        add_text(out, "{\"apiVersion\":\"v1\",\"kind\":\"Event\",\"metadata\":{\"name\":", buf_str(&name));
        add_text(out, ",\"namespace\":", event_entry_ns(e));
        add_text(out, "},\"involvedObject\":{\"kind\":", e->kind);
        if (e->ns[0] != '\0')
                add_text(out, ",\"namespace\":", e->ns);
        add_text(out, ",\"name\":", e->name);
        if (e->uid[0] != '\0')
                add_text(out, ",\"uid\":", e->uid);
        add_text(out, ",\"apiVersion\":", e->api_version);
        add_text(out, "},\"reason\":", e->reason);
        add_text(out, ",\"message\":", e->message);
        add_text(out, ",\"source\":{\"component\":", component);
        if (host[0] != '\0')
                add_text(out, ",\"host\":", host);
        add_time(out, "},\"firstTimestamp\":", e->first_ns);
        add_time(out, ",\"lastTimestamp\":", e->last_ns);
        buf_addf(out, ",\"count\":%u", e->count);
        add_text(out, ",\"type\":", e->type == EVENT_WARNING ? "Warning" : "Normal");
        add_text(out, ",\"reportingComponent\":", component);
        add_text(out, ",\"reportingInstance\":", host);
        buf_addc(out, '}');
}
