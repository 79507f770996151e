"""Events leave in order, numbered from 1, and stay here until the server has them on disk.

Recorded events are never dropped: when the server is slow the caller of `put` waits, and with it the agent. Previews
are the opposite: they are worth something only now, and are thrown away without regret.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

from link import Json, LeaseRefused, Link, LinkLost, encode, pauses, refuse_if_leaseless

_ROOM: Final = 256
"""Events that may wait here; one more waits outside."""
_BATCH: Final = 64
_BATCH_BYTES: Final = 256 << 10
_TEXT: Final = 8000
"""Characters of one text event: at six bytes each it still fits into a receipt line of 64 KiB."""
_ANSWER_S: Final = 30.0
_PREVIEW_EVERY_S: Final = 0.05
_PREVIEW_CHARS: Final = 16 << 10


class Outbox:
    """Numbers, batches and repeats until acknowledged."""

    def __init__(self, link: Link, lease: int) -> None:
        self._link = link
        self._lease = lease
        self._next = 1
        self._waiting: deque[tuple[Json, int]] = deque()
        self._changed = asyncio.Condition()

    async def put(self, kind: str, **fields: object) -> None:
        """Take one event; waits while there is no room. A text too long for one receipt goes out in pieces."""
        text = fields.get("text")
        if isinstance(text, str) and len(text) > _TEXT:
            for at in range(0, len(text), _TEXT):
                await self._put_one(kind, fields | {"text": text[at : at + _TEXT]})
            return
        await self._put_one(kind, fields)

    async def _put_one(self, kind: str, fields: dict[str, object]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._waiting) < _ROOM)
            event: Json = {"n": self._next, "type": kind, **fields}
            self._next += 1
            self._waiting.append((event, len(encode(event))))
            self._changed.notify_all()

    async def told(self) -> None:
        """Wait until the server has everything that was put here before."""
        async with self._changed:
            last = self._next - 1
            await self._changed.wait_for(lambda: not self._waiting or self._waiting[0][0]["n"] > last)

    async def drained(self) -> None:
        """Wait until the server has everything."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._waiting)

    async def run(self) -> None:
        """Send for ever. Raises LeaseRefused when the server does not want this run's events any more."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._waiting))
            upto = await self._send(self._batch())
            async with self._changed:
                while self._waiting and self._waiting[0][0]["n"] <= upto:
                    self._waiting.popleft()
                self._changed.notify_all()

    def _batch(self) -> list[Json]:
        batch: list[Json] = []
        room = _BATCH_BYTES
        for event, size in self._waiting:
            room -= size
            if batch and (room < 0 or len(batch) == _BATCH):
                break
            batch.append(event)
        return batch

    async def _send(self, batch: list[Json]) -> int:
        body = encode({"lease": self._lease, "events": batch})
        for pause in pauses():
            with contextlib.suppress(LinkLost, ValueError, KeyError):
                answer = await self._link.post("/runner/events", body, _ANSWER_S)
                refuse_if_leaseless(answer.status)
                if answer.status == 200:
                    return int(answer.object()["upto"])
                if answer.status < 500:
                    return await self._skip(batch, answer.status)
            await asyncio.sleep(pause)
        raise LeaseRefused("unreachable")

    async def _skip(self, batch: list[Json], status: int) -> int:
        """The server cannot take this batch as it is: find the event that is to blame, and say so in its place."""
        if len(batch) > 1:
            upto = 0
            for event in batch:
                upto = await self._send([event])
            return upto
        event = batch[0]
        if event["type"] == "run.note":
            raise LeaseRefused(f"the server refused even a note: {status}")
        note = {"level": "error", "text": f"an event of type {event['type']} was refused with {status}"}
        return await self._send([{"n": event["n"], "type": "run.note", **note}])


class Preview:
    """Text as it is being written, joined over 50 ms; lost without regret."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._texts: dict[tuple[str, str], str] = {}
        self._any = asyncio.Event()

    def add(self, agent: str, message_id: str, text: str) -> None:
        """Take one delta; never waits. What is too much for one flush is dropped."""
        key = (agent, message_id)
        joined = self._texts.get(key, "") + text
        self._texts[key] = joined[:_PREVIEW_CHARS]
        self._any.set()

    async def run(self) -> None:
        """Flush for ever."""
        while True:
            await self._any.wait()
            await asyncio.sleep(_PREVIEW_EVERY_S)
            self._any.clear()
            texts, self._texts = self._texts, {}
            items = [{"agent": agent, "message_id": message, "text": text} for (agent, message), text in texts.items()]
            with contextlib.suppress(LinkLost):
                await self._link.post("/runner/preview", encode({"items": items}), 2.0)
