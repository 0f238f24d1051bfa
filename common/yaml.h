/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* yaml - YAML text into the same cJSON tree that json_parse() makes, so that one set of accessors reads both. Pure.
 *
 * Scalars resolve as in the tools of Kubernetes (YAML 1.1, sigs.k8s.io/yaml): quoted ones stay strings; plain ones become
 * null, booleans (true/false, yes/no, y/n, on/off), integers (decimal, 0x, 0o, 0b, octal with a leading zero) or floats
 * where they look so; dates stay strings. Keys are always strings. Anchors and aliases work within bounds.
 * Refused with words: merge keys (<<), other tags than those of the core schema, keys that are no scalars, a key
 * twice, NUL characters, .inf and .nan. */
#include "common/json.h"

#define YAML_BYTES_MAX (1 << 20) /* of text */
#define YAML_TREE_MAX  (16 << 20) /* of the tree with its aliases expanded; nesting: JSON_DEPTH_MAX */

/* The one document of @bytes; a JSON null when the text is empty. 0, ERR_MALFORMED or ERR_TOO_BIG with words
 * that name the line, -ENOMEM. Free with cJSON_Delete(). */
int yaml_parse(cJSON **ret, const char *bytes, size_t len, struct err *e) MUST_CHECK;
/* Any number of documents as a JSON array; empty ones are left out, as kubectl does. */
int yaml_parse_all(cJSON **ret, const char *bytes, size_t len, struct err *e) MUST_CHECK;

/* The scalar member @key of @obj as it was written, whatever it resolved to, so that "name: 123" and "token: yes" can be
 * read as text. NULL: absent, null, or no scalar. Only for trees of this module. Borrowed. */
const char *yaml_text(const cJSON *obj, const char *key);
