"""Canonical JSON (RFC 8785) and the strict loader in front of it. The only importer of rfc8785: bytes that are hashed
or signed come from here, and bytes that are read back must be exactly what this would write."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias

import orjson
import rfc8785

from app.domain.errors import InvalidInput, TooLarge

Json: TypeAlias = Any

MAX_DEPTH: Final = 64
MAX_INT: Final = 2**53 - 1
_ASTRAL: Final = re.compile(rb"[\xf0-\xf4]")
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


class NotCanonical(InvalidInput):
    """A value has no canonical form (NaN, an integer past 2^53-1, a lone surrogate, too deep)."""

    code = "NOT_CANONICAL"


def canonical_bytes(value: Json) -> bytes:
    """The RFC 8785 bytes of `value`. Raises NotCanonical for anything that has none; never another exception.

    orjson writes the same bytes some fifteen times faster unless a float is involved or a key needs UTF-16 order;
    those take the slow, reference path.
    """
    fast = _plain(value, 0)
    try:
        if fast:
            data = orjson.dumps(value, option=_OPTIONS)
            if _ASTRAL.search(data) is None:
                return data
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, ValueError, TypeError, RecursionError) as error:
        raise NotCanonical(f"the value has no canonical JSON form ({type(error).__name__})") from None


def _plain(value: Json, depth: int) -> bool:
    """Whether orjson is known to write RFC 8785 bytes for this value; raises NotCanonical when it is too deep."""
    if depth > MAX_DEPTH:
        raise NotCanonical(f"the value is nested deeper than {MAX_DEPTH} levels")
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-MAX_INT <= value <= MAX_INT)
    if kind is dict:
        # Every child is looked at, so that depth is checked on the slow path as well.
        return all([type(key) is str and _plain(child, depth + 1) for key, child in value.items()])  # noqa: C419
    if kind is list or kind is tuple:
        return all([_plain(child, depth + 1) for child in value])  # noqa: C419
    return False


def strict_loads(data: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> Json:
    """JSON as RFC 8259 means it: UTF-8 without BOM, no duplicate key, no NaN, no lone surrogate, bounded in size and
    depth. Floats and big integers are values here; `canonical_bytes` decides about them. Raises InvalidInput, TooLarge.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"the JSON is {len(data)} bytes; at most {max_bytes} are taken")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput("the JSON is not UTF-8") from None
    _check_depth(text, max_depth)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_float)
    except RecursionError:
        raise TooLarge("the JSON is nested too deeply") from None
    except ValueError as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it is malformed"
        raise InvalidInput(f"not valid JSON: {reason[:120]}") from None
    if "\\u" in text:
        _check_scalars(value)
    return value


def _check_depth(text: str, limit: int) -> None:
    """Refuse by counting brackets outside strings before any recursive parser sees the text."""
    if text.count("[") + text.count("{") <= limit:
        return
    depth = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', text, re.DOTALL):
        char = token.group(0)[0]
        if char in "[{":
            depth += 1
            if depth > limit:
                raise TooLarge(f"the JSON is nested deeper than {limit} levels")
        elif char in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InvalidInput("a JSON object has the same key twice")
    return result


def _constant(name: str) -> NoReturn:
    raise InvalidInput(f"{name} is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidInput("a number is too large for JSON")
    return value


def _check_scalars(value: Json) -> None:
    try:
        orjson.dumps(value)
    except (TypeError, ValueError):
        _walk_scalars(value)


def _walk_scalars(value: Json) -> None:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidInput("a string holds half of a surrogate pair") from None
    elif isinstance(value, Mapping):
        for key, child in value.items():
            _walk_scalars(key)
            _walk_scalars(child)
    elif isinstance(value, Sequence):
        for child in value:
            _walk_scalars(child)


def b64(data: bytes) -> str:
    """Standard base64, padded (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")


def unb64(text: str) -> bytes:
    """The bytes of canonical standard base64. Raises InvalidInput when re-encoding would differ."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("not base64") from None
    if b64(data) != text:
        raise InvalidInput("not canonical base64")
    return data
