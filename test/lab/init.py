# SPDX-License-Identifier: Apache-2.0
"""Process 1 of a lab: everything a lab runs lives in this process's PID and mount namespaces.

When it ends, the kernel kills every process of the lab and frees every network namespace, whatever state the test
run was in. It ends when its owner does: the owner holds the other end of standard input, so a crash or a kill -9 of
pytest is seen here as end of file. A line "keep" there makes it stay until somebody terminates it (`demo --keep`).

Run as `python3 -m test.lab.init RUN_DIR HOSTNAME`; prints its pid as the owner sees it, then "ready".
"""
from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from test.lab import linux


def mount(*args: str) -> None:
    subprocess.run(["mount", *args], check=True)


def own_etc() -> None:
    """/etc as it is, plus folders of our own: the places where pods find their ConfigMaps and Secrets."""
    real = Path("/run/etc")
    real.mkdir()
    mount("--bind", "/etc", str(real))
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/etc")
    for entry in real.iterdir():
        os.symlink(entry, Path("/etc", entry.name))
    for folder in ("metallb", "ml_secret_key"):
        if not Path("/etc", folder).exists():
            Path("/etc", folder).mkdir()


def become_init(run_dir: Path, hostname: str) -> None:
    """A view of the file system that nobody else has: /proc of the lab's processes, an empty /run (names of network
    namespaces, locks, service account folders), etcd's data in memory."""
    os.setsid()
    mount("--make-rprivate", "/")
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for folder in ("netns", "lock", "secrets/kubernetes.io/serviceaccount"):
        Path("/run", folder).mkdir(parents=True)
    own_etc()
    (run_dir / "etcd").mkdir()
    mount("-t", "tmpfs", "-o", "mode=700", "tmpfs", str(run_dir / "etcd"))
    socket.sethostname(hostname)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def reap(*_: object) -> None:
    """Orphans of the lab become our children."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] > 0:
            pass
    except ChildProcessError:
        pass


def terminate(*_: object) -> None:
    raise SystemExit


def wait_for_owner() -> None:
    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGCHLD, reap)
    if sys.stdin.readline().strip() == "keep":
        while True:
            signal.pause()


def end(run_dir: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    subprocess.run(["umount", "--lazy", str(run_dir / "etcd")], check=False)
    shutil.rmtree(run_dir, ignore_errors=True)
    shutil.rmtree(run_dir, ignore_errors=True)  # again: a dying process may just have written a file


def main() -> None:
    run_dir, hostname = Path(sys.argv[1]), sys.argv[2]
    linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
    pid = os.fork()
    if pid:
        os.write(1, b"%d\n" % pid)
        return
    try:
        become_init(run_dir, hostname)
        os.write(1, b"ready\n")
        os.close(1)
        wait_for_owner()
    finally:
        end(run_dir)


if __name__ == "__main__":
    main()
