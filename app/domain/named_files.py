"""Which files of the workspace a call names: those whose bytes decide what the call does. Lexical and bounded; whether
a name is a file at all is looked up by whoever holds the workspace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from app.domain.places import is_inside, resolve
from app.domain.shell import shell_view
from app.domain.verdict import WORKSPACE

MOST: Final = 32
_KEYS: Final = frozenset({"file_path", "notebook_path", "path", "script", "attachment", "attachments", "files"})
_INTERPRETERS: Final = frozenset(
    {"bash", "sh", "dash", "zsh", "ksh", "source", ".", "python", "python3", "node", "ruby", "perl", "php", "deno"}
    | {"make", "docker", "terraform", "kubectl", "ansible-playbook", "psql", "sqlite3", "mysql"}
)
_DEPTH: Final = 8
_WORDS: Final = 400


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """Paths below the workspace. `sure` are files in the call's own words, also where none is there yet; `maybe` count
    only where a file is there now."""

    sure: tuple[str, ...] = ()
    maybe: tuple[str, ...] = ()


def named_files(tool: str, args: Any, cwd: str) -> NamedFiles:
    """The files that a call names, at most 32 of each kind. Total over any JSON."""
    sure: dict[str, None] = {}
    maybe: dict[str, None] = {}
    values = args if isinstance(args, dict) else {}
    for key, text in _texts(values, "", _DEPTH):
        if key in _KEYS or text.startswith(WORKSPACE + "/"):
            _take(sure, text, cwd)
    if isinstance(values.get("command"), str):
        _shell(values["command"], cwd, sure, maybe)
    return NamedFiles(tuple(sure)[:MOST], tuple(name for name in maybe if name not in sure)[:MOST])


def _texts(value: Any, key: str, depth: int) -> Iterator[tuple[str, str]]:
    """Every short text in the arguments with the key that it stands under."""
    if isinstance(value, str):
        if 0 < len(value) <= 4096 and "\n" not in value:
            yield key, value
    elif depth and isinstance(value, dict):
        for name, child in list(value.items())[:_WORDS]:
            yield from _texts(child, name, depth - 1)
    elif depth and isinstance(value, list):
        for child in value[:_WORDS]:
            yield from _texts(child, key, depth - 1)


def _shell(command: str, cwd: str, sure: dict[str, None], maybe: dict[str, None]) -> None:
    """What the simple commands of a script run or are given. The first operand of an interpreter is what it runs."""
    for found in shell_view(command, cwd)["commands"][:_WORDS]:
        name, argv = str(found["name"]), [str(word) for word in found["argv"]]
        if "/" in name:
            _take(sure, name, cwd)
        operands = [word for word in argv if word and not word.startswith("-")]
        base = name.rsplit("/", 1)[-1]
        if base in _INTERPRETERS and operands and ("/" in operands[0] or "." in operands[0]):
            _take(sure, operands[0], cwd)
        for word in operands[:_WORDS]:
            _take(maybe, word, cwd)


def _take(found: dict[str, None], path: str, cwd: str) -> None:
    if "\0" in path or len(found) >= MOST:
        return
    full = resolve(path, cwd)
    if is_inside(full) and full != WORKSPACE:
        found[full] = None
