/* SPDX-License-Identifier: Apache-2.0 */
/* Two machines, one inside the other. The outer one follows the document: members of the top-level object, elements
 * of "items". The inner one (struct value) runs from the first to the last byte of one JSON value; it only knows
 * strings, escapes and depth, and copies whole spans into the buffer when the value is wanted. Pure. */
#include "common/kube/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

#define KEEP_MAX (64u * 1024) /* a buffer grown beyond this is given back after its object */

enum state {
        BEFORE, /* list: the "{" of the document; watch: the "{" of the next event, or nothing */
        KEY_OR_END, /* after "{" */
        KEY, /* after "," in the document: a name must come */
        IN_KEY,
        COLON,
        VALUE, /* the first byte of a member's value */
        IN_VALUE,
        AFTER_VALUE, /* "," or "}" of the document */
        ITEM_OR_END, /* after "[" of items */
        ITEM, /* after "," in items */
        AFTER_ITEM, /* "," or "]" of items */
        END, /* only blanks may follow */
};

enum want { SKIP, OBJECT, METADATA };

struct value { /* the value being read */
        enum want want;
        bool in_string, escaped;
        uint64_t depth; /* open brackets; cannot overflow: each costs a byte */
};

struct stream {
        enum stream_mode mode;
        enum state state;
        struct value value;
        bool in_items; /* IN_VALUE is an element of "items" */
        bool cut; /* the object did not fit */
        bool key_escaped;
        char key[16]; /* the name being read, as far as it fits */
        size_t key_len;
        int error; /* sticky */
        size_t max_object;
        int (*on_object)(void *ctx, const char *bytes, size_t len, bool cut);
        void *ctx;
        struct buf object, metadata;
        bool has_metadata;
};

int stream_new(struct stream **ret, enum stream_mode mode, size_t max_object,
        int (*on_object)(void *ctx, const char *bytes, size_t len, bool cut), void *ctx)
{
        struct stream *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->mode = mode;
        s->max_object = max_object;
        s->on_object = on_object;
        s->ctx = ctx;
        *ret = s;
        return 0;
}

