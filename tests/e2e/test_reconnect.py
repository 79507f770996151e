"""Two thousand events, fifty cut sockets and a server that is killed once: what clients know is what the log holds."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import httpx
import pytest
from app.adapters.providers import set_key

from tests.e2e.installation import LOST, Client, Installation, Json, Tail, Watcher, gateway, installed, until

EVENTS: Final = 2_000
CUTS: Final = 50
PER_CUT: Final = EVENTS // CUTS
SHELF: Final = (sys.executable, "-m", "tests.cli.shelf_server")
SEED: Final = int(os.environ.get("HELM_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
_NOTE: Final = re.compile(r"note (\d{4})")


@dataclass
class Runner:
    """What a run's runner does, without a container: it numbers, batches, and repeats until it is acknowledged."""

    line: httpx.AsyncClient
    run: str
    chance: random.Random
    allowed: int = 0
    room: asyncio.Event = field(default_factory=asyncio.Event)
    said: int = 0

    def let(self, upto: int) -> None:
        """Allow events up to this number: there must be something new after each cut."""
        self.allowed = max(self.allowed, upto)
        self.room.set()

    async def play(self) -> None:
        """Tell `EVENTS` events, each acknowledged; some are told twice, and text on its way goes beside them."""
        while self.said < EVENTS:
            if self.said >= self.allowed:
                self.room.clear()
                await self.room.wait()
            upto = min(self.said + self.chance.randint(1, 8), EVENTS, max(self.allowed, self.said + 1))
            first = max(1, self.said - self.chance.randint(0, 3))
            batch = [{"n": n, "type": "run.note", "text": f"note {n:04d}"} for n in range(first, upto + 1)]
            self.said = await self._insist("/runner/events", {"lease": 1, "events": batch})
            items = [{"agent": "", "message_id": "m", "text": f"almost {self.said}"}]
            await self._insist("/runner/preview", {"items": items})

    async def _insist(self, path: str, body: Json) -> int:
        async def posted() -> Json:
            with suppress(*LOST):
                answer = await self._post(path, body)
                assert answer.status_code == httpx.codes.OK, answer.text
                return {"answer": answer.json()}
            return {}

        told = (await until(posted, "an answer of the gateway"))["answer"]
        return int(told.get("upto", 0))

    async def _post(self, path: str, body: Json) -> httpx.Response:
        return await self.line.post(path, json=body, headers={"x-helm-run": self.run})


@dataclass
class Page:
    """What an open page of the run shows: the lines that were appended, in order."""

    cursor: int = -1
    notes: list[int] = field(default_factory=list)

    def take(self, shown: Json) -> None:
        """Carry one frame out as the page's script does."""
        for op in shown.get("ops", ()):
            if op["op"] == "append":
                self.notes += [int(number) for number in _NOTE.findall(op["html"])]
        if "after" in shown:
            assert shown["after"] >= self.cursor
            self.cursor = shown["after"]


@dataclass
class Cutter:
    """Follows with all three clients, and cuts their sockets again and again."""

    place: Installation
    client: Client
    run: str
    chance: random.Random
    mine: Watcher
    whole: Watcher = field(default_factory=Watcher)
    page: Page = field(default_factory=Page)
    counts: Counter[str] = field(default_factory=Counter)

    async def until_told(self, last: int) -> None:
        """Follow on fresh sockets until every client has had event `last`, then cut them off mid-stream."""
        await asyncio.gather(self._json(self.mine, last, self.run), self._json(self.whole, last, ""), self._html(last))

    async def _json(self, watcher: Watcher, last: int, run: str) -> None:
        line = await self.client.socket(watcher.last, run)
        try:
            async with asyncio.timeout(60):
                while watcher.last < last:
                    shown = json.loads(await line.recv())
                    self.counts["previews"] += "preview" in shown
                    watcher.take(shown)
        finally:
            line.transport.abort()
            await line.wait_closed()
            self.counts["cuts"] += 1

    async def _html(self, last: int) -> None:
        line = await self.client.socket(self.page.cursor, self.run, "html")
        try:
            async with asyncio.timeout(60):
                while self.page.cursor < last:
                    self.page.take(json.loads(await line.recv()))
        finally:
            line.transport.abort()
            await line.wait_closed()


@pytest.mark.timeout(300)
async def test_a_client_whose_line_is_cut_knows_exactly_what_the_log_holds() -> None:
    chance = random.Random(SEED)
    began = time.monotonic()
    async with installed() as place:
        place.command = SHELF
        set_key(place.home / "keys" / "providers", "anthropic", "sk-nobody-uses-this")
        client = await place.start()
        told = await client.post("/runs", {"blueprint": "market-brief", "task": "tell", "title": "notes"})
        run = told.json()["id"]
        cutter = Cutter(place, client, run, chance, Watcher(run=run))
        line = place.keep(gateway(place))
        runner = Runner(line, run, chance)
        playing = asyncio.create_task(runner.play())
        restart_at = chance.randrange(10, CUTS - 10)
        for cut in range(CUTS):
            # The runner is always ahead of what the sockets are held for: they are cut while something is on its way.
            runner.let(min(EVENTS, (cut + 2) * PER_CUT))
            seq = await _some_seq(place, playing, (cut + 1) * PER_CUT - chance.randrange(PER_CUT // 2))
            await cutter.until_told(seq)
            if cut == restart_at:
                await place.kill()
                cutter.client = await place.start()
        await asyncio.wait_for(playing, 60)
        await cutter.until_told(place.lines()[-1][0])
        await _compare(place, cutter, run)
        print(
            f"\n{EVENTS} events, {cutter.counts['cuts']} sockets cut, 1 kill, {cutter.counts['previews']} previews, "
            f"seed {SEED}: {len(cutter.mine.seen)} of the run, {len(cutter.whole.seen)} of the log, "
            f"lost 0, repeated 0, {time.monotonic() - began:.0f} s"
        )


async def _some_seq(place: Installation, playing: asyncio.Task[None], notes: int) -> int:
    """The number of a receipt that stands so far into the log, once it is there."""

    async def there() -> bool:
        if playing.done():
            playing.result()
        return len(place.lines(notes - 1)) > 0

    await until(there, "the runner's events")
    return notes


async def _compare(place: Installation, cutter: Cutter, run: str) -> None:
    tail = Tail(place)
    tail.advance()
    events = await cutter.client.events(run)
    assert cutter.mine.seen == [(event["seq"], event["id"]) for event in events]
    assert cutter.whole.seen == list(enumerate(tail.ids))
    notes = [int(event["text"].split()[1]) for event in events if event["name"] == "run.noted"]
    assert notes == list(range(1, EVENTS + 1)), "what the runner said twice is recorded once"
    assert cutter.page.notes == notes, "a page shows each line once and in order"
    report = place.check()
    assert report.ok, report.errors
