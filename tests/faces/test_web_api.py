"""The REST API: what it says is what its description says, what it is sent is checked, and errors have one shape."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from app.domain.run import Action
from app.ports import EngineStatus
from app.web.api_routes import ROUTES
from app.web.openapi import document

from tests.faces.web_world import WebWorld, web_world
from tests.house import MAIL

DOCUMENT = document("test")
START = {"blueprint": "market-brief", "title": "Prices"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WebWorld]:
    async with web_world(tmp_path) as found:
        yield found


def _schema(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}


def fits(answer: httpx.Response, name: str, status: int = 200) -> Any:
    """The JSON of an answer that has the form which the description promises."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    value = answer.json()
    jsonschema_rs.validate(_schema(name), value)
    return value


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """The message of an error in its one shape."""
    error = fits(answer, "Error", status)["error"]
    assert set(error) == {"code", "message", "reason_code", "receipt_id"} and error["code"] == code
    return str(error["message"])


async def _asked(world: WebWorld, run: str) -> tuple[asyncio.Task[Any], Action]:
    call = world.house.services.tool_calls.ask(run, world.house.hook("mcp__mail__send_email", MAIL))
    task = asyncio.create_task(call)
    (action,) = await world.house.waiting(run)
    return task, action


def _bare(path: str) -> str:
    """A path whose parameters have no names: the description calls them as people do."""
    return re.sub(r"{[a-z]+}", "{}", path)


def test_the_description_names_every_route_and_no_other() -> None:
    served = {
        (method.lower(), _bare(path.replace(":str}", "}")))
        for route in ROUTES
        for path in route.paths
        for method in route.http_methods
    }
    described = {(method, _bare(path)) for path, item in DOCUMENT["paths"].items() for method in item}
    assert served - {("get", "/api/v1/openapi.json")} == described - {("post", "/live/ticket")}
    names = [item["operationId"] for path in DOCUMENT["paths"].values() for item in path.values()]
    assert len(set(names)) == len(names)
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]})


async def test_a_run_from_start_to_stop(world: WebWorld) -> None:
    program = await world.program()
    run = fits(await program.post("/api/v1/runs", json={**START, "budget_micro": 2_000_000}), "Run", 201)
    assert (run["title"], run["by"], run["budget_micro"], run["no"]) == ("Prices", "ana", 2_000_000, 1)
    path = f"/api/v1/runs/{run['id']}"
    await world.house.until(run["id"], "run.started")
    assert fits(await program.get(path), "Run")["status"] == "starting"
    body = {"text": "Use net prices.", "mode": "steer", "client_id": "c1"}
    first, again = [fits(await program.post(f"{path}/steer", json=body), "Message", 202) for _ in range(2)]
    assert first == again and first["state"] == "queued"
    page = fits(await program.get(f"{path}/events", params={"limit": 2}), "Events")
    rest = fits(await program.get(f"{path}/events", params={"after": page["events"][-1]["seq"]}), "Events")
    names = [event["name"] for event in page["events"] + rest["events"]]
    assert names == ["run.created", "run.started", "control.requested"]
    assert rest["events"][-1]["text"] == "Use net prices."
    stopped = fits(await program.post(f"{path}/stop", json={}), "Stopped")
    assert stopped["run"]["status"] == "stopped" and stopped["killed"]
    refused(await program.post(f"{path}/stop"), 409, "RUN_ENDED")
    refused(await program.post(f"{path}/steer", json={"text": "late"}), 409, "RUN_ENDED")


