/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* unit - the main() of every test/unit/check_X.c: return unit_main(suite); */
#include <check.h>

#include "common/base.h"

int unit_main(Suite *s);
