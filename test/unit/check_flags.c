/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/flags.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

struct options {
        const char *ns;
        bool wan;
        int port;
        int level;
        bool on;
};

static const struct flag_def defs[] = {
        FLAG_STRING("namespace", struct options, ns, "metallb-system", "X_NAMESPACE", "own namespace"),
        FLAG_BOOL("wan", struct options, wan, NULL, NULL, "use the wide-area timing"),
        FLAG_INT("port", struct options, port, "9120", "X_PORT", 0, 65535, "port for metrics"),
        FLAG_INT("level", struct options, level, NULL, NULL, -3, 3, "how much"),
        FLAG_BOOL("on", struct options, on, "true", "X_ON", "a bool that is on"),
        FLAG_INERT("host", false),
        FLAG_INERT("ho", false),
        FLAG_INERT("enable-pprof", true),
};

static const char *env_text; /* "NAME=value" of the running test, or NULL */

static char *fake_env(const char *name)
{
        size_t n = strlen(name);

        if (!env_text || strncmp(env_text, name, n) != 0 || env_text[n] != '=')
                return NULL;
        return (char *)(uintptr_t)(env_text + n + 1);
}

static const struct flag_set set = { defs, ARRAY_LEN(defs), fake_env };

static const struct {
        const char *name;
        const char *args[8];
        const char *env;
        struct options want;
        const char *inert, *extra;
} good_cases[] = {
        { "nothing", { NULL }, NULL, { "metallb-system", false, 9120, 0, true }, "", NULL },
        { "one dash", { "-port=1" }, NULL, { "metallb-system", false, 1, 0, true }, "", NULL },
        { "two dashes", { "--port=1" }, NULL, { "metallb-system", false, 1, 0, true }, "", NULL },
        { "value apart", { "--port", "2", "-namespace", "x" }, NULL, { "x", false, 2, 0, true }, "", NULL },
        { "value looks like a flag", { "--namespace", "-x" }, NULL, { "-x", false, 9120, 0, true }, "",
                NULL },
        { "empty value", { "--namespace=" }, NULL, { "", false, 9120, 0, true }, "", NULL },
        { "value with =", { "--namespace=a=b" }, NULL, { "a=b", false, 9120, 0, true }, "", NULL },
        { "last wins", { "--port=1", "--port=2" }, NULL, { "metallb-system", false, 2, 0, true }, "", NULL },
        { "bool", { "--wan" }, NULL, { "metallb-system", true, 9120, 0, true }, "", NULL },
        { "bool off", { "--wan", "--wan=F", "--on=False" }, NULL, { "metallb-system", false, 9120, 0, false },
                "", NULL },
        { "bool takes no next", { "--wan", "false", "--port=1" }, NULL,
                { "metallb-system", true, 9120, 0, true }, "", "false" },
        { "range ends", { "--port=65535", "--level=-3" }, NULL, { "metallb-system", false, 65535, -3, true },
                "", NULL },
        { "hex, octal, binary", { "--port=0x1F", "--level=0b11" }, NULL,
                { "metallb-system", false, 31, 3, true }, "", NULL },
        { "octal both ways", { "--port=017", "--level=0o3" }, NULL, { "metallb-system", false, 15, 3, true },
                "", NULL },
        { "plus", { "--port=+0" }, NULL, { "metallb-system", false, 0, 0, true }, "", NULL },
        { "two dashes end", { "--port=1", "--", "--port=2" }, NULL, { "metallb-system", false, 1, 0, true },
                "", "--port=2" },
        { "one dash ends", { "-", "--port=2" }, NULL, { "metallb-system", false, 9120, 0, true }, "", "-" },
        { "empty argument ends", { "", "--port=2" }, NULL, { "metallb-system", false, 9120, 0, true }, "",
                "" },
        { "environment", { NULL }, "X_NAMESPACE=lb", { "lb", false, 9120, 0, true }, "", NULL },
        { "environment number", { NULL }, "X_PORT=7472", { "metallb-system", false, 7472, 0, true }, "",
                NULL },
        { "environment bool", { NULL }, "X_ON=0", { "metallb-system", false, 9120, 0, false }, "", NULL },
        { "empty environment", { NULL }, "X_PORT=", { "metallb-system", false, 9120, 0, true }, "", NULL },
        { "flag beats environment", { "--port=1" }, "X_PORT=2", { "metallb-system", false, 1, 0, true }, "",
                NULL },
        { "flag hides environment", { "--port=1" }, "X_PORT=nonsense",
                { "metallb-system", false, 1, 0, true }, "", NULL },
        { "inert", { "--host=x", "--enable-pprof", "--ho", "y", "-host", "x", "--ho=2" }, NULL,
                { "metallb-system", false, 9120, 0, true }, "--host, --enable-pprof, --ho", NULL },
};

