"""The one way to write: `record`. Concurrent callers share one transaction and one fsync, and each is answered only
after COMMIT. What cannot be recorded does not happen; what is told was durable first."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.approverkey import BadProof, in_force, signer_of
from app.domain.chain import Chain, Head, Moment, Sealed
from app.domain.errors import (
    AlreadyClaimed,
    Forbidden,
    Frozen,
    HelmError,
    InvalidInput,
    LedgerUnavailable,
    NotFound,
    SequenceMismatch,
)
from app.domain.events import SYSTEM_KINDS, Draft, Event
from app.domain.fold import evolve
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads import ApprovalDecided, Dispatched, McpForwarded, RunCreated
from app.domain.run import Action, Run
from app.domain.standing import Standing, settle
from app.domain.times import text_of
from app.ports import Batch, Clock, LogReader, LogStore

_MOST_PER_COMMIT: Final = 256
_QUEUE: Final = 10_000
_RECENT: Final = 4_096
_RECENT_BYTES: Final = 32 * 1_048_576  # of contents: an agent that sends megabytes must not fill the server's memory
_FOLLOW_PAGE: Final = 500


@dataclass(slots=True)
class _Request:
    """One caller's recording on its way through the writer."""

    run: str
    drafts: Sequence[Draft]
    expect: int | None
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[tuple[Event, ...]]
    sealed: list[Sealed]
    error: HelmError | None = None
    action: Action | None = None
    fold: Run | None = None


