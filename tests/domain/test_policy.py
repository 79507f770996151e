"""Decisions: first match wins, and everything that is not an answer is DENY."""

from __future__ import annotations

import dataclasses

import pytest
from app.domain.canonical import Json, canonical_bytes
from app.domain.errors import BadPolicy
from app.domain.expressions import ENGINE, INTERPRETED
from app.domain.policy import Bundle, decide, decide_again
from app.domain.policy_text import bundle_digest, parse_bundle
from app.domain.reasons import Reason
from app.domain.verdict import EffectClass, Request, Risk, Verdict

from tests.domain.policy_kit import HEAD, ask, bundle, rule


def test_the_first_rule_that_is_true_decides() -> None:
    rules = rule("one", "DENY", "args.x == 1") + rule("two", "ESCALATE", "args.x == 2") + rule("three", "ALLOW")
    loaded = bundle(rules)
    answers = [decide(loaded, ask({"x": x})) for x in (1, 2, 3)]
    assert [(a.verdict, a.rule_ids, a.reason) for a in answers] == [
        (Verdict.DENY, ("one",), Reason.POLICY_DENIED),
        (Verdict.ESCALATE, ("two",), Reason.APPROVAL_REQUIRED),
        (Verdict.ALLOW, ("three",), Reason.ALLOW),
    ]


def test_nothing_matches_is_deny() -> None:
    answer = decide(bundle(rule("one", "ALLOW", "args.x == 1")), ask({"x": 2}))
    assert (answer.verdict, answer.reason, answer.rule_ids) == (Verdict.DENY, Reason.NO_RULE_MATCHED, ())


@pytest.mark.parametrize("tool", ["Nope", "", "read", "Read ", "Read\n", "Réad", "a" * 5000, "Read\ud800"])
def test_an_unknown_tool_is_deny(tool: str) -> None:
    answer = decide(bundle(rule("all", "ALLOW", tools="*")), ask(tool=tool))
    assert (answer.verdict, answer.reason) == (Verdict.DENY, Reason.DENY_TOOL_NOT_FOUND)
    canonical_bytes(answer.inputs)


@pytest.mark.parametrize("when", ["args.missing == 1", "args.x", "args.x > 'a'", "args.x / 0 == 1"])
def test_what_cannot_be_decided_is_deny_and_does_not_repeat_values(when: str) -> None:
    answer = decide(bundle(rule("bad", "ALLOW", when) + rule("all", "ALLOW")), ask({"x": 12345}))
    assert (answer.verdict, answer.reason, answer.rule_ids) == (Verdict.DENY, Reason.POLICY_ERROR, ("bad",))
    assert "12345" not in answer.message


def test_an_escalation_carries_its_terms_and_nothing_else_does() -> None:
    terms = 'risk = "irreversible"\ntimeout = 60\nmessage = "Really?"\nobligations = ["health-check"]'
    head = HEAD + "[health_checks]\ntools = ['mcp__*__*health*']\n"
    asked = decide(bundle(rule("ask", "ESCALATE", more=terms), head), ask())
    assert asked.approval is not None
    assert (asked.approval.timeout_s, asked.risk, asked.message) == (60, Risk.IRREVERSIBLE, "Really?")
    assert asked.obligations == ("health-check",)
    plain = decide(bundle(rule("ask", "ESCALATE")), ask())
    assert plain.approval is not None
    assert plain.approval.timeout_s == 3600
    assert decide(bundle(rule("ok", "ALLOW")), ask()).approval is None


def test_inputs_hold_only_what_the_rules_of_this_tool_read() -> None:
    rules = rule("one", "DENY", "args.x == 1 && agent.depth > 3") + rule("b", "ALLOW", "args.z == 1", tools="Bash")
    loaded = bundle(rules + rule("all", "ALLOW"))
    answer = decide(loaded, ask({"x": 2, "secret": "s3cret", "z": 1}))
    assert answer.inputs == {"tool": "Read", "args": {"x": 2}, "agent": {"depth": 1}}
    whole = decide(bundle(rule("one", "ALLOW", "size(args) == 2")), ask({"x": 2, "y": 3}))
    assert whole.inputs == {"tool": "Read", "args": {"x": 2, "y": 3}}


