"""One reader of the log for everyone who watches: it draws each event once per kind of page, and keeps what it drew for
as long as a slow watcher may need it. There is no queue per watcher, so there is nothing to overflow or to lose."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from app.domain.errors import HelmError
from app.domain.events import Event
from app.services.people import PeopleDesk
from app.services.services import Services
from app.web.feeds import Feed, Frame, Topic
from app.web.json_feed import JsonDrawer
from app.web.page_feed import PageDrawer
from app.web.present import Faces
from app.web.rollup import Books
from app.web.timeline import Timeline

TICK_S: Final = 0.033
_MOST_PER_TICK: Final = 2_000
_RETRY_S: Final = 1.0
_SIDE_S: Final = 1.0
REPLAY_PAGE: Final = 500

log = structlog.get_logger("helm.web")


@dataclass(slots=True)
class _Watched:
    feed: Feed
    watchers: int = 0


class Hub:
    """Follows the log while the server runs."""

    def __init__(self, services: Services, people: PeopleDesk, faces: Faces, key_id: str) -> None:
        self._services = services
        self.books = Books(services.ledger.read)
        self.pages = PageDrawer(services, people, faces, self.books, key_id)
        self._json = JsonDrawer()
        self._watched: dict[Topic, _Watched] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._sides = asyncio.Event()
        self.seq = -1

    async def start(self) -> None:
        """Begin to follow at the head of the log."""
        self.seq = self._services.ledger.head
        self._tasks = [
            asyncio.create_task(self._run(), name="web-hub"),
            asyncio.create_task(self._draw_sides(), name="web-sides"),
        ]

    async def stop(self) -> None:
        """Stop following; watchers are told by their own sockets."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        await self.books.close()

    @contextmanager
    def watching(self, topic: Topic) -> Iterator[Feed]:
        """The feed of a topic while somebody looks at it; it is complete after its `begin`."""
        held = self._watched.get(topic)
        if held is None:
            held = self._watched[topic] = _Watched(Feed(topic, self.seq))
        held.watchers += 1
        try:
            yield held.feed
        finally:
            held.watchers -= 1
            if not held.watchers and self._watched.get(topic) is held:
                del self._watched[topic]

    def replay(self, topic: Topic) -> Replay:
        """A way to what was recorded before a feed begins."""
        return Replay(self._services, self.pages, topic)

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except HelmError as error:
                log.warning("the live stream waits for the log", reason=error.message)
            except Exception:  # supervisor: the stream starts over rather than ending for everybody
                log.exception("the live stream stumbled")
                self._start_over()
            await asyncio.sleep(_RETRY_S)

    def _start_over(self) -> None:
        """Who watches reads the log up to here by itself: nothing is left out, and the fault is not met for ever."""
        self.seq = self._services.ledger.head
        for held in self._watched.values():
            held.feed.timeline = None
            held.feed.restart(self.seq)

    async def _follow(self) -> None:
        pending: list[Event] = []
        async for page in self._services.ledger.follow(self.seq):
            pending += page
            if pending and (not page or len(pending) >= _MOST_PER_TICK):
                events, pending = pending, []
                await self._tick(events)
                # What comes meanwhile waits in the log and is drawn together: one frame per watcher and tick.
                await asyncio.sleep(TICK_S)

    async def _tick(self, events: list[Event]) -> None:
        """Draw for every topic that is watched now, then move on, in one step of the event loop."""
        head = events[-1].seq
        feeds = [held.feed for held in self._watched.values()]
        drawn: list[tuple[Feed, list[Frame]]] = []
        self._json.begin()
        for feed in feeds:
            drawn.append((feed, await self._drawn(feed, events)))
        for feed, frames in drawn:
            feed.add(frames)
            if feed.side_due:
                self._sides.set()
        # A feed that was joined while this tick was drawn is not in it: it is complete only from here on.
        for held in self._watched.values():
            if held.feed not in feeds:
                held.feed.restart(head)
        self.seq = head

    async def _drawn(self, feed: Feed, events: list[Event]) -> list[Frame]:
        mine = [event for event in events if event.run == feed.topic.run] if feed.topic.run else events
        if feed.topic.form == "json":
            return self._json.frames(mine, self.seq, events[-1].seq, "live")
        return await self.pages.frames(feed, mine, events, self.seq)

    async def _draw_sides(self) -> None:
        """Side tabs follow their run at most once a second; while nothing happens this sleeps."""
        while True:
            await self._sides.wait()
            self._sides.clear()
            await asyncio.sleep(_SIDE_S)
            for held in list(self._watched.values()):
                if held.feed.side_due:
                    await self._side(held.feed)

    async def _side(self, feed: Feed) -> None:
        try:
            feed.add(await self.pages.side_frames(feed, self.seq))
        except HelmError as error:
            log.warning("side tabs of a run wait for the log", reason=error.message)
        except Exception:  # supervisor: a page that cannot be drawn must not end the stream of all others
            feed.side_due = False
            log.exception("side tabs of a run could not be drawn")
        if feed.side_due:
            self._sides.set()


class Replay:
    """Reads the log for one watcher until it has reached its feed."""

    def __init__(self, services: Services, pages: PageDrawer, topic: Topic) -> None:
        self._services, self._pages, self._topic = services, pages, topic
        self._json = JsonDrawer()
        self._timeline: Timeline | None = None

    async def frames(self, cursor: int, upto: int) -> tuple[list[Frame], int]:
        """The next frames after `cursor`, and the cursor after them; at most one page of the log."""
        if not self._topic.counted:
            return await self._lists_again(upto)
        page = await self._services.ledger.read.events(after=cursor, run=self._topic.run, limit=REPLAY_PAGE)
        events = [event for event in page if event.seq <= upto]
        reached = upto if len(events) < REPLAY_PAGE else events[-1].seq
        if not events:
            return [], reached
        if self._topic.form == "json":
            return self._json.frames(events, cursor, upto, "replaying"), reached
        if self._timeline is None:
            self._timeline = await self._pages.timeline(self._topic.run)
        if self._timeline is None:
            return [], reached
        return await self._pages.replayed(self._timeline, self._topic.run, events, cursor, upto), reached

    async def _lists_again(self, upto: int) -> tuple[list[Frame], int]:
        """Pages of lists have no lines to catch up with: they load their lists."""
        return self._pages.lists_again(upto), upto

    async def caught_up(self, cursor: int, head: int) -> list[Frame]:
        """The end of a replay."""
        if self._topic.form == "json":
            return [self._json.caught_up(cursor, head)]
        return await self._pages.caught_up(self._topic, cursor, head)
