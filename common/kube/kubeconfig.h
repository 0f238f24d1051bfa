/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* kubeconfig - picks server, trust and identity out of kubeconfig files (client.authentication.k8s.io is not ours:
 * plug-ins are refused with words). Pure: the files come in as parsed trees. */
#include "common/json.h"
#include "common/kube/conf.h"

struct kubeconfig_file {
        cJSON *tree; /* of yaml_parse(); anything may be in it */
        const char *path; /* for words, and its folder is where relative paths start */
};

/* The current context of @files, merged as kubectl does: the first file that knows a name wins. 0, -EINVAL,
 * -ENOENT (no current context, unknown name) or -ENOTSUP with words, -ENOMEM. On failure *ret is untouched. */
int kubeconfig_pick(
        struct kube_conf *ret, const struct kubeconfig_file *files, size_t n, struct err *e) MUST_CHECK;

/* Base64 of RFC 4648 section 4 to terminated bytes; blanks and line ends are skipped. 0, ERR_MALFORMED, -ENOMEM. */
int kubeconfig_base64(char **ret, const char *text) MUST_CHECK;
