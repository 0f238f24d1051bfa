/* SPDX-License-Identifier: Apache-2.0 */
/* cJSON parses; this file decides what it may see. One pass over the bytes first makes sure of four things that cJSON does
 * not: nesting is bounded (it recurses), brackets and quotes are closed (CVE-2023-53154: before 1.7.18 it reads past the
 * end otherwise), no NUL byte hides what follows, and no \u0000 does: its strings end at the first NUL, so a name
 * "a\u0000b" would read as "a". The escape is turned into U+FFFD, which no valid name contains. */
#include "common/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define INT_MAX_EXACT 9007199254740991.0 /* 2^53 - 1: beyond it neighbours share one double */

struct scan {
        unsigned depth;
        bool in_string;
        bool nul_escape; /* a \u0000 was seen */
};

/* The character at @at of a string; returns how many were used. */
static size_t scan_string(struct scan *s, const char *p, size_t left)
{
        if (p[0] == '"')
                s->in_string = false;
        if (p[0] != '\\' || left < 2)
                return 1;
        if (left >= 6 && memcmp(p, "\\u0000", 6) == 0)
                s->nul_escape = true;
        return 2;
}

static int scan(struct scan *s, const char *p, size_t len)
{
        for (size_t i = 0; i < len;) {
                if (p[i] == '\0')
                        return ERR_MALFORMED;
                if (s->in_string) {
                        i += scan_string(s, p + i, len - i);
                        continue;
                }
                if (p[i] == '"')
                        s->in_string = true;
                else if ((p[i] == '{' || p[i] == '[') && ++s->depth > JSON_DEPTH_MAX)
                        return ERR_TOO_BIG;
                else if ((p[i] == '}' || p[i] == ']') && s->depth-- == 0)
                        return ERR_MALFORMED;
                i++;
        }
        return s->in_string || s->depth > 0 ? ERR_MALFORMED : 0;
}

/* A copy with each \u0000 written \ufffd; NULL: no memory. */
static char *without_nul_escapes(const char *bytes, size_t len)
{
        char *copy = malloc(len);

        if (!copy)
                return NULL;
        memcpy(copy, bytes, len);
        for (size_t i = 0; i + 6 <= len; i++) {
                if (copy[i] != '\\')
                        continue;
                if (memcmp(copy + i, "\\u0000", 6) == 0)
                        memcpy(copy + i, "\\ufffd", 6);
                i++; /* what a backslash escapes starts no escape */
        }
        return copy;
}

int json_parse(cJSON **ret, const char *bytes, size_t len)
{
        CLEANUP(freep) char *copy = NULL;
        struct scan s = { 0 };
        const char *end = NULL;
        cJSON *tree;
        int r;

        r = scan(&s, bytes, len);
        if (r < 0)
                return r;
        if (s.nul_escape) {
                copy = without_nul_escapes(bytes, len);
                if (!copy)
                        return -ENOMEM;
                bytes = copy;
        }
        errno = 0; /* the only way to tell apart cJSON's two reasons to return NULL */
        tree = cJSON_ParseWithLengthOpts(bytes, len, &end, false);
        if (!tree)
                return errno == ENOMEM ? -ENOMEM : ERR_MALFORMED;
        for (; end < bytes + len; end++) {
                if (*end != ' ' && *end != '\t' && *end != '\r' && *end != '\n') {
                        cJSON_Delete(tree);
                        return ERR_MALFORMED;
                }
        }
        *ret = tree;
        return 0;
}

/* NULL: absent or null. */
static const cJSON *member(const cJSON *obj, const char *key)
{
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(obj, key);

        return cJSON_IsNull(item) ? NULL : item;
}

int json_str(const cJSON *obj, const char *key, const char **ret)
{
        const cJSON *item = member(obj, key);

        if (!item)
                return -ENOENT;
        if (!cJSON_IsString(item) || !item->valuestring)
                return -EPROTOTYPE;
        *ret = item->valuestring;
        return 0;
}

int json_bool(const cJSON *obj, const char *key, bool *ret)
{
        const cJSON *item = member(obj, key);

        if (!item)
                return -ENOENT;
        if (!cJSON_IsBool(item))
                return -EPROTOTYPE;
        *ret = cJSON_IsTrue(item);
        return 0;
}

int json_int(const cJSON *obj, const char *key, int64_t *ret)
{
        const cJSON *item = member(obj, key);

        if (!item)
                return -ENOENT;
        if (!cJSON_IsNumber(item))
                return -EPROTOTYPE;
        if (!(item->valuedouble >= -INT_MAX_EXACT && item->valuedouble <= INT_MAX_EXACT) ||
                item->valuedouble != (double)(int64_t)item->valuedouble)
                return -ERANGE;
        *ret = (int64_t)item->valuedouble;
        return 0;
}

int64_t json_int_clamped(const cJSON *obj, const char *key, int64_t fallback)
{
        const cJSON *item = member(obj, key);
        int64_t value = fallback;

        if (json_int(obj, key, &value) == -ERANGE) {
                if (item->valuedouble > INT_MAX_EXACT)
                        return INT64_MAX;
                if (item->valuedouble < -INT_MAX_EXACT)
                        return INT64_MIN;
        }
        return value;
}

