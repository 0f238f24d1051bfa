/* SPDX-License-Identifier: Apache-2.0 */
/* replay - gives every file of the folders named as arguments to a fuzz target: how `make test` runs the corpora with
 * any compiler. Exit 1 if a folder is missing or empty: a corpus that vanished must not look green. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
        uint8_t *data = malloc(1 << 20);
        FILE *f = fopen(path, "rb");
        size_t len;

        if (!data || !f) {
                perror(path);
                free(data);
                if (f)
                        (void)fclose(f);
                return 1;
        }
        len = fread(data, 1, 1 << 20, f);
        (void)fclose(f);
        (void)LLVMFuzzerTestOneInput(data, len);
        free(data);
        return 0;
}

int main(int argc, char **argv)
{
        unsigned n = 0;

        for (int i = 1; i < argc; i++) {
                DIR *d = opendir(argv[i]);
                char path[4096];

                if (!d) {
                        perror(argv[i]);
                        return 1;
                }
                for (struct dirent *e; (e = readdir(d));) {
                        if (e->d_name[0] == '.')
                                continue;
                        (void)snprintf(path, sizeof(path), "%s/%s", argv[i], e->d_name);
                        if (replay_file(path) != 0)
                                return 1;
                        n++;
                }
                (void)closedir(d);
        }
        printf("%u inputs replayed\n", n);
        return n > 0 ? 0 : 1;
}
