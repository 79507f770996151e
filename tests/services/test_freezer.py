"""Freeze: nothing is released behind its receipt, nothing leaves, nothing goes on inside, and only its end is another
receipt."""

from __future__ import annotations

import asyncio

import pytest
from app.domain.errors import EngineUnavailable, Frozen, InvalidInput, NotFound, RunEnded
from app.domain.payloads import Dispatched
from app.services.recovery import recover

from tests.house import MAIL, House
from tests.services.conftest import OpenHouse

SEND = "mcp__mail__send_email"


async def released(world: House, after: int) -> list[int]:
    events = await world.ledger.read.events(after=after, limit=5_000)
    return [event.seq for event in events if isinstance(event.payload, Dispatched)]


async def test_nothing_is_released_behind_a_freeze_that_races_with_fifty_calls(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        ask = world.services.tool_calls.ask
        calls = [ask(run.id, world.hook("Bash", {"command": f"echo {n}"}, f"toolu_{n}")) for n in range(50)]
        asked = [asyncio.create_task(call) for call in calls[:25]]
        freezing = asyncio.create_task(world.services.freezer.freeze("all", "", by="ana", reason="odd"))
        asked += [asyncio.create_task(call) for call in calls[25:]]
        answers = await asyncio.gather(*asked)
        freeze = await freezing
        assert await released(world, freeze.seq) == []
        refused = [answer for answer in answers if not answer.allowed]
        assert refused, "the race was one"
        assert {answer.reason_code for answer in refused} == {"FROZEN"}
        assert all(answer.receipt_id for answer in refused), "each refusal is in the log"
        assert len(await released(world, -1)) == len(answers) - len(refused)


async def test_a_freeze_cuts_the_door_before_the_containers_stand_still(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run, other = await world.start(), await world.start("code-migration")
        order: list[str] = []
        for thing, verb in ((world.door, "freeze"), (world.sandbox, "pause")):
            _watched(thing, verb, order)
        freeze = await world.services.freezer.freeze("blueprint", "market-brief", by="ana", reason="odd")
        assert (await world.ledger.read.event(freeze.seq)) is not None
        assert order == ["freeze", "pause"]
        assert (world.door.frozen, world.sandbox.still) == ({run.id}, {run.id})
        again = await world.services.freezer.freeze("blueprint", "market-brief", by="bo")
        assert again == freeze, "one freeze, one receipt"
        assert (await world.services.tool_calls.ask(other.id, world.hook("Bash", {"command": "make"}))).allowed


def _watched(thing: object, verb: str, order: list[str]) -> None:
    known = getattr(thing, verb)

    async def noted(run: str) -> None:
        order.append(verb)
        await known(run)

    setattr(thing, verb, noted)


async def test_unfreeze_lets_the_same_run_go_on(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        freezer = world.services.freezer
        await freezer.freeze("run", run.id, by="ana")
        denied = await world.services.tool_calls.ask(run.id, world.hook("Bash", {"command": "make"}, "toolu_1"))
        assert (denied.allowed, denied.reason_code) == (False, "FROZEN")
        await freezer.unfreeze("run", run.id, by="bo")
        assert (world.door.frozen, world.sandbox.still, freezer.freezes()) == (set(), set(), ())
        assert (await world.services.tool_calls.ask(run.id, world.hook("Bash", {"command": "make"}, "toolu_2"))).allowed


async def test_two_freezes_over_one_run_are_lifted_one_by_one(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        freezer = world.services.freezer
        await freezer.freeze("all", "", by="ana")
        await freezer.freeze("run", run.id, by="ana")
        await freezer.unfreeze("all", "", by="ana")
        assert (world.door.frozen, world.sandbox.still) == ({run.id}, {run.id})
        await freezer.unfreeze("run", run.id, by="ana")
        assert (world.door.frozen, world.sandbox.still) == (set(), set())


async def test_a_frozen_blueprint_starts_no_run_and_says_what_to_do(open_house: OpenHouse) -> None:
    async with open_house() as world:
        await world.services.freezer.freeze("blueprint", "market-brief", by="ana")
        with pytest.raises(Frozen, match="helm unfreeze"):
            await world.services.runs.start("market-brief", by="bo")
        assert world.services.runs.slots_used() == 0
        await world.start("code-migration")


async def test_a_run_whose_container_comes_up_into_a_freeze_stands_still_at_once(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.services.runs.start("market-brief", by="ana")
        await world.services.freezer.freeze("run", run.id, by="ana")
        await world.until(run.id, "run.started")
        await world.sandbox.until_still(run.id)
        assert run.id in world.door.frozen


async def test_an_open_question_outlives_a_freeze_and_cannot_be_answered_in_it(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        asked = asyncio.create_task(world.services.tool_calls.ask(run.id, world.hook(SEND, MAIL)))
        (action,) = await world.waiting(run.id)
        freeze = await world.services.freezer.freeze("run", run.id, by="ana")
        with pytest.raises(Frozen):
            await world.answer(action.approval, "allow")
        assert await released(world, freeze.seq) == []
        await world.services.freezer.unfreeze("run", run.id, by="ana")
        await world.answer(action.approval, "allow")
        assert (await asked).allowed


async def test_an_mcp_release_is_not_used_in_a_freeze(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        tools = world.services.tool_calls
        asked = asyncio.create_task(tools.ask(run.id, world.hook(SEND, MAIL)))
        (action,) = await world.waiting(run.id)
        await world.answer(action.approval, "allow")
        assert (await asked).allowed
        await world.services.freezer.freeze("all", "", by="ana")
        assert await tools.release(run.id, "mail", "send_email", MAIL) is None
        await world.services.freezer.unfreeze("all", "", by="ana")
        assert await tools.release(run.id, "mail", "send_email", MAIL) is not None


async def test_a_freeze_outlives_the_server(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.services.freezer.freeze("run", run.id, by="ana", reason="odd")
        sandbox = world.sandbox
    sandbox.still.clear()  # somebody thawed it by hand meanwhile
    async with open_house(sandbox=sandbox) as world:
        await recover(world.ledger, world.services.runs, sandbox)
        assert [freeze.reason for freeze in world.services.freezer.freezes()] == ["odd"]
        assert (world.door.frozen, world.sandbox.still) == ({run.id}, {run.id})
        denied = await world.services.tool_calls.ask(run.id, world.hook("Bash", {"command": "make"}))
        assert denied.reason_code == "FROZEN"
        world.door.frozen.clear()  # a door that was started again knows nothing
        await world.services.runs.reopen_doors()
        assert world.door.frozen == {run.id}
        await world.services.freezer.unfreeze("run", run.id, by="ana")
        assert world.sandbox.still == set()


async def test_a_frozen_run_can_be_stopped(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.services.freezer.freeze("run", run.id, by="ana")
        assert await world.services.runs.stop(run.id, by="ana") == ("1 runner", "7 claude")
        assert world.services.freezer.freezes() == (), "nothing of it is left to freeze"
        with pytest.raises(RunEnded):
            await world.services.freezer.freeze("run", run.id, by="ana")


async def test_a_door_that_does_not_confirm_is_said_and_the_freeze_stands(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        world.door.refuse = "the door does not answer"
        with pytest.raises(EngineUnavailable, match="frozen, and nothing is released"):
            await world.services.freezer.freeze("run", run.id, by="ana")
        assert world.sandbox.still == {run.id}, "the rest is done all the same"
        denied = await world.services.tool_calls.ask(run.id, world.hook("Bash", {"command": "make"}))
        assert denied.reason_code == "FROZEN"
        world.door.refuse = ""
        await world.services.freezer.freeze("run", run.id, by="ana")
        assert world.door.frozen == {run.id}


async def test_what_is_not_there_cannot_be_frozen(open_house: OpenHouse) -> None:
    async with open_house() as world:
        freezer = world.services.freezer
        head = world.ledger.head
        with pytest.raises(NotFound):
            await freezer.freeze("blueprint", "no-such", by="ana")
        with pytest.raises(NotFound):
            await freezer.freeze("run", "01K00000000000000000000000", by="ana")
        with pytest.raises(NotFound):
            await freezer.unfreeze("all", "", by="ana")
        for scope, target in (("all", "x"), ("run", ""), ("everything", "")):
            with pytest.raises(InvalidInput):
                await freezer.freeze(scope, target, by="ana")  # type: ignore[arg-type]  # as a face might pass it on
        assert world.ledger.head == head
