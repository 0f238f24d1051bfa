/* SPDX-License-Identifier: Apache-2.0 */
/* The whole control side against a fake API server; the wire thread is a function that keeps the last set. This node is
 * n1, and 192.168.1.200 is its own as long as it may have it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/log.h"
#include "speaker/control.h"
#include "test/lib/fakeapi.h"
#include "test/lib/fakekube.h"
#include "test/lib/fault.h"
#include "test/lib/unit.h"

#define CR        "/apis/metallb.io/v1beta1/namespaces/lb/"
#define SERVICE_C "/api/v1/services"
#define SLICE_C   "/apis/discovery.k8s.io/v1/endpointslices"
#define NODE_C    "/api/v1/nodes"
#define POOL_C    CR "ipaddresspools"
#define AD_C      CR "l2advertisements"
#define STATE_C   CR "servicel2statuses"
#define EVENT_C   "/api/v1/namespaces/default/events"

struct rig {
        uv_loop_t loop;
        struct fakekube *api;
        struct kube *kube;
        struct metrics *reg;
        struct control *control;
        struct members members;
        unsigned n_closed, n_posts;
        char desired[32768]; /* as text */
        const char *want;
        int log_fd;
        uint32_t hold_ms;
};

static void on_closed(void *ctx)
{
        struct rig *r = ctx;

        r->n_closed++;
}

static void on_post(void *ctx, struct desired *d)
{
        struct rig *r = ctx;
        char text[IP_TEXT_MAX];

        r->n_posts++;
        r->desired[0] = '\0';
        for (size_t i = 0; i < d->n; i++)
                (void)snprintf(r->desired + strlen(r->desired), sizeof(r->desired) - strlen(r->desired),
                        "%s%s", i > 0 ? " " : "", ip_format(&d->vips[i].ip, text));
        desired_free(d);
}

/* ---- objects ---- */

static void put_node(struct rig *r, const char *name)
{
        char json[256];

        (void)snprintf(json, sizeof(json), "{\"metadata\":{\"name\":\"%s\"}}", name);
        fakekube_put(r->api, NODE_C, json);
}

static void put_pool(struct rig *r, const char *name, const char *range)
{
        char json[256];

        (void)snprintf(json, sizeof(json),
                "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"lb\"},\"spec\":{\"addresses\":[\"%s\"]}}",
                name, range);
        fakekube_put(r->api, POOL_C, json);
}

static void put_ad(struct rig *r, const char *name, const char *spec)
{
        char json[512];

        (void)snprintf(json, sizeof(json),
                "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"lb\"},\"spec\":%s}", name, spec);
        fakekube_put(r->api, AD_C, json);
}

static void put_service(struct rig *r, const char *name, const char *ip)
{
        char json[512];

        (void)snprintf(json, sizeof(json),
                "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"default\"},\"spec\":{\"type\":\"LoadBalancer\"},"
                "\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":\"%s\"}]}}}",
                name, ip);
        fakekube_put(r->api, SERVICE_C, json);
        (void)snprintf(json, sizeof(json),
                "{\"metadata\":{\"name\":\"%s-x\",\"namespace\":\"default\",\"labels\":{\"kubernetes.io/service-name\":"
                "\"%s\"}},\"endpoints\":[{\"nodeName\":\"n2\",\"conditions\":{\"ready\":true}}]}",
                name, name);
        fakekube_put(r->api, SLICE_C, json);
}

static void put_basics(struct rig *r)
{
        put_node(r, "n1");
        put_node(r, "n2");
        put_node(r, "n3");
        put_pool(r, "p", "192.168.1.0/24");
        put_ad(r, "a", "{}");
        fakekube_put(r->api, "/api/v1/namespaces/lb/pods",
                "{\"metadata\":{\"name\":\"speaker-x\",\"namespace\":\"lb\",\"uid\":\"pod-uid\"}}");
}

/* ---- the rig ---- */

