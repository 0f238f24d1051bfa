/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* story - tells a view (speaker/view.h) what happens in a cluster, in short lines, and collects what it says. This node is
 * n1. Every failure ends the test. */
#include "common/api/l2adv.h"
#include "common/api/node.h"
#include "common/api/pool.h"
#include "common/api/service.h"
#include "common/api/slice.h"
#include "speaker/view.h"

#define STORY_OBJECTS_MAX 400

enum story_kind { STORY_SERVICE, STORY_SLICE, STORY_NODE, STORY_POOL, STORY_AD };

struct story_object {
        enum story_kind kind;
        struct object *o;
};

struct story {
        struct view *view;
        struct story_object objects[STORY_OBJECTS_MAX];
        size_t n;
        uint64_t now_ms;
        char said[8192];
        const char *const *alive; /* NULL: every node has a speaker */
};

bool story_alive(void *ctx, const char *node); /* for struct members; ctx: the story */
int story_feed(struct view *v, enum story_kind kind, const struct object *old, const struct object *now,
        uint64_t now_ms);
void story_put(struct story *w, enum story_kind kind, const char *json);
void story_gone(struct story *w, enum story_kind kind, const char *ns, const char *name);
void story_run(struct story *w);
void story_expect(
        struct story *w, const char *want, const char *story); /* what was said since the last time */
void story_desired(const struct view *v, char out[static 512]); /* the desired set as text */
void story_obey(struct story *w, const char *line, const char *story); /* one short line */
void story_fini(struct story *w);
