/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. glibc's extended syntax is near to RE2; what differs is rewritten here, character by character:
 *   - in brackets a backslash is an ordinary character, so \d and \w become classes and escapes lose the backslash;
 *   - "\<", "\>", "\`", "\'" are anchors in glibc and literals in RE2;
 *   - a brace that starts no count is a literal in RE2 and an error in glibc. */
#include "speaker/exclude.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "common/yaml.h"

#define KEY         "announcedInterfacesToExclude"
#define REPEATS_MAX 1000 /* RE2's own bound; it also keeps regcomp()'s memory small */

struct exclude {
        size_t n;
        regex_t v[];
};

struct out {
        char *p;
        size_t left; /* with room for the terminator */
        bool full;
};

static void emit(struct out *o, const char *text, size_t len)
{
        if (len >= o->left) {
                o->full = true;
                return;
        }
        memcpy(o->p, text, len);
        o->p += len;
        o->left -= len;
        *o->p = '\0';
}

static void emit_text(struct out *o, const char *text)
{
        emit(o, text, strlen(text));
}

/* The class of \d, \w, \s without brackets; NULL: no class. */
static const char *class_of(char c)
{
        switch (c) {
        case 'd':
        case 'D': return "0-9";
        case 'w':
        case 'W': return "[:alnum:]_";
        case 's':
        case 'S': return "[:space:]";
        default: return NULL;
        }
}