class Ledger:
    """The single writer of the log and the source of its live stream."""

    def __init__(self, chain: Chain, store: LogStore, reader: LogReader, clock: Clock) -> None:
        self._chain, self._store, self._clock = chain, store, clock
        self.read = reader
        self._requests: queue.Queue[_Request | None] = queue.Queue(_QUEUE)
        self._thread = threading.Thread(target=self._write_loop, name="helm-ledger", daemon=True)
        self._loaded = False
        self._settled = Standing()  # the writer's own; `standing` is what was told after COMMIT
        self.standing = Standing()
        self._closed = False
        self.fault = ""
        self._recent: deque[Event] = deque()
        self._recent_bytes = 0
        self._head = -1
        self._live: dict[str, Run] = {}
        self._woken = asyncio.Event()

    def start(self) -> None:
        """Load the end of the log and begin to take recordings. Raises LedgerUnavailable, LogCorrupt."""
        self._load()
        self._head = self._chain.size - 1
        self.standing = self._settled
        self._thread.start()

    async def close(self) -> None:
        """Write what was accepted, then stop; later recordings are refused. Harmless when it never started."""
        self._closed = True
        if self._thread.ident is not None:
            await asyncio.to_thread(self._requests.put, None)
            await asyncio.to_thread(self._thread.join, 30)

    @property
    def head(self) -> int:
        """`seq` of the newest durable receipt that was told; -1 for an empty log."""
        return self._head

    @property
    def remembered_bytes(self) -> int:
        """How many bytes of contents are kept in memory for followers; bounded."""
        return self._recent_bytes

    @property
    def log(self) -> str:
        """The log's origin, `helm.local/log/<log_id>`."""
        return self._chain.log

    async def record(self, run: str, *drafts: Draft, expect: int | None = None) -> tuple[Event, ...]:
        """Append drafts to a run, all or none, and return them once they are durable.

        `expect`: the run's last `run_seq` as the caller saw it. Raises AlreadyClaimed (somebody was first), RunEnded,
        SequenceMismatch, TooLarge, NotCanonical, LedgerUnavailable (then nothing of it may be assumed to be recorded).
        """
        return await self._submit(self._request(run, drafts, expect)).done

    async def record_action(self, run: str, *drafts: Draft) -> Action:
        """Append drafts of one action, and return the action as they left it. Raises as `record` does."""
        request = self._submit(self._request(run, drafts, None))
        await request.done
        if request.action is None:
            raise LedgerUnavailable("what was recorded is no action")
        return request.action

    async def run(self, run: str) -> Run | None:
        """A run as its durable events make it: from memory while it is live, from the store otherwise."""
        return self._live.get(run) or await self.read.run(run)

    def _request(self, run: str, drafts: Sequence[Draft], expect: int | None) -> _Request:
        if self._closed:
            raise LedgerUnavailable("the server is stopping; nothing is recorded any more")
        loop = asyncio.get_running_loop()
        return _Request(run, drafts, expect, loop, loop.create_future(), [])

    def _submit(self, request: _Request) -> _Request:
        try:
            self._requests.put_nowait(request)
        except queue.Full:
            raise LedgerUnavailable("too many recordings wait for the disk; try again shortly") from None
        return request

    async def follow(self, after: int, run: str = "") -> AsyncGenerator[list[Event], None]:
        """Everything after `after`, in order, once each, for ever: first what is stored, then what comes. An empty list
        says that the follower has caught up."""
        while True:
            head, woken = self._head, self._woken
            while after < head:
                page = await self._page(after, run)
                if not page:
                    break
                after = page[-1].seq
                yield page
            after = max(after, head)
            yield []
            await woken.wait()

    async def _page(self, after: int, run: str) -> list[Event]:
        recent = self._recent
        if recent and recent[0].seq <= after + 1:
            events = [event for event in list(recent) if event.seq > after and (not run or event.run == run)]
            return events[:_FOLLOW_PAGE]
        return await self.read.events(after=after, run=run, limit=_FOLLOW_PAGE)

    # --- the writer thread -------------------------------------------------------------------------------------------

    def _write_loop(self) -> None:
        while True:
            first = self._requests.get()
            if first is None:
                return
            requests = [first]
            stop = False
            while len(requests) < _MOST_PER_COMMIT:
                try:
                    following = self._requests.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    stop = True
                    break
                requests.append(following)
            self._commit(requests)
            if stop:
                return

    def _commit(self, requests: list[_Request]) -> None:
        """Prepare, write, answer. A crash before `write` returns leaves nothing; after it, everything."""
        batch = Batch()
        try:
            self._load()
            for request in requests:
                self._prepare(request, batch)
            if batch.sealed:
                self._store.write(batch)
                self._settled = batch.standing or self._settled
                for run in batch.runs.values():
                    if not run.live:
                        self._chain.heads.pop(run.id, None)
                self.fault = ""
        except (HelmError, MemoryError) as error:
            self._fail(requests, error)
        except Exception as error:  # noqa: BLE001 - supervisor: an unknown fault must refuse, and never kill the writer
            self._fail(requests, error)
        self._answer(requests, batch)

    def _fail(self, requests: list[_Request], error: BaseException) -> None:
        # The store may or may not hold the batch: forget what is cached and ask it before the next one.
        self._loaded = False
        self.fault = error.message if isinstance(error, HelmError) else f"{type(error).__name__} in the writer"
        for request in requests:
            if request.error is None:
                request.error = LedgerUnavailable(f"the log cannot be written: {self.fault}")
            request.sealed = []
        try:
            self._load()  # what did become durable is told to the followers now, and not by chance later
        except Exception:  # noqa: BLE001 - supervisor: whatever the store says now, the callers must be answered
            self._loaded = False

    def _load(self) -> None:
        if self._loaded:
            return
        self._chain.frontier = self._store.frontier()
        self._chain.heads.clear()
        self._settled = self._store.standing()
        self._loaded = True

    def _prepare(self, request: _Request, batch: Batch) -> None:
        """Seal one request's drafts into the batch; on a refusal the batch and the chain are as they were."""
        try:
            head = self._head_of(request.run)
            _check_expected(request.expect, head)
            _check_place(request.run, request.drafts)
            saved = self._chain.frontier, head
            at = Moment(text_of(self._clock.now_ms()), self._clock.mono_ns())
            sealed = self._chain.extend(request.run, head, request.drafts, at, self._clock.entropy)
            try:
                self._stage(request, sealed, batch)
            except Exception:
                self._chain.frontier = saved[0]
                self._restore_head(request.run, saved[1])
                raise
            request.sealed = sealed
        except LedgerUnavailable:
            raise
        except HelmError as error:
            request.error = error
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            # One caller's broken draft must not refuse the others that share its transaction.
            request.error = InvalidInput(f"the draft cannot be recorded ({type(error).__name__})")

    def _head_of(self, run: str) -> Head | None:
        if run not in self._chain.heads:
            stored = self._store.head(run)
            if stored is not None:
                self._chain.heads[run] = stored
        return self._chain.heads.get(run)

    def _restore_head(self, run: str, head: Head | None) -> None:
        if head is None:
            self._chain.heads.pop(run, None)
        else:
            self._chain.heads[run] = head

    def _stage(self, request: _Request, sealed: list[Sealed], batch: Batch) -> None:
        wanted: dict[str, int] = {}
        for claim, seq in ((claim, entry.event.seq) for entry in sealed for claim in entry.claims):
            if claim in wanted or claim in batch.claims:
                raise AlreadyClaimed(claim, wanted.get(claim, batch.claims.get(claim, seq)))
            wanted[claim] = seq
        taken = self._store.claimed(tuple(wanted))
        if taken is not None:
            raise AlreadyClaimed(*taken)
        self._project(request, sealed, batch)
        batch.claims.update(wanted)
        batch.sealed.extend(sealed)

    def _project(self, request: _Request, sealed: list[Sealed], batch: Batch) -> None:
        before = batch.standing or self._settled
        standing = before
        for entry in sealed:
            standing = settle(standing, entry.event)
        if request.run != SYSTEM_RUN and sealed:
            self._fold(request, sealed, batch, before)
        # Only now is it certain that the whole request can be taken in.
        if standing is not before:
            batch.standing = standing

    def _fold(self, request: _Request, sealed: list[Sealed], batch: Batch, standing: Standing) -> None:
        run = request.run
        state = batch.runs.get(run) or self._store.fold(run)
        if state is None and not isinstance(sealed[0].event.payload, RunCreated):
            raise NotFound("there is no such run")
        _check_thaw(state, sealed, standing)
        _check_signers(sealed, standing)
        steps = []
        for entry in sealed:
            steps.append(evolve(state, entry.event))
            state = steps[-1].run
        for step in steps:
            batch.runs[run] = request.fold = step.run
            if step.action is not None:
                batch.actions[step.action.id] = request.action = step.action
            if step.steering is not None:
                batch.steering[f"{run}/{step.steering.id}"] = (run, step.steering)

    def _answer(self, requests: list[_Request], batch: Batch) -> None:
        told = [entry.event for request in requests for entry in request.sealed]
        durable = self._chain.size - 1 if self._loaded else -1
        standing = self._settled if self._loaded else None
        by_loop: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
        for request in requests:
            by_loop.setdefault(request.loop, []).append(request)
        for loop, group in by_loop.items():
            try:
                loop.call_soon_threadsafe(self._tell, group, told, durable, standing)
            except RuntimeError:
                continue  # that loop has ended, and its callers with it

    def _remember(self, requests: list[_Request]) -> None:
        for request in requests:
            if request.error is not None or request.fold is None:
                continue
            if request.fold.live:
                self._live[request.run] = request.fold
            else:
                self._live.pop(request.run, None)

    def _tell(self, requests: list[_Request], told: list[Event], durable: int, standing: Standing | None) -> None:
        """On the event loop, after COMMIT: answer the callers, advance the head, wake the followers."""
        self._remember(requests)
        if standing is not None:
            self.standing = standing
        for request in requests:
            if request.done.done():
                continue
            if request.error is not None:
                request.done.set_exception(request.error)
            else:
                request.done.set_result(tuple(entry.event for entry in request.sealed))
        if durable > self._head:
            if not told or (told[0].seq, told[-1].seq) != (self._head + 1, durable):
                self._live.clear()  # more is durable than was told: the folds come from the store again
            self._keep(told)
            self._head = durable
            self._woken.set()
            self._woken = asyncio.Event()

    def _keep(self, told: list[Event]) -> None:
        """Keep the newest events for followers, without a hole and bounded; what is older comes from the store."""
        if not told or (self._recent and self._recent[-1].seq + 1 != told[0].seq):
            self._recent.clear()
            self._recent_bytes = 0
        self._recent.extend(told)
        self._recent_bytes += sum(map(_weight, told))
        while self._recent and (len(self._recent) > _RECENT or self._recent_bytes > _RECENT_BYTES):
            self._recent_bytes -= _weight(self._recent.popleft())


