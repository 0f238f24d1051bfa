# SPDX-License-Identifier: Apache-2.0
"""A proxy in front of the real API server that makes things go wrong on request: cut, stall, slow bytes, 429, 5xx, 410,
a reply lost after the write was done.

Two doors. The HTTP door ends TLS with the lab's own certificate and speaks HTTP/1.1 to both sides, so a fault can be
aimed at one request, at a byte of its answer, at a line of a watch. The raw door passes bytes and knows nothing of
them, so HTTP/2 connections can be cut, frozen and slowed as they are.

This file is both the proxy (a process in the control plane's namespace: `python3 -m test.lab.faultproxy`) and, as class
FaultProxy, the handle by which a test commands it, one JSON line for one over a Unix socket.
"""
from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from test.lab.lab import Lab

HTTP_PORT, RAW_PORT = 7443, 7444
MAX_HEAD = 64 << 10


# ---- the handle ----


class FaultProxy:
    """Commands one running proxy. http and raw are what Program.start(server=...) takes."""

    def __init__(self, lab: "Lab") -> None:
        self.http, self.raw = (lab.cp.ip, HTTP_PORT), (lab.cp.ip, RAW_PORT)
        self._path = str(lab.dir / "faultproxy")
        self.process = lab.process("faultproxy", [
            "python3", "-m", "test.lab.faultproxy", "--pki", str(lab.dir / "pki"), "--control", self._path,
            "--server", "6443"], netns=lab.cp.name)
        self.process.start()
        lab.wait_for("the fault proxy listens", lambda: Path(self._path).exists(), 10)

    def _do(self, **command: Any) -> Any:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(self._path)
            s.sendall(json.dumps(command).encode() + b"\n")
            answer = json.loads(s.makefile().readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["ok"]

    def rule(self, *, method: str = ".*", path: str = ".*", skip: int = 0, count: int | None = None,
             **action: Any) -> int:
        """From now on, requests whose method and path (with query) match are mistreated: the first `skip` are let
        pass, then `count` of them (None: all) meet the fault. One of these actions; the rule's number is returned.

        status=503, headers={...}, body="..."   answered here, the server is not asked
        cut="request"                           closed as soon as the request is read
        cut="reply"                             the server does what it was asked for, the answer is lost
        cut=N                                   closed after N bytes of the answer's body
        stall=N                                 no byte after the Nth of the body, the connection stays open
        slow=N, every=SECONDS                   N bytes of the body at a time
        event="{...}"                           a watch: this line comes first, then the stream ends
        """
        return self._do(do="rule", method=method, path=path, skip=skip, count=count, action=action)

    def hits(self, rule: int) -> int:
        """How many requests met this rule's fault."""
        return self._do(do="hits", rule=rule)

    def clear(self) -> None:
        """All rules and states away."""
        self._do(do="clear")

    def cut(self, reset: bool = True) -> int:
        """Ends every open connection of both doors (TCP reset, or an orderly end); how many those were."""
        return self._do(do="cut", reset=reset)

    def stall(self, on: bool = True) -> None:
        """Freezes both doors: bytes stay where they are, though TCP still acknowledges them."""
        self._do(do="stall", on=on)

    def refuse(self, on: bool = True) -> None:
        """New connections are refused; open ones stay."""
        self._do(do="refuse", on=on)

    def trickle(self, size: int, every: float) -> None:
        """The raw door passes `size` bytes at a time from now on; 0: freely."""
        self._do(do="trickle", size=size, every=every)

    def connections(self) -> dict[str, int]:
        """accepted (ever) and open (now)."""
        return self._do(do="connections")

    def requests(self) -> list[dict[str, Any]]:
        """Requests that the HTTP door saw: method, path, status (0: the client never got one)."""
        return self._do(do="requests")


# ---- the proxy ----


@dataclass
class Rule:
    method: re.Pattern[str]
    path: re.Pattern[str]
    skip: int
    count: int | None
    action: dict[str, Any]
    hits: int = 0

    def takes(self, method: str, path: str) -> bool:
        if not self.method.fullmatch(method) or not self.path.search(path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.count is not None and self.hits >= self.count:
            return False
        self.hits += 1
        return True


class Cut(Exception):
    """This connection ends now."""


@dataclass
class Head:
    first: list[str]
    headers: list[tuple[str, str]]

    def get(self, name: str) -> str:
        return next((v for k, v in self.headers if k.lower() == name), "")

    def encode(self) -> bytes:
        lines = [" ".join(self.first)] + [f"{k}: {v}" for k, v in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = raw.decode("latin-1").split("\r\n")
    headers = [(k, v.strip()) for k, _, v in (line.partition(":") for line in lines[1:] if line)]
    return Head(lines[0].split(" ", 2), headers)


async def body_pieces(reader: asyncio.StreamReader, head: Head, no_body: bool) -> AsyncIterator[bytes]:
    """The body, as it comes, without its framing."""
    if no_body:
        return
    if "chunked" in head.get("transfer-encoding").lower():
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
    elif length := head.get("content-length"):
        left = int(length)
        while left > 0:
            piece = await reader.read(min(left, 65536))
            if not piece:
                raise Cut
            left -= len(piece)
            yield piece
    else:
        while piece := await reader.read(65536):
            yield piece


def abort(writer: asyncio.StreamWriter, reset: bool) -> None:
    s = writer.get_extra_info("socket")
    if reset and s is not None:
        with contextlib.suppress(OSError):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass
class Proxy:
    server: int
    tls_in: ssl.SSLContext
    tls_out: ssl.SSLContext
    rules: dict[int, Rule] = field(default_factory=dict)
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    accepted: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list)
    flow: asyncio.Event = field(default_factory=asyncio.Event)
    size: int = 0
    every: float = 0.0
    doors: list[asyncio.Server] = field(default_factory=list)

    async def open_doors(self) -> None:
        for handler, port, tls in ((self.http, HTTP_PORT, self.tls_in), (self.raw, RAW_PORT, None)):
            self.doors.append(await asyncio.start_server(handler, "0.0.0.0", port, ssl=tls, limit=MAX_HEAD,
                                                         backlog=256))

    def _enter(self, *writers: asyncio.StreamWriter) -> None:
        self.open.update(writers)

    def _leave(self, *writers: asyncio.StreamWriter) -> None:
        for w in writers:
            self.open.discard(w)
            w.transport.abort() if w.transport.is_closing() else w.close()

    # -- the raw door --

    async def raw(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._enter(writer)
        up_writer = None
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.server)
            self._enter(up_writer)
            pumps = [asyncio.create_task(self._pump(reader, up_writer)),
                     asyncio.create_task(self._pump(up_reader, writer))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for p in pumps:
                p.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass
        finally:
            self._leave(writer, *([up_writer] if up_writer else []))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            step = self.size or len(data)
            for i in range(0, len(data), step):
                await self.flow.wait()
                writer.write(data[i:i + step])
                await writer.drain()
                if self.size:
                    await asyncio.sleep(self.every)

    # -- the HTTP door --

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._enter(writer)
        up: list[Any] = []
        with contextlib.suppress(OSError, Cut, asyncio.IncompleteReadError, ssl.SSLError):
            while (request := await read_head(reader)) is not None:
                await self.flow.wait()
                body = b"".join([p async for p in body_pieces(reader, request, not (
                    request.get("content-length") or request.get("transfer-encoding")))])
                entry = {"method": request.first[0], "path": request.first[1], "status": 0}
                self.seen.append(entry)
                action = next((r.action for r in self.rules.values()
                               if r.takes(entry["method"], entry["path"])), {})
                if not await self._exchange(reader, writer, up, request, body, action, entry):
                    break
        self._leave(writer, *up[1:])

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: list[Any], request: Head,
                        body: bytes, action: dict[str, Any], entry: dict[str, Any]) -> bool:
        """True: the connection may carry another request."""
        if action.get("cut") == "request":
            abort(writer, True)
            raise Cut
        if "status" in action:
            self._answer(writer, action)
            entry["status"] = action["status"]
            await writer.drain()
            return True
        if not up:
            up += await asyncio.open_connection("127.0.0.1", self.server, ssl=self.tls_out, limit=MAX_HEAD,
                                                server_hostname="localhost")
            self._enter(up[1])
        headers = [(k, v) for k, v in request.headers if k.lower() not in ("transfer-encoding", "content-length")]
        if body or request.get("content-length"):
            headers.append(("Content-Length", str(len(body))))
        up[1].write(Head(request.first, headers).encode() + body)
        watcher = asyncio.create_task(self._follow_client(reader, up[1]))
        try:
            await up[1].drain()
            answer = await read_head(up[0])
            if answer is None:
                raise Cut
            return await self._relay(up[0], writer, request, answer, action, entry)
        finally:
            watcher.cancel()

    async def _follow_client(self, reader: asyncio.StreamReader, up: asyncio.StreamWriter) -> None:
        """A client that goes away in the middle of a watch ends the watch at the server, too."""
        while not reader.at_eof():
            await asyncio.sleep(0.1)
        up.transport.abort()

    def _answer(self, writer: asyncio.StreamWriter, action: dict[str, Any]) -> None:
        body = action.get("body", json.dumps({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": action["status"],
            "message": "injected by the fault proxy"})).encode()
        head = Head(["HTTP/1.1", str(action["status"]), "Fault"], [
            ("Content-Type", "application/json"), ("Content-Length", str(len(body))),
            *action.get("headers", {}).items()])
        writer.write(head.encode() + body)

    async def _relay(self, up: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Head, answer: Head,
                     action: dict[str, Any], entry: dict[str, Any]) -> bool:
        status = int(answer.first[1])
        no_body = request.first[0] == "HEAD" or status in (204, 304)
        pieces = body_pieces(up, answer, no_body)
        if action.get("cut") == "reply":
            async for _ in pieces:
                pass
            abort(writer, True)
            raise Cut
        chunked = "chunked" in answer.get("transfer-encoding").lower()
        await self.flow.wait()
        writer.write(answer.encode())
        entry["status"] = status
        if "event" in action:
            line = action["event"].encode() + b"\n"
            writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(line), line) if chunked else line)
            await writer.drain()
            return False
        await self._send_body(pieces, writer, chunked, action)
        if chunked and not no_body:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return "close" not in answer.get("connection").lower() and (
            chunked or no_body or bool(answer.get("content-length")))

    async def _send_body(self, pieces: AsyncIterator[bytes], writer: asyncio.StreamWriter, chunked: bool,
                         action: dict[str, Any]) -> None:
        sent = 0
        stop = action.get("cut", action.get("stall"))
        step = action.get("slow", 0)
        async for piece in pieces:
            for i in range(0, len(piece), step or len(piece)):
                part = piece[i:i + (step or len(piece))]
                last = stop is not None and sent + len(part) >= stop
                if last:
                    part = part[:stop - sent]
                await self.flow.wait()
                if part:
                    writer.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
                    await writer.drain()
                sent += len(part)
                if last and "stall" in action:
                    await asyncio.Event().wait()  # until the client gives up
                if last:
                    writer.close()
                    raise Cut
                if step:
                    await asyncio.sleep(action.get("every", 0.01))

    # -- commands --

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = json.loads(await reader.readline())
        try:
            answer = {"ok": await self.obey(command)}
        except (KeyError, ValueError, re.error) as e:
            answer = {"error": repr(e)}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        writer.close()

    async def obey(self, c: dict[str, Any]) -> Any:
        match c["do"]:
            case "rule":
                number = len(self.rules) + 1
                self.rules[number] = Rule(re.compile(c["method"]), re.compile(c["path"]), c["skip"], c["count"],
                                          c["action"])
                return number
            case "hits":
                return self.rules[c["rule"]].hits
            case "clear":
                for rule in self.rules.values():
                    rule.count = 0  # numbers stay valid for hits()
                self.size = 0
                self.flow.set()
                await self._refuse(False)
                return True
            case "cut":
                count = len(self.open)
                for w in self.open:
                    abort(w, c["reset"])
                self.open.clear()
                return count
            case "stall":
                self.flow.clear() if c["on"] else self.flow.set()
                return True
            case "refuse":
                return await self._refuse(c["on"])
            case "trickle":
                self.size, self.every = c["size"], c["every"]
                return True
            case "connections":
                return {"accepted": self.accepted, "open": len(self.open)}
            case "requests":
                return self.seen
        raise ValueError(f"no such command: {c['do']}")

    async def _refuse(self, on: bool) -> bool:
        if on and self.doors:
            for door in self.doors:
                door.close()
            self.doors.clear()
        elif not on and not self.doors:
            await self.open_doors()
        return True


async def serve() -> None:
    ap = argparse.ArgumentParser(description="A proxy in front of the API server that fails on request.")
    ap.add_argument("--pki", type=Path, required=True)
    ap.add_argument("--control", required=True)
    ap.add_argument("--server", type=int, required=True)
    a = ap.parse_args()
    tls_in = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls_in.load_cert_chain(a.pki / "server.crt", a.pki / "server.key")
    tls_in.set_alpn_protocols(["http/1.1"])
    tls_out = ssl.create_default_context(cafile=str(a.pki / "ca.crt"))
    tls_out.set_alpn_protocols(["http/1.1"])
    proxy = Proxy(a.server, tls_in, tls_out)
    proxy.flow.set()
    await proxy.open_doors()
    await asyncio.start_unix_server(proxy.control, a.control)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
