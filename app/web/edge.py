"""What holds for every answer, whatever route it comes from: Host and Origin are checked before anything else runs,
HEAD works where GET does, and the security headers stand on errors too."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any, Final

from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Receive, Scope, Send

from app.web.settings import WebSettings

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
MISDIRECTED: Final = (421, "WRONG_HOST", "this server does not answer under that name")
FOREIGN: Final = (403, "FOREIGN_ORIGIN", "requests from pages of another origin are refused")
CLOSE_FOREIGN: Final = 4403


class WebApp(Litestar):
    """A Litestar application behind its own edge."""

    settings: WebSettings

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI entry: the edge first, then the application."""
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["address"], state["secure"] = _client(scope, self.settings)
        refusal = _refusal(scope, self.settings)
        if scope["type"] == "websocket":
            if refusal is not None:
                await _refuse_socket(receive, send)
                return
            await super().__call__(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        if head:
            scope = {**scope, "method": "GET"}
            state["head"] = True
        guarded = _guarded(send, head)
        if refusal is not None:
            await _refuse(refusal, guarded)
            return
        await super().__call__(scope, receive, guarded)


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _client(scope: Scope, settings: WebSettings) -> tuple[str, bool]:
    """The client's address and whether its connection is TLS. Only a Unix socket's peer is believed about either."""
    client = scope.get("client")
    if client is not None and client[0]:
        return _network(client[0]), settings.cookie_secure
    if not settings.trust_proxy:
        return "local", settings.cookie_secure
    # The last entry is what the proxy saw itself; those before it are what its client claimed.
    seen = ",".join(_values(scope, b"x-forwarded-for")).rpartition(",")[2].strip()
    proto = _values(scope, b"x-forwarded-proto")
    return _network(seen) if seen else "local", settings.cookie_secure or proto == ["https"]


def _network(address: str) -> str:
    """An address as attempts are counted by: an IPv6 client owns a whole /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        if parsed.is_loopback:
            return str(parsed)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _refusal(scope: Scope, settings: WebSettings) -> tuple[int, str, str] | None:
    hosts = _values(scope, b"host")
    if len(hosts) != 1 or not _known(hosts[0].lower(), settings.hosts):
        return MISDIRECTED
    origins = _values(scope, b"origin")
    if origins and (len(origins) > 1 or origins[0].lower() not in settings.origins):
        return FOREIGN
    return None


def _known(host: str, hosts: Iterable[str]) -> bool:
    if host in hosts:
        return True
    name, colon, port = host.rpartition(":")
    return bool(colon) and port.isdigit() and name in hosts


def _guarded(send: Send, head: bool) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableScopeHeaders.from_message(message)
            for name, value in HEADERS.items():
                headers[name] = value
            if "cache-control" not in headers:
                headers["cache-control"] = "no-store"
        elif head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return guarded


async def _refuse(refusal: tuple[int, str, str], send: Send) -> None:
    status, code, text = refusal
    body = f'{{"error":{{"code":"{code}","message":"{text}","reason_code":"{code}","receipt_id":""}}}}'.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _refuse_socket(receive: Receive, send: Send) -> None:
    """Accepted first, so that the client is told the code and does not try again for ever."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    await send({"type": "websocket.close", "code": CLOSE_FOREIGN, "reason": "foreign host or origin"})
