"""The REST API: Bearer tokens only (a cookie opens nothing here), closed schemas, and one shape for every error."""

from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs
from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response

from app.domain.canonical import strict_loads
from app.domain.errors import InvalidInput, NotFound
from app.domain.ids import is_digest, is_run_id, short_id
from app.domain.run import Run
from app.domain.times import text_of
from app.ports import RunFilter
from app.services.replies import Reply
from app.web.api_json import blueprint_json, health_json, item_json, run_json, steering_json, token_json
from app.web.cards import action_of, items_of
from app.web.context import OPEN, Req, answerer_of, viewer_of, web_of
from app.web.event_json import event_json
from app.web.openapi import REQUESTS, document, query_of

_ROOT: Final = "/api/v1"
_MOST_DEPTH: Final = 16
_LIMIT: Final = 100
_MOST: Final = 500
_MOST_NUMBER: Final = 2**53 - 1
_STATUSES: Final = frozenset(
    {
        *("needs", "live", "ended", "starting", "running", "waiting", "stopping"),
        *("interrupted", "finished", "failed", "stopped"),
    }
)
_CHECKS: Final = {name: jsonschema_rs.validator_for(dict(schema)) for name, schema in REQUESTS.items()}

Json = Response[dict[str, Any]]


class Unprocessable(InvalidInput):
    """It is JSON, and not what this operation takes; the message names the field."""

    code = "SCHEMA_VIOLATION"
    status = 422


async def body_of(request: Req, schema: str) -> Mapping[str, Any]:
    """The request's JSON, checked. Raises InvalidInput (400), TooLarge (413), Unprocessable (422)."""
    data = await request.body()
    if not data and schema == "Empty":
        return {}
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise InvalidInput("the body is sent as application/json")
    limit = web_of(request).settings.body_limit
    value = strict_loads(data, max_bytes=limit, max_depth=_MOST_DEPTH)
    for error in _CHECKS[schema].iter_errors(value):
        raise Unprocessable(_words(error))
    checked: dict[str, Any] = value
    return checked


def _words(error: jsonschema_rs.ValidationError) -> str:
    """Which field is wrong and by which rule; its value is never repeated."""
    where = ".".join(str(part) for part in error.instance_path)[:100]
    rule = str(error.schema_path[-1]) if error.schema_path else "type"
    rules = {
        "additionalProperties": "has a field that is not known here",
        "required": "lacks a field that is needed",
        "type": "is of another type",
        "enum": "is none of the values that are taken",
        "pattern": "is not of the form that is taken",
        "maxLength": "is too long",
        "minLength": "is too short",
        "minimum": "is too small",
        "maximum": "is too large",
    }
    return f"{where or 'the body'} {rules.get(rule, 'does not fit the schema')}"


def _query(request: Req, path: str) -> dict[str, str]:
    allowed = query_of("get", path)
    found = dict(request.query_params)
    for name in found:
        if name not in allowed:
            raise InvalidInput(f"the parameter {name[:40]!r} is not known here")
    if any(len(request.query_params.getall(name)) > 1 for name in found):
        raise InvalidInput("a parameter came twice")
    return found


def _number(text: str | None, default: int, low: int = 0, high: int = _MOST_NUMBER) -> int:
    if text is None:
        return default
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal() or len(text) > 17 or not low <= int(text) <= high:
        raise InvalidInput(f"a number from {low} to {high} is expected")
    return int(text)


async def _run(request: Req, run: str) -> Run:
    if not is_run_id(run):
        raise NotFound("there is no such run")
    return await web_of(request).services.runs.get(run)


@get(f"{_ROOT}/runs")
async def list_runs(request: Req) -> Json:
    """Runs, the newest first; `next` continues (0 = that was all)."""
    query = _query(request, "/runs")
    limit = _number(query.get("limit"), _LIMIT, 1, _MOST)
    status = query.get("status", "")
    if status and status not in _STATUSES:
        raise InvalidInput(f"status is one of {', '.join(sorted(_STATUSES))}")
    which = RunFilter(
        status=status,
        blueprint=query.get("blueprint", "")[:64],
        text=query.get("q", "")[:200],
        limit=limit + 1,
        before_no=_number(query.get("cursor"), 0),
    )
    found = await web_of(request).services.ledger.read.runs(which)
    shown = found[:limit]
    return Response({"runs": [run_json(run) for run in shown], "next": shown[-1].no if len(found) > limit else 0})


@post(f"{_ROOT}/runs", status_code=201)
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


@get(f"{_ROOT}/runs/{{run:str}}")
async def show_run(request: Req, run: FromPath[str]) -> Json:
    """One run."""
    return Response(run_json(await _run(request, run)))


@post(f"{_ROOT}/runs/{{run:str}}/stop", status_code=200)
async def stop_run(request: Req, run: FromPath[str]) -> Json:
    """Kill a run."""
    web, viewer = web_of(request), viewer_of(request)
    await body_of(request, "Empty")
    found = await _run(request, run)
    killed = await web.services.runs.stop(found.id, by=viewer.account)
    return Response({"run": run_json(await web.services.runs.get(found.id)), "killed": list(killed)})


@post(f"{_ROOT}/runs/{{run:str}}/steer", status_code=202)
async def steer_run(request: Req, run: FromPath[str]) -> Json:
    """A message to the agent."""
    web, viewer = web_of(request), viewer_of(request)
    body = await body_of(request, "SteerRun")
    found = await _run(request, run)
    client_id = body.get("client_id") or short_id("msg", web.services.clock.entropy(10))
    message = await web.services.steering.queue(
        found.id, body["text"], body.get("mode", "queue"), by=viewer.account, client_id=client_id
    )
    return Response(steering_json(message))


