"""Approvers' keys at the edge: REST with an SSH key, the settings page with a passkey, and nobody's but one's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from app.domain.approverkey import enrol_statement
from app.domain.canonical import unb64
from app.domain.content import SIGNED_ANSWER, SIGNED_ENROLMENT
from app.domain.signing import Signer

from tests.faces.test_web_api import _asked, fits, refused
from tests.faces.web_world import WebWorld, field_of, web_world
from tests.passkey_kit import ORIGIN, SoftPasskey
from tests.ssh_kit import SoftKey

KEY, OTHER = SoftKey(Signer.of(b"a" * 32)), SoftKey(Signer.of(b"b" * 32))
PAGE = "/settings/approver-keys"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WebWorld]:
    async with web_world(tmp_path, origins=frozenset({"http://127.0.0.1", ORIGIN})) as found:
        yield found


async def enrolment(program: httpx.AsyncClient, key: SoftKey) -> dict[str, Any]:
    """What a program sends to enrol a key."""
    held = fits(await program.post("/api/v1/approver-keys/challenge"), "Challenge", 201)
    statement = enrol_statement(held["log"], held["account"], key.ssh.fingerprint, unb64(held["challenge"]))
    signature = key.sign(statement, SIGNED_ENROLMENT)
    return {"public": key.ssh.text, "challenge": held["challenge"], "signature": signature, "name": "laptop"}


async def test_a_key_is_enrolled_answers_and_is_revoked_over_rest(world: WebWorld) -> None:
    ana, bob = await world.program("ana"), await world.program("bob", "approver")
    made = fits(await ana.post("/api/v1/approver-keys", json=await enrolment(ana, KEY)), "ApproverKey", 201)
    assert (made["account"], made["yours"], made["state"], made["name"]) == ("ana", True, "in force", "laptop")
    theirs = fits(await bob.get("/api/v1/approver-keys"), "ApproverKeys")["keys"]
    assert [(one["id"], one["yours"]) for one in theirs] == [(KEY.ssh.fingerprint, False)]
    task, action = await _asked(world, (await world.house.start()).id)
    path = f"/api/v1/inbox/{action.approval}"
    said = fits(await ana.post(f"{path}/statement", json={"answer": "allow"}), "Statement")
    proof = {"type": "sshsig", "data": KEY.sign(said["statement"].encode(), SIGNED_ANSWER)}
    answer = {"answer": "allow", "proof": proof, "at": said["at"]}
    assert "somebody else" in refused(await bob.post(f"{path}/answer", json=answer), 403, "FORBIDDEN")
    wrong = {**answer, "proof": {**proof, "data": OTHER.sign(said["statement"].encode(), SIGNED_ANSWER)}}
    assert "not enrolled" in refused(await ana.post(f"{path}/answer", json=wrong), 403, "FORBIDDEN")
    fits(await ana.post(f"{path}/answer", json=answer), "ItemInFull")
    assert (await asyncio.wait_for(task, 10)).allowed
    refused(await bob.post("/api/v1/approver-keys/revoke", json={"id": made["id"]}), 403, "FORBIDDEN")
    gone = fits(
        await ana.post("/api/v1/approver-keys/revoke", json={"id": made["id"], "reason": "old"}), "ApproverKeys"
    )
    assert [one["state"] for one in gone["keys"]] == ["revoked"]
    refused(await ana.post("/api/v1/approver-keys/revoke", json={"id": made["id"]}), 409, "CONFLICT")


async def test_bad_enrolments_are_refused_with_a_reason(world: WebWorld) -> None:
    ana, bob = await world.program("ana"), await world.program("bob", "approver")
    body = await enrolment(ana, KEY)
    refused(await bob.post("/api/v1/approver-keys", json=body), 400, "INVALID_INPUT")  # and that used it up
    refused(await ana.post("/api/v1/approver-keys", json=body), 400, "INVALID_INPUT")
    body = await enrolment(ana, KEY)
    refused(await ana.post("/api/v1/approver-keys", json={**body, "public": "ssh-rsa AAAA"}), 400, "SSH_KEY_TYPE")
    body = await enrolment(ana, KEY)
    refused(await ana.post("/api/v1/approver-keys", json={**body, "signature": "x"}), 403, "FORBIDDEN")
    refused(await ana.post("/api/v1/approver-keys", json={**body, "account": "bob"}), 422, "SCHEMA_VIOLATION")
    refused(await ana.post("/api/v1/approver-keys", json={**body, "public": "k" * 9_000}), 422, "SCHEMA_VIOLATION")
    refused(await ana.post("/api/v1/approver-keys/revoke", json={"id": "SHA256:none"}), 404, "NOT_FOUND")
    assert fits(await ana.get("/api/v1/approver-keys"), "ApproverKeys")["keys"] == []


async def test_a_passkey_is_added_on_the_settings_page_and_revoked_there(world: WebWorld) -> None:
    browser, passkey = await world.browser(), SoftPasskey()
    browser.headers["origin"] = ORIGIN
    assert "You have none yet" in (await browser.get("/settings")).text
    begun = (await browser.post(f"{PAGE}/passkey", json={})).json()
    assert begun["options"]["rp"] == {"id": "helm.example", "name": "Helm"}
    body = {"challenge": begun["challenge"], "response": passkey.registration(unb64(begun["challenge"]))}
    made = (await browser.post(f"{PAGE}/passkey/made", json=body)).json()
    proof = passkey.assertion(made["statement"].encode()).text()
    done = await browser.post(
        f"{PAGE}/passkey/signed", json={"challenge": begun["challenge"], "proof": proof, "name": "<b>phone</b>"}
    )
    assert done.status_code == 201 and done.json()["id"] == made["id"]
    listed = (await browser.get(f"{PAGE}/passkeys")).json()
    assert listed == {"credentials": [made["id"].removeprefix("webauthn:")]}
    page = (await browser.get("/settings")).text
    assert "&lt;b&gt;phone&lt;/b&gt;" in page and "<b>phone</b>" not in page
    form = {"_csrf_token": field_of(page), "id": made["id"]}
    assert (await browser.post(f"{PAGE}/revoke", data=form)).status_code == 303
    assert (await browser.get(f"{PAGE}/passkeys")).json() == {"credentials": []}
    assert ", revoked" in (await browser.get("/settings")).text


async def test_the_pages_routes_take_no_request_that_a_page_of_ours_did_not_make(world: WebWorld) -> None:
    browser, program = await world.browser(), await world.program()
    browser.headers["origin"] = ORIGIN
    del browser.headers["x-csrftoken"]
    for path in ("passkey", "passkey/made", "passkey/signed", "revoke"):
        assert (await browser.post(f"{PAGE}/{path}", json={})).status_code in (400, 403), path
        # a token of the API opens no page
        assert (await program.post(f"{PAGE}/{path}", json={})).status_code == 401, path


async def test_without_a_page_of_ours_no_passkey_is_begun(world: WebWorld) -> None:
    browser = await world.browser()  # it sends no origin, as no browser does for such a request
    answer = await browser.post(f"{PAGE}/passkey", json={}, headers={"hx-request": "true"})
    assert "HELM_ORIGINS" in refused(answer, 400, "INVALID_INPUT")


async def test_a_viewer_sees_keys_and_adds_none(world: WebWorld) -> None:
    await world.people.ensure_person("ana")
    browser = await world.browser("vic", "viewer")
    page = (await browser.get("/settings")).text
    assert "Approver keys" in page and "data-passkey-form" not in page
