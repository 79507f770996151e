"""Runs: the list, one run's page, its older lines and the body of a line on demand; start, steer, stop."""

from typing import Final
from urllib.parse import urlencode

from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response

from app.domain.errors import InvalidInput, NotFound
from app.domain.ids import is_run_id, short_id
from app.domain.run import Run
from app.ports import RunFilter
from app.web.blueprints import start_from_form
from app.web.context import Html, Req, form_of, is_fragment, viewer_of, web_of
from app.web.details import detail_of
from app.web.guide import guide_of
from app.web.run_views import head_of, row_of, with_proofs
from app.web.shell import fragment, html, redirect, shell_of
from app.web.views import Filter, RunPage, RunsPage, TimelineChunk
from app.web.windows import newest, older

_PAGE: Final = 50
_FILTERS: Final = (
    ("", "All", "all"),
    ("needs", "Needs you", "needs"),
    ("live", "Going", "live"),
    ("finished", "Finished", "finished"),
    ("failed", "Failed", "failed"),
    ("stopped", "Stopped", "stopped"),
)
_BOOK_S: Final = 0.25
_MODES: Final = ("queue", "steer", "interrupt")


@get("/runs")
async def runs_page(request: Req) -> Html:
    """The list; its filters stand in the URL."""
    web, query = web_of(request), request.query_params
    show = query.get("show", "") if query.get("show", "") in {value for value, _, _ in _FILTERS} else ""
    text = query.get("q", "")[:200]
    before = _number(query.get("before", "0"))
    shell = await shell_of(request)
    found = await web.services.ledger.read.runs(RunFilter(status=show, text=text, limit=_PAGE + 1, before_no=before))
    counts = await web.services.ledger.read.counts()
    now = web.now()
    rows = [row_of(run, await web.hub.pages.task_of(run.id), now) for run in found[:_PAGE]]
    page = RunsPage(
        shell=shell,
        rows=tuple(rows),
        filters=tuple(Filter(value, label, counts.get(key, 0)) for value, label, key in _FILTERS),
        active=show,
        query=text,
        older_href=_older_href(show, text, found[_PAGE - 1].no) if len(found) > _PAGE else "",
        guide=() if counts.get("all") else guide_of(web),
    )
    return html(request, page)


def _older_href(show: str, text: str, before: int) -> str:
    wanted = (("show", show), ("q", text), ("before", str(before)))
    return "/runs?" + urlencode([(key, value) for key, value in wanted if value])


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else 0


async def run_or_404(request: Req, run_id: str) -> Run:
    """A run by its id. Raises NotFound."""
    if not is_run_id(run_id):
        raise NotFound("there is no such run")
    return await web_of(request).services.runs.get(run_id)


@get("/runs/{run_id:str}")
async def run_page(request: Req, run_id: FromPath[str]) -> Html:
    """One run: its newest lines and what they add up to so far."""
    web = web_of(request)
    shell = await shell_of(request)
    run = await run_or_404(request, run_id)
    window = await newest(web.services.ledger.read, run, web.services.ledger.head if shell.head == 0 else shell.head)
    book, _ = await web.hub.books.get(run.id, run.last_seq, _BOOK_S)
    now = web.now()
    page = RunPage(
        shell=shell,
        run=head_of(run, await web.hub.pages.task_of(run.id), web.services.ledger.standing),
        rows=window.rows,
        spend=book.spend(run, now),
        evidence=with_proofs(book.evidence(run, web.settings.key_id), run),
        egress=book.egress(),
        before=window.before,
        head=shell.head,
    )
    return html(request, page)


@get("/runs/{run_id:str}/timeline")
async def run_timeline(request: Req, run_id: FromPath[str]) -> Html:
    """Older lines, before an event."""
    web = web_of(request)
    run = await run_or_404(request, run_id)
    before = _number(request.query_params.get("before", ""))
    if before <= 0:
        raise InvalidInput("before is the number of an event")
    window = await older(web.services.ledger.read, run, before)
    return fragment(web.faces.chunk(TimelineChunk(run.id, window.rows, window.before), web.now()))


@get("/runs/{run_id:str}/events/{seq:int}")
async def run_event(request: Req, run_id: FromPath[str], seq: FromPath[int]) -> Html:
    """What is behind a line: arguments, verdict, result, receipts."""
    web = web_of(request)
    await run_or_404(request, run_id)
    event = await web.services.ledger.read.event(seq) if 0 <= seq < 2**53 else None
    if event is None or event.run != run_id:
        raise NotFound("there is no such event in this run")
    return fragment(web.faces.call_detail(await detail_of(web.services.ledger.read, event), web.now()))


@post("/runs", status_code=200)
async def run_start(request: Req) -> Html:
    """Start a run from a form that names its blueprint."""
    return await start_from_form(request, "")


@post("/runs/{run_id:str}/steer", status_code=200)
async def run_steer(request: Req, run_id: FromPath[str]) -> Html:
    """A message to the agent. The same `client_id` again is the same message."""
    web, viewer = web_of(request), viewer_of(request)
    run = await run_or_404(request, run_id)
    fields = await form_of(request)
    mode, text = fields.get("mode", "queue"), fields.get("text", "")
    client_id = fields.get("client_id", "") or short_id("msg", web.services.clock.entropy(10))
    if mode not in _MODES:
        raise InvalidInput("the mode is queue, steer or interrupt")
    await web.services.steering.queue(run.id, text, mode, by=viewer.account, client_id=client_id)  # type: ignore[arg-type]
    return _done(request, run)


@post("/runs/{run_id:str}/stop", status_code=200)
async def run_stop(request: Req, run_id: FromPath[str]) -> Html:
    """Kill the run; answers when its whole tree is gone."""
    web, viewer = web_of(request), viewer_of(request)
    run = await run_or_404(request, run_id)
    await web.services.runs.stop(run.id, by=viewer.account)
    return _done(request, run)


@post("/runs/{run_id:str}/evidence", status_code=200)
async def run_evidence(request: Req, run_id: FromPath[str]) -> Html:
    """Lay a proof beside a run; its rules can ask for it."""
    web, viewer = web_of(request), viewer_of(request)
    run = await run_or_404(request, run_id)
    fields = await form_of(request)
    await web.services.evidence.attach(
        run.id,
        fields.get("kind", "").strip(),
        fields.get("ref", "").strip(),
        by=viewer.account,
        digest=fields.get("digest", "").strip(),
    )
    return _done(request, run)


def _done(request: Req, run: Run) -> Html:
    """For htmx nothing: the socket brings what changed. For a plain form the run's page."""
    if is_fragment(request):
        return Response("", status_code=204, media_type="text/plain")
    return redirect(f"/runs/{run.id}")
