"""The part of the API's description that is about answers: questions and their ceremonies, grants, evidence, tools,
notices, policies."""

from __future__ import annotations

from typing import Final

from app.domain.expressions import MAX_SOURCE
from app.services.bulk import MOST
from app.services.evidence import MAX_REF, MAX_TEXT
from app.services.grants import MAX_REASON
from app.services.replies import MAX_LASTS_S, MAX_USES
from app.web.openapi_words import COUNT, FLAG, ID, TEXT, TEXTS, Operation, Schema, closed, list_of, opened, ref

_NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 200}
_REASON: Final[Schema] = {"type": "string", "maxLength": 2000}
_GRANT: Final = closed(
    ("scope",),
    scope={"enum": ["run", "blueprint"]},
    pattern={"type": "string", "maxLength": MAX_SOURCE},
    lasts_s={"type": "integer", "minimum": 60, "maximum": MAX_LASTS_S},
    uses={"type": "integer", "minimum": 1, "maximum": MAX_USES},
)
_PROOF: Final = closed(
    ("type", "data"),
    type={"enum": ["sshsig", "webauthn"]},
    data={"type": "string", "minLength": 1, "maxLength": 16_384},
)
_AT: Final[Schema] = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,12}Z$"}
_SAID: Final[dict[str, Schema]] = {
    "reason": _REASON,
    "edited": {"type": "object"},
    "grant": _GRANT,
}

