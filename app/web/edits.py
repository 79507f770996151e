"""A call as a form, and a form as a call again. Types are kept: a number that is edited stays a number, and what was
not touched stays byte for byte what the agent asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from app.domain.canonical import Json, canonical_bytes, strict_loads
from app.domain.errors import InvalidInput
from app.domain.signing import sha256
from app.web.payloads import DiffLine, diff_lines
from app.web.text import plain
from app.web.views_gate import EditField, EditForm, EditPreview, FieldKind

WHOLE: Final = "whole"
_MOST_FIELDS: Final = 24
_MOST_BYTES: Final = 2**20
_LONG: Final = 80
_AROUND: Final = 2
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_INTEGER: Final = re.compile(r"-?\d{1,16}")
_SHELLS: Final = frozenset({"bash", "shell"})


class BadField(InvalidInput):
    """What was typed into a field is no value for it; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def form_of_call(tool: str, arguments: Mapping[str, Json], schema: Json = None) -> EditForm:
    """The form for a call: typed fields where a schema or a shell command says what is what, otherwise its JSON."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    known = {str(key): value for key, value in properties.items()} if isinstance(properties, Mapping) else {}
    shell = tool.rsplit("__", 1)[-1].lower() in _SHELLS and isinstance(arguments.get("command"), str)
    names = [*known, *(key for key in arguments if key not in known)]
    if not (known or shell) or len(names) > _MOST_FIELDS or not all(_NAME.fullmatch(name) for name in names):
        return EditForm((EditField(WHOLE, "Arguments", "json", _json(dict(arguments)), True),), whole=True)
    required = schema.get("required", ()) if isinstance(schema, Mapping) else ()
    names.sort(key=lambda name: name not in arguments)  # what the call has comes first
    return EditForm(tuple(_field(name, known.get(name), arguments, name in required) for name in names))


def _field(name: str, schema: Json, arguments: Mapping[str, Json], required: bool) -> EditField:
    present, value = name in arguments, arguments.get(name)
    given = schema if isinstance(schema, Mapping) else {}
    kind, choices = _kind(name, given, value, present)
    hint = str(given.get("description", ""))[:160]
    return EditField(f"f.{name}", name, kind, _text(kind, value) if present else "", required, present, choices, hint)


def _kind(name: str, schema: Mapping[str, Json], value: Json, present: bool) -> tuple[FieldKind, tuple[str, ...]]:
    """How a field is shown; a value that does not fit its schema is shown as JSON, so that nothing is lost."""
    enum = schema.get("enum")
    if isinstance(enum, list) and enum and all(isinstance(one, str) and one for one in enum) and len(enum) <= 40:
        return ("choice", tuple(enum)) if not present or value in enum else ("json", ())
    kind = schema.get("type") if schema.get("type") else _type_of(value)
    if present and _type_of(value) != kind and not (kind == "number" and _type_of(value) == "integer"):
        kind = _type_of(value)
    if kind == "boolean":
        return "choice", ("true", "false")
    if kind == "integer" or kind == "number":
        return ("integer" if kind == "integer" else "number"), ()
    if kind == "string":
        return _string_kind(name, value if present else ""), ()
    if kind == "array" and (not present or _plain_lines(value)) and _of_strings(schema, value):
        return "lines", ()
    return "json", ()


def _string_kind(name: str, value: str) -> FieldKind:
    if plain(value) != value:
        return "json"  # hidden characters are shown as escapes, and stay what they are
    if name == "command":
        return "code"
    return "long" if "\n" in value or len(value) > _LONG or name in ("body", "text", "content") else "text"


def _of_strings(schema: Mapping[str, Json], value: Json) -> bool:
    items = schema.get("items")
    if isinstance(items, Mapping) and items.get("type") != "string":
        return False
    return bool(value) or isinstance(items, Mapping)


def _plain_lines(value: Json) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, str) and one and "\n" not in one and plain(one) == one and one.strip() == one for one in value
    )


def _type_of(value: Json) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _text(kind: FieldKind, value: Json) -> str:
    if kind in ("text", "long", "code"):
        return str(value)
    if kind == "choice":
        return value if isinstance(value, str) else json.dumps(value)
    return "\n".join(value) if kind == "lines" else _json(value)


def _json(value: Json) -> str:
    words = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str)
    return words if plain(words) == words else json.dumps(value, indent=2, sort_keys=True, default=str)


def edited_call(form: EditForm, arguments: Mapping[str, Json], typed: Mapping[str, str]) -> dict[str, Json]:
    """The arguments that were typed. A field that was left as it was keeps its value, not what a browser made of its
    line ends. Raises BadField."""
    if form.whole:
        field = form.fields[0]
        value = _parsed(field, typed.get(field.name, field.value), dict(arguments))
        if not isinstance(value, dict):
            raise BadField(field.name, "the arguments are one JSON object, in { }")
        return value
    edited: dict[str, Json] = {}
    for field in form.fields:
        text = _lf(typed.get(field.name, field.value))
        if not field.present and not text.strip():
            continue
        if (
            field.present
            and not text.strip()
            and _lf(field.value).strip()
            and field.kind not in ("text", "long", "code")
        ):
            if field.required:
                raise BadField(field.name, f"{field.label} is needed")
            continue
        edited[field.label] = _parsed(field, text, arguments.get(field.label))
    return edited


def _parsed(field: EditField, text: str, before: Json) -> Json:
    text = _lf(text)
    if field.present and text == _lf(field.value):
        return before
    match field.kind:
        case "text" | "long" | "code":
            return text
        case "lines":
            return [line.strip() for line in text.split("\n") if line.strip()]
        case "choice":
            return {"true": True, "false": False}.get(text, text) if set(field.choices) == {"true", "false"} else text
        case "integer":
            if not _INTEGER.fullmatch(text.strip()):
                raise BadField(field.name, f"{field.label} is a whole number")
            return int(text)
        case _:
            return _loaded(field, text)


def _loaded(field: EditField, text: str) -> Json:
    try:
        value = strict_loads(text.encode("utf-8", "surrogatepass"), max_bytes=_MOST_BYTES)
    except InvalidInput as error:
        raise BadField(field.name, f"{field.label} cannot be read as JSON: {error.message}") from None
    if field.kind == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise BadField(field.name, f"{field.label} is a number")
    return value


def _lf(text: str) -> str:
    return text.replace("\r\n", "\n")


def preview_of(form: EditForm, arguments: Mapping[str, Json], typed: Mapping[str, str]) -> EditPreview:
    """The edited call beside the asked one. Total over everything that can be typed."""
    try:
        edited = edited_call(form, arguments, typed)
        digest = digest_of(edited)
    except BadField as error:
        return EditPreview(error=_sentence(error.message), field=error.field)
    except InvalidInput as error:
        return EditPreview(error=_sentence(error.message))
    if digest == digest_of(dict(arguments)):
        return EditPreview()
    return EditPreview(asked_allowed(arguments, edited), digest)


def typed_form(form: EditForm, typed: Mapping[str, str], preview: EditPreview) -> EditForm:
    """The form with what was typed into it, for showing it again."""
    fields = tuple(_with(field, _lf(typed.get(field.name, field.value))) for field in form.fields)
    return EditForm(fields, form.whole, preview)


def _with(field: EditField, value: str) -> EditField:
    return replace(field, value=value)


def digest_of(value: Any) -> str:
    """What names these arguments. Raises InvalidInput for what has no canonical form."""
    return sha256(canonical_bytes(value))


def asked_allowed(asked: Mapping[str, Json], allowed: Mapping[str, Json]) -> tuple[DiffLine, ...]:
    """Both calls as one diff of readable lines: what changed, with a little around it."""
    ordered = {key: allowed[key] for key in (*(key for key in asked if key in allowed), *allowed)}
    return near_changes(diff_lines("\n".join(readable(asked)), "\n".join(readable(ordered))))


def readable(arguments: Mapping[str, Json]) -> list[str]:
    """Arguments as lines for people: `name: value`, long texts as blocks. A text that looks like another type is in
    quotes, so that 4 and "4" are never the same line."""
    lines: list[str] = []
    for key, value in arguments.items():
        if isinstance(value, str) and "\n" in value:
            lines += [f"{key}:", *(f"  {line}" for line in value.split("\n"))]
        elif isinstance(value, str):
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False) if _looks_typed(value) else value}")
        else:
            head, *rest = _json(value).split("\n")
            lines += [f"{key}: {head}", *rest]
    return lines


def _looks_typed(value: str) -> bool:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return not value or value != value.strip()
    return True


def near_changes(lines: list[DiffLine]) -> tuple[DiffLine, ...]:
    """The changed lines of a diff and those around them; what is left out between is one gap."""
    near = {at + by for at, line in enumerate(lines) if line.sign != " " for by in range(-_AROUND, _AROUND + 1)}
    shown: list[DiffLine] = []
    last = -1
    for at, line in enumerate(lines):
        if at not in near:
            continue
        if shown and at != last + 1:
            shown.append(DiffLine("@", 0, 0, "…"))
        shown.append(line)
        last = at
    return tuple(shown)


def _sentence(message: str) -> str:
    return message[:1].upper() + message[1:] + ("" if message.endswith((".", "!", "?")) else ".")
