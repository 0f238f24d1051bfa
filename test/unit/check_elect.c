/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/elect.h"
#include "common/rng.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define MAX_NODES 70 /* more than one word of bitmap */

/* ---- known answers ---- */

static const char *const five[] = { "n1", "n2", "n3", "worker-a", "worker-b", NULL };
static const char *const abc[] = { "node-a", "node-b", "node-c", NULL };
static const char *const edges[] = { "edge-a", "edge-b", "worker-a", "worker-b", NULL };
static const char *const iris[] = { "iris1", "iris2", NULL };

static const struct {
        const char *key;
        const char *const *nodes;
        const char *order;
        const char *digests; /* first four bytes of each, or of the owner all 32; NULL: not known */
} vectors[] = {
        { "192.168.1.200", five, "n1 worker-b worker-a n2 n3",
                "061da392 5b42b173 63f98853 9b38ee21 db3cb55f" },
        { "10.4.11.7", five, "n3 worker-b worker-a n1 n2", "58e48065 87005f72 968385f0 dcf68acb f75ddd53" },
        { "2001:db8::1", five, "worker-b worker-a n2 n3 n1", "32f8e169 42a842e6 6a296099 b098ac6b dd9a9d9c" },
        { "192.168.1.200", five + 1, "worker-b worker-a n2 n3", NULL },
        { "10.0.0.1", abc, "node-b node-a node-c", NULL },
        { "10.0.0.2", abc, "node-b node-c node-a", NULL },
        { "10.20.30.1", edges, "edge-b worker-a edge-a worker-b", NULL },
        { "10.20.30.1", iris, "iris2 iris1", NULL },
        { "10.20.30.2", iris, "iris1 iris2", NULL },
        { "192.168.1.200", five, "n1 worker-b worker-a n2 n3",
                "061da39227ebd145abe7a5877b5dd9fa1305358ebf86e941f32bdd9549e07ba5" },
        { "10.4.11.7", five, "n3 worker-b worker-a n1 n2",
                "58e48065f4127e8c7d4e124ac69634ac921af1885ea2acf3d72b5299f38e4a11" },
        { "2001:db8::1", five, "worker-b worker-a n2 n3 n1",
                "32f8e1696803838a32e83036add9565eb8129345a00b067966f0876be2b2c4f8" },
};

static const uint64_t everywhere[ELECT_WORDS(MAX_NODES)] = { ~(uint64_t)0, ~(uint64_t)0 };
static const struct elect_ad plain = { .covers = everywhere };
static const struct elect_ad *const one_plain[] = { &plain };
static const struct elect_claim simple = { .any_endpoint = true, .ads = one_plain, .n_ads = 1 };

START_TEST(ranks_as_recorded)
{
        CLEANUP(elect_freep) struct elect *e = NULL;
        struct elect_node nodes[MAX_NODES] = { 0 };
        struct elect_place places[MAX_NODES];
        struct elect_result res;
        struct elect_input in = { .key = vectors[_i].key, .nodes = nodes, .claims = &simple, .n_claims = 1 };
        char order[256] = "", digests[128] = "";
        size_t want_digest = vectors[_i].digests ? strlen(vectors[_i].digests) : 0;

        for (; vectors[_i].nodes[in.n_nodes]; in.n_nodes++)
                nodes[in.n_nodes] = (struct elect_node){ vectors[_i].nodes[in.n_nodes], true, false, false };
        ck_assert_int_eq(elect_new(&e), 0);
        ck_assert_int_eq(elect_run(&res, e, &in, places), 0);
        ck_assert_int_eq(elect_rank(e, &in, places), 0);
        for (size_t rank = 1; rank <= in.n_nodes; rank++) {
                for (size_t i = 0; i < in.n_nodes; i++) {
                        size_t bytes = want_digest == 64 ? 32 : 4, at = strlen(digests);

                        if (places[i].rank != rank)
                                continue;
                        (void)snprintf(order + strlen(order), sizeof(order) - strlen(order), "%s%s",
                                rank > 1 ? " " : "", nodes[i].name);
                        if (want_digest == 64 && rank > 1)
                                continue;
                        at += (size_t)snprintf(digests + at, sizeof(digests) - at, "%s", rank > 1 ? " " : "");
                        for (size_t b = 0; b < bytes; b++)
                                at += (size_t)snprintf(
                                        digests + at, sizeof(digests) - at, "%02x", places[i].digest[b]);
                        ck_assert_int_eq(places[i].why, rank == 1 ? ELECT_CHOSEN : ELECT_RUNNER_UP);
                        ck_assert(rank > 1 || res.chosen == i);
                }
        }
        ck_assert_str_eq(order, vectors[_i].order);
        if (want_digest)
                ck_assert_str_eq(digests, vectors[_i].digests);
        ck_assert_uint_eq(res.n_candidates, in.n_nodes);
}
END_TEST

