/* SPDX-License-Identifier: Apache-2.0 */
/* The controller: flags, wiring, signals.
 *
 *   kube (client) -> leader (may we?) -> reconcile (caches, allocator, writes), made anew for each term
 *
 * SIGTERM and SIGINT: what was sent may end (STOP_MS), the lease is given up, everything closes in the reverse order; a
 * second signal ends at once with exit code 1. Exit codes: 2 for a usage error, 1 for what keeps it from starting.
 * An API server that cannot be reached is no such thing: it keeps trying. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "common/kube/confstate.h"
#include "common/kube/event.h"
#include "common/kube/kube.h"
#include "common/log.h"
#include "common/telemetry.h"
#include "controller/leader.h"
#include "controller/options.h"
#include "controller/owner.h"
#include "controller/reconcile.h"
#include "controller/secret.h"

#define STOP_MS 2000
#define LOOK_MS 20 /* between looks whether all writes have ended */

struct app {
        uv_loop_t loop;
        struct options opts;
        const char *ns;
        struct kube_conf conf;
        struct tlsopt tls;
        struct metrics *reg;
        struct kube *kube;
        struct events *events;
        struct confstate *confstate;
        struct owner *owner;
        struct secret *secret;
        struct leader *leader;
        struct reconcile *reconcile; /* while we lead */
        bool reconcile_closing; /* of the last term */
        struct telemetry *telemetry;
        uv_signal_t term, interrupt;
        uv_timer_t stop; /* of the end */
        uint64_t stop_ms;
        bool stopping, closing;
        unsigned n_open; /* modules of this stage of the end */
};

static void usage(FILE *to)
{
        CLEANUP(buf_fini) struct buf text = BUF_INIT;

        flags_usage(&text, &options_flags, "controller");
        (void)fputs(buf_str(&text), to); /* nobody to tell if this fails */
}

/* ---- the end: writes, lease, whoever uses the client, the client, our own handles ---- */

static void on_kube_closed(void *ctx)
{
        struct app *a = ctx;

        uv_close((uv_handle_t *)&a->term, NULL);
        uv_close((uv_handle_t *)&a->interrupt, NULL);
        uv_close((uv_handle_t *)&a->stop, NULL);
}

static void on_part_closed(void *ctx)
{
        struct app *a = ctx;

        if (--a->n_open == 0)
                kube_close(a->kube, on_kube_closed, a);
}

static void close_helpers(struct app *a)
{
        a->n_open = 1;
        if (a->events && ++a->n_open)
                events_close(a->events, on_part_closed, a);
        if (a->confstate && ++a->n_open)
                confstate_close(a->confstate, on_part_closed, a);
        on_part_closed(a);
}

static void on_user_closed(void *ctx)
{
        struct app *a = ctx;

        if (--a->n_open == 0)
                close_helpers(a);
}

static void shut(struct app *a)
{
        if (a->closing)
                return;
        a->closing = true;
        a->n_open = 1 + a->reconcile_closing;
        if (a->reconcile && !a->reconcile_closing && ++a->n_open)
                reconcile_close(a->reconcile, on_user_closed, a);
        if (a->leader && ++a->n_open)
                leader_close(a->leader, on_user_closed, a);
        if (a->secret && ++a->n_open)
                secret_close(a->secret, on_user_closed, a);
        if (a->owner && ++a->n_open)
                owner_close(a->owner, on_user_closed, a);
        if (a->telemetry && ++a->n_open)
                telemetry_close(a->telemetry, on_user_closed, a);
        on_user_closed(a);
}

static void on_released(void *ctx)
{
        shut(ctx);
}

static void on_stop(uv_timer_t *t)
{
        struct app *a = t->data;

        if (a->reconcile && !reconcile_is_idle(a->reconcile) && uv_now(&a->loop) - a->stop_ms < STOP_MS)
                return;
        (void)uv_timer_stop(t); /* never fails */
        if (a->leader)
                leader_release(a->leader, on_released, a);
        else
                shut(a);
}

static void on_signal(uv_signal_t *s, int number)
{
        struct app *a = s->data;

        if (a->stopping || a->closing) {
                log_warn("second signal, leaving at once", F_INT("signal", number));
                exit(1);
        }
        log_info("starting shutdown", F_INT("signal", number));
        a->stopping = true;
        a->stop_ms = uv_now(&a->loop);
        if (a->reconcile)
                reconcile_stop(a->reconcile);
        (void)uv_timer_start(&a->stop, on_stop, 0, LOOK_MS); /* fails only for a closing handle */
}

/* ---- terms of leadership ---- */

static bool may_write(void *ctx, unsigned for_ms)
{
        const struct app *a = ctx;

        return leader_may_write(a->leader, for_ms);
}

static void begin_term(struct app *a)
{
        struct reconcile_conf conf = {
                .kube = a->kube,
                .events = a->events,
                .confstate = a->confstate,
                .ns = a->ns,
                .lb_class = a->opts.lb_class,
                .reuse_delay_ms = a->opts.reuse_delay_ms,
                .may_write = may_write,
                .ctx = a,
        };
        int r = uv_random(NULL, NULL, &conf.seed, sizeof(conf.seed), 0, NULL);

        if (r == 0)
                r = reconcile_new(&a->reconcile, &conf);
        if (r == 0)
                return;
        log_error("cannot begin to work, leaving", F_ERR(r)); /* the kubelet starts us again */
        exit(1);
}

