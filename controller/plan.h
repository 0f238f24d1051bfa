/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* plan - what must be done about one Service now: the status to write, what to say, what to log.
 * Pure: works on an ipam and decoded objects; sends nothing. Level-triggered: the same state gives the same plan, and a
 * Service that is as it should be gives an empty one.
 *
 * How the shell uses it:
 *   start, takeover  once pools, nodes, namespaces and Services are listed: plan_claim_all(); then plan_service() for each
 *   a Service, or labels of its namespace, changed or are gone: plan_service() or plan_gone() for it
 *   pools or nodes changed: ipam_set_pools(), ipam_set_nodes()
 *   after each of these: while ((key = ipam_woken())) plan_service(key) */
#include "common/ipam.h"

#define PLAN_POOL_ANNOTATION "metallb.io/ip-allocated-from-pool"
#define PLAN_CONDITION       "metallb.io/IPAllocated"

struct plan_conf {
        const char *lb_class; /* --lb-class, "" when not given */
};

struct plan_in {
        const struct service *service;
        const struct kv_list *ns_labels; /* of its namespace; NULL: not known */
};

struct plan_condition {
        const char *status; /* "True" or "False" */
        const char *reason; /* CamelCase */
        const char *message; /* at most 1024 bytes, no newline */
};

struct plan_event {
        bool is_warning;
        const char *reason;
        const char *message; /* at most 1024 bytes */
};

enum plan_level { PLAN_DEBUG, PLAN_INFO, PLAN_WARN, PLAN_ERROR };

struct plan_log { /* facts for one line; "" where a field says nothing */
        enum plan_level level;
        const char *event; /* "ipAllocated", "clearAssignment", "serviceDeleted", ... */
        const char *reason; /* of clearAssignment: "notLoadBalancer", "noConfig", ... */
        const char *ips; /* "10.4.11.0,fd00::1" */
        const char *pool;
        const char *error; /* words */
        const char *msg; /* one of few constant texts */
};

#define PLAN_EVENTS_MAX 12
#define PLAN_LOGS_MAX   12

enum plan_state {
        PLAN_NOT_OURS, /* not a load balancer, or of another class */
        PLAN_ASSIGNED, /* has all that it asked for */
        PLAN_DEGRADED, /* has addresses, but not (all) that it asked for */
        PLAN_PENDING, /* has none */
};

struct plan {
        enum plan_state state;
        const char
                *pending; /* DEGRADED, PENDING: a word for metrics, ipam_why_word() or "invalid"; else "" */

        bool write; /* any of the three below differs from the object */
        bool ingress_differs, pool_differs, condition_differs;
        const struct service_ingress *ingress; /* the whole list as it should be; fields as in service.h */
        size_t n_ingress;
        const char *pool; /* annotation value as it should be; NULL: no annotation */
        const struct plan_condition *condition; /* as it should be; NULL: none */

        struct plan_event events[PLAN_EVENTS_MAX]; /* to be said once the write (if any) was sent */
        size_t n_events;
        struct plan_log logs[PLAN_LOGS_MAX];
        size_t n_logs;
};

/* Claims what every status says, before anything new is given out: sorts @v oldest first (creation time, then key), so
 * that of two Services which claim one address the older keeps it; those that hold something else than they ask for come
 * after all others. Nothing is written for it: plan_service() follows
 * for each. 0 or -ENOMEM (then call it again). */
int plan_claim_all(struct ipam *m, const struct plan_conf *conf, struct plan_in *v, size_t n,
        uint64_t now_ms) MUST_CHECK;

/* All texts of @ret are in @a or borrowed from @in; they stay valid until either goes. 0 or -ENOMEM (nothing that the
 * caller must undo; ask again). */
int plan_service(struct plan *ret, struct arena *a, struct ipam *m, const struct plan_conf *conf,
        const struct plan_in *in, uint64_t now_ms) MUST_CHECK;

/* The Service "namespace/name" is gone. Same rules; never anything to write. */
int plan_gone(struct plan *ret, struct arena *a, struct ipam *m, const char *key, uint64_t now_ms) MUST_CHECK;
