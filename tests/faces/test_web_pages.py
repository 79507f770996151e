"""The pages as a browser walks through them: start, watch, answer, steer, stop; as htmx and as plain forms."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from app.domain.content import Content
from app.domain.events import Draft
from app.domain.payloads import AgentSpawned, ModelOutput, RunnerConnected, RunNoted, TurnStarted
from app.domain.run import Action
from app.ports import EngineStatus

from tests.faces.web_world import WebWorld, web_world
from tests.house import MAIL

HX = {"hx-request": "true"}
FORM = {"task": "Compare prices.", "title": "Prices <today>", "budget": "2.50"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WebWorld]:
    async with web_world(tmp_path) as found:
        yield found


async def _started(world: WebWorld, browser: httpx.AsyncClient) -> str:
    answer = await browser.post("/blueprints/market-brief/start", data=FORM)
    assert answer.status_code == 303, answer.text
    run = answer.headers["location"].rpartition("/")[2]
    await world.house.until(run, "run.started")
    return str(run)


async def _asked(world: WebWorld, run: str, key: str = "toolu_1") -> tuple[asyncio.Task[Any], Action]:
    hook = world.house.hook("mcp__mail__send_email", MAIL, key)
    task = asyncio.create_task(world.house.services.tool_calls.ask(run, hook))
    found = await world.house.waiting(run)
    return task, next(action for action in found if action.key == key)


async def test_an_empty_house_shows_the_way(world: WebWorld) -> None:
    browser = await world.browser()
    assert (await browser.get("/")).headers["location"] == "/inbox"
    for path in ("/inbox", "/runs"):
        page = await browser.get(path)
        assert page.status_code == 200 and "helm key set" in page.text
    for path in ("/blueprints", "/blueprints/market-brief", "/settings", "/evidence"):
        assert (await browser.get(path)).status_code == 200
    assert (await browser.post("/evidence/verify")).status_code == 404


async def test_a_run_is_started_from_its_form(world: WebWorld) -> None:
    browser = await world.browser()
    run = await _started(world, browser)
    page = await browser.get(f"/runs/{run}")
    assert page.status_code == 200 and "Prices &lt;today&gt;" in page.text and "<today>" not in page.text
    assert "$2.50" in page.text and f'data-run="{run}"' in page.text
    listed = await browser.get("/runs", params={"show": "live", "q": "Prices"})
    assert f'id="run-{run}"' in listed.text
    assert f'id="run-{run}"' not in (await browser.get("/runs", params={"q": "nothing like it"})).text
    found = await world.house.services.runs.get(run)
    assert (found.by, found.budget_micro) == ("ana", 2_500_000)


@pytest.mark.parametrize("budget", ["x", "0", "-1", "1e99", "nan", "0.0000001", "99999999", "١"])
async def test_a_wrong_cap_is_said_beside_its_field_and_nothing_typed_is_lost(world: WebWorld, budget: str) -> None:
    browser = await world.browser()
    answer = await browser.post("/blueprints/market-brief/start", data={**FORM, "budget": budget})
    if budget == "١":  # a digit of another script is a digit
        assert answer.status_code == 303
        return
    assert answer.status_code == 422 and "Compare prices." in answer.text and 'id="e-budget"' in answer.text


async def test_without_an_engine_the_form_says_what_to_do(world: WebWorld) -> None:
    browser = await world.browser()
    world.house.sandbox.status = EngineStatus(False, reason="Docker is not running.", remedy="Start it.")
    answer = await browser.post("/blueprints/market-brief/start", data=FORM)
    assert answer.status_code == 503 and "Start it." in answer.text and "Compare prices." in answer.text


async def test_an_approval_is_answered_as_a_plain_form(world: WebWorld) -> None:
    browser = await world.browser()
    run = await _started(world, browser)
    await world.house.ledger.record(
        run,
        Draft(RunnerConnected("1", "2", "3", "s", 1)),
        Draft(TurnStarted(1)),
        Draft(ModelOutput(Content.text("It is complete, I send it."), "m1", "")),
    )
    task, action = await _asked(world, run)
    inbox = await browser.get("/inbox")
    assert "(1) Inbox" in inbox.text and "Send e-mail to leadership@example.com" in inbox.text
    card = await browser.get(f"/inbox/{action.approval}")
    for words in ("It is complete, I send it.", "leadership@example.com", "Hello", action.rule, "irreversible"):
        assert words in card.text, words
    answer = await browser.post(
        f"/inbox/{action.approval}/answer", data={"answer": "deny", "reason": "Not before noon"}
    )
    assert answer.headers["location"] == f"/inbox/{action.approval}"
    assert (await asyncio.wait_for(task, 5)).reason_code == "APPROVAL_DENIED"
    after = await browser.get(f"/inbox/{action.approval}")
    assert "You denied this" in after.text and "Not before noon" in after.text and "(1)" not in after.text
    page = await browser.get(f"/runs/{run}")
    assert "denied by ana" in page.text and "Not before noon" in page.text


async def test_odd_answers_change_nothing(world: WebWorld) -> None:
    browser = await world.browser()
    task, action = await _asked(world, await _started(world, browser))
    for form in ({}, {"answer": "yes"}, {"answer": "allow", "reason": "x" * 3_000}):
        assert (await browser.post(f"/inbox/{action.approval}/answer", data=form, headers=HX)).status_code == 400
    assert (await browser.post("/inbox/apr_nope/answer", data={"answer": "allow"})).status_code == 404
    world.house.clock.ms += 40 * 24 * 3_600_000
    browser = await world.browser()
    late = await browser.post(f"/inbox/{action.approval}/answer", data={"answer": "allow"}, headers=HX)
    assert late.status_code == 410 and "Expired" in late.text
    assert (await asyncio.wait_for(task, 5)).reason_code == "APPROVAL_TIMEOUT"


async def test_steering_and_stopping(world: WebWorld) -> None:
    browser = await world.browser()
    run = await _started(world, browser)
    body = {"text": "Use net prices.", "mode": "steer", "client_id": "c1"}
    for _ in range(2):
        assert (await browser.post(f"/runs/{run}/steer", data=body, headers=HX)).status_code == 204
    page = await browser.get(f"/runs/{run}")
    assert page.text.count("Use net prices.") == 1 and "queued" in page.text
    wrong = await browser.post(f"/runs/{run}/steer", data={**body, "mode": "shout"}, headers=HX)
    assert wrong.status_code == 400 and "queue, steer" in wrong.json()["error"]["message"]
    assert (await browser.post(f"/runs/{run}/stop")).headers["location"] == f"/runs/{run}"
    ended = await browser.get(f"/runs/{run}")
    assert "Stopped" in ended.text and "not sent, the run ended" in ended.text
    gone = await browser.post(f"/runs/{run}/stop", headers=HX)
    assert gone.status_code == 409 and gone.json()["error"]["code"] == "RUN_ENDED"


async def test_what_stands_behind_a_line(world: WebWorld) -> None:
    browser = await world.browser()
    run = await _started(world, browser)
    tools = world.house.services.tool_calls
    hook = world.house.hook("Bash", {"command": "echo '<b>'"})
    assert (await tools.ask(run, hook)).allowed
    await tools.report(run, {**hook, "tool_response": {"stdout": "<script>alert(1)</script>"}})
    found = await world.house.ledger.read.action(run=run, key="toolu_1")
    assert found is not None
    detail = await browser.get(f"/runs/{run}/events/{found.opened_seq}", headers=HX)
    assert detail.status_code == 200 and "ALLOW" in detail.text
    assert "&lt;script&gt;" in detail.text and "<script>" not in detail.text
    assert (await browser.get(f"/runs/{run}/events/0", headers=HX)).status_code == 404
    assert (await browser.get(f"/runs/{run}/events/{2**60}", headers=HX)).status_code == 404


def _ids(html: str) -> list[str]:
    return [found for found in re.findall(r'id="row-([^"]+)"', html) if found.startswith("e")]


async def test_a_long_run_is_read_page_by_page_and_nothing_is_left_out(world: WebWorld) -> None:
    browser = await world.browser()
    run = (await world.house.start()).id
    total = 1_500
    for number in range(0, total, 100):
        notes = [Draft(RunNoted("info", Content.text(f"note {number + each}"))) for each in range(100)]
        await world.house.ledger.record(run, *notes)
    page = await browser.get(f"/runs/{run}")
    assert len(page.content) < 300_000
    seen = _ids(page.text)
    html = page.text
    while (found := re.search(r"/timeline\?before=(\d+)", html)) is not None:
        html = (await browser.get(f"/runs/{run}/timeline?before={found.group(1)}", headers=HX)).text
        seen = _ids(html) + seen
    events = await world.house.ledger.read.events(run=run, limit=1_000)
    assert len(seen) == len(set(seen)) == total + 2  # created and started stand there as well
    assert seen[:3] == [f"e{event.seq}" for event in events[:3]]
    for wrong in ("", "x", "-1", "0"):
        assert (await browser.get(f"/runs/{run}/timeline?before={wrong}", headers=HX)).status_code == 400


async def test_older_lines_are_shown_in_the_state_that_they_have_by_now(world: WebWorld) -> None:
    browser = await world.browser()
    run = await _started(world, browser)
    task, action = await _asked(world, run)
    await world.house.services.steering.queue(run, "Use net prices.", "steer", by="ana", client_id="c1")
    for _ in range(6):
        await world.house.ledger.record(run, *[Draft(RunNoted("info", Content.text("x"))) for _ in range(100)])
    await browser.post(f"/inbox/{action.approval}/answer", data={"answer": "allow"})
    await asyncio.wait_for(task, 5)
    assert f'id="row-{action.id}"' not in (await browser.get(f"/runs/{run}")).text
    html = (await browser.get(f"/runs/{run}/timeline?before={action.request_seq + 3}", headers=HX)).text
    assert "allowed once by ana" in html and "waits for you" not in html and "Use net prices." in html


async def test_a_sub_agent_that_is_silent_keeps_its_lane(world: WebWorld) -> None:
    browser = await world.browser()
    run = await _started(world, browser)
    await world.house.ledger.record(run, Draft(AgentSpawned("a1", "researcher", "", "")))
    for _ in range(6):
        await world.house.ledger.record(run, *[Draft(RunNoted("info", Content.text("x"))) for _ in range(100)])
    assert 'id="lane-a1"' in (await browser.get(f"/runs/{run}")).text


async def test_pages_that_do_not_exist_say_so(world: WebWorld) -> None:
    browser = await world.browser()
    for path in ("/runs/nope", "/runs/r" + "0" * 25, "/inbox/nope", "/blueprints/nope", "/nope", "/runs/x/y/z"):
        page = await browser.get(path)
        assert page.status_code == 404 and page.headers["content-type"].startswith("text/html"), path
    assert (await browser.post("/blueprints/nope/start", data=FORM)).status_code == 404


async def test_an_unknown_outcome_leaves_the_inbox_when_somebody_has_seen_it(world: WebWorld) -> None:
    browser, program = await world.browser(), await world.program()
    run = await _started(world, browser)
    for key in ("t1", "t2"):
        await world.house.services.tool_calls.ask(run, world.house.hook("Bash", {"command": "make"}, key))
    await browser.post(f"/runs/{run}/stop")
    first, second = [item["key"] for item in (await program.get("/api/v1/inbox")).json()["items"]]
    card = await browser.get(f"/inbox/{first}")
    assert "(2) Inbox" in card.text and "Mark as seen" in card.text
    assert (await browser.post(f"/inbox/{first}/answer", data={"answer": "allow"}, headers=HX)).status_code == 400
    done = await browser.post(f"/inbox/{first}/answer", data={"answer": "dismiss"}, headers=HX)
    assert done.status_code == 200 and "Seen." in done.text
    assert (await program.post(f"/api/v1/inbox/{second}/answer", json={"answer": "dismiss"})).status_code == 200
    assert (await program.get("/api/v1/inbox")).json()["items"] == []
    assert "Nothing needs you" in (await browser.get("/inbox")).text


async def test_an_interrupted_run_says_so_and_can_be_closed_or_run_again(world: WebWorld) -> None:
    browser = await world.browser()
    run = await _started(world, browser)
    await world.house.services.tool_calls.ask(run, world.house.hook("Bash", {"command": "make"}))
    found = await world.house.services.runs.get(run)
    words = "The server was restarted and the run's container is gone."
    await world.house.services.runs.interrupt(found, "RUN_INTERRUPTED", words)
    page = (await browser.get(f"/runs/{run}")).text
    assert "Interrupted (restart)" in page and "container is gone" in page and "1 outcome is unknown" in page
    assert " data-steer" not in page and " data-live" in page and page.count('data-dialog="stop"') == 3
    listed = (await browser.get("/runs", params={"show": "needs"})).text
    assert f'id="run-{run}"' in listed and "Stop it or run it again" in listed
    form = (await browser.get(f"/blueprints/market-brief?again={run}")).text
    assert "Compare prices." in form and "Prices &lt;today&gt;" in form and 'value="2.50"' in form
    for other in ("nope", "r" + "0" * 25, f"{run}x"):
        assert "Compare prices." not in (await browser.get(f"/blueprints/market-brief?again={other}")).text
    assert "Compare prices." not in (await browser.get(f"/blueprints/rotate-secret?again={run}")).text
    assert (await browser.post(f"/runs/{run}/stop")).status_code == 303
    assert "Stopped by a person." in (await browser.get(f"/runs/{run}")).text


async def test_a_failed_run_says_why_and_what_to_do(world: WebWorld) -> None:
    browser = await world.browser()
    run = await _started(world, browser)
    world.house.sandbox.end(run, 1, "out of <memory>")
    await world.house.until(run, "run.closed")
    page = (await browser.get(f"/runs/{run}")).text
    assert "out of &lt;memory&gt;" in page and "start it again when the cause is known" in page
    assert "out of &lt;memory&gt;" in (await browser.get("/runs")).text and "Run it again" in page


async def test_a_run_that_is_being_stopped_says_that_it_is_not_over_yet(world: WebWorld) -> None:
    browser = await world.browser()
    run = await _started(world, browser)
    world.house.sandbox.refuse_kill = "the engine is stuck"
    assert (await browser.post(f"/runs/{run}/stop")).status_code == 503
    page = (await browser.get(f"/runs/{run}")).text
    assert "only when all of it is gone" in page and "Stopping" in page and "Run it again" not in page
