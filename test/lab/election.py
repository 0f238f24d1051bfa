# SPDX-License-Identifier: Apache-2.0
"""The rule by which speakers agree who announces an address, written a second time, in another language and from the
rule's words alone: so that a test can say who must answer, and not only that somebody does."""
from __future__ import annotations

import hashlib
from collections.abc import Iterable


def winner(nodes: Iterable[str], ip: str) -> str:
    """Smallest SHA-256 of "node#ip", compared as bytes."""
    return min(nodes, key=lambda node: hashlib.sha256(f"{node}#{ip}".encode()).digest())
