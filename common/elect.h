/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* elect - which node announces one address, and why every other node does not. Pure.
 *
 * The unit of an election is an address, not a Service: all Services that hold the address are its claims
 * and are decided together, so that two nodes never answer for it. The order of candidates is MetalLB's:
 * score descending, then SHA-256 of "<node>#<address>" ascending. With one claim, or with claims that agree,
 * candidates and winner are the same as there. Where claims differ (another namespace's endpoints under
 * policy Local, say), those nodes are candidates that serve the most claims.
 *
 * The result is one record for events, status, metrics, logs and the command-line tool. It does not depend on
 * the order of nodes, claims or advertisements, and removing a node that is not chosen does not move it. */
#include "common/base.h"
#include "common/err.h"

/* Why an address, or one Service's part in it, is or is not announced. */
enum elect_reason {
        ELECT_ANNOUNCED, /* somebody is chosen; for one claim: it takes part */
        ELECT_NOT_OWNER, /* another node is chosen */
        ELECT_SERVICE_DELETED,
        ELECT_NOT_LOAD_BALANCER, /* spec.type */
        ELECT_OTHER_CLASS, /* spec.loadBalancerClass is not ours */
        ELECT_NO_IP, /* status.loadBalancer.ingress is empty */
        ELECT_IP_CHANGED, /* the Service holds another address now */
        ELECT_INVALID_IP, /* an ingress entry is no address */
        ELECT_IP_NOT_ALLOWED, /* no pool holds the address */
        ELECT_NO_ENDPOINTS, /* the Service has no usable endpoint */
        ELECT_SHARED_WITH_SELECTOR, /* sharing annotation, and an advertisement with serviceSelectors */
        ELECT_NO_ADVERTISEMENT, /* none serves this pool and Service */
        ELECT_NO_CANDIDATE, /* every node has a reason of its own */
        ELECT_NOT_COVERED_HERE, /* no advertisement of it selects the asking node */
        ELECT_NO_INTERFACE, /* chosen, but the node has none of the interfaces that are named */
        ELECT_N_REASONS,
};
/* One word for metrics: "noEndpoints". Static. */
const char *elect_reason_name(enum elect_reason r);
/* MetalLB's word for it in its log line of a withdrawal: "notOwner", "ipNotAllowed", ... Static. */
const char *elect_reason_metallb(enum elect_reason r);
/* Half a sentence for a human. Static. */
const char *elect_reason_words(enum elect_reason r);

/* What one node is to one address. */
enum elect_why {
        ELECT_CHOSEN,
        ELECT_RUNNER_UP, /* able, but ordered behind the chosen one */
        ELECT_NO_SPEAKER, /* no living speaker is known on it */
        ELECT_NETWORK_UNAVAILABLE, /* Node condition NetworkUnavailable is True */
        ELECT_EXCLUDED, /* label node.kubernetes.io/exclude-from-external-load-balancers */
        ELECT_NOT_COVERED, /* no advertisement of the address selects it */
        ELECT_NO_LOCAL_ENDPOINT, /* policy Local, and no usable endpoint on it */
        ELECT_SERVES_FEWER, /* other nodes serve more of the Services that share the address */
        ELECT_NOT_ASKED, /* able, but the address is not announced at all: see the reason */
        ELECT_N_WHYS,
};
const char *elect_why_words(enum elect_why w);

struct elect_node { /* the same for every address; names are unique */
        const char *name;
        bool has_speaker;
        bool network_unavailable;
        bool excluded; /* false where --ignore-exclude-lb says so */
};

/* Bitmaps over the nodes: bit i % 64 of word i / 64. */
#define ELECT_WORDS(n_nodes) (((n_nodes) + 63) / 64)
static inline bool elect_bit(const uint64_t *map, size_t i)
{
        return (map[i / 64] >> (i % 64)) & 1;
}
static inline void elect_set_bit(uint64_t *map, size_t i)
{
        map[i / 64] |= (uint64_t)1 << (i % 64);
}

struct elect_ad { /* an L2Advertisement that serves the address's pool */
        const uint64_t *covers; /* nodes its nodeSelectors select */
        const int64_t *
                scores; /* by node, from preferredNodeSelectors; NULL: none. Those not covered do not count */
        bool selects_services; /* it has serviceSelectors */
};

struct elect_claim { /* one Service that holds the address */
        bool shares; /* carries an allow-shared-ip annotation, whatever its value */
        bool any_endpoint; /* a usable one anywhere */
        bool local_policy; /* externalTrafficPolicy Local */
        const uint64_t *local; /* nodes with a usable endpoint; read only under local_policy */
        const struct elect_ad *const *ads; /* those that match the Service */
        size_t n_ads;
};

struct elect_input {
        const char *key; /* canonical text of the first address in the Service's status: what is hashed */
        const struct elect_node *nodes;
        size_t n_nodes;
        const struct elect_claim *claims;
        size_t n_claims;
};

struct elect_place { /* one a node, in the order of the input */
        enum elect_why why;
        uint32_t rank; /* after elect_rank(): 1 chosen, 2 next in line, ...; 0: no candidate */
        int64_t score;
        uint32_t serves; /* claims that this node could serve */
        bool hashed;
        uint8_t digest[32]; /* when hashed */
};

struct elect_result {
        enum elect_reason reason; /* ELECT_ANNOUNCED: nodes[chosen] announces */
        size_t chosen; /* SIZE_MAX: nobody */
        size_t n_candidates;
};

struct elect; /* holds the digest state, so that an election allocates nothing */

int elect_new(struct elect **ret) MUST_CHECK; /* 0 or -ENOMEM */
struct elect *elect_free(struct elect *e);
DEFINE_CLEANUP(struct elect, elect_free);

/* Elects. @places has room for in->n_nodes. At most one digest a candidate. 0 or -ENOMEM (OpenSSL's). */
int elect_run(struct elect_result *ret, struct elect *e, const struct elect_input *in,
        struct elect_place *places) MUST_CHECK;
/* Fills the ranks of what elect_run() left in @places. 0 or -ENOMEM. */
int elect_rank(struct elect *e, const struct elect_input *in, struct elect_place *places) MUST_CHECK;
/* Whether this claim takes part: ELECT_ANNOUNCED, or why not, in MetalLB's order of questions. */
enum elect_reason elect_claim_reason(const struct elect_claim *c);
