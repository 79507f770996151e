"""The closed schema of receipt bodies, read off the payload classes once: encode, decode, check. Unknown field, missing
field, wrong type, `null`: all refused."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from app.domain import payloads, payloads_log
from app.domain.canonical import MAX_INT, canonical_bytes
from app.domain.content import COMMIT_ALG, Content
from app.domain.errors import InvalidInput
from app.domain.ids import is_digest
from app.domain.payload import PAYLOADS, Payload
from app.domain.signing import sha256
from app.domain.times import ms_of

Body: TypeAlias = dict[str, Any]
Check: TypeAlias = Callable[[Any, str], Any]

MAX_TEXT: Final = 16_384
MAX_ITEMS: Final = 1_024
_COMMITMENT: Final = frozenset({"alg", "digest", "size", "media", "redacted"})


class BadBody(InvalidInput):
    """A receipt's body does not fit its schema; the message names the field."""

    code = "E_BODY_SCHEMA"


class UnknownField(BadBody):
    """A receipt's body has a field that its schema does not know."""

    code = "E_BODY_UNKNOWN_FIELD"


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One field of a payload: its name, whether it may be absent, and how its JSON is checked into a value."""

    name: str
    optional: bool
    check: Check


def _text(value: Any, name: str) -> str:
    if type(value) is not str or len(value) > MAX_TEXT:
        raise BadBody(f"{name} is not a text of at most {MAX_TEXT} characters")
    return value


def _integer(value: Any, name: str) -> int:
    if type(value) is not int or not -MAX_INT <= value <= MAX_INT:
        raise BadBody(f"{name} is not an integer within 2^53-1")
    return value


def _count(value: Any, name: str) -> int:
    if _integer(value, name) < 0:
        raise BadBody(f"{name} is less than nothing")
    return int(value)


def _boolean(value: Any, name: str) -> bool:
    if type(value) is not bool:
        raise BadBody(f"{name} is not true or false")
    return value


def _digest(value: Any, name: str) -> str:
    if type(value) is not str or not is_digest(value):
        raise BadBody(f"{name} is not sha256: and 64 hex digits")
    return value


def _time(value: Any, name: str) -> str:
    try:
        ms_of(_text(value, name))
    except InvalidInput as error:
        raise BadBody(f"{name}: {error.message}") from None
    return str(value)


def _content(value: Any, name: str) -> Content:
    allowed = _COMMITMENT | {"truncated_from"}
    if type(value) is not dict or not _COMMITMENT <= value.keys() <= allowed or value["alg"] != COMMIT_ALG:
        raise BadBody(f"{name} is not a commitment")
    return Content(
        data=None,
        media=_text(value["media"], name + ".media"),
        redacted=_boolean(value["redacted"], name + ".redacted"),
        truncated_from=_count(value.get("truncated_from", 0), name + ".truncated_from"),
        digest=_digest(value["digest"], name + ".digest"),
        size=_count(value["size"], name + ".size"),
    )


def _choice(options: tuple[Any, ...]) -> Check:
    def check(value: Any, name: str) -> Any:
        if type(value) is not str or value not in options:
            raise BadBody(f"{name} is none of {', '.join(options)}")
        return value

    return check


def _items(item: Check) -> Check:
    def check(value: Any, name: str) -> tuple[Any, ...]:
        if type(value) is not list or len(value) > MAX_ITEMS:
            raise BadBody(f"{name} is not a list of at most {MAX_ITEMS}")
        return tuple(item(child, f"{name}[{at}]") for at, child in enumerate(value))

    return check


def _nested(cls: type) -> Check:
    fields = _fields_of(cls)

    def check(value: Any, name: str) -> Any:
        return cls(**_checked(fields, value, name + "."))

    return check


_SCALARS: Final[dict[Any, Check]] = {str: _text, int: _integer, bool: _boolean, Content: _content}
_MARKED: Final[dict[str, Check]] = {"digest": _digest, "time": _time}


def _check_of(hint: Any) -> tuple[Check, bool]:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        (inner,) = [arg for arg in get_args(hint) if arg is not type(None)]
        return _check_of(inner)[0], True
    if origin is Annotated:
        return _MARKED[get_args(hint)[1]], False
    if origin is Literal:
        return _choice(get_args(hint)), False
    if origin is tuple:
        return _items(_check_of(get_args(hint)[0])[0]), False
    if hint in _SCALARS:
        return _SCALARS[hint], False
    return _nested(hint), False


def _fields_of(cls: type) -> tuple[Field, ...]:
    hints = get_type_hints(cls, include_extras=True)
    fields = []
    for item in dataclasses.fields(cls):
        check, optional = _check_of(hints[item.name])
        fields.append(Field(item.name, optional, check))
    return tuple(fields)


def _checked(fields: tuple[Field, ...], value: Any, prefix: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise BadBody(f"{prefix or 'body'} is not an object")
    present = [field for field in fields if field.name in value]
    if len(present) != len(value):
        known = {field.name for field in fields}
        unknown = next(key for key in value if key not in known)
        raise UnknownField(f"{prefix}{unknown[:64]} is not a field of this kind")
    if len(present) != len(fields):
        for field in fields:
            if not field.optional and field.name not in value:
                raise BadBody(f"{prefix}{field.name} is missing")
    return {field.name: field.check(value[field.name], prefix + field.name) for field in present}


FIELDS: Final[dict[type[Payload], tuple[Field, ...]]] = {cls: _fields_of(cls) for cls in PAYLOADS.values()}
_CONTENTS: Final[dict[type[Payload], tuple[str, ...]]] = {
    cls: tuple(field.name for field in fields if field.check is _content) for cls, fields in FIELDS.items()
}
# Both modules are registries of classes: importing them is what fills PAYLOADS.
MODULES: Final = (payloads, payloads_log)
KINDS: Final = frozenset(kind for kind, _ in PAYLOADS)


def decode(kind: str, body: Mapping[str, Any]) -> Payload:
    """The payload of a receipt's kind and body. Raises BadBody, UnknownField."""
    values = dict(body)
    etype = _text(values.pop("etype", None), "etype") if kind == "event" else ""
    cls = PAYLOADS.get((kind, etype))
    if cls is None:
        raise BadBody(f"no payload is known for {kind[:64]} {etype[:64]}".rstrip())
    return cls(**_checked(FIELDS[cls], values, ""))


