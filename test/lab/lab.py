# SPDX-License-Identifier: Apache-2.0
"""The lab: one object that a test or the demo asks for a cluster, and for everything in it.

Nothing is taken from, or left on, the machine: see box.py. Every wait has a condition and a deadline, and one that
fails shows the ends of all logs.
"""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from test.lab import audit, network, pki
from test.lab.api import METALLB, Api
from test.lab.box import ROOT, Box
from test.lab.client import Client
from test.lab.faultproxy import FaultProxy
from test.lab.process import Not, Process, wait_until
from test.lab.programs import Program

API_PORT = 6443
NAMESPACE = "metallb-system"


def tools_dir() -> Path:
    """Where test/deps keeps what it built."""
    out = subprocess.run([ROOT / "test/deps", "--dir"], capture_output=True, text=True, check=True)
    return Path(out.stdout.strip())


def tool(name: str) -> str:
    built = tools_dir() / name
    found = str(built) if built.exists() else shutil.which(name)
    if not found:
        raise RuntimeError(f"{name} is missing: run `make deps`")
    return found


class Node:
    def __init__(self, lab: "Lab", place: network.Place) -> None:
        self.lab, self.place, self.name = lab, place, place.name
        self.ip, self.ip6, self.mac = place.ip, place.ip6, place.mac
        self.kube_proxy: Process | None = None
        self.pods = 0

    def exec(self, *argv: str, check: bool = True, timeout: float = 30) -> str:
        return self.lab.box.run(list(argv), netns=self.name, check=check, timeout=timeout).stdout

    def unplug(self) -> None:
        """As when the machine loses power, for everybody on the LAN; the management LAN, if any, stays."""
        self.lab.switch("ip", "link", "set", self.name, "down")

    def plug(self) -> None:
        self.lab.switch("ip", "link", "set", self.name, "up")

    def remove_link(self, device: str = "eth0") -> None:
        """The network card is pulled out."""
        self.exec("ip", "link", "delete", device)

    def add_link(self, device: str = "eth0") -> None:
        """A network card with the old MAC address is put in, under this name."""
        commands = network.lan_link(self.place, self.lab.places, device)
        self.lab.box.run(["sh", "-s"], input="set -e\n" + "\n".join(commands) + "\n")

    def path(self) -> str:
        return f"/api/v1/nodes/{self.name}"


class Pod:
    def __init__(self, name: str, node: Node, port: int, process: Process, ip: str, ip6: str) -> None:
        self.name, self.node, self.port, self.process, self.ip, self.ip6 = name, node, port, process, ip, ip6


