# SPDX-License-Identifier: Apache-2.0
"""The lab about itself: it leaves nothing behind, however it ends, and two of them do not meet."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from test.lab import box
from test.lab.box import ROOT
from test.lab.lab import Lab
from test.lab.process import wait_until

CHILD = """
import time
from test.lab.lab import Lab
with Lab(nodes=1, manifests=None) as lab:
    print(lab.run_id, flush=True)
    time.sleep(600)
"""
EMPTY_CHILD = """
import contextlib, time
from test.lab.box import Box
with contextlib.closing(Box()) as box:
    box.run(["ip", "netns", "add", "node1"])
    sleepers = [box.popen(["sleep", "600"], netns="node1") for _ in range(4)]
    print(box.run_id, flush=True)
    time.sleep(600)
"""


def processes_of(run_id: str) -> list[int]:
    """Living processes that carry the run's id, in whatever namespace they are."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"LAB_RUN={run_id}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def start_child(program: str = CHILD) -> tuple[subprocess.Popen, str]:
    child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout
    run_id = child.stdout.readline().strip()
    try:
        assert run_id
        wait_until(lambda: len(processes_of(run_id)) >= 4, "its processes run", 10)
    except BaseException:
        child.kill()
        raise
    return child, run_id


@pytest.mark.parametrize("program, number", [
    (CHILD, signal.SIGKILL), (EMPTY_CHILD, signal.SIGKILL), (EMPTY_CHILD, signal.SIGTERM), (EMPTY_CHILD, signal.SIGINT),
], ids=["kill -9 of a whole lab", "kill -9", "SIGTERM", "Ctrl-C"])
def test_nothing_is_left_of_a_run(program: str, number: signal.Signals) -> None:
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
    child, run_id = start_child(program)
    child.send_signal(number)
    child.wait(20)
    wait_until(lambda: not processes_of(run_id), "all processes of the run are gone", 20)
    wait_until(lambda: not (box.runs_folder() / (box.PREFIX + run_id)).exists(), "its folder is gone", 20)
    assert subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout == links
    assert run_id not in Path("/proc/mounts").read_text()


def test_killed_together_with_its_guard() -> None:
    """kill -9 of the test run and of the lab's process 1: the kernel takes the rest, the next run sweeps the folder."""
    child, run_id = start_child(EMPTY_CHILD)
    run_dir = box.runs_folder() / (box.PREFIX + run_id)
    init = box.init_of(run_dir)
    assert init
    os.kill(child.pid, signal.SIGSTOP)
    os.kill(init, signal.SIGKILL)
    os.kill(child.pid, signal.SIGKILL)
    child.wait(20)
    wait_until(lambda: not processes_of(run_id), "all processes of the run are gone", 20)
    assert run_dir.exists()
    os.utime(run_dir, (time.time() - 60,) * 2)
    wait_until(lambda: [box.sweep(), not run_dir.exists()][1], "the next run sweeps the folder", 20)


def test_a_living_run_is_not_swept_and_two_runs_do_not_meet() -> None:
    child, run_id = start_child()
    try:
        with Lab(nodes=2, manifests=None) as lab:  # sweeps at its start, lays the same addresses
            assert (box.runs_folder() / (box.PREFIX + run_id)).exists()
            assert len(processes_of(run_id)) >= 4
            assert lab.client.who_has("10.4.0.12") == [lab.nodes[1].mac]
            assert not lab.client.who_has("10.4.0.13")
            assert len(lab.api.items("/api/v1/nodes")) == 2
            mine = lab.run_id
        assert not processes_of(mine)
        assert len(processes_of(run_id)) >= 4, "ending one leaves the other"
    finally:
        child.kill()
        child.wait()


def test_it_starts_in_time() -> None:
    begun = time.monotonic()
    with Lab() as lab:
        assert lab.api_ready()
        assert time.monotonic() - begun < 15 * (2 if os.environ.get("CI") else 1)


def test_a_failed_wait_says_what_and_shows_logs() -> None:
    with Lab(nodes=1, manifests=None) as lab:
        with pytest.raises(AssertionError) as e:
            lab.wait_for("the moon is made of cheese", lambda: [], 0.2)
        assert "the moon is made of cheese" in str(e.value) and "kube-apiserver (runs)" in str(e.value)
