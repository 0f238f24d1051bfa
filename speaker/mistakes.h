/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* mistakes - what is wrong in IPAddressPools and L2Advertisements, in words: one object's error hurts only that object,
 * and this says which they are. */
#include "common/buf.h"
#include "common/kube/informer.h"

enum mistakes_kind { MISTAKES_POOLS, MISTAKES_ADS };

/* Adds a line for each object of the informer that has an error, by name; beyond 64 only their number. */
void mistakes_add(struct buf *out, enum mistakes_kind kind, const struct informer *inf);
/* Logs a mistake that appeared, changed or is mended; nothing otherwise. */
void mistakes_say(enum mistakes_kind kind, const struct object *old, const struct object *now);
