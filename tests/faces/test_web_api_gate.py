"""Answers over HTTP, with the real gate behind both faces: who may give which, what each one releases, and what the log
holds of it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from app.domain.reasons import Reason

from tests.emits import emits, says
from tests.faces.gate_world import GateWorld, finished, gate_world
from tests.faces.test_web_api import fits, refused
from tests.house import MAIL

MAIL_TOOL = "mcp__mail__send"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[GateWorld]:
    async with gate_world(tmp_path) as found:
        yield found


async def _answer(program: httpx.AsyncClient, approval: str, answer: str = "allow", **more: Any) -> httpx.Response:
    return await program.post(f"/api/v1/inbox/{approval}/answer", json={"answer": answer, **more})


# --- one question, one answer -----------------------------------------------------------------------------------------


async def test_two_devices_two_answers_one_applies_and_a_third_question_is_untouched(world: GateWorld) -> None:
    phone, desk = await world.web.program("ana"), await world.web.program("bob")
    run = await world.start()
    task, approval = await world.asked(run, MAIL_TOOL, MAIL, "t1")
    other, third = await world.asked(run, MAIL_TOOL, {**MAIL, "to": "b@example.com"}, "t2")
    answers = await asyncio.gather(
        _answer(phone, approval, "allow"), _answer(desk, approval, "deny", reason="not this one")
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    lost = next(answer for answer in answers if answer.status_code == 409)
    words = refused(lost, 409, "ALREADY_ANSWERED")
    assert ("by bob" if lost is answers[0] else "by ana") in words and "T" in words, "who and when"
    told = await finished(task)
    assert told.allowed is (lost is answers[1])
    assert len(await world.events(run, "approval.decided")) == 1
    assert fits(await phone.get(f"/api/v1/inbox/{third}"), "ItemInFull")["state"] == "open" and not other.done()
    other.cancel()


async def test_a_hundred_redemptions_of_one_approval_are_one_dispatch(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    waiting = [asyncio.create_task(world.hook(run, MAIL_TOOL, MAIL, "t1")) for _ in range(100)]
    approval = await world.question(run, "t1")
    answers = await asyncio.gather(*[_answer(program, approval) for _ in range(100)])
    assert {answer.status_code for answer in answers} == {200}, "one person, one answer, however often it is sent"
    told = [await finished(task) for task in waiting]
    assert all(one.allowed for one in told)
    assert len(await world.events(run, "action.dispatched")) == 1
    assert len(await world.events(run, "approval.decided")) == 1


async def test_what_is_offered_stands_in_the_item(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    path = ["lead", "researcher"]
    more = {"agent_id": "a1", "agent_type": "researcher"}
    task, approval = await world.asked(run, MAIL_TOOL, MAIL, "t1", **more)
    (item,) = fits(await program.get("/api/v1/inbox"), "Inbox")["items"]
    assert item["available"] == ["allow", "deny", "edit", "allow_run", "allow_pattern"]
    assert (item["agent"], item["rule"], item["quorum"], item["proof"]) == ("/".join(path), "mail", 1, "none")
    assert item["binding"].startswith("sha256:") and item["blocked"] == ""
    full = fits(await program.get(f"/api/v1/inbox/{approval}"), "ItemInFull")
    assert json.loads(full["input"]) == MAIL and full["edited_input"] == ""
    task.cancel()


async def test_an_expired_question_was_not_denied_and_can_be_asked_again(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    task, approval = await world.asked(run, MAIL_TOOL, MAIL)
    world.house.clock.ms += 3_601_000
    assert "nobody had answered" in refused(await _answer(program, approval), 409, "ALREADY_ANSWERED")
    told = await finished(task)
    assert not told.allowed and "not a denial" in told.words
    item = fits(await program.get(f"/api/v1/inbox/{approval}"), "ItemInFull")
    assert (item["answer"], item["state"], item["answered_by"]) == ("expired", "expired", "")
    assert item["available"] == ["ask_again"]
    message = fits(await program.post(f"/api/v1/inbox/{approval}/again"), "Message", 202)
    assert message["state"] == "queued" and message["by"] == "ana"
    again, second = await world.asked(run, MAIL_TOOL, MAIL, "t2")
    fits(await _answer(program, second), "ItemInFull")
    assert (await finished(again)).allowed
    refused(await program.post(f"/api/v1/inbox/{second}/again"), 409, "CONFLICT")


# --- other arguments --------------------------------------------------------------------------------------------------


async def test_edited_arguments_run_in_place_of_those_that_were_asked_for(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    task, approval = await world.asked(run, MAIL_TOOL, MAIL)
    edited = {**MAIL, "to": "team@example.com"}
    item = fits(await _answer(program, approval, edited=edited, reason="the team only"), "ItemInFull")
    assert item["edited"].startswith("sha256:") and item["edited"] != item["args_digest"]
    assert (json.loads(item["input"]), json.loads(item["edited_input"])) == (MAIL, edited), "both are in the log"
    told = await finished(task)
    assert told.allowed and told.edited == edited
    (dispatch,) = await world.events(run, "action.dispatched")
    assert dispatch["body"]["args_digest"] == item["edited"]


async def test_an_edit_goes_through_the_law_again(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    task, approval = await world.asked(run, "Bash", {"command": "make test"})
    hostile = await _answer(program, approval, edited={"command": "rm -rf / --no-preserve-root"})
    refused(hostile, 422, "SANDBOX_VIOLATION")
    refused(await _answer(program, approval, edited={"command": "make", "n": 2**60}), 400, "INVALID_INPUT")
    assert not task.done(), "a refused edit answers nothing"
    fits(await _answer(program, approval, edited={"command": "make check"}), "ItemInFull")
    assert (await finished(task)).edited == {"command": "make check"}
    fits(await _answer(program, approval, edited={"command": "make check"}), "ItemInFull")


async def test_what_is_no_answer_is_refused_and_answers_nothing(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    task, approval = await world.asked(run, MAIL_TOOL, MAIL)
    odd: list[dict[str, Any]] = [
        {"surprise": 1},
        {"edited": [1]},
        {"edited": "x"},
        {"grant": {"scope": "world"}},
        {"grant": {"scope": "run", "uses": 0}},
        {"grant": {"scope": "run", "lasts_s": 10**9}},
        {"grant": {"scope": "run", "for": "ever"}},
        {"proof": {"type": "magic", "data": "x"}},
        {"proof": {"type": "sshsig"}},
        {"at": "yesterday"},
        {"reason": "x" * 2_001},
    ]
    for more in odd:
        refused(await _answer(program, approval, **more), 422, "SCHEMA_VIOLATION")
    assert (await _answer(program, approval, edited={"a": "x" * 1_100_000})).status_code == 413
    assert "column" in refused(
        await _answer(program, approval, grant={"scope": "run", "pattern": "args.to =="}), 400, "INVALID_INPUT"
    )
    assert not task.done() and len(await world.events(run, "approval.decided")) == 0
    task.cancel()


async def test_a_file_that_changed_while_it_was_asked_about_is_a_new_question(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    folder = world.house.home / "workspaces" / run
    folder.mkdir(parents=True)
    script = folder / "deploy.sh"
    script.write_text("echo deploy to staging\n")
    task, approval = await world.asked(run, "Bash", {"command": "bash deploy.sh"})
    item = fits(await program.get(f"/api/v1/inbox/{approval}"), "ItemInFull")
    (mark,) = item["files"]
    assert mark["path"] == "/workspace/deploy.sh" and mark["digest"].startswith("sha256:")
    script.write_text("rm -rf /production\n")
    late = await _answer(program, approval)
    error = fits(late, "Error", 409)["error"]
    assert error["code"] == "INPUT_CHANGED" and error["approval"] not in ("", approval)
    assert "deploy.sh" in error["message"] and not task.done()
    (asked,) = fits(await program.get("/api/v1/inbox"), "Inbox")["items"]
    assert (asked["key"], asked["reason_code"]) == (error["approval"], "INPUT_CHANGED")
    assert asked["files"] != item["files"] and asked["binding"] != item["binding"]
    assert (await _answer(program, approval)).status_code in (404, 409), "the old question is closed"
    fits(await _answer(program, error["approval"]), "ItemInFull")
    assert (await finished(task)).allowed
    (dispatch,) = await world.events(run, "action.dispatched")
    assert dispatch["body"]["binding"] == asked["binding"]


# --- grants -----------------------------------------------------------------------------------------------------------


async def test_allowed_for_this_run_until_it_is_revoked(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    task, approval = await world.asked(run, MAIL_TOOL, MAIL, "t1")
    item = fits(await _answer(program, approval, grant={"scope": "run"}), "ItemInFull")
    assert item["scope"] == "run" and (await finished(task)).allowed
    assert (await world.hook(run, MAIL_TOOL, {**MAIL, "to": "b@example.com"}, "t2")).allowed
    (grant,) = fits(await program.get("/api/v1/grants"), "Grants")["grants"]
    assert (grant["state"], grant["tool"], grant["rule"], grant["used"]) == ("standing", MAIL_TOOL, "mail", 1)
    given = (await world.events(run, "grant.given"))[0]
    assert given["body"]["grant_id"] == grant["id"], "the grant is a receipt"
    used = (await world.events(run, "verdict.given"))[-1]
    assert used["body"]["grant"] == grant["id"] and used["body"]["reason_code"] == "GRANTED"
    elsewhere = await world.start()
    stranger, _ = await world.asked(elsewhere, MAIL_TOOL, MAIL, "t1")
    revoked = fits(await program.post(f"/api/v1/grants/{grant['id']}/revoke", json={"reason": "enough"}), "Grant")
    assert (revoked["state"], revoked["revoked_by"], revoked["left"]) == ("revoked", "ana", 0)
    again, _ = await world.asked(run, MAIL_TOOL, {**MAIL, "to": "c@example.com"}, "t3")
    assert fits(await program.get("/api/v1/grants"), "Grants")["grants"] == []
    assert len(fits(await program.get("/api/v1/grants", params={"state": "all"}), "Grants")["grants"]) == 1
    assert fits(await program.post(f"/api/v1/grants/{grant['id']}/revoke", json={}), "Grant") == revoked
    for held in (stranger, again):
        held.cancel()


async def test_a_pattern_covers_what_it_is_true_of_and_an_error_covers_nothing(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    task, approval = await world.asked(run, MAIL_TOOL, {**MAIL, "to": "a@example.com"}, "t1")
    pattern = 'args.to.endsWith("@example.com")'
    body = {"tool": MAIL_TOOL, "pattern": pattern}
    found = fits(await program.post("/api/v1/grants/preview", json=body), "Preview")
    assert (found["matched"], found["looked_at"]) == (1, 1)
    fits(await _answer(program, approval, grant={"scope": "run", "pattern": pattern, "uses": 2}), "ItemInFull")
    assert (await finished(task)).allowed
    held = [
        (await world.asked(run, MAIL_TOOL, {**MAIL, "to": "a@elsewhere.test"}, "t2"))[0],
        (await world.asked(run, MAIL_TOOL, {**MAIL, "to": 7}, "t3"))[0],
        (await world.asked(run, MAIL_TOOL, {"subject": "no to"}, "t4"))[0],
    ]
    for key in ("t5", "t6"):
        assert (await world.hook(run, MAIL_TOOL, {**MAIL, "to": "b@example.com"}, key)).allowed
    held.append((await world.asked(run, MAIL_TOOL, {**MAIL, "to": "b@example.com"}, "t7"))[0])
    (grant,) = fits(await program.get("/api/v1/grants", params={"state": "all"}), "Grants")["grants"]
    assert (grant["state"], grant["used"], grant["left"]) == ("used", 2, 0)
    for one in held:
        one.cancel()


async def test_a_grant_ends_with_its_time_and_never_touches_a_denial(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    task, approval = await world.asked(run, "Bash", {"command": "make"}, "t1")
    fits(await _answer(program, approval, grant={"scope": "run", "lasts_s": 60}), "ItemInFull")
    assert (await finished(task)).allowed
    assert (await world.hook(run, "Bash", {"command": "make test"}, "t2")).allowed
    assert (await world.hook(run, "Bash", {"command": "mkfs.ext4 /dev/sda"}, "t3")).code == "SANDBOX_VIOLATION"
    world.house.clock.ms += 61_000
    again, _ = await world.asked(run, "Bash", {"command": "make"}, "t4")
    (grant,) = fits(await program.get("/api/v1/grants", params={"state": "all"}), "Grants")["grants"]
    assert grant["state"] == "expired"
    again.cancel()


async def test_what_cannot_be_undone_is_granted_only_where_a_pattern_says_which(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    task, approval = await world.asked(run, "mcp__mail__send_all", MAIL)
    item = fits(await program.get(f"/api/v1/inbox/{approval}"), "ItemInFull")
    assert item["available"] == ["allow", "deny", "edit", "allow_pattern"]
    refused(await _answer(program, approval, grant={"scope": "run"}), 403, "FORBIDDEN")
    refused(await _answer(program, approval, grant={"scope": "run", "pattern": "false"}), 400, "INVALID_INPUT")
    assert not task.done()
    pattern = 'args.to == "leadership@example.com"'
    fits(await _answer(program, approval, grant={"scope": "run", "pattern": pattern}), "ItemInFull")
    assert (await finished(task)).allowed


# --- ceremonies -------------------------------------------------------------------------------------------------------


async def test_two_people_must_allow_it_and_one_person_twice_is_one(world: GateWorld) -> None:
    ana, bob = await world.web.program("ana"), await world.web.program("bob")
    second = await world.web.program("ana")
    run = await world.start()
    task, approval = await world.asked(run, "mcp__ops__pay", {"amount": "900.00"})
    first = fits(await _answer(ana, approval), "ItemInFull")
    assert (first["state"], first["approvals"], first["quorum"]) == ("open", ["ana"], 2)
    assert first["available"] == ["deny"] and "1 more person" in first["blocked"]
    fits(await _answer(second, approval), "ItemInFull")
    assert not task.done() and await world.events(run, "action.dispatched") == []
    last = fits(await _answer(bob, approval), "ItemInFull")
    assert last["approvals"] == ["ana", "bob"] and (await finished(task)).allowed
    assert len(await world.events(run, "approval.decided")) == 2
    assert len(await world.events(run, "action.dispatched")) == 1


async def test_one_denial_ends_a_quorum(world: GateWorld) -> None:
    ana, bob = await world.web.program("ana"), await world.web.program("bob")
    run = await world.start()
    task, approval = await world.asked(run, "mcp__ops__pay", {"amount": "900.00"})
    fits(await _answer(ana, approval), "ItemInFull")
    fits(await _answer(bob, approval, "deny", reason="not budgeted"), "ItemInFull")
    assert "not budgeted" in (await finished(task)).words
    refused(await _answer(ana, approval), 409, "ALREADY_ANSWERED")


async def test_a_time_lock_opens_by_the_servers_clock(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    task, approval = await world.asked(run, "mcp__ops__drop", {"table": "old"})
    item = fits(await program.get(f"/api/v1/inbox/{approval}"), "ItemInFull")
    assert item["available"] == ["deny"] and item["not_before"] and item["blocked"]
    assert item["not_before"] in refused(await _answer(program, approval), 409, "CONFLICT")
    world.house.clock.ms += 599_000
    refused(await _answer(program, approval), 409, "CONFLICT")
    world.house.clock.ms += 2_000
    fits(await _answer(program, approval), "ItemInFull")
    assert (await finished(task)).allowed


async def test_who_started_the_run_does_not_allow_what_others_must(world: GateWorld) -> None:
    ana, bob = await world.web.program("ana"), await world.web.program("bob")
    run = await world.start(by="ana")
    task, approval = await world.asked(run, "mcp__ops__deploy", {"to": "production"})
    item = fits(await ana.get(f"/api/v1/inbox/{approval}"), "ItemInFull")
    assert item["available"] == ["deny"] and "started this run" in item["blocked"]
    refused(await _answer(ana, approval), 403, "FORBIDDEN")
    fits(await _answer(bob, approval), "ItemInFull")
    assert (await finished(task)).allowed


async def test_an_answer_that_must_be_signed_is_not_taken_without(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    task, approval = await world.asked(run, "mcp__ops__release", {"version": "1.0"})
    item = fits(await program.get(f"/api/v1/inbox/{approval}"), "ItemInFull")
    assert item["proof"] == "key" and item["available"] == ["allow", "deny"]
    refused(await _answer(program, approval), 403, "FORBIDDEN")
    said = fits(await program.post(f"/api/v1/inbox/{approval}/statement", json={"answer": "allow"}), "Statement")
    statement = json.loads(said["statement"])
    assert statement["binding"] == item["binding"] and statement["decision"] == "approve"
    assert (statement["by"], statement["at"], statement["challenge"]) == ("ana", said["at"], said["challenge"])
    forged = {"type": "sshsig", "data": "bm90IGEgc2lnbmF0dXJl"}
    assert (await _answer(program, approval, proof=forged, at=said["at"])).status_code in (400, 403)
    assert not task.done()
    fits(await _answer(program, approval, "deny"), "ItemInFull")
    assert not (await finished(task)).allowed, "to refuse, a word is enough"


# --- several at once --------------------------------------------------------------------------------------------------


async def test_a_bulk_answer_is_once_for_these_ids_and_can_be_taken_back(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    asked = [await world.asked(run, MAIL_TOOL, {**MAIL, "n": n}, f"t{n}") for n in range(3)]
    ids = [approval for _, approval in asked]
    held = fits(await program.post("/api/v1/inbox/bulk", json={"ids": ids[:2], "answer": "allow"}), "Bulk", 202)
    assert (held["ids"], held["answer"], held["state"]) == (ids[:2], "allow", "held")
    undone = fits(await program.post(f"/api/v1/inbox/bulk/{held['id']}/undo"), "Bulk")
    assert undone["state"] == "undone" and not any(task.done() for task, _ in asked)
    fits(await _answer(program, ids[0], "deny"), "ItemInFull")
    held = fits(await program.post("/api/v1/inbox/bulk", json={"ids": ids[:2], "answer": "allow"}), "Bulk", 202)
    done = await _applied(program, str(held["id"]))
    assert done["results"] == {ids[0]: "ALREADY_ANSWERED", ids[1]: "recorded"}
    refused(await program.post(f"/api/v1/inbox/bulk/{held['id']}/undo"), 409, "CONFLICT")
    assert not (await finished(asked[0][0])).allowed and (await finished(asked[1][0])).allowed
    assert not asked[2][0].done(), "only what was listed"
    assert fits(await program.get("/api/v1/grants", params={"state": "all"}), "Grants")["grants"] == []
    asked[2][0].cancel()


async def _applied(program: httpx.AsyncClient, bulk: str) -> Any:
    for _ in range(2_000):
        found = fits(await program.get(f"/api/v1/inbox/bulk/{bulk}"), "Bulk")
        if found["state"] != "held" and len(found["results"]) == len(found["ids"]):
            return found
    raise AssertionError("the answers were never given")


async def test_a_bulk_answer_has_bounds(world: GateWorld) -> None:
    program = await world.web.program()
    for body in (
        {"ids": [], "answer": "allow"},
        {"ids": ["a"] * 2, "answer": "allow"},
        {"ids": [f"a{n}" for n in range(101)], "answer": "allow"},
        {"ids": ["a"], "answer": "allow", "grant": {"scope": "run"}},
        {"ids": ["a"], "answer": "dismiss"},
    ):
        refused(await program.post("/api/v1/inbox/bulk", json=body), 422, "SCHEMA_VIOLATION")
    refused(await program.get("/api/v1/inbox/bulk/nothing"), 404, "NOT_FOUND")


# --- policies --------------------------------------------------------------------------------------------------------


async def test_another_text_of_a_policy_is_tried_on_what_has_happened(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent / "gate_policies", tmp_path / "policies")
    async with gate_world(tmp_path) as world:
        program = await world.web.program()
        run = await world.start()
        for number in range(3):
            await world.hook(run, "Read", {"file_path": f"/workspace/{number}"}, f"t{number}")
        await world.hook(run, "Bash", {"command": "mkfs.ext4 /dev/sda"}, "t9")
        listed = fits(await program.get("/api/v1/policies"), "Policies")["policies"]
        assert [one["name"] for one in listed] == ["ceremony"]
        shown = fits(await program.get("/api/v1/policies/ceremony"), "PolicyInFull")
        rule = next(rule for rule in shown["rules"] if rule["id"] == "two")
        assert rule["approval"]["quorum"] == 2 and shown["blueprints"] == ["ceremony"]
        path = "/api/v1/policies/ceremony/backtest"
        same = fits(await program.post(path), "Backtest")
        assert (same["looked_at"], same["changed"]) == (4, [])
        text = shown["files"]["rules.toml"]
        edited = text.replace(
            'id = "read"\ntools = ["Read"]\nverdict = "ALLOW"', 'id = "read"\ntools = ["Read"]\nverdict = "ESCALATE"'
        )
        assert edited != text
        other = fits(await program.post(path, json={"files": {"rules.toml": edited}}), "Backtest")
        assert [(row["was"], row["now"], row["now_rule"]) for row in other["changed"]] == [
            ("ALLOW", "ESCALATE", "read")
        ] * 3
        broken = await program.post(path, json={"files": {"rules.toml": "[[rules]]\nid ="}})
        assert "rules.toml" in refused(broken, 422, "BAD_POLICY")
        refused(await program.post(path, json={"files": {"rules.toml": 1}}), 422, "SCHEMA_VIOLATION")
        refused(await program.post("/api/v1/policies/nothing/backtest"), 404, "NOT_FOUND")
        assert (await program.post(path, json={"files": {"../../etc/passwd": "x"}})).status_code in (400, 422)


# --- who may look -----------------------------------------------------------------------------------------------------


async def test_a_viewer_sees_everything_and_decides_nothing(world: GateWorld) -> None:
    viewer, owner = await world.web.program("vic", role="viewer"), await world.web.program("ana")
    run = await world.start()
    task, approval = await world.asked(run, MAIL_TOOL, MAIL)
    (item,) = fits(await viewer.get("/api/v1/inbox"), "Inbox")["items"]
    assert item["available"] == [] and item["blocked"]
    refusals = [
        await _answer(viewer, approval),
        await _answer(viewer, approval, "deny"),
        await viewer.post("/api/v1/inbox/bulk", json={"ids": [approval], "answer": "deny"}),
        await viewer.post(f"/api/v1/inbox/{approval}/again"),
        await viewer.post(f"/api/v1/runs/{run}/evidence", json={"kind": "ci_result", "ref": "1"}),
        await viewer.post("/api/v1/grants/grt_x/revoke", json={}),
        await viewer.post("/api/v1/notices/n/clear"),
        await viewer.post("/api/v1/tools/mail/send/accept"),
        await viewer.post("/api/v1/runs", json={"blueprint": "ceremony"}),
        await viewer.post(f"/api/v1/runs/{run}/stop"),
        await viewer.post(f"/api/v1/runs/{run}/steer", json={"text": "x"}),
        await viewer.post("/api/v1/freeze", json={"scope": "all", "reason": "x"}),
    ]
    for answer in refusals:
        refused(answer, 403, "FORBIDDEN")
    assert not task.done()
    fits(await _answer(owner, approval, "deny"), "ItemInFull")
    await finished(task)


@emits(Reason.SELF_APPROVAL)
async def test_the_gateway_has_no_route_that_answers_and_an_attempt_is_told(world: GateWorld) -> None:
    program = await world.web.program()
    run = await world.start()
    task, approval = await world.asked(run, MAIL_TOOL, MAIL)
    for path in (f"/api/v1/inbox/{approval}/answer", f"/inbox/{approval}/answer", "/api/v1/inbox"):
        answer = await world.gateway.post(path, json={"answer": "allow"}, headers={"x-helm-run": run})
        assert answer.status_code in (403, 404, 405), path
    target = f"/api/v1/inbox/{approval}/answer"
    told = await world.post(run, "/door/attempt", {"method": "POST", "target": target})
    says(told["reason_code"], Reason.SELF_APPROVAL)
    assert not task.done()
    (notice, *_) = fits(await program.get("/api/v1/notices"), "Notices")["notices"]
    assert (notice["kind"], notice["run"]) == ("self_approval", run)
    assert (await world.verdicts(run))[-1] == "SELF_APPROVAL", "the attempt is a receipt"
    cleared = fits(await program.post(f"/api/v1/notices/{notice['id']}/clear"), "Notices")
    assert notice not in cleared["notices"]
    task.cancel()
