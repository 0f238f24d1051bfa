/* SPDX-License-Identifier: Apache-2.0 */
#include "speaker/l2sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/kube/stream.h"
#include "common/label.h"
#include "speaker/l2object.h"

#define OBJECT_MAX ((size_t)1 << 20)

struct l2sweep {
        struct l2sweep_conf conf; /* its strings are not used after the start */
        char node[LABEL_VALUE_MAX];
        struct stream *stream;
        struct kube_request *request;
        bool cancelled;
};

static struct l2sweep *l2sweep_free(struct l2sweep *s)
{
        if (!s)
                return NULL;
        stream_free(s->stream);
        free(s);
        return NULL;
}
DEFINE_CLEANUP(struct l2sweep, l2sweep_free);

static int on_object(void *ctx, const char *bytes, size_t len, bool cut)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        CLEANUP(object_freep) struct object *o = NULL;
        struct l2sweep *s = ctx;
        const cJSON *node;
        int r;

        if (cut || json_parse(&tree, bytes, len) < 0)
                return 0; /* none of ours, whatever it is */
        r = l2object_decode(&o, tree);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        node = cJSON_GetObjectItemCaseSensitive(json_at(tree, "metadata.labels"), "metallb.io/node");
        if (!cJSON_IsString(node) || strcmp(node->valuestring, s->node) == 0)
                return 0;
        if (!s->cancelled &&
                s->conf.is_ours(s->conf.ctx, l2object_of(o)->service_ns, l2object_of(o)->service_name))
                s->conf.on_foreign(s->conf.ctx, o->name);
        return 0;
}

static int on_data(void *ctx, const char *bytes, size_t len)
{
        struct l2sweep *s = ctx;

        return len > 0 ? stream_feed(s->stream, bytes, len) : 0;
}

static void on_done(void *ctx, const struct kube_response *res)
{
        CLEANUP(l2sweep_freep) struct l2sweep *s = ctx;
        int code = kube_response_code(res);

        if (code == 0)
                code = stream_end(s->stream);
        s->conf.on_done(s->conf.ctx, s->cancelled ? -ECANCELED : code);
}

static void add_query(struct buf *b, const struct l2sweep_conf *conf, const char *node)
{
        CLEANUP(buf_fini) struct buf selector = BUF_INIT;

        buf_addf(&selector, "metallb.io/node!=%s", node);
        for (size_t i = 0; i < conf->n_services; i++)
                buf_addf(
                        &selector, "%s%s", i == 0 ? ",metallb.io/service-name in (" : ",", conf->services[i]);
        if (conf->n_services > 0)
                buf_adds(&selector, ")");
        if (!buf_ok(&selector))
                b->bad = true;
        /* Version 0: from the server's cache, since objects that lie around are old. */
        buf_adds(b, "?resourceVersion=0&labelSelector=");
        buf_add_url(b, buf_str(&selector));
}

int l2sweep_start(struct l2sweep **ret, const struct l2sweep_conf *conf)
{
        CLEANUP(l2sweep_freep) struct l2sweep *s = calloc(1, sizeof(*s));
        CLEANUP(buf_fini) struct buf path = BUF_INIT;
        int r;

        if (!s)
                return -ENOMEM;
        s->conf = *conf;
        (void)label_value(s->node, conf->node);
        r = stream_new(&s->stream, STREAM_LIST, OBJECT_MAX, on_object, s);
        if (r < 0)
                return r;
        kube_path(&path, "metallb.io", "v1beta1", conf->ns, "servicel2statuses", NULL, NULL);
        add_query(&path, conf, s->node);
        if (!buf_ok(&path))
                return -ENOMEM;
        r = kube_send(conf->kube, &s->request,
                &(struct kube_call){ .method = "GET",
                        .path = buf_str(&path),
                        .stream = true,
                        .on_data = on_data,
                        .on_done = on_done,
                        .ctx = s,
                        .verb = "list",
                        .resource = "servicel2statuses" });
        if (r < 0)
                return r;

        *ret = TAKE(s);
        return 0;
}

void l2sweep_cancel(struct l2sweep *s)
{
        if (s->cancelled)
                return;
        s->cancelled = true;
        kube_cancel(s->request);
}
