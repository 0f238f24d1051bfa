/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "speaker/exclude.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

/* Pattern as Go reads it, a name it matches and one that it does not (NULL: matches everything, or nothing). Checked
 * against Go's regexp package. */
static const struct {
        const char *pattern, *yes, *no;
} match_cases[] = {
        { "^docker.*", "docker0", "mydocker0" },
        { "^lo$", "lo", "lo0" },
        { "veth", "myveth1", "eth0" }, /* unanchored */
        { "^eth[0-9]+$", "eth12", "ethx" },
        { "^eth[^0-9]", "ethx", "eth1" },
        { "^eth\\d+$", "eth12", "ethd" },
        { "^eth\\D", "ethx", "eth1" },
        { "^\\w+$", "eth_0", "eth.0" },
        { "\\W", "eth.0", "eth_0" },
        { "\\s", "a b", "ab" },
        { "\\S", "ab", " " },
        { "^eth0\\.10$", "eth0.10", "eth0x10" },
        { "^[\\w.-]+$", "eth0.10-a", "eth0/1" },
        { "^[\\d]+$", "12", "d" },
        { "^[[:alpha:]]+$", "eth", "eth0" },
        { "^a|b$", "xb", "bx" },
        { "^(a|b)$", "b", "ab" },
        { "^(?:a|b)x$", "bx", "b" },
        { "^a*?b$", "aab", "ac" },
        { "^a+?$", "aa", "b" },
        { "^a??b$", "b", "aab" },
        { "^a{2}$", "aa", "a" },
        { "^a{2,}$", "aaa", "a" },
        { "^a{1,2}?$", "aa", "aaa" },
        { "^a{$", "a{", "a" },
        { "^a{,2}$", "a{,2}", "aa" },
        { "^a{x}$", "a{x}", "ax" },
        { "^a}$", "a}", "a" },
        { "\\Aeth\\z", "eth", "xeth" },
        { "\\bv1\\b", "a v1", "av1" },
        { "^\\<a\\>$", "<a>", "a" }, /* literals in Go, word anchors in the C library */
        { "^\\`\\'$", "`'", "" },
        { "^\\-\\_\\/\\@\\:$", "-_/@:", "" },
        { "^[\\-\\].]+$", "-].", "a" },
        { "^[]a]+$", "]a", "b" },
        { "^[^]a]+$", "b", "]" },
        { "^[a\\]]+$", "a]", "b" },
        { "^[\\^]+$", "^", "a" },
        { "^[a^]+$", "a^", "b" },
        { "^[\\^-]+$", "^-", "a" },
        { "^[^^]+$", "a", "^" },
        { "^[a-]+$", "a-", "b" },
        { "^[-a]+$", "a-", "b" },
        { "^[+--]+$", "+", NULL }, /* refused below: not alphanumeric ranges */
        { "^[a-c0-2]+$", "a2c", "d" },
        { "^[\\[.]+$", "[.", "a" },
        { "^[.[]+$", "[.", "a" },
        { "^[[.]+$", "[.", "a" },
        { "(?i)^ETH", "eth0", "xeth" },
        { "", "anything", NULL },
        { ".", "a", "" },
        { "^\\$\\^\\|\\(\\)\\[\\]\\{\\}\\*\\+\\?\\\\$", "$^|()[]{}*+?\\", "" },
        { "^en(p[0-9]+s[0-9]+|o[0-9]+)$", "enp3s0", "ens3" },
};

static struct exclude *exclude_of(const char *pattern, struct err *e)
{
        char text[2048] = "announcedInterfacesToExclude: ['";
        struct exclude *x = NULL;

        strncat(text, pattern, sizeof(text) - 64);
        for (char *quote = text + 32; (quote = strchr(quote, '\'')); quote += 2) /* '' is a quote in YAML */
                memmove(quote + 1, quote, strlen(quote) + 1);
        strncat(text, "']\n", 4);
        return exclude_parse(&x, text, strlen(text), e) == 0 ? x : NULL;
}

