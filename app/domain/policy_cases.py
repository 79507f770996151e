"""What a bundle must answer: tables of intents with the verdict and the rule that are expected. They stand beside
the rules, are run by the tests and by `helm policy test`, and are no part of the bundle's digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from app.domain.canonical import Json
from app.domain.expressions import INTERPRETED
from app.domain.policy import Bundle, decide
from app.domain.reasons import Reason
from app.domain.toml_text import Table, read_toml
from app.domain.verdict import WORKSPACE, AgentFacts, Decision, GrantFacts, Request, Risk, RunFacts, Verdict

_NOW: Final = "2026-11-21T12:00:00.000Z"
_LATER: Final = "9999-01-01T00:00:00.000Z"
TERMS: Final = {
    "timeout": "timeout_s",
    "quorum": "quorum",
    "delay": "delay_s",
    "proof": "proof",
    "roles": "roles",
    "not_requester": "not_requester",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One row: `rule` is the id of the rule that must decide, empty where none may; `more` is what else it expects, by
    name."""

    name: str
    request: Request
    verdict: Verdict
    rule: str
    more: Mapping[str, str]
    line: int
    file: str = ""


def parse_cases(text: str, file: str) -> list[Case]:
    """The rows of a *.cases.toml. Raises BadPolicy with file and line."""
    root = read_toml(text, file)
    root.closed("cases")
    return [_case(row) for row in root.tables("cases", most=2000)]


def check_case(bundle: Bundle, case: Case) -> str:
    """Empty when the bundle answers as expected, else one sentence that says how it differs."""
    expected, got = compare(bundle, case)
    wrong = [name for name in expected if expected[name] != got[name]]
    if not wrong:
        return ""
    words = ", ".join(f"{name} {got[name] or 'none'}, not {expected[name] or 'none'}" for name in wrong)
    return f"{case.name}: {words}"


def compare(bundle: Bundle, case: Case) -> tuple[dict[str, str], dict[str, str]]:
    """What a row expects, and what the bundle answers to it, under the same names."""
    decision = decide(bundle, case.request)
    got = _answered(decision)
    expected = {"verdict": case.verdict.value, "rule": case.rule, **case.more}
    return expected, {name: got.get(name, "") for name in expected}


def _answered(decision: Decision) -> dict[str, str]:
    terms = decision.approval
    return {
        "verdict": decision.verdict.value,
        "rule": next(iter(decision.rule_ids), ""),
        "reason_code": decision.reason.value,
        "grant": decision.grant,
        "risk": decision.risk.value,
        "obligations": " ".join(decision.obligations),
        **({f"approval.{name}": _text(getattr(terms, field)) for name, field in TERMS.items()} if terms else {}),
    }


def second_opinion(bundle: Bundle) -> Bundle:
    """The same bundle, decided by the other engine: both must agree on every case."""
    return replace(bundle, engine=INTERPRETED, _plans={})


def _case(row: Table) -> Case:
    row.closed(
        *("name", "tool", "args", "verdict", "rule", "reason_code", "grant", "risk", "obligations", "approval"),
        *("host", "port", "egress_listed", "depth", "cwd", "now", "evidence", "grants"),
    )
    now = row.text("now", _NOW)
    request = Request(
        tool=row.text("tool"),
        args=row.table("args").data,
        run=RunFacts(id="case", no=1, title="case"),
        now=now,
        agent=AgentFacts(depth=row.integer("depth", 0)),
        blueprint={"name": "case"},
        host=row.text("host", "", empty=True),
        port=row.integer("port", 0, high=65535),
        egress_listed=row.flag("egress_listed", False),
        cwd=row.text("cwd", WORKSPACE),
        grants=tuple(_grant(grant, row) for grant in row.tables("grants", most=20)),
        evidence=_evidence(row.table("evidence"), now),
    )
    return Case(
        name=row.text("name"),
        request=request,
        verdict=Verdict(row.choice("verdict", [str(verdict) for verdict in Verdict])),
        rule=row.text("rule", "", empty=True),
        more=_expected(row),
        line=row.spot(None).line,
        file=row.file,
    )


def _expected(row: Table) -> dict[str, str]:
    """What a row expects beyond verdict and rule: only what it names is compared."""
    more: dict[str, str] = {}
    if row.has("reason_code"):
        more["reason_code"] = row.choice("reason_code", [str(reason) for reason in Reason])
    if row.has("grant"):
        more["grant"] = row.text("grant", empty=True)
    if row.has("risk"):
        more["risk"] = row.choice("risk", [str(risk) for risk in Risk])
    if row.has("obligations"):
        more["obligations"] = " ".join(row.strings("obligations"))
    terms = row.table("approval")
    terms.closed(*TERMS)
    return more | {f"approval.{name}": _text(value) for name, value in terms.data.items()}


def _grant(table: Table, row: Table) -> GrantFacts:
    """A grant of a row; what it does not name fits the row."""
    table.closed("id", "rule", "tool", "scope", "pattern", "expires", "uses_left")
    return GrantFacts(
        id=table.text("id", "grant"),
        rule=table.text("rule", row.text("rule", "", empty=True), empty=True),
        tool=table.text("tool", row.text("tool")),
        scope=table.choice("scope", ["run", "blueprint"], "run"),
        pattern=table.text("pattern", "", limit=4096, empty=True),
        expires=table.text("expires", _LATER),
        uses_left=table.integer("uses_left", 1),
        by="case",
    )


def _evidence(table: Table, now: str) -> Json:
    """Each kind with its reference, as if it had been attached a moment ago."""
    return {kind: {"ref": table.text(kind, empty=True), "digest": "", "by": "case", "at": now} for kind in table.data}


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(str(item) for item in value)
    return str(value).lower()
