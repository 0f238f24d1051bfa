/* SPDX-License-Identifier: Apache-2.0 */
/* One request at a time. Its answer goes into the lease, which says what comes next; the timer waits for that, or for
 * the moment our lease is over. */
#include "controller/leader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/log.h"
#include "controller/lease.h"

#define REQUEST_MS 3000
#define RELEASE_MS 1500
#define LOOK_MS    60000 /* without the right to Leases */
#define SAY_MS     60000

struct leader {
        struct kube *k;
        char *ns, *identity;
        void (*on_change)(void *ctx, bool leading);
        void *ctx;
        struct lease lease;
        uv_timer_t timer;
        struct kube_request *request;
        enum lease_do doing; /* of the request */
        bool giving_up; /* the request, or the next one, is the release */
        bool unguarded; /* leads without a lease */
        bool told_unguarded;
        bool leading; /* as told */
        bool well;
        bool closing, timer_closed;
        struct log_limit say;
        char words[64 + LEASE_IDENTITY_MAX];
        struct series *gauge, *changes;
        void (*released)(void *ctx);
        void *released_ctx;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static void step(struct leader *l);

static uint64_t now(const struct leader *l)
{
        return uv_now(kube_loop(l->k));
}

static void maybe_closed(struct leader *l)
{
        void (*closed)(void *ctx) = l->closed;
        void *ctx = l->closed_ctx;

        if (!l->timer_closed || l->request)
                return;
        free(l->ns);
        free(l->identity);
        free(l);
        closed(ctx);
}

static void on_timer(uv_timer_t *t)
{
        struct leader *l = container_of(t, struct leader, timer);

        if (!l->closing)
                step(l);
}

static void arm(struct leader *l, uint64_t at_ms)
{
        uint64_t now_ms = now(l);

        if (lease_until(&l->lease) > now_ms)
                at_ms = MIN(at_ms, lease_until(&l->lease));
        if (at_ms != UINT64_MAX)
                uv_timer_start(&l->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

static void tell(struct leader *l)
{
        bool leading = !l->giving_up && (l->unguarded || lease_is_held(&l->lease, now(l)));

        if (l->leading == leading || l->giving_up)
                return;
        l->leading = leading;
        series_set(l->gauge, leading);
        series_add(l->changes, 1);
        if (leading)
                log_info("leading: this controller assigns addresses", F_STR("event", "leader"),
                        F_STR("lease", l->unguarded ? "none" : LEADER_LEASE), F_STR("identity", l->identity));
        else
                log_warn("not leading any more: this controller assigns nothing", F_STR("event", "leader"),
                        F_STR("identity", l->identity), F_STR("holder", l->lease.seen.holder));
        l->on_change(l->ctx, leading);
}

static void denied(struct leader *l, const char *words)
{
        if (!l->told_unguarded)
                log_warn(
                        "this role may not use Leases: leading without one; never run two of these controllers",
                        F_STR("error", words));
        l->told_unguarded = l->unguarded = true;
        lease_read_failed(&l->lease, now(l) + LOOK_MS);
}

static void failed(struct leader *l, const struct kube_response *res)
{
        uint64_t held = 0;

        if (log_limit_ok(&l->say, now(l), SAY_MS, &held))
                log_warn("the API server does not serve the lease, retrying",
                        F_STR("server", kube_server(l->k)), F_STR("error", res->error), F_UINT("more", held));
}

static void take_read(struct leader *l, const struct kube_response *res, const cJSON *object)
{
        int code = kube_response_code(res);
        uint64_t at_ms;

        if (code == ERR_DENIED && res->status == 403) {
                denied(l, res->error);
                return;
        }
        if (code < 0 && code != ERR_MISSING) {
                lease_read_failed(&l->lease, now(l));
                return;
        }
        lease_saw(&l->lease, object, now(l));
        if (l->unguarded && lease_next(&l->lease, now(l), &at_ms) == LEASE_WAIT)
                l->unguarded = false; /* we may use leases by now, and somebody else holds this one */
}

static void take_write(struct leader *l, const struct kube_response *res, const cJSON *object)
{
        enum lease_result result = LEASE_FAILED;
        int code = kube_response_code(res);

        if (code == ERR_DENIED && res->status == 403) {
                denied(l, res->error);
                return;
        }
        if (code >= 0)
                result = LEASE_DONE;
        else if (code == ERR_CONFLICT)
                result = LEASE_CONFLICT;
        else if (code == ERR_MISSING && l->doing == LEASE_UPDATE)
                result = LEASE_MISSING;
        else if (l->well)
                failed(l, res); /* the others are told of by on_done() */
        lease_wrote(&l->lease, result, object, now(l));
        if (code >= 0 && !l->giving_up)
                l->unguarded = false;
}

static void released(struct leader *l)
{
        void (*done)(void *ctx) = l->released;

        l->released = NULL;
        if (done)
                done(l->released_ctx);
}

static void on_done(void *ctx, const struct kube_response *res)
{
        struct leader *l = ctx;
        CLEANUP(json_deletep) cJSON *object = NULL;
        bool was_release = l->giving_up && l->doing == LEASE_WAIT;
        int code = kube_response_code(res);

        l->request = NULL;
        if (l->closing) {
                maybe_closed(l);
                return;
        }
        l->well = res->status > 0 && code != ERR_BUSY;
        if (code >= 0)
                (void)!json_parse(&object, res->body, res->len); /* stays NULL: then it is read again */
        if (!l->well && code < 0)
                failed(l, res);
        if (was_release) {
                released(l);
                return;
        }
        if (l->doing == LEASE_READ)
                take_read(l, res, object);
        else
                take_write(l, res, object);
        step(l);
}

static int request(struct leader *l, enum lease_do what, bool release)
{
        CLEANUP(buf_fini) struct buf path = BUF_INIT;
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        struct kube_call call = { .method = what == LEASE_READ ? "GET"
                        : what == LEASE_CREATE                 ? "POST"
                                                               : "PUT",
                .timeout_ms = release ? RELEASE_MS : REQUEST_MS,
                .on_done = on_done,
                .ctx = l,
                .verb = what == LEASE_READ     ? "get"
                        : what == LEASE_CREATE ? "create"
                                               : "update",
                .resource = "leases" };
        uv_timeval64_t wall = { 0 };
        int r;

        (void)uv_gettimeofday(&wall); /* cannot fail with a valid pointer */
        kube_path(&path, "coordination.k8s.io", "v1", l->ns, "leases",
                what == LEASE_CREATE ? NULL : LEADER_LEASE, NULL);
        if (what != LEASE_READ)
                lease_body(&l->lease, &body, l->ns, LEADER_LEASE, now(l),
                        wall.tv_sec * 1000000 + wall.tv_usec, release);
        if (!buf_ok(&path) || !buf_ok(&body))
                return -ENOMEM;
        call.path = buf_str(&path);
        call.body = what == LEASE_READ ? NULL : buf_str(&body);
        call.body_len = body.len;
        r = kube_send(l->k, &l->request, &call);
        if (r == 0)
                l->doing = release ? LEASE_WAIT : what;
        return r;
}

static void step(struct leader *l)
{
        uint64_t at_ms = UINT64_MAX;
        enum lease_do what;

        tell(l); /* may close us */
        if (l->closing || l->request)
                return;
        if (l->giving_up) {
                if (!l->released)
                        return;
                if (!l->lease.exists || l->unguarded || request(l, LEASE_UPDATE, true) < 0)
                        released(l);
                return;
        }
        what = lease_next(&l->lease, now(l), &at_ms);
        if (what != LEASE_WAIT && request(l, what, false) < 0) {
                lease_read_failed(&l->lease, now(l));
                at_ms = l->lease.next_ms;
        }
        arm(l, at_ms);
}

int leader_new(struct leader **ret, const struct leader_conf *conf)
{
        const struct lease_conf lease_conf = { .identity = conf->identity };
        struct metrics *m = kube_metrics(conf->kube);
        struct leader *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return -ENOMEM;
        l->k = conf->kube;
        l->on_change = conf->on_change;
        l->ctx = conf->ctx;
        l->ns = strdup(conf->ns);
        l->identity = strdup(conf->identity);
        r = l->ns && l->identity ? lease_init(&l->lease, &lease_conf, now(l)) : -ENOMEM;
        if (r == 0)
                r = uv_timer_init(kube_loop(l->k), &l->timer);
        if (r < 0) {
                free(l->ns);
                free(l->identity);
                free(l);
                return r;
        }
        if (m) {
                l->gauge = metrics_series(metrics_family(m, METRIC_GAUGE, "metallb_controller_leader",
                                                  "1 while this process assigns addresses.", NULL, NULL, 0),
                        NULL);
                l->changes = metrics_series(
                        metrics_family(m, METRIC_COUNTER, "metallb_controller_leader_changes_total",
                                "How often this process began or stopped to lead.", NULL, NULL, 0),
                        NULL);
        }
        arm(l, now(l)); /* begins from the loop */
        *ret = l;
        return 0;
}

bool leader_is_leading(const struct leader *l)
{
        return leader_may_write(l, 0);
}

bool leader_may_write(const struct leader *l, unsigned for_ms)
{
        return !l->giving_up && (l->unguarded || lease_may_write(&l->lease, now(l), for_ms));
}

bool leader_is_well(const struct leader *l)
{
        return l->well;
}

const char *leader_words(struct leader *l)
{
        if (l->giving_up)
                return "ending";
        if (l->unguarded)
                return "leading without a lease";
        if (lease_is_held(&l->lease, now(l)))
                return "leading";
        if (!l->lease.known || !l->lease.exists || l->lease.seen.holder[0] == '\0')
                return "looking for the lease";
        (void)snprintf(l->words, sizeof(l->words), "standby, %s leads", l->lease.seen.holder);
        return l->words;
}

void leader_release(struct leader *l, void (*done)(void *ctx), void *ctx)
{
        l->released = done;
        l->released_ctx = ctx;
        if (!l->leading)
                l->lease.exists = false; /* not ours: nothing to give up */
        l->giving_up = true;
        l->leading = false;
        series_set(l->gauge, 0);
        uv_timer_start(&l->timer, on_timer, 0, 0); /* done() is not called from in here */
}

static void on_timer_closed(uv_handle_t *h)
{
        struct leader *l = container_of(h, struct leader, timer);

        l->timer_closed = true;
        maybe_closed(l);
}

void leader_close(struct leader *l, void (*closed)(void *ctx), void *ctx)
{
        if (l->closing)
                return;
        l->closing = true;
        l->closed = closed;
        l->closed_ctx = ctx;
        if (l->request)
                kube_cancel(l->request);
        uv_close((uv_handle_t *)&l->timer, on_timer_closed);
}
