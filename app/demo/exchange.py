"""One request to the scripted model: key, body, next turn, knobs, answer, one line in the tally.

Which wire format it speaks is a parameter.
"""

import asyncio
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from litestar import Request, Response
from litestar.datastructures import State
from litestar.response import Stream

from app.demo.conversation import Conversation
from app.demo.knobs import PING_S, Failure, Knobs
from app.demo.play import Stage, Turn
from app.demo.tally import Tally, estimate, fingerprint

JSON_TYPE = "application/json"
Usage = Mapping[str, int]
Asked = Request[object, object, State]
Answer = Response[bytes] | Stream


@dataclass(frozen=True, slots=True)
class Dialect:
    """A wire format: how it is read and how it answers."""

    name: str
    read: Callable[[Mapping[str, object]], Conversation]
    whole: Callable[[Turn, str, Usage], dict[str, object]]
    events: Callable[[Turn, str, Usage, Mapping[str, object]], Iterator[bytes]]
    error: Callable[[int, str, str], dict[str, object]]
    error_event: Callable[[int, str], bytes]
    ping: bytes


class Refused(Exception):
    """An answer that is an error of the wire format."""

    def __init__(self, status: int, message: str, retry_after: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Cut(ConnectionError):
    """The connection is dropped in the middle of an answer, on purpose."""


@dataclass(slots=True)
class Exchange:
    """What one request needs between its arrival and its line in the tally."""

    dialect: Dialect
    request_id: str
    line: dict[str, object]
    body: dict[str, object] = field(default_factory=dict)
    echo: dict[str, str] = field(default_factory=dict)
    failure: Failure | None = None
    held: str = ""


class Model:
    """The scripted model behind both formats."""

    def __init__(self, stage: Stage, tally: Tally, knobs: Knobs, key: str) -> None:
        self.tally = tally
        self.knobs = knobs
        self._stage = stage
        self._key = key

    def authenticate(self, request: Asked) -> str:
        """The key that the request carries; a wrong one is a 401."""
        given = (
            request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        )
        if not hmac.compare_digest(given.encode(), self._key.encode()):
            raise Refused(
                401, "invalid x-api-key" if given else "a key is required: x-api-key or authorization: Bearer"
            )
        return given

    async def answer(self, request: Asked, dialect: Dialect) -> Answer:
        """Play the next turn of the conversation that the request carries."""
        request_id = f"req_demo_{secrets.token_hex(8)}"
        exchange = Exchange(dialect, request_id, _line(request, request_id))
        self.tally.begin()
        try:
            return await self._answer(request, exchange)
        except Refused as refused:
            self._close(exchange, status=refused.status)
            return refusal(dialect, refused, request_id, exchange.echo)
        except asyncio.CancelledError:
            self._close(exchange, status=499)
            raise

    async def _answer(self, request: Asked, exchange: Exchange) -> Answer:
        self.authenticate(request)
        raw = await request.body()
        exchange.body = parse_body(raw)
        talk = exchange.dialect.read(exchange.body)
        turn = self._stage.next_turn(talk)
        exchange.line.update(model=talk.model, scenario=turn.scenario, part=turn.part, step=turn.step)
        await self._wait(raw.decode("utf-8", "replace"), exchange, turn)
        turn = self._echoed(request, exchange, turn)
        if exchange.failure is not None and exchange.failure.mode == "status":
            raise Refused(exchange.failure.status, exchange.failure.message, exchange.failure.retry_after)
        if turn.error is not None:
            raise Refused(turn.error.status, turn.error.message)
        if _wants_schema(exchange.body) and not talk.tools:
            turn = replace(turn, texts=(_schema_text(exchange.body),), calls=())
        return self._give(exchange, talk, turn)

    async def _wait(self, text: str, exchange: Exchange, turn: Turn) -> None:
        exchange.failure = self.knobs.failure(text)
        exchange.held = self.knobs.hold(text)
        if exchange.held == "headers":
            await self.knobs.released()
        await asyncio.sleep((self.knobs.first_ms + turn.hold_ms) / 1000)

    def _echoed(self, request: Asked, exchange: Exchange, turn: Turn) -> Turn:
        """A provider that repeats what it was sent, which must not reach the agent when it is a key."""
        value = request.headers.get(self.knobs.echo_header, "") if self.knobs.echo_header else ""
        if not value:
            return turn
        if self.knobs.echo_into == "error":
            raise Refused(500, f"upstream failed for {self.knobs.echo_header}: {value}")
        if self.knobs.echo_into == "header":
            exchange.echo["x-demo-echo"] = value
            return turn
        return replace(turn, texts=(*turn.texts, f"{self.knobs.echo_header}: {value}"))

    def _give(self, exchange: Exchange, talk: Conversation, turn: Turn) -> Answer:
        said = sum(map(len, turn.texts)) + sum(len(json.dumps(use.call.input)) + 40 for use in turn.calls)
        usage = estimate(exchange.body, talk, turn.usage, said)
        headers = {"request-id": exchange.request_id, "x-request-id": exchange.request_id, **exchange.echo}
        if exchange.body.get("stream") is True:
            headers["cache-control"] = "no-cache"
            stream = self._stream(exchange, talk.model, turn, usage)
            return Stream(stream, status_code=200, media_type="text/event-stream", headers=headers)
        whole = exchange.dialect.whole(turn, talk.model, usage)
        self._close(exchange, status=200, usage=usage, complete=True)
        content = json.dumps(whole, ensure_ascii=False).encode()
        return Response(content, status_code=200, media_type=JSON_TYPE, headers=headers)

    async def _stream(self, exchange: Exchange, model: str, turn: Turn, usage: Usage) -> AsyncIterator[bytes]:
        complete = False
        try:
            async for chunk in self._paced(exchange, model, turn, usage):
                yield chunk
            complete = exchange.failure is None
        finally:  # also when the reader is gone: what was given so far has been paid for
            self._close(exchange, status=200, usage=usage, complete=complete)

    async def _paced(self, exchange: Exchange, model: str, turn: Turn, usage: Usage) -> AsyncIterator[bytes]:
        pause = (self.knobs.chunk_ms if self.knobs.chunk_ms is not None else turn.delay_ms) / 1000
        for n, chunk in enumerate(exchange.dialect.events(turn, model, usage, exchange.body)):
            if n == 1 and exchange.held == "stream":
                while not await self.knobs.released(PING_S):
                    yield exchange.dialect.ping
            if n == 3 and exchange.failure is not None:
                if exchange.failure.mode == "cut":
                    raise Cut("the stream is cut here on request of a test")
                yield exchange.dialect.error_event(exchange.failure.status, exchange.failure.message)
                return
            yield chunk
            await asyncio.sleep(pause)

    def _close(self, exchange: Exchange, *, status: int, usage: Usage | None = None, complete: bool = False) -> None:
        self.tally.add({**exchange.line, "status": status, "usage": dict(usage or {}), "complete": complete})


def refusal(dialect: Dialect, refused: Refused, request_id: str, headers: Mapping[str, str]) -> Response[bytes]:
    extra = {"retry-after": refused.retry_after} if refused.retry_after else {}
    text = json.dumps(dialect.error(refused.status, str(refused), request_id))
    all_headers = {"request-id": request_id, **extra, **headers}
    return Response(text.encode(), status_code=refused.status, media_type=JSON_TYPE, headers=all_headers)


def parse_body(raw: bytes) -> dict[str, object]:
    """The request's JSON object; anything else is a 400."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise Refused(400, "messages: a list with at least one message is required")
    if not isinstance(body.get("model"), str):
        raise Refused(400, "model: a text is required")
    return body


def _line(request: Asked, request_id: str) -> dict[str, object]:
    credentials = {
        name: fingerprint(value) for name, value in request.headers.items() if name in ("x-api-key", "authorization")
    }
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    return {
        "request_id": request_id,
        "path": request.url.path,
        "key": fingerprint(request.headers.get("x-api-key") or bearer),
        "credentials": credentials,
        "session": request.headers.get("x-claude-code-session-id", ""),
        "agent": request.headers.get("x-claude-code-agent-id", ""),
        "user_agent": request.headers.get("user-agent", ""),
    }


def _wants_schema(body: Mapping[str, object]) -> bool:
    return _schema(body) is not None


def _schema(body: Mapping[str, object]) -> Mapping[str, object] | None:
    """The JSON schema that the caller wants the text to satisfy, in either format."""
    config = body.get("output_config")
    wanted = config.get("format") if isinstance(config, Mapping) else body.get("response_format")
    if not isinstance(wanted, Mapping) or wanted.get("type") != "json_schema":
        return None
    inner = wanted.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, Mapping) else wanted.get("schema")
    return schema if isinstance(schema, Mapping) else None


def _schema_text(body: Mapping[str, object]) -> str:
    """A small value for a flat object of texts (a title, a summary); enough for what the runtime asks on the side."""
    properties = (_schema(body) or {}).get("properties")
    names = properties if isinstance(properties, Mapping) else {}
    return json.dumps({str(name): "Helm demo" for name in names})
