# SPDX-License-Identifier: Apache-2.0
"""The API server's connections fail in every way they can; nothing that was known is lost, nothing is done twice.

Each test runs through the fault proxy: `http` is HTTP/1.1 with faults aimed at one request, `raw` is the programs' own
HTTP/2 connection with faults aimed at its bytes.
"""
from __future__ import annotations

import ipaddress
import json
import signal
import time

import pytest

from test.lab.faultproxy import FaultProxy
from test.lab.lab import Lab
from test.lab.programs import Program

PROGRAMS = False
NOTICED_S = 15  # a dead connection or a frozen server is noticed within this, although nothing is sent
SLACK_S = 5  # for a busy machine


@pytest.fixture(params=["http", "raw"])
def faults(lab: Lab, request: pytest.FixtureRequest) -> FaultProxy:
    return through(lab, request.param)


@pytest.fixture
def http(lab: Lab) -> FaultProxy:
    return through(lab, "http")


@pytest.fixture
def raw(lab: Lab) -> FaultProxy:
    return through(lab, "raw")


def through(lab: Lab, door: str) -> FaultProxy:
    """All programs run and speak to the API server through this door of the proxy."""
    proxy = lab.fault_proxy()
    server = getattr(proxy, door)
    if not lab.controller or any(p.server != server or not p.alive for p in lab.programs()):
        restart(lab, server)
    return proxy


def restart(lab: Lab, server: tuple[str, int]) -> None:
    for p in lab.programs() if lab.controller else []:
        p.stop()
    lab.start_programs(server=server)


@pytest.fixture
def web(lab: Lab, pool: str, request: pytest.FixtureRequest) -> str:
    """The address of a Service that works."""
    request.getfixturevalue(next(name for name in ("faults", "raw", "http") if name in request.fixturenames))
    lab.service("web", lab.web)
    ip = lab.wait_address("web")
    lab.client.wait_owner(ip, tails=lab.tails)
    return ip


def complaints(p: Program) -> list[dict]:
    """Log lines that say that the API server cannot be reached."""
    return [line for line in p.lines(server=lambda _: True) if line["level"] in ("warn", "error")]


def works(lab: Lab, name: str = "proof") -> str:
    """A new Service is given an address and is answered: both programs hear of things again."""
    lab.service(name, lab.web)
    ip = lab.wait_address(name, timeout=40)
    lab.client.wait_owner(ip, timeout=40, tails=lab.tails)
    return ip


def test_connections_are_cut(lab: Lab, faults: FaultProxy, web: str) -> None:
    for reset in (True, False):
        assert faults.cut(reset) > 0
        lab.wait_for("all programs are connected again", lambda: faults.connections()["open"] >= 8, 40)
    works(lab)
    assert lab.addresses("web") == [web]


def test_deletes_and_creates_while_nobody_could_see_them(lab: Lab, faults: FaultProxy, web: str) -> None:
    lab.service("stays", lab.web)
    stays = lab.wait_address("stays")
    other = str(ipaddress.ip_address(stays) + 5)  # not web's, which the test wants to see silent
    faults.refuse()
    faults.cut()
    lab.delete_service("web")
    lab.service("new", lab.web, loadBalancerIP=other)
    assert lab.client.who_has(web), "what is known is kept while the server cannot be reached"
    faults.refuse(False)
    lab.client.wait_silence(web, timeout=40, tails=lab.tails)
    assert lab.wait_address("new", timeout=40) == other
    assert lab.addresses("stays") == [stays]


def test_a_silent_connection_is_noticed(lab: Lab, faults: FaultProxy, web: str) -> None:
    """Bytes stop, TCP goes on acknowledging: every program gives its connection up within 15 s."""
    before = faults.connections()["accepted"]
    faults.stall()
    lab.wait_for("all four programs open a new connection", lambda: faults.connections()["accepted"] >= before + 4,
                 NOTICED_S + SLACK_S)
    assert lab.client.who_has(web), "answers do not depend on the API server"
    faults.stall(False)
    works(lab)


