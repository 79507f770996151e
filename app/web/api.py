"""The REST API: Bearer tokens only (a cookie opens nothing here), closed schemas, and one shape for every error."""

from typing import Any, Final

from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response

from app.domain.errors import InvalidInput, NotFound
from app.domain.ids import is_digest, short_id
from app.domain.times import text_of
from app.ports import RunFilter
from app.web.api_json import blueprint_json, health_json, run_json, steering_json, token_json
from app.web.api_requests import LIMIT, MOST, ROOT, Json, body_of, number_in, query_at, run_at
from app.web.context import OPEN, OWN, Req, viewer_of, web_of
from app.web.event_json import event_json
from app.web.openapi import document

_STATUSES: Final = frozenset(
    {
        *("needs", "live", "ended", "starting", "running", "waiting", "parked", "stopping"),
        *("interrupted", "finished", "failed", "stopped"),
    }
)


@get(f"{ROOT}/runs")
async def list_runs(request: Req) -> Json:
    """Runs, the newest first; `next` continues (0 = that was all)."""
    query = query_at(request, "/runs")
    limit = number_in(query.get("limit"), LIMIT, 1, MOST)
    status = query.get("status", "")
    if status and status not in _STATUSES:
        raise InvalidInput(f"status is one of {', '.join(sorted(_STATUSES))}")
    which = RunFilter(
        status=status,
        blueprint=query.get("blueprint", "")[:64],
        text=query.get("q", "")[:200],
        limit=limit + 1,
        before_no=number_in(query.get("cursor"), 0),
    )
    found = await web_of(request).services.ledger.read.runs(which)
    shown = found[:limit]
    return Response({"runs": [run_json(run) for run in shown], "next": shown[-1].no if len(found) > limit else 0})


@post(f"{ROOT}/runs", status_code=201)
async def start_run(request: Req) -> Json:
    """Start a run."""
    web, viewer = web_of(request), viewer_of(request)
    body = await body_of(request, "StartRun")
    run = await web.services.runs.start(
        body["blueprint"],
        by=viewer.account,
        task=body.get("task", ""),
        title=body.get("title", ""),
        budget_micro=int(body.get("budget_micro", 0)),
    )
    return Response(run_json(run))


@get(f"{ROOT}/runs/{{run:str}}")
async def show_run(request: Req, run: FromPath[str]) -> Json:
    """One run."""
    return Response(run_json(await run_at(request, run)))


@post(f"{ROOT}/runs/{{run:str}}/stop", status_code=200)
async def stop_run(request: Req, run: FromPath[str]) -> Json:
    """Kill a run."""
    web, viewer = web_of(request), viewer_of(request)
    await body_of(request, "Empty")
    found = await run_at(request, run)
    killed = await web.services.runs.stop(found.id, by=viewer.account)
    return Response({"run": run_json(await web.services.runs.get(found.id)), "killed": list(killed)})


@post(f"{ROOT}/runs/{{run:str}}/steer", status_code=202)
async def steer_run(request: Req, run: FromPath[str]) -> Json:
    """A message to the agent."""
    web, viewer = web_of(request), viewer_of(request)
    body = await body_of(request, "SteerRun")
    found = await run_at(request, run)
    client_id = body.get("client_id") or short_id("msg", web.services.clock.entropy(10))
    message = await web.services.steering.queue(
        found.id, body["text"], body.get("mode", "queue"), by=viewer.account, client_id=client_id
    )
    return Response(steering_json(message))


@get(f"{ROOT}/runs/{{run:str}}/events")
async def run_events(request: Req, run: FromPath[str]) -> Json:
    """Events of a run after a number."""
    web = web_of(request)
    query = query_at(request, "/runs/{run}/events")
    after, limit = number_in(query.get("after"), -1, -1), number_in(query.get("limit"), LIMIT, 1, MOST)
    found = await run_at(request, run)
    head = web.services.ledger.head
    events = await web.services.ledger.read.events(after=after, run=found.id, limit=limit)
    return Response({"events": [event_json(event) for event in events], "head": head})


