"""Identifiers: what they look like. Randomness and time come in as arguments: the same input gives the same id."""

from __future__ import annotations

import re
from typing import Final

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32, lower case
_RUN: Final = re.compile(r"r[0-9a-hjkmnp-tv-z]{25}\Z")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")
SYSTEM_RUN: Final = "_sys"


def run_id(now_ms: int, entropy: bytes) -> str:
    """A run's id: `r`, 9 characters of time (sortable), 16 of randomness (10 bytes). Says nothing about the task."""
    return "r" + _base32(now_ms, 9) + _base32(int.from_bytes(entropy[:10], "big"), 16)


def short_id(prefix: str, entropy: bytes) -> str:
    """An id of 16 random characters (10 bytes) behind a prefix that says what it names."""
    return f"{prefix}_{_base32(int.from_bytes(entropy[:10], 'big'), 16)}"


def is_run_id(text: str) -> bool:
    """Whether `text` has the form of a run id; says nothing about whether it exists."""
    return _RUN.match(text) is not None


def is_digest(text: str) -> bool:
    """Whether `text` is `sha256:` and 64 lower-case hex digits."""
    return _DIGEST.match(text) is not None


def _base32(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        digits.append(_ALPHABET[number & 31])
        number >>= 5
    return "".join(reversed(digits))
