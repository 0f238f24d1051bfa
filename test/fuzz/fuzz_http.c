/* SPDX-License-Identifier: Apache-2.0 */
/* A connection's bytes: one head, then a body in chunks. Both must read the same however the bytes are cut. */
#include <stdlib.h>
#include <string.h>

#include "common/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool what)
{
        if (!what)
                abort();
}

static void check_body(const char *p, size_t len)
{
        struct buf whole = { .max = 4096 }, parts = { .max = 4096 };
        struct http_chunks a = { 0 }, b = { 0 };
        int r = http_chunks_read(&a, &whole, p, len), one = 0;
        size_t at = 0;

        while (at < len && one >= 0 && !http_chunks_done(&b)) {
                one = http_chunks_read(&b, &parts, p + at, 1);
                at += one > 0;
        }
        require(r < 0 ? one == r : at == (size_t)r);
        require(http_chunks_done(&a) == http_chunks_done(&b));
        require(whole.len == parts.len && whole.len <= 4096 && strcmp(buf_str(&whole), buf_str(&parts)) == 0);
        buf_fini(&whole);
        buf_fini(&parts);
}

static void check_head(const struct http_head *h, const char *bytes, size_t len)
{
        const char *strings[] = { h->method, h->path, h->query, h->bearer };

        for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
                if (!strings[i] || (i == 2 && *strings[i] == '\0'))
                        continue;
                require(strings[i] >= bytes && strings[i] + strlen(strings[i]) < bytes + len);
        }
        require(*h->method && (*h->path == '/' || *h->path == '*') && (!h->bearer || *h->bearer));
        require(h->body == HTTP_BODY_LENGTH || h->length == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *exact = malloc(size ? size : 1);
        struct http_head h;
        size_t end, parts = 0;

        if (!exact)
                return 0;
        memcpy(exact, data, size);
        end = http_head_end(exact, size, 0);
        for (size_t len = 1; len <= size && parts == 0; len++)
                parts = http_head_end(exact, len, len - 1);
        require(end == parts);
        if (end > 0 && http_head_parse(&h, exact, end) == 0)
                check_head(&h, exact, end);
        check_body(exact + end, size - end);
        free(exact);
        return 0;
}
