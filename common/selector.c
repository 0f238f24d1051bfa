/* SPDX-License-Identifier: Apache-2.0 */
/* A selector becomes a list of requirements: matchLabels first, in the order of their keys, each as In with one value, then
 * matchExpressions as written. Every requirement has a text of its own; equality of anything is equality of texts,
 * which is safe because keys and values are checked to be label keys and values, so they hold no separator. */
#include "common/selector.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"

#define NAME_MAX_LEN      63 /* of a label's name and of its value */
#define SUBDOMAIN_MAX_LEN 253 /* of the prefix of a label key */

enum op { OP_IN, OP_NOT_IN, OP_EXISTS, OP_DOES_NOT_EXIST };

static const struct {
        const char *name;
        bool has_values;
} ops[] = {
        [OP_IN] = { "In", true },
        [OP_NOT_IN] = { "NotIn", true },
        [OP_EXISTS] = { "Exists", false },
        [OP_DOES_NOT_EXIST] = { "DoesNotExist", false },
};

struct requirement {
        const char *key;
        enum op op;
        const char **values; /* sorted */
        size_t n_values;
};

struct selector {
        struct requirement *v;
        const char **texts; /* one a requirement */
        size_t n, n_labels; /* the first n_labels stood in matchLabels */
        const char *canonical;
};

static int kv_cmp(const void *a, const void *b)
{
        const struct kv *x = a, *y = b;

        return strcmp(x->key, y->key);
}

static bool is_wanted(const cJSON *item, const char *const *prefixes)
{
        if (!cJSON_IsString(item))
                return false;
        if (!prefixes)
                return true;
        for (; *prefixes; prefixes++)
                if (strncmp(item->string, *prefixes, strlen(*prefixes)) == 0)
                        return true;
        return false;
}

struct kv_list kv_list_from_prefixed(struct arena *a, const cJSON *json, const char *const *prefixes)
{
        struct kv_list l = { 0 };
        const cJSON *item;
        size_t n = 0, kept = 0;

        if (!cJSON_IsObject(json))
                return l;
        cJSON_ArrayForEach (item, json)
                n += is_wanted(item, prefixes);
        l.v = arena_calloc(a, n, sizeof(*l.v));
        if (!l.v)
                return l;
        cJSON_ArrayForEach (item, json) {
                if (!is_wanted(item, prefixes))
                        continue;
                l.v[l.n].key = arena_dup(a, item->string);
                l.v[l.n++].value = arena_dup(a, item->valuestring);
        }
        qsort(l.v, l.n, sizeof(*l.v), kv_cmp);
        for (size_t i = 0; i < l.n; i++) {
                if (kept > 0 &&
                        strcmp(l.v[kept - 1].key, l.v[i].key) == 0) { /* twice: qsort() is not stable */
                        const char *first = l.v[i].value;

                        (void)json_str(
                                json, l.v[i].key, &first); /* another type there: any of the texts will do */
                        l.v[kept - 1].value = arena_dup(a, first);
                        continue;
                }
                l.v[kept++] = l.v[i];
        }
        l.n = kept;
        return l;
}

struct kv_list kv_list_from(struct arena *a, const cJSON *json)
{
        return kv_list_from_prefixed(a, json, NULL);
}

const char *kv_get(const struct kv_list *l, const char *key)
{
        const struct kv want = { key, NULL }, *found;

        found = l->n > 0 ? bsearch(&want, l->v, l->n, sizeof(*l->v), kv_cmp) : NULL;
        return found ? found->value : NULL;
}

