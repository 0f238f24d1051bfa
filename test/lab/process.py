# SPDX-License-Identifier: Apache-2.0
"""A long-running process of the lab: start, stop, kill, freeze, and its log."""
from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from test.lab.box import Box


class Process:
    def __init__(self, box: Box, name: str, argv: list[str], *, netns: str | None = None,
                 env: dict[str, str] | None = None) -> None:
        self.box, self.name, self.argv, self.netns, self.env = box, name, argv, netns, env or {}
        self.log_path: Path = box.dir / "logs" / f"{name}.log"
        self.log_path.parent.mkdir(exist_ok=True)
        self.child: subprocess.Popen | None = None
        self._mark = 0

    # ---- life ----

    def start(self) -> None:
        assert not self.alive, f"{self.name} runs already"
        self._mark = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self.child = self.box.popen(self.argv, netns=self.netns, env=self.env, stdout=log, stderr=log)

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    @property
    def pid(self) -> int:
        assert self.child is not None, f"{self.name} was never started"
        return self.child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return None if self.child is None else self.child.poll()

    def signal(self, number: int) -> None:
        assert self.child is not None and self.alive, f"{self.name} does not run"
        self.child.send_signal(number)

    def stop(self, timeout: float = 15) -> int:
        """SIGTERM, as the kubelet does it; the exit code. Beyond the time-out: SIGKILL, and an exit code of -9."""
        if self.child is None or not self.alive:
            return self.exit_code or 0
        self.signal(signal.SIGTERM)
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        if self.child is None:
            return 0
        if self.alive:
            self.child.send_signal(signal.SIGKILL)
        return self.child.wait()

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def memory_kib(self) -> int:
        """Resident memory now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().split("\n"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError(f"{self.name} has no memory: it ended")

    def cpu_seconds(self) -> float:
        """User and system time used so far."""
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        fields = stat[stat.rindex(")") + 2:].split()
        return (int(fields[11]) + int(fields[12])) / 100

    # ---- log ----

    def log(self, *, all_runs: bool = False) -> str:
        """What it wrote since its last start."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as f:
            f.seek(0 if all_runs else self._mark)
            return f.read().decode(errors="replace")

    def lines(self, *, all_runs: bool = False, **fields: Any) -> list[dict[str, Any]]:
        """JSON log lines that have all these fields. A value may be a function of the value found."""
        found = []
        for text in self.log(all_runs=all_runs).split("\n"):
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and all(
                    k in line and (want(line[k]) if callable(want) else line[k] == want) for k, want in fields.items()):
                found.append(line)
        return found

    def tail(self, lines: int = 15) -> str:
        state = "runs" if self.alive else f"ended with {self.exit_code}" if self.child else "not started"
        text = "\n".join("    " + line[:400] for line in self.log().rstrip().split("\n")[-lines:])
        return f"--- {self.name} ({state}), last lines of its log:\n{text}"


class Not(str):
    """What a condition may return instead of False: the words why, which a failed wait shows."""

    def __bool__(self) -> bool:
        return False


def wait_until(condition: Any, what: str, timeout: float, pause: float = 0.05, tails: Any = None) -> Any:
    """The first true value that condition() returns. Every wait of the lab comes through here; one that fails says
    what it waited for, the last value seen, and the ends of the logs that tails() gives."""
    deadline = time.monotonic() + timeout
    value: Any = None
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            logs = "\n".join(tails()) if tails else ""
            raise AssertionError(f"not within {timeout:g} s: {what} (last seen: {value!r:.500})\n{logs}".rstrip())
        time.sleep(pause)
