"""Approvers' keys: enrolling an SSH key from a program, a passkey from the settings page, listing, revoking. Everybody
enrols keys of their own alone."""

from typing import Any, Final

from litestar import get, post
from litestar.response import Response

from app.domain.passkey import PREFIX
from app.domain.standing import ApproverKey
from app.domain.times import text_of
from app.services.approver_keys import Challenge
from app.web.api_requests import ROOT, Json, body_of
from app.web.context import Html, Req, answerer_of, form_of, viewer_of, web_of
from app.web.shell import redirect

_PAGE: Final = "/settings/approver-keys"


@get(f"{ROOT}/approver-keys")
async def list_keys(request: Req) -> Json:
    """Everybody's keys, revoked ones too: who signs with what is no secret."""
    return Response(_keys(request))


@post(f"{ROOT}/approver-keys/challenge", status_code=201)
async def new_challenge(request: Req) -> Json:
    """What to sign for an enrolment."""
    await body_of(request, "Empty")
    held = web_of(request).services.approver_keys.challenge(viewer_of(request).account)
    return Response(_challenge(request, held))


@post(f"{ROOT}/approver-keys", status_code=201)
async def enroll_key(request: Req) -> Json:
    """Enrol an SSH key."""
    body = await body_of(request, "EnrollKey")
    key = await web_of(request).services.approver_keys.enroll_ssh(
        viewer_of(request).account, body["public"], body["signature"], body["challenge"], name=body.get("name", "")
    )
    return Response(key_json(request, key))


@post(f"{ROOT}/approver-keys/revoke", status_code=200)
async def revoke_key(request: Req) -> Json:
    """Revoke a key. Its id stands in the body: ids hold characters that paths do not."""
    body = await body_of(request, "RevokeKey")
    keys = web_of(request).services.approver_keys
    await keys.revoke(body["id"], who=answerer_of(request), reason=body.get("reason", ""))
    return Response(_keys(request))


# --- for the settings page and its script --------------------------------------------------------------------------


@get(f"{_PAGE}/passkeys")
async def my_passkeys(request: Req) -> Json:
    """The credentials with which this person may sign."""
    keys = web_of(request).services.approver_keys.keys(viewer_of(request).account)
    ids = [key.id.removeprefix(PREFIX) for key in keys if key.type == "webauthn" and not key.revoked_seq]
    return Response({"credentials": ids})


@post(f"{_PAGE}/passkey", status_code=200)
async def passkey_options(request: Req) -> Json:
    """What a browser needs to make one."""
    await body_of(request, "Empty")
    origin = request.headers.get("origin", "")
    keys = web_of(request).services.approver_keys
    held, options = keys.passkey_options(viewer_of(request).account, origin.lower())
    return Response({**_challenge(request, held), "options": dict(options)})


@post(f"{_PAGE}/passkey/made", status_code=200)
async def passkey_made(request: Req) -> Json:
    """What the browser made; answers with what the new passkey has to sign."""
    body = await body_of(request, "PasskeyMade")
    keys = web_of(request).services.approver_keys
    id, statement = keys.register_passkey(viewer_of(request).account, body["challenge"], body["response"])
    return Response({"id": id, "statement": statement.decode("utf-8")})


@post(f"{_PAGE}/passkey/signed", status_code=201)
async def passkey_signed(request: Req) -> Json:
    """The new passkey has signed: it is enrolled."""
    body = await body_of(request, "PasskeySigned")
    keys = web_of(request).services.approver_keys
    key = await keys.enroll_passkey(
        viewer_of(request).account, body["challenge"], body["proof"], name=body.get("name", "")
    )
    return Response(key_json(request, key))


@post(f"{_PAGE}/revoke", status_code=200)
async def page_revoke(request: Req) -> Html:
    """Revoke a key from the page."""
    keys = web_of(request).services.approver_keys
    await keys.revoke((await form_of(request)).get("id", ""), who=answerer_of(request))
    return redirect("/settings")


def _keys(request: Req) -> dict[str, Any]:
    keys = web_of(request).services.approver_keys.keys()
    return {"keys": [key_json(request, key) for key in keys]}


def _challenge(request: Req, held: Challenge) -> dict[str, Any]:
    log = web_of(request).services.ledger.log
    return {"challenge": held.text, "account": held.account, "log": log, "expires": text_of(held.expires_ms)}


def key_json(request: Req, key: ApproverKey) -> dict[str, Any]:
    """A key as programs get it."""
    return {
        "id": key.id,
        "account": key.account,
        "yours": key.account == viewer_of(request).account,
        "type": key.type,
        "name": key.name,
        "public": key.public,
        "added": key.added_ts,
        "added_seq": key.added_seq,
        "state": "revoked" if key.revoked_seq else "in force",
    }


ROUTES: Final[tuple[Any, ...]] = (list_keys, new_challenge, enroll_key, revoke_key)
PAGE_ROUTES: Final[tuple[Any, ...]] = (my_passkeys, passkey_options, passkey_made, passkey_signed, page_revoke)
