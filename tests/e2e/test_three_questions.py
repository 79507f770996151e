"""Three open questions, one of them of an agent that a sub-agent started: they name who asks, they are the same three
after the server was killed, and their answers are carried out."""

from __future__ import annotations

import json

import pytest

from tests.e2e.installation import Client, Json, installed, until
from tests.e2e.killing import letters_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]
ENDED = ("finished", "failed", "stopped", "interrupted")


def script(*steps: Json) -> str:
    return f"[scenario:script]\n{json.dumps(steps)}"


def letter(subject: str) -> Json:
    return {
        "tool": "mcp__mail__send_email",
        "input": {"to": "crew@example.com", "subject": subject, "body": "as agreed"},
    }


def agent(*steps: Json, kind: str = "general-purpose") -> Json:
    call = {"description": "ask", "prompt": script(*steps), "subagent_type": kind}
    return {"tool": "Agent", "input": call}


async def start(client: Client, name: str, *steps: Json) -> str:
    order = {"blueprint": "market-brief", "task": script(*steps), "title": name, "budget_micro": 10**9}
    answer = await client.post("/runs", order)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def questions(client: Client) -> dict[str, Json]:
    """What waits, by the letter that it is about."""
    items = (await client.get("/inbox"))["items"]
    return {item["title"].rpartition(" ")[2]: item for item in items if "allow" in item["available"]}


async def test_the_same_three_questions_after_a_kill_one_of_them_of_a_grandchild() -> None:
    async with installed() as place:
        client = await place.start()
        runs = [
            await start(client, "one", letter("one")),
            await start(client, "two", agent(letter("two"))),
            await start(client, "three", agent(agent(letter("three")))),
        ]

        async def three() -> list[Json]:
            found = [item for item in (await client.get("/inbox"))["items"] if "allow" in item["available"]]
            return found if len(found) == 3 else []

        before = {item["run"]: item for item in await until(three, "three questions")}
        assert [before[run]["agent"] for run in runs] == [
            "lead",
            "lead/general-purpose",
            "lead/general-purpose/general-purpose",
        ]
        await place.kill()
        client = await place.start()
        after = {item["run"]: item for item in await until(three, "the three questions")}
        for run in runs:
            assert (after[run]["approval"], after[run]["agent"]) == (before[run]["approval"], before[run]["agent"])
        answers = {runs[0]: "deny", runs[1]: "allow", runs[2]: "allow"}
        for run, answer in answers.items():
            told = await client.post(f"/inbox/{after[run]['approval']}/answer", {"answer": answer})
            assert told.status_code == 200, told.text

        async def over() -> bool:
            return all([(await client.get(f"/runs/{run}"))["status"] in ENDED for run in runs])

        await until(over, "the ends of the runs")
        assert sorted(subject for subject, _ in letters_of(place)) == ["three", "two"]
        assert {(await client.get(f"/runs/{run}"))["status"] for run in runs} == {"finished"}
        assert await place.stop() == 0
        assert place.check().ok
