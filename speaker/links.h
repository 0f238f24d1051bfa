/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* links - keeps a linktab true with rtnetlink: one dump, then every change as the kernel tells it. No polling; when the
 * kernel says that messages were lost, another dump. */
#include <uv.h>

#include "common/err.h"
#include "speaker/linktab.h"

struct links;

/* Opens the socket and asks for the first dump. @on_change comes from the loop: once when the table is complete, then
 * after every change. Pointers from the table are good until the next call. 0, or a negative code with words. */
int links_new(struct links **ret, uv_loop_t *loop, void (*on_change)(void *ctx), void *ctx,
        struct err *e) MUST_CHECK;
void links_close(struct links *l, void (*closed)(void *ctx), void *ctx);
/* NULL until the first dump is through. Borrowed. */
const struct linktab *links_table(const struct links *l);
