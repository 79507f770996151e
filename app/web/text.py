"""How numbers, times and hostile text read: money from micro-dollars, times from milliseconds, hidden marks shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo

from markupsafe import Markup, escape

_HIDDEN = re.compile(
    "\x1b\\[[0-9;:?]{0,32}[ -/]{0,4}[@-~]"  # a whole ANSI sequence is one mark
    "|\r(?!\n)"
    "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb"
    "\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def _mark(found: str) -> str:
    """The words for a hidden character: caret notation as in terminals, or its code point."""
    if len(found) > 1:
        return "ESC" + found[1:]
    code = ord(found)
    if code == 0x1B:
        return "ESC"
    return "^" + chr(code ^ 0x40) if code < 0x20 or code == 0x7F else f"U+{code:04X}"


def plain(text: str) -> str:
    """The text with everything invisible or reordering written out: safe in attributes, titles and terminals."""
    if not _HIDDEN.search(text):
        return text.replace("\r\n", "\n") if "\r" in text else text
    return _HIDDEN.sub(lambda match: f"⟦{_mark(match.group())}⟧", text).replace("\r\n", "\n")


def visible(text: object) -> Markup:
    """HTML of a text: escaped, with each hidden character as a small marked box."""
    given = str(text)
    parts: list[Markup] = []
    start = 0
    for match in _HIDDEN.finditer(given):
        parts.append(escape(given[start : match.start()]))
        parts.append(Markup('<span class="hid">{}</span>').format(_mark(match.group())))
        start = match.end()
    parts.append(escape(given[start:]))
    return Markup("").join(parts)


def cut(text: str, length: int = 240) -> str:
    """One line of at most `length` characters, for places that show a line and not the whole."""
    head = text[: length + 1].replace("\r", " ").replace("\n", " ")
    return head if len(text) <= length else head[:length] + "…"


def money(micro: int) -> str:
    """Dollars with two digits; "<$0.01" for less than half a cent that is not nothing."""
    if micro < 0:
        return "−" + money(-micro)
    if 0 < micro < 5_000:
        return "<$0.01"
    cents = (micro + 5_000) // 10_000
    return f"${cents // 100:,}.{cents % 100:02d}"


def axis_money(micro: int) -> str:
    """Money on an axis: no more digits than the step needs."""
    if micro % 1_000_000 == 0:
        return f"${micro // 1_000_000}"
    return money(micro) if micro >= 10_000 else f"${micro / 1_000_000:.4f}".rstrip("0")


def share(part: int, whole: int) -> float:
    """Percent for a bar, 0 to 100; everything of nothing is 0."""
    return round(min(max(part / whole, 0.0), 1.0) * 100, 1) if whole > 0 else 0.0


def thousands(number: int) -> str:
    """Token counts: "842", "412 k", "1.3 M"."""
    if number < 1_000:
        return str(number)
    if number < 1_000_000:
        return f"{number / 1_000:.1f} k" if number < 10_000 else f"{number // 1_000} k"
    return f"{number / 1_000_000:.1f} M"


def size(count: int) -> str:
    """Bytes: "1,284 B", "184 kB", "2.1 MB"."""
    if count < 10_000:
        return f"{count:,} B"
    return f"{count // 1_000} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def took(ms: int | None) -> str:
    """A duration: "12 ms", "1.2 s", "38 s", "6 min", "1 h 52"."""
    if ms is None:
        return ""
    if ms < 1_000:
        return f"{max(ms, 0)} ms"
    if ms < 10_000:
        return f"{ms // 100 / 10:.1f} s"
    return span(ms)


def span(ms: int) -> str:
    """A whole span in the largest unit that fits, as `app.js` writes it too."""
    seconds = max(ms, 0) // 1_000
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 24:
        return f"{hours} h {minutes % 60:02d}" if minutes % 60 and hours < 10 else f"{hours} h"
    return f"{hours // 24} d"


def ago(at_ms: int, now_ms: int) -> str:
    """How long ago: "now", "12 s ago"."""
    return f"{span(now_ms - at_ms)} ago" if now_ms - at_ms >= 1_000 else "now"


def left(at_ms: int, now_ms: int) -> str:
    """How long until: "49 min left", "expired"."""
    return f"{span(at_ms - now_ms)} left" if at_ms > now_ms else "expired"


def moment(at_ms: int, zone: tzinfo = UTC) -> datetime:
    """A time as a datetime; what no calendar holds becomes the epoch, so that a page never breaks on it."""
    try:
        return datetime.fromtimestamp(at_ms / 1_000, zone)
    except (OverflowError, OSError, ValueError):
        return datetime.fromtimestamp(0, zone)


def iso(at_ms: int) -> str:
    """For `<time datetime>`: UTC with milliseconds."""
    return moment(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def short_hash(digest: str) -> str:
    """A digest as people compare it: its first and last four characters."""
    bare = digest.removeprefix("sha256:")
    return f"{bare[:4]}…{bare[-4:]}" if len(bare) > 12 else bare
