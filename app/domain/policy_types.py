"""Conditions against the schemas of the tools they speak about: an argument that no such tool takes, and one that is
compared with a value it can never have. Said only where every tool that a rule covers has a schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.canonical import Json
from app.domain.policy import Rule, ToolGlob, tool_glob
from app.domain.policy_logic import covers, tokens

UNKNOWN_ARGUMENT: Final = "UNKNOWN_ARGUMENT"
TYPE_MISMATCH: Final = "TYPE_MISMATCH"
NEVER_EQUAL: Final = "NEVER_EQUAL"
_TEXT_METHODS: Final = frozenset({"matches", "startsWith", "endsWith", "contains"})
_LIST_METHODS: Final = frozenset({"all", "exists", "exists_one", "filter", "map"})
_COMPARES: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})
_OPPOSITE: Final = frozenset({"-", "+", "*", "/", "%"})
_KINDS: Final = {
    "string": "text",
    "integer": "number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "map",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Use:
    """One place where a condition reads an argument: `kinds` it is used as (empty: as anything), and the literal that
    it is compared with for equality, as it is written."""

    path: tuple[str, ...]
    kinds: frozenset[str] = frozenset()
    literal: str = ""

    @property
    def text(self) -> str:
        """As it stands in the condition."""
        return ".".join(("args", *self.path))


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one use. `certain`: the schema closes the door, and it is not only a likely slip."""

    code: str
    certain: bool
    word: str
    message: str


def compile_schemas(schemas: Mapping[str, Json]) -> list[tuple[ToolGlob, Json]]:
    """Schemas by the globs of the tools that they are for."""
    return [(tool_glob(text), schema) for text, schema in schemas.items()]


def type_faults(rule: Rule, schemas: Sequence[tuple[ToolGlob, Json]]) -> Iterator[Fault]:
    """What is wrong with a rule's condition, given what its tools take."""
    known = [[schema for glob, schema in schemas if covers(glob, named)] for named in rule.tools]
    if rule.when is None or not all(known):
        return
    takes = [schema for found in known for schema in found]
    for use in dict.fromkeys(uses(rule.when.source)):
        fault = _fault(use, takes)
        if fault is not None:
            yield fault


def uses(source: str) -> list[Use]:
    """The places where a condition reads `args.x`, in order."""
    words = tokens(source)
    return [_use(words, at) for at, word in enumerate(words) if word.startswith("args.")]


def _use(words: Sequence[str], at: int) -> Use:
    path = tuple(words[at].split(".")[1:])
    after, before = words[at + 1 : at + 4], words[max(at - 2, 0) : at]
    if after[:1] == ["("]:
        method = path[-1]
        kind = {"text"} if method in _TEXT_METHODS else {"list", "map"} if method in _LIST_METHODS else set()
        return Use(path[:-1], frozenset(kind))
    if before[-1:] and before[-1] in _OPPOSITE:
        return Use(path)
    if len(after) >= 2 and after[0] in _COMPARES:
        return _compared(path, after[0], after[1])
    if len(after) == 3 and after[:2] == ["in", "["]:
        return Use(path, _kind_of(after[2]))
    if len(before) == 2 and before[1] in _COMPARES:
        return _compared(path, before[1], before[0])
    return Use(path)


def _compared(path: tuple[str, ...], operator: str, literal: str) -> Use:
    kinds = _kind_of(literal)
    return Use(path, kinds, literal if kinds == {"text"} and operator == "==" else "")


def _kind_of(word: str) -> frozenset[str]:
    if word[-1:] in "\"'" and word:
        return frozenset({"text"})
    if word[:1].isdigit():
        return frozenset({"number"})
    return frozenset({"true or false"}) if word in ("true", "false") else frozenset()


def _fault(use: Use, schemas: Sequence[Json]) -> Fault | None:
    found = [_property(schema, use.path) for schema in schemas]
    if all(place is None for place, _ in found):
        certain = all(closed for _, closed in found)
        words = f"{use.text} is no argument of the tools that the rule covers"
        return Fault(UNKNOWN_ARGUMENT, certain, use.text, words)
    kinds = [_kinds(place) for place, _ in found if place is not None]
    if use.kinds and all(kinds) and not any(use.kinds & those for those in kinds):
        is_, as_ = (" or ".join(sorted(those)) for those in (frozenset().union(*kinds), use.kinds))
        return Fault(TYPE_MISMATCH, True, use.text, f"{use.text} is {is_}, and is used as {as_}")
    options = [place.get("enum") for place, _ in found if place is not None]
    if use.literal and not any(_may_be(use.literal, those) for those in options):
        return Fault(NEVER_EQUAL, True, use.text, f"{use.text} is never {use.literal[:60]}")
    return None


def _may_be(literal: str, options: Json) -> bool:
    """Whether a property can have the value of a literal; True where that cannot be told."""
    plain = literal[:1] in ("'", '"') and "\\" not in literal
    return not isinstance(options, list) or not plain or literal.strip("\"'") in options


def _property(schema: Json, path: tuple[str, ...]) -> tuple[dict[str, Json] | None, bool]:
    """The schema of a property, {} where nothing is said about it; or None, and whether it is certain that no such
    property is taken."""
    place = schema
    for name in path:
        properties = place.get("properties") if isinstance(place, dict) else None
        if not isinstance(properties, dict) or place.keys() & {"$ref", "anyOf", "oneOf", "allOf", "patternProperties"}:
            return {}, False
        if name not in properties:
            return None, place.get("additionalProperties") is False
        place = properties[name]
    return (place if isinstance(place, dict) else {}), False


def _kinds(place: Mapping[str, Json]) -> frozenset[str]:
    """What a property can be; empty where the schema does not say it plainly."""
    said = place.get("type")
    names = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    return frozenset(_KINDS[name] for name in names if name in _KINDS)