def test_recorded_inputs_give_the_same_decision() -> None:
    rules = rule("one", "DENY", "args.x == 1 || budget.spent > 10") + rule("all", "ESCALATE", "args.x == 2")
    loaded = bundle(rules)
    for x in (1, 2, 3):
        answer = decide(loaded, ask({"x": x, "rest": "..."}))
        assert decide_again(loaded, answer.inputs, answer.effect_class) == answer


def test_a_bundle_that_reads_more_than_was_recorded_denies() -> None:
    before = decide(bundle(rule("all", "ALLOW", "args.x == 1")), ask({"x": 1, "y": 2}))
    after = decide_again(bundle(rule("all", "ALLOW", "args.y == 2")), before.inputs, before.effect_class)
    assert after.verdict is Verdict.DENY


def test_the_effect_class_is_the_bundles_unless_the_caller_knows_better() -> None:
    loaded = bundle(rule("w", "DENY", "effect_class == 'money'", tools="mcp__*") + rule("all", "ALLOW", tools="*"))
    assert decide(loaded, ask(tool="mcp__a__b")).effect_class is EffectClass.WRITE
    known = decide(loaded, dataclasses.replace(ask(tool="mcp__a__b"), effect_class=EffectClass.MONEY))
    assert (known.verdict, known.effect_class) == (Verdict.DENY, EffectClass.MONEY)


def test_a_decision_names_policy_and_evaluator() -> None:
    loaded = bundle(rule("all", "ALLOW"))
    answer = decide(loaded, ask())
    assert answer.policy_digest == loaded.digest
    assert ENGINE.name in answer.evaluator
    assert answer.allowed


def test_the_digest_changes_with_every_byte_and_not_with_the_order_of_reading() -> None:
    files = {"bundle.toml": HEAD, "rules.toml": rule("a", "ALLOW")}
    digest = bundle_digest(files)
    assert bundle_digest(dict(reversed(list(files.items())))) == digest
    assert bundle_digest({**files, "rules.toml": files["rules.toml"] + "\n"}) != digest
    assert bundle_digest({**files, "more.toml": ""}) != digest


HOSTILE: list[Json] = [
    {"x": "a" * 1_000_000},
    {"x": list(range(100_000))},
    {"x": {str(number): 1 for number in range(100_000)}},
    {"x": 2**53},
    {"x": -(2**80)},
    {"x": float("nan")},
    {"x": float("inf")},
    {"x": "a\x00b"},
    {"x": "\ud800"},
    {"\udfff": 1},
    {"x": b"bytes"},
    {1: "x"},
    {"x": object()},
    [1, 2],
    "text",
    None,
]


def deep(levels: int) -> Json:
    value: Json = 1
    for _ in range(levels):
        value = {"x": value}
    return value


def around() -> Json:
    value: dict[str, Json] = {}
    value["x"] = [value, value]
    return value


