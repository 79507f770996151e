"""The model proxy: a fixed upstream, a closed list of routes, the provider's key added here and nowhere else.

What the agent sent as a credential is dropped; the answer streams through unbuffered while it is metered.
"""

from __future__ import annotations

import asyncio

from app.domain.streams import AnthropicDialect, BlindReader, Dialect, JsonReader, Reader, Reading, SseReader
from app.domain.streams_openai import ChatDialect, ResponsesDialect
from app.door.answers import Refusal
from app.door.exchange import Body, body_of, read_answer
from app.door.house import House
from app.door.limits import BODY_SECONDS, MAX_MODEL_BODY, UPSTREAM_SECONDS
from app.door.log import log
from app.door.model_request import ModelRequest, Route, find_route, parse_model_request
from app.door.parse import Framing, HttpError, RequestHead, ResponseHead
from app.door.redact import Redactor
from app.door.relay import Relay, crossing_fields, request_bytes
from app.door.run_door import RunDoor
from app.door.settlement import Settlement, ending_facts, reserve
from app.door.upstreams import Upstream
from app.door.wire import Wire, WireError, watch_client

BIG_BODY = 256 * 1024
CREDENTIALS = frozenset(
    {
        "accept-encoding",
        "api-key",
        "authorization",
        "cookie",
        "cookie2",
        "content-encoding",
        "x-amz-security-token",
        "x-api-key",
        "x-auth-token",
        "x-goog-api-key",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
    }
)
STRIPPED_FROM_ANSWER = frozenset({"alt-svc", "set-cookie", "set-cookie2"})
_DIALECTS: dict[str, type[AnthropicDialect] | type[ChatDialect] | type[ResponsesDialect]] = {
    "messages": AnthropicDialect,
    "chat": ChatDialect,
    "embeddings": ChatDialect,
    "responses": ResponsesDialect,
}
_big_parse = asyncio.Lock()