int json_obj(const cJSON *obj, const char *key, const cJSON **ret)
{
        const cJSON *item = member(obj, key);

        if (!item)
                return -ENOENT;
        if (!cJSON_IsObject(item))
                return -EPROTOTYPE;
        *ret = item;
        return 0;
}

int json_arr(const cJSON *obj, const char *key, const cJSON **ret)
{
        const cJSON *item = member(obj, key);

        if (!item)
                return -ENOENT;
        if (!cJSON_IsArray(item))
                return -EPROTOTYPE;
        *ret = item;
        return 0;
}

static const cJSON *member_n(const cJSON *obj, const char *key, size_t len)
{
        const cJSON *item;

        if (!cJSON_IsObject(obj))
                return NULL;
        cJSON_ArrayForEach (item, obj) {
                if (strncmp(item->string, key, len) == 0 && item->string[len] == '\0')
                        return cJSON_IsNull(item) ? NULL : item;
        }
        return NULL;
}

const cJSON *json_at(const cJSON *obj, const char *path)
{
        while (obj) {
                size_t len = strcspn(path, ".");

                obj = member_n(obj, path, len);
                if (path[len] == '\0')
                        break;
                path += len + 1;
        }
        return obj;
}

const char *json_str_at(const cJSON *obj, const char *path, const char *fallback)
{
        const char *text = cJSON_GetStringValue(json_at(obj, path));

        return text ? text : fallback;
}

/* Exactly @n digits at *@p, which moves behind them; -1: something else is there. */
static int digits(const char **p, unsigned n)
{
        int value = 0;

        for (; n > 0; n--, (*p)++) {
                if (**p < '0' || **p > '9')
                        return -1;
                value = value * 10 + (**p - '0');
        }
        return value;
}

static bool literal(const char **p, char c)
{
        if (**p != c)
                return false;
        (*p)++;
        return true;
}

static bool is_leap(int year)
{
        return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int month_days(int year, int month)
{
        static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

        return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days from 1970-01-01 to the first of January of @year, 0 .. 10000. */
static int64_t year_start(int year)
{
        int y = year - 1 + 400; /* one whole cycle up, so that division rounds down */

        return (int64_t)365 * year + y / 4 - y / 100 + y / 400 - 97 - 719527;
}

/* "Z", "+hh:mm" or "-hh:mm" in seconds; false: none of them, or text behind it. */
static bool parse_zone(const char *p, int64_t *ret)
{
        int sign = *p == '-' ? -1 : 1, h, m;

        *ret = 0;
        if (literal(&p, 'Z') || literal(&p, 'z'))
                return *p == '\0';
        if (!literal(&p, '+') && !literal(&p, '-'))
                return false;
        h = digits(&p, 2);
        if (h < 0 || h > 23 || !literal(&p, ':'))
                return false;
        m = digits(&p, 2);
        if (m < 0 || m > 59 || *p != '\0')
                return false;
        *ret = sign * (h * 3600 + m * 60);
        return true;
}

int json_time(const char *text, int64_t *ret)
{
        int64_t days, zone;
        const char *p = text;
        int year, month, day, h, m, s;

        year = digits(&p, 4);
        if (year < 0 || !literal(&p, '-'))
                return ERR_MALFORMED;
        month = digits(&p, 2);
        if (month < 1 || month > 12 || !literal(&p, '-'))
                return ERR_MALFORMED;
        day = digits(&p, 2);
        if (day < 1 || day > month_days(year, month) || (!literal(&p, 'T') && !literal(&p, 't')))
                return ERR_MALFORMED;
        h = digits(&p, 2);
        if (h < 0 || h > 23 || !literal(&p, ':'))
                return ERR_MALFORMED;
        m = digits(&p, 2);
        if (m < 0 || m > 59 || !literal(&p, ':'))
                return ERR_MALFORMED;
        s = digits(&p, 2);
        if (s < 0 || s > 60) /* 60: a leap second, RFC 3339 section 5.7 */
                return ERR_MALFORMED;
        if (literal(&p, '.')) {
                if (digits(&p, 1) < 0)
                        return ERR_MALFORMED;
                p += strspn(p, "0123456789");
        }
        if (!parse_zone(p, &zone))
                return ERR_MALFORMED;
        days = year_start(year) + day - 1;
        for (int i = 1; i < month; i++)
                days += month_days(year, i);
        *ret = days * 86400 + h * 3600 + m * 60 + s - zone;
        return 0;
}

const char *json_time_format(int64_t seconds, char out[static 32])
{
        unsigned rest;
        int64_t days;
        int year, month = 1;

        seconds = MAX(seconds, year_start(0) * 86400);
        seconds = MIN(seconds, year_start(10000) * 86400 - 1);
        days = seconds / 86400 - (seconds % 86400 < 0);
        rest = (unsigned)(seconds - days * 86400) % 86400;
        year = (int)(1970 +
                (days < 0 ? days / 365 - 1 : days / 366)); /* never late, at most a few years early */
        while (days >= year_start(year + 1))
                year++;
        days -= year_start(year);
        for (; days >= month_days(year, month); month++)
                days -= month_days(year, month);
        /* The remainders change nothing; they show the compiler that 20 characters are enough. */
        (void)snprintf(out, 32, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)year % 10000,
                (unsigned)month % 100, ((unsigned)days + 1) % 100, rest / 3600, rest / 60 % 60, rest % 60);
        return out;
}
