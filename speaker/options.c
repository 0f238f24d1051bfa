/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. */
#include "speaker/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define METRICS_PORT       "9120"
#define METRICS_PORT_PLAIN "7472" /* where MetalLB up to 0.15 answered */

static const struct flag_def defs[] = {
        FLAG_INT("port", struct speaker_options, port, METRICS_PORT, NULL, 0, 65535,
                "port for Prometheus metrics (HTTPS); 0 turns them off"),
        FLAG_BOOL("metrics-plain-http", struct speaker_options, metrics_plain, NULL, NULL,
                "serve metrics by plain HTTP without a check of who asks; the port is then 7472 unless given"),
        FLAG_INT("health-probe-port", struct speaker_options, health_port, "17472", NULL, 0, 65535,
                "port on 127.0.0.1 for /healthz and /readyz; 0 turns them off"),
        FLAG_STRING("namespace", struct speaker_options, ns, "", "METALLB_NAMESPACE",
                "own namespace, where pools and advertisements are; default: that of the service account"),
        FLAG_STRING("node-name", struct speaker_options, node_name, "", "METALLB_NODE_NAME",
                "name of the Node this speaker announces from; required"),
        FLAG_STRING("pod-name", struct speaker_options, pod_name, "", "METALLB_POD_NAME",
                "own Pod: owner of the status objects this speaker writes"),
        FLAG_STRING("log-level", struct speaker_options, log_level, "info", NULL,
                "all, debug, info, warn, error or none"),
        FLAG_STRING("lb-class", struct speaker_options, lb_class, "", NULL,
                "spec.loadBalancerClass of the Services to announce; when empty those without a class"),
        FLAG_BOOL("ignore-exclude-lb", struct speaker_options, ignore_exclude_lb, NULL, NULL,
                "announce also from nodes labelled node.kubernetes.io/exclude-from-external-load-balancers"),
        FLAG_STRING("exclude-file", struct speaker_options, exclude_file, "/etc/metallb/excludel2.yaml", NULL,
                "YAML list announcedInterfacesToExclude of patterns; nothing is excluded when it is missing"),
        FLAG_INT("refresh-interval", struct speaker_options, refresh_s, "30", NULL, 0, 86400,
                "seconds between unasked announcements of a settled address; 0 for none"),
        FLAG_INT("api-hold-ms", struct speaker_options, hold_ms, "1000", NULL, 0, 60000,
                "for how long a vanished Node, or a Service's last endpoint, still counts"),
        FLAG_STRING("ml-bindaddr", struct speaker_options, ml_bind_addr, "", "METALLB_ML_BIND_ADDR",
                "memberlist: address to listen on"),
        FLAG_STRING("ml-bindport", struct speaker_options, ml_bind_port, "", "METALLB_ML_BIND_PORT",
                "memberlist: port, UDP and TCP; 7946 when empty"),
        FLAG_STRING("ml-labels", struct speaker_options, ml_labels, "", "METALLB_ML_LABELS",
                "memberlist: label selector of the speakers' Pods"),
        FLAG_STRING("ml-secret-key-path", struct speaker_options, ml_secret_key_path, "",
                "METALLB_ML_SECRET_KEY_PATH", "memberlist: directory with the file secretkey"),
        FLAG_BOOL("ml-wan-config", struct speaker_options, ml_wan, NULL, NULL,
                "memberlist: timing for wide-area networks"),
        FLAG_STRING("tls-min-version", struct speaker_options, tls_min_version, "", NULL,
                "VersionTLS12 or VersionTLS13 (default)"),
        FLAG_STRING("tls-cipher-suites", struct speaker_options, tls_cipher_suites, "", NULL,
                "IANA names of TLS 1.2 suites, separated by commas"),
        FLAG_STRING("tls-curve-preferences", struct speaker_options, tls_curves, "", NULL,
                "numbers of TLS groups, separated by commas"),
        FLAG_STRING("metrics-cert-dir", struct speaker_options, metrics_cert_dir, "", NULL,
                "directory with tls.crt and tls.key for metrics; self-signed when empty"),
        FLAG_STRING("kubeconfig", struct speaker_options, kubeconfig, "", NULL,
                "how to reach the API server; default: $KUBECONFIG, the service account, ~/.kube/config"),
        FLAG_INERT("bgp-debounce-timeout", false),
        FLAG_INERT("frrk8s-namespace", false),
        FLAG_INERT("frrk8s-secret-passthrough", true),
        FLAG_INERT("host", false),
        FLAG_INERT("enable-pprof", true),
        FLAG_INERT("pprof-bind-address", false),
        FLAG_INERT("enable-l2-service-status", true),
};

const struct flag_set speaker_flags = { .defs = defs, .n_defs = ARRAY_LEN(defs) };

int speaker_options_parse(struct speaker_options *ret, struct flags_found *ret_found, int argc,
        char *const *argv, char *(*env)(const char *name), struct err *e)
{
        struct flag_def own[ARRAY_LEN(defs)];
        const struct flag_set set = { .defs = own, .n_defs = ARRAY_LEN(defs), .env = env };
        struct speaker_options o = { .port = 0 };
        const char *bgp = env ? env("METALLB_BGP_TYPE") : NULL;
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
        o.bgp_type = bgp ? bgp : "";
        *ret = o;
        *ret_found = found;
        return 0;
}

int speaker_options_check(const struct speaker_options *o, struct err *e)
{
        const char *port = o->ml_bind_port;

        if (o->node_name[0] == '\0')
                return err_set(e, -EINVAL, "--node-name or METALLB_NODE_NAME is required");
        if (strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 || strtol(port, NULL, 10) > 65535)
                return err_set(e, -EINVAL, "--ml-bindport is no port number: \"%.40s\"", port);
        return 0;
}
