/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/path.h"

static void add_segment(struct buf *out, const char *text)
{
        buf_addc(out, '/');
        buf_add_url(out, text);
}

static bool given(const char *text)
{
        return text && text[0] != '\0';
}

void kube_path(struct buf *out, const char *group, const char *version, const char *ns, const char *resource,
        const char *name, const char *sub)
{
        buf_adds(out, given(group) ? "/apis" : "/api");
        if (given(group))
                add_segment(out, group);
        add_segment(out, version);
        if (given(ns)) {
                buf_adds(out, "/namespaces");
                add_segment(out, ns);
        }
        add_segment(out, resource);
        if (given(name))
                add_segment(out, name);
        if (given(sub))
                add_segment(out, sub);
}
