/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "common/label.h"
#include "speaker/l2object.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

static const struct l2object *decode(struct object **o, const char *json)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;

        ck_assert_msg(json_parse(&tree, json, strlen(json)) == 0, "%s", json);
        ck_assert_int_eq(l2object_decode(o, tree), 0);
        return l2object_of(*o);
}

#define NAMED \
        "{\"metadata\":{\"name\":\"l2-x\",\"namespace\":\"lb\"},\"status\":{\"node\":\"n1\",\"serviceName\":\"web\",\"serviceNamespace\":\"default\""

static const struct {
        const char *json;
        const char *interfaces[4];
        bool has_status, is_sorted;
} statuses[] = {
        { "{\"metadata\":{\"name\":\"l2-x\"}}", { NULL }, false, true },
        { "{\"metadata\":{\"name\":\"l2-x\"},\"status\":{}}", { NULL }, false, true },
        { NAMED "}}", { NULL }, true, true },
        { NAMED ",\"interfaces\":[]}}", { NULL }, true, true },
        { NAMED ",\"interfaces\":[{\"name\":\"eth0\"},{\"name\":\"eth1\"}]}}", { "eth0", "eth1" }, true,
                true },
        { NAMED ",\"interfaces\":[{\"name\":\"eth1\"},{\"name\":\"eth0\"}]}}", { "eth0", "eth1" }, true,
                false },
        { NAMED ",\"interfaces\":[{\"name\":\"eth0\"},{\"name\":\"eth0\"}]}}", { "eth0", "eth0" }, true,
                false },
        { NAMED ",\"interfaces\":\"eth0\"}}", { NULL }, true, true },
};

START_TEST(reads_a_status)
{
        CLEANUP(object_freep) struct object *o = NULL;
        const struct l2object *s = decode(&o, statuses[_i].json);
        size_t n = 0;

        while (statuses[_i].interfaces[n])
                n++;
        ck_assert_int_eq(s->has_status, statuses[_i].has_status);
        ck_assert_int_eq(s->is_sorted, statuses[_i].is_sorted);
        ck_assert(s->interfaces == l2object_interfaces(statuses[_i].interfaces, n));
        ck_assert(s->has_status == (s->identity == l2object_identity("n1", "default", "web")));
        ck_assert_uint_eq(s->owner, 0);
}
END_TEST

START_TEST(digests_tell_apart)
{
        static const char *const a[] = { "eth0" }, *const b[] = { "eth1" }, *const ab[] = { "eth0", "eth1" },
                                 *const ba[] = { "eth1", "eth0" };

        ck_assert(l2object_interfaces(a, 1) != l2object_interfaces(b, 1));
        ck_assert(l2object_interfaces(a, 1) != l2object_interfaces(NULL, 0));
        ck_assert(l2object_interfaces(ab, 2) == l2object_interfaces(ba, 2));
        ck_assert(l2object_identity("a", "b", "c") != l2object_identity("ab", "", "c"));
        ck_assert(l2object_identity("a", "b", "c") != l2object_identity("a", "c", "b"));
}
END_TEST

START_TEST(reads_owners)
{
        static const struct {
                const char *owners;
                const char *uid;
        } cases[] = { { "[{\"uid\":\"u1\"}]", "u1" }, { "[{\"uid\":\"u1\"},{\"uid\":\"u2\"}]", NULL },
                { "[]", NULL }, { "\"x\"", NULL } };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                CLEANUP(object_freep) struct object *o = NULL;
                CLEANUP(buf_fini) struct buf b = BUF_INIT;

                buf_addf(&b, "{\"metadata\":{\"name\":\"x\",\"ownerReferences\":%s}}", cases[i].owners);
                ck_assert(
                        decode(&o, buf_str(&b))->owner == (cases[i].uid ? l2object_owner(cases[i].uid) : 0));
        }
}
END_TEST

