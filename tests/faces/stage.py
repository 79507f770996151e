"""A small server that shows the sample pages through the real templates, with the real CSP and a scripted live socket.

It stands in for the routes: `tests/faces/gallery.py` takes pictures of it, the browser test drives it.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from app.web.present import Faces
from app.web.rows import AnswerState
from app.web.views import Answer, TimelineChunk
from app.web.views_gate import PatternCount

from tests.faces import samples, samples_pages, samples_rules, samples_run

ROOT = Path(__file__).parents[2]
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
    ".json": "application/json",
    ".txt": "text/plain",
}
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Stage:
    """Serves `/sample/<name>`, `/static/*` and the addresses that the pages call. `frames` are sent to each socket."""

    def __init__(self) -> None:
        self.faces = Faces(ROOT / "templates", ROOT / "static")
        self.pages = samples_pages.pages()
        self.posted: list[tuple[str, dict[str, list[str]], str]] = []
        self.frames: asyncio.Queue[dict[str, object] | int] = asyncio.Queue()
        self.opened: list[str] = []
        self.answer_status = 200
        self.refuse = ""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._live(scope, receive, send)

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        status, kind, content = self._reply(scope["method"], scope["path"], body, dict(scope["headers"]))
        headers = [(b"content-type", kind.encode()), (b"content-security-policy", CSP.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _reply(self, method: str, path: str, body: bytes, headers: dict[bytes, bytes]) -> tuple[int, str, bytes]:
        html = "text/html; charset=utf-8"
        if method == "POST":
            self.posted.append((path, parse_qs(body.decode()), headers.get(b"x-csrftoken", b"").decode()))
            return self._posted(path)
        if path.startswith("/sample/"):
            return 200, html, self.faces.page(self.pages[path[8:]], samples.NOW).encode()
        if path.startswith("/static/"):
            file = ROOT / path[1:]
            return 200, TYPES[file.suffix], file.read_bytes()
        if path == "/d":
            return 200, html, self.faces.call_detail(samples_run.DETAIL, samples.NOW).encode()
        if path.endswith("/timeline"):
            return 200, html, self.faces.chunk(TimelineChunk("r-1", samples_run.rows(), 0), samples.NOW).encode()
        if path.endswith("/check"):
            return 200, html, self.faces.checked(samples_rules.FINDINGS, samples_rules.CASES, samples.NOW).encode()
        if path.endswith("/foot"):
            return 200, html, self.faces.card_foot(samples.card(), samples.NOW).encode()
        name = {"/inbox": "inbox", "/inbox/at-7": "card-attention", "/inbox/ap-2": "card-command", "/runs": "runs"}
        page = self.pages[name.get(path, "card" if path.startswith("/inbox/") else "error")]
        return 200, html, self.faces.page(page, samples.NOW).encode()

    def _posted(self, path: str) -> tuple[int, str, bytes]:
        if path == "/live/ticket":
            return 200, "application/json", json.dumps({"ticket": "t", "expires_in": 30}).encode()
        if path.endswith("/edit"):
            return 200, "text/html", self.faces.edit_preview(samples.EDITED.preview, samples.NOW).encode()
        if path.endswith("/pattern"):
            count = PatternCount(6, 41, ("research@example",))
            return 200, "text/html", self.faces.pattern_count(count, samples.NOW).encode()
        if path.endswith("/statement"):
            return 200, "application/json", json.dumps({"statement": "{}", "at": "2026-11-21T14:23:20.000Z"}).encode()
        if path == "/inbox/bulk":
            return 200, "text/html", self.faces.hold(samples.HOLD, samples.NOW).encode()
        if path.endswith("/undo"):
            return 200, "text/html", self.faces.hold(replace(samples.HOLD, state="undone"), samples.NOW).encode()
        if path.endswith("/test"):
            return 200, "text/html", self.faces.trial("ops", samples_rules.TRIAL, samples.NOW).encode()
        if path.endswith("/answer") and self.refuse:
            card = replace(samples.card(), trouble=self.refuse, panel="deny", typed="Not yet")
            return 422, "text/html", self.faces.card_foot(card, samples.NOW).encode()
        if path.endswith("/answer"):
            state = Answer(AnswerState.RECORDED, "allow", "mara", samples.NOW, mine=self.answer_status == 200)
            card = samples.card(answer=state)
            return self.answer_status, "text/html", self.faces.card_foot(card, samples.NOW).encode()
        return 204, "text/plain", b""

    async def _live(self, scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self.opened.append(scope["query_string"].decode())
        after = int(parse_qs(scope["query_string"].decode())["after"][0])
        await send(
            {"type": "websocket.send", "text": json.dumps({"after": after, "ops": [], "head": after, "sync": "live"})}
        )
        gone = asyncio.ensure_future(receive())
        while True:
            frame = asyncio.ensure_future(self.frames.get())
            await asyncio.wait({frame, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                frame.cancel()
                return
            given = frame.result()
            if isinstance(given, int):
                gone.cancel()
                await send({"type": "websocket.close", "code": given})
                return
            await send({"type": "websocket.send", "text": json.dumps(given)})


@asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[str]:
    """The stage on a free port of this machine; yields its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(stage, log_level="warning", lifespan="off", ws="websockets-sansio")
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 10)
        listener.close()
