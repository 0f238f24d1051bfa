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

#define MAX_FIELDS 24 /* of the caller's */
#define N_OWN      4 /* caller, level, msg, ts */
#define OWN_ROOM   1024 /* what these may need; the caller's fields share the rest */
#define VALUE_MAX  2048 /* of a text, before escapes */

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

/* Outside of its strings JSON may hold line ends, and inside it cannot: as blanks they change nothing. */
static void add_json_line(struct buf *b, const char *json)
{
        for (; *json; json++)
                buf_addc(b, *json == '\n' || *json == '\r' ? ' ' : *json);
}

static void add_value(struct buf *b, const struct log_field *f, size_t max)
{
        switch (f->type) {
        case LOG_STR:
                if (f->v.str)
                        buf_add_json_n(b, f->v.str, strnlen(f->v.str, max));
                else
                        buf_adds(b, "null");
                break;
        case LOG_INT: buf_addf(b, "%" PRId64, f->v.i); break;
        case LOG_UINT: buf_addf(b, "%" PRIu64, f->v.u); break;
        case LOG_BOOL: buf_adds(b, f->v.b ? "true" : "false"); break;
        case LOG_JSON:
                if (f->v.str)
                        add_json_line(b, f->v.str);
                else
                        buf_adds(b, "null");
                break;
        }
}

static bool is_own(const struct log_field *f)
{
        static const char *const keys[] = { "caller", "level", "msg", "ts" };

        for (size_t i = 0; i < ARRAY_LEN(keys); i++)
                if (strcmp(keys[i], f->key) == 0)
                        return true;
        return false;
}

/* A field that does not fit is cut if it is a text, else left out. */
static void add_field(struct buf *b, const struct log_field *f, size_t max)
{
        size_t before = b->len;

        for (; max >= 16; max /= 2) {
                buf_adds(b, before == 0 ? "{" : ",");
                buf_add_json(b, f->key);
                buf_addc(b, ':');
                add_value(b, f, max);
                if (buf_ok(b))
                        return;
                b->bad = false;
                b->len = before;
                if (f->type != LOG_STR)
                        return;
        }
}

static void sort_fields(struct log_field *v, size_t n)
{
        for (size_t i = 1; i < n; i++) { /* insertion sort: a handful */
                struct log_field f = v[i];
                size_t at = i;

                for (; at > 0 && strcmp(v[at - 1].key, f.key) > 0; at--)
                        v[at] = v[at - 1];
                v[at] = f;
        }
}

static void write_all(int fd, const char *p, size_t left)
{
        while (left > 0) {
                ssize_t n = write(fd, p, left);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return; /* nobody to tell */
                p += n;
                left -= (size_t)n;
        }
}

void log_write(enum log_level level, const char *file, int line, const char *msg,
        const struct log_field *fields, size_t n_fields)
{
        CLEANUP(buf_fini) struct buf out = BUF_INIT;
        char ts[32], caller[128];
        const char *base = strrchr(file, '/');
        struct log_field all[N_OWN + MAX_FIELDS];
        time_t now = time(NULL);
        size_t n = 0;
        struct tm tm;

        (void)gmtime_r(&now, &tm);
        (void)strftime(ts, sizeof(ts), "%Y-%m-%dT%H:%M:%SZ", &tm);
        (void)snprintf(caller, sizeof(caller), "%s:%d", base ? base + 1 : file, line);
        all[n++] = F_STR("caller", caller);
        all[n++] = F_STR("level", level_names[level]);
        all[n++] = F_STR("msg", msg);
        all[n++] = F_STR("ts", ts);
        for (size_t i = 0; i < n_fields && n < ARRAY_LEN(all); i++)
                all[n++] = fields[i];
        sort_fields(all, n);
        for (size_t i = 0; i < n; i++) {
                bool own = is_own(&all[i]);

                out.max = LOG_LINE_MAX - 2 - (own ? 0 : OWN_ROOM);
                if (out.len <= out.max)
                        add_field(&out, &all[i], own ? OWN_ROOM / 2 : VALUE_MAX);
        }
        out.max = 0;
        buf_adds(&out, "}\n");
        if (buf_ok(&out) && out.len > 2)
                write_all(atomic_load(&out_fd), out.p, out.len);
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
