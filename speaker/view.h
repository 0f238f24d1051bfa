/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* view - the speaker's picture of the cluster: from Services, EndpointSlices, Nodes, IPAddressPools and
 * L2Advertisements to an election for each address, and what changed by it. Pure.
 *
 * Objects are fed as informers report them; that only marks work. view_run() then does what is marked.
 * Services, slices, pools and advertisements are borrowed: an object must live until the next call about it. In
 * which order things are fed does not matter for the outcome.
 *
 * An advertisement with an error is left out; of a pool with an error those ranges count that could be read.
 * An address in several pools belongs to the oldest of them (then to the first by name). */
#include "common/api/l2adv.h"
#include "common/api/node.h"
#include "common/api/pool.h"
#include "common/api/service.h"
#include "common/api/slice.h"
#include "common/elect.h"
#include "speaker/desired.h"
#include "speaker/members.h"

struct view;

struct view_conf { /* copied; strings too, members not */
        const char *node; /* own name */
        const char *lb_class; /* --lb-class, "" for none */
        bool ignore_exclude; /* --ignore-exclude-lb */
        /* For how long a Node that vanished from the API still counts, and the last usable endpoint of a
         * Service under policy Cluster: a Node object made anew, or slices that are empty for a moment, move
         * nothing. Only what would have been withdrawn or moved is delayed. 0: no hold. */
        uint32_t hold_ms;
        const struct members *members;
};

int view_new(struct view **ret, const struct view_conf *conf) MUST_CHECK; /* 0 or -ENOMEM */
struct view *view_free(struct view *v);
DEFINE_CLEANUP(struct view, view_free);

/* @old NULL: new; @now NULL: gone; both the same object: seen again, which is fine. 0 or -ENOMEM, after
 * which @now is not known and should be fed again. Taking an object out never fails. */
int view_service(struct view *v, const struct object *old, const struct object *now) MUST_CHECK;
int view_slice(struct view *v, const struct object *old, const struct object *now) MUST_CHECK;
int view_pool(struct view *v, const struct object *old, const struct object *now) MUST_CHECK;
int view_l2adv(struct view *v, const struct object *old, const struct object *now) MUST_CHECK;
int view_node(struct view *v, const struct object *old, const struct object *now, uint64_t now_ms) MUST_CHECK;
/* The interfaces that exist now. Before the first call every one is taken to exist. */
int view_links(struct view *v, const char *const *names, size_t n) MUST_CHECK;
void view_members_changed(struct view *v); /* conf.members answers otherwise now */

enum view_state {
        VIEW_SILENT, /* not ours to answer for */
        VIEW_ANNOUNCED,
        VIEW_FAILED, /* ours, but none of the interfaces it may use exists here */
};

struct view_address { /* one address of a Service */
        struct ip ip;
        enum view_state was, now;
        enum elect_reason reason; /* ELECT_ANNOUNCED, or why not by this node */
        const char *winner; /* the node that is chosen; NULL: nobody */
        const char *pool; /* "" when in none */
        const char *const *interfaces; /* of addresses that are ours: sorted; n_interfaces 0: every one */
        size_t n_interfaces;
};

struct view_change { /* one Service for which something is different; all valid during the call only */
        const char *ns, *name;
        const struct service *service; /* NULL: gone */
        const struct view_address *addresses; /* in the order of the status; those it lost last */
        size_t n;
};

/* Does at least some of the marked work; more than @budget candidate nodes are not looked at in one call.
 * @on_change for every Service of which an address changed its state, or its interfaces while it is ours; what
 * view_desired() gives differs only after such a call. It must not feed the view. 0: all done; 1: call again; -ENOMEM: call again later, nothing is lost. */
int view_run(struct view *v, uint64_t now_ms, size_t budget,
        void (*on_change)(void *ctx, const struct view_change *c), void *ctx) MUST_CHECK;
bool view_is_dirty(const struct view *v); /* work is marked */
uint64_t view_deadline(const struct view *v); /* when to run although nothing is fed; UINT64_MAX: never */

/* Every address that is ours, also those without an existing interface: it may appear. A new sealed set. */
int view_desired(const struct view *v, struct desired **ret) MUST_CHECK;

struct view_counts {
        size_t reasons[ELECT_N_REASONS]; /* addresses of Services (Services that have none count once) */
        size_t candidates[4]; /* addresses with 0, 1, 2, 3 or more able nodes */
        size_t services, nodes, addresses, announced;
};
void view_count(const struct view *v, struct view_counts *ret);
