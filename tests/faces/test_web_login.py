"""Signing in as a browser does it: the link, the password, the cookie, the forms and their limits."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
from app.services.people import SESSION_MS
from app.web.session import Seals

from tests.faces.web_world import PASSWORD, WebWorld, field_of, web_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WebWorld]:
    async with web_world(tmp_path) as found:
        yield found


async def test_the_first_link_asks_for_a_password_and_is_spent_by_it(world: WebWorld) -> None:
    client = world.client()
    link = f"/login/link/{await world.people.new_link('ana')}"
    for _ in range(2):  # looking at it, as a mail scanner would, spends nothing
        assert (await client.head(link)).status_code == 200
        page = await client.get(link)
        assert page.status_code == 200 and "Choose a password" in page.text and 'value="ana"' in page.text
    token = field_of(page.text)
    differ = await client.post(link, data={"_csrf_token": token, "password": PASSWORD, "again": "another sentence"})
    assert differ.status_code == 400 and "differ" in differ.text
    weak = await client.post(link, data={"_csrf_token": token, "password": "short", "again": "short"})
    assert weak.status_code == 400 and "12" in weak.text
    done = await client.post(link, data={"_csrf_token": token, "password": PASSWORD, "again": PASSWORD})
    assert (done.status_code, done.headers["location"]) == (303, "/inbox")
    assert (await client.get("/inbox")).status_code == 200
    spent = await world.client().get(link)
    assert spent.status_code == 410 and "used already" in spent.text


async def test_later_links_sign_in_at_once(world: WebWorld) -> None:
    await world.browser()
    client = world.client()
    link = f"/login/link/{await world.people.new_link('ana')}"
    assert (await client.head(link)).status_code == 200
    assert (await client.get(link)).headers["location"] == "/inbox"
    assert (await client.get("/inbox")).status_code == 200


async def test_a_link_that_another_site_opened_still_arrives_signed_in(world: WebWorld) -> None:
    await world.browser()
    link = f"/login/link/{await world.people.new_link('ana')}"
    page = await world.client().get(link, headers={"sec-fetch-site": "cross-site"})
    assert page.status_code == 200 and page.headers["refresh"] == "0; url=/inbox" and "helm=" in str(page.headers)


async def test_the_cookie_is_strict_and_out_of_reach_of_scripts(world: WebWorld) -> None:
    await world.browser()
    client = world.client()
    page = await client.get("/login")
    form = {"_csrf_token": field_of(page.text), "account": "ana", "password": PASSWORD}
    done = await client.post("/login", data=form)
    cookie = next(value for value in done.headers.get_list("set-cookie") if value.startswith("helm="))
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie.replace("Strict", "strict")
    assert "Path=/" in cookie and "Max-Age=86400" in cookie and "Secure" not in cookie


async def test_under_tls_the_cookie_is_bound_to_the_host(tmp_path: Path) -> None:
    async with web_world(tmp_path, cookie_secure=True) as world:
        client = world.client()
        link = f"/login/link/{await world.people.new_link('ana')}"
        page = await client.get(link)
        pre = page.headers["set-cookie"].partition(";")[0]
        form = {"_csrf_token": field_of(page.text), "password": PASSWORD, "again": PASSWORD}
        done = await client.post(link, data=form, headers={"cookie": pre})
        cookie = next(value for value in done.headers.get_list("set-cookie") if value.startswith("__Host-helm="))
        assert "Secure" in cookie
        value = cookie.partition(";")[0]
        assert (await client.get("/inbox", headers={"cookie": value})).status_code == 200
        bare = value.removeprefix("__Host-")
        assert (await client.get("/inbox", headers={"cookie": bare})).status_code == 303


async def test_five_wrong_passwords_then_wait(world: WebWorld) -> None:
    await world.browser()
    client = world.client()
    form = {"_csrf_token": field_of((await client.get("/login")).text), "account": "ana", "password": "wrong password"}
    assert [(await client.post("/login", data=form)).status_code for _ in range(5)] == [401] * 5
    refused = await client.post("/login", data={**form, "password": PASSWORD})
    assert refused.status_code == 429 and 0 < int(refused.headers["retry-after"]) <= 60
    assert "Too many attempts" in refused.text
    forged = await client.post("/login", data=form, headers={"x-forwarded-for": "203.0.113.9"})
    assert forged.status_code == 429  # nobody on this listener is believed about an address
    world.house.clock.ms += 60_000
    assert (await client.post("/login", data={**form, "password": PASSWORD})).status_code == 303


async def test_pages_do_not_eat_the_attempts(world: WebWorld) -> None:
    client = world.client()
    for _ in range(12):
        assert (await client.get("/login")).status_code == 200


async def test_a_login_form_that_we_did_not_make_is_refused(world: WebWorld) -> None:
    await world.browser()
    client = world.client()
    await client.get("/login")
    for token in ("", "0" * 64, Seals(b"x" * 32).csrf("pre:1")):
        form = {"_csrf_token": token, "account": "ana", "password": PASSWORD}
        assert (await client.post("/login", data=form)).status_code == 403


async def test_unsafe_requests_need_the_token_of_this_session(world: WebWorld) -> None:
    ana, bob = await world.browser("ana"), await world.browser("bob")
    token = bob.headers["x-csrftoken"]
    for headers in ({"x-csrftoken": ""}, {"x-csrftoken": token}, {"x-csrftoken": "zz"}):
        assert (await ana.post("/logout", headers=headers)).status_code == 403
    right = ana.headers.pop("x-csrftoken")
    assert (await ana.post("/logout", data={"_csrf_token": token})).status_code == 403
    assert (await ana.post("/logout", data={"_csrf_token": right})).status_code == 303
    assert (await ana.get("/inbox")).status_code == 303


async def test_tokens_that_we_did_not_sign_open_nothing(world: WebWorld) -> None:
    browser = await world.browser()
    cookie = browser.cookies["helm"]
    claims = jwt.decode(cookie, options={"verify_signature": False})
    key = b"k" * 32
    forged = [
        jwt.encode(claims, key, algorithm="HS256"),
        jwt.encode(claims, "", algorithm="none"),
        cookie[:-2] + ("AA" if not cookie.endswith("AA") else "BB"),
        "x" * 3_000,
        "",
    ]
    for token in forged:
        client = world.client(cookie=f"helm={token}")
        answer = await client.get("/runs?show=live")
        assert answer.status_code == 303 and answer.headers["location"] == "/login?next=%2Fruns%3Fshow%3Dlive"


async def test_a_session_lasts_a_day(world: WebWorld) -> None:
    browser = await world.browser()
    world.house.clock.ms += SESSION_MS - 1_000
    assert (await browser.get("/inbox")).status_code == 200
    world.house.clock.ms += 1_000
    assert (await browser.get("/inbox")).status_code == 303


async def test_revoking_a_device_signs_it_out_at_once(world: WebWorld) -> None:
    phone = await world.browser()
    world.house.clock.ms += 1_000
    desk = await world.browser()
    page = await desk.get("/settings")
    assert page.status_code == 200 and page.text.count("/settings/sessions/s_") == 1
    person = await world.people.ensure_person("ana")
    other = (await world.people.sessions(person.id))[1]
    assert (await desk.post(f"/settings/sessions/{other.id}/revoke")).status_code == 303
    assert (await phone.get("/inbox")).status_code == 303
    assert (await desk.get("/inbox")).status_code == 200


async def test_after_signing_in_only_our_own_pages_are_next(world: WebWorld) -> None:
    await world.browser()
    wanted = {"/runs?show=live": "/runs?show=live", "//evil.example": "/inbox", "https://evil.example": "/inbox"}
    wanted |= {"/\\evil.example": "/inbox", "/runs\r\nX: y": "/inbox", "/logout": "/inbox"}
    for given, target in wanted.items():
        client = world.client()
        page = await client.get("/login", params={"next": given})
        form = {"_csrf_token": field_of(page.text), "account": "ana", "password": PASSWORD, "next": given}
        assert (await client.post("/login", data=form)).headers["location"] == target


async def test_the_password_is_changed_with_the_old_one(world: WebWorld) -> None:
    browser = await world.browser()
    world.house.clock.ms += 20 * 60_000
    new = {"password": "another sentence", "again": "another sentence"}
    assert (await browser.post("/settings/password", data={**new, "current": "wrong password"})).status_code == 403
    assert (await browser.post("/settings/password", data={**new, "current": PASSWORD})).status_code == 303


async def test_who_came_by_a_fresh_link_is_not_asked_for_the_old_password(world: WebWorld) -> None:
    browser = await world.browser()
    fresh = (await browser.get("/settings")).text
    assert 'name="current"' not in fresh and 'autocomplete="username"' in fresh
    new = {"password": "another sentence", "again": "another sentence"}
    assert (await browser.post("/settings/password", data=new)).status_code == 303
    world.house.clock.ms += 20 * 60_000
    assert 'name="current"' in (await browser.get("/settings")).text


@pytest.mark.parametrize("headers", [{}, {"hx-request": "true"}])
async def test_tokens_are_made_and_revoked_on_settings(world: WebWorld, headers: dict[str, str]) -> None:
    browser = await world.browser()
    page = (await browser.post("/settings/tokens", data={"name": "ci <b>"}, headers=headers)).text
    assert ("<html" in page) == (not headers) and "ci &lt;b&gt;" in page and "never used" in page
    secret = re.findall(r"helm_[A-Za-z0-9_-]{43}", page)[0]
    program = world.client(authorization=f"Bearer {secret}")
    assert (await program.get("/api/v1/version")).status_code == 200
    assert (await browser.get("/settings/tokens")).headers["location"] == "/settings"
    again = (await browser.get("/settings")).text
    assert secret not in again and "ci &lt;b&gt;" in again
    key = re.findall(r"/settings/tokens/(t_[0-9a-f]+)/revoke", again)[0]
    gone = await browser.post(f"/settings/tokens/{key}/revoke", headers=headers)
    assert "There is none." in gone.text if headers else gone.headers["location"] == "/settings"
    assert (await program.get("/api/v1/version")).status_code == 401
    for name in ("", "x" * 61, "a\x07b"):
        assert (await browser.post("/settings/tokens", data={"name": name}, headers=headers)).status_code == 400
