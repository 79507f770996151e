"""What commands print: one JSON document on stdout when asked, else tables and lines for people. What agents wrote is
shown, never sent to the terminal as it is."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.domain.errors import InvalidInput
from app.domain.times import ms_of

_STYLES: Final[dict[str, str]] = {
    "starting": "cyan",
    "running": "cyan",
    "waiting": "bold yellow",
    "parked": "bold yellow",
    "stopping": "yellow",
    "interrupted": "yellow",
    "finished": "green",
    "failed": "red",
    "stopped": "magenta",
    "ALLOW": "green",
    "DENY": "red",
    "ESCALATE": "yellow",
    "executed": "green",
    "refused": "red",
}
# Everything that may move the cursor, hide, reorder or disguise: C0, C1, DEL, and the characters of Unicode's format
# class that turn the writing direction or show nothing.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_SPACES: Final = re.compile(r"[\s\u0085\u2028\u2029]+")

Cell = Text | str


def out() -> Console:
    """The console for results; colours only on a terminal and without NO_COLOR."""
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)


def aside() -> Console:
    """The console for progress, which is never part of a result."""
    return Console(file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def interactive() -> bool:
    """Whether a person sits there: both ends are a terminal that can do more than print."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"


def print_json(document: Any) -> None:
    """One JSON document on one line."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def safe(text: object, limit: int = 0) -> str:
    """Text on one line without anything that could steer a terminal; cut at `limit` characters when it is not 0."""
    line = _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", _SPACES.sub(" ", str(text)).strip())
    line = line.encode("utf-8", "replace").decode("utf-8")
    return line if not limit or len(line) <= limit else line[: limit - 1] + "…"


def inert(line: str) -> str:
    """A line as it is, but for characters that could steer a terminal or hide: those are shown as their escapes."""
    shown = _UNSAFE.sub(lambda found: _escape(ord(found.group())), line)
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def styled(word: object) -> Text:
    """A state in its colour; the word alone says it too."""
    text = safe(word)
    return Text(text, style=_STYLES.get(text, ""))


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """A table for people."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for name in head:
        made.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="ellipsis")
    for row in rows:
        made.add_row(*[cell if isinstance(cell, Text) else Text(cell) for cell in row])
    return made


def show(made: Table) -> None:
    """Print a table as wide as the terminal, or as wide as it needs to be where there is none."""
    if sys.stdout.isatty():
        Console(file=sys.stdout, highlight=False, markup=False, emoji=False).print(made)
        return
    wide = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=500)
    with wide.capture() as held:
        wide.print(made)
    lines = [line.rstrip() for line in held.get().splitlines()]
    sys.stdout.write("\n".join(line for line in lines if line) + "\n")


def money(micro: Any) -> str:
    """Micro-dollars as dollars: cents, and more digits where it is less than a dollar."""
    amount = int(micro or 0) / 1_000_000
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.4f}"


def clock(ts: object) -> str:
    """A receipt's time in the local time zone, to the second."""
    try:
        moment = datetime.fromtimestamp(ms_of(str(ts)) / 1000, UTC)
    except InvalidInput:
        return safe(ts, 24)
    return moment.astimezone().strftime("%H:%M:%S")


def ago(ts: object, now_ms: int) -> str:
    """How long ago (or how far ahead) a time is."""
    try:
        seconds = (now_ms - ms_of(str(ts))) // 1000
    except InvalidInput:
        return ""
    ahead, seconds = seconds < 0, abs(seconds)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"in {seconds // size} {unit}" if ahead else f"{seconds // size} {unit} ago"
    return f"in {seconds} s" if ahead else f"{seconds} s ago"
