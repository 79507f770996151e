"""What a JSON Schema may refer to, and how much work it is to hold a value against it, counted before it is done. A
schema comes from a server that nobody vouches for and a value from an agent: together they must not cost minutes.

Sources: JSON Schema 2020-12, 2019-09 and draft-07 (core: applicators and references)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from app.domain.canonical import Json
from app.domain.errors import InvalidInput

Schema: TypeAlias = "Mapping[str, Any] | bool"

MAX_NESTED: Final = 24  # schemas about one and the same value, one inside the other
MAX_NS: Final = 500_000_000  # half a second of the worst case
_NODE_NS: Final = 200  # measured: the dearest step is to compare with one value of an enum
_REGEX_NS: Final = 160  # per byte of text and KiB of compiled pattern, where the automaton is simulated
_FANCY_NS: Final = 20  # per byte, per start or backtrack, and per KiB
BACKTRACKS: Final = 500
_VISITS: Final = 300_000

_LISTS: Final = ("allOf", "anyOf", "oneOf")
_SINGLE: Final = ("not", "if", "then", "else")
_MAPS: Final = ("dependentSchemas", "dependencies")
_ITEMS: Final = ("items", "additionalItems", "unevaluatedItems", "contains")
_MEMBERS: Final = ("additionalProperties", "unevaluatedProperties")
_TOO_NESTED: Final = f"more than {MAX_NESTED} schemas about one value are nested in each other"
_ELSEWHERE: Final = ("$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef")


class BadSchema(InvalidInput):
    """A schema that is not used: malformed, too big, with a reference or pattern that is not followed."""

    code = "BAD_SCHEMA"


@dataclass(frozen=True, slots=True)
class Pattern:
    """How dear a compiled pattern is: its size in KiB, and whether it may backtrack."""

    kib: int
    backtracks: bool

    def ns(self, length: int) -> int:
        """The worst case for a text of `length` bytes, in nanoseconds."""
        if self.backtracks:
            return max(length, BACKTRACKS) * length * self.kib * _FANCY_NS
        return length * self.kib * _REGEX_NS


@dataclass(slots=True)
class Work:
    """The schemas of one document, reachable from its root, and the cost of using them."""

    root: Schema
    patterns: dict[str, Pattern] = field(default_factory=dict)
    _schemas: list[Mapping[str, Any]] = field(default_factory=list)
    _targets: dict[str, Schema] = field(default_factory=dict)
    _own: dict[int, int] = field(default_factory=dict)
    _unfolded: tuple[int, int, bool] | None = None

    @staticmethod
    def of(root: Schema) -> Work:
        """Read a schema. Raises BadSchema for a reference that leaves the document, is missing, or turns on itself."""
        work = Work(root)
        todo, found = [root], {id(root): root}
        while todo:
            for below in work._read(todo.pop()):
                if id(below) not in found:
                    found[id(below)] = below
                    todo.append(below)
        heights: dict[int, int] = {}
        for schema in found.values():
            work._height(schema, heights, ())
        return work

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read(self, schema: Schema) -> Iterator[Schema]:
        if isinstance(schema, bool):
            return
        if not isinstance(schema, Mapping):
            raise BadSchema("a part of the schema is neither an object nor true or false")
        if schema is not self.root and any(name in schema for name in _ELSEWHERE):
            raise BadSchema(
                "the schema names parts of itself by $id or anchor; only references like #/$defs/x are taken"
            )
        if schema is self.root and any(name in schema for name in _ELSEWHERE[1:]):
            raise BadSchema("the schema has anchors; only references like #/$defs/x are taken")
        pattern = schema.get("pattern")
        if isinstance(pattern, str):
            self.patterns.setdefault(pattern, Pattern(0, False))
        for name in _map(schema, "patternProperties"):
            self.patterns.setdefault(str(name), Pattern(0, False))
        self._own[id(schema)] = _own_size(schema)
        self._schemas.append(schema)
        yield from self._in_place(schema)
        yield from _below(schema)

    def _in_place(self, schema: Mapping[str, Any]) -> Iterator[Schema]:
        """Schemas about the same value."""
        ref = schema.get("$ref")
        if ref is not None:
            yield self._target(ref)
        for name in _LISTS:
            yield from _list(schema, name)
        for name in _SINGLE:
            if name in schema:
                yield schema[name]
        for name in _MAPS:
            yield from (found for found in _map(schema, name).values() if not isinstance(found, list))

    def _target(self, ref: object) -> Schema:
        if not isinstance(ref, str) or (ref != "#" and not ref.startswith("#/")):
            raise BadSchema(
                "the schema refers to something outside of itself; only references like #/$defs/x are taken"
            )
        if ref not in self._targets:
            self._targets[ref] = self._find(ref)
        return self._targets[ref]

    def _find(self, ref: str) -> Schema:
        """The value at a JSON pointer in a URI fragment (RFC 6901, 6); percent escapes are not taken."""
        at: Any = self.root
        for token in ref.split("/")[1:]:
            name = token.replace("~1", "/").replace("~0", "~")
            if isinstance(at, Mapping) and name in at and "%" not in token:
                at = at[name]
            elif isinstance(at, list) and token.isascii() and token.isdigit() and int(token) < len(at):
                at = at[int(token)]
            else:
                raise BadSchema("a reference in the schema leads nowhere")
            if isinstance(at, Mapping) and "$id" in at:
                raise BadSchema("a reference in the schema leads into a part with its own $id")
        if not isinstance(at, Mapping | bool):
            raise BadSchema("a reference in the schema leads to something that is no schema")
        return at

    def _height(self, schema: Schema, heights: dict[int, int], path: tuple[int, ...]) -> int:
        """How many schemas about one value are nested here. Raises BadSchema when it is too many, or has no end."""
        if isinstance(schema, bool):
            return 0
        if id(schema) in path:
            raise BadSchema("a reference in the schema turns on itself")
        if id(schema) not in heights:
            if len(path) >= MAX_NESTED:
                raise BadSchema(_TOO_NESTED)
            inner = [self._height(each, heights, (*path, id(schema))) for each in self._in_place(schema)]
            heights[id(schema)] = 1 + max(inner, default=0)
        if heights[id(schema)] > MAX_NESTED:
            raise BadSchema(_TOO_NESTED)
        return heights[id(schema)]

    # --- counting ----------------------------------------------------------------------------------------------------

    def ns(self, value: Json, elements: int, text: int) -> int:
        """The worst case for a value, in nanoseconds; more than MAX_NS when it is not to be done. `elements` and `text`
        are its size: for most calls they say enough."""
        nodes, kib, simple = self._unfold()
        if simple:
            backtracks = any(pattern.backtracks for pattern in self.patterns.values())
            rough = nodes * (elements + 1) * _NODE_NS + Pattern(kib, backtracks).ns(text)
            if rough <= MAX_NS:
                return rough
        return _Count(self).of(value)

    def _unfold(self) -> tuple[int, int, bool]:
        """Nodes and KiB of patterns with every reference written out; False where that has no end."""
        if self._unfolded is None:
            try:
                nodes, kib = self._written_out(self.root, {}, set())
                self._unfolded = (nodes, kib, True)
            except RecursionError:
                self._unfolded = (0, 0, False)
        return self._unfolded

    def _written_out(self, schema: Schema, known: dict[int, tuple[int, int]], path: set[int]) -> tuple[int, int]:
        if isinstance(schema, bool):
            return 1, 0
        if id(schema) in known:
            return known[id(schema)]
        if id(schema) in path:
            raise RecursionError
        path.add(id(schema))
        nodes, kib = self._own[id(schema)], sum(each.kib for each in self._patterns_of(schema))
        for each in (*self._in_place(schema), *_below(schema)):
            more = self._written_out(each, known, path)
            nodes, kib = nodes + _times(schema) * more[0], kib + _times(schema) * more[1]
        path.discard(id(schema))
        known[id(schema)] = nodes, kib
        return nodes, kib

    def _patterns_of(self, schema: Mapping[str, Any]) -> Iterator[Pattern]:
        if isinstance(schema.get("pattern"), str):
            yield self.patterns[schema["pattern"]]
        for name in _map(schema, "patternProperties"):
            yield self.patterns[name]

    def has(self, *keywords: str) -> bool:
        """Whether any schema of the document uses one of these keywords."""
        return any(name in schema for schema in self._schemas for name in keywords)

    def own(self, schema: Mapping[str, Any]) -> int:
        """How many nodes of JSON a schema has of its own."""
        return self._own[id(schema)]


class _Count:
    """One count over one value, each pair of schema and part once."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._known: dict[tuple[int, int], int] = {}
        self._sizes: dict[str, int] = {}

    def of(self, value: Json) -> int:
        try:
            return self._cost(self._work.root, value)
        except RecursionError:
            return MAX_NS + 1

    def _cost(self, schema: Schema, value: Json) -> int:
        if isinstance(schema, bool):
            return _NODE_NS
        pair = (id(schema), id(value))
        found = self._known.get(pair)
        if found is not None:
            return found
        if len(self._known) >= _VISITS:
            raise RecursionError
        inner = sum(self._cost(each, value) for each in self._work._in_place(schema))
        cost = self._work.own(schema) * _NODE_NS + inner + self._inside(schema, value)
        self._known[pair] = cost * _times(schema)
        if self._known[pair] > MAX_NS:
            raise RecursionError
        return self._known[pair]

    def _inside(self, schema: Mapping[str, Any], value: Json) -> int:
        if isinstance(value, str):
            pattern = schema.get("pattern")
            return self._work.patterns[pattern].ns(_bytes(value)) if isinstance(pattern, str) else 0
        if isinstance(value, Mapping):
            return self._members(schema, value)
        return self._items(schema, value) if isinstance(value, list | tuple) else 0

    def _members(self, schema: Mapping[str, Any], value: Mapping[str, Json]) -> int:
        named, shaped = _map(schema, "properties"), _map(schema, "patternProperties")
        every = [schema[name] for name in _MEMBERS if name in schema] + list(shaped.values())
        cost = 0
        for key, child in value.items():
            cost += sum(self._work.patterns[name].ns(_bytes(key)) for name in shaped)
            cost += self._cost(schema["propertyNames"], key) if "propertyNames" in schema else 0
            cost += self._cost(named[key], child) if key in named else 0
            cost += sum(self._cost(each, child) for each in every)
        return cost

    def _items(self, schema: Mapping[str, Any], value: list[Json] | tuple[Json, ...]) -> int:
        each_item = [schema[name] for name in _ITEMS if name in schema and not isinstance(schema[name], list)]
        first = [*_list(schema, "prefixItems"), *_list(schema, "items")]
        cost = sum(self._cost(each, child) for each, child in zip(first, value, strict=False))
        return cost + sum(self._cost(each, child) for child in value for each in each_item)


