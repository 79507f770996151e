"""Policies: the bundles in force with their rules, what their check says, and an editor whose text is tested against
the past before it counts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from litestar import get, post
from litestar.params import FromPath

from app.domain.backtest import Row
from app.domain.errors import BadPolicy, HelmError, InvalidInput
from app.domain.policy import Bundle, Rule
from app.domain.policy_lint import ERROR, Finding, load_finding
from app.domain.verdict import Verdict
from app.services.policy_desk import Examined, History, digest_of
from app.web.context import Html, Req, answerer_of, form_of, is_fragment, web_of
from app.web.rows import Tone
from app.web.shell import fragment, html, redirect, shell_of
from app.web.text import span
from app.web.views_rules import (
    BundleFile,
    BundleRow,
    CaseRow,
    ChangedRow,
    FindingRow,
    PoliciesPage,
    PolicyEditPage,
    RuleRow,
    Trial,
)

_NAME: Final = re.compile(r"name([0-9]{1,2})")
_SHOWN: Final = 60


@get("/policies")
async def policies_page(request: Req) -> Html:
    """The list, with its first bundle open at a desk."""
    return await _page(request, "")


@get("/policies/{name:str}")
async def policy_page(request: Req, name: FromPath[str]) -> Html:
    """One bundle: its rules in their order."""
    return await _page(request, name)


async def _page(request: Req, name: str) -> Html:
    web = web_of(request)
    library = web.services.library
    hits = await web.services.ledger.read.rule_hits()
    rows = [_bundle_row(bundle, hits) for bundle in library.bundles()]
    chosen = library.bundle(name) if name else next(iter(library.bundles()), None)
    uses = [plan.name for plan in library.blueprints() if chosen is not None and plan.policy == chosen.name]
    page = PoliciesPage(
        shell=await shell_of(request),
        rows=tuple(rows),
        chosen=_bundle_row(chosen, hits) if chosen is not None else None,
        about=chosen.description if chosen is not None else "",
        digest=chosen.digest if chosen is not None else "",
        uses=tuple(uses),
        rules=_rule_rows(chosen, hits) if chosen is not None else (),
        opened=bool(name),
    )
    return html(request, page)


def _bundle_row(bundle: Bundle, hits: Mapping[tuple[str, str], int]) -> BundleRow:
    total = sum(count for (policy, _), count in hits.items() if policy == bundle.name)
    return BundleRow(bundle.name, bundle.title, len(bundle.rules), total)


def _rule_rows(bundle: Bundle, hits: Mapping[tuple[str, str], int]) -> tuple[RuleRow, ...]:
    return tuple(
        RuleRow(
            number=number,
            id=rule.id,
            verdict=rule.verdict.value,
            tools=tuple(glob.text for glob in rule.tools),
            when=rule.when.source.strip() if rule.when is not None else "",
            risk=rule.risk.value,
            takes=_takes(rule),
            hits=hits.get((bundle.name, rule.id), 0),
            message=rule.message,
            origin=_origin(rule, bundle.name),
        )
        for number, rule in enumerate(bundle.rules, 1)
    )


def _takes(rule: Rule) -> tuple[str, ...]:
    """What an answer to the rule needs, and what its calls owe."""
    owed = tuple(f"owes {name}" for name in rule.obligations)
    if rule.verdict is not Verdict.ESCALATE:
        return owed
    terms = rule.terms
    words = [f"within {span(terms.timeout_s * 1000)}"]
    words += [f"{terms.quorum} people"] if terms.quorum > 1 else []
    words += [f"waits {span(terms.delay_s * 1000)}"] if terms.delay_s else []
    words += ["signed"] if terms.proof == "key" else []
    words += [f"only {' or '.join(terms.roles)}"] if terms.roles else []
    words += ["not who started it"] if terms.not_requester else []
    return (*words, *owed)


def _origin(rule: Rule, bundle: str) -> str:
    """The bundle that a rule was taken over from; "" for the bundle's own."""
    folder = rule.file.rpartition("/")[0].rpartition("/")[2]
    return folder if folder != bundle else ""


@get("/policies/{name:str}/check")
async def policy_check(request: Req, name: FromPath[str]) -> Html:
    """What the check and the cases say about the files as they lie there; heavy, so the page asks for it by itself."""
    web = web_of(request)
    found = await web.services.policies.examine(name, await web.services.policies.files(name))
    return fragment(web.faces.checked(_finding_rows(found.findings), _case_rows(found), web.now()))


@get("/policies/{name:str}/edit")
async def policy_edit(request: Req, name: FromPath[str]) -> Html:
    """The editor."""
    files = await web_of(request).services.policies.files(name)
    page = PolicyEditPage(
        shell=await shell_of(request),
        name=name,
        files=tuple(BundleFile(file, text) for file, text in files.items()),
        base=digest_of(files),
        locked=_locked(request),
    )
    return html(request, page)


