/* SPDX-License-Identifier: Apache-2.0 */
/* The worker thread owns struct look while it runs; the loop touches it only before uv_queue_work() and after. */
#include "common/kube/creds.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/kube/file.h"

#define LOOK_MS 1000 /* at most one look a second, and none while nothing is asked of the server */

struct part {
        char *path; /* NULL: not from a file */
        char *text; /* NULL: not given */
        struct file_stamp stamp;
};

struct look {
        uv_work_t work;
        const char *path[CREDS_PARTS]; /* borrowed from parts, which keep them for life */
        struct file_stamp stamp[CREDS_PARTS];
        char *text[CREDS_PARTS]; /* new texts; NULL: as before, or unreadable now */
};

struct creds {
        uv_loop_t *loop;
        struct part parts[CREDS_PARTS];
        struct look look;
        bool looking, again, closing, has_files;
        uint64_t next_look_ms;
        void (*on_checked)(void *ctx, bool changed);
        void *ctx;
        void (*closed)(void *ctx);
        void *closed_ctx;
        uv_timer_t defer; /* closed() must not come from inside creds_close() */
};

static void look_start(struct creds *c);

static char *wipe(char *text)
{
        if (text)
                OPENSSL_cleanse(text, strlen(text));
        free(text);
        return NULL;
}

struct creds *creds_free(struct creds *c)
{
        if (!c)
                return NULL;
        for (int i = 0; i < CREDS_PARTS; i++) {
                free(c->parts[i].path);
                c->parts[i].text = wipe(c->parts[i].text);
                c->look.text[i] = wipe(c->look.text[i]);
        }
        free(c);
        return NULL;
}
DEFINE_CLEANUP(struct creds, creds_free);

static int part_init(struct part *p, const char *path, const char *text, struct err *e)
{
        if (path) {
                p->path = strdup(path);
                return p->path ? file_read(&p->text, path, &p->stamp, e) : -ENOMEM;
        }
        if (text) {
                p->text = strdup(text);
                return p->text ? 0 : -ENOMEM;
        }
        return 0;
}

int creds_new(struct creds **ret, uv_loop_t *loop, const struct kube_conf *conf,
        void (*on_checked)(void *ctx, bool changed), void *ctx, struct err *e)
{
        CLEANUP(creds_freep) struct creds *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->loop = loop;
        c->on_checked = on_checked;
        c->ctx = ctx;
        c->look.work.data = c;
        r = part_init(&c->parts[CREDS_TOKEN], conf->token_file, conf->token, e);
        if (r == 0)
                r = part_init(&c->parts[CREDS_CA], conf->ca_data ? NULL : conf->ca_file, conf->ca_data, e);
        if (r == 0)
                r = part_init(
                        &c->parts[CREDS_CERT], conf->cert_data ? NULL : conf->cert_file, conf->cert_data, e);
        if (r == 0)
                r = part_init(
                        &c->parts[CREDS_KEY], conf->key_data ? NULL : conf->key_file, conf->key_data, e);
        if (r < 0)
                return r;
        for (int i = 0; i < CREDS_PARTS; i++)
                c->has_files |= c->parts[i].path != NULL;
        *ret = TAKE(c);
        return 0;
}

void creds_start(struct creds *c)
{
        (void)uv_timer_init(c->loop, &c->defer); /* libuv: always 0 */
        c->defer.data = c;
}

const char *creds_text(const struct creds *c, enum creds_part part)
{
        return c->parts[part].text;
}

bool creds_has_files(const struct creds *c)
{
        return c->has_files;
}

static void on_defer_closed(uv_handle_t *h)
{
        struct creds *c = h->data;
        void (*closed)(void *) = c->closed;
        void *ctx = c->closed_ctx;

        (void)creds_free(c);
        closed(ctx);
}

/* Worker thread. */
static void look_work(uv_work_t *work)
{
        struct look *l = container_of(work, struct look, work);

        for (int i = 0; i < CREDS_PARTS; i++) {
                struct file_stamp now;

                if (!l->path[i] || file_stat(&now, l->path[i]) < 0 || file_stamp_equal(&now, &l->stamp[i]))
                        continue;
                if (file_read(&l->text[i], l->path[i], &l->stamp[i], NULL) < 0)
                        l->text[i] = NULL; /* being replaced, or no memory: the next look finds it */
        }
}

static void look_done(uv_work_t *work, int status UNUSED)
{
        struct creds *c = container_of(work, struct creds, look.work);
        bool changed = false;

        c->looking = false;
        if (c->closing) {
                uv_close((uv_handle_t *)&c->defer, on_defer_closed);
                return;
        }
        for (int i = 0; i < CREDS_PARTS; i++) {
                struct part *p = &c->parts[i];

                if (!c->look.text[i])
                        continue;
                changed |= strcmp(p->text ? p->text : "", c->look.text[i]) != 0;
                (void)wipe(p->text);
                p->text = TAKE(c->look.text[i]);
                p->stamp = c->look.stamp[i];
        }
        if (c->again) {
                c->again = false;
                look_start(c);
                if (c->looking && !changed)
                        return; /* the answer is the next one's */
        }
        c->on_checked(c->ctx, changed);
}

static void look_start(struct creds *c)
{
        struct look *l = &c->look;

        for (int i = 0; i < CREDS_PARTS; i++) {
                l->path[i] = c->parts[i].path;
                l->stamp[i] = c->parts[i].stamp;
                l->text[i] = NULL;
        }
        c->looking = uv_queue_work(c->loop, &l->work, look_work, look_done) == 0;
}

static void on_defer(uv_timer_t *t)
{
        struct creds *c = t->data;

        if (!c->closing && !c->looking)
                c->on_checked(c->ctx, false);
}

void creds_poke(struct creds *c, uint64_t now_ms, bool urgent)
{
        if (c->closing || (!urgent && (!c->has_files || now_ms < c->next_look_ms)))
                return;
        c->next_look_ms = now_ms + LOOK_MS;
        if (c->looking) {
                c->again |= urgent;
                return;
        }
        if (c->has_files)
                look_start(c);
        if (urgent && !c->looking)
                (void)uv_timer_start(&c->defer, on_defer, 0, 0); /* fails only while closing */
}

void creds_close(struct creds *c, void (*closed)(void *ctx), void *ctx)
{
        if (c->closing)
                return;
        c->closing = true;
        c->closed = closed;
        c->closed_ctx = ctx;
        if (!c->looking)
                uv_close((uv_handle_t *)&c->defer, on_defer_closed);
}