START_TEST(matches)
{
        CLEANUP(exclude_freep) struct exclude *x = NULL;
        struct err e = { "" };

        if (strcmp(match_cases[_i].pattern, "^[+--]+$") == 0) {
                ck_assert_ptr_null(exclude_of(match_cases[_i].pattern, &e));
                return;
        }
        x = exclude_of(match_cases[_i].pattern, &e);
        ck_assert_msg(x != NULL, "%s: %s", match_cases[_i].pattern, e.text);
        ck_assert_msg(exclude_matches(x, match_cases[_i].yes), "%s: %s", match_cases[_i].pattern,
                match_cases[_i].yes);
        if (match_cases[_i].no)
                ck_assert_msg(!exclude_matches(x, match_cases[_i].no), "%s: %s", match_cases[_i].pattern,
                        match_cases[_i].no);
}
END_TEST

static const char *const bad_patterns[] = {
        "a(b",
        "[a",
        "[",
        "[^",
        "a\\",
        "\\pL",
        "\\p{Greek}",
        "\\Qa.b\\E",
        "\\x41",
        "\\n",
        "(?i:a)",
        "(?s)a",
        "a(?i)b",
        "(?P<n>a)",
        "*a",
        "[b-a]",
        "[\\D]",
        "[\\x]",
        "[[:alpha]",
        "[[:nosuch:]]",
        "a{1001}",
        "(a{40}){40}",
        "(a{10}){10}b{11}",
        "a{99999999999999999999}",
        "a{1,99999999999999999999}",
};

START_TEST(refuses)
{
        struct err e = { "" };
        struct exclude *x = exclude_of(bad_patterns[_i], &e);

        ck_assert_msg(!x, "%s was taken", bad_patterns[_i]);
        ck_assert_msg(
                strstr(e.text, "announcedInterfacesToExclude[0]"), "%s: \"%s\"", bad_patterns[_i], e.text);
}
END_TEST

/* The list that MetalLB ships. */
START_TEST(shipped_list)
{
        static const char yaml[] =
                "announcedInterfacesToExclude:\n"
                "- ^docker.*\n- ^cbr.*\n- ^dummy.*\n- ^virbr.*\n- ^lxcbr.*\n- ^veth.*\n- ^lo$\n"
                "- ^cali.*\n- ^tunl.*\n- ^flannel.*\n- ^kube-ipvs.*\n- ^cni.*\n- ^nodelocaldns.*\n"
                "- ^lxc.*\n";
        static const char *const in[] = { "docker0", "veth12ab", "lo", "cali0123", "kube-ipvs0", "lxc_health",
                "cni0" };
        static const char *const out[] = { "eth0", "ens3", "bond0", "br0", "eth0.10", "lo1", "wlan0" };
        CLEANUP(exclude_freep) struct exclude *x = NULL;
        struct err e = { "" };

        ck_assert_int_eq(exclude_parse(&x, yaml, strlen(yaml), &e), 0);
        for (size_t i = 0; i < ARRAY_LEN(in); i++)
                ck_assert_msg(exclude_matches(x, in[i]), "%s", in[i]);
        for (size_t i = 0; i < ARRAY_LEN(out); i++)
                ck_assert_msg(!exclude_matches(x, out[i]), "%s", out[i]);
}
END_TEST

static const struct {
        const char *yaml;
        int want;
} file_cases[] = {
        { "", 0 },
        { "# nothing\n", 0 },
        { "announcedInterfacesToExclude: []\n", 0 },
        { "announcedInterfacesToExclude:\n", 0 },
        { "other: 1\n", 0 },
        { "announcedInterfacesToExclude: [\"^lo$\"]\n", 0 },
        { "announcedInterfacesToExclude: ^lo$\n", ERR_MALFORMED },
        { "announcedInterfacesToExclude: {a: b}\n", ERR_MALFORMED },
        { "announcedInterfacesToExclude: [[a]]\n", ERR_MALFORMED },
        { "announcedInterfacesToExclude: [a, 7]\n", ERR_MALFORMED },
        { "- ^lo$\n", ERR_MALFORMED },
        { "just text\n", ERR_MALFORMED },
        { "announcedInterfacesToExclude: [a\n", ERR_MALFORMED },
};