def _below(schema: Mapping[str, Any]) -> Iterator[Schema]:
    """Schemas about parts of the value."""
    for name in (*_ITEMS, *_MEMBERS, "propertyNames"):
        if name in schema and not isinstance(schema[name], list):
            yield schema[name]
    for name in ("prefixItems", "items"):
        yield from _list(schema, name)
    for name in ("properties", "patternProperties"):
        yield from _map(schema, name).values()


def _times(schema: Mapping[str, Any]) -> int:
    """What is unevaluated is found by evaluating again."""
    return 3 if "unevaluatedProperties" in schema or "unevaluatedItems" in schema else 1


def _list(schema: Mapping[str, Any], name: str) -> list[Any]:
    found = schema.get(name)
    return found if isinstance(found, list) else []


def _map(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = schema.get(name)
    return found if isinstance(found, Mapping) else {}


_SUB: Final = frozenset(
    {*_LISTS, *_SINGLE, *_ITEMS, *_MEMBERS, "prefixItems", "propertyNames", "$defs", "definitions", "description"}
)
_NAMED: Final = frozenset({"properties", "patternProperties", *_MAPS})


def _own_size(schema: Mapping[str, Any]) -> int:
    """Nodes of JSON in a schema without those of the schemas in it."""
    count = 1
    todo = [value for name, value in schema.items() if name not in _SUB and name not in _NAMED]
    for name in _NAMED:
        found = _map(schema, name)
        count += len(found)
        todo.extend(value for value in found.values() if isinstance(value, list))
    while todo:
        value = todo.pop()
        count += 1
        if isinstance(value, Mapping):
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
    return count


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
