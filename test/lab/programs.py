# SPDX-License-Identifier: Apache-2.0
"""The controller and the speakers, run as the kubelet would run them: from the Deployment and the DaemonSet that
manifests/ installed, with their arguments, environment, service account files, ConfigMaps, Secrets, user and
capabilities. So the lab tests what users install, not a command line of its own.

Pods are objects without a kubelet behind them: `kubectl logs` has nobody to ask. Logs are in Process.log().
"""
from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

from test.lab import network
from test.lab.api import Api
from test.lab.box import Box
from test.lab.process import Process

SA_DIR = "/run/secrets/kubernetes.io/serviceaccount"
CORE = "/api/v1/namespaces"


class Program(Process):
    """One container of a workload in one place of the network."""

    def __init__(self, box: Box, api: Api, binary: Path, token: str, ca: Path, server: tuple[str, int],
                 workload: dict[str, Any], pod_name: str, place: network.Place) -> None:
        super().__init__(box, f"{workload['metadata']['name']}-{place.name}" if place.is_node
                         else workload["metadata"]["name"], [], netns=place.name)
        self.api, self.binary, self.place, self.pod_name, self.server = api, binary, place, pod_name, server
        self.namespace: str = workload["metadata"]["namespace"]
        self._template = workload["spec"]["template"]
        self._pod_spec = self._template["spec"]
        self._container = self._pod_spec["containers"][0]
        self._home = box.dir / "pods" / pod_name
        account = self._home / "sa"
        account.mkdir(parents=True)
        self.token_file = account / "token"
        self.token_file.write_text(token)
        (account / "namespace").write_text(self.namespace)
        shutil.copy(ca, account / "ca.crt")

    def create_pod(self) -> None:
        """The Pod object, as the scheduler and the kubelet leave it."""
        ips = [{"ip": self.place.ip}, {"ip": self.place.ip6}]
        self.api.create(f"{CORE}/{self.namespace}/pods", {
            "metadata": {"name": self.pod_name, "labels": self._template["metadata"].get("labels", {})},
            "spec": {"nodeName": self.place.name, "hostNetwork": self._pod_spec.get("hostNetwork", False),
                     "serviceAccountName": self._pod_spec.get("serviceAccountName", "default"),
                     "automountServiceAccountToken": False,
                     "containers": [{"name": self._container["name"], "image": self._container["image"]}]}})
        self.api.patch(f"{CORE}/{self.namespace}/pods/{self.pod_name}/status", {"status": {
            "phase": "Running", "podIP": self.place.ip, "podIPs": ips, "hostIP": self.place.ip,
            "conditions": [{"type": t, "status": "True"} for t in ("PodScheduled", "Ready", "ContainersReady")]}})

    def delete_pod(self) -> None:
        self.api.call("DELETE", f"{CORE}/{self.namespace}/pods/{self.pod_name}", {"gracePeriodSeconds": 0})

    # ---- starting it ----

    def _field(self, path: str) -> str:
        """The downward API."""
        return {"metadata.name": self.pod_name, "metadata.namespace": self.namespace, "spec.nodeName": self.place.name,
                "status.podIP": self.place.ip, "status.hostIP": self.place.ip}[path]

    def _environment(self) -> dict[str, str]:
        env = {e["name"]: e["value"] if "value" in e else self._field(e["valueFrom"]["fieldRef"]["fieldPath"])
               for e in self._container.get("env", [])}
        return {"KUBERNETES_SERVICE_HOST": self.server[0], "KUBERNETES_SERVICE_PORT": str(self.server[1]), **env}

    def _files_of(self, volume: dict[str, Any]) -> dict[str, bytes]:
        where = f"{CORE}/{self.namespace}"
        if "configMap" in volume:
            found = self.api.find(f"{where}/configmaps/{volume['configMap']['name']}") or {}
            return {k: v.encode() for k, v in found.get("data", {}).items()}
        if "secret" in volume:
            found = self.api.find(f"{where}/secrets/{volume['secret']['secretName']}") or {}
            return {k: base64.b64decode(v) for k, v in found.get("data", {}).items()}
        return {}

    def _mounts(self) -> list[tuple[Path, str]]:
        volumes = {v["name"]: v for v in self._pod_spec.get("volumes", [])}
        mounts = [(self._home / "sa", SA_DIR)]
        for m in self._container.get("volumeMounts", []):
            folder = self._home / m["name"]
            folder.mkdir(exist_ok=True)
            for name, content in self._files_of(volumes[m["name"]]).items():
                (folder / name).write_bytes(content)
            mounts.append((folder, m["mountPath"]))
        return mounts

    def _privileges(self) -> list[str]:
        """User and capabilities of the container's securityContext."""
        user = self._pod_spec.get("securityContext", {}).get("runAsUser", 0)
        caps = self._container.get("securityContext", {}).get("capabilities", {}).get("add", [])
        keep = ",".join(["-all"] + [f"+{c.lower().removeprefix('cap_')}" for c in caps])
        words = ["setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={keep}"]
        if user and Path("/proc/self/uid_map").read_text().split()[2] != "1":  # 1: a user namespace with root alone
            words += [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return words

    def start(self, *, args: list[str] | None = None, env: dict[str, str] | None = None,
              server: tuple[str, int] | None = None) -> None:
        """args come after those of the manifest; server is another way to the API (a fault proxy)."""
        if server:
            self.server = server
        program = self._home / self.binary.name
        if not self.alive:
            program.unlink(missing_ok=True)  # a copy: the build may change while we run
            shutil.copy(self.binary, program)
            program.chmod(0o755)
        script = "".join(f"mount --bind '{a}' '{b}'\n" for a, b in self._mounts())
        script += "mount -o remount,bind,ro /\n"
        self.argv = ["sh", "-ec", script + 'exec "$@"', "sh", *self._privileges(), str(program),
                     *self._container.get("args", []), *(args or [])]
        self.env = {**self._environment(), **(env or {})}
        super().start()

    def restart(self, **kw: Any) -> None:
        self.stop()
        self.start(**kw)
