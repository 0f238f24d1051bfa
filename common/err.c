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
};

void freep(void *p)
{
        void **owner = p;

        free(*owner);
        *owner = NULL;
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
        va_list ap;

        if (!e)
                return code;
        va_start(ap, fmt);
        (void)vsnprintf(e->text, sizeof(e->text), fmt, ap); /* cut is fine: words for a human */
        va_end(ap);
        return code;
}

int err_wrap(struct err *e, int code, const char *fmt, ...)
{
        struct err inner;
        va_list ap;
        size_t len;

        if (!e)
                return code;
        inner = *e;
        va_start(ap, fmt);
        (void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
        va_end(ap);
        len = strlen(e->text);
        if (inner.text[0] != '\0')
                (void)snprintf(e->text + len, sizeof(e->text) - len, ": %s", inner.text);
        return code;
}

const char *err_name(int code)
{
        static _Thread_local char text[96];

        for (size_t i = 0; i < ARRAY_LEN(own); i++)
                if (own[i].code == code)
                        return own[i].name;
        if (code < 0 && code > -2000 && strerror_r(-code, text, sizeof(text)) != NULL) {
                /* GNU strerror_r returns the text, which need not be in our buffer. */
                return strerror_r(-code, text, sizeof(text));
        }
        (void)snprintf(text, sizeof(text), "error %d", code);
        return text;
}
