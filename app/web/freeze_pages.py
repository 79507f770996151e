"""Freezing: one control that stops all dispatch, and lifting it again."""

from typing import Literal

from litestar import get, post
from litestar.response import Response

from app.domain.errors import InvalidInput
from app.ports import RunFilter
from app.web.context import Html, Req, answerer_of, form_of, is_fragment, viewer_of, web_of
from app.web.run_views import name_of
from app.web.shell import fragment, frozen_of, html, redirect, shell_of
from app.web.views_rules import FreezePage

_MOST_RUNS = 100


@get("/freeze")
async def freeze_page(request: Req) -> Html:
    """The big control, and what else can be frozen."""
    web = web_of(request)
    shell = await shell_of(request)
    runs = await web.services.ledger.read.runs(RunFilter(status="live", limit=_MOST_RUNS))
    taken = {(one.scope, one.target) for one in shell.frozen}
    page = FreezePage(
        shell=shell,
        frozen=shell.frozen,
        blueprints=tuple(b.name for b in web.services.library.blueprints() if ("blueprint", b.name) not in taken),
        runs=tuple((run.id, name_of(run)) for run in runs if ("run", run.id) not in taken),
    )
    return html(request, page)


@get("/freeze/banner")
async def freeze_banner(request: Req) -> Html:
    """What is frozen, as it stands above every page."""
    web = web_of(request)
    may_act = answerer_of(request).role in ("owner", "approver")
    return fragment(web.faces.frozen(await frozen_of(web), web.now(), may_act=may_act))


@post("/freeze", status_code=200)
async def freeze(request: Req) -> Html:
    """Freeze everything, a blueprint or a run, from this instant on."""
    web, viewer = web_of(request), viewer_of(request)
    fields = await form_of(request)
    await web.services.freezer.freeze(
        _scope(fields.get("scope", "")), fields.get("target", ""), by=viewer.account, reason=fields.get("reason", "")
    )
    return _done(request)


@post("/freeze/lift", status_code=200)
async def freeze_lift(request: Req) -> Html:
    """Let it go on."""
    web, viewer = web_of(request), viewer_of(request)
    fields = await form_of(request)
    await web.services.freezer.unfreeze(_scope(fields.get("scope", "")), fields.get("target", ""), by=viewer.account)
    return _done(request)


def _scope(text: str) -> Literal["all", "blueprint", "run"]:
    if text == "all":
        return "all"
    if text == "blueprint":
        return "blueprint"
    if text == "run":
        return "run"
    raise InvalidInput("what is frozen is all, blueprint or run")


def _done(request: Req) -> Html:
    """For htmx nothing: the socket brings the banner. For a plain form the page."""
    if is_fragment(request):
        return Response("", status_code=204, media_type="text/plain")
    return redirect("/freeze")
