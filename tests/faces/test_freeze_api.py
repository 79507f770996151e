"""The brake over HTTP: who may pull it, what it answers, and what nobody in a run can reach."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faces.gate_world import GateWorld, gate_world
from tests.faces.test_web_api import fits, refused


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[GateWorld]:
    async with gate_world(tmp_path) as found:
        yield found


async def test_freeze_list_and_lift(world: GateWorld) -> None:
    program = await world.web.program("ana")
    run = await world.start()
    order = {"scope": "run", "target": run, "reason": "odd"}
    made = fits(await program.post("/api/v1/freeze", json=order), "Frozen")
    assert (made["scope"], made["target"], made["by"], made["reason"]) == ("run", run, "ana", "odd")
    assert fits(await program.post("/api/v1/freeze", json=order), "Frozen") == made
    assert fits(await program.get("/api/v1/freezes"), "Freezes")["freezes"] == [made]
    told = await world.hook(run, "Read", {"file_path": "/workspace/a"})
    assert (told.allowed, told.code) == (False, "FROZEN")
    lifted = await program.post("/api/v1/unfreeze", json={"scope": "run", "target": run})
    assert fits(lifted, "Freezes")["freezes"] == []
    assert (await world.hook(run, "Read", {"file_path": "/workspace/a"}, "toolu_2")).allowed
    refused(await program.post("/api/v1/unfreeze", json={"scope": "run", "target": run}), 404, "NOT_FOUND")


async def test_a_frozen_blueprint_is_a_conflict_that_names_the_remedy(world: GateWorld) -> None:
    program = await world.web.program("ana")
    await program.post("/api/v1/freeze", json={"scope": "blueprint", "target": "ceremony"})
    answer = await program.post("/api/v1/runs", json={"blueprint": "ceremony", "task": "x"})
    assert "helm unfreeze" in refused(answer, 409, "FROZEN")


@pytest.mark.parametrize(
    ("order", "status"),
    [
        ({"scope": "world"}, 422),
        ({}, 422),
        ({"scope": "all", "target": "x"}, 400),
        ({"scope": "run"}, 400),
        ({"scope": "run", "target": "no-such"}, 404),
        ({"scope": "blueprint", "target": "no-such"}, 404),
        ({"scope": "all", "reason": "x" * 501}, 422),
    ],
)
async def test_an_order_that_means_nothing_freezes_nothing(
    world: GateWorld, order: dict[str, str], status: int
) -> None:
    program = await world.web.program("ana")
    assert (await program.post("/api/v1/freeze", json=order)).status_code == status
    assert (await program.get("/api/v1/freezes")).json() == {"freezes": []}


async def test_only_people_pull_or_release_the_brake(world: GateWorld) -> None:
    run = await world.start()
    viewer = await world.web.program("vic", role="viewer")
    refused(await viewer.post("/api/v1/freeze", json={"scope": "all"}), 403, "FORBIDDEN")
    for path in ("/api/v1/freeze", "/api/v1/unfreeze", "/freeze", "/unfreeze"):
        answer = await world.gateway.post(path, json={"scope": "all"}, headers={"x-helm-run": run})
        assert answer.status_code == 403, "the agents' listener has no such route"
    assert (await viewer.get("/api/v1/freezes")).json() == {"freezes": []}


async def test_a_model_call_in_a_freeze_is_told_to_come_again_and_not_to_stop(world: GateWorld) -> None:
    run = await world.start()
    program = await world.web.program("ana")
    await program.post("/api/v1/freeze", json={"scope": "all"})
    call = {"provider": "anthropic", "path": "/v1/messages", "model": "claude-sonnet-5", "max_tokens": 10}
    told = await world.post(run, "/door/model", {**call, "body_bytes": 10, "stream": True, "tool_results": []})
    assert (told["verdict"], told["status"], told["reason_code"]) == ("DENY", 529, "FROZEN")


async def test_an_attempt_that_the_door_tells_is_a_verdict_and_a_notice(world: GateWorld) -> None:
    run = await world.start()
    told = await world.post(run, "/door/attempt", {"method": "POST", "target": "/api/v1/inbox/apr_1/answer"})
    assert (told["verdict"], told["reason_code"]) == ("DENY", "SELF_APPROVAL")
    assert told["receipt_id"].startswith("sha256:")
    program = await world.web.program("ana")
    (notice,) = (await program.get("/api/v1/notices")).json()["notices"]
    assert (notice["kind"], notice["run"]) == ("self_approval", run)
    assert "/api/v1/inbox/apr_1/answer" in notice["text"]
