/* SPDX-License-Identifier: Apache-2.0 */
#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
        int code;
        const char *name;
} own[] = {
        { ERR_MALFORMED, "malformed" },
        { ERR_TOO_BIG, "too big" },
        { ERR_FULL, "full" },
        { ERR_CONFLICT, "conflict" },
        { ERR_GONE, "gone" },
        { ERR_DENIED, "denied" },
        { ERR_MISSING, "not found" },
        { ERR_REJECTED, "rejected" },
        { ERR_BUSY, "server busy" },
        /* Those of libuv (include/uv/errno.h) that are no errno. */
        { -3001, "temporary failure in name resolution" },
        { -3003, "permanent failure in name resolution" },
        { -3007, "no address for this name" },
        { -3008, "unknown name" },
        { -4095, "end of file" },
};

void freep(void *p)
{
        void **owner = p;

        free(*owner);
        *owner = NULL;
}

/* Drops a character that was cut in the middle, so that JSON encoders keep the rest as it is. */
static void drop_cut_character(char *text)
{
        size_t len = strlen(text), at = len;

        while (at > 0 && len - at < 3 && ((unsigned char)text[at - 1] & 0xc0) == 0x80)
                at--;
        if (at > 0 && (unsigned char)text[at - 1] >= 0xc0) {
                unsigned char lead = (unsigned char)text[at - 1];
                size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;

                if (len - at + 1 < want)
                        text[at - 1] = '\0';
        }
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
        struct err whole; /* an argument may point into *e */
        va_list ap;
        int n;

        if (!e)
                return code;
        va_start(ap, fmt);
        n = vsnprintf(whole.text, sizeof(whole.text), fmt, ap);
        va_end(ap);
        if (n >= (int)sizeof(whole.text))
                drop_cut_character(whole.text);
        *e = whole;
        return code;
}

int err_wrap(struct err *e, int code, const char *fmt, ...)
{
        struct err whole;
        va_list ap;
        size_t len;
        int n;

        if (!e)
                return code;
        va_start(ap, fmt);
        n = vsnprintf(whole.text, sizeof(whole.text), fmt, ap);
        va_end(ap);
        len = strlen(whole.text);
        if (e->text[0] != '\0' && n >= 0)
                n = (int)len + snprintf(whole.text + len, sizeof(whole.text) - len, ": %s", e->text);
        if (n >= (int)sizeof(whole.text))
                drop_cut_character(whole.text);
        *e = whole;
        return code;
}

const char *err_name(int code)
{
        static _Thread_local char text[96];

        for (size_t i = 0; i < ARRAY_LEN(own); i++)
                if (own[i].code == code)
                        return own[i].name;
        if (code < 0 && code > -2000)
                return strerror_r(-code, text, sizeof(text)); /* GNU's: never NULL, need not be our buffer */
        (void)snprintf(text, sizeof(text), "error %d", code);
        return text;
}