class ModelCall:
    """One call on its way: what was asked, what came back, and its settlement."""

    def __init__(self, house: House, run: RunDoor, client: Wire, head: RequestHead, upstream: Upstream) -> None:
        self._house = house
        self._run = run
        self._client = client
        self._head = head
        self._upstream = upstream
        self._settlement: Settlement | None = None
        self._reader: Reader = BlindReader()
        self._http_status = 0
        self._request_id = ""
        self._redactor: Redactor | None = None
        self._body = b""
        self._held = 0
        self._keep_alive = False

    async def serve(self, target: str) -> bool:
        """Carry the call out; True when the client's connection can be used again. Raises HttpError, WireError."""
        route = find_route(self._upstream.provider, self._head.method, target)
        if self._head.get("content-encoding") not in (None, "identity"):
            raise HttpError(415, "send the body uncompressed")
        key = self._house.keys.get(self._upstream.key)
        if key is None:
            raise Refusal(403, f"Helm has no key: run `helm key set {self._upstream.key}`.", "NO_PROVIDER_KEY")
        self._hold()
        try:
            self._body = await body_of(self._client, self._head).read(MAX_MODEL_BODY, BODY_SECONDS)
            watch_client(self._client)
            # Held, not refused: an agent's runtime takes a refusal for the end of its run, and goes on after a thaw.
            await self._run.thawed()
            if route.metered:
                await self._reserve(route, await _parse(self._body, route.format))
            return await self._forward(route, key)
        finally:
            self._client.gone = None
            self._let_go()

    def _hold(self) -> None:
        size = self._head.length if self._head.framing is not Framing.CHUNKED else MAX_MODEL_BODY
        if size > MAX_MODEL_BODY:
            raise HttpError(413, f"a request body has at most {MAX_MODEL_BODY} bytes")
        self._run.allowance.hold(size)
        self._held = size

    def _let_go(self) -> None:
        self._body = b""
        self._run.allowance.release(self._held)
        self._held = 0

    async def _reserve(self, route: Route, request: ModelRequest) -> None:
        question = {
            "provider": self._upstream.provider,
            "method": self._head.method,
            "path": route.path,
            "model": request.model,
            "agent": (self._head.get("x-claude-code-agent-id") or "")[:200],
            "stream": request.stream,
            "max_tokens": request.max_tokens,
            "body_bytes": request.size,
            "tool_results": [{"id": name, "is_error": is_error} for name, is_error in request.tool_results],
            "body_sha256": request.sha256,
        }
        self._settlement = await reserve(self._house, self._run, question)

    async def _forward(self, route: Route, key: str) -> bool:
        status, error = "cancelled", "client-gone"
        try:
            status, error = await self._exchange(route, key)
        except (WireError, HttpError) as cut:
            status, error = "failed", "stream-cut" if self._http_status else "upstream-lost"
            if self._run.frozen:
                error = "frozen"
            if self._http_status:
                raise WireError("the provider's answer was cut") from None
            raise self._unreachable(str(cut)) from None
        except (OSError, TimeoutError) as cause:
            status, error = "failed", "upstream-unreachable"
            raise self._unreachable(type(cause).__name__) from None
        finally:
            self._settle(route, status, error)
        return self._keep_alive

    def _unreachable(self, text: str) -> Refusal:
        status = 529 if self._upstream.provider == "anthropic" else 503
        if self._run.frozen:
            return Refusal(status, "Helm froze this run; the call was not answered.", "FROZEN", retry=1)
        log("upstream.lost", run=self._run.run, provider=self._upstream.provider, error=text)
        return Refusal(status, "The model provider cannot be reached.", "UPSTREAM_UNREACHABLE", retry=2)

    async def _exchange(self, route: Route, key: str) -> tuple[str, str]:
        pool = self._run.pool(self._upstream, lambda: self._house.pool_to(self._upstream))
        wire = await pool.acquire()
        self._run.track_outward(wire)
        try:
            wire.send(self._request(route, key))
            self._let_go()
            await wire.drain(UPSTREAM_SECONDS)
            answer = await read_answer(wire, self._head.method, UPSTREAM_SECONDS)
            incoming = body_of(wire, answer)
            await self._pass_back(route, answer, incoming, key, wire)
        except BaseException:
            wire.abort()
            raise
        finally:
            self._run.untrack(wire)
        if answer.keep_alive and incoming.complete:
            pool.release(wire)
        else:
            wire.close()
        return ("failed", "upstream-status") if answer.status >= 300 else ("executed", "")

    def _request(self, route: Route, key: str) -> bytes:
        body = self._body
        lines = [f"host: {self._upstream.authority}", *crossing_fields(self._head.fields, CREDENTIALS)]
        lines.append("accept-encoding: identity")
        name = "x-api-key: " if self._upstream.provider == "anthropic" else "authorization: Bearer "
        lines.append(name + key)
        target = self._upstream.prefix + route.path + (f"?{route.query}" if route.query else "")
        length = len(body) if self._head.method == "POST" else None
        self._run.allowance.count(len(body))
        return request_bytes(self._head.method, target, lines, length) + body

    async def _pass_back(self, route: Route, answer: ResponseHead, incoming: Body, key: str, wire: Wire) -> None:
        self._http_status = answer.status
        redactor = self._redactor = Redactor(key)
        self._request_id = redactor.text(answer.get("request-id") or answer.get("x-request-id") or "")[:200]
        reader = self._reader = _reader_for(route, answer)
        relay = Relay(self._client, self._head, answer, STRIPPED_FROM_ANSWER, redactor)
        self._keep_alive = relay.keep_alive
        relay.start(bool(wire.buffer))
        while data := await incoming.next(UPSTREAM_SECONDS):
            reader.feed(data)
            if reader.done and self._settlement is not None:
                self._settlement.ending()
            await relay.pass_on(data)
        if wire.lost and self._run.frozen:
            raise WireError("cut: the run was frozen")  # an answer without a length looks whole when it is cut
        relay.end()
        if self._settlement is not None:
            self._settlement.ending()

    def _settle(self, route: Route, status: str, error: str) -> None:
        self._reader.finish()
        reading = self._reader.reading()
        if self._settlement is not None:
            status, error = self._judge(reading, status, error)
        if self._redactor is not None and self._redactor.found:
            error = "key-echoed"
            log("key.echoed", run=self._run.run, provider=self._upstream.provider)
        if self._settlement is not None:
            self._settlement.settle(ending_facts(status, error, self._http_status, self._request_id, reading))
        log("model", run=self._run.run, path=route.path, status=status, http=self._http_status, error=error)

    def _judge(self, reading: Reading, status: str, error: str) -> tuple[str, str]:
        if status != "executed":
            # The provider said its whole answer and only the way to the client broke: it was executed, and is paid.
            return ("executed", "") if reading.done and self._http_status < 300 else (status, error)
        if reading.error:
            return "failed", f"stream-error: {reading.error}"
        if isinstance(self._reader, SseReader) and not reading.done:
            return "failed", "stream-cut"
        return status, "usage-unread" if reading.unread else ""


async def _parse(body: bytes, form: str) -> ModelRequest:
    if len(body) <= BIG_BODY:
        return parse_model_request(body, form)
    # One big body at a time: a parsed tree is many times the size of its text, and a thread keeps the loop free.
    async with _big_parse:
        return await asyncio.to_thread(parse_model_request, body, form)


def _reader_for(route: Route, answer: ResponseHead) -> Reader:
    if not route.metered or answer.status >= 400:
        return BlindReader()
    if (answer.get("content-encoding") or "identity").lower() != "identity":
        return BlindReader()
    dialect: Dialect = _DIALECTS[route.format]()
    kind = (answer.get("content-type") or "").partition(";")[0].strip().lower()
    return SseReader(dialect) if kind == "text/event-stream" else JsonReader(dialect)
