"""What waits for a person, and answering it in place: recorded, then delivered, then executed, each said only when the
log shows it."""

from __future__ import annotations

import json
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from app.cli.api import Api, rows_of
from app.cli.exits import HELP, NEGATIVE, OK, Failure
from app.cli.output import ago, aside, interactive, out, print_json, safe, show, table
from app.cli.stream import Stream

_FOLLOW_S: Final = 20.0
_RISKS: Final = {"low": "green", "medium": "yellow", "high": "red", "irreversible": "bold red"}
_GONE: Final = frozenset({"failed", "refused", "timeout", "cancelled", "unknown", "expired", "withdrawn"})

app = typer.Typer(epilog=HELP, help="What waits for you; answer it in place.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The item's id as the list shows it, or its beginning.")]
Reason = Annotated[str, typer.Option(help="Why; the agent is told, and it stays in the log.")]


@app.callback(invoke_without_command=True)
def inbox(
    context: typer.Context,
    as_json: Json = False,
    listed: Annotated[bool, typer.Option("--list", help="Only list, ask nothing.")] = False,
) -> None:
    """What waits for you. On a terminal you can answer in place: a allows once, d denies, enter goes on."""
    if context.invoked_subcommand is not None:
        return
    with Api.connect() as api:
        answer = api.get("/api/v1/inbox")
        if as_json:
            print_json(answer)
            return
        rows = rows_of(answer, "items")
        if not rows:
            print("Nothing waits for you.")
            return
        if listed or not interactive():
            _list(rows)
            return
        _answer_each(api, rows)


@app.command()
def allow(id: Id, reason: Reason = "", as_json: Json = False) -> int:
    """Allow a call once. Exit 0 when it was executed, 4 when somebody had answered, 1 when it was not executed."""
    return _answer_one(id, "allow", reason, as_json)


@app.command()
def deny(id: Id, reason: Reason = "", as_json: Json = False) -> int:
    """Deny a call. Exit 0 when the denial is recorded, 4 when somebody had answered."""
    return _answer_one(id, "deny", reason, as_json)


def _list(rows: list[dict[str, Any]]) -> None:
    now = time.time_ns() // 1_000_000
    show(
        table(
            ("id", "risk", "what", "run", "asked", "expires"),
            [
                (
                    safe(row["key"]),
                    Text(safe(row["risk"]), style=_RISKS.get(str(row["risk"]), "")),
                    safe(row["title"], 70),
                    safe(row["run_title"], 30),
                    ago(row["opened"], now),
                    ago(row["expires"], now),
                )
                for row in rows
            ],
        )
    )
    print('Answer with: helm inbox allow ID, helm inbox deny ID --reason "..."')


def _answer_one(id: str, answer: str, reason: str, as_json: bool) -> int:
    with Api.connect() as api:
        key = _key_of(api, id)
        item = answer_item(api, key, answer, reason)
        final = await_fate(item, None if as_json else _say_state)
    if as_json:
        print_json(final)
    return NEGATIVE if answer == "allow" and final["state"] in _GONE else OK


def _key_of(api: Api, word: str) -> str:
    rows = rows_of(api.get("/api/v1/inbox"), "items")
    found = [row["key"] for row in rows if len(word) >= 4 and (row["key"] == word or row["key"].startswith(word))]
    # One that is not waiting any more is asked for by its whole id: the server says who answered it.
    return str(found[0]) if len(found) == 1 else word


def answer_item(api: Api, key: str, answer: str, reason: str = "") -> dict[str, Any]:
    """Give an answer; the item as it is after that. Raises Failure, with CONFLICT when somebody was faster."""
    body = {"answer": answer, "reason": reason} if reason else {"answer": answer}
    item = api.post(f"/api/v1/inbox/{key}/answer", body)
    if not isinstance(item, dict) or "state" not in item:
        raise Failure("the server did not say what became of the answer; see: helm inbox --list")
    return item


