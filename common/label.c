/* SPDX-License-Identifier: Apache-2.0 */
#include "common/label.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define KEPT       40
#define HASH_BYTES 11

const char *label_value(char out[static LABEL_VALUE_MAX], const char *name)
{
        size_t len = strlen(name), at;
        uint8_t digest[32];

        if (len < LABEL_VALUE_MAX) {
                memcpy(out, name, len + 1);
                return out;
        }
        out[0] = '\0';
        if (EVP_Digest(name, len, digest, NULL, EVP_sha256(), NULL) != 1)
                return out;
        memcpy(out, name, KEPT);
        out[KEPT] = '-';
        at = KEPT + 1;
        for (size_t i = 0; i < HASH_BYTES; i++)
                at += (size_t)snprintf(out + at, LABEL_VALUE_MAX - at, "%02x", digest[i]);
        return out;
}
