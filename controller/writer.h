/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* writer - sends our writes of status subresources: many objects at once, and the only way to them.
 *
 * A job is one PATCH with the resourceVersion of what it was made from. It is sent until there is an answer that settles
 * it: a request that got none may have been carried out, and only the very same bytes may then be sent again, since with
 * their precondition they cannot be carried out twice. No answer at all, 429 and 503 hold everything back for a
 * while; other failures only that one job. Where the role grants no PATCH (403) the object is read and PUT back
 * instead, with one warning for each resource; PATCH is tried again every ten minutes.
 * Nothing is sent while conf.may_send() says no (not the leader, or not long enough). */
#include "common/kube/kube.h"

struct writer;
struct writer_job; /* owned by the writer */

enum writer_result {
        WRITER_DONE, /* carried out */
        WRITER_CONFLICT, /* the object has another resourceVersion by now */
        WRITER_GONE, /* there is no such object */
        WRITER_REFUSED, /* the server will not have it */
        WRITER_CANCELED, /* by writer_close() */
};

struct writer_answer {
        enum writer_result result;
        int status; /* HTTP, 0: none */
        const char *text; /* DONE: the object; REFUSED: why; else "". Borrowed */
        size_t len;
};

struct writer_call { /* copied */
        const char *group, *version; /* as kube_path(): "" is core */
        const char *resource; /* static string: "services" */
        const char *ns, *name;
        const char *rv; /* of the object that @body was made from; also in @body */
        const char *body;
        size_t body_len;
        bool strategic; /* which kind of merge patch it is */
        void (*on_done)(void *ctx, const struct writer_answer *answer); /* once, from the loop */
        void *ctx;
};

struct writer_conf {
        unsigned max_in_flight; /* 0: 16 */
        unsigned timeout_ms; /* of one request; 0: 5000 */
        bool (*may_send)(void *ctx, unsigned for_ms); /* NULL: always */
        void (*on_room)(void *ctx); /* a job ended and writer_has_room(); NULL: nobody asks */
        void *ctx;
        uint64_t seed; /* of the jitter */
};

int writer_new(struct writer **ret, struct kube *k, const struct writer_conf *conf) MUST_CHECK;
/* Cancels everything: each job is answered with WRITER_CANCELED, then @closed once. Asynchronous. */
void writer_close(struct writer *w, void (*closed)(void *ctx), void *ctx);

/* Below its limit: callers make the next body only then, so that bodies do not pile up. Jobs that wait out a failure of
 * their own do not count. */
bool writer_has_room(const struct writer *w);
/* 0, -ENOMEM, -ECANCELED (stopped). Takes jobs also without room. *ret is valid until on_done() begins. */
int writer_send(struct writer *w, struct writer_job **ret, const struct writer_call *call) MUST_CHECK;
/* Drops a job that is not on its way at this moment: true, and on_done() is not called. Else false. */
bool writer_drop(struct writer *w, struct writer_job *job);
/* may_send() may say yes now. */
void writer_kick(struct writer *w);
/* Sends nothing new any more; what waits is answered with WRITER_CANCELED. writer_is_idle() then turns true. */
void writer_stop(struct writer *w);
bool writer_is_idle(const struct writer *w); /* nothing on its way */