@get(f"{ROOT}/receipts/{{receipt:str}}")
async def show_receipt(request: Req, receipt: FromPath[str]) -> Json:
    """A receipt by its id."""
    read = web_of(request).services.ledger.read
    event = await read.event(receipt) if is_digest(receipt) else None
    if event is None:
        raise NotFound("there is no such receipt")
    lines = await read.lines(after=event.seq - 1, limit=1)
    line = lines[0][1].decode("utf-8") if lines else ""
    return Response({"seq": event.seq, "id": event.id, "line": line, "event": event_json(event)})


@get(f"{ROOT}/blueprints")
async def list_blueprints(request: Req) -> Json:
    """What can be run."""
    plans = web_of(request).services.library.blueprints()
    return Response({"blueprints": [blueprint_json(plan) for plan in plans]})


@get(f"{ROOT}/blueprints/{{name:str}}")
async def show_blueprint(request: Req, name: FromPath[str]) -> Json:
    """One blueprint."""
    return Response(blueprint_json(web_of(request).services.library.blueprint(name)))


@get(f"{ROOT}/tokens")
async def list_tokens(request: Req) -> Json:
    """The caller's tokens."""
    return Response(await _tokens(request))


@post(f"{ROOT}/tokens", status_code=201, opt={OWN: True})
async def create_token(request: Req) -> Json:
    """A new token."""
    body = await body_of(request, "CreateToken")
    token, secret = await web_of(request).people.new_token(viewer_of(request).person, body["name"])
    return Response({**token_json(token), "token": secret})


@post(f"{ROOT}/tokens/{{token:str}}/revoke", status_code=200, opt={OWN: True})
async def revoke_token(request: Req, token: FromPath[str]) -> Json:
    """Revoke a token."""
    await body_of(request, "Empty")
    await web_of(request).people.end_token(token, viewer_of(request).person)
    return Response(await _tokens(request))


async def _tokens(request: Req) -> dict[str, Any]:
    tokens = await web_of(request).people.tokens(viewer_of(request).person)
    return {"tokens": [token_json(token) for token in tokens]}


@get(f"{ROOT}/health")
async def health(request: Req) -> Json:
    """The state of every part, asked now."""
    services = web_of(request).services
    report = await services.health.check()
    spent = await services.ledger.read.spent_since(text_of(services.clock.now_ms())[:10])
    slots = {"used": services.runs.slots_used(), "total": services.runs.slots_total}
    shown = {**health_json(report), "slots": slots, "spent_today_micro": spent}
    return Response(shown, status_code=200 if report.ok else 503)


@get(f"{ROOT}/version")
async def version(request: Req) -> Json:
    """The version of the server."""
    return Response({"version": web_of(request).settings.version})


@get(f"{ROOT}/log")
async def log_head(request: Req) -> Json:
    """The head of the log."""
    ledger = web_of(request).services.ledger
    return Response({"log": ledger.log, "size": ledger.head + 1, "head": ledger.head, "fault": ledger.fault})


@get(f"{ROOT}/openapi.json", opt={OPEN: True})
async def openapi(request: Req) -> Json:
    """The description of all this."""
    return Response(document(web_of(request).settings.version))


@get("/healthz", opt={OPEN: True})
async def healthz(request: Req) -> Response[str]:
    """Whether Helm is well: one word, because anybody may ask."""
    report = await web_of(request).pulse.report()
    well = report is not None and report.ok and not web_of(request).services.ledger.fault
    return Response("ok" if well else "red", status_code=200 if well else 503, media_type="text/plain")


ROUTES: Final[tuple[Any, ...]] = (
    *(list_runs, start_run, show_run, stop_run, steer_run, run_events, show_receipt),
    *(list_blueprints, show_blueprint),
    *(list_tokens, create_token, revoke_token, health, version, log_head, openapi, healthz),
)
