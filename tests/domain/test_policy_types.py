"""Lint against schemas: misspelt arguments and values that an argument never has, and nothing that may be right."""

from __future__ import annotations

import pytest
from app.domain.canonical import Json
from app.domain.policy_lint import lint_bundle
from app.domain.policy_text import parse_bundle
from app.domain.policy_types import uses

from tests.domain.policy_kit import HEAD, rule

SCHEMA: Json = {
    "type": "object",
    "properties": {
        "command": {"type": "string"},
        "timeout": {"type": ["number", "string"]},
        "count": {"type": "integer"},
        "force": {"type": "boolean"},
        "mode": {"type": "string", "enum": ["fast", "slow"]},
        "names": {"type": "array", "items": {"type": "string"}},
        "any": {},
        "nested": {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
        "other": {"anyOf": [{"type": "string"}]},
    },
    "additionalProperties": False,
}
OPEN: Json = {"type": "object", "properties": {"command": {"type": "string"}}}
REST = "".join(rule(f"rest-{tool[:3].lower()}", "DENY", tools=tool) for tool in ("Bash", "Read", "mcp__*", "egress"))


def findings(when: str, schema: Json, tools: str = "Bash") -> list[tuple[int, int, str, str]]:
    text = rule("a", "DENY", when, tools=tools) + REST
    made = parse_bundle({"bundle.toml": HEAD, "rules.toml": text}, "test")
    found = lint_bundle(made, {"test/rules.toml": text}, (), {"Ba*": schema})
    return [(f.line, f.column, f.level, f.code) for f in found if f.code != "MAY_FAIL"]


@pytest.mark.parametrize(
    ("when", "code"),
    [
        ('has(args.comand) && args.comand == "ls"', "UNKNOWN_ARGUMENT"),
        ("has(args.nested) && args.nested.b == 'x'", "UNKNOWN_ARGUMENT"),
        ("args.command == 7", "TYPE_MISMATCH"),
        ("args.command > 7.5", "TYPE_MISMATCH"),
        ("7 == args.command", "TYPE_MISMATCH"),
        ("args.command == true", "TYPE_MISMATCH"),
        ("args.count == 'x'", "TYPE_MISMATCH"),
        ("args.count in ['x', 'y']", "TYPE_MISMATCH"),
        ("args.count.matches('^1')", "TYPE_MISMATCH"),
        ("args.force == 'yes'", "TYPE_MISMATCH"),
        ("args.command.exists(c, c == 'x')", "TYPE_MISMATCH"),
        ("args.mode == 'quick'", "NEVER_EQUAL"),
    ],
)
def test_a_slip_is_an_error_with_its_place(when: str, code: str) -> None:
    column = 11 + when.index("args." + ("nested.b" if "nested" in when else when.split("args.")[1].split(")")[0][:3]))
    assert findings(when, SCHEMA) == [(5, column, "error", code)]


@pytest.mark.parametrize(
    "when",
    [
        'has(args.command) && args.command.matches("^ls") && size(args.command) < 5',
        "args.timeout == 5 || args.timeout == '5' || args.count + 1 == 2 || 1 + args.count == 2",
        "args.count in [1, 2] || args.force || !args.force || args.force == true",
        "args.names.exists(n, n == 'x') || 'x' in args.names || args.names[0] == 'x'",
        "args.any == 7 || args.any == 'x' || args.other == 7 || args.nested.a == 'x'",
        "args.mode == 'fast' || args.mode != 'quick' || args.mode == '\\x66ast'",
        "string(args.count).matches('^1') || int(args.command) == 7 || args.command == string(7)",
        "'args.comand' == tool",
    ],
)
def test_what_can_be_true_is_left_alone(when: str) -> None:
    assert findings(when, SCHEMA) == []


def test_an_open_schema_gives_a_warning_and_a_tool_without_one_nothing() -> None:
    assert findings("has(args.comand)", OPEN) == [(5, 15, "warning", "UNKNOWN_ARGUMENT")]
    assert findings("has(args.comand)", OPEN, 'Bash", "Read') == []
    assert findings("has(args.comand)", OPEN, "B*") == [], "other tools may be meant, too"
    assert findings("has(args.comand)", {"type": "object"}) == []


def test_uses_are_read_off_the_words() -> None:
    assert [(use.text, sorted(use.kinds)) for use in uses('args.a.b == "x" && args.c.size() > 1 // args.d')] == [
        ("args.a.b", ["text"]),
        ("args.c", []),
    ]
