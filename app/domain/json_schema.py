"""A JSON Schema that values are held against. Whatever a server sends as a schema, using it costs bounded time and
memory, reads nothing from elsewhere, and what is said of a value that does not fit never repeats the value.

Drafts: 2020-12 where none is named, 2019-09 and draft-07. `format` is a hint and decides nothing. Patterns are linear
(the engine is an automaton); those with look-around or back-references are tried for a bounded number of steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jsonschema_rs

from app.domain.bounds import Refusal, measure
from app.domain.canonical import Json, canonical_bytes
from app.domain.errors import HelmError
from app.domain.schema_work import BACKTRACKS, MAX_NS, BadSchema, Pattern, Schema, Work

MAX_SCHEMA_BYTES: Final = 256 * 1024
MAX_PATTERNS: Final = 200
_MAX_PATTERN_KIB: Final = 4_096  # of all together
_PATTERN_KIB: Final = (16, 64, 256, 1_024)
_SAID_NS: Final = MAX_NS // 20  # past this it is not looked for a second time where a value does not fit
_MOST_SHOWN: Final = 120
_HIDDEN: Final = "(value)"

_DRAFTS: Final = {
    "": jsonschema_rs.Draft202012Validator,
    "https://json-schema.org/draft/2020-12/schema": jsonschema_rs.Draft202012Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema_rs.Draft201909Validator,
    "http://json-schema.org/draft-07/schema": jsonschema_rs.Draft7Validator,
    "https://json-schema.org/draft-07/schema": jsonschema_rs.Draft7Validator,
}
# Where what a pattern does not decide in time would count as decided.
_TURNED: Final = ("not", "if", "oneOf", "maxContains")


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """A schema, read and compiled."""

    _work: Work
    _validator: Any
    _names: frozenset[str]

    @staticmethod
    def of(schema: Json) -> JsonSchema:
        """Read and compile a schema. Raises BadSchema; the message says what is not taken."""
        if isinstance(schema, bool):
            return JsonSchema(Work.of(schema), jsonschema_rs.Draft202012Validator(schema), frozenset())
        if not isinstance(schema, Mapping):
            raise BadSchema("a schema is a JSON object")
        _check_size(schema)
        named = schema.get("$schema", "")
        make = _DRAFTS.get(named.rstrip("#")) if isinstance(named, str) else None
        if make is None:
            raise BadSchema("$schema names a draft that is not known; 2020-12, 2019-09 and draft-07 are taken")
        root: Schema = {name: value for name, value in schema.items() if name not in ("$id", "$schema")}
        work = Work.of(root)
        return JsonSchema(work, _compiled(make, root, _weighed(work)), frozenset(_member_names(root)))

    def problem(self, value: Json) -> str | None:
        """None when the value fits, else which part of it breaks which rule, in words without the value itself."""
        size = measure(value)
        if isinstance(size, Refusal):
            return size.message
        return self.problem_of(value, size.elements, size.bytes)

    def problem_of(self, value: Json, elements: int, text: int) -> str | None:
        """As `problem`, for a value whose size was measured: JSON, not deeper than 64 levels."""
        ns = self._work.ns(value, elements, text)
        if ns > MAX_NS:
            return "it is more work to hold this against the schema than is done; send less at once"
        if self._validator.is_valid(value):
            return None
        if ns > _SAID_NS:
            return "it does not fit the schema (it is too large to say where)"
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return f"{self._path(error.instance_path)}: {_rule(error)}"
        return "it does not fit the schema"

    def _path(self, path: list[str | int]) -> str:
        """The place by names that the schema knows: any other name is part of the value."""
        if not path:
            return "the whole"
        words = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" if part in self._names else ".*" for part in path
        )
        words = words.removeprefix(".")
        return words if len(words) <= _MOST_SHOWN else f"…{words[-_MOST_SHOWN:]}"


def _check_size(schema: Mapping[str, Any]) -> None:
    try:
        size = len(canonical_bytes(schema))
    except HelmError as error:
        raise BadSchema(f"the schema is no JSON of ours: {error.message}") from None
    if size > MAX_SCHEMA_BYTES:
        raise BadSchema(f"the schema is larger than {MAX_SCHEMA_BYTES} bytes")


def _compiled(make: Any, root: Schema, options: Any) -> Any:
    try:
        return make(root, validate_formats=False, pattern_options=options, offline=True, mask=_HIDDEN)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError, TypeError):
        raise BadSchema("the schema is not a valid JSON Schema of its draft") from None


def _weighed(work: Work) -> Any:
    """Compile each pattern alone, as small as it can be, and note what it costs. Options for all of them together."""
    if len(work.patterns) > MAX_PATTERNS:
        raise BadSchema(f"the schema has more than {MAX_PATTERNS} patterns")
    for text in work.patterns:
        work.patterns[text] = _weigh(text)
        if sum(pattern.kib for pattern in work.patterns.values()) > _MAX_PATTERN_KIB:
            raise BadSchema("the patterns of the schema are too large")
    size = max((pattern.kib for pattern in work.patterns.values()), default=_PATTERN_KIB[0]) * 1024
    if not any(pattern.backtracks for pattern in work.patterns.values()):
        return _linear(size)
    if work.has(*_TURNED):
        raise BadSchema("a pattern with look-around or back-references is not taken beside not, if or oneOf")
    return _fancy(size)


def _weigh(text: str) -> Pattern:
    for backtracks in (False, True):
        for kib in _PATTERN_KIB:
            options = _fancy(kib * 1024) if backtracks else _linear(kib * 1024)
            try:
                jsonschema_rs.Draft202012Validator({"pattern": text}, pattern_options=options)
            except (jsonschema_rs.ValidationError, ValueError):
                continue
            return Pattern(kib, backtracks)
    raise BadSchema("a pattern in the schema is no regular expression, or is too large")


def _linear(size: int) -> Any:
    return jsonschema_rs.RegexOptions(size_limit=size, dfa_size_limit=size)


def _fancy(size: int) -> Any:
    return jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS, size_limit=size, dfa_size_limit=size)


def _member_names(root: Schema) -> set[str]:
    """Every key anywhere in the schema: names that the server has said itself."""
    names: set[str] = set()
    todo: list[Any] = [root]
    while todo:
        found = todo.pop()
        if isinstance(found, Mapping):
            names.update(found)
            todo.extend(found.values())
        elif isinstance(found, list):
            todo.extend(found)
    return names


def _rule(error: Any) -> str:
    """The rule that was broken, with what the schema (never the value) says about it."""
    kind = error.kind
    match kind.name:
        case "required":
            return f"{_shown(kind.property)} is missing"
        case "type":
            return f"must be {' or '.join(str(name) for name in kind.types)}"
        case "additionalProperties" | "unevaluatedProperties" | "propertyNames" | "false":
            return f"holds a member that the schema does not know ({kind.name})"
        case "enum":
            return f"must be one of {_shown(kind.options)} (enum)"
        case "const":
            return f"must be {_shown(kind.expected_value)} (const)"
        case "pattern":
            return f"must match the pattern {_shown(kind.pattern)}"
        case name:
            limit = getattr(kind, "limit", getattr(kind, "multiple_of", None))
            return f"breaks the rule {name}" + ("" if limit is None else f" {limit}")


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"