static int start(struct rig *r, struct control **ret)
{
        return control_new(ret,
                &(struct control_conf){ .kube = r->kube,
                        .reg = r->reg,
                        .ns = "lb",
                        .node = "n1",
                        .pod = "speaker-x",
                        .lb_class = "",
                        .hold_ms = r->hold_ms,
                        .members = &r->members,
                        .post = on_post,
                        .ctx = r });
}

static void rig_init(struct rig *r)
{
        char path[] = "/tmp/check_control.XXXXXX";
        struct kube_conf conf = { 0 };

        *r = (struct rig){ 0 };
        r->log_fd = mkstemp(path);
        ck_assert_int_ge(r->log_fd, 0);
        ck_assert_int_eq(unlink(path), 0);
        log_set_fd(r->log_fd);
        ck_assert_int_eq(uv_loop_init(&r->loop), 0);
        ck_assert_int_eq(metrics_new(&r->reg), 0);
        r->api = fakekube_new(&r->loop);
        conf.server = strdup(fakekube_url(r->api));
        ck_assert_int_eq(kube_new(&r->kube, &r->loop, &conf, NULL, r->reg, NULL), 0);
        kube_conf_fini(&conf);
}

static void rig_start(struct rig *r)
{
        ck_assert_int_eq(start(r, &r->control), 0);
}

static bool one_closed(void *ctx)
{
        return ((struct rig *)ctx)->n_closed == 1;
}

static void rig_stop(struct rig *r)
{
        r->n_closed = 0;
        control_close(r->control, on_closed, r);
        ck_assert(fake_run_until(&r->loop, one_closed, r));
        r->control = NULL;
}

static void rig_fini(struct rig *r)
{
        if (r->control)
                rig_stop(r);
        kube_close(r->kube, on_closed, r);
        fakekube_close(r->api);
        fake_finish(&r->loop);
        metrics_free(r->reg);
        log_set_fd(1);
        (void)close(r->log_fd);
}

static bool desires(void *ctx)
{
        struct rig *r = ctx;

        return r->n_posts > 0 && strcmp(r->desired, r->want) == 0;
}

static void expect_desired(struct rig *r, const char *want)
{
        r->want = want;
        ck_assert_msg(fake_run_until(&r->loop, desires, r), "desired \"%s\", not \"%s\"", r->desired, want);
}

/* How many log lines have all of the words, each after the one before. */
static unsigned logged(struct rig *r, const char *first, const char *second)
{
        static char text[1 << 20];
        ssize_t len = pread(r->log_fd, text, sizeof(text) - 1, 0);
        unsigned n = 0;

        ck_assert_int_ge(len, 0);
        text[len] = '\0';
        for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
                *end = '\0';
                n += strstr(line, first) && strstr(line, second);
        }
        return n;
}

static bool has_metric(struct rig *r, const char *line)
{
        CLEANUP(buf_fini) struct buf b = BUF_INIT;

        metrics_print(r->reg, &b);
        return strstr(buf_str(&b), line) != NULL;
}

/* Sum of the counts of the Events with this reason. */
static unsigned events(struct rig *r, const char *reason)
{
        unsigned n = 0;

        for (size_t i = 0; fakekube_at(r->api, EVENT_C, i); i++)
                n += strcmp(json_str_at(fakekube_at(r->api, EVENT_C, i), "reason", ""), reason) == 0;
        return n;
}

static bool has_state(void *ctx)
{
        struct rig *r = ctx;

        return fakekube_count(r->api, STATE_C) == 1 &&
                json_at(fakekube_at(r->api, STATE_C, 0), "status.node");
}

static bool has_no_state(void *ctx)
{
        return fakekube_count(((struct rig *)ctx)->api, STATE_C) == 0;
}

static bool is_ready(void *ctx)
{
        CLEANUP(buf_fini) struct buf words = BUF_INIT;

        return control_is_ready(((struct rig *)ctx)->control, &words);
}

