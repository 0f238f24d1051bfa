/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/kube/conf.h"
#include "common/kube/file.h"
#include "common/kube/kubeconfig.h"
#include "common/kube/path.h"
#include "common/yaml.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

/* ---- base64 (RFC 4648 section 10, and what files contain) ---- */

static const struct {
        const char *text, *want; /* NULL: ERR_MALFORMED */
} base64[] = {
        { "", "" }, { "Zg==", "f" }, { "Zm8=", "fo" }, { "Zm9v", "foo" }, { "Zm9vYg==", "foob" },
        { "Zm9vYmE=", "fooba" }, { "Zm9vYmFy", "foobar" }, { " Zm9v\r\n\tYmFy\n", "foobar" },
        { "+/+/", "\xfb\xff\xbf" }, { "Zg", NULL }, { "Zg=", NULL }, { "Zg===", NULL }, { "Z===", NULL },
        { "====", NULL }, { "Zg==Zg==", NULL }, { "Z=g=", NULL }, { "Zm9*", NULL }, { "-_-_", NULL },
        { "Zm8AYmFy", NULL }, /* a NUL inside */
};

START_TEST(base64_is_decoded)
{
        char *out = NULL;
        int r = kubeconfig_base64(&out, base64[_i].text);

        ck_assert_msg(r == (base64[_i].want ? 0 : ERR_MALFORMED), "%s: %d", base64[_i].text, r);
        ck_assert_pstr_eq(out, base64[_i].want);
        free(out);
}
END_TEST

/* ---- kubeconfig ---- */

#define CONTEXTS \
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n" \
        "contexts: [{name: b, context: {cluster: no, user: no}}, {name: a, context: {cluster: c, user: u, namespace: " \
        "shop}}]\n"
#define CLUSTERS \
        "clusters: [{name: x, cluster: {}}, {name: c, cluster: {server: 'https://10.0.0.1:6443/'}}]\n"
#define CLUSTER(x) "clusters: [{name: c, cluster: {server: 'https://h', " x "}}]\n"
#define USER(x)    "users: [{name: u, user: {" x "}}]\n"
#define OK         CONTEXTS CLUSTERS USER("token: t")

static const struct {
        const char *name, *text;
        int want;
        const char *words; /* somewhere in the error's words */
        struct kube_conf conf;
} configs[] = {
        { "token", OK, 0, "",
                { .server = (char[]){ "https://10.0.0.1:6443" },
                        .ns = (char[]){ "shop" },
                        .token = (char[]){ "t" } } },
        { "JSON is YAML",
                "{\"current-context\":\"a\",\"contexts\":[{\"name\":\"a\",\"context\":{\"cluster\":\"c\",\"user\":\"\"}}],"
                "\"clusters\":[{\"name\":\"c\",\"cluster\":{\"server\":\"http://h:1\"}}]}",
                0, "", { .server = (char[]){ "http://h:1" } } },
        { "files beside it",
                CONTEXTS CLUSTER("certificate-authority: ca.crt") USER("tokenFile: ../t, client-certificate: "
                                                                       "/abs/c, client-key: k"),
                0, "",
                { .server = (char[]){ "https://h" },
                        .ns = (char[]){ "shop" },
                        .ca_file = (char[]){ "/etc/k/ca.crt" },
                        .token_file = (char[]){ "/etc/k/../t" },
                        .cert_file = (char[]){ "/abs/c" },
                        .key_file = (char[]){ "/etc/k/k" } } },
        { "data inside wins",
                CONTEXTS CLUSTER("certificate-authority: ca.crt, certificate-authority-data: Q0E=") USER(
                        "client-certificate: c, client-certificate-data: Q0VSVA==, client-key-data: S0VZ"),
                0, "",
                { .server = (char[]){ "https://h" },
                        .ns = (char[]){ "shop" },
                        .ca_data = (char[]){ "CA" },
                        .cert_data = (char[]){ "CERT" },
                        .key_data = (char[]){ "KEY" } } },
        { "TLS settings",
                CONTEXTS CLUSTER(
                        "insecure-skip-tls-verify: true, tls-server-name: kube, proxy-url: 'http://p:1'")
                        USER(""),
                0, "",
                { .server = (char[]){ "https://h" },
                        .ns = (char[]){ "shop" },
                        .tls_server_name = (char[]){ "kube" },
                        .proxy_url = (char[]){ "http://p:1" },
                        .insecure = true } },
        { "empty", "", -ENOENT, "no current-context", { .server = NULL } },
        { "a list", "[]", -ENOENT, "no current-context", { .server = NULL } },
        { "no context", "current-context: z\n", -ENOENT, "context \"z\" is not there", { .server = NULL } },
        { "no cluster", CONTEXTS, -ENOENT, "cluster \"c\" is not there", { .server = NULL } },
        { "no user", CONTEXTS CLUSTERS, -ENOENT, "user \"u\" is not there", { .server = NULL } },
        { "no server", CONTEXTS "clusters: [{name: c, cluster: {}}]\n" USER(""), -EINVAL, "has no server",
                { .server = NULL } },
        { "odd server", CONTEXTS "clusters: [{name: c, cluster: {server: 'ftp://h'}}]\n" USER(""), -EINVAL,
                "neither https:// nor http://", { .server = NULL } },
        { "exec", CONTEXTS CLUSTERS USER("exec: {command: aws, apiVersion: x}"), -ENOTSUP, "exec: aws",
                { .server = NULL } },
        { "auth-provider", CONTEXTS CLUSTERS USER("auth-provider: {name: gcp}"), -ENOTSUP,
                "auth-provider gcp", { .server = NULL } },
        { "password", CONTEXTS CLUSTERS USER("username: me, password: x"), -ENOTSUP, "password",
                { .server = NULL } },
        { "certificate without key", CONTEXTS CLUSTERS USER("client-certificate: c"), -EINVAL, "but not both",
                { .server = NULL } },
        { "key without certificate", CONTEXTS CLUSTERS USER("client-key-data: S0VZ"), -EINVAL, "but not both",
                { .server = NULL } },
        { "bad base64", CONTEXTS CLUSTER("certificate-authority-data: '***'") USER(""), -EINVAL,
                "certificate-authority-data is not base64", { .server = NULL } },
        { "odd types", "current-context: 5\ncontexts: {a: b}\nclusters: x\nusers: [1, null, [], {name: 3}]\n",
                -ENOENT, "no current-context", { .server = NULL } },
};

