"""TOML files under a closed schema: an unknown key, a wrong type or a value past its bound is an error that names file,
line and reason. tomllib keeps no positions, so lines are found by reading the source a second time."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from app.domain.errors import BadPolicy

MAX_FILE_BYTES: Final = 256 * 1024
_POSITION: Final = re.compile(r"\(at line (\d+), column (\d+)\)")
_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"""\s*("[^"]*"|'[^']*'|[A-Za-z0-9_-]+)\s*=\s*""")
_TEXT_KEY: Final = re.compile(r"""("[^"]*"|'[^']*'|[A-Za-z0-9_-]+)""")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a value starts: line and column, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a file; reading from it checks, and refusing names file and line."""

    file: str
    path: Path
    data: Mapping[str, Any]
    spots: Mapping[Path, Spot]

    def refuse(self, key: str | int | None, reason: str) -> NoReturn:
        """Raise BadPolicy at `key`, or at the table itself when the key is not in the file."""
        raise BadPolicy(f"{self.file}:{self.spot(key).line}: {reason}")

    def spot(self, key: str | int | None) -> Spot:
        """Where the value of `key` starts; the nearest known place above it otherwise."""
        path: Path = self.path if key is None else (*self.path, key)
        while path and path not in self.spots:
            path = path[:-1]
        return self.spots.get(path, Spot(1, 1))

    def closed(self, *known: str) -> None:
        """Refuse every key that is not in `known`."""
        for key in self.data:
            if key not in known:
                self.refuse(key, f"unknown key {key!r}; known here: {', '.join(sorted(known))}")

    def has(self, key: str) -> bool:
        """Whether the file gives this key."""
        return key in self.data

    def text(self, key: str, default: str | None = None, *, limit: int = 200, empty: bool = False) -> str:
        """A string of at most `limit` characters; required when there is no default."""
        value = self._value(key, default)
        if not isinstance(value, str):
            self.refuse(key, f"{key!r} must be a string")
        if len(value) > limit:
            self.refuse(key, f"{key!r} is longer than {limit} characters")
        if (not value and not empty and self.has(key)) or "\x00" in value:
            self.refuse(key, f"{key!r} must not be empty" if not value else f"{key!r} holds a NUL character")
        return value

    def word(self, key: str, pattern: re.Pattern[str], form: str, default: str | None = None) -> str:
        """A string that fits `pattern`; `form` says in words what is taken."""
        value = self.text(key, default)
        if pattern.fullmatch(value) is None:
            self.refuse(key, f"{key!r} must be {form}")
        return value

    def choice(self, key: str, options: Iterable[str], default: str | None = None) -> str:
        """One of `options`."""
        value = self.text(key, default)
        known = list(options)
        if value not in known:
            self.refuse(key, f"{key!r} must be one of: {', '.join(known)}")
        return value

    def integer(self, key: str, default: int | None = None, *, low: int = 0, high: int = 2**53 - 1) -> int:
        """An integer between `low` and `high`."""
        value = self._value(key, default)
        if type(value) is not int or not low <= value <= high:
            self.refuse(key, f"{key!r} must be an integer from {low} to {high}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self._value(key, default)
        if type(value) is not bool:
            self.refuse(key, f"{key!r} must be true or false")
        return value

    def strings(self, key: str, default: tuple[str, ...] | None = None, *, most: int = 200) -> tuple[str, ...]:
        """A list of at most `most` non-empty strings."""
        value = self._value(key, default)
        if not isinstance(value, list | tuple) or len(value) > most:
            self.refuse(key, f"{key!r} must be a list of at most {most} strings")
        if not all(isinstance(item, str) and 0 < len(item) <= 200 for item in value):
            self.refuse(key, f"{key!r} must hold only strings of 1 to 200 characters")
        return tuple(value)

    def table(self, key: str) -> Table:
        """The sub-table `key`; an empty one when it is not in the file."""
        value = self.data.get(key, {})
        if not isinstance(value, dict):
            self.refuse(key, f"{key!r} must be a table")
        return Table(self.file, (*self.path, key), value, self.spots)

    def tables(self, key: str, *, most: int = 500) -> list[Table]:
        """The array of tables `key`; empty when it is not in the file."""
        value = self.data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.refuse(key, f"{key!r} must be written as [[{key}]] tables")
        if len(value) > most:
            self.refuse(key, f"more than {most} [[{key}]] tables")
        return [Table(self.file, (*self.path, key, index), item, self.spots) for index, item in enumerate(value)]

    def _value(self, key: str, default: object) -> Any:
        value = self.data.get(key, default)
        if value is None:
            self.refuse(None, f"{key!r} is missing")
        return value


def read_toml(text: str, file: str) -> Table:
    """The root table of a TOML file. `file` is the name that errors show. Raises BadPolicy."""
    if len(text.encode("utf-8", "replace")) > MAX_FILE_BYTES:
        raise BadPolicy(f"{file}:1: the file is larger than {MAX_FILE_BYTES} bytes")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _POSITION.search(str(error))
        line = int(found.group(1)) if found else text.count("\n") + 1
        raise BadPolicy(f"{file}:{line}: not valid TOML: {_POSITION.sub('', str(error)).strip()[:160]}") from None
    except ValueError:
        raise BadPolicy(f"{file}:1: not valid TOML: a number with too many digits") from None
    except RecursionError:
        raise BadPolicy(f"{file}:1: not valid TOML: nested too deeply") from None
    return Table(file, (), data, _locate(text))


def _locate(text: str) -> dict[Path, Spot]:
    """Where each header and key stands. Lines inside a multi-line string are not looked at."""
    spots: dict[Path, Spot] = {}
    counts: dict[str, int] = {}
    here: Path = ()
    quote = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if quote:
            quote = "" if quote in line else quote
            continue
        key = _KEY.match(line)
        if key is not None:
            spots.setdefault((*here, key.group(1).strip("\"'")), _value_spot(line, number, key.end()))
            quote = _open_quote(line[key.end() :])
            continue
        header = _HEADER.match(line)
        if header is not None:
            here = _header_path(header.group(1) == "[[", header.group(2), counts)
            spots.setdefault(here, Spot(number, 1))
    return spots


def _value_spot(line: str, number: int, start: int) -> Spot:
    """The first character of the value's content; a multi-line string's content may begin on the next line."""
    rest = line[start:]
    opened = next((mark for mark in ('"""', "'''", '"', "'") if rest.startswith(mark)), "")
    if len(opened) == 3 and not rest[3:].strip("\r"):
        return Spot(number + 1, 1)
    return Spot(number, start + len(opened) + 1)


def _open_quote(rest: str) -> str:
    """The kind of multi-line string that this line opens and does not close."""
    for mark in ('"""', "'''"):
        if rest.startswith(mark) and mark not in rest[3:]:
            return mark
    return ""


def _header_path(is_array: bool, name: str, counts: dict[str, int]) -> Path:
    parts: Path = tuple(part.strip("\"'") for part in _TEXT_KEY.findall(name))
    if not is_array:
        return parts
    index = counts.get(name, -1) + 1
    counts[name] = index
    return (*parts, index)
