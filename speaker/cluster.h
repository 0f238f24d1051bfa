/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* cluster - the part of the picture that changes slowly: Nodes, pools and advertisements, arranged so that an
 * election only looks up. Pure. Used by view alone; see there for what is borrowed and until when. */
#include "common/api/l2adv.h"
#include "common/api/node.h"
#include "common/api/pool.h"
#include "common/elect.h"
#include "speaker/members.h"

struct cluster_ad {
        struct elect_ad elect; /* first: what an election reads */
        const struct object *const *object; /* the newest version of the L2Advertisement */
};

struct cluster_pool {
        const struct object *const *object; /* the newest version of the IPAddressPool */
        const struct cluster_ad **ads; /* those that serve it, by name */
        size_t n_ads;
};

struct cluster_range;

struct cluster_tables { /* to be used only while cluster_is_changed() is false */
        struct arena *arena;
        struct elect_node *nodes; /* by name */
        size_t n_nodes;
        size_t me; /* own node's place; SIZE_MAX: the API does not know it */
        struct cluster_pool *pools; /* oldest first */
        size_t n_pools;
        struct cluster_range *ranges;
        size_t n_ranges;
};

struct cluster;

/* @self is copied, @members borrowed. 0 or -ENOMEM. */
int cluster_new(struct cluster **ret, const char *self, bool ignore_exclude, uint32_t hold_ms,
        const struct members *members) MUST_CHECK;
struct cluster *cluster_free(struct cluster *c);
DEFINE_CLEANUP(struct cluster, cluster_free);

/* 0 or -ENOMEM; taking an object out never fails. */
int cluster_node(
        struct cluster *c, const struct object *old, const struct object *now, uint64_t now_ms) MUST_CHECK;
int cluster_pool(struct cluster *c, const struct object *old, const struct object *now) MUST_CHECK;
int cluster_ad(struct cluster *c, const struct object *old, const struct object *now) MUST_CHECK;
void cluster_members_changed(struct cluster *c);

bool cluster_is_changed(const struct cluster *c); /* what elections read is different since cluster_build() */
uint64_t cluster_deadline(
        const struct cluster *c); /* when a vanished Node stops counting; UINT64_MAX: never */
void cluster_expire(struct cluster *c, uint64_t now_ms);

/* Arranges everything anew. 0 or -ENOMEM, after which the old tables must not be used. */
int cluster_build(struct cluster *c) MUST_CHECK;
const struct cluster_tables *cluster_tables(const struct cluster *c);
const struct cluster_pool *cluster_pool_of(const struct cluster *c, const struct ip *ip); /* NULL: in none */
size_t cluster_node_index(const struct cluster *c, const char *name); /* SIZE_MAX: unknown */
