# SPDX-License-Identifier: Apache-2.0
"""A small API client for the tests: a request takes a millisecond or two, where a kubectl process takes a hundred."""
from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from typing import Any
from urllib.parse import quote

from test.lab.box import Box

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
METALLB = "/apis/metallb.io/v1beta1"


class ApiError(RuntimeError):
    def __init__(self, method: str, path: str, status: int, body: Any) -> None:
        words = body.get("message", "") if isinstance(body, dict) else str(body)
        super().__init__(f"{method} {path}: {status} {words}")
        self.status, self.body = status, body


class _Connection(http.client.HTTPSConnection):
    """Opens its socket in a network namespace of the box."""

    def __init__(self, box: Box, netns: str, host: str, port: int, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(host, port, context=context, timeout=timeout)
        self._box, self._netns, self._tls = box, netns, context

    def connect(self) -> None:
        with self._box.inside(self._netns):
            raw = socket.create_connection((self.host, self.port), self.timeout)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._tls.wrap_socket(raw, server_hostname=self.host)


class Api:
    """One user's view of the API. Safe to use from several threads: each has its own connection."""

    def __init__(self, box: Box, netns: str, host: str, port: int, ca_file: str, token: str) -> None:
        self._where = (box, netns, host, port)
        self._tls = ssl.create_default_context(cafile=ca_file)
        self._token = token
        self._local = threading.local()

    def _connection(self, timeout: float) -> _Connection:
        if getattr(self._local, "c", None) is None:
            self._local.c = _Connection(*self._where, self._tls, timeout)
        return self._local.c

    def exchange(self, method: str, path: str, body: Any = None, content_type: str = "application/json",
                 timeout: float = 30) -> tuple[int, Any]:
        """(status, decoded body). OSError when the server cannot be reached. A connection that was closed while it
        was idle is opened again."""
        data = None if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = content_type
        for attempt in (1, 2):
            c = self._connection(timeout)
            fresh = c.sock is None
            c.timeout = timeout
            if c.sock is not None:
                c.sock.settimeout(timeout)
            try:
                c.request(method, path, data, headers)
                answer = c.getresponse()
                raw = answer.read()
                break
            except (OSError, http.client.HTTPException) as e:
                c.close()
                self._local.c = None
                if fresh or attempt == 2 or isinstance(e, TimeoutError):
                    raise OSError(f"{method} {path}: {e!r}") from e
        try:
            return answer.status, json.loads(raw)
        except ValueError:
            return answer.status, raw.decode(errors="replace")

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        status, answer = self.exchange(method, path, body, content_type)
        if status >= 300:
            raise ApiError(method, path, status, answer)
        return answer

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def find(self, path: str) -> Any:
        """As get(), but None for an object that does not exist."""
        try:
            return self.call("GET", path)
        except ApiError as e:
            if e.status == 404:
                return None
            raise

    def items(self, path: str, labels: str = "", fields: str = "") -> list[Any]:
        query = "&".join(f"{k}={quote(v)}" for k, v in (("labelSelector", labels), ("fieldSelector", fields)) if v)
        return self.call("GET", path + ("?" + query if query else ""))["items"]

    def create(self, path: str, body: Any) -> Any:
        return self.call("POST", path, body)

    def patch(self, path: str, body: Any, content_type: str = MERGE) -> Any:
        return self.call("PATCH", path, body, content_type)

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path)