static void conf_equal(const struct kube_conf *got, const struct kube_conf *want)
{
        ck_assert_pstr_eq(got->server, want->server);
        ck_assert_pstr_eq(got->ns, want->ns);
        ck_assert_pstr_eq(got->ca_file, want->ca_file);
        ck_assert_pstr_eq(got->ca_data, want->ca_data);
        ck_assert_pstr_eq(got->token, want->token);
        ck_assert_pstr_eq(got->token_file, want->token_file);
        ck_assert_pstr_eq(got->cert_file, want->cert_file);
        ck_assert_pstr_eq(got->key_file, want->key_file);
        ck_assert_pstr_eq(got->cert_data, want->cert_data);
        ck_assert_pstr_eq(got->key_data, want->key_data);
        ck_assert_pstr_eq(got->tls_server_name, want->tls_server_name);
        ck_assert_pstr_eq(got->proxy_url, want->proxy_url);
        ck_assert_int_eq(got->insecure, want->insecure);
}

static int pick(struct kube_conf *ret, const char *text, struct err *e)
{
        struct kubeconfig_file file = { .path = "/etc/k/config" };
        int r = yaml_parse(&file.tree, text, strlen(text), e);

        if (r == 0)
                r = kubeconfig_pick(ret, &file, 1, e);
        cJSON_Delete(file.tree);
        return r;
}

START_TEST(a_context_is_picked)
{
        struct kube_conf conf = { .server = NULL }, again = { .server = NULL };
        struct err e = { "" };
        int r = pick(&conf, configs[_i].text, &e);

        ck_assert_msg(r == configs[_i].want, "%s: %d %s", configs[_i].name, r, e.text);
        ck_assert_msg(strstr(e.text, configs[_i].words), "%s: %s", configs[_i].name, e.text);
        conf_equal(&conf, &configs[_i].conf);
        ck_assert_int_eq(kube_conf_copy(&again, &conf), 0);
        conf_equal(&again, &configs[_i].conf);
        kube_conf_fini(&again);
        kube_conf_fini(&conf);
        kube_conf_fini(&conf); /* idempotent */
}
END_TEST

START_TEST(any_allocation_of_a_pick_may_fail)
{
        static const char text[] = CONTEXTS CLUSTER("certificate-authority: ca.crt, tls-server-name: x")
                USER("token: t, client-certificate-data: Q0VSVA==, client-key: k");
        struct kubeconfig_file file = { .path = "/etc/k/config" };

        ck_assert_int_eq(yaml_parse(&file.tree, text, strlen(text), NULL), 0);
        for (unsigned n = 0;; n++) {
                struct kube_conf conf = { .server = NULL }, copy = { .server = NULL };
                int r;

                fault_arm(n);
                r = kubeconfig_pick(&conf, &file, 1, NULL);
                if (r == 0)
                        r = kube_conf_copy(&copy, &conf);
                if (!fault_disarm()) {
                        ck_assert_int_eq(r, 0);
                        ck_assert_uint_ge(n, 10);
                        kube_conf_fini(&conf);
                        kube_conf_fini(&copy);
                        break;
                }
                ck_assert_int_eq(r, -ENOMEM);
                ck_assert_ptr_null(copy.server);
                kube_conf_fini(&conf);
        }
        cJSON_Delete(file.tree);
}
END_TEST

