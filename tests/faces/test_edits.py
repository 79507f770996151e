"""A call as a form and back: whatever is not touched stays what it was, and types are kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from app.domain.canonical import NotCanonical, canonical_bytes
from app.domain.policy_grants import compile_pattern
from app.web.edits import BadField, digest_of, edited_call, form_of_call, near_changes, preview_of, readable, typed_form
from app.web.patterns import pattern_for
from app.web.payloads import diff_lines
from hypothesis import given
from hypothesis import strategies as st

SCHEMA = {
    "type": "object",
    "properties": {
        "to": {"type": "string"},
        "body": {"type": "string"},
        "count": {"type": "integer"},
        "rate": {"type": "number"},
        "now": {"type": "boolean"},
        "level": {"enum": ["low", "high"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "more": {"type": "object"},
    },
    "required": ["to", "count"],
}
CALL = {"to": "a@b.c", "body": "one\ntwo", "count": 4, "rate": 0.5, "now": True, "level": "low", "tags": ["x", "y"]}
LEAVES = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=12)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([*SCHEMA["properties"], "command", "extra", "odd name", "ключ"])


def sent(form: Any) -> dict[str, str]:
    """What a browser sends of a form that nobody touched: its own line ends."""
    return {field.name: field.value.replace("\r\n", "\n").replace("\n", "\r\n") for field in form.fields}


@given(
    st.dictionaries(NAMES, VALUES, max_size=6), st.sampled_from(["Bash", "mcp__x__y"]), st.sampled_from([None, SCHEMA])
)
def test_an_untouched_form_is_the_same_call(call: dict[str, Any], tool: str, schema: Any) -> None:
    try:
        before = canonical_bytes(call)
    except NotCanonical:
        return
    form = form_of_call(tool, call, schema)
    assert canonical_bytes(edited_call(form, call, sent(form))) == before
    assert preview_of(form, call, sent(form)).digest == ""


def test_types_are_kept() -> None:
    form = form_of_call("mcp__x__y", CALL, SCHEMA)
    kinds = {field.label: field.kind for field in form.fields}
    assert kinds == {
        "to": "text",
        "body": "long",
        "count": "integer",
        "rate": "number",
        "now": "choice",
        "level": "choice",
        "tags": "lines",
        "more": "json",
    }
    typed = {
        **sent(form),
        "f.count": "12",
        "f.rate": "2",
        "f.now": "false",
        "f.tags": "x\r\n z ",
        "f.more": '{"a": [1]}',
    }
    edited = edited_call(form, CALL, typed)
    assert edited == {**CALL, "count": 12, "rate": 2, "now": False, "tags": ["x", "z"], "more": {"a": [1]}}
    assert type(edited["count"]) is int and edited["body"] == "one\ntwo"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("f.count", "4.5"),
        ("f.count", "١٢x"),
        ("f.count", ""),
        ("f.rate", "fast"),
        ("f.rate", "true"),
        ("f.rate", "NaN"),
        ("f.more", "{"),
        ("f.more", '{"a": 1, "a": 2}'),
        ("f.more", "[" * 5_000),
    ],
)
def test_what_is_no_value_is_named(field: str, text: str) -> None:
    form = form_of_call("mcp__x__y", CALL, SCHEMA)
    preview = preview_of(form, CALL, {field: text})
    assert preview.field == field and preview.error and not preview.digest
    again = typed_form(form, {field: text}, preview)
    assert next(one.value for one in again.fields if one.name == field) == text, "nothing typed is lost"


def test_an_argument_is_left_out_when_its_field_is_emptied_and_put_in_when_filled() -> None:
    form = form_of_call("mcp__x__y", {"to": "a", "count": 1, "level": "low"}, SCHEMA)
    assert edited_call(form, {"to": "a", "count": 1, "level": "low"}, {"f.level": "", "f.rate": "1.5"}) == {
        "to": "a",
        "count": 1,
        "rate": 1.5,
    }


def test_a_call_without_a_schema_is_one_json_text() -> None:
    form = form_of_call("mcp__x__y", {"n": 1})
    assert form.whole
    assert edited_call(form, {"n": 1}, {"whole": '{"n": 2}'}) == {"n": 2}
    with pytest.raises(BadField):
        edited_call(form, {"n": 1}, {"whole": "[1]"})


def test_hidden_characters_are_edited_as_escapes() -> None:
    call = {"to": "a\u200bb", "count": 1}
    form = form_of_call("mcp__x__y", call, SCHEMA)
    field = next(one for one in form.fields if one.label == "to")
    assert field.kind == "json" and field.value == '"a\\u200bb"'


def test_a_hundred_arguments_are_one_json_text() -> None:
    call = {f"a{number}": number for number in range(100)}
    assert form_of_call("Bash", {**call, "command": "x"}).whole


def test_the_comparison_tells_types_apart() -> None:
    assert readable({"a": "4"}) == ['a: "4"'] and readable({"a": 4}) == ["a: 4"]
    assert readable({"a": "x\ny"}) == ["a:", "  x", "  y"]
    call = {"n": 4, "s": "4"}
    form = form_of_call("mcp__x__y", call)
    preview = preview_of(form, call, {"whole": '{"n": "4", "s": "4"}'})
    assert [line.text for line in preview.lines if line.sign in "+-"] == ["n: 4", 'n: "4"']
    assert preview.digest == digest_of({"n": "4", "s": "4"})


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=30))
def test_every_change_is_near_its_changes(old: list[str], new: list[str]) -> None:
    whole = diff_lines("\n".join(old), "\n".join(new))
    near = near_changes(whole)
    assert [line for line in whole if line.sign != " "] == [line for line in near if line.sign in "+-"]


@given(st.dictionaries(NAMES | st.sampled_from(["cc", "url", "file_path", "in"]), VALUES, max_size=5))
def test_every_suggested_pattern_compiles(call: dict[str, Any]) -> None:
    try:
        canonical_bytes(call)
    except NotCanonical:
        return
    compile_pattern(pattern_for(call))


@pytest.mark.parametrize(
    ("call", "pattern"),
    [
        ({"to": "a@x.com"}, 'args.to.endsWith("@x.com") && !args.to.contains(",")'),
        ({"to": ["a@x.com", "b@x.com"]}, 'args.to.all(one, one.endsWith("@x.com"))'),
        ({"to": "a@x.com,b@evil"}, 'args.to == "a@x.com,b@evil"'),
        ({"url": "https://x.com/a?b"}, 'args.url.startsWith("https://x.com/")'),
        ({"command": 'make "all"'}, 'args.command == "make \\"all\\""'),
        ({"path": "/w/a/b"}, 'args.path.startsWith("/w/a/") && !args.path.contains("..")'),
        ({"in": 4, "b": True}, 'args["in"] == 4 && args.b == true'),
        ({}, ""),
    ],
)
def test_a_pattern_begins_with_what_matters(call: dict[str, Any], pattern: str) -> None:
    assert pattern_for(call) == pattern
    assert json.dumps(call)
