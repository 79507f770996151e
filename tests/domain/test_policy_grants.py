"""Grants: they answer what a rule asks, of one rule and tool, inside their pattern, time and uses; and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from app.domain.canonical import Json, canonical_bytes, strict_loads
from app.domain.errors import BadPolicy
from app.domain.expressions import INTERPRETED, BadExpression
from app.domain.policy import Bundle, decide, decide_again
from app.domain.policy_grants import compile_pattern, grantable, matches_pattern
from app.domain.reasons import Reason
from app.domain.verdict import ApprovalTerms, Decision, EffectClass, GrantFacts, Request, Risk, Verdict

from tests.domain.policy_kit import ask, bundle, rule

RULES = rule("no", "DENY", "has(args.x) && args.x == 9") + rule("ask", "ESCALATE", tools="*")


def grant(id: str = "grt_1", **more: Any) -> GrantFacts:
    plain = GrantFacts(id, "ask", "Read", "run", "", "2026-11-21T13:00:00.000Z", 1, "ana")
    return dataclasses.replace(plain, **more)


def answer(args: Json, *grants: GrantFacts, rules: str = RULES, tool: str = "Read") -> Decision:
    loaded = bundle(rules)
    return checked(loaded, dataclasses.replace(ask(args, tool), grants=grants))


def checked(loaded: Bundle, request: Request) -> Decision:
    """The decision, after it was seen that what the log keeps gives the same one."""
    decision = decide(loaded, request)
    kept = strict_loads(canonical_bytes(decision.inputs), max_bytes=1_000_000)
    assert decide_again(loaded, kept, decision.effect_class) == decision
    return decision


def test_a_grant_answers_and_is_named() -> None:
    decision = answer({"x": 1}, grant())
    assert (decision.verdict, decision.reason, decision.grant) == (Verdict.ALLOW, Reason.GRANTED, "grt_1")
    assert decision.rule_ids == ("ask", "grant:grt_1")
    assert decision.approval is None
    assert decision.inputs["grants"][0]["id"] == "grt_1"
    assert decision.inputs["now"] == "2026-11-21T12:00:00Z"


@pytest.mark.parametrize(
    "other",
    [
        {"rule": "other"},
        {"tool": "Bash"},
        {"expires": "2026-11-21T12:00:00Z"},
        {"expires": "2026-11-21T11:00:00.000Z"},
        {"expires": ""},
        {"uses_left": 0},
        {"uses_left": -1},
        {"pattern": "args.x == 2"},
        {"pattern": "args.missing == 2"},
        {"pattern": "args.x"},
        {"pattern": "("},
        {"pattern": "grants.size() > 0"},
        {"pattern": "true || " * 1000 + "true"},
        {"pattern": "nothing_of_the_kind"},
        {"pattern": 'args.x == "\ud800"'},
    ],
)
def test_a_grant_that_does_not_fit_changes_nothing(other: dict[str, Any]) -> None:
    decision = decide(bundle(RULES), dataclasses.replace(ask({"x": 1}), grants=(grant(**other),)))
    assert (decision.verdict, decision.grant) == (Verdict.ESCALATE, "")
    assert decision.approval == ApprovalTerms()


def test_the_first_by_id_that_fits_answers_and_all_that_were_tried_are_recorded() -> None:
    grants = (
        grant("c"),
        grant("b", pattern="args.x == 1"),
        grant("a", pattern="args.y.size() == 7"),
        grant("z", uses_left=0),
    )
    decision = answer({"x": 1, "y": "secret", "z": 3}, *grants)
    assert decision.grant == "b"
    assert [row["id"] for row in decision.inputs["grants"]] == ["a", "b", "c"]
    assert decision.inputs["args"] == {"x": 1, "y": "secret"}


def test_a_question_stays_one_and_says_which_grants_were_tried() -> None:
    decision = answer({"x": 1}, grant(pattern="args.x == 2"))
    assert decision.verdict is Verdict.ESCALATE
    assert len(decision.inputs["grants"]) == 1
    assert "grants" not in answer({"x": 1}, grant(tool="Bash")).inputs


def test_a_grant_never_touches_a_refusal() -> None:
    decision = answer({"x": 9}, grant())
    assert (decision.verdict, decision.rule_ids) == (Verdict.DENY, ("no",))
    assert "grants" not in decision.inputs
    denied = answer({}, grant(rule="ask"), rules=rule("ask", "DENY"))
    assert denied.verdict is Verdict.DENY
    assert answer({}, grant(tool="Nope"), tool="Nope").reason is Reason.DENY_TOOL_NOT_FOUND


@pytest.mark.parametrize(
    "more",
    [
        'risk = "irreversible"',
        "approval = { quorum = 2 }",
        "approval = { delay = 1 }",
        'approval = { proof = "key" }',
        'approval = { roles = ["owner"] }',
        "approval = { not_requester = true }",
    ],
)
def test_what_asks_for_a_ceremony_or_is_dangerous_takes_no_grant(more: str) -> None:
    decision = answer({}, grant(), rules=rule("ask", "ESCALATE", more=more))
    assert (decision.verdict, decision.grant) == (Verdict.ESCALATE, "")


def test_a_longer_time_to_answer_is_no_ceremony() -> None:
    assert answer({}, grant(), rules=rule("ask", "ESCALATE", more="approval = { timeout = 5 }")).allowed
    blanket = [risk for risk in Risk if grantable(ApprovalTerms(), risk, "")]
    assert blanket == [Risk.LOW, Risk.MEDIUM, Risk.HIGH]
    assert all(grantable(ApprovalTerms(), risk, 'args.to == "x"') for risk in Risk)


def test_rules_see_grants_and_evidence() -> None:
    when = 'grants.exists(g, g.by == "ana" && g.uses_left > 0) && "change_record" in evidence'
    rules = rule("deny", "DENY", f"!({when})") + rule("ask", "ESCALATE", "evidence.change_record.by == 'bo'")
    held = {"change_record": {"ref": "CHG-1", "digest": "", "by": "bo", "at": "2026-11-21T11:00:00.000Z"}}
    request = dataclasses.replace(ask(), grants=(grant(), grant("other", rule="x")), evidence=held)
    decision = checked(bundle(rules), request)
    assert decision.allowed
    assert [row["id"] for row in decision.inputs["grants"]] == ["grt_1", "other"]
    assert checked(bundle(rules), dataclasses.replace(request, evidence={})).verdict is Verdict.DENY
    assert decide(bundle(rules, engine=INTERPRETED), request).verdict is Verdict.ALLOW


def test_recorded_grants_that_are_not_whole_are_none() -> None:
    loaded = bundle(RULES)
    good = answer({"x": 1}, grant()).inputs
    for bad in ([{**good["grants"][0], "uses_left": True}], [{"id": "a"}], "text", [7], {"a": 1}):
        assert decide_again(loaded, {**good, "grants": bad}, EffectClass.READ).verdict is Verdict.ESCALATE
    assert decide_again(loaded, {**good, "now": 7}, EffectClass.READ).verdict is Verdict.ESCALATE


def test_many_grants_with_hard_patterns_are_answered_in_bounded_time() -> None:
    hard = "args.l.exists(a, args.l.exists(b, a + b == -1))".replace("a + b == -1", "a == b && a < 0")
    grants = [grant(f"g{number:03}", pattern=hard) for number in range(300)]
    decision = decide(bundle(RULES), dataclasses.replace(ask({"l": list(range(5000))}), grants=tuple(grants)))
    assert decision.verdict is Verdict.ESCALATE


def test_a_pattern_is_checked_and_counted() -> None:
    pattern = compile_pattern('args.to.endsWith("@example.com")')
    assert matches_pattern(pattern, ask({"to": "a@example.com"}), EffectClass.READ)
    assert not matches_pattern(pattern, ask({"to": "a@example.org"}), EffectClass.READ)
    assert not matches_pattern(pattern, ask({}), EffectClass.READ)
    assert not matches_pattern(pattern, ask({"to": "a@example.com", "n": 2**60}), EffectClass.READ)
    assert not matches_pattern(pattern, ask(["not an object"]), EffectClass.READ)
    assert matches_pattern(compile_pattern(""), ask({}), EffectClass.READ)
    assert matches_pattern(compile_pattern("effect_class == 'read'"), ask({}), EffectClass.READ)
    with pytest.raises(BadExpression) as caught:
        compile_pattern("args.to ==\n  nope")
    assert (caught.value.line, caught.value.column) == (2, 3)
    with pytest.raises(BadExpression, match="cannot read 'grants'"):
        compile_pattern("grants == []")


def test_the_terms_of_a_rule() -> None:
    more = (
        'approval = { timeout = 600, quorum = 2, delay = 300, proof = "key", roles = ["owner"], not_requester = true }'
    )
    decision = answer({}, rules=rule("ask", "ESCALATE", more=more))
    assert decision.approval == ApprovalTerms(600, 2, 300, "key", ("owner",), True)
    assert not ApprovalTerms(600, 2).plain
    assert ApprovalTerms(600).plain


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("timeout = 5\napproval = { quorum = 2 }", "short form"),
        ("approval = { quorum = 0 }", "from 1 to"),
        ("approval = { quorum = 99 }", "from 1 to"),
        ("approval = { quorum = true }", "from 1 to"),
        ("approval = { timeout = 60, delay = 60 }", "from 0 to 59"),
        ('approval = { proof = "word" }', "must be one of"),
        ('approval = { roles = ["viewer"] }', "owner or approver"),
        ('approval = { roles = ["owner", "owner"] }', "owner or approver"),
        ('approval = { not_requester = "yes" }', "true or false"),
        ("approval = { quorom = 2 }", "unknown key 'quorom'"),
        ("approval = 2", "must be a table"),
    ],
)
def test_terms_that_are_wrong_do_not_load(more: str, reason: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        bundle(rule("ask", "ESCALATE", more=more))
    assert caught.value.message.startswith("test/rules.toml:")
    assert reason in caught.value.message
    with pytest.raises(BadPolicy, match="ESCALATE only"):
        bundle(rule("ask", "ALLOW", more="approval = { quorum = 2 }"))
