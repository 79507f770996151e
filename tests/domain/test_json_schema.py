"""Schemas that nobody vouches for: what is taken, what is refused, what it costs, and what is said of a misfit."""

from __future__ import annotations

import time
from typing import Any

import pytest
from app.domain.json_schema import JsonSchema
from app.domain.schema_work import BadSchema

# As a well-known library for schemas writes it.
EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
TASK = {
    "type": "object",
    "properties": {
        "to": {"type": "string", "maxLength": 5},
        "kind": {"enum": ["note", "task"]},
        "n": {"type": "integer", "minimum": 3},
        "by_name": {"additionalProperties": {"type": "integer"}},
        "items": {"type": "array", "items": {"type": "object", "properties": {"id": {"pattern": "^[a-z]+$"}}}},
    },
    "required": ["to"],
    "additionalProperties": False,
}


def problem(schema: Any, value: Any) -> str | None:
    return JsonSchema.of(schema).problem(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, 'the whole: "to" is missing'),
        ({"to": 7}, "to: must be string"),
        ({"to": "secret-secret"}, "to: breaks the rule maxLength 5"),
        ({"to": "a", "kind": "secret"}, 'kind: must be one of ["note", "task"] (enum)'),
        ({"to": "a", "n": 1}, "n: breaks the rule minimum 3"),
        ({"to": "a", "by_name": {"secret": "secret"}}, "by_name.*: must be integer"),
        ({"to": "a", "items": [{}, {"id": "SECRET"}]}, 'items[1].id: must match the pattern "^[a-z]+$"'),
        ({"to": "a", "secret": 1}, "the whole: holds a member that the schema does not know (additionalProperties)"),
        ("secret", "the whole: must be object"),
    ],
)
def test_a_misfit_names_field_and_rule_and_no_value(value: Any, said: str) -> None:
    assert problem(TASK, value) == said


def test_what_fits_fits() -> None:
    fits = {"to": "ana", "kind": "note", "n": 3, "by_name": {"x": 1}, "items": [{"id": "abc"}]}
    assert problem(TASK, fits) is None
    assert problem(True, {"anything": 1}) is None
    assert problem({}, None) is None


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ([], "a schema is a JSON object"),
        ({"type": 7}, "not a valid JSON Schema"),
        ({"properties": {"a": 5}}, "neither an object nor true or false"),
        ({"$ref": "http://127.0.0.1:1/x"}, "outside of itself"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "outside of itself"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$ref": "#"}, "turns on itself"),
        ({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}, "turns on itself"),
        ({"$defs": {"a": {"$id": "http://x/"}}, "$ref": "#/$defs/a"}, "\\$id"),
        ({"properties": {"a": {"$dynamicRef": "#x"}}}, "anchor"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "draft"),
        ({"pattern": "("}, "regular expression"),
        ({"pattern": "(a{1000}){1000}"}, "too large"),
        ({"not": {"pattern": "(?=a)b"}}, "beside not"),
        ({"properties": {f"p{n}": {"pattern": f"^{n}$"} for n in range(300)}}, "more than 200 patterns"),
        ({"description": "x" * 300_000}, "larger than"),
        ({"maximum": 2**60}, "JSON of ours"),
    ],
)
def test_a_schema_that_is_not_used_says_why(schema: Any, why: str) -> None:
    with pytest.raises(BadSchema, match=why):
        JsonSchema.of(schema)


def test_a_schema_nested_without_measure_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"properties": {"a": deep}}
    chain: dict[str, Any] = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(500)} | {"d500": {}}
    for schema in (deep, {"$defs": chain, "$ref": "#/$defs/d0"}):
        with pytest.raises(BadSchema):
            JsonSchema.of(schema)


def _bombs() -> dict[str, tuple[Any, Any]]:
    nested: Any = []
    for _ in range(60):
        nested = [nested]
    twice = [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]
    doubled: dict[str, Any] = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(11)} | {"d11": {}}
    again = {"unevaluatedItems": False, "anyOf": [{"items": {"$ref": "#"}}, {"prefixItems": [{"$ref": "#"}]}]}
    return {
        "each level twice": ({"$defs": {"a": {"items": {"allOf": twice}}}, "$ref": "#/$defs/a"}, nested),
        "doubled": ({"$defs": doubled, "items": {"$ref": "#/$defs/d0"}}, [{}] * 9_000),
        "evaluated again": (again, nested),
        "long enum": ({"items": {"enum": [{"a": n} for n in range(5_000)]}}, [{"a": 4_999}] * 4_900),
        "slow automaton": ({"pattern": "(x|a)*a(x|a){1600}z"}, "axaaxxaaaxxx" * 40_000),
        "nested quantifiers": ({"pattern": "(a+)+$"}, "a" * 500_000 + "b"),
        "look-ahead at each start": ({"pattern": "(?=(x|a)*a(x|a){400}z)b?"}, "axaaxxaaaxxx" * 40_000),
        "back-reference": ({"pattern": r"^(.*)(.*)(.*)\3\2\1x$"}, "a" * 500_000),
        "patterns over keys": ({"patternProperties": {"(x|a)*a(x|a){400}z": {}}}, {"ax" * n: 1 for n in range(900)}),
    }


@pytest.mark.parametrize("name", sorted(_bombs()))
def test_no_schema_and_value_cost_more_than_their_bound(name: str) -> None:
    schema, value = _bombs()[name]
    compiled = JsonSchema.of(schema)
    begun = time.process_time()
    compiled.problem(value)
    assert time.process_time() - begun < 3.0


def test_what_is_too_much_work_does_not_fit() -> None:
    schema, value = _bombs()["long enum"]
    assert "more work" in str(problem(schema, value))


def test_patterns_of_real_servers_work() -> None:
    schema = {"type": "array", "items": {"type": "string", "pattern": EMAIL}}
    assert problem(schema, ["ana.b@example.com", "x" * 200 + "@example.com"]) is None
    assert problem(schema, ["a..b@example.com"]) is not None
    assert problem(schema, [f"person{n}@example.com" for n in range(100)]) is None


def test_a_tree_that_refers_to_itself_is_checked_at_every_depth() -> None:
    tree = {"properties": {"children": {"items": {"$ref": "#"}}, "v": {"type": "integer"}}}
    value: dict[str, Any] = {"v": "no"}
    for _ in range(20):
        value = {"v": 1, "children": [value]}
    assert str(problem(tree, value)).endswith("v: must be integer")
    assert problem(tree, {"v": 1, "children": [{"v": n} for n in range(1_000)]}) is None


def test_each_draft_reads_its_own_words() -> None:
    listed = {"items": [{"type": "integer"}], "additionalItems": False}
    assert problem({"$schema": "http://json-schema.org/draft-07/schema#", **listed}, [1, 2]) is not None
    assert problem({"$schema": "https://json-schema.org/draft/2019-09/schema", **listed}, [1, 2]) is not None
    modern = {"prefixItems": [{"type": "integer"}], "items": False}
    assert problem({"$schema": "https://json-schema.org/draft/2020-12/schema", **modern}, [1, 2]) is not None
    assert problem(modern, [1, 2]) is not None


def test_members_may_be_named_like_keywords() -> None:
    schema = {"properties": {"$id": {"type": "string"}, "$ref": {"type": "string"}, "not": {"type": "string"}}}
    assert problem(schema, {"$id": "a", "$ref": "http://x", "not": "b"}) is None
    assert problem(schema, {"not": 1}) == "not: must be string"
    assert problem({"$id": "https://example.com/s", "$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"}, 1)
