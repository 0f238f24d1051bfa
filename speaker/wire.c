/* SPDX-License-Identifier: Apache-2.0 */
/* The thread, and what crosses to and from it. Over go a desired set and an exclusion list, each in a one-place mailbox:
 * a pointer exchanged atomically, so only the newest counts. Back come events in a bounded queue under a mutex that is
 * held for a few instructions, and the newest view of the links.
 *
 * Closing: the flag `stop` goes over, the engine closes, the wire loop runs dry, the thread's last act is to say `done`;
 * then the control loop joins it, which is immediate, and closes its own handles. */
#include "speaker/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "speaker/engine.h"

#define EVENTS_MAX    64 /* waiting for the control loop; more are dropped: conflicts repeat, warnings too */
#define WORDS_MAX     192
#define EXCLUDE_MS    2000 /* the file is looked at this often, in the thread pool */
#define EXCLUDE_BYTES 65536
#define REFRESH_MS    30000
#define FRAMES_S      500
#define SENDER_S      10000

struct queued {
        enum wire_event_type type;
        struct ip ip;
        uint8_t mac[6];
        char link_name[16];
        char words[WORDS_MAX];
};

struct wire {
        /* The control loop's. */
        struct wire_conf conf;
        char *exclude_file; /* copy, or NULL */
        uv_async_t events;
        uv_fs_poll_t file;
        bool has_file, closing;
        unsigned n_open;
        void (*closed)(void *ctx);
        void *closed_ctx;
        /* The wire loop's. */
        uv_loop_t loop;
        uv_thread_t thread;
        uv_async_t wake;
        bool has_events; /* set before the thread runs */
        struct engine *engine;
        bool stopping;
        /* Both sides'. */
        _Atomic(struct desired *) next_desired;
        _Atomic(struct exclude *) next_exclude;
        atomic_bool stop;
        uv_mutex_t lock; /* of all below */
        struct queued queue[EVENTS_MAX];
        unsigned head, n;
        struct engine_view *view;
        bool done;
};

/* On the wire thread. */

static struct queued *queue_slot(struct wire *w)
{
        struct queued *q;

        if (w->n == EVENTS_MAX)
                return NULL;
        q = &w->queue[(w->head + w->n++) % EVENTS_MAX];
        memset(q, 0, sizeof(*q));
        return q;
}

static void notify(struct wire *w)
{
        if (w->has_events)
                (void)uv_async_send(&w->events); /* fails only for a handle that is no async */
}

static void on_links(void *ctx)
{
        struct wire *w = ctx;
        struct engine_view *view = engine_links(w->engine), *old;

        if (!view) /* the next change brings another */
                return;
        uv_mutex_lock(&w->lock);
        old = w->view;
        w->view = view;
        uv_mutex_unlock(&w->lock);
        free(old);
        notify(w);
}

static void on_conflict(void *ctx, const struct ip *ip, const uint8_t mac[static 6], const char *interface)
{
        struct wire *w = ctx;
        struct queued *q;

        uv_mutex_lock(&w->lock);
        q = queue_slot(w);
        if (q) {
                q->type = WIRE_CONFLICT;
                q->ip = *ip;
                memcpy(q->mac, mac, sizeof(q->mac));
                (void)snprintf(q->link_name, sizeof(q->link_name), "%s", interface);
        }
        uv_mutex_unlock(&w->lock);
        notify(w);
}

static void on_warning(void *ctx, const char *words)
{
        struct wire *w = ctx;
        struct queued *q;

        uv_mutex_lock(&w->lock);
        q = queue_slot(w);
        if (q) {
                q->type = WIRE_WARNING;
                (void)snprintf(q->words, sizeof(q->words), "%s", words); /* cut is fine: words for a human */
        }
        uv_mutex_unlock(&w->lock);
        notify(w);
}

static void on_engine_closed(void *ctx)
{
        struct wire *w = ctx;

        w->engine = NULL;
        uv_close((uv_handle_t *)&w->wake, NULL);
}

static void on_wake(uv_async_t *a)
{
        struct wire *w = container_of(a, struct wire, wake);
        struct exclude *x;
        struct desired *d;

        if (w->stopping)
                return;
        if (atomic_load(&w->stop)) {
                w->stopping = true;
                engine_close(w->engine, on_engine_closed, w);
                return;
        }
        x = atomic_exchange(&w->next_exclude, NULL);
        if (x)
                engine_exclude(w->engine, x);
        d = atomic_exchange(&w->next_desired, NULL);
        if (d)
                engine_desired(w->engine, d);
}

