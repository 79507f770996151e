"""An item of the inbox as a terminal shows it: everything that an answer is bound to, to its last character."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from rich.text import Text

from app.cli.output import ago, inert, safe, show, table

RISKS: Final = {"low": "green", "medium": "yellow", "high": "red", "irreversible": "bold red"}
_WORDS: Final = {
    "allow": "allow once",
    "deny": "deny",
    "edit": "edit and allow",
    "allow_run": "allow for this run",
    "allow_pattern": "allow a pattern",
    "ask_again": "ask again",
    "dismiss": "dismiss",
}


def list_items(rows: list[dict[str, Any]]) -> None:
    """The inbox as a table."""
    now = time.time_ns() // 1_000_000
    show(
        table(
            ("id", "risk", "what", "run", "asked", "expires"),
            [
                (
                    safe(row["key"]),
                    Text(safe(row["risk"]), style=RISKS.get(str(row["risk"]), "")),
                    safe(row["title"], 70),
                    safe(row["run_title"], 30),
                    ago(row["opened"], now),
                    ago(row["expires"], now),
                )
                for row in rows
            ],
        )
    )


def list_notices(rows: list[dict[str, Any]]) -> None:
    """What a person should look at, as a table."""
    now = time.time_ns() // 1_000_000
    cells = [
        (safe(row["id"]), safe(row["kind"]), safe(row["title"], 80), safe(row["run"]), ago(row["at"], now))
        for row in rows
    ]
    show(table(("notice", "kind", "what", "run", "since"), cells))


def card(row: dict[str, Any], url: str, place: str = "") -> Text:
    """An item with everything but its input."""
    now = time.time_ns() // 1_000_000
    shown = Text(f"\n{place}", style="dim")
    shown.append(safe(row["title"], 300), style="bold")
    facts = [
        ("tool", safe(row["tool"], 80)),
        ("target", safe(row["target"], 1_000)),
        ("run", f"{safe(row['run_title'], 80)} ({safe(row['run'])})"),
        ("asked by", safe(row["agent"] or "lead", 300)),
        ("rule", f"{safe(row['rule'], 80)} ({safe(row['reason_code'], 80)})"),
        ("risk", safe(row["risk"], 20)),
        *_terms(row, now),
        ("expires", ago(row["expires"], now)),
        ("in full", f"{url}/inbox/{safe(row['key'])}"),
    ]
    for name, words in facts:
        if words:
            shown.append(f"\n  {name:9}", style="dim")
            shown.append(words, style=RISKS.get(words, "") if name == "risk" else "")
    return shown


def _terms(row: dict[str, Any], now: int) -> list[tuple[str, str]]:
    """What an answer needs beyond a word, and what it is bound to."""
    files = [f"{safe(mark['path'], 200)} ({_mark(mark)})" for mark in row["files"]]
    needs = []
    if row["quorum"] > 1:
        given = f", given by {safe(', '.join(row['approvals']), 200)}" if row["approvals"] else ""
        needs.append(f"{row['quorum']} people{given}")
    if row["proof"] == "key":
        needs.append("your key's signature")
    if row["roles"]:
        needs.append(f"role {safe(' or '.join(row['roles']), 60)}")
    if row["not_requester"]:
        needs.append("not who started the run")
    not_before = ago(row["not_before"], now) if row["not_before"] else ""
    return [
        ("files", ", ".join(files)),
        ("needs", ", ".join(needs)),
        ("not yet", not_before if not_before.startswith("in ") else ""),
        ("blocked", safe(row["blocked"], 300)),
        ("you may", ", ".join(_WORDS.get(word, word) for word in row["available"])),
    ]


def _mark(mark: dict[str, Any]) -> str:
    return safe(mark["digest"][7:19] if mark["digest"] else mark["state"], 20)


def input_lines(text: str) -> str:
    """Everything that would run: nobody should allow what they have not seen to its end. A character that could steer
    the terminal or hide itself is shown as its escape."""
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        pass  # it is shown as it was recorded
    return "\n".join("  " + inert(line) for line in text.split("\n"))
