"""The part of the API's description that is about people: their roles, and the keys with which they sign answers."""

from __future__ import annotations

from typing import Final

from app.services.people_port import ROLES
from app.web.openapi_words import COUNT, FLAG, TEXT, Operation, Schema, closed, list_of, opened

_ACCOUNT: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 64}
_ROLE: Final[Schema] = {"enum": list(ROLES)}
_PERSON: Final = {**dict.fromkeys(("account", "role"), TEXT), "created_ms": COUNT}

REQUESTS: Final[dict[str, Schema]] = {
    "AddPerson": closed(("account", "role"), account=_ACCOUNT, role=_ROLE),
    "SetRole": closed(("role",), role=_ROLE),
}

ANSWERS: Final[dict[str, Schema]] = {
    "Person": opened(**_PERSON, you=FLAG),
    "NewPerson": opened(**_PERSON, you=FLAG, link=TEXT),
    "People": list_of("people", "Person"),
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
)
