/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/services.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/backoff.h"
#include "common/log.h"
#include "common/tree.h"
#include "controller/patch.h"
#include "controller/said.h"

#define TURN_PLANS    64 /* plans in one turn of the loop */
#define ECHO_MS       30000 /* for our write to come back by the watch; then the Service is looked at anyway */
#define RIVAL_MS      2000 /* for the newer object after a conflict */
#define NO_MEMORY_MS  200
#define CONFLICTS_MAX 3 /* in a row before a Service has to wait */
#define FLIPS_FREE    3 /* rewrites of the same content in a minute that cost nothing */
#define FLIPS_MS      60000
#define WORDS_MAX     16

enum state {
        IDLE,
        QUEUED, /* in queue */
        WRITING, /* the writer has a job for it */
        ECHOING, /* in timed: written, or somebody else was faster; the watch must bring the newer object */
        HELD, /* in timed: failed or fought over, and put off */
};

struct record {
        struct tree_node node;
        TAILQ_ENTRY(record) next;
        struct services *s;
        const char *ns, *name; /* into key */
        enum state state;
        bool dirty; /* changed while it was not to be planned */
        bool refused; /* HELD because the server would not have it: a change is worth another try */
        bool waited; /* HELD because it is fought over: the next write is due */
        int8_t word; /* why it is pending, into words; -1: it is not */
        uint8_t conflicts; /* in a row */
        uint8_t flips;
        uint16_t tries; /* refusals in a row */
        uint64_t due_ms; /* ECHOING, HELD */
        uint64_t since_ms; /* queued, after having been idle */
        uint64_t flip_ms; /* first of the flips */
        uint64_t inputs; /* hash of what its owner said when it was written last */
        uint64_t writing; /* hash of what is under way */
        uint64_t wrote[2]; /* hashes of what was written last */
        struct writer_job *job; /* WRITING */
        char *rv; /* WRITING, ECHOING: of the object that the job was made from */
        struct said *said; /* events to say once it is written */
        char key[]; /* "ns/name" */
};

struct services {
        struct services_conf conf;
        uv_timer_t timer;
        TAILQ_HEAD(records, record) queue, timed;
        struct tree all;
        size_t n_queued, n_writing;
        uint64_t timed_due_ms; /* not after the first of timed */
        bool started, woken, in_turn, closing;
        struct rng rng;
        struct {
                char text[32];
                unsigned n;
                struct series *series;
        } words[WORDS_MAX];
        int n_words;
        struct family *pending;
        struct series *depth, *plans, *plan_errors, *flips, *reconcile;
        void (*closed)(void *ctx);
        void *closed_ctx;
};

static const char *const reason_label[] = { "reason", NULL };
static const double reconcile_bounds[] = { 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
        60 };

static void turn(struct services *s);

static uint64_t now(const struct services *s)
{
        return uv_now(kube_loop(s->conf.kube));
}

/* ---- records and their lists ---- */

static void on_timer(uv_timer_t *t)
{
        struct services *s = container_of(t, struct services, timer);

        if (!s->closing)
                turn(s);
}