/* ---- files and environment ---- */

static char dir[64];

static void put(const char *name, const char *text)
{
        char path[128];
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        f = fopen(path, "w");
        ck_assert_ptr_nonnull(f);
        ck_assert_int_ge(fputs(text, f), 0);
        ck_assert_int_eq(fclose(f), 0);
}

static void setup(void)
{
        (void)snprintf(dir, sizeof(dir), "/tmp/check_kube_conf.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(dir));
        (void)unsetenv("KUBECONFIG");
        (void)unsetenv("KUBERNETES_SERVICE_HOST");
        (void)unsetenv("KUBERNETES_SERVICE_PORT");
        ck_assert_int_eq(setenv("HOME", dir, 1), 0);
}

static void teardown(void)
{
        static const char *const names[] = { "config", "one", "two", ".kube/config", "token", "ca.crt",
                "namespace" };
        char path[128];

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
                (void)unlink(path);
        }
        (void)snprintf(path, sizeof(path), "%s/.kube", dir);
        (void)rmdir(path);
        ck_assert_int_eq(rmdir(dir), 0);
}

static const char *at(const char *name)
{
        static char path[2][128];
        static unsigned n;

        (void)snprintf(path[++n % 2], sizeof(path[0]), "%s/%s", dir, name);
        return path[n % 2];
}

START_TEST(a_named_file_is_read)
{
        struct kube_conf conf = { .server = NULL };
        struct err e = { "" };

        put("config", OK);
        ck_assert_int_eq(kube_conf_load(&conf, at("config"), &e), 0);
        ck_assert_str_eq(conf.server, "https://10.0.0.1:6443");
        kube_conf_fini(&conf);
        ck_assert_int_eq(kube_conf_load(&conf, at("missing"), &e), -ENOENT);
        ck_assert_ptr_nonnull(strstr(e.text, "missing"));
        put("config", "a: [");
        ck_assert_int_eq(kube_conf_load(&conf, at("config"), &e), ERR_MALFORMED);
        ck_assert_ptr_nonnull(strstr(e.text, "config"));
}
END_TEST

START_TEST(files_of_the_environment_are_merged)
{
        struct kube_conf conf = { .server = NULL };
        struct err e = { "" };
        char list[512];

        put("one", "current-context: a\nclusters: [{name: c, cluster: {server: 'https://first'}}]\n");
        put("two", OK);
        (void)snprintf(list, sizeof(list), "%s/none::%s/one:%s/two", dir, dir, dir);
        ck_assert_int_eq(setenv("KUBECONFIG", list, 1), 0);
        ck_assert_int_eq(kube_conf_load(&conf, NULL, &e), 0);
        ck_assert_str_eq(conf.server, "https://first"); /* the first file that knows a name wins */
        ck_assert_str_eq(conf.token, "t");
        kube_conf_fini(&conf);
        ck_assert_int_eq(setenv("KUBECONFIG", at("none"), 1), 0);
        ck_assert_int_eq(kube_conf_load(&conf, "", &e), -ENOENT);
        ck_assert_ptr_nonnull(strstr(e.text, "none"));
}
END_TEST

START_TEST(the_home_folder_is_last)
{
        struct kube_conf conf = { .server = NULL };
        struct err e = { "" };

        ck_assert_int_eq(kube_conf_load(&conf, NULL, &e), -ENOENT);
        ck_assert_ptr_nonnull(strstr(e.text, "no Kubernetes API server is known"));
        ck_assert_int_eq(mkdir(at(".kube"), 0700), 0);
        put(".kube/config", OK);
        ck_assert_int_eq(kube_conf_load(&conf, NULL, &e), 0);
        ck_assert_str_eq(conf.token, "t");
        kube_conf_fini(&conf);
        put(".kube/config", CONTEXTS CLUSTERS USER("exec: {command: aws}")); /* its own words are kept */
        ck_assert_int_eq(kube_conf_load(&conf, NULL, &e), -ENOTSUP);
        ck_assert_ptr_nonnull(strstr(e.text, "exec: aws"));
}
END_TEST

