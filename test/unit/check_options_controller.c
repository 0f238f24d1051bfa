/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "controller/options.h"
#include "test/lib/unit.h"

#define ARGS_MAX 32

static char *no_env(const char *name)
{
        (void)name;
        return NULL;
}

static char *pod_env(const char *name)
{
        static char ns[] = "lb", secret[] = "ml", deployment[] = "dep", pod[] = "pod-7";

        if (strcmp(name, "METALLB_NAMESPACE") == 0)
                return ns;
        if (strcmp(name, "METALLB_ML_SECRET_NAME") == 0)
                return secret;
        if (strcmp(name, "METALLB_DEPLOYMENT") == 0)
                return deployment;
        return strcmp(name, "METALLB_POD_NAME") == 0 ? pod : NULL;
}

/* @line is split at blanks. The strings live as long as @store. */
static int parse(struct options *o, struct flags_found *found, char *store, const char *line,
        char *(*env)(const char *), struct err *e)
{
        char *argv[ARGS_MAX] = { NULL };
        int argc = 0;
        char *p = store;

        ck_assert_uint_lt(strlen(line), 1000);
        memcpy(store, line, strlen(line) + 1);
        while (*p != '\0') {
                argv[argc++] = p;
                ck_assert_int_lt(argc, ARGS_MAX);
                p += strcspn(p, " ");
                if (*p != '\0')
                        *p++ = '\0';
        }
        return options_parse(o, found, argc, argv, env, e);
}

START_TEST(defaults_are_those_of_metallb)
{
        struct options o;
        struct flags_found found;
        struct err e = { "" };
        char store[1024];

        ck_assert_int_eq(parse(&o, &found, store, "controller", no_env, &e), 0);
        ck_assert_int_eq(o.port, 9120);
        ck_assert_int_eq(o.health_port, 17472);
        ck_assert_str_eq(o.ns, "");
        ck_assert_str_eq(o.ml_secret, "");
        ck_assert_str_eq(o.log_level, "info");
        ck_assert_str_eq(o.lb_class, "");
        ck_assert_str_eq(o.cert_dir, "/tmp/k8s-webhook-server/serving-certs");
        ck_assert_str_eq(o.cert_service_name, "metallb-webhook-service");
        ck_assert_str_eq(o.webhook_secret, "metallb-webhook-cert");
        ck_assert_str_eq(o.kubeconfig, "");
        ck_assert(!o.metrics_plain);
        ck_assert_str_eq(found.inert, "");
        ck_assert_int_eq(options_check(&o, &e), 0);
        ck_assert_int_eq(o.webhook_mode, WEBHOOK_ENABLED);
        ck_assert_uint_eq(o.reuse_delay_ms, 0);
}
END_TEST

START_TEST(reads_the_environment)
{
        struct options o;
        struct flags_found found;
        struct err e = { "" };
        char store[1024];

        ck_assert_int_eq(parse(&o, &found, store, "controller --deployment=x", pod_env, &e), 0);
        ck_assert_str_eq(o.ns, "lb");
        ck_assert_str_eq(o.ml_secret, "ml");
        ck_assert_str_eq(o.deployment, "x");
        ck_assert_str_eq(o.pod_name, "pod-7");
}
END_TEST

static const struct {
        const char *line;
        int want; /* of options_parse() */
        int want_check;
        const char *inert;
} line_cases[] = {
        /* command lines of the charts and manifests of MetalLB 0.14 to 0.16 */
        { "c --port=7472 --log-level=info --tls-min-version=VersionTLS12", 0, 0, "" },
        { "c --port=7472 --log-level=info --cert-service-name=metallb-webhook-service --tls-min-version=VersionTLS12",
                0, 0, "" },
        { "c --port=9120 --log-level=info --webhook-mode=enabled --metrics-cert-dir=/etc/metrics", 0, 0, "" },
        { "c --port=9120 --health-probe-port=17472 --log-level=debug --lb-class=x --webhook-mode=disabled"
          " --tls-cipher-suites=A,B --tls-curve-preferences=29,23 --tls-min-version=VersionTLS12",
                0, 0, "" },
        { "c -port 9120 -log-level info -webhook-http2 -disable-cert-rotation=true -cert-dir=/x -webhook-secret=y",
                0, 0, "" },
        { "c --namespace=n --ml-secret-name=s --deployment=d --pod-name=p --kubeconfig=/k", 0, 0, "" },
        { "c --enable-pprof=true", 0, 0, "--enable-pprof" },
        { "c --enable-pprof --pprof-bind-address=:6060", 0, 0, "--enable-pprof, --pprof-bind-address" },
        { "c --port=0", 0, 0, "" },
        { "c --webhook-mode=onlywebhook", 0, 0, "" },
        { "c --reuse-delay=30s", 0, 0, "" },
        { "c --metrics-plain-http", 0, 0, "" },
        /* content that is refused later */
        { "c --webhook-mode=sometimes", 0, -EINVAL, "" },
        { "c --webhook-mode=", 0, -EINVAL, "" },
        { "c --reuse-delay=soon", 0, -EINVAL, "" },
        /* usage */
        { "c --no-such-flag", -EINVAL, 0, "" },
        { "c --port=x", -EINVAL, 0, "" },
        { "c --port=65536", -EINVAL, 0, "" },
        { "c --port", -EINVAL, 0, "" },
        { "c --bgp-debounce-timeout=1", -EINVAL, 0, "" }, /* the speaker's */
        { "c --webhook-http2=maybe", -EINVAL, 0, "" },
};