/* ---- the tests ---- */

START_TEST(from_a_service_to_everything)
{
        struct rig r;

        rig_init(&r);
        put_basics(&r);
        rig_start(&r);
        expect_desired(&r, "");
        put_service(&r, "web", "192.168.1.200");
        expect_desired(&r, "192.168.1.200");
        ck_assert(fake_run_until(&r.loop, has_state, &r));
        fake_run_for(&r.loop, 300);
        ck_assert_uint_eq(logged(&r, "service has IP, announcing", "\"service\":\"default/web\""), 1);
        ck_assert_uint_eq(logged(&r, "\"event\":\"serviceAnnounced\"", "\"ips\":[\"192.168.1.200\"]"), 1);
        ck_assert_uint_eq(logged(&r, "announcing", "\"pool\":\"p\""), 1);
        ck_assert_uint_eq(events(&r, "nodeAssigned"), 1);
        ck_assert_str_eq(json_str_at(fakekube_at(r.api, EVENT_C, 0), "message", ""),
                "announcing from node \"n1\" with protocol \"layer2\"");
        ck_assert_str_eq(
                json_str_at(fakekube_at(r.api, EVENT_C, 0), "source.component", ""), "metallb-speaker");
        ck_assert(has_metric(&r,
                "metallb_speaker_announced{ip=\"192.168.1.200\",node=\"n1\",protocol=\"layer2\","
                "service=\"default/web\"} 1\n"));
        ck_assert(has_metric(&r, "metallb_speaker_addresses{reason=\"announced\"} 1\n"));
        ck_assert(has_metric(&r, "metallb_speaker_addresses_by_candidates{able_nodes=\"3+\"} 1\n"));
        ck_assert(has_metric(&r, "metallb_k8s_client_config_loaded_bool 1\n"));
        ck_assert(has_metric(&r, "metallb_k8s_client_config_stale_bool 0\n"));
        ck_assert_str_eq(
                json_str_at(cJSON_GetArrayItem(
                                    json_at(fakekube_at(r.api, STATE_C, 0), "metadata.ownerReferences"), 0),
                        "uid", ""),
                "pod-uid");

        fakekube_remove(r.api, SERVICE_C, "default", "web");
        expect_desired(&r, "");
        ck_assert(fake_run_until(&r.loop, has_no_state, &r));
        ck_assert_uint_eq(logged(&r, "withdrawing service announcement", "\"reason\":\"serviceDeleted\""), 1);
        ck_assert(!has_metric(&r, "metallb_speaker_announced{"));
        rig_fini(&r);
}
END_TEST

START_TEST(nothing_is_said_twice)
{
        struct rig r;
        char json[512];

        rig_init(&r);
        put_basics(&r);
        put_service(&r, "web", "192.168.1.200");
        rig_start(&r);
        expect_desired(&r, "192.168.1.200");
        ck_assert(fake_run_until(&r.loop, has_state, &r));
        fake_run_for(&r.loop, 2500); /* with the look for what others left */
        fakekube_reset_writes(r.api);
        r.n_posts = 0;
        for (int i = 0; i < 20; i++) { /* everything changes, and nothing by it */
                put_service(&r, "web", "192.168.1.200");
                put_pool(&r, "p", "192.168.1.0/24");
                put_node(&r, "n2");
                put_ad(&r, "a", "{}");
                (void)snprintf(json, sizeof(json),
                        "{\"metadata\":{\"name\":\"n3\"},\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"%s\"}]}}",
                        i % 2 ? "True" : "False");
                fakekube_put(r.api, NODE_C, json);
                fake_run_for(&r.loop, 10);
        }
        fake_run_for(&r.loop, 200);
        ck_assert_str_eq(fakekube_writes(r.api), "");
        ck_assert_uint_eq(r.n_posts, 0);
        ck_assert_uint_eq(logged(&r, "announc", "192.168.1.200"), 1);
        rig_stop(&r);

        /* A restart: no event for what was so before. */
        rig_start(&r);
        ck_assert(fake_run_until(&r.loop, is_ready, &r));
        fake_run_for(&r.loop, 2500);
        ck_assert_str_eq(fakekube_writes(r.api), "");
        ck_assert_uint_eq(events(&r, "nodeAssigned"), 1);
        rig_fini(&r);
}
END_TEST

