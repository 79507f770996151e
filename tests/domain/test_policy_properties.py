"""Laws that hold for every bundle, and the same answer in every process."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

import pytest
from app.adapters.policies import load_library
from app.domain.canonical import Json, canonical_bytes
from app.domain.policy import decide
from app.domain.reasons import Reason
from app.domain.verdict import Decision, GrantFacts, Risk, Verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.domain.policy_kit import ask, bundle, rule

ROOT = Path(__file__).resolve().parents[2]
CONDITIONS = [
    "",
    "args.a == 1",
    "args.b == 1",
    "args.a > args.b",
    "has(args.c)",
    "args.c == 'x'",
    "args.l.exists(i, i == args.a)",
]
RULES = st.lists(
    st.tuples(st.sampled_from(["ALLOW", "DENY", "ESCALATE"]), st.sampled_from(CONDITIONS)), min_size=1, max_size=6
)
ARGS = st.fixed_dictionaries(
    {"a": st.integers(0, 2), "b": st.integers(0, 2)},
    optional={"c": st.sampled_from(["x", "y"]), "l": st.lists(st.integers(0, 2), max_size=3)},
)
GRANTS = st.lists(
    st.builds(
        GrantFacts,
        id=st.sampled_from(["g1", "g2", "g3"]),
        rule=st.sampled_from([f"r{number}" for number in range(7)]),
        tool=st.sampled_from(["Read", "Bash"]),
        scope=st.sampled_from(["run", "blueprint"]),
        pattern=st.sampled_from([*CONDITIONS, "(", "args.a"]),
        expires=st.sampled_from(["2026-11-21T11:59:59.999Z", "2026-11-21T12:00:01.000Z"]),
        uses_left=st.integers(-1, 2),
        by=st.just("ana"),
    ),
    max_size=4,
).map(tuple)
RISKS = st.lists(st.sampled_from([str(risk) for risk in Risk]), min_size=7, max_size=7)
Rows = list[tuple[str, str]]
Grants = tuple[GrantFacts, ...]


def judged(rows: Rows, args: Json, grants: Grants = (), risks: Sequence[str] = ()) -> Decision:
    text = "".join(
        rule(f"r{number}", verdict, when, more=f'risk = "{risks[number]}"' if risks else "")
        for number, (verdict, when) in enumerate(rows)
    )
    return decide(bundle(text), dataclasses.replace(ask(args), grants=grants))


def answer(rows: Rows, args: Json, grants: Grants = ()) -> tuple[Verdict, Reason]:
    decision = judged(rows, args, grants)
    return decision.verdict, decision.reason


@settings(max_examples=60, deadline=None)
@given(RULES, st.sampled_from(CONDITIONS), st.integers(0, 6), ARGS)
def test_adding_a_deny_rule_never_turns_a_deny_into_an_allow(rows: Rows, when: str, at: int, args: Json) -> None:
    before = answer(rows, args)[0]
    after = answer([*rows[:at], ("DENY", when), *rows[at:]], args)[0]
    if before is Verdict.DENY:
        assert after is not Verdict.ALLOW
    assert after in (before, Verdict.DENY)


@settings(max_examples=120, deadline=None)
@given(RULES, RISKS, GRANTS, ARGS)
def test_a_grant_never_turns_a_deny_into_an_allow(rows: Rows, risks: Sequence[str], grants: Grants, args: Json) -> None:
    without, granted = judged(rows, args, (), risks), judged(rows, args, grants, risks)
    if without.verdict is not Verdict.ESCALATE:
        assert granted == without
    elif granted.verdict is not Verdict.ESCALATE:
        assert (granted.verdict, granted.reason) == (Verdict.ALLOW, Reason.GRANTED)
        assert granted.rule_ids == (without.rule_ids[0], f"grant:{granted.grant}")
        assert without.risk in (Risk.LOW, Risk.MEDIUM)
        assert any(g.id == granted.grant and g.rule == without.rule_ids[0] and g.uses_left > 0 for g in grants)
    else:
        assert dataclasses.replace(granted, inputs=without.inputs) == without


@settings(max_examples=60, deadline=None)
@given(RULES, st.sampled_from(CONDITIONS), st.integers(0, 6), GRANTS, ARGS)
def test_adding_a_deny_rule_never_makes_a_grant_reach_further(
    rows: Rows, when: str, at: int, grants: Grants, args: Json
) -> None:
    named = [(verdict, condition, f"r{number}") for number, (verdict, condition) in enumerate(rows)]
    more = [*named[:at], ("DENY", when, "added"), *named[at:]]
    before, after = (
        decide(bundle("".join(rule(id, *rest) for *rest, id in table)), dataclasses.replace(ask(args), grants=grants))
        for table in (named, more)
    )
    assert after.verdict in (before.verdict, Verdict.DENY)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["ALLOW", "DENY", "ESCALATE"]), st.sampled_from(CONDITIONS[1:])), max_size=5),
    st.randoms(use_true_random=False),
    ARGS,
)
def test_rules_that_never_hold_together_can_stand_in_any_order(rows: Rows, chance: Random, args: Json) -> None:
    apart = [
        rule(f"r{at}", verdict, f"args.a == {at % 3} && args.b == {at // 3} && ({when})")
        for at, (verdict, when) in enumerate(rows)
    ]
    mixed = list(apart)
    chance.shuffle(mixed)
    rest = rule("rest", "DENY")
    one, other = (decide(bundle("".join([*table, rest])), ask(args)) for table in (apart, mixed))
    assert dataclasses.replace(one, policy_digest="") == dataclasses.replace(other, policy_digest="")


@settings(max_examples=60, deadline=None)
@given(st.permutations([("ALLOW", "args.a == 0"), ("DENY", "args.a == 1"), ("ESCALATE", "args.a == 2")]), ARGS)
def test_the_order_of_independent_rules_changes_nothing(rows: Rows, args: Json) -> None:
    assert answer(rows, args) == answer(sorted(rows), args)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c", "l", "command", "file_path"]), VALUES))
def test_any_arguments_get_an_answer_with_canonical_inputs(args: Json) -> None:
    rows = rule("r", "DENY", "args.a == 1 || shell.unclear || file.inside", tools="Bash") + rule(
        "s", "ALLOW", tools="*"
    )
    decision = decide(bundle(rows), ask(args, tool="Bash"))
    assert decision.verdict in (Verdict.ALLOW, Verdict.DENY)
    canonical_bytes(decision.inputs)


SCRIPT = """
import hashlib, sys
from pathlib import Path
from app.adapters.policies import load_library
from app.domain.canonical import canonical_bytes
from app.domain.policy import decide
library = load_library(Path("policies"))
total = hashlib.sha256()
for name, cases in sorted(library.cases.items()):
    for case in cases:
        decision = decide(library.bundle(name), case.request)
        total.update(canonical_bytes([decision.verdict, decision.reason, list(decision.rule_ids), decision.grant]))
        total.update(hashlib.sha256(canonical_bytes(decision.inputs)).digest() + decision.policy_digest.encode())
sys.stdout.write(total.hexdigest())
"""


@pytest.mark.parametrize(
    ("seed", "zone", "locale"),
    [("1", "Pacific/Auckland", "C"), ("4242", "America/New_York", "tr_TR.UTF-8"), ("0", "UTC", "C.UTF-8")],
)
def test_the_same_answers_in_every_process(seed: str, zone: str, locale: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale, "LANG": locale}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, timeout=120, check=True
    )
    assert ran.stdout.decode() == _here()


@cache
def _here() -> str:
    library = load_library(ROOT / "policies")
    total = hashlib.sha256()
    for name, cases in sorted(library.cases.items()):
        for case in cases:
            decision = decide(library.bundle(name), case.request)
            total.update(canonical_bytes([decision.verdict, decision.reason, list(decision.rule_ids), decision.grant]))
            total.update(hashlib.sha256(canonical_bytes(decision.inputs)).digest() + decision.policy_digest.encode())
    return total.hexdigest()