static void arm(struct services *s)
{
        uint64_t now_ms = now(s);
        uint64_t at_ms = s->timed_due_ms;

        if (s->closing || s->in_turn)
                return;
        if (s->started && (s->woken || !TAILQ_EMPTY(&s->queue)) && writer_has_room(s->conf.writer))
                at_ms = now_ms;
        if (at_ms != UINT64_MAX)
                uv_timer_start(&s->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

/* Out of the list it is in. */
static void unlist(struct record *r)
{
        if (r->state == QUEUED) {
                TAILQ_REMOVE(&r->s->queue, r, next);
                r->s->n_queued--;
        } else if (r->state == ECHOING || r->state == HELD) {
                TAILQ_REMOVE(&r->s->timed, r, next);
        } else if (r->state == WRITING) {
                r->s->n_writing--;
        }
        r->state = IDLE;
}

static void enqueue(struct record *r)
{
        if (r->state == QUEUED)
                return;
        if (r->state == IDLE)
                r->since_ms = now(r->s);
        unlist(r);
        r->state = QUEUED;
        r->dirty = r->refused = false;
        TAILQ_INSERT_TAIL(&r->s->queue, r, next);
        r->s->n_queued++;
}

static void put_off(struct record *r, enum state state, uint64_t for_ms)
{
        struct services *s = r->s;

        unlist(r);
        r->state = state;
        r->due_ms = now(s) + for_ms;
        s->timed_due_ms = MIN(s->timed_due_ms, r->due_ms);
        TAILQ_INSERT_TAIL(&s->timed, r, next);
}

static int by_key(const void *key, struct tree_node *node)
{
        return strcmp(key, container_of(node, struct record, node)->key);
}

static int by_record(struct tree_node *a, struct tree_node *b)
{
        return by_key(container_of(a, struct record, node)->key, b);
}

static struct record *record_find(struct services *s, const char *key)
{
        struct tree_node *n = tree_find(&s->all, key, by_key);

        return n ? container_of(n, struct record, node) : NULL;
}

static struct record *record_get(struct services *s, const char *ns, const char *name)
{
        size_t n_ns = strlen(ns) + 1, n_name = strlen(name) + 1;
        struct record *r = calloc(1, sizeof(*r) + n_ns + n_name + n_ns);
        struct tree_node *old;
        char *copy;

        if (!r)
                return NULL;
        memcpy(r->key, ns, n_ns);
        r->key[n_ns - 1] = '/';
        memcpy(r->key + n_ns, name, n_name);
        copy = r->key + n_ns + n_name; /* the namespace once more, terminated */
        memcpy(copy, ns, n_ns);
        old = tree_insert(&s->all, &r->node, by_record);
        if (old) {
                free(r);
                return container_of(old, struct record, node);
        }
        r->s = s;
        r->ns = copy;
        r->name = r->key + n_ns;
        r->word = -1;
        return r;
}

static void set_word(struct record *r, const char *word)
{
        struct services *s = r->s;
        int i = -1;

        if (*word != '\0') {
                for (i = 0; i < s->n_words && strcmp(s->words[i].text, word) != 0; i++)
                        ;
                if (i == s->n_words) {
                        if (i == WORDS_MAX || strlen(word) >= sizeof(s->words[i].text))
                                return;
                        memcpy(s->words[i].text, word, strlen(word) + 1);
                        s->words[i].series = metrics_with(s->pending, word);
                        s->n_words++;
                }
        }
        if (i == r->word)
                return;
        if (r->word >= 0)
                series_set(s->words[r->word].series, --s->words[r->word].n);
        r->word = (int8_t)i;
        if (i >= 0)
                series_set(s->words[i].series, ++s->words[i].n);
}

/* Of a record that is out of the tree. */
static void record_free(struct record *r)
{
        unlist(r);
        set_word(r, "");
        said_free(r->said);
        free(r->rv);
        free(r);
}

static const struct service *cached(const struct record *r)
{
        const struct object *o = informer_get(r->s->conf.services, r->ns, r->name);

        return o ? service_of(o) : NULL;
}

/* The cache holds something newer than what the job was made from. */
static bool is_newer(const struct record *r)
{
        const struct service *now_service = cached(r);

        return !now_service || !r->rv || strcmp(now_service->meta.rv, r->rv) != 0;
}

/* Nothing more to do for it now. */
static void rest(struct record *r)
{
        struct services *s = r->s;

        if (r->state == WRITING || r->state == QUEUED)
                series_observe(s->reconcile, (double)(now(s) - r->since_ms) / 1000);
        unlist(r);
        if (r->dirty)
                enqueue(r);
}

/* ---- after a write ---- */

static void slow_down(struct record *r, uint64_t base_ms, unsigned step, uint64_t cap_ms)
{
        uint64_t ms = base_ms << MIN(step, 16U);

        put_off(r, HELD, rng_jitter(&r->s->rng, MIN(ms, cap_ms), 20));
}

static void on_conflict(struct record *r)
{
        if (r->conflicts < UINT8_MAX)
                r->conflicts++;
        if (r->conflicts > CONFLICTS_MAX)
                slow_down(r, 100, r->conflicts - CONFLICTS_MAX, 10000);
        else if (is_newer(r))
                enqueue(r);
        else
                put_off(r, ECHOING, RIVAL_MS);
}

static void on_refused(struct record *r, const struct writer_answer *a)
{
        log_warn("the API server refused the status of a service, retrying later", F_STR("service", r->key),
                F_INT("code", a->status), F_STR("error", a->text));
        series_add(r->s->plan_errors, 1);
        slow_down(r, 1000, r->tries, 300000);
        if (r->tries < UINT16_MAX)
                r->tries++;
        r->refused = true;
}

static void on_written(void *ctx, const struct writer_answer *a)
{
        struct record *r = ctx;
        struct services *s = r->s;

        r->job = NULL;
        if (a->result != WRITER_CONFLICT && a->result != WRITER_REFUSED)
                r->conflicts = 0;
        switch (a->result) {
        case WRITER_DONE:
                r->tries = 0;
                if (r->writing != r->wrote[0]) {
                        r->wrote[1] = r->wrote[0];
                        r->wrote[0] = r->writing;
                }
                series_observe(s->reconcile, (double)(now(s) - r->since_ms) / 1000);
                said_say(r->said, s->conf.events);
                r->said = said_free(r->said);
                if (is_newer(r))
                        enqueue(r);
                else
                        put_off(r, ECHOING, ECHO_MS);
                break;
        case WRITER_CONFLICT: on_conflict(r); break;
        case WRITER_GONE:
                if (cached(r))
                        put_off(r, ECHOING, ECHO_MS);
                else
                        enqueue(r);
                break;
        case WRITER_REFUSED: on_refused(r, a); break;
        case WRITER_CANCELED: unlist(r); break;
        }
        if (!s->closing && !s->in_turn)
                turn(s);
}

/* ---- planning ---- */

static void log_plan(const struct record *r, const struct plan *p)
{
        static const enum log_level levels[] = { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

        for (size_t i = 0; i < p->n_logs; i++) {
                const struct plan_log *l = &p->logs[i];
                struct log_field f[8];
                size_t n = 0;

                if (!log_enabled(levels[l->level]))
                        continue;
                f[n++] = F_STR("service", r->key);
                if (l->event[0] != '\0')
                        f[n++] = F_STR("event", l->event);
                if (l->reason[0] != '\0')
                        f[n++] = F_STR("reason", l->reason);
                if (l->ips[0] != '\0')
                        f[n++] = F_STR("ip", l->ips);
                if (l->pool[0] != '\0')
                        f[n++] = F_STR("pool", l->pool);
                if (l->error[0] != '\0')
                        f[n++] = F_STR("error", l->error);
                log_write(levels[l->level], __FILE__, __LINE__, l->msg, f, n);
        }
}

static uint64_t hash_text(uint64_t h, const char *text)
{
        if (!text)
                text = "\1";
        do
                h = (h ^ (uint8_t)*text) * 1099511628211u; /* FNV-1a, the terminator included */
        while (*text++ != '\0');
        return h;
}

/* Of what a plan would leave in the object, whatever is there now. */
static uint64_t content_hash(const struct plan *p)
{
        uint64_t h = hash_text(14695981039346656037u, p->pool);

        for (size_t i = 0; i < p->n_ingress; i++) {
                h = hash_text(h, p->ingress[i].ip);
                h = hash_text(h, p->ingress[i].ip_mode);
        }
        if (p->condition) {
                h = hash_text(h, p->condition->status);
                h = hash_text(h, p->condition->message);
        }
        return h;
}

static uint64_t hash_kv(uint64_t h, const struct kv_list *l)
{
        for (size_t i = 0; i < l->n; i++) {
                if (strcmp(l->v[i].key, PLAN_POOL_ANNOTATION) != 0)
                        h = hash_text(hash_text(h, l->v[i].key), l->v[i].value);
        }
        return h;
}

/* Of what its owner says: when that changes, a write of the same content as before is no fight. */
static uint64_t inputs_hash(const struct service *v)
{
        uint64_t h = hash_kv(hash_kv(14695981039346656037u, &v->meta.annotations), &v->meta.labels);

        h = hash_text(hash_text(h, v->lb_ip), v->lb_class);
        h = hash_text(hash_text(h, v->meta.uid), v->is_load_balancer ? "1" : "0");
        h = hash_text(h, v->local_policy ? "1" : "0") + (uint64_t)v->ip_policy;
        for (size_t i = 0; i < v->n_ports; i++)
                h = hash_text(h, v->ports[i].protocol) + v->ports[i].port;
        for (size_t i = 0; i < v->cluster_ips.n; i++)
                h = hash_text(h, v->cluster_ips.v[i]);
        return h;
}

/* True when somebody keeps changing back what we write: this write is put off. */
static bool is_fought_over(struct record *r, const struct service *now_service, uint64_t hash)
{
        const struct event_object on = { "v1", "Service", r->ns, r->name, now_service->meta.uid };
        struct services *s = r->s;
        uint64_t inputs = inputs_hash(now_service);

        if (inputs != r->inputs || (hash != r->wrote[0] && hash != r->wrote[1])) {
                r->flips = inputs != r->inputs ? 0 : r->flips;
                r->inputs = inputs;
                r->waited = false;
                return false;
        }
        if (r->waited) {
                r->waited = false;
                return false;
        }
        if (r->flips == 0 || now(s) - r->flip_ms > FLIPS_MS * 2) {
                r->flips = 0;
                r->flip_ms = now(s);
        }
        if (r->flips < UINT8_MAX)
                r->flips++;
        if (r->flips <= FLIPS_FREE)
                return false;
        series_add(s->flips, 1);
        if (r->flips == FLIPS_FREE + 1) {
                log_warn("somebody else keeps changing the status of a service back, writing it less often",
                        F_STR("service", r->key));
                events_say(s->conf.events, &on, EVENT_WARNING, "StatusConflict",
                        "another writer keeps changing the load balancer status back; writing it less often");
        }
        slow_down(r, 500, r->flips - FLIPS_FREE, FLIPS_MS);
        r->waited = true;
        return true;
}

/* Hands the patch to the writer. */
static int write_plan(struct record *r, const struct service *now_service, const struct plan *p)
{
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        CLEANUP(freep) char *rv = strdup(now_service->meta.rv);
        struct writer_call call = { .group = "",
                .version = "v1",
                .resource = "services",
                .ns = r->ns,
                .name = r->name,
                .rv = rv,
                .strategic = true,
                .on_done = on_written,
                .ctx = r };
        uv_timeval64_t wall = { 0 };
        int code;

        (void)uv_gettimeofday(&wall); /* cannot fail with a valid pointer */
        patch_service(&body, now_service, p, wall.tv_sec);
        if (!rv || !buf_ok(&body))
                return -ENOMEM;
        call.body = body.p;
        call.body_len = body.len;
        code = writer_send(r->s->conf.writer, &r->job, &call);
        if (code < 0)
                return code;
        unlist(r);
        r->state = WRITING;
        r->s->n_writing++;
        free(r->rv);
        r->rv = TAKE(rv);
        return 0;
}

static int act_on(struct record *r, const struct service *now_service, const struct plan *p)
{
        struct services *s = r->s;
        struct said *said = NULL;
        uint64_t hash;
        int code;

        set_word(r, p->pending);
        log_plan(r, p);
        if (p->n_events > 0) {
                code = said_new(&said, r->ns, r->name, now_service ? now_service->meta.uid : "", p);
                if (code < 0)
                        return code;
                r->said = said_free(r->said);
                r->said = said;
        }
        if (!p->write || !now_service) {
                said_say(r->said, s->conf.events);
                r->said = said_free(r->said);
                rest(r);
                return 0;
        }
        hash = content_hash(p);
        if (is_fought_over(r, now_service, hash))
                return 0;
        code = write_plan(r, now_service, p);
        if (code < 0)
                return code;
        r->writing = hash;
        return 0;
}

static void plan_one(struct record *r)
{
        CLEANUP(arena_freep) struct arena *a = arena_new(4096);
        struct services *s = r->s;
        const struct plan_conf conf = { .lb_class = s->conf.lb_class };
        const struct service *now_service = cached(r);
        const struct object *ns = informer_get(s->conf.namespaces, "", r->ns);
        const struct plan_in in = { .service = now_service, .ns_labels = ns ? &ns->labels : NULL };
        struct plan p;
        int code = -ENOMEM;

        series_add(s->plans, 1);
        r->dirty = false;
        if (a && now_service)
                code = plan_service(&p, a, s->conf.ipam, &conf, &in, now(s));
        else if (a)
                code = plan_gone(&p, a, s->conf.ipam, r->key, now(s));
        s->woken = true;
        if (code == 0)
                code = act_on(r, now_service, &p);
        if (code < 0) {
                log_error("no memory for a service, retrying", F_STR("service", r->key), F_ERR(code));
                series_add(s->plan_errors, 1);
                put_off(r, HELD, NO_MEMORY_MS);
        } else if (r->state == IDLE && (!now_service || p.state == PLAN_NOT_OURS)) {
                tree_remove(&s->all, &r->node);
                record_free(r);
        }
}

static void wake_timed(struct services *s)
{
        struct record *r = TAILQ_FIRST(&s->timed), *next;
        uint64_t now_ms = now(s);

        if (now_ms < s->timed_due_ms)
                return;
        s->timed_due_ms = UINT64_MAX;
        for (; r; r = next) {
                next = TAILQ_NEXT(r, next);
                if (r->due_ms <= now_ms)
                        enqueue(r);
                else
                        s->timed_due_ms = MIN(s->timed_due_ms, r->due_ms);
        }
}

/* The next one to plan: those that wait for what is free now come first. */
static struct record *pick(struct services *s)
{
        while (s->woken) {
                const char *key = ipam_woken(s->conf.ipam);
                struct record *r = key ? record_find(s, key) : NULL;

                if (!key)
                        s->woken = false;
                else if (r && (r->state == IDLE || r->state == QUEUED))
                        return r;
                else if (r)
                        r->dirty = true;
        }
        return TAILQ_FIRST(&s->queue);
}

static void turn(struct services *s)
{
        struct record *r;
        unsigned n = 0;

        wake_timed(s);
        s->in_turn = true;
        while (s->started && n < TURN_PLANS && writer_has_room(s->conf.writer) && (r = pick(s))) {
                if (r->state == IDLE)
                        enqueue(r);
                plan_one(r);
                n++;
        }
        s->in_turn = false;
        series_set(s->depth, (double)s->n_queued);
        arm(s);
        if (n > 0)
                s->conf.on_turn(s->conf.ctx);
}

/* ---- what happens around us ---- */

void services_touch(struct services *s, const char *ns, const char *name)
{
        struct record *r;

        if (s->closing || !s->started)
                return; /* services_start() takes all there are */
        r = record_get(s, ns, name);
        if (!r) {
                log_error("no memory for a service; it is looked at when it changes next",
                        F_STR("service", name));
                return;
        }
        switch (r->state) {
        case IDLE: enqueue(r); break;
        case QUEUED: break;
        case WRITING:
                r->dirty = true;
                if (is_newer(r) && writer_drop(s->conf.writer, r->job)) {
                        r->job = NULL;
                        enqueue(r);
                }
                break;
        case ECHOING:
                if (is_newer(r))
                        enqueue(r);
                break;
        case HELD:
                r->dirty = true;
                if (!cached(r))
                        enqueue(r);
                else if (r->refused)
                        r->due_ms = s->timed_due_ms = MIN(r->due_ms, now(s) + 1000);
                break;
        }
        arm(s);
}

static int touch_in(void *ctx, const struct object *o)
{
        struct record **r = ctx;

        if (strcmp((*r)->ns, o->ns) == 0)
                services_touch((*r)->s, o->ns, o->name);
        return 0;
}

void services_touch_namespace(struct services *s, const char *ns)
{
        struct record probe = { .s = s, .ns = ns }, *at = &probe;

        if (s->started)
                (void)informer_each(s->conf.services, touch_in, &at); /* touch_in() never stops it */
}

void services_kick(struct services *s)
{
        arm(s);
}

void services_woken(struct services *s)
{
        s->woken = true;
        arm(s);
}

struct gather {
        struct services *s;
        struct plan_in *v;
        size_t n;
};

static int gather_one(void *ctx, const struct object *o)
{
        struct gather *g = ctx;
        const struct object *ns = informer_get(g->s->conf.namespaces, "", o->ns);

        g->v[g->n++] = (struct plan_in){ .service = service_of(o), .ns_labels = ns ? &ns->labels : NULL };
        return 0;
}

int services_start(struct services *s)
{
        const struct plan_conf conf = { .lb_class = s->conf.lb_class };
        size_t n = informer_count(s->conf.services);
        CLEANUP(freep) struct plan_in *v = calloc(n + 1, sizeof(*v));
        struct gather g = { .s = s, .v = v };
        int r;

        if (!v)
                return -ENOMEM;
        (void)informer_each(s->conf.services, gather_one, &g); /* gather_one() never stops it */
        r = plan_claim_all(s->conf.ipam, &conf, v, g.n, now(s));
        if (r < 0)
                return r;
        for (size_t i = 0; i < g.n; i++) {
                struct record *rec = record_get(s, v[i].service->meta.ns, v[i].service->meta.name);

                if (!rec)
                        return -ENOMEM;
                enqueue(rec);
        }
        s->started = s->woken = true;
        arm(s);
        return 0;
}

bool services_started(const struct services *s)
{
        return s->started;
}

size_t services_busy(const struct services *s)
{
        return s->n_queued + s->n_writing;
}

static void add_metrics(struct services *s, struct metrics *m)
{
        if (!m)
                return;
        s->pending = metrics_family(m, METRIC_GAUGE, "metallb_controller_services_pending",
                "Services of type LoadBalancer without (all) their addresses, by reason.", reason_label, NULL,
                0);
        s->depth = metrics_series(metrics_family(m, METRIC_GAUGE, "metallb_controller_queue_depth",
                                          "Services that wait to be looked at.", NULL, NULL, 0),
                NULL);
        s->plans = metrics_series(
                metrics_family(m, METRIC_COUNTER, "metallb_k8s_client_updates_total",
                        "Number of k8s object updates that have been processed.", NULL, NULL, 0),
                NULL);
        s->plan_errors = metrics_series(
                metrics_family(m, METRIC_COUNTER, "metallb_k8s_client_update_errors_total",
                        "Number of k8s object updates that failed for some reason.", NULL, NULL, 0),
                NULL);
        s->flips = metrics_series(
                metrics_family(m, METRIC_COUNTER, "metallb_controller_writes_held_total",
                        "Writes put off because somebody else changed the same status back.", NULL, NULL, 0),
                NULL);
        s->reconcile =
                metrics_series(metrics_family(m, METRIC_HISTOGRAM, "metallb_controller_reconcile_seconds",
                                       "From the change of a Service to the end of what it needed.", NULL,
                                       reconcile_bounds, ARRAY_LEN(reconcile_bounds)),
                        NULL);
}

int services_new(struct services **ret, const struct services_conf *conf)
{
        struct services *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        r = uv_timer_init(kube_loop(conf->kube), &s->timer);
        if (r < 0) {
                free(s);
                return r;
        }
        s->conf = *conf;
        s->rng.state = conf->seed;
        s->timed_due_ms = UINT64_MAX;
        TAILQ_INIT(&s->queue);
        TAILQ_INIT(&s->timed);
        add_metrics(s, kube_metrics(conf->kube));
        *ret = s;
        return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
        struct services *s = container_of(h, struct services, timer);
        void (*closed)(void *ctx) = s->closed;
        void *ctx = s->closed_ctx;
        struct tree_node *n;

        while ((n = tree_pop_any(&s->all)))
                record_free(container_of(n, struct record, node));
        series_set(s->depth, 0);
        free(s);
        closed(ctx);
}

void services_close(struct services *s, void (*closed)(void *ctx), void *ctx)
{
        if (s->closing)
                return;
        s->closing = true;
        s->closed = closed;
        s->closed_ctx = ctx;
        uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}