START_TEST(nothing_before_all_is_known)
{
        CLEANUP(buf_fini) struct buf words = BUF_INIT;
        struct rig r;

        rig_init(&r);
        put_basics(&r);
        put_service(&r, "web", "192.168.1.200");
        fakekube_fail(r.api, "GET", "endpointslices", 403, 2);
        rig_start(&r);
        fake_run_for(&r.loop, 100);
        ck_assert_uint_eq(r.n_posts, 0);
        ck_assert(!control_is_ready(r.control, &words));
        ck_assert_ptr_nonnull(strstr(buf_str(&words), "endpointslices"));
        expect_desired(&r, "192.168.1.200");
        ck_assert_uint_eq(r.n_posts, 1); /* nothing was posted in between */
        ck_assert(fake_run_until(&r.loop, is_ready, &r));
        ck_assert_uint_eq(logged(&r, "cannot be used; trying again", "endpointslices"), 1);
        rig_fini(&r);
}
END_TEST

START_TEST(the_server_is_not_there)
{
        CLEANUP(buf_fini) struct buf words = BUF_INIT;
        struct kube_conf conf = { .server = strdup("http://127.0.0.1:1") };
        struct kube *fine;
        struct rig r;

        rig_init(&r);
        fine = r.kube;
        ck_assert_int_eq(kube_new(&r.kube, &r.loop, &conf, NULL, r.reg, NULL), 0);
        kube_conf_fini(&conf);
        rig_start(&r);
        fake_run_for(&r.loop, 1000);
        ck_assert(!control_is_ready(r.control, &words));
        ck_assert_ptr_nonnull(strstr(buf_str(&words), "cannot be used"));
        ck_assert_uint_eq(logged(&r, "cannot be used", ""), 1); /* once for all five kinds */
        ck_assert_uint_eq(r.n_posts, 0);
        rig_stop(&r);
        kube_close(fine, on_closed, &r);
        rig_fini(&r);
}
END_TEST

START_TEST(the_server_goes_and_comes_back)
{
        struct rig r;

        rig_init(&r);
        put_basics(&r);
        put_service(&r, "web", "192.168.1.200");
        rig_start(&r);
        expect_desired(&r, "192.168.1.200");
        fake_run_for(&r.loop, 200);
        r.n_posts = 0;
        fakekube_fail(r.api, "GET", "", 500, 40);
        fakekube_cut(r.api);
        fake_run_for(&r.loop, 600);
        ck_assert_uint_eq(r.n_posts, 0);
        ck_assert_str_eq(r.desired, "192.168.1.200");
        put_service(&r, "api", "192.168.1.201"); /* while it cannot be read */
        fakekube_fail(r.api, "GET", "", 500, 0);
        put_ad(&r, "b", "{}");
        ck_assert(fake_run_until(&r.loop, is_ready, &r));
        fakekube_remove(r.api, SERVICE_C, "default", "web");
        expect_desired(&r, "");
        ck_assert_uint_eq(logged(&r, "cannot be used; trying again", ""), 1);
        rig_fini(&r);
}
END_TEST

