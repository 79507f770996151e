"""Reads a window of a run's log and folds it into lines: the newest one for a page, older ones on demand. A window
costs the same in a run of 100 and of 100,000 events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.domain.events import Event
from app.domain.payloads import Controlled
from app.domain.run import Run
from app.ports import LogReader
from app.web.action_rows import approval_row, call_row, slug
from app.web.assemble import apply, steering_row
from app.web.rows import LaneRow, SteeringRow, SteerState, TimelineRow
from app.web.timeline import Change, Timeline, coalesced, nested

EVENTS: Final = 500
LINES: Final = 200


@dataclass(frozen=True, slots=True)
class Window:
    """Lines, oldest first; `before` is where the next older window ends (0 = there is none)."""

    rows: tuple[TimelineRow, ...]
    before: int


async def newest(reader: LogReader, run: Run, upto: int) -> Window:
    """The newest lines of a run, up to and with event `upto`, with a lane for every sub-agent that is still there."""
    events = await reader.events(before=upto + 1, run=run.id, limit=EVENTS)
    timeline = Timeline(run, run.agents, lanes_on_sight=True)
    changes = coalesced(_folded(timeline, events))
    known = [slug(agent) for agent in run.agents]
    return _cut(changes, timeline, events, known)


async def older(reader: LogReader, run: Run, before: int) -> Window:
    """The lines just before event `before`, in the state that they have by now."""
    events = await reader.events(before=before, run=run.id, limit=EVENTS)
    timeline = Timeline(run, lanes_on_sight=True)
    changes = _folded(timeline, events)
    changes += await _since(reader, timeline)
    changes += await _came_further(reader, run.id, changes)
    return _cut(coalesced(changes), timeline, events, [])


def _folded(timeline: Timeline, events: list[Event]) -> list[Change]:
    return [change for event in events for change in apply(timeline, event)]


async def _since(reader: LogReader, timeline: Timeline) -> list[Change]:
    """Calls and questions of this window whose ending lies after it."""
    changes = []
    for action in list(timeline.actions().values()):
        found = await reader.action(id=action.id)
        if found is None or found.door not in ("tool", "mcp"):
            continue
        lane = timeline.lane_of(action)
        changes.append(Change("replace", call_row(found, lane)))
        if found.approval:
            changes.append(Change("replace", approval_row(found, lane)))
    return changes


async def _came_further(reader: LogReader, run: str, changes: list[Change]) -> list[Change]:
    waiting = {
        change.row.key: change.row
        for change in changes
        if isinstance(change.row, SteeringRow) and change.row.state is not SteerState.SEEN
    }
    if not waiting:
        return []
    found = {message.id: message for message in await reader.steering(run)}
    return [
        Change("replace", _state(row, found[key].state, found[key].seen_seq))
        for key, row in waiting.items()
        if key in found
    ]


def _state(row: SteeringRow, state: str, seen_seq: int) -> SteeringRow:
    return SteeringRow(row.key, row.seq, row.at_ms, row.text, row.mode, SteerState(state), row.by, seen_seq, row.lane)


def _cut(changes: list[Change], timeline: Timeline, events: list[Event], known: list[str]) -> Window:
    """At most `LINES` appended lines; what is cut away belongs to the next older window."""
    appended = [change for change in changes if change.verb == "append"]
    first = events[0].seq if events else 0
    more = len(events) == EVENTS
    if len(appended) > LINES:
        appended = appended[-LINES:]
        numbers = [number for change in appended if (number := _seq(change)) > 0]
        first, more = (min(numbers) if numbers else first), True
    return Window(tuple(nested(appended, timeline.lanes, known)), first if more else 0)


def _seq(change: Change) -> int:
    """The event at which a line stands, read from the line; 0 for lines that carry none."""
    key = change.row.key
    if key.startswith("e") and key[1:].isdecimal():
        return int(key[1:])
    return change.row.first_seq if isinstance(change.row, LaneRow) else int(getattr(change.row, "seq", 0))


async def message_row(reader: LogReader, run: str, control_id: str) -> SteeringRow | None:
    """A message of a run as its line, in the state it has now."""
    for message in await reader.steering(run):
        if message.id == control_id:
            event = await reader.event(message.queued_seq)
            if event is not None and isinstance(event.payload, Controlled):
                return _state(steering_row(event, event.payload), message.state, message.seen_seq)
    return None
