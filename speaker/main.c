/* SPDX-License-Identifier: Apache-2.0 */
/* speaker - wires the parts together and takes them down again: the wire thread first, so that a broken exclusion file
 * stops the start; then client, telemetry and control loop. On SIGTERM all of them close at once (the wire thread
 * withdraws everything), then the client, and the loop must be empty. A second signal ends the process. */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/telemetry.h"
#include "speaker/control.h"
#include "speaker/options.h"

struct speaker {
        struct speaker_options opt;
        struct kube_conf kube_conf;
        struct tlsopt tls;
        struct members members; /* nobody tells: every Node counts */
        uv_loop_t loop;
        uv_signal_t on_term, on_int;
        struct metrics *metrics;
        struct wire *wire;
        struct kube *kube;
        struct telemetry *telemetry;
        struct control *control;
        unsigned n_open; /* parts that are still closing */
        bool ending;
};

/* ---- the end ---- */

static void on_kube_closed(void *ctx)
{
        struct speaker *s = ctx;

        s->kube = NULL;
        uv_close((uv_handle_t *)&s->on_term, NULL);
        uv_close((uv_handle_t *)&s->on_int, NULL);
}

static void on_part_closed(void *ctx)
{
        struct speaker *s = ctx;

        if (--s->n_open > 0)
                return;
        if (s->kube)
                kube_close(s->kube, on_kube_closed, s);
        else
                on_kube_closed(s);
}

static void end(struct speaker *s)
{
        if (s->ending)
                return;
        s->ending = true;
        s->n_open = 1u + (s->wire ? 1 : 0) + (s->telemetry ? 1 : 0) + (s->control ? 1 : 0);
        if (s->control)
                control_close(TAKE(s->control), on_part_closed, s);
        if (s->wire)
                wire_close(TAKE(s->wire), on_part_closed, s);
        if (s->telemetry)
                telemetry_close(TAKE(s->telemetry), on_part_closed, s);
        on_part_closed(s);
}

static void on_signal(uv_signal_t *h, int number)
{
        struct speaker *s = h->data;

        if (s->ending) {
                log_error("second signal, ending at once", F_INT("signal", number));
                _exit(1);
        }
        log_info("starting shutdown", F_INT("signal", number));
        end(s);
}

/* ---- between the parts ---- */

static void on_wire(void *ctx, const struct wire_event *ev)
{
        struct speaker *s = ctx;

        if (s->control)
                control_on_wire(s->control, ev);
}

static void post(void *ctx, struct desired *d)
{
        struct speaker *s = ctx;

        if (s->wire)
                wire_post(s->wire, d);
        else
                desired_free(d);
}

static bool is_ready(void *ctx, struct buf *why)
{
        struct speaker *s = ctx;

        if (s->ending || !s->control) {
                buf_adds(why, s->ending ? "ending" : "starting");
                return false;
        }
        return control_is_ready(s->control, why);
}

/* ---- the start ---- */

static int open_wire(struct speaker *s, struct err *e)
{
        const struct wire_conf conf = { .exclude_file = s->opt.exclude_file,
                .refresh_ms = s->opt.refresh_s > 0 ? (uint32_t)s->opt.refresh_s * 1000 : UINT32_MAX,
                .reg = s->metrics,
                .node = s->opt.node_name,
                .on_event = on_wire,
                .ctx = s };

        return wire_new(&s->wire, &s->loop, &conf, e);
}

static int open_telemetry(struct speaker *s, struct err *e)
{
        const struct telemetry_conf conf = { .health_address = "127.0.0.1",
                .health_port = s->opt.health_port,
                .metrics_port = s->opt.port,
                .metrics_plain = s->opt.metrics_plain,
                .cert_dir = s->opt.metrics_cert_dir,
                .tls = &s->tls,
                .is_ready = is_ready,
                .ctx = s,
                .send = s->opt.metrics_plain ? NULL : telemetry_kube_send,
                .send_ctx = s->kube,
                .reg = s->metrics };

        return telemetry_new(&s->telemetry, &s->loop, &conf, e);
}

static int open_control(struct speaker *s)
{
        const struct control_conf conf = { .kube = s->kube,
                .reg = s->metrics,
                .ns = s->opt.ns,
                .node = s->opt.node_name,
                .pod = s->opt.pod_name,
                .lb_class = s->opt.lb_class,
                .ignore_exclude = s->opt.ignore_exclude_lb,
                .hold_ms = (uint32_t)s->opt.hold_ms,
                .members = &s->members,
                .post = post,
                .ctx = s };

        return control_new(&s->control, &conf);
}