def _weight(event: Event) -> int:
    return sum(len(content.data or b"") for content in event.contents.values())


_RELEASES: Final = (Dispatched, McpForwarded)  # and the use of one that is taken later


def _check_thaw(run: Run | None, sealed: list[Sealed], standing: Standing) -> None:
    """In the one place that every release passes, and in its order: none can come after the freeze that forbids it."""
    if run is None or not standing.freezes or not any(isinstance(e.event.payload, _RELEASES) for e in sealed):
        return
    freeze = standing.frozen(run.id, run.blueprint)
    if freeze is not None:
        raise Frozen(f"{freeze.by} froze {freeze.target or 'everything'} at {freeze.ts}; unfreeze it first")


def _check_signers(sealed: list[Sealed], standing: Standing) -> None:
    """Who signed an answer was asked before it came here; a revocation that was recorded since then comes first."""
    for payload in (entry.event.payload for entry in sealed):
        if isinstance(payload, ApprovalDecided) and payload.proof.type != "none":
            try:
                in_force(signer_of(payload.proof), payload.approver, standing.keys)
            except BadProof as error:
                raise Forbidden(error.message) from None


def _check_place(run: str, drafts: Sequence[Draft]) -> None:
    for draft in drafts:
        if (draft.payload.kind in SYSTEM_KINDS) != (run == SYSTEM_RUN):
            raise InvalidInput(f"{draft.payload.kind} does not belong into this run")


def _check_expected(expect: int | None, head: Head | None) -> None:
    if expect is not None and expect != (head.run_seq if head is not None else -1):
        raise SequenceMismatch("the run has moved on since it was looked at; look again")
