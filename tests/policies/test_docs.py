"""docs/policies.md says what the code does: its tables are the code's, and its examples load and answer."""

from __future__ import annotations

import re
from pathlib import Path

from app.adapters.policies import load_bundle, load_library
from app.domain.expressions import _FUNCTIONS, _MACROS, _METHODS, FIELDS, LISTS, SCALARS
from app.domain.policy_cases import check_case
from app.domain.verdict import EffectClass, Risk, Verdict
from app.settings import ROOT

TEXT = (ROOT / "docs" / "policies.md").read_text()
TYPES = {"STRING": "string", "INT": "int", "BOOL": "bool"}


def _block(kind: str) -> str:
    found = re.search(rf"^```toml {kind}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, kind
    return found[1]


def test_the_variables_are_those_that_conditions_see() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (string|int|bool|map|list) \| (.*?) ?\| ", TEXT, re.MULTILINE)
    written = {name: (kind, fields.replace("`", "")) for name, kind, fields in rows}
    maps = {name: ("map", "any" if fields is None else " ".join(sorted(fields))) for name, fields in FIELDS.items()}
    lists = dict.fromkeys(LISTS, ("list", ""))
    assert written == maps | lists | {name: (TYPES[kind], "") for name, kind in SCALARS.items()}


def test_the_functions_are_those_that_conditions_may_call() -> None:
    for kind, known in (("macros", _MACROS), ("methods", _METHODS), ("functions", _FUNCTIONS)):
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| {kind} |"))
        assert re.findall(r"`(\w+)`", row) == sorted(known), kind


def test_the_words_of_a_rule_are_all_there() -> None:
    for words in (EffectClass, Risk, Verdict):
        line = next(line for line in TEXT.splitlines() if "#" in line and all(str(word) in line for word in words))
        assert line


def test_the_example_loads_and_answers_as_its_table_says(tmp_path: Path) -> None:
    folder = tmp_path / "my-team"
    folder.mkdir()
    (folder / "bundle.toml").write_text(_block("bundle"))
    (folder / "rules.toml").write_text(_block("rules"))
    (folder / "my.cases.toml").write_text(_block("cases"))
    bundle, _, cases = load_bundle(folder, ROOT / "policies")
    assert [check_case(bundle, case) for case in cases] == [""]
    assert bundle.rules[0].id == "small-refund"
    assert len(bundle.rules) > 20


def test_every_bundle_is_named() -> None:
    for bundle in load_library(ROOT / "policies").bundles():
        assert f"| `{bundle.name}` | " in TEXT


def test_every_finding_of_lint_is_named() -> None:
    source = (ROOT / "app" / "domain" / "policy_lint.py").read_text()
    codes = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', source))
    assert len(codes) >= 11
    assert [code for code in sorted(codes) if f"`{code}`" not in TEXT] == []
