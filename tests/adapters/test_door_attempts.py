"""Inside a run nothing of people's is reachable; who reaches for it is refused, and the server hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from app.door.operator import ROOMS
from app.web.app import ROUTES

from tests.adapters.door_world import WAIT, World, status_of, world

OWN = ["localhost:8400", "helm.example:443", "192.168.7.7:8400"]
OPEN_TO_ALL = {"", "static", "favicon.ico", "healthz", "manifest.webmanifest", "sw.js"}
"""What says nothing of questions and answers, and what a curious program asks of any port."""


@pytest.fixture
async def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.chdir(tmp_path)
    async with world(tmp_path) as made:
        made.decide["/door/attempt"] = lambda _: (200, {"verdict": "DENY", "receipt_id": "sha256:ab"})
        opened = {"op": "open", "run": "run-1", "upstreams": made.upstreams(), "peer_uids": [], "own": OWN}
        assert await made.control.obey(opened) == {"ok": True}
        yield made


def test_every_room_of_the_face_for_people_is_known_to_the_door() -> None:
    first = {path.strip("/").partition("/")[0] for route in ROUTES for path in route.paths}
    assert first - OPEN_TO_ALL <= ROOMS, "a new route is missing in app/door/operator.py"


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/inbox/apr_1/answer",
        "/API/v1/inbox",
        "//api/v1/runs",
        "/./api/v1",
        "/%61pi/v1/runs",
        "/api%2fv1/inbox",
        "/inbox",
        "/inbox?x=1",
        "/login/link/abc",
        "/live",
        "/freeze",
        "/door/egress",
        "/door/attempt",
        "/settings/tokens",
    ],
)
async def test_a_room_of_people_is_refused_by_name_and_told(door: World, target: str) -> None:
    answer = await door.post(target, b"{}")
    assert status_of(answer) == 403
    assert b'"SELF_APPROVAL"' in answer
    assert b"sha256:ab" in answer
    (told,) = door.gateway.seen
    assert (told.target, told.get("x-helm-run")) == ("/door/attempt", "run-1")
    assert told.json() == {"method": "POST", "target": target}


@pytest.mark.parametrize(
    "authority",
    [
        *("localhost:8400", "LOCALHOST.:8400", "127.0.0.1:8400", "127.1:8400", "2130706433:8400", "0x7f.1:8400"),
        *("[::1]:8400", "[::ffff:127.0.0.1]:8400", "0.0.0.0:8400", "[::]:8400", "me@127.0.0.1:8400"),
        *("192.168.7.7:8400", "helm.example:443", "Helm.Example:443"),
    ],
)
async def test_helms_own_listener_is_refused_in_every_spelling(door: World, authority: str) -> None:
    answer = await door.raw(f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())
    assert status_of(answer) == 403
    plain = await door.raw(f"GET http://{authority}/api/v1/inbox HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())
    assert status_of(plain) == 403
    assert [seen.target for seen in door.gateway.seen] == ["/door/attempt"] * 2
    assert door.resolved == []


@pytest.mark.parametrize("target", ["/", "/healthz", "/index.html", "/apis", "/inboxes", "/favicon.ico"])
async def test_what_is_nobodys_is_only_not_there(door: World, target: str) -> None:
    assert status_of(await door.post(target, b"{}")) == 404
    assert door.gateway.seen == []


@pytest.mark.parametrize("authority", ["127.0.0.1:8401", "helm.example:8400", "site.example:443"])
async def test_other_places_are_an_ordinary_question(door: World, authority: str) -> None:
    await door.raw(f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())
    assert [seen.target for seen in door.gateway.seen if seen.target == "/door/attempt"] == []


async def test_an_attempt_while_the_server_is_away_is_refused_and_told_later(door: World) -> None:
    del door.decide["/door/attempt"]
    fails = {"left": 1}

    def answer(_: object) -> tuple[int, dict[str, object]]:
        fails["left"] -= 1
        return (503 if fails["left"] >= 0 else 200), {}

    door.decide["/door/attempt"] = answer
    assert status_of(await door.post("/api/v1/inbox", b"{}")) == 403
    async with asyncio.timeout(WAIT):
        await door.gateway.until(2, "/door/attempt")
