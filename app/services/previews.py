"""The lossy lane: text deltas on their way to eyes. Never recorded, never waited for; a slow reader loses some."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class Preview:
    """A piece of a message that is still being written."""

    run: str
    agent: str
    message_id: str
    text: str


class Previews:
    """Fan-out of previews to those who look at a run right now."""

    def __init__(self) -> None:
        self._readers: dict[str, set[_Reader]] = defaultdict(set)

    def publish(self, preview: Preview) -> None:
        """Hand a piece to every reader of its run; never blocks."""
        for reader in self._readers.get(preview.run, ()):
            reader.put(preview)

    async def subscribe(self, run: str) -> AsyncGenerator[Preview, None]:
        """Pieces of a run's messages from now on."""
        reader = _Reader()
        self._readers[run].add(reader)
        try:
            while True:
                yield await reader.take()
        finally:
            self._readers[run].discard(reader)
            if not self._readers[run]:
                del self._readers[run]


class _Reader:
    """One reader's bounded line."""

    def __init__(self) -> None:
        self._line: deque[Preview] = deque(maxlen=_KEPT)
        self._some = asyncio.Event()

    def put(self, preview: Preview) -> None:
        self._line.append(preview)
        self._some.set()

    async def take(self) -> Preview:
        while not self._line:
            self._some.clear()
            await self._some.wait()
        return self._line.popleft()
