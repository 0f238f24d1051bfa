# SPDX-License-Identifier: Apache-2.0
"""What a reviewer should not have to say: format, banned functions, rooms, purity, size budgets, warnings.

`python3 -m test.lint` prints every breach and exits 1 if there is one. test.run calls checks() and counts each.
"""

import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES, FUNCTION_LINES = 900, 120

BANNED = re.compile(
    r"(?<![A-Za-z0-9_.>])(gets|strcpy|strcat|sprintf|vsprintf|strtok|strncpy|atoi|atol|atof|alloca|asprintf|vasprintf|"
    r"inet_ntoa|inet_addr|gethostbyname|localtime|gmtime|ctime|system|popen|rand|srand|mktemp|tmpnam)\s*\("
)
IMPURE = re.compile(
    r'#include\s+(<uv\.h>|<curl/|<pcap|<sys/socket\.h>|<libwebsockets\.h>|<libmnl|"common/log\.h"|"common/kube/kube\.h")'
    r"|(?<![A-Za-z0-9_])(getenv|time|clock_gettime|gettimeofday|random|getrandom|uv_now|uv_hrtime)\s*\("
)
PURE_MARK = re.compile(r"\bPure[.:]")
CALLS_WITH_EFFECT = re.compile(r"\bassert\s*\([^;]*(\+\+|--|[^=!<>]=[^=])")


def sources(*suffixes: str) -> list[Path]:
    """Files that git tracks or would track."""
    out = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\n")
    return [ROOT / f for f in out if f.endswith(suffixes) and (ROOT / f).is_file()]


def code_of(text: str) -> str:
    """The text with comments and string contents blanked, line numbers kept."""

    def blank(m: re.Match) -> str:
        s = m.group(0)
        return re.sub(r"[^\n]", " ", s) if s.startswith("/") else '"' + " " * (len(s) - 2) + '"'

    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def rel(p: Path) -> str:
    return str(p.relative_to(ROOT))


def tool(*names: str) -> str | None:
    return next((n for n in names if shutil.which(n)), None)


def check_format() -> list[str]:
    fmt = tool("clang-format-14", "clang-format")
    if not fmt:
        return ["clang-format is missing"]
    r = subprocess.run(
        [fmt, "--dry-run", "-Werror", *map(str, sources(".c", ".h"))], capture_output=True, text=True
    )
    return sorted({ln.split(": error")[0] for ln in r.stderr.split("\n") if ": error" in ln})


def check_banned() -> list[str]:
    bad = []
    for p in sources(".c", ".h"):
        for n, line in enumerate(code_of(p.read_text()).split("\n"), 1):
            for m in BANNED.finditer(line):
                bad.append(f"{rel(p)}:{n}: banned function {m.group(1)}")
            if CALLS_WITH_EFFECT.search(line):
                bad.append(f"{rel(p)}:{n}: assert with a side effect")
    return bad


def is_pure(p: Path) -> bool:
    """A file is pure when its own top comment, or that of its header, says so."""
    header = p.with_suffix(".h")
    texts = [p.read_text()] + ([header.read_text()] if header.is_file() else [])
    return any(PURE_MARK.search(t[: t.find("*/", 60) + 2]) for t in texts)


def check_pure() -> list[str]:
    bad = []
    for p in sources(".c", ".h"):
        if rel(p).startswith("test/") or not is_pure(p):
            continue
        text = p.read_text()
        for n, (line, code) in enumerate(zip(text.split("\n"), code_of(text).split("\n")), 1):
            m = IMPURE.search(line if line.startswith("#include") else code)
            if m:
                bad.append(f"{rel(p)}:{n}: a pure file does I/O or reads a clock: {m.group(0)}")
    return bad


def check_rooms() -> list[str]:
    may = {"common": ("common",), "controller": ("common", "controller"), "speaker": ("common", "speaker"),
           "cli": ("common", "cli")}
    bad = []
    for p in sources(".c", ".h"):
        room = rel(p).split("/")[0]
        for n, line in enumerate(p.read_text().split("\n"), 1):
            m = re.match(r'#include "([^"]+)"', line)
            if not m:
                continue
            if not (ROOT / m.group(1)).is_file():
                bad.append(f"{rel(p)}:{n}: includes are named from the root: {m.group(1)}")
            elif room in may and m.group(1).split("/")[0] not in may[room]:
                bad.append(f"{rel(p)}:{n}: {room} must not include {m.group(1)}")
    return bad


def check_sizes() -> list[str]:
    bad = []
    for p in sources(".c", ".h", ".py"):
        lines = p.read_text().count("\n")
        if lines > FILE_LINES:
            bad.append(f"{rel(p)}: {lines} lines, at most {FILE_LINES}")
    files = list(map(str, sources(".c")))
    r = subprocess.run(
        ["ctags", "-f", "-", "--languages=C", "--kinds-C=f", "--fields=ne", "--sort=no", *files],
        capture_output=True, text=True,
    )
    if r.returncode != 0:
        return bad + [f"ctags: {r.stderr.strip()[:200]}"]
    for line in r.stdout.split("\n"):
        m = re.search(r"^(\S+)\t(\S+)\t.*\tline:(\d+)\tend:(\d+)", line)
        if m and int(m.group(4)) - int(m.group(3)) + 1 > FUNCTION_LINES:
            n = int(m.group(4)) - int(m.group(3)) + 1
            bad.append(f"{rel(Path(m.group(2)))}:{m.group(3)}: {m.group(1)} has {n} lines, at most {FUNCTION_LINES}")
    return bad


def check_licence() -> list[str]:
    return [f"{rel(p)}: no SPDX line" for p in sources(".c", ".h", ".py", ".sh")
            if "SPDX-License-Identifier" not in p.read_text()[:200] and p.stat().st_size > 0]


def check_scripts() -> list[str]:
    bad = []
    for p in sources(".py"):
        try:
            py_compile.compile(str(p), doraise=True)
        except py_compile.PyCompileError as e:
            bad.append(f"{rel(p)}: {e.msg.strip()}")
    for name in ("test/deps", "test/fuzz/run", ".ci/run"):
        r = subprocess.run(["bash", "-n", str(ROOT / name)], capture_output=True, text=True)
        if r.returncode != 0:
            bad.append(f"{name}: {r.stderr.strip()[:200]}")
    return bad


def build(cc: str) -> list[str]:
    r = subprocess.run(["make", "-s", "-k", "-j2", f"CC={cc}", "all"], cwd=ROOT, capture_output=True, text=True)
    return [] if r.returncode == 0 else [ln for ln in r.stderr.split("\n") if "error" in ln][:20] or [r.stderr[-500:]]


def check_gcc() -> list[str]:
    return build("gcc")


def check_clang() -> list[str]:
    cc = tool("clang-14", "clang")
    return build(cc) if cc else ["clang is missing"]


CHECKS = [check_format, check_banned, check_pure, check_rooms, check_sizes, check_licence, check_scripts,
          check_gcc, check_clang]


def main() -> int:
    failed = 0
    for check in CHECKS:
        bad = check()
        failed += bool(bad)
        for line in bad:
            print(f"{check.__name__.removeprefix('check_')}: {line}")
    print("lint: clean" if not failed else f"lint: {failed} of {len(CHECKS)} checks failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