START_TEST(reads_file)
{
        CLEANUP(exclude_freep) struct exclude *x = NULL;
        struct err e = { "" };
        int r = exclude_parse(&x, file_cases[_i].yaml, strlen(file_cases[_i].yaml), &e);

        ck_assert_msg(r == file_cases[_i].want, "\"%s\": got %d, %s", file_cases[_i].yaml, r, e.text);
        ck_assert((x != NULL) == (r == 0));
        ck_assert((e.text[0] != '\0') == (r < 0));
        ck_assert(!exclude_matches(NULL, "lo"));
}
END_TEST

START_TEST(limits)
{
        static char yaml[EXCLUDE_COUNT_MAX * 8 + EXCLUDE_PATTERN_MAX * 2];
        CLEANUP(exclude_freep) struct exclude *x = NULL;
        size_t len = strlen("announcedInterfacesToExclude:\n");
        struct err e;

        memcpy(yaml, "announcedInterfacesToExclude:\n", len);
        for (unsigned i = 0; i < EXCLUDE_COUNT_MAX; i++, len += 4)
                memcpy(yaml + len, "- a\n", 4);
        ck_assert_int_eq(exclude_parse(&x, yaml, len, &e), 0);
        memcpy(yaml + len, "- a\n", 4);
        x = exclude_free(x);
        ck_assert_int_eq(exclude_parse(&x, yaml, len + 4, &e), ERR_TOO_BIG);

        len = strlen("announcedInterfacesToExclude:\n- ");
        memcpy(yaml, "announcedInterfacesToExclude:\n- ", len);
        memset(yaml + len, 'a', EXCLUDE_PATTERN_MAX + 1);
        ck_assert_int_eq(exclude_parse(&x, yaml, len + EXCLUDE_PATTERN_MAX, &e), 0);
        x = exclude_free(x);
        ck_assert_int_eq(exclude_parse(&x, yaml, len + EXCLUDE_PATTERN_MAX + 1, &e), ERR_TOO_BIG);
}
END_TEST

START_TEST(translation_fits_or_says_so)
{
        struct err e;
        char out[64];
        bool icase;

        for (size_t size = 0; size < sizeof(out); size++) {
                int r;

                memset(out, 'X', sizeof(out));
                r = exclude_translate(out, size, &icase, "^[\\w]\\d+$", &e);
                ck_assert_int_eq(r, size > strlen("^[[:alnum:]_][0-9]+$") ? 0 : ERR_TOO_BIG);
                for (size_t i = size; i < sizeof(out); i++)
                        ck_assert_int_eq(out[i], 'X');
        }
}
END_TEST

START_TEST(no_memory)
{
        static const char yaml[] = "announcedInterfacesToExclude: [\"^lo$\", \"^eth\\\\d\"]\n";

        for (unsigned n = 0;; n++) {
                struct exclude *x = NULL;
                struct err e = { "" };
                int r;

                fault_arm(n);
                r = exclude_parse(&x, yaml, strlen(yaml), &e);
                if (!fault_disarm()) {
                        ck_assert_msg(r == 0, "%s", e.text);
                        (void)exclude_free(x);
                        break;
                }
                ck_assert_int_eq(r, -ENOMEM);
                ck_assert_ptr_null(x);
        }
}
END_TEST

int main(void)
{
        Suite *s = suite_create("exclude");
        TCase *tc = tcase_create("patterns");

        tcase_add_loop_test(tc, matches, 0, (int)ARRAY_LEN(match_cases));
        tcase_add_loop_test(tc, refuses, 0, (int)ARRAY_LEN(bad_patterns));
        tcase_add_loop_test(tc, reads_file, 0, (int)ARRAY_LEN(file_cases));
        tcase_add_test(tc, shipped_list);
        tcase_add_test(tc, limits);
        tcase_add_test(tc, translation_fits_or_says_so);
        tcase_add_test(tc, no_memory);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
