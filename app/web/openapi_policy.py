"""The part of the API's description that is about policies."""

from __future__ import annotations

from typing import Final

from app.web.openapi_words import COUNT, FLAG, TEXT, TEXTS, Operation, Schema, closed, list_of, opened, ref

_FILES: Final[Schema] = {
    "type": "object",
    "maxProperties": 50,
    "additionalProperties": {"type": "string", "maxLength": 262_144},
}

REQUESTS: Final[dict[str, Schema]] = {"BacktestPolicy": closed(files=_FILES)}

ANSWERS: Final[dict[str, Schema]] = {
    "Policy": opened(**dict.fromkeys(("name", "title", "digest"), TEXT), rules_count=COUNT),
    "Policies": list_of("policies", "Policy"),
    "Terms": opened(
        **dict.fromkeys(("timeout", "quorum", "delay"), COUNT), proof=TEXT, roles=TEXTS, not_requester=FLAG
    ),
    "Rule": opened(
        **dict.fromkeys(("id", "when", "verdict", "reason_code", "risk", "message", "file"), TEXT),
        **dict.fromkeys(("tools", "obligations"), TEXTS),
        approval=ref("Terms"),
        line=COUNT,
    ),
    "PolicyInFull": {
        "allOf": [
            ref("Policy"),
            opened(
                description=TEXT,
                blueprints=TEXTS,
                rules={"type": "array", "items": ref("Rule")},
                files={"type": "object", "additionalProperties": TEXT},
            ),
        ]
    },
    "Redecided": opened(
        **dict.fromkeys(("at", "run", "tool", "target", "was", "was_rule", "now", "now_rule"), TEXT), seq=COUNT
    ),
    "Backtest": list_of("changed", "Redecided", **dict.fromkeys(("looked_at", "unknown", "more"), COUNT)),
}

OPERATIONS: Final[tuple[Operation, ...]] = (
    ("get", "/policies", "The policy bundles in force", {}, "", 200, "Policies"),
    ("get", "/policies/{name}", "One bundle: its rules in order, its files", {}, "", 200, "PolicyInFull"),
    (
        *("post", "/policies/{name}/backtest"),
        "What the bundle, with these files in place of its own, would have said to the recorded calls of its runs",
        *({}, "BacktestPolicy", 200, "Backtest"),
    ),
)
