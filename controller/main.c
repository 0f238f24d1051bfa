/* SPDX-License-Identifier: Apache-2.0 */
/* controller - wires the parts together and takes them down again.
 *
 * A term is the time in which this process leads: reconcile and the ConfigurationState live exactly as long. On SIGTERM:
 * nothing new begins; what is on its way may end (2 s); the lease is given up; everything closes; the loop must then be
 * empty. A second signal ends the process at once. */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/telemetry.h"
#include "controller/leader.h"
#include "controller/options.h"
#include "controller/owner.h"
#include "controller/reconcile.h"
#include "controller/secret.h"

#define DRAIN_MS   2000 /* for writes that are on their way */
#define RELEASE_MS 1600 /* for giving up the lease, after that */
#define DRAIN_STEP 10
#define IN_POD     "/var/run/secrets/kubernetes.io/serviceaccount"

struct controller {
        struct options opt;
        struct kube_conf kube_conf;
        struct tlsopt tls;
        char identity[256];
        uv_loop_t loop;
        uv_signal_t on_term, on_int;
        uv_timer_t timer; /* of the ending, and of a term that could not begin */
        uint64_t ending_ms;
        struct metrics *metrics;
        struct kube *kube;
        struct events *events;
        struct telemetry *telemetry;
        struct secret *secret;
        struct owner *owner;
        struct leader *leader;
        struct confstate *confstate;
        struct reconcile *reconcile;
        char uid[64]; /* of our Pod, "" while unknown */
        unsigned term_open; /* parts of a term that are still closing */
        unsigned n_open; /* parts that are still closing, at the end */
        bool ending, releasing, closing;
};

static void term_begin(struct controller *c);
static void close_all(struct controller *c);

/* ---- a term ---- */

static void on_term_closed(void *ctx)
{
        struct controller *c = ctx;

        if (--c->term_open > 0)
                return;
        (void)malloc_trim(0); /* the caches of the term were most of the memory */
        if (c->closing)
                close_all(c);
        else if (c->leader && leader_is_leading(c->leader))
                term_begin(c);
}

static void term_end(struct controller *c)
{
        c->term_open += c->reconcile ? 1 : 0;
        c->term_open += c->confstate ? 1 : 0;
        if (c->reconcile)
                reconcile_close(TAKE(c->reconcile), on_term_closed, c);
        if (c->confstate)
                confstate_close(TAKE(c->confstate), on_term_closed, c);
}

static bool may_write(void *ctx, unsigned for_ms)
{
        const struct controller *c = ctx;

        return leader_may_write(c->leader, for_ms);
}

static void on_timer(uv_timer_t *t);

static int confstate_begin(struct controller *c)
{
        const struct confstate_conf conf = { .kube = c->kube, .ns = c->opt.ns, .node = NULL };
        int r = confstate_new(&c->confstate, &c->loop, &conf);

        if (r == 0 && c->uid[0] != '\0')
                confstate_set_owner(c->confstate, c->opt.pod_name, c->uid);
        return r;
}

static void term_begin(struct controller *c)
{
        struct reconcile_conf conf = { .kube = c->kube,
                .events = c->events,
                .ns = c->opt.ns,
                .lb_class = c->opt.lb_class,
                .reuse_delay_ms = c->opt.reuse_delay_ms,
                .may_write = may_write,
                .ctx = c };
        int r;

        if (c->ending || c->reconcile || c->term_open > 0)
                return;
        r = uv_random(NULL, NULL, &conf.seed, sizeof(conf.seed), 0, NULL);
        if (r == 0)
                r = confstate_begin(c);
        conf.confstate = c->confstate;
        if (r == 0)
                r = reconcile_new(&c->reconcile, &conf);
        if (r == 0)
                return;
        log_error("cannot begin to work, retrying", F_ERR(r));
        term_end(c);
        uv_timer_start(&c->timer, on_timer, 1000, 0);
}

static void on_lead(void *ctx, bool leading)
{
        struct controller *c = ctx;

        if (leading)
                term_begin(c);
        else
                term_end(c);
}

static void on_own_pod(void *ctx, const char *uid)
{
        struct controller *c = ctx;

        (void)snprintf(c->uid, sizeof(c->uid), "%s", uid);
        if (c->confstate)
                confstate_set_owner(c->confstate, c->opt.pod_name, c->uid);
}

/* ---- what others see of us ---- */

static bool is_ready(void *ctx, struct buf *why)
{
        struct controller *c = ctx;

        if (c->ending) {
                buf_adds(why, "ending");
                return false;
        }
        if (c->opt.webhook_mode == WEBHOOK_ONLY)
                return true;
        if (!leader_is_well(c->leader)) {
                buf_adds(why, "the API server does not answer");
                return false;
        }
        if (!leader_is_leading(c->leader)) {
                buf_adds(why, leader_words(c->leader));
                return strncmp(leader_words(c->leader), "standby", strlen("standby")) == 0;
        }
        if (!c->reconcile) {
                buf_adds(why, "beginning to lead");
                return false;
        }
        return reconcile_is_ready(c->reconcile, why);
}

