# SPDX-License-Identifier: Apache-2.0
"""`make test`: every stage of the ladder in order, cheapest first, and one plain line of counts at the end.

A stage yields (name, verdict, words) for each of its tests; nothing is counted that did not run. Under CI=true a
skipped test is a failure: what cannot run there must be said, not hidden.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from test import lint
from test.lab import root

ROOT = lint.ROOT
PASS, FAIL, SKIP = "passed", "failed", "skipped"
Result = tuple[str, str, str]
UNIT_TIMEOUT_S = 600


def make(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", "-s", "-j2", *args], cwd=ROOT, capture_output=True, text=True)


def lint_stage() -> Iterator[Result]:
    for check in lint.CHECKS:
        bad = check()
        yield f"lint {check.__name__.removeprefix('check_')}", FAIL if bad else PASS, "\n".join(bad[:40])


def run_unit(path: Path) -> list[Result]:
    """One check_X binary: a row for each of its tests, read from its TAP log."""
    with tempfile.TemporaryDirectory() as d:
        tap = Path(d) / "tap"
        env = dict(os.environ, CK_TAP_LOG_FILE_NAME=str(tap), CK_VERBOSITY="silent", CK_TIMEOUT_MULTIPLIER="10",
                   CK_DEFAULT_TIMEOUT="30", ASAN_OPTIONS="detect_stack_use_after_return=1",
                   TSAN_OPTIONS="halt_on_error=1")
        try:
            r = subprocess.run([str(path)], cwd=ROOT, env=env, capture_output=True, text=True, timeout=UNIT_TIMEOUT_S,
                               errors="replace")
        except subprocess.TimeoutExpired:
            return [(str(path), FAIL, f"still running after {UNIT_TIMEOUT_S} s")]
        rows = []
        for line in tap.read_text(errors="replace").split("\n") if tap.exists() else []:
            if line.startswith(("ok ", "not ok ")):
                bad = line.startswith("not ok")
                rows.append((f"{path.name}: {line.split(' - ', 1)[-1]}", FAIL if bad else PASS,
                             (r.stdout + r.stderr)[-3000:] if bad else ""))
        if not rows or (r.returncode != 0 and all(v == PASS for _, v, _ in rows)):
            rows.append((str(path), FAIL, f"exit code {r.returncode}\n{(r.stdout + r.stderr)[-3000:]}"))
        return rows


def unit_stage(variant: str, cc: str = "gcc") -> Iterator[Result]:
    tests = sorted(p.stem for p in (ROOT / "test/unit").glob("check_*.c"))
    where = ROOT / "build" / ("" if variant == "release" else variant) / ("clang/unit" if "clang" in cc else "unit")
    built = make(f"VARIANT={variant}", f"CC={cc}", "-k", *(str((where / t).relative_to(ROOT)) for t in tests))
    if built.returncode != 0:
        yield f"build of unit tests, {variant} {cc}", FAIL, built.stderr[-3000:]
    with ThreadPoolExecutor(2) as pool:
        for rows in pool.map(run_unit, [where / t for t in tests if (where / t).exists()]):
            yield from ((f"{variant} {cc} {n}", v, w) for n, v, w in rows)


def corpus_stage() -> Iterator[Result]:
    built = make("VARIANT=asan", "fuzzers")
    if built.returncode != 0:
        yield "build of fuzz targets", FAIL, built.stderr[-3000:]
        return
    for src in sorted((ROOT / "test/fuzz").glob("fuzz_*.c")):
        target = ROOT / "build/asan/fuzz" / src.stem
        corpus = ROOT / "test/corpus" / src.stem.removeprefix("fuzz_")
        r = subprocess.run([str(target), str(corpus)], cwd=ROOT, capture_output=True, text=True, errors="replace",
                           timeout=UNIT_TIMEOUT_S)
        yield f"corpus {corpus.name}", PASS if r.returncode == 0 else FAIL, (r.stdout + r.stderr)[-3000:]


def pytest_stage(folder: str) -> Iterator[Result]:
    built = make("all", "labtools")
    if built.returncode != 0:
        yield f"build for {folder}", FAIL, built.stderr[-3000:]
        return
    with tempfile.TemporaryDirectory() as d:
        xml = Path(d) / "junit.xml"
        r = subprocess.run([*root.prefix(), sys.executable, "-m", "pytest", "-q", "-x" if os.environ.get("FAIL_FAST") else "-q",
                            f"--junitxml={xml}", folder], cwd=ROOT)
        if not xml.exists():
            yield folder, FAIL, f"pytest ended with {r.returncode} and no report"
            return
        cases = list(ET.parse(xml).getroot().iter("testcase"))
        for c in cases:
            name = f"{c.get('classname')}.{c.get('name')}"
            bad = [x for x in c if x.tag in ("failure", "error")]
            skipped = c.find("skipped")
            if bad:
                yield name, FAIL, (bad[0].get("message") or "")[:500]
            elif skipped is not None:
                yield name, SKIP, skipped.get("message") or ""
            else:
                yield name, PASS, ""
        if not cases or (r.returncode != 0 and not any(list(c) for c in cases)):
            yield folder, FAIL, f"pytest ended with {r.returncode}, {len(cases)} tests"


STAGES = {
    "lint": lint_stage,
    "unit": lambda: unit_stage("release"),
    "asan": lambda: unit_stage("asan"),
    "tsan": lambda: unit_stage("tsan"),
    "clang": lambda: unit_stage("release", lint.tool("clang-14", "clang") or "clang"),
    "corpus": corpus_stage,
    "lab": lambda: pytest_stage("test/lab"),
}


def main() -> int:
    ap = argparse.ArgumentParser(description="Runs the tests; without names, all stages.")
    ap.add_argument("stages", nargs="*", choices=[[], *STAGES], help="stages to run")
    names = ap.parse_args().stages or list(STAGES)
    counts = {PASS: 0, FAIL: 0, SKIP: 0}
    strict = os.environ.get("CI") == "true"
    for name in names:
        begun, mine = time.monotonic(), {PASS: 0, FAIL: 0, SKIP: 0}
        print(f"== {name}", flush=True)
        for test, verdict, words in STAGES[name]():
            if verdict == SKIP and strict:
                verdict, words = FAIL, f"skipped, which CI does not allow: {words}"
            mine[verdict] += 1
            if verdict != PASS:
                print(f"{verdict.upper()}: {test}\n{words}".rstrip(), flush=True)
        print(f"   {mine[PASS]} passed, {mine[FAIL]} failed, {mine[SKIP]} skipped "
              f"in {time.monotonic() - begun:.0f} s", flush=True)
        for k, v in mine.items():
            counts[k] += v
    print(f"{counts[PASS]} passed, {counts[FAIL]} failed, {counts[SKIP]} skipped")
    return 1 if counts[FAIL] or not counts[PASS] else 0


if __name__ == "__main__":
    sys.exit(main())
