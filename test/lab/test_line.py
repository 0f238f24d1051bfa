# SPDX-License-Identifier: Apache-2.0
"""The main job, from one end to the other: a Service gets an address, one node answers for it, it is used, it goes."""
from __future__ import annotations

import ipaddress
import json

from test.lab.election import winner
from test.lab.lab import NAMESPACE, Lab


def owner(lab: Lab, ip: str) -> str:
    return lab.node_of_mac(lab.client.wait_owner(ip, tails=lab.tails)).name


def test_from_pending_to_answered_to_silent(lab: Lab, block: str) -> None:
    lab.service("web", lab.web)
    lab.wait_for("the controller has seen the Service", lambda: lab.kubectl("get", "service", "web"))
    assert "<pending>" in lab.kubectl("get", "service", "web")
    lab.pool("pool", block)
    ip = lab.wait_address("web")
    assert ip == block.split("-")[0], "the lowest free address comes first"
    assert not lab.client.who_has(ip), "without an L2Advertisement nobody answers"

    lab.advertisement("all")
    name = owner(lab, ip)
    assert name == winner([n.name for n in lab.nodes], ip)
    lab.wait_for("TCP reaches a pod", lambda: lab.client.tcp(ip))
    assert (lab.client.curl(ip) or "").startswith("web")
    lab.wait_for("UDP reaches a pod", lambda: (lab.client.udp(ip, 80) or b"").endswith(b"hello"))
    lab.wait_for("the owner's log says that it announces", lambda: lab.speakers[name].lines(
        msg=lambda m: "announcing" in m, ips=lambda ips: ip in ips))
    others = [s for n, s in lab.speakers.items() if n != name]
    assert not any(s.lines(msg="service has IP, announcing", ips=lambda ips: ip in ips) for s in others)

    lab.delete_service("web")
    lab.client.wait_silence(ip, tails=lab.tails)
    lab.wait_for("the pool has it back", lambda: lab.pool_status("pool").get("assignedIPv4") == 0)


def test_what_the_user_reads(lab: Lab, pool: str) -> None:
    """Annotation, event, condition, and the columns of kubectl get."""
    lab.service("web", lab.web)
    ip = lab.wait_address("web")
    service = lab.api.get("/api/v1/namespaces/default/services/web")
    assert service["metadata"]["annotations"]["metallb.io/ip-allocated-from-pool"] == pool
    assert service["status"]["loadBalancer"]["ingress"][0]["ip"] == ip
    events = lab.wait_for("an event on the Service", lambda: [
        e for e in lab.events("web") if e["reason"] == "IPAllocated"])
    assert len(events) == 1 and ip in events[0]["message"] and events[0]["type"] == "Normal"
    assert events[0]["source"]["component"] == "metallb-controller"
    lab.wait_for("the pool's counters", lambda: lab.pool_status(pool).get("assignedIPv4") == 1)
    row = lab.kubectl("get", "ipaddresspools", "-n", NAMESPACE, "--no-headers").split()
    assert row[0] == pool and row[-4:-2] == ["1", "15"], "assigned and available"


def test_the_users_pool_holds_1279(lab: Lab) -> None:
    lab.pool("primary", "10.4.11.0 - 10.4.15.254")
    lab.wait_for("the pool's counters", lambda: lab.pool_status("primary").get("availableIPv4") == 1279)


def test_every_address_has_its_rightful_owner(lab: Lab, pool: str) -> None:
    """Twelve Services: each answered by one node, the one the rule names, so all nodes work."""
    names = [f"web{i}" for i in range(12)]
    for name in names:
        lab.service(name, lab.web)
    ips = [lab.wait_address(name) for name in names]
    assert len(set(ips)) == len(ips)
    owners = {ip: owner(lab, ip) for ip in ips}
    assert owners == {ip: winner([n.name for n in lab.nodes], ip) for ip in ips}
    assert len(set(owners.values())) == 3


def test_no_endpoints_no_answer(lab: Lab, pool: str) -> None:
    lab.service("web", [])
    lab.service("other", lab.web)
    ip = lab.wait_address("web")
    lab.client.wait_owner(lab.wait_address("other"), tails=lab.tails)  # so the speakers have seen both
    assert not lab.client.who_has(ip)
    where = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/web-v4"
    lab.api.patch(where, lab.slice_object("web", lab.web))
    lab.client.wait_owner(ip, tails=lab.tails)
    lab.api.patch(where, lab.slice_object("web", lab.web, ready=False))
    lab.client.wait_silence(ip, tails=lab.tails)