START_TEST(takes_command_lines)
{
        struct options o;
        struct flags_found found = { .help = false };
        struct err e = { "" };
        char store[1024];
        int r = parse(&o, &found, store, line_cases[_i].line, no_env, &e);

        ck_assert_msg(r == line_cases[_i].want, "%s: %d %s", line_cases[_i].line, r, e.text);
        if (r < 0) {
                ck_assert_str_ne(e.text, "");
                return;
        }
        ck_assert_str_eq(found.inert, line_cases[_i].inert);
        r = options_check(&o, &e);
        ck_assert_msg(r == line_cases[_i].want_check, "%s: %d %s", line_cases[_i].line, r, e.text);
        ck_assert((r < 0) == (e.text[0] != '\0'));
}
END_TEST

static const struct {
        const char *line;
        int port;
} port_cases[] = {
        { "c", 9120 },
        { "c --metrics-plain-http", 7472 },
        { "c --metrics-plain-http --port=9120", 9120 },
        { "c --port=0 --metrics-plain-http", 0 },
        { "c --metrics-plain-http=false", 9120 },
};

START_TEST(plain_metrics_move_the_default_port)
{
        struct options o;
        struct flags_found found;
        char store[1024];

        ck_assert_int_eq(parse(&o, &found, store, port_cases[_i].line, no_env, NULL), 0);
        ck_assert_int_eq(o.port, port_cases[_i].port);
}
END_TEST

static const struct {
        const char *text;
        int want;
        uint64_t ms;
} duration_cases[] = {
        { "0", 0, 0 },
        { "30", 0, 30000 },
        { "30s", 0, 30000 },
        { "5m", 0, 300000 },
        { "1h30m", 0, 5400000 },
        { "250ms", 0, 250 },
        { "1m1s1ms", 0, 61001 },
        { "366h", 0, 366ULL * 3600000 },
        { "8784h", 0, 366ULL * 24 * 3600000 },
        { "8785h", -EINVAL, 0 },
        { "99999999999999999999999s", -EINVAL, 0 },
        { "8784h8784h", -EINVAL, 0 },
        { "", -EINVAL, 0 },
        { "s", -EINVAL, 0 },
        { "-1s", -EINVAL, 0 },
        { "1.5s", -EINVAL, 0 },
        { "1x", -EINVAL, 0 },
        { "1msx", -EINVAL, 0 },
        { "1m30", -EINVAL, 0 },
        { " 1s", -EINVAL, 0 },
        { "1s ", -EINVAL, 0 },
};

START_TEST(parses_durations)
{
        struct err e = { "" };
        uint64_t ms = 77;
        int r = duration_parse(&ms, duration_cases[_i].text, &e);

        ck_assert_msg(r == duration_cases[_i].want, "\"%s\": %d", duration_cases[_i].text, r);
        ck_assert_uint_eq(ms, r < 0 ? 77 : duration_cases[_i].ms);
        ck_assert((r < 0) == (e.text[0] != '\0'));
}
END_TEST

static Suite *suite(void)
{
        Suite *s = suite_create("options_controller");
        TCase *tc = tcase_create("options");

        tcase_add_test(tc, defaults_are_those_of_metallb);
        tcase_add_test(tc, reads_the_environment);
        tcase_add_loop_test(tc, takes_command_lines, 0, (int)ARRAY_LEN(line_cases));
        tcase_add_loop_test(tc, plain_metrics_move_the_default_port, 0, (int)ARRAY_LEN(port_cases));
        tcase_add_loop_test(tc, parses_durations, 0, (int)ARRAY_LEN(duration_cases));
        suite_add_tcase(s, tc);
        return s;
}

int main(void)
{
        return unit_main(suite());
}
