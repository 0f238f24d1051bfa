/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* log - one JSON object a line on stdout, keys sorted, as MetalLB's own lines are.
 *
 * Every line has ts (RFC 3339, UTC, seconds), level, caller (file.c:line) and msg; facts are typed fields.
 *     log_warn("pool ignored", F_STR("pool", name), F_INT("free", n), F_ERR(r));
 * The message is a literal (the macro makes a variable a compile error). Thread-safe: a line is one
 * write(2) of at most LOG_LINE_MAX bytes, which a pipe takes as a whole; over-long values are cut, and the line stays
 * valid JSON. The four fields above are never left out, nor more than 24 others kept.
 * Shells and mains log, once, where the thing is handled; libraries and pure files never do.
 * Stable keys: service pool ip node interface peer error event op reason. */
#include "common/base.h"

#define LOG_LINE_MAX 4096 /* PIPE_BUF: lines of several threads never mix */

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_NONE };

struct log_field {
        const char *key;
        enum { LOG_STR, LOG_INT, LOG_UINT, LOG_BOOL, LOG_JSON } type;
        union {
                const char *str; /* NULL prints as null; LOG_JSON is printed as it is, on one line */
                int64_t i;
                uint64_t u;
                bool b;
        } v;
};

#define F_STR(k, x)  ((struct log_field){ (k), LOG_STR, { .str = (x) } })
#define F_INT(k, x)  ((struct log_field){ (k), LOG_INT, { .i = (x) } })
#define F_UINT(k, x) ((struct log_field){ (k), LOG_UINT, { .u = (x) } })
#define F_BOOL(k, x) ((struct log_field){ (k), LOG_BOOL, { .b = (x) } })
#define F_JSON(k, x) ((struct log_field){ (k), LOG_JSON, { .str = (x) } })
#define F_ERR(code)  F_STR("error", err_name(code)) /* needs common/err.h */

/* "all" and "debug", "info", "warn", "error", "none": 0, or -EINVAL for any other text. */
int log_set_level(const char *name) MUST_CHECK;
bool log_enabled(enum log_level level);
/* Lines go to @fd from now on (default 1). For tests. */
void log_set_fd(int fd);

void log_write(enum log_level level, const char *file, int line, const char *msg,
        const struct log_field *fields, size_t n_fields);

#define log_at(level, msg, ...) \
        do { \
                if (log_enabled(level)) { \
                        const struct log_field fields_[] = { { .key = NULL }, ##__VA_ARGS__ }; \
                        log_write(level, __FILE__, __LINE__, "" msg, fields_ + 1, ARRAY_LEN(fields_) - 1); \
                } \
        } while (0)

#define log_debug(msg, ...) log_at(LOG_DEBUG, msg, ##__VA_ARGS__)
#define log_info(msg, ...)  log_at(LOG_INFO, msg, ##__VA_ARGS__)
#define log_warn(msg, ...)  log_at(LOG_WARN, msg, ##__VA_ARGS__)
#define log_error(msg, ...) log_at(LOG_ERROR, msg, ##__VA_ARGS__)

/* True at most once per @period_ms for one @state (zero-initialised, one thread): for lines that would
 * otherwise repeat. @ret_suppressed counts those held back since the last true; may be NULL. */
struct log_limit {
        uint64_t next_ms;
        uint64_t held;
};
bool log_limit_ok(struct log_limit *state, uint64_t now_ms, uint64_t period_ms, uint64_t *ret_suppressed);
