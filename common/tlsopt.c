/* SPDX-License-Identifier: Apache-2.0 */
#include "common/tlsopt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/tls1.h>

#include "common/buf.h"

static const struct {
        const char *name;
        int version;
} versions[] = {
        { "", TLS1_3_VERSION },
        { "VersionTLS10", TLS1_VERSION },
        { "VersionTLS11", TLS1_1_VERSION },
        { "VersionTLS12", TLS1_2_VERSION },
        { "VersionTLS13", TLS1_3_VERSION },
};

/* What Go's crypto/tls names, safe and unsafe. */
static const struct {
        const char *iana;
        const char *openssl; /* NULL: OpenSSL 3 is built without */
        bool tls13; /* always on; Go ignores it in a list */
} suites[] = {
        { "TLS_AES_128_GCM_SHA256", NULL, true },
        { "TLS_AES_256_GCM_SHA384", NULL, true },
        { "TLS_CHACHA20_POLY1305_SHA256", NULL, true },
        { "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256", false },
        { "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256", false },
        { "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384", false },
        { "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384", false },
        { "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", false },
        { "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305", false },
        { "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305", false },
        { "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", false },
        { "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDHE-ECDSA-AES128-SHA256", false },
        { "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "ECDHE-RSA-AES128-SHA256", false },
        { "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDHE-ECDSA-AES128-SHA", false },
        { "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA", false },
        { "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDHE-ECDSA-AES256-SHA", false },
        { "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDHE-RSA-AES256-SHA", false },
        { "TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256", false },
        { "TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384", false },
        { "TLS_RSA_WITH_AES_128_CBC_SHA256", "AES128-SHA256", false },
        { "TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA", false },
        { "TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA", false },
        { "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", NULL, false },
        { "TLS_RSA_WITH_3DES_EDE_CBC_SHA", NULL, false },
        { "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", NULL, false },
        { "TLS_ECDHE_RSA_WITH_RC4_128_SHA", NULL, false },
        { "TLS_RSA_WITH_RC4_128_SHA", NULL, false },
};

/* What Go's crypto/tls implements, by the numbers of RFC 8446 section 4.2.7 and draft-ietf-tls-ecdhe-mlkem. */
static const struct {
        unsigned id;
        const char *openssl; /* NULL: not in OpenSSL 3.0 */
} curves_known[] = {
        { 23, "P-256" }, { 24, "P-384" }, { 25, "P-521" }, { 29, "X25519" },
        { 4587, NULL }, /* SecP256r1MLKEM768 */
        { 4588, NULL }, /* X25519MLKEM768 */
        { 4589, NULL }, /* SecP384r1MLKEM1024 */
};

struct item {
        const char *p;
        size_t len;
};

/* The next part of a list with commas, without blanks around it. False at the end. */
static bool next_item(struct item *ret, const char **list)
{
        const char *p = *list, *end;

        if (!p)
                return false;
        end = strchrnul(p, ',');
        *list = *end ? end + 1 : NULL;
        while (p < end && *p == ' ')
                p++;
        while (end > p && end[-1] == ' ')
                end--;
        *ret = (struct item){ p, (size_t)(end - p) };
        return true;
}

static void append(struct buf *list, char sep, const char *text, size_t len)
{
        if (list->len > 0)
                buf_addc(list, sep);
        buf_add(list, text, len);
}

static int parse_ciphers(
        struct buf *ret, struct buf *skipped, bool *ret_only13, const char *list, struct err *e)
{
        struct item it;
        bool any13 = false;

        while (next_item(&it, &list)) {
                size_t i = 0;

                while (i < ARRAY_LEN(suites) &&
                        (strlen(suites[i].iana) != it.len || memcmp(suites[i].iana, it.p, it.len) != 0))
                        i++;
                if (i == ARRAY_LEN(suites))
                        return err_set(e, -EINVAL, "cipher suite \"%.*s\" is unknown",
                                (int)MIN(it.len, (size_t)80), it.p);
                any13 |= suites[i].tls13;
                if (suites[i].openssl)
                        append(ret, ':', suites[i].openssl, strlen(suites[i].openssl));
                else if (!suites[i].tls13)
                        append(skipped, ',', it.p, it.len);
        }
        if (buf_ok(ret) && ret->len == 0 && !any13)
                return err_set(e, -EINVAL, "none of these cipher suites is available: %s", buf_str(skipped));
        *ret_only13 = ret->len == 0;
        return 0;
}

static bool number(unsigned *ret, struct item it)
{
        unsigned n = 0;

        for (size_t i = 0; i < it.len; i++) {
                if (it.p[i] < '0' || it.p[i] > '9' || n > 65535)
                        return false;
                n = n * 10 + (unsigned)(it.p[i] - '0');
        }
        *ret = n;
        return it.len > 0 && n >= 1 && n <= 65535;
}

static int parse_curves(struct buf *ret, struct buf *skipped, const char *list, struct err *e)
{
        uint32_t seen = 0;
        struct item it;
        unsigned id;

        while (next_item(&it, &list)) {
                size_t i = 0;

                if (!number(&id, it))
                        return err_set(e, -EINVAL, "curve \"%.*s\" is not a number from 1 to 65535",
                                (int)MIN(it.len, (size_t)80), it.p);
                while (i < ARRAY_LEN(curves_known) && curves_known[i].id != id)
                        i++;
                if (i == ARRAY_LEN(curves_known))
                        return err_set(e, -EINVAL, "curve %u is unknown", id);
                if (seen >> i & 1)
                        return err_set(e, -EINVAL, "curve %u is given twice", id);
                seen |= UINT32_C(1) << i;
                if (curves_known[i].openssl)
                        append(ret, ':', curves_known[i].openssl, strlen(curves_known[i].openssl));
                else
                        append(skipped, ',', it.p, it.len);
        }
        if (buf_ok(ret) && ret->len == 0)
                return err_set(e, -EINVAL, "none of these curves is available: %s", buf_str(skipped));
        return 0;
}

static int parse_version(int *ret, const char *text, struct err *e)
{
        for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
                if (strcmp(versions[i].name, text) == 0) {
                        *ret = versions[i].version;
                        return 0;
                }
        }
        return err_set(
                e, -EINVAL, "TLS version \"%.80s\" is unknown, want VersionTLS12 or VersionTLS13", text);
}