def test_a_frozen_server_is_noticed(lab: Lab, raw: FaultProxy, web: str) -> None:
    """SIGSTOP: the kernel still acknowledges keepalives, only nobody is there. Within 15 s every program says so: the
    controller by not being ready, a speaker, which goes on answering and so stays ready, in its log."""
    known = {p.name: len(complaints(p)) for p in lab.programs()}
    lab.apiserver.signal(signal.SIGSTOP)
    for p in lab.programs():
        lab.wait_for(f"{p.name} says so", lambda p=p: len(complaints(p)) > known[p.name] or not lab.program_ready(p),
                     NOTICED_S + SLACK_S)
        assert lab.program_ready(p, "/healthz"), "a program without an API server is alive"
    assert lab.client.who_has(web)
    lab.apiserver.resume()
    for p in lab.programs():
        lab.wait_for(f"{p.name} is ready", lambda p=p: lab.program_ready(p), 40)
    works(lab)


def test_packets_vanish(lab: Lab, raw: FaultProxy, web: str) -> None:
    """No reset, no answer: a firewall that drops. The node's own connection dies by its time-out."""
    node = lab.nodes[0]
    speaker = lab.speakers[node.name]
    port = speaker.server[1]
    known = len(complaints(speaker))
    node.exec("nft", f"add table inet fault; add chain inet fault out {{ type filter hook output priority -300; }}; "
                     f"add rule inet fault out tcp dport {port} drop")
    try:
        lab.wait_for("the speaker says so", lambda: len(complaints(speaker)) > known, NOTICED_S + SLACK_S)
    finally:
        node.exec("nft", "delete table inet fault")
    lab.wait_for("the speaker says that it is over",
                 lambda: speaker.lines(msg="the API server can be used again")[known:], 40)
    works(lab)


def test_slow_bytes(lab: Lab, http: FaultProxy, web: str) -> None:
    """A list that comes in pieces of seven bytes is the same list."""
    for i in range(5):
        lab.service(f"web{i}", lab.web)
    addresses = {f"web{i}": lab.wait_address(f"web{i}") for i in range(5)}
    http.rule(method="GET", slow=7, every=0.0005)
    restart(lab, http.http)
    works(lab)
    assert {name: lab.addresses(name)[0] for name in addresses} == addresses


@pytest.mark.parametrize("cut", [0, 1, 300, 5000])
def test_cut_in_the_middle(lab: Lab, http: FaultProxy, web: str, cut: int) -> None:
    """A list or a watch ends within a line, or before its first byte."""
    rule = http.rule(method="GET", path=r"^/(api|apis)/.*/(services|endpointslices|ipaddresspools)\?", count=6, cut=cut)
    http.cut()
    lab.delete_service("web")
    lab.wait_for("lists or watches were cut", lambda: http.hits(rule) >= 4, 60)
    lab.client.wait_silence(web, timeout=60, tails=lab.tails)
    works(lab)


EXPIRED = json.dumps({"type": "ERROR", "object": {
    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired", "code": 410,
    "message": "too old resource version"}})


