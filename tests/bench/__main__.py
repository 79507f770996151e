"""`make bench`: every benchmark of this folder in turn, each in a process of its own and bounded, then every goal
beside what was measured. It prints; it never fails.

    python -m tests.bench [--quick] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.bench.kit import Goal

FOLDER: Final = Path(__file__).resolve().parent
ROOT: Final = FOLDER.parents[1]
ORDER: Final = ("gate", "door", "fanout", "page", "idle", "growth", "verify", "runs")
BOUND_S: Final = 150
LONGER: Final = {"growth": 400}
LATER: Final = "export and snapshots do not exist in this stage: nothing to measure"


def main() -> int:
    """Run what was asked for and print the summary."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="measure; prints figures, asserts nothing"
    )
    parser.add_argument("--quick", action="store_true", help="smaller logs, fewer rounds")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of: " + ", ".join(names()))
    given = parser.parse_args()
    began = time.monotonic()
    machine()
    goals, notes = list[Goal](), list[str]()
    for name in given.only or names():
        told, note = one(name, given.quick)
        goals += told
        notes += [note] if note else []
    print(f"\n{'=' * 20} goals {'=' * 20}")
    for goal in goals:
        print(goal.line())
    print("\n".join(["", *notes, LATER]))
    print(f"whole: {time.monotonic() - began:.0f} s")
    return 0


def names() -> list[str]:
    """The benchmarks there are: the known ones in their order, then any other."""
    there = {path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py")}
    return [name for name in ORDER if name in there] + sorted(there - set(ORDER))


def machine() -> None:
    """What all figures depend on."""
    model = next((line.split(":")[1].strip() for line in _text("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = int(_text("/proc/meminfo")[0].split()[1]) // 1048576
    print(f"{os.cpu_count()} cores ({model}), {memory} GiB, kernel {platform.release()}")
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, load {os.getloadavg()}")
    print("other work runs on this machine at the same time: trust ratios taken side by side, not single figures")


def _text(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def one(name: str, quick: bool) -> tuple[list[Goal], str]:
    """Run one benchmark to its end or its bound; its goals, and a note when something went wrong."""
    print(f"\n{'=' * 20} {name} {'=' * 20}", flush=True)
    bound, began = LONGER.get(name, BOUND_S), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="helm-bench-") as folder:
        kept = Path(folder) / "goals.json"
        words = [
            sys.executable,
            "-m",
            f"tests.bench.bench_{name}",
            "--goals",
            str(kept),
            *(["--quick"] if quick else []),
        ]
        # What a benchmark that was cut off leaves in its temporary folder goes with ours.
        process = subprocess.Popen(words, cwd=ROOT, start_new_session=True, env={**os.environ, "TMPDIR": folder})
        note = _ended(process, name, bound)
        goals = [Goal(**told) for told in json.loads(kept.read_text())] if kept.exists() else []
    print(f"({name}: {time.monotonic() - began:.0f} s)", flush=True)
    return goals, note


def _ended(process: subprocess.Popen[bytes], name: str, bound: int) -> str:
    try:
        code = process.wait(bound)
    except subprocess.TimeoutExpired:
        code = None
    try:
        # Its whole group: a server or a browser that it started ends with it.
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    if code is None:
        return f"{name}: cut off after {bound} s"
    return f"{name}: ended with exit code {code}, see above" if code else ""


if __name__ == "__main__":
    sys.exit(main())
