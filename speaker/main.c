/* SPDX-License-Identifier: Apache-2.0 */
/* The speaker: flags, wiring, signals.
 *
 *   kube (client) -> control (decides) -> wire (second thread: answers and announces)
 *
 * SIGTERM and SIGINT end it in the reverse order, a second one at once with exit code 1. Exit codes: 2 for a usage
 * error, 1 for what keeps it from starting. An API server that cannot be reached is no such thing: it keeps trying. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "common/kube/kube.h"
#include "common/log.h"
#include "common/telemetry.h"
#include "speaker/control.h"
#include "speaker/options.h"
#include "speaker/wire.h"

struct app {
        uv_loop_t loop;
        struct speaker_options opts;
        struct kube_conf conf;
        struct tlsopt tls;
        struct metrics *reg;
        struct kube *kube;
        struct wire *wire;
        struct control *control;
        struct telemetry *telemetry;
        struct members members;
        uv_signal_t term, interrupt;
        bool closing;
        unsigned n_open; /* modules of this stage of the end */
};

static void usage(FILE *to)
{
        CLEANUP(buf_fini) struct buf text = BUF_INIT;

        flags_usage(&text, &speaker_flags, "speaker");
        (void)fputs(buf_str(&text), to); /* nobody to tell if this fails */
}

/* The end: first whoever uses the client, then the client, then our own handles. */

static void on_kube_closed(void *ctx)
{
        struct app *a = ctx;

        a->kube = NULL;
        uv_close((uv_handle_t *)&a->term, NULL);
        uv_close((uv_handle_t *)&a->interrupt, NULL);
}

static void on_user_closed(void *ctx)
{
        struct app *a = ctx;

        if (--a->n_open == 0)
                kube_close(a->kube, on_kube_closed, a);
}

static void on_wire_closed(void *ctx)
{
        struct app *a = ctx;

        a->wire = NULL;
        a->n_open = 1;
        if (a->control) {
                a->n_open++;
                control_close(a->control, on_user_closed, a);
        }
        if (a->telemetry) {
                a->n_open++;
                telemetry_close(a->telemetry, on_user_closed, a);
        }
        on_user_closed(a);
}

static void shut(struct app *a)
{
        if (a->closing)
                return;
        a->closing = true;
        if (a->wire)
                wire_close(a->wire, on_wire_closed, a);
        else
                on_wire_closed(a);
}

static void on_signal(uv_signal_t *s, int number)
{
        struct app *a = s->data;

        if (a->closing) {
                log_warn("second signal, leaving at once", F_INT("signal", number));
                exit(1);
        }
        log_info("starting shutdown", F_INT("signal", number));
        shut(a);
}

/* What the parts ask of each other. */

static void post(void *ctx, struct desired *d)
{
        struct app *a = ctx;

        if (a->wire && !a->closing)
                wire_post(a->wire, d);
        else
                (void)desired_free(d);
}

static void on_wire_event(void *ctx, const struct wire_event *ev)
{
        struct app *a = ctx;

        if (a->control && !a->closing)
                control_on_wire(a->control, ev);
}

static bool is_ready(void *ctx, struct buf *why)
{
        const struct app *a = ctx;

        if (a->closing) {
                buf_adds(why, "shutting down");
                return false;
        }
        return control_is_ready(a->control, why);
}

/* The start. */

static int start_telemetry(struct app *a, struct err *e)
{
        const struct telemetry_conf conf = {
                .health_address = "127.0.0.1",
                .health_port = a->opts.health_port,
                .metrics_port = a->opts.port,
                .metrics_plain = a->opts.metrics_plain,
                .cert_dir = a->opts.metrics_cert_dir,
                .tls = &a->tls,
                .is_ready = is_ready,
                .ctx = a,
                .send = a->opts.metrics_plain ? NULL : telemetry_kube_send,
                .send_ctx = a->kube,
                .reg = a->reg,
        };

        return telemetry_new(&a->telemetry, &a->loop, &conf, e);
}

static int start_wire(struct app *a, struct err *e)
{
        const struct wire_conf conf = {
                .exclude_file = a->opts.exclude_file,
                .refresh_ms = a->opts.refresh_s ? (uint32_t)a->opts.refresh_s * 1000 : UINT32_MAX,
                .reg = a->reg,
                .node = a->opts.node_name,
                .on_event = on_wire_event,
                .ctx = a,
        };

        return wire_new(&a->wire, &a->loop, &conf, e);
}

