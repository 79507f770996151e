"""The brake on a real agent: a freeze in the middle of what it does stops everything, and after it is lifted the same
run goes on to its end. And what waits for people stands still, in a container of which nothing goes on."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.e2e.installation import Client, Installation, Json, gateway, installed, until
from tests.e2e.killing import letters_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]
ENDED = ("finished", "failed", "stopped", "interrupted")


def tick(count: int) -> Json:
    """A command that leaves a line every tenth of a second."""
    return {"tool": "Bash", "input": {"command": f"for n in $(seq {count}); do echo $n >> ticks.txt; sleep 0.1; done"}}


def letter(subject: str) -> Json:
    return {
        "tool": "mcp__mail__send_email",
        "input": {"to": "crew@example.com", "subject": subject, "body": "as agreed"},
    }


async def start(client: Client, *steps: Json) -> str:
    task = f"[scenario:script]\n{json.dumps(steps)}"
    answer = await client.post("/runs", {"blueprint": "market-brief", "task": task, "budget_micro": 10**9})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def named(client: Client, run: str, name: str, count: int = 1) -> list[Json]:
    async def there() -> list[Json]:
        found = [event for event in await client.events(run) if event["name"] == name]
        return found if len(found) >= count else []

    return await until(there, name)


async def status(client: Client, run: str, *words: str) -> str:
    async def there() -> str:
        word = str((await client.get(f"/runs/{run}"))["status"])
        return word if word in words else ""

    return await until(there, " or ".join(words), 90)


def state(run: str) -> str:
    shown = subprocess.run(
        ["docker", "inspect", "-f", "{{.State.Status}}", f"helm-{run}"], capture_output=True, text=True, timeout=30
    )
    return shown.stdout.strip()


def ticks(place: Installation, run: str) -> int:
    path = place.home / "workspaces" / run / "ticks.txt"
    return len(path.read_text().split()) if path.exists() else 0


async def frozen(client: Client, **order: str) -> Json:
    answer = await client.post("/freeze", order)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def lifted(client: Client, **order: str) -> None:
    answer = await client.post("/unfreeze", order)
    assert answer.status_code == 200, answer.text


async def no_release_after(client: Client, run: str, seq: int) -> None:
    later = [event for event in await client.events(run) if event["seq"] > seq]
    assert [event for event in later if event["name"] == "action.dispatched"] == []


async def test_a_freeze_in_the_middle_of_a_command_holds_it_and_the_run_goes_on_after() -> None:
    async with installed() as place:
        client = await place.start()
        run = await start(client, tick(40), letter("after"))

        async def ticking() -> bool:
            return ticks(place, run) > 2

        await until(ticking, "the first lines")
        freeze = await frozen(client, scope="run", target=run, reason="odd")
        assert state(run) == "paused"
        seen = ticks(place, run)
        other = await client.post("/runs", {"blueprint": "market-brief", "task": "x"})
        assert other.status_code == 201, "only this run is frozen"
        await named(client, other.json()["id"], "run.started")
        await client.post(f"/runs/{other.json()['id']}/stop", {})
        assert ticks(place, run) == seen, "while another run came and went, nothing happened in here"
        await no_release_after(client, run, freeze["seq"])

        await place.kill()
        client = await place.start()
        assert state(run) == "paused", "a freeze outlives the server"
        assert [one["target"] for one in (await client.get("/freezes"))["freezes"]] == [run]
        await no_release_after(client, run, freeze["seq"])

        await lifted(client, scope="run", target=run)
        assert state(run) == "running"
        (asked,) = await named(client, run, "approval.requested")
        assert ticks(place, run) == 40, "the command went on where it stood"
        await client.post(f"/inbox/{asked['body']['approval_id']}/answer", {"answer": "allow"})
        assert await status(client, run, *ENDED) == "finished"
        assert [subject for subject, _ in letters_of(place)] == ["after"]
        assert await place.stop() == 0
        assert place.check().ok


async def test_a_freeze_in_the_middle_of_the_models_words_cuts_them_and_the_run_goes_on_after() -> None:
    words = " ".join(f"word{n}" for n in range(400))
    async with installed() as place:
        client = await place.start()
        run = await start(client, {"say": words, "delay_ms": 100, **tick(1)}, {"say": "all done"})
        model = {event["body"]["action_id"] for event in await _calls(client, run)}
        assert model
        freeze = await frozen(client, scope="all", reason="odd")
        assert state(run) == "paused"
        refused = await client.post("/runs", {"blueprint": "market-brief", "task": "x"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "FROZEN")
        assert "unfreeze" in refused.json()["error"]["message"]
        cut = await named(client, run, "outcome.recorded")
        assert {event["body"]["action_id"] for event in cut} & model
        assert cut[0]["body"]["status"] == "failed"
        await no_release_after(client, run, freeze["seq"])
        await lifted(client, scope="all")
        assert await status(client, run, *ENDED) == "finished"
        assert ticks(place, run) == 1, "what it wanted to do it did, once"
        assert await place.stop() == 0
        assert place.check().ok


async def _calls(client: Client, run: str) -> list[Json]:
    """The model call that is under way."""

    async def there() -> list[Json]:
        events = await client.events(run)
        asked = {
            e["body"]["action_id"] for e in events if e["name"] == "intent.recorded" and e["body"]["door"] == "model"
        }
        return [e for e in events if e["name"] == "action.dispatched" and e["body"]["action_id"] in asked]

    return await until(there, "a model call")


async def test_a_run_that_waits_is_parked_gives_its_slot_away_and_goes_on_with_the_answer() -> None:
    async with installed(HELM_PARK_AFTER="2", HELM_SLOTS="1") as place:
        client = await place.start()
        run = await start(client, tick(1), letter("parked"))
        (asked,) = await named(client, run, "approval.requested")
        assert await status(client, run, "parked") == "parked"

        async def still() -> bool:
            slots = (await client.get("/health"))["slots"]
            return state(run) == "paused" and slots["used"] == 0

        await until(still, "the free slot")
        other = await start(client, letter("other"))
        assert await status(client, other, "parked") == "parked"

        await place.kill()
        client = await place.start()
        assert (state(run), (await client.get(f"/runs/{run}"))["status"]) == ("paused", "parked")
        stopped = await client.post(f"/runs/{other}/stop", {})
        assert stopped.json()["run"]["status"] == "stopped"
        assert any("claude" in what for what in stopped.json()["killed"]), "what stood still is gone as well"
        assert state(other) == ""
        told = await client.post(f"/inbox/{asked['body']['approval_id']}/answer", {"answer": "allow"})
        assert told.status_code == 200
        assert await status(client, run, *ENDED) == "finished"
        assert [subject for subject, _ in letters_of(place)] == ["parked"]
        assert await place.stop() == 0
        assert place.check().ok


ATTEMPTS = r"""
for target in /api/v1/inbox /inbox /freeze /door/egress /api/v1/inbox/x/answer; do
  curl -s -o /dev/null -w '%{http_code} ' -X POST -d '{}' http://127.0.0.1:3128$target
