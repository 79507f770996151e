"""Tables: what a row can give, what it can expect, and that it says no where the bundle answers otherwise."""

from __future__ import annotations

import pytest
from app.domain.errors import BadPolicy
from app.domain.policy_cases import check_case, parse_cases

from tests.domain.policy_kit import HEAD, bundle, rule

RULES = (
    rule("lacks", "DENY", '!("change_record" in evidence)', more='reason_code = "EVIDENCE_REQUIRED"')
    + rule("two", "ESCALATE", "args.x == 2", more='approval = { quorum = 2, proof = "key", roles = ["owner"] }')
    + rule("one", "ESCALATE", more='risk = "low"\nobligations = ["health-check"]')
)
LOADED = bundle(RULES, HEAD + "[health_checks]\ntools = ['Read']\n")
ROW = '[[cases]]\nname = "n"\ntool = "Read"\n'
HELD = 'args = { x = 1 }\nevidence = { change_record = "CHG-1" }\n'


def problem(text: str) -> str:
    return check_case(LOADED, parse_cases(ROW + text, "t.cases.toml")[0])


@pytest.mark.parametrize(
    "row",
    [
        'verdict = "DENY"\nrule = "lacks"\nreason_code = "EVIDENCE_REQUIRED"',
        HELD + 'verdict = "ESCALATE"\nrule = "one"\nrisk = "low"\nobligations = ["health-check"]\ngrant = ""',
        HELD + 'verdict = "ALLOW"\nrule = "one"\ngrant = "g"\ngrants = [{ id = "g", pattern = "args.x == 1" }]',
        HELD + 'verdict = "ESCALATE"\nrule = "one"\ngrant = ""\ngrants = [{ pattern = "args.x == 2" }]',
        HELD.replace("1 }", "2 }")
        + 'verdict = "ESCALATE"\nrule = "two"\ngrants = [{}]\n'
        + 'approval = { quorum = 2, proof = "key", roles = ["owner"], delay = 0, not_requester = false }',
    ],
)
def test_a_row_gives_evidence_and_grants_and_expects_terms(row: str) -> None:
    assert problem(row) == ""


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (HELD + 'verdict = "DENY"\nrule = "lacks"', "verdict ESCALATE, not DENY, rule one, not lacks"),
        (HELD + 'verdict = "ESCALATE"\nrule = "one"\napproval = { quorum = 2 }', "approval.quorum 1, not 2"),
        (HELD + 'verdict = "ESCALATE"\nrule = "one"\nrisk = "high"', "risk low, not high"),
        (HELD + 'verdict = "ESCALATE"\nrule = "one"\ngrant = "g"', "grant none, not g"),
        ('verdict = "DENY"\nrule = "lacks"\napproval = { quorum = 1 }', "approval.quorum none, not 1"),
        ('verdict = "DENY"\nrule = "lacks"\nobligations = ["health-check"]', "obligations none, not health-check"),
    ],
)
def test_a_row_that_is_answered_otherwise_says_how(row: str, words: str) -> None:
    assert problem(row) == f"n: {words}"


@pytest.mark.parametrize("row", ["approval = { quorom = 2 }", "grants = [{ name = 'g' }]", "evidence = { a = 1 }"])
def test_a_row_with_a_word_that_nobody_knows_does_not_load(row: str) -> None:
    with pytest.raises(BadPolicy, match=r"t\.cases\.toml"):
        problem('verdict = "DENY"\n' + row)