/* ---- who may, and why not: nodes n1 n2 n3 worker-a worker-b and 192.168.1.200, so the order above ---- */

/* A claim as text: "e" has endpoints, "s" shares, "lMASK" policy Local with endpoints on the nodes of the digits;
 * then each advertisement: "aMASK", with "!" when it selects services, "+NODE=SCORE" for preferences. */
struct built_ad {
        uint64_t covers[1];
        int64_t scores[8];
        struct elect_ad ad;
};

struct built {
        struct built_ad ads[4][4];
        const struct elect_ad *list[4][4];
        uint64_t local[4][1];
        struct elect_claim claims[4];
};

static const char *read_mask(const char *p, uint64_t *ret)
{
        for (; *p >= '0' && *p <= '9'; p++)
                elect_set_bit(ret, (size_t)(*p - '0'));
        return p;
}

static void build_claim(struct built *b, size_t c, const char *text)
{
        struct elect_claim *claim = &b->claims[c];
        struct built_ad *ad = NULL;
        char *end;

        claim->local = b->local[c];
        claim->ads = b->list[c];
        for (const char *p = text; *p;) {
                switch (*p++) {
                case 'e': claim->any_endpoint = true; break;
                case 's': claim->shares = true; break;
                case 'l':
                        claim->local_policy = true;
                        p = read_mask(p, b->local[c]);
                        break;
                case 'a':
                        ad = &b->ads[c][claim->n_ads];
                        ad->ad.covers = ad->covers;
                        b->list[c][claim->n_ads++] = &ad->ad;
                        p = read_mask(p, ad->covers);
                        break;
                case '!': ad->ad.selects_services = true; break;
                case '+':
                        ad->ad.scores = ad->scores;
                        ad->scores[*p - '0'] = strtoll(p + 2, &end, 10);
                        p = end;
                        break;
                default: break;
                }
        }
}

/* Per node: C chosen, r runner-up, s no speaker, u network unavailable, x excluded, c not covered, l no local endpoint,
 * f serves fewer, - able but not asked. */
static const char letters[] = "Crsuxclf-";

