"""A person's answers through the real server, door, container and CLI: what was allowed is what ran, nothing else."""

from __future__ import annotations

import json
from email import message_from_bytes
from email.message import Message

import pytest

from tests.e2e.installation import Client, Installation, Json, installed, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]


async def _asked(client: Client, run: str) -> Json:
    async def first() -> Json | None:
        items: list[Json] = (await client.get("/inbox"))["items"]
        return next((item for item in items if item.get("run") == run and item.get("available")), None)

    found = await until(first, "a question", 90)
    assert found is not None
    return found


async def _ended(client: Client, run: str) -> Json:
    async def ended() -> Json | None:
        found = await client.get(f"/runs/{run}")
        return found if found["status"] in ("finished", "failed", "stopped", "interrupted") else None

    found = await until(ended, "the end of the run", 90)
    assert found is not None
    return found


async def _start(place: Installation) -> tuple[Client, str]:
    client = await place.start()
    answer = await client.post("/runs", {"blueprint": "market-brief"})
    assert answer.status_code == 201, answer.text
    return client, str(answer.json()["id"])


def _letters(place: Installation) -> list[Message]:
    folder = place.home / "demo" / "mailbox" / "new"
    return [message_from_bytes(file.read_bytes()) for file in folder.iterdir()] if folder.is_dir() else []


async def test_an_edited_letter_is_the_one_that_is_sent_and_the_agent_is_told() -> None:
    async with installed() as place:
        client, run = await _start(place)
        item = await _asked(client, run)
        asked = json.loads((await client.get(f"/inbox/{item['key']}"))["input"])
        assert {"allow", "deny", "edit", "allow_pattern"} <= set(item["available"])
        edited = {**asked, "to": "team@example.com", "subject": "As a person wrote it"}
        answer = await client.post(f"/inbox/{item['key']}/answer", {"answer": "allow", "edited": edited})
        assert answer.status_code == 200, answer.text
        assert (await _ended(client, run))["status"] == "finished"
        (letter,) = _letters(place)
        assert (letter["To"], letter["Subject"]) == ("team@example.com", "As a person wrote it")
        events = await client.events(run)
        told = [event for event in events if event["name"] == "verdict.given" and "with changes" in str(event["body"])]
        assert told and told[0]["body"]["reason_code"] == "APPROVED"
        assert place.check().ok
        assert await place.stop() == 0


async def test_a_grant_with_a_pattern_is_recorded_with_the_answer_and_the_log_verifies() -> None:
    async with installed() as place:
        client, run = await _start(place)
        item = await _asked(client, run)
        grant = {"scope": "blueprint", "pattern": 'args.to == "leadership@example.com"', "lasts_s": 600, "uses": 2}
        answer = await client.post(f"/inbox/{item['key']}/answer", {"answer": "allow", "grant": grant})
        assert answer.status_code == 200, answer.text
        assert (await _ended(client, run))["status"] == "finished"
        again = await client.post("/runs", {"blueprint": "market-brief"})
        second = str(again.json()["id"])
        assert (await _ended(client, second))["status"] == "finished"  # nobody was asked this time
        codes = [e["body"]["reason_code"] for e in await client.events(second) if e["name"] == "verdict.given"]
        assert "GRANTED" in codes and "APPROVAL_REQUIRED" not in codes
        assert len(_letters(place)) == 2
        (held,) = (await client.get("/grants"))["grants"]
        assert (held["used"], held["left"]) == (1, 1)
        assert place.check().ok
        assert await place.stop() == 0