@pytest.mark.parametrize("fault", [
    {"event": EXPIRED}, {"status": 410},
    {"event": json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd"}})},
    {"event": "this is not JSON"},
], ids=["410 in the stream", "410 as the answer", "500 in the stream", "garbage"])
def test_relist_loses_no_delete_and_invents_none(lab: Lab, http: FaultProxy, web: str, fault: dict) -> None:
    lab.service("stays", lab.web)
    stays = lab.wait_address("stays")
    lab.client.wait_owner(stays, tails=lab.tails)
    http.refuse()
    http.cut()
    lab.delete_service("web")  # while nobody watches
    rule = http.rule(path=r"/(services|endpointslices|ipaddresspools|l2advertisements|nodes)\?.*watch=", count=12,
                     **fault)
    http.refuse(False)
    lab.client.wait_silence(web, timeout=60, tails=lab.tails)
    works(lab)
    assert http.hits(rule) >= 4
    assert lab.addresses("stays") == [stays] and lab.client.who_has(stays)
    for p in lab.speakers.values():
        assert not p.lines(event="serviceWithdrawn", ip=stays), "a relist is no reason to withdraw"


def test_429_waits_as_told(lab: Lab, http: FaultProxy, web: str) -> None:
    rule = http.rule(method="PATCH", path="services/late/status", count=2, status=429, headers={"Retry-After": "1"})
    begun = time.monotonic()
    lab.service("late", lab.web)
    lab.wait_address("late", timeout=40)
    assert http.hits(rule) == 2 and time.monotonic() - begun >= 2
    tries = [r for r in http.requests() if "services/late/status" in r["path"]]
    assert [r["status"] for r in tries] == [429, 429, 200]


@pytest.mark.parametrize("status", [500, 503, 504])
def test_5xx(lab: Lab, http: FaultProxy, web: str, status: int) -> None:
    """Writes, lists and watches fail for a while."""
    writes = http.rule(method="PATCH", path="services/", count=3, status=status)
    reads = http.rule(method="GET", path=r"^/(api|apis)/", count=10, status=status)
    http.cut()
    works(lab)
    assert http.hits(writes) == 3 and http.hits(reads) == 10


def test_a_lost_answer_is_not_a_second_address(lab: Lab, http: FaultProxy, web: str) -> None:
    """The server did the write, the controller never heard of it."""
    rule = http.rule(method="PATCH", path="services/twice/status", count=1, cut="reply")
    lab.service("twice", lab.web)
    ip = lab.wait_address("twice")
    lab.wait_for("the answer was lost", lambda: http.hits(rule) == 1)
    works(lab)
    assert lab.addresses("twice") == [ip]
    lab.wait_for("the pool counts three", lambda: lab.pool_status("pool").get("assignedIPv4") == 3)


def test_unreachable_at_the_start(lab: Lab, raw: FaultProxy, pool: str) -> None:
    """It goes on trying, says so once and then rarely, is alive, is not ready; and then it works."""
    for p in lab.programs():
        p.stop()
    raw.refuse()
    for p in lab.programs():
        p.start(server=p.server)
    for p in lab.programs():
        lab.wait_for(f"{p.name} is alive", lambda p=p: lab.http(p.place, 17472, "/healthz")[0] == 200)
        assert not lab.program_ready(p)
        lab.wait_for(f"{p.name} says that it cannot reach the API", lambda p=p: complaints(p))
    time.sleep(5)  # the thing to see is that nothing more is said
    for p in lab.programs():
        assert len(complaints(p)) <= 3
        assert p.alive and not lab.program_ready(p)
    raw.refuse(False)
    for p in lab.programs():
        lab.wait_for(f"{p.name} is ready", lambda p=p: lab.program_ready(p), 40)
    works(lab)


def test_api_server_killed_and_back(lab: Lab, raw: FaultProxy, web: str) -> None:
    """kill -9 in the middle: what was announced stays announced, what happened meanwhile is caught up with."""
    lab.service("gone", lab.web)
    gone = lab.wait_address("gone")
    lab.client.wait_owner(gone, tails=lab.tails)
    since = lab.audit.mark()
    lab.apiserver.kill()
    assert lab.client.who_has(web) and lab.client.tcp(web)
    lab.apiserver.start()
    lab.wait_api()
    lab.delete_service("gone")
    lab.client.wait_silence(gone, timeout=40, tails=lab.tails)
    works(lab)
    assert lab.addresses("web") == [web] and lab.client.who_has(web)
    rewritten = [e for e in lab.audit.writes(since, resource="services/status") if e.name == "web"]
    assert not rewritten, "a restart of the server is no reason to write"
