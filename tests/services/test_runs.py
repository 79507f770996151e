"""A run's life through its public verbs: started, steered, stopped, lost and found again; its endings are logged."""

from __future__ import annotations

import asyncio

import pytest
from app.domain.content import Content
from app.domain.errors import Conflict, EngineUnavailable, InvalidInput, NotFound, RunEnded
from app.domain.events import Draft
from app.domain.payloads import RunResulted, SteeringDelivered, SteeringSeen
from app.domain.reasons import Reason
from app.ports import EngineStatus
from app.services.modelcalls import ModelCall
from app.services.recovery import recover

from tests.house import MAIL, ShelfSandbox
from tests.services.conftest import OpenHouse


async def test_a_run_is_in_the_log_before_its_container(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.services.runs.start("market-brief", by="ana", title="Prices")
        assert (run.no, run.title, run.status) == (1, "Prices", "starting")
        await world.until(run.id, "run.started")
        (spec,) = world.sandbox.started
        assert spec.run == run.id and spec.door_dir.endswith(run.id)
        assert run.id in world.door.open_runs


async def test_run_numbers_have_no_gap_when_many_start_at_once(open_house: OpenHouse) -> None:
    async with open_house(slots=10) as world:
        runs = await asyncio.gather(*[world.services.runs.start("market-brief", by="ana") for _ in range(8)])
        assert sorted(run.no for run in runs) == list(range(1, 9))


async def test_the_agents_own_result_decides_the_end(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.ledger.record(run.id, Draft(RunResulted("complete", Content.text("done"), "completed", 3)))
        world.sandbox.end(run.id, 0)
        await world.until(run.id, "run.closed")
        found = await world.services.runs.get(run.id)
        assert (found.status, found.message) == ("finished", "done")
        assert world.services.runs.slots_used() == 0 and run.id in world.door.closed


@pytest.mark.parametrize(("code", "oom", "words"), [(1, False, "exit code 1"), (137, True, "out of memory")])
async def test_a_container_that_dies_early_is_a_failure_with_its_reason(
    open_house: OpenHouse, code: int, oom: bool, words: str
) -> None:
    async with open_house() as world:
        run = await world.start()
        world.sandbox.end(run.id, code, oom=oom)
        await world.until(run.id, "run.closed")
        found = await world.services.runs.get(run.id)
        assert found.status == "failed" and words in found.message


async def test_stop_says_so_only_when_it_is_gone(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        world.sandbox.refuse_kill = "it does not die"
        with pytest.raises(EngineUnavailable, match="does not die"):
            await world.services.runs.stop(run.id, by="ana")
        assert (await world.services.runs.get(run.id)).status == "stopping"
        world.sandbox.refuse_kill = ""
        assert await world.services.runs.stop(run.id, by="ana") == ("1 runner", "7 claude")
        assert (await world.services.runs.get(run.id)).status == "stopped"
        with pytest.raises(RunEnded):
            await world.services.runs.stop(run.id, by="ana")


async def test_stopping_withdraws_questions_and_settles_what_was_released(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        tools = world.services.tool_calls
        asked = asyncio.create_task(tools.ask(run.id, world.hook("mcp__mail__send_email", MAIL)))
        (action,) = await world.waiting(run.id)
        await tools.ask(run.id, world.hook("Bash", {"command": "make"}, "toolu_2"))
        await world.services.runs.stop(run.id, by="ana")
        answer = await asyncio.wait_for(asked, 5)
        assert (answer.allowed, answer.reason_code) == (False, "RUN_ENDED")
        question = await world.ledger.read.action(id=action.id)
        make = await world.ledger.read.action(run=run.id, key="toolu_2")
        assert question is not None and question.answer == "withdrawn"
        assert make is not None and make.status == "unknown"


async def test_a_start_that_fails_closes_the_run_with_the_reason(open_house: OpenHouse) -> None:
    sandbox = ShelfSandbox(refuse_start="The image is missing. Run make setup.")
    async with open_house(sandbox=sandbox) as world:
        run = await world.services.runs.start("market-brief", by="ana")
        await world.until(run.id, "run.closed")
        found = await world.services.runs.get(run.id)
        assert found.status == "failed" and "make setup" in found.message


async def test_orders_that_cannot_be_kept_are_refused(open_house: OpenHouse) -> None:
    async with open_house(slots=1) as world:
        start = world.services.runs.start
        with pytest.raises(NotFound):
            await start("no-such-blueprint", by="ana")
        with pytest.raises(InvalidInput):
            await start("market-brief", by="ana", task="x" * 300_000)
        with pytest.raises(InvalidInput):
            await start("market-brief", by="ana", budget_micro=-1)
        await world.start()
        with pytest.raises(Conflict, match="slots"):
            await start("market-brief", by="ana")


async def test_without_an_engine_nothing_starts_and_the_remedy_is_named(open_house: OpenHouse) -> None:
    sandbox = ShelfSandbox(status=EngineStatus(False, reason="Docker is not running.", remedy="Start it."))
    async with open_house(sandbox=sandbox) as world:
        with pytest.raises(EngineUnavailable, match="Start it"):
            await world.services.runs.start("market-brief", by="ana")


async def test_messages_go_from_queued_to_delivered_to_seen(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        desk = world.services.steering
        first = await desk.queue(run.id, "Use net prices.", "steer", by="ana", client_id="c1")
        again = await desk.queue(run.id, "Use net prices.", "steer", by="ana", client_id="c1")
        assert first == again and first.state == "queued"
        stream = desk.deliver(run.id)
        message = await asyncio.wait_for(anext(stream), 5)
        assert (message.id, message.text, message.mode) == ("c1", "Use net prices.", "steer")
        later = asyncio.ensure_future(anext(stream))
        await desk.queue(run.id, "And round up.", "queue", by="ana", client_id="c2")
        assert (await asyncio.wait_for(later, 5)).id == "c2"
        await world.ledger.record(run.id, Draft(SteeringDelivered("c1")), Draft(SteeringSeen("c1")))
        states = {message.id: message.state for message in await world.ledger.read.steering(run.id)}
        assert states == {"c1": "seen", "c2": "queued"}


async def test_a_message_that_was_not_acknowledged_is_given_again(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        desk = world.services.steering
        await desk.queue(run.id, "one", "steer", by="ana", client_id="c1")
        await desk.queue(run.id, "two", "steer", by="ana", client_id="c2")
        await world.ledger.record(run.id, Draft(SteeringDelivered("c1")))
        given = await asyncio.wait_for(anext(desk.deliver(run.id)), 5)
        assert given.id == "c2"


async def test_nobody_can_speak_into_an_ended_run(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.services.runs.stop(run.id, by="ana")
        with pytest.raises(RunEnded):
            await world.services.steering.queue(run.id, "hello", "steer", by="ana")
        for text, mode in (("", "steer"), ("x" * 20_000, "steer"), ("x", "shout")):
            with pytest.raises(InvalidInput):
                await world.services.steering.queue(run.id, text, mode, by="ana")  # type: ignore[arg-type]


async def test_a_run_whose_container_lives_is_taken_up_again(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        tools = world.services.tool_calls
        await tools.ask(run.id, world.hook("Bash", {"command": "make"}, "toolu_1"))
        call = ModelCall(run.id, "anthropic", "/v1/messages", "claude-sonnet-5", "", 1_000, 4_000, "", True, ())
        _, ticket = await world.services.model_calls.begin(call)
        held = (await world.services.runs.get(run.id)).held_micro
        sandbox = world.sandbox
    async with open_house(sandbox=sandbox) as world:
        found = await recover(world.ledger, world.services.runs, sandbox)
        model = await world.ledger.read.action(run=run.id, key=ticket)
        assert model is not None and model.status == "unknown" and found.orphans == (model.id,)
        after = await world.services.runs.get(run.id)
        assert after.status != "interrupted" and after.held_micro == 0 and after.spent_micro == held
        await world.services.tool_calls.report(run.id, {"tool_use_id": "toolu_1", "tool_response": "ok"})
        make = await world.ledger.read.action(run=run.id, key="toolu_1")
        assert make is not None and make.status == "executed"
        sandbox.end(run.id, 0)
        await world.until(run.id, "run.closed")


async def test_a_run_whose_container_is_gone_is_interrupted_and_its_effects_unknown(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.services.tool_calls.ask(run.id, world.hook("Bash", {"command": "make"}, "toolu_1"))
        asked = asyncio.create_task(
            world.services.tool_calls.ask(run.id, world.hook("mcp__mail__send_email", MAIL, "toolu_2"))
        )
        await world.waiting(run.id)
        asked.cancel()
    async with open_house() as world:
        found = await recover(world.ledger, world.services.runs, world.sandbox)
        assert found.interrupted == (run.id,) and len(found.orphans) == 1
        after = await world.services.runs.get(run.id)
        assert after.status == "interrupted" and after.unknown == 1 and not after.actions
        unknown = [action.status for action in await world.ledger.read.inbox()]
        assert unknown == ["unknown"]
        again = await recover(world.ledger, world.services.runs, world.sandbox)
        assert again.interrupted == () and again.orphans == ()
        await world.services.runs.stop(run.id, by="ana")
        assert (await world.services.runs.get(run.id)).status == "stopped"


async def test_a_run_that_broke_the_rules_is_ended_as_failed(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.services.runs.cut(run.id, Reason.UNGATED_EFFECT, "a result came back")
        await world.until(run.id, "run.closed")
        found = await world.services.runs.get(run.id)
        assert (found.status, found.reason_code) == ("failed", "UNGATED_EFFECT")
