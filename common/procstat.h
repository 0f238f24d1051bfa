/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* procstat - the process_* metrics that every Prometheus client library offers, from /proc. */
#include "common/metrics.h"

struct procstat { /* series that could not be made stay NULL and are left out */
        struct series *resident, *virtual, *open_fds, *max_fds, *cpu, *start;
};

void procstat_init(struct procstat *p, struct metrics *reg);
void procstat_update(
        const struct procstat *p); /* before a page is printed; reads /proc, which never blocks */