static int open_all(struct speaker *s, struct err *e)
{
        int r;

        (void)uv_signal_init(
                &s->loop, &s->on_term); /* without descriptors; then nothing else starts either */
        (void)uv_signal_init(&s->loop, &s->on_int);
        s->on_term.data = s->on_int.data = s;
        r = uv_signal_start(&s->on_term, on_signal, SIGTERM);
        if (r == 0)
                r = uv_signal_start(&s->on_int, on_signal, SIGINT);
        if (r == 0)
                r = open_wire(s, e);
        if (r == 0)
                r = kube_new(&s->kube, &s->loop, &s->kube_conf, NULL, s->metrics, e);
        if (r == 0)
                r = open_telemetry(s, e);
        if (r == 0)
                r = open_control(s);
        return r;
}

static int run(struct speaker *s)
{
        struct err e = { "" };
        int r = metrics_new(&s->metrics), closed;

        if (r == 0)
                r = uv_loop_init(&s->loop);
        if (r < 0) {
                log_error("cannot start", F_ERR(r));
                return 1;
        }
        r = open_all(s, &e);
        if (r < 0) {
                log_error("cannot start", F_STR("error", e.text[0] != '\0' ? e.text : err_name(r)));
                end(s);
        }
        (void)uv_run(&s->loop, UV_RUN_DEFAULT); /* until everything is closed */
        closed = uv_loop_close(&s->loop);
        assert(closed == 0);
        return r < 0 ? 1 : 0;
}

static int configure(struct speaker *s)
{
        struct err e = { "" };
        int r = log_set_level(s->opt.log_level);

        if (r < 0) {
                log_error("--log-level is all, debug, info, warn, error or none",
                        F_STR("log-level", s->opt.log_level));
                return r;
        }
        log_info("MetalLB speaker starting version " VERSION, F_STR("version", VERSION),
                F_STR("implementation", "metallb-c"), F_STR("node", s->opt.node_name));
        r = speaker_options_check(&s->opt, &e);
        if (r == 0)
                r = tlsopt_parse(
                        &s->tls, s->opt.tls_min_version, s->opt.tls_cipher_suites, s->opt.tls_curves, &e);
        if (r == 0)
                r = kube_conf_load(&s->kube_conf, s->opt.kubeconfig, &e);
        if (r == 0 && s->opt.ns[0] == '\0' && s->kube_conf.ns)
                s->opt.ns = s->kube_conf.ns;
        if (r == 0 && s->opt.ns[0] == '\0')
                r = err_set(&e, -EINVAL,
                        "no namespace: not in a pod, and neither --namespace nor METALLB_NAMESPACE given");
        if (r < 0)
                log_error("cannot start", F_STR("error", e.text));
        return r;
}

static void say_settings(const struct speaker *s, const struct flags_found *found)
{
        if (s->tls.skipped)
                log_warn("TLS settings unknown to this OpenSSL are left out",
                        F_STR("skipped", s->tls.skipped));
        if (found->inert[0] != '\0' || s->opt.bgp_type[0] != '\0')
                log_warn("settings that do nothing in this program", F_STR("flags", found->inert),
                        F_STR("METALLB_BGP_TYPE", s->opt.bgp_type));
        log_info(
                "speakers do not watch each other: there must be one on every Node that advertisements select");
}

static int usage(const char *words)
{
        CLEANUP(buf_fini) struct buf text = BUF_INIT;

        if (words)
                (void)fprintf(stderr, "%s\n", words);
        flags_usage(&text, &speaker_flags, "speaker");
        (void)fputs(buf_str(&text), stderr);
        return words ? 2 : 0;
}

int main(int argc, char **argv)
{
        static struct speaker s;
        struct flags_found found;
        struct err e = { "" };
        int status;

        if (speaker_options_parse(&s.opt, &found, argc, argv, getenv, &e) < 0)
                return usage(e.text);
        if (found.help)
                return usage(NULL);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)mallopt(M_ARENA_MAX, 2); /* one for each of the two busy threads */
        if (configure(&s) < 0)
                return 1;
        say_settings(&s, &found);
        status = run(&s);
        (void)metrics_free(s.metrics);
        tlsopt_fini(&s.tls);
        kube_conf_fini(&s.kube_conf);
        log_info("done", F_INT("code", status));
        return status;
}
