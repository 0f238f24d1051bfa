/* SPDX-License-Identifier: Apache-2.0 */
/* Pure. */
#include "common/kube/kubeconfig.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

struct found { /* a named entry and the file it stands in */
        const cJSON *node;
        const char *path;
};

#define N_TEXTS 12

/* All the texts of a configuration. */
static void texts_of(struct kube_conf *c, char **ret[static N_TEXTS])
{
        char **all[N_TEXTS] = { &c->server, &c->ns, &c->ca_file, &c->ca_data, &c->token, &c->token_file,
                &c->cert_file, &c->key_file, &c->cert_data, &c->key_data, &c->tls_server_name,
                &c->proxy_url };

        memcpy(ret, all, sizeof(all));
}

void kube_conf_fini(struct kube_conf *c)
{
        char **all[N_TEXTS];

        texts_of(c, all);
        for (size_t i = 0; i < N_TEXTS; i++) {
                if (*all[i])
                        OPENSSL_cleanse(*all[i], strlen(*all[i]));
                free(*all[i]);
        }
        *c = (struct kube_conf){ .server = NULL };
}

int kube_conf_copy(struct kube_conf *ret, const struct kube_conf *from)
{
        struct kube_conf copy = *from, source = *from;
        char **to[N_TEXTS], **of[N_TEXTS];
        bool ok = true;

        texts_of(&copy, to);
        texts_of(&source, of);
        for (size_t i = 0; i < N_TEXTS; i++) {
                *to[i] = *of[i] ? strdup(*of[i]) : NULL;
                ok &= !*of[i] == !*to[i];
        }
        if (!ok) {
                kube_conf_fini(&copy);
                return -ENOMEM;
        }
        *ret = copy;
        return 0;
}

int kubeconfig_base64(char **ret, const char *text)
{
        CLEANUP(freep) char *clean = NULL, *out = NULL;
        size_t n = 0, pad = 0;
        int len;

        clean = malloc(strlen(text) + 1);
        if (!clean)
                return -ENOMEM;
        for (const char *p = text; *p; p++) {
                if (strchr(" \t\r\n", *p))
                        continue;
                pad += *p == '=';
                clean[n++] = *p;
        }
        if (n % 4 != 0 || n > INT_MAX || pad > 2 || (pad > 0 && clean[n - 1] != '=') ||
                (pad == 2 && clean[n - 2] != '='))
                return ERR_MALFORMED;
        out = calloc(1, n / 4 * 3 + 1);
        if (!out)
                return -ENOMEM;
        len = EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)clean, (int)n);
        if (len < 0 || memchr(out, '\0', (size_t)len - pad)) /* it counts padding as zero bytes */
                return ERR_MALFORMED;
        out[(size_t)len - pad] = '\0';
        *ret = TAKE(out);
        return 0;
}

static const char *text_at(const cJSON *obj, const char *key)
{
        const char *text = NULL;

        return json_str(obj, key, &text) == 0 && text[0] != '\0' ? text : NULL;
}

/* files[].<list>[] with this name; its member @what. */
static struct found find(
        const struct kubeconfig_file *files, size_t n, const char *list, const char *name, const char *what)
{
        for (size_t i = 0; i < n; i++) {
                const cJSON *arr, *item, *node;

                if (json_arr(files[i].tree, list, &arr) < 0)
                        continue;
                cJSON_ArrayForEach (item, arr) {
                        const char *has = text_at(item, "name");

                        if (has && strcmp(has, name) == 0 && json_obj(item, what, &node) == 0)
                                return (struct found){ node, files[i].path };
                }
        }
        return (struct found){ NULL, NULL };
}

