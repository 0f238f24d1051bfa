/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* kube - requests to one Kubernetes API server: libcurl's multi interface on a libuv loop.
 *
 * All requests share one HTTP/2 connection (HTTP/1.1 where the server wants it). A connection that died, or a
 * server that is frozen but still acknowledges TCP, is noticed within 15 s although nothing is being sent:
 * TCP_USER_TIMEOUT, and a small GET (/version) after 5 s without a byte while anything is open.
 * One thread: the loop's. Never calls back from inside the call that starts something. */
#include <uv.h>

#include "common/base.h"
#include "common/err.h"
#include "common/kube/conf.h"
#include "common/kube/path.h"
#include "common/metrics.h"

/* ---- the client ---- */

struct kube;

struct kube_limits { /* zero: the default in brackets */
        unsigned max_in_flight; /* requests sent at once, streams not counted [16]; the rest waits in order */
        unsigned max_queued; /* waiting requests; beyond: -ENOBUFS [20000] */
        unsigned request_ms; /* whole request from being sent, streams not counted [10000] */
        unsigned connect_ms; /* [5000] */
        unsigned
                silence_ms; /* without a byte: ask; as long again without one: the connection is dead [5000] */
        size_t max_response; /* bytes kept of a response that is not streamed [1 MiB] */
};

/* Copies @conf and @limits. @reg: where api request counters go; may be NULL. */
int kube_new(struct kube **ret, uv_loop_t *loop, const struct kube_conf *conf,
        const struct kube_limits *limits, struct metrics *reg, struct err *e) MUST_CHECK;
/* Cancels everything (each request completes once with -ECANCELED), then calls @closed once; after it @k is
 * gone. Asynchronous. Call informer_close() and events_close() of all that use @k first; nobody need wait for them. */
void kube_close(struct kube *k, void (*closed)(void *ctx), void *ctx);
const char *kube_server(const struct kube *k);
uv_loop_t *kube_loop(const struct kube *k);
struct metrics *kube_metrics(const struct kube *k); /* as given; may be NULL */
bool kube_reachable(const struct kube *k); /* the last exchange with the server worked at HTTP level */

struct kube_response {
        int code; /* 0: HTTP answer in @status; negative: no answer (-ECANCELED, -ETIMEDOUT, ...) */
        int status; /* HTTP status, 0 without answer */
        const char *body; /* terminated, at most max_response; borrowed; "" when none or streamed */
        size_t len;
        unsigned retry_after_s; /* header Retry-After, 0 when absent */
        const char *error; /* words: curl's, or Status.message of the body; "" when all is well; borrowed */
};

/* 0 for 2xx, else one code: -errno without answer, ERR_CONFLICT 409, ERR_GONE 410, ERR_DENIED 401/403, ERR_MISSING
 * 404, ERR_BUSY 429/5xx, ERR_REJECTED the rest. */
int kube_response_code(const struct kube_response *res);

struct kube_request; /* owned by the client until it completes */

struct kube_call { /* everything is copied by kube_send() */
        const char *method; /* "GET", "POST", "PUT", "PATCH", "DELETE" */
        const char *path; /* "/api/v1/..." with query, already escaped */
        const char *content_type; /* NULL: application/json when there is a body */
        const char *body; /* NULL: none */
        size_t body_len;
        unsigned timeout_ms; /* from being sent; 0: limits.request_ms */
        bool stream; /* no overall time-out, bytes go to on_data, not counted in max_in_flight */
        /* Streams only: bytes of a 2xx body as they come, and once before them, with @len 0, that the 2xx answer has
         * begun; other answers are kept in the response. Non-zero ends the request with that code. Runs inside curl:
         * everything of this header may be called. A stream has timeout_ms (60 s) for its first headers. */
        int (*on_data)(void *ctx, const char *bytes, size_t len);
        /* Exactly once, always from the loop, also after kube_cancel() (-ECANCELED). */
        void (*on_done)(void *ctx, const struct kube_response *res);
        void *ctx;
        const char *verb, *resource; /* metric labels: "patch", "services"; static strings; may be NULL */
};

/* 0, -ENOBUFS, -ENOMEM, -ECANCELED (closing). *ret (may be NULL) is valid until on_done begins. */
int kube_send(struct kube *k, struct kube_request **ret, const struct kube_call *call) MUST_CHECK;
void kube_cancel(struct kube_request *r);

/* Content types of PATCH (Kubernetes API concepts, "Patches"). */
#define KUBE_MERGE_PATCH     "application/merge-patch+json"
#define KUBE_STRATEGIC_PATCH "application/strategic-merge-patch+json"
#define KUBE_APPLY_PATCH     "application/apply-patch+yaml"
