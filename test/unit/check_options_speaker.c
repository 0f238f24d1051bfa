/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "speaker/options.h"
#include "test/lib/unit.h"

#define ARGS_MAX 40

static char *no_env(const char *name)
{
        (void)name;
        return NULL;
}

static char *pod_env(const char *name)
{
        static struct {
                char name[32], value[32];
        } vars[] = { { "METALLB_NODE_NAME", "n1" }, { "METALLB_POD_NAME", "speaker-x" },
                { "METALLB_NAMESPACE", "lb" }, { "METALLB_ML_BIND_ADDR", "192.0.2.1" },
                { "METALLB_ML_BIND_PORT", "7946" }, { "METALLB_ML_LABELS", "app=metallb" },
                { "METALLB_ML_SECRET_KEY_PATH", "/etc/ml_secret_key" }, { "METALLB_BGP_TYPE", "frr" } };

        for (size_t i = 0; i < ARRAY_LEN(vars); i++)
                if (strcmp(name, vars[i].name) == 0)
                        return vars[i].value;
        return NULL;
}

/* @line is split at blanks. The strings live as long as @store. */
static int parse(struct speaker_options *o, struct flags_found *found, char *store, const char *line,
        char *(*env)(const char *), struct err *e)
{
        char *argv[ARGS_MAX] = { NULL };
        int argc = 0;
        char *p = store;

        ck_assert_uint_lt(strlen(line), 1500);
        memcpy(store, line, strlen(line) + 1);
        while (*p != '\0') {
                argv[argc++] = p;
                ck_assert_int_lt(argc, ARGS_MAX);
                p += strcspn(p, " ");
                if (*p != '\0')
                        *p++ = '\0';
        }
        return speaker_options_parse(o, found, argc, argv, env, e);
}

START_TEST(defaults_are_those_of_metallb)
{
        struct speaker_options o;
        struct flags_found found;
        struct err e = { "" };
        char store[2000];

        ck_assert_int_eq(parse(&o, &found, store, "speaker", no_env, &e), 0);
        ck_assert_int_eq(o.port, 9120);
        ck_assert_int_eq(o.health_port, 17472);
        ck_assert_str_eq(o.log_level, "info");
        ck_assert_str_eq(o.lb_class, "");
        ck_assert_str_eq(o.exclude_file, "/etc/metallb/excludel2.yaml");
        ck_assert_int_eq(o.refresh_s, 30);
        ck_assert_int_eq(o.hold_ms, 1000);
        ck_assert(!o.ignore_exclude_lb && !o.metrics_plain && !o.ml_wan);
        ck_assert_str_eq(o.bgp_type, "");
        ck_assert_str_eq(found.inert, "");
}
END_TEST

START_TEST(environment_stands_in_for_flags)
{
        struct speaker_options o;
        struct flags_found found;
        struct err e = { "" };
        char store[2000];

        ck_assert_int_eq(parse(&o, &found, store, "speaker --node-name=n2", pod_env, &e), 0);
        ck_assert_str_eq(o.node_name, "n2");
        ck_assert_str_eq(o.pod_name, "speaker-x");
        ck_assert_str_eq(o.ns, "lb");
        ck_assert_str_eq(o.ml_bind_addr, "192.0.2.1");
        ck_assert_str_eq(o.ml_bind_port, "7946");
        ck_assert_str_eq(o.ml_labels, "app=metallb");
        ck_assert_str_eq(o.ml_secret_key_path, "/etc/ml_secret_key");
        ck_assert_str_eq(o.bgp_type, "frr");
        ck_assert_int_eq(speaker_options_check(&o, &e), 0);
}
END_TEST

