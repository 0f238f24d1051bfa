/* SPDX-License-Identifier: Apache-2.0 */
#include "common/http.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define CHUNK_LINE_MAX 256 /* size, extensions; one trailer */

size_t http_head_end(const char *bytes, size_t len, size_t from)
{
        size_t start = 0;

        while (len - start >= 2 && bytes[start] == '\r' && bytes[start + 1] == '\n')
                start += 2;
        from = from > start + 3 ? from - 3 : start; /* the four bytes may have come in two parts */
        for (size_t i = from; i + 4 <= len; i++) {
                const char *hit = memchr(bytes + i, '\r', len - i);

                if (!hit || (size_t)(hit - bytes) + 4 > len)
                        return 0;
                i = (size_t)(hit - bytes);
                if (memcmp(hit, "\r\n\r\n", 4) == 0)
                        return i + 4;
        }
        return 0;
}

/* tchar of RFC 9110 section 5.6.2. */
static bool is_token(const char *p, size_t len)
{
        for (size_t i = 0; i < len; i++) {
                char c = p[i], low = (char)(c | 0x20);

                if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') &&
                        (!c || !strchr("!#$%&'*+-.^_`|~", c)))
                        return false;
        }
        return len > 0;
}

struct line {
        char *p;
        size_t len;
};

/* Takes the next CRLF-ended line. A bare CR or LF breaks the format: readers differ on what it means. */
static bool take_line(struct line *ret, char **p, char *end)
{
        char *cr = memchr(*p, '\r', (size_t)(end - *p));

        if (!cr || cr + 1 == end || cr[1] != '\n')
                return false;
        *ret = (struct line){ *p, (size_t)(cr - *p) };
        *p = cr + 2;
        return memchr(ret->p, '\n', ret->len) == NULL;
}

/* RFC 9112 section 3.2: origin form, absolute form, or "*". */
static int parse_target(struct http_head *h, char *p, size_t len)
{
        char *query;

        for (size_t i = 0; i < len; i++)
                if (p[i] <= ' ' || p[i] == 0x7f ||
                        p[i] == '#') /* char may be signed: this refuses 8-bit too */
                        return ERR_MALFORMED;
        if (p[0] != '/' && memmem(p, len, "://", 3)) {
                char *host = (char *)memmem(p, len, "://", 3) + 3,
                     *slash = memchr(host, '/', len - (size_t)(host - p));

                if (!slash)
                        return ERR_REJECTED;
                len -= (size_t)(slash - p);
                p = slash;
        }
        if (p[0] != '/' && !(len == 1 && p[0] == '*'))
                return ERR_MALFORMED;
        p[len] = '\0'; /* was the blank before the version */
        query = strchr(p, '?');
        if (query)
                *query++ = '\0';
        h->path = p;
        h->query = query ? query : "";
        return 0;
}

static int parse_request_line(struct http_head *h, bool *ret_old, struct line l)
{
        char *sp1 = memchr(l.p, ' ', l.len), *sp2 = memrchr(l.p, ' ', l.len), *version;

        if (!sp1 || sp1 + 1 >= sp2 || !is_token(l.p, (size_t)(sp1 - l.p)))
                return ERR_MALFORMED;
        version = sp2 + 1;
        if (l.len - (size_t)(version - l.p) != 8 || memcmp(version, "HTTP/", 5) != 0 || version[6] != '.')
                return ERR_MALFORMED;
        if (version[5] != '1' || (version[7] != '0' && version[7] != '1'))
                return ERR_REJECTED;
        *ret_old = version[7] == '0';
        *sp1 = '\0';
        h->method = l.p;
        return parse_target(h, sp1 + 1, (size_t)(sp2 - sp1) - 1);
}

enum field {
        F_OTHER,
        F_AUTHORIZATION,
        F_CONNECTION,
        F_CONTENT_LENGTH,
        F_EXPECT,
        F_HOST,
        F_TRANSFER_ENCODING
};

static enum field field_of(const char *name, size_t len)
{
        static const char *const names[] = { "", "authorization", "connection", "content-length", "expect",
                "host", "transfer-encoding" };

        for (size_t i = 1; i < ARRAY_LEN(names); i++)
                if (strlen(names[i]) == len && strncasecmp(names[i], name, len) == 0)
                        return (enum field)i;
        return F_OTHER;
}

struct seen {
        bool host, length, coding, close, keep;
};