static void thread_main(void *arg)
{
        struct wire *w = arg;
        int r;

        uv_mutex_lock(&w->lock); /* see start() */
        uv_mutex_unlock(&w->lock);
        (void)pthread_setname_np(pthread_self(), "wire"); /* for the operator's eyes only */
        (void)uv_run(&w->loop, UV_RUN_DEFAULT); /* returns when the engine and the wake handle are closed */
        r = uv_loop_close(&w->loop);
        assert(r == 0);
        (void)r;
        uv_mutex_lock(&w->lock);
        w->done = true;
        uv_mutex_unlock(&w->lock);
        notify(w);
}

/* On the control loop. */

static void wire_free(struct wire *w)
{
        (void)desired_free(atomic_load(&w->next_desired));
        (void)exclude_free(atomic_load(&w->next_exclude));
        uv_mutex_destroy(&w->lock);
        free(w->view);
        free(w->exclude_file);
        free(w);
}

static void on_handle_closed(uv_handle_t *h)
{
        struct wire *w = h->data;
        void (*closed)(void *ctx) = w->closed;
        void *ctx = w->closed_ctx;

        if (--w->n_open > 0)
                return;
        wire_free(w);
        closed(ctx);
}

static void finish(struct wire *w)
{
        (void)uv_thread_join(&w->thread); /* its last act was to tell us */
        w->events.data = w->file.data = w;
        uv_close((uv_handle_t *)&w->events, on_handle_closed);
        if (w->has_file)
                uv_close((uv_handle_t *)&w->file, on_handle_closed);
}

static void deliver_links(struct wire *w, struct engine_view *view)
{
        struct wire_event ev = { .type = WIRE_LINKS, .links = view->v, .n_links = view->n };

        w->conf.on_event(w->conf.ctx, &ev);
        free(view);
}

static void deliver(struct wire *w, const struct queued *q)
{
        struct wire_event ev = { .type = q->type, .ip = q->ip };

        memcpy(ev.mac, q->mac, sizeof(ev.mac));
        memcpy(ev.link_name, q->link_name, sizeof(ev.link_name));
        ev.words = q->words;
        w->conf.on_event(w->conf.ctx, &ev);
}

static void on_events(uv_async_t *a)
{
        struct wire *w = container_of(a, struct wire, events);
        struct engine_view *view;
        struct queued q;
        bool more = true, done;

        while (more) {
                uv_mutex_lock(&w->lock);
                done = w->done;
                view = TAKE(w->view);
                more = w->n > 0;
                if (more) {
                        q = w->queue[w->head];
                        w->head = (w->head + 1) % EVENTS_MAX;
                        w->n--;
                }
                uv_mutex_unlock(&w->lock);
                if (w->closing) { /* nobody listens any more */
                        free(view);
                        if (done)
                                finish(w);
                        return;
                }
                if (view)
                        deliver_links(w, view);
                if (more && !w->closing)
                        deliver(w, &q);
                else if (w->closing)
                        return; /* the thread will wake us once more */
        }
}

/* The file's text; a missing file is an empty one. */
static int read_file(char **ret, size_t *ret_len, const char *path, struct err *e)
{
        CLEANUP(freep) char *text = malloc(EXCLUDE_BYTES + 1);
        int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
        size_t len = 0;
        ssize_t n = 1;

        if (fd < 0 && errno != ENOENT && errno != ENOTDIR) {
                r = -errno;
                return err_set(e, r, "%s: %s", path, err_name(r));
        }
        while (text && fd >= 0 && n > 0 && len <= EXCLUDE_BYTES) {
                n = read(fd, text + len, EXCLUDE_BYTES + 1 - len);
                len += n > 0 ? (size_t)n : 0;
        }
        if (n < 0)
                r = -errno;
        if (fd >= 0)
                (void)close(fd); /* only read from */
        if (!text)
                return err_set(e, -ENOMEM, "%s: no memory", path);
        if (r < 0)
                return err_set(e, r, "%s: %s", path, err_name(r));
        if (len > EXCLUDE_BYTES)
                return err_set(e, ERR_TOO_BIG, "%s: larger than %d bytes", path, EXCLUDE_BYTES);
        *ret = TAKE(text);
        *ret_len = len;
        return 0;
}

static int exclude_load(struct exclude **ret, const char *path, struct err *e)
{
        CLEANUP(freep) char *text = NULL;
        size_t len = 0;
        int r = read_file(&text, &len, path, e);

        if (r < 0)
                return r;
        r = exclude_parse(ret, text, len, e);
        return r < 0 ? err_wrap(e, r, "%s", path) : 0;
}

static void on_file(uv_fs_poll_t *h, int status, const uv_stat_t *was, const uv_stat_t *is)
{
        struct wire *w = container_of(h, struct wire, file);
        struct exclude *x = NULL;
        struct wire_event ev = { .type = WIRE_WARNING };
        struct err e = { "" };

        (void)status;
        (void)was;
        (void)is;
        if (w->closing)
                return;
        if (exclude_load(&x, w->exclude_file, &e) < 0) {
                (void)err_wrap(&e, 0, "excluded interfaces stay as they were");
                ev.words = e.text;
                w->conf.on_event(w->conf.ctx, &ev);
                return;
        }
        (void)exclude_free(atomic_exchange(&w->next_exclude, x));
        (void)uv_async_send(&w->wake);
}

