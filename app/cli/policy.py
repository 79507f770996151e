"""`helm policy`: what is wrong with a bundle, whether it answers as its tables say, why it decided, and what another
one would have decided, and who signed it. Only `sign` writes a file, and nothing here writes the log."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from app.adapters.policies import bundle_folders, load_bundle
from app.cli.exits import HELP, NEGATIVE, OK, USAGE, Failure, run_program
from app.cli.output import out, print_json, safe
from app.cli.policy_backtest import backtest
from app.cli.policy_explain import explain
from app.cli.policy_log import Json
from app.cli.policy_schemas import SCHEMAS_HELP, gather
from app.cli.policy_seal import sign, verify
from app.domain.canonical import Json as JsonValue
from app.domain.errors import BadPolicy
from app.domain.expressions import ENGINE, INTERPRETED
from app.domain.policy import Bundle
from app.domain.policy_cases import Case, compare, second_opinion
from app.domain.policy_lint import ERROR, Finding, lint_bundle, load_finding
from app.settings import read_settings

app = typer.Typer(add_completion=False, no_args_is_help=True, epilog=HELP, help="Policy bundles.")
Target = Annotated[str, typer.Argument(metavar="[BUNDLE|PATH]", help="A bundle's name or its folder; all without.")]


@app.command()
def lint(
    bundle: Target = "",
    strict: Annotated[bool, typer.Option("--strict", help="A warning is an error too.")] = False,
    schemas: Annotated[Path | None, typer.Option("--schemas", metavar="FILE", help=SCHEMAS_HELP)] = None,
    from_log: Annotated[bool, typer.Option("--from-log", help="Take the schemas that are pinned in the log.")] = False,
    as_json: Json = False,
) -> int:
    """Say what is wrong with bundles: file, line, column, reason. Exit 1 when there is an error."""
    folders = _folders(bundle)
    known = gather(schemas, from_log)
    found = {str(folder): _lint(folder, known) for folder in folders}
    findings = [finding for rows in found.values() for finding in rows]
    bad = [finding for finding in findings if strict or finding.level == ERROR]
    if as_json:
        rows = [{name: getattr(f, name) for name in Finding.__slots__} for f in findings]
        print_json({"ok": not bad, "bundles": list(found), "findings": rows})
    else:
        for finding in findings:
            out().print(Text(safe(finding.text()), style="red" if finding.level == ERROR else "yellow"))
        errors = sum(finding.level == ERROR for finding in findings)
        print(
            f"{_count(len(folders), 'bundle')}: {_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}"
        )
    return NEGATIVE if bad else OK


@app.command()
def test(bundle: Target = "", as_json: Json = False) -> int:
    """Run every row of every *.cases.toml with both CEL engines. Exit 1 with the row, expected and got."""
    checked = [_check(folder) for folder in _folders(bundle)]
    failures = [failure for one in checked for failure in one.failures]
    if as_json:
        print_json({"ok": not failures, "bundles": [one.document() for one in checked]})
        return NEGATIVE if failures else OK
    for failure in failures:
        out().print(Text(safe(failure.text()), style="red"))
    for one in checked:
        if one.unshown:
            out().print(Text(safe(f"{one.name}: no row shows {', '.join(one.unshown)}"), style="yellow"))
    rows = sum(one.rows for one in checked)
    end = f"{len(failures)} wrong" if failures else "all well, with both engines"
    print(f"{_count(rows, 'row')} in {_count(len(checked), 'bundle')}: {end}")
    return NEGATIVE if failures else OK


app.command("explain")(explain)
app.command("backtest")(backtest)
app.command("sign")(sign)
app.command("verify")(verify)


@dataclass(frozen=True, slots=True)
class Miss:
    """A row that was answered in another way."""

    case: Case
    engine: str
    expected: dict[str, str]
    got: dict[str, str]

    def text(self) -> str:
        """One line: where, which row, what was expected and what came."""
        return (
            f"{self.case.file}:{self.case.line}: {self.case.name!r} expected {_answer(self.expected)}, "
            f"got {_answer(self.got)} ({self.engine})"
        )

    def document(self) -> dict[str, Any]:
        """For programs."""
        place = {"file": self.case.file, "line": self.case.line, "row": self.case.name, "engine": self.engine}
        return {**place, "expected": self.expected, "got": self.got}


@dataclass(frozen=True, slots=True)
class Checked:
    """A bundle against its own tables."""

    name: str
    digest: str
    rows: int
    failures: list[Miss]
    unshown: list[str]

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "bundle": self.name,
            "digest": self.digest,
            "rows": self.rows,
            "failures": [failure.document() for failure in self.failures],
            "rules_without_a_row": self.unshown,
        }


def _folders(target: str) -> list[Path]:
    """The bundle that is meant, by its name or its folder; all of the installation without a word."""
    library = read_settings(os.environ).policies
    if not target:
        return bundle_folders(library)
    for path in (library / target, Path(target)):
        if path.is_dir():
            return [path.resolve() if path.name in ("", "..") else path]
    raise Failure(f"there is no bundle {target[:100]!r} in {library}, and no such folder", USAGE)


def _lint(folder: Path, schemas: dict[str, JsonValue]) -> list[Finding]:
    try:
        bundle, texts, cases = load_bundle(folder, read_settings(os.environ).policies)
    except BadPolicy as error:
        return [load_finding(error.message)]
    found = lint_bundle(bundle, texts, cases, schemas)
    return [finding for finding in found if finding.file.startswith(f"{folder}/")]


def _check(folder: Path) -> Checked:
    bundle, _, cases = load_bundle(folder, read_settings(os.environ).policies)
    misses = [miss for case in cases for miss in _misses(bundle, case, ENGINE.name)]
    if ENGINE is not INTERPRETED:
        other = second_opinion(bundle)
        misses += [miss for case in cases for miss in _misses(other, case, INTERPRETED.name)]
    shown = {case.rule for case in cases}
    unshown = [rule.id for rule in bundle.rules if rule.file.startswith(f"{folder}/") and rule.id not in shown]
    return Checked(bundle.name, bundle.digest, len(cases), misses, unshown)


def _misses(bundle: Bundle, case: Case, engine: str) -> Sequence[Miss]:
    expected, got = compare(bundle, case)
    return [] if expected == got else [Miss(case, engine, expected, got)]


def _answer(what: dict[str, str]) -> str:
    more = [f"{name} {value or 'none'}" for name, value in what.items() if name not in ("verdict", "rule")]
    return f"{what['verdict']} by {what['rule'] or 'no rule'}{' with ' + ', '.join(more) if more else ''}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    run_program(app, "policy")