@get(f"{_ROOT}/runs/{{run:str}}/events")
async def run_events(request: Req, run: FromPath[str]) -> Json:
    """Events of a run after a number."""
    web = web_of(request)
    query = _query(request, "/runs/{run}/events")
    after, limit = _number(query.get("after"), -1, -1), _number(query.get("limit"), _LIMIT, 1, _MOST)
    found = await _run(request, run)
    head = web.services.ledger.head
    events = await web.services.ledger.read.events(after=after, run=found.id, limit=limit)
    return Response({"events": [event_json(event) for event in events], "head": head})


@get(f"{_ROOT}/receipts/{{receipt:str}}")
async def show_receipt(request: Req, receipt: FromPath[str]) -> Json:
    """A receipt by its id."""
    read = web_of(request).services.ledger.read
    event = await read.event(receipt) if is_digest(receipt) else None
    if event is None:
        raise NotFound("there is no such receipt")
    lines = await read.lines(after=event.seq - 1, limit=1)
    line = lines[0][1].decode("utf-8") if lines else ""
    return Response({"seq": event.seq, "id": event.id, "line": line, "event": event_json(event)})


@get(f"{_ROOT}/inbox")
async def list_inbox(request: Req) -> Json:
    """What waits for a person."""
    actions, items = await items_of(web_of(request))
    shown = [item_json(action, item.run_name) for action, item in zip(actions, items, strict=True)]
    return Response({"items": shown})


@get(f"{_ROOT}/inbox/{{key:str}}")
async def show_item(request: Req, key: FromPath[str]) -> Json:
    """One item."""
    return Response(await _item(request, key))


@post(f"{_ROOT}/inbox/{{key:str}}/answer", status_code=200)
async def answer_item(request: Req, key: FromPath[str]) -> Json:
    """Allow once or deny."""
    web, viewer = web_of(request), viewer_of(request)
    body = await body_of(request, "AnswerItem")
    action = await action_of(web, key)
    if body["answer"] == "dismiss":
        if action.status != "unknown" or key != action.id:
            raise InvalidInput("only an outcome that nobody knows can be dismissed")
        await web.people.mark_seen(action.id, viewer.person)
        web.hub.pages.forget_inbox()
        return Response(await _item(request, action.id))
    if not action.approval:
        raise InvalidInput("this item has no question to answer")
    await web.services.approvals.resolve(
        action.approval,
        Reply(body["answer"], body.get("reason", "")),
        who=answerer_of(request),
        source=viewer.source,
    )
    return Response(await _item(request, action.id))


async def _item(request: Req, key: str) -> dict[str, Any]:
    web = web_of(request)
    action = await action_of(web, key)
    run = await web.services.runs.get(action.run)
    intent = await web.services.ledger.read.event(action.intent)
    return {**item_json(action, run.title), "input": intent.text("args") if intent is not None else ""}


@get(f"{_ROOT}/blueprints")
async def list_blueprints(request: Req) -> Json:
    """What can be run."""
    plans = web_of(request).services.library.blueprints()
    return Response({"blueprints": [blueprint_json(plan) for plan in plans]})


@get(f"{_ROOT}/blueprints/{{name:str}}")
async def show_blueprint(request: Req, name: FromPath[str]) -> Json:
    """One blueprint."""
    return Response(blueprint_json(web_of(request).services.library.blueprint(name)))


@get(f"{_ROOT}/tokens")
async def list_tokens(request: Req) -> Json:
    """The caller's tokens."""
    return Response(await _tokens(request))


@post(f"{_ROOT}/tokens", status_code=201)
async def create_token(request: Req) -> Json:
    """A new token."""
    body = await body_of(request, "CreateToken")
    token, secret = await web_of(request).people.new_token(viewer_of(request).person, body["name"])
    return Response({**token_json(token), "token": secret})


@post(f"{_ROOT}/tokens/{{token:str}}/revoke", status_code=200)
async def revoke_token(request: Req, token: FromPath[str]) -> Json:
    """Revoke a token."""
    await body_of(request, "Empty")
    await web_of(request).people.end_token(token, viewer_of(request).person)
    return Response(await _tokens(request))


async def _tokens(request: Req) -> dict[str, Any]:
    tokens = await web_of(request).people.tokens(viewer_of(request).person)
    return {"tokens": [token_json(token) for token in tokens]}


@get(f"{_ROOT}/health")
async def health(request: Req) -> Json:
    """The state of every part, asked now."""
    services = web_of(request).services
    report = await services.health.check()
    spent = await services.ledger.read.spent_since(text_of(services.clock.now_ms())[:10])
    slots = {"used": services.runs.slots_used(), "total": services.runs.slots_total}
    shown = {**health_json(report), "slots": slots, "spent_today_micro": spent}
    return Response(shown, status_code=200 if report.ok else 503)


@get(f"{_ROOT}/version")
async def version(request: Req) -> Json:
    """The version of the server."""
    return Response({"version": web_of(request).settings.version})


@get(f"{_ROOT}/log")
async def log_head(request: Req) -> Json:
    """The head of the log."""
    ledger = web_of(request).services.ledger
    return Response({"log": ledger.log, "size": ledger.head + 1, "head": ledger.head, "fault": ledger.fault})


@get(f"{_ROOT}/openapi.json", opt={OPEN: True})
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
    *(list_inbox, show_item, answer_item, list_blueprints, show_blueprint),
    *(list_tokens, create_token, revoke_token, health, version, log_head, openapi, healthz),
)
