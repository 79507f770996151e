"""Backtests over a log: each run from its start, the newest first, in bounded pages; and the log stays as it was."""

from __future__ import annotations

from collections import Counter

from app.domain.policy import Bundle
from app.domain.policy_text import parse_bundle
from app.services.backtests import Step, backtest

from tests.domain.policy_kit import rule
from tests.house import LIBRARY, House
from tests.services.conftest import OpenHouse

HEAD = 'name = "new"\n[tools]\nRead = "read"\nBash = "execute"\n'
CLOSED = rule("no-reads-in-run-2", "DENY", "run.no == 2") + rule("rest", "ALLOW", tools='Read", "Bash')


def candidate(rules: str = CLOSED) -> Bundle:
    return parse_bundle({"bundle.toml": HEAD, "rules.toml": rules}, "new")


async def read_twice(world: House, calls: int = 2) -> str:
    """A run that reads some files, and one command that is refused."""
    run = await world.start()
    for number in range(calls):
        hook = world.hook("Read", {"file_path": f"/workspace/{number}"}, f"r{number}")
        await world.services.tool_calls.ask(run.id, hook)
    await world.services.tool_calls.ask(run.id, world.hook("Bash", {"command": "rm -rf /"}, "b"))
    return run.id


async def steps(world: House, bundle: Bundle, **which: object) -> list[Step]:
    return [step async for step in backtest(world.ledger.read, bundle, **which)]  # type: ignore[arg-type]


def changes(found: list[Step]) -> Counter[tuple[str, str]]:
    return Counter((row.old[0], row.new[0]) for step in found for row in step.rows)


async def test_every_run_is_decided_again_from_its_start(open_house: OpenHouse) -> None:
    async with open_house() as world:
        first, second = await read_twice(world), await read_twice(world)
        before = await world.ledger.read.size()
        found = await steps(world, candidate())
        assert changes(found) == {("ALLOW", "ALLOW"): 2, ("ALLOW", "DENY"): 2, ("DENY", "ALLOW"): 2}
        assert [row.recorded.run for step in found for row in step.rows] == [second] * 3 + [first] * 3
        assert (found[-1].runs, found[-1].left_out) == (2, 0)
        assert await world.ledger.read.size() == before
        same = await steps(world, LIBRARY.bundle("default"))
        assert all(old == new for old, new in changes(same))


async def test_one_run_a_time_and_a_policy_narrow_it(open_house: OpenHouse) -> None:
    async with open_house() as world:
        first = await read_twice(world)
        world.clock.ms += 60_000
        since = (await world.ledger.read.events(run=await read_twice(world)))[0].ts
        assert changes(await steps(world, candidate(), run=first)).total() == 3
        assert changes(await steps(world, candidate(), since=since)) == {("ALLOW", "DENY"): 2, ("DENY", "ALLOW"): 1}
        assert changes(await steps(world, candidate(), policy="default")).total() == 6
        assert changes(await steps(world, candidate(), policy="ops")).total() == 0
        assert (await steps(world, candidate(), run="run_none"))[-1].runs == 0


async def test_past_its_bound_it_says_how_many_runs_are_left_out(open_house: OpenHouse) -> None:
    async with open_house() as world:
        await read_twice(world)
        second = await read_twice(world)
        found = await steps(world, candidate(), most=1)
        assert {row.recorded.run for step in found for row in step.rows} == {second}
        assert (found[-1].runs, found[-1].left_out) == (1, 1)


async def test_a_long_run_comes_in_pages(open_house: OpenHouse) -> None:
    async with open_house() as world:
        await read_twice(world, 200)
        found = await steps(world, candidate(rule("rest", "DENY", tools='Read", "Bash')))
        assert len(found) > 2
        assert changes(found) == {("ALLOW", "DENY"): 200, ("DENY", "DENY"): 1}
        assert [step.events for step in found] == sorted(step.events for step in found)
