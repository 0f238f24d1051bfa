# SPDX-License-Identifier: Apache-2.0
"""Links go down, vanish and come back under a running speaker. The API server is reached over a second link."""
from __future__ import annotations

from test.lab.lab import Lab, Node

LAB = {"mgmt": True}


def announced(lab: Lab) -> tuple[str, Node]:
    """A Service at work: its address and the node that answers."""
    lab.service("web", lab.web)
    ip = lab.wait_address("web")
    return ip, lab.node_of_mac(lab.client.wait_owner(ip, tails=lab.tails))


def back(lab: Lab, ip: str, node: Node, pid: int) -> None:
    assert lab.client.wait_owner(ip, timeout=30, tails=lab.tails) == node.mac
    speaker = lab.speakers[node.name]
    assert speaker.alive and speaker.pid == pid, "no crash, no restart"


def test_a_link_goes_down_and_comes_back(lab: Lab, pool: str) -> None:
    ip, node = announced(lab)
    pid = lab.speakers[node.name].pid
    node.exec("ip", "link", "set", "eth0", "down")
    lab.client.wait_silence(ip, tails=lab.tails)
    node.exec("ip", "link", "set", "eth0", "up")
    back(lab, ip, node, pid)


def test_a_cable_is_pulled_and_plugged(lab: Lab, pool: str) -> None:
    ip, node = announced(lab)
    pid = lab.speakers[node.name].pid
    node.unplug()
    lab.client.wait_silence(ip, tails=lab.tails)
    node.plug()
    back(lab, ip, node, pid)


def test_a_link_vanishes_and_is_made_again(lab: Lab, pool: str) -> None:
    ip, node = announced(lab)
    pid = lab.speakers[node.name].pid
    node.remove_link()
    lab.client.wait_silence(ip, tails=lab.tails)
    node.add_link()
    back(lab, ip, node, pid)


def test_a_new_mac_is_the_one_that_answers(lab: Lab, pool: str) -> None:
    ip, node = announced(lab)
    pid = lab.speakers[node.name].pid
    new = "02:00:0a:04:00:ee"
    node.exec("ip", "link", "set", "eth0", "address", new)
    try:
        lab.wait_for("the new MAC answers, and only it", lambda: lab.client.who_has(ip) == [new], 30)
        assert lab.speakers[node.name].pid == pid
    finally:
        node.exec("ip", "link", "set", "eth0", "address", node.mac)
    back(lab, ip, node, pid)


def test_a_link_that_is_not_there_yet(lab: Lab, block: str) -> None:
    """An L2Advertisement for an interface that no node has; then one has it."""
    lab.pool("pool", block)
    lab.advertisement("later", interfaces=["lan9"])
    lab.service("web", lab.web)
    ip = lab.wait_address("web")
    pids = [s.pid for s in lab.speakers.values()]
    assert not lab.client.who_has(ip)
    for node in lab.nodes:
        node.remove_link()
        node.add_link("lan9")
    try:
        lab.client.wait_owner(ip, timeout=30, tails=lab.tails)
    finally:
        for node in lab.nodes:
            node.remove_link("lan9")
            node.add_link()
    lab.client.wait_silence(ip, tails=lab.tails)
    assert [s.pid for s in lab.speakers.values()] == pids and all(s.alive for s in lab.speakers.values())


def test_started_without_the_link(lab: Lab, pool: str) -> None:
    ip, node = announced(lab)
    speaker = lab.speakers[node.name]
    speaker.stop()
    node.remove_link()
    speaker.start()
    lab.wait_for("the speaker is ready", lambda: lab.program_ready(speaker))
    assert not lab.client.who_has(ip)
    node.add_link()
    back(lab, ip, node, speaker.pid)
