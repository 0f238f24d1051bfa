# SPDX-License-Identifier: Apache-2.0
"""How fast the speaker answers ARP: against the same node's kernel, and against a bare libpcap loop beside it.

Two clients ask. A fast one in C (test/lab/probe.c) sees the bare difference between a kernel that answers inside the
interrupt and a program that must be woken. The other is an ordinary program with a packet socket, as a host's own
resolver is: it asks and sleeps until the answer wakes it.
"""
from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from test.bench.row import Row
from test.lab.box import ROOT
from test.lab.client import ArpSocket
from test.lab.lab import Lab

ROUNDS, COUNT = 6, 500
PEER = "10.4.0.250"


def probe(lab: Lab, *args: str, timeout: float = 300) -> Any:
    out = lab.client.run(str(ROOT / "build/lab/probe"), *args, timeout=timeout).stdout
    return json.loads(out)


def ask_in_turn(lab: Lab, addresses: list[str], count: int) -> list[list[float]]:
    """Seconds to the answer, asking each address in turn; an unanswered question counts as its whole window."""
    took: list[list[float]] = [[] for _ in addresses]
    with ArpSocket(lab.box) as s:
        for _ in range(count):
            for i, ip in enumerate(addresses):
                replies = s.replies(ip, 0.2, first_only=True)
                took[i].append(replies[0].seconds if replies else 0.2)
                time.sleep(0.0003)
    return took


def centile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def ratio(a: list[float], b: list[float], percent: int) -> tuple[float, str]:
    x, y = centile(a, percent), centile(b, percent)
    return x / y, f"{x * 1e6:.0f} to {y * 1e6:.0f} us"


def bench() -> Iterator[Row]:
    with Lab() as lab:
        lab.pool("pool", "10.4.11.0 - 10.4.15.254")
        lab.advertisement("ad")
        lab.start_programs()
        lab.service("web", [lab.pod("web")])
        vip = lab.wait_address("web")
        owner = lab.node_of_mac(lab.client.wait_owner(vip, tails=lab.tails))
        peer = lab.process("pcaploop", [str(ROOT / "build/lab/pcaploop"), "eth0", PEER], netns=owner.name)
        peer.start()
        lab.client.wait_owner(PEER)

        ask_in_turn(lab, [vip, owner.ip, PEER], COUNT // 5)  # warm
        idle: list[list[float]] = [[], [], []]
        for _ in range(ROUNDS):
            for kept, new in zip(idle, ask_in_turn(lab, [vip, owner.ip, PEER], COUNT)):
                kept += new
        for percent, goal in ((50, 1.3), (99, 2.0)):
            value, detail = ratio(idle[0], idle[1], percent)
            yield Row(f"ARP answer against the node's kernel, p{percent}", value, goal, "x", detail)
            value, detail = ratio(idle[0], idle[2], percent)
            yield Row(f"ARP answer against a bare libpcap loop, p{percent}", value, None, "x", detail)
        bare = probe(lab, "ratio", "eth0", "3000", vip, owner.ip)
        peer_bare = probe(lab, "ratio", "eth0", "3000", PEER, owner.ip)
        yield Row("as a busy-waiting C client sees it, p50", bare["a"]["p50_us"] / bare["b"]["p50_us"], None, "x",
                  f"{bare['a']['p50_us']:.0f} to {bare['b']['p50_us']:.0f} us; "
                  f"bare libpcap loop {peer_bare['a']['p50_us'] / peer_bare['b']['p50_us']:.2f}x")

        busy: list[float] = []
        with ThreadPoolExecutor(1) as pool:
            making = pool.submit(make_services, lab, 1000)
            while not making.done():
                busy += ask_in_turn(lab, [vip], 50)[0]
            making.result()
        value, detail = ratio(busy, idle[0], 99)
        yield Row("ARP answer while 1,000 Services are created against idle, p99", value, 2.0, "x", detail)
        kernel: list[float] = []
        with ThreadPoolExecutor(1) as pool:
            making = pool.submit(make_services, lab, 1000, "k")
            while not making.done():
                kernel += ask_in_turn(lab, [owner.ip], 50)[0]
            making.result()
        value, detail = ratio(kernel, idle[1], 99)
        yield Row("the same of the node's kernel, for comparison, p99", value, None, "x", detail)


def make_services(lab: Lab, n: int, prefix: str = "s") -> None:
    """Services without node ports (they run out), each with one endpoint, 100 objects a call."""
    pod = {"addresses": ["10.244.1.10"], "nodeName": lab.nodes[0].name, "conditions": {"ready": True}}
    for first in range(0, n, 100):
        items: list[dict[str, Any]] = []
        for i in range(first, min(first + 100, n)):
            name = f"{prefix}{i:05d}"
            items.append(lab.service_object(name, allocateLoadBalancerNodePorts=False))
            items.append({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
                "ports": [{"name": "main-tcp", "port": 8080, "protocol": "TCP"}], "endpoints": [pod]})
        lab.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}),
                    timeout=300)
