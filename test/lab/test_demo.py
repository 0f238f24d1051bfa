# SPDX-License-Identifier: Apache-2.0
"""The demo runs to its end, and what it says about keeping and ending a cluster is true."""
from __future__ import annotations

import re
import subprocess
import sys
import time

from test.lab.box import PREFIX, ROOT, runs_folder
from test.lab.process import wait_until


def demo(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "test.lab.demo", *args], cwd=ROOT, capture_output=True, text=True,
                          timeout=180, stdin=subprocess.DEVNULL)


def test_demo_tells_the_whole_story_and_keeps_what_it_is_told_to_keep() -> None:
    begun = time.monotonic()
    told = demo("--keep")
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    seconds = time.monotonic() - begun
    run_id = re.findall(r"--end (\w+)", told.stdout)[-1]
    try:
        assert seconds < 60
        for words in ("<pending>", "has an address: 10.4.11.0", "One host answers, and only one", "announcing",
                      "web-", "Received 0 response(s)", "1279"):
            assert words in told.stdout, words
        run_dir = f"{runs_folder()}/{PREFIX}{run_id}"
        commands = re.findall(rf"^\s+(?:kubectl|from the client) +({run_dir}/.*)$", told.stdout, re.M)
        assert len(commands) == 2
        listed = subprocess.run(commands[0], shell=True, capture_output=True, text=True)
        assert "LoadBalancer" in listed.stdout, listed
        wait_until(lambda: "web-" in subprocess.run(commands[1], shell=True, capture_output=True, text=True).stdout,
                   "the client of the kept cluster reaches the Service", 20)
    finally:
        ended = demo("--end", run_id)
    assert ended.returncode == 0 and not (runs_folder() / (PREFIX + run_id)).exists()
    assert demo("--end", run_id).returncode == 1
