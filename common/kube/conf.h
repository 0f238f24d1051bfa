/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* conf - where the API server is and who we are. */
#include "common/base.h"
#include "common/err.h"

struct kube_conf { /* every string is owned; NULL when not given */
        char *server; /* "https://10.96.0.1:443", no trailing slash */
        char *ns; /* own namespace: from the service account or the kubeconfig context; may be NULL */
        char *ca_file, *ca_data; /* PEM */
        char *token, *token_file; /* the file wins, and is read again when it changes */
        char *cert_file, *key_file; /* client certificate, PEM */
        char *cert_data, *key_data;
        char *tls_server_name; /* NULL: the host of server */
        char *proxy_url; /* NULL: what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say, as in client-go */
        bool insecure; /* no check of the server's certificate: only if the kubeconfig says so */
};

/* @path (--kubeconfig) if not NULL or "", else $KUBECONFIG, else the in-cluster files and KUBERNETES_SERVICE_HOST,
 * else ~/.kube/config: the precedence of controller-runtime. 0, or a negative code with words. Reads
 * files synchronously: call it before the loop runs. */
int kube_conf_load(struct kube_conf *ret, const char *path, struct err *e) MUST_CHECK;
int kube_conf_copy(struct kube_conf *ret, const struct kube_conf *from) MUST_CHECK; /* 0 or -ENOMEM */
void kube_conf_fini(struct kube_conf *c); /* wipes secrets; idempotent */
/* The in-cluster part alone: kubelet's files in @dir, server at @host:@port (an IPv6 @host gets its brackets). */
int kube_conf_in_cluster(
        struct kube_conf *ret, const char *dir, const char *host, const char *port, struct err *e) MUST_CHECK;
