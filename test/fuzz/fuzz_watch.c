/* SPDX-License-Identifier: Apache-2.0 */
/* Lists and watches as bytes from a server. The first byte chooses the mode and how the rest is cut into chunks, the
 * second the limit of an object. However it is cut, the same objects, metadata and verdict must come out; and each
 * object goes where the informer sends it: to the JSON parser, or to peek_names(). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/kube/peek.h"
#include "common/kube/stream.h"
#include "common/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
        uint64_t hash;
        size_t n, max;
        int fed, end;
};

static uint64_t mix(uint64_t h, const void *bytes, size_t len)
{
        const uint8_t *p = bytes;

        for (size_t i = 0; i < len; i++)
                h = (h ^ p[i]) * 1099511628211u;
        return h;
}

static int on_object(void *ctx, const char *bytes, size_t len, bool cut)
{
        struct seen *s = ctx;
        cJSON *tree = NULL;
        struct peek p;

        if (len > s->max || (cut && len != s->max))
                abort(); /* the limit is the limit */
        s->n++;
        s->hash = mix(mix(mix(s->hash, &len, sizeof(len)), &cut, sizeof(cut)), bytes, len);
        peek_names(&p, bytes, len);
        if (!cut && json_parse(&tree, bytes, len) == 0) {
                if (!cJSON_IsObject(tree))
                        abort(); /* begins with a brace, so it is an object or nothing */
                cJSON_Delete(tree);
        }
        return 0;
}

static void run(struct seen *s, enum stream_mode mode, const uint8_t *data, size_t size, struct rng *rng)
{
        struct stream *st = NULL;
        const char *metadata;
        size_t len = 0;

        if (stream_new(&st, mode, s->max, on_object, s) < 0)
                abort();
        for (size_t at = 0; at < size && s->fed == 0;) {
                size_t n = rng ? 1 + rng_below(rng, 9) : size;
                char *exact;

                if (n > size - at)
                        n = size - at;
                exact = malloc(n); /* own heap block: ASan sees one byte too many */
                if (!exact)
                        abort();
                memcpy(exact, data + at, n);
                s->fed = stream_feed(st, exact, n);
                free(exact);
                at += n;
        }
        s->end = stream_end(st);
        metadata = stream_metadata(st, &len);
        if (metadata)
                s->hash = mix(s->hash, metadata, len);
        (void)stream_free(st);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct seen whole = { .hash = 1 }, cut = { .hash = 1 };
        struct rng rng;
        enum stream_mode mode;

        if (size < 2)
                return 0;
        mode = data[0] & 1 ? STREAM_WATCH : STREAM_LIST;
        rng.state = data[0] >> 1;
        whole.max = cut.max = 1 + (size_t)data[1] * 16;
        run(&whole, mode, data + 2, size - 2, NULL);
        run(&cut, mode, data + 2, size - 2, &rng);
        if (whole.n != cut.n || whole.hash != cut.hash || whole.fed != cut.fed || whole.end != cut.end)
                abort();
        return 0;
}