/* What is written reads back as what was meant. */
START_TEST(bodies_read_back)
{
        static const char *const names[] = { "eth0", "eth1" };
        static const char long_node[] =
                "a-node.with-a-name.that-is.longer.than-any-label.may-be.example.com.x";
        const struct l2announcement a = { long_node, "default", "web", names, 2 };
        CLEANUP(json_deletep) cJSON *body = NULL;
        CLEANUP(object_freep) struct object *o = NULL;
        CLEANUP(buf_fini) struct buf b = BUF_INIT, status = BUF_INIT;
        const struct l2object *s;
        char value[LABEL_VALUE_MAX];

        l2object_add_new(&b, &a, "pod", "uid-1");
        ck_assert_int_eq(json_parse(&body, buf_str(&b), b.len), 0);
        ck_assert_str_eq(json_str_at(body, "metadata.generateName", ""), "l2-");
        ck_assert_uint_eq(strlen(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
                                  json_at(body, "metadata.labels"), "metallb.io/node"))),
                63);
        ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
                                 json_at(body, "metadata.labels"), "metallb.io/node")),
                label_value(value, long_node));

        /* as the server would store it, with the status of the second write */
        l2object_add_status(&status, &a);
        buf_reset(&b);
        l2object_add_new(&b, &a, "pod", "uid-1");
        b.len -= strlen(",\"spec\":{}}");
        buf_addf(&b, ",%s", buf_str(&status) + 1);
        memcpy(strstr(b.p, "\"generateName\""), "\"name\"        ", strlen("\"generateName\""));
        s = decode(&o, buf_str(&b));
        ck_assert_str_eq(s->service_ns, "default");
        ck_assert_str_eq(s->service_name, "web");
        ck_assert(s->owner == l2object_owner("uid-1"));
        ck_assert(s->identity == l2object_identity(long_node, "default", "web"));
        ck_assert(s->interfaces == l2object_interfaces(names, 2));
}
END_TEST

START_TEST(no_interfaces_removes_the_list)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        l2object_add_status(&b, &(struct l2announcement){ "n1", "a", "b", NULL, 0 });
        ck_assert_str_eq(buf_str(&b),
                "{\"status\":{\"node\":\"n1\",\"serviceName\":\"b\",\"serviceNamespace\":\"a\","
                "\"interfaces\":null}}");
        buf_reset(&b);
        l2object_add_owner(&b, "p", "u");
        ck_assert_str_eq(buf_str(&b),
                "{\"metadata\":{\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Pod\","
                "\"name\":\"p\",\"uid\":\"u\"}]}}");
}
END_TEST

START_TEST(label_values_fit)
{
        static const struct {
                const char *name, *want;
        } cases[] = {
                { "", "" },
                { "n1", "n1" },
                { "123456789012345678901234567890123456789012345678901234567890123",
                        "123456789012345678901234567890123456789012345678901234567890123" },
                { "1234567890123456789012345678901234567890123456789012345678901234",
                        "1234567890123456789012345678901234567890-676491965ed3ec50cb7a63" },
                { "1234567890123456789012345678901234567890123456789012345678901235",
                        "1234567890123456789012345678901234567890-89af3573d0f98c5ec6e088" },
        };
        char out[LABEL_VALUE_MAX];

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                ck_assert_str_eq(label_value(out, cases[i].name), cases[i].want);
}
END_TEST

START_TEST(survives_no_memory)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        unsigned n;

        ck_assert_int_eq(json_parse(&tree, statuses[4].json, strlen(statuses[4].json)), 0);
        for (n = 0;; n++) {
                struct object *o = NULL;
                int r;

                fault_arm(n);
                r = l2object_decode(&o, tree);
                if (!fault_disarm()) {
                        object_free(o);
                        break;
                }
                ck_assert_int_eq(r, -ENOMEM);
                ck_assert_ptr_null(o);
        }
        ck_assert_uint_ge(n, 2);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("l2object");
        TCase *tc = tcase_create("l2object");

        tcase_add_loop_test(tc, reads_a_status, 0, (int)ARRAY_LEN(statuses));
        tcase_add_test(tc, digests_tell_apart);
        tcase_add_test(tc, reads_owners);
        tcase_add_test(tc, bodies_read_back);
        tcase_add_test(tc, no_interfaces_removes_the_list);
        tcase_add_test(tc, label_values_fit);
        tcase_add_test(tc, survives_no_memory);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
