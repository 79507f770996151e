"""What another text of a policy would have said to what is in the log, run by run and in bounded pages: for the page
that tries an edit, and for the command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.backtest import Recall, Row, redecide
from app.domain.events import Event
from app.domain.policy import Bundle
from app.domain.run import Run
from app.ports import LogReader, RunFilter

MOST_EVENTS: Final = 200_000
PAGE: Final = 500
_RUNS: Final = 100


@dataclass(frozen=True, slots=True)
class Step:
    """One page: its intents, decided again in the order of the log, and how far it is. `left_out` counts the runs that
    were not looked at, because `MOST_EVENTS` had been read before them."""

    rows: tuple[Row, ...]
    runs: int
    events: int
    left_out: int = 0


async def backtest(
    read: LogReader, bundle: Bundle, *, run: str = "", since: str = "", policy: str = "", most: int = MOST_EVENTS
) -> AsyncIterator[Step]:
    """Decide recorded intents again under `bundle`, newest run first: those of one `run`, those asked at or after the
    time `since`, those of runs under the bundle named `policy`; all where these are empty. The deciding is done beside
    the loop. Each run is read from its start, so that what its rules read is what was so then."""
    runs = events = left_out = 0
    async for found in _runs(read, run):
        if (policy and found.policy != policy) or found.last_ts < since:
            continue
        if events >= most:
            left_out += 1
            continue
        runs += 1
        recall, after = Recall(), -1
        while page := await read.events(after=after, run=found.id, limit=PAGE):
            after, events = page[-1].seq, events + len(page)
            rows = await asyncio.to_thread(_decided, bundle, recall, page, since)
            yield Step(rows, runs, events)
    yield Step((), runs, events, left_out)


def _decided(bundle: Bundle, recall: Recall, page: Sequence[Event], since: str) -> tuple[Row, ...]:
    found = (recall.take(event) for event in page)
    return tuple(redecide(bundle, recorded) for recorded in found if recorded is not None and recorded.ts >= since)


async def _runs(read: LogReader, run: str) -> AsyncIterator[Run]:
    """The runs in question, newest first."""
    if run:
        one = await read.run(run)
        if one is not None:
            yield one
        return
    before = 0
    while page := await read.runs(RunFilter(limit=_RUNS, before_no=before)):
        for one in page:
            yield one
        before = page[-1].no
        if before <= 1:
            return
