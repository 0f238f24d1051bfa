/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* flags - command lines in the syntax of Go's flag package, from a static table. Pure.
 *
 *     struct options { int port; bool wan; const char *ns; };
 *     static const struct flag_def defs[] = {
 *             FLAG_INT("port", struct options, port, "7472", NULL, 0, 65535, "port for metrics; 0 turns them off"),
 *             FLAG_BOOL("ml-wan-config", struct options, wan, NULL, NULL, "use the wide-area timing"),
 *             FLAG_STRING("namespace", struct options, ns, "", "METALLB_NAMESPACE", "own namespace"),
 *             FLAG_INERT("host", false),
 *     };
 *
 * One or two dashes are the same. A value follows as "--x=v" or "--x v"; a bool takes none or "--x=v". "--" and the
 * first argument that is no flag end the flags. The last of several wins. A value comes from the command line, else
 * from the environment (where it is set and not empty), else from the table. Integers may be written 0x1f, 0o17, 017 or
 * 0b11 as well. "-h", "--help" ask for the usage text. */
#include "common/buf.h"
#include "common/err.h"

enum flag_type { FLAG_TYPE_STRING, FLAG_TYPE_BOOL, FLAG_TYPE_INT };

struct flag_def {
        const char *name;
        enum flag_type type;
        bool inert; /* taken and reported, but nothing is done with it: flags of other eras and modes */
        size_t at; /* offset of the field in the options: const char *, bool or int */
        const char *initial; /* as text; NULL: "", false, 0 */
        const char *env; /* NULL: none */
        int min, max; /* of an int, both allowed */
        const char *help;
};

/* The offset of @m, and a compile error unless its type is @type. */
#define FLAG_AT_(T, m, type) \
        (offsetof(T, m) + 0 * sizeof(char[_Generic(((T *)0)->m, type : 1, default : -1)]))

#define FLAG_STRING(name, T, m, initial, env, help) \
        { \
                (name), FLAG_TYPE_STRING, false, FLAG_AT_(T, m, const char *), (initial), (env), 0, 0, \
                        (help) \
        }
#define FLAG_BOOL(name, T, m, initial, env, help) \
        { \
                (name), FLAG_TYPE_BOOL, false, FLAG_AT_(T, m, bool), (initial), (env), 0, 0, (help) \
        }
#define FLAG_INT(name, T, m, initial, env, min, max, help) \
        { \
                (name), FLAG_TYPE_INT, false, FLAG_AT_(T, m, int), (initial), (env), (min), (max), (help) \
        }
#define FLAG_INERT(name, is_bool) \
        { \
                (name), (is_bool) ? FLAG_TYPE_BOOL : FLAG_TYPE_STRING, true, 0, NULL, NULL, 0, 0, NULL \
        }

#define FLAGS_MAX 64 /* in one table */

struct flag_set {
        const struct flag_def *defs;
        size_t n_defs;
        char *(*env)(const char *name); /* getenv in programs; NULL: no environment */
};

struct flags_found {
        bool help; /* print the usage text and exit 0; the options are incomplete */
        char inert[200]; /* the inert flags on the command line, "--host, --enable-pprof"; "" when none */
        const char *extra; /* first argument after the flags, NULL: none. Go programs ignore these silently */
};

/* Fills every field of @options that the table names; a flag on the command line hides its environment variable.
 * Strings are borrowed from @argv, the environment and the table. argv[0] is skipped. 0, or -EINVAL with words for the user, who then should see the usage text (Go exits with 2);
 * @options is then incomplete. */
int flags_parse(struct flags_found *ret, void *options, const struct flag_set *set, int argc,
        char *const *argv, struct err *e) MUST_CHECK;

/* One paragraph a flag, in the table's order; inert ones are only named, at the end. */
void flags_usage(struct buf *out, const struct flag_set *set, const char *program);