static const struct {
        const char *name;
        const char *
                nodes; /* per node: . fine, s u x as above, any of them together by upper case S: "s" and "x" */
        const char *claims[4];
        enum elect_reason reason;
        const char *places;
} cases[] = {
        { "all able", ".....", { "e a01234" }, ELECT_ANNOUNCED, "Crrrr" },
        { "no speaker", "s....", { "e a01234" }, ELECT_ANNOUNCED, "srrrC" },
        { "network unavailable", "u....", { "e a01234" }, ELECT_ANNOUNCED, "urrrC" },
        { "excluded", "x....", { "e a01234" }, ELECT_ANNOUNCED, "xrrrC" },
        { "speaker is asked first", "S....", { "e a01234" }, ELECT_ANNOUNCED, "srrrC" },
        { "nobody left", "suxsu", { "e a01234" }, ELECT_NO_CANDIDATE, "suxsu" },
        { "advertisement of two nodes", ".....", { "e a12" }, ELECT_ANNOUNCED, "cCrcc" },
        { "two advertisements add up", ".....", { "e a1 a4" }, ELECT_ANNOUNCED, "crccC" },
        { "advertisement of no node", ".....", { "e a" }, ELECT_NO_CANDIDATE, "ccccc" },
        { "no advertisement", ".....", { "e" }, ELECT_NO_ADVERTISEMENT, "-----" },
        { "no endpoint", ".....", { "a01234" }, ELECT_NO_ENDPOINTS, "-----" },
        { "no endpoint comes before no advertisement", "s....", { "" }, ELECT_NO_ENDPOINTS, "s----" },
        { "shared", ".....", { "es a01234" }, ELECT_ANNOUNCED, "Crrrr" },
        { "shared with a selector", ".....", { "es a01234 a0!" }, ELECT_SHARED_WITH_SELECTOR, "-----" },
        { "selector without sharing", ".....", { "e a01234!" }, ELECT_ANNOUNCED, "Crrrr" },
        { "preferred", ".....", { "e a01234+2=10" }, ELECT_ANNOUNCED, "rrCrr" },
        { "equal scores go by hash", ".....", { "e a01234+2=10+3=10" }, ELECT_ANNOUNCED, "rrrCr" },
        { "scores add up over advertisements", ".....", { "e a01234+2=10 a01234+3=6 a3+3=5" },
                ELECT_ANNOUNCED, "rrrCr" },
        { "score of a node not covered is nothing", ".....", { "e a01234+2=1 a34+1=90" }, ELECT_ANNOUNCED,
                "rrCrr" },
        { "negative score", ".....", { "e a01234+0=-1" }, ELECT_ANNOUNCED, "rrrrC" },
        { "preferred but excluded", "..x..", { "e a01234+2=10+1=5" }, ELECT_ANNOUNCED, "rCxrr" },
        { "local", ".....", { "el23 a01234" }, ELECT_ANNOUNCED, "llrCl" },
        { "local outside the advertisement", ".....", { "el23 a014" }, ELECT_NO_CANDIDATE, "llccl" },
        { "local without a node name", ".....", { "el a01234" }, ELECT_NO_CANDIDATE, "lllll" },
        { "cluster ignores where endpoints are", ".....", { "e a01234" }, ELECT_ANNOUNCED, "Crrrr" },
        { "two alike", ".....", { "es a01234", "es a01234" }, ELECT_ANNOUNCED, "Crrrr" },
        { "one without endpoints takes no part", ".....", { "es a01234", "sl a1" }, ELECT_ANNOUNCED,
                "Crrrr" },
        { "different local sets meet", ".....", { "esl012 a01234", "esl123 a01234" }, ELECT_ANNOUNCED,
                "fCrfl" },
        { "disjoint local sets: one is served", ".....", { "esl1 a01234", "esl2 a01234" }, ELECT_ANNOUNCED,
                "lCrll" },
        { "local beside cluster", ".....", { "esl12 a01234", "es a01234" }, ELECT_ANNOUNCED, "fCrff" },
        { "who serves all but is unable", ".s...", { "esl12 a01234", "esl1 a01234" }, ELECT_ANNOUNCED,
                "lsCll" },
        { "both refused for different reasons", ".....", { "e", "" }, ELECT_NO_ADVERTISEMENT, "-----" },
};

static void build_case(size_t row, struct built *b, struct elect_node *nodes, struct elect_input *in)
{
        memset(b, 0, sizeof(*b));
        *in = (struct elect_input){
                .key = "192.168.1.200", .nodes = nodes, .n_nodes = 5, .claims = b->claims
        };
        for (size_t i = 0; i < 5; i++) {
                char c = cases[row].nodes[i];

                nodes[i] =
                        (struct elect_node){ five[i], c != 's' && c != 'S', c == 'u', c == 'x' || c == 'S' };
        }
        for (; in->n_claims < 4 && cases[row].claims[in->n_claims]; in->n_claims++)
                build_claim(b, in->n_claims, cases[row].claims[in->n_claims]);
}

static void describe(char out[static 8], const struct elect_place *places, size_t n)
{
        for (size_t i = 0; i < n; i++)
                out[i] = letters[places[i].why];
        out[n] = '\0';
}

START_TEST(judges_every_node)
{
        CLEANUP(elect_freep) struct elect *e = NULL;
        struct elect_node nodes[8];
        struct elect_place places[8];
        struct elect_result res;
        struct elect_input in;
        struct built b;
        char got[8];

        build_case((size_t)_i, &b, nodes, &in);
        ck_assert_int_eq(elect_new(&e), 0);
        ck_assert_int_eq(elect_run(&res, e, &in, places), 0);
        describe(got, places, 5);
        ck_assert_msg(
                res.reason == cases[_i].reason, "%s: %s", cases[_i].name, elect_reason_name(res.reason));
        ck_assert_msg(
                strcmp(got, cases[_i].places) == 0, "%s: %s, not %s", cases[_i].name, got, cases[_i].places);
        ck_assert((res.chosen == SIZE_MAX) == (strchr(got, 'C') == NULL));

        /* The order of claims changes nothing. */
        for (size_t c = 0; c < in.n_claims / 2; c++) {
                struct elect_claim t = b.claims[c];

                b.claims[c] = b.claims[in.n_claims - 1 - c];
                b.claims[in.n_claims - 1 - c] = t;
        }
        ck_assert_int_eq(elect_run(&res, e, &in, places), 0);
        describe(got, places, 5);
        ck_assert_str_eq(got, cases[_i].places);
        ck_assert_int_eq(res.reason, cases[_i].reason);
}
END_TEST

