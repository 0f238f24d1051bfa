/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. */
#include "controller/lease.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A holder may have promised more than we would; a promise of hours (an edited object) is not waited for. */
#define DURATION_MAX_S 60

static void copy_text(char *out, size_t cap, const char *text)
{
        size_t n = strlen(text);

        if (n >= cap)
                n = cap - 1;
        memcpy(out, text, n);
        out[n] = '\0';
}

int lease_init(struct lease *l, const struct lease_conf *conf, uint64_t now_ms)
{
        unsigned duration_s = conf->duration_s ? conf->duration_s : 12;
        unsigned renew_ms = conf->renew_ms ? conf->renew_ms : 4000;

        if (!conf->identity || conf->identity[0] == '\0' || renew_ms >= duration_s * 1000 / 2)
                return -EINVAL;
        *l = (struct lease){
                .duration_ms = (uint64_t)duration_s * 1000,
                .renew_ms = renew_ms,
                .poll_ms = conf->poll_ms ? conf->poll_ms : 1000,
                .retry_ms = conf->retry_ms ? conf->retry_ms : 1000,
                .next_ms = now_ms,
                .must_read = true,
        };
        copy_text(l->identity, sizeof(l->identity), conf->identity);
        return 0;
}

/* It carries our name and our term. */
static bool is_ours(const struct lease *l)
{
        return l->token[0] != '\0' && strcmp(l->seen.holder, l->identity) == 0 &&
                strcmp(l->seen.acquired, l->token) == 0;
}

/* May be taken now; *ret_at_ms: when else. */
static bool is_free(const struct lease *l, uint64_t now_ms, uint64_t *ret_at_ms)
{
        int64_t s = l->seen.duration_s;
        uint64_t over_ms;

        if (l->seen.holder[0] == '\0' || l->heir || is_ours(l))
                return true;
        if (s <= 0)
                s = (int64_t)(l->duration_ms / 1000);
        over_ms = l->seen_ms + (uint64_t)MIN(s, DURATION_MAX_S) * 1000;
        *ret_at_ms = over_ms;
        return now_ms >= over_ms;
}

enum lease_do lease_next(const struct lease *l, uint64_t now_ms, uint64_t *ret_at_ms)
{
        uint64_t over_ms = UINT64_MAX;

        if (now_ms < l->next_ms) {
                *ret_at_ms = l->next_ms;
                return LEASE_WAIT;
        }
        if (l->must_read || !l->known)
                return LEASE_READ;
        if (!l->exists)
                return LEASE_CREATE;
        /* After our last look nothing changed for a whole lease: look again first, then take it. */
        if (is_free(l, now_ms, &over_ms))
                return LEASE_UPDATE;
        return LEASE_READ;
}

static void read_text(char *out, size_t cap, const cJSON *spec, const char *key)
{
        const char *text = "";

        (void)json_str(spec, key, &text); /* absent or of another type: stays "" */
        copy_text(out, cap, text);
}

static void seen_from(struct lease_seen *s, const cJSON *json)
{
        const cJSON *spec = json_at(json, "spec");

        *s = (struct lease_seen){ .duration_s = 0 };
        read_text(s->holder, sizeof(s->holder), spec, "holderIdentity");
        read_text(s->renewed, sizeof(s->renewed), spec, "renewTime");
        read_text(s->acquired, sizeof(s->acquired), spec, "acquireTime");
        (void)json_int(spec, "leaseDurationSeconds", &s->duration_s); /* else 0 */
        (void)json_int(spec, "leaseTransitions", &s->transitions); /* else 0 */
        copy_text(s->rv, sizeof(s->rv), json_str_at(json, "metadata.resourceVersion", ""));
}

/* @seen is current: what follows from it for our own lease, and when to act next. */
static void settle(struct lease *l, uint64_t now_ms)
{
        uint64_t over_ms = UINT64_MAX;

        l->must_read = false;
        if (!l->exists || !is_ours(l))
                l->held = false; /* somebody else wrote it, or it was deleted */
        /* Once somebody else had it, no late write of ours can still be carried out: the next term is a new one. */
        if (l->exists && l->seen.holder[0] != '\0' && !is_ours(l) && !l->heir)
                l->token[0] = '\0';
        if (!l->exists || is_free(l, now_ms, &over_ms))
                l->next_ms = now_ms;
        else
                l->next_ms = MIN(now_ms + l->poll_ms, over_ms);
}

