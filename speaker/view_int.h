/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* view_int - what the files of view share among themselves; nobody else includes it. Pure. */
#include "common/table.h"
#include "speaker/cluster.h"
#include "speaker/ifset.h"
#include "speaker/view.h"

#define UNCOUNTED ELECT_N_REASONS

struct slot { /* one slice of a Service */
        struct slot *next;
        const struct slice *o;
};

struct claim { /* one address of one Service */
        struct claim *next; /* of the Service, in the order of its status */
        struct claim *next_in_vip;
        struct vservice *s;
        struct vip *vip; /* NULL: the Service lost it */
        struct ip ip;
        struct ifset *shown; /* as last said */
        enum view_state state; /* as last said */
        enum elect_reason reason, counted;
};

struct vservice { /* a Service, or slices that name one */
        UT_hash_handle hh; /* by "<ns>\0<name>" */
        const struct service *o; /* NULL: gone, or not seen yet */
        struct slot *slices;
        struct claim *claims;
        struct claim *lost; /* no longer claimed, not yet said */
        struct vservice *next_dirty, *next_report, *next_held;
        bool dirty, report, held;
        bool any_endpoint; /* for elections: the hold counted in */
        bool had_endpoint; /* the last time it mattered */
        uint64_t hold_until_ms; /* 0: no hold runs */
        enum elect_reason counted; /* why it claims nothing; UNCOUNTED when it does, or is none of ours */
        const char *name; /* in key, behind the namespace */
        char key[];
};

struct vip { /* one address, whoever claims it */
        UT_hash_handle hh;
        struct ip ip;
        struct claim *claims;
        struct vip *next_dirty;
        bool dirty, mine;
        size_t chosen; /* node index; SIZE_MAX: nobody. Good while not dirty */
        size_t n_candidates; /* SIZE_MAX: not elected yet */
        struct ifset *interfaces; /* when mine */
};

struct scratch { /* a buffer that grows and is used again */
        void *p;
        size_t cap;
};

struct view {
        char *lb_class;
        uint32_t hold_ms;
        struct cluster *cluster;
        struct elect *elect;
        struct vservice *services;
        struct vip *vips;
        struct ifset_table interfaces;
        struct vservice *dirty, *report; /* stacks */
        struct vservice *held, **held_tail; /* a queue: the hold is the same for all */
        struct vip *dirty_vips;
        char **links; /* sorted; NULL: not told yet */
        size_t n_links;
        struct scratch ips, places, claims, ads, local, names, addresses;
        struct view_counts counts;
};

/* view.c: marking never fails; an item is on its list once. */
int view_scratch(struct scratch *s, size_t n, size_t size) MUST_CHECK; /* 0 or -ENOMEM */
void view_mark_service(struct view *v, struct vservice *s);
void view_mark_report(struct view *v, struct vservice *s);
void view_mark_vip(struct view *v, struct vip *p);
/* Moves one item from the count of *at to that of @now; UNCOUNTED is counted nowhere. */
void view_count_reason(struct view *v, enum elect_reason *at, enum elect_reason now);
void view_count_candidates(struct view *v, struct vip *p, size_t now);

/* view_claim.c, step 1: brings the claims of a Service in line with its status. 0 or -ENOMEM. */
int view_refresh_service(struct view *v, struct vservice *s, uint64_t now_ms) MUST_CHECK;

/* view_elect.c, step 2: elects. Marks the Services that claim the address. 0 or -ENOMEM. */
int view_elect_vip(struct view *v, struct vip *p) MUST_CHECK;
