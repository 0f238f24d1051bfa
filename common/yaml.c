/* SPDX-License-Identifier: Apache-2.0 */
/* libyaml gives events, this file builds the tree by recursive descent. The dangers of YAML are bounded here: depth, also
 * that of expanded aliases; the size of the tree, counted before it grows, so that ten nested aliases do not become
 * gigabytes; the number of anchors. A scalar that resolves to a number or a boolean keeps its text in valuestring,
 * which cJSON copies and frees with the item and otherwise ignores. */
#include "common/yaml.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define ANCHORS_MAX 256
#define NODE_COST   (sizeof(cJSON) + 16) /* with what malloc adds */
#define CORE_TAG    "tag:yaml.org,2002:"

struct anchor {
        char *name;
        const cJSON *node; /* in the tree that is being built */
};

struct reader {
        yaml_parser_t parser;
        struct err *e;
        struct anchor anchors[ANCHORS_MAX];
        size_t n_anchors;
        size_t cost; /* bytes of the trees so far */
};

static void event_fini(yaml_event_t *ev)
{
        yaml_event_delete(ev);
}

static int fail(struct reader *r, const yaml_event_t *at, const char *what)
{
        return err_set(r->e, ERR_MALFORMED, "line %zu: %s", at->start_mark.line + 1, what);
}

static int next_event(struct reader *r, yaml_event_t *ret)
{
        const yaml_parser_t *p = &r->parser;

        if (yaml_parser_parse(&r->parser, ret))
                return 0;
        if (p->error == YAML_MEMORY_ERROR)
                return -ENOMEM;
        return err_set(r->e, ERR_MALFORMED, "line %zu: %s%s%s", p->problem_mark.line + 1,
                p->context ? p->context : "", p->context ? ", " : "", p->problem ? p->problem : "not YAML");
}

static int pay(struct reader *r, size_t cost)
{
        if (cost > YAML_TREE_MAX - r->cost)
                return err_set(
                        r->e, ERR_TOO_BIG, "more than %d bytes with all aliases expanded", YAML_TREE_MAX);
        r->cost += cost;
        return 0;
}

/* ---- scalars ---- */

static bool is_one_of(const char *text, const char *const *words, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(words[i], text) == 0)
                        return true;
        return false;
}

/* The number of characters of [@p, ...) that are digits of @base. */
static size_t span_digits(const char *p, unsigned base)
{
        static const char hex[] = "0123456789abcdefABCDEF";
        char allowed[sizeof(hex)];
        size_t n = base == 16 ? sizeof(hex) - 1 : base;

        memcpy(allowed, hex, n);
        allowed[n] = '\0';
        return strspn(p, allowed);
}

