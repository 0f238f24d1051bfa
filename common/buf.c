/* SPDX-License-Identifier: Apache-2.0 */
#include "common/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_fini(struct buf *b)
{
        free(b->p);
        *b = (struct buf)BUF_INIT;
}

void buf_reset(struct buf *b)
{
        b->len = 0;
        b->bad = false;
        if (b->p)
                b->p[0] = '\0';
}

bool buf_ok(const struct buf *b)
{
        return !b->bad;
}

const char *buf_str(const struct buf *b)
{
        return b->p ? b->p : "";
}

char *buf_take(struct buf *b)
{
        char *p;

        buf_add(b, "", 0);
        if (b->bad)
                return NULL;
        p = b->p;
        *b = (struct buf){ .max = b->max };
        return p;
}

/* Makes room for @more bytes and a terminator. */
static bool buf_room(struct buf *b, size_t more)
{
        size_t need, cap;
        char *p;

        if (b->bad)
                return false;
        if (more > SIZE_MAX / 2 - b->len - 1 || (b->max && b->len + more > b->max)) {
                b->bad = true;
                return false;
        }
        need = b->len + more + 1;
        if (need <= b->cap)
                return true;
        cap = b->cap ? b->cap : 64;
        while (cap < need)
                cap *= 2;
        p = realloc(b->p, cap);
        if (!p) {
                b->bad = true;
                return false;
        }
        b->p = p;
        b->cap = cap;
        return true;
}

void buf_add(struct buf *b, const void *bytes, size_t len)
{
        if (!buf_room(b, len))
                return;
        if (len > 0)
                memcpy(b->p + b->len, bytes, len);
        b->len += len;
        b->p[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *text)
{
        buf_add(b, text, strlen(text));
}

void buf_addc(struct buf *b, char c)
{
        buf_add(b, &c, 1);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
        va_list ap, again;
        int n;

        va_start(ap, fmt);
        va_copy(again, ap);
        n = vsnprintf(NULL, 0, fmt, ap);
        if (n >= 0 && buf_room(b, (size_t)n)) {
                (void)vsnprintf(b->p + b->len, (size_t)n + 1, fmt, again); /* measured just above */
                b->len += (size_t)n;
        } else {
                b->bad = true;
        }
        va_end(again);
        va_end(ap);
}

size_t buf_utf8_len(const unsigned char *p, size_t left)
{
        size_t n = p[0] < 0x80 ? 1
                : p[0] < 0xc2  ? 0
                : p[0] < 0xe0  ? 2
                : p[0] < 0xf0  ? 3
                : p[0] < 0xf5  ? 4
                               : 0;

        if (n == 0 || n > left)
                return 0;
        for (size_t i = 1; i < n; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
                (p[0] == 0xf4 && p[1] > 0x8f))
                return 0;
        return n;
}

void buf_add_json_n(struct buf *b, const char *text, size_t len)
{
        const unsigned char *p = (const unsigned char *)text;

        buf_addc(b, '"');
        for (size_t i = 0; i < len;) {
                size_t n = buf_utf8_len(p + i, len - i);

                if (n == 0) {
                        buf_adds(b, "\xef\xbf\xbd");
                        i++;
                        continue;
                }
                if (p[i] == '"' || p[i] == '\\')
                        buf_addc(b, '\\');
                if (p[i] == '\n')
                        buf_adds(b, "\\n");
                else if (p[i] < 0x20 || p[i] == 0x7f)
                        buf_addf(b, "\\u%04x", p[i]);
                else
                        buf_add(b, p + i, n);
                i += n;
        }
        buf_addc(b, '"');
}

void buf_add_json(struct buf *b, const char *text)
{
        buf_add_json_n(b, text, strlen(text));
}

void buf_add_url(struct buf *b, const char *text)
{
        for (const char *p = text; *p; p++) {
                unsigned char c = (unsigned char)*p;

                if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                        c == '.' || c == '_' || c == '~')
                        buf_addc(b, *p);
                else
                        buf_addf(b, "%%%02X", c);
        }
}
