"""How figures are taken and printed: side by side, with p50 and p99, the CPU that others took meanwhile, and beside the
goal. Nothing here asserts anything."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

_HZ: Final = os.sysconf("SC_CLK_TCK")
_NAME: Final = 50
_CELL: Final = 11


@dataclass(frozen=True)
class Goal:
    """A goal of PERFORMANCE.md beside what was measured. `met` None: this run cannot tell."""

    measure: str
    goal: str
    measured: str
    met: bool | None

    def line(self) -> str:
        word = {True: "met", False: "NOT MET", None: "not told"}[self.met]
        return f"{word:<9} {self.measure}: {self.measured}   (goal {self.goal})"


@dataclass
class Report:
    """The figures of one benchmark, printed as they come."""

    quick: bool = False
    kept: Path | None = None  # where the goals go as they are told: a benchmark that is cut off has told some
    goals: list[Goal] = field(default_factory=list)

    @contextmanager
    def table(self, title: str, *columns: str) -> Iterator[None]:
        """A table; what other processes took while it was measured stands below it."""
        print(f"\n{title}\n{'':<{_NAME}}" + "".join(f"{name:>{_CELL}}" for name in columns), flush=True)
        began = usage()
        yield
        busy, own, whole = (after - before for after, before in zip(usage(), began, strict=True))
        taken = max(0.0, busy - own) / max(whole, 1e-9)
        if whole > 0.1:
            load = os.getloadavg()[0]
            print(f"    other processes took {taken:.0%} of the machine meanwhile, load {load:.1f}", flush=True)

    def row(self, name: str, *cells: str, note: str = "") -> None:
        """A line of the table."""
        print(f"  {name:<{_NAME - 2}}" + "".join(f"{cell:>{_CELL}}" for cell in cells) + f"   {note}", flush=True)

    def say(self, text: str) -> None:
        """A line in words."""
        print(f"    {text}", flush=True)

    def goal(self, measure: str, goal: str, measured: str, met: bool | None) -> None:
        """Set a goal beside what was measured."""
        self.goals.append(Goal(measure, goal, measured, met))
        if self.kept is not None:
            self.kept.write_text(json.dumps([asdict(told) for told in self.goals]))
        print("  > " + self.goals[-1].line(), flush=True)


def run(measure: Callable[[Report], None]) -> None:
    """Run a benchmark as a program: `--quick` for less of it, `--goals FILE` for the caller's summary."""
    parser = argparse.ArgumentParser(description=(measure.__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--goals", type=Path)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    measure(Report(given.quick, given.goals))


# --- figures ---------------------------------------------------------------------------------------------------------


def rank(times: Sequence[float], share: float) -> float:
    """The value below which this share of the times lies; 0 when there are none."""
    found = sorted(times)
    return found[min(len(found) - 1, int(len(found) * share))] if found else 0.0


def p50(times: Sequence[float]) -> float:
    return rank(times, 0.5)


def p99(times: Sequence[float]) -> float:
    return rank(times, 0.99)


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 10 else f"{seconds:.1f} s"


def us(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us"


def times(ratio: float) -> str:
    return f"{ratio:.2f}x"


# --- the machine -----------------------------------------------------------------------------------------------------


def usage() -> tuple[float, float, float]:
    """CPU seconds: of everybody, of this process and its descendants (ended ones too), and of the machine."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    busy = sum(ticks) - ticks[3] - ticks[4]
    own = sum(sum(spent) for _, spent in _family())
    return busy / _HZ, own / _HZ, sum(ticks) / _HZ


def _family() -> list[tuple[int, tuple[int, ...]]]:
    parents: dict[int, tuple[int, tuple[int, ...]]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            parents[int(name)] = int(fields[1]), tuple(int(fields[at]) for at in range(11, 15))
    found, fresh = [], {os.getpid()}
    while fresh:
        found += [(pid, parents[pid][1]) for pid in fresh if pid in parents]
        fresh = {pid for pid, (parent, _) in parents.items() if parent in fresh}
    return found


def _stat(pid: int | None) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_of(pid: int | None) -> float:
    """CPU seconds of a process so far: to the nanosecond, over its living threads."""
    spent = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def rss_of(pid: int | None) -> float:
    """Resident memory in MiB."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def tree_of(pid: int) -> list[int]:
    """A process and its descendants."""
    kids: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            kids.setdefault(int(fields[1]), []).append(int(name))
    found = [pid]
    for one in found:
        found += kids.get(one, [])
    return found
