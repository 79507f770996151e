"""Attempts to reach people's questions become verdicts and items of the inbox, a bounded number of them."""

from __future__ import annotations

import pytest
from app.domain.errors import NotFound
from app.domain.payloads import IntentRecorded, VerdictGiven

from tests.services.conftest import OpenHouse


async def test_an_attempt_is_a_verdict_with_its_intent_and_a_notice(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        answer = await world.services.self_approvals.attempt(run.id, "POST", "/api/v1/inbox/apr_1/answer")
        assert (answer.allowed, answer.reason_code) == (False, "SELF_APPROVAL")
        events = await world.ledger.read.events(run=run.id)
        (intent,) = [event for event in events if isinstance(event.payload, IntentRecorded)]
        assert "/api/v1/inbox/apr_1/answer" in intent.text("args")
        (verdict,) = [event.payload for event in events if isinstance(event.payload, VerdictGiven)]
        assert (verdict.decision, verdict.reason_code) == ("DENY", "SELF_APPROVAL")
        (notice,) = world.ledger.standing.notices.values()
        assert (notice.kind, notice.run) == ("self_approval", run.id)
        await world.services.notices.clear(notice.id, by="ana")
        assert world.ledger.standing.notices == {}
        with pytest.raises(NotFound):
            await world.services.notices.clear(notice.id, by="bo")


async def test_a_flood_of_attempts_is_counted_and_not_written_down_one_by_one(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        for _ in range(1_000):
            answer = await world.services.self_approvals.attempt(run.id, "GET", "/inbox")
            assert answer.reason_code == "SELF_APPROVAL"
        notices = list(world.ledger.standing.notices.values())
        assert 10 < len(notices) < 20
        assert "640 attempts" in notices[-1].text


async def test_an_attempt_is_named_so_also_in_a_freeze(open_house: OpenHouse) -> None:
    async with open_house() as world:
        run = await world.start()
        await world.services.freezer.freeze("all", "", by="ana")
        answer = await world.services.self_approvals.attempt(run.id, "GET", "/freeze")
        assert answer.reason_code == "SELF_APPROVAL"
