/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. Two kinds of job: an address (walks over the ports of its family) and a port (walks over the addresses of its
 * family). A job keeps a cursor, so a round can stop wherever the pacer says and go on later, also when addresses and
 * ports came or went in between. First rounds wait in a queue, everything else in a heap by due time. */
#include "speaker/announce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_MAX 4096 /* pairs looked at in one announce_pop() */
#define STEP_MS  10 /* when the pacer is dry, wait for this much, not for every single frame */

struct job {
        struct ip ip; /* an address' own; of a port: only the family counts */
        unsigned ifindex; /* a port's own; 0: this is an address */
        uint64_t seq; /* start order of bursts */
        unsigned round; /* rounds behind us; ANNOUNCE_ROUNDS: the burst is over */
        uint64_t due_ms;
        bool midway; /* a round is under way, its cursor counts */
        struct ip at_ip; /* port: the last address done */
        unsigned at_ifindex; /* address: the last port done */
        enum { IDLE, QUEUED, HEAPED } where;
        size_t heap_at;
        struct job *prev, *next; /* in the queue */
};

struct jobs {
        struct job **v; /* sorted; each owned */
        size_t n, cap;
};

struct announce {
        struct announce_conf conf;
        struct jobs vips; /* by ip */
        struct jobs ports; /* by family and ifindex */
        struct job *head, *tail; /* first rounds, in order */
        struct job **heap; /* room for every job */
        size_t n_heap, heap_cap;
        uint64_t seq;
        uint64_t millis; /* thousandths of frames that may be sent */
        uint64_t filled_ms; /* when millis was last right */
        bool dry; /* the last pop stopped for want of them */
        bool tired; /* ... or for SCAN_MAX */
};

int announce_new(struct announce **ret, const struct announce_conf *conf)
{
        struct announce *a;

        if (conf->refresh_ms < 1000 || conf->rate_s < 10 || !conf->rng || !conf->wants)
                return -EINVAL;
        a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        a->conf = *conf;
        *ret = a;
        return 0;
}

static void jobs_fini(struct jobs *l)
{
        for (size_t i = 0; i < l->n; i++)
                free(l->v[i]);
        free(l->v);
}

struct announce *announce_free(struct announce *a)
{
        if (!a)
                return NULL;
        jobs_fini(&a->vips);
        jobs_fini(&a->ports);
        free(a->heap);
        free(a);
        return NULL;
}

static bool heap_before(const struct job *x, const struct job *y)
{
        return x->due_ms != y->due_ms ? x->due_ms < y->due_ms : x->seq < y->seq;
}

static void heap_put(struct announce *a, size_t at, struct job *j)
{
        a->heap[at] = j;
        j->heap_at = at;
}

static void heap_fix(struct announce *a, size_t at, struct job *j)
{
        for (size_t up; at > 0 && heap_before(j, a->heap[up = (at - 1) / 2]); at = up)
                heap_put(a, at, a->heap[up]);
        for (size_t down; (down = at * 2 + 1) < a->n_heap; at = down) {
                if (down + 1 < a->n_heap && heap_before(a->heap[down + 1], a->heap[down]))
                        down++;
                if (!heap_before(a->heap[down], j))
                        break;
                heap_put(a, at, a->heap[down]);
        }
        heap_put(a, at, j);
}

static void park(struct announce *a, struct job *j)
{
        if (j->where == QUEUED) {
                *(j->prev ? &j->prev->next : &a->head) = j->next;
                *(j->next ? &j->next->prev : &a->tail) = j->prev;
                j->prev = j->next = NULL;
        } else if (j->where == HEAPED) {
                struct job *last = a->heap[--a->n_heap];

                if (last != j)
                        heap_fix(a, j->heap_at, last);
        }
        j->where = IDLE;
}

static void enqueue(struct announce *a, struct job *j)
{
        j->prev = a->tail;
        *(a->tail ? &a->tail->next : &a->head) = j;
        a->tail = j;
        j->where = QUEUED;
}

static void schedule(struct announce *a, struct job *j, uint64_t due_ms)
{
        j->due_ms = due_ms;
        j->where = HEAPED;
        a->n_heap++;
        heap_fix(a, a->n_heap - 1, j);
}

static void burst(struct announce *a, struct job *j, uint64_t now_ms)
{
        park(a, j);
        j->seq = ++a->seq;
        j->round = 0;
        j->midway = false;
        j->due_ms = now_ms;
        enqueue(a, j);
}

