"""The line between a run and its server: where it ends, the run ends, and its door with it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from app.adapters.docker import Sandbox
from app.domain.receipt import parse

from tests.cli.kit import ROOT
from tests.e2e.installation import Client, Installation, Json, installed, until
from tests.e2e.killing import effects_of, letters_of, worker_task

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]
IMAGE = os.environ.get("HELM_AGENT_IMAGE", "helm-agent:latest")
IMPATIENT = "helm-agent-test:impatient"
GRACE_S = 4


async def _waiting_run(client: Client) -> str:
    """A run whose agent waits for a person."""
    order = {"blueprint": "market-brief", "task": worker_task("w"), "title": "w", "budget_micro": 10**9}
    run = str((await client.post("/runs", order)).json()["id"])

    async def asked() -> list[Json]:
        return [item for item in (await client.get("/inbox"))["items"] if item["run"] == run]

    await until(asked, "the agent's question")
    return run


def _kill_main_process(run: str) -> None:
    """SIGKILL to the container's first process, by the engine: it belongs to another user than who runs this test."""
    command = ["docker", "kill", "--signal", "KILL", f"helm-{run}"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)


async def _is_gone(place: Installation, run: str) -> bool:
    sandbox = Sandbox(place.home, ROOT / "agent_image" / "seccomp.json")
    try:
        return not any(container.live for container in await sandbox.list() if container.run == run)
    finally:
        sandbox.close()


def _door_opens(place: Installation, run: str) -> bool:
    folder = place.home / "door" / "runs" / run
    if not folder.is_dir():
        return False
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(f"/proc/self/fd/{handle}/door.sock")
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


async def test_a_run_whose_runner_is_killed_ends_and_its_door_is_shut() -> None:
    async with installed() as place:
        client = await place.start()
        run = await _waiting_run(client)
        assert _door_opens(place, run)
        before = effects_of(place, run)
        _kill_main_process(run)

        async def ended() -> bool:
            return bool((await client.get(f"/runs/{run}"))["closed"])

        await until(ended, "the run's end")
        shown = await client.get(f"/runs/{run}")
        assert (shown["status"], shown["reason_code"]) == ("failed", "AGENT_FAILED")
        assert "killed" in shown["message"]
        assert await _is_gone(place, run)
        assert not _door_opens(place, run)
        assert (await client.get("/inbox"))["items"] == [], "nobody is asked about what cannot happen any more"
        assert effects_of(place, run) == before
        assert letters_of(place) == []
        assert await place.stop() == 0
        assert place.check().ok


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[str]:
    """The agent image whose runner gives a server up after seconds."""
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nENV HELM_LINK_GRACE_S={GRACE_S}\n")
    command = ["docker", "build", "-q", "--network", "none", "-t", IMPATIENT, str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    yield IMPATIENT
    subprocess.run(["docker", "rmi", "-f", IMPATIENT], check=True, capture_output=True, timeout=60)


async def test_a_run_whose_server_stays_away_ends_by_itself(impatient: str) -> None:
    async with installed(HELM_IMAGE=impatient) as place:
        client = await place.start()
        run = await _waiting_run(client)
        before = effects_of(place, run)
        await place.kill()

        async def gone() -> bool:
            return await _is_gone(place, run)

        await until(gone, "the container's own end", GRACE_S + 30)
        assert not _door_opens(place, run), "the door dies with its server"
        client = await place.start()
        shown = await client.get(f"/runs/{run}")
        assert shown["status"] == "interrupted"
        assert "it lost the server" in shown["message"]
        assert not _door_opens(place, run)
        assert effects_of(place, run) == before
        stopped = await client.post(f"/runs/{run}/stop", {})
        assert stopped.json()["run"]["status"] == "stopped"
        assert await place.stop() == 0
        assert place.check().ok


async def test_what_ended_runs_left_is_cleared_away_at_the_next_start() -> None:
    async with installed() as place:
        client = await place.start()
        run = await _waiting_run(client)
        stopping = asyncio.create_task(client.post(f"/runs/{run}/stop", {}))
        await until(lambda: _said(place, "control"), "the order to stop")
        await place.kill()
        await asyncio.wait([stopping])
        client = await place.start()
        assert (await client.get(f"/runs/{run}"))["status"] == "stopped"

        async def swept() -> bool:
            sandbox = Sandbox(place.home, ROOT / "agent_image" / "seccomp.json")
            try:
                return await sandbox.list() == () and not (place.home / "door" / "runs" / run).exists()
            finally:
                sandbox.close()

        await until(swept, "the end of what was left")
        assert await place.stop() == 0


async def _said(place: Installation, kind: str) -> bool:
    return any(parse(line).payload.kind == kind for _, line in place.lines()[-5:])
