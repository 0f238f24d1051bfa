/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* metrics - a registry of counters, gauges and histograms, printed in the Prometheus text format 0.0.4. Pure.
 *
 * Handles are stable until removed. Updates of one series are atomic, so the wire thread may count while another
 * thread prints; creating and removing series takes a lock inside and is for slow paths. */
#include "common/base.h"
#include "common/buf.h"

struct metrics;
struct family;
struct series;

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

int metrics_new(struct metrics **ret) MUST_CHECK;
struct metrics *metrics_free(struct metrics *m);
DEFINE_CLEANUP(struct metrics, metrics_free);

/* Registers a family, or returns the one of that name. @labels: NULL-terminated names, in printing order; NULL: none.
 * @bounds: ascending upper bounds for a histogram, without +Inf. All strings must be static. NULL: no memory, or the
 * name exists with another type. */
struct family *metrics_family(struct metrics *m, enum metric_type type, const char *name, const char *help,
        const char *const *labels, const double *bounds, size_t n_bounds);

/* The series with these label values (NULL-terminated, same count as the names), made if missing. NULL: no memory or
 * more than 20,000 series in the family. Copies the values. @f may be NULL: gives NULL. */
struct series *metrics_series(struct family *f, const char *const *values);
/* Removes it; unknown ones are fine. */
void metrics_remove(struct family *f, const char *const *values);
void metrics_remove_all(struct family *f);

/* All take NULL and then do nothing. */
void series_add(struct series *s, double by); /* counters: by >= 0 */
void series_set(struct series *s, double to);
void series_observe(struct series *s, double value);
double series_value(const struct series *s); /* 0 for NULL; a histogram's count */

/* Families sorted by name, series by label values; HELP and TYPE for every family that has a series or no labels. */
void metrics_print(struct metrics *m, struct buf *out);

/* Variadic sugar: metrics_with(f, "a", "b") for label values a, b. */
#define metrics_with(f, ...) metrics_series((f), (const char *const[]){ __VA_ARGS__, NULL })
#define metrics_drop(f, ...) metrics_remove((f), (const char *const[]){ __VA_ARGS__, NULL })
