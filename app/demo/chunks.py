"""How an answer falls into pieces: texts by a few words, JSON by a few dozen characters.

Joined, the pieces are the text again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORDS_PER_PIECE = 4
_CHARACTERS_PER_PIECE = 48
_WORD = re.compile(r"\S+\s*|\s+")


def words(text: str) -> Iterator[str]:
    found = _WORD.findall(text)
    for start in range(0, len(found), _WORDS_PER_PIECE):
        yield "".join(found[start : start + _WORDS_PER_PIECE])


def pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _CHARACTERS_PER_PIECE):
        yield text[start : start + _CHARACTERS_PER_PIECE]
