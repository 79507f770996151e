"""The gate through its public verbs: what is released, what is refused, and what stays one when it is asked twice."""

from __future__ import annotations

import asyncio

import pytest
from app.domain.errors import AlreadyAnswered, InvalidInput, NotFound
from app.services.modelcalls import ModelCall, ToolResult

from tests.house import MAIL, House
from tests.services.conftest import OpenHouse

SEND = "mcp__mail__send_email"


def _call(run: str, results: tuple[ToolResult, ...] = (), **more: object) -> ModelCall:
    facts = {
        "provider": "anthropic",
        "path": "/v1/messages",
        "model": "claude-sonnet-5",
        "agent": "",
        "max_tokens": 1_000,
    }
    facts |= {"body_bytes": 4_000, "body_sha256": "", "stream": True, **more}
    return ModelCall(run=run, tool_results=results, **facts)  # type: ignore[arg-type]


async def _names(world: House, run: str) -> list[str]:
    return [event.name for event in await world.ledger.read.events(run=run)]


async def test_an_allowed_call_is_dispatched_before_it_is_answered(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        answer = await world.services.tool_calls.ask(run.id, world.hook("Read", {"file_path": "/workspace/a"}))
        assert answer.allowed
        dispatch = await world.ledger.read.event(answer.receipt_id)
        assert dispatch is not None and dispatch.name == "action.dispatched"
        await world.services.tool_calls.report(run.id, {"tool_use_id": "toolu_1", "tool_response": {"text": "x"}})
        assert (await _names(world, run.id))[-4:] == [
            "intent.recorded",
            "verdict.given",
            "action.dispatched",
            "outcome.recorded",
        ]


@pytest.mark.parametrize(
    ("tool", "args", "reason"),
    [
        ("Bash", {"command": "rm -rf / --no-preserve-root"}, "SANDBOX_VIOLATION"),
        ("NoSuchTool", {}, "DENY_TOOL_NOT_FOUND"),
        ("Read", {"file_path": "/workspace/a", "n": 2**60}, "SCHEMA_VIOLATION"),
    ],
)
async def test_a_denied_call_has_a_reason_and_an_ending(
    open_house: OpenHouse, tool: str, args: object, reason: str
) -> None:
    async with open_house() as world:
        run = await world.start()
        answer = await world.services.tool_calls.ask(run.id, world.hook(tool, args))
        assert (answer.allowed, answer.reason_code) == (False, reason)
        assert (await _names(world, run.id))[-3:] == ["intent.recorded", "verdict.given", "outcome.recorded"]


async def test_both_hooks_of_a_call_are_one_intent(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        hook = world.hook("Read", {"file_path": "/workspace/a"})
        answers = await asyncio.gather(*[world.services.tool_calls.ask(run.id, hook) for _ in range(100)])
        assert all(answer.allowed for answer in answers)
        assert len({answer.receipt_id for answer in answers}) == 1
        assert (await _names(world, run.id)).count("action.dispatched") == 1


async def test_other_arguments_under_the_same_id_are_refused(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.services.tool_calls.ask(run.id, world.hook("Read", {"file_path": "/workspace/a"}))
        answer = await world.services.tool_calls.ask(run.id, world.hook("Read", {"file_path": "/etc/passwd"}))
        assert (answer.allowed, answer.reason_code) == (False, "INPUT_CHANGED")


async def test_a_risky_call_waits_and_runs_only_when_allowed(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        asked = asyncio.create_task(world.services.tool_calls.ask(run.id, world.hook(SEND, MAIL)))
        (action,) = await world.waiting(run.id)
        assert action.title == "Send e-mail to leadership@example.com" and action.grade == "structural"
        assert (await world.services.runs.get(run.id)).status == "waiting" and not asked.done()
        await world.answer(action.approval, "allow", by="ana")
        answer = await asyncio.wait_for(asked, 5)
        assert answer.allowed and answer.reason_code == "APPROVED"


async def test_a_denial_carries_its_reason_to_the_agent(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        asked = asyncio.create_task(world.services.tool_calls.ask(run.id, world.hook(SEND, MAIL)))
        (action,) = await world.waiting(run.id)
        await world.answer(action.approval, "deny", by="ana", reason="wrong list")
        answer = await asyncio.wait_for(asked, 5)
        assert (answer.allowed, answer.reason_code) == (False, "APPROVAL_DENIED")
        assert "wrong list" in answer.message


async def test_the_first_answer_wins_and_a_repeat_is_harmless(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        asked = asyncio.create_task(world.services.tool_calls.ask(run.id, world.hook(SEND, MAIL)))
        (action,) = await world.waiting(run.id)
        resolve = world.answer
        answers = [resolve(action.approval, "allow", by="ana"), resolve(action.approval, "deny", by="bo")]
        results = await asyncio.gather(*answers, return_exceptions=True)
        (lost,) = [result for result in results if isinstance(result, Exception)]
        assert isinstance(lost, AlreadyAnswered) and ("by ana" in lost.message or "by bo" in lost.message)
        winner = "ana" if "by ana" in lost.message else "bo"
        again = await resolve(action.approval, "allow" if winner == "ana" else "deny", by=winner)
        assert again.answered_by == winner
        await asyncio.wait_for(asked, 5)
        assert (await _names(world, run.id)).count("approval.decided") == 1


async def test_a_hundred_answers_release_one_dispatch(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        asked = asyncio.create_task(world.services.tool_calls.ask(run.id, world.hook(SEND, MAIL)))
        (action,) = await world.waiting(run.id)
        calls = [world.answer(action.approval, "allow", by=f"p{n}") for n in range(100)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(not isinstance(result, Exception) for result in results) == 1
        assert (await asyncio.wait_for(asked, 5)).allowed
        assert (await _names(world, run.id)).count("action.dispatched") == 1


async def test_nobody_in_time_is_a_timeout_and_not_a_denial(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        asked = asyncio.create_task(world.services.tool_calls.ask(run.id, world.hook(SEND, MAIL)))
        (action,) = await world.waiting(run.id)
        world.clock.ms += 366 * 86_400_000
        await world.services.approvals.expire_due()
        answer = await asyncio.wait_for(asked, 5)
        assert (answer.allowed, answer.reason_code) == (False, "APPROVAL_TIMEOUT")
        found = await world.ledger.read.action(id=action.id)
        assert found is not None and found.answer == "expired" and found.answered_by == ""
        with pytest.raises(AlreadyAnswered, match="expired"):
            await world.answer(action.approval, "allow", by="ana")


async def test_an_answer_that_comes_after_the_deadline_changes_nothing(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        asked = asyncio.create_task(world.services.tool_calls.ask(run.id, world.hook(SEND, MAIL)))
        (action,) = await world.waiting(run.id)
        world.clock.ms += 366 * 86_400_000
        with pytest.raises(AlreadyAnswered, match="expired"):
            await world.answer(action.approval, "allow", by="ana")
        assert not (await asyncio.wait_for(asked, 5)).allowed


async def test_open_questions_survive_a_restart_and_can_be_answered(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        asks = [
            asyncio.create_task(world.services.tool_calls.ask(run.id, world.hook(SEND, {**MAIL, "n": n}, f"toolu_{n}")))
            for n in range(3)
        ]
        before = {action.approval for action in await world.waiting(run.id, 3)}
        for ask in asks:
            ask.cancel()
        sandbox = world.sandbox
    async with open_house(sandbox=sandbox) as world:
        assert {action.approval for action in await world.ledger.read.inbox()} == before
        asked = asyncio.create_task(
            world.services.tool_calls.ask(run.id, world.hook(SEND, {**MAIL, "n": 1}, "toolu_1"))
        )
        (action,) = [a for a in await world.waiting(run.id, 3) if a.key == "toolu_1"]
        await world.answer(action.approval, "allow", by="ana")
        assert (await asyncio.wait_for(asked, 5)).allowed


async def test_what_is_no_hook_is_refused(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        for hook in ({}, {"tool_name": "Read"}, {"tool_name": "Read", "tool_use_id": "x" * 500}, {"tool_name": 7}):
            with pytest.raises(InvalidInput):
                await world.services.tool_calls.ask(run.id, hook)


async def test_an_outcome_without_a_release_is_not_recorded(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        with pytest.raises(NotFound):
            await world.services.tool_calls.report(run.id, {"tool_use_id": "toolu_9", "tool_response": "done"})
        await world.services.tool_calls.ask(run.id, world.hook("Bash", {"command": "mkfs.ext4 /dev/sda"}))
        with pytest.raises(NotFound):
            await world.services.tool_calls.report(run.id, {"tool_use_id": "toolu_1", "tool_response": "done"})


async def test_an_mcp_release_is_used_once_and_for_its_own_arguments(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        asked = asyncio.create_task(world.services.tool_calls.ask(run.id, world.hook(SEND, MAIL)))
        (action,) = await world.waiting(run.id)
        release = world.services.tool_calls.release
        assert await release(run.id, "mail", "send_email", MAIL) is None
        await world.answer(action.approval, "allow", by="ana")
        await asyncio.wait_for(asked, 5)
        assert await release(run.id, "mail", "send_email", {**MAIL, "to": "all@example.com"}) is None
        taken = await asyncio.gather(*[release(run.id, "mail", "send_email", MAIL) for _ in range(20)])
        assert sum(found is not None for found in taken) == 1


async def test_an_ended_run_releases_nothing(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.services.runs.stop(run.id, by="ana")
        answer = await world.services.tool_calls.ask(run.id, world.hook("Read", {"file_path": "/workspace/a"}))
        assert (answer.allowed, answer.reason_code) == (False, "RUN_ENDED")


async def test_a_closed_ledger_denies(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.ledger.close()
        answer = await world.services.tool_calls.ask(run.id, world.hook("Read", {"file_path": "/workspace/a"}))
        assert (answer.allowed, answer.reason_code) == (False, "LEDGER_UNAVAILABLE")


async def test_a_result_for_a_call_that_was_never_released_is_named(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        answer, _ = await world.services.model_calls.begin(_call(run.id, (ToolResult("toolu_x", False),)))
        assert (answer.allowed, answer.reason_code) == (False, "UNGATED_EFFECT")


async def test_results_of_released_and_of_denied_calls_pass(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.services.tool_calls.ask(run.id, world.hook("Read", {"file_path": "/workspace/a"}, "toolu_a"))
        await world.services.tool_calls.ask(run.id, world.hook("Bash", {"command": "mkfs.ext4 /dev/sda"}, "toolu_d"))
        results = (ToolResult("toolu_a", False), ToolResult("toolu_d", True), ToolResult("toolu_none", True))
        answer, _ = await world.services.model_calls.begin(_call(run.id, results))
        assert answer.allowed
        assert (await _names(world, run.id)).count("run.noted") == 1


async def test_holds_of_concurrent_calls_never_pass_the_budget(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.services.runs.start("market-brief", by="ana", budget_micro=200_000)
        calls = [world.services.model_calls.begin(_call(run.id, max_tokens=4_000)) for _ in range(20)]
        answers = await asyncio.gather(*calls)
        found = await world.services.runs.get(run.id)
        assert 0 < found.held_micro <= 200_000
        assert {answer.reason_code for answer, _ in answers if not answer.allowed} == {"BUDGET_EXCEEDED"}
        for answer, ticket in answers:
            if answer.allowed:
                usage = {"input_tokens": 100, "output_tokens": 50}
                await world.services.model_calls.end(
                    run.id,
                    ticket,
                    ok=True,
                    cancelled=False,
                    usage=usage,
                    model="claude-sonnet-5",
                    error="",
                    request_id="req",
                    summary={},
                )
        found = await world.services.runs.get(run.id)
        assert found.held_micro == 0 and 0 < found.spent_micro < 200_000


async def test_a_model_without_a_price_is_denied(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        answer, _ = await world.services.model_calls.begin(_call(run.id, model="mystery-9"))
        assert (answer.allowed, answer.reason_code) == (False, "MODEL_UNPRICED")


async def test_usage_that_nobody_read_is_charged_in_full(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        _, ticket = await world.services.model_calls.begin(_call(run.id))
        held = (await world.services.runs.get(run.id)).held_micro
        await world.services.model_calls.end(
            run.id,
            ticket,
            ok=True,
            cancelled=False,
            usage=None,
            model="",
            error="usage-unread",
            request_id="",
            summary={},
        )
        assert (await world.services.runs.get(run.id)).spent_micro == held > 0


async def test_egress_follows_the_blueprints_list(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        listed = await world.services.egress.ask(run.id, "http", "acme.demo.test", 80, "GET", "/pricing")
        assert listed.answer.allowed and listed.addresses and "http" in listed.flags
        await world.services.egress.end(
            run.id, listed.ticket, status="executed", ip="127.0.0.1", sent=10, received=20, error=""
        )
        other = await world.services.egress.ask(run.id, "connect", "tracker.example", 443, "", "")
        assert (other.answer.allowed, other.answer.reason_code) == (False, "EGRESS_DENIED")


async def test_an_interrupted_call_no_longer_asks(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        asked = asyncio.create_task(world.services.tool_calls.ask(run.id, world.hook(SEND, MAIL)))
        (action,) = await world.waiting(run.id)
        interrupted = {"tool_use_id": "toolu_1", "hook_event_name": "PostToolUseFailure", "is_interrupt": True}
        await world.services.tool_calls.report(run.id, {**interrupted, "error": "interrupted", "released": False})
        answer = await asyncio.wait_for(asked, 5)
        assert (answer.allowed, answer.reason_code) == (False, "INTERRUPTED")
        with pytest.raises(AlreadyAnswered, match="withdrawn"):
            await world.answer(action.approval, "allow", by="ana")


async def test_open_calls_of_a_run_are_bounded(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        hooks = [world.hook("Read", {"file_path": f"/workspace/{n}"}, f"t{n}") for n in range(520)]
        answers = [await world.services.tool_calls.ask(run.id, hook) for hook in hooks]
        assert [answer.reason_code for answer in answers if not answer.allowed] == ["TOO_MANY_OPEN"] * 20


async def test_what_cannot_be_recorded_is_denied(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        hook = world.hook("Read", {"file_path": "/workspace/a"}, agent_id="x" * 20_000, agent_type="y")
        assert (await world.services.tool_calls.ask(run.id, hook)).allowed
        lone = world.hook("Read", {"file_path": "/workspace/\ud800"}, "toolu_2")
        assert not (await world.services.tool_calls.ask(run.id, lone)).allowed