static void on_term_closed(void *ctx)
{
        struct app *a = ctx;

        a->reconcile = NULL;
        a->reconcile_closing = false;
        if (a->closing)
                on_user_closed(a);
        else if (!a->stopping && leader_is_leading(a->leader))
                begin_term(a);
}

static void on_leader_change(void *ctx, bool leading)
{
        struct app *a = ctx;

        if (a->closing || a->stopping)
                return;
        if (leading && !a->reconcile) {
                begin_term(a);
        } else if (!leading && a->reconcile && !a->reconcile_closing) {
                a->reconcile_closing = true;
                reconcile_close(a->reconcile, on_term_closed, a);
        }
}

/* ---- what others ask ---- */

static bool is_ready(void *ctx, struct buf *why)
{
        struct app *a = ctx;

        if (a->stopping || a->closing) {
                buf_adds(why, "shutting down");
                return false;
        }
        if (a->opts.webhook_mode == WEBHOOK_ONLY)
                return true;
        if (a->reconcile && !a->reconcile_closing)
                return reconcile_is_ready(a->reconcile, why);
        buf_adds(why, leader_words(a->leader));
        return leader_is_well(a->leader) && !leader_is_leading(a->leader);
}

static void on_own_pod(void *ctx, const char *uid)
{
        struct app *a = ctx;

        if (a->confstate)
                confstate_set_owner(a->confstate, a->opts.pod_name, uid);
}

/* ---- the start ---- */

static int start_telemetry(struct app *a, struct err *e)
{
        const struct telemetry_conf conf = {
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

/* Who we are to the other controllers: the Pod, else something no other process has. */
static void identity(const struct app *a, char out[static 256])
{
        char host[128] = "";

        if (a->opts.pod_name[0] != '\0') {
                (void)snprintf(out, 256, "%s", a->opts.pod_name);
                return;
        }
        (void)gethostname(host, sizeof(host) - 1); /* empty is fine: the process number still differs */
        (void)snprintf(out, 256, "%s_%ld_%llx", host, (long)getpid(), (unsigned long long)uv_hrtime());
}

static int start_leader(struct app *a)
{
        char name[256];
        const struct leader_conf conf = {
                .kube = a->kube, .ns = a->ns, .identity = name, .on_change = on_leader_change, .ctx = a
        };

        identity(a, name);
        return leader_new(&a->leader, &conf);
}

static int start_parts(struct app *a)
{
        const struct confstate_conf state = { .kube = a->kube, .ns = a->ns };
        const struct secret_conf secret = {
                .kube = a->kube, .ns = a->ns, .name = a->opts.ml_secret, .deployment = a->opts.deployment
        };
        int r = events_new(&a->events, a->kube, "metallb-controller", a->opts.pod_name, a->reg);

        if (r == 0)
                r = confstate_new(&a->confstate, &a->loop, &state);
        if (r == 0 && a->opts.pod_name[0] != '\0')
                r = owner_new(&a->owner, a->kube, a->ns, a->opts.pod_name, on_own_pod, a);
        if (r == 0 && a->opts.ml_secret[0] != '\0')
                r = secret_new(&a->secret, &secret);
        if (r == 0 && a->opts.webhook_mode != WEBHOOK_ONLY)
                r = start_leader(a);
        return r;
}

static int start(struct app *a, struct err *e)
{
        int r = kube_new(&a->kube, &a->loop, &a->conf, NULL, a->reg, e);

        if (r < 0)
                return r;
        (void)uv_signal_init(
                &a->loop, &a->term); /* libuv: fails only without descriptors, then starting does too */
        (void)uv_signal_init(&a->loop, &a->interrupt);
        (void)uv_timer_init(&a->loop, &a->stop); /* libuv: always 0 */
        a->term.data = a->interrupt.data = a->stop.data = a;
        r = uv_signal_start(&a->term, on_signal, SIGTERM);
        if (r == 0)
                r = uv_signal_start(&a->interrupt, on_signal, SIGINT);
        if (r == 0)
                r = start_parts(a);
        if (r < 0)
                (void)err_set(e, r, "%s", err_name(r));
        else
                r = start_telemetry(a, e);
        if (r < 0)
                shut(a);
        return r;
}

static int load(struct app *a, struct err *e)
{
        int r = metrics_new(&a->reg);

        if (r == 0)
                r = tlsopt_parse(
                        &a->tls, a->opts.tls_min_version, a->opts.tls_cipher_suites, a->opts.tls_curves, e);
        if (r == 0)
                r = kube_conf_load(&a->conf, a->opts.kubeconfig, e);
        if (r < 0)
                return r;
        a->ns = a->opts.ns[0] != '\0' ? a->opts.ns : a->conf.ns;
        if (!a->ns)
                return err_set(e, -EINVAL, "no namespace: give --namespace or METALLB_NAMESPACE");
        return uv_loop_init(&a->loop);
}

static int run(struct app *a)
{
        struct err e = { "" };
        int r = load(a, &e);

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
        const char *bgp = getenv("METALLB_BGP_TYPE");
        int r = options_parse(&a.opts, &found, argc, argv, getenv, &e);

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
        log_info("MetalLB controller starting version " VERSION, F_STR("version", VERSION));
        if (found.inert[0] != '\0' || bgp)
                log_warn("BGP and old settings are accepted and do nothing here", F_STR("flags", found.inert),
                        F_STR("METALLB_BGP_TYPE", bgp));
        r = options_check(&a.opts, &e);
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