static int heap_room(struct announce *a, size_t jobs)
{
        size_t cap = MAX(a->heap_cap, (size_t)16);
        struct job **v;

        if (jobs <= a->heap_cap)
                return 0;
        while (cap < jobs)
                cap *= 2;
        v = realloc(a->heap, cap * sizeof(struct job *));
        if (!v)
                return -ENOMEM;
        a->heap = v;
        a->heap_cap = cap;
        return 0;
}

static int port_cmp(const struct job *j, unsigned family, unsigned ifindex)
{
        if (j->ip.family != family)
                return j->ip.family < family ? -1 : 1;
        return j->ifindex < ifindex ? -1 : j->ifindex > ifindex;
}

/* The first port of @family with an ifindex of at least @ifindex, or where it would be. */
static size_t port_position(const struct announce *a, unsigned family, unsigned ifindex)
{
        size_t lo = 0, hi = a->ports.n;

        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;

                if (port_cmp(a->ports.v[mid], family, ifindex) < 0)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

/* The first address that is @ip or behind it. */
static size_t vip_position(const struct announce *a, const struct ip *ip)
{
        size_t lo = 0, hi = a->vips.n;

        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;

                if (ip_cmp(&a->vips.v[mid]->ip, ip) < 0)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

static struct job *find_vip(const struct announce *a, const struct ip *ip)
{
        size_t at = vip_position(a, ip);

        return at < a->vips.n && ip_equal(&a->vips.v[at]->ip, ip) ? a->vips.v[at] : NULL;
}

int announce_vips(struct announce *a, const struct ip *ips, size_t n, uint64_t now_ms)
{
        struct jobs next = { .v = calloc(n ? n : 1, sizeof(struct job *)), .cap = n };

        if (!next.v || heap_room(a, n + a->ports.n) < 0) {
                free(next.v);
                return -ENOMEM;
        }
        for (size_t i = 0; i < n; i++) {
                if (find_vip(a, &ips[i]))
                        continue;
                next.v[i] = calloc(1, sizeof(struct job));
                if (!next.v[i]) {
                        next.n = i;
                        jobs_fini(&next);
                        return -ENOMEM;
                }
                next.v[i]->ip = ips[i];
        }
        next.n = n;
        for (size_t i = 0, old = 0; i < n || old < a->vips.n;) { /* both are sorted: one walk over the two */
                int c = i == n ? 1 : old == a->vips.n ? -1 : ip_cmp(&ips[i], &a->vips.v[old]->ip);

                if (c < 0) {
                        burst(a, next.v[i++], now_ms);
                } else if (c == 0) {
                        next.v[i++] = a->vips.v[old++];
                } else {
                        park(a, a->vips.v[old]);
                        free(a->vips.v[old++]);
                }
        }
        free(a->vips.v);
        a->vips = next;
        return 0;
}

void announce_restart(struct announce *a, const struct ip *ip, uint64_t now_ms)
{
        struct job *j = find_vip(a, ip);

        if (j)
                burst(a, j, now_ms);
}

int announce_port(struct announce *a, enum ip_family family, unsigned ifindex, uint64_t now_ms)
{
        size_t at = port_position(a, family, ifindex);
        struct jobs *l = &a->ports;
        struct job *j;

        if (at < l->n && port_cmp(l->v[at], family, ifindex) == 0) {
                burst(a, l->v[at], now_ms);
                return 0;
        }
        if (l->n == l->cap) {
                size_t cap = l->cap ? l->cap * 2 : 8;
                struct job **v = realloc(l->v, cap * sizeof(struct job *));

                if (!v)
                        return -ENOMEM;
                l->v = v;
                l->cap = cap;
        }
        if (heap_room(a, a->vips.n + l->n + 1) < 0)
                return -ENOMEM;
        j = calloc(1, sizeof(*j));
        if (!j)
                return -ENOMEM;
        j->ip.family = (uint8_t)family;
        j->ifindex = ifindex;
        memmove(l->v + at + 1, l->v + at, (l->n - at) * sizeof(struct job *));
        l->v[at] = j;
        l->n++;
        burst(a, j, now_ms);
        return 0;
}

void announce_port_gone(struct announce *a, enum ip_family family, unsigned ifindex)
{
        size_t at = port_position(a, family, ifindex);
        struct jobs *l = &a->ports;

        if (at == l->n || port_cmp(l->v[at], family, ifindex) != 0)
                return;
        park(a, l->v[at]);
        free(l->v[at]);
        l->n--;
        memmove(l->v + at, l->v + at + 1, (l->n - at) * sizeof(struct job *));
}

static unsigned frames(unsigned family)
{
        return family == IP_V4 ? 2 : 1;
}

static void refill(struct announce *a, uint64_t now_ms)
{
        uint64_t full = MAX((uint64_t)a->conf.rate_s * 200, (uint64_t)2000), passed = now_ms - a->filled_ms;

        if (a->filled_ms == 0 || passed >= 1000)
                a->millis = full;
        else
                a->millis = MIN(full, a->millis + passed * a->conf.rate_s);
        a->filled_ms = now_ms;
}

/* The pair belongs to the burst that started later. */
static bool port_leads(const struct job *port, const struct job *vip)
{
        return port->round < ANNOUNCE_ROUNDS && port->seq > vip->seq;
}

/* The next pair of @j's round; false: the round is over, or @budget is. */
static bool next_pair(struct announce *a, struct job *j, unsigned *budget, struct announce_item *ret)
{
        if (!j->midway) {
                j->midway = true;
                j->at_ifindex = 0;
                j->at_ip = (struct ip){ .family = j->ip.family };
        }
        if (j->ifindex == 0) {
                for (size_t i = port_position(a, j->ip.family, j->at_ifindex + 1);
                        i < a->ports.n && a->ports.v[i]->ip.family == j->ip.family; i++) {
                        struct job *port = a->ports.v[i];

                        if ((*budget)-- == 0)
                                return false;
                        j->at_ifindex = port->ifindex;
                        *ret = (struct announce_item){ j->ip, port->ifindex, j->round == 0 };
                        if (!port_leads(port, j) && a->conf.wants(a->conf.ctx, &j->ip, port->ifindex))
                                return true;
                }
                return false;
        }
        for (size_t i = vip_position(a, &j->at_ip); i < a->vips.n && a->vips.v[i]->ip.family == j->ip.family;
                i++) {
                struct job *vip = a->vips.v[i];

                if (ip_equal(&vip->ip,
                            &j->at_ip)) /* done before; only the all-zero address is never announced */
                        continue;
                if ((*budget)-- == 0)
                        return false;
                j->at_ip = vip->ip;
                *ret = (struct announce_item){ vip->ip, j->ifindex, j->round == 0 };
                if (port_leads(j, vip) && a->conf.wants(a->conf.ctx, &vip->ip, j->ifindex))
                        return true;
        }
        return false;
}

static void round_over(struct announce *a, struct job *j, uint64_t now_ms)
{
        park(a, j);
        j->midway = false;
        if (j->round < ANNOUNCE_ROUNDS)
                j->round++;
        if (j->round < ANNOUNCE_ROUNDS)
                schedule(a, j, now_ms + ANNOUNCE_GAP_MS);
        else if (j->ifindex == 0 && a->conf.refresh_ms != UINT32_MAX)
                schedule(a, j, now_ms + rng_jitter(a->conf.rng, a->conf.refresh_ms, 10));
}

bool announce_pop(struct announce *a, uint64_t now_ms, struct announce_item *ret)
{
        unsigned budget = SCAN_MAX;

        refill(a, now_ms);
        a->dry = a->tired = false;
        for (;;) {
                struct job *j = a->head                                 ? a->head
                        : a->n_heap > 0 && a->heap[0]->due_ms <= now_ms ? a->heap[0]
                                                                        : NULL;

                if (!j)
                        return false;
                if (a->millis < frames(j->ip.family) * 1000u) {
                        a->dry = true;
                        return false;
                }
                if (next_pair(a, j, &budget, ret)) {
                        a->millis -= frames(j->ip.family) * 1000u;
                        return true;
                }
                if (budget == UINT32_MAX) { /* ran out within next_pair(): the round goes on next time */
                        a->tired = true;
                        return false;
                }
                round_over(a, j, now_ms);
        }
}

uint64_t announce_deadline(const struct announce *a)
{
        uint64_t due = a->head ? 0 : a->n_heap > 0 ? a->heap[0]->due_ms : UINT64_MAX;
        uint64_t want = MAX((uint64_t)a->conf.rate_s * STEP_MS, (uint64_t)2000);

        if (a->tired || !a->dry || a->millis >= want)
                return due;
        return MAX(due, a->filled_ms + (want - a->millis + a->conf.rate_s - 1) / a->conf.rate_s);
}
