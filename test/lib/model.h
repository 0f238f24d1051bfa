/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* model - the rules of allocation once more, naive on purpose: small numbers for addresses, loops over everything, no
 * code of the product. It does not predict; it says whether what the product did is allowed.
 *
 * An address is a number: IPv4 10.0.A.B is A * 256 + B, IPv6 fd00::X is MODEL_V6 + X. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MODEL_POOLS = 7, MODEL_SVCS = 24, MODEL_NS = 3, MODEL_V6 = 4096, MODEL_NODES = 2, MODEL_NONE = -1 };

struct model_range {
        int first, last;
};

struct model_pool {
        bool exists, broken; /* broken: one more entry that does not parse */
        int age;
        struct model_range r[3];
        int n;
        bool noauto, buggy, pinned;
        int prio, ns, ns_label, svc_label; /* MODEL_NONE: no such rule */
        struct model_range reserved;
        bool has_reserved;
        bool bad; /* worked out by model_settle_pools() */
};

enum model_policy { MODEL_SINGLE, MODEL_PREFER, MODEL_REQUIRE };
enum model_families { MODEL_4, MODEL_6, MODEL_46, MODEL_64, MODEL_UNKNOWN, MODEL_EMPTY };

struct model_svc {
        bool exists, is_lb, is_foreign; /* foreign: of another class */
        int age, ns, label;
        enum model_families families;
        enum model_policy policy;
        int ips[2], n_ips; /* asked for */
        bool bad_ips; /* asks for something that is no address */
        int pool; /* asked for; MODEL_POOLS: one that never exists */
        int key; /* 0: none */
        bool local;
        int selector;
        unsigned ports; /* bits */
        /* What status says, read after each operation. */
        int now[2], n_now;
        int from; /* annotation, MODEL_NONE */
        /* The same before it. */
        int was[2], n_was, was_from;
        bool was_satisfied, was_touched; /* touched: edited by this operation */
        int was_owner[2];
};

struct model {
        struct model_pool pools[MODEL_POOLS];
        struct model_svc svcs[MODEL_SVCS];
        int ns_label[MODEL_NS];
        int nodes[MODEL_NODES];
};

void model_settle_pools(struct model *m);
int model_owner(const struct model *m, int ip); /* the good pool that covers it, MODEL_NONE */
bool model_is_buggy(int ip);
bool model_fits(const struct model *m, const struct model_pool *p, const struct model_svc *s);
bool model_wants(const struct model_svc *s, int ip); /* is it of a family of the Service? */
bool model_faulty(const struct model_svc *s); /* its request means nothing */
bool model_keeps_nothing(const struct model_svc *s);
/* May these two stand on one address? */
bool model_may_share(const struct model_svc *a, const struct model_svc *b);
/* May @s go on holding @ip, as far as pools are concerned? @sure: it must; else it might. */
bool model_may_keep(const struct model *m, const struct model_svc *s, int ip, bool sure);
/* Could @s get @ip now: free, or shared with all who have it? @on_request: autoAssign does not matter. */
bool model_can_have(const struct model *m, const struct model_svc *s, int ip, bool on_request);
/* Has all that it asks for. */
bool model_satisfied(const struct model *m, const struct model_svc *s);
/* Nothing could be given to it that it asks for and has not: else a text says what. */
const char *model_missed(const struct model *m, const struct model_svc *s);
/* The address that a Service without keys and requests gets for one family, the naive way; MODEL_NONE. */
int model_first_fit(const struct model *m, const struct model_svc *s, bool v6);
