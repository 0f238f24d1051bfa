# SPDX-License-Identifier: Apache-2.0
"""The lab's wires: one network namespace each for the switch, the control plane, every node and the client.

    switch:  br0 = the LAN, 10.4.0.0/20 and fd00:10:4::/64      (br1 = a management LAN, where one is asked for)
    cp       10.4.0.2     the API server
    node1..  10.4.0.11..  eth0 on the LAN; pods 10.244.N.0/24 and fd00:10:244:N::/64, held by lo
    client   10.4.0.100   knows its own subnet and nothing else

MAC addresses end in the last number of the IPv4 address, so that a trace can be read.
"""
from __future__ import annotations

from dataclasses import dataclass

LAN4, LAN6 = "10.4.0.0/20", "fd00:10:4::/64"
PODS4, PODS6 = "10.244.0.0/16", "fd00:10:244::/48"
SERVICES = "10.96.0.0/16,fd96::/112"
SWITCH = "switch"


@dataclass(frozen=True)
class Place:
    """A namespace with a link into the LAN; its name is also the name of its port on the bridge."""

    name: str
    number: int
    is_node: bool = False

    @property
    def ip(self) -> str:
        return f"10.4.0.{self.number}"

    @property
    def ip6(self) -> str:
        return f"fd00:10:4::{self.number}"

    @property
    def mgmt_ip(self) -> str:
        return f"172.30.0.{self.number}"

    @property
    def mac(self) -> str:
        return f"02:00:0a:04:00:{self.number:02x}"

    def pod_ip(self, n: int) -> str:
        return f"10.244.{self.number - 10}.{n}"

    def pod_ip6(self, n: int) -> str:
        return f"fd00:10:244:{self.number - 10}::{n or ''}"


CONTROL_PLANE = Place("cp", 2)
CLIENT = Place("client", 100)


def nodes(count: int) -> list[Place]:
    return [Place(f"node{n}", 10 + n, True) for n in range(1, count + 1)]


# Set before any link exists, so that new links inherit them: an address is usable at once (no duplicate address
# detection), packets may come in on one path and leave on another, as Kubernetes wants it.
SYSCTLS = """
for f in all default; do
        echo 0 >/proc/sys/net/ipv4/conf/$f/rp_filter
        echo 0 >/proc/sys/net/ipv6/conf/$f/accept_dad
        echo 0 >/proc/sys/net/ipv6/conf/$f/dad_transmits
        echo 0 >/proc/sys/net/ipv6/conf/$f/accept_ra
        echo 0 >/proc/sys/net/ipv6/conf/$f/router_solicitations
done
"""
FORWARD = """
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
"""


def _link(place: Place, device: str, bridge: str, port: str, mac: str) -> list[str]:
    return [
        f"ip link add {port} netns {SWITCH} mtu 1500 type veth peer name {device} netns {place.name} address {mac}",
        f"ip -n {SWITCH} link set {port} master {bridge} up",
        f"ip -n {place.name} link set {device} up",
    ]


def lan_link(place: Place, places: list[Place], device: str = "eth0") -> list[str]:
    """Commands that give a place its link into the LAN, with addresses and routes."""
    n = place.name
    words = [*_link(place, device, "br0", n, place.mac), f"ip -n {n} addr add {place.ip}/20 dev {device}",
             f"ip -n {n} addr add {place.ip6}/64 dev {device} nodad"]
    if place == CLIENT:
        return words
    # Packets to a ClusterIP need some route before kube-proxy rewrites them.
    via = f"via {CONTROL_PLANE.ip} " if place != CONTROL_PLANE else ""
    via6 = f"via {CONTROL_PLANE.ip6} " if place != CONTROL_PLANE else ""
    words += [f"ip -n {n} route add default {via}dev {device}", f"ip -n {n} -6 route add default {via6}dev {device}"]
    for other in places:
        if other.is_node and other != place:
            words += [f"ip -n {n} route add {other.pod_ip(0)}/24 via {other.ip}",
                      f"ip -n {n} -6 route add {other.pod_ip6(0)}/64 via {other.ip6}"]
    return words


def _place(place: Place, places: list[Place], mgmt: bool) -> list[str]:
    n = place.name
    words = [f"ip netns add {n}", f"ip netns exec {n} sh -e <<'EOF'", SYSCTLS + (FORWARD if place.is_node else ""),
             "EOF", f"ip -n {n} link set lo up", *lan_link(place, places)]
    if mgmt and place != CLIENT:
        words += [*_link(place, "eth1", "br1", f"{n}-m", place.mac.replace("02:00:0a", "02:01:0a")),
                  f"ip -n {n} addr add {place.mgmt_ip}/24 dev eth1"]
    return words


def script(places: list[Place], mgmt: bool) -> str:
    """A shell script that lays all wires; to be run inside the box."""
    words = ["set -e", f"ip netns add {SWITCH}", f"ip netns exec {SWITCH} sh -e <<'EOF'", SYSCTLS, "EOF"]
    for bridge in ("br0", "br1") if mgmt else ("br0",):
        words += [f"ip -n {SWITCH} link add {bridge} type bridge stp_state 0 mcast_snooping 0 forward_delay 0",
                  f"ip -n {SWITCH} link set {bridge} up"]
    for place in places:
        words += _place(place, places, mgmt)
    return "\n".join(words) + "\n"
