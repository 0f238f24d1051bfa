# SPDX-License-Identifier: Apache-2.0
"""Keys, certificates and tokens of one lab, made new for each run by the openssl command."""
from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def _openssl(*args: str) -> None:
    r = subprocess.run(["openssl", *args], capture_output=True, text=True)
    if r.returncode != 0:
        raise RuntimeError(f"openssl {args[0]}: {r.stderr.strip()}")


def make_certificates(folder: Path, addresses: list[str]) -> None:
    """ca.crt; server.crt and server.key for all these addresses; sa.key, which signs service account tokens."""
    folder.mkdir()
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    san = ",".join([f"DNS:{n}" for n in names] + [f"IP:{a}" for a in addresses])
    (folder / "san").write_text(f"subjectAltName={san}\nextendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n"
                                "basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
    f = str(folder) + "/"
    _openssl("req", "-x509", *KEY, "-keyout", f + "ca.key", "-out", f + "ca.crt", "-subj", "/CN=lab-ca", "-days", "30",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    _openssl("req", *KEY, "-keyout", f + "server.key", "-out", f + "server.csr", "-subj", "/CN=kube-apiserver")
    _openssl("x509", "-req", "-in", f + "server.csr", "-CA", f + "ca.crt", "-CAkey", f + "ca.key", "-CAcreateserial",
             "-days", "30", "-extfile", f + "san", "-out", f + "server.crt")
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f + "sa.key")


class Tokens:
    """Static tokens: who a client is for the API server. Service accounts get exactly the groups they really have, so
    the programs run under the RBAC that the manifests grant and nothing more."""

    def __init__(self, path: Path, namespace: str) -> None:
        self._users = {
            "admin": ("admin", ["system:masters"]),
            "kube-proxy": ("system:kube-proxy", []),
        }
        for account in ("controller", "speaker", "stranger"):
            self._users[account] = (f"system:serviceaccount:{namespace}:{account}", [
                "system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"])
        self._tokens = {name: secrets.token_urlsafe(24) for name in self._users}
        path.write_text("".join(
            f'{self._tokens[name]},{user},{name}' + (f',"{",".join(groups)}"' if groups else "") + "\n"
            for name, (user, groups) in self._users.items()))
        path.chmod(0o600)

    def __getitem__(self, name: str) -> str:
        return self._tokens[name]

    def user(self, name: str) -> str:
        return self._users[name][0]


def write_kubeconfig(path: Path, server: str, ca: Path, token: str, namespace: str = "default") -> None:
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority": str(ca)}}],
        "users": [{"name": "lab", "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab", "namespace": namespace}}],
    }))
    path.chmod(0o600)
