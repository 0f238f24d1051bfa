# SPDX-License-Identifier: Apache-2.0
"""Labs are shared by the tests of a file, since one takes six seconds to come up. A file says what its lab needs in
LAB (arguments of Lab), PROGRAMS (False: the file starts them itself) and REVIVE (False: one that a test ended stays so).

Tests of a file do not meet: each gets addresses of its own (`block`), and what it made is removed when it ends.
With LAB_KEEP=1 in the environment the run ends at the first failure and leaves its lab up, to be looked into.
"""
from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from test.lab.api import METALLB
from test.lab.box import ROOT
from test.lab.lab import NAMESPACE, Lab

FAILED_LOGS = ROOT / "build/lab-logs"  # where the logs of a lab with a failed test are kept
SANITIZERS = re.compile(r"(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:")  # LAB_BUILD=build/asan
MINE = f"{METALLB}/namespaces/{NAMESPACE}"


def tidy(lab: Lab, revive: bool) -> None:
    """What a test may leave: objects, faults, dead programs."""
    for node in lab.nodes:
        node.plug()
    if lab.faults:
        lab.faults.clear()
    if not lab.apiserver.alive:
        lab.apiserver.start()
    lab.apiserver.resume()
    lab.wait_api()
    for namespace in {s["metadata"]["namespace"] for s in lab.api.items("/api/v1/services")}:
        lab.api.delete(f"/api/v1/namespaces/{namespace}/services?fieldSelector=metadata.name!%3Dkubernetes")
        lab.api.delete(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")
    for kind in ("ipaddresspools", "l2advertisements"):
        for o in lab.api.items(f"{MINE}/{kind}"):
            lab.remove(kind, o["metadata"]["name"])
    lab.api.delete("/api/v1/namespaces/default/events")
    for p in lab.programs() if lab.controller else []:
        if p.alive:
            p.resume()
        elif p.child and revive:
            p.start()


@pytest.fixture(scope="module")
def shared_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(**getattr(request.module, "LAB", {})) as lab:
        if getattr(request.module, "PROGRAMS", True):
            lab.start_programs()
        lab.web = [lab.pod(f"web{n}", n) for n in range(1, len(lab.nodes) + 1)]
        yield lab
        programs = lab.programs() if lab.controller else []
        for p in programs if not lab.box.kept else []:
            p.stop()
        if request.session.testsfailed and (lab.dir / "logs").is_dir():
            name = Path(request.module.__file__ or "lab").stem
            shutil.copytree(lab.dir / "logs", FAILED_LOGS / name, dirs_exist_ok=True)
        for p in programs:
            assert not SANITIZERS.search(p.log(all_runs=True)), p.tail(60)


@pytest.fixture
def lab(shared_lab: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    yield shared_lab
    if os.environ.get("LAB_KEEP") and getattr(request.node, "failed", False):
        pytest.exit("LAB_KEEP: the lab stays as the failed test left it\n" + shared_lab.keep(), 1)
    tidy(shared_lab, getattr(request.module, "REVIVE", True))


_blocks = itertools.count()


@pytest.fixture
def block() -> str:
    """A range of sixteen addresses that no other test uses, as "10.4.11.16-10.4.11.31"."""
    third, n = divmod(next(_blocks), 16)
    return f"10.4.{11 + third}.{n * 16}-10.4.{11 + third}.{n * 16 + 15}"


@pytest.fixture
def pool(lab: Lab, block: str) -> str:
    """A pool of sixteen addresses, advertised everywhere; its name."""
    lab.pool("pool", block)
    lab.advertisement("pool")
    return "pool"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[None]:
    """A failure shows the ends of the logs; one of a wait has them already."""
    outcome = yield
    report = outcome.get_result()
    item.failed = getattr(item, "failed", False) or report.failed  # type: ignore[attr-defined]
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.failed and isinstance(lab, Lab) and "last lines of its log" not in str(report.longrepr):
        report.sections.append(("the lab", "\n".join(lab.tails())))
