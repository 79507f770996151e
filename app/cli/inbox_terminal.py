"""Answering at a terminal, one item after the other, with a key for each thing that the server offers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from app.cli.answers import answer_item, await_fate, object_in, say_left, say_state
from app.cli.api import Api
from app.cli.cards import card, input_lines
from app.cli.exits import USAGE, Failure
from app.cli.output import aside, safe
from app.cli.terminal import ask_key

_KEYS: Final = {
    "allow": ("a", "allow once"),
    "deny": ("d", "deny"),
    "edit": ("e", "edit and allow"),
    "allow_run": ("r", "allow for this run"),
    "allow_pattern": ("p", "allow a pattern"),
    "dismiss": ("x", "dismiss"),
}


def answer_each(api: Api, rows: list[dict[str, Any]]) -> None:
    """Show each item whole and take one key for it."""
    console = aside()
    for number, row in enumerate(rows, 1):
        full = api.get(f"/api/v1/inbox/{row['key']}")
        console.print(card(full, api.place.url, f"[{number} of {len(rows)}] "))
        console.print(Text(input_lines(str(full["input"])), style="dim"))
        choice = _choice(full["available"])
        if choice == "quit":
            return
        try:
            _give(api, full, choice)
        except Failure as failure:
            console.print(Text(f"  {safe(failure.message)}", style="red"))


def _choice(available: list[str]) -> str:
    """What was chosen of what is offered; "next" for nothing, "quit" for an end."""
    offered = {_KEYS[word][0]: word for word in available if word in _KEYS}
    words = [f"{key} {_KEYS[word][1]}" for key, word in offered.items()]
    prompt = " · ".join([*words, "enter next", "q quit "])
    pressed = ask_key(prompt, "".join(offered) + "\r\nq")
    return "quit" if pressed == "q" else offered.get(pressed, "next")


def _give(api: Api, item: dict[str, Any], choice: str) -> None:
    key = str(item["key"])
    if choice == "next":
        return
    if choice == "dismiss":
        answer_item(api, key, "dismiss")
        return
    if choice == "deny":
        reason = input("Reason (the agent is told; may be empty): ")
        await_fate(answer_item(api, key, "deny", reason), say_state)
        return
    final = await_fate(answer_item(api, key, "allow", **_more(api, item, choice)), say_state)
    if final["state"] == "open":
        say_left(final)


def _more(api: Api, item: dict[str, Any], choice: str) -> dict[str, Any]:
    """What an allowance carries beyond its word."""
    if choice == "edit":
        return {"edited": _in_editor(str(item["input"]))}
    if choice == "allow_run":
        return {"grant": {"scope": "run"}}
    if choice == "allow_pattern":
        return {"grant": {"scope": "run", "pattern": _pattern(api, item)}}
    return {}


def _pattern(api: Api, item: dict[str, Any]) -> str:
    """A CEL pattern, with what it would have covered so far, until it is confirmed."""
    pattern = input('Pattern (CEL over args, such as args.to.endsWith("@example.com")): ').strip()
    if not pattern:
        raise Failure("a pattern is needed; nothing was answered", USAGE)
    found = api.post("/api/v1/grants/preview", {"tool": item["tool"], "pattern": pattern})
    aside().print(f"  It would have covered {found['matched']} of {found['looked_at']} earlier calls.")
    if ask_key("y allow with this pattern · q leave it ", "yq") != "y":
        raise Failure("nothing was answered", USAGE)
    return pattern


def _in_editor(text: str) -> dict[str, Any]:
    """The arguments as a person's own editor leaves them. Raises Failure when it fails or nothing was changed."""
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    before = json.dumps(object_in(text), indent=2, ensure_ascii=False) + "\n"
    with tempfile.TemporaryDirectory(prefix="helm-edit-") as folder:
        file = Path(folder) / "arguments.json"
        file.write_text(before, encoding="utf-8")
        try:
            ended = subprocess.run([*words, str(file)], check=False)
        except OSError as error:
            raise Failure(f"the editor {words[0]!r} cannot be started: {error.strerror}; set EDITOR", USAGE) from None
        if ended.returncode:
            raise Failure("the editor ended with an error; nothing was answered", USAGE)
        after = file.read_text(encoding="utf-8", errors="replace")
    if after == before:
        raise Failure("nothing was changed, and nothing was answered", USAGE)
    return object_in(after)
