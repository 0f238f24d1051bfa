# SPDX-License-Identifier: Apache-2.0
"""A box: PID, mount, UTS and IPC namespaces of one run, with any number of network namespaces inside.

Why a box: nothing of a run may outlive it, and two runs must not meet. Both come from the kernel here. Names of network
namespaces live in a /run that only the box sees, so they cannot collide. And every process of a box dies with the
box's process 1 (init.py), which dies with us: no list of pids to kill, nothing that a kill -9 could leave behind but
the run's folder, which init removes and the next run sweeps if even init was killed.

Children are started from one thread of ours that has joined the box's PID namespace: so they are born inside, and yet
are ordinary children (subprocess.Popen), with pids of our side to signal and wait for.
"""
from __future__ import annotations

import contextlib
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from test.lab import linux

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "metallb-lab-"


class BoxError(RuntimeError):
    """The machine does not let us build a box."""


def runs_folder() -> Path:
    return Path(tempfile.gettempdir())


def init_of(run_dir: Path) -> int | None:
    """Pid of the run's living process 1."""
    try:
        pid, begun = (int(word) for word in (run_dir / "init").read_text().split())
    except (OSError, ValueError):
        return None
    return pid if linux.start_time(pid) == begun else None


def owner_lives(run_dir: Path) -> bool:
    """For a run that is just being set up and has no process 1 yet."""
    try:
        pid, begun = (int(word) for word in (run_dir / "owner").read_text().split())
    except (OSError, ValueError):
        return False
    return linux.start_time(pid) == begun


def sweep() -> list[Path]:
    """Removes the folders of runs of which nothing lives any more."""
    gone = []
    for run_dir in runs_folder().glob(PREFIX + "*"):
        try:
            young = time.time() - run_dir.stat().st_mtime < 5  # its owner is not written yet
        except OSError:
            continue
        if not young and init_of(run_dir) is None and not owner_lives(run_dir):
            shutil.rmtree(run_dir, ignore_errors=True)
            gone.append(run_dir)
    return gone


def end_run(run_dir: Path, timeout: float = 20) -> bool:
    """Ends a run that somebody else started (`demo --keep`). False when there is none."""
    pid = init_of(run_dir)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while init_of(run_dir) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
    shutil.rmtree(run_dir, ignore_errors=True)
    return pid is not None


class Box:
    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise BoxError("the lab needs root: it makes network namespaces (try sudo)")
        sweep()
        self.run_id = secrets.token_hex(3)
        self.dir = runs_folder() / (PREFIX + self.run_id)
        self.dir.mkdir(mode=0o755)
        (self.dir / "owner").write_text(f"{os.getpid()} {linux.start_time(os.getpid())}\n")
        self.kept = False
        self._children: list[subprocess.Popen] = []
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future] | None] = queue.SimpleQueue()
        self._start_init()
        self._thread = threading.Thread(target=self._spawner, name="lab-spawner", daemon=True)
        self._thread.start()

    def _start_init(self) -> None:
        starter = subprocess.Popen(
            [sys.executable, "-m", "test.lab.init", str(self.dir), f"lab-{self.run_id}"], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.env())
        assert starter.stdin and starter.stdout and starter.stderr
        first, second = starter.stdout.readline(), starter.stdout.readline()
        if second != b"ready\n":
            starter.stdin.close()
            words = starter.stderr.read().decode(errors="replace").strip().split("\n")[-1]
            starter.wait()
            shutil.rmtree(self.dir, ignore_errors=True)
            raise BoxError(f"cannot make namespaces here ({words}); the lab needs root with CAP_SYS_ADMIN")
        starter.wait()
        starter.stdout.close()
        starter.stderr.close()
        self.init_pid = int(first)
        self._leash = starter.stdin  # init ends when this closes, so also when we die in whatever way
        (self.dir / "init").write_text(f"{self.init_pid} {linux.start_time(self.init_pid)}\n")

    def env(self, **more: str) -> dict[str, str]:
        """A small environment: what the tests' own one says must not change what the lab does."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "LANG": "C.UTF-8", "HOME": str(self.dir / "home"), "LAB_RUN": self.run_id,
                "PYTHONDONTWRITEBYTECODE": "1", **more}

    # ---- processes ----

    def _spawner(self) -> None:
        fd = os.open(f"/proc/{self.init_pid}/ns/pid", os.O_RDONLY)
        linux.setns(fd, linux.CLONE_NEWPID)  # of this thread's children
        os.close(fd)
        while (item := self._work.get()) is not None:
            work, future = item
            try:
                future.set_result(work())
            except BaseException as e:  # noqa: BLE001 - the caller gets it
                future.set_exception(e)

    def enter(self, netns: str | None = None) -> list[str]:
        """The words before a command that make it run in the box, and in a network namespace of it."""
        into = ["nsenter", f"--target={self.init_pid}", "--mount", "--uts", "--ipc", "--net", "--root", "--wd"]
        return into + (["ip", "netns", "exec", netns] if netns else [])

    def popen(self, argv: list[str], *, netns: str | None = None, env: dict[str, str] | None = None,
              **kw: Any) -> subprocess.Popen:
        kw.setdefault("stdin", subprocess.DEVNULL)
        full = self.enter(netns) + argv
        future: Future = Future()
        self._work.put((lambda: subprocess.Popen(full, env=self.env(**(env or {})), start_new_session=True, **kw),
                        future))
        child = future.result()
        self._children = [c for c in self._children if c.poll() is None] + [child]
        return child

    def run(self, argv: list[str], *, netns: str | None = None, env: dict[str, str] | None = None, timeout: float = 30,
            check: bool = True, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command to its end; a failure says what the command said."""
        child = self.popen(argv, netns=netns, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           stdin=subprocess.DEVNULL if input is None else subprocess.PIPE)
        try:
            out, err = child.communicate(input, timeout=timeout)
        except BaseException:
            child.kill()
            child.communicate()
            raise
        if check and child.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)[:300]}: exit code {child.returncode}\n{out}{err}".rstrip())
        return subprocess.CompletedProcess(argv, child.returncode, out, err)

    # ---- network namespaces ----

    @contextlib.contextmanager
    def inside(self, netns: str) -> Iterator[None]:
        """Sockets that this thread opens here belong to the namespace, and stay there afterwards."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/proc/{self.init_pid}/root/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            linux.setns(there, linux.CLONE_NEWNET)
            try:
                yield
            finally:
                linux.setns(home, linux.CLONE_NEWNET)
        finally:
            os.close(there)
            os.close(home)

    # ---- the end ----

    def keep(self) -> None:
        """The box outlives us, until end_run()."""
        self._leash.write(b"keep\n")
        self._leash.close()
        self._work.put(None)
        self.kept = True

    def close(self) -> None:
        """Everything in the box is gone when this returns, unless it is to be kept."""
        if self.kept:
            return
        if not self._leash.closed:
            self._leash.close()
        self._work.put(None)
        deadline = time.monotonic() + 20
        while True:
            # Our children too wait for init's end, and init for them to be reaped.
            self._children = [c for c in self._children if c.poll() is None]
            if linux.start_time(self.init_pid) is None or time.monotonic() > deadline:
                break
            time.sleep(0.01)
        if linux.start_time(self.init_pid) is not None:
            os.kill(self.init_pid, signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)
