/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "speaker/desired.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

static struct ip ip_of(const char *text)
{
        struct ip ip;

        ck_assert_int_eq(ip_parse(&ip, text), 0);
        return ip;
}

/* "eth0,eth1" as a list; "" is every interface. */
static int add_ip(struct desired *d, struct ip ip, const char *names)
{
        const char *v[8];
        char text[64], *rest = text;
        size_t n = 0;

        (void)snprintf(text, sizeof(text), "%s", names);
        while (*names && (v[n] = strsep(&rest, ",")))
                n++;
        return desired_add(d, &ip, v, n);
}

static int add(struct desired *d, const char *ip_text, const char *names)
{
        return add_ip(d, ip_of(ip_text), names);
}

static const struct {
        const char *first, *second, *want; /* interfaces of the same address, added twice */
} unite_cases[] = {
        { "eth0", "eth0", "eth0" },
        { "eth0", "eth1", "eth0,eth1" },
        { "eth1", "eth0", "eth0,eth1" },
        { "b,a,c", "c,d,a", "a,b,c,d" },
        { "a,a,a", "a", "a" },
        { "", "eth0", "" },
        { "eth0", "", "" },
        { "", "", "" },
};

START_TEST(unites)
{
        CLEANUP(desired_freep) struct desired *d = NULL;
        const struct desired_vip *v;
        struct ip ip = ip_of("192.0.2.1");
        char got[64] = "";

        ck_assert_int_eq(desired_new(&d, 1), 0);
        ck_assert_int_eq(add(d, "192.0.2.1", unite_cases[_i].first), 0);
        ck_assert_int_eq(add(d, "192.0.2.1", unite_cases[_i].second), 0);
        desired_seal(d);
        ck_assert_uint_eq(d->n, 1);
        v = desired_find(d, &ip);
        ck_assert_ptr_nonnull(v);
        for (size_t i = 0; i < v->n_interfaces; i++) {
                size_t len = strlen(got);

                (void)snprintf(got + len, sizeof(got) - len, "%s%s", i ? "," : "", v->interfaces[i]);
        }
        ck_assert_str_eq(got, unite_cases[_i].want);
        ck_assert(desired_vip_allows(v, "zz9") == (v->n_interfaces == 0));
        for (size_t i = 0; i < v->n_interfaces; i++)
                ck_assert(desired_vip_allows(v, v->interfaces[i]));
}
END_TEST

START_TEST(finds_all_and_only_those)
{
        CLEANUP(desired_freep) struct desired *d = NULL;
        struct rng rng = { 3 };

        ck_assert_int_eq(desired_new(&d, 10), 0); /* and many more come */
        for (unsigned i = 0; i < 5000; i++) {
                struct ip ip = { .family = i % 2 ? IP_V4 : IP_V6 };
                uint64_t v = rng_below(&rng, 4000) * 2;

                memcpy(ip.b, &v, 4);
                ck_assert_int_eq(desired_add(d, &ip, NULL, 0), 0);
        }
        desired_seal(d);
        for (size_t i = 0; i < d->n; i++) {
                struct ip not_there = d->vips[i].ip;

                not_there.b[0] |= 1;
                ck_assert_ptr_eq(desired_find(d, &d->vips[i].ip), &d->vips[i]);
                ck_assert_ptr_null(desired_find(d, &not_there));
                if (i > 0)
                        ck_assert_int_lt(ip_cmp(&d->vips[i - 1].ip, &d->vips[i].ip), 0);
        }
}
END_TEST

START_TEST(empty)
{
        CLEANUP(desired_freep) struct desired *d = NULL;
        struct ip ip = ip_of("192.0.2.1");

        ck_assert_int_eq(desired_new(&d, 0), 0);
        desired_seal(d);
        ck_assert_uint_eq(d->n, 0);
        ck_assert_ptr_null(desired_find(d, &ip));
        ck_assert_ptr_null(desired_free(NULL));
}
END_TEST

START_TEST(names_are_copied)
{
        CLEANUP(desired_freep) struct desired *d = NULL;
        char name[] = "eth0";
        const char *names[] = { name };
        struct ip ip = ip_of("192.0.2.1");

        ck_assert_int_eq(desired_new(&d, 1), 0);
        ck_assert_int_eq(desired_add(d, &ip, names, 1), 0);
        name[3] = '9';
        desired_seal(d);
        ck_assert(desired_vip_allows(desired_find(d, &ip), "eth0"));
}
END_TEST

static const struct {
        const char *ip, *names, *other_ip, *other_names;
        bool want;
} equal_cases[] = {
        { "192.0.2.1", "", "192.0.2.1", "", true },
        { "192.0.2.1", "a,b", "192.0.2.1", "b,a", true },
        { "192.0.2.1", "a", "192.0.2.1", "b", false },
        { "192.0.2.1", "a", "192.0.2.1", "", false },
        { "192.0.2.1", "", "192.0.2.2", "", false },
        { "192.0.2.1", "", "2001:db8::1", "", false },
};

START_TEST(equal)
{
        CLEANUP(desired_freep) struct desired *a = NULL, *b = NULL;

        ck_assert_int_eq(desired_new(&a, 1), 0);
        ck_assert_int_eq(desired_new(&b, 5), 0);
        ck_assert_int_eq(add(a, equal_cases[_i].ip, equal_cases[_i].names), 0);
        ck_assert_int_eq(add(b, equal_cases[_i].other_ip, equal_cases[_i].other_names), 0);
        desired_seal(a);
        desired_seal(b);
        ck_assert(desired_equal(a, b) == equal_cases[_i].want);
        ck_assert(desired_equal(b, a) == equal_cases[_i].want);
}
END_TEST

START_TEST(unequal_size)
{
        CLEANUP(desired_freep) struct desired *a = NULL, *b = NULL;

        ck_assert_int_eq(desired_new(&a, 1), 0);
        ck_assert_int_eq(desired_new(&b, 1), 0);
        ck_assert_int_eq(add(a, "192.0.2.1", ""), 0);
        desired_seal(a);
        desired_seal(b);
        ck_assert(!desired_equal(a, b));
        ck_assert(!desired_equal(b, a));
}
END_TEST

/* No check inside: check itself allocates. */
static int build(struct desired **d)
{
        int r = desired_new(d, 1);

        for (unsigned i = 0; r == 0 && i < 40; i++) {
                struct ip ip = { IP_V4, { 192, 0, 2, (uint8_t)i } };

                r = add_ip(*d, ip, i % 3 ? "eth0,some-interface" : "");
                if (r == 0)
                        r = add_ip(*d, ip, "eth1");
        }
        return r;
}

START_TEST(no_memory)
{
        for (unsigned n = 0;; n++) {
                struct desired *d = NULL;
                bool hit;
                int r;

                fault_arm(n);
                r = build(&d);
                hit = fault_disarm();
                ck_assert_int_eq(r, hit ? -ENOMEM : 0);
                (void)desired_free(d);
                if (!hit)
                        break;
        }
}
END_TEST

int main(void)
{
        Suite *s = suite_create("desired");
        TCase *tc = tcase_create("set");

        tcase_add_loop_test(tc, unites, 0, (int)ARRAY_LEN(unite_cases));
        tcase_add_loop_test(tc, equal, 0, (int)ARRAY_LEN(equal_cases));
        tcase_add_test(tc, finds_all_and_only_those);
        tcase_add_test(tc, empty);
        tcase_add_test(tc, names_are_copied);
        tcase_add_test(tc, unequal_size);
        tcase_add_test(tc, no_memory);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
