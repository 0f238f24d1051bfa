/* SPDX-License-Identifier: Apache-2.0 */
/* JSON as an API server, or somebody in its place, sends it: the first byte picks a decoder, the rest is the object.
 * Oracles: a decoder fails only for a missing name; decoding twice gives the same sizes; every list can be walked. */
#include <stdlib.h>
#include <string.h>

#include "common/api/l2adv.h"
#include "common/api/misc.h"
#include "common/api/node.h"
#include "common/api/pool.h"
#include "common/api/service.h"
#include "common/api/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
        if (!holds)
                abort();
}

static size_t walk_texts(const struct str_list *l)
{
        size_t sum = 0;

        for (size_t i = 0; i < l->n; i++)
                sum += strlen(l->v[i]);
        return sum;
}

static void walk_pairs(const struct kv_list *l)
{
        for (size_t i = 0; i < l->n; i++) {
                require(i == 0 || strcmp(l->v[i - 1].key, l->v[i].key) < 0);
                require(kv_get(l, l->v[i].key) == l->v[i].value && strlen(l->v[i].value) < SIZE_MAX);
        }
}

static void walk_selectors(const struct selector_list *l, const struct kv_list *labels)
{
        bool any = l->n == 0;

        for (size_t i = 0; i < l->n; i++) {
                require(strlen(selector_text(l->v[i])) < SIZE_MAX);
                any |= selector_matches(l->v[i], labels);
        }
        require(any == selector_list_matches(l, labels));
}

static void walk_conditions(const struct condition_list *l)
{
        for (size_t i = 0; i < l->n; i++)
                require(condition_get(l, l->v[i].type) != NULL);
}

static void walk_service(const struct object *o)
{
        const struct service *s = service_of(o);

        (void)walk_texts(&s->cluster_ips);
        walk_pairs(&s->selector);
        walk_conditions(&s->conditions);
        for (size_t i = 0; i < s->n_ports; i++)
                require(strlen(s->ports[i].protocol) < SIZE_MAX);
        for (size_t i = 0; i < s->n_ingress; i++)
                require(strlen(s->ingress[i].ip) + strlen(s->ingress[i].hostname) < SIZE_MAX);
        (void)service_annotation(o, "address-pool");
}

static void walk_slice(const struct object *o)
{
        const struct slice *s = slice_of(o);

        for (size_t i = 0; i < s->n_nodes; i++)
                require(s->nodes[i].usable + s->nodes[i].not_usable > 0 &&
                        (i == 0 || strcmp(s->nodes[i - 1].node, s->nodes[i].node) < 0));
}

static void walk_node(const struct object *o)
{
        for (size_t i = 0; i < node_of(o)->n_addresses; i++)
                require(ip_bits(&node_of(o)->addresses[i]) > 0);
}

static void walk_pool(const struct object *o)
{
        const struct pool *p = pool_of(o);

        require(p->n_ranges <= p->addresses.n && p->priority >= 0 && (p->n_ranges > 0 || p->error));
        for (size_t i = 0; i < p->n_ranges && !p->error; i++)
                for (size_t j = 0; j < i; j++)
                        require(!ip_range_overlaps(&p->ranges[i], &p->ranges[j]));
        (void)walk_texts(&p->namespaces);
        walk_selectors(&p->ns_selectors, &o->labels);
        walk_selectors(&p->service_selectors, &o->labels);
        walk_conditions(&p->conditions);
}

static void walk_l2adv(const struct object *o)
{
        const struct l2adv *l = l2adv_of(o);

        (void)walk_texts(&l->pools);
        for (size_t i = 1; i < l->interfaces.n; i++)
                require(strcmp(l->interfaces.v[i - 1], l->interfaces.v[i]) < 0);
        walk_selectors(&l->node_selectors, &o->labels);
        walk_selectors(&l->pool_selectors, &o->labels);
        walk_selectors(&l->service_selectors, &o->labels);
        for (size_t i = 0; i < l->n_preferences; i++)
                (void)selector_matches(l->preferences[i].nodes, &o->labels);
}

static void walk_pod(const struct object *o)
{
        require(strlen(pod_of(o)->node) + strlen(pod_of(o)->phase) < SIZE_MAX);
}

static void walk_l2status(const struct object *o)
{
        (void)walk_texts(&l2status_of(o)->interfaces);
}

static void walk_nothing(const struct object *o)
{
        require(o->name[0] != '\0');
}

static const struct {
        char letter;
        object_decode_fn decode;
        void (*walk)(const struct object *o);
} kinds[] = {
        { 's', service_decode, walk_service },
        { 'b', service_decode_brief, walk_service },
        { 'e', slice_decode, walk_slice },
        { 'n', node_decode, walk_node },
        { 'p', pool_decode, walk_pool },
        { 'a', l2adv_decode, walk_l2adv },
        { 'o', pod_decode, walk_pod },
        { 'l', l2status_decode, walk_l2status },
        { 'm', metadata_decode, walk_nothing },
};

static void decode(size_t kind, const cJSON *json)
{
        struct object *o = NULL, *again = NULL;
        int r = kinds[kind].decode(&o, json);

        if (r < 0) {
                require(r == ERR_MALFORMED && json_str_at(json, "metadata.name", "")[0] == '\0');
                return;
        }
        require(o->name[0] != '\0' && strlen(o->ns) + strlen(o->uid) + strlen(o->rv) < SIZE_MAX);
        walk_pairs(&o->labels);
        walk_pairs(&o->annotations);
        kinds[kind].walk(o);
        require(kinds[kind].decode(&again, json) == 0);
        require(arena_size(o->arena) == arena_size(again->arena));
        (void)object_free(again);
        (void)object_free(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        cJSON *tree = NULL;
        char *exact;

        if (size == 0)
                return 0;
        exact = malloc(size);
        if (!exact)
                return 0;
        memcpy(exact, data, size); /* without a terminator: ASan watches */
        if (json_parse(&tree, exact + 1, size - 1) == 0) {
                free(exact);
                exact = NULL;
                for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
                        if (kinds[i].letter == data[0])
                                decode(i, tree);
        }
        cJSON_Delete(tree);
        free(exact);
        return 0;
}
