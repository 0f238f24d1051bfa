/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* world - a small stage for the allocator: pools, nodes, namespaces and Services, written as short lines, so that a test
 * is a script and the transcript that it must give. Services keep a stored status, as the API server would.
 *
 *   pool NAME RANGE... [noauto] [buggy] [pin] [prio=N] [ns=A,B] [nssel=k:v] [svcsel=k:v] [age=N] [reserve=R,R] [broken]
 *   nopool NAME        nodes IP...        ns NAME k:v...
 *   svc KEY [4|6|46|64|0|none] [prefer|require] [ip=A,B] [lbip=A] [pool=P] [key=K] [local] [sel=k:v] [ports=80,53u] [label=k:v]
 *           [age=N] [type=T] [class=C] [note=k:v]   (describes it anew; its stored status stays)
 *   nosvc KEY
 * Words of a line are separated by blanks; in pool ranges "_" stands for a blank. KEY without "/" is in namespace "d".
 * Mistakes fail the test. */
#include "common/buf.h"
#include "common/ipam.h"
#include "controller/plan.h"

#define WORLD_POOLS 96
#define WORLD_SVCS  2048
#define WORLD_NS    16

struct world_pool {
        char *name;
        struct object *o;
};

struct world_svc {
        char *key;
        char *meta, *spec; /* JSON of what the user wrote */
        char *notes; /* JSON members of annotations, "" or with a comma at the end */
        int64_t created_s;
        /* What is stored in its status. */
        char *ingress; /* JSON list, NULL: none */
        char *pool; /* annotation, NULL: none */
        char *condition; /* JSON list, NULL: none */
        struct object *o; /* decoded, NULL when it must be decoded again */
};

struct world {
        struct ipam *m;
        struct world_pool pools[WORLD_POOLS];
        size_t n_pools;
        struct world_svc svcs[WORLD_SVCS];
        size_t n_svcs;
        struct object *namespaces[WORLD_NS];
        size_t n_namespaces;
        struct plan_conf conf;
        uint64_t now_ms;
        struct buf out; /* the transcript */
        bool stale; /* writes are not stored: the cache is behind */
        bool show_logs;
        size_t n_writes, n_events;
};

void world_init(struct world *w, uint64_t reuse_delay_ms);
void world_fini(struct world *w);
/* Runs one line of the list above; false: not one of these commands. */
bool world_line(struct world *w, const char *line);
int world_set_pools(struct world *w); /* tells the allocator; done by every pool line */
void world_describe_pool(struct world *w, const char *line); /* "pool ..." without telling the allocator */
void world_rename_pool(struct world *w, const char *name, const char *now); /* in one step */
struct world_svc *world_svc(struct world *w, const char *key); /* NULL: none */
const struct service *world_service(struct world_svc *s);
const struct kv_list *world_ns_labels(const struct world *w, const char *ns); /* NULL: unknown */
void world_restart(struct world *w); /* a new allocator that knows pools, nothing else; nodes are forgotten */
/* Writes "KEY IP@POOL,IP@POOL" or "KEY -" into out. */
void world_show_held(struct world *w, const char *key);
void world_show_pools(
        struct world *w); /* "NAME assigned4/available4[-withheld4] the same for 6; " for each */

/* Plans one Service (or plan_gone() for one that is not there), stores what it writes as the API server would, and adds
 * to out: "KEY STATE [ADDRESSES] pool=P CONDITION EVENTS", only what differs; "quiet" when there is nothing. */
void world_plan(struct world *w, const char *key);
/* plan_claim_all() over all Services, given in an order that depends on @seed. */
void world_claim_all(struct world *w, uint64_t seed);
/* Someone else writes the status: the JSON of ingress entries, ' for ". NULL: none. */
void world_status(struct world *w, const char *key, const char *ingress);
