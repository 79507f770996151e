"""What a bundle must answer: tables of intents with the verdict and the rule that are expected. They stand beside
the rules, are run by the tests and by `helm policy test`, and are no part of the bundle's digest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from app.domain.expressions import INTERPRETED
from app.domain.policy import Bundle, decide
from app.domain.reasons import Reason
from app.domain.toml_text import Table, read_toml
from app.domain.verdict import WORKSPACE, AgentFacts, Request, RunFacts, Verdict

_NOW: Final = "2026-11-21T12:00:00Z"


@dataclass(frozen=True, slots=True)
class Case:
    """One row: `rule` is the id of the rule that must decide, empty where none may."""

    name: str
    request: Request
    verdict: Verdict
    rule: str
    reason: Reason | None
    line: int
    file: str = ""


def parse_cases(text: str, file: str) -> list[Case]:
    """The rows of a *.cases.toml. Raises BadPolicy with file and line."""
    root = read_toml(text, file)
    root.closed("cases")
    return [_case(row) for row in root.tables("cases", most=2000)]


def check_case(bundle: Bundle, case: Case) -> str:
    """Empty when the bundle answers as expected, else one sentence that says how it differs."""
    decision = decide(bundle, case.request)
    rule = decision.rule_ids[0] if decision.rule_ids else ""
    if (decision.verdict, rule) != (case.verdict, case.rule):
        return f"{case.name}: {decision.verdict} by {rule or 'no rule'}, not {case.verdict} by {case.rule or 'no rule'}"
    if case.reason is not None and decision.reason is not case.reason:
        return f"{case.name}: the reason is {decision.reason}, not {case.reason}"
    return ""


def second_opinion(bundle: Bundle) -> Bundle:
    """The same bundle, decided by the other engine: both must agree on every case."""
    return replace(bundle, engine=INTERPRETED, _plans={})


def _case(row: Table) -> Case:
    row.closed(
        *("name", "tool", "args", "verdict", "rule", "reason_code"),
        *("host", "port", "egress_listed", "depth", "cwd", "now"),
    )
    request = Request(
        tool=row.text("tool"),
        args=row.table("args").data,
        run=RunFacts(id="case", no=1, title="case"),
        now=row.text("now", _NOW),
        agent=AgentFacts(depth=row.integer("depth", 0)),
        blueprint={"name": "case"},
        host=row.text("host", "", empty=True),
        port=row.integer("port", 0, high=65535),
        egress_listed=row.flag("egress_listed", False),
        cwd=row.text("cwd", WORKSPACE),
    )
    return Case(
        name=row.text("name"),
        request=request,
        verdict=Verdict(row.choice("verdict", [str(verdict) for verdict in Verdict])),
        rule=row.text("rule", "", empty=True),
        reason=Reason(row.choice("reason_code", [str(reason) for reason in Reason]))
        if row.has("reason_code")
        else None,
        line=row.spot(None).line,
        file=row.file,
    )
