/* SPDX-License-Identifier: Apache-2.0 */
/* view - Pure. Three steps, each over a list of what is marked: (1) Services: which addresses do they claim;
 * (2) addresses: who announces them; (3) Services again: what is different for them, said to the caller.
 * A change of nodes, pools or advertisements marks all addresses. Lists are intrusive, so that marking never needs
 * memory; a step that runs out of memory leaves its item on its list. */
#include "speaker/view_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 1024 /* namespace and name; the API allows 63 and 253 */

/* ---- small helpers ---- */

int view_scratch(struct scratch *s, size_t n, size_t size)
{
        size_t need = n * size;
        void *p;

        if (s->p && need <= s->cap)
                return 0;
        need = MAX(2 * need, (size_t)64); /* never NULL, so that offsets into it are valid */
        p = realloc(s->p, need);
        if (!p)
                return -ENOMEM;
        s->p = p;
        s->cap = need;
        return 0;
}

void view_mark_service(struct view *v, struct vservice *s)
{
        if (s->dirty)
                return;
        s->dirty = true;
        s->next_dirty = v->dirty;
        v->dirty = s;
}

void view_mark_report(struct view *v, struct vservice *s)
{
        if (s->report)
                return;
        s->report = true;
        s->next_report = v->report;
        v->report = s;
}

void view_mark_vip(struct view *v, struct vip *p)
{
        if (p->dirty)
                return;
        p->dirty = true;
        p->next_dirty = v->dirty_vips;
        v->dirty_vips = p;
}

void view_count_reason(struct view *v, enum elect_reason *at, enum elect_reason now)
{
        if (*at != UNCOUNTED)
                v->counts.reasons[*at]--;
        *at = now;
        if (now != UNCOUNTED)
                v->counts.reasons[now]++;
}

void view_count_candidates(struct view *v, struct vip *p, size_t now)
{
        if (p->n_candidates != SIZE_MAX)
                v->counts.candidates[MIN(p->n_candidates, (size_t)3)]--;
        p->n_candidates = now;
        if (now != SIZE_MAX)
                v->counts.candidates[MIN(now, (size_t)3)]++;
}

static void set_state(struct view *v, struct claim *c, enum view_state now)
{
        v->counts.announced += (size_t)(now == VIEW_ANNOUNCED) - (size_t)(c->state == VIEW_ANNOUNCED);
        c->state = now;
}

/* ---- life ---- */

int view_new(struct view **ret, const struct view_conf *conf)
{
        CLEANUP(view_freep) struct view *v = calloc(1, sizeof(*v));
        int r;

        if (!v)
                return -ENOMEM;
        v->held_tail = &v->held;
        v->hold_ms = conf->hold_ms;
        v->lb_class = strdup(conf->lb_class);
        if (!v->lb_class)
                return -ENOMEM;
        r = elect_new(&v->elect);
        if (r < 0)
                return r;
        r = cluster_new(&v->cluster, conf->node, conf->ignore_exclude, conf->hold_ms, conf->members);
        if (r < 0)
                return r;

        *ret = TAKE(v);
        return 0;
}

static void links_free(struct view *v)
{
        for (size_t i = 0; i < v->n_links; i++)
                free(v->links[i]);
        free(v->links);
        v->links = NULL;
        v->n_links = 0;
}

static void claims_free(struct view *v, struct claim *c)
{
        for (struct claim *next; c; c = next) {
                next = c->next;
                ifset_unref(&v->interfaces, c->shown);
                set_state(v, c, VIEW_SILENT);
                view_count_reason(v, &c->counted, UNCOUNTED);
                free(c);
        }
}

static void service_free(struct view *v, struct vservice *s)
{
        HASH_DEL(v->services, s);
        for (struct slot *slot = s->slices, *next; slot; slot = next) {
                next = slot->next;
                free(slot);
        }
        claims_free(v, s->claims);
        claims_free(v, s->lost);
        view_count_reason(v, &s->counted, UNCOUNTED);
        free(s);
}

static void vip_free(struct view *v, struct vip *p)
{
        HASH_DEL(v->vips, p);
        view_count_candidates(v, p, SIZE_MAX);
        ifset_unref(&v->interfaces, p->interfaces);
        free(p);
}

