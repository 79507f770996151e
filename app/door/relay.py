"""Passes heads and bodies on, unbuffered: which header fields cross, and how an answer is framed for the client."""

from __future__ import annotations

from app.door.answers import phrase
from app.door.exchange import Body
from app.door.framing import LAST_CHUNK, chunk
from app.door.parse import Fields, Framing, RequestHead, ResponseHead, connection_names
from app.door.redact import Redactor
from app.door.wire import Wire

HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_IDENTITY = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "host"})
_IDENTITY_PREFIXES = ("x-helm-", "x-forwarded-", "proxy-")
STALL_SECONDS = 600.0


def crossing_fields(fields: Fields, dropped: frozenset[str]) -> list[str]:
    """The request fields that may cross the door, as lines: no hop-by-hop ones, no claims about who is asking."""
    nominated = connection_names(fields)
    return [
        f"{key}: {value}"
        for key, value in fields
        if key not in HOP_BY_HOP
        and key not in _IDENTITY
        and key not in dropped
        and key not in nominated
        and not key.startswith(_IDENTITY_PREFIXES)
    ]


def request_bytes(method: str, target: str, lines: list[str], length: int | None) -> bytes:
    """A request head; `length` None = no body."""
    if length is not None:
        lines = [*lines, f"content-length: {length}"]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")


class Relay:
    """One answer on its way to the client. After an error in the middle the client's connection must be closed."""

    def __init__(
        self,
        client: Wire,
        request: RequestHead,
        answer: ResponseHead,
        dropped: frozenset[str],
        redactor: Redactor | None,
    ) -> None:
        self.keep_alive = request.keep_alive
        self._client = client
        self._redactor = redactor
        self._chunked = answer.framing in (Framing.CHUNKED, Framing.UNTIL_CLOSE) and request.minor == 1
        if answer.framing in (Framing.CHUNKED, Framing.UNTIL_CLOSE) and not self._chunked:
            self.keep_alive = False
        self._pending = self._head(answer, dropped)

    def start(self, body_is_there: bool) -> None:
        """Write the head now, unless body bytes that are there already will carry it."""
        if not body_is_there:
            self._client.send(self._pending)
            self._pending = b""

    async def pass_on(self, data: bytes) -> None:
        """Write body bytes; waits while the client does not take them."""
        if self._redactor is not None:
            data = self._redactor.feed(data)
        self._client.send(self._pending + (chunk(data) if self._chunked else data))
        self._pending = b""
        await self._client.drain(STALL_SECONDS)

    def end(self) -> None:
        """The answer is whole: write what was held back and the end."""
        held = self._redactor.finish() if self._redactor is not None else b""
        tail = chunk(held) + LAST_CHUNK if self._chunked else held
        if self._pending or tail:
            self._client.send(self._pending + tail)
        self._pending = b""

    def _head(self, answer: ResponseHead, dropped: frozenset[str]) -> bytes:
        nominated = connection_names(answer.fields)
        lines = [f"HTTP/1.1 {answer.status} {phrase(answer.status)}"]
        for key, value in answer.fields:
            if key in HOP_BY_HOP or key in dropped or key in nominated:
                continue
            lines.append(f"{key}: {self._redactor.text(value) if self._redactor is not None else value}")
        if answer.framing is Framing.LENGTH:
            lines.append(f"content-length: {answer.length}")
        elif self._chunked:
            lines.append("transfer-encoding: chunked")
        if not self.keep_alive:
            lines.append("connection: close")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


async def relay_body(relay: Relay, body: Body, seconds: float) -> None:
    """Pass a whole body on. Raises WireError when it is cut."""
    while data := await body.next(seconds):
        await relay.pass_on(data)
    relay.end()