/* ---- the end ---- */

static void on_kube_closed(void *ctx)
{
        struct controller *c = ctx;

        c->kube = NULL;
        uv_close((uv_handle_t *)&c->timer, NULL);
        uv_close((uv_handle_t *)&c->on_term, NULL);
        uv_close((uv_handle_t *)&c->on_int, NULL);
}

static void on_part_closed(void *ctx)
{
        struct controller *c = ctx;

        if (--c->n_open == 0)
                kube_close(c->kube, on_kube_closed, c);
}

/* The rest, once the term is gone. */
static void close_all(struct controller *c)
{
        c->n_open = 1;
        c->n_open += (c->telemetry ? 1 : 0) + (c->secret ? 1 : 0) + (c->owner ? 1 : 0) + (c->leader ? 1 : 0) +
                (c->events ? 1 : 0);
        if (c->telemetry)
                telemetry_close(TAKE(c->telemetry), on_part_closed, c);
        if (c->secret)
                secret_close(TAKE(c->secret), on_part_closed, c);
        if (c->owner)
                owner_close(TAKE(c->owner), on_part_closed, c);
        if (c->leader)
                leader_close(TAKE(c->leader), on_part_closed, c);
        if (c->events)
                events_close(TAKE(c->events), on_part_closed, c);
        on_part_closed(c);
}

static void close_begin(struct controller *c)
{
        if (c->closing)
                return;
        c->closing = true;
        uv_timer_stop(&c->timer);
        c->term_open++; /* so that it ends here also without a term */
        term_end(c);
        on_term_closed(c);
}

static void on_released(void *ctx)
{
        close_begin(ctx);
}

static void drain(struct controller *c)
{
        uint64_t since_ms = uv_now(&c->loop) - c->ending_ms;

        if (c->reconcile && !reconcile_is_idle(c->reconcile) && since_ms < DRAIN_MS) {
                uv_timer_start(&c->timer, on_timer, DRAIN_STEP, 0);
        } else if (!c->leader || c->releasing) {
                close_begin(c);
        } else {
                c->releasing = true;
                uv_timer_start(&c->timer, on_timer, RELEASE_MS, 0);
                leader_release(c->leader, on_released, c);
        }
}

static void on_timer(uv_timer_t *t)
{
        struct controller *c = container_of(t, struct controller, timer);

        if (c->ending)
                drain(c);
        else if (c->leader && leader_is_leading(c->leader))
                term_begin(c);
}

static void on_signal(uv_signal_t *s, int number)
{
        struct controller *c = s->data;

        if (c->ending) {
                log_error("second signal, ending at once", F_INT("signal", number));
                _exit(1);
        }
        log_info("ending: the writes that are on their way are waited for", F_INT("signal", number));
        c->ending = true;
        c->ending_ms = uv_now(&c->loop);
        if (c->reconcile)
                reconcile_stop(c->reconcile);
        drain(c);
}

/* ---- the start ---- */

static int signals_open(struct controller *c)
{
        int r;

        (void)uv_timer_init(&c->loop, &c->timer); /* never fails */
        (void)uv_signal_init(
                &c->loop, &c->on_term); /* without descriptors; then nothing else starts either */
        (void)uv_signal_init(&c->loop, &c->on_int);
        c->on_term.data = c->on_int.data = c;
        r = uv_signal_start(&c->on_term, on_signal, SIGTERM);
        if (r == 0)
                r = uv_signal_start(&c->on_int, on_signal, SIGINT);
        return r;
}

/* The name under which we lead: the Pod's, so that a restarted container goes on at once. Elsewhere two processes may
 * share a host, so that their names must differ. */
static void make_identity(struct controller *c)
{
        char host[HOST_NAME_MAX + 1] = "controller";
        bool in_pod =
                c->kube_conf.token_file && strncmp(c->kube_conf.token_file, IN_POD, strlen(IN_POD)) == 0;

        (void)gethostname(host, sizeof(host) - 1); /* else the default */
        if (c->opt.pod_name[0] != '\0')
                (void)snprintf(c->identity, sizeof(c->identity), "%s", c->opt.pod_name);
        else if (in_pod)
                (void)snprintf(c->identity, sizeof(c->identity), "%s", host);
        else
                (void)snprintf(c->identity, sizeof(c->identity), "%s_%ld_%08x", host, (long)getpid(),
                        (unsigned)uv_hrtime());
}

static int open_telemetry(struct controller *c, struct err *e)
{
        const struct telemetry_conf conf = { .health_port = c->opt.health_port,
                .metrics_port = c->opt.port,
                .metrics_plain = c->opt.metrics_plain,
                .cert_dir = c->opt.metrics_cert_dir,
                .tls = &c->tls,
                .is_ready = is_ready,
                .ctx = c,
                .send = c->opt.metrics_plain ? NULL : telemetry_kube_send,
                .send_ctx = c->kube,
                .reg = c->metrics };

        return telemetry_new(&c->telemetry, &c->loop, &conf, e);
}

