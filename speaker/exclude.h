/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* exclude - interfaces by name that are left alone entirely: the patterns of /etc/metallb/excludel2.yaml. Pure.
 *
 * Patterns are Go regular expressions (RE2), searched anywhere in the name. They are translated for the C library:
 * literals, escaped punctuation, . [] [^] () (?:) | * + ? {n,m}, their non-greedy forms, ^ $ \A \z, \d \w \s and their
 * opposites, \b \B, [[:class:]], and (?i) at the start. Not: Unicode classes (\p), \Q..\E, \x and other character
 * codes, flags elsewhere. Those are refused with words, and so are repetitions that add up to more than 1000. */
#include "common/err.h"

#define EXCLUDE_PATTERN_MAX 512 /* bytes */
#define EXCLUDE_COUNT_MAX   256 /* patterns */

struct exclude;

/* The text of the file: a YAML mapping; the list announcedInterfacesToExclude may be missing or empty. 0; ERR_MALFORMED
 * or ERR_TOO_BIG with words; -ENOMEM. */
int exclude_parse(struct exclude **ret, const char *yaml, size_t len, struct err *e) MUST_CHECK;
struct exclude *exclude_free(struct exclude *x);
DEFINE_CLEANUP(struct exclude, exclude_free);

bool exclude_matches(const struct exclude *x, const char *name); /* NULL: nothing is excluded */

/* One pattern in the C library's extended syntax. 0 (@ret_icase: compile without regard to case), ERR_MALFORMED or
 * ERR_TOO_BIG with words. */
int exclude_translate(char *out, size_t size, bool *ret_icase, const char *pattern, struct err *e) MUST_CHECK;
