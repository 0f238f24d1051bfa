/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

struct kube_request *exchange_new(struct kube *k, const struct kube_call *call)
{
        const char *type = call->content_type ? call->content_type : "application/json";
        size_t method = strlen(call->method) + 1, path = strlen(call->path) + 1, content = strlen(type) + 1;
        struct kube_request *r = calloc(1, sizeof(*r) + method + path + content + call->body_len);
        char *at;

        if (!r)
                return NULL;
        r->k = k;
        r->call = *call;
        r->deadline_ms = UINT64_MAX;
        at = (char *)(r + 1);
        r->call.method = memcpy(at, call->method, method);
        r->call.path = memcpy(at + method, call->path, path);
        r->call.content_type = memcpy(at + method + path, type, content);
        if (call->body)
                r->call.body = memcpy(at + method + path + content, call->body, call->body_len);
        return r;
}

static void drop_handle(struct kube_request *r)
{
        if (r->easy)
                curl_easy_cleanup(r->easy);
        curl_slist_free_all(r->headers);
        r->easy = NULL;
        r->headers = NULL;
}

struct kube_request *exchange_free(struct kube_request *r)
{
        if (!r)
                return NULL;
        drop_handle(r);
        buf_fini(&r->body);
        free(r);
        return NULL;
}

/* ---- the server ---- */

static int copy(char **ret, const char *text)
{
        *ret = text ? strdup(text) : NULL;
        return text && !*ret ? -ENOMEM : 0;
}

static char *url_part(CURLU *u, CURLUPart part)
{
        char *text = NULL;

        return curl_url_get(u, part, &text, CURLU_DEFAULT_PORT) == CURLUE_OK ? text : NULL;
}

/* Connects to the server's host while URL, SNI and certificate check use the name that the kubeconfig gives. */
static int rename_server(struct exchange_server *s, CURLU *u, const char *name)
{
        struct buf to = BUF_INIT, host_header = BUF_INIT;
        char *host = url_part(u, CURLUPART_HOST), *port = url_part(u, CURLUPART_PORT), *url = NULL;
        int r = -ENOMEM;

        if (host && port && curl_url_set(u, CURLUPART_HOST, name, 0) == CURLUE_OK &&
                curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK) {
                buf_addf(&to, "%s:%s:%s:%s", name, port, host, port);
                buf_addf(&host_header, "Host: %s:%s", host, port);
                s->connect_to = buf_ok(&to) ? curl_slist_append(NULL, buf_str(&to)) : NULL;
                s->host_header = buf_take(&host_header);
                r = s->connect_to && s->host_header ? copy(&s->base, url) : -ENOMEM;
        }
        buf_fini(&to);
        buf_fini(&host_header);
        curl_free(host);
        curl_free(port);
        curl_free(url);
        return r;
}

int exchange_server_init(struct exchange_server *ret, const struct kube_conf *conf, const struct creds *creds,
        const struct kube_limits *limits, struct err *e)
{
        struct exchange_server s = { .conf = conf,
                .creds = creds,
                .connect_ms = limits->connect_ms,
                .max_response = limits->max_response };
        struct buf agent = BUF_INIT;
        CURLU *u = curl_url();
        CURLUcode code = u ? curl_url_set(u, CURLUPART_URL, conf->server, 0) : CURLUE_OUT_OF_MEMORY;
        int r = 0;

        if (code == CURLUE_OUT_OF_MEMORY)
                r = -ENOMEM;
        else if (code != CURLUE_OK)
                r = err_set(e, -EINVAL, "server \"%s\" is no URL", conf->server);
        s.is_tls = strncmp(conf->server, "https:", 6) == 0;
        if (r == 0 && conf->tls_server_name)
                r = rename_server(&s, u, conf->tls_server_name);
        else if (r == 0)
                r = copy(&s.base, conf->server);
        for (size_t len = r == 0 ? strlen(s.base) : 0; len > 0 && s.base[len - 1] == '/'; len--)
                s.base[len - 1] = '\0';
        buf_addf(&agent, "%s/%s (linux)", program_invocation_short_name, VERSION);
        s.user_agent = buf_take(&agent);
        buf_fini(&agent);
        curl_url_cleanup(u);
        if (r == 0 && !s.user_agent)
                r = -ENOMEM;
        if (r < 0) {
                exchange_server_fini(&s);
                return r;
        }
        *ret = s;
        return 0;
}

void exchange_server_fini(struct exchange_server *s)
{
        free(s->base);
        curl_slist_free_all(s->connect_to);
        free(s->host_header);
        free(s->user_agent);
        *s = (struct exchange_server){ .base = NULL };
}

/* ---- bytes from curl ---- */

static bool is_good(int status)
{
        return status >= 200 && status < 300;
}

static int http_status(CURL *easy)
{
        long status = 0;

        (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status); /* stays 0 on failure */
        return (int)status;
}

/* Gives bytes of a stream to its owner. False: curl must end the transfer. */
static bool give(struct kube_request *r, const char *bytes, size_t len)
{
        int code = r->call.on_data(r->call.ctx, bytes, len);

        if (code != 0)
                r->abort_code = code;
        return code == 0 && !r->cancelled;
}

