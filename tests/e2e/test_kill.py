"""The server dies at any moment, and nothing that it acknowledged is lost, nothing happens twice, nothing unasked."""

from __future__ import annotations

import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import pytest
from app.adapters.sqlite.reader import SqliteReader
from app.domain.canonical import strict_loads
from app.domain.times import ms_of

from tests.e2e.installation import Client, Installation, Json, installed, until
from tests.e2e.killing import Deed, Kills, deeds_of, effects_of, letters_of

KILLS = int(os.environ.get("HELM_KILLS", "40"))
SEED = int(os.environ.get("HELM_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)


@pytest.mark.docker
@pytest.mark.timeout(600 + 15 * KILLS)
async def test_a_server_that_is_killed_at_any_moment_loses_repeats_and_releases_nothing() -> None:
    print(f"\nseed {SEED}, {KILLS} kills")
    async with installed() as place:
        kills = Kills(place, random.Random(SEED))
        await kills.begin()
        began = time.monotonic()
        await _rounds(kills)
        seconds = time.monotonic() - began
        client = await place.start()
        await kills.compare()
        runs = await kills.finish(client)
        await _check_effects(kills, client, runs)
        _check_runs(runs)
        await client.close()
        assert await place.stop() == 0
        kills.tail.advance()
        assert kills.watcher.seen == list(enumerate(kills.tail.ids[: len(kills.watcher.seen)]))
        report = place.check()
        assert report.ok, report.errors
        await until(lambda: _nothing_left(place, runs), "the end of every helper process")
        _tell(kills, runs, seconds)


async def _rounds(kills: Kills) -> None:
    """Kill at a random moment of a life: while it starts, or while it works."""
    place, start_s = kills.place, 4.0
    await kills.live_until_killed(kills.chance.uniform(0.1, 1.0))
    for _ in range(KILLS - 1):
        began = time.monotonic()
        await place.spawn()
        if kills.chance.random() < 0.25:
            await place.up(kills.chance.uniform(0, start_s))
            await place.kill()
            kills.counts["killed while starting"] += 1
            continue
        assert await place.up(), place.said()
        start_s = time.monotonic() - began
        kills.counts["start ms"] += int(start_s * 1000)
        kills.counts["starts"] += 1
        await place.prepare()
        await kills.compare()
        await kills.live_until_killed(kills.chance.uniform(0, 2.0))


async def _check_effects(kills: Kills, client: Client, runs: list[Json]) -> None:
    """Each line and letter has a dispatch of its own that came before it; none has more effects than dispatches."""
    deeds: list[Deed] = []
    for run in runs:
        events = await client.events(run["id"])
        deeds += deeds_of(events, await _arguments(kills.place, events))
        _check_messages(kills, run["id"], events)
    for run in runs:
        mine = [deed for deed in deeds if deed.run == run["id"] and deed.tool == "Bash"]
        _check(mine, effects_of(kills.place, run["id"]))
        kills.counts["lines"] += len(effects_of(kills.place, run["id"]))
    letters = letters_of(kills.place)
    kills.counts["letters"] = len(letters)
    mails = [deed for deed in deeds if deed.tool.endswith("send_email")]
    assert all(deed.forwarded for deed in mails if deed.outcome == "executed")
    _check(mails, letters)
    for deed in deeds:
        kills.counts[f"calls {deed.outcome}"] += 1


def _check_messages(kills: Kills, run: str, events: list[Json]) -> None:
    """Each acknowledged message is in its run once, and was handed over at most once."""
    told = Counter((event["name"], event["body"].get("control_id")) for event in events)
    for name in (name for name, where in kills.books.steered.items() if where == run):
        assert told["control.requested", name] == 1, f"message {name} is lost or doubled"
        assert told["steering.delivered", name] <= 1 and told["steering.seen", name] <= 1
        kills.counts["messages delivered"] += told["steering.delivered", name]


async def _arguments(place: Installation, events: list[Json]) -> Mapping[str, Any]:
    """What each intent asked for, from the log's own contents."""
    reader = SqliteReader(place.home / "helm.db")
    try:
        intents = [event["id"] for event in events if event["name"] == "intent.recorded"]
        found = {}
        for intent in intents:
            event = await reader.event(intent)
            assert event is not None
            found[intent] = strict_loads(event.content("args"), max_bytes=1 << 20)
        return found
    finally:
        reader.close()


def _check(deeds: list[Deed], effects: list[tuple[str, int]]) -> None:
    by_label: dict[str, list[Deed]] = defaultdict(list)
    for deed in deeds:
        by_label[deed.label].append(deed)
    happened = Counter(label for label, _ in effects)
    for label, ns in effects:
        released = [deed for deed in by_label[label] if deed.dispatched]
        assert released, f"{label} happened and was never released"
        assert min(ms_of(deed.dispatched) for deed in released) <= ns // 1_000_000, f"{label} came before its release"
    for label, calls in by_label.items():
        executed = sum(deed.outcome == "executed" for deed in calls)
        possible = sum(deed.outcome in ("executed", "unknown", "failed") and bool(deed.dispatched) for deed in calls)
        assert executed <= happened[label] <= possible, f"{label}: {happened[label]} effects of {calls}"
        assert not any(deed.dispatched and not deed.outcome for deed in calls), f"{label} has no ending: {calls}"


def _check_runs(runs: list[Json]) -> None:
    for run in runs:
        words = f"run {run['title']}: {run['status']} {run['reason_code']} {run['message'][:200]}"
        assert run["status"] in ("finished", "interrupted", "failed"), words
        assert run["status"] == "finished" or (run["reason_code"] or run["message"]), words


async def _nothing_left(place: Installation, runs: list[Json]) -> bool:
    folders = {path.name for path in (place.home / "door" / "runs").iterdir()}
    assert not folders & {run["id"] for run in runs if run["status"] != "interrupted"}, (
        "the doors of ended runs are left"
    )
    return not place.running("app.door") and not place.running("app.demo")


def _tell(kills: Kills, runs: list[Json], seconds: float) -> None:
    ends = Counter(f"{run['status']} {run['reason_code']}" for run in runs)
    print(f"{KILLS} kills in {seconds:.0f} s ({seconds / KILLS:.2f} s each), seed {SEED}")
    print(f"receipts acknowledged {len(kills.watcher.seen)}, lost 0, repeated 0; log {len(kills.tail.ids)}")
    print(dict(kills.counts), dict(ends))
    for run in runs:
        if run["status"] != "finished":
            print(run["title"], run["status"], run["reason_code"], run["message"][:300])