static bool is_alnum(char c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* @p behind a backslash outside brackets. Returns what follows, NULL: not supported. */
static const char *escape(struct out *o, const char *p)
{
        const char *class = class_of(*p);

        if (class) {
                emit_text(o, *p >= 'a' ? "[" : "[^");
                emit_text(o, class);
                emit_text(o, "]");
        } else if (*p == 'A') {
                emit_text(o, "^");
        } else if (*p == 'z') {
                emit_text(o, "$");
        } else if (*p == 'b' || *p == 'B') {
                emit(o, (const char[]){ '\\', *p }, 2);
        } else if (*p == '\0' || is_alnum(*p) || (*p & 0x80)) {
                return NULL;
        } else if (strchr(".[]()*+?{}|^$\\", *p)) {
                emit(o, (const char[]){ '\\', *p }, 2);
        } else {
                emit(o, p, 1);
        }
        return p + 1;
}

/* Members of a bracket that only stand for themselves in certain places: "]" first, then everything else, then
 * "[" (not before "." "=" or ":"), "^" (not first) and "-" (last). */
struct held {
        bool square, open, caret, dash, some;
};

static bool hold(struct held *h, char c)
{
        switch (c) {
        case ']': h->square = true; return true;
        case '[': h->open = true; return true;
        case '^': h->caret = true; return true;
        case '-': h->dash = true; return true;
        default: h->some = true; return false;
        }
}

/* One member at @p: a class, a range or a character. Returns what follows it, NULL: broken or not supported. */
static const char *member(struct out *o, struct held *h, const char *p)
{
        const char *class = NULL, *end;
        char c = *p++;

        if (c == '[' && *p == ':') {
                end = strstr(p, ":]");
                if (!end)
                        return NULL;
                h->some = true;
                emit(o, p - 1, (size_t)(end + 3 - p));
                return end + 2;
        }
        if (c == '\\') {
                c = *p++;
                class = class_of(c);
                if (c == '\0' || (class ? c < 'a' : is_alnum(c))) /* [\D] has no POSIX form */
                        return NULL;
        }
        if (class) {
                h->some = true;
                emit_text(o, class);
                return p;
        }
        if (p[0] == '-' && p[1] != ']' && p[1] != '\0') {
                if (!is_alnum(c) || !is_alnum(p[1]) ||
                        p[1] < c) /* ranges between other characters are mistakes */
                        return NULL;
                h->some = true;
                emit(o, (const char[]){ c, '-', p[1] }, 3);
                return p + 2;
        }
        if (!hold(h, c))
                emit(o, &c, 1);
        return p;
}

/* @p behind the opening bracket. Returns what follows the closing one, NULL: broken or not supported. */
static const char *bracket(struct out *o, const char *p)
{
        char space[EXCLUDE_PATTERN_MAX * 12];
        struct out rest = { .p = space, .left = sizeof(space) };
        struct held h = { .some = false };
        bool negated = *p == '^';

        space[0] = '\0';
        if (negated)
                p++;
        for (const char *start = p; *p != ']' || p == start;) {
                if (*p == '\0')
                        return NULL;
                p = member(&rest, &h, p);
                if (!p)
                        return NULL;
        }
        o->full |= rest.full;
        if (h.caret && !negated && !h.square && !h.some && !h.open && !h.dash) { /* [\^] */
                emit_text(o, "\\^");
                return p + 1;
        }
        if (h.caret && !negated && !h.square && !h.some &&
                !h.open) { /* only "^" and "-": the dash may also be first */
                emit_text(o, "[-^]");
                return p + 1;
        }
        emit_text(o, negated ? "[^" : "[");
        emit_text(o, h.square ? "]" : "");
        emit_text(o, space);
        emit_text(o, h.open ? "[" : "");
        emit_text(o, h.caret ? "^" : "");
        emit_text(o, h.dash ? "-" : "");
        emit_text(o, "]");
        return p + 1;
}

/* The length of a count at @p ("{2}", "{2,}", "{2,5}"), 0: the brace is a literal. @repeats is multiplied. */
static size_t count(const char *p, unsigned *repeats)
{
        unsigned most = 0, n = 0;
        size_t at = 1;

        for (; p[at] >= '0' && p[at] <= '9' && n <= REPEATS_MAX; at++)
                most = n = n * 10 + (unsigned)(p[at] - '0');
        if (at == 1)
                return 0;
        if (p[at] == ',') {
                at++;
                if (p[at] != '}')
                        n = 0;
                for (; p[at] >= '0' && p[at] <= '9' && n <= REPEATS_MAX; at++)
                        n = n * 10 + (unsigned)(p[at] - '0');
                most = MAX(most, n);
        }
        if (most > REPEATS_MAX) {
                *repeats = REPEATS_MAX + 1;
                return at;
        }
        if (p[at] != '}')
                return 0;
        if (*repeats <= REPEATS_MAX)
                *repeats *= MAX(most, 1u);
        return at + 1;
}

/* One element outside brackets. Returns what follows it, NULL: not supported. */
static const char *element(struct out *o, const char *p, unsigned *repeats)
{
        size_t len;

        switch (*p) {
        case '\\': return escape(o, p + 1);
        case '[': return bracket(o, p + 1);
        case '(':
                emit_text(o, "(");
                if (p[1] != '?')
                        return p + 1;
                return p[2] == ':' ? p + 3 : NULL;
        case '{':
                len = count(p, repeats);
                if (len == 0) {
                        emit_text(o, "\\{");
                        return p + 1;
                }
                emit(o, p, len);
                p += len;
                return *p == '?' ? p + 1 : p; /* non-greedy: the same names match */
        case '*':
        case '+':
        case '?': emit(o, p, 1); return p[1] == '?' ? p + 2 : p + 1;
        default: emit(o, p, 1); return p + 1;
        }
}

int exclude_translate(char *out, size_t size, bool *ret_icase, const char *pattern, struct err *e)
{
        struct out o = { .p = out, .left = size };
        bool icase = strncmp(pattern, "(?i)", 4) == 0;
        const char *p = icase ? pattern + 4 : pattern;
        unsigned repeats = 1;

        if (size == 0)
                return ERR_TOO_BIG;
        out[0] = '\0';
        while (*p != '\0') {
                const char *next = element(&o, p, &repeats);

                if (!next)
                        return err_set(e, ERR_MALFORMED, "pattern \"%.100s\": \"%.20s\" is not supported",
                                pattern, p);
                p = next;
        }
        if (o.full || repeats > REPEATS_MAX)
                return err_set(
                        e, ERR_TOO_BIG, "pattern \"%.100s\" is too long or repeats too often", pattern);
        *ret_icase = icase;
        return 0;
}

struct exclude *exclude_free(struct exclude *x)
{
        if (!x)
                return NULL;
        for (size_t i = 0; i < x->n; i++)
                regfree(&x->v[i]);
        free(x);
        return NULL;
}

static int compile(regex_t *ret, const char *pattern, struct err *e)
{
        char text[EXCLUDE_PATTERN_MAX * 4], why[96];
        bool icase;
        int r;

        if (strlen(pattern) > EXCLUDE_PATTERN_MAX)
                return err_set(e, ERR_TOO_BIG, "a pattern is longer than %d bytes", EXCLUDE_PATTERN_MAX);
        r = exclude_translate(text, sizeof(text), &icase, pattern, e);
        if (r < 0)
                return r;
        r = regcomp(ret, text, REG_EXTENDED | REG_NOSUB | (icase ? REG_ICASE : 0));
        if (r == REG_ESPACE)
                return -ENOMEM;
        if (r != 0) {
                (void)regerror(r, ret, why, sizeof(why));
                return err_set(e, ERR_MALFORMED, "pattern \"%.100s\": %s", pattern, why);
        }
        return 0;
}

static int from_tree(struct exclude **ret, const cJSON *tree, struct err *e)
{
        CLEANUP(exclude_freep) struct exclude *x = NULL;
        const cJSON *list = NULL, *item;
        int n, r;

        if (!cJSON_IsNull(tree) && !cJSON_IsObject(tree))
                return err_set(e, ERR_MALFORMED, "a mapping with the list " KEY " is expected");
        if (json_arr(tree, KEY, &list) == -EPROTOTYPE)
                return err_set(e, ERR_MALFORMED, KEY " is no list");
        n = list ? cJSON_GetArraySize(list) : 0;
        if (n > EXCLUDE_COUNT_MAX)
                return err_set(e, ERR_TOO_BIG, KEY " has more than %d patterns", EXCLUDE_COUNT_MAX);
        x = calloc(1, sizeof(*x) + (size_t)n * sizeof(x->v[0]));
        if (!x)
                return -ENOMEM;
        cJSON_ArrayForEach (item, list) {
                if (!cJSON_IsString(item))
                        return err_set(e, ERR_MALFORMED, KEY "[%zu] is no text", x->n);
                r = compile(&x->v[x->n], item->valuestring, e);
                if (r < 0)
                        return err_wrap(e, r, KEY "[%zu]", x->n);
                x->n++;
        }
        *ret = TAKE(x);
        return 0;
}

int exclude_parse(struct exclude **ret, const char *yaml, size_t len, struct err *e)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        int r = yaml_parse(&tree, yaml, len, e);

        return r < 0 ? r : from_tree(ret, tree, e);
}

bool exclude_matches(const struct exclude *x, const char *name)
{
        if (!x)
                return false;
        for (size_t i = 0; i < x->n; i++)
                if (regexec(&x->v[i], name, 0, NULL, 0) == 0)
                        return true;
        return false;
}
