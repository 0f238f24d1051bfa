/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controller/patch.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define NOW_S 1763776000 /* 2025-11-22T01:46:40Z */

static const struct service_ingress one[] = { { "10.0.0.1", "", "", NULL } };
static const struct service_ingress rich[] = {
        { "10.0.0.1", "", "VIP", NULL },
        { "fd00::1", "a.example", "Proxy", "[{\"port\":80,\"protocol\":\"TCP\"}]" },
        { "", "only.example", "", NULL },
};
static const struct plan_condition yes = { "True", "Allocated", "10.4.11.0 from pool \"p\"" };
static const struct plan_condition no = { "False", "PoolFull", "a\\b" };

static const struct {
        const char *name;
        struct plan plan;
        const char *old_status; /* of the condition that the Service has; NULL: none */
        const char *want;
} service_cases[] = {
        { "all three",
                { .ingress_differs = true,
                        .pool_differs = true,
                        .condition_differs = true,
                        .ingress = one,
                        .n_ingress = 1,
                        .pool = "p",
                        .condition = &yes },
                NULL,
                "{\"metadata\":{\"resourceVersion\":\"77\",\"annotations\":{\"metallb.io/ip-allocated-from-pool\":\"p\"}},"
                "\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":\"10.0.0.1\"}]},\"conditions\":[{\"type\":"
                "\"metallb.io/IPAllocated\",\"status\":\"True\",\"reason\":\"Allocated\",\"message\":"
                "\"10.4.11.0 from pool \\\"p\\\"\",\"lastTransitionTime\":\"2025-11-22T01:46:40Z\"}]}}" },
        { "cleared", { .ingress_differs = true, .pool_differs = true, .condition_differs = true }, "True",
                "{\"metadata\":{\"resourceVersion\":\"77\",\"annotations\":{\"metallb.io/ip-allocated-from-pool\":null}},"
                "\"status\":{\"loadBalancer\":{\"ingress\":null},\"conditions\":[{\"$patch\":\"delete\",\"type\":"
                "\"metallb.io/IPAllocated\"}]}}" },
        { "addresses with all their fields", { .ingress_differs = true, .ingress = rich, .n_ingress = 3 },
                NULL,
                "{\"metadata\":{\"resourceVersion\":\"77\"},\"status\":{\"loadBalancer\":{\"ingress\":["
                "{\"ip\":\"10.0.0.1\",\"ipMode\":\"VIP\"},{\"ip\":\"fd00::1\",\"hostname\":\"a.example\",\"ipMode\":"
                "\"Proxy\",\"ports\":[{\"port\":80,\"protocol\":\"TCP\"}]},{\"hostname\":\"only.example\"}]}}}" },
        { "annotation alone", { .pool_differs = true, .pool = "a\"b" }, NULL,
                "{\"metadata\":{\"resourceVersion\":\"77\",\"annotations\":{\"metallb.io/ip-allocated-from-pool\":"
                "\"a\\\"b\"}}}" },
        { "condition alone, same status: the time stays", { .condition_differs = true, .condition = &no },
                "False",
                "{\"metadata\":{\"resourceVersion\":\"77\"},\"status\":{\"conditions\":[{\"type\":"
                "\"metallb.io/IPAllocated\",\"status\":\"False\",\"reason\":\"PoolFull\",\"message\":\"a\\\\b\","
                "\"lastTransitionTime\":\"2001-09-09T01:46:40Z\"}]}}" },
        { "condition alone, other status", { .condition_differs = true, .condition = &no }, "True",
                "{\"metadata\":{\"resourceVersion\":\"77\"},\"status\":{\"conditions\":[{\"type\":"
                "\"metallb.io/IPAllocated\",\"status\":\"False\",\"reason\":\"PoolFull\",\"message\":\"a\\\\b\","
                "\"lastTransitionTime\":\"2025-11-22T01:46:40Z\"}]}}" },
};