static size_t on_header(char *bytes, size_t size, size_t n, void *ctx)
{
        struct kube_request *r = ctx;
        size_t len = size * n;
        int status = http_status(r->easy);

        client_heard(r->k, status > 0);
        if (r->cancelled)
                return len + 1;
        /* The blank line ends the headers; interim answers (RFC 9110 section 15.2) have one too, as do trailers. */
        if (len == 0 || (bytes[0] != '\r' && bytes[0] != '\n') || status < 200 || r->opened)
                return len;
        r->opened = true;
        if (!r->call.stream || !is_good(status))
                return len;
        r->deadline_ms = UINT64_MAX;
        return give(r, "", 0) ? len : len + 1;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx)
{
        struct kube_request *r = ctx;
        size_t len = size * n, room;
        bool good = is_good(http_status(r->easy));

        client_heard(r->k, true);
        if (r->cancelled)
                return len + 1;
        if (r->call.stream && good)
                return len == 0 || give(r, bytes, len) ? len : len + 1;
        room = r->body.max - r->body.len;
        if (len > room && good) {
                r->too_big = true;
                return len + 1;
        }
        buf_add(&r->body, bytes, MIN(len, room)); /* of an error only the beginning is of interest */
        return buf_ok(&r->body) ? len : len + 1;
}

/* ---- the curl handle ---- */

static bool add_header(struct kube_request *r, const char *name, const char *value)
{
        struct buf b = BUF_INIT;
        struct curl_slist *list = NULL;

        buf_adds(&b, name);
        buf_adds(&b, value);
        if (buf_ok(&b))
                list = curl_slist_append(r->headers, b.p);
        if (list)
                r->headers = list;
        buf_fini(&b);
        return list != NULL;
}

static bool build_headers(struct kube_request *r, const struct exchange_server *s)
{
        const char *token = creds_text(s->creds, CREDS_TOKEN);

        /* No Accept-Encoding: inflating costs more memory than the bytes cost time on a cluster's network. */
        return add_header(r, "Accept: ", "application/json") && add_header(r, "Expect:", "") &&
                (!r->call.body || add_header(r, "Content-Type: ", r->call.content_type)) &&
                (!s->host_header || add_header(r, s->host_header, "")) &&
                (!token || add_header(r, "Authorization: Bearer ", token)) &&
                curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers) == CURLE_OK;
}

static bool set_blob(CURL *easy, CURLoption option, const char *text)
{
        struct curl_blob blob = { .flags = CURL_BLOB_COPY };

        if (!text)
                return true;
        memcpy(&blob.data, &text, sizeof(text)); /* curl's field is not const, but it only copies */
        blob.len = strlen(text);
        return curl_easy_setopt(easy, option, &blob) == CURLE_OK;
}

static bool build_tls(CURL *easy, const struct exchange_server *s)
{
        long check = s->conf->insecure ? 0 : 1;

        return set_blob(easy, CURLOPT_CAINFO_BLOB, creds_text(s->creds, CREDS_CA)) &&
                set_blob(easy, CURLOPT_SSLCERT_BLOB, creds_text(s->creds, CREDS_CERT)) &&
                set_blob(easy, CURLOPT_SSLKEY_BLOB, creds_text(s->creds, CREDS_KEY)) &&
                curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, check) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2 * check) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK;
}

static bool build_target(struct kube_request *r, const struct exchange_server *s)
{
        struct buf url = BUF_INIT;
        bool ok;

        buf_adds(&url, s->base);
        buf_adds(&url, r->call.path);
        ok = buf_ok(&url) && curl_easy_setopt(r->easy, CURLOPT_URL, url.p) == CURLE_OK &&
                curl_easy_setopt(r->easy, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK &&
                curl_easy_setopt(r->easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
        buf_fini(&url);
        if (ok && s->connect_to)
                ok = curl_easy_setopt(r->easy, CURLOPT_CONNECT_TO, s->connect_to) == CURLE_OK;
        if (ok && s->conf->proxy_url)
                ok = curl_easy_setopt(r->easy, CURLOPT_PROXY, s->conf->proxy_url) == CURLE_OK;
        if (ok && r->call.body)
                ok = curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->call.body_len) ==
                                CURLE_OK &&
                        curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, r->call.body) == CURLE_OK;
        return ok && curl_easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, r->call.method) == CURLE_OK;
}

/* One HTTP/2 connection for all: each transfer waits to see whether the one being made can be shared (without TLS it
 * cannot, and curl would learn that only from the first answer). Small buffers:
 * answers are streamed. quick_exit: a resolver thread that hangs is left behind, not joined on the loop. */
