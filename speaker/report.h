/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* report - says what changed for a Service on this node: log lines, events, the gauge of announced addresses. Once for
 * each change; at rest it says nothing. */
#include "common/kube/event.h"
#include "common/metrics.h"
#include "speaker/view.h"

struct report {
        const char *node; /* borrowed */
        struct events *events; /* borrowed; NULL: none are written */
        struct family *announced; /* metallb_speaker_announced */
        struct family *addresses, *candidates;
};

/* Registers the families. Nothing to free. @events may be set later. */
void report_init(struct report *r, const char *node, struct metrics *reg);
/* @known: the API already names this node as the Service's announcer, so that the event would repeat itself. */
void report_change(struct report *r, const struct view_change *c, bool known);
void report_counts(struct report *r, const struct view_counts *c);
