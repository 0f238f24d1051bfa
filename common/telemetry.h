/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* telemetry - what a program shows of itself: /healthz and /readyz to the kubelet by plain HTTP, /metrics to
 * Prometheus by HTTPS with a check of who asks (common/authz.h), or by plain HTTP without one.
 *
 * Health: "/healthz", "/readyz", also "/healthz/healthz", "/readyz/readyz": 200 "ok", or 503 with the reason; "?verbose"
 * lists the one check. Metrics: 200; 401 without or with a wrong token, 403, 500 when the API server did not say. */
#include "common/kube/kube.h"
#include "common/metrics.h"
#include "common/tlsopt.h"

#define TELEMETRY_ANY_PORT (-1) /* in place of a port number; for tests */

struct telemetry;

struct telemetry_conf { /* copied; what it points to stays the owner's and must live on, but for address, cert_dir, tls */
        const char *health_address; /* "" or NULL: all */
        int health_port; /* 0: none */
        int metrics_port; /* on all addresses; 0: none */
        bool metrics_plain; /* HTTP, for everybody */
        const char *
                cert_dir; /* with tls.crt and tls.key; "": the library default if it has them, else self-signed */
        const struct tlsopt *tls;
        /* Add the reason to @why when not; NULL: always. Liveness should only ever fail when a restart would help. */
        bool (*is_alive)(void *ctx, struct buf *why);
        bool (*is_ready)(void *ctx, struct buf *why);
        void (*on_scrape)(void *ctx); /* the last chance to set gauges; may be NULL */
        void *ctx;
        /* telemetry_kube_send with the client as @send_ctx; reviews go through it. NULL with plain metrics. */
        int (*send)(void *send_ctx, struct kube_request **ret, const struct kube_call *call);
        void *send_ctx;
        struct metrics *reg;
};

/* Both listeners run when it returns 0, else none does, @e says why, and handles that are closing end with the next turns
 * of the loop. Reads certificates synchronously. */
int telemetry_new(
        struct telemetry **ret, uv_loop_t *loop, const struct telemetry_conf *conf, struct err *e) MUST_CHECK;
void telemetry_close(struct telemetry *t, void (*closed)(void *ctx), void *ctx); /* before kube_close() */
uint16_t telemetry_health_port(const struct telemetry *t); /* 0: none */
uint16_t telemetry_metrics_port(const struct telemetry *t);

int telemetry_kube_send(void *kube, struct kube_request **ret, const struct kube_call *call);