static int start_control(struct app *a, struct err *e)
{
        const struct control_conf conf = {
                .kube = a->kube,
                .reg = a->reg,
                .ns = a->opts.ns[0] != '\0' ? a->opts.ns : a->conf.ns,
                .node = a->opts.node_name,
                .pod = a->opts.pod_name,
                .lb_class = a->opts.lb_class,
                .ignore_exclude = a->opts.ignore_exclude_lb,
                .hold_ms = (uint32_t)a->opts.hold_ms,
                .members = &a->members,
                .post = post,
                .ctx = a,
        };
        int r;

        if (!conf.ns)
                return err_set(e, -EINVAL, "no namespace: give --namespace or METALLB_NAMESPACE");
        r = control_new(&a->control, &conf);
        return r < 0 ? err_set(e, r, "cannot watch the cluster: %s", err_name(r)) : 0;
}

static int start(struct app *a, struct err *e)
{
        int r = kube_new(&a->kube, &a->loop, &a->conf, NULL, a->reg, e);

        if (r < 0)
                return r;
        (void)uv_signal_init(
                &a->loop, &a->term); /* libuv: fails only without descriptors, then starting does too */
        (void)uv_signal_init(&a->loop, &a->interrupt);
        a->term.data = a->interrupt.data = a;
        r = uv_signal_start(&a->term, on_signal, SIGTERM);
        if (r == 0)
                r = uv_signal_start(&a->interrupt, on_signal, SIGINT);
        if (r < 0)
                (void)err_set(e, r, "cannot wait for signals: %s", err_name(r));
        if (r == 0)
                r = start_wire(a, e);
        if (r == 0)
                r = start_control(a, e);
        if (r == 0)
                r = start_telemetry(a, e);
        if (r < 0)
                shut(a);
        return r;
}

static int run(struct app *a)
{
        struct err e = { "" };
        int r = metrics_new(&a->reg);

        if (r == 0)
                r = tlsopt_parse(
                        &a->tls, a->opts.tls_min_version, a->opts.tls_cipher_suites, a->opts.tls_curves, &e);
        if (r == 0)
                r = kube_conf_load(&a->conf, a->opts.kubeconfig, &e);
        if (r == 0)
                r = uv_loop_init(&a->loop);
        if (r < 0) {
                log_error("cannot start", F_STR("error", e.text[0] != '\0' ? e.text : err_name(r)));
                return 1;
        }
        r = start(a, &e);
        if (r < 0)
                log_error("cannot start", F_STR("error", e.text[0] != '\0' ? e.text : err_name(r)));
        (void)uv_run(&a->loop, UV_RUN_DEFAULT); /* ends when everything is closed */
        if (uv_loop_close(&a->loop) != 0) {
                log_error("handles left open at the end");
                abort();
        }
        return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
        struct app a = { .closing = false };
        struct flags_found found;
        struct err e = { "" };
        int r = speaker_options_parse(&a.opts, &found, argc, argv, getenv, &e);

        if (r < 0 || found.help) {
                if (r < 0)
                        (void)fprintf(stderr, "%s\n", e.text);
                usage(r < 0 ? stderr : stdout);
                return r < 0 ? 2 : 0;
        }
        (void)signal(SIGPIPE, SIG_IGN); /* a reader that goes away shows as an error where it is written to */
        if (log_set_level(a.opts.log_level) < 0) {
                log_error("unknown log level", F_STR("level", a.opts.log_level));
                return 1;
        }
        log_info("MetalLB speaker starting version " VERSION, F_STR("version", VERSION),
                F_STR("node", a.opts.node_name));
        if (found.inert[0] != '\0' || a.opts.bgp_type[0] != '\0')
                log_warn("BGP and old settings are accepted and do nothing here", F_STR("flags", found.inert),
                        F_STR("METALLB_BGP_TYPE", a.opts.bgp_type));
        r = speaker_options_check(&a.opts, &e);
        if (r < 0) {
                log_error("cannot start", F_STR("error", e.text));
                return 1;
        }
        r = run(&a);
        (void)metrics_free(a.reg);
        tlsopt_fini(&a.tls);
        kube_conf_fini(&a.conf);
        log_info("done");
        return r;
}
