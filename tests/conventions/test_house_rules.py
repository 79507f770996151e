"""The rules of the house, as tests: layers, sizes, and documents that say what the code does."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from app.domain.payload import PAYLOADS
from app.domain.reasons import Reason
from app.settings import ROOT, SETTINGS

MODULES = sorted([*(ROOT / "app").rglob("*.py"), *(ROOT / "agent_image").glob("*.py")])
README = (ROOT / "README.md").read_text()


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_layers_hold() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "importlinter.cli", "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    if "No module named" in run.stderr:
        run = subprocess.run(["lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_is_small_documented_and_imports_at_its_top(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    assert source.count("\n") <= 400
    assert ast.get_docstring(tree), "a module says which rule it keeps"
    for function in _functions(tree):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= 60, f"{function.name} has {lines} lines"
        deferred = [node for node in ast.walk(function) if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert not deferred, f"{function.name} imports inside"
    assert "TYPE_CHECKING" not in source


def _broad(handler: ast.ExceptHandler) -> bool:
    name = handler.type.id if isinstance(handler.type, ast.Name) else ""
    return (handler.type is None or name in ("Exception", "BaseException")) and not (
        isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None
    )


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_broad_catch_says_why(path: Path) -> None:
    source = path.read_text()
    lines = source.splitlines()
    for handler in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ExceptHandler)):
        if _broad(handler):
            around = lines[handler.lineno - 1 : handler.body[0].lineno]
            assert any("#" in line for line in around), f"line {handler.lineno} catches everything and does not say why"


def test_every_setting_is_in_the_readme() -> None:
    for name, (default, meaning) in SETTINGS.items():
        shown = f"| `{name}` | `{default}` | {meaning} |" if default else f"| `{name}` | | {meaning} |"
        assert shown in README, name


def test_every_reason_code_is_in_the_readme_with_its_remedy() -> None:
    for reason in Reason:
        assert f"| `{reason.value}` | {reason.meaning} | {reason.remedy} |" in README, reason


def test_every_invariant_names_a_test_that_exists() -> None:
    named = re.findall(r"\| `(test_[a-z_0-9]+)` \|", README)
    assert len(named) >= 10
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in named:
        assert f"def {name}(" in written, name


def _asked_for() -> list[tuple[str, str]]:
    """The rows of the README's table: number, what shows it."""
    part = README.partition("## What users ask for")[2].partition("\n## ")[0]
    return [(row[0], row[1]) for row in re.findall(r"^\| (\d+) \|[^|]+\| (.+) \|$", part, re.M)]


def test_every_demand_of_users_names_tests_that_exist_or_says_not_yet() -> None:
    rows = _asked_for()
    assert [int(number) for number, _ in rows] == list(range(1, 26))
    for number, shown in rows:
        named = re.findall(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`", shown)
        assert named or re.search(r"not yet \(issue [4-8]\)", shown), number
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(), f"{number}: {file}::{test}"


def _marked() -> Iterator[str]:
    """The reason codes that some test is marked with."""
    paths = [path for path in (ROOT / "tests").rglob("test_*.py") if path.parent.name != "conventions"]
    for path in paths:
        for function in _functions(ast.parse(path.read_text())):
            for mark in function.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "emits":
                    yield from (code.attr for code in mark.args if isinstance(code, ast.Attribute))


def test_every_reason_code_is_said_at_a_public_door() -> None:
    """`@emits` holds a test to it: a marked test that does not meet its codes fails (tests/emits.py)."""
    assert set(_marked()) == {reason.name for reason in Reason}


def test_every_kind_of_receipt_has_a_class_of_its_own() -> None:
    assert len(set(PAYLOADS.values())) == len(PAYLOADS)
    for (kind, etype), cls in PAYLOADS.items():
        assert (cls.kind, cls.etype) == (kind, etype)


def test_no_lock_or_build_file_names_a_host() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    watched = [
        f
        for f in files
        if f.endswith(".lock") or "requirements" in f or "Dockerfile" in f or f == "Makefile" or ".ci" in f
    ]
    assert watched
    for name in watched:
        assert not re.search(r"https?://(?!127\.0\.0\.1|localhost)", (ROOT / name).read_text()), name