struct stream *stream_free(struct stream *s)
{
        if (!s)
                return NULL;
        buf_fini(&s->object);
        buf_fini(&s->metadata);
        free(s);
        return NULL;
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void value_begin(struct stream *s, enum want want, bool in_items)
{
        s->value = (struct value){ .want = want };
        s->in_items = in_items;
        s->cut = false;
        s->state = IN_VALUE;
        if (want == OBJECT)
                buf_reset(&s->object);
        if (want == METADATA) {
                buf_reset(&s->metadata);
                s->has_metadata = false;
        }
}

/* Copies a span of the value, up to the limit. */
static int value_keep(struct stream *s, const char *bytes, size_t len)
{
        struct buf *b = s->value.want == METADATA ? &s->metadata : &s->object;
        size_t max = s->value.want == METADATA ? STREAM_METADATA_MAX : s->max_object, room;

        if (s->value.want == SKIP)
                return 0;
        room = max - b->len;
        if (len > room) {
                if (s->value.want == METADATA)
                        return ERR_TOO_BIG;
                s->cut = true;
                len = room;
        }
        buf_add(b, bytes, len);
        return buf_ok(b) ? 0 : -ENOMEM;
}

static int value_done(struct stream *s)
{
        int r = 0;

        if (s->mode == STREAM_WATCH)
                s->state = BEFORE;
        else
                s->state = s->in_items ? AFTER_ITEM : AFTER_VALUE;
        if (s->value.want == METADATA)
                s->has_metadata = true;
        if (s->value.want != OBJECT)
                return 0;
        r = s->on_object(s->ctx, buf_str(&s->object), s->object.len, s->cut);
        if (s->object.cap > KEEP_MAX)
                buf_fini(&s->object);
        return r;
}

/* Follows the value through @bytes. Returns how many of them belong to it; *ret_done when that was all of it. */
static size_t value_scan(struct value *v, const char *bytes, size_t len, bool *ret_done)
{
        for (size_t i = 0; i < len; i++) {
                char c = bytes[i];

                if (v->in_string) {
                        if (v->escaped)
                                v->escaped = false;
                        else if (c == '\\')
                                v->escaped = true;
                        else if (c == '"')
                                v->in_string = false;
                } else if (c == '"') {
                        v->in_string = true;
                } else if (c == '{' || c == '[') {
                        v->depth++;
                        continue;
                } else if (c == '}' || c == ']') {
                        if (v->depth == 0) { /* the bracket that closes what a bare number stands in */
                                *ret_done = true;
                                return i;
                        }
                        v->depth--;
                } else if (v->depth == 0 && (is_blank(c) || c == ',')) {
                        *ret_done = true;
                        return i;
                } else {
                        continue;
                }
                if (v->depth == 0 && !v->in_string) {
                        *ret_done = true;
                        return i + 1;
                }
        }
        *ret_done = false;
        return len;
}

static int value_feed(struct stream *s, const char *bytes, size_t len, size_t *ret_used)
{
        bool done;
        size_t n = value_scan(&s->value, bytes, len, &done);
        int r = value_keep(s, bytes, n);

        *ret_used = n;
        if (r < 0 || !done)
                return r;
        return value_done(s);
}

static int begin_member(struct stream *s, char c)
{
        bool is_items = !s->key_escaped && s->key_len == 5 && memcmp(s->key, "items", 5) == 0;
        bool is_metadata = !s->key_escaped && s->key_len == 8 && memcmp(s->key, "metadata", 8) == 0;

        if (c == '}' || c == ']' || c == ',' || c == ':')
                return ERR_MALFORMED;
        if (is_items && c == '[')
                s->state = ITEM_OR_END;
        else
                value_begin(s, is_metadata && c == '{' ? METADATA : SKIP, false);
        return 0;
}

static int in_key(struct stream *s, char c)
{
        if (c == '"' && !s->value.escaped) {
                s->state = COLON;
                return 0;
        }
        s->value.escaped = c == '\\' && !s->value.escaped;
        s->key_escaped |= c == '\\';
        if (s->key_len < sizeof(s->key))
                s->key[s->key_len] = c;
        s->key_len++;
        return 0;
}

static int begin_key(struct stream *s)
{
        s->state = IN_KEY;
        s->key_len = 0;
        s->key_escaped = false;
        s->value.escaped = false;
        return 0;
}

/* One byte of the document around the values. Leaves the state at IN_VALUE when @c is the first byte of one. */
static int outer(struct stream *s, char c)
{
        if (s->state == IN_KEY)
                return in_key(s, c);
        if (is_blank(c))
                return 0;
        switch (s->state) {
        case BEFORE:
                if (c != '{')
                        return ERR_MALFORMED;
                if (s->mode == STREAM_WATCH)
                        value_begin(s, OBJECT, false);
                else
                        s->state = KEY_OR_END;
                return 0;
        case KEY_OR_END:
        case KEY:
                if (c == '"')
                        return begin_key(s);
                if (c != '}' || s->state == KEY)
                        return ERR_MALFORMED;
                s->state = END;
                return 0;
        case COLON: s->state = VALUE; return c == ':' ? 0 : ERR_MALFORMED;
        case VALUE: return begin_member(s, c);
        case AFTER_VALUE: s->state = c == ',' ? KEY : END; return c == ',' || c == '}' ? 0 : ERR_MALFORMED;
        case ITEM_OR_END:
        case ITEM:
                if (c == ']' && s->state == ITEM_OR_END) {
                        s->state = AFTER_VALUE;
                        return 0;
                }
                value_begin(s, OBJECT, true);
                return c == '{' ? 0 : ERR_MALFORMED;
        case AFTER_ITEM:
                s->state = c == ',' ? ITEM : AFTER_VALUE;
                return c == ',' || c == ']' ? 0 : ERR_MALFORMED;
        case END:
        case IN_KEY:
        case IN_VALUE: break;
        }
        return ERR_MALFORMED;
}

int stream_feed(struct stream *s, const char *bytes, size_t len)
{
        for (size_t i = 0; i < len && s->error == 0;) {
                size_t used = 1;

                if (s->state != IN_VALUE)
                        s->error = outer(s, bytes[i]);
                /* The first byte of a value is both: outer() chose what to do with it, and it is part of it. */
                if (s->error == 0 && s->state == IN_VALUE)
                        s->error = value_feed(s, bytes + i, len - i, &used);
                i += used;
        }
        return s->error;
}

int stream_end(const struct stream *s)
{
        if (s->error != 0)
                return s->error;
        return s->state == (s->mode == STREAM_LIST ? END : BEFORE) ? 0 : ERR_MALFORMED;
}

const char *stream_metadata(const struct stream *s, size_t *ret_len)
{
        if (!s->has_metadata)
                return NULL;
        *ret_len = s->metadata.len;
        return s->metadata.p;
}
