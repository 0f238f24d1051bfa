/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* creds - token, trusted roots and client certificate as texts in memory, read again when their files change.
 *
 * Bound service account tokens live an hour and kubelet rewrites the file before they end; a CA bundle may be rotated
 * too. Files are looked at on a worker thread, never on the loop, and only when somebody asks (creds_poke). */
#include <uv.h>

#include "common/kube/kube.h"

struct creds;

enum creds_part { CREDS_TOKEN, CREDS_CA, CREDS_CERT, CREDS_KEY, CREDS_PARTS };

/* Reads all files now, blocking. @on_checked (from the loop): a look that creds_poke() asked for is done; @changed
 * when a text is new. -ENOMEM, or a negative code with words. */
int creds_new(struct creds **ret, uv_loop_t *loop, const struct kube_conf *conf,
        void (*on_checked)(void *ctx, bool changed), void *ctx, struct err *e) MUST_CHECK;
/* Puts its handle into the loop: from now on it is closed, before that freed. */
void creds_start(struct creds *c);
struct creds *creds_free(struct creds *c); /* NULL is fine; wipes the texts; returns NULL */
/* Wipes the texts. Asynchronous: a worker may be looking right now. */
void creds_close(struct creds *c, void (*closed)(void *ctx), void *ctx);

/* The text of a part, or NULL. Borrowed until the next turn of the loop. */
const char *creds_text(const struct creds *c, enum creds_part part);
bool creds_has_files(const struct creds *c);
/* Looks at the files in the background if @now_ms (the loop's) is a second past the last look, or at once when
 * @urgent; a look under way is enough for both only if it began after this call, else another follows. */
void creds_poke(struct creds *c, uint64_t now_ms, bool urgent);