START_TEST(a_mistake_hurts_only_itself)
{
        struct rig r;

        rig_init(&r);
        put_basics(&r);
        put_service(&r, "web", "192.168.1.200");
        put_pool(&r, "bad", "nonsense");
        put_ad(&r, "bad", "{\"ipAddressPools\":[\"p\",\"p\"]}");
        rig_start(&r);
        expect_desired(&r, "192.168.1.200");
        ck_assert(has_metric(&r, "metallb_k8s_client_config_stale_bool 1\n"));
        ck_assert_uint_eq(logged(&r, "IPAddressPool has an error", "\"pool\":\"bad\""), 1);
        ck_assert_uint_eq(logged(&r, "L2Advertisement has an error", "\"advertisement\":\"bad\""), 1);
        fake_run_for(&r.loop, 300);
        ck_assert_str_eq(
                json_str_at(fakekube_get(r.api, CR "configurationstates", "speaker-n1"), "status.result", ""),
                "Invalid");
        ck_assert_ptr_nonnull(strstr(json_str_at(fakekube_get(r.api, CR "configurationstates", "speaker-n1"),
                                             "status.errorSummary", ""),
                "L2Advertisement \"bad\": "));
        put_pool(&r, "bad", "192.168.9.0/24");
        fakekube_remove(r.api, AD_C, "lb", "bad");
        fake_run_for(&r.loop, 300);
        ck_assert_str_eq(
                json_str_at(fakekube_get(r.api, CR "configurationstates", "speaker-n1"), "status.result", ""),
                "Valid");
        ck_assert(has_metric(&r, "metallb_k8s_client_config_stale_bool 0\n"));
        ck_assert_uint_eq(logged(&r, "mended", "\"name\":\"bad\""), 1);
        rig_fini(&r);
}
END_TEST

START_TEST(an_interface_that_is_not_there)
{
        static const struct wire_link links[] = { { .name = "eth0" }, { .name = "eth7" } };
        struct rig r;

        rig_init(&r);
        put_basics(&r);
        put_ad(&r, "a", "{\"interfaces\":[\"eth7\"]}");
        put_service(&r, "web", "192.168.1.200");
        rig_start(&r);
        control_on_wire(r.control, &(struct wire_event){ .type = WIRE_LINKS, .links = links, .n_links = 1 });
        expect_desired(&r, "192.168.1.200"); /* it answers as soon as there is one */
        fake_run_for(&r.loop, 300);
        ck_assert_uint_eq(logged(&r, "\"event\":\"announceFailed\"", "192.168.1.200"), 1);
        ck_assert_uint_eq(events(&r, "announceFailed"), 1);
        ck_assert_uint_eq(events(&r, "nodeAssigned"), 0);
        ck_assert(!has_metric(&r, "metallb_speaker_announced{"));
        ck_assert_uint_eq(fakekube_count(r.api, STATE_C), 0);
        control_on_wire(r.control, &(struct wire_event){ .type = WIRE_LINKS, .links = links, .n_links = 2 });
        ck_assert(fake_run_until(&r.loop, has_state, &r));
        ck_assert(has_metric(&r, "metallb_speaker_announced{"));
        ck_assert_uint_eq(logged(&r, "announcing", "\"interfaces\":[\"eth7\"]"), 1);
        control_on_wire(r.control, &(struct wire_event){ .type = WIRE_LINKS, .links = links, .n_links = 1 });
        ck_assert(fake_run_until(&r.loop, has_no_state, &r));
        ck_assert(!has_metric(&r, "metallb_speaker_announced{"));
        rig_fini(&r);
}
END_TEST

START_TEST(the_wire_reports)
{
        struct rig r;
        struct wire_event ev = { .type = WIRE_CONFLICT, .mac = { 2, 0, 0, 0, 0, 9 }, .link_name = "eth0" };

        rig_init(&r);
        rig_start(&r);
        ck_assert_int_eq(ip_parse(&ev.ip, "192.168.1.200"), 0);
        for (int i = 0; i < 5; i++)
                control_on_wire(r.control, &ev);
        ck_assert_uint_eq(logged(&r, "addressConflict", "02:00:00:00:00:09"), 1);
        control_on_wire(r.control, &(struct wire_event){ .type = WIRE_WARNING, .words = "no socket" });
        ck_assert_uint_eq(logged(&r, "\"level\":\"warn\"", "no socket"), 1);
        rig_fini(&r);
}
END_TEST

