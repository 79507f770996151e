"""The live stream as commands read it: each event once and in order, across cut connections and restarts of the server;
and the truth about how fresh what is shown is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import ClientConnection, connect

from app.cli.api import Api
from app.cli.exits import UNREACHABLE, Failure

PATIENCE_S: Final = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 3.0
_CLOSE_BAD: Final = 4400


@dataclass(frozen=True, slots=True)
class Sync:
    """How fresh it is: `live` up to the head of the log, `replaying`, or `lost` (no connection)."""

    state: Literal["live", "replaying", "lost"]
    at: int
    head: int

    def words(self) -> str:
        """The state in words."""
        if self.state == "live":
            return f"live, up to #{max(self.at, self.head)}"
        if self.state == "replaying":
            return f"catching up: #{self.at} of #{self.head}"
        return f"connection lost after #{self.at}; trying again"


Item = Mapping[str, Any] | Sync | None


class Stream:
    """Events of one run (or of all) after `after`. Iterating never ends by itself: an event, a change of Sync, or None
    after `idle_s` in which nothing came. Raises Failure when no server is reached for a minute."""

    def __init__(self, find: Callable[[], Api], run: str, after: int = -1, idle_s: float = 1.0) -> None:
        self._find, self._run, self.after, self._idle_s = find, run, after, idle_s
        self.sync = Sync("replaying", after, after)

    def __iter__(self) -> Iterator[Item]:
        since, pause = time.monotonic(), _FIRST_PAUSE_S
        while True:
            try:
                with self._connected() as line:
                    for item in self._read(line):
                        since, pause = time.monotonic(), _FIRST_PAUSE_S
                        yield item
            except Failure as failure:
                # Whoever is refused for another reason than "not there" will be refused again.
                if failure.code != UNREACHABLE or time.monotonic() - since > PATIENCE_S:
                    raise
            except (OSError, InvalidHandshake, ConnectionClosed):
                if time.monotonic() - since > PATIENCE_S:
                    raise Failure("the server cannot be reached any more", UNREACHABLE) from None
            if self.sync.state != "lost":
                yield self._moved(Sync("lost", self.after, self.sync.head))
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE_S, pause * 2)

    def _connected(self) -> ClientConnection:
        # Asked anew each time: a server that was restarted has another token, and may have another port.
        with self._find() as api:
            query = {"ticket": api.ticket(), "after": self.after, "as": "json"}
            query |= {"run": self._run} if self._run else {}
            url = f"ws{api.place.url.removeprefix('http')}/live?{urlencode(query)}"
            proxy: Literal[True] | None = True if api.place.home is None else None
        try:
            return connect(url, compression=None, open_timeout=10, close_timeout=2, proxy=proxy, max_size=4_194_304)
        except (InvalidURI, TimeoutError):
            raise Failure("the live socket cannot be reached", UNREACHABLE) from None

    def _read(self, line: ClientConnection) -> Iterator[Item]:
        while True:
            try:
                text = line.recv(timeout=self._idle_s)
            except TimeoutError:
                yield None
                continue
            except ConnectionClosed as closed:
                if closed.rcvd is not None and closed.rcvd.code == _CLOSE_BAD:
                    raise Failure(f"the server refused the stream: {closed.rcvd.reason}") from None
                return
            yield from self._items(json.loads(text))

    def _items(self, frame: Mapping[str, Any]) -> Iterator[Item]:
        for event in frame.get("events", ()):
            if event["seq"] > self.after:
                self.after = event["seq"]
                yield event
        if "sync" in frame:
            state: Literal["live", "replaying"] = "live" if frame["sync"] == "live" else "replaying"
            fresh = Sync(state, max(self.after, int(frame["after"])), int(frame["head"]))
            if fresh.state != self.sync.state:
                yield self._moved(fresh)
            self.sync = fresh

    def _moved(self, sync: Sync) -> Sync:
        self.sync = sync
        return sync
