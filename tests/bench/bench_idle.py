"""A server with nothing to do: 20 runs that wait and 20 open dashboards, their sockets held; then its memory and CPU.

Run as `python -m tests.bench.bench_idle`; half a minute; prints figures, asserts nothing.
"""

from __future__ import annotations

import socket
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

from tests.bench.kit import Report, cpu_of, rss_of, run, tree_of
from tests.bench.watching import opened
from tests.cli.kit import Running, served

RUNS: Final = 20
BROWSERS: Final = 20
SECONDS: Final = 12.0


def sockets(server: Running, runs: list[str], client: httpx.Client) -> list[socket.socket]:
    """A dashboard's socket on each run."""
    found = []
    for name in runs[:BROWSERS]:
        ticket = client.post("/live/ticket").json()["ticket"]
        found.append(opened(f"{client.base_url}/live?ticket={ticket}&after=-1&run={name}&as=html"))
    return found


def drain(lines: list[socket.socket]) -> None:
    """What has come until now is read."""
    for line in lines:
        try:
            while line.recv(1 << 16):
                pass
        except BlockingIOError:
            continue


def watch(
    report: Report, server: Running, name: str, seconds: float, lines: list[socket.socket]
) -> tuple[float, float]:
    """One row: all processes of the server over some seconds."""
    family = tree_of(server.process.pid)
    before = [cpu_of(pid) for pid in family]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        drain(lines)
        time.sleep(0.5)
    spent = sum(cpu_of(pid) - was for pid, was in zip(family, before, strict=True)) / seconds
    own, *others = map(rss_of, family)
    note = "its processes: " + ", ".join(
        f"{role_of(pid)} {size:.0f} MiB" for pid, size in zip(family[1:], others, strict=True)
    )
    report.row(name, f"{own:.0f} MiB", f"{own + sum(others):.0f} MiB", f"{spent:.2%}", note=note)
    return own, spent


def role_of(pid: int) -> str:
    """What a process of the server is: the module that it runs."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    return next((word for word in words if word.startswith("app.")), words[0])


def measure(report: Report) -> None:
    """What an idle server costs."""
    seconds = 4.0 if report.quick else SECONDS
    with tempfile.TemporaryDirectory(prefix="hb-") as folder, served(Path(folder) / "home", HELM_SLOTS="40") as server:
        facts = httpx.Response(200, content=(server.home / "cli.json").read_bytes()).json()
        headers = {"authorization": f"Bearer {facts['token']}"}
        with (
            httpx.Client(base_url=facts["url"], headers=headers, trust_env=False, timeout=30) as client,
            report.table("idle server (its door's process included)", "server", "all", "CPU"),
        ):
            time.sleep(1)
            watch(report, server, "nothing at all", seconds / 2, [])
            asked = [client.post("/api/v1/runs", json={"blueprint": "market-brief"}) for _ in range(RUNS)]
            lines = sockets(server, [answer.json()["id"] for answer in asked], client)
            time.sleep(3)
            name = f"{RUNS} waiting runs, {BROWSERS} open dashboards"
            own, spent = watch(report, server, name, seconds, lines)
            for line in lines:
                line.close()
    report.goal(
        "idle server", "< 150 MiB, < 1 % CPU", f"{own:.0f} MiB, {spent:.2%} with its door", own < 150 and spent < 0.01
    )


if __name__ == "__main__":
    run(measure)
