"""The live socket: every event exactly once, in order, from any `after` on. Whoever reads too slowly is cut off and
comes back with the number of the last event: nothing is kept for one watcher alone."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any, Final

import orjson
from litestar import WebSocket, post, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.response import Response
from litestar.types import Message

from app.domain.errors import HelmError, LedgerUnavailable
from app.domain.ids import is_run_id
from app.web.action_rows import lane_of
from app.web.context import EITHER, OPEN, OWN, Req, Web, viewer_of, web_of
from app.web.feeds import Feed, Topic
from app.web.hub import Replay
from app.web.session import Viewer

CLOSE_AUTH: Final = 4401
CLOSE_BAD: Final = 4400
CLOSE_SLOW: Final = 1013
CLOSE_GONE: Final = 1001
SEND_S: Final = 10.0
RECHECK_S: Final = 30.0
_RETRY_S: Final = 1.0
_PREVIEW_S: Final = 0.033
_QUERY: Final = frozenset({"ticket", "after", "run", "as"})

Socket = WebSocket[Any, Any, Any]


class _Ended(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class _Line:
    """One socket: sends in turn and with a limit of time, and knows when the client has gone."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._turn = asyncio.Lock()

    async def send(self, text: str) -> None:
        """Send a text. Ends the connection when the client does not take it in time."""
        message: Message = {"type": "websocket.send", "bytes": None, "text": text}
        try:
            async with asyncio.timeout(SEND_S), self._turn:
                await self._socket.send(message)
        except TimeoutError:
            raise _Ended(CLOSE_SLOW, "too slow; come back with after=<last event>") from None

    async def listen(self) -> None:
        """Return when the client has gone. What it says is not read: this socket only tells."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return

    async def close(self, code: int, reason: str) -> None:
        """Close with a code; a client that is gone or stuck is let go."""
        try:
            async with asyncio.timeout(2):
                await self._socket.send({"type": "websocket.close", "code": code, "reason": reason[:120]})
        except (TimeoutError, RuntimeError, OSError):
            return


@post("/live/ticket", status_code=200, opt={EITHER: True, OWN: True})
async def ticket(request: Req) -> Response[dict[str, str]]:
    """A ticket for one connection within 30 seconds, for who is signed in by cookie or Bearer token."""
    return Response({"ticket": web_of(request).tickets.give(viewer_of(request))})


@websocket("/live", opt={OPEN: True})
async def live(socket: Socket) -> None:
    """The socket. Accepted before it is judged, so that a client is told the code."""
    web = web_of(socket)
    await socket.accept()
    line = _Line(socket)
    try:
        viewer = web.tickets.take(socket.query_params.get("ticket", ""))
        if viewer is None or not await web.people.still_good(viewer.key):
            raise _Ended(CLOSE_AUTH, "the ticket is unknown, used or too old")
        topic, after = _asked(socket, viewer)
        await _watch(web, line, viewer, topic, after)
    except _Ended as ended:
        await line.close(ended.code, ended.reason)
    except HelmError as error:
        await line.close(CLOSE_SLOW, error.code)
    except (OSError, RuntimeError, WebSocketDisconnect):
        return  # the client has gone in the middle of a message


def _asked(socket: Socket, viewer: Viewer) -> tuple[Topic, int]:
    query = socket.query_params
    after, run, form = query.get("after", "-1"), query.get("run", ""), query.get("as", "html")
    if set(query.keys()) - _QUERY or form not in ("html", "json") or (run and not is_run_id(run)):
        raise _Ended(CLOSE_BAD, "ask with ticket, after, run and as=html|json")
    digits = after.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 15:
        raise _Ended(CLOSE_BAD, "after is the number of an event")
    if form == "json":
        return Topic("json", run), max(-1, int(after))
    return Topic("html", run, "" if run else viewer.account), max(-1, int(after))


async def _watch(web: Web, line: _Line, viewer: Viewer, topic: Topic, after: int) -> None:
    """Run until the client goes, the person may not look any more, or the client is too slow."""
    with web.hub.watching(topic) as feed, web.people.watch(viewer.key) as gone:
        tasks = [
            asyncio.create_task(line.listen(), name="live-listen"),
            asyncio.create_task(_serve(web, line, feed, after), name="live-serve"),
            asyncio.create_task(_stay(web, viewer, gone), name="live-stay"),
        ]
        if topic.run:
            tasks.append(asyncio.create_task(_preview(web, line, topic), name="live-preview"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if not task.cancelled():
            task.result()


async def _serve(web: Web, line: _Line, feed: Feed, after: int) -> None:
    """From the log until the feed is reached, then from the feed; back to the log whenever the feed has moved on."""
    cursor, serial, behind = min(after, web.services.ledger.head), 0, True
    replay = web.hub.replay(feed.topic)
    while True:
        if cursor < feed.begin:
            cursor, behind = await _replay(line, replay, cursor, feed.begin), True
            continue
        if behind:
            behind = False
            for frame in await replay.caught_up(cursor, web.services.ledger.head):
                await line.send(frame.text)
            replay = web.hub.replay(feed.topic)
        items = feed.since(serial, cursor)
        if not items:
            await feed.more()
            continue
        for item in items:
            frame = item.frame
            if frame.end and frame.begin < cursor and feed.topic.counted:
                # The client stands in the middle of this frame: it gets the rest of it from the log.
                cursor = await _replay(line, replay, cursor, frame.end)
            else:
                await line.send(frame.text)
                cursor = max(cursor, frame.end)
            serial = item.serial + 1


async def _replay(line: _Line, replay: Replay, cursor: int, upto: int) -> int:
    while cursor < upto:
        try:
            frames, reached = await replay.frames(cursor, upto)
        except LedgerUnavailable:
            await asyncio.sleep(_RETRY_S)
            continue
        for frame in frames:
            await line.send(frame.text)
        cursor = reached
    return cursor


async def _stay(web: Web, viewer: Viewer, gone: asyncio.Event) -> None:
    """Ends when the person is signed out (at once) or the session runs out (within half a minute)."""
    while True:
        try:
            await asyncio.wait_for(gone.wait(), RECHECK_S)
        except TimeoutError:
            if await web.people.still_good(viewer.key):
                continue
        raise _Ended(CLOSE_AUTH, "signed out")


async def _preview(web: Web, line: _Line, topic: Topic) -> None:
    """Pieces of messages on their way, gathered for a moment; whoever is slow loses some of them."""
    async with aclosing(web.services.previews.subscribe(topic.run)) as pieces:
        async for piece in pieces:
            if topic.form == "json":
                shown: dict[str, object] = {
                    "preview": {"agent": piece.agent, "message_id": piece.message_id, "text": piece.text}
                }
            else:
                shown = {"ops": [web.faces.preview(lane_of(piece.agent), piece.message_id, piece.text)]}
            await line.send(orjson.dumps(shown).decode("utf-8"))
