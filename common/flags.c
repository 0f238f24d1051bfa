/* SPDX-License-Identifier: Apache-2.0 */
#include "common/flags.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Go's strconv.ParseBool: these and nothing else. */
static const struct {
        const char *text;
        bool value;
} bools[] = {
        { "1", true },
        { "t", true },
        { "T", true },
        { "true", true },
        { "TRUE", true },
        { "True", true },
        { "0", false },
        { "f", false },
        { "F", false },
        { "false", false },
        { "FALSE", false },
        { "False", false },
};

static bool parse_bool(bool *ret, const char *text)
{
        for (size_t i = 0; i < ARRAY_LEN(bools); i++) {
                if (strcmp(text, bools[i].text) == 0) {
                        *ret = bools[i].value;
                        return true;
                }
        }
        return false;
}

static unsigned digit(char c)
{
        if (c >= '0' && c <= '9')
                return (unsigned)(c - '0');
        if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
                return (unsigned)((c | 0x20) - 'a') + 10;
        return UINT_MAX;
}

/* Go's strconv.ParseInt with base 0, without underscores. */
static bool parse_int(int *ret, const char *text)
{
        bool negative = *text == '-';
        unsigned base = 10;
        int64_t n = 0;

        text += *text == '-' || *text == '+';
        if (text[0] == '0' && text[1] != '\0') {
                char kind = (char)(text[1] | 0x20);

                base = kind == 'x' ? 16 : kind == 'b' ? 2 : 8;
                text += kind == 'x' || kind == 'b' || kind == 'o' ? 2 : 1;
        }
        if (*text == '\0')
                return false;
        for (; *text; text++) {
                unsigned d = digit(*text);

                if (d >= base)
                        return false;
                n = n * (int)base + (int)d;
                if (n > INT_MAX)
                        return false;
        }
        *ret = (int)(negative ? -n : n);
        return true;
}

/* @where: "flag --port" or "$METALLB_PORT", for the error. */
static int store(void *options, const struct flag_def *d, const char *text, const char *where, struct err *e)
{
        char *at = (char *)options + d->at;
        bool b;
        int i;

        switch (d->type) {
        case FLAG_TYPE_STRING: memcpy(at, &text, sizeof(text)); return 0;
        case FLAG_TYPE_BOOL:
                if (!parse_bool(&b, text))
                        return err_set(e, -EINVAL, "invalid boolean value \"%s\" for %s", text, where);
                memcpy(at, &b, sizeof(b));
                return 0;
        case FLAG_TYPE_INT:
                if (!parse_int(&i, text))
                        return err_set(
                                e, -EINVAL, "invalid value \"%s\" for %s: not an integer", text, where);
                if (i < d->min || i > d->max)
                        return err_set(e, -EINVAL, "invalid value \"%s\" for %s: must be %d to %d", text,
                                where, d->min, d->max);
                memcpy(at, &i, sizeof(i));
                return 0;
        }
        return -EINVAL;
}

static int store_default(void *options, const struct flag_set *set, const struct flag_def *d, struct err *e)
{
        static const char *const zero[] = { "", "false", "0" };
        const char *text = set->env && d->env ? set->env(d->env) : NULL;
        char where[80];

        (void)snprintf(where, sizeof(where), "$%s", d->env ? d->env : d->name);
        if (text && *text)
                return store(options, d, text, where, e);
        return store(options, d, d->initial ? d->initial : zero[d->type], where, e);
}

static const struct flag_def *find(const struct flag_set *set, const char *name, size_t len)
{
        for (size_t i = 0; i < set->n_defs; i++)
                if (strlen(set->defs[i].name) == len && memcmp(set->defs[i].name, name, len) == 0)
                        return &set->defs[i];
        return NULL;
}

static void note_inert(struct flags_found *found, const char *name)
{
        size_t len = strlen(found->inert);

        (void)snprintf(found->inert + len, sizeof(found->inert) - len, "%s--%s", len ? ", " : "", name);
}

struct line {
        int argc, next;
        char *const *argv;
        uint64_t seen; /* a bit for each flag of the table */
};

/* One flag at argv[next]: moves past it and its value. */
static int parse_one(
        struct line *l, struct flags_found *found, void *options, const struct flag_set *set, struct err *e)
{
        const char *arg = l->argv[l->next++], *name = arg + 1 + (arg[1] == '-'), *value;
        size_t len = strcspn(name, "=");
        const struct flag_def *d = find(set, name, len);
        char where[80];
        bool again;

        if (len == 0 || *name == '-')
                return err_set(e, -EINVAL, "bad flag syntax: %s", arg);
        if (!d && ((len == 4 && memcmp(name, "help", 4) == 0) || (len == 1 && *name == 'h'))) {
                found->help = true;
                return 0;
        }
        if (!d)
                return err_set(
                        e, -EINVAL, "flag provided but not defined: -%.*s", (int)MIN(len, (size_t)100), name);
        value = name[len] == '=' ? name + len + 1 : NULL;
        if (!value && d->type == FLAG_TYPE_BOOL)
                value = "true";
        if (!value && l->next == l->argc)
                return err_set(e, -EINVAL, "flag needs an argument: -%s", d->name);
        if (!value)
                value = l->argv[l->next++];
        again = l->seen >> (d - set->defs) & 1;
        l->seen |= UINT64_C(1) << (d - set->defs);
        if (d->inert) {
                if (!again)
                        note_inert(found, d->name);
                return 0;
        }
        (void)snprintf(where, sizeof(where), "flag -%s", d->name);
        return store(options, d, value, where, e);
}

int flags_parse(struct flags_found *ret, void *options, const struct flag_set *set, int argc,
        char *const *argv, struct err *e)
{
        struct line l = { argc, 1, argv, 0 };
        struct flags_found found = { 0 };
        int r;

        assert(set->n_defs <= FLAGS_MAX);
        while (l.next < argc && argv[l.next][0] == '-' && argv[l.next][1] != '\0' && !found.help) {
                if (strcmp(argv[l.next], "--") == 0) {
                        l.next++;
                        break;
                }
                r = parse_one(&l, &found, options, set, e);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < set->n_defs && !found.help; i++) {
                if (set->defs[i].inert || l.seen >> i & 1)
                        continue;
                r = store_default(options, set, &set->defs[i], e);
                if (r < 0)
                        return r;
        }
        if (l.next < argc && !found.help)
                found.extra = argv[l.next];
        *ret = found;
        return 0;
}

void flags_usage(struct buf *out, const struct flag_set *set, const char *program)
{
        static const char *const types[] = { " string", "", " int" };
        const char *sep = "\nAccepted for compatibility, without effect: ";

        buf_addf(out, "Usage of %s:\n", program);
        for (size_t i = 0; i < set->n_defs; i++) {
                const struct flag_def *d = &set->defs[i];

                if (d->inert)
                        continue;
                buf_addf(out, "  --%s%s\n        %s", d->name, types[d->type], d->help);
                if (d->env)
                        buf_addf(out, " [$%s]", d->env);
                if (d->initial && *d->initial)
                        buf_addf(out, " (default %s)", d->initial);
                buf_addc(out, '\n');
        }
        for (size_t i = 0; i < set->n_defs; i++) {
                if (!set->defs[i].inert)
                        continue;
                buf_addf(out, "%s--%s", sep, set->defs[i].name);
                sep = ", ";
        }
        if (*sep == ',')
                buf_addc(out, '\n');
}
