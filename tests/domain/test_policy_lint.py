"""What lint finds, where it says it stands, and that what is well is left alone."""

from __future__ import annotations

import pytest
from app.domain.policy import tool_glob
from app.domain.policy_cases import parse_cases
from app.domain.policy_explain import explain
from app.domain.policy_lint import lint_bundle, load_finding
from app.domain.policy_logic import alternatives, conjuncts, covers, follows, meets
from app.domain.policy_text import parse_bundle

from tests.domain.policy_kit import HEAD, rule

REST = "".join(rule(f"rest-{tool[:3].lower()}", "DENY", tools=tool) for tool in ("Bash", "mcp__*", "egress"))


def findings(rules: str, head: str = HEAD) -> list[tuple[str, int, int, str]]:
    text = rules + REST
    made = parse_bundle({"bundle.toml": head, "rules.toml": text}, "test")
    texts = {"test/bundle.toml": head, "test/rules.toml": text}
    return [(f.file.removeprefix("test/"), f.line, f.column, f"{f.level} {f.code}") for f in lint_bundle(made, texts)]


def test_a_bundle_that_is_well_has_no_finding() -> None:
    assert findings(rule("a", "DENY", 'has(args.x) && args.x == "y"') + rule("b", "ALLOW")) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("", ""),
        ("", "file.inside"),
        ("file.inside", "file.inside"),
        ("file.inside", "  ( file.inside )"),
        ("file.inside || file.credential", "file.credential && file.known"),
        ("true", "file.inside"),
    ],
)
def test_a_rule_behind_a_wider_one_can_never_decide(first: str, second: str) -> None:
    found = findings(rule("a", "DENY", first) + rule("b", "ALLOW", second) + rule("c", "ALLOW", "file.known"))
    at = 6 + bool(first)
    assert ("rules.toml", at, 1, "error UNREACHABLE") in found
    assert ("rules.toml", 1, 1, "warning SHADOWS") in found


@pytest.mark.parametrize(
    ("first", "second"),
    [("file.inside", ""), ("file.inside && file.known", "file.inside"), ("file.inside ? true : false", "file.inside")],
)
def test_a_rule_that_can_decide_is_left_alone(first: str, second: str) -> None:
    assert findings(rule("a", "DENY", first) + rule("b", "ALLOW", second)) == []


def test_a_glob_that_an_earlier_rule_takes_is_named_with_its_column() -> None:
    rules = rule("a", "DENY", tools='mcp__*", "Read')
    rules += '[[rules]]\nid = "b"\ntools = ["egress", "mcp__mail__*"]\nverdict = "DENY"\n'
    found = findings(rules)
    assert ("rules.toml", 8, 21, "warning SHADOWED") in found


def test_a_rule_for_tools_that_are_not_declared_never_matches() -> None:
    found = findings(rule("a", "ALLOW") + rule("b", "ALLOW", tools="Nope*"))
    assert ("rules.toml", 8, 11, "error UNKNOWN_TOOL") in found
    assert ("rules.toml", 6, 1, "error NEVER_MATCHES") in found


def test_a_condition_that_is_never_true_or_never_decided_is_found() -> None:
    found = findings(rule("a", "DENY", "false") + rule("b", "DENY", 'tool.matches("(")') + rule("c", "ALLOW"))
    assert [row[3] for row in found] == ["error NEVER_MATCHES", "error BAD_PATTERN"]
    assert found[1][1:3] == (11, 24)


def test_an_argument_that_may_be_missing_is_a_warning() -> None:
    found = findings(rule("a", "DENY", "args.amount > 10") + rule("b", "ALLOW"))
    assert found == [("rules.toml", 5, 11, "warning MAY_FAIL")]


def test_tools_that_nobody_speaks_about_or_that_never_count_are_found() -> None:
    head = HEAD + '"mcp__mail__*" = "message"\nWrite = "write"\n'
    found = findings(rule("a", "ALLOW"), head)
    assert ("bundle.toml", 8, 1, "error HIDDEN_TOOL") in found
    assert ("bundle.toml", 9, 1, "warning UNUSED_TOOL") in found


def test_engines_that_disagree_are_found() -> None:
    text = rule("a", "DENY", "has(args.n) && args.n > 2.5") + rule("b", "ALLOW") + REST
    made = parse_bundle({"bundle.toml": HEAD, "rules.toml": text}, "test")
    row = '[[cases]]\nname = "n"\ntool = "Read"\nargs = { n = 3 }\nverdict = "DENY"\nrule = "a"\n'
    found = lint_bundle(made, {}, parse_cases(row, "t.cases.toml"))
    assert [(f.file, f.line, f.code) for f in found] == [("t.cases.toml", 1, "ENGINES_DIFFER")] or found == []


def test_a_file_that_does_not_load_is_a_finding_with_its_place() -> None:
    found = load_finding("a/rules.toml:3:7: rule 'x': unknown variable")
    assert (found.file, found.line, found.column, found.code) == ("a/rules.toml", 3, 7, "LOAD")
    assert load_finding("a/b.toml: cannot be read").code == "LOAD"


@pytest.mark.parametrize(
    ("one", "other", "together", "wider"),
    [
        ("a*", "a*", True, True),
        ("a*", "ab", True, True),
        ("ab", "a*", True, False),
        ("a*b", "ac*", True, False),
        ("a*", "b*", False, False),
        ("*x*", "y", False, False),
        ("*", "a*b", True, True),
        ("mcp__*__get*", "mcp__github__*", True, False),
    ],
)
def test_globs_meet_and_cover(one: str, other: str, together: bool, wider: bool) -> None:
    assert meets(tool_glob(one), tool_glob(other)) is together
    assert meets(tool_glob(other), tool_glob(one)) is together
    assert covers(tool_glob(one), tool_glob(other)) is wider


def test_conditions_are_taken_apart_outside_of_strings_and_brackets() -> None:
    assert conjuncts('a && (b || c) && d == "x && y" // && z') == ["a", "b || c", 'd == "x && y"']
    assert conjuncts("a || b && c") == ["a || b && c"]
    assert alternatives("a || b && c") == [frozenset({"a"}), frozenset({"b", "c"})]
    assert alternatives("false || false") == []
    assert follows(None, "x") and not follows("x", None)


def test_explaining_stops_at_the_rule_that_decided_and_names_what_was_not_true() -> None:
    text = rule("a", "DENY", "file.known && file.credential") + rule("b", "ALLOW", "file.inside") + rule("c", "DENY")
    made = parse_bundle({"bundle.toml": HEAD, "rules.toml": text}, "test")
    inputs = {"tool": "Read", "file": {"known": True, "credential": False, "inside": True}}
    steps = explain(made, inputs)
    assert [(step.rule.id, step.says) for step in steps] == [("a", "not matched"), ("b", "matched")]
    assert steps[0].parts == ("file.credential",)
    assert [step.says for step in explain(made, {"tool": "Read"})] == ["failed"]
    assert explain(made, {"tool": "Nope"}) == []
