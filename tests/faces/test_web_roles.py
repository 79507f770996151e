"""Roles at the edge: a viewer looks and changes nothing, whatever routes there are, and only an owner says who may."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from app.web.context import OPEN, OWN, OWNER, UNSAFE
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from tests.faces.test_web_api import fits, refused
from tests.faces.web_world import WebWorld, web_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WebWorld]:
    async with web_world(tmp_path) as found:
        yield found


def _changing(world: WebWorld) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Every route of the application that is no mere reading: (method, path, handler)."""
    for route in world.app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in handler.http_methods & UNSAFE:
                    yield method, route.path, handler


def _somewhere(path: str) -> str:
    return re.sub(r"\{[a-z_]+:int\}", "7", re.sub(r"\{[a-z_]+:str\}", "some", path))


OWN_ROUTES = {
    "/logout",
    "/live/ticket",
    "/settings/sessions/{key:str}/revoke",
    "/settings/sessions/revoke-others",
    "/settings/password",
    "/settings/tokens",
    "/settings/tokens/{key:str}/revoke",
    "/api/v1/tokens",
    "/api/v1/tokens/{token:str}/revoke",
}


async def test_a_viewer_is_refused_at_every_route_that_changes_something(world: WebWorld) -> None:
    """The list comes from the routes themselves: a new one is refused until somebody says that it is one's own."""
    await world.people.ensure_person("ana")
    browser, program = await world.browser("vic", "viewer"), await world.program("vic")
    tried = 0
    for method, path, handler in _changing(world):
        if handler.opt.get(OPEN) or handler.opt.get(OWN):
            continue
        client = program if path.startswith("/api/") else browser
        answer = await client.request(method, _somewhere(path), headers={"hx-request": "true"})
        words = refused(answer, 403, "FORBIDDEN")
        assert "helm people role" in words, path
        tried += 1
    assert tried >= 10
    own = {path for _, path, handler in _changing(world) if handler.opt.get(OWN)}
    assert own == OWN_ROUTES
    assert {path for _, path, handler in _changing(world) if handler.opt.get(OPEN)} == {
        "/login",
        "/login/link/{secret:str}",
    }


async def test_an_approver_passes_where_a_viewer_does_not(world: WebWorld) -> None:
    """So that the test above does not pass because everybody is refused."""
    await world.people.ensure_person("ana")
    browser, program = await world.browser("app", "approver"), await world.program("app")
    for method, path, handler in _changing(world):
        if handler.opt.get(OPEN) or handler.opt.get(OWN) or handler.opt.get(OWNER):
            continue
        client = program if path.startswith("/api/") else browser
        answer = await client.request(method, _somewhere(path), headers={"hx-request": "true"})
        assert answer.status_code not in (401, 403), (path, answer.text)


async def test_a_viewer_sees_and_keeps_their_own_things(world: WebWorld) -> None:
    await world.people.ensure_person("ana")
    browser, program = await world.browser("vic", "viewer"), await world.program("vic")
    for path in ("/inbox", "/runs", "/settings", "/evidence"):
        assert (await browser.get(path)).status_code == 200, path
    for path in ("/api/v1/runs", "/api/v1/inbox", "/api/v1/health"):
        assert (await program.get(path)).status_code == 200, path
    made = fits(await program.post("/api/v1/tokens", json={"name": "mine"}), "NewToken", 201)
    fits(await program.post(f"/api/v1/tokens/{made['id']}/revoke"), "Tokens")
    run = await world.house.start()
    assert (await browser.get(f"/runs/{run.id}")).status_code == 200


async def test_owners_say_who_may_do_what(world: WebWorld) -> None:
    ana = await world.program("ana")
    new = fits(await ana.post("/api/v1/people", json={"account": "bob", "role": "approver"}), "NewPerson", 201)
    assert (new["account"], new["role"], new["you"]) == ("bob", "approver", False)
    assert (await world.client().get(new["link"])).status_code == 200
    bob = await world.program("bob")
    for method, path in (("GET", ""), ("POST", ""), ("POST", "/ana/role")):
        refused(await bob.request(method, f"/api/v1/people{path}"), 403, "FORBIDDEN")
    people = fits(await ana.get("/api/v1/people"), "People")["people"]
    assert [(one["account"], one["role"], one["you"]) for one in people] == [
        ("ana", "owner", True),
        ("bob", "approver", False),
    ]
    again = await ana.post("/api/v1/people", json={"account": "bob", "role": "owner"})
    refused(again, 409, "CONFLICT")
    refused(await ana.post("/api/v1/people", json={"account": "a b", "role": "owner"}), 400, "INVALID_INPUT")
    refused(await ana.post("/api/v1/people", json={"account": "eve", "role": "root"}), 422, "SCHEMA_VIOLATION")
    refused(await ana.post("/api/v1/people/nobody/role", json={"role": "owner"}), 404, "NOT_FOUND")


async def test_a_role_holds_at_once_for_tokens_and_sessions_that_are_there(world: WebWorld) -> None:
    ana = await world.program("ana")
    browser, program = await world.browser("bob", "approver"), await world.program("bob")
    start = {"blueprint": "market-brief"}
    assert (await program.post("/api/v1/runs", json=start)).status_code == 201
    fits(await ana.post("/api/v1/people/bob/role", json={"role": "viewer"}), "Person")
    refused(await program.post("/api/v1/runs", json=start), 403, "FORBIDDEN")
    assert (await browser.post("/runs", data=start)).status_code == 403
    fits(await ana.post("/api/v1/people/bob/role", json={"role": "owner"}), "Person")
    assert (await program.get("/api/v1/people")).status_code == 200


async def test_the_last_owner_stays_one(world: WebWorld) -> None:
    ana = await world.program("ana")
    refused(await ana.post("/api/v1/people/ana/role", json={"role": "viewer"}), 409, "CONFLICT")
    assert (await ana.get("/api/v1/people")).status_code == 200
    fits(await ana.post("/api/v1/people", json={"account": "bob", "role": "owner"}), "NewPerson", 201)
    fits(await ana.post("/api/v1/people/ana/role", json={"role": "viewer"}), "Person")
    refused(await ana.get("/api/v1/people"), 403, "FORBIDDEN")
