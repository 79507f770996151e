"""How long a run takes to start: from the request to the agent's first model request, in real containers of the real
image, beside `docker run` of the bare image; alone, and ten at once.

Run as `python -m tests.bench.bench_runs`; under two minutes; needs the engine and the image; asserts nothing.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from typing import Any, Final

import orjson

from tests.bench.kit import Report, ms, p50, run, times
from tests.e2e.installation import Client, installed

ALONE: Final = 4
AT_ONCE: Final = 10
WAIT_S: Final = 80.0
TASK: Final = '[scenario:script]\n[{"tool": "Bash", "input": {"command": "sleep 30"}}]'


def bare(image: str) -> float:
    """Seconds of `docker run` of a command that does nothing."""
    began = time.perf_counter()
    words = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "/bin/true", image]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    return time.perf_counter() - began


async def first_request(client: Client, name: str) -> dict[str, float]:
    """Seconds from asking for a run to its steps, as they are told over the live socket."""
    line = await client.socket(-1)
    began, found = time.perf_counter(), dict[str, float]()
    answer = await client.post("/runs", {"blueprint": "market-brief", "title": name, "task": TASK})
    answer.raise_for_status()
    run_id = answer.json()["id"]
    found["accepted"] = time.perf_counter() - began
    try:
        async with asyncio.timeout(WAIT_S):
            while "first model request" not in found:
                for event in _told(await line.recv(), run_id):
                    found.setdefault(_step(event), time.perf_counter() - began)
    except TimeoutError:
        found["failed"] = WAIT_S
    line.transport.abort()
    return found


def _told(text: str | bytes, run_id: str) -> list[dict[str, Any]]:
    return [event for event in json_of(text).get("events", ()) if event["run"] == run_id]


def json_of(text: str | bytes) -> dict[str, Any]:
    loaded: dict[str, Any] = orjson.loads(text)
    return loaded


def _step(event: dict[str, Any]) -> str:
    if event["name"] == "intent.recorded" and event["body"]["door"] == "model":
        return "first model request"
    if event["name"] == "run.closed":
        return "failed"
    return {"run.started": "container up", "runner.connected": "agent connected"}.get(event["name"], "other")


def _row(report: Report, name: str, found: list[dict[str, float]]) -> None:
    cells = []
    for step in ("accepted", "container up", "agent connected", "first model request"):
        spans = [one[step] for one in found if step in one]
        cells.append(ms(p50(spans)) if spans else "-")
    last = [one.get("first model request", WAIT_S) for one in found]
    failed = sum("first model request" not in one for one in found)
    report.row(name, *cells, ms(max(last)), note=f"{failed} failed" if failed else "")


async def _measured(report: Report) -> None:
    image = os.environ.get("HELM_AGENT_IMAGE", "helm-agent:latest")
    many = 3 if report.quick else AT_ONCE
    async with installed(HELM_SLOTS=str(many + 2), HELM_IMAGE=image) as place:
        client = await place.start()
        columns = ("accepted", "container", "connected", "1st request", "slowest")
        with report.table("run start: seconds after it was asked for (containers count as other processes)", *columns):
            floors, alone = list[float](), list[dict[str, float]]()
            await first_request(client, "warm")
            for turn in range(2 if report.quick else ALONE):
                floors.append(await asyncio.to_thread(bare, image))
                alone.append(await first_request(client, f"alone-{turn}"))
                await _stopped(client)
            report.row("docker run of the bare image (median, whole)", "", ms(p50(floors)))
            _row(report, "one run after the other (medians)", alone)
            together = await asyncio.gather(*(first_request(client, f"at-once-{n}") for n in range(many)))
            _row(report, f"{many} runs at once (medians)", list(together))
            await _stopped(client)
        _goals(report, floors, alone, list(together))
        await client.close()
        await place.stop()


async def _stopped(client: Client) -> None:
    """Stop every run that is going."""
    going = (await client.get("/runs", status="live", limit=50))["runs"]
    await asyncio.gather(*(client.post(f"/runs/{one['id']}/stop", {}) for one in going))


def _goals(
    report: Report, floors: list[float], alone: list[dict[str, float]], together: list[dict[str, float]]
) -> None:
    first = p50([one.get("first model request", WAIT_S) for one in alone])
    told = f"{ms(first)}, {times(first / p50(floors))} of docker run alone ({ms(p50(floors))})"
    report.goal("run start to the first model request", "< 2 s", told, first < 2)
    failed = sum("first model request" not in one for one in together)
    slowest = max(one.get("first model request", WAIT_S) for one in together)
    told = f"{len(together)} at once: {failed} failed, the slowest after {ms(slowest)}"
    report.goal("runs at once", "20 on 2 cores without a failed start", told, None if not failed else False)


def measure(report: Report) -> None:
    """How long a run takes to start."""
    asyncio.run(_measured(report))


if __name__ == "__main__":
    run(measure)