static const struct {
        const char *line;
        int parsed, checked;
        int port;
        const char *inert;
} lines[] = {
        /* what the charts and manifests of 0.14.3, 0.14.5 and 0.16.1 pass */
        { "speaker --port=7472 --log-level=info", 0, 0, 7472, "" },
        { "speaker --port=7472 --log-level=info --host=localhost --enable-l2-service-status", 0, 0, 7472,
                "--host, --enable-l2-service-status" },
        { "speaker --port=9120 --log-level=debug --lb-class=x --ml-wan-config --ignore-exclude-lb "
          "--bgp-debounce-timeout=3000 --frrk8s-namespace=frr --tls-cipher-suites=a,b "
          "--tls-curve-preferences=29 --tls-min-version=VersionTLS12 --metrics-cert-dir=/etc/metrics",
                0, 0, 9120, "--bgp-debounce-timeout, --frrk8s-namespace" },
        { "speaker --health-probe-port=1 --frrk8s-secret-passthrough --pprof-bind-address=:1 --enable-pprof=true",
                0, 0, 9120, "--frrk8s-secret-passthrough, --pprof-bind-address, --enable-pprof" },
        { "speaker -namespace a -node-name b -pod-name c -host d -ml-bindaddr e -ml-bindport 1 -ml-labels g "
          "-ml-secret-key-path h -kubeconfig i",
                0, 0, 9120, "--host" },
        { "speaker --metrics-plain-http", 0, 0, 7472, "" },
        { "speaker --metrics-plain-http --port=9120", 0, 0, 9120, "" },
        { "speaker --port=0 --refresh-interval=0 --api-hold-ms=0 --exclude-file=/x", 0, 0, 0, "" },
        { "speaker --ml-bindport=x", 0, -EINVAL, 9120, "" },
        { "speaker --ml-bindport=65536", 0, -EINVAL, 9120, "" },
        { "speaker --ml-bindport=99999999999999999999", 0, -EINVAL, 9120, "" },
        { "speaker --ml-bindport=-1", 0, -EINVAL, 9120, "" },
        { "speaker --node-name=", 0, -EINVAL, 9120, "" },
        { "speaker --nonsense", -EINVAL, 0, 0, "" },
        { "speaker --port=65536", -EINVAL, 0, 0, "" },
        { "speaker --api-hold-ms=60001", -EINVAL, 0, 0, "" },
        { "speaker --webhook-mode=enabled", -EINVAL, 0, 0, "" },
};

static char *node_env(const char *name)
{
        static char node[] = "n1";

        return strcmp(name, "METALLB_NODE_NAME") == 0 ? node : NULL;
}

START_TEST(lines_of_every_era)
{
        struct speaker_options o;
        struct flags_found found;
        struct err e = { "" };
        char store[2000];

        ck_assert_msg(parse(&o, &found, store, lines[_i].line, node_env, &e) == lines[_i].parsed, "%s: %s",
                lines[_i].line, e.text);
        ck_assert_msg((e.text[0] != '\0') == (lines[_i].parsed < 0), "%s", lines[_i].line);
        if (lines[_i].parsed < 0)
                return;
        ck_assert_int_eq(o.port, lines[_i].port);
        ck_assert_str_eq(found.inert, lines[_i].inert);
        ck_assert_msg(speaker_options_check(&o, &e) == lines[_i].checked, "%s: %s", lines[_i].line, e.text);
        ck_assert_msg((e.text[0] != '\0') == (lines[_i].checked < 0), "%s", lines[_i].line);
}
END_TEST

START_TEST(usage_names_every_flag)
{
        CLEANUP(buf_fini) struct buf out = BUF_INIT;
        struct speaker_options o;
        struct flags_found found;
        struct err e = { "" };
        char store[2000];

        ck_assert_int_eq(parse(&o, &found, store, "speaker --help", no_env, &e), 0);
        ck_assert(found.help);
        flags_usage(&out, &speaker_flags, "speaker");
        ck_assert(buf_ok(&out));
        for (size_t i = 0; i < speaker_flags.n_defs; i++)
                ck_assert_msg(strstr(buf_str(&out), speaker_flags.defs[i].name) != NULL, "%s",
                        speaker_flags.defs[i].name);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("options of the speaker");
        TCase *tc = tcase_create("options");

        tcase_add_test(tc, defaults_are_those_of_metallb);
        tcase_add_test(tc, environment_stands_in_for_flags);
        tcase_add_loop_test(tc, lines_of_every_era, 0, (int)ARRAY_LEN(lines));
        tcase_add_test(tc, usage_names_every_flag);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