def _locked(request: Req) -> str:
    role = answerer_of(request).role
    return "" if role == "owner" else "Only an owner saves policies. You may change the text here and test it."


@post("/policies/{name:str}/test", status_code=200)
async def policy_test(request: Req, name: FromPath[str]) -> Html:
    """What an edited text is worth. Nothing is saved."""
    fields = await form_of(request)
    trial = await _trial(request, name, _files_in(fields), fields.get("base", ""), bool(fields.get("history")))
    return _trial_html(request, name, trial)


@post("/policies/{name:str}/save", status_code=200, opt={"owner": True})
async def policy_save(request: Req, name: FromPath[str]) -> Html:
    """Put a tested text into the folder; it is in force when the server has looked."""
    web = web_of(request)
    fields = await form_of(request)
    files = _files_in(fields)
    if answerer_of(request).role != "owner":
        return _trial_html(request, name, Trial(says="Only an owner saves policies.", tone=Tone.BAD))
    try:
        await web.services.policies.save(name, files, base=fields.get("base", ""), tested=fields.get("tested", ""))
    except HelmError as error:
        return _trial_html(request, name, Trial(says=_sentence(error.message), tone=Tone.BAD))
    if not is_fragment(request):
        return redirect(f"/policies/{name}")
    return _trial_html(
        request,
        name,
        Trial(
            says="Saved. It is in force within a few seconds, and the log says so.",
            tone=Tone.WELL,
            base=digest_of(files),
        ),
    )


def _files_in(fields: Mapping[str, str]) -> dict[str, str]:
    """The files of the form. A browser sends other line ends than the files have."""
    found = {}
    for key, name in fields.items():
        number = _NAME.fullmatch(key)
        if number is not None and f"text{number[1]}" in fields:
            found[name] = fields[f"text{number[1]}"].replace("\r\n", "\n")
    if not found:
        raise InvalidInput("there is no text to test")
    return found


async def _trial(request: Req, name: str, files: dict[str, str], base: str, history: bool) -> Trial:
    desk = web_of(request).services.policies
    try:
        found = await desk.examine(name, files)
        past = await desk.history(name, files) if history and not _unloadable(found) else None
    except BadPolicy as error:
        found, past = Examined((load_finding(error.message),)), None
    except InvalidInput as error:
        return Trial(says=_sentence(error.message), tone=Tone.BAD)
    return _trial_of(found, past, digest_of(files), base)


def _trial_of(found: Examined, past: History | None, tested: str, base: str) -> Trial:
    failing = sum(not case.ok for case in found.cases)
    says, tone = "No error, and every case holds.", Tone.WELL
    if found.errors or failing:
        parts = [f"{found.errors} error{'s' if found.errors != 1 else ''}"] if found.errors else []
        parts += (
            [f"{failing} case{'s' if failing != 1 else ''} that do{'es' if failing == 1 else ''} not hold"]
            if failing
            else []
        )
        says, tone = f"{' and '.join(parts)}.", Tone.BAD
    return Trial(
        findings=_finding_rows(found.findings),
        cases=_case_rows(found),
        history=tuple(_changed_row(row) for row in past.changed[:_SHOWN]) if past is not None else None,
        looked_at=past.looked_at if past is not None else 0,
        unknown=past.unknown if past is not None else 0,
        more=past.more + max(0, len(past.changed) - _SHOWN) if past is not None else 0,
        tested=tested,
        saves=found.sound,
        unchanged=tested == base,
        says=says,
        tone=tone,
    )


def _unloadable(found: Examined) -> bool:
    return any(finding.code == "LOAD" for finding in found.findings)


def _changed_row(row: Row) -> ChangedRow:
    recorded = row.recorded
    return ChangedRow(
        recorded.seq, recorded.run, recorded.tool, recorded.target, row.old[0], row.new[0], row.old[1], row.new[1]
    )


def _finding_rows(findings: Sequence[Finding]) -> tuple[FindingRow, ...]:
    ordered = sorted(findings, key=lambda one: (one.level != ERROR, one.file, one.line))
    return tuple(
        FindingRow(one.file, one.line, one.column, one.level == ERROR, one.code, one.message) for one in ordered
    )


def _case_rows(found: Examined) -> tuple[CaseRow, ...]:
    """Those that do not hold first."""
    ordered = sorted(found.cases, key=lambda case: case.ok)
    return tuple(CaseRow(case.name, case.tool, case.expected, case.got, case.ok) for case in ordered)


def _trial_html(request: Req, name: str, trial: Trial) -> Html:
    web = web_of(request)
    return fragment(web.faces.trial(name, trial, web.now(), locked=_locked(request)))


def _sentence(message: str) -> str:
    return message[:1].upper() + message[1:] + ("" if message.endswith((".", "!", "?")) else ".")