static int parse(struct flags_found *found, struct options *o, const char *const args[8], struct err *e)
{
        char *argv[10] = { (char *)(uintptr_t) "prog" };
        int argc = 1;

        for (; argc < 9 && args[argc - 1]; argc++)
                argv[argc] = (char *)(uintptr_t)args[argc - 1];
        return flags_parse(found, o, &set, argc, argv, e);
}

START_TEST(takes)
{
        const struct options *want = &good_cases[_i].want;
        struct flags_found found;
        struct options o = { 0 };
        struct err e = { "" };
        int r;

        env_text = good_cases[_i].env;
        r = parse(&found, &o, good_cases[_i].args, &e);
        ck_assert_msg(r == 0, "%s: %s", good_cases[_i].name, e.text);
        ck_assert_str_eq(o.ns, want->ns);
        ck_assert_int_eq(o.wan, want->wan);
        ck_assert_int_eq(o.port, want->port);
        ck_assert_int_eq(o.level, want->level);
        ck_assert_int_eq(o.on, want->on);
        ck_assert_str_eq(found.inert, good_cases[_i].inert);
        ck_assert_pstr_eq(found.extra, good_cases[_i].extra);
        ck_assert(!found.help);
}
END_TEST

static const struct {
        const char *args[8];
        const char *env, *want;
} bad_cases[] = {
        { { "--nope" }, NULL, "flag provided but not defined: -nope" },
        { { "-nope=1" }, NULL, "flag provided but not defined: -nope" },
        { { "--por" }, NULL, "flag provided but not defined: -por" },
        { { "--ports=1" }, NULL, "flag provided but not defined: -ports" },
        { { "---port=1" }, NULL, "bad flag syntax: ---port=1" },
        { { "--=1" }, NULL, "bad flag syntax: --=1" },
        { { "-=1" }, NULL, "bad flag syntax: -=1" },
        { { "--port" }, NULL, "flag needs an argument: -port" },
        { { "--host" }, NULL, "flag needs an argument: -host" },
        { { "--wan=" }, NULL, "invalid boolean value \"\" for flag -wan" },
        { { "--wan=yes" }, NULL, "invalid boolean value \"yes\" for flag -wan" },
        { { "--wan=tRUE" }, NULL, "invalid boolean value \"tRUE\" for flag -wan" },
        { { "--port=" }, NULL, "invalid value \"\" for flag -port: not an integer" },
        { { "--port=x" }, NULL, "invalid value \"x\" for flag -port: not an integer" },
        { { "--port=1 " }, NULL, "invalid value \"1 \" for flag -port: not an integer" },
        { { "--port=0x" }, NULL, "invalid value \"0x\" for flag -port: not an integer" },
        { { "--port=08" }, NULL, "invalid value \"08\" for flag -port: not an integer" },
        { { "--port=-" }, NULL, "invalid value \"-\" for flag -port: not an integer" },
        { { "--port=-1" }, NULL, "invalid value \"-1\" for flag -port: must be 0 to 65535" },
        { { "--port=65536" }, NULL, "invalid value \"65536\" for flag -port: must be 0 to 65535" },
        { { "--port=2147483648" }, NULL, "invalid value \"2147483648\" for flag -port: not an integer" },
        { { "--port=99999999999999999999999" }, NULL,
                "invalid value \"99999999999999999999999\" for flag -port: not an integer" },
        { { "--level=4" }, NULL, "invalid value \"4\" for flag -level: must be -3 to 3" },
        { { NULL }, "X_PORT=tcp", "invalid value \"tcp\" for $X_PORT: not an integer" },
        { { NULL }, "X_ON=on", "invalid boolean value \"on\" for $X_ON" },
};

