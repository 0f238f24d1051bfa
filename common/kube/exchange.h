/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* exchange - one request to the server and its answer: from kube_call to curl handle to kube_response. Internal to common/kube:
 * client.c decides when it starts, ends and is told; nothing here calls the owner except on_data. */
#include <curl/curl.h>
#include <sys/queue.h>

#include "common/buf.h"
#include "common/kube/creds.h"
#include "common/kube/kube.h"

enum exchange_state {
        EXCHANGE_WAITING, /* in the queue */
        EXCHANGE_RUNNING, /* in curl */
        EXCHANGE_PARKED, /* answered 401: told so unless the token file has a new token */
        EXCHANGE_ENDED, /* its answer is to be told */
};

struct kube_request {
        TAILQ_ENTRY(kube_request) link; /* in the list of its state */
        struct kube *k;
        struct kube_call call; /* strings point behind this struct */
        enum exchange_state state;
        bool cancelled;
        bool probe; /* the client's own; not counted, not queued */
        bool retried; /* was sent again with a new token */
        bool opened; /* headers of a 2xx answer have come (streams) */
        bool too_big;
        uint64_t token_gen; /* the token it was sent with */
        uint64_t deadline_ms; /* UINT64_MAX: none */
        int abort_code; /* what on_data returned */
        CURL *easy; /* while running */
        struct curl_slist *headers;
        struct buf body; /* of the answer */
        int status;
        unsigned retry_after_s;
        int code;
        char error[CURL_ERROR_SIZE];
};
TAILQ_HEAD(exchange_list, kube_request);

/* A copy of @call with all its strings. NULL: no memory. */
struct kube_request *exchange_new(struct kube *k, const struct kube_call *call) MUST_CHECK;
struct kube_request *exchange_free(struct kube_request *r); /* must not be in a list or in curl */

struct exchange_server { /* what each request needs to know of the server; built once */
        char *base; /* URL up to the path */
        struct curl_slist *connect_to; /* "name:port:host:port" when the TLS name is another; else NULL */
        char *host_header; /* with connect_to */
        char *user_agent;
        bool is_tls;
        const struct kube_conf *conf;
        const struct creds *creds;
        unsigned connect_ms;
        size_t max_response;
};
/* Must outlive every transfer. -EINVAL with words, -ENOMEM. */
int exchange_server_init(struct exchange_server *ret, const struct kube_conf *conf, const struct creds *creds,
        const struct kube_limits *limits, struct err *e) MUST_CHECK;
void exchange_server_fini(struct exchange_server *s);

/* Builds r->easy. Forgets an earlier answer. 0 or -ENOMEM. */
int exchange_build(struct kube_request *r, const struct exchange_server *s) MUST_CHECK;
/* The transfer is over (it is out of curl): keeps status, code and words, frees the curl handle. */
void exchange_finish(struct kube_request *r, CURLcode code);
/* The same for a request that never got, or never will get, an answer. */
void exchange_fail(struct kube_request *r, int code, const char *words);
struct kube_response exchange_response(const struct kube_request *r);

/* client.c: bytes came from the server for this request; @http: an HTTP answer. */
void client_heard(struct kube *k, bool http);
