/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. Walks tokens, not grammar: a stack of the last member names by depth is enough to know the path of a string. */
#include "common/kube/peek.h"

#include <string.h>

#define DEPTH 3 /* object.metadata.name */

struct text {
        const char *p;
        size_t len;
};

struct walk {
        const char *p;
        size_t left;
        size_t depth; /* open brackets */
        struct text path[DEPTH + 1]; /* path[d]: the last member name seen at depth d */
};

static bool text_is(struct text t, const char *word)
{
        return t.len == strlen(word) && memcmp(t.p, word, t.len) == 0;
}

/* Fits and has no escapes: Kubernetes names need none. */
static void text_copy(char *out, size_t size, struct text t)
{
        if (t.len >= size || memchr(t.p, '\\', t.len) || out[0] != '\0')
                return;
        memcpy(out, t.p, t.len);
        out[t.len] = '\0';
}

/* The string that begins behind the quote at w->p; false when the bytes end before it does. */
static bool take_string(struct walk *w, struct text *ret)
{
        size_t n = 1;

        while (n < w->left && w->p[n] != '"')
                n += w->p[n] == '\\' ? 2 : 1;
        if (n >= w->left)
                return false;
        *ret = (struct text){ w->p + 1, n - 1 };
        w->p += n + 1;
        w->left -= n + 1;
        return true;
}

static void on_value(struct peek *ret, const struct walk *w, struct text value)
{
        const struct text *path = w->path + 1;
        size_t depth = w->depth;

        if (depth == 1 && text_is(path[0], "type"))
                text_copy(ret->type, sizeof(ret->type), value);
        if (depth > 1 && text_is(path[0], "object")) {
                path++;
                depth--;
        }
        if (depth != 2 || !text_is(path[0], "metadata"))
                return;
        if (text_is(path[1], "name"))
                text_copy(ret->name, sizeof(ret->name), value);
        if (text_is(path[1], "namespace"))
                text_copy(ret->ns, sizeof(ret->ns), value);
        if (text_is(path[1], "resourceVersion"))
                text_copy(ret->rv, sizeof(ret->rv), value);
}

void peek_names(struct peek *ret, const char *bytes, size_t len)
{
        struct walk w = { .p = bytes, .left = len };
        bool after_colon = false;

        *ret = (struct peek){ .type = "" };
        for (size_t i = 0; i <= DEPTH; i++)
                w.path[i] = (struct text){ "", 0 };
        while (w.left > 0) {
                char c = *w.p;
                struct text t;

                if (c == '"') {
                        if (!take_string(&w, &t))
                                return;
                        if (after_colon)
                                on_value(ret, &w, t);
                        else if (w.depth <= DEPTH)
                                w.path[w.depth] = t;
                        after_colon = false;
                        continue;
                }
                if (c == '{' || c == '[') {
                        w.depth++;
                        if (w.depth <= DEPTH)
                                w.path[w.depth] = (struct text){ "", 0 };
                } else if (c == '}' || c == ']') {
                        if (w.depth-- <= 1)
                                return;
                }
                if (c == ':')
                        after_colon = true;
                else if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
                        after_colon = false;
                w.p++;
                w.left--;
        }
}