REQUESTS: Final[dict[str, Schema]] = {
    "AnswerItem": closed(("answer",), answer={"enum": ["allow", "deny", "dismiss"]}, **_SAID, proof=_PROOF, at=_AT),
    "StateAnswer": closed(("answer",), answer={"enum": ["allow", "deny"]}, **_SAID, at=_AT),
    "BulkAnswer": closed(
        ("ids", "answer"),
        ids={"type": "array", "items": ID, "minItems": 1, "maxItems": MOST, "uniqueItems": True},
        answer={"enum": ["allow", "deny"]},
        reason=_REASON,
    ),
    "RevokeGrant": closed(reason={"type": "string", "maxLength": MAX_REASON}),
    "PreviewGrant": closed(
        ("tool", "pattern"),
        tool=_NAME,
        pattern={"type": "string", "maxLength": MAX_SOURCE},
        run={"type": "string", "maxLength": 100},
    ),
    "AttachEvidence": closed(
        ("kind", "ref"),
        kind={"type": "string", "pattern": "^[a-z][a-z0-9_]{0,39}$"},
        ref={"type": "string", "minLength": 1, "maxLength": MAX_REF},
        digest={"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
        text={"type": "string", "maxLength": MAX_TEXT},
    ),
    "DecideTool": closed(digest={"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}),
}

_ITEM: Final = opened(
    **dict.fromkeys(("key", "kind", "approval", "action", "run", "run_title", "title", "tool", "target"), TEXT),
    **dict.fromkeys(("agent", "risk", "rule", "reason_code", "grade", "args_digest", "opened", "expires"), TEXT),
    **dict.fromkeys(("state", "answer", "answered_by", "answered", "reason", "receipt_id", "message"), TEXT),
    **dict.fromkeys(("effect_class", "blocked", "not_before", "proof", "binding", "edited", "scope", "grant"), TEXT),
    seq=COUNT,
    quorum=COUNT,
    not_requester=FLAG,
    **dict.fromkeys(("available", "approvals", "roles", "obligations"), TEXTS),
    files={"type": "array", "items": opened(path=TEXT, state=TEXT, digest=TEXT)},
)

ANSWERS: Final[dict[str, Schema]] = {
    "Item": _ITEM,
    "ItemInFull": {"allOf": [ref("Item"), opened(input=TEXT, edited_input=TEXT)]},
    "Notice": opened(**dict.fromkeys(("id", "kind", "title", "text", "run", "at"), TEXT), seq=COUNT),
    "Inbox": list_of("items", "Item", notices={"type": "array", "items": ref("Notice")}),
    "Notices": list_of("notices", "Notice"),
    "Statement": opened(**dict.fromkeys(("statement", "challenge", "at"), TEXT)),
    "Bulk": opened(
        **dict.fromkeys(("id", "answer", "until", "state"), TEXT),
        ids=TEXTS,
        results={"type": "object", "additionalProperties": TEXT},
    ),
    "Grant": opened(
        **dict.fromkeys(("id", "run", "scope", "blueprint", "workspace", "tool", "rule", "pattern"), TEXT),
        **dict.fromkeys(("state", "by", "given", "expires", "revoked_by", "revoked"), TEXT),
        **dict.fromkeys(("uses", "used", "left", "given_seq"), COUNT),
    ),
    "Grants": list_of("grants", "Grant"),
    "Preview": opened(matched=COUNT, looked_at=COUNT, examples=TEXTS),
    "Evidence": opened(**dict.fromkeys(("kind", "ref", "digest", "by", "at"), TEXT)),
    "Tool": opened(
        **dict.fromkeys(("server", "tool", "state", "digest", "drifted", "at"), TEXT), seq=COUNT, quarantined=FLAG
    ),
    "ToolInFull": {"allOf": [ref("Tool"), opened(before=TEXT, after=TEXT, hints=TEXTS)]},
    "Tools": list_of("tools", "Tool"),
}

_TOOL: Final = "/tools/{server}/{tool}"
OPERATIONS: Final[tuple[Operation, ...]] = (
    ("get", "/inbox", "What waits for a person, by the cost of waiting, and notices", {}, "", 200, "Inbox"),
    ("get", "/inbox/{key}", "One item with its whole input, also after it was answered", {}, "", 200, "ItemInFull"),
    (
        *("post", "/inbox/{key}/answer"),
        "Allow (once, edited, or with a grant) or deny: the first answer wins; dismiss an unknown outcome",
        *({}, "AnswerItem", 200, "ItemInFull"),
    ),
    (
        *("post", "/inbox/{key}/statement", "The bytes that an answer signs, as they are now; send `at` back with it"),
        *({}, "StateAnswer", 200, "Statement"),
    ),
    (
        *("post", "/inbox/{key}/again", "Ask the agent to make a call again that nobody answered in time"),
        *({}, "Empty", 202, "Message"),
    ),
    (
        *("post", "/inbox/bulk", "Answer these items alike, each once; applied 5 s later, until then it can be undone"),
        *({}, "BulkAnswer", 202, "Bulk"),
    ),
    ("get", "/inbox/bulk/{id}", "A bulk answer and what became of each item", {}, "", 200, "Bulk"),
    ("post", "/inbox/bulk/{id}/undo", "Take a bulk answer back before it is applied", {}, "Empty", 200, "Bulk"),
    ("get", "/notices", "What a person should look at that is no question", {}, "", 200, "Notices"),
    ("post", "/notices/{id}/clear", "A notice has been looked at", {}, "Empty", 200, "Notices"),
    ("get", "/grants", "Grants that stand; state=all: ended ones too", {"state": TEXT}, "", 200, "Grants"),
    ("post", "/grants/preview", "How much of the log a pattern would have covered", {}, "PreviewGrant", 200, "Preview"),
    ("post", "/grants/{id}/revoke", "Revoke a grant, at once", {}, "RevokeGrant", 200, "Grant"),
    (
        *("post", "/runs/{run}/evidence", "Lay a proof beside a run; policies read it as `evidence`"),
        *({}, "AttachEvidence", 201, "Evidence"),
    ),
    ("get", "/tools", "Pinned tools, the quarantined ones first", {}, "", 200, "Tools"),
    ("get", _TOOL, "A tool: what is pinned, and what it says now", {}, "", 200, "ToolInFull"),
    (
        *("post", _TOOL + "/accept", "Pin what the tool says now; 409 when `digest` names something older"),
        *({}, "DecideTool", 200, "Tool"),
    ),
    ("post", _TOOL + "/reject", "Keep the tool out; it can still be accepted later", {}, "DecideTool", 200, "Tool"),
)