static bool is_alnum(char c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* One to 63 of [A-Za-z0-9-_.], the first and the last alphanumeric. */
static bool is_name(const char *p, size_t len)
{
        if (len == 0 || len > NAME_MAX_LEN || !is_alnum(p[0]) || !is_alnum(p[len - 1]))
                return false;
        for (size_t i = 0; i < len; i++)
                if (!is_alnum(p[i]) && p[i] != '-' && p[i] != '_' && p[i] != '.')
                        return false;
        return true;
}

/* RFC 1123 labels, lower case, joined by dots. */
static bool is_subdomain(const char *p, size_t len)
{
        if (len == 0 || len > SUBDOMAIN_MAX_LEN)
                return false;
        for (size_t i = 0; i < len; i++) {
                bool edge = i == 0 || i == len - 1 || p[i - 1] == '.' || p[i + 1] == '.';

                if (p[i] == '.' || p[i] == '-') {
                        if (edge)
                                return false;
                } else if (!is_alnum(p[i]) || (p[i] >= 'A' && p[i] <= 'Z')) {
                        return false;
                }
        }
        return true;
}

static bool is_label_key(const char *key)
{
        const char *slash = strchr(key, '/');

        if (slash && !is_subdomain(key, (size_t)(slash - key)))
                return false;
        return slash ? is_name(slash + 1, strlen(slash + 1)) : is_name(key, strlen(key));
}

static bool is_label_value(const char *value)
{
        return value[0] == '\0' || is_name(value, strlen(value));
}

static const char *requirement_text(struct arena *a, const struct requirement *q)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        if (q->op == OP_DOES_NOT_EXIST)
                buf_addc(&b, '!');
        buf_adds(&b, q->key);
        if (q->op == OP_IN && q->n_values == 1) {
                buf_addf(&b, "=%s", q->values[0]);
        } else if (ops[q->op].has_values) {
                buf_adds(&b, q->op == OP_IN ? " in (" : " notin (");
                for (size_t i = 0; i < q->n_values; i++)
                        buf_addf(&b, "%s%s", i > 0 ? "," : "", q->values[i]);
                buf_addc(&b, ')');
        }
        return buf_ok(&b) ? arena_dup_n(a, buf_str(&b), b.len) : NULL;
}

/* The texts joined; one that repeats the text before it is left out. */
static const char *join(struct arena *a, const char *const *texts, size_t n)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        for (size_t i = 0; i < n; i++)
                if (i == 0 || strcmp(texts[i - 1], texts[i]) != 0)
                        buf_addf(&b, "%s%s", b.len > 0 ? "," : "", texts[i]);
        return buf_ok(&b) ? arena_dup_n(a, buf_str(&b), b.len) : NULL;
}

static int add_label(struct requirement *q, struct arena *a, const cJSON *item, struct err *e)
{
        if (!is_label_key(item->string))
                return err_set(e, -EINVAL, "matchLabels: \"%.100s\" is no label key", item->string);
        if (!cJSON_IsString(item) || !is_label_value(item->valuestring))
                return err_set(
                        e, -EINVAL, "matchLabels: the value of \"%.100s\" is no label value", item->string);
        *q = (struct requirement){ .key = arena_dup(a, item->string), .op = OP_IN, .n_values = 1 };
        q->values = arena_calloc(a, 1, sizeof(*q->values));
        if (!q->values)
                return -ENOMEM;
        q->values[0] = arena_dup(a, item->valuestring);
        return 0;
}

static int read_values(struct requirement *q, struct arena *a, const cJSON *json, struct err *e)
{
        const char **values;
        const cJSON *item;
        size_t n = 0;

        cJSON_ArrayForEach (item, json) {
                if (!cJSON_IsString(item) || !is_label_value(item->valuestring))
                        return err_set(e, -EINVAL, "values[%zu] is no label value", n);
                n++;
        }
        if (ops[q->op].has_values != (n > 0))
                return err_set(e, -EINVAL, "operator %s %s values", ops[q->op].name,
                        ops[q->op].has_values ? "needs" : "takes no");
        if (n == 0)
                return 0;
        values = arena_calloc(a, n, sizeof(*values));
        if (!values)
                return -ENOMEM;
        cJSON_ArrayForEach (item, json)
                values[q->n_values++] = arena_dup(a, item->valuestring);
        q->values = arena_sort(a, values, n);
        return q->values ? 0 : -ENOMEM;
}

static int read_expression(struct requirement *q, struct arena *a, const cJSON *json, struct err *e)
{
        const char *key = "", *op = "";
        const cJSON *values = NULL;

        if (!cJSON_IsObject(json))
                return err_set(e, -EINVAL, "not an object");
        (void)json_str(json, "key", &key); /* a wrong type reads as "", which is no key */
        (void)json_str(json, "operator", &op);
        if (json_arr(json, "values", &values) == -EPROTOTYPE)
                return err_set(e, -EINVAL, "values is not a list");
        if (!is_label_key(key))
                return err_set(e, -EINVAL, "key \"%.100s\" is no label key", key);
        *q = (struct requirement){ .key = arena_dup(a, key) };
        for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
                if (strcmp(ops[i].name, op) == 0) {
                        q->op = (enum op)i;
                        return read_values(q, a, values, e);
                }
        }
        return err_set(e, -EINVAL, "unknown operator \"%.60s\"", op);
}

