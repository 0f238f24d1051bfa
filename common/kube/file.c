/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct file_stamp stamp_of(const struct stat *st)
{
        return (struct file_stamp){ .mtime_s = st->st_mtim.tv_sec,
                .mtime_ns = st->st_mtim.tv_nsec,
                .size = st->st_size,
                .inode = st->st_ino };
}

int file_stat(struct file_stamp *ret, const char *path)
{
        struct stat st;

        if (stat(path, &st) < 0)
                return -errno;
        *ret = stamp_of(&st);
        return 0;
}

bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b)
{
        return a->mtime_s == b->mtime_s && a->mtime_ns == b->mtime_ns && a->size == b->size &&
                a->inode == b->inode;
}

static int read_all(char **ret, int fd, struct file_stamp *ret_stamp)
{
        CLEANUP(freep) char *text = NULL;
        struct stat st;
        size_t len = 0, cap;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (st.st_size > FILE_TEXT_MAX)
                return ERR_TOO_BIG;
        cap = (size_t)st.st_size + 1; /* one more, to see that the end is the end */
        for (;;) {
                char *grown = realloc(text, cap + 1);
                ssize_t n;

                if (!grown)
                        return -ENOMEM;
                text = grown;
                n = read(fd, text + len, cap - len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                len += (size_t)n;
                if (len == cap && cap > FILE_TEXT_MAX)
                        return ERR_TOO_BIG;
                if (len == cap)
                        cap = MIN(cap * 2 + 4096, (size_t)FILE_TEXT_MAX + 1);
        }
        if (memchr(text, '\0', len))
                return ERR_MALFORMED;
        while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
                len--;
        text[len] = '\0';
        *ret_stamp = stamp_of(&st);
        *ret = TAKE(text);
        return 0;
}

int file_read(char **ret, const char *path, struct file_stamp *ret_stamp, struct err *e)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC), r;

        if (fd < 0)
                return err_set(e, -errno, "cannot read %s: %s", path, err_name(-errno));
        r = read_all(ret, fd, ret_stamp);
        (void)close(fd); /* read only: nothing to lose */
        return r < 0 ? err_set(e, r, "cannot read %s: %s", path, err_name(r)) : 0;
}