@pytest.mark.parametrize("args", [*HOSTILE, deep(100_000), deep(65), around()], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("tool", ["Read", "Bash"])
def test_hostile_arguments_are_denied_without_an_exception(args: Json, tool: str) -> None:
    answer = decide(bundle(rule("all", "ALLOW", "has(args.x) || !has(args.x)", tools="*")), _with(args, tool))
    assert answer.verdict is Verdict.DENY
    assert answer.reason in (Reason.INPUT_TOO_LARGE, Reason.SCHEMA_VIOLATION)
    canonical_bytes(answer.inputs)


def _with(args: Json, tool: str) -> Request:
    return dataclasses.replace(ask(tool=tool), args=args)


def test_hostile_facts_about_the_agent_are_denied() -> None:
    loaded = bundle(rule("all", "ALLOW", "agent.type != 'x' && cwd != 'x'"))
    for kind in ("\ud800", "a\x00", "a" * 1_000_000):
        request = ask()
        request = dataclasses.replace(request, agent=dataclasses.replace(request.agent, type=kind))
        assert decide(loaded, request).verdict is Verdict.DENY


def test_looking_through_much_text_many_times_is_refused() -> None:
    loaded = bundle(rule("all", "ALLOW", "args.l.all(x, !args.s.contains(x))"))
    assert decide(loaded, ask({"l": ["b"] * 5000, "s": "a" * 400_000})).reason is Reason.INPUT_TOO_LARGE
    assert decide(loaded, ask({"l": ["b"] * 50, "s": "a" * 400_000})).verdict is Verdict.ALLOW


def test_a_flood_of_tool_names_is_not_kept() -> None:
    loaded = bundle(rule("all", "ALLOW", tools="*"))
    for number in range(3000):
        assert decide(loaded, ask(tool=f"mcp__x__t{number}")).allowed
    assert len(loaded._plans) <= 2048


def test_the_second_engine_decides_alike() -> None:
    rules = rule("one", "DENY", "args.x == 1") + rule("two", "ESCALATE", "args.l.exists(i, i == 'a')")
    loaded: list[Bundle] = [bundle(rules, engine=engine) for engine in (ENGINE, INTERPRETED)]
    for args in ({"x": 1, "l": []}, {"x": 2, "l": ["a"]}, {"x": 2, "l": []}, {}, {"x": 2}):
        assert decide(loaded[0], ask(args)) == decide(loaded[1], ask(args))


@pytest.mark.parametrize(
    ("head", "rules", "where", "reason"),
    [
        ("name = ", rule("a", "ALLOW"), "test/bundle.toml:1", "not valid TOML"),
        (HEAD + "x = 'write'\n", rule("a", "ALLOW"), "", ""),
        (HEAD + "x = 'fly'\n", rule("a", "ALLOW"), "test/bundle.toml:8", "must be one of"),
        ('name = "t"\n', rule("a", "ALLOW"), "test/bundle.toml:1", "[tools] is missing"),
        ("nome = 1\n" + HEAD, rule("a", "ALLOW"), "test/bundle.toml:1", "unknown key 'nome'"),
        (HEAD, "", "test/bundle.toml", "no rule"),
        (HEAD, "\n" + rule("a", "PERHAPS"), "test/rules.toml:5", "must be one of"),
        (HEAD, rule("a", "ALLOW") + rule("a", "DENY"), "test/rules.toml:7", "exists already"),
        (HEAD, rule("a", "ALLOW", more="wen = 'true'"), "test/rules.toml:5", "unknown key 'wen'"),
        (HEAD, rule("a", "ALLOW", "true &&\n  foo"), "test/rules.toml:6:3", "rule 'a': undeclared"),
        (
            HEAD,
            '[[rules]]\nid = "a"\ntools = ["Read"]\nverdict = "ALLOW"\nwhen = "args.x == tool + 1"',
            "test/rules.toml:5:24",
            "overload",
        ),
        (HEAD, rule("a", "ALLOW", more="timeout = 5"), "test/rules.toml:5", "ESCALATE only"),
        (HEAD, rule("a", "ALLOW", more='reason_code = "POLICY_DENIED"'), "test/rules.toml:5", "does not fit"),
        (HEAD, rule("a", "ALLOW", tools="Re ad"), "test/rules.toml:3", "not a tool's name"),
        (HEAD, rule("a", "ALLOW", tools="*a*b*c*d*"), "test/rules.toml:3", "at most 4"),
        (HEAD, rule("a", "ESCALATE", more="timeout = 'x'"), "test/rules.toml:5", "must be an integer"),
    ],
)
def test_a_broken_file_is_named_with_line_and_reason(head: str, rules: str, where: str, reason: str) -> None:
    if not reason:
        bundle(rules, head)
        return
    with pytest.raises(BadPolicy) as caught:
        bundle(rules, head)
    assert caught.value.message.startswith(where + ":")
    assert reason in caught.value.message


def test_a_file_that_nobody_names_is_refused() -> None:
    with pytest.raises(BadPolicy, match=r"extra\.toml:1"):
        parse_bundle({"bundle.toml": HEAD, "rules.toml": rule("a", "ALLOW"), "extra.toml": ""}, "test")
