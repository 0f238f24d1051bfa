/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* tlsopt - MetalLB's TLS flags (Go names and numbers) in OpenSSL's terms. Pure. */
#include "common/err.h"

struct tlsopt { /* fits the fields of struct serve_tls */
        int min_version; /* TLS1_3_VERSION, ... */
        char *ciphers; /* OpenSSL's list for TLS 1.2 and below; NULL: its default */
        char *groups; /* OpenSSL's list; NULL: its default */
        char *skipped; /* names and numbers that Go knows and this OpenSSL lacks, for a warning; NULL: none */
};

/* @min_version: "" (TLS 1.3), "VersionTLS10" to "VersionTLS13". @ciphers: IANA names with commas, "" for the default; a
 * choice is an error when the minimum is TLS 1.3, whose suites cannot be chosen in Go. @curves: numbers of the IANA
 * registry "TLS Supported Groups" with commas, "" for the default. 0, -ENOMEM, or -EINVAL with words. */
int tlsopt_parse(struct tlsopt *ret, const char *min_version, const char *ciphers, const char *curves,
        struct err *e) MUST_CHECK;
void tlsopt_fini(struct tlsopt *o); /* idempotent */
