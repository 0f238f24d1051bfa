/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* trim - gives back memory that only the start or a burst needed. */

/* Pages of code that was run once (start-up of libraries, most of it never used again) are dropped; those still needed
 * come back from the page cache by themselves. Only mappings that were never writable: nothing can be lost. */
void trim_code(void);
/* Free pages of the heap. */
void trim_heap(void);
