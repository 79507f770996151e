"""Every row of every `*.cases.toml`: the verdict, the rule, and that both CEL engines say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from app.adapters.policies import load_library
from app.domain.policy_cases import Case, check_case, second_opinion
from app.domain.verdict import Verdict

ROOT = Path(__file__).resolve().parents[2] / "policies"
LIBRARY = load_library(ROOT)
ROWS = [pytest.param(name, case, id=f"{name}:{case.line}") for name, cases in LIBRARY.cases.items() for case in cases]


@pytest.mark.parametrize(("name", "case"), ROWS)
def test_a_row_of_the_table(name: str, case: Case) -> None:
    assert check_case(LIBRARY.bundle(name), case) == ""


@pytest.mark.parametrize("name", sorted(LIBRARY.bundles_by_name))
def test_the_second_engine_agrees_on_every_row(name: str) -> None:
    other = second_opinion(LIBRARY.bundle(name))
    assert [problem for case in LIBRARY.cases[name] if (problem := check_case(other, case))] == []


@pytest.mark.parametrize("name", sorted(LIBRARY.bundles_by_name))
def test_every_rule_is_shown_by_a_row(name: str) -> None:
    shown = {case.rule for case in LIBRARY.cases[name]}
    own = [rule for rule in LIBRARY.bundle(name).rules if rule.file.startswith(f"{ROOT / name}/")]
    assert {rule.id for rule in own} - shown == set()
    assert len(LIBRARY.cases[name]) >= 25


@pytest.mark.parametrize("name", sorted(LIBRARY.bundles_by_name))
def test_a_question_and_a_refusal_say_why(name: str) -> None:
    for rule in LIBRARY.bundle(name).rules:
        assert rule.verdict is Verdict.ALLOW or rule.message or rule.reason is not None, rule.id


def test_prices_cover_the_models_of_the_blueprints() -> None:
    for blueprint in LIBRARY.blueprints():
        assert LIBRARY.price(blueprint.model) is not None, blueprint.name
