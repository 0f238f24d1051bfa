/* SPDX-License-Identifier: Apache-2.0 */
/* Environment and files, read once at start. */
#include "common/kube/conf.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/kube/file.h"
#include "common/kube/kubeconfig.h"
#include "common/yaml.h"

#define IN_CLUSTER_DIR "/var/run/secrets/kubernetes.io/serviceaccount"
#define FILES_MAX      16 /* in one $KUBECONFIG */

static char *join(const char *dir, const char *name)
{
        struct buf b = BUF_INIT;
        char *p;

        buf_addf(&b, "%s/%s", dir, name);
        p = buf_take(&b);
        buf_fini(&b);
        return p;
}

/* What kubelet gives every pod: environment and mounted files. @dir is an argument for tests. */
int kube_conf_in_cluster(
        struct kube_conf *ret, const char *dir, const char *host, const char *port, struct err *e)
{
        CLEANUP(kube_conf_fini) struct kube_conf c = { .server = NULL };
        CLEANUP(freep) char *ns_file = join(dir, "namespace"), *probe = NULL;
        struct buf server = BUF_INIT;
        struct file_stamp stamp;
        int r;

        buf_addf(&server, strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port);
        c.server = buf_take(&server);
        buf_fini(&server);
        c.token_file = join(dir, "token");
        c.ca_file = join(dir, "ca.crt");
        if (!c.server || !c.token_file || !c.ca_file || !ns_file)
                return -ENOMEM;
        r = file_read(&probe, c.token_file, &stamp, e);
        if (r < 0)
                return err_wrap(e, r, "service account token");
        OPENSSL_cleanse(probe, strlen(probe));
        r = file_read(&c.ns, ns_file, &stamp, NULL);
        if (r == -ENOMEM)
                return r; /* a missing file is fine: pods may be told their namespace otherwise */
        *ret = c;
        c = (struct kube_conf){ .server = NULL };
        return 0;
}

static int load_file(cJSON **ret, const char *path, struct err *e)
{
        CLEANUP(freep) char *text = NULL;
        struct file_stamp stamp;
        int r = file_read(&text, path, &stamp, e);

        if (r < 0)
                return r;
        r = yaml_parse(ret, text, strlen(text), e);
        OPENSSL_cleanse(text, strlen(text));
        return r < 0 ? err_wrap(e, r, "%s", path) : 0;
}

/* @list: with @must one file name, else any number with ":" between them, of which some may be missing. */
static int load_files(struct kube_conf *ret, const char *list, bool must, struct err *e)
{
        CLEANUP(freep) char *copy = strdup(list);
        struct kubeconfig_file files[FILES_MAX];
        size_t n = 0;
        char *rest = copy;
        int r = copy ? 0 : -ENOMEM;

        for (const char *path; r == 0 && n < FILES_MAX && (path = strsep(&rest, must ? "" : ":"));) {
                if (path[0] == '\0')
                        continue;
                files[n] = (struct kubeconfig_file){ .tree = NULL, .path = path };
                r = load_file(&files[n].tree, path, e);
                if (r == 0)
                        n++;
                else if (r == -ENOENT && !must)
                        r = 0;
        }
        if (r == 0 && n == 0)
                r = err_set(e, -ENOENT, "no kubeconfig at %s", list);
        if (r == 0)
                r = kubeconfig_pick(ret, files, n, e);
        for (size_t i = 0; i < n; i++)
                cJSON_Delete(files[i].tree);
        return r;
}

int kube_conf_load(struct kube_conf *ret, const char *path, struct err *e)
{
        const char *env = getenv("KUBECONFIG"), *host = getenv("KUBERNETES_SERVICE_HOST"),
                   *home = getenv("HOME");
        const char *port = getenv("KUBERNETES_SERVICE_PORT");
        CLEANUP(freep) char *fallback = NULL;
        int r;

        if (path && path[0] != '\0')
                return load_files(ret, path, true, e);
        if (env && env[0] != '\0')
                return load_files(ret, env, false, e);
        if (host && host[0] != '\0' && port && port[0] != '\0')
                return kube_conf_in_cluster(ret, IN_CLUSTER_DIR, host, port, e);
        fallback = join(home ? home : "", ".kube/config");
        if (!fallback)
                return -ENOMEM;
        r = load_files(ret, fallback, true, e);
        if (r != -ENOENT || access(fallback, F_OK) == 0)
                return r;
        return err_set(e, r,
                "no Kubernetes API server is known: not in a pod, no --kubeconfig, no KUBECONFIG, no %s",
                fallback);
}
