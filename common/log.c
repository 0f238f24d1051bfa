/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"

#define MAX_FIELDS 24
#define VALUE_MAX  2048

static const char *const level_names[] = { "debug", "info", "warn", "error", "none" };

static atomic_int threshold = LOG_INFO;
static atomic_int out_fd = STDOUT_FILENO;

int log_set_level(const char *name)
{
        if (strcmp(name, "all") == 0)
                name = "debug";
        for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
                if (strcmp(name, level_names[i]) == 0) {
                        atomic_store(&threshold, (int)i);
                        return 0;
                }
        }
        return -EINVAL;
}

bool log_enabled(enum log_level level)
{
        return (int)level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

void log_set_fd(int fd)
{
        atomic_store(&out_fd, fd);
}

static void add_value(struct buf *b, const struct log_field *f)
{
        switch (f->type) {
        case LOG_STR:
                if (f->v.str)
                        buf_add_json_n(b, f->v.str, strnlen(f->v.str, VALUE_MAX));
                else
                        buf_adds(b, "null");
                break;
        case LOG_INT: buf_addf(b, "%" PRId64, f->v.i); break;
        case LOG_UINT: buf_addf(b, "%" PRIu64, f->v.u); break;
        case LOG_BOOL: buf_adds(b, f->v.b ? "true" : "false"); break;
        case LOG_JSON: buf_adds(b, f->v.str); break;
        }
}

void log_write(enum log_level level, const char *file, int line, const char *msg,
        const struct log_field *fields, size_t n_fields)
{
        CLEANUP(buf_fini) struct buf out = { .max = LOG_LINE_MAX - 2 };
        char ts[32], caller[128];
        const char *base = strrchr(file, '/');
        struct log_field all[MAX_FIELDS + 4];
        time_t now = time(NULL);
        struct tm tm;
        size_t n = 0;

        (void)gmtime_r(&now, &tm);
        (void)strftime(ts, sizeof(ts), "%Y-%m-%dT%H:%M:%SZ", &tm);
        (void)snprintf(caller, sizeof(caller), "%s:%d", base ? base + 1 : file, line);
        all[n++] = F_STR("caller", caller);
        all[n++] = F_STR("level", level_names[level]);
        all[n++] = F_STR("msg", msg);
        all[n++] = F_STR("ts", ts);
        for (size_t i = 0; i < n_fields && n < ARRAY_LEN(all); i++)
                all[n++] = fields[i];
        for (size_t i = 1; i < n; i++) { /* insertion sort: a handful of fields */
                struct log_field f = all[i];
                size_t at = i;

                for (; at > 0 && strcmp(all[at - 1].key, f.key) > 0; at--)
                        all[at] = all[at - 1];
                all[at] = f;
        }
        for (size_t i = 0; i < n; i++) {
                size_t before = out.len;

                buf_adds(&out, i == 0 ? "{" : ",");
                buf_add_json(&out, all[i].key);
                buf_addc(&out, ':');
                add_value(&out, &all[i]);
                if (!buf_ok(&out)) { /* this field no longer fits: leave it out, keep the line valid */
                        out.bad = false;
                        out.len = before;
                }
        }
        if (out.len == 0)
                return;
        out.max = 0;
        buf_adds(&out, "}\n");
        if (buf_ok(&out) && write(atomic_load(&out_fd), out.p, out.len) < 0)
                return; /* nobody to tell */
}

bool log_limit_ok(struct log_limit *state, uint64_t now_ms, uint64_t period_ms, uint64_t *ret_suppressed)
{
        if (now_ms < state->next_ms) {
                state->held++;
                return false;
        }
        if (ret_suppressed)
                *ret_suppressed = state->held;
        state->held = 0;
        state->next_ms = now_ms + period_ms;
        return true;
}
