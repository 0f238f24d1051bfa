/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* event_book - decides which Events are written, when, and with which count. Pure.
 *
 * One entry for each (object, type, reason, message) said in the last 10 minutes. An entry is written when it is new,
 * and again, at most once a minute, when its count has grown. New events are limited to 25 for one object in five
 * minutes; all writes share a bucket of 100 a second; at most EVENT_BOOK_MAX entries are kept or wait. */
#include "common/buf.h"

#define EVENT_BOOK_MAX  4096 /* entries; a few hundred bytes each */
#define EVENT_TEXT_MAX  1024 /* bytes of a message; longer ones are cut (the limit of events.k8s.io notes) */
#define EVENT_TRIES_MAX 8 /* writes of one change, over about two minutes */

enum event_type { EVENT_NORMAL, EVENT_WARNING };

struct event_object { /* involvedObject */
        const char *api_version, *kind, *ns, *name, *uid; /* ns "": the event goes into namespace "default" */
};

struct event_book;
struct event_entry;

struct event_text { /* what is said; borrowed */
        const struct event_object *on;
        enum event_type type;
        const char *reason, *message;
};

enum event_outcome {
        EVENT_WRITTEN,
        EVENT_GONE, /* the Event to patch is no longer there (they expire): write it anew */
        EVENT_RETRY,
        EVENT_REFUSED, /* never works */
};

int event_book_new(struct event_book **ret) MUST_CHECK;
struct event_book *event_book_free(struct event_book *b); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct event_book, event_book_free);

/* @now_ms: monotonic. @wall_ns: since 1970. 0: new or counted; ERR_FULL: dropped by a limit; -ENOMEM. */
int event_book_say(
        struct event_book *b, uint64_t now_ms, uint64_t wall_ns, const struct event_text *t) MUST_CHECK;
/* When event_book_next() will have something, if nothing changes; UINT64_MAX: never. */
uint64_t event_book_deadline(struct event_book *b, uint64_t now_ms);
/* An entry to be written now, or NULL. Borrowed, and in nobody else's hands until event_book_done(). */
struct event_entry *event_book_next(struct event_book *b, uint64_t now_ms);
/* Says what became of the write. @retry_after_s: the server's wish with EVENT_RETRY, else 0. False: given up. */
bool event_book_done(struct event_book *b, struct event_entry *entry, uint64_t now_ms,
        enum event_outcome outcome, unsigned retry_after_s);
size_t event_book_count(const struct event_book *b);

/* True: the Event exists on the server, so that the body is a merge patch of its name; else the body is the object. */
bool event_entry_exists(const struct event_entry *e);
const char *event_entry_ns(
        const struct event_entry *e); /* where it goes: "default" for cluster-scoped objects */
void event_entry_name(const struct event_entry *e, struct buf *out); /* "<object>.<hex time>" */
/* JSON of core/v1, as client-go's recorder makes it. */
void event_entry_body(const struct event_entry *e, const char *component, const char *host, struct buf *out);
