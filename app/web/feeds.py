"""What was drawn for one kind of page, kept for its watchers. A feed is complete after `begin`; who stands before that
reads the log first. A slow watcher makes nobody wait: what it misses here it finds in the log."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

from app.web.timeline import Timeline

_MOST_ITEMS: Final = 1_024
_MOST_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Topic:
    """What a watcher sees: JSON or HTML, one run or all, and for pages that speak of "you", whose."""

    form: Literal["json", "html"]
    run: str = ""
    account: str = ""

    @property
    def counted(self) -> bool:
        """Whether each event may be told only once; pages of lists show states, which may be told again."""
        return self.form == "json" or bool(self.run)


@dataclass(frozen=True, slots=True)
class Frame:
    """One message to a watcher: the events after `begin` up to `end`. `end` 0: it only shows a state."""

    begin: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """A frame with its place in the feed."""

    serial: int
    frame: Frame


class Feed:
    """Frames in order, the newest kept."""

    def __init__(self, topic: Topic, begin: int) -> None:
        self.topic, self.begin = topic, begin
        self.timeline: Timeline | None = None
        self.side_due = False
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._next = 0
        self._some = asyncio.Event()

    def add(self, frames: list[Frame]) -> None:
        """Keep frames and wake who waits."""
        for frame in frames:
            self._items.append(Item(self._next, frame))
            self._next += 1
            self._bytes += len(frame.text)
        while self._items and (len(self._items) > _MOST_ITEMS or self._bytes > _MOST_BYTES):
            gone = self._items.popleft().frame
            self._bytes -= len(gone.text)
            self.begin = max(self.begin, gone.end)
        if frames:
            self._some.set()
            self._some = asyncio.Event()

    def restart(self, begin: int) -> None:
        """Be complete only after `begin`; who waits looks at the log first."""
        self.begin = begin
        self._some.set()
        self._some = asyncio.Event()

    def since(self, serial: int, cursor: int) -> list[Item]:
        """What a watcher has not had yet."""
        return [item for item in self._items if item.serial >= serial and not 0 < item.frame.end <= cursor]

    @property
    def next(self) -> int:
        """The serial of the item that comes next."""
        return self._next

    async def more(self) -> None:
        """Return when there may be something new."""
        await self._some.wait()
