/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. */
#include "controller/options.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define METRICS_PORT       "9120"
#define METRICS_PORT_PLAIN "7472" /* where MetalLB up to 0.15 answered */
#define DURATION_MAX_MS    (366ULL * 24 * 3600 * 1000)

static const struct flag_def defs[] = {
        FLAG_INT("port", struct options, port, METRICS_PORT, NULL, 0, 65535,
                "port for Prometheus metrics (HTTPS); 0 turns them off"),
        FLAG_BOOL("metrics-plain-http", struct options, metrics_plain, NULL, NULL,
                "serve metrics by plain HTTP without a check of who asks; the port is then 7472 unless given"),
        FLAG_INT("health-probe-port", struct options, health_port, "17472", NULL, 0, 65535,
                "port for /healthz and /readyz; 0 turns them off"),
        FLAG_STRING("namespace", struct options, ns, "", "METALLB_NAMESPACE",
                "own namespace; default: that of the service account"),
        FLAG_STRING("ml-secret-name", struct options, ml_secret, "", "METALLB_ML_SECRET_NAME",
                "memberlist Secret that is made when missing; none when empty"),
        FLAG_STRING("deployment", struct options, deployment, "", "METALLB_DEPLOYMENT",
                "Deployment that will own the memberlist Secret"),
        FLAG_STRING("pod-name", struct options, pod_name, "", "METALLB_POD_NAME",
                "own Pod: owner of the ConfigurationState, and the name under which the lease is held"),
        FLAG_STRING("log-level", struct options, log_level, "info", NULL,
                "all, debug, info, warn, error or none"),
        FLAG_STRING("lb-class", struct options, lb_class, "", NULL,
                "spec.loadBalancerClass of the Services to handle; when empty those without a class"),
        FLAG_STRING("reuse-delay", struct options, reuse_delay_text, "0", NULL,
                "how long a freed address rests before another Service may get it, as 30s or 5m"),
        FLAG_STRING("webhook-mode", struct options, webhook_mode_text, "enabled", NULL,
                "enabled, disabled, or onlywebhook: then no address is given out"),
        FLAG_BOOL("disable-cert-rotation", struct options, disable_cert_rotation, NULL, NULL,
                "neither make nor inject webhook certificates"),
        FLAG_STRING("cert-dir", struct options, cert_dir, "/tmp/k8s-webhook-server/serving-certs", NULL,
                "where webhook certificates are mounted"),
        FLAG_STRING("cert-service-name", struct options, cert_service_name, "metallb-webhook-service", NULL,
                "Service name in the webhook certificate"),
        FLAG_STRING("webhook-secret", struct options, webhook_secret, "metallb-webhook-cert", NULL,
                "Secret with the webhook certificates"),
        FLAG_BOOL("webhook-http2", struct options, webhook_http2, NULL, NULL, "offer HTTP/2 for webhooks"),
        FLAG_STRING("tls-min-version", struct options, tls_min_version, "", NULL,
                "VersionTLS12 or VersionTLS13 (default)"),
        FLAG_STRING("tls-cipher-suites", struct options, tls_cipher_suites, "", NULL,
                "IANA names of TLS 1.2 suites, separated by commas"),
        FLAG_STRING("tls-curve-preferences", struct options, tls_curves, "", NULL,
                "numbers of TLS groups, separated by commas"),
        FLAG_STRING("metrics-cert-dir", struct options, metrics_cert_dir, "", NULL,
                "directory with tls.crt and tls.key for metrics; self-signed when empty"),
        FLAG_STRING("kubeconfig", struct options, kubeconfig, "", NULL,
                "how to reach the API server; default: $KUBECONFIG, the service account, ~/.kube/config"),
        FLAG_INERT("enable-pprof", true),
        FLAG_INERT("pprof-bind-address", false),
};

const struct flag_set options_flags = { .defs = defs, .n_defs = ARRAY_LEN(defs) };

int options_parse(struct options *ret, struct flags_found *ret_found, int argc, char *const *argv,
        char *(*env)(const char *name), struct err *e)
{
        struct flag_def own[ARRAY_LEN(defs)];
        const struct flag_set set = { .defs = own, .n_defs = ARRAY_LEN(defs), .env = env };
        struct options o = { .port = 0 };
        struct flags_found found;
        int r;

        memcpy(own, defs, sizeof(own));
        r = flags_parse(&found, &o, &set, argc, argv, e);
        if (r == 0 && o.metrics_plain && !found.help) {
                own[0].initial = METRICS_PORT_PLAIN; /* "port": only where it was not given */
                r = flags_parse(&found, &o, &set, argc, argv, e);
        }
        if (r < 0)
                return r;
        *ret = o;
        *ret_found = found;
        return 0;
}

int duration_parse(uint64_t *ret_ms, const char *text, struct err *e)
{
        static const struct {
                const char *unit;
                uint64_t ms;
        } units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 } };
        uint64_t sum = 0;
        const char *p = text;

        do {
                uint64_t n = 0, ms = 0;
                const char *digits = p;

                while (isdigit((unsigned char)*p) && n <= DURATION_MAX_MS)
                        n = n * 10 + (uint64_t)(*p++ - '0');
                if (p == digits)
                        return err_set(e, -EINVAL, "\"%.40s\" is no duration such as 30s or 5m", text);
                if (*p == '\0' && digits == text)
                        ms = 1000;
                for (size_t i = 0; i < ARRAY_LEN(units) && ms == 0; i++) {
                        size_t len = strlen(units[i].unit);

                        if (strncmp(p, units[i].unit, len) != 0 || isalpha((unsigned char)p[len]))
                                continue;
                        ms = units[i].ms;
                        p += len;
                }
                if (ms == 0)
                        return err_set(e, -EINVAL, "\"%.40s\" is no duration such as 30s or 5m", text);
                if (n > DURATION_MAX_MS / ms || sum + n * ms > DURATION_MAX_MS)
                        return err_set(e, -EINVAL, "\"%.40s\" is longer than a year", text);
                sum += n * ms;
        } while (*p != '\0');
        *ret_ms = sum;
        return 0;
}

int options_check(struct options *o, struct err *e)
{
        static const char *const modes[] = { "enabled", "disabled", "onlywebhook" };
        int r;

        for (size_t i = 0;; i++) {
                if (i == ARRAY_LEN(modes))
                        return err_set(e, -EINVAL,
                                "--webhook-mode is enabled, disabled or onlywebhook, not \"%.40s\"",
                                o->webhook_mode_text);
                if (strcmp(o->webhook_mode_text, modes[i]) != 0)
                        continue;
                o->webhook_mode = (enum webhook_mode)i;
                break;
        }
        r = duration_parse(&o->reuse_delay_ms, o->reuse_delay_text, e);
        if (r < 0)
                return err_wrap(e, r, "--reuse-delay");
        return 0;
}
