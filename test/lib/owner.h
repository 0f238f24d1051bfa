/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* owner - the owner of a server under test. It answers a request with what was asked, "METHOD /path?query [token] body";
 * "/big" with OWNER_BIG letters, "/later" when told, "/never" not at all. */
#include "common/serve.h"
#include "test/lib/client.h"

#define OWNER_BIG ((size_t)1024 * 1024)
#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

struct owner {
        uv_loop_t loop;
        struct serve *s;
        struct metrics *reg;
        struct serve_request *waiting[64];
        unsigned n_waiting, n_requests, n_gone, n_closed;
        bool close_in_request, close_in_gone;
        char *big;
};

/* On 127.0.0.1 unless @conf says otherwise; the callbacks are ours. */
void owner_start(struct owner *o, struct serve_conf conf);
void owner_start_tls(struct owner *o, struct serve_conf conf, struct serve_tls tls); /* self-signed */
/* Closes the server unless that was done, runs the loop to its end and asserts that nothing is left. */
void owner_stop(struct owner *o);
void owner_answer(struct owner *o); /* everything that waits */
/* Reads the answer to @before, a GET("/big"), after @turns of the loop in which nothing is read. */
void owner_read_big(struct owner *o, struct client *c, const char *before, size_t turns);

void owner_on_request(void *ctx, struct serve_request *r);
void owner_on_closed(void *ctx);
bool owner_one_waits(void *ctx); /* conditions for client_run_until() */
bool owner_one_is_gone(void *ctx);

/* A counter of the server; @label NULL: it has none. */
double owner_counted(struct owner *o, const char *family, const char *label, const char *value);
double owner_dropped(struct owner *o, const char *reason);

struct pair { /* PEM, self-signed */
        char *cert, *key;
};
struct pair pair_new(void);
void pair_free(struct pair *p);
