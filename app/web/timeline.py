"""The fold behind every timeline: it follows a run's actions, lanes, turns and messages, so that a page, an older chunk
and the live socket are drawn from the same state and cannot disagree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from msgspec import structs

from app.domain.events import Event
from app.domain.fold import evolve
from app.domain.payloads import (
    ApprovalDecided,
    ApprovalRequested,
    Dispatched,
    OutcomeRecorded,
    SteeringDelivered,
    SteeringSeen,
    VerdictGiven,
)
from app.domain.run import Action, Run
from app.web.action_rows import at, lane_of, slug
from app.web.rows import LaneRow, SteeringRow, SteerState, TimelineRow, TurnRow


@dataclass(frozen=True, slots=True)
class Change:
    """What one event does to a page: a new line, or a line drawn anew."""

    verb: Literal["append", "replace"]
    row: TimelineRow


class Timeline:
    """The fold. `agents`: sub-agents that pages know already (id to name). Where an event speaks of something older
    than this fold, `missing` names it and `adopt_*` brings it in."""

    def __init__(self, run: Run, agents: Mapping[str, str] | None = None, *, lanes_on_sight: bool = False) -> None:
        self._run = structs.replace(run, actions={}, steering={}, agents={})
        self._on_sight = lanes_on_sight
        self._lane_of: dict[str, str] = {}
        self._adopted: dict[str, Action] = {}
        self._messages: dict[str, SteeringRow] = {}
        self._turn: TurnRow | None = None
        self.lanes: dict[str, LaneRow] = {}
        for agent, name in (agents or {}).items():
            self.lanes[slug(agent)] = lane_row(agent, name, run.last_seq, at(run.last_ts))

    def missing(self, event: Event) -> tuple[Literal["action", "approval", "steering"], str] | None:
        """What must be adopted before this event is applied: an action or a message that began before this fold."""
        payload = event.payload
        if isinstance(payload, VerdictGiven | ApprovalRequested | Dispatched | OutcomeRecorded):
            known = payload.action_id in self._run.actions
            return None if known else ("action", payload.action_id)
        if isinstance(payload, ApprovalDecided):
            known = any(action.approval == payload.approval_id for action in self._run.actions.values())
            return None if known else ("approval", payload.approval_id)
        if isinstance(payload, SteeringDelivered | SteeringSeen) and payload.control_id not in self._messages:
            return "steering", payload.control_id
        return None

    def adopt_action(self, action: Action) -> None:
        """Bring in an older action, in the state that the store has now."""
        self._adopted[action.id] = action

    def adopted(self, approval: str) -> Action | None:
        """An older action by its approval."""
        return next((action for action in self._adopted.values() if action.approval == approval), None)

    def adopt_message(self, row: SteeringRow) -> None:
        """Bring in an older message."""
        self._messages[row.key] = row

    def actions(self) -> Mapping[str, Action]:
        """The actions of this fold that have not ended."""
        return self._run.actions

    # --- actions -----------------------------------------------------------------------------------------------------

    def step(self, event: Event, action_id: str) -> Action | None:
        """The action after the event: followed from its beginning, or as it was adopted."""
        step = evolve(self._run, event)
        self._run = step.run
        if step.action is not None:
            return step.action
        return self._adopted.get(action_id)

    def began(self, event: Event, action_id: str) -> str:
        """Remember which lane an action belongs to."""
        lane = self.lane(event.actor.id if event.actor.type == "agent" else "", event)
        self._lane_of[action_id] = lane
        return lane

    def lane_of(self, action: Action) -> str:
        """The lane in which an action is drawn."""
        return self._lane_of.get(action.id, "")

    def over(self, action: Action) -> None:
        """An action has ended: it is not spoken of again."""
        self._lane_of.pop(action.id, None)
        self._adopted.pop(action.id, None)

    # --- lanes, turns, messages --------------------------------------------------------------------------------------

    def lane(self, agent: str, event: Event) -> str:
        """The lane of an agent's line; where pages cannot have that lane, it is the timeline itself."""
        name = lane_of(agent)
        if name and name not in self.lanes:
            if not self._on_sight:
                return ""
            self.lanes[name] = lane_row(agent, agent, event.seq, at(event.ts))
        if name in self.lanes:
            self.lanes[name] = replace(self.lanes[name], last_seq=event.seq)
        return name

    def moved(self, lane: str, event: Event, *, calls: int = 0, spent: int = 0) -> list[Change]:
        """The head of a lane after something happened in it."""
        row = self.lanes.get(lane)
        if row is None:
            return []
        row = replace(row, last_seq=event.seq, calls=row.calls + calls, spent=row.spent + spent)
        self.lanes[lane] = row
        return [Change("replace", row)]

    def spend(self, spent: int) -> None:
        """Count money into the turn that is going on."""
        if self._turn is not None:
            self._turn = replace(self._turn, spent=self._turn.spent + spent)

    def turn_begins(self, row: TurnRow) -> list[Change]:
        """A new heading."""
        self._turn = row
        return [Change("append", row)]

    def turn_ends(self, number: int, at_ms: int) -> list[Change]:
        """The heading with its duration, where this fold has seen its beginning."""
        row = self._turn
        if row is None or row.number != number:
            return []
        self._turn = None
        return [Change("replace", replace(row, duration_ms=max(0, at_ms - row.at_ms)))]

    def message(self, key: str, **changed: Any) -> list[Change]:
        """A message that came further."""
        row = self._messages.get(key)
        if row is None:
            return []
        self._messages[key] = replace(row, **changed)
        return [Change("replace", self._messages[key])]

    def cancel_messages(self) -> list[Change]:
        """What was not delivered when the run ended never will be."""
        waiting = [row.key for row in self._messages.values() if row.state is SteerState.QUEUED]
        return [change for key in waiting for change in self.message(key, state=SteerState.CANCELLED)]

    @property
    def run(self) -> Run:
        """The facts of the run that lines need (when it began, what it spends)."""
        return self._run


