/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* authz - asks the API server whether the owner of a bearer token may see a path: a TokenReview, then a
 * SubjectAccessReview for the non-resource URL, as kube-rbac-proxy and controller-runtime do.
 *
 * Answers are remembered: who a token is (or that it is nobody) for 1 min, that somebody may for 5 min, that they may
 * not for 30 s; at most 64 of each, tokens only by their SHA-256. At most 16 questions are open at once. Nobody is
 * ever let in anonymously. Needs create on tokenreviews.authentication.k8s.io and
 * subjectaccessreviews.authorization.k8s.io. */
#include "common/kube/kube.h"

enum authz_verdict {
        AUTHZ_PENDING, /* done is called later */
        AUTHZ_ALLOWED,
        AUTHZ_NOBODY, /* HTTP 401: the token is not valid */
        AUTHZ_DENIED, /* HTTP 403 */
        AUTHZ_FAILED, /* HTTP 500: there was no answer */
        AUTHZ_BUSY, /* HTTP 503 */
};

struct authz;
struct authz_ask; /* one open question */

struct authz_conf {
        /* kube_send(), or what stands in for it in a test. */
        int (*send)(void *ctx, struct kube_request **ret, const struct kube_call *call);
        uint64_t (*now_ms)(void *ctx);
        void *ctx;
};

int authz_new(struct authz **ret, const struct authz_conf *conf) MUST_CHECK;
/* Open questions are forgotten: their done is not called. What was sent completes on its own. NULL is fine. */
struct authz *authz_free(struct authz *a);
DEFINE_CLEANUP(struct authz, authz_free);

/* @verb is the method in lower case. AUTHZ_PENDING: *ret is the question, until @done is called or authz_drop();
 * everything else is the answer, and @done is not called. */
enum authz_verdict authz_check(struct authz *a, struct authz_ask **ret, const char *token, const char *verb,
        const char *path, void (*done)(void *ctx, enum authz_verdict v), void *ctx) MUST_CHECK;
void authz_drop(struct authz_ask *q); /* who asked went away */
