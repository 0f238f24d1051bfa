/* SPDX-License-Identifier: Apache-2.0 */
#include "test/lib/objects.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

struct object *object_from(object_decode_fn decode, const char *fmt, ...)
{
        CLEANUP(freep) char *text = NULL;
        CLEANUP(json_deletep) cJSON *json = NULL;
        struct object *o = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(NULL, 0, fmt, ap);
        va_end(ap);
        ck_assert_int_ge(n, 0);
        text = malloc((size_t)n + 1);
        ck_assert_ptr_nonnull(text);
        va_start(ap, fmt);
        (void)vsnprintf(text, (size_t)n + 1, fmt, ap);
        va_end(ap);
        for (char *p = text; *p; p++)
                if (*p == '\'')
                        *p = '"';
        ck_assert_msg(json_parse(&json, text, strlen(text)) == 0, "no JSON: %s", text);
        ck_assert_msg(decode(&o, json) == 0, "does not decode: %s", text);
        return o;
}

struct object *object_make(object_decode_fn decode, const struct object_text *t)
{
        char created[32] = "1970-01-01T00:00:00Z";

        if (t->created_s)
                json_time_format(t->created_s, created);
        return object_from(decode,
                "{'metadata':{'namespace':'%s','name':'%s','creationTimestamp':'%s'%s%s},'spec':{%s},'status':{%s}}",
                t->ns ? t->ns : "", t->name, created, t->meta && *t->meta ? "," : "", t->meta ? t->meta : "",
                t->spec ? t->spec : "", t->status ? t->status : "");
}