/* ---- properties ---- */

struct world {
        char names[MAX_NODES][32];
        char key[24];
        struct elect_node nodes[MAX_NODES];
        uint64_t covers[3][2], local[2][2];
        int64_t scores[3][MAX_NODES];
        struct elect_ad ads[3];
        const struct elect_ad *lists[2][3];
        struct elect_claim claims[2];
        struct elect_input in;
};

static void random_world(struct world *w, struct rng *rng)
{
        memset(w, 0, sizeof(*w));
        w->in = (struct elect_input){ .key = w->key,
                .nodes = w->nodes,
                .claims = w->claims,
                .n_nodes = 1 + rng_below(rng, MAX_NODES - 1),
                .n_claims = 1 + rng_below(rng, 2) };
        (void)snprintf(w->key, sizeof(w->key), "10.0.0.%u", (unsigned)rng_below(rng, 256));
        for (size_t i = 0; i < w->in.n_nodes; i++) {
                (void)snprintf(w->names[i], sizeof(w->names[i]), "node-%zu", i);
                w->nodes[i] = (struct elect_node){ w->names[i], rng_below(rng, 5) > 0, rng_below(rng, 9) == 0,
                        rng_below(rng, 9) == 0 };
                for (size_t a = 0; a < 3; a++) {
                        if (rng_below(rng, 3) > 0)
                                elect_set_bit(w->covers[a], i);
                        w->scores[a][i] = (int64_t)rng_below(rng, 3);
                }
                for (size_t c = 0; c < 2; c++)
                        if (rng_below(rng, 2) > 0)
                                elect_set_bit(w->local[c], i);
        }
        for (size_t a = 0; a < 3; a++)
                w->ads[a] = (struct elect_ad){ w->covers[a], rng_below(rng, 2) ? w->scores[a] : NULL,
                        rng_below(rng, 6) == 0 };
        for (size_t c = 0; c < 2; c++) {
                w->claims[c] = (struct elect_claim){ .shares = rng_below(rng, 4) == 0,
                        .any_endpoint = rng_below(rng, 8) > 0,
                        .local_policy = rng_below(rng, 2) > 0,
                        .local = w->local[c],
                        .ads = w->lists[c] };
                for (size_t a = 0; a < 3; a++)
                        if (rng_below(rng, 2) > 0)
                                w->lists[c][w->claims[c].n_ads++] = &w->ads[a];
        }
}

/* Exchanges two nodes everywhere: another order of the same input. */
static void swap_nodes(struct world *w, size_t a, size_t b)
{
        struct elect_node n = w->nodes[a];

        w->nodes[a] = w->nodes[b];
        w->nodes[b] = n;
        for (size_t i = 0; i < 5; i++) {
                uint64_t *map = i < 3 ? w->covers[i] : w->local[i - 3];
                bool x = elect_bit(map, a), y = elect_bit(map, b);

                if (x != y) {
                        map[a / 64] ^= (uint64_t)1 << (a % 64);
                        map[b / 64] ^= (uint64_t)1 << (b % 64);
                }
        }
        for (size_t i = 0; i < 3; i++) {
                int64_t s = w->scores[i][a];

                w->scores[i][a] = w->scores[i][b];
                w->scores[i][b] = s;
        }
}

START_TEST(order_and_losers_change_nothing)
{
        CLEANUP(elect_freep) struct elect *e = NULL;
        struct rng rng = { (uint64_t)_i * 7919 + 1 };
        struct elect_place places[MAX_NODES];
        struct elect_result first, again;
        struct world w;

        ck_assert_int_eq(elect_new(&e), 0);
        for (unsigned round = 0; round < 200; round++) {
                const char *winner;
                size_t out;

                random_world(&w, &rng);
                ck_assert_int_eq(elect_run(&first, e, &w.in, places), 0);
                winner = first.chosen == SIZE_MAX ? NULL : w.nodes[first.chosen].name;
                for (unsigned i = 0; i < 20; i++)
                        swap_nodes(&w, rng_below(&rng, w.in.n_nodes), rng_below(&rng, w.in.n_nodes));
                ck_assert_int_eq(elect_run(&again, e, &w.in, places), 0);
                ck_assert_int_eq(again.reason, first.reason);
                ck_assert_uint_eq(again.n_candidates, first.n_candidates);
                ck_assert(winner == (again.chosen == SIZE_MAX ? NULL : w.nodes[again.chosen].name));

                /* Take out somebody else: to the end of the list, then one node less. */
                out = rng_below(&rng, w.in.n_nodes);
                if (!winner || w.nodes[out].name == winner)
                        continue;
                swap_nodes(&w, out, w.in.n_nodes - 1);
                w.in.n_nodes--;
                ck_assert_int_eq(elect_run(&again, e, &w.in, places), 0);
                ck_assert_msg(again.chosen != SIZE_MAX && w.nodes[again.chosen].name == winner,
                        "seed %d round %u: removing a loser moved the address", _i, round);
        }
}
END_TEST