/* [-+]? then 0x, 0o, 0b or 0 (octal) and digits, or decimal digits. */
static bool parse_int(const char *p, double *ret)
{
        bool negative = *p == '-';
        unsigned base = 10;
        double value = 0;

        if (*p == '-' || *p == '+')
                p++;
        if (p[0] == '0' && p[1] != '\0') {
                base = p[1] == 'x' || p[1] == 'X' ? 16 : p[1] == 'b' || p[1] == 'B' ? 2 : 8;
                p += base != 8 || p[1] == 'o' || p[1] == 'O' ? 2 : 1;
        }
        if (*p == '\0' || p[span_digits(p, base)] != '\0')
                return false;
        for (; *p; p++) {
                int digit = *p <= '9' ? *p - '0' : (*p | 0x20) - 'a' + 10;

                value = value * base + digit; /* beyond 2^53 it rounds; json_int() refuses those */
        }
        *ret = negative && value > 0 ? -value : value;
        return true;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool parse_float(const char *text, double *ret)
{
        const char *p = text;
        size_t whole, part = 0;

        if (*p == '-' || *p == '+')
                p++;
        whole = span_digits(p, 10);
        p += whole;
        if (*p == '.') {
                part = span_digits(p + 1, 10);
                p += 1 + part;
        }
        if (whole + part == 0)
                return false;
        if (*p == 'e' || *p == 'E') {
                p++;
                if (*p == '-' || *p == '+')
                        p++;
                if (span_digits(p, 10) == 0)
                        return false;
                p += span_digits(p, 10);
        }
        if (*p != '\0')
                return false;
        *ret = strtod(text, NULL);
        return true;
}

enum type { TYPE_STR, TYPE_NULL, TYPE_TRUE, TYPE_FALSE, TYPE_INT, TYPE_FLOAT, TYPE_NOT_FINITE };

/* Underscores between digits are dropped, as in YAML 1.1; what no double holds stays a text. TYPE_* or -ENOMEM. */
static int resolve_number(const char *text, double *ret)
{
        CLEANUP(freep) char *plain = NULL;
        size_t n = 0;
        int type;

        if (!strchr("+-.0123456789", text[0]))
                return TYPE_STR;
        plain = malloc(strlen(text) + 1);
        if (!plain)
                return -ENOMEM;
        for (const char *p = text; *p; p++)
                if (*p != '_' || text[0] == '.')
                        plain[n++] = *p;
        plain[n] = '\0';
        type = parse_int(plain, ret) ? TYPE_INT : parse_float(plain, ret) ? TYPE_FLOAT : TYPE_STR;
        return type != TYPE_STR && !isfinite(*ret) ? TYPE_STR : type;
}

/* What a plain scalar means. TYPE_* or -ENOMEM. */
static int resolve(const char *text, double *ret_number)
{
        static const char *const nulls[] = { "", "~", "null", "Null", "NULL" };
        static const char *const trues[] = { "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on",
                "On", "ON" };
        static const char *const falses[] = { "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off",
                "Off", "OFF" };
        static const char *const odd[] = { ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf",
                "-.Inf", "-.INF", ".nan", ".NaN", ".NAN" };

        if (is_one_of(text, nulls, ARRAY_LEN(nulls)))
                return TYPE_NULL;
        if (is_one_of(text, trues, ARRAY_LEN(trues)))
                return TYPE_TRUE;
        if (is_one_of(text, falses, ARRAY_LEN(falses)))
                return TYPE_FALSE;
        if (is_one_of(text, odd, ARRAY_LEN(odd)))
                return TYPE_NOT_FINITE;
        return resolve_number(text, ret_number);
}

/* What the tag of a scalar asks for, against what was found; a float may be written as an integer. */
static bool tag_fits(const char *tag, int type)
{
        if (strcmp(tag, CORE_TAG "null") == 0)
                return type == TYPE_NULL;
        if (strcmp(tag, CORE_TAG "bool") == 0)
                return type == TYPE_TRUE || type == TYPE_FALSE;
        if (strcmp(tag, CORE_TAG "int") == 0)
                return type == TYPE_INT;
        return strcmp(tag, CORE_TAG "float") == 0 && (type == TYPE_INT || type == TYPE_FLOAT);
}

/* An item of @type; NULL: no memory. */
static cJSON *make_scalar(int type, const char *text, double number)
{
        CLEANUP(json_deletep) cJSON *item = NULL;

        if (type == TYPE_STR)
                return cJSON_CreateString(text);
        if (type == TYPE_NULL)
                return cJSON_CreateNull();
        item = type == TYPE_TRUE || type == TYPE_FALSE ? cJSON_CreateBool(type == TYPE_TRUE)
                                                       : cJSON_CreateNumber(number);
        if (!item)
                return NULL;
        item->valuestring = cJSON_malloc(strlen(text) + 1);
        if (!item->valuestring)
                return NULL;
        memcpy(item->valuestring, text, strlen(text) + 1);
        return TAKE(item);
}

static int read_scalar(struct reader *r, const yaml_event_t *ev, cJSON **ret)
{
        const char *text = (const char *)ev->data.scalar.value, *tag = (const char *)ev->data.scalar.tag;
        bool as_text = tag ? strcmp(tag, "!") == 0 || strcmp(tag, CORE_TAG "str") == 0
                           : ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        int type = TYPE_STR, paid;
        double number = 0;

        if (strlen(text) != ev->data.scalar.length)
                return fail(r, ev, "a NUL character in a text");
        paid = pay(r, NODE_COST + ev->data.scalar.length);
        if (paid < 0)
                return paid;
        if (!as_text)
                type = resolve(text, &number);
        if (type < 0)
                return type;
        if (type == TYPE_NOT_FINITE)
                return fail(r, ev, "a number that is not finite");
        if (tag && !as_text && !tag_fits(tag, type))
                return fail(r, ev, "a tag that is not known here, or that the value does not fit");
        *ret = make_scalar(type, text, number);
        return *ret ? 0 : -ENOMEM;
}

/* ---- anchors ---- */

static int remember(struct reader *r, const yaml_event_t *ev, const yaml_char_t *name, const cJSON *node)
{
        struct anchor *a = &r->anchors[r->n_anchors];

        if (!name)
                return 0;
        if (r->n_anchors == ANCHORS_MAX)
                return err_set(r->e, ERR_TOO_BIG, "line %zu: more than %d anchors", ev->start_mark.line + 1,
                        ANCHORS_MAX);
        a->name = strdup((const char *)name);
        if (!a->name)
                return -ENOMEM;
        a->node = node;
        r->n_anchors++;
        return 0;
}

static void forget_anchors(struct reader *r)
{
        while (r->n_anchors > 0)
                free(r->anchors[--r->n_anchors].name);
}

/* Nesting and cost of a finished node, which is at most JSON_DEPTH_MAX deep. */
static unsigned measure(const cJSON *node, size_t *cost)
{
        const cJSON *item;
        unsigned deepest = 0;

        *cost += NODE_COST + (node->valuestring ? strlen(node->valuestring) : 0) +
                (node->string ? strlen(node->string) : 0);
        cJSON_ArrayForEach (item, node) {
                unsigned depth = measure(item, cost);

                deepest = MAX(deepest, depth);
        }
        return deepest + (cJSON_IsObject(node) || cJSON_IsArray(node));
}

static int too_deep(struct reader *r, const yaml_event_t *ev)
{
        return err_set(r->e, ERR_TOO_BIG, "line %zu: nested deeper than %d", ev->start_mark.line + 1,
                JSON_DEPTH_MAX);
}

/* An anchor is known once its node is complete, so no alias can contain itself. */
static int read_alias(struct reader *r, const yaml_event_t *ev, unsigned depth, cJSON **ret)
{
        const char *name = (const char *)ev->data.alias.anchor;
        size_t cost = 0;
        int paid;

        for (size_t i = r->n_anchors; i-- > 0;) { /* the last one of that name counts */
                if (strcmp(r->anchors[i].name, name) != 0)
                        continue;
                if (measure(r->anchors[i].node, &cost) + depth > JSON_DEPTH_MAX)
                        return too_deep(r, ev);
                paid = pay(r, cost);
                if (paid < 0)
                        return paid;
                *ret = cJSON_Duplicate(r->anchors[i].node, true);
                return *ret ? 0 : -ENOMEM;
        }
        return err_set(
                r->e, ERR_MALFORMED, "line %zu: alias \"%.60s\" of nothing", ev->start_mark.line + 1, name);
}

/* ---- collections ---- */

static int read_node(struct reader *r, const yaml_event_t *ev, unsigned depth, cJSON **ret);

static int check_tag(struct reader *r, const yaml_event_t *ev, const yaml_char_t *tag, const char *want)
{
        if (!tag || strcmp((const char *)tag, "!") == 0 || strcmp((const char *)tag, want) == 0)
                return 0;
        return fail(r, ev, "a tag that is not known here, or that the value does not fit");
}

static int read_sequence(struct reader *r, const yaml_event_t *start, unsigned depth, cJSON **ret)
{
        CLEANUP(json_deletep) cJSON *list = cJSON_CreateArray();
        int err = check_tag(r, start, start->data.sequence_start.tag, CORE_TAG "seq");

        if (err < 0 || !list)
                return err < 0 ? err : -ENOMEM;
        for (;;) {
                CLEANUP(event_fini) yaml_event_t ev = { 0 };
                cJSON *item = NULL;

                err = next_event(r, &ev);
                if (err < 0)
                        return err;
                if (ev.type == YAML_SEQUENCE_END_EVENT)
                        break;
                err = read_node(r, &ev, depth, &item);
                if (err < 0)
                        return err;
                (void)cJSON_AddItemToArray(list, item); /* cannot fail: both are there and differ */
        }
        *ret = TAKE(list);
        return 0;
}

static int by_text(const void *a, const void *b)
{
        const char *const *x = a, *const *y = b;

        return strcmp(*x, *y);
}

static int check_keys(struct reader *r, const yaml_event_t *at, const cJSON *map)
{
        CLEANUP(freep) const char **keys = NULL;
        const cJSON *item;
        size_t n = 0;

        if (!map->child || !map->child->next)
                return 0;
        keys = calloc((size_t)cJSON_GetArraySize(map), sizeof(*keys));
        if (!keys)
                return -ENOMEM;
        cJSON_ArrayForEach (item, map)
                keys[n++] = item->string;
        qsort(keys, n, sizeof(*keys), by_text);
        for (size_t i = 1; i < n; i++)
                if (strcmp(keys[i - 1], keys[i]) == 0)
                        return err_set(r->e, ERR_MALFORMED, "line %zu: key \"%.100s\" twice in the mapping",
                                at->start_mark.line + 1, keys[i]);
        return 0;
}

static int check_key(struct reader *r, const yaml_event_t *ev)
{
        const char *text = (const char *)ev->data.scalar.value;

        if (ev->type != YAML_SCALAR_EVENT)
                return fail(r, ev, "a key that is no text");
        if (strlen(text) != ev->data.scalar.length)
                return fail(r, ev, "a NUL character in a text");
        if (strcmp(text, "<<") == 0 && ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
                return fail(r, ev, "merge keys (<<) are not supported: write the members out");
        return pay(r, ev->data.scalar.length);
}

static int read_member(struct reader *r, const yaml_event_t *key, unsigned depth, cJSON *map)
{
        CLEANUP(event_fini) yaml_event_t ev = { 0 };
        cJSON *item = NULL;
        int err = check_key(r, key);

        if (err < 0)
                return err;
        err = next_event(r, &ev);
        if (err < 0)
                return err;
        err = read_node(r, &ev, depth, &item);
        if (err < 0)
                return err;
        if (!cJSON_AddItemToObject(map, (const char *)key->data.scalar.value, item)) {
                cJSON_Delete(item);
                return -ENOMEM;
        }
        return 0;
}

static int read_mapping(struct reader *r, const yaml_event_t *start, unsigned depth, cJSON **ret)
{
        CLEANUP(json_deletep) cJSON *map = cJSON_CreateObject();
        int err = check_tag(r, start, start->data.mapping_start.tag, CORE_TAG "map");

        if (err < 0 || !map)
                return err < 0 ? err : -ENOMEM;
        for (;;) {
                CLEANUP(event_fini) yaml_event_t ev = { 0 };

                err = next_event(r, &ev);
                if (err < 0)
                        return err;
                if (ev.type == YAML_MAPPING_END_EVENT)
                        break;
                err = read_member(r, &ev, depth, map);
                if (err < 0)
                        return err;
        }
        err = check_keys(r, start, map);
        if (err == 0)
                *ret = TAKE(map);
        return err;
}

/* @depth: collections around this node. */
static int read_node(struct reader *r, const yaml_event_t *ev, unsigned depth, cJSON **ret)
{
        CLEANUP(json_deletep) cJSON *node = NULL;
        const yaml_char_t *anchor = NULL;
        bool is_list = ev->type == YAML_SEQUENCE_START_EVENT;
        int err;

        if (ev->type == YAML_ALIAS_EVENT)
                return read_alias(r, ev, depth, ret);
        if (ev->type == YAML_SCALAR_EVENT) {
                anchor = ev->data.scalar.anchor;
                err = read_scalar(r, ev, &node);
        } else {
                anchor = is_list ? ev->data.sequence_start.anchor : ev->data.mapping_start.anchor;
                err = depth == JSON_DEPTH_MAX ? too_deep(r, ev) : pay(r, NODE_COST);
                if (err == 0)
                        err = is_list ? read_sequence(r, ev, depth + 1, &node)
                                      : read_mapping(r, ev, depth + 1, &node);
        }
        if (err == 0)
                err = remember(r, ev, anchor, node);
        if (err == 0)
                *ret = TAKE(node);
        return err;
}

/* ---- documents ---- */

static int read_documents(struct reader *r, cJSON *docs)
{
        for (;;) {
                CLEANUP(event_fini) yaml_event_t ev = { 0 };
                cJSON *node = NULL;
                int err = next_event(r, &ev);

                if (err < 0 || ev.type == YAML_STREAM_END_EVENT)
                        return err;
                if (ev.type == YAML_STREAM_START_EVENT || ev.type == YAML_DOCUMENT_END_EVENT)
                        continue;
                if (ev.type == YAML_DOCUMENT_START_EVENT) {
                        forget_anchors(r);
                        continue;
                }
                err = read_node(r, &ev, 0, &node);
                if (err < 0)
                        return err;
                if (cJSON_IsNull(node))
                        cJSON_Delete(node);
                else
                        (void)cJSON_AddItemToArray(docs, node); /* cannot fail: both are there and differ */
        }
}

int yaml_parse_all(cJSON **ret, const char *bytes, size_t len, struct err *e)
{
        CLEANUP(json_deletep) cJSON *docs = NULL;
        CLEANUP(freep) struct reader *r = NULL;
        int err;

        if (len > YAML_BYTES_MAX)
                return err_set(e, ERR_TOO_BIG, "more than %d bytes", YAML_BYTES_MAX);
        docs = cJSON_CreateArray();
        r = calloc(1, sizeof(*r)); /* 6 KiB with the anchors */
        if (!docs || !r || !yaml_parser_initialize(&r->parser))
                return -ENOMEM;
        r->e = e;
        yaml_parser_set_input_string(&r->parser, (const unsigned char *)(len > 0 ? bytes : ""), len);
        err = read_documents(r, docs);
        forget_anchors(r);
        yaml_parser_delete(&r->parser);
        if (err == 0)
                *ret = TAKE(docs);
        return err;
}

int yaml_parse(cJSON **ret, const char *bytes, size_t len, struct err *e)
{
        CLEANUP(json_deletep) cJSON *docs = NULL;
        cJSON *one;
        int err = yaml_parse_all(&docs, bytes, len, e);

        if (err < 0)
                return err;
        if (cJSON_GetArraySize(docs) > 1)
                return err_set(e, ERR_MALFORMED, "more than one document");
        one = docs->child ? cJSON_DetachItemFromArray(docs, 0) : cJSON_CreateNull();
        if (!one)
                return -ENOMEM;
        *ret = one;
        return 0;
}

const char *yaml_text(const cJSON *obj, const char *key)
{
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(obj, key);

        return item ? item->valuestring : NULL;
}
