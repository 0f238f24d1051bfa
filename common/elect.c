/* SPDX-License-Identifier: Apache-2.0 */
/* elect - Pure. One linear pass decides who is able, a second one hashes only those that can still win.
 * Digests are kept in the places, so that ranking everybody later hashes nobody twice. */
#include "common/elect.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct elect {
        EVP_MD *sha256; /* fetched once: the implicit fetch costs more than the digest */
        EVP_MD_CTX *ctx;
};

static const struct {
        const char *name, *metallb, *words;
} reasons[ELECT_N_REASONS] = {
        [ELECT_ANNOUNCED] = { "announced", "", "it is announced" },
        [ELECT_NOT_OWNER] = { "notOwner", "notOwner", "another node announces it" },
        [ELECT_SERVICE_DELETED] = { "serviceDeleted", "serviceDeleted", "the Service is gone" },
        [ELECT_NOT_LOAD_BALANCER] = { "notLoadBalancer", "notLoadBalancer",
                "the Service is not of type LoadBalancer" },
        [ELECT_OTHER_CLASS] = { "otherClass", "notLoadBalancer",
                "the Service's loadBalancerClass is not ours" },
        [ELECT_NO_IP] = { "noIPAllocated", "noIPAllocated", "no address is allocated yet" },
        [ELECT_IP_CHANGED] = { "loadBalancerIPChanged", "loadBalancerIPChanged",
                "the Service holds another address now" },
        [ELECT_INVALID_IP] = { "invalidIP", "invalidIP",
                "the Service's status holds an entry that is no address" },
        [ELECT_IP_NOT_ALLOWED] = { "ipNotAllowed", "ipNotAllowed", "no pool holds the address" },
        [ELECT_NO_ENDPOINTS] = { "noEndpoints", "notOwner", "the Service has no usable endpoint" },
        [ELECT_SHARED_WITH_SELECTOR] = { "sharedIPWithServiceSelector", "sharedIPWithServiceSelector",
                "allow-shared-ip does not go with an advertisement that has serviceSelectors" },
        [ELECT_NO_ADVERTISEMENT] = { "noAdvertisement", "noMatchingAdvertisement",
                "no L2Advertisement serves its pool and Service" },
        [ELECT_NO_CANDIDATE] = { "noCandidate", "notOwner", "no node is able to announce it" },
        [ELECT_NOT_COVERED_HERE] = { "noMatchingAdvertisement", "noMatchingAdvertisement",
                "no L2Advertisement of it selects this node" },
        [ELECT_NO_INTERFACE] = { "noInterface", "notOwner",
                "this node has none of the interfaces it may use" },
};

static const char *const whys[ELECT_N_WHYS] = {
        [ELECT_CHOSEN] = "announces it",
        [ELECT_RUNNER_UP] = "able, but ordered behind the announcing node",
        [ELECT_NO_SPEAKER] = "no living speaker is known on it",
        [ELECT_NETWORK_UNAVAILABLE] = "its condition NetworkUnavailable is True",
        [ELECT_EXCLUDED] = "it is labelled node.kubernetes.io/exclude-from-external-load-balancers",
        [ELECT_NOT_COVERED] = "no L2Advertisement of the address selects it",
        [ELECT_NO_LOCAL_ENDPOINT] = "externalTrafficPolicy is Local and it has no usable endpoint",
        [ELECT_SERVES_FEWER] = "other nodes serve more of the Services that share the address",
        [ELECT_NOT_ASKED] = "able, but the address is not announced at all",
};

const char *elect_reason_name(enum elect_reason r)
{
        return reasons[r].name;
}

const char *elect_reason_metallb(enum elect_reason r)
{
        return reasons[r].metallb;
}

const char *elect_reason_words(enum elect_reason r)
{
        return reasons[r].words;
}

const char *elect_why_words(enum elect_why w)
{
        return whys[w];
}