class Lab:
    """with Lab() as lab: a control plane and nodes with kube-proxy. The programs under test are started by
    start_programs(). Options: mgmt gives every node a second link, to the API server only; cp_proxy runs a kube-proxy
    beside the API server, which webhooks need; api_args are added to kube-apiserver's; build is where the programs are
    (default: build/, or $LAB_BUILD)."""

    def __init__(self, nodes: int = 3, *, mgmt: bool = False, cp_proxy: bool = False,
                 api_args: list[str] | None = None, build: Path | str | None = None,
                 manifests: Path | None = ROOT / "manifests") -> None:
        self.mgmt, self.cp_proxy, self.api_args, self.manifests = mgmt, cp_proxy, api_args or [], manifests
        self.build = Path(build or os.environ.get("LAB_BUILD") or ROOT / "build")
        self.seconds: dict[str, float] = {}  # how long the parts of the start took
        self.processes: list[Process] = []
        self.pods: list[Pod] = []
        self.controller: Program | None = None
        self.speakers: dict[str, Program] = {}
        self.faults: FaultProxy | None = None
        self.web: list[Pod] = []  # for tests: one pod on each node
        self.box = Box()
        try:
            self.dir, self.run_id = self.box.dir, self.box.run_id
            self.cp = network.CONTROL_PLANE
            self.nodes = [Node(self, place) for place in network.nodes(nodes)]
            self.client = Client(self.box)
            self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.box.close()

    def keep(self) -> str:
        """The lab outlives this process. Returns how to use it and how to end it, for a person to read."""
        as_root = "U=''; [ $(id -u) = 0 ] || U='-U --preserve-credentials'\n"
        into = f"exec nsenter $U -t {self.box.init_pid} -m -u -i -p -n -r -w -- ip netns exec"
        places = " ".join(p.name for p in self.places)
        for name, text in (
                ("kubectl", f"export KUBECONFIG={self.kubeconfig} HOME={self.dir}/home\n"
                            f'{into} {self.cp.name} {tool("kubectl")} "$@"\n'),
                ("on", f"# usage: on PLACE COMMAND...   PLACE: {places}\n"
                       f'place=$1; shift; [ $# -gt 0 ] || set -- sh\n{into} "$place" "$@"\n')):
            (self.dir / name).write_text("#!/bin/sh\n" + as_root + text)
            (self.dir / name).chmod(0o755)
        self.box.keep()
        return f"""\
  kubectl             {self.dir}/kubectl get services -A
  from the client     {self.dir}/on client curl http://ADDRESS/
  a shell on a node   {self.dir}/on node1          (or one of: {places})
  the logs            {self.dir}/logs/
                      (pods have no kubelet behind them here, so `kubectl logs` has nobody to ask)
  end it              python3 -m test.lab.demo --end {self.run_id}
"""

    # ---- setting up ----

    def _start(self) -> None:
        begun = time.monotonic()
        self._write_files()
        self.places = [self.cp, network.CLIENT, *(n.place for n in self.nodes)]
        self.box.run(["sh", "-s"], input=network.script(self.places, self.mgmt))
        self.etcd = self.process("etcd", [
            tool("etcd"), "--data-dir", f"{self.dir}/etcd/data", "--listen-client-urls", "http://127.0.0.1:2379",
            "--advertise-client-urls", "http://127.0.0.1:2379", "--listen-peer-urls", "http://127.0.0.1:2380",
            "--logger", "zap", "--log-level", "warn"], netns=self.cp.name)
        self.etcd.start()
        self.apiserver = self.process("kube-apiserver", self._apiserver_argv(), netns=self.cp.name)
        self.apiserver.start()
        self.wait_api()
        self.seconds["control plane"] = time.monotonic() - begun
        with ThreadPoolExecutor(2) as pool:
            install = pool.submit(self._install)
            for node in self.nodes:
                self.api.create("/api/v1/nodes", self._node_object(node))
            for node in self.nodes:
                node.kube_proxy = self._start_kube_proxy(node.name, node.name)
            if self.cp_proxy:  # its own name must be a node's, else kube-proxy waits for one
                self._start_kube_proxy(self.cp.name, self.nodes[0].name)
            install.result()
        self.seconds["all"] = time.monotonic() - begun

    def _write_files(self) -> None:
        (self.dir / "home").mkdir()
        mine = ["127.0.0.1", "::1", "10.96.0.1", "fd96::1", self.cp.ip, self.cp.ip6, self.cp.mgmt_ip]
        pki.make_certificates(self.dir / "pki", mine)
        self.ca = self.dir / "pki/ca.crt"
        self.tokens = pki.Tokens(self.dir / "tokens.csv", NAMESPACE)
        (self.dir / "audit-policy.json").write_text(json.dumps(audit.POLICY))
        self.audit = audit.Audit(self.dir / "audit.log")
        self.kubeconfig = self.dir / "kubeconfig"
        pki.write_kubeconfig(self.kubeconfig, f"https://127.0.0.1:{API_PORT}", self.ca, self.tokens["admin"])
        self.api = self.api_as("admin")

    def api_as(self, user: str, host: str = "127.0.0.1", port: int = API_PORT) -> Api:
        """admin, controller, speaker, stranger (a service account without any role) or kube-proxy."""
        return Api(self.box, self.cp.name, host, port, str(self.ca), self.tokens[user])

    def _apiserver_argv(self) -> list[str]:
        pki_dir = f"{self.dir}/pki"
        return [
            tool("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379",
            f"--service-cluster-ip-range={network.SERVICES}", "--bind-address=::", f"--secure-port={API_PORT}",
            f"--advertise-address={self.cp.ip}", f"--tls-cert-file={pki_dir}/server.crt",
            f"--tls-private-key-file={pki_dir}/server.key", f"--cert-dir={self.dir}/home",
            "--service-account-issuer=https://lab", f"--service-account-key-file={pki_dir}/sa.key",
            f"--service-account-signing-key-file={pki_dir}/sa.key", f"--token-auth-file={self.dir}/tokens.csv",
            "--authorization-mode=RBAC", "--endpoint-reconciler-type=none", "--allow-privileged=true",
            # There is no controller that makes service account objects and their Secrets.
            "--disable-admission-plugins=ServiceAccount",
            f"--audit-policy-file={self.dir}/audit-policy.json", f"--audit-log-path={self.dir}/audit.log",
            *self.api_args]

    def _node_object(self, node: Node) -> dict[str, Any]:
        return {
            "metadata": {"name": node.name,
                         "labels": {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux"}},
            "spec": {"podCIDRs": [f"{node.place.pod_ip(0)}/24", f"{node.place.pod_ip6(0)}/64"],
                     "podCIDR": f"{node.place.pod_ip(0)}/24"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": node.ip}, {"type": "InternalIP", "address": node.ip6},
                              {"type": "Hostname", "address": node.name}],
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"},
                               {"type": "NetworkUnavailable", "status": "False", "reason": "RouteCreated"}]}}

    def _start_kube_proxy(self, netns: str, hostname: str) -> Process:
        config = self.dir / f"kube-proxy-{netns}.json"
        kubeconfig = self.dir / f"kube-proxy-{netns}.kubeconfig"
        pki.write_kubeconfig(kubeconfig, f"https://{self.cp.mgmt_ip if self.mgmt else self.cp.ip}:{API_PORT}", self.ca,
                             self.tokens["kube-proxy"])
        config.write_text(json.dumps({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables",
            "clientConnection": {"kubeconfig": str(kubeconfig)}, "hostnameOverride": hostname,
            "clusterCIDR": f"{network.PODS4},{network.PODS6}", "conntrack": {"maxPerCore": 0, "min": 0},
            "nftables": {"minSyncPeriod": "100ms"}, "metricsBindAddress": "127.0.0.1:10249",
            "healthzBindAddress": "0.0.0.0:10256"}))
        proxy = self.process(f"kube-proxy-{netns}", [tool("kube-proxy"), f"--config={config}"], netns=netns)
        proxy.start()
        return proxy

    def _install(self) -> None:
        if self.manifests:
            self.kubectl("apply", "-f", str(self.manifests))
            self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")

    # ---- the control plane ----

    def process(self, name: str, argv: list[str], **kw: Any) -> Process:
        """A process whose log is shown when a wait fails, and that ends with the lab."""
        p = Process(self.box, name, argv, **kw)
        self.processes.append(p)
        return p

    def api_ready(self) -> bool | Not:
        if not self.apiserver.alive or not self.etcd.alive:
            tails = "\n".join(p.tail() for p in (self.etcd, self.apiserver))
            raise AssertionError("the control plane ended:\n" + tails)
        try:
            status, body = self.api.exchange("GET", "/readyz", timeout=2)
            return status == 200 or Not(body)
        except OSError as e:
            return Not(e)

    def wait_api(self, timeout: float = 60) -> None:
        self.wait_for("the API server is ready", self.api_ready, timeout)

    def kubectl(self, *args: str, input: str | None = None, check: bool = True, timeout: float = 60) -> str:
        r = self.box.run([tool("kubectl"), *args], netns=self.cp.name, env={"KUBECONFIG": str(self.kubeconfig)},
                         input=input, check=check, timeout=timeout)
        return r.stdout if check else r.stdout + r.stderr

    def apply(self, what: str | dict[str, Any] | list[dict[str, Any]]) -> str:
        """kubectl apply of YAML text, an object, or several."""
        if isinstance(what, list):
            what = {"apiVersion": "v1", "kind": "List", "items": what}
        return self.kubectl("apply", "-f", "-", input=what if isinstance(what, str) else json.dumps(what))

    def wait_for(self, what: str, condition: Any, timeout: float = 20, pause: float = 0.05) -> Any:
        return wait_until(condition, what, timeout, pause, self.tails)

    def tails(self) -> list[str]:
        """The ends of the logs that tell most: the programs', the API server's, and those of processes that died."""
        programs = [*([self.controller] if self.controller else []), *self.speakers.values()]
        others = [p for p in self.processes if p is self.apiserver or not p.alive]
        return [p.tail(12) for p in programs] + [p.tail(5) for p in others]

    def switch(self, *argv: str) -> str:
        """A command on the switch: its ports bear the names of the places."""
        return self.box.run(list(argv), netns=network.SWITCH).stdout

    # ---- the programs under test ----

    def server_for(self, place: network.Place) -> tuple[str, int]:
        return (self.cp.mgmt_ip if self.mgmt else self.cp.ip), API_PORT

    def _program(self, workload: dict[str, Any], pod_name: str, place: network.Place) -> Program:
        account = workload["spec"]["template"]["spec"].get("serviceAccountName", "default")
        return Program(self.box, self.api, self.build / workload["metadata"]["name"], self.tokens[account], self.ca,
                       self.server_for(place), workload, pod_name, place)

    def prepare_programs(self) -> None:
        """Pods of the installed Deployment and DaemonSet, nothing started."""
        apps = f"/apis/apps/v1/namespaces/{NAMESPACE}"
        deployment = self.api.get(apps + "/deployments/controller")
        daemonset = self.api.get(apps + "/daemonsets/speaker")
        self.controller = self._program(deployment, f"controller-{self.run_id}-x1", self.cp)
        self.speakers = {n.name: self._program(daemonset, f"speaker-x{n.place.number}", n.place) for n in self.nodes}
        for p in self.programs():
            p.create_pod()

    def programs(self) -> list[Program]:
        assert self.controller, "prepare_programs() first"
        return [self.controller, *self.speakers.values()]

    def start_programs(self, **kw: Any) -> None:
        """The controller and a speaker on each node; waits until all say they are ready."""
        if not self.controller:
            self.prepare_programs()
        for p in self.programs():
            p.start(**kw)
        for p in self.programs():
            self.wait_for(f"{p.name} is ready", lambda p=p: self.program_ready(p), 30)

    def program_ready(self, program: Program, path: str = "/readyz", port: int = 17472) -> bool | Not:
        """What the kubelet's readiness probe would find."""
        if not program.alive:
            raise AssertionError(f"{program.name} ended\n" + program.tail(40))
        status, body = self.http(program.place, port, path)
        return status == 200 or Not(f"{status} {body}")

    def http(self, place: network.Place, port: int, path: str, timeout: float = 2) -> tuple[int, str]:
        """Plain HTTP to a place's own loopback: (status, body), (0, why) without an answer."""
        import http.client
        import socket
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            with self.box.inside(place.name):
                c.sock = socket.create_connection(("127.0.0.1", port), timeout)
            c.request("GET", path)
            answer = c.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as e:
            return 0, str(e)
        finally:
            c.close()

    def fault_proxy(self) -> FaultProxy:
        """The one of this lab; it is started when first asked for."""
        self.faults = self.faults or FaultProxy(self)
        return self.faults

    # ---- what users make ----

    def pod(self, name: str, node: int = 1, port: int = 8080) -> Pod:
        """A server on node number `node` (from 1), at an address of that node's pod range."""
        n = self.nodes[node - 1]
        n.pods += 1
        ip, ip6 = n.place.pod_ip(9 + n.pods), n.place.pod_ip6(9 + n.pods)
        n.exec("ip", "addr", "add", f"{ip}/32", "dev", "lo")
        n.exec("ip", "-6", "addr", "add", f"{ip6}/128", "dev", "lo", "nodad")
        server = str(ROOT / "test/lab/podserver.py")
        process = self.process(f"pod-{name}", ["python3", "-S", server, name, str(port), ip, ip6], netns=n.name)
        process.start()
        self.wait_for(f"pod {name} listens", lambda: f"{ip}:{port}" in n.exec("ss", "-Hltn"))
        self.pods.append(Pod(name, n, port, process, ip, ip6))
        return self.pods[-1]

    @staticmethod
    def slice_object(service: str, pods: list[Pod], *, family: int = 4, namespace: str = "default",
                     ready: bool = True, port_name: str = "main") -> dict[str, Any]:
        return {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": f"IPv{family}",
            "metadata": {"name": f"{service}-v{family}", "namespace": namespace,
                         "labels": {"kubernetes.io/service-name": service}},
            "ports": [{"name": f"{port_name}-{p.lower()}", "port": pods[0].port if pods else 8080, "protocol": p}
                      for p in ("TCP", "UDP")],
            "endpoints": [{"addresses": [p.ip if family == 4 else p.ip6], "nodeName": p.node.name,
                           "conditions": {"ready": ready, "serving": ready, "terminating": False}} for p in pods]}

    @staticmethod
    def service_object(name: str, *, namespace: str = "default", port: int = 80, target: int = 8080,
                       annotations: dict[str, str] | None = None, labels: dict[str, str] | None = None,
                       **spec: Any) -> dict[str, Any]:
        return {
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {},
                         "labels": labels or {}},
            "spec": {"type": "LoadBalancer", "ports": [
                {"name": f"main-{p.lower()}", "port": port, "targetPort": target, "protocol": p}
                for p in ("TCP", "UDP")], **spec}}

    def service(self, name: str, pods: list[Pod] | None = None, *, namespace: str = "default", **kw: Any) -> None:
        """A LoadBalancer Service on TCP and UDP, with the EndpointSlices of these pods."""
        created = self.api.create(f"/api/v1/namespaces/{namespace}/services",
                                  self.service_object(name, namespace=namespace, **kw))
        for family in created["spec"].get("ipFamilies", ["IPv4"]):
            self.api.create(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
                            self.slice_object(name, pods or [], family=int(family[-1]), namespace=namespace))

    def delete_service(self, name: str, namespace: str = "default") -> None:
        self.api.delete(f"/api/v1/namespaces/{namespace}/services/{name}")
        self.delete_slices(name, namespace)

    def delete_slices(self, name: str, namespace: str = "default") -> None:
        """Which, in a whole cluster, is the work of kube-controller-manager."""
        for s in self.api.items(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
                                labels=f"kubernetes.io/service-name={name}"):
            self.api.delete(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/{s['metadata']['name']}")

    def addresses(self, name: str, namespace: str = "default") -> list[str]:
        """The Service's load balancer addresses; empty while it is pending, or gone."""
        found = self.api.find(f"/api/v1/namespaces/{namespace}/services/{name}") or {}
        return [i["ip"] for i in found.get("status", {}).get("loadBalancer", {}).get("ingress", []) if "ip" in i]

    def wait_address(self, name: str, namespace: str = "default", timeout: float = 20) -> str:
        return self.wait_for(f"Service {namespace}/{name} has an address",
                             lambda: self.addresses(name, namespace), timeout)[0]

    def pool(self, name: str, *addresses: str, **spec: Any) -> None:
        self.api.create(f"{METALLB}/namespaces/{NAMESPACE}/ipaddresspools", {
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"addresses": list(addresses), **spec}})

    def advertisement(self, name: str, **spec: Any) -> None:
        self.api.create(f"{METALLB}/namespaces/{NAMESPACE}/l2advertisements", {
            "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})

    def remove(self, kind: str, name: str) -> None:
        """kind is the plural: ipaddresspools, l2advertisements."""
        self.api.delete(f"{METALLB}/namespaces/{NAMESPACE}/{kind}/{name}")

    def pool_status(self, name: str) -> dict[str, Any]:
        return self.api.get(f"{METALLB}/namespaces/{NAMESPACE}/ipaddresspools/{name}").get("status", {})

    def node_of_mac(self, mac: str) -> Node:
        return next(n for n in self.nodes if n.mac == mac)

    def events(self, name: str, namespace: str = "default") -> list[dict[str, Any]]:
        """Events about a Service that exists; not those of an earlier one of its name."""
        service = self.api.get(f"/api/v1/namespaces/{namespace}/services/{name}")
        return self.api.items(f"/api/v1/namespaces/{namespace}/events",
                              fields=f"involvedObject.uid={service['metadata']['uid']}")
