/* SPDX-License-Identifier: Apache-2.0 */
/* The shell around event_book: a timer armed to its deadline, and at most a few writes under way. */
#include "common/kube/event.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/kube/event_book.h"

#define WRITES 4 /* at once; the rest of the client's places are for what matters more */

struct write {
        struct events *ev;
        struct event_entry *entry; /* NULL: free */
        struct kube_request *request;
};

struct counters {
        struct series *written, *dropped, *failed;
};

struct events {
        struct kube *k;
        struct event_book *book;
        char *component, *host;
        struct write writes[WRITES];
        uv_timer_t timer;
        struct counters count;
        bool closing;
        unsigned n_open; /* the timer and the writes under way */
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static void pump(struct events *ev);

static struct events *discard(struct events *ev) /* when nothing of it is in the loop */
{
        if (!ev)
                return NULL;
        (void)event_book_free(ev->book);
        free(ev->component);
        free(ev->host);
        free(ev);
        return NULL;
}
DEFINE_CLEANUP(struct events, discard);

static void closed_one(struct events *ev)
{
        void (*closed)(void *) = ev->closed;
        void *ctx = ev->closed_ctx;

        if (--ev->n_open > 0)
                return;
        (void)discard(ev);
        closed(ctx);
}

static uint64_t now_ms(const struct events *ev)
{
        return uv_now(kube_loop(ev->k));
}

static void on_timer(uv_timer_t *t)
{
        struct events *ev = t->data;

        if (!ev->closing)
                pump(ev);
}

static void arm(struct events *ev)
{
        uint64_t now = now_ms(ev), due = event_book_deadline(ev->book, now);
        bool has_place = false;

        for (size_t i = 0; i < WRITES; i++)
                has_place |= !ev->writes[i].entry;
        if (due == UINT64_MAX || !has_place)
                (void)uv_timer_stop(&ev->timer); /* never fails */
        else
                (void)uv_timer_start(
                        &ev->timer, on_timer, due > now ? due - now : 0, 0); /* fails only while closing */
}

static enum event_outcome outcome_of(const struct events *ev, const struct event_entry *e, int code)
{
        switch (code) {
        case 0: return EVENT_WRITTEN;
        case ERR_CONFLICT: /* a create whose answer was lost: it is there */
                return event_entry_exists(e) ? EVENT_RETRY : EVENT_WRITTEN;
        case ERR_MISSING:
                return event_entry_exists(e) ? EVENT_GONE : EVENT_REFUSED; /* the Event, or the namespace */
        case ERR_DENIED:
        case ERR_REJECTED:
        case ERR_TOO_BIG: return EVENT_REFUSED;
        case -ECANCELED: return ev->closing ? EVENT_REFUSED : EVENT_RETRY;
        default: return EVENT_RETRY;
        }
}

static void finish(struct events *ev, struct event_entry *e, int code, unsigned retry_after_s)
{
        enum event_outcome outcome = outcome_of(ev, e, code);

        if (outcome == EVENT_WRITTEN)
                series_add(ev->count.written, 1);
        if (!event_book_done(ev->book, e, now_ms(ev), outcome, retry_after_s))
                series_add(ev->count.failed, 1);
}

static void on_written(void *ctx, const struct kube_response *res)
{
        struct write *w = ctx;
        struct events *ev = w->ev;

        w->request = NULL;
        finish(ev, TAKE(w->entry), kube_response_code(res), res->retry_after_s);
        if (!ev->closing)
                arm(ev);
        closed_one(ev);
}

static int send_write(struct events *ev, struct write *w)
{
        CLEANUP(buf_fini) struct buf name = BUF_INIT, path = BUF_INIT, body = BUF_INIT;
        const struct event_entry *e = w->entry;
        bool patch = event_entry_exists(e);
        struct kube_call call = { .method = patch ? "PATCH" : "POST",
                .content_type = patch ? KUBE_MERGE_PATCH : NULL,
                .on_done = on_written,
                .ctx = w,
                .verb = patch ? "patch" : "create",
                .resource = "events" };

        if (patch)
                event_entry_name(e, &name);
        kube_path(&path, "", "v1", event_entry_ns(e), "events", buf_str(&name), NULL);
        event_entry_body(e, ev->component, ev->host, &body);
        if (!buf_ok(&name) || !buf_ok(&path) || !buf_ok(&body))
                return -ENOMEM;
        call.path = buf_str(&path);
        call.body = buf_str(&body);
        call.body_len = body.len;
        return kube_send(ev->k, &w->request, &call);
}

static void pump(struct events *ev)
{
        for (size_t i = 0; i < WRITES; i++) {
                struct write *w = &ev->writes[i];
                int r;

                if (w->entry)
                        continue;
                w->entry = event_book_next(ev->book, now_ms(ev));
                if (!w->entry)
                        break;
                r = send_write(ev, w);
                if (r == 0)
                        ev->n_open++;
                else
                        finish(ev, TAKE(w->entry), r, 0);
        }
        arm(ev);
}

static int count_init(struct events *ev, struct metrics *reg)
{
        static const char *const labels[] = { "result", NULL };
        struct family *f;

        if (!reg)
                return 0;
        f = metrics_family(reg, METRIC_COUNTER, "metallb_k8s_events_total",
                "Events: writes that worked, events dropped by a limit, changes given up.", labels, NULL, 0);
        ev->count.written = metrics_with(f, "written");
        ev->count.dropped = metrics_with(f, "dropped");
        ev->count.failed = metrics_with(f, "failed");
        return ev->count.written && ev->count.dropped && ev->count.failed ? 0 : -ENOMEM;
}

int events_new(
        struct events **ret, struct kube *k, const char *component, const char *host, struct metrics *reg)
{
        CLEANUP(discardp) struct events *ev = calloc(1, sizeof(*ev));
        int r;

        if (!ev)
                return -ENOMEM;
        ev->k = k;
        ev->component = strdup(component);
        ev->host = strdup(host);
        r = ev->component && ev->host ? event_book_new(&ev->book) : -ENOMEM;
        if (r == 0)
                r = count_init(ev, reg);
        if (r < 0)
                return r;
        for (size_t i = 0; i < WRITES; i++)
                ev->writes[i].ev = ev;
        (void)uv_timer_init(kube_loop(k), &ev->timer); /* libuv: always 0 */
        ev->timer.data = ev;
        ev->n_open = 1;
        *ret = TAKE(ev);
        return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
        closed_one(h->data);
}

void events_close(struct events *ev, void (*closed)(void *ctx), void *ctx)
{
        if (ev->closing)
                return;
        ev->closing = true;
        ev->closed = closed;
        ev->closed_ctx = ctx;
        for (size_t i = 0; i < WRITES; i++)
                if (ev->writes[i].entry)
                        kube_cancel(ev->writes[i].request);
        uv_close((uv_handle_t *)&ev->timer, on_timer_closed);
}

void events_say(struct events *ev, const struct event_object *on, enum event_type type, const char *reason,
        const char *fmt, ...)
{
        char message[EVENT_TEXT_MAX];
        const struct event_text text = { .on = on, .type = type, .reason = reason, .message = message };
        struct timespec wall;
        va_list ap;

        if (ev->closing)
                return;
        va_start(ap, fmt);
        (void)vsnprintf(message, sizeof(message), fmt, ap); /* cut is fine: words for a human */
        va_end(ap);
        (void)clock_gettime(CLOCK_REALTIME, &wall); /* cannot fail */
        if (event_book_say(ev->book, now_ms(ev), (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec,
                    &text) < 0)
                series_add(ev->count.dropped, 1);
        else
                arm(ev);
}