int elect_new(struct elect **ret)
{
        CLEANUP(elect_freep) struct elect *e = calloc(1, sizeof(*e));

        if (!e)
                return -ENOMEM;
        e->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        e->ctx = EVP_MD_CTX_new();
        if (!e->sha256 || !e->ctx || EVP_DigestInit_ex(e->ctx, e->sha256, NULL) != 1)
                return -ENOMEM;

        *ret = TAKE(e);
        return 0;
}

struct elect *elect_free(struct elect *e)
{
        if (!e)
                return NULL;
        EVP_MD_CTX_free(e->ctx);
        EVP_MD_free(e->sha256);
        free(e);
        return NULL;
}

enum elect_reason elect_claim_reason(const struct elect_claim *c)
{
        if (!c->any_endpoint)
                return ELECT_NO_ENDPOINTS;
        for (size_t i = 0; c->shares && i < c->n_ads; i++)
                if (c->ads[i]->selects_services)
                        return ELECT_SHARED_WITH_SELECTOR;
        return c->n_ads > 0 ? ELECT_ANNOUNCED : ELECT_NO_ADVERTISEMENT;
}

/* What keeps node @i from serving this claim, and its score. Sums wrap, as they do in MetalLB. */
static enum elect_why claim_node(const struct elect_claim *c, size_t i, int64_t *ret_score)
{
        bool covered = false;
        uint64_t score = 0;

        for (size_t a = 0; a < c->n_ads; a++) {
                if (!elect_bit(c->ads[a]->covers, i))
                        continue;
                covered = true;
                if (c->ads[a]->scores)
                        score += (uint64_t)c->ads[a]->scores[i];
        }
        *ret_score = (int64_t)score;
        if (!covered)
                return ELECT_NOT_COVERED;
        if (c->local_policy && !elect_bit(c->local, i))
                return ELECT_NO_LOCAL_ENDPOINT;
        return ELECT_RUNNER_UP;
}

/* The node alone, then the claims that take part. @n_taking is their number. */
static struct elect_place place_node(const struct elect_input *in, size_t i, size_t n_taking)
{
        const struct elect_node *node = &in->nodes[i];
        struct elect_place p = { .score = INT64_MIN };
        enum elect_why refusal = ELECT_NOT_COVERED;

        for (size_t c = 0; c < in->n_claims; c++) {
                enum elect_why why;
                int64_t score;

                if (elect_claim_reason(&in->claims[c]) != ELECT_ANNOUNCED)
                        continue;
                why = claim_node(&in->claims[c], i, &score);
                if (why == ELECT_RUNNER_UP) {
                        p.serves++;
                        p.score = MAX(p.score, score);
                } else {
                        refusal = MAX(refusal, why); /* of several, the one that is asked last */
                }
        }
        if (p.serves == 0)
                p.score = 0;
        p.why = !node->has_speaker          ? ELECT_NO_SPEAKER
                : node->network_unavailable ? ELECT_NETWORK_UNAVAILABLE
                : node->excluded            ? ELECT_EXCLUDED
                : n_taking == 0             ? ELECT_NOT_ASKED
                : p.serves == 0             ? refusal
                                            : ELECT_RUNNER_UP;
        return p;
}

static int hash_place(struct elect *e, const struct elect_input *in, size_t i, struct elect_place *p)
{
        const char *name = in->nodes[i].name;

        if (p->hashed)
                return 0;
        if (EVP_DigestInit_ex(e->ctx, NULL, NULL) != 1 || EVP_DigestUpdate(e->ctx, name, strlen(name)) != 1 ||
                EVP_DigestUpdate(e->ctx, "#", 1) != 1 ||
                EVP_DigestUpdate(e->ctx, in->key, strlen(in->key)) != 1 ||
                EVP_DigestFinal_ex(e->ctx, p->digest, NULL) != 1)
                return -ENOMEM;
        p->hashed = true;
        return 0;
}

