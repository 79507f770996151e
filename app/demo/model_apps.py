"""The two faces of the scripted model, each an application of its own: Anthropic's routes and OpenAI's routes."""

import json

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler

from app.demo import wire_anthropic, wire_openai
from app.demo.conversation import read_anthropic, read_openai
from app.demo.exchange import JSON_TYPE, Answer, Asked, Dialect, Model, Refused, parse_body, refusal
from app.demo.knobs import KnobError
from app.demo.tally import estimate

MAX_BODY = 32 * 1024 * 1024
MAX_WAIT_S = 15.0


def _wants_usage(body: object) -> bool:
    options = body.get("stream_options") if isinstance(body, dict) else None
    return isinstance(options, dict) and options.get("include_usage") is True


ANTHROPIC = Dialect(
    name="anthropic",
    read=read_anthropic,
    whole=wire_anthropic.message_body,
    events=lambda turn, model, usage, body: wire_anthropic.message_events(turn, model, usage),
    error=wire_anthropic.error_body,
    error_event=wire_anthropic.error_event,
    ping=wire_anthropic.event("ping", {}),
)
OPENAI = Dialect(
    name="openai",
    read=read_openai,
    whole=wire_openai.completion_body,
    events=lambda turn, model, usage, body: wire_openai.completion_events(turn, model, usage, _wants_usage(body)),
    error=lambda status, message, request_id: wire_openai.error_body(status, message),
    error_event=wire_openai.error_event,
    ping=b": ping\n\n",
)


def anthropic_app(model: Model) -> Litestar:
    """POST /v1/messages, count_tokens and the list of models."""

    @post("/v1/messages", status_code=200)
    async def messages(request: Request[object, object, State]) -> Answer:
        return await model.answer(request, ANTHROPIC)

    @post("/v1/messages/count_tokens")
    async def count_tokens(request: Request[object, object, State]) -> Response[bytes]:
        model.authenticate(request)
        body = parse_body(await request.body())
        usage = estimate(body, read_anthropic(body), {}, 0)
        return _json({"input_tokens": sum(usage.values()) - usage["output_tokens"]})

    @get("/v1/models")
    async def models(request: Request[object, object, State]) -> Response[bytes]:
        model.authenticate(request)
        return _json(wire_anthropic.models_body())

    return _app([messages, count_tokens, models, *_backstage(model)], ANTHROPIC)


def openai_app(model: Model) -> Litestar:
    """POST /v1/chat/completions and the list of models."""

    @post("/v1/chat/completions", status_code=200)
    async def completions(request: Request[object, object, State]) -> Answer:
        return await model.answer(request, OPENAI)

    @get("/v1/models")
    async def models(request: Request[object, object, State]) -> Response[bytes]:
        model.authenticate(request)
        return _json(wire_openai.models_body())

    return _app([completions, models, *_backstage(model)], OPENAI)


def _backstage(model: Model) -> list[ControllerRouterHandler]:
    """What only tests ask for: the tally and the knobs."""

    @get("/__ledger")
    async def ledger(request: Request[object, object, State]) -> Response[bytes]:
        model.authenticate(request)
        if not await model.tally.until(_number(request, "open"), _number(request, "answered"), MAX_WAIT_S):
            raise Refused(504, f"after {MAX_WAIT_S:g} s: {model.tally.open} open, {model.tally.answered} answered")
        return _json({"entries": model.tally.entries(), "open": model.tally.open})

    @post("/__control")
    async def control(request: Request[object, object, State]) -> Response[bytes]:
        model.authenticate(request)
        try:
            order = json.loads(await request.body())
            if not isinstance(order, dict):
                raise KnobError("an object is expected")
            model.knobs.turn(order)
        except ValueError as error:
            raise Refused(400, str(error)) from error
        return _json({"ok": True})

    return [ledger, control]


def _number(request: Asked, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not (text.isdecimal() and len(text) < 10):
        raise Refused(400, f"{name} must be a whole number")
    return int(text)


def _app(handlers: list[ControllerRouterHandler], dialect: Dialect) -> Litestar:
    def refused(_: Asked, error: Refused) -> Response[bytes]:
        return refusal(dialect, error, "", {})

    def failed(request: Asked, error: HTTPException) -> Response[bytes]:
        message = f"{request.method} {request.url.path}: {error.detail}"
        return refusal(dialect, Refused(error.status_code, message), "", {})

    return Litestar(
        route_handlers=handlers,
        exception_handlers={Refused: refused, HTTPException: failed},
        request_max_body_size=MAX_BODY,
        openapi_config=None,
    )


def _json(value: object) -> Response[bytes]:
    return Response(json.dumps(value, ensure_ascii=False).encode(), status_code=200, media_type=JSON_TYPE)