struct view *view_free(struct view *v)
{
        struct vservice *s, *next;
        struct vip *p, *after;

        if (!v)
                return NULL;
        HASH_ITER (hh, v->services, s, next)
                service_free(v, s);
        HASH_ITER (hh, v->vips, p, after)
                vip_free(v, p);
        cluster_free(v->cluster);
        elect_free(v->elect);
        links_free(v);
        free(v->ips.p);
        free(v->places.p);
        free(v->claims.p);
        free(v->ads.p);
        free(v->local.p);
        free(v->names.p);
        free(v->addresses.p);
        free(v->lb_class);
        free(v);
        return NULL;
}

/* ---- what is fed ---- */

/* The API server stores no name that does not fit; were there one, it would not be looked at. */
static bool key_fits(const char *ns, const char *name)
{
        return strlen(ns) + strlen(name) + 2 <= KEY_MAX;
}

/* The entry of a Service, NULL if there is none, or with @make if there is no memory for it. */
static struct vservice *service_at(struct view *v, const char *ns, const char *name, bool make)
{
        size_t ns_len = strlen(ns), len = ns_len + strlen(name) + 2;
        struct vservice *s;
        char key[KEY_MAX];

        memcpy(key, ns, ns_len + 1);
        memcpy(key + ns_len + 1, name, len - ns_len - 1);
        HASH_FIND(hh, v->services, key, len, s);
        if (s || !make)
                return s;
        s = calloc(1, sizeof(*s) + len);
        if (!s)
                return NULL;
        memcpy(s->key, key, len);
        s->name = s->key + ns_len + 1;
        s->counted = UNCOUNTED;
        HASH_ADD_KEYPTR(hh, v->services, s->key, len, s);
        if (!s->hh.tbl) {
                free(s);
                return NULL;
        }
        return s;
}

int view_service(struct view *v, const struct object *old, const struct object *now)
{
        const struct object *any = now ? now : old;
        struct vservice *s;

        if (!key_fits(any->ns, any->name))
                return 0;
        s = service_at(v, any->ns, any->name, now != NULL);
        if (!s)
                return now ? -ENOMEM : 0;
        s->o = now ? service_of(now) : NULL;
        view_mark_service(v, s);
        return 0;
}

static struct slot **slot_of(struct vservice *s, const struct object *o)
{
        struct slot **at = &s->slices;

        while (*at && &(*at)->o->meta != o)
                at = &(*at)->next;
        return at;
}

static bool slice_counts(const struct object *o)
{
        return o && slice_of(o)->service[0] != '\0' && key_fits(o->ns, slice_of(o)->service);
}

int view_slice(struct view *v, const struct object *old, const struct object *now)
{
        bool wanted = slice_counts(now);
        struct vservice *from =
                slice_counts(old) ? service_at(v, old->ns, slice_of(old)->service, false) : NULL;
        struct vservice *to = wanted ? service_at(v, now->ns, slice_of(now)->service, true) : NULL;
        struct slot **at = from ? slot_of(from, old) : NULL;
        struct slot *slot = at ? *at : NULL;

        if (slot)
                *at = slot->next;
        if (from)
                view_mark_service(v, from);
        if (!to) {
                free(slot);
                return wanted ? -ENOMEM : 0;
        }
        if (!slot)
                slot = malloc(sizeof(*slot));
        view_mark_service(v, to);
        if (!slot)
                return -ENOMEM;
        *slot = (struct slot){ .next = to->slices, .o = slice_of(now) };
        to->slices = slot;
        return 0;
}

int view_pool(struct view *v, const struct object *old, const struct object *now)
{
        return cluster_pool(v->cluster, old, now);
}

int view_l2adv(struct view *v, const struct object *old, const struct object *now)
{
        return cluster_ad(v->cluster, old, now);
}

int view_node(struct view *v, const struct object *old, const struct object *now, uint64_t now_ms)
{
        return cluster_node(v->cluster, old, now, now_ms);
}

void view_members_changed(struct view *v)
{
        cluster_members_changed(v->cluster);
}