/* The first change goes at once; with many addresses the next ones are gathered. */
START_TEST(many_services_are_few_posts)
{
        struct rig r;
        char name[32], ip[32];

        rig_init(&r);
        put_node(&r, "n1");
        put_pool(&r, "p", "10.0.0.0/16");
        put_ad(&r, "a", "{}");
        rig_start(&r);
        expect_desired(&r, "");
        r.n_posts = 0;
        for (int i = 0; i < 1000; i++) {
                (void)snprintf(name, sizeof(name), "s%d", i);
                (void)snprintf(ip, sizeof(ip), "10.0.%d.%d", i / 250, i % 250 + 1);
                put_service(&r, name, ip);
                if (i % 10 == 0)
                        fake_run_for(&r.loop, 1);
        }
        r.want = "all";
        for (int i = 0; i < 2000 && !has_metric(&r, "metallb_speaker_addresses{reason=\"announced\"} 1000\n");
                i++)
                fake_run_for(&r.loop, 10);
        fake_run_for(&r.loop, 100);
        ck_assert(has_metric(&r, "metallb_speaker_addresses{reason=\"announced\"} 1000\n"));
        ck_assert_ptr_nonnull(strstr(r.desired, "10.0.3.250"));
        ck_assert_uint_lt(r.n_posts, 500);
        rig_fini(&r);
}
END_TEST

START_TEST(closes_at_any_step)
{
        struct rig r;

        rig_init(&r);
        put_basics(&r);
        put_service(&r, "web", "192.168.1.200");
        rig_start(&r);
        for (int i = 0; i < _i * 4; i++)
                (void)uv_run(&r.loop, UV_RUN_NOWAIT);
        rig_fini(&r);
}
END_TEST

START_TEST(survives_no_memory_at_birth)
{
        struct rig r;
        unsigned n;

        rig_init(&r);
        put_basics(&r);
        for (n = 0;; n++) {
                bool failed;
                int code;

                fault_arm(n);
                code = start(&r, &r.control);
                failed = fault_disarm();
                ck_assert(code == 0 || (code == -ENOMEM && failed));
                if (r.control)
                        rig_stop(&r);
                if (!failed)
                        break;
        }
        ck_assert_uint_gt(n, 20);
        rig_fini(&r);
}
END_TEST

/* Memory is short once, anywhere while it works: everything comes to the same end. */
START_TEST(survives_no_memory_at_work)
{
        struct rig r;

        rig_init(&r);
        put_basics(&r);
        rig_start(&r);
        expect_desired(&r, "");
        put_service(&r, "web", "192.168.1.200");
        fault_arm((unsigned)_i * 5);
        for (int i = 0; i < 40; i++)
                (void)uv_run(&r.loop, UV_RUN_NOWAIT);
        (void)fault_disarm();
        expect_desired(&r, "192.168.1.200");
        ck_assert(fake_run_until(&r.loop, has_state, &r));
        rig_fini(&r);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("control");
        TCase *tc = tcase_create("control");

        tcase_set_timeout(tc, 60);
        tcase_add_test(tc, from_a_service_to_everything);
        tcase_add_test(tc, nothing_is_said_twice);
        tcase_add_test(tc, nothing_before_all_is_known);
        tcase_add_test(tc, the_server_is_not_there);
        tcase_add_test(tc, the_server_goes_and_comes_back);
        tcase_add_test(tc, a_mistake_hurts_only_itself);
        tcase_add_test(tc, an_interface_that_is_not_there);
        tcase_add_test(tc, the_wire_reports);
        tcase_add_test(tc, many_services_are_few_posts);
        tcase_add_loop_test(tc, closes_at_any_step, 0, 40);
        tcase_add_test(tc, survives_no_memory_at_birth);
        tcase_add_loop_test(tc, survives_no_memory_at_work, 0, 40);
        suite_add_tcase(s, tc);
        return unit_main(s);
}
