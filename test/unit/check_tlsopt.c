/* SPDX-License-Identifier: Apache-2.0 */
#include "common/tlsopt.h"

#include <errno.h>
#include <openssl/ssl.h>

#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define E128 "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
#define R256 "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"

static const struct {
        const char *min, *ciphers, *curves;
        int version;
        const char *want_ciphers, *want_groups, *want_skipped;
} good_cases[] = {
        { "", "", "", TLS1_3_VERSION, NULL, NULL, NULL },
        { "VersionTLS13", "", "", TLS1_3_VERSION, NULL, NULL, NULL },
        { "VersionTLS12", "", "", TLS1_2_VERSION, NULL, NULL, NULL },
        { "VersionTLS11", "", "", TLS1_1_VERSION, NULL, NULL, NULL },
        { "VersionTLS10", "", "", TLS1_VERSION, NULL, NULL, NULL },
        { "VersionTLS12", E128, "", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", NULL, NULL },
        { "VersionTLS12", R256 ", " E128 " ", "", TLS1_2_VERSION,
                "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256", NULL, NULL },
        { "VersionTLS12", "TLS_AES_128_GCM_SHA256," E128, "", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256",
                NULL, NULL },
        { "VersionTLS12", "TLS_AES_128_GCM_SHA256", "", TLS1_3_VERSION, NULL, NULL, NULL },
        { "VersionTLS12", "TLS_RSA_WITH_RC4_128_SHA," E128 ",TLS_RSA_WITH_3DES_EDE_CBC_SHA", "",
                TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", NULL,
                "TLS_RSA_WITH_RC4_128_SHA,TLS_RSA_WITH_3DES_EDE_CBC_SHA" },
        { "", "", "29,23", TLS1_3_VERSION, NULL, "X25519:P-256", NULL },
        { "", "", "25, 24", TLS1_3_VERSION, NULL, "P-521:P-384", NULL },
        { "", "", "4588,29", TLS1_3_VERSION, NULL, "X25519", "4588" },
        { "VersionTLS12", "TLS_RSA_WITH_RC4_128_SHA," E128, "4588,29", TLS1_2_VERSION,
                "ECDHE-ECDSA-AES128-GCM-SHA256", "X25519", "TLS_RSA_WITH_RC4_128_SHA,4588" },
};

START_TEST(translates)
{
        struct err e = { "" };
        struct tlsopt o;
        SSL_CTX *ctx;

        ck_assert_msg(
                tlsopt_parse(&o, good_cases[_i].min, good_cases[_i].ciphers, good_cases[_i].curves, &e) == 0,
                "%s", e.text);
        ck_assert_int_eq(o.min_version, good_cases[_i].version);
        ck_assert_pstr_eq(o.ciphers, good_cases[_i].want_ciphers);
        ck_assert_pstr_eq(o.groups, good_cases[_i].want_groups);
        ck_assert_pstr_eq(o.skipped, good_cases[_i].want_skipped);

        ctx = SSL_CTX_new(TLS_server_method()); /* OpenSSL agrees with every name */
        ck_assert_int_eq(SSL_CTX_set_min_proto_version(ctx, o.min_version), 1);
        if (o.ciphers)
                ck_assert_int_eq(SSL_CTX_set_cipher_list(ctx, o.ciphers), 1);
        if (o.groups)
                ck_assert_int_eq(SSL_CTX_set1_groups_list(ctx, o.groups), 1);
        SSL_CTX_free(ctx);
        tlsopt_fini(&o);
        tlsopt_fini(&o);
}
END_TEST

static const struct {
        const char *min, *ciphers, *curves, *words;
} bad_cases[] = {
        { "TLS12", "", "", "TLS version \"TLS12\" is unknown, want VersionTLS12 or VersionTLS13" },
        { "versiontls12", "", "",
                "TLS version \"versiontls12\" is unknown, want VersionTLS12 or VersionTLS13" },
        { "", E128, "", "cipher suites cannot be chosen when the minimum TLS version is 1.3" },
        { "VersionTLS13", "nonsense", "",
                "cipher suites cannot be chosen when the minimum TLS version is 1.3" },
        { "VersionTLS12", "nonsense", "", "cipher suite \"nonsense\" is unknown" },
        { "VersionTLS12", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA25", "",
                "cipher suite \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA25\" is unknown" },
        { "VersionTLS12", E128 ",", "", "cipher suite \"\" is unknown" },
        { "VersionTLS12", "TLS_RSA_WITH_RC4_128_SHA", "",
                "none of these cipher suites is available: TLS_RSA_WITH_RC4_128_SHA" },
        { "", "", "X25519", "curve \"X25519\" is not a number from 1 to 65535" },
        { "", "", "0", "curve \"0\" is not a number from 1 to 65535" },
        { "", "", "-1", "curve \"-1\" is not a number from 1 to 65535" },
        { "", "", "65536", "curve \"65536\" is not a number from 1 to 65535" },
        { "", "", "99999999999999999999", "curve \"99999999999999999999\" is not a number from 1 to 65535" },
        { "", "", "23,", "curve \"\" is not a number from 1 to 65535" },
        { "", "", "65535", "curve 65535 is unknown" },
        { "", "", "29,23,29", "curve 29 is given twice" },
        { "", "", "4588,4588", "curve 4588 is given twice" },
        { "", "", "4588", "none of these curves is available: 4588" },
};

START_TEST(refuses)
{
        struct tlsopt o = { .min_version = 42 };
        struct err e = { "" };

        ck_assert_int_eq(tlsopt_parse(&o, bad_cases[_i].min, bad_cases[_i].ciphers, bad_cases[_i].curves, &e),
                -EINVAL);
        ck_assert_str_eq(e.text, bad_cases[_i].words);
        ck_assert_int_eq(o.min_version, 42);
}
END_TEST

START_TEST(without_memory)
{
        unsigned n;

        for (n = 0;; n++) {
                struct tlsopt o = { 0 };
                int r;

                fault_arm(n);
                r = tlsopt_parse(
                        &o, "VersionTLS12", "TLS_RSA_WITH_RC4_128_SHA," R256 "," E128, "4588,29", NULL);
                if (!fault_disarm()) {
                        tlsopt_fini(&o);
                        break;
                }
                ck_assert_int_eq(r, -ENOMEM);
                ck_assert_int_eq(o.min_version, 0);
        }
        ck_assert_uint_ge(n, 3);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("tlsopt");
        TCase *tc = tcase_create("tlsopt");

        tcase_add_loop_test(tc, translates, 0, (int)ARRAY_LEN(good_cases));
        tcase_add_loop_test(tc, refuses, 0, (int)ARRAY_LEN(bad_cases));
        tcase_add_test(tc, without_memory);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
