"""The live socket: exactly once, in order, whatever is cut in between; nobody looks who may not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from app.domain.content import Content
from app.domain.events import Draft
from app.domain.payloads import AgentSpawned, ModelOutput, RunNoted
from app.services.previews import Preview
from app.web.action_rows import slug
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from tests.faces.web_world import WebWorld, events_until, frame, frames_until, web_world
from tests.house import MAIL


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WebWorld]:
    async with web_world(tmp_path) as found:
        yield found


async def _note(world: WebWorld, run: str, words: str) -> int:
    (event,) = await world.house.ledger.record(run, Draft(RunNoted("info", Content.text(words))))
    return event.seq


async def _live(line: ClientConnection) -> None:
    while (await frame(line)).get("sync") != "live":
        pass


async def _closed(line: ClientConnection) -> int:
    """The code with which a socket is closed by the server."""
    async with asyncio.timeout(10):
        while True:
            try:
                await line.recv()
            except ConnectionClosed:
                return line.close_code or 0


async def test_a_watcher_gets_every_event_once_and_in_order(world: WebWorld) -> None:
    program = await world.program()
    run = await world.house.start()
    for number in range(50):
        await _note(world, run.id, f"before {number}")
    line = await world.socket(program)
    last = [await _note(world, run.id, f"after {number}") for number in range(50)][-1]
    assert await events_until(line, last) == list(range(last + 1))
    await line.close()


async def test_a_run_filter_tells_that_run_only(world: WebWorld) -> None:
    program = await world.program()
    one, two = await world.house.start(), await world.house.start()
    line = await world.socket(program, run=two.id)
    await _note(world, one.id, "not for you")
    last = await _note(world, two.id, "for you")
    got = [event for shown in await frames_until(line, last) for event in shown.get("events", [])]
    assert {event["run"] for event in got} == {two.id}
    assert [event["run_seq"] for event in got] == list(range(len(got)))
    assert got[-1]["name"] == "run.noted" and got[-1]["text"] == "for you"
    assert set(got[-1]) == {"seq", "run", "run_seq", "id", "name", "ts", "actor", "refs", "body", "text"}
    await line.close()


async def test_cut_sockets_lose_and_repeat_nothing(world: WebWorld) -> None:
    program = await world.program()
    run = await world.house.start()
    total, got = 600, list[int]()

    async def write() -> int:
        last = 0
        for number in range(total // 20):
            batch = [_note(world, run.id, f"{number}.{each}") for each in range(20)]
            last = max(await asyncio.gather(*batch))
        return last

    writing = asyncio.create_task(write())
    chance = random.Random(7)
    cuts = 0
    while not writing.done() or got[-1] < world.house.ledger.head:
        line = await world.socket(program, after=got[-1] if got else -1)
        try:
            for _ in range(chance.randrange(1, 4) if cuts < 30 else 10_000):
                got += [event["seq"] for event in (await frame(line)).get("events", [])]
                if writing.done() and got and got[-1] >= world.house.ledger.head:
                    break
        finally:
            cuts += 1
            line.transport.abort()
    assert got == list(range(await writing + 1)) and cuts > 5


async def test_after_a_restart_the_number_of_the_last_event_is_enough(tmp_path: Path) -> None:
    async with web_world(tmp_path) as world:
        line = await world.socket(await world.program())
        run = await world.house.start()
        last = await _note(world, run.id, "one")
        first = await events_until(line, last)
        await world.house.services.runs.stop(run.id, by="ana")
        head = world.house.ledger.head
        stopping = asyncio.create_task(_closed(line))
    assert await stopping in (1001, 1012)  # the server says that it goes
    async with web_world(tmp_path) as world:
        line = await world.socket(await world.program("bob"), after=first[-1])
        assert first + await events_until(line, head) == list(range(head + 1))
        await line.close()


async def test_tickets_are_for_one_connection_within_half_a_minute(world: WebWorld) -> None:
    program = await world.program()
    ticket = await world.ticket(program)
    line = await connect(f"ws://{world.host}/live?ticket={ticket}&as=json")
    await frame(line)
    await line.close()
    late = await world.ticket(program)
    world.house.clock.ms += 30_000
    for wrong in (ticket, late, "", "x" * 64):
        assert await _closed(await connect(f"ws://{world.host}/live?ticket={wrong}&as=json")) == 4401


async def test_tickets_need_who_you_are_and_a_page_of_ours(world: WebWorld) -> None:
    browser = await world.browser()
    assert (await browser.post("/live/ticket")).status_code == 200
    assert (await browser.post("/live/ticket", headers={"x-csrftoken": "x"})).status_code == 403
    assert (await world.client().post("/live/ticket")).status_code == 401
    assert (await world.client(authorization="Bearer helm_x").post("/live/ticket")).status_code == 401
    assert (await browser.get("/live/ticket")).status_code == 405


async def test_foreign_pages_and_names_are_closed_out(world: WebWorld) -> None:
    program = await world.program()
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}):
        url = f"ws://{world.host}/live?ticket={await world.ticket(program)}&as=json"
        assert await _closed(await connect(url, additional_headers=headers)) == 4403
    port = int(world.host.rpartition(":")[2])
    url = f"ws://evil.example:{port}/live?ticket={await world.ticket(program)}&as=json"
    assert await _closed(await connect(url, host="127.0.0.1", port=port)) == 4403
    fine = await connect(
        f"ws://{world.host}/live?ticket={await world.ticket(program)}", origin=Origin("http://127.0.0.1")
    )
    await frame(fine)
    await fine.close()


@pytest.mark.parametrize("query", ["after=x", "after=--1", "run=../x", "as=xml", "surprise=1", "after=" + "9" * 40])
async def test_odd_questions_are_closed_with_a_reason(world: WebWorld, query: str) -> None:
    ticket = await world.ticket(await world.program())
    assert await _closed(await connect(f"ws://{world.host}/live?ticket={ticket}&{query}")) == 4400


async def test_who_is_signed_out_sees_nothing_more(world: WebWorld) -> None:
    phone = await world.browser()
    world.house.clock.ms += 1_000
    desk = await world.browser()
    line = await world.socket(phone)
    person = await world.people.ensure_person("ana")
    phones = (await world.people.sessions(person.id))[1]
    await desk.post(f"/settings/sessions/{phones.id}/revoke")
    assert await _closed(line) == 4401


async def test_a_revoked_token_closes_its_sockets_and_its_tickets(world: WebWorld) -> None:
    program = await world.program()
    line, ticket = await world.socket(program), await world.ticket(program)
    (token,) = (await program.get("/api/v1/tokens")).json()["tokens"]
    await program.post(f"/api/v1/tokens/{token['id']}/revoke")
    assert await _closed(line) == 4401
    assert await _closed(await connect(f"ws://{world.host}/live?ticket={ticket}&as=json")) == 4401


async def test_who_does_not_read_makes_nobody_wait(world: WebWorld) -> None:
    program = await world.program()
    run = await world.house.start()
    slow = await connect(
        f"ws://{world.host}/live?ticket={await world.ticket(program)}&as=json", max_queue=1, max_size=2**22
    )
    quick = await world.socket(program)
    words = "x" * 30_000
    last = 0
    for _ in range(12):
        last = max(await asyncio.gather(*[_note(world, run.id, words) for _ in range(20)]))
    assert await events_until(quick, last) == list(range(last + 1))
    seen = [event["seq"] for shown in await frames_until(slow, last) for event in shown.get("events", [])]
    assert seen == list(range(last + 1))  # and it has lost nothing when it reads at last
    await slow.close()
    await quick.close()


async def test_previews_come_aside_and_are_never_events(world: WebWorld) -> None:
    browser = await world.browser()
    run = await world.house.start()
    head = world.house.ledger.head
    page = await world.socket(browser, run=run.id, after=head, form="html")
    program = await world.socket(browser, run=run.id, after=head)
    await _live(page)
    await frame(program)
    for agent, lane in (("", ""), ("a1", "a1"), ("<b>", slug("<b>"))):
        world.house.services.previews.publish(Preview(run.id, agent, "m1", "He"))
        shown: dict[str, Any] = {}
        while not any(op["op"] == "preview" for op in shown.get("ops", [])):
            shown = await frame(page)
        op = {"op": "preview", "target": "#preview", "lane": lane, "message": "m1", "text": "He"}
        assert shown == {"ops": [op]}
    told = await frame(program)
    while "preview" not in told:
        told = await frame(program)
    assert told == {"preview": {"agent": "", "message_id": "m1", "text": "He"}}
    await page.close()
    await program.close()


async def test_a_page_gets_lines_then_their_changes(world: WebWorld) -> None:
    browser = await world.browser()
    run = await world.house.start()
    head = world.house.ledger.head
    line = await world.socket(browser, run=run.id, after=head, form="html")
    lists = await world.socket(browser, after=head, form="html")
    await _live(line)
    await _live(lists)
    asked = asyncio.create_task(
        world.house.services.tool_calls.ask(run.id, world.house.hook("mcp__mail__send_email", MAIL))
    )
    (action,) = await world.house.waiting(run.id)
    ops = [op for shown in await frames_until(line, action.request_seq) for op in shown["ops"]]
    lines = [op["html"] for op in ops if op["op"] == "append" and op["target"] == "#timeline-live"]
    assert len(lines) == 2 and f'id="row-{action.id}"' in lines[0] and "/inbox/" in lines[1]
    assert {"op": "text", "target": "#badge", "text": "1"} in ops
    listed = [op for shown in await frames_until(lists, action.request_seq) for op in shown["ops"]]
    assert (
        any(op["target"] == f"#run-{run.id}" for op in listed) and {"op": "refresh", "target": "#inbox-list"} in listed
    )
    answer = await browser.post(
        f"/inbox/{action.approval}/answer", data={"answer": "allow"}, headers={"hx-request": "true"}
    )
    assert answer.status_code == 200 and "You allowed this once" in answer.text
    assert (await asyncio.wait_for(asked, 5)).allowed
    head = world.house.ledger.head
    ops = [op for shown in await frames_until(line, head) for op in shown["ops"]]
    assert {"op": "text", "target": "#badge", "text": "0"} in ops
    assert any(op["target"] == f"#row-{action.id}" and op["op"] == "replace" for op in ops)
    feet = [op for shown in await frames_until(lists, head) for op in shown["ops"] if "card-foot" in op["target"]]
    assert feet and all("You allowed this once" in op["html"] for op in feet)
    assert 'data-rank="2"' in feet[-1]["html"]  # delivered
    await world.house.services.tool_calls.report(
        run.id, {**world.house.hook("mcp__mail__send_email", MAIL), "tool_response": {"ok": True}}
    )
    shown_ops = [op for shown in await frames_until(lists, world.house.ledger.head) for op in shown["ops"]]
    feet = [op for op in shown_ops if "card-foot" in op["target"]]
    assert feet and 'data-rank="3"' in feet[-1]["html"] and '<li class="on">executed' in feet[-1]["html"]
    await line.close()
    await lists.close()


async def test_somebody_else_sees_who_answered(world: WebWorld) -> None:
    ana, bob = await world.browser("ana"), await world.browser("bob")
    run = await world.house.start()
    asked = asyncio.create_task(
        world.house.services.tool_calls.ask(run.id, world.house.hook("mcp__mail__send_email", MAIL))
    )
    (action,) = await world.house.waiting(run.id)
    line = await world.socket(bob, after=world.house.ledger.head, form="html")
    await _live(line)
    await ana.post(f"/inbox/{action.approval}/answer", data={"answer": "deny", "reason": "not yet"})
    assert not (await asyncio.wait_for(asked, 5)).allowed
    ops = [op for shown in await frames_until(line, world.house.ledger.head) for op in shown["ops"]]
    (foot,) = [op for op in ops if op["target"] == f"#card-foot-{action.approval}"]
    assert "Already denied" in foot["html"] and "ana" in foot["html"]
    late = await bob.post(f"/inbox/{action.approval}/answer", data={"answer": "allow"}, headers={"hx-request": "true"})
    assert late.status_code == 409 and "Already denied" in late.text
    await line.close()


async def test_sub_agents_write_into_their_own_lane(world: WebWorld) -> None:
    browser = await world.browser()
    run = await world.house.start()
    line = await world.socket(browser, run=run.id, after=world.house.ledger.head, form="html")
    hostile = 'x" onload="alert(1)'
    for agent in ("agent-1", hostile):
        await world.house.ledger.record(
            run.id,
            Draft(AgentSpawned(agent, "researcher", "", "")),
            Draft(ModelOutput(Content.text("I look"), "m", agent)),
        )
    ops = [op for shown in await frames_until(line, world.house.ledger.head) for op in shown["ops"]]
    assert any(op["target"] == "#lane-agent-1" and "I look" in op["html"] for op in ops)
    assert all("onload" not in op["target"] and 'onload="alert' not in op.get("html", "") for op in ops)
    page = await browser.get(f"/runs/{run.id}")
    assert page.text.count("I look") == 2 and 'id="lane-agent-1"' in page.text and 'onload="alert' not in page.text
    await line.close()


async def test_a_hundred_pages_are_drawn_once(world: WebWorld) -> None:
    browser = await world.browser()
    run = await world.house.start()
    head = world.house.ledger.head
    lines = [await world.socket(browser, run=run.id, after=head, form="html") for _ in range(25)]
    last = max([await _note(world, run.id, f"note {number}") for number in range(100)])
    got = await asyncio.gather(*[frames_until(line, last) for line in lines])
    shown = [
        [op["html"] for each in frames for op in each["ops"] if op["op"] == "append" and "note " in op["html"]]
        for frames in got
    ]
    assert all(len(rows) == 100 for rows in shown) and all(rows == shown[0] for rows in shown)
    for line in lines:
        await line.close()


async def test_a_broken_line_in_the_log_of_one_tick_stops_nobody(world: WebWorld) -> None:
    """A watcher of a run that does not exist, beside one that does."""
    browser = await world.browser()
    ghost = "r" + "0" * 25
    odd = await world.socket(browser, run=ghost, form="html")
    run = await world.house.start()
    line = await world.socket(browser, run=run.id, form="html", after=world.house.ledger.head)
    last = await _note(world, run.id, "still here")
    await frames_until(line, last)
    await odd.close()
    await line.close()
