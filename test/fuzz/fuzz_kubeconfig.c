/* SPDX-License-Identifier: Apache-2.0 */
/* A kubeconfig from anywhere: it is refused with words, or everything in it is a text of its own. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/kube/kubeconfig.h"
#include "common/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct kubeconfig_file file = { .path = "/etc/k/config" };
        struct kube_conf conf = { .server = NULL }, copy = { .server = NULL };
        struct err e = { "" };
        char *exact = malloc(size ? size : 1);
        int r;

        if (!exact)
                return 0;
        memcpy(exact, data, size);
        if (yaml_parse(&file.tree, exact, size, &e) == 0) {
                r = kubeconfig_pick(&conf, &file, 1, &e);
                if (r < 0 && (conf.server || e.text[0] == '\0'))
                        abort(); /* nothing is touched on failure, and there are words */
                if (r == 0 && (!conf.server || strncmp(conf.server, "http", 4) != 0))
                        abort();
                if (r == 0 && kube_conf_copy(&copy, &conf) < 0)
                        abort();
                kube_conf_fini(&copy);
                kube_conf_fini(&conf);
                cJSON_Delete(file.tree);
        }
        free(exact);
        return 0;
}
