# SPDX-License-Identifier: Apache-2.0
"""The API server's own account of who wrote what. This is how "one write per Service" is counted."""
from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Reads are only kept for the programs under test.
POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "Metadata", "userGroups": ["system:serviceaccounts:metallb-system"]},
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "Metadata"},
    ],
}
READS = {"get", "list", "watch"}


@dataclass(frozen=True)
class Entry:
    user: str  # service accounts by their bare name
    verb: str
    resource: str  # with "/status" where that is meant
    namespace: str
    name: str
    code: int

    @property
    def is_write(self) -> bool:
        return self.verb not in READS


def _entry(line: dict[str, Any]) -> Entry:
    ref = line.get("objectRef", {})
    resource = ref.get("resource", line.get("requestURI", ""))
    if ref.get("subresource"):
        resource += "/" + ref["subresource"]
    return Entry(line["user"]["username"].rsplit(":", 1)[-1], line["verb"], resource, ref.get("namespace", ""),
                 ref.get("name", ""), line.get("responseStatus", {}).get("code", 0))


class Audit:
    def __init__(self, path: Path) -> None:
        self._path = path

    def mark(self) -> int:
        """A point in time: give it to entries() as since."""
        return self._path.stat().st_size if self._path.exists() else 0

    def entries(self, since: int = 0, **fields: Any) -> list[Entry]:
        """All entries whose fields have these values (a function is asked about the value)."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as f:
            f.seek(since)
            raw = f.read()
        found = []
        for line in raw[:raw.rfind(b"\n") + 1].split(b"\n"):
            if line:
                e = _entry(json.loads(line))
                if all(want(getattr(e, k)) if callable(want) else getattr(e, k) == want for k, want in fields.items()):
                    found.append(e)
        return found

    def writes(self, since: int = 0, **fields: Any) -> list[Entry]:
        return [e for e in self.entries(since, **fields) if e.is_write]

    def counts(self, since: int = 0, **fields: Any) -> Counter[tuple[str, str, str, int]]:
        """Writes by (user, verb, resource, code)."""
        return Counter((e.user, e.verb, e.resource, e.code) for e in self.writes(since, **fields))
