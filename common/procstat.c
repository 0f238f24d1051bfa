/* SPDX-License-Identifier: Apache-2.0 */
#include "common/procstat.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static bool read_proc(const char *path, char *out, size_t size)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        if (fd < 0)
                return false;
        n = read(fd, out, size - 1);
        (void)close(fd);
        if (n <= 0)
                return false;
        out[n] = '\0';
        return true;
}

/* Field @n (3 is the first after the name) of /proc/self/stat, proc(5). The name may hold blanks and brackets. */
static unsigned long long stat_field(const char *text, int n)
{
        const char *p = strrchr(text, ')');

        for (; p && n >= 3; n--)
                p = strchr(p + 1, ' ');
        return p ? strtoull(p, NULL, 10) : 0;
}

static int count_fds(void)
{
        DIR *dir = opendir("/proc/self/fd");
        const struct dirent *d;
        int n = 0;

        if (!dir)
                return 0;
        while ((d = readdir(dir)))
                n += d->d_name[0] != '.';
        (void)closedir(dir);
        return n - 1; /* without the directory itself */
}

static double seconds(clockid_t clock)
{
        struct timespec t = { 0 };

        (void)clock_gettime(clock, &t); /* these clocks exist since Linux 2.6.39 */
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct series *make(struct metrics *reg, enum metric_type type, const char *name, const char *help)
{
        struct family *f = metrics_family(reg, type, name, help, NULL, NULL, 0);

        return f ? metrics_series(f, NULL) : NULL;
}

void procstat_init(struct procstat *p, struct metrics *reg)
{
        char text[1024];

        p->resident =
                make(reg, METRIC_GAUGE, "process_resident_memory_bytes", "Resident memory size in bytes.");
        p->virtual = make(reg, METRIC_GAUGE, "process_virtual_memory_bytes", "Virtual memory size in bytes.");
        p->open_fds = make(reg, METRIC_GAUGE, "process_open_fds", "Number of open file descriptors.");
        p->max_fds = make(reg, METRIC_GAUGE, "process_max_fds", "Maximum number of open file descriptors.");
        p->cpu = make(reg, METRIC_COUNTER, "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.");
        p->start = make(reg, METRIC_GAUGE, "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.");
        if (read_proc("/proc/self/stat", text, sizeof(text)))
                series_set(p->start,
                        seconds(CLOCK_REALTIME) - seconds(CLOCK_BOOTTIME) +
                                (double)stat_field(text, 22) / (double)sysconf(_SC_CLK_TCK));
}

void procstat_update(const struct procstat *p)
{
        struct rlimit files;
        struct rusage use;
        char text[1024];

        if (read_proc("/proc/self/statm", text, sizeof(text))) {
                char *rest;
                double page = (double)sysconf(_SC_PAGESIZE);

                series_set(p->virtual, (double)strtoull(text, &rest, 10) * page);
                series_set(p->resident, (double)strtoull(rest, NULL, 10) * page);
        }
        series_set(p->open_fds, count_fds());
        if (getrlimit(RLIMIT_NOFILE, &files) == 0)
                series_set(p->max_fds, (double)files.rlim_cur);
        if (getrusage(RUSAGE_SELF, &use) == 0)
                series_set(p->cpu,
                        (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                                (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
}