def coalesced(changes: Iterable[Change]) -> list[Change]:
    """Each line once: at its first place, in its last state."""
    last: dict[str, Change] = {}
    for change in changes:
        first = last.get(change.row.key)
        last[change.row.key] = change if first is None else Change(first.verb, change.row)
    return list(last.values())


def nested(changes: Iterable[Change], lanes: Mapping[str, LaneRow], known: Iterable[str] = ()) -> list[TimelineRow]:
    """Lines as a page holds them: those of sub-agents inside their lane. `known` lanes of which nothing is told here
    stand first, empty."""
    rows = {change.row.key: change.row for change in changes if change.verb == "append"}
    for change in changes:
        if change.verb == "replace" and change.row.key in rows:
            rows[change.row.key] = change.row
    here = {row.agent if isinstance(row, LaneRow) else row.lane for row in rows.values()}
    order: list[TimelineRow | str] = [name for name in known if name not in here]
    inside: dict[str, list[TimelineRow]] = {name: [] for name in known if name not in here}
    for row in rows.values():
        name = row.agent if isinstance(row, LaneRow) else row.lane
        if not name:
            order.append(row)
            continue
        if name not in inside:
            inside[name] = []
            order.append(name)
        if not isinstance(row, LaneRow):
            inside[name].append(row)
    return [
        replace(lanes[entry], rows=tuple(inside[entry])) if isinstance(entry, str) else entry
        for entry in order
        if not isinstance(entry, str) or entry in lanes
    ]


def lane_row(agent: str, name: str, seq: int, at_ms: int) -> LaneRow:
    """The empty lane of a sub-agent."""
    return LaneRow(f"lane-{slug(agent)}", slug(agent), name or "sub-agent", seq, seq, at_ms)