void lease_saw(struct lease *l, const cJSON *json, uint64_t now_ms)
{
        struct lease_seen seen = { .duration_s = 0 };
        bool exists = json != NULL, changed;

        if (exists)
                seen_from(&seen, json);
        changed = !l->known || exists != l->exists || strcmp(seen.rv, l->seen.rv) != 0;
        if (changed)
                l->seen_ms = now_ms;
        l->heir = strcmp(seen.holder, l->identity) == 0 && (!l->known || (l->heir && !changed));
        l->known = true;
        l->exists = exists;
        l->seen = seen;
        settle(l, now_ms);
}

void lease_read_failed(struct lease *l, uint64_t now_ms)
{
        l->must_read = true;
        l->next_ms = now_ms + l->retry_ms;
}

/* RFC 3339 with microseconds: meta/v1 MicroTime. Unlike Time it takes six digits and nothing else. */
static void micro_time(char out[static LEASE_TIME_MAX], int64_t wall_us)
{
        char day[32];
        size_t n;

        json_time_format(wall_us / 1000000, day);
        n = strlen(day);
        if (n > 0 && day[n - 1] == 'Z')
                day[n - 1] = '\0';
        snprintf(out, LEASE_TIME_MAX, "%.20s.%06dZ", day, (int)(wall_us % 1000000));
}

void lease_body(struct lease *l, struct buf *out, const char *ns, const char *name, uint64_t now_ms,
        int64_t wall_us, bool release)
{
        bool ours = l->exists && is_ours(l);
        char now[LEASE_TIME_MAX];

        micro_time(now, wall_us);
        if (l->token[0] == '\0')
                copy_text(l->token, sizeof(l->token), now);
        buf_adds(
                out, "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\",\"metadata\":{\"name\":");
        buf_add_json(out, name);
        buf_adds(out, ",\"namespace\":");
        buf_add_json(out, ns);
        if (l->exists) {
                buf_adds(out, ",\"resourceVersion\":");
                buf_add_json(out, l->seen.rv);
        }
        buf_adds(out, "},\"spec\":{\"holderIdentity\":");
        buf_add_json(out, release ? "" : l->identity);
        buf_addf(out, ",\"leaseDurationSeconds\":%" PRIu64, release ? 1 : l->duration_ms / 1000);
        buf_addf(out, ",\"leaseTransitions\":%" PRId64, l->seen.transitions + (ours || !l->exists ? 0 : 1));
        buf_adds(out, ",\"acquireTime\":");
        buf_add_json(out, l->token);
        buf_adds(out, ",\"renewTime\":");
        buf_add_json(out, now);
        buf_adds(out, "}}");
        l->sent_ms = now_ms;
        l->releasing = release;
        if (release)
                l->held = false;
}

static void on_done(struct lease *l, const cJSON *json, uint64_t now_ms)
{
        l->known = l->exists = true;
        l->heir = false;
        l->seen_ms = now_ms;
        l->must_read = !json;
        if (json) {
                seen_from(&l->seen, json);
                copy_text(l->token, sizeof(l->token), l->seen.acquired); /* as the server spells it */
        }
        l->held = !l->releasing;
        l->until_ms = l->sent_ms + l->duration_ms;
        l->next_ms = l->sent_ms + l->renew_ms;
}

void lease_wrote(struct lease *l, enum lease_result result, const cJSON *json, uint64_t now_ms)
{
        if (result == LEASE_DONE) {
                on_done(l, json, now_ms);
                return;
        }
        /* Also a failure without an answer may have been carried out: only reading tells. */
        l->must_read = true;
        l->next_ms = now_ms + (result == LEASE_FAILED ? l->retry_ms : l->retry_ms / 10);
}

bool lease_is_held(const struct lease *l, uint64_t now_ms)
{
        return l->held && now_ms < l->until_ms;
}

bool lease_may_write(const struct lease *l, uint64_t now_ms, unsigned request_ms)
{
        return lease_is_held(l, now_ms) && l->until_ms - now_ms > request_ms;
}

uint64_t lease_until(const struct lease *l)
{
        return l->held ? l->until_ms : UINT64_MAX;
}
