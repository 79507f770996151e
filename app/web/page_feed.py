"""The live stream for pages: events as changes of HTML, drawn once for everyone who has that page open. Lines come in
order and exactly once; what only shows a state (status, money, counts) is drawn from the newest state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import orjson

from app.domain.events import Event
from app.domain.payloads import ApprovalDecided, ApprovalRequested, Dispatched, OutcomeRecorded, RunClosed, VerdictGiven
from app.domain.payloads_log import Frozen
from app.domain.reasons import Reason
from app.domain.run import Action, Run
from app.domain.times import text_of
from app.services.people import PeopleDesk
from app.services.services import Services
from app.web.assemble import apply
from app.web.feeds import Feed, Frame, Topic
from app.web.present import REFRESH_FEET, REFRESH_FROZEN, REFRESH_INBOX, Faces, Op, badge
from app.web.rollup import Books
from app.web.run_views import foot_card, head_of, row_of, with_proofs
from app.web.text import money
from app.web.timeline import Change, Timeline, coalesced
from app.web.views import RunPage, Shell
from app.web.windows import message_row

_DAY_MS: Final = 86_400_000
_INBOX_KINDS: Final = frozenset(
    {"approval.request", "approval.decision", "run.close", "tool.pin", "policy.reject", "policy.set", "notice.clear"}
)
_MOST_MOVED: Final = 500
_MOST_LINES: Final = 50


class PageDrawer:
    """Draws frames of ops for HTML topics."""

    def __init__(self, services: Services, people: PeopleDesk, faces: Faces, books: Books, key_id: str) -> None:
        self._people = people
        self._services, self._faces, self._books, self._key_id = services, faces, books, key_id
        self._read = services.ledger.read
        self._inbox: tuple[int, int] = (-1, 0)  # as of which head, how many
        self._tasks: dict[str, str] = {}
        self.moved: dict[str, str] = {}  # a question that another took the place of -> that one

    # --- live --------------------------------------------------------------------------------------------------------

    async def frames(self, feed: Feed, mine: list[Event], every: list[Event], begin: int) -> list[Frame]:
        """What one tick changes on the pages of a feed; `every` are all events of the tick (those after `begin`),
        `mine` those of its run."""
        head = every[-1].seq
        ops: list[Op] = []
        if feed.topic.run:
            if mine:
                ops += await self._run_ops(feed, mine)
        else:
            ops += await self._list_ops(feed.topic, every)
        ops += await self.shared_ops(every, head)
        if not ops:
            return []
        end = mine[-1].seq if feed.topic.run and mine else head
        return [_frame(ops, begin, end, head, "live")]

    async def _run_ops(self, feed: Feed, events: list[Event]) -> list[Op]:
        run = await self._read.run(feed.topic.run)
        if run is None:
            return []
        if feed.timeline is None:
            feed.timeline = Timeline(run, run.agents)
        feed.side_due = True
        return [*await self._line_ops(feed.timeline, run.id, events), *self._head_ops(run)]

    async def _line_ops(self, timeline: Timeline, run: str, events: list[Event]) -> list[Op]:
        changes: list[Change] = []
        for event in events:
            await self._adopt(timeline, run, event)
            changes += apply(timeline, event)
        now = self._services.clock.now_ms()
        return [
            self._faces.appended(change.row, now) if change.verb == "append" else self._faces.replaced(change.row, now)
            for change in coalesced(changes)
        ]

    async def _adopt(self, timeline: Timeline, run: str, event: Event) -> None:
        missing = timeline.missing(event)
        if missing is None:
            return
        kind, key = missing
        if kind == "steering":
            row = await message_row(self._read, run, key)
            if row is not None:
                timeline.adopt_message(row)
            return
        action = await self._read.action(approval=key) if kind == "approval" else await self._read.action(id=key)
        if action is not None:
            timeline.adopt_action(action)

    def _head_ops(self, run: Run) -> list[Op]:
        head = head_of(run, "", self._services.ledger.standing)
        return self._faces.run_head(head, self._services.clock.now_ms())

    async def _list_ops(self, topic: Topic, events: list[Event]) -> list[Op]:
        """Inbox and runs list: a line per run that moved, the fate of what was answered."""
        touched = list(dict.fromkeys(event.run for event in events if not event.run.startswith("_")))
        now = self._services.clock.now_ms()
        ops: list[Op] = []
        for name in touched[-_MOST_LINES:]:
            run = await self._read.run(name)
            if run is not None:
                ops.append(self._faces.run_line(row_of(run, await self.task_of(run.id), now), now))
        for action in await self._answered(events):
            run = await self._read.run(action.run)
            if run is not None:
                card = foot_card(action, run, topic.account)
                if action.answer == "expired" and run.live:
                    card = replace(card, available=("ask_again",))
                ops.append(self._faces.answered(card, now))
        for old in await self._moved(events):
            ops.append({"op": "refresh", "target": f"#card-foot-{old}"})
        return ops

    def move(self, old: str, new: str) -> None:
        """Remember which question took the place of another."""
        self.moved[old] = new
        while len(self.moved) > _MOST_MOVED:
            del self.moved[next(iter(self.moved))]

    async def _moved(self, events: Sequence[Event]) -> list[str]:
        """Questions of a tick that were asked anew: the ones that they took the place of."""
        found = []
        for event in events:
            payload = event.payload
            if not isinstance(payload, VerdictGiven) or payload.decision != "ESCALATE" or "request" not in event.refs:
                continue
            before, action = (
                await self._read.event(event.refs["request"]),
                await self._read.action(id=payload.action_id),
            )
            if before is not None and isinstance(before.payload, ApprovalRequested) and action is not None:
                self.move(before.payload.approval_id, action.approval)
                found.append(before.payload.approval_id)
        return found

    async def _answered(self, events: Sequence[Event]) -> list[Action]:
        """Actions of a tick about which somebody was asked and is not any more."""
        found: dict[str, Action] = {}
        for event in events:
            payload = event.payload
            action: Action | None = None
            if isinstance(payload, ApprovalDecided):
                action = await self._read.action(approval=payload.approval_id)
            elif isinstance(payload, Dispatched | OutcomeRecorded) or (
                isinstance(payload, VerdictGiven) and "supersedes" in event.refs
            ):
                action = await self._read.action(id=payload.action_id)
            if action is not None and action.approval and action.answer:
                found[action.id] = action
        return list(found.values())

    async def shared_ops(self, events: Sequence[Event], head: int) -> list[Op]:
        """What stands on every page: the inbox count, the slots, today's spend."""
        ops: list[Op] = []
        if any(_touches_inbox(event) for event in events):
            ops += [badge(await self.inbox_count(head)), REFRESH_INBOX]
        # What a person may do with an open card depends on them: their own page asks for it again.
        if any(isinstance(event.payload, ApprovalDecided | Frozen) for event in events):
            ops.append(REFRESH_FEET)
        if any(isinstance(event.payload, Frozen) for event in events):
            ops.append(REFRESH_FROZEN)
        if any(event.kind in ("grant.given", "grant.revoke") for event in events):
            ops.append({"op": "refresh", "target": "#grants-body"})
        if any(isinstance(event.payload, RunClosed) or event.kind == "run.open" for event in events):
            ops.append(self._slots())
        if any(isinstance(event.payload, OutcomeRecorded) and event.payload.usage for event in events):
            ops.append({"op": "text", "target": "#today", "text": money(await self.spent_today())})
        return ops

    def _slots(self) -> Op:
        runs = self._services.runs
        return {"op": "text", "target": "#slots", "text": f"{runs.slots_used()} of {runs.slots_total}"}

    # --- joining -----------------------------------------------------------------------------------------------------

    async def timeline(self, run_id: str) -> Timeline | None:
        """A fold for a replay. Every sub-agent that ever was has its lane: pages that need it have it."""
        run = await self._read.run(run_id)
        if run is None:
            return None
        book, _ = await self._books.get(run_id, self._services.ledger.head, 5.0)
        return Timeline(run, {**book.names, **run.agents})

    async def replayed(self, timeline: Timeline, run: str, events: list[Event], begin: int, head: int) -> list[Frame]:
        """Lines that were recorded while a watcher was away."""
        ops = await self._line_ops(timeline, run, events)
        return [_frame(ops, begin, events[-1].seq, head, "replaying")] if events else []

    async def caught_up(self, topic: Topic, cursor: int, head: int) -> list[Frame]:
        """The end of a replay, with every state that a page shows beside its lines. States are applied whatever the
        cursor is, so they stand in a frame of their own, without one."""
        ops: list[Op] = [badge(await self.inbox_count(head)), self._slots()]
        run = await self._read.run(topic.run) if topic.run else None
        if run is not None:
            ops += [*self._head_ops(run), *await self.side_ops(run)]
        return [_frame(ops, 0, 0, head, ""), _frame([], cursor, cursor, head, "live")]

    def lists_again(self, head: int) -> list[Frame]:
        """For pages of lists that were away: load the lists again."""
        return [_frame([REFRESH_INBOX, {"op": "refresh", "target": "#runs-body"}], 0, 0, head, "")]

    async def side_ops(self, run: Run) -> list[Op]:
        """The side tabs of a run's page, once its book is complete."""
        book, complete = await self._books.get(run.id, run.last_seq, 0.2)
        if not complete:
            return []
        now = self._services.clock.now_ms()
        page = RunPage(
            shell=Shell("", ""),
            run=head_of(run, ""),
            rows=(),
            spend=book.spend(run, now),
            evidence=with_proofs(book.evidence(run, self._key_id), run),
            egress=book.egress(),
        )
        return self._faces.run_side(page, now)

    async def side_frames(self, feed: Feed, head: int) -> list[Frame]:
        """The side tabs again, at most once a second."""
        run = await self._read.run(feed.topic.run)
        ops = await self.side_ops(run) if run is not None else []
        feed.side_due = not ops and run is not None
        return [_frame(ops, 0, 0, head, "")] if ops else []

    # --- small states ------------------------------------------------------------------------------------------------

    async def inbox_count(self, head: int) -> int:
        """How many items wait; read once per head of the log."""
        if self._inbox[0] != head:
            self._inbox = head, len(await self.inbox()) + len(self._services.ledger.standing.notices)
        return self._inbox[1]

    async def inbox(self) -> list[Action]:
        """What waits for a person, without what somebody has seen already."""
        seen = await self._people.seen_items()
        return [action for action in await self._read.inbox() if action.state == "waiting" or action.id not in seen]

    def forget_inbox(self) -> None:
        """Count again: something has changed that the log does not tell."""
        self._inbox = -1, 0

    async def spent_today(self) -> int:
        """Micro-dollars since midnight UTC."""
        now = self._services.clock.now_ms()
        return await self._read.spent_since(text_of(now - now % _DAY_MS))

    async def task_of(self, run: str) -> str:
        """A run's task, which never changes."""
        if run not in self._tasks:
            if len(self._tasks) > 2_000:
                self._tasks.clear()
            self._tasks[run] = (await self._services.runs.task_of(run))[:2_000]
        return self._tasks[run]


def _touches_inbox(event: Event) -> bool:
    payload = event.payload
    if isinstance(payload, VerdictGiven):
        superseded = "supersedes" in event.refs
        return payload.decision == "ESCALATE" or superseded or payload.reason_code == Reason.SELF_APPROVAL.value
    if isinstance(payload, OutcomeRecorded):
        return payload.status == "unknown"
    return event.kind in _INBOX_KINDS


def _frame(ops: list[Op], begin: int, end: int, head: int, sync: str) -> Frame:
    frame: dict[str, object] = {"ops": ops, "head": head}
    if end:
        frame["after"] = end
    if sync:
        frame["sync"] = sync
    return Frame(begin, end, orjson.dumps(frame).decode("utf-8"))
