/* SPDX-License-Identifier: Apache-2.0 */
/* YAML text. Oracle: the tree, printed as JSON, reads back as the same tree. */
#include <stdlib.h>
#include <string.h>

#include "common/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const cJSON *tree)
{
        cJSON *again = NULL;
        char *text = cJSON_PrintUnformatted(tree);

        if (!text || json_parse(&again, text, strlen(text)) < 0 || !cJSON_Compare(tree, again, true))
                abort();
        cJSON_Delete(again);
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *exact = malloc(size ? size : 1);
        cJSON *one = NULL, *all = NULL;
        struct err e = { "" };
        int r;

        if (!exact)
                return 0;
        memcpy(exact, data, size);
        r = yaml_parse(&one, exact, size, &e);
        if (r < 0 ? one != NULL || e.text[0] == '\0' : one == NULL)
                abort();
        r = yaml_parse_all(&all, exact, size, NULL);
        if (one && r < 0)
                abort(); /* one document is also any number of them */
        if (all)
                check(all);
        cJSON_Delete(one);
        cJSON_Delete(all);
        free(exact);
        return 0;
}
