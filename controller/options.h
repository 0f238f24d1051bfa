/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* options - the controller's flags and environment: those of MetalLB 0.14 to 0.16 and a few of our own. Pure. */
#include "common/flags.h"

enum webhook_mode { WEBHOOK_ENABLED, WEBHOOK_DISABLED, WEBHOOK_ONLY };

struct options { /* strings are borrowed from argv and the environment, never NULL */
        /* MetalLB's */
        int port; /* metrics; 0: off */
        int health_port;
        const char *ns; /* "": from the service account or the kubeconfig */
        const char *ml_secret; /* memberlist Secret to make; "": none */
        const char *deployment; /* its owner */
        const char *pod_name;
        const char *log_level;
        const char *lb_class;
        const char *webhook_mode_text;
        bool disable_cert_rotation;
        const char *cert_dir, *cert_service_name, *webhook_secret;
        bool webhook_http2;
        const char *tls_min_version, *tls_cipher_suites, *tls_curves;
        const char *metrics_cert_dir;
        const char *kubeconfig;
        /* ours */
        bool metrics_plain; /* --metrics-plain-http */
        const char *reuse_delay_text;

        /* from the texts, by options_check() */
        enum webhook_mode webhook_mode;
        uint64_t reuse_delay_ms;
};

extern const struct flag_set options_flags;

/* 0, or -EINVAL with words for the user, who is shown the usage text (exit 2). */
int options_parse(struct options *ret, struct flags_found *ret_found, int argc, char *const *argv,
        char *(*env)(const char *name), struct err *e) MUST_CHECK;
/* What Go's flag package would have taken but the program refuses (exit 1 with a log line). 0, or -EINVAL with words. */
int options_check(struct options *o, struct err *e) MUST_CHECK;

/* "30", "30s", "5m", "1h30m", "250ms": 0, or -EINVAL with words. A bare number is seconds. */
int duration_parse(uint64_t *ret_ms, const char *text, struct err *e) MUST_CHECK;
