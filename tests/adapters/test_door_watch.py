"""A door that somebody else keeps: greeted after each of its starts, never started, stopped or unlinked from here."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from app.adapters.door_client import DoorClient, DoorUnreachable
from app.adapters.door_process import prepare_folders
from app.adapters.door_watch import DoorWatch

from tests.adapters.door_world import WAIT

ROOT = Path(__file__).resolve().parents[2]


class Greetings:
    """Counts how often a door was greeted; `failing` of the first ones break."""

    def __init__(self, failing: int = 0) -> None:
        self.count = 0
        self._failing = failing
        self._news = asyncio.Condition()

    async def __call__(self) -> None:
        async with self._news:
            self.count += 1
            self._news.notify_all()
        if self.count <= self._failing:
            raise ValueError("a run could not be opened")

    async def reached(self, count: int) -> None:
        async with asyncio.timeout(WAIT), self._news:
            await self._news.wait_for(lambda: self.count >= count)


@asynccontextmanager
async def a_door(home: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A door as compose starts it, of our own user."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "app.door", "--keys", str(home / "keys" / "providers")),
        cwd=home / "door",
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    prepare_folders(tmp_path / "door", tmp_path / "keys" / "providers", None)
    return tmp_path


async def test_each_door_is_greeted_and_a_restart_of_the_server_leaves_it_alone(home: Path) -> None:
    greetings = Greetings()
    watch = DoorWatch(home / "door", greetings, patience=WAIT)
    async with a_door(home):
        await watch.start()
        assert greetings.count == 1
        # What a server does when it starts, with the door living on.
        prepare_folders(home / "door", home / "keys" / "providers", None)
        assert (await DoorClient(home / "door").ping()).runs == ()
    async with a_door(home):
        await greetings.reached(2)
    await watch.stop()


async def test_a_first_start_does_not_wait_for_a_door(home: Path) -> None:
    greetings = Greetings()
    watch = DoorWatch(home / "door", greetings)
    await watch.start()
    assert greetings.count == 0
    with pytest.raises(DoorUnreachable):
        await DoorClient(home / "door").stay(greetings)
    async with a_door(home):
        await greetings.reached(1)
        await watch.stop()


async def test_a_greeting_that_fails_is_made_again(home: Path) -> None:
    greetings = Greetings(failing=1)
    watch = DoorWatch(home / "door", greetings)
    async with a_door(home):
        await watch.start()
        await greetings.reached(2)
        await watch.stop()
