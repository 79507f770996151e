"""The part of the API's description that is about people: their roles, and the keys with which they sign answers."""

from __future__ import annotations

from typing import Final

from app.services.people_port import ROLES
from app.web.openapi_words import COUNT, FLAG, TEXT, Operation, Schema, closed, list_of, opened

_ACCOUNT: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 64}
_ROLE: Final[Schema] = {"enum": list(ROLES)}
_LONG: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 8_192}
_LONGER: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 16_384}
_CHALLENGE: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9+/]{43}=$"}
_NAME: Final[Schema] = {"type": "string", "maxLength": 200}
_REASON: Final[Schema] = {"type": "string", "maxLength": 500}
_PERSON: Final = {**dict.fromkeys(("account", "role"), TEXT), "created_ms": COUNT}

REQUESTS: Final[dict[str, Schema]] = {
    "AddPerson": closed(("account", "role"), account=_ACCOUNT, role=_ROLE),
    "SetRole": closed(("role",), role=_ROLE),
    "EnrollKey": closed(
        ("public", "signature", "challenge"), public=_LONG, signature=_LONG, challenge=_CHALLENGE, name=_NAME
    ),
    "RevokeKey": closed(("id",), id={"type": "string", "minLength": 1, "maxLength": 1_000}, reason=_REASON),
}
# Of the settings page's own script; no part of the API.
PAGE_REQUESTS: Final[dict[str, Schema]] = {
    "PasskeyMade": closed(("challenge", "response"), challenge=_CHALLENGE, response=_LONGER),
    "PasskeySigned": closed(("challenge", "proof"), challenge=_CHALLENGE, proof=_LONGER, name=_NAME),
}

ANSWERS: Final[dict[str, Schema]] = {
    "Person": opened(**_PERSON, you=FLAG),
    "NewPerson": opened(**_PERSON, you=FLAG, link=TEXT),
    "People": list_of("people", "Person"),
    "Challenge": opened(**dict.fromkeys(("challenge", "account", "log", "expires"), TEXT)),
    "ApproverKey": opened(
        **dict.fromkeys(("id", "account", "type", "name", "public", "added", "state"), TEXT),
        yours=FLAG,
        added_seq=COUNT,
    ),
    "ApproverKeys": list_of("keys", "ApproverKey"),
}

OPERATIONS: Final[tuple[Operation, ...]] = (
    ("get", "/people", "Who may come in, and as what (owners only)", {}, "", 200, "People"),
    (
        *("post", "/people", "Somebody new; their one-time login link is shown once (owners only)"),
        *({}, "AddPerson", 201, "NewPerson"),
    ),
    (
        *("post", "/people/{account}/role", "What a person may do, from now on (owners only)"),
        *({}, "SetRole", 200, "Person"),
    ),
    ("get", "/approver-keys", "Keys with which people sign answers, revoked ones too", {}, "", 200, "ApproverKeys"),
    (
        *("post", "/approver-keys/challenge", "What to sign to enrol a key; once, within ten minutes"),
        *({}, "Empty", 201, "Challenge"),
    ),
    (
        *("post", "/approver-keys", "Enrol an SSH key of your own, signed in the namespace helm-enroll"),
        *({}, "EnrollKey", 201, "ApproverKey"),
    ),
    (
        *("post", "/approver-keys/revoke", "Revoke a key of yours (owners: anybody's), for ever"),
        *({}, "RevokeKey", 200, "ApproverKeys"),
    ),
)
