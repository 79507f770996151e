"""The part of the API's description that is about freezes."""

from __future__ import annotations

from typing import Final

from app.services.freezer import MAX_REASON
from app.web.openapi_words import COUNT, TEXT, Operation, Schema, closed, list_of, opened

_ORDER: Final = closed(
    ("scope",),
    scope={"enum": ["all", "blueprint", "run"]},
    target={"type": "string", "maxLength": 100},
    reason={"type": "string", "maxLength": MAX_REASON},
)

REQUESTS: Final[dict[str, Schema]] = {"Freeze": _ORDER}
ANSWERS: Final[dict[str, Schema]] = {
    "Frozen": opened(**dict.fromkeys(("scope", "target", "reason", "by", "at"), TEXT), seq=COUNT),
    "Freezes": list_of("freezes", "Frozen"),
}
OPERATIONS: Final[tuple[Operation, ...]] = (
    ("get", "/freezes", "What is frozen, the oldest first", {}, "", 200, "Freezes"),
    (
        *("post", "/freeze", "Freeze everything, a blueprint or a run: nothing is released behind this receipt"),
        *({}, "Freeze", 200, "Frozen"),
    ),
    ("post", "/unfreeze", "Lift a freeze; the same runs go on", {}, "Freeze", 200, "Freezes"),
)