static int open_parts(struct controller *c, struct err *e)
{
        /* The writer alone sends 16 at a time; a lease must never wait behind it. */
        const struct kube_limits limits = { .max_in_flight = 32 };
        struct leader_conf lead = {
                .ns = c->opt.ns, .identity = c->identity, .on_change = on_lead, .ctx = c
        };
        int r = kube_new(&c->kube, &c->loop, &c->kube_conf, &limits, c->metrics, e);

        if (r < 0)
                return r;
        lead.kube = c->kube;
        r = open_telemetry(c, e);
        if (r == 0)
                r = events_new(&c->events, c->kube, "metallb-controller", c->identity, c->metrics);
        if (r == 0 && c->opt.ml_secret[0] != '\0') {
                const struct secret_conf conf = { .kube = c->kube,
                        .ns = c->opt.ns,
                        .name = c->opt.ml_secret,
                        .deployment = c->opt.deployment };

                r = secret_new(&c->secret, &conf);
        }
        if (r == 0 && c->opt.pod_name[0] != '\0')
                r = owner_new(&c->owner, c->kube, c->opt.ns, c->opt.pod_name, on_own_pod, c);
        if (r == 0 && c->opt.webhook_mode == WEBHOOK_ONLY)
                r = confstate_begin(c);
        else if (r == 0)
                r = leader_new(&c->leader, &lead);
        return r;
}

static int run(struct controller *c)
{
        struct err e = { "" };
        int r = metrics_new(&c->metrics), closed;

        if (r == 0)
                r = uv_loop_init(&c->loop);
        if (r < 0) {
                log_error("cannot start", F_ERR(r));
                return 1;
        }
        r = signals_open(c);
        if (r == 0)
                r = open_parts(c, &e);
        if (r < 0)
                log_error("cannot start", F_STR("error", e.text[0] != '\0' ? e.text : err_name(r)));
        if (r < 0 && c->kube)
                close_begin(c);
        else if (r < 0)
                on_kube_closed(c);
        (void)uv_run(&c->loop, UV_RUN_DEFAULT); /* until everything is closed */
        closed = uv_loop_close(&c->loop);
        assert(closed == 0);
        return r < 0 ? 1 : 0;
}

static int configure(struct controller *c)
{
        struct err e = { "" };
        int r = log_set_level(c->opt.log_level);

        if (r < 0) {
                log_error("--log-level is all, debug, info, warn, error or none",
                        F_STR("log-level", c->opt.log_level));
                return r;
        }
        log_info("MetalLB controller starting version " VERSION, F_STR("version", VERSION),
                F_STR("implementation", "metallb-c"));
        r = options_check(&c->opt, &e);
        if (r == 0)
                r = tlsopt_parse(
                        &c->tls, c->opt.tls_min_version, c->opt.tls_cipher_suites, c->opt.tls_curves, &e);
        if (r == 0)
                r = kube_conf_load(&c->kube_conf, c->opt.kubeconfig, &e);
        if (r == 0 && c->opt.ns[0] == '\0' && c->kube_conf.ns)
                c->opt.ns = c->kube_conf.ns;
        if (r == 0 && c->opt.ns[0] == '\0')
                r = err_set(&e, -EINVAL,
                        "no namespace: not in a pod, and neither --namespace nor METALLB_NAMESPACE given");
        if (r < 0) {
                log_error("cannot start", F_STR("error", e.text));
                return r;
        }
        if (c->tls.skipped)
                log_warn("TLS settings unknown to this OpenSSL are left out",
                        F_STR("skipped", c->tls.skipped));
        make_identity(c);
        return 0;
}

static int usage(const char *words)
{
        CLEANUP(buf_fini) struct buf text = BUF_INIT;

        if (words)
                (void)fprintf(stderr, "%s\n", words);
        flags_usage(&text, &options_flags, "controller");
        (void)fputs(buf_str(&text), stderr);
        return words ? 2 : 0;
}

int main(int argc, char **argv)
{
        static struct controller c;
        struct flags_found found;
        struct err e = { "" };
        int status;

        if (options_parse(&c.opt, &found, argc, argv, getenv, &e) < 0)
                return usage(e.text);
        if (found.help)
                return usage(NULL);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)mallopt(M_ARENA_MAX, 1); /* one busy thread: further arenas would only hold memory back */
        if (configure(&c) < 0)
                return 1;
        if (found.inert[0] != '\0' || getenv("METALLB_BGP_TYPE"))
                log_warn("settings that do nothing in this program", F_STR("flags", found.inert),
                        F_STR("METALLB_BGP_TYPE", getenv("METALLB_BGP_TYPE")));
        status = run(&c);
        (void)metrics_free(c.metrics);
        tlsopt_fini(&c.tls);
        kube_conf_fini(&c.kube_conf);
        log_info("ended", F_INT("code", status));
        return status;
}
