"""How big a JSON value is, measured without recursion and before anything else looks at it. Native engines crash on
deep values, and one long list can cost seconds: past a bound the answer is a refusal, never an exception."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from app.domain.canonical import Json
from app.domain.reasons import Reason

MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 10_000
MAX_BYTES: Final = 512 * 1024
MAX_INT: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Size:
    """What was counted: values (list items and object members) and bytes of text."""

    elements: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a value is not taken. `message` never repeats any of it."""

    reason: Reason
    message: str


_TOO_DEEP: Final = Refusal(Reason.INPUT_TOO_LARGE, f"the arguments are nested deeper than {MAX_DEPTH} levels")
_TOO_MANY: Final = Refusal(Reason.INPUT_TOO_LARGE, f"the arguments hold more than {MAX_ELEMENTS} elements")
_TOO_MANY_BYTES: Final = Refusal(Reason.INPUT_TOO_LARGE, f"the arguments hold more than {MAX_BYTES} bytes of text")
_BAD_TEXT: Final = Refusal(Reason.SCHEMA_VIOLATION, "a string in the arguments holds a NUL or half a surrogate pair")
_BAD_NUMBER: Final = Refusal(Reason.SCHEMA_VIOLATION, "a number in the arguments is past 2^53; send it as a string")
_NOT_JSON: Final = Refusal(Reason.SCHEMA_VIOLATION, "the arguments hold a value that is not JSON")


def measure(value: Json) -> Size | Refusal:
    """The size of a value, or why it is refused: too big, or not JSON that every reader understands alike."""
    elements = size = 0
    stack: list[tuple[Json, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        refusal: Refusal | None = None
        if isinstance(item, str):
            length = _text_bytes(item)
            size += max(length, 0)
            refusal = _BAD_TEXT if length < 0 else _TOO_MANY_BYTES if size > MAX_BYTES else None
        elif isinstance(item, dict | list | tuple):
            elements += len(item)
            refusal = _TOO_DEEP if depth > MAX_DEPTH else _TOO_MANY if elements > MAX_ELEMENTS else None
            if refusal is None and isinstance(item, dict):
                refusal = None if all(isinstance(key, str) for key in item) else _NOT_JSON
                stack.extend((key, depth) for key in item)
            if refusal is None:
                stack.extend((child, depth + 1) for child in (item.values() if isinstance(item, dict) else item))
        else:
            refusal = _scalar(item)
        if refusal is not None:
            return refusal
    return Size(elements, size)


def _text_bytes(text: str) -> int:
    """The bytes of a string; -1 when it holds a NUL or half of a surrogate pair."""
    if "\x00" in text:
        return -1
    try:
        return len(text) if text.isascii() else len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return -1


def _scalar(item: Json) -> Refusal | None:
    if item is None or isinstance(item, bool):
        return None
    if isinstance(item, int):
        return None if -MAX_INT <= item <= MAX_INT else _BAD_NUMBER
    return None if isinstance(item, float) and math.isfinite(item) else _NOT_JSON
