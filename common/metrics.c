/* SPDX-License-Identifier: Apache-2.0 */
#include "common/metrics.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Locks: the registry's guards the list of families (which only grows), a family's guards its table of series.
 * Values are atomics and need neither. Printing holds a family's lock for PRINT_BATCH series at a time and finds
 * its place again by key, so that a thread which makes a series never waits for a whole page. */

#define SERIES_MAX  20000
#define PRINT_BATCH 64
#define NUMBER_LEN  32 /* "-1.7976931348623157e+308" and the terminator fit */

struct series {
        struct family *family;
        char *key; /* label values, each with its terminator: memcmp() then sorts label by label */
        size_t key_len;
        _Atomic double value; /* histograms: the sum */
        _Atomic uint64_t buckets[]; /* histograms: one for each bound, then the rest */
};

struct family {
        struct family *next; /* by name */
        enum metric_type type;
        const char *name, *help;
        const char *const *labels;
        size_t n_labels;
        const double *bounds;
        size_t n_bounds;
        pthread_mutex_t lock;
        struct series **table; /* by key */
        size_t n_series, cap;
};

struct metrics {
        pthread_mutex_t lock;
        struct family *families;
};

int metrics_new(struct metrics **ret)
{
        struct metrics *m = calloc(1, sizeof(*m));

        if (!m)
                return -ENOMEM;
        pthread_mutex_init(&m->lock, NULL); /* cannot fail on Linux without attributes */
        *ret = m;
        return 0;
}

static struct series *series_free(struct series *s)
{
        if (s)
                free(s->key);
        free(s);
        return NULL;
}
DEFINE_CLEANUP(struct series, series_free);

static struct family *family_free(struct family *f)
{
        if (!f)
                return NULL;
        for (size_t i = 0; i < f->n_series; i++)
                series_free(f->table[i]);
        free(f->table);
        pthread_mutex_destroy(&f->lock);
        free(f);
        return NULL;
}
DEFINE_CLEANUP(struct family, family_free);

struct metrics *metrics_free(struct metrics *m)
{
        struct family *next;

        if (!m)
                return NULL;
        for (struct family *f = m->families; f; f = next) {
                next = f->next;
                family_free(f);
        }
        pthread_mutex_destroy(&m->lock);
        free(m);
        return NULL;
}

static struct family *family_new(
        enum metric_type type, const char *name, const char *help, const char *const *labels)
{
        struct family *f = calloc(1, sizeof(*f));

        if (!f)
                return NULL;
        pthread_mutex_init(&f->lock, NULL);
        f->type = type;
        f->name = name;
        f->help = help;
        f->labels = labels;
        while (labels && labels[f->n_labels])
                f->n_labels++;
        return f;
}

/* Puts a new family in its place, unless one of that name is there. */
static struct family *family_insert(struct metrics *m, struct family *f)
{
        struct family **at;
        int order = -1;

        pthread_mutex_lock(&m->lock);
        for (at = &m->families; *at; at = &(*at)->next) {
                order = strcmp(f->name, (*at)->name);
                if (order <= 0)
                        break;
        }
        if (*at && order == 0) {
                f = (*at)->type == f->type ? *at : NULL;
        } else {
                f->next = *at;
                *at = f;
        }
        pthread_mutex_unlock(&m->lock);
        return f;
}

struct family *metrics_family(struct metrics *m, enum metric_type type, const char *name, const char *help,
        const char *const *labels, const double *bounds, size_t n_bounds)
{
        CLEANUP(family_freep) struct family *f = NULL;
        struct family *got;

        f = family_new(type, name, help, labels);
        if (!f)
                return NULL;
        if (type == METRIC_HISTOGRAM) {
                f->bounds = bounds;
                f->n_bounds = n_bounds;
        }
        /* Without labels there is one series, and it shows 0 before the first event: alerts compare with it. */
        if (f->n_labels == 0 && !metrics_series(f, NULL))
                return NULL;
        got = family_insert(m, f);
        if (got == f)
                f = NULL;
        return got;
}

