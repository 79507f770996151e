"""A run that only waits for people stands still and gives its slot away; what it waited for gives it one again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Literal

import pytest
from app.domain.errors import Conflict
from app.domain.events import Draft
from app.domain.payloads import AgentSpawned, RunnerConnected
from app.domain.run import Run
from app.services.modelcalls import ModelCall
from app.services.recovery import recover

from tests.house import MAIL, House
from tests.services.conftest import OpenHouse

SEND = "mcp__mail__send_email"
Asked = asyncio.Task[Any]


async def connected(world: House) -> Run:
    run = await world.start()
    await world.ledger.record(run.id, Draft(RunnerConnected("r", "s", "c", "x", 1)))
    return run


async def questioned(world: House, key: str = "toolu_1", **more: object) -> tuple[Run, Asked]:
    """A run that asks a person for one thing."""
    run = await connected(world)
    asked = ask(world, run, key, **more)
    await world.waiting(run.id)
    return run, asked


def ask(world: House, run: Run, key: str, **more: object) -> Asked:
    return asyncio.create_task(world.services.tool_calls.ask(run.id, world.hook(SEND, MAIL, key, **more)))


async def later(world: House, seconds: int) -> None:
    world.clock.ms += seconds * 1000
    await world.parking.park_due()


async def parked(world: House) -> tuple[Run, Asked]:
    run, asked = await questioned(world)
    await later(world, 121)
    assert await status(world, run) == "parked"
    return run, asked


async def status(world: House, run: Run) -> str:
    return (await world.services.runs.get(run.id)).status


async def names(world: House, run: Run) -> list[str]:
    return [e.name for e in await world.ledger.read.events(run=run.id) if e.name in ("run.parked", "run.unparked")]


async def test_a_run_that_waits_long_is_parked_and_goes_on_with_the_answer(open_house: OpenHouse) -> None:
    async with open_house(slots=1) as world:
        run, asked = await questioned(world)
        await later(world, 119)
        assert (await status(world, run), world.sandbox.still) == ("waiting", set())
        await later(world, 2)
        assert (await status(world, run), world.sandbox.still) == ("parked", {run.id})
        assert world.services.runs.slots_used() == 0
        (action,) = await world.waiting(run.id)
        await world.answer(action.approval, "allow")
        assert (await asked).allowed
        await world.until(run.id, "run.unparked")
        await world.sandbox.until_still()
        assert (await status(world, run), world.services.runs.slots_used()) == ("running", 1)


@pytest.mark.parametrize("answer", ["deny", "expire"])
async def test_a_denial_and_the_end_of_a_question_wake_it_too(
    open_house: OpenHouse, answer: Literal["deny", "expire"]
) -> None:
    async with open_house() as world:
        run, asked = await parked(world)
        (action,) = await world.waiting(run.id)
        if answer == "deny":
            await world.answer(action.approval, "deny")
        else:
            world.clock.ms += 10 * 86_400_000
            await world.services.approvals.expire_due()
        assert not (await asked).allowed
        await world.until(run.id, "run.unparked")


async def test_words_to_a_parked_run_wake_it(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run, asked = await parked(world)
        await world.services.steering.queue(run.id, "hurry", "steer", by="ana")
        event = await world.until(run.id, "run.unparked")
        assert event.payload.reason == "steered"  # type: ignore[attr-defined]  # RunUnparked
        await world.sandbox.until_still()
        assert await status(world, run) == "waiting", "a message answers no question"
        await later(world, 121)
        assert await status(world, run) == "parked"
        asked.cancel()


async def test_its_slot_goes_to_another_run_and_it_waits_in_line_honestly(open_house: OpenHouse) -> None:
    async with open_house(slots=1) as world:
        run, asked = await parked(world)
        other = await world.start()
        (action,) = await world.waiting(run.id)
        await world.answer(action.approval, "allow")
        assert (await asked).allowed, "the answer is recorded at once"
        event = await world.until(run.id, "run.parked", 2)
        assert event.payload.reason == "slot"  # type: ignore[attr-defined]  # RunParked
        assert (await status(world, run), world.sandbox.still) == ("parked", {run.id})
        with pytest.raises(Conflict):
            await world.services.runs.start("market-brief", by="bo")
        world.sandbox.end(other.id, 0)
        await world.until(run.id, "run.unparked")
        await world.sandbox.until_still()
        assert world.services.runs.slots_used() == 1


async def test_the_line_for_slots_is_first_come_first_served(open_house: OpenHouse) -> None:
    async with open_house(slots=2) as world:
        (first, asked), (second, asked2) = await questioned(world), await questioned(world)
        await later(world, 121)
        others = [await world.start(), await world.start()]
        for run in (second, first):
            (action,) = await world.waiting(run.id)
            await world.answer(action.approval, "allow")
            await world.until(run.id, "run.parked", 2)
        world.sandbox.end(others[0].id, 0)
        await world.until(second.id, "run.unparked")
        assert (await world.services.runs.get(first.id)).parked == "slot"
        world.sandbox.end(others[1].id, 0)
        await world.until(first.id, "run.unparked")
        assert (await asked).allowed and (await asked2).allowed


async def test_a_run_in_which_anything_else_goes_on_is_not_parked(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run, asked = await questioned(world)
        tools = world.services.tool_calls
        assert (await tools.ask(run.id, world.hook("Bash", {"command": "make"}, "toolu_2"))).allowed
        await later(world, 1_000)
        assert await status(world, run) == "waiting"
        await tools.report(run.id, {"tool_use_id": "toolu_2", "tool_response": "ok"})
        call = ModelCall(run.id, "anthropic", "/v1/messages", "claude-sonnet-5", "", 100, 100, "0" * 64, True, [])
        answer, ticket = await world.services.model_calls.begin(call)
        assert answer.allowed
        await later(world, 1_000)
        assert await status(world, run) == "waiting"
        ended = {"ok": True, "cancelled": False, "usage": None, "model": "", "error": "", "request_id": ""}
        await world.services.model_calls.end(run.id, ticket, summary={}, **ended)  # type: ignore[arg-type]
        await later(world, 119)
        assert await status(world, run) == "waiting", "it has waited since the last thing that happened"
        await later(world, 2)
        assert await status(world, run) == "parked"
        asked.cancel()


async def test_a_lead_that_waits_for_its_waiting_sub_agent_does_nothing_either(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await connected(world)
        spawn = world.hook("Agent", {"subagent_type": "researcher", "prompt": "x", "description": "d"}, "toolu_0")
        assert (await world.services.tool_calls.ask(run.id, spawn)).allowed
        await world.ledger.record(run.id, Draft(AgentSpawned("a1", "researcher", "", "toolu_0")))
        asked = ask(world, run, "toolu_1", agent_id="a1", agent_type="researcher")
        await world.waiting(run.id)
        await later(world, 121)
        assert await status(world, run) == "parked"
        asked.cancel()


async def test_a_parked_run_is_taken_up_parked_after_a_restart(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run, asked = await parked(world)
        sandbox = world.sandbox
        asked.cancel()
    async with open_house(sandbox=sandbox) as world:
        await recover(world.ledger, world.services.runs, sandbox)
        await world.parking.take_up()
        assert (await status(world, run), sandbox.still) == ("parked", {run.id})
        assert world.services.runs.slots_used() == 0
        (action,) = await world.waiting(run.id)
        await world.answer(action.approval, "allow")
        await world.until(run.id, "run.unparked")
        await sandbox.until_still()
        assert (await world.services.tool_calls.ask(run.id, world.hook(SEND, MAIL))).allowed


async def test_an_answer_that_the_old_server_did_not_live_to_act_on_wakes_it(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run, asked = await parked(world)
        await world.parking.let_go()
        (action,) = await world.waiting(run.id)
        await world.answer(action.approval, "deny")
        assert not (await asked).allowed
        sandbox = world.sandbox
    assert sandbox.still == {run.id}
    async with open_house(sandbox=sandbox) as world:
        await recover(world.ledger, world.services.runs, sandbox)
        await world.parking.take_up()
        await world.until(run.id, "run.unparked")
        await sandbox.until_still()


async def test_a_parked_run_can_be_stopped_and_takes_no_slot_for_it(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run, asked = await parked(world)
        assert await world.services.runs.stop(run.id, by="ana") == ("1 runner", "7 claude")
        assert not (await asked).allowed
        assert (await status(world, run), await names(world, run)) == ("stopped", ["run.parked"])
        assert world.services.runs.slots_used() == 0


async def test_a_frozen_run_is_not_parked_and_a_parked_one_stays_still_when_it_is_woken_in_a_freeze(
    open_house: OpenHouse,
) -> None:
    async with open_house() as world:
        run, asked = await questioned(world)
        await world.services.freezer.freeze("run", run.id, by="ana")
        await later(world, 121)
        assert await status(world, run) == "waiting"
        await world.services.freezer.unfreeze("run", run.id, by="ana")
        await later(world, 1)
        assert await status(world, run) == "parked"
        await world.services.freezer.freeze("run", run.id, by="ana")
        await world.services.steering.queue(run.id, "hello", "steer", by="ana")
        await world.until(run.id, "run.unparked")
        assert world.sandbox.still == {run.id}
        await world.services.freezer.unfreeze("run", run.id, by="ana")
        assert world.sandbox.still == set()
        asked.cancel()


async def test_an_engine_that_does_not_let_it_stand_still_leaves_it_its_slot(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run, asked = await questioned(world)
        world.sandbox.refuse_pause = "Docker does not answer."
        await later(world, 121)
        assert (await status(world, run), world.services.runs.slots_used()) == ("waiting", 1)
        assert await names(world, run) == ["run.parked", "run.unparked"]
        world.sandbox.refuse_pause = ""
        await later(world, 121)
        assert await status(world, run) == "parked"
        asked.cancel()


async def test_a_blueprint_can_be_parked_sooner_and_never_later(open_house: OpenHouse) -> None:
    for own, parked_at in ((10, 10), (1_000, 120)):
        async with open_house() as world:
            run, asked = await questioned(world)
            plan = world.services.runs.blueprint_of(run.id)
            assert plan is not None
            world.services.runs._blueprints[run.id] = replace(plan, park_after_s=own)
            await later(world, parked_at - 1)
            assert await status(world, run) == "waiting"
            await later(world, 1)
            assert await status(world, run) == "parked"
            asked.cancel()