static int parse_length(struct http_head *h, struct seen *seen, struct line v)
{
        uint64_t n = 0;

        if (v.len == 0 || v.len > 18 || seen->length) /* 18 digits fit; RFC 9110 section 8.6 on repeats */
                return ERR_MALFORMED;
        for (size_t i = 0; i < v.len; i++) {
                if (v.p[i] < '0' || v.p[i] > '9')
                        return ERR_MALFORMED;
                n = n * 10 + (uint64_t)(v.p[i] - '0');
        }
        seen->length = true;
        h->length = n;
        return 0;
}

/* A comma-separated list of tokens (RFC 9110 section 7.6.1). */
static void parse_connection(struct seen *seen, struct line v)
{
        while (v.len > 0) {
                size_t n = 0;

                while (n < v.len && v.p[n] != ',' && v.p[n] != ' ' && v.p[n] != '\t')
                        n++;
                if (n == 5 && strncasecmp(v.p, "close", n) == 0)
                        seen->close = true;
                if (n == 10 && strncasecmp(v.p, "keep-alive", n) == 0)
                        seen->keep = true;
                n += n < v.len;
                v.p += n;
                v.len -= n;
        }
}

static void parse_authorization(struct http_head *h, struct line v)
{
        size_t skip = 7;

        if (v.len < 8 || strncasecmp(v.p, "bearer ", 7) != 0)
                return;
        while (skip < v.len && v.p[skip] == ' ')
                skip++;
        v.p[v.len] = '\0'; /* was a blank or the CR of the line's end */
        h->bearer = v.p + skip;
}

static int parse_value(struct http_head *h, struct seen *seen, enum field f, struct line v)
{
        switch (f) {
        case F_AUTHORIZATION:
                if (h->bearer)
                        return ERR_MALFORMED; /* which one counts? */
                parse_authorization(h, v);
                return 0;
        case F_CONNECTION: parse_connection(seen, v); return 0;
        case F_CONTENT_LENGTH: return parse_length(h, seen, v);
        case F_EXPECT:
                if (v.len != 12 || strncasecmp(v.p, "100-continue", 12) != 0)
                        return ERR_REJECTED;
                h->expect_continue = true;
                return 0;
        case F_HOST:
                if (seen->host)
                        return ERR_MALFORMED;
                seen->host = true;
                return 0;
        case F_TRANSFER_ENCODING:
                if (seen->coding)
                        return ERR_MALFORMED;
                seen->coding = true;
                return v.len == 7 && strncasecmp(v.p, "chunked", 7) == 0 ? 0 : ERR_REJECTED;
        case F_OTHER: break;
        }
        return 0;
}

static int parse_field(struct http_head *h, struct seen *seen, struct line l)
{
        char *colon = memchr(l.p, ':', l.len);
        struct line v;

        if (!colon || !is_token(l.p, (size_t)(colon - l.p)))
                return ERR_MALFORMED; /* also a folded line and a blank before the colon */
        v = (struct line){ colon + 1, l.len - (size_t)(colon - l.p) - 1 };
        while (v.len > 0 && (v.p[0] == ' ' || v.p[0] == '\t')) {
                v.p++;
                v.len--;
        }
        while (v.len > 0 && (v.p[v.len - 1] == ' ' || v.p[v.len - 1] == '\t'))
                v.len--;
        for (size_t i = 0; i < v.len; i++) {
                unsigned char c = (unsigned char)v.p[i];

                if ((c < 0x20 && c != '\t') || c == 0x7f)
                        return ERR_MALFORMED;
        }
        return parse_value(h, seen, field_of(l.p, (size_t)(colon - l.p)), v);
}

int http_head_parse(struct http_head *ret, char *bytes, size_t len)
{
        char *p = bytes, *end = bytes + len;
        struct http_head h = { 0 };
        struct seen seen = { 0 };
        struct line l;
        bool old;
        int r;

        while (end - p >= 2 && p[0] == '\r' && p[1] == '\n')
                p += 2;
        if (!take_line(&l, &p, end))
                return ERR_MALFORMED;
        r = parse_request_line(&h, &old, l);
        if (r < 0)
                return r;
        for (;;) {
                if (!take_line(&l, &p, end))
                        return ERR_MALFORMED;
                if (l.len == 0)
                        break;
                r = parse_field(&h, &seen, l);
                if (r < 0)
                        return r;
        }
        /* RFC 9112 sections 3.2 and 6.1: a request that readers could frame in two ways is no request. */
        if (p != end || (!old && !seen.host) || (seen.coding && (seen.length || old)))
                return ERR_MALFORMED;
        h.body = seen.coding ? HTTP_BODY_CHUNKED : seen.length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
        h.keep_alive = old ? seen.keep && !seen.close : !seen.close;
        *ret = h;
        return 0;
}

