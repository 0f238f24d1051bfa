# SPDX-License-Identifier: Apache-2.0
"""The lab makes namespaces, which takes root, or a user namespace in which we are root."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys


def prefix() -> list[str]:
    """Words to put before a command so that it may run a lab; none when we are root already."""
    if os.geteuid() == 0:
        return []
    # The network namespace too: one can only return to a namespace that belongs to the own user namespace.
    alone = ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        return alone
    if shutil.which("sudo"):
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        return ["sudo", "env", f"XDG_CACHE_HOME={cache}"]
    return []  # Box says what is missing


def ensure(module: str) -> None:
    """Starts this run of `python3 -m module` again as root, if it is not."""
    words = prefix()
    if words:
        sys.stdout.flush()
        os.execvp(words[0], [*words, sys.executable, "-m", module, *sys.argv[1:]])