done
curl -s -o /dev/null -w '%{http_code} ' --noproxy '' -x http://127.0.0.1:3128 http://127.0.0.1:PORT/api/v1/inbox
curl -s -o /dev/null -w '%{http_connect} ' --noproxy '' -x http://127.0.0.1:3128 https://localhost:PORT/api/v1/inbox
curl -s -o /dev/null -w '%{http_code} ' --noproxy '*' --max-time 2 http://127.0.0.1:PORT/api/v1/inbox
"""


async def test_from_inside_nobody_answers_or_sees_questions_and_each_attempt_is_in_the_log_and_the_inbox() -> None:
    async with installed() as place:
        client = await place.start()
        command = "{ " + ATTEMPTS.replace("PORT", str(place.port)) + " } > codes.txt 2>&1; true"
        run = await start(client, {"tool": "Bash", "input": {"command": command}}, letter("done"))
        await named(client, run, "approval.requested")
        codes = (place.home / "workspaces" / run / "codes.txt").read_text().split()
        assert codes == ["403"] * 7 + ["000"]
        verdicts = [event for event in await client.events(run) if event["name"] == "verdict.given"]
        attempts = [event for event in verdicts if event["body"]["reason_code"] == "SELF_APPROVAL"]
        assert len(attempts) == 7
        assert {event["body"]["decision"] for event in attempts} == {"DENY"}
        notices = (await client.get("/notices"))["notices"]
        assert [notice["kind"] for notice in notices] == ["self_approval"] * 7
        assert {notice["run"] for notice in notices} == {run}
        async with gateway(place) as line:
            forged = await line.post("/api/v1/inbox", headers={"x-helm-run": run}, json={})
            assert forged.status_code == 403, "the agents' listener has no such route"
        await client.post(f"/runs/{run}/stop", {})
        assert await place.stop() == 0
