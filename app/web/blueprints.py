"""Blueprints: what can be run, what it may do, and the form that starts it."""

from decimal import Decimal, InvalidOperation
from typing import Final

from litestar import get, post
from litestar.params import FromPath

from app.domain.blueprint import Blueprint
from app.domain.errors import EngineUnavailable, HelmError, InvalidInput, NotFound, TooLarge
from app.domain.ids import is_run_id
from app.domain.policy import Bundle
from app.ports import RunFilter
from app.web.action_rows import at, verb_of
from app.web.context import Html, Req, form_of, viewer_of, web_of
from app.web.policy_words import policy_line
from app.web.rows import Tone
from app.web.shell import html, redirect, shell_of
from app.web.text import money
from app.web.views import Notice
from app.web.views_plain import BlueprintRow, BlueprintsPage, May, StartForm

MAX_BUDGET_MICRO: Final = 10_000 * 1_000_000


@get("/blueprints")
async def blueprints_page(request: Req) -> Html:
    """The list."""
    return await _page(request, "", None)


@get("/blueprints/{name:str}")
async def blueprint_page(request: Req, name: FromPath[str]) -> Html:
    """One blueprint with its start form; `?again=<run>` fills it with what that run was told."""
    return await _page(request, name, await _again(request, name, request.query_params.get("again", "")))


@post("/blueprints/{name:str}/start", status_code=200)
async def blueprint_start(request: Req, name: FromPath[str]) -> Html:
    """Start a run of this blueprint."""
    return await start_from_form(request, name)


async def start_from_form(request: Req, name: str) -> Html:
    """Start, and go to the run; what is wrong is said beside its field, and nothing typed is lost."""
    web, viewer = web_of(request), viewer_of(request)
    fields = await form_of(request)
    name = name or fields.get("blueprint", "")
    plan = web.services.library.blueprint(name)
    form = StartForm(fields.get("task", ""), fields.get("title", ""), fields.get("budget", ""))
    try:
        budget = micro_of(form.budget) if form.budget.strip() else 0
    except InvalidInput as error:
        return await _page(request, plan.name, _wrong(form, "budget", error.message), 422)
    try:
        run = await web.services.runs.start(
            plan.name, by=viewer.account, task=form.task, title=form.title, budget_micro=budget
        )
    except EngineUnavailable as error:
        blocked = Notice("No container can be started.", error.message)
        return await _page(request, plan.name, StartForm(form.task, form.title, form.budget, (), blocked), 503)
    except (InvalidInput, TooLarge) as error:
        return await _page(request, plan.name, _wrong(form, "", error.message), 422)
    except HelmError as error:
        return await _page(request, plan.name, _wrong(form, "", error.message), error.status)
    return redirect(f"/runs/{run.id}")


def _wrong(form: StartForm, field: str, message: str) -> StartForm:
    words = message[:1].upper() + message[1:] + "."
    return StartForm(form.task, form.title, form.budget, ((field, words),))


def micro_of(text: str) -> int:
    """Dollars as people write them ("5", "$2.50") in micro-dollars. Raises InvalidInput."""
    bare = text.strip().removeprefix("$").replace(",", "")
    try:
        value = Decimal(bare) * 1_000_000
    except InvalidOperation:
        raise InvalidInput("a cap is an amount in dollars, such as 5.00") from None
    if not value.is_finite() or value != value.to_integral_value() or not 0 < value <= MAX_BUDGET_MICRO:
        raise InvalidInput(f"a cap is above $0 and at most {money(MAX_BUDGET_MICRO)}, with at most six decimals")
    return int(value)


async def _page(request: Req, name: str, form: StartForm | None, status: int = 200) -> Html:
    web = web_of(request)
    plans = list(web.services.library.blueprints())
    chosen = next((plan for plan in plans if plan.name == name), None)
    if name and chosen is None:
        raise NotFound("there is no such blueprint")
    rows = {plan.name: await _row(request, plan) for plan in plans}
    if chosen is not None and form is None:
        form = StartForm(chosen.task, chosen.title, f"{chosen.budget_micro / 1e6:.2f}", (), await _blocked(request))
    page = BlueprintsPage(
        shell=await shell_of(request),
        rows=tuple(rows.values()),
        chosen=rows[chosen.name] if chosen is not None else None,
        may=may_of(chosen, web.services.library.bundle(chosen.policy)) if chosen is not None else (),
        form=form,
        opened=bool(name),
    )
    return html(request, page, status)


async def _again(request: Req, name: str, run_id: str) -> StartForm | None:
    run = await web_of(request).services.ledger.read.run(run_id) if is_run_id(run_id) else None
    if run is None or run.blueprint != name:
        return None
    task = await web_of(request).services.runs.task_of(run.id)
    return StartForm(task, run.title, f"{run.budget_micro / 1e6:.2f}", (), await _blocked(request))


async def _blocked(request: Req) -> Notice | None:
    report = await web_of(request).pulse.report()
    if report is None or report.engine.ok:
        return None
    return Notice(report.engine.reason or "No container can be started.", report.engine.remedy)


async def _row(request: Req, plan: Blueprint) -> BlueprintRow:
    last = await web_of(request).services.ledger.read.runs(RunFilter(blueprint=plan.name, limit=1))
    return BlueprintRow(
        name=plan.name,
        title=plan.title,
        purpose=plan.description,
        model=plan.model,
        cap=plan.budget_micro,
        last_ms=at(last[0].opened_ts) if last else None,
        demo=plan.demo,
    )


def may_of(plan: Blueprint, bundle: Bundle) -> tuple[May, ...]:
    """What a run of it may do, in the order of how far it reaches."""
    lines = [policy_line(verb_of(tool), tool, bundle) for tool in plan.tools]
    lines += [policy_line(f"MCP server {name}", f"mcp__{name}__*", bundle) for name, _ in plan.mcp]
    for rule in plan.egress:
        note = f"pinned to {rule.address}" if rule.address else ""
        lines.append(May(f"{rule.host}:{rule.port}", "may connect", note))
    rest = "no other host" if plan.egress else "no host at all"
    lines.append(May("Network", rest, "sealed: only its own door", Tone.WELL))
    lines.append(May("Money", f"at most {money(plan.budget_micro)}", "reserved before each model call"))
    memory = f"{plan.resources.memory} memory, {plan.resources.cpus} CPU, {plan.resources.pids} processes"
    lines.append(May("Container", memory, "no new privileges, read-only root"))
    return tuple(lines)
