"""Many answers with one decision: exactly the questions that were looked at, always once each, and taken back within
five seconds. Until then nothing is recorded: where a server dies in between, they are all still open."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from app.domain.approval import Answerer
from app.domain.errors import Conflict, Forbidden, HelmError, InvalidInput, NotFound
from app.domain.ids import short_id
from app.ports import Clock
from app.services.approvals import Approvals
from app.services.replies import MAX_REASON, Reply

HOLD_S: Final = 5.0
MOST: Final = 100
_KEPT: Final = 200


@dataclass(frozen=True, slots=True)
class Bulk:
    """One decision over several questions. `results` is empty until it was applied: id -> "recorded", or the code of
    the error why not."""

    id: str
    answer: Literal["allow", "deny"]
    ids: tuple[str, ...]
    by: str
    until_ms: int
    state: Literal["held", "undone", "applied"] = "held"
    results: Mapping[str, str] = field(default_factory=dict)


class BulkDesk:
    """Holds bulk answers for as long as they can be taken back, then gives them one by one."""

    def __init__(self, approvals: Approvals, clock: Clock, hold_s: float = HOLD_S) -> None:
        self._approvals, self._clock, self._hold_s = approvals, clock, hold_s
        self._known: OrderedDict[str, Bulk] = OrderedDict()
        self._giving: dict[str, asyncio.Task[None]] = {}
        self._open: set[str] = set()  # those that can still be taken back

    def hold(
        self, ids: Sequence[str], answer: Literal["allow", "deny"], *, who: Answerer, reason: str = "", source: str = ""
    ) -> Bulk:
        """Take a decision over these questions, given when the time to undo it has passed. Raises InvalidInput."""
        wanted = tuple(dict.fromkeys(ids))
        if not 1 <= len(wanted) <= MOST or len(wanted) != len(ids):
            raise InvalidInput(f"1 to {MOST} questions are answered together, each named once")
        if answer not in ("allow", "deny") or len(reason) > MAX_REASON:
            raise InvalidInput(f"an answer is allow or deny, with a reason of at most {MAX_REASON} characters")
        until = self._clock.now_ms() + int(self._hold_s * 1000)
        bulk = Bulk(short_id("blk", self._clock.entropy(10)), answer, wanted, who.account, until)
        self._known[bulk.id] = bulk
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        reply = Reply(answer, reason)
        task = asyncio.create_task(self._give(bulk, reply, who, source), name=f"bulk-{bulk.id}")
        self._giving[bulk.id] = task
        task.add_done_callback(lambda _: self._giving.pop(bulk.id, None))
        self._open.add(bulk.id)
        return bulk

    def undo(self, bulk: str, *, who: Answerer) -> Bulk:
        """Take it back, whole. Raises NotFound, Forbidden (somebody else's), Conflict (too late: it was given)."""
        found = self.get(bulk)
        if found.by != who.account:
            raise Forbidden(f"{found.by} gave these answers and can take them back")
        if found.state == "undone":
            return found
        task = self._giving.get(bulk)
        if bulk not in self._open or task is None:
            raise Conflict("it is too late to take this back: the answers are recorded")
        self._open.discard(bulk)
        task.cancel()
        self._known[bulk] = replace(found, state="undone")
        return self._known[bulk]

    def get(self, bulk: str) -> Bulk:
        """How far it is. Raises NotFound."""
        found = self._known.get(bulk)
        if found is None:
            raise NotFound("there is no such bulk answer; after a restart of the server it was not given")
        return found

    async def given(self, bulk: str) -> Bulk:
        """The same, once every answer of it was tried, or it was taken back. Raises NotFound."""
        task = self._giving.get(bulk)
        if task is not None:
            await asyncio.wait([task])
        return self.get(bulk)

    async def close(self) -> None:
        """Drop what is held: none of it was recorded, and the questions stay open."""
        tasks = list(self._giving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _give(self, bulk: Bulk, reply: Reply, who: Answerer, source: str) -> None:
        await asyncio.sleep(self._hold_s)
        self._open.discard(bulk.id)  # from here on it cannot be taken back
        results: dict[str, str] = {}
        for approval in bulk.ids:
            try:
                await self._approvals.resolve(approval, reply, who=who, source=source)
                results[approval] = "recorded"
            except HelmError as error:
                results[approval] = error.code
            done: Literal["held", "applied"] = "applied" if len(results) == len(bulk.ids) else "held"
            self._known[bulk.id] = replace(bulk, state=done, results=dict(results))
