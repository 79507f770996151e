"""Giving an answer and following it: recorded, then delivered, then executed, each said only when the log shows it."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from app.cli.api import Api, rows_of
from app.cli.exits import USAGE, Failure
from app.cli.output import out, safe
from app.cli.stream import Stream

_FOLLOW_S: Final = 20.0
_MOST_EDIT: Final = 1_048_576
_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_SPAN: Final = re.compile(r"([0-9]{1,6})\s*(s|min|m|h|d)")
GONE: Final = frozenset({"failed", "refused", "timeout", "cancelled", "unknown", "expired", "withdrawn"})

Say = Callable[[str], None]


def key_named(api: Api, word: str) -> str:
    """The key of an item that somebody named by its beginning. One that is not waiting any more is asked for by its
    whole id: the server says who answered it."""
    rows = rows_of(api.get("/api/v1/inbox"), "items")
    found = [row["key"] for row in rows if len(word) >= 4 and (row["key"] == word or row["key"].startswith(word))]
    return str(found[0]) if len(found) == 1 else word


def answer_item(api: Api, key: str, answer: str, reason: str = "", **more: Any) -> dict[str, Any]:
    """Give an answer; the item as it is after that. Raises Failure, with CONFLICT when somebody was faster."""
    said = {"answer": answer, "reason": reason, **more}
    item = api.post(f"/api/v1/inbox/{key}/answer", {name: value for name, value in said.items() if value})
    if not isinstance(item, dict) or "state" not in item:
        raise Failure("the server did not say what became of the answer; see: helm inbox --list")
    return item


def edited_of(word: str) -> dict[str, Any]:
    """Arguments as JSON: written out, in a file, or (-) on stdin. Raises Failure."""
    text = word if word.lstrip().startswith("{") else _read(word)
    return object_in(text)


def object_in(text: str) -> dict[str, Any]:
    """A JSON object. Raises Failure."""
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Failure(f"the edited arguments are not JSON: {safe(error, 120)}", USAGE) from None
    if not isinstance(value, dict):
        raise Failure("the edited arguments are a JSON object", USAGE)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _read(word: str) -> str:
    try:
        with sys.stdin.buffer if word == "-" else Path(word).open("rb") as source:
            data = source.read(_MOST_EDIT + 1)
        if len(data) > _MOST_EDIT:
            raise Failure(f"edited arguments have at most {_MOST_EDIT:,} bytes", USAGE)
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Failure("the edited arguments are not text in UTF-8", USAGE) from None
    except OSError as error:
        raise Failure(f"{safe(word, 100)} cannot be read: {error.strerror}", USAGE) from None


def seconds_of(text: str) -> int:
    """A span such as 90s, 30min, 2h, 1d. Raises Failure."""
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None or not int(found[1]):
        raise Failure(f"a span is like 30min, 2h or 1d, not {text[:40]!r}", USAGE)
    return int(found[1]) * _UNITS[found[2]]


def grant_of(for_run: bool, pattern: str, uses: int, lasts: str, scope: str) -> dict[str, Any]:
    """The terms of a grant as they were asked for; empty where none was. Raises Failure."""
    if not for_run and not pattern:
        if uses or lasts or scope:
            raise Failure("--uses, --lasts and --scope go with --for-run or --pattern", USAGE)
        return {}
    if scope not in ("", "run", "blueprint") or (for_run and scope == "blueprint"):
        raise Failure("--scope is run or blueprint, and --for-run means run", USAGE)
    terms: dict[str, Any] = {"scope": scope or "run"}
    if pattern:
        terms["pattern"] = pattern
    if uses:
        terms["uses"] = uses
    if lasts:
        terms["lasts_s"] = seconds_of(lasts)
    return terms


def await_fate(item: dict[str, Any], say: Say | None, limit_s: float = _FOLLOW_S) -> dict[str, Any]:
    """Follow an answered item until it was executed, a denial was delivered, or the time is over. One that still waits
    for other people is not followed."""
    if item["state"] == "open":
        if say is not None:
            say("recorded")
        return item
    states = {"state": "recorded", **{k: v for k, v in item.items() if k != "state"}}
    if say is not None:
        say("recorded")
    until = time.monotonic() + limit_s
    for event in Stream(Api.connect, str(item["run"]), after=int(item["seq"]), idle_s=0.5):
        if isinstance(event, dict):
            told = _fate(event, str(item["action"]), item["answer"])
            if told and told != states["state"]:
                states["state"] = told
                if say is not None:
                    say(told)
            if told in ("executed", *GONE) or (told == "delivered" and item["answer"] == "deny"):
                return states
            if event["name"] == "run.closed":
                return states
        if time.monotonic() > until:
            return states
    return states


def _fate(event: Mapping[str, Any], action: str, answer: str) -> str:
    body = event["body"]
    if body.get("action_id") != action:
        return ""
    if event["name"] == "action.dispatched":
        return "delivered"
    if event["name"] == "verdict.given" and body["decision"] == "DENY":
        return "delivered" if answer == "deny" else "refused"
    if event["name"] == "outcome.recorded":
        return "delivered" if answer == "deny" else str(body["status"])
    return ""


def say_state(state: str) -> None:
    """A step of an answer's way, on stdout."""
    out().print(Text(f"  {state}", style="red" if state in GONE else "green"))


def say_left(item: Mapping[str, Any]) -> None:
    """How many more people a quorum needs."""
    left = int(item["quorum"]) - len(item["approvals"])
    out().print(Text(f"  {left} more {'person' if left == 1 else 'people'} must allow it", style="yellow"))