static int copy_text(char **ret, const char *text)
{
        if (!text)
                return 0;
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

/* A file name, resolved against the folder of the kubeconfig that holds it. */
static int copy_path(char **ret, const struct found *at, const char *key)
{
        const char *text = text_at(at->node, key), *slash = strrchr(at->path, '/');
        struct buf b = BUF_INIT;

        if (!text)
                return 0;
        if (text[0] != '/' && slash)
                buf_add(&b, at->path, (size_t)(slash - at->path) + 1);
        buf_adds(&b, text);
        *ret = buf_take(&b);
        if (!*ret)
                buf_fini(&b);
        return *ret ? 0 : -ENOMEM;
}

static int copy_data(char **ret, const struct found *at, const char *key, struct err *e)
{
        const char *text = text_at(at->node, key);
        int r = text ? kubeconfig_base64(ret, text) : 0;

        return r == ERR_MALFORMED ? err_set(e, -EINVAL, "%s: %s is not base64", at->path, key) : r;
}

static int pick_cluster(struct kube_conf *c, const struct found *at, struct err *e)
{
        const char *server = text_at(at->node, "server");
        int r;

        if (!server)
                return err_set(e, -EINVAL, "%s: the cluster has no server", at->path);
        if (strncmp(server, "https://", 8) != 0 && strncmp(server, "http://", 7) != 0)
                return err_set(
                        e, -EINVAL, "%s: server \"%s\" is neither https:// nor http://", at->path, server);
        r = copy_text(&c->server, server);
        if (r < 0)
                return r;
        for (size_t len = strlen(c->server); len > 0 && c->server[len - 1] == '/'; len--)
                c->server[len - 1] = '\0';
        (void)json_bool(at->node, "insecure-skip-tls-verify", &c->insecure); /* absent: false */
        r = copy_text(&c->tls_server_name, text_at(at->node, "tls-server-name"));
        if (r == 0)
                r = copy_text(&c->proxy_url, text_at(at->node, "proxy-url"));
        if (r == 0)
                r = copy_data(&c->ca_data, at, "certificate-authority-data", e);
        if (r == 0 && !c->ca_data) /* data wins, as in client-go */
                r = copy_path(&c->ca_file, at, "certificate-authority");
        return r;
}

static int pick_user(struct kube_conf *c, const struct found *at, const char *name, struct err *e)
{
        const cJSON *plugin;
        int r;

        if (json_obj(at->node, "exec", &plugin) == 0)
                return err_set(e, -ENOTSUP,
                        "%s: user \"%s\" gets its credentials from a program (exec: %s), which is not supported: use "
                        "a token, a token file or a client certificate",
                        at->path, name, json_str_at(plugin, "command", "?"));
        if (json_obj(at->node, "auth-provider", &plugin) == 0)
                return err_set(e, -ENOTSUP,
                        "%s: user \"%s\" uses auth-provider %s, which is not supported: use a token, a token file "
                        "or a client certificate",
                        at->path, name, json_str_at(plugin, "name", "?"));
        if (text_at(at->node, "username"))
                return err_set(e, -ENOTSUP,
                        "%s: user \"%s\" has a password, which Kubernetes no longer takes (since 1.19): use a token "
                        "or a client certificate",
                        at->path, name);
        r = copy_text(&c->token, text_at(at->node, "token"));
        if (r == 0)
                r = copy_path(&c->token_file, at, "tokenFile");
        if (r == 0)
                r = copy_data(&c->cert_data, at, "client-certificate-data", e);
        if (r == 0 && !c->cert_data)
                r = copy_path(&c->cert_file, at, "client-certificate");
        if (r == 0)
                r = copy_data(&c->key_data, at, "client-key-data", e);
        if (r == 0 && !c->key_data)
                r = copy_path(&c->key_file, at, "client-key");
        if (r == 0 && !(c->cert_data || c->cert_file) != !(c->key_data || c->key_file))
                r = err_set(e, -EINVAL, "%s: user \"%s\" has a client certificate or a key, but not both",
                        at->path, name);
        return r;
}

int kubeconfig_pick(struct kube_conf *ret, const struct kubeconfig_file *files, size_t n, struct err *e)
{
        CLEANUP(kube_conf_fini) struct kube_conf c = { .server = NULL };
        const char *current = NULL, *cluster_name, *user_name;
        struct found context, cluster, user;
        int r;

        for (size_t i = 0; i < n && !current; i++)
                current = text_at(files[i].tree, "current-context");
        if (!current)
                return err_set(e, -ENOENT, "%s has no current-context", n > 0 ? files[0].path : "no file");
        context = find(files, n, "contexts", current, "context");
        if (!context.node)
                return err_set(e, -ENOENT, "%s: context \"%s\" is not there", files[0].path, current);
        cluster_name = json_str_at(context.node, "cluster", "");
        user_name = json_str_at(context.node, "user", "");
        cluster = find(files, n, "clusters", cluster_name, "cluster");
        if (!cluster.node)
                return err_set(e, -ENOENT, "%s: cluster \"%s\" is not there", context.path, cluster_name);
        user = find(files, n, "users", user_name, "user");
        if (!user.node && user_name[0] != '\0')
                return err_set(e, -ENOENT, "%s: user \"%s\" is not there", context.path, user_name);

        r = copy_text(&c.ns, text_at(context.node, "namespace"));
        if (r == 0)
                r = pick_cluster(&c, &cluster, e);
        if (r == 0 && user.node)
                r = pick_user(&c, &user, user_name, e);
        if (r < 0)
                return r;
        *ret = c;
        c = (struct kube_conf){ .server = NULL };
        return 0;
}
