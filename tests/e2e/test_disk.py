"""The disk fills up, or somebody else holds the log, while runs work: the gate closes, says so, and opens again."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest
from app.adapters.providers import set_key

from tests.e2e.installation import HELM, Client, Installation, Json, Watcher, gateway, installed, until

SHELF: Final = (sys.executable, "-m", "tests.cli.shelf_server")
SIZE_MIB: Final = 24
pytestmark = pytest.mark.timeout(120)


@dataclass
class Disk:
    """Room that can be taken and given back: a small file system, or, where none may be mounted, a limit on files."""

    folder: Path
    mounted: bool

    def fill(self, process: int) -> None:
        """Leave no room for one more page."""
        if not self.mounted:
            resource.prlimit(process, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            return
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(b"\0" * 4096):
                    pass
            except OSError:
                return

    def free(self, process: int) -> None:
        """Give the room back."""
        if not self.mounted:
            resource.prlimit(process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (self.folder / "ballast").unlink(missing_ok=True)


@pytest.fixture
def disk() -> Iterator[Disk]:
    folder = Path(tempfile.mkdtemp(prefix="helm-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "none", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, timeout=10).returncode == 0
    try:
        yield Disk(folder, mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Agent:
    """An agent's hooks as the door forwards them."""

    line: httpx.AsyncClient
    run: str
    calls: int = 0

    async def ask(self) -> str:
        """Ask for one command: `allow`, or why not. What was allowed is reported."""
        self.calls += 1
        hook = {"tool_name": "Bash", "tool_input": {"command": f"make {'x' * 4000}"}, "cwd": "/workspace"}
        call = {**hook, "tool_use_id": f"toolu_{self.calls}"}
        said = (await self._post("/gate", call)).json()["hookSpecificOutput"]
        if said["permissionDecision"] != "allow":
            return str(said["permissionDecisionReason"])
        await self._post("/gate/outcome", {**call, "tool_response": "ok", "hook_event_name": "PostToolUse"})
        return "allow"

    async def _post(self, path: str, body: Json) -> httpx.Response:
        return await self.line.post(path, json=body, headers={"x-helm-run": self.run})


async def _begin(place: Installation) -> tuple[Client, Agent]:
    place.command = SHELF
    set_key(place.home / "keys" / "providers", "anthropic", "sk-nobody-uses-this")
    client = await place.start()
    return client, await _agent(place, client)


async def _agent(place: Installation, client: Client) -> Agent:
    told = await client.post("/runs", {"blueprint": "market-brief", "task": "work", "title": "work"})
    return Agent(place.keep(gateway(place)), told.json()["id"])


async def _red(client: Client) -> bool:
    return await client.healthz() == 503


async def _well(client: Client) -> bool:
    return await client.healthz() == 200


async def _is_refused(agent: Agent) -> bool:
    return (await agent.ask()).startswith("LEDGER_UNAVAILABLE")


async def _is_allowed(agent: Agent) -> bool:
    return await agent.ask() == "allow"


async def _finish(place: Installation, client: Client, watcher: Watcher, watching: asyncio.Task[None]) -> None:
    """Everything that a client was told is there, and the log verifies."""
    head = int((await client.get("/log"))["head"])

    async def reached() -> bool:
        return watcher.last >= head

    await until(reached, "the watcher at the head")
    watching.cancel()
    await asyncio.wait([watching])
    assert await place.stop() == 0
    report = place.check()
    assert report.ok, report.errors
    assert report.receipts >= len(watcher.seen)


async def test_a_full_disk_closes_the_gate_and_room_opens_it_again(disk: Disk) -> None:
    async with installed(folder=disk.folder) as place:
        client, agent = await _begin(place)
        assert place.process is not None
        watcher = Watcher()
        watching = asyncio.create_task(watcher.watch(client))
        assert await agent.ask() == "allow"
        disk.fill(place.process.pid)
        await until(lambda: _is_refused(agent), "a refusal")
        assert await _red(client), "red as soon as something was refused"
        refused = await client.post("/runs", {"blueprint": "market-brief", "task": "more", "title": "more"})
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert refused.json()["error"]["code"] == "LEDGER_UNAVAILABLE"
        assert not await _is_allowed(agent), "while there is no room nothing is released"
        disk.free(place.process.pid)
        await until(lambda: _is_allowed(agent), "an allow after room came back")
        await until(lambda: _well(client), "a green light")
        await _finish(place, client, watcher, watching)


async def test_a_server_that_starts_without_room_says_so_and_starts_with_it(disk: Disk) -> None:
    if not disk.mounted:
        return  # the limit is one of a running process
    async with installed(folder=disk.folder) as place:
        _, agent = await _begin(place)
        assert await agent.ask() == "allow"
        await place.kill()
        size = len(place.lines())
        disk.fill(0)
        place.command = HELM
        await place.spawn()
        # What an old transaction has left in the file may be room enough for a start.
        came_up = await place.is_up_or_ended()
        said = place.said()
        assert "Traceback" not in said, said
        assert came_up or "space" in said or "full" in said, said
        await place.kill()
        disk.free(0)
        place.command = SHELF
        client = await place.start()
        assert len(place.lines()) >= size
        assert await (await _agent(place, client)).ask() == "allow"
        assert await place.stop() == 0
        assert place.check().ok


async def test_a_log_that_another_process_holds_closes_the_gate_until_it_is_let_go() -> None:
    async with installed() as place:
        client, agent = await _begin(place)
        watcher = Watcher()
        watching = asyncio.create_task(watcher.watch(client))
        assert await agent.ask() == "allow"
        with closing(sqlite3.connect(place.home / "helm.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await _is_refused(agent)
            assert await _red(client), "red as soon as something was refused"
            other.execute("ROLLBACK")
        assert await agent.ask() == "allow"
        await until(lambda: _well(client), "a green light")
        await _finish(place, client, watcher, watching)