static int by_text(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int view_links(struct view *v, const char *const *names, size_t n)
{
        char **links = calloc(n + 1, sizeof(*links));
        size_t made = 0;

        while (links && made < n && (links[made] = strdup(names[made])) != NULL)
                made++;
        if (!links || made < n) {
                while (made > 0)
                        free(links[--made]);
                free(links);
                return -ENOMEM;
        }
        links_free(v);
        qsort(links, n, sizeof(*links), by_text);
        v->links = links;
        v->n_links = n;
        for (struct vip *p = v->vips; p; p = p->hh.next)
                for (struct claim *c = p->claims; c && p->interfaces; c = c->next_in_vip)
                        view_mark_report(v, c->s);
        return 0;
}

/* ---- step 3: what is different for a Service ---- */

static bool any_exists(const struct view *v, const struct ifset *s)
{
        const char *const *names = ifset_names(s);

        if (!s || !v->links)
                return true;
        for (size_t i = 0; i < ifset_count(s); i++)
                if (bsearch(&names[i], v->links, v->n_links, sizeof(v->links[0]), by_text))
                        return true;
        return false;
}

static struct view_address address_of(const struct view *v, const struct claim *c)
{
        const struct cluster_tables *t = cluster_tables(v->cluster);
        const struct cluster_pool *pool = cluster_pool_of(v->cluster, &c->ip);
        struct view_address a = { .ip = c->ip, .was = c->state, .reason = c->reason };

        a.pool = pool ? (*pool->object)->name : "";
        if (!c->vip)
                return a;
        if (c->vip->chosen != SIZE_MAX)
                a.winner = t->nodes[c->vip->chosen].name;
        if (c->reason != ELECT_ANNOUNCED)
                return a;
        a.now = VIEW_ANNOUNCED;
        if (!any_exists(v, c->vip->interfaces)) {
                a.now = VIEW_FAILED;
                a.reason = ELECT_NO_INTERFACE;
        }
        a.interfaces = ifset_names(c->vip->interfaces);
        a.n_interfaces = ifset_count(c->vip->interfaces);
        return a;
}

static bool is_different(const struct claim *c, const struct view_address *a)
{
        return a->was != a->now || (a->now != VIEW_SILENT && c->shown != c->vip->interfaces);
}

static void said(struct view *v, struct claim *c, const struct view_address *a)
{
        struct ifset *shown = c->vip && a->now != VIEW_SILENT ? c->vip->interfaces : NULL;

        ifset_ref(shown);
        ifset_unref(&v->interfaces, c->shown);
        c->shown = shown;
        set_state(v, c, a->now);
        if (c->vip)
                view_count_reason(v, &c->counted, a->reason);
}

static int report_service(struct view *v, struct vservice *s,
        void (*on_change)(void *ctx, const struct view_change *c), void *ctx)
{
        struct view_change change = { .ns = s->key, .name = s->name, .service = s->o };
        struct view_address *addresses;
        bool different = false;
        size_t n = 0;

        for (const struct claim *c = s->claims; c; c = c->next)
                n++;
        for (const struct claim *c = s->lost; c; c = c->next)
                n++;
        if (view_scratch(&v->addresses, n, sizeof(*addresses)) < 0)
                return -ENOMEM;
        addresses = v->addresses.p;
        for (struct claim *list = s->claims, *next = s->lost; list || next; list = next, next = NULL) {
                for (struct claim *c = list; c; c = c->next) {
                        addresses[change.n] = address_of(v, c);
                        different |= is_different(c, &addresses[change.n]);
                        said(v, c, &addresses[change.n]);
                        change.n++;
                }
        }
        claims_free(v, TAKE(s->lost));
        change.addresses = addresses;
        if (different)
                on_change(ctx, &change);
        return 0;
}

/* Nothing is left of it, and it is on no list. */
static bool service_is_over(const struct vservice *s)
{
        return !s->o && !s->slices && !s->claims && !s->lost && !s->dirty && !s->report && !s->held;
}

static bool awaits_election(const struct vservice *s)
{
        for (const struct claim *c = s->claims; c; c = c->next)
                if (c->vip->dirty)
                        return true;
        return false;
}

/* ---- the run ---- */

/* Endpoints that were gone for the whole hold are looked at again. */
static void end_holds(struct view *v, uint64_t now_ms)
{
        struct vservice *s;

        while ((s = v->held) != NULL && s->hold_until_ms <= now_ms) {
                v->held = s->next_held;
                if (!v->held)
                        v->held_tail = &v->held;
                s->held = false;
                view_mark_service(v, s);
        }
}

static int run_services(struct view *v, uint64_t now_ms)
{
        for (struct vservice *s; (s = v->dirty) != NULL;) {
                if (view_refresh_service(v, s, now_ms) < 0)
                        return -ENOMEM;
                v->dirty = s->next_dirty;
                s->dirty = false;
        }
        return 0;
}

static int run_vips(struct view *v, size_t budget)
{
        size_t cost = cluster_tables(v->cluster)->n_nodes + 1, spent = 0;

        for (struct vip *p; (p = v->dirty_vips) != NULL;) {
                if (spent >= budget)
                        return 1;
                spent += cost;
                if (p->claims && view_elect_vip(v, p) < 0)
                        return -ENOMEM;
                v->dirty_vips = p->next_dirty;
                p->dirty = false;
                if (!p->claims)
                        vip_free(v, p);
        }
        return 0;
}

static int run_reports(struct view *v, void (*on_change)(void *ctx, const struct view_change *c), void *ctx)
{
        struct vservice *waiting = NULL, *s;
        int r = 0;

        while (r == 0 && (s = v->report) != NULL) {
                if (awaits_election(s)) {
                        v->report = s->next_report;
                        s->next_report = waiting;
                        waiting = s;
                        continue;
                }
                r = report_service(v, s, on_change, ctx);
                if (r < 0)
                        break;
                v->report = s->next_report;
                s->report = false;
                if (service_is_over(s))
                        service_free(v, s);
        }
        while ((s = waiting) != NULL) {
                waiting = s->next_report;
                s->next_report = v->report;
                v->report = s;
        }
        return r;
}

int view_run(struct view *v, uint64_t now_ms, size_t budget,
        void (*on_change)(void *ctx, const struct view_change *c), void *ctx)
{
        int more, r;

        cluster_expire(v->cluster, now_ms);
        end_holds(v, now_ms);
        if (cluster_is_changed(v->cluster)) {
                r = cluster_build(v->cluster);
                if (r < 0)
                        return r;
                for (struct vip *p = v->vips; p; p = p->hh.next)
                        view_mark_vip(v, p);
        }
        r = run_services(v, now_ms);
        if (r < 0)
                return r;
        more = run_vips(v, budget);
        if (more < 0)
                return more;
        r = run_reports(v, on_change, ctx);
        return r < 0 ? r : more;
}

bool view_is_dirty(const struct view *v)
{
        return v->dirty || v->dirty_vips || v->report || cluster_is_changed(v->cluster);
}

uint64_t view_deadline(const struct view *v)
{
        uint64_t due = cluster_deadline(v->cluster);

        return v->held ? MIN(due, v->held->hold_until_ms) : due;
}

int view_desired(const struct view *v, struct desired **ret)
{
        CLEANUP(desired_freep) struct desired *d = NULL;
        size_t n = 0;
        int r;

        for (const struct vip *p = v->vips; p; p = p->hh.next)
                n += p->mine;
        r = desired_new(&d, n);
        if (r < 0)
                return r;
        for (const struct vip *p = v->vips; p; p = p->hh.next) {
                if (!p->mine)
                        continue;
                r = desired_add(d, &p->ip, ifset_names(p->interfaces), ifset_count(p->interfaces));
                if (r < 0)
                        return r;
        }
        desired_seal(d);
        *ret = TAKE(d);
        return 0;
}

void view_count(const struct view *v, struct view_counts *ret)
{
        *ret = v->counts;
        ret->services = HASH_COUNT(v->services);
        ret->nodes = cluster_tables(v->cluster)->n_nodes;
        ret->addresses = HASH_COUNT(v->vips);
}
