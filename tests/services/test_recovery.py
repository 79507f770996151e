"""What a restart finds in log and containers, and what it makes of it."""

from __future__ import annotations

import asyncio

import pytest
from app.domain.content import Content
from app.domain.errors import EngineUnavailable
from app.domain.events import Draft
from app.domain.payloads import Controlled, RunInterrupted, RunResulted
from app.domain.reasons import Reason
from app.domain.receipt import Actor
from app.domain.run import Run
from app.services.recovery import recover

from tests.house import MAIL, House, ShelfSandbox
from tests.services.conftest import OpenHouse

SEND = "mcp__mail__send_email"


async def _approved(world: House, run: str, key: str = "toolu_1") -> None:
    """A letter that a person allowed, and that was not sent yet."""
    hook = world.hook(SEND, MAIL, key)
    asked = asyncio.create_task(world.services.tool_calls.ask(run, hook))
    (action,) = await world.waiting(run)
    await world.answer(action.approval, "allow", by="ana")
    assert (await asked).allowed


async def _status(world: House, run: str, key: str = "toolu_1") -> str:
    action = await world.ledger.read.action(run=run, key=key)
    assert action is not None
    return action.status or action.state


async def _found(world: House, run: Run) -> Run:
    return await world.services.runs.get(run.id)


async def test_an_allowed_letter_that_was_not_sent_yet_can_be_sent_after_a_restart_once(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await _approved(world, run.id)
        sandbox = world.sandbox
    async with open_house(sandbox=sandbox) as world:
        await recover(world.ledger, world.services.runs, sandbox)
        tools = world.services.tool_calls
        again = await tools.ask(run.id, world.hook(SEND, MAIL, "toolu_1"))
        assert again.allowed, "the answer that was given is not lost"
        assert await tools.release(run.id, "mail", "send_email", MAIL) is not None
        assert await tools.release(run.id, "mail", "send_email", MAIL) is None


async def test_a_letter_that_was_on_its_way_is_unknown_and_never_sent_again(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await _approved(world, run.id)
        assert await world.services.tool_calls.release(run.id, "mail", "send_email", MAIL) is not None
        sandbox = world.sandbox
    async with open_house(sandbox=sandbox) as world:
        await recover(world.ledger, world.services.runs, sandbox)
        assert await _status(world, run.id) == "unknown"
        tools = world.services.tool_calls
        assert not (await tools.ask(run.id, world.hook(SEND, MAIL, "toolu_1"))).allowed
        assert await tools.release(run.id, "mail", "send_email", MAIL) is None
        assert [action.status for action in await world.ledger.read.inbox()] == ["unknown"]


async def test_a_letter_that_was_never_sent_is_not_called_unknown(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await _approved(world, run.id)
    async with open_house() as world:
        await recover(world.ledger, world.services.runs, world.sandbox)
        assert await _status(world, run.id) == "cancelled"
        assert await world.ledger.read.inbox() == []


async def test_a_call_that_has_ended_is_not_released_again(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        tools = world.services.tool_calls
        assert (await tools.ask(run.id, world.hook("Bash", {"command": "make"}))).allowed
        await tools.report(run.id, {"tool_use_id": "toolu_1", "tool_response": "ok"})
        again = await tools.ask(run.id, world.hook("Bash", {"command": "make"}))
        assert not again.allowed
        assert again.reason_code == "UNGATED_EFFECT"


@pytest.mark.parametrize("status", ["complete", "failed"])
async def test_a_run_whose_agent_was_done_is_closed_and_not_interrupted(open_house: OpenHouse, status: str) -> None:
    async with open_house() as world:
        run = await world.start()
        result = RunResulted("complete" if status == "complete" else "failed", Content.text("done"), "", 3, 1)
        await world.ledger.record(run.id, Draft(result))
    async with open_house() as world:
        found = await recover(world.ledger, world.services.runs, world.sandbox)
        after = await _found(world, run)
        assert (after.closed, after.message, found.interrupted) == (status, "done", ())


async def test_a_stop_that_the_server_did_not_live_to_carry_out_is_carried_out(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.ledger.record(run.id, Draft(Controlled("kill", "ctl_1", "now"), Actor("human", "ana", "client")))
        sandbox = world.sandbox
    async with open_house(sandbox=sandbox) as world:
        await recover(world.ledger, world.services.runs, sandbox)
        assert (await _found(world, run)).status == "stopped"
        assert await sandbox.live() == {}


async def test_a_run_that_was_cut_does_not_live_on_after_a_restart(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.ledger.record(run.id, Draft(RunInterrupted(Reason.UNGATED_EFFECT.value, "a result came back")))
        sandbox = world.sandbox
    async with open_house(sandbox=sandbox) as world:
        await recover(world.ledger, world.services.runs, sandbox)
        after = await _found(world, run)
        assert (after.status, after.reason_code) == ("failed", "UNGATED_EFFECT")
        assert await sandbox.live() == {}


class DeafSandbox(ShelfSandbox):
    """An engine that does not answer."""

    async def live(self) -> dict[str, int]:
        raise EngineUnavailable("Docker does not answer.")


async def test_an_engine_that_does_not_answer_is_named_as_the_reason(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
    deaf = DeafSandbox()
    async with open_house(sandbox=deaf) as world:
        await recover(world.ledger, world.services.runs, deaf)
        after = await _found(world, run)
        assert after.status == "interrupted"
        assert "Docker does not answer." in after.message


async def test_a_container_that_nobody_can_end_keeps_no_server_from_starting(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.ledger.record(run.id, Draft(Controlled("kill", "ctl_1", "now"), Actor("human", "ana", "client")))
        sandbox = world.sandbox
    sandbox.refuse_kill = "The container is still running after a kill."
    async with open_house(sandbox=sandbox) as world:
        await recover(world.ledger, world.services.runs, sandbox)
        after = await _found(world, run)
        assert after.live and after.status != "stopped", "nothing is called stopped that may still run"
        assert "still running" in after.message
