/* SPDX-License-Identifier: Apache-2.0 */
#include "common/trim.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "common/base.h"

void trim_code(void)
{
        FILE *maps = fopen("/proc/self/maps", "re");
        char line[512];

        if (!maps)
                return;
        while (fgets(line, sizeof(line), maps)) {
                unsigned long first, end;
                char rights[5], file[2] = "";

                /* "first-end rights offset device inode file" (proc(5)); executable and private: "r-xp". */
                if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %1s", &first, &end, rights, file) == 4 &&
                        strcmp(rights, "r-xp") == 0 && file[0] == '/')
                        (void)madvise((void *)first, end - first, MADV_DONTNEED); /* a wish */
        }
        (void)fclose(maps); /* only read from */
}

void trim_heap(void)
{
        (void)malloc_trim(0); /* whether anything was to be had does not matter */
}
