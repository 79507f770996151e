"""What can be told from a rule's text alone: which globs cover or meet which, and which condition follows from which.
Sound and not complete: "follows" is said only when it does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from app.domain.policy import ToolGlob

_PIECES: Final = re.compile(
    r'''(?P<text>[rRbB]{0,2}(?:"""(?:[^\\]|\\.)*?"""|\'\'\'(?:[^\\]|\\.)*?\'\'\'|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))'''
    r"|(?P<comment>//[^\n]*)|(?P<space>\s+)|(?P<word>&&|\|\||[=!<>]=|[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*|.)",
    re.DOTALL,
)
_PATTERN: Final = re.compile(r"\.\s*matches\s*\(\s*([rR]?(?:\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'))\s*\)")


def covers(outer: ToolGlob, inner: ToolGlob) -> bool:
    """Whether every name that `inner` fits is one that `outer` fits: a `*` of the inner one is met by a `*` only."""
    return outer.pattern.fullmatch(inner.text) is not None


def meets(one: ToolGlob, other: ToolGlob) -> bool:
    """Whether there is a name that both globs fit."""
    first, second = one.text, other.text
    seen: set[tuple[int, int]] = set()
    stack = [(0, 0)]
    while stack:
        at = stack.pop()
        if at in seen:
            continue
        seen.add(at)
        if at == (len(first), len(second)):
            return True
        stack.extend(_steps(first, second, *at))
    return False


def _steps(first: str, second: str, i: int, j: int) -> Iterator[tuple[int, int]]:
    a, b = first[i : i + 1], second[j : j + 1]
    if a == "*":
        yield i + 1, j
    if b == "*":
        yield i, j + 1
    if a and b and (a == b or "*" in (a, b)):
        if a != "*":
            yield i + 1, j + (b != "*")
        elif b != "*":
            yield i, j + 1


def tokens(source: str) -> list[str]:
    """The words of a condition without comments and spaces; a string is one word."""
    return [m.group() for m in _PIECES.finditer(source) if m.lastgroup not in ("comment", "space")]


def split(words: list[str], operator: str) -> list[list[str]]:
    """The operands of `operator` at the top level; one operand when it is not there."""
    parts: list[list[str]] = [[]]
    depth = 0
    for word in words:
        depth += (word in ("(", "[", "{")) - (word in (")", "]", "}"))
        if word == operator and not depth:
            parts.append([])
        else:
            parts[-1].append(word)
    return [_bare(part) for part in parts]


def conjuncts(source: str) -> list[str]:
    """The conditions that all have to be true, as texts; the whole one where it is not an `&&` of several."""
    words = _bare(tokens(source))
    if len(split(words, "||")) > 1 or len(split(words, "?")) > 1:
        return [" ".join(words)]
    return [" ".join(part) for part in split(words, "&&")]


def alternatives(source: str | None) -> list[frozenset[str]]:
    """A condition as alternatives of conditions that all have to be true. None is always true, `false` never."""
    words = _bare(tokens(source)) if source is not None else ["true"]
    if len(split(words, "?")) > 1:
        return [frozenset({" ".join(words)})]
    found = []
    for part in split(words, "||"):
        needed = frozenset(" ".join(word) for word in split(part, "&&")) - {"true"}
        if "false" not in needed:
            found.append(needed)
    return found


def follows(earlier: str | None, later: str | None) -> bool:
    """Whether `earlier` is true (or fails) wherever `later` is true."""
    options = alternatives(earlier)
    return all(any(option <= needed for option in options) for needed in alternatives(later))


def patterns(source: str) -> list[tuple[int, str]]:
    """The literal patterns of `matches`, each with its offset and as it is written."""
    return [(m.start(1), m.group(1)) for m in _PATTERN.finditer(source)]


def _bare(words: list[str]) -> list[str]:
    """The same words without parentheses around all of them."""
    while len(words) >= 2 and words[0] == "(" and words[-1] == ")" and _closes_last(words):
        words = words[1:-1]
    return words


def _closes_last(words: list[str]) -> bool:
    depth = 0
    for at, word in enumerate(words):
        depth += (word == "(") - (word == ")")
        if not depth:
            return at == len(words) - 1
    return False