START_TEST(a_pod_knows_its_server)
{
        struct kube_conf conf = { .server = NULL };
        struct err e = { "" };

        ck_assert_int_eq(kube_conf_in_cluster(&conf, dir, "10.96.0.1", "443", &e), -ENOENT);
        ck_assert_ptr_nonnull(strstr(e.text, "service account token"));
        put("token", "secret\n");
        ck_assert_int_eq(kube_conf_in_cluster(&conf, dir, "10.96.0.1", "443", &e), 0);
        ck_assert_str_eq(conf.server, "https://10.96.0.1:443");
        ck_assert_str_eq(conf.token_file, at("token"));
        ck_assert_str_eq(conf.ca_file, at("ca.crt"));
        ck_assert_ptr_null(conf.ns);
        ck_assert_ptr_null(conf.token); /* it rotates: the file is read when it is needed */
        kube_conf_fini(&conf);
        put("namespace", "metallb-system");
        ck_assert_int_eq(kube_conf_in_cluster(&conf, dir, "fd96::1", "6443", &e), 0);
        ck_assert_str_eq(conf.server, "https://[fd96::1]:6443");
        ck_assert_str_eq(conf.ns, "metallb-system");
        kube_conf_fini(&conf);
}
END_TEST

START_TEST(files_are_bounded_texts)
{
        CLEANUP(freep) char *text = NULL;
        struct file_stamp one, two;
        struct err e = { "" };
        FILE *f;

        ck_assert_int_eq(file_read(&text, at("one"), &one, &e), -ENOENT);
        ck_assert_int_eq(file_read(&text, dir, &one, &e), -EISDIR);
        put("one", "text\r\n\n");
        ck_assert_int_eq(file_read(&text, at("one"), &one, &e), 0);
        ck_assert_str_eq(text, "text");
        ck_assert_int_eq(file_stat(&two, at("one")), 0);
        ck_assert(file_stamp_equal(&one, &two));
        put("two", "text");
        ck_assert_int_eq(rename(at("two"), at("one")), 0);
        ck_assert_int_eq(file_stat(&two, at("one")), 0);
        ck_assert(!file_stamp_equal(&one, &two));
        free(TAKE(text));
        put("one", "");
        ck_assert_int_eq(file_read(&text, at("one"), &one, &e), 0);
        ck_assert_str_eq(text, "");
        free(TAKE(text));
        f = fopen(at("one"), "w");
        ck_assert_ptr_nonnull(f);
        ck_assert_uint_eq(fwrite("a\0b", 1, 3, f), 3);
        ck_assert_int_eq(fclose(f), 0);
        ck_assert_int_eq(file_read(&text, at("one"), &one, &e), ERR_MALFORMED);
        ck_assert_int_eq(truncate(at("one"), FILE_TEXT_MAX + 1), 0);
        ck_assert_int_eq(file_read(&text, at("one"), &one, &e), ERR_TOO_BIG);
        ck_assert_int_eq(
                file_read(&text, "/dev/zero", &one, &e), ERR_TOO_BIG); /* says it is empty, and never ends */
        ck_assert_ptr_null(text);
}
END_TEST

/* ---- paths ---- */

static const struct {
        const char *group, *version, *ns, *resource, *name, *sub, *want;
} paths[] = {
        { "", "v1", "", "services", "", "", "/api/v1/services" },
        { NULL, "v1", NULL, "nodes", "n1", NULL, "/api/v1/nodes/n1" },
        { "", "v1", "shop", "services", "web", "status", "/api/v1/namespaces/shop/services/web/status" },
        { "metallb.io", "v1beta1", "metallb-system", "ipaddresspools", NULL, NULL,
                "/apis/metallb.io/v1beta1/namespaces/metallb-system/ipaddresspools" },
        { "", "v1", "a/../b", "services", "x?y=%z", "",
                "/api/v1/namespaces/a%2F..%2Fb/services/x%3Fy%3D%25z" },
};

START_TEST(paths_are_escaped)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        kube_path(&b, paths[_i].group, paths[_i].version, paths[_i].ns, paths[_i].resource, paths[_i].name,
                paths[_i].sub);
        ck_assert_str_eq(buf_str(&b), paths[_i].want);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("kube_conf");
        TCase *pure = tcase_create("pure"), *tc = tcase_create("files");

        tcase_add_loop_test(pure, base64_is_decoded, 0, (int)ARRAY_LEN(base64));
        tcase_add_loop_test(pure, a_context_is_picked, 0, (int)ARRAY_LEN(configs));
        tcase_add_test(pure, any_allocation_of_a_pick_may_fail);
        tcase_add_loop_test(pure, paths_are_escaped, 0, (int)ARRAY_LEN(paths));
        suite_add_tcase(s, pure);
        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_add_test(tc, a_named_file_is_read);
        tcase_add_test(tc, files_of_the_environment_are_merged);
        tcase_add_test(tc, the_home_folder_is_last);
        tcase_add_test(tc, a_pod_knows_its_server);
        tcase_add_test(tc, files_are_bounded_texts);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