def await_fate(item: dict[str, Any], say: Any, limit_s: float = _FOLLOW_S) -> dict[str, Any]:
    """Follow an answered item until it was executed, a denial was delivered, or the time is over."""
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
            if told in ("executed", *_GONE) or (told == "delivered" and item["answer"] == "deny"):
                return states
            if event["name"] == "run.closed":
                return states
        if time.monotonic() > until:
            return states
    return states


def _fate(event: dict[str, Any], action: str, answer: str) -> str:
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


def _say_state(state: str) -> None:
    out().print(Text(f"  {state}", style="red" if state in _GONE else "green"))


# --- on a terminal ---------------------------------------------------------------------------------------------------


def _answer_each(api: Api, rows: list[dict[str, Any]]) -> None:
    console = aside()
    for number, row in enumerate(rows, 1):
        console.print(_card(row, number, len(rows), api.place.url))
        console.print(Text(_whole_input(api, row["key"]), style="dim"))
        word = ask_key("a allow once · d deny · enter next · q quit ", "ad\r\nq")
        if word == "q":
            return
        if word not in ("a", "d"):
            continue
        reason = input("Reason (the agent is told; may be empty): ") if word == "d" else ""
        try:
            item = answer_item(api, row["key"], "allow" if word == "a" else "deny", reason)
            await_fate(item, _say_state)
        except Failure as failure:
            console.print(Text(f"  {safe(failure.message)}", style="red"))


def _whole_input(api: Api, key: str) -> str:
    """Everything that would run: nobody should allow what they have not seen to its end."""
    text = str(api.get(f"/api/v1/inbox/{key}")["input"])
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        pass  # it is shown as it was recorded
    return "\n".join("  " + safe(line, 100_000) for line in text.splitlines())


def _card(row: dict[str, Any], number: int, count: int, url: str) -> Text:
    now = time.time_ns() // 1_000_000
    card = Text(f"\n[{number} of {count}] ", style="dim")
    card.append(safe(row["title"], 300), style="bold")
    facts = [
        ("tool", safe(row["tool"], 80)),
        ("target", safe(row["target"], 1_000)),
        ("run", f"{safe(row['run_title'], 80)} ({safe(row['run'])})"),
        ("asked by", safe(row["agent"] or "lead", 80)),
        ("rule", f"{safe(row['rule'], 80)} ({safe(row['reason_code'], 80)})"),
        ("risk", safe(row["risk"], 20)),
        ("expires", ago(row["expires"], now)),
        ("in full", f"{url}/inbox/{safe(row['key'])}"),
    ]
    for name, words in facts:
        card.append(f"\n  {name:9}", style="dim")
        card.append(words, style=_RISKS.get(words, "") if name == "risk" else "")
    return card


def ask_key(prompt: str, allowed: str) -> str:
    """One of the allowed keys, without enter. Ctrl-C raises KeyboardInterrupt, the end of the input answers `q`."""
    with _cbreak():
        # What was typed before the question was shown must never answer it.
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
        sys.stderr.write(prompt)
        sys.stderr.flush()
        while True:
            # With an end: a Ctrl-C that comes just before the call would otherwise wait in there for the next key.
            if not select.select([sys.stdin], [], [], 0.25)[0]:
                continue
            typed = os.read(sys.stdin.fileno(), 64).decode("utf-8", "replace")
            if "\x1b" in typed:
                # The rest of an arrow key that came in pieces ends in a letter, and `A` must not allow anything.
                time.sleep(0.05)
                termios.tcflush(sys.stdin, termios.TCIFLUSH)
            found = key_of(typed, allowed)
            if found:
                sys.stderr.write("\n")
                return found


def key_of(typed: str, allowed: str) -> str:
    """The one key that was pressed, if it is allowed; several at once (a paste, an arrow key) are none."""
    if typed in ("", "\x04"):
        return "q"
    key = typed.lower()
    return key if len(key) == 1 and key in allowed else ""


@contextmanager
def _cbreak() -> Iterator[None]:
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