def test_a_pool_that_does_not_parse_hurts_only_itself(lab: Lab, block: str) -> None:
    lab.pool("bad-1", "10.4.300.1-10.4.300.9")
    lab.pool("bad-2", "10.4.12.9-10.4.12.1")
    lab.pool("good", block)
    lab.advertisement("all")
    lab.service("web", lab.web)
    ip = lab.wait_address("web")
    lab.client.wait_owner(ip, tails=lab.tails)
    assert lab.controller
    for name in ("bad-1", "bad-2"):
        lab.wait_for(f"the controller names {name}", lambda name=name: [
            line for line in lab.controller.lines() if line["level"] in ("warn", "error") and name in json.dumps(line)])
    fixed = ipaddress.ip_address(block.split("-")[1]) + 65536 * 0
    lab.delete_service("web")
    lab.remove("ipaddresspools", "good")
    lab.api.patch(f"/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}/ipaddresspools/bad-1",
                  {"spec": {"addresses": [f"{fixed}/32"]}})
    lab.service("web", lab.web)
    assert lab.wait_address("web") == str(fixed), "a pool works as soon as it is mended"


def test_one_write_and_one_event_a_service(lab: Lab, block: str) -> None:
    """Forty Services, each with one status write and one event, and no other write to Services; then rest."""
    lab.pool("pool", "10.4.14.0/24")
    lab.advertisement("all")
    lab.service("first", lab.web)
    lab.client.wait_owner(lab.wait_address("first"), tails=lab.tails)
    since = lab.audit.mark()
    names = [f"web{i}" for i in range(40)]
    for name in names:
        lab.service(name, lab.web)
    for name in names:
        lab.wait_address(name)
    lab.wait_for("forty events of the controller", lambda: len(lab.audit.writes(
        since, user="controller", resource="events")) >= 40)
    lab.wait_for("the pool's counters", lambda: lab.pool_status("pool").get("assignedIPv4") == 41)
    calm = lab.audit.mark()
    writes = lab.audit.writes(since, user="controller", resource=lambda r: r.startswith("services"))
    assert sorted((e.verb, e.resource, e.name, e.code) for e in writes) == sorted(
        ("patch", "services/status", name, 200) for name in names)
    events = lab.audit.writes(since, user="controller", resource="events")
    assert len(events) == 40 and all(e.code == 201 for e in events)
    assert not lab.audit.writes(since, user="speaker", resource=lambda r: r.startswith("services"))

    # One more Service as the clock: when all is written for it, whatever else was on its way has been written, too.
    lab.service("last", lab.web)
    lab.client.wait_owner(lab.wait_address("last"), tails=lab.tails)
    assert {e.name for e in lab.audit.writes(calm, resource="services/status")} == {"last"}


def test_nothing_is_refused(lab: Lab, pool: str) -> None:
    """The programs ask for nothing that manifests/ does not grant: a 403 is a bug of one or the other."""
    lab.service("web", lab.web)
    lab.client.wait_owner(lab.wait_address("web"), tails=lab.tails)
    refused = [e for e in lab.audit.entries(user=lambda u: u in ("controller", "speaker")) if e.code == 403]
    assert not refused, refused[:5]


def test_nothing_moves_over_a_restart_of_the_programs(lab: Lab, pool: str) -> None:
    names = ["a", "b", "c"]
    for name in names:
        lab.service(name, lab.web)
    before = {name: lab.wait_address(name) for name in names}
    lab.delete_service("a")
    assert lab.controller
    lab.wait_for("a is released", lambda: lab.pool_status(pool).get("assignedIPv4") == 2)
    lab.controller.kill()
    lab.service("d", lab.web)
    since = lab.audit.mark()
    lab.controller.start()
    lab.wait_address("d")
    assert [lab.addresses(name) for name in ("b", "c")] == [[before["b"]], [before["c"]]]
    assert {e.name for e in lab.audit.writes(since, resource="services/status")} == {"d"}
    for speaker in lab.speakers.values():
        speaker.kill()
    lab.client.wait_silence(before["b"], tails=lab.tails)
    for speaker in lab.speakers.values():
        speaker.start()
    lab.client.wait_owner(before["b"], tails=lab.tails)


def test_programs_end_in_order_on_sigterm(lab: Lab, pool: str) -> None:
    lab.service("web", lab.web)
    ip = lab.wait_address("web")
    lab.client.wait_owner(ip, tails=lab.tails)
    assert [p.stop() for p in lab.programs()] == [0, 0, 0, 0]
    lab.client.wait_silence(ip, tails=lab.tails)
