/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* fault - makes the n-th allocation fail. The linker's --wrap sends malloc, calloc, realloc, strdup and strndup of
 * our objects through here; shared libraries are reached by their own hooks (cJSON_InitHooks, uv_replace_allocator)
 * with fault_malloc() and friends. Per thread.
 *
 *     for (unsigned n = 0; ; n++) { fault_arm(n); r = x_new(&x); if (!fault_disarm()) break; assert(r == -ENOMEM); } */
#include "common/base.h"

void fault_arm(unsigned n); /* n 0: the very next one */
bool fault_disarm(void); /* true when an allocation was made to fail since fault_arm() */
/* Around code of the test itself that runs while armed: its allocations work and are not counted. */
bool fault_pause(void);
void fault_resume(bool paused);
void *fault_malloc(size_t size);
void *fault_calloc(size_t n, size_t size);
void *fault_realloc(void *p, size_t size);