int tlsopt_parse(
        struct tlsopt *ret, const char *min_version, const char *ciphers, const char *curves, struct err *e)
{
        CLEANUP(buf_fini) struct buf suite_list = BUF_INIT, group_list = BUF_INIT, skipped = BUF_INIT;
        CLEANUP(tlsopt_fini) struct tlsopt o = { 0 };
        bool only13 = false;
        int r = parse_version(&o.min_version, min_version, e);

        if (r == 0 && *ciphers && o.min_version == TLS1_3_VERSION)
                r = err_set(e, -EINVAL, "cipher suites cannot be chosen when the minimum TLS version is 1.3");
        if (r == 0 && *ciphers)
                r = parse_ciphers(&suite_list, &skipped, &only13, ciphers, e);
        if (r == 0 && *curves)
                r = parse_curves(&group_list, &skipped, curves, e);
        if (r < 0)
                return r;
        if (only13)
                o.min_version = TLS1_3_VERSION;
        o.ciphers = suite_list.len > 0 ? buf_take(&suite_list) : NULL;
        o.groups = group_list.len > 0 ? buf_take(&group_list) : NULL;
        o.skipped = skipped.len > 0 ? buf_take(&skipped) : NULL;
        if (!buf_ok(&suite_list) || !buf_ok(&group_list) || !buf_ok(&skipped))
                return err_set(e, -ENOMEM, "no memory");
        *ret = o;
        o = (struct tlsopt){ 0 };
        return 0;
}

void tlsopt_fini(struct tlsopt *o)
{
        free(o->ciphers);
        free(o->groups);
        free(o->skipped);
        *o = (struct tlsopt){ 0 };
}