/* The wire loop with its engine, before there is a thread. Takes *@x on success. */
static int loop_new(struct wire *w, struct exclude **x, struct err *e)
{
        struct engine_conf conf = {
                .refresh_ms = w->conf.refresh_ms ? w->conf.refresh_ms : REFRESH_MS,
                .max_frames_s = w->conf.max_frames_s ? w->conf.max_frames_s : FRAMES_S,
                .max_sender_s = w->conf.max_sender_s ? w->conf.max_sender_s : SENDER_S,
                .reg = w->conf.reg,
                .exclude = *x,
                .on_links = on_links,
                .on_conflict = on_conflict,
                .on_warning = on_warning,
                .ctx = w,
        };
        int r = uv_loop_init(&w->loop);

        if (r < 0)
                return err_set(e, r, "layer 2 cannot start: %s", err_name(r));
        r = uv_async_init(&w->loop, &w->wake, on_wake);
        if (r < 0) {
                (void)uv_loop_close(&w->loop); /* nothing is open on it */
                return err_set(e, r, "layer 2 cannot start: %s", err_name(r));
        }
        r = engine_new(&w->engine, &w->loop, &conf, e);
        if (r == 0) {
                (void)TAKE(*x);
                return 0;
        }
        uv_close((uv_handle_t *)&w->wake, NULL);
        (void)uv_run(&w->loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&w->loop);
        return r;
}

/* Signals are the control loop's business. */
static int thread_new(struct wire *w)
{
        sigset_t all, before;
        int r;

        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* fails only for a wrong first argument */
        r = uv_thread_create(&w->thread, thread_main, w);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        return r;
}

/* Thread and control handle; the thread holds still at the lock until both exist or it is told to stop. */
static int start(struct wire *w, uv_loop_t *control, struct err *e)
{
        int r;

        uv_mutex_lock(&w->lock);
        r = thread_new(w);
        if (r < 0) {
                uv_mutex_unlock(&w->lock);
                engine_close(w->engine, on_engine_closed, w);
                (void)uv_run(&w->loop, UV_RUN_DEFAULT);
                (void)uv_loop_close(&w->loop);
                return err_set(e, r, "no thread for layer 2: %s", err_name(r));
        }
        r = uv_async_init(control, &w->events, on_events);
        w->has_events = r >= 0;
        uv_mutex_unlock(&w->lock);
        if (r >= 0)
                return 0;
        atomic_store(&w->stop, true);
        (void)uv_async_send(&w->wake);
        (void)uv_thread_join(&w->thread);
        return err_set(e, r, "layer 2 cannot start: %s", err_name(r));
}

int wire_new(struct wire **ret, uv_loop_t *control, const struct wire_conf *conf, struct err *e)
{
        CLEANUP(exclude_freep) struct exclude *x = NULL;
        struct wire *w = calloc(1, sizeof(*w));
        int r = 0;

        if (!w || uv_mutex_init(&w->lock) < 0) {
                free(w);
                return err_set(e, -ENOMEM, "no memory");
        }
        w->conf = *conf;
        if (conf->exclude_file) {
                w->exclude_file = strdup(conf->exclude_file);
                r = w->exclude_file ? exclude_load(&x, w->exclude_file, e) : err_set(e, -ENOMEM, "no memory");
        }
        if (r == 0)
                r = loop_new(w, &x, e);
        if (r == 0)
                r = start(w, control, e);
        if (r < 0) {
                wire_free(w);
                return r;
        }
        w->n_open = 1;
        if (w->exclude_file && uv_fs_poll_init(control, &w->file) >= 0) {
                w->has_file = true;
                w->n_open = 2;
                if (uv_fs_poll_start(&w->file, on_file, w->exclude_file, EXCLUDE_MS) < 0)
                        on_warning(w,
                                "no memory to watch the list of excluded interfaces: later changes are not seen");
        }
        *ret = w;
        return 0;
}

void wire_post(struct wire *w, struct desired *d)
{
        if (w->closing) {
                (void)desired_free(d);
                return;
        }
        (void)desired_free(atomic_exchange(&w->next_desired, d)); /* one that was never looked at */
        (void)uv_async_send(&w->wake);
}

void wire_close(struct wire *w, void (*closed)(void *ctx), void *ctx)
{
        if (w->closing)
                return;
        w->closing = true;
        w->closed = closed;
        w->closed_ctx = ctx;
        atomic_store(&w->stop, true);
        (void)uv_async_send(&w->wake);
}
