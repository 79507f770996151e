"""Laws that hold for every bundle, and the same answer in every process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from app.adapters.policies import load_library
from app.domain.canonical import Json, canonical_bytes
from app.domain.policy import decide
from app.domain.reasons import Reason
from app.domain.verdict import Verdict
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
Rows = list[tuple[str, str]]


def answer(rows: Rows, args: Json) -> tuple[Verdict, Reason]:
    text = "".join(rule(f"r{number}", verdict, when) for number, (verdict, when) in enumerate(rows))
    decision = decide(bundle(text), ask(args))
    return decision.verdict, decision.reason


@settings(max_examples=60, deadline=None)
@given(RULES, st.sampled_from(CONDITIONS), st.integers(0, 6), ARGS)
def test_adding_a_deny_rule_never_turns_a_deny_into_an_allow(rows: Rows, when: str, at: int, args: Json) -> None:
    before = answer(rows, args)[0]
    after = answer([*rows[:at], ("DENY", when), *rows[at:]], args)[0]
    if before is Verdict.DENY:
        assert after is not Verdict.ALLOW
    assert after in (before, Verdict.DENY)


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
        total.update(canonical_bytes([decision.verdict, decision.reason, list(decision.rule_ids), decision.inputs]))
        total.update(decision.policy_digest.encode())
sys.stdout.write(total.hexdigest())
"""


@pytest.mark.parametrize(
    ("seed", "zone", "locale"),
    [("1", "Pacific/Auckland", "C"), ("4242", "America/New_York", "tr_TR.UTF-8"), ("0", "UTC", "C.UTF-8")],
)
def test_the_same_answers_in_every_process(seed: str, zone: str, locale: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale, "LANG": locale}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, timeout=60, check=True
    )
    assert ran.stdout.decode() == _here()


def _here() -> str:
    library = load_library(ROOT / "policies")
    total = hashlib.sha256()
    for name, cases in sorted(library.cases.items()):
        for case in cases:
            decision = decide(library.bundle(name), case.request)
            total.update(canonical_bytes([decision.verdict, decision.reason, list(decision.rule_ids), decision.inputs]))
            total.update(decision.policy_digest.encode())
    return total.hexdigest()
