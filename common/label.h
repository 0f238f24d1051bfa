/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* label - a name as the value of a label, which takes at most 63 bytes where names may have 253. Pure. */
#include "common/base.h"

#define LABEL_VALUE_MAX 64 /* with the terminator */

/* @name itself where it fits; else its first 40 bytes, "-" and 22 hex digits of its SHA-256, which is what tells two long
 * names apart. Returns @out; "" if OpenSSL has no memory. */
const char *label_value(char out[static LABEL_VALUE_MAX], const char *name);