enum { C_SIZE, C_EXT, C_SIZE_LF, C_DATA, C_DATA_CR, C_DATA_LF, C_TRAILER, C_TRAILER_LF, C_END_LF, C_DONE };

static int hex(char c)
{
        char low = (char)(c | 0x20);

        return c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

/* The one byte that may come here, and what comes after it. */
static bool expect(struct http_chunks *c, bool ok, int next)
{
        if (ok)
                c->state = next;
        return ok;
}

static bool size_byte(struct http_chunks *c, char b)
{
        int d = hex(b);

        if (d >= 0 && c->n < 15) {
                c->left = c->left * 16 + (uint64_t)d;
                c->n++;
                return true;
        }
        if (c->n == 0 || d >= 0)
                return false;
        return expect(c, b == '\r' || b == ';' || b == ' ' || b == '\t', b == '\r' ? C_SIZE_LF : C_EXT);
}

/* Every byte but those of the data. */
static bool frame_byte(struct http_chunks *c, char b)
{
        switch (c->state) {
        case C_SIZE: return size_byte(c, b);
        case C_EXT: return expect(c, b != '\n' && ++c->n < CHUNK_LINE_MAX, b == '\r' ? C_SIZE_LF : C_EXT);
        case C_SIZE_LF: c->n = 0; return expect(c, b == '\n', c->left > 0 ? C_DATA : C_TRAILER);
        case C_DATA_CR: return expect(c, b == '\r', C_DATA_LF);
        case C_DATA_LF: return expect(c, b == '\n', C_SIZE);
        case C_TRAILER:
                if (b == '\r')
                        return expect(c, true, c->n == 0 ? C_END_LF : C_TRAILER_LF);
                return b != '\n' && ++c->n < CHUNK_LINE_MAX;
        case C_TRAILER_LF: c->n = 0; return expect(c, b == '\n', C_TRAILER);
        case C_END_LF: return expect(c, b == '\n', C_DONE);
        default: return false;
        }
}

int http_chunks_read(struct http_chunks *c, struct buf *body, const char *bytes, size_t len)
{
        size_t at = 0;

        while (at < len && c->state != C_DONE) {
                size_t n = c->left < len - at ? (size_t)c->left : len - at;

                if (c->state != C_DATA) {
                        if (!frame_byte(c, bytes[at++]))
                                return ERR_MALFORMED;
                        if (c->state == C_DATA && c->left > body->max - body->len)
                                return ERR_TOO_BIG;
                        continue;
                }
                buf_add(body, bytes + at, n);
                if (!buf_ok(body))
                        return -ENOMEM;
                at += n;
                c->left -= n;
                if (c->left == 0)
                        c->state = C_DATA_CR;
        }
        return (int)at;
}

bool http_chunks_done(const struct http_chunks *c)
{
        return c->state == C_DONE;
}

static const struct {
        int status;
        const char *reason;
} reasons[] = {
        { 200, "OK" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 408, "Request Timeout" },
        { 413, "Content Too Large" },
        { 415, "Unsupported Media Type" },
        { 431, "Request Header Fields Too Large" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 503, "Service Unavailable" },
};

const char *http_reason(int status)
{
        for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
                if (reasons[i].status == status)
                        return reasons[i].reason;
        return "";
}

/* IMF-fixdate of RFC 9110 section 5.6.7; strftime() would follow the locale. */
static void add_date(struct buf *out, int64_t date)
{
        static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        time_t t = (time_t)date;
        struct tm tm = { .tm_mday = 1 };

        (void)gmtime_r(&t, &tm); /* fails beyond year 2^31 only; then it is 1900 */
        buf_addf(out, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n", days + 3 * tm.tm_wday, tm.tm_mday,
                months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

void http_response_head(
        struct buf *out, int status, const char *content_type, size_t len, bool keep_alive, int64_t date)
{
        buf_addf(out, "HTTP/1.1 %d %s\r\n", status, http_reason(status));
        add_date(out, date);
        if (content_type)
                buf_addf(out, "Content-Type: %s\r\nX-Content-Type-Options: nosniff\r\n", content_type);
        if (status == 401)
                buf_adds(out, "WWW-Authenticate: Bearer\r\n"); /* RFC 9110 section 15.5.2 */
        buf_addf(out, "Content-Length: %zu\r\n", len);
        if (!keep_alive)
                buf_adds(out, "Connection: close\r\n");
        buf_adds(out, "\r\n");
}
