# SPDX-License-Identifier: Apache-2.0
"""How fast and how frugally 1,000 waiting Services get their addresses: time against as many bare PATCHes sent by
curl, 16 at a time, in the same run; writes counted from the API server's audit log; memory of the programs."""
from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from test.bench.arp import make_services
from test.bench.row import Row
from test.lab.lab import API_PORT, Lab

N = 1000


def bare_patches(lab: Lab, names: list[str], folder: Path) -> float:
    """Seconds for one status PATCH per Service by curl over HTTP/2, 16 in flight: the same content as ours."""
    config: list[str] = []
    for i, name in enumerate(names):
        body = folder / f"{name}.json"
        ip = f"10.99.{i // 250}.{i % 250 + 1}"
        body.write_text(json.dumps({
            "metadata": {"annotations": {"metallb.io/ip-allocated-from-pool": "pool"}},
            "status": {"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"}]}, "conditions": [{
                "type": "metallb.io/IPAllocated", "status": "True", "reason": "Allocated",
                "message": f"assigned {ip} from pool pool", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
        config.append("\n".join([
            f'url = "https://127.0.0.1:{API_PORT}/api/v1/namespaces/default/services/{name}/status"',
            'request = "PATCH"', f'data = "@{body}"', f'cacert = "{lab.ca}"', 'output = "/dev/null"', "fail", "silent",
            f'header = "Authorization: Bearer {lab.tokens["admin"]}"',
            'header = "Content-Type: application/strategic-merge-patch+json"']))
    file = folder / "curl.conf"
    file.write_text("\nnext\n".join(config))
    mark = lab.audit.mark()
    lab.box.run(["curl", "--http2", "--parallel", "--parallel-max", "16", "-K", str(file)], netns=lab.cp.name,
                timeout=300)
    return span(lab, mark, "services/status", len(names))


def moments(line: dict) -> tuple[float, float]:
    return (datetime.fromisoformat(line["requestReceivedTimestamp"]).timestamp(),
            datetime.fromisoformat(line["stageTimestamp"]).timestamp())


def raw_entries(lab: Lab, since: int) -> list[dict]:
    with (lab.dir / "audit.log").open("rb") as f:
        f.seek(since)
        return [json.loads(x) for x in f.read().split(b"\n") if x.endswith(b"}")]


def is_service_status(line: dict) -> bool:
    ref = line.get("objectRef", {})
    return ref.get("resource") == "services" and ref.get("subresource") == "status" and line["verb"] in ("patch", "update")


def span(lab: Lab, since: int, what: str, n: int, start: float | None = None) -> float:
    """Seconds from the first such request (or from start) to the end of the n-th one."""
    lines: list[dict] = []

    def enough() -> bool:
        nonlocal lines
        lines = [x for x in raw_entries(lab, since) if is_service_status(x)]
        return len(lines) >= n

    lab.wait_for(f"{n} writes of {what}", enough, 180, pause=0.3)
    times = [moments(x) for x in lines]
    return max(t[1] for t in times) - (start if start is not None else min(t[0] for t in times))


def pool_created(lab: Lab, since: int) -> float:
    return next(moments(x)[1] for x in raw_entries(lab, since)
                if x.get("objectRef", {}).get("resource") == "ipaddresspools" and x["verb"] == "create")


def bench() -> Iterator[Row]:
    with Lab() as lab:
        lab.advertisement("ad")
        lab.prepare_programs()
        lab.controller.start()  # the speakers' own writes would count against us, and not against curl
        lab.wait_for("the controller is ready", lambda: lab.program_ready(lab.controller), 30)
        make_services(lab, N)
        folder = lab.dir / "bare"
        folder.mkdir()
        lab.wait_for("the Services' events are written", lambda: quiet(lab), 60, pause=1)

        mark = lab.audit.mark()
        lab.pool("pool", "10.99.0.0/16")
        ours = span(lab, mark, "services/status", N, pool_created(lab, mark))
        lab.wait_for("all writes are done", lambda: quiet(lab), 60, pause=1)
        counts = lab.audit.counts(mark, user="controller")
        writes = {key: sum(v for k, v in counts.items() if k[2] == key) for key in
                  ("services/status", "services", "events", "ipaddresspools/status")}
        memory = {"controller": lab.controller.memory_kib() / 1024}

        lab.controller.stop()
        bare = bare_patches(lab, [f"s{i:05d}" for i in range(N)], folder)

        for p in lab.speakers.values():
            p.start()
        lab.wait_for("every Service is announced", lambda: announced(lab) >= N, 120, pause=1)
        memory["speaker"] = max(p.memory_kib() for p in lab.speakers.values()) / 1024

        yield Row("1,000 waiting Services to the last status, against bare PATCHes", ours / bare, 1.5, "x",
                  f"{ours:.2f} to {bare:.2f} s")
        yield Row("status writes for 1,000 Services", writes["services/status"], N)
        yield Row("other writes of Services", writes["services"], 0)
        yield Row("events for 1,000 Services", writes["events"], N)
        yield Row("pool status writes meanwhile", writes["ipaddresspools/status"], 10)
        yield Row("controller's resident memory after 1,000 Services", memory["controller"], 14, " MiB")
        yield Row("speaker's resident memory after 1,000 Services", memory["speaker"], 12, " MiB")


def announced(lab: Lab) -> int:
    return sum(len(p.lines(event="serviceAnnounced")) for p in lab.speakers.values())


def quiet(lab: Lab, seconds: float = 2) -> bool:
    """No write of the controller for so long."""
    mark = lab.audit.mark()
    time.sleep(seconds)
    return not [e for e in lab.audit.writes(mark, user="controller") if e.resource != "leases"]
