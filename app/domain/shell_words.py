"""What a shell command is made of, and what one word of it stands for. Quoting is taken off; a part whose value is not
known before the command runs makes the word dynamic, and its text is then only what a person reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from tree_sitter import Node

from app.domain.places import HOME, resolve

SPLIT: Final = "\x1f"
_KNOWN: Final = {"HOME": "~", "TMPDIR": "/tmp", "IFS": SPLIT}  # noqa: S108 -- a value to compare with
_ANSI: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|([0-7]{1,3})|c(.)|(.))", re.S
)
_ANSI_CHARS: Final = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "e": "\x1b",
    "E": "\x1b",
}
_BACKSLASH: Final = re.compile(r"\\(\n|.)", re.S)


@dataclass(frozen=True, slots=True)
class Word:
    """A word without its quotes. `dynamic`: some of it is only known when it runs. `bare`: no part of it was quoted."""

    text: str
    dynamic: bool = False
    bare: bool = True


@dataclass(frozen=True, slots=True)
class Feed:
    """What a command reads on its standard input, as far as it is known: `fetched` from outside (or decoded), literal
    `text`, or the content of a `file`."""

    fetched: bool = False
    text: str | None = None
    file: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command. `extra`: it gets more arguments than are seen here; `roots`: the `find` that runs it."""

    name: str
    words: tuple[Word, ...]
    redirects: tuple[str, ...]
    cwd: str
    stdin: Feed | None = None
    extra: bool = False
    roots: tuple[Word, ...] = ()

    def redirected(self, redirects: Iterable[str]) -> Command:
        """The same command with more redirects."""
        return replace(self, redirects=(*self.redirects, *redirects))

    def plain(self) -> tuple[Word, ...]:
        """The words that are not options."""
        return tuple(word for word in self.words if not word.text.startswith("-"))

    def flag(self, letters: str, *names: str) -> bool:
        """Whether one of the short option letters or long option names is given."""
        for word in self.words:
            text = word.text
            if text in names or (text[:1] == "-" and text[1:2] != "-" and set(text[1:]) & set(letters)):
                return True
        return False

    def decodes(self) -> bool:
        """Whether a decoder really decodes (rather than encodes)."""
        return self.name in ("rev", "uudecode") or self.flag("dDr", "--decode", "enc", "--decrypt")

    def path(self, text: str) -> str:
        """A word of it as a path; what is relative to an unknown folder stays unknown."""
        return resolve(text, self.cwd) if self.cwd.startswith(("/", HOME)) or text[:1] in "/~" else "?"


def source_of(node: Node) -> str:
    """The source text of a node."""
    return (node.text or b"").decode("utf-8", "replace")


def expand(node: Node, values: Mapping[str, str]) -> list[Word]:
    """The words that a node stands for: one, or several where an unquoted $IFS splits it. `values`: known variables."""
    text, dynamic, bare = _expand(node, values, quoted=False)
    return (
        [Word(part, dynamic, bare) for part in text.split(SPLIT) if part]
        if SPLIT in text
        else [Word(text, dynamic, bare)]
    )


def _expand(node: Node, values: Mapping[str, str], *, quoted: bool) -> tuple[str, bool, bool]:
    kind = node.type
    if kind in ("word", "number", "variable_name", "file_descriptor", "extglob_pattern", "regex"):
        text = source_of(node)
        inner = [child for child in node.children if child.is_named]
        return (text, True, True) if inner else (_BACKSLASH.sub(_unescape, text), False, "\\" not in text)
    if kind == "raw_string":
        return source_of(node)[1:-1], False, False
    if kind == "ansi_c_string":
        return _ANSI.sub(_ansi, source_of(node)[2:-1]), False, False
    if kind == "string_content":
        return re.sub(r"\\([$`\"\\\n])", lambda found: found.group(1).strip("\n"), source_of(node)), False, False
    if kind in ("simple_expansion", "expansion"):
        return _variable(node, values, quoted=quoted)
    if kind in ("concatenation", "string", "translated_string", "command_name"):
        return _join(node, values, quoted=quoted or kind in ("string", "translated_string"))
    return source_of(node), True, False


def _join(node: Node, values: Mapping[str, str], *, quoted: bool) -> tuple[str, bool, bool]:
    """The parts of a word, and the literal text between them that the grammar keeps in no node of its own."""
    data, start = node.text or b"", node.start_byte
    text, dynamic, bare, at = "", False, node.type != "string", 0
    for child in node.children:
        text += data[at : child.start_byte - start].decode("utf-8", "replace")
        at = child.end_byte - start
        if child.type in ('"', '$"', "$"):
            text += "$" if child.type == "$" else ""
            continue
        part = _expand(child, values, quoted=quoted) if child.is_named else (source_of(child), False, True)
        text, dynamic, bare = text + part[0], dynamic or part[1], bare and part[2]
    return text + data[at:].decode("utf-8", "replace"), dynamic, bare


def _variable(node: Node, values: Mapping[str, str], *, quoted: bool) -> tuple[str, bool, bool]:
    """$NAME and ${NAME} when the value is known; anything else about a variable is dynamic."""
    text = source_of(node)
    name = text[1:].removeprefix("{").removesuffix("}")
    value = values.get(name, _KNOWN.get(name))
    if value is None:
        return text, True, True
    if value == SPLIT and quoted:
        return " ", False, False
    return value, False, name in ("HOME", "IFS")


def _unescape(found: re.Match[str]) -> str:
    return "" if found.group(1) == "\n" else found.group(1)


def _ansi(found: re.Match[str]) -> str:
    hexed = found.group(1) or found.group(2) or found.group(3)
    if hexed is not None:
        number = int(hexed, 16)
        return chr(number) if 0 < number < 0xD800 or 0xDFFF < number < 0x110000 else "\ufffd"
    if found.group(4) is not None:
        return chr(int(found.group(4), 8) & 0xFF)
    if found.group(5) is not None:
        return chr(ord(found.group(5)) & 0x1F)
    return _ANSI_CHARS.get(found.group(6), found.group(6))
