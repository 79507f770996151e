"""A pattern to begin with: what makes this call like its next one, as CEL that a person then narrows or widens."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from app.domain.canonical import Json

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS: Final = "as break const continue else false for function if import in let loop null package namespace return"
_RESERVED: Final = frozenset((*_WORDS.split(), "true", "var", "void", "while"))
_MOST: Final = 4
_SHORT: Final = 200


def pattern_for(arguments: Mapping[str, Json]) -> str:
    """A CEL pattern that this call matches; "" (every call that the rule asks about) where nothing narrows it."""
    found = _people(arguments) or _url(arguments) or _place(arguments)
    if found:
        return found
    # A command matches whole or not at all: a beginning of it says nothing about what follows after a `;`.
    same = [
        f"{_name(key)} == {_literal(value)}"
        for key, value in arguments.items()
        if isinstance(value, bool | int) or (isinstance(value, str) and len(value) <= _SHORT)
    ]
    if isinstance(arguments.get("command"), str):
        same = [f"{_name('command')} == {_literal(arguments['command'])}"]
    return " && ".join(same[:_MOST])


def _people(arguments: Mapping[str, Json]) -> str:
    parts = []
    for key in ("to", "cc", "bcc"):
        value = arguments.get(key)
        if isinstance(value, str) and value:
            domain = _domain(value)
            # One address only: of a list in one text, the end says nothing about the others.
            one = f'{_name(key)}.endsWith("{domain}") && !{_name(key)}.contains(",")'
            parts.append(one if domain else f"{_name(key)} == {_literal(value)}")
        elif isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            domains = {_domain(one) for one in value}
            if len(domains) != 1 or not (domain := domains.pop()):
                return ""
            parts.append(f'{_name(key)}.all(one, one.endsWith("{domain}"))')
    return " && ".join(parts)


def _domain(address: str) -> str:
    """`@host` of one bare address; "" for lists and for anything odd."""
    found = re.fullmatch(r"[^\s@,;<>\"]+(@[A-Za-z0-9.-]+)", address)
    return found[1] if found else ""


def _url(arguments: Mapping[str, Json]) -> str:
    value = arguments.get("url")
    if not isinstance(value, str):
        return ""
    try:
        parts = urlsplit(value)
    except ValueError:
        return ""
    # With the slash: a host that only begins like this one must not match.
    start = f"{parts.scheme}://{parts.netloc}/"
    return f"{_name('url')}.startsWith({_literal(start)})" if parts.netloc and value.startswith(start) else ""


def _place(arguments: Mapping[str, Json]) -> str:
    key = "file_path" if "file_path" in arguments else "path"
    value = arguments.get(key)
    if not isinstance(value, str) or "/" not in value or "/../" in f"{value}/":
        return ""
    folder = value.rpartition("/")[0] + "/"
    return f'{_name(key)}.startsWith({_literal(folder)}) && !{_name(key)}.contains("..")'


def _name(key: str) -> str:
    return f"args.{key}" if _PLAIN.fullmatch(key) and key not in _RESERVED else f"args[{_literal(key)}]"


def _literal(value: Json) -> str:
    """A JSON text is a CEL literal, as long as every character stands for itself."""
    return json.dumps(value, ensure_ascii=False)
