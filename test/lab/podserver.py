# SPDX-License-Identifier: Apache-2.0
"""What runs in a pod of the lab: says its name over HTTP and UDP, on the pod's own addresses.

Bound to those addresses and not to the wildcard: a UDP answer from a wildcard socket leaves with the node's address,
and the client would never see it.

Run as `python3 podserver.py NAME PORT ADDRESS...`.
"""
from __future__ import annotations

import selectors
import socket
import sys


def main() -> None:
    name, port = sys.argv[1].encode(), int(sys.argv[2])
    waiting = selectors.DefaultSelector()
    for address in sys.argv[3:]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(256)
        waiting.register(listener, selectors.EVENT_READ, "listener")
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        datagrams.bind((address, port))
        waiting.register(datagrams, selectors.EVENT_READ, "udp")
    pending: dict[socket.socket, bytes] = {}
    while True:
        for key, _ in waiting.select():
            s = key.fileobj
            assert isinstance(s, socket.socket)
            try:
                if key.data == "listener":
                    c, _peer = s.accept()
                    waiting.register(c, selectors.EVENT_READ, "tcp")
                    pending[c] = b""
                elif key.data == "udp":
                    payload, peer = s.recvfrom(2048)
                    s.sendto(name + b" " + payload, peer)
                else:
                    serve(waiting, pending, s, name)
            except OSError:
                if key.data == "tcp":
                    forget(waiting, pending, s)


def forget(waiting: selectors.BaseSelector, pending: dict[socket.socket, bytes], s: socket.socket) -> None:
    waiting.unregister(s)
    del pending[s]
    s.close()


def serve(waiting: selectors.BaseSelector, pending: dict[socket.socket, bytes], s: socket.socket, name: bytes) -> None:
    """One request after another on a connection, so that a test can keep one open."""
    data = s.recv(4096)
    if not data:
        forget(waiting, pending, s)
        return
    pending[s] += data
    while b"\r\n\r\n" in pending[s]:
        request, _, pending[s] = pending[s].partition(b"\r\n\r\n")
        close = b"connection: close" in request.lower()
        body = b"%s, to %s\n" % (name, s.getpeername()[0].encode())
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n%s"
                  % (len(body), b"Connection: close\r\n" if close else b"", body))
        if close:
            forget(waiting, pending, s)
            return


if __name__ == "__main__":
    main()
