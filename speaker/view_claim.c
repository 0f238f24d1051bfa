/* SPDX-License-Identifier: Apache-2.0 */
/* view_claim - step 1 of view: which addresses does a Service claim, and has it endpoints. Pure. */
#include "speaker/view_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool has_usable(const struct vservice *s)
{
        for (const struct slot *slot = s->slices; slot; slot = slot->next)
                for (size_t i = 0; i < slot->o->n_nodes; i++)
                        if (slot->o->nodes[i].usable > 0)
                                return true;
        return false;
}

/* The last endpoint gone: under policy Cluster it goes on counting for the hold. */
static void judge_endpoints(struct view *v, struct vservice *s, uint64_t now_ms)
{
        if (has_usable(s)) {
                s->any_endpoint = s->had_endpoint = true;
                s->hold_until_ms = 0;
                return;
        }
        if (s->had_endpoint && s->hold_until_ms == 0 && s->o && !s->o->local_policy && v->hold_ms > 0) {
                s->hold_until_ms = now_ms + v->hold_ms;
                if (!s->held) {
                        s->held = true;
                        s->next_held = NULL;
                        *v->held_tail = s;
                        v->held_tail = &s->next_held;
                }
        }
        s->any_endpoint = s->hold_until_ms > now_ms && s->o && !s->o->local_policy;
        if (!s->any_endpoint) {
                s->had_endpoint = false;
                s->hold_until_ms = 0;
        }
}

/* Its addresses into v->ips without repetition. ELECT_ANNOUNCED, or why it claims none. */
static int read_addresses(struct view *v, const struct vservice *s, enum elect_reason *ret, size_t *ret_n)
{
        const struct service *o = s->o;
        struct ip *ips;
        size_t n = 0;

        *ret_n = 0;
        *ret = !o                                        ? ELECT_SERVICE_DELETED
                : !o->is_load_balancer                   ? ELECT_NOT_LOAD_BALANCER
                : !service_class_matches(o, v->lb_class) ? ELECT_OTHER_CLASS
                : o->n_ingress == 0                      ? ELECT_NO_IP
                                                         : ELECT_ANNOUNCED;
        if (*ret != ELECT_ANNOUNCED)
                return 0;
        if (view_scratch(&v->ips, o->n_ingress, sizeof(*ips)) < 0)
                return -ENOMEM;
        ips = v->ips.p;
        for (size_t i = 0; i < o->n_ingress; i++) {
                bool seen = false;

                if (ip_parse(&ips[n], o->ingress[i].ip) < 0) {
                        *ret = ELECT_INVALID_IP;
                        return 0;
                }
                for (size_t k = 0; k < n; k++)
                        seen |= ip_equal(&ips[k], &ips[n]);
                n += !seen;
        }
        *ret_n = n;
        return 0;
}

static struct vip *vip_at(struct view *v, const struct ip *ip)
{
        struct vip *p;

        HASH_FIND(hh, v->vips, ip, sizeof(*ip), p);
        if (p)
                return p;
        p = calloc(1, sizeof(*p));
        if (!p)
                return NULL;
        p->ip = *ip;
        p->chosen = p->n_candidates = SIZE_MAX;
        HASH_ADD(hh, v->vips, ip, sizeof(p->ip), p);
        if (!p->hh.tbl) {
                free(p);
                return NULL;
        }
        return p;
}

static void attach(struct claim *c, struct vip *p)
{
        c->vip = p;
        c->next_in_vip = p->claims;
        p->claims = c;
}

static void detach(struct view *v, struct claim *c)
{
        struct claim **at = &c->vip->claims;

        while (*at != c)
                at = &(*at)->next_in_vip;
        *at = c->next_in_vip;
        view_mark_vip(v, c->vip);
        c->vip = NULL;
}

static struct claim *take_claim(struct claim **list, const struct ip *ip)
{
        for (struct claim **at = list; *at; at = &(*at)->next) {
                struct claim *c = *at;

                if (ip_equal(&c->ip, ip)) {
                        *at = c->next;
                        return c;
                }
        }
        return NULL;
}

/* The claim on @ip, out of its list: one that is there, one that was just lost, or a new one. */
static struct claim *claim_for(struct view *v, struct vservice *s, const struct ip *ip)
{
        struct claim *c = take_claim(&s->claims, ip);
        struct vip *p = c ? c->vip : vip_at(v, ip);

        if (c || !p)
                return c;
        view_mark_vip(v, p); /* also so that it is freed again if there is no memory for the claim */
        c = take_claim(&s->lost, ip);
        if (!c) {
                c = calloc(1, sizeof(*c));
                if (!c)
                        return NULL;
                c->s = s;
                c->ip = *ip;
                c->counted = UNCOUNTED;
        }
        attach(c, p);
        return c;
}

static void lose(struct view *v, struct vservice *s, struct claim *c, enum elect_reason why)
{
        detach(v, c);
        view_count_reason(v, &c->counted, UNCOUNTED);
        c->reason = why;
        c->next = s->lost;
        s->lost = c;
}

int view_refresh_service(struct view *v, struct vservice *s, uint64_t now_ms)
{
        struct claim *kept = NULL, **tail = &kept, *c;
        enum elect_reason reason;
        const struct ip *ips;
        int r = 0;
        size_t n;

        if (read_addresses(v, s, &reason, &n) < 0)
                return -ENOMEM;
        ips = v->ips.p;
        for (size_t i = 0; i < n && r == 0; i++) {
                c = claim_for(v, s, &ips[i]);
                if (!c) {
                        r = -ENOMEM;
                        break;
                }
                *tail = c;
                tail = &c->next;
                *tail = NULL;
        }
        if (r < 0) { /* what was not reached stays as it is; the next attempt puts it right */
                *tail = s->claims;
                s->claims = kept;
                return r;
        }
        while ((c = s->claims) != NULL) {
                s->claims = c->next;
                lose(v, s, c, reason == ELECT_ANNOUNCED ? ELECT_IP_CHANGED : reason);
        }
        s->claims = kept;
        judge_endpoints(v, s, now_ms);
        for (c = s->claims; c; c = c->next)
                view_mark_vip(v, c->vip);
        view_count_reason(
                v, &s->counted, reason == ELECT_NO_IP || reason == ELECT_INVALID_IP ? reason : UNCOUNTED);
        view_mark_report(v, s);
        return 0;
}
