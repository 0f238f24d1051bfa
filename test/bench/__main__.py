# SPDX-License-Identifier: Apache-2.0
"""`make bench`: runs the benches named as arguments (default: all) and prints one table.

A row is a ratio or a size with its goal. Absolute times depend on the machine; ratios are taken within one run.
Ends with 1 when a goal is missed.
"""
from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator

from test.bench import arp, services
from test.bench.row import Row
from test.lab import root

BENCHES: dict[str, Callable[[], Iterator[Row]]] = {
    "arp": arp.bench,
    "services": services.bench,
}


def main() -> int:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("names", nargs="*", help=f"of {', '.join(BENCHES)}")
    names = ap.parse_args().names or list(BENCHES)
    root.ensure("test.bench")
    if unknown := set(names) - set(BENCHES):
        ap.error(f"no bench is called {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    for name in names:
        begun = time.monotonic()
        print(f"== {name}", flush=True)
        for row in BENCHES[name]():
            rows.append(row)
            print(f"   {row.line()}", flush=True)
        print(f"   took {time.monotonic() - begun:.0f} s", flush=True)
    width = max(len(r.what) for r in rows)
    print(f"\n{os.cpu_count()} processors, Linux {platform.release()}\n")
    print(f"| {'what':{width}} | measured | goal | |")
    print(f"|{'-' * (width + 2)}|---|---|---|")
    for r in rows:
        print(f"| {r.what:{width}} | {r.measured} | {r.goal_text} | {'met' if r.met else 'MISSED'} |")
    return 0 if all(r.met for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
