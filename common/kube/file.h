/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* file - small text files that others rewrite while we run: tokens, certificates. Blocking: for start-up and for
 * worker threads, never on the loop. */
#include <sys/stat.h>

#include "common/base.h"
#include "common/err.h"

#define FILE_TEXT_MAX (1u << 20)

struct file_stamp { /* changes when the file was replaced or rewritten */
        int64_t mtime_s, mtime_ns, size;
        uint64_t inode;
};

/* The stamp of @path (links followed). 0 or -errno. */
int file_stat(struct file_stamp *ret, const char *path) MUST_CHECK;
bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b);
/* All of a file as terminated text, and its stamp from before the read, so that a change in between is seen later.
 * Ends of line at the very end are dropped. -errno, ERR_TOO_BIG, ERR_MALFORMED (a NUL in it) with words. */
int file_read(char **ret, const char *path, struct file_stamp *ret_stamp, struct err *e) MUST_CHECK;