START_TEST(rank_agrees_with_run)
{
        CLEANUP(elect_freep) struct elect *e = NULL;
        struct rng rng = { 42 };
        struct elect_place places[MAX_NODES];
        struct elect_result res;
        struct world w;

        ck_assert_int_eq(elect_new(&e), 0);
        for (unsigned round = 0; round < 500; round++) {
                size_t ranked = 0;

                random_world(&w, &rng);
                ck_assert_int_eq(elect_run(&res, e, &w.in, places), 0);
                ck_assert_int_eq(elect_rank(e, &w.in, places), 0);
                for (size_t i = 0; i < w.in.n_nodes; i++) {
                        ranked += places[i].rank > 0;
                        ck_assert_int_eq(places[i].rank == 1, places[i].why == ELECT_CHOSEN);
                        ck_assert_int_eq(places[i].rank > 1, places[i].why == ELECT_RUNNER_UP);
                }
                ck_assert_uint_eq(ranked, res.n_candidates);
        }
}
END_TEST

START_TEST(nothing_to_elect)
{
        CLEANUP(elect_freep) struct elect *e = NULL;
        struct elect_input in = { .key = "10.0.0.1" };
        struct elect_result res;

        ck_assert_int_eq(elect_new(&e), 0);
        ck_assert_int_eq(elect_run(&res, e, &in, NULL), 0);
        ck_assert_int_eq(res.reason, ELECT_NO_IP);
        ck_assert_uint_eq(res.chosen, SIZE_MAX);
        ck_assert_int_eq(elect_rank(e, &in, NULL), 0);
}
END_TEST

START_TEST(every_code_has_words)
{
        for (int r = 0; r < ELECT_N_REASONS; r++) {
                ck_assert_uint_gt(strlen(elect_reason_name((enum elect_reason)r)), 0);
                ck_assert_uint_gt(strlen(elect_reason_words((enum elect_reason)r)), 0);
                ck_assert(r == ELECT_ANNOUNCED || strlen(elect_reason_metallb((enum elect_reason)r)) > 0);
        }
        for (int w = 0; w < ELECT_N_WHYS; w++)
                ck_assert_uint_gt(strlen(elect_why_words((enum elect_why)w)), 0);
        ck_assert_str_eq(elect_reason_metallb(ELECT_NO_ENDPOINTS), "notOwner");
        ck_assert_str_eq(elect_reason_metallb(ELECT_NOT_COVERED_HERE), "noMatchingAdvertisement");
}
END_TEST

START_TEST(survives_no_memory)
{
        struct elect_node nodes[8];
        struct elect_place places[8];
        struct elect_result res;
        struct elect_input in;
        struct built b;
        unsigned n;

        build_case(0, &b, nodes, &in);
        for (n = 0;; n++) {
                struct elect *e = NULL;
                int r;

                fault_arm(n);
                r = elect_new(&e);
                if (r == 0)
                        r = elect_run(&res, e, &in, places);
                if (r == 0)
                        r = elect_rank(e, &in, places);
                elect_free(e);
                if (!fault_disarm())
                        break;
                ck_assert_int_eq(r, -ENOMEM);
        }
        ck_assert_uint_ge(n, 2);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("elect");
        TCase *tc = tcase_create("elect");

        tcase_add_loop_test(tc, ranks_as_recorded, 0, (int)ARRAY_LEN(vectors));
        tcase_add_loop_test(tc, judges_every_node, 0, (int)ARRAY_LEN(cases));
        tcase_add_loop_test(tc, order_and_losers_change_nothing, 0, 5);
        tcase_add_test(tc, rank_agrees_with_run);
        tcase_add_test(tc, nothing_to_elect);
        tcase_add_test(tc, every_code_has_words);
        tcase_add_test(tc, survives_no_memory);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