START_TEST(builds_service_patches)
{
        CLEANUP(buf_fini) struct buf out = BUF_INIT;
        CLEANUP(json_deletep) cJSON *parsed = NULL;
        struct condition old = { PLAN_CONDITION, service_cases[_i].old_status, "R", "m", 0, 1000000000 };
        struct service s = { .meta = { .rv = "77" },
                .conditions = { &old, service_cases[_i].old_status ? 1 : 0 } };

        patch_service(&out, &s, &service_cases[_i].plan, NOW_S);
        ck_assert(buf_ok(&out));
        ck_assert_msg(strcmp(buf_str(&out), service_cases[_i].want) == 0, "%s:\n%s\n%s",
                service_cases[_i].name, buf_str(&out), service_cases[_i].want);
        ck_assert_int_eq(json_parse(&parsed, out.p, out.len), 0);
}
END_TEST

#define COUNTS(a4, a6, v4, v6, w4, w6) \
        { \
                .assigned = { a4, a6 }, .available = { v4, v6 }, .withheld = { w4, w6 } \
        }

static const struct pool_status good = { COUNTS(3, 1, 5, 9007199254740991, 2, 0), "Valid", "", true };

static struct condition pool_conditions[] = {
        { "other/Writer", "True", "X", "kept", 4, 1000000000 },
        { POOL_CONDITION, "True", "Valid", "", 7, 1000000000 },
};

static const struct {
        const char *name;
        struct pool pool;
        struct pool_status want;
        bool differs;
} pool_cases[] = {
        { "never written", { .has_status = false }, { COUNTS(0, 0, 0, 0, 0, 0), "Valid", "", false }, true },
        { "equal, old CRD", { .has_status = true, .assigned4 = 1, .available4 = 2 },
                { COUNTS(1, 0, 2, 0, 9, 9), "Valid", "", false }, false },
        { "equal counters, but no condition", { .has_status = true, .assigned4 = 1, .available4 = 2 },
                { COUNTS(1, 0, 2, 0, 0, 0), "Valid", "", true }, true },
        { "equal",
                { .has_status = true, .assigned4 = 1, .withheld6 = 4, .conditions = { pool_conditions, 2 } },
                { COUNTS(1, 0, 0, 0, 0, 4), "Valid", "", true }, false },
        { "assigned v4", { .has_status = true, .assigned4 = 1, .conditions = { pool_conditions, 2 } },
                { COUNTS(2, 0, 0, 0, 0, 0), "Valid", "", true }, true },
        { "assigned v6", { .has_status = true, .conditions = { pool_conditions, 2 } },
                { COUNTS(0, 1, 0, 0, 0, 0), "Valid", "", true }, true },
        { "available v4", { .has_status = true, .conditions = { pool_conditions, 2 } },
                { COUNTS(0, 0, 1, 0, 0, 0), "Valid", "", true }, true },
        { "available v6", { .has_status = true, .conditions = { pool_conditions, 2 } },
                { COUNTS(0, 0, 0, 1, 0, 0), "Valid", "", true }, true },
        { "withheld v4", { .has_status = true, .conditions = { pool_conditions, 2 } },
                { COUNTS(0, 0, 0, 0, 1, 0), "Valid", "", true }, true },
        { "withheld v6", { .has_status = true, .conditions = { pool_conditions, 2 } },
                { COUNTS(0, 0, 0, 0, 0, 1), "Valid", "", true }, true },
        { "became bad", { .has_status = true, .conditions = { pool_conditions, 2 } },
                { COUNTS(0, 0, 0, 0, 0, 0), "Overlap", "overlaps", true }, true },
        { "bad, but the CRD cannot say so", { .has_status = true },
                { COUNTS(0, 0, 0, 0, 0, 0), "Overlap", "overlaps", false }, false },
};

START_TEST(compares_pool_statuses)
{
        ck_assert_msg(
                pool_status_differs(&pool_cases[_i].pool, &pool_cases[_i].want) == pool_cases[_i].differs,
                "%s", pool_cases[_i].name);
}
END_TEST