def encode(payload: Payload) -> Body:
    """The body of a payload whose contents are sealed; absent optional fields are left out, there is no null."""
    values = ((field.name, getattr(payload, field.name)) for field in FIELDS[type(payload)])
    body: Body = {name: _plain(value) for name, value in values if value is not None}
    if payload.etype:
        body["etype"] = payload.etype
    return body


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int or kind is bool:
        return value
    if kind is Content:
        return _commitment_of(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((item.name, getattr(value, item.name)) for item in dataclasses.fields(value))
        return {name: _plain(child) for name, child in pairs if child is not None}
    if isinstance(value, tuple):
        return [_plain(child) for child in value]
    return value


def _commitment_of(content: Content) -> Body:
    if not content.digest:
        raise BadBody("a content must be sealed before it is recorded")
    body: Body = {
        "alg": COMMIT_ALG,
        "digest": content.digest,
        "size": content.size,
        "media": content.media,
        "redacted": content.redacted,
    }
    if content.truncated_from:
        body["truncated_from"] = content.truncated_from
    return body


def contents_of(payload: Payload) -> dict[str, Content]:
    """The contents that a payload commits to, by field name."""
    pairs = ((name, getattr(payload, name)) for name in _CONTENTS[type(payload)])
    return {name: value for name, value in pairs if value is not None}


def _form(hint: Any) -> Any:
    """A field's type as JSON that is the same in every version of Python and wherever a class is moved."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        (inner,) = [arg for arg in get_args(hint) if arg is not type(None)]
        return {"optional": _form(inner)}
    if origin is Annotated:
        return get_args(hint)[1]
    if origin is Literal:
        return {"one_of": [*get_args(hint)]}
    if origin is tuple:
        return {"list": _form(get_args(hint)[0])}
    if hint in _SCALARS:
        return "commitment" if hint is Content else hint.__name__
    nested = get_type_hints(hint, include_extras=True)
    return {item.name: _form(nested[item.name]) for item in dataclasses.fields(hint)}


def _describe(cls: type[Payload]) -> Body:
    hints = get_type_hints(cls, include_extras=True)
    fields = {field.name: _form(hints[field.name]) for field in FIELDS[cls]}
    refs = {"requires": [*cls.requires], "optional": [*cls.optional]}
    return {"kind": cls.kind, "etype": cls.etype, "fields": fields, **refs}


SCHEMA_DIGEST: Final = sha256(canonical_bytes([_describe(PAYLOADS[key]) for key in sorted(PAYLOADS)] + [COMMIT_ALG]))
"""Digest of the whole schema: `log.open` names it, so that a verifier of another version can say so."""
