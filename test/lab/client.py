# SPDX-License-Identifier: Apache-2.0
"""The host beside the cluster: it knows ARP, NDP, TCP and UDP, and that is all. No route leads it anywhere but to its
own subnet, and nothing of Kubernetes runs there."""
from __future__ import annotations

import re
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from test.lab import network
from test.lab.box import Box
from test.lab.process import wait_until

ETH_ARP = 0x0806
BROADCAST = b"\xff" * 6


def mac_text(raw: bytes) -> str:
    return ":".join(f"{b:02x}" for b in raw)


@dataclass(frozen=True)
class ArpReply:
    mac: str  # the address that the reply names (sender hardware address)
    source: str  # the Ethernet source it came from
    seconds: float  # after the request


def arp_request(my_mac: bytes, my_ip: str, ip: str) -> bytes:
    return (BROADCAST + my_mac + struct.pack("!HHHBBH", ETH_ARP, 1, 0x0800, 6, 4, 1) + my_mac +
            socket.inet_aton(my_ip) + b"\0" * 6 + socket.inet_aton(ip))


class ArpSocket:
    """A packet socket for ARP on the client's link."""

    def __init__(self, box: Box, place: network.Place = network.CLIENT, device: str = "eth0") -> None:
        with box.inside(place.name):
            self._s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ARP))
            self._s.bind((device, ETH_ARP))
        self.mac = bytes.fromhex(place.mac.replace(":", ""))
        self.ip = place.ip

    def __enter__(self) -> "ArpSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self._s.close()

    def ask(self, ip: str) -> float:
        """When the request was given to the kernel: taken before, since a kernel may answer while we still send."""
        begun = time.perf_counter()
        self._s.send(arp_request(self.mac, self.ip, ip))
        return begun

    def frames(self, until: float, done: Callable[[], bool] = lambda: False) -> Any:
        """(time, frame) of every ARP frame seen until that perf_counter() time, or until done()."""
        while (left := until - time.perf_counter()) > 0 and not done():
            if select.select([self._s], [], [], left)[0]:
                yield time.perf_counter(), self._s.recv(128)

    def replies(self, ip: str, window: float, first_only: bool = False) -> list[ArpReply]:
        """Asks once for ip and listens for the whole window: two answers mean two owners."""
        sent = self.ask(ip)
        found: list[ArpReply] = []
        wanted = socket.inet_aton(ip)
        for at, frame in self.frames(sent + window, lambda: first_only and bool(found)):
            if len(frame) >= 42 and frame[20:22] == b"\0\2" and frame[28:32] == wanted and frame[32:38] == self.mac:
                found.append(ArpReply(mac_text(frame[22:28]), mac_text(frame[6:12]), at - sent))
        return found


class Client:
    def __init__(self, box: Box, place: network.Place = network.CLIENT) -> None:
        self.box, self.place = box, place

    def run(self, *argv: str, timeout: float = 30, check: bool = True) -> Any:
        return self.box.run(list(argv), netns=self.place.name, timeout=timeout, check=check)

    # ---- who owns an address ----

    def who_has(self, ip: str, window: float = 0.3) -> list[str]:
        """MAC addresses that answer one ARP request, in the order of their answers."""
        with ArpSocket(self.box, self.place) as s:
            return [r.mac for r in s.replies(ip, window)]

    def wait_owner(self, ip: str, timeout: float = 20, tails: Any = None) -> str:
        """The one MAC address that answers for ip."""
        return wait_until(lambda: self._only_owner(ip), f"one host answers ARP for {ip}", timeout, tails=tails)

    def _only_owner(self, ip: str) -> str | None:
        macs = set(self.who_has(ip))
        return macs.pop() if len(macs) == 1 else None

    def wait_silence(self, ip: str, timeout: float = 20, tails: Any = None) -> None:
        wait_until(lambda: not self.who_has(ip), f"nobody answers ARP for {ip}", timeout, tails=tails)

    def arping(self, ip: str, count: int = 3) -> str:
        """What the arping command says, as a user would see it."""
        return self.run("/usr/bin/arping", "-c", str(count), "-w", str(count + 1), "-I", "eth0", ip, check=False).stdout

    def solicit(self, ip6: str, timeout: float = 1) -> list[str]:
        """Link-layer addresses that the kernel's own neighbour discovery finds. ndisc6 is not used: Debian's ignores
        advertisements that come from another address than the one asked for."""
        self.run("ip", "-6", "neigh", "flush", "to", ip6, "dev", "eth0")
        with self.box.inside(self.place.name), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.sendto(b"x", (ip6, 9))
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            out = self.run("ip", "-6", "neigh", "show", "to", ip6, "dev", "eth0").stdout
            if m := re.search(r"lladdr (\S+)", out):
                return [m.group(1)]
            time.sleep(0.02)
        return []

    def forget(self, ip: str) -> None:
        """Drops what the kernel remembers about an address."""
        self.run("ip", "neigh", "flush", "to", ip, "dev", "eth0")

    def neighbour(self, ip: str) -> str | None:
        """The MAC address the kernel has in its table."""
        m = re.search(r"lladdr (\S+)", self.run("ip", "neigh", "show", "to", ip, "dev", "eth0").stdout)
        return m.group(1) if m else None

    # ---- using it ----

    def curl(self, ip: str, port: int = 80, timeout: float = 3) -> str | None:
        """The body, or None when there is no answer."""
        host = f"[{ip}]" if ":" in ip else ip
        r = self.run("curl", "-sS", "--max-time", str(timeout), f"http://{host}:{port}/", check=False,
                     timeout=timeout + 5)
        return r.stdout if r.returncode == 0 else None

    def tcp(self, ip: str, port: int = 80, timeout: float = 1) -> bytes | None:
        """One HTTP exchange from inside this process: as curl(), ten times faster."""
        try:
            with self.box.inside(self.place.name):
                s = socket.create_connection((ip, port), timeout)
            with s:
                s.sendall(b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
                data = b""
                while chunk := s.recv(4096):
                    data += chunk
        except OSError:
            return None
        return data.partition(b"\r\n\r\n")[2]

    def udp(self, ip: str, port: int, payload: bytes = b"hello", timeout: float = 1) -> bytes | None:
        """What a UDP pod answers."""
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        with self.box.inside(self.place.name):
            s = socket.socket(family, socket.SOCK_DGRAM)
        with s:
            s.settimeout(timeout)
            try:
                s.sendto(payload, (ip, port))
                return s.recvfrom(2048)[0]
            except OSError:
                return None