START_TEST(builds_pool_patches)
{
        CLEANUP(buf_fini) struct buf out = BUF_INIT;
        struct pool p = { .meta = { .rv = "9", .generation = 5 }, .conditions = { pool_conditions, 2 } };
        struct pool_status want = good;

        patch_pool(&out, &p, &want, NOW_S);
        ck_assert_str_eq(buf_str(&out),
                "{\"metadata\":{\"resourceVersion\":\"9\"},\"status\":{\"assignedIPv4\":3,\"assignedIPv6\":1,"
                "\"availableIPv4\":5,\"availableIPv6\":9007199254740991,\"withheldIPv4\":2,\"withheldIPv6\":0,"
                "\"conditions\":[{\"type\":\"other/Writer\",\"status\":\"True\",\"reason\":\"X\",\"message\":\"kept\","
                "\"lastTransitionTime\":\"2001-09-09T01:46:40Z\",\"observedGeneration\":4},{\"type\":"
                "\"metallb.io/Valid\",\"status\":\"True\",\"reason\":\"Valid\",\"message\":\"\",\"lastTransitionTime\":"
                "\"2001-09-09T01:46:40Z\",\"observedGeneration\":5}]}}");
        buf_reset(&out);
        want.extended = false;
        patch_pool(&out, &p, &want, NOW_S);
        ck_assert_str_eq(buf_str(&out),
                "{\"metadata\":{\"resourceVersion\":\"9\"},\"status\":{\"assignedIPv4\":3,\"assignedIPv6\":1,"
                "\"availableIPv4\":5,\"availableIPv6\":9007199254740991}}");
}
END_TEST

static const struct {
        const char *name;
        const char *object, *patch;
        bool strategic;
        const char *want;
} apply_cases[] = {
        { "sets, replaces, removes", "{\"a\":1,\"b\":{\"c\":2,\"d\":3}}",
                "{\"b\":{\"c\":null,\"e\":[1]},\"f\":\"x\"}", false,
                "{\"a\":1,\"b\":{\"d\":3,\"e\":[1]},\"f\":\"x\"}" },
        { "removes what is not there", "{}", "{\"a\":null,\"b\":{\"c\":null}}", false, "{\"b\":{}}" },
        { "an object over a scalar", "{\"a\":1}", "{\"a\":{\"b\":null,\"c\":1}}", false,
                "{\"a\":{\"c\":1}}" },
        { "lists are replaced", "{\"l\":[1,2]}", "{\"l\":[3]}", true, "{\"l\":[3]}" },
        { "conditions are replaced", "{\"conditions\":[{\"type\":\"a\"}]}",
                "{\"conditions\":[{\"type\":\"b\"}]}", false, "{\"conditions\":[{\"type\":\"b\"}]}" },
        { "conditions merge by type", "{\"conditions\":[{\"type\":\"a\",\"x\":1},{\"type\":\"b\"}]}",
                "{\"conditions\":[{\"type\":\"a\",\"y\":2},{\"type\":\"c\"}]}", true,
                "{\"conditions\":[{\"x\":1,\"type\":\"a\",\"y\":2},{\"type\":\"b\"},{\"type\":\"c\"}]}" },
        { "a condition is deleted", "{\"conditions\":[{\"type\":\"a\"},{\"type\":\"b\"}]}",
                "{\"conditions\":[{\"$patch\":\"delete\",\"type\":\"a\"}]}", true,
                "{\"conditions\":[{\"type\":\"b\"}]}" },
        { "a missing condition is deleted", "{\"conditions\":[{\"type\":\"b\"}]}",
                "{\"conditions\":[{\"$patch\":\"delete\",\"type\":\"a\"}]}", true,
                "{\"conditions\":[{\"type\":\"b\"}]}" },
        { "no conditions yet", "{\"status\":{}}", "{\"status\":{\"conditions\":[{\"type\":\"a\"}]}}", true,
                "{\"status\":{\"conditions\":[{\"type\":\"a\"}]}}" },
        { "conditions of a wrong type", "{\"conditions\":7}", "{\"conditions\":[{\"type\":\"a\"}]}", true,
                "{\"conditions\":[{\"type\":\"a\"}]}" },
        { "what no key was chosen for stays", "{\"Status\":1}", "{\"status\":2}", false,
                "{\"Status\":1,\"status\":2}" },
};