static bool build_transport(struct kube_request *r, const struct exchange_server *s)
{
        CURL *h = r->easy;

        return curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS) == CURLE_OK &&
                curl_easy_setopt(h, CURLOPT_PIPEWAIT, s->is_tls ? 1L : 0L) == CURLE_OK &&
                curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
                curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
                curl_easy_setopt(h, CURLOPT_UPLOAD_BUFFERSIZE, 16384L) == CURLE_OK &&
                curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)s->connect_ms) == CURLE_OK &&
                curl_easy_setopt(h, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) == CURLE_OK &&
                curl_easy_setopt(h, CURLOPT_USERAGENT, s->user_agent) == CURLE_OK &&
                curl_easy_setopt(h, CURLOPT_ERRORBUFFER, r->error) == CURLE_OK &&
                curl_easy_setopt(h, CURLOPT_PRIVATE, r) == CURLE_OK &&
                curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
                curl_easy_setopt(h, CURLOPT_HEADERDATA, r) == CURLE_OK &&
                curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
                curl_easy_setopt(h, CURLOPT_WRITEDATA, r) == CURLE_OK;
}

int exchange_build(struct kube_request *r, const struct exchange_server *s)
{
        drop_handle(r);
        buf_reset(&r->body);
        r->body.max = s->max_response;
        r->opened = r->too_big = false;
        r->status = r->code = r->abort_code = 0;
        r->retry_after_s = 0;
        r->error[0] = '\0';
        r->easy = curl_easy_init();
        if (!r->easy)
                return -ENOMEM;
        if (build_transport(r, s) && build_target(r, s) && build_tls(r->easy, s) && build_headers(r, s))
                return 0;
        drop_handle(r);
        return -ENOMEM;
}

/* ---- the answer ---- */

static int code_of(CURLcode code, CURL *easy)
{
        long os = 0;

        switch (code) {
        case CURLE_OK: return 0;
        case CURLE_OUT_OF_MEMORY: return -ENOMEM;
        case CURLE_OPERATION_TIMEDOUT: return -ETIMEDOUT;
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY: return -EHOSTUNREACH;
        case CURLE_COULDNT_CONNECT:
                (void)curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os); /* stays 0 on failure */
                return os > 0 && os < 2000 ? -(int)os : -ECONNREFUSED;
        case CURLE_GOT_NOTHING:
        case CURLE_SEND_ERROR:
        case CURLE_RECV_ERROR:
        case CURLE_PARTIAL_FILE:
        case CURLE_HTTP2:
        case CURLE_HTTP2_STREAM: return -ECONNRESET;
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_UNSUPPORTED_PROTOCOL:
        case CURLE_WEIRD_SERVER_REPLY: return -EPROTO;
        default: return -EIO;
        }
}

/* Status.message of a refusal (meta/v1 Status), else the bare number. */
static void words_of_body(struct kube_request *r)
{
        CLEANUP(json_deletep) cJSON *tree = NULL;
        const char *message = "";

        if (r->body.len > 0 && json_parse(&tree, r->body.p, r->body.len) == 0)
                message = json_str_at(tree, "message", "");
        if (message[0] != '\0')
                (void)snprintf(r->error, sizeof(r->error), "%.*s", (int)sizeof(r->error) - 1, message);
        else
                (void)snprintf(r->error, sizeof(r->error), "HTTP status %d", r->status);
}

void exchange_finish(struct kube_request *r, CURLcode code)
{
        curl_off_t after = 0;

        r->status = http_status(r->easy);
        r->code = code_of(code, r->easy);
        if (curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &after) == CURLE_OK && after > 0)
                r->retry_after_s = (unsigned)MIN(after, (curl_off_t)UINT16_MAX);
        if (r->abort_code != 0)
                exchange_fail(r, r->abort_code, err_name(r->abort_code));
        else if (r->too_big)
                exchange_fail(r, ERR_TOO_BIG, "the answer is too big");
        else if (!buf_ok(&r->body))
                exchange_fail(r, -ENOMEM, err_name(-ENOMEM));
        else if (r->code == 0 && !is_good(r->status))
                words_of_body(r);
        else if (r->code == 0)
                r->error[0] = '\0';
        else if (r->error[0] == '\0')
                (void)snprintf(r->error, sizeof(r->error), "%s", curl_easy_strerror(code));
        drop_handle(r);
}

void exchange_fail(struct kube_request *r, int code, const char *words)
{
        drop_handle(r);
        r->code = code;
        if (words != r->error)
                (void)snprintf(r->error, sizeof(r->error), "%s", words);
}

struct kube_response exchange_response(const struct kube_request *r)
{
        bool answered = r->code == 0;

        return (struct kube_response){ .code = r->code,
                .status = answered ? r->status : 0,
                .body = answered ? buf_str(&r->body) : "",
                .len = answered ? r->body.len : 0,
                .retry_after_s = answered ? r->retry_after_s : 0,
                .error = r->error };
}

int kube_response_code(const struct kube_response *res)
{
        if (res->code < 0)
                return res->code;
        if (is_good(res->status))
                return 0;
        switch (res->status) {
        case 401:
        case 403: return ERR_DENIED;
        case 404: return ERR_MISSING;
        case 409: return ERR_CONFLICT;
        case 410: return ERR_GONE;
        case 429: return ERR_BUSY;
        default: return res->status >= 500 ? ERR_BUSY : ERR_REJECTED;
        }
}
