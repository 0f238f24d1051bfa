/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* audit - every structure of an ipam against every other: a mistake fails the test. Slow, for small pools. */
#include "common/ipam.h"

void ipam_audit(const struct ipam *m);