static int key_cmp(const char *a, size_t a_len, const char *b, size_t b_len)
{
        int order = memcmp(a, b, MIN(a_len, b_len));

        return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

/* Index of the first series whose key is not below @key. The family is locked. */
static size_t table_find(const struct family *f, const char *key, size_t len, bool *ret_equal)
{
        size_t lo = 0, hi = f->n_series;

        *ret_equal = false;
        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;
                int order = key_cmp(f->table[mid]->key, f->table[mid]->key_len, key, len);

                if (order == 0)
                        *ret_equal = true;
                if (order < 0)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

/* Makes room for one more. */
static bool table_grow(struct family *f)
{
        size_t cap = f->cap ? f->cap * 2 : 1;
        struct series **p;

        if (f->n_series >= SERIES_MAX)
                return false;
        if (f->n_series < f->cap)
                return true;
        p = realloc(f->table, cap * sizeof(struct series *));
        if (!p)
                return false;
        f->table = p;
        f->cap = cap;
        return true;
}

static struct series *table_get(struct family *f, struct series *s)
{
        bool equal;
        size_t at;

        pthread_mutex_lock(&f->lock);
        at = table_find(f, s->key, s->key_len, &equal);
        if (equal) {
                s = f->table[at];
        } else if (!table_grow(f)) {
                s = NULL;
        } else {
                memmove(f->table + at + 1, f->table + at, (f->n_series - at) * sizeof(struct series *));
                f->table[at] = s;
                f->n_series++;
        }
        pthread_mutex_unlock(&f->lock);
        return s;
}

/* NULL: no memory, or another number of values than of labels. */
static char *key_new(const struct family *f, const char *const *values, size_t *ret_len)
{
        size_t n = 0, len = 0;
        char *key, *p;

        for (n = 0; values && values[n]; n++)
                len += strlen(values[n]) + 1;
        if (n != f->n_labels)
                return NULL;
        key = malloc(len ? len : 1);
        if (!key)
                return NULL;
        p = key;
        for (size_t i = 0; i < n; i++)
                p = stpcpy(p, values[i]) + 1;
        *ret_len = len;
        return key;
}

struct series *metrics_series(struct family *f, const char *const *values)
{
        CLEANUP(series_freep) struct series *s = NULL;
        struct series *got;
        size_t n_buckets;

        if (!f)
                return NULL;
        n_buckets = f->type == METRIC_HISTOGRAM ? f->n_bounds + 1 : 0;
        s = calloc(1, sizeof(*s) + n_buckets * sizeof(s->buckets[0]));
        if (!s)
                return NULL;
        s->family = f;
        s->key = key_new(f, values, &s->key_len);
        if (!s->key)
                return NULL;
        got = table_get(f, s);
        if (got == s)
                s = NULL;
        return got;
}

void metrics_remove(struct family *f, const char *const *values)
{
        CLEANUP(freep) char *key = NULL;
        struct series *gone = NULL;
        size_t len, at;
        bool equal;

        if (!f)
                return;
        key = key_new(f, values, &len);
        if (!key)
                return;
        pthread_mutex_lock(&f->lock);
        at = table_find(f, key, len, &equal);
        if (equal) {
                gone = f->table[at];
                f->n_series--;
                memmove(f->table + at, f->table + at + 1, (f->n_series - at) * sizeof(struct series *));
        }
        pthread_mutex_unlock(&f->lock);
        series_free(gone);
}

void metrics_remove_all(struct family *f)
{
        struct series **table;
        size_t n;

        if (!f)
                return;
        pthread_mutex_lock(&f->lock);
        table = f->table;
        n = f->n_series;
        f->table = NULL;
        f->n_series = f->cap = 0;
        pthread_mutex_unlock(&f->lock);
        for (size_t i = 0; i < n; i++)
                series_free(table[i]);
        free(table);
}

static void value_add(struct series *s, double by)
{
        double old = atomic_load_explicit(&s->value, memory_order_relaxed);

        while (!atomic_compare_exchange_weak_explicit(
                &s->value, &old, old + by, memory_order_relaxed, memory_order_relaxed))
                ;
}

void series_add(struct series *s, double by)
{
        if (!s || s->family->type == METRIC_HISTOGRAM)
                return;
        if (s->family->type == METRIC_COUNTER && !(by >= 0))
                return; /* a counter that falls reads as a restart */
        value_add(s, by);
}

void series_set(struct series *s, double to)
{
        if (s && s->family->type != METRIC_HISTOGRAM)
                atomic_store_explicit(&s->value, to, memory_order_relaxed);
}

void series_observe(struct series *s, double value)
{
        size_t i = 0;

        if (!s || s->family->type != METRIC_HISTOGRAM)
                return;
        while (i < s->family->n_bounds && !(value <= s->family->bounds[i]))
                i++;
        atomic_fetch_add_explicit(&s->buckets[i], 1, memory_order_relaxed);
        value_add(s, value);
}

double series_value(const struct series *s)
{
        uint64_t n = 0;

        if (!s)
                return 0;
        if (s->family->type != METRIC_HISTOGRAM)
                return atomic_load_explicit(&s->value, memory_order_relaxed);
        for (size_t i = 0; i <= s->family->n_bounds; i++)
                n += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
        return (double)n;
}

/* The shortest text that reads back as @v. A double has at most 17 digits; with 15 or fewer there is only one. */
static const char *number(double v, char out[static NUMBER_LEN])
{
        if (isnan(v))
                return "NaN";
        if (isinf(v))
                return v > 0 ? "+Inf" : "-Inf";
        if (fabs(v) < 9007199254740992.0 && trunc(v) == v) {
                (void)snprintf(out, NUMBER_LEN, "%.0f", v == 0 ? 0.0 : v); /* 2^53 has 16 digits; no "-0" */
                return out;
        }
        for (int digits = 15; digits <= 17; digits++) {
                (void)snprintf(out, NUMBER_LEN, "%.*g", digits, v);
                if (strtod(out, NULL) == v)
                        break;
        }
        return out;
}

/* Text format 0.0.4: a line feed and a backslash are escaped everywhere, a quote in label values. What is not UTF-8
 * would make the reader refuse the whole page, so such bytes become U+FFFD. */
static void print_escaped(struct buf *out, const char *text, bool quoted)
{
        const unsigned char *p = (const unsigned char *)text;
        size_t left = strlen(text), n;

        for (; left > 0; p += n, left -= n) {
                n = buf_utf8_len(p, left);
                if (n == 0) {
                        buf_adds(out, "\xef\xbf\xbd");
                        n = 1;
                } else if (*p == '\n') {
                        buf_adds(out, "\\n");
                } else {
                        if (*p == '\\' || (*p == '"' && quoted))
                                buf_addc(out, '\\');
                        buf_add(out, p, n);
                }
        }
}

/* "name_suffix{a="x",le="0.5"} value"; @le NULL: no such label. */
static void print_sample(
        struct buf *out, const struct series *s, const char *suffix, const char *le, double value)
{
        const struct family *f = s->family;
        const char *sep = "{", *v = s->key;
        char text[NUMBER_LEN];

        buf_adds(out, f->name);
        buf_adds(out, suffix);
        for (size_t i = 0; i < f->n_labels; i++, v += strlen(v) + 1) {
                buf_adds(out, sep);
                buf_adds(out, f->labels[i]);
                buf_adds(out, "=\"");
                print_escaped(out, v, true);
                buf_addc(out, '"');
                sep = ",";
        }
        if (le) {
                buf_adds(out, sep);
                buf_adds(out, "le=\"");
                buf_adds(out, le);
                buf_addc(out, '"');
        }
        if (f->n_labels > 0 || le)
                buf_addc(out, '}');
        buf_addc(out, ' ');
        buf_adds(out, number(value, text));
        buf_addc(out, '\n');
}

static void print_series(struct buf *out, const struct series *s)
{
        const struct family *f = s->family;
        uint64_t below = 0;
        char le[NUMBER_LEN];

        if (f->type != METRIC_HISTOGRAM) {
                print_sample(out, s, "", NULL, series_value(s));
                return;
        }
        for (size_t i = 0; i <= f->n_bounds; i++) {
                below += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
                print_sample(out, s, "_bucket", i < f->n_bounds ? number(f->bounds[i], le) : "+Inf",
                        (double)below);
        }
        print_sample(out, s, "_sum", NULL, atomic_load_explicit(&s->value, memory_order_relaxed));
        print_sample(out, s, "_count", NULL, (double)below); /* equals the last bucket by construction */
}

static void print_head(struct buf *out, const struct family *f)
{
        static const char *const types[] = { "counter", "gauge", "histogram" };

        buf_adds(out, "# HELP ");
        buf_adds(out, f->name);
        buf_addc(out, ' ');
        print_escaped(out, f->help, false);
        buf_adds(out, "\n# TYPE ");
        buf_adds(out, f->name);
        buf_addc(out, ' ');
        buf_adds(out, types[f->type]);
        buf_addc(out, '\n');
}

/* Prints the series after @last (its key; empty: from the start) and leaves the new last key there. */
static bool print_batch(struct buf *out, struct family *f, struct buf *last, bool *first)
{
        bool equal = false, more;
        size_t at = 0, end;

        pthread_mutex_lock(&f->lock);
        if (!*first)
                at = table_find(f, last->p, last->len, &equal) + equal;
        if (*first && (f->n_series > 0 || f->n_labels == 0))
                print_head(out, f);
        *first = false;
        end = MIN(at + PRINT_BATCH, f->n_series);
        more = end < f->n_series;
        for (size_t i = at; i < end; i++)
                print_series(out, f->table[i]);
        if (more) {
                buf_reset(last);
                buf_add(last, f->table[end - 1]->key, f->table[end - 1]->key_len);
                more = buf_ok(last) && buf_ok(out);
                out->bad |= last->bad;
        }
        pthread_mutex_unlock(&f->lock);
        return more;
}

void metrics_print(struct metrics *m, struct buf *out)
{
        CLEANUP(buf_fini) struct buf last = BUF_INIT;
        struct family *f;

        pthread_mutex_lock(&m->lock);
        f = m->families;
        pthread_mutex_unlock(&m->lock);
        while (f) {
                bool first = true;

                while (print_batch(out, f, &last, &first))
                        ;
                pthread_mutex_lock(&m->lock);
                f = f->next;
                pthread_mutex_unlock(&m->lock);
        }
}