static int apply(const char *object, const char *patch, bool strategic, char **ret)
{
        CLEANUP(json_deletep) cJSON *o = NULL;
        CLEANUP(json_deletep) cJSON *p = NULL;
        int r;

        ck_assert_int_eq(json_parse(&o, object, strlen(object)), 0);
        ck_assert_int_eq(json_parse(&p, patch, strlen(patch)), 0);
        r = patch_apply(o, p, strategic);
        if (r == 0)
                *ret = cJSON_PrintUnformatted(o);
        return r;
}

START_TEST(applies_patches)
{
        CLEANUP(freep) char *text = NULL;

        ck_assert_int_eq(
                apply(apply_cases[_i].object, apply_cases[_i].patch, apply_cases[_i].strategic, &text), 0);
        ck_assert_msg(strcmp(text, apply_cases[_i].want) == 0, "%s: %s", apply_cases[_i].name, text);
}
END_TEST

START_TEST(refuses_what_is_no_object)
{
        CLEANUP(freep) char *text = NULL;

        ck_assert_int_eq(apply("[1]", "{\"a\":1}", false, &text), ERR_MALFORMED);
}
END_TEST

START_TEST(survives_failing_allocations)
{
        CLEANUP(json_deletep) cJSON *p = NULL;
        static const char object[] = "{\"status\":{\"conditions\":[{\"type\":\"a\"}]}}";
        static const char patch[] =
                "{\"m\":{\"n\":{\"o\":1}},\"status\":{\"conditions\":[{\"type\":\"a\",\"b\":[1,2]},"
                "{\"type\":\"c\"}],\"x\":\"y\"}}";
        cJSON_Hooks hooks = { .malloc_fn = fault_malloc, .free_fn = free };

        ck_assert_int_eq(json_parse(&p, patch, strlen(patch)), 0);
        cJSON_InitHooks(&hooks);
        for (unsigned n = 0;; n++) {
                CLEANUP(json_deletep) cJSON *o = NULL;
                int r;

                ck_assert_int_eq(json_parse(&o, object, strlen(object)), 0);
                fault_arm(n);
                r = patch_apply(o, p, true);
                if (!fault_disarm()) {
                        ck_assert_int_eq(r, 0);
                        break;
                }
                ck_assert_int_eq(r, -ENOMEM);
        }
        for (unsigned n = 0;; n++) {
                CLEANUP(buf_fini) struct buf out = BUF_INIT;
                struct service s = { .meta = { .rv = "77" } };

                fault_arm(n);
                patch_service(&out, &s, &service_cases[0].plan, NOW_S);
                if (!fault_disarm())
                        break;
                ck_assert(!buf_ok(&out));
        }
        cJSON_InitHooks(NULL);
}
END_TEST

static Suite *suite(void)
{
        Suite *s = suite_create("patch");
        TCase *tc = tcase_create("patch");

        tcase_add_loop_test(tc, builds_service_patches, 0, (int)ARRAY_LEN(service_cases));
        tcase_add_loop_test(tc, compares_pool_statuses, 0, (int)ARRAY_LEN(pool_cases));
        tcase_add_test(tc, builds_pool_patches);
        tcase_add_loop_test(tc, applies_patches, 0, (int)ARRAY_LEN(apply_cases));
        tcase_add_test(tc, refuses_what_is_no_object);
        tcase_add_test(tc, survives_failing_allocations);
        suite_add_tcase(s, tc);
        return s;
}

int main(void)
{
        return unit_main(suite());
}
