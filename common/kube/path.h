/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* path - URL paths of the Kubernetes API. Pure. */
#include "common/buf.h"

/* "/api/v1/namespaces/<ns>/<resource>/<name>/<sub>" or "/apis/<group>/<version>/...", escaped, appended to @out. @group
 * "" is core; @ns, @name, @sub may be "" or NULL and are then left out. */
void kube_path(struct buf *out, const char *group, const char *version, const char *ns, const char *resource,
        const char *name, const char *sub);
