/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* options - the speaker's flags and environment: those of MetalLB 0.14 to 0.16 and a few of our own. Pure. */
#include "common/flags.h"

struct speaker_options { /* strings are borrowed from argv and the environment, never NULL */
        /* MetalLB's */
        int port; /* metrics; 0: off */
        int health_port; /* on 127.0.0.1; 0: off */
        const char *ns; /* "": from the service account or the kubeconfig */
        const char *node_name, *pod_name;
        const char *log_level;
        const char *lb_class;
        bool ignore_exclude_lb;
        const char *ml_bind_addr, *ml_bind_port, *ml_labels, *ml_secret_key_path;
        bool ml_wan;
        const char *tls_min_version, *tls_cipher_suites, *tls_curves;
        const char *metrics_cert_dir;
        const char *kubeconfig;
        const char *bgp_type; /* METALLB_BGP_TYPE: only to say that it does nothing */
        /* ours */
        bool metrics_plain; /* --metrics-plain-http */
        const char *exclude_file;
        int refresh_s; /* 0: announce only when something changes */
        int hold_ms; /* see view_conf */
};

extern const struct flag_set speaker_flags;

/* 0, or -EINVAL with words for the user, who is shown the usage text (exit 2). */
int speaker_options_parse(struct speaker_options *ret, struct flags_found *ret_found, int argc,
        char *const *argv, char *(*env)(const char *name), struct err *e) MUST_CHECK;
/* What the flag syntax takes but the program refuses (exit 1 with a log line). 0, or -EINVAL with words. */
int speaker_options_check(const struct speaker_options *o, struct err *e) MUST_CHECK;
