/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* lease - which of several controllers may write: the state machine of one coordination.k8s.io/v1 Lease.
 *
 * Pure: what was read of the Lease, the results of writes and both clocks come in as arguments; what to send next
 * comes out. No clock of another machine is trusted: a foreign lease runs for its own leaseDurationSeconds from the
 * moment its last change was seen here, and ours from the moment its renewal was sent, so that we believe in our
 * lease for less time than anybody else does.
 *
 * A process that finds its own identity at its first look (a container that was restarted) takes the lease at once. A
 * second living process with the same identity makes the first one lose it, instead of the two renewing in turns: a
 * term is known by its acquireTime. */
#include "common/buf.h"
#include "common/json.h"

#define LEASE_IDENTITY_MAX 256 /* with terminator; longer ones are cut */
#define LEASE_TIME_MAX     32 /* MicroTime text with terminator */

struct lease_conf {
        const char *identity;
        unsigned duration_s; /* written into the Lease [12] */
        unsigned renew_ms; /* between renewals of our own [4000]; less than half of duration_s */
        unsigned poll_ms; /* between looks at somebody else's [1000] */
        unsigned retry_ms; /* after a failed request [1000] */
};

enum lease_do {
        LEASE_WAIT, /* nothing to send before lease_step.at_ms */
        LEASE_READ, /* GET the Lease */
        LEASE_CREATE, /* POST lease_body() */
        LEASE_UPDATE, /* PUT lease_body() */
};

enum lease_result { LEASE_DONE, LEASE_CONFLICT, LEASE_MISSING, LEASE_FAILED };

struct lease_seen { /* what stands in the Lease */
        char holder[LEASE_IDENTITY_MAX]; /* "": free */
        char renewed[LEASE_TIME_MAX], acquired[LEASE_TIME_MAX];
        char rv[64];
        int64_t duration_s, transitions;
};

struct lease { /* read only for users */
        char identity[LEASE_IDENTITY_MAX];
        uint64_t duration_ms, renew_ms, poll_ms, retry_ms;
        bool known, exists; /* @seen was read (or written) at least once; the object is there */
        struct lease_seen seen;
        uint64_t seen_ms; /* when its last change was seen */
        uint64_t next_ms; /* nothing is sent before */
        bool must_read; /* @seen may be out of date */
        bool heir; /* the first look found our own identity: left over by our predecessor */
        char token[LEASE_TIME_MAX]; /* acquireTime of our term, which no other process writes; "": none yet */
        uint64_t sent_ms; /* when our last write was sent */
        bool releasing; /* that write gave the lease up */
        bool held;
        uint64_t until_ms; /* while held: our lease is over */
};

/* 0, or -EINVAL: no identity, or a renewal interval that leaves no time. Zero in @conf takes the default in brackets. */
int lease_init(struct lease *l, const struct lease_conf *conf, uint64_t now_ms) MUST_CHECK;

/* What to do now. @ret_at_ms: for LEASE_WAIT when to ask again. */
enum lease_do lease_next(const struct lease *l, uint64_t now_ms, uint64_t *ret_at_ms);

/* The Lease as the API server gave it; NULL: there is none. Fields of a wrong type read as absent. */
void lease_saw(struct lease *l, const cJSON *json, uint64_t now_ms);
/* Reading failed. */
void lease_read_failed(struct lease *l, uint64_t now_ms);

/* The body of the write that lease_next() asked for; @now_ms is kept as the start of the lease, @wall_us (since 1970)
 * is only text for others. @release: gives it up instead. */
void lease_body(struct lease *l, struct buf *out, const char *ns, const char *name, uint64_t now_ms,
        int64_t wall_us, bool release);
/* The answer to that write. @json: the object in the answer of a LEASE_DONE (its resourceVersion is the next
 * precondition); may be NULL. */
void lease_wrote(struct lease *l, enum lease_result result, const cJSON *json, uint64_t now_ms);

bool lease_is_held(const struct lease *l, uint64_t now_ms);
/* A request that may take @request_ms would end while the lease still runs. */
bool lease_may_write(const struct lease *l, uint64_t now_ms, unsigned request_ms);
/* When lease_is_held() turns false unless renewed; UINT64_MAX when not held. */
uint64_t lease_until(const struct lease *l);
