"""An event as programs get it: over the socket and over REST the same object."""

from __future__ import annotations

from typing import Any, Final

from app.domain.events import Event
from app.domain.schema import encode

MAX_TEXT: Final = 32_768
_TEXTS: Final = ("text", "task", "reason", "summary", "message")


def event_json(event: Event) -> dict[str, Any]:
    """`body` is the receipt's own; `text` the words behind it, where it has some (cut at 32,768, marked)."""
    shown: dict[str, Any] = {
        "seq": event.seq,
        "run": event.run,
        "run_seq": event.run_seq,
        "id": event.id,
        "name": event.name,
        "ts": event.ts,
        "actor": {"type": event.actor.type, "id": event.actor.id},
        "refs": dict(event.refs),
        "body": encode(event.payload),
    }
    name = next((name for name in _TEXTS if name in event.contents), "")
    if name:
        text = event.text(name)
        shown["text"] = text[:MAX_TEXT]
        if len(text) > MAX_TEXT:
            shown["text_cut"] = True
    return shown