async def test_an_answer_is_given_once_and_the_second_is_told_who_was_first(world: WebWorld) -> None:
    ana, bob = await world.program("ana"), await world.program("bob")
    run = await world.house.start()
    task, action = await _asked(world, run.id)
    (item,) = fits(await ana.get("/api/v1/inbox"), "Inbox")["items"]
    assert (item["key"], item["risk"]) == (action.approval, "irreversible")
    assert item["available"] == ["allow", "deny", "edit", "allow_pattern"]
    path = f"/api/v1/inbox/{action.approval}"
    answers = await asyncio.gather(
        ana.post(f"{path}/answer", json={"answer": "allow"}),
        bob.post(f"{path}/answer", json={"answer": "deny", "reason": "no"}),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    lost = next(answer for answer in answers if answer.status_code == 409)
    winner = "bob" if lost is answers[0] else "ana"
    assert winner in refused(lost, 409, "ALREADY_ANSWERED")
    found = fits(await ana.get(path), "Item")
    assert found["answered_by"] == winner and found["available"] == []
    assert fits(await ana.get("/api/v1/inbox"), "Inbox")["items"] == []
    await asyncio.wait_for(task, 5)


async def test_the_same_answer_again_is_harmless(world: WebWorld) -> None:
    program = await world.program()
    task, action = await _asked(world, (await world.house.start()).id)
    for _ in range(2):
        answer = await program.post(f"/api/v1/inbox/{action.approval}/answer", json={"answer": "allow"})
        assert fits(answer, "Item")["answer"] == "allow"
    assert (await asyncio.wait_for(task, 5)).allowed
    refused(
        await program.post(f"/api/v1/inbox/{action.approval}/answer", json={"answer": "deny"}), 409, "ALREADY_ANSWERED"
    )


async def test_lists_are_paged(world: WebWorld) -> None:
    program = await world.program()
    for number in range(5):
        fits(await program.post("/api/v1/runs", json={**START, "title": f"run {number}"}), "Run", 201)
    first = fits(await program.get("/api/v1/runs", params={"limit": 3}), "Runs")
    rest = fits(await program.get("/api/v1/runs", params={"limit": 3, "cursor": first["next"]}), "Runs")
    assert [run["no"] for run in first["runs"] + rest["runs"]] == [5, 4, 3, 2, 1] and rest["next"] == 0
    assert len(fits(await program.get("/api/v1/runs", params={"q": "run 3"}), "Runs")["runs"]) == 1
    assert fits(await program.get("/api/v1/runs", params={"status": "finished"}), "Runs")["runs"] == []


async def test_receipts_blueprints_and_the_state_of_things(world: WebWorld) -> None:
    program = await world.program()
    run = await world.house.start()
    event = (await world.house.ledger.read.events(run=run.id, limit=1))[0]
    receipt = fits(await program.get(f"/api/v1/receipts/{event.id}"), "Receipt")
    assert receipt["seq"] == event.seq and "payloadType" in receipt["line"]
    plans = fits(await program.get("/api/v1/blueprints"), "Blueprints")["blueprints"]
    assert fits(await program.get(f"/api/v1/blueprints/{plans[0]['name']}"), "Blueprint") == plans[0]
    assert fits(await program.get("/api/v1/log"), "Head")["head"] == world.house.ledger.head
    assert fits(await program.get("/api/v1/version"), "Version") == {"version": "test"}
    assert fits(await program.get("/api/v1/health"), "Health")["ok"] is True
    assert (await world.client().get("/healthz")).text == "ok"
    assert (await world.client().get("/api/v1/openapi.json")).json()["openapi"] == "3.1.0"


async def test_a_red_server_says_so(world: WebWorld) -> None:
    program = await world.program()
    world.house.ledger.fault = "disk full"
    health = fits(await program.get("/api/v1/health"), "Health", 503)
    assert (health["ok"], health["ledger"]) == (False, "disk full")
    assert (await world.client().get("/healthz")).text == "red"


async def test_without_an_engine_a_start_names_the_remedy(world: WebWorld) -> None:
    world.house.sandbox.status = EngineStatus(False, reason="Docker is not running.", remedy="Start it.")
    program = await world.program()
    assert "Start it." in refused(await program.post("/api/v1/runs", json=START), 503, "ENGINE_UNAVAILABLE")


async def test_tokens_show_their_secret_once(world: WebWorld) -> None:
    program = await world.program()
    made = fits(await program.post("/api/v1/tokens", json={"name": "ci"}), "NewToken", 201)
    other = world.client(authorization=f"Bearer {made['token']}")
    assert made["token"] not in (await other.get("/api/v1/tokens")).text
    fits(await program.post(f"/api/v1/tokens/{made['id']}/revoke"), "Tokens")
    refused(await other.get("/api/v1/tokens"), 401, "UNAUTHENTICATED")
    assert (await other.get("/api/v1/tokens")).headers["www-authenticate"] == "Bearer"


BAD_JSON = {
    b"": 400,
    b"{": 400,
    b"\xff": 400,
    b'\xef\xbb\xbf{"blueprint": "market-brief"}': 400,
    b'{"blueprint": "market-brief", "blueprint": "market-brief"}': 400,
    b'{"blueprint": NaN}': 400,
    b'{"blueprint": "\\ud800"}': 400,
    b"[" * 100_000: 413,
    b'{"blueprint": ' + b"[" * 17 + b"]" * 17 + b"}": 413,
    b'{"task": "' + b"x" * 1_100_000 + b'"}': 413,
    b"[]": 422,
    b'"x"': 422,
    b"{}": 422,
    b'{"blueprint": 1}': 422,
    b'{"blueprint": "market-brief", "surprise": 1}': 422,
    b'{"blueprint": "market-brief", "budget_micro": "5"}': 422,
    b'{"blueprint": "market-brief", "budget_micro": -5}': 422,
    b'{"blueprint": "market-brief", "budget_micro": 1e400}': 400,
    b'{"blueprint": "../../etc"}': 422,
    b'{"blueprint": "no-such-blueprint"}': 404,
}


@pytest.mark.parametrize(("body", "status"), BAD_JSON.items(), ids=[str(number) for number in range(len(BAD_JSON))])
async def test_bad_json_is_refused_with_the_reason(world: WebWorld, body: bytes, status: int) -> None:
    program = await world.program()
    headers = {"content-type": "application/json"}
    answer = await program.post("/api/v1/runs", content=body, headers=headers)
    error = fits(answer, "Error", status)["error"]
    assert error["message"] and "Traceback" not in answer.text and len(answer.text) < 600


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/runs/nope", 404),
        ("GET", "/api/v1/runs/r" + "0" * 25, 404),
        ("GET", "/api/v1/runs/r" + "0" * 25 + "/events", 404),
        ("GET", "/api/v1/receipts/sha256:" + "0" * 64, 404),
        ("GET", "/api/v1/receipts/7", 404),
        ("GET", "/api/v1/inbox/apr_nope", 404),
        ("GET", "/api/v1/blueprints/nope", 404),
        ("GET", "/api/v1/nope", 404),
        ("GET", "/api/v2/runs", 404),
        ("DELETE", "/api/v1/runs", 405),
        ("PUT", "/api/v1/inbox/x/answer", 405),
        ("GET", "/api/v1/runs?surprise=1", 400),
        ("GET", "/api/v1/runs?limit=0", 400),
        ("GET", "/api/v1/runs?limit=1&limit=2", 400),
        ("GET", "/api/v1/runs?status=happy", 400),
        ("GET", "/api/v1/runs?cursor=%00", 400),
        ("POST", "/api/v1/tokens/t_x/revoke", 404),
        ("POST", "/api/v1/runs", 400),
    ],
)
async def test_every_error_has_the_same_shape(world: WebWorld, method: str, path: str, status: int) -> None:
    program = await world.program()
    fits(await program.request(method, path), "Error", status)


async def test_a_form_is_no_json(world: WebWorld) -> None:
    program = await world.program()
    refused(await program.post("/api/v1/runs", data=START), 400, "INVALID_INPUT")


async def test_a_fault_of_ours_says_nothing_of_the_inside(world: WebWorld) -> None:
    program = await world.program()
    world.app.state["web"].services.ledger.read.close()
    answer = await program.get("/api/v1/runs")
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert fits(answer, "Error", answer.status_code)["error"]["code"] in ("INTERNAL", "LEDGER_UNAVAILABLE")
