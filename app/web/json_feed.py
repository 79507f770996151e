"""The live stream for programs: every event of the log, exactly once, in order, each encoded once for all watchers."""

from __future__ import annotations

from typing import Final, Literal

import orjson

from app.domain.events import Event
from app.web.event_json import event_json
from app.web.feeds import Frame

_MOST_BYTES: Final = 262_144  # a frame; client libraries refuse messages of more than 1 MiB
Sync = Literal["live", "replaying"]


class JsonDrawer:
    """Encodes events; what was encoded in this tick is used again for the next topic."""

    def __init__(self) -> None:
        self._encoded: dict[int, bytes] = {}

    def begin(self) -> None:
        """A new tick: forget the last one."""
        self._encoded.clear()

    def frames(self, events: list[Event], begin: int, head: int, sync: Sync) -> list[Frame]:
        """The events after `begin`, in frames of bounded size."""
        frames: list[Frame] = []
        batch: list[bytes] = []
        size, last = 0, begin
        for event in events:
            line = self._line(event, keep=sync == "live")
            if batch and size + len(line) > _MOST_BYTES:
                frames.append(_frame(batch, begin, last, head, sync))
                batch, size, begin = [], 0, last
            batch.append(line)
            size += len(line)
            last = event.seq
        if batch:
            frames.append(_frame(batch, begin, last, head, sync))
        return frames

    def caught_up(self, cursor: int, head: int) -> Frame:
        """Nothing new, said once at the end of a replay."""
        return _frame([], cursor, cursor, head, "live")

    def _line(self, event: Event, *, keep: bool) -> bytes:
        line = self._encoded.get(event.seq)
        if line is None:
            line = orjson.dumps(event_json(event))
            if keep:
                self._encoded[event.seq] = line
        return line


def _frame(lines: list[bytes], begin: int, end: int, head: int, sync: Sync) -> Frame:
    text = b'{"events":[%s],"after":%d,"head":%d,"sync":"%s"}' % (b",".join(lines), end, head, sync.encode())
    return Frame(begin, end if lines else 0, text.decode("utf-8"))