/* Nobody takes part: of several reasons always the same one, whatever the order of claims. */
static enum elect_reason common_refusal(const struct elect_input *in)
{
        enum elect_reason r = ELECT_ANNOUNCED;

        for (size_t c = 0; c < in->n_claims; c++)
                r = MAX(r, elect_claim_reason(&in->claims[c]));
        return r == ELECT_ANNOUNCED ? ELECT_NO_IP : r;
}

/* Of the able nodes keeps those that serve the most claims; finds the best score and how many have it. */
static size_t narrow(struct elect_place *places, size_t n, int64_t *ret_score, size_t *ret_best)
{
        size_t n_candidates = 0;
        uint32_t serves = 0;

        for (size_t i = 0; i < n; i++)
                if (places[i].why == ELECT_RUNNER_UP)
                        serves = MAX(serves, places[i].serves);
        *ret_best = 0;
        for (size_t i = 0; i < n; i++) {
                if (places[i].why != ELECT_RUNNER_UP)
                        continue;
                if (places[i].serves < serves) {
                        places[i].why = ELECT_SERVES_FEWER;
                        continue;
                }
                n_candidates++;
                if (*ret_best == 0 || places[i].score > *ret_score) {
                        *ret_score = places[i].score;
                        *ret_best = 0;
                }
                *ret_best += places[i].score == *ret_score;
        }
        return n_candidates;
}

int elect_run(
        struct elect_result *ret, struct elect *e, const struct elect_input *in, struct elect_place *places)
{
        struct elect_result res = { .reason = ELECT_NO_CANDIDATE, .chosen = SIZE_MAX };
        size_t n_taking = 0, n_best;
        int64_t score = 0;
        int r;

        for (size_t c = 0; c < in->n_claims; c++)
                n_taking += elect_claim_reason(&in->claims[c]) == ELECT_ANNOUNCED;
        for (size_t i = 0; i < in->n_nodes; i++)
                places[i] = place_node(in, i, n_taking);
        res.n_candidates = narrow(places, in->n_nodes, &score, &n_best);
        for (size_t i = 0; i < in->n_nodes; i++) {
                if (places[i].why != ELECT_RUNNER_UP || places[i].score != score)
                        continue;
                if (n_best > 1) { /* a single one wins without a digest */
                        r = hash_place(e, in, i, &places[i]);
                        if (r < 0)
                                return r;
                }
                if (res.chosen == SIZE_MAX || memcmp(places[i].digest, places[res.chosen].digest, 32) < 0)
                        res.chosen = i;
        }
        if (n_taking == 0)
                res.reason = common_refusal(in);
        if (res.chosen != SIZE_MAX) {
                res.reason = ELECT_ANNOUNCED;
                places[res.chosen].why = ELECT_CHOSEN;
        }

        *ret = res;
        return 0;
}

static int by_order(const void *a, const void *b)
{
        const struct elect_place *x = *(struct elect_place *const *)a, *y = *(struct elect_place *const *)b;

        if (x->score != y->score)
                return x->score > y->score ? -1 : 1;
        return memcmp(x->digest, y->digest, sizeof(x->digest));
}

int elect_rank(struct elect *e, const struct elect_input *in, struct elect_place *places)
{
        CLEANUP(freep) struct elect_place **order = calloc(in->n_nodes + 1, sizeof(struct elect_place *));
        size_t n = 0;
        int r;

        if (!order)
                return -ENOMEM;
        for (size_t i = 0; i < in->n_nodes; i++) {
                if (places[i].why != ELECT_CHOSEN && places[i].why != ELECT_RUNNER_UP)
                        continue;
                r = hash_place(e, in, i, &places[i]);
                if (r < 0)
                        return r;
                order[n++] = &places[i];
        }
        qsort(order, n, sizeof(struct elect_place *), by_order);
        for (size_t i = 0; i < n; i++)
                order[i]->rank = (uint32_t)(i + 1);
        return 0;
}