static size_t count(const cJSON *json)
{
        return json ? (size_t)cJSON_GetArraySize(json) : 0;
}

static int read_requirements(
        struct selector *s, struct arena *a, const cJSON *labels, const cJSON *expressions, struct err *e)
{
        const cJSON *item;
        int r;

        cJSON_ArrayForEach (item, labels) {
                r = add_label(&s->v[s->n++], a, item, e);
                if (r < 0)
                        return r;
        }
        s->n_labels = s->n;
        cJSON_ArrayForEach (item, expressions) {
                r = read_expression(&s->v[s->n++], a, item, e);
                if (r < 0)
                        return err_wrap(e, r, "matchExpressions[%zu]", s->n - 1 - s->n_labels);
        }
        return 0;
}

static int by_key(const void *a, const void *b)
{
        const struct requirement *x = a, *y = b;

        return strcmp(x->key, y->key);
}

int selector_parse(const struct selector **ret, struct arena *a, const cJSON *json, struct err *e)
{
        const cJSON *labels = NULL, *expressions = NULL;
        const char **sorted = NULL;
        struct selector *s;
        int r;

        if (!cJSON_IsObject(json))
                return err_set(e, -EINVAL, "a selector must be an object");
        if (json_obj(json, "matchLabels", &labels) == -EPROTOTYPE)
                return err_set(e, -EINVAL, "matchLabels is not an object");
        if (json_arr(json, "matchExpressions", &expressions) == -EPROTOTYPE)
                return err_set(e, -EINVAL, "matchExpressions is not a list");
        s = arena_calloc(a, 1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->v = arena_calloc(a, count(labels) + count(expressions), sizeof(*s->v));
        s->texts =
                arena_calloc(a, count(labels) + count(expressions) + 1, sizeof(*s->texts)); /* never NULL */
        if (!arena_ok(a))
                return -ENOMEM;
        r = read_requirements(s, a, labels, expressions, e);
        if (r < 0)
                return r;
        if (s->n_labels > 1)
                qsort(s->v, s->n_labels, sizeof(*s->v), by_key);
        for (size_t i = 0; i < s->n; i++) {
                s->texts[i] = requirement_text(a, &s->v[i]);
                if (!s->texts[i])
                        return -ENOMEM;
        }
        sorted = arena_sort(a, s->texts, s->n);
        s->canonical = sorted || s->n == 0 ? join(a, sorted, s->n) : NULL;
        if (!s->canonical || !arena_ok(a))
                return -ENOMEM;
        *ret = s;
        return 0;
}

static bool is_listed(const struct requirement *q, const char *value)
{
        for (size_t i = 0; i < q->n_values; i++)
                if (strcmp(q->values[i], value) == 0)
                        return true;
        return false;
}

static bool requirement_matches(const struct requirement *q, const struct kv_list *labels)
{
        const char *value = kv_get(labels, q->key);

        switch (q->op) {
        case OP_IN: return value && is_listed(q, value);
        case OP_NOT_IN: return !value || !is_listed(q, value);
        case OP_EXISTS: return value != NULL;
        case OP_DOES_NOT_EXIST: return value == NULL;
        }
        return false;
}

bool selector_matches(const struct selector *s, const struct kv_list *labels)
{
        for (size_t i = 0; i < s->n; i++)
                if (!requirement_matches(&s->v[i], labels))
                        return false;
        return true;
}

const char *selector_text(const struct selector *s)
{
        return s->canonical;
}

/* The first text that stands twice in @sorted, or NULL. */
static const char *repeated(const char *const *sorted, size_t n)
{
        for (size_t i = 1; i < n; i++)
                if (strcmp(sorted[i - 1], sorted[i]) == 0)
                        return sorted[i];
        return NULL;
}

static int check_expressions(const struct selector *s, struct arena *a, const char *field, struct err *e)
{
        const char **sorted, *twice;

        for (size_t i = s->n_labels; i < s->n; i++) {
                twice = repeated(s->v[i].values, s->v[i].n_values);
                if (twice)
                        return err_set(e, -EINVAL, "duplicate definition of %s expression value \"%s\"",
                                field, twice);
        }
        sorted = arena_sort(a, s->texts + s->n_labels, s->n - s->n_labels);
        if (!arena_ok(a))
                return -ENOMEM;
        twice = repeated(sorted, s->n - s->n_labels);
        return twice ? err_set(e, -EINVAL, "duplicate definition of %s expression \"%s\"", field, twice) : 0;
}

/* Selectors with the same expressions in another order are no duplicates to MetalLB, so they are none here: a
 * configuration that it accepts must load. */
static int check_selectors(
        const struct selector *const *v, size_t n, struct arena *a, const char *field, struct err *e)
{
        const char **written = arena_calloc(a, n, sizeof(*written)), **sorted, *twice;

        for (size_t i = 0; written && i < n; i++) {
                const char *labels = join(a, v[i]->texts, v[i]->n_labels);
                const char *rest = join(a, v[i]->texts + v[i]->n_labels, v[i]->n - v[i]->n_labels);

                if (!labels || !rest)
                        return -ENOMEM;
                written[i] = arena_printf(a, "%s;%s", labels, rest);
        }
        sorted = written ? arena_sort(a, written, n) : NULL;
        if (!arena_ok(a))
                return -ENOMEM;
        twice = sorted ? repeated(sorted, n) : NULL;
        for (size_t i = 0; twice && i < n; i++)
                if (strcmp(written[i], twice) == 0)
                        return err_set(
                                e, -EINVAL, "duplicate definition of %s \"%s\"", field, selector_text(v[i]));
        return 0;
}

int selector_list_parse(struct selector_list *ret, struct arena *a, const cJSON *json, const char *field,
        bool allow_duplicates, struct err *e)
{
        struct selector_list l = { 0 };
        const cJSON *item;
        int r;

        if (json && !cJSON_IsNull(json) && !cJSON_IsArray(json))
                return err_set(e, -EINVAL, "%s is not a list", field);
        l.v = arena_calloc(a, count(json), sizeof(*l.v));
        if (!arena_ok(a))
                return -ENOMEM;
        cJSON_ArrayForEach (item, json) {
                r = selector_parse(&l.v[l.n], a, item, e);
                if (r < 0)
                        return err_wrap(e, r, "%s[%zu]", field, l.n);
                r = allow_duplicates ? 0 : check_expressions(l.v[l.n], a, field, e);
                if (r < 0)
                        return r;
                l.n++;
        }
        r = allow_duplicates ? 0 : check_selectors(l.v, l.n, a, field, e);
        if (r == 0)
                *ret = l;
        return r;
}

bool selector_list_matches(const struct selector_list *l, const struct kv_list *labels)
{
        for (size_t i = 0; i < l->n; i++)
                if (selector_matches(l->v[i], labels))
                        return true;
        return l->n == 0;
}

/* The texts of single requirements stay behind: only selector_list_parse() reads them. */
static const struct selector *selector_dup(struct arena *a, const struct selector *from)
{
        struct selector *s = arena_calloc(a, 1, sizeof(*s));

        if (!s)
                return NULL;
        s->n = from->n;
        s->n_labels = from->n_labels;
        s->canonical = arena_dup(a, from->canonical);
        s->v = arena_calloc(a, from->n, sizeof(*s->v));
        for (size_t i = 0; s->v && i < from->n; i++) {
                const struct requirement *q = &from->v[i];

                s->v[i] = (struct requirement){ .key = arena_dup(a, q->key), .op = q->op };
                s->v[i].values = arena_calloc(a, q->n_values, sizeof(*q->values));
                for (size_t j = 0; s->v[i].values && j < q->n_values; j++)
                        s->v[i].values[j] = arena_dup(a, q->values[j]);
                s->v[i].n_values = q->n_values;
        }
        return s;
}

int selector_list_dup(struct selector_list *ret, struct arena *a, const struct selector_list *l)
{
        struct selector_list copy = { .n = l->n };

        copy.v = arena_calloc(a, l->n, sizeof(*copy.v));
        for (size_t i = 0; copy.v && i < l->n; i++)
                copy.v[i] = selector_dup(a, l->v[i]);
        if (!arena_ok(a))
                return -ENOMEM;
        *ret = copy;
        return 0;
}
