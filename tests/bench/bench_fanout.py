"""Live fan-out: 2,000 recorded events a second to 100 and 500 JSON subscribers through the real socket of a real
server, from the call that records an event to the frame that tells it. Also with subscribers who never read.

Run as `python -m tests.bench.bench_fanout`; under a minute; prints figures, asserts nothing.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Final

from tests.bench.kit import Report, cpu_of, ms, p50, p99, run
from tests.bench.stages import Server, stage
from tests.bench.watching import Told, Watchers

RATE: Final = 2_000
SECONDS: Final = 6.0
CROWDS: Final = ((1, 0), (100, 0), (100, 20), (500, 0))


def delays(noted: list[tuple[int, int]], told: Told) -> list[float]:
    """For each recording, how long it was until this subscriber had been told of it."""
    ends = [after for _, after in told]
    found = []
    for seq, at in noted:
        where = bisect_left(ends, seq)
        if where < len(told):
            found.append((told[where][0] - at) / 1e9)
    return found


def crowd(report: Report, server: Server, count: int, deaf: int, seconds: float) -> tuple[float, bool]:
    """One row; the p99, and whether everybody was told everything."""
    with Watchers(server, count + deaf, deaf=deaf) as watchers:
        began, before, reader = time.perf_counter(), cpu_of(server.pid), cpu_of(watchers.pid)
        noted = server.ask("turns", seconds, RATE)
        spent, read = cpu_of(server.pid) - before, cpu_of(watchers.pid) - reader
        lasted = time.perf_counter() - began
        server.ask("turns", 0.3, 100)  # whoever is late has had this long
        everybody = watchers.stop()
    took = [one for told in everybody for one in delays(noted, told)]
    whole = len(took) == count * len(noted)
    size = max(1, int(RATE * 0.01))
    cells = ms(p50(took)), ms(p99(took)), ms(max(took)), f"{len(took) * size / lasted:,.0f}", f"{spent / lasted:.0%}"
    note = f"{len(took) / max(1, count * len(noted)):.1%} told; the reader took {read / lasted:.0%} of a core"
    report.row(f"{count} subscribers{f' and {deaf} that never read' if deaf else ''}", *cells, note=note)
    return p99(took), whole


def measure(report: Report) -> None:
    """How long the log's events take to everybody who watches."""
    seconds = 2.0 if report.quick else SECONDS
    with (
        stage() as server,
        report.table(
            f"live fan-out: {RATE:,} events/s recorded, delay until the frame is there",
            "p50",
            "p99",
            "max",
            "events/s",
            "server",
        ),
    ):
        server.ask("turns", 0.5, RATE)
        for count, deaf in CROWDS:
            tail, whole = crowd(report, server, count, deaf, seconds)
    told = f"p99 {ms(tail)}{'' if whole else ', and not everybody was told everything in time'}"
    report.goal("fan-out, 500 subscribers x 2,000 events/s", "p99 < 50 ms", told, tail < 0.050 and whole)


if __name__ == "__main__":
    run(measure)