START_TEST(refuses)
{
        struct flags_found found = { .extra = "untouched" };
        struct options o = { 0 };
        struct err e = { "" };

        env_text = bad_cases[_i].env;
        ck_assert_int_eq(parse(&found, &o, bad_cases[_i].args, &e), -EINVAL);
        ck_assert_str_eq(e.text, bad_cases[_i].want);
        ck_assert_str_eq(found.extra, "untouched");
}
END_TEST

START_TEST(helps)
{
        static const char *const asks[][8] = { { "-h" }, { "--h" }, { "-help" }, { "--help" },
                { "--help=1", "--nope" }, { "--port=1", "-h", "--port" } };
        struct flags_found found = { 0 };
        struct options o = { 0 };
        struct err e = { "" };

        ck_assert_int_eq(parse(&found, &o, asks[_i], &e), 0);
        ck_assert(found.help);
        env_text = "X_PORT=nonsense";
        ck_assert_int_eq(parse(&found, &o, asks[_i], &e), 0);
}
END_TEST

START_TEST(many_inert_flags_are_cut)
{
        static char names[40][24];
        static struct flag_def many[ARRAY_LEN(names)];
        static const struct flag_set big = { many, ARRAY_LEN(names), NULL };
        char args[ARRAY_LEN(names)][32], *argv[ARRAY_LEN(names) + 1] = { args[0] };
        struct flags_found found;
        struct err e;

        for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
                (void)snprintf(names[i], sizeof(names[i]), "obsolete-%u", i);
                (void)snprintf(args[i], sizeof(args[i]), "--obsolete-%u", i);
                many[i] = (struct flag_def)FLAG_INERT(names[i], true);
                argv[i + 1] = args[i];
        }
        ck_assert_int_eq(flags_parse(&found, NULL, &big, ARRAY_LEN(names) + 1, argv, &e), 0);
        ck_assert_uint_eq(strlen(found.inert), sizeof(found.inert) - 1);
}
END_TEST

START_TEST(prints_usage)
{
        CLEANUP(buf_fini) struct buf out = BUF_INIT;

        flags_usage(&out, &set, "speaker");
        ck_assert_str_eq(buf_str(&out),
                "Usage of speaker:\n"
                "  --namespace string\n        own namespace [$X_NAMESPACE] (default metallb-system)\n"
                "  --wan\n        use the wide-area timing\n"
                "  --port int\n        port for metrics [$X_PORT] (default 9120)\n"
                "  --level int\n        how much\n"
                "  --on\n        a bool that is on [$X_ON] (default true)\n"
                "\nAccepted for compatibility, without effect: --host, --ho, --enable-pprof\n");
}
END_TEST

START_TEST(usage_without_memory)
{
        for (unsigned n = 0;; n++) {
                CLEANUP(buf_fini) struct buf out = BUF_INIT;

                fault_arm(n);
                flags_usage(&out, &set, "speaker");
                if (!fault_disarm())
                        break;
                ck_assert(!buf_ok(&out));
        }
}
END_TEST

int main(void)
{
        Suite *s = suite_create("flags");
        TCase *tc = tcase_create("flags");

        tcase_add_loop_test(tc, takes, 0, (int)ARRAY_LEN(good_cases));
        tcase_add_loop_test(tc, refuses, 0, (int)ARRAY_LEN(bad_cases));
        tcase_add_loop_test(tc, helps, 0, 6);
        tcase_add_test(tc, many_inert_flags_are_cut);
        tcase_add_test(tc, prints_usage);
        tcase_add_test(tc, usage_without_memory);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
