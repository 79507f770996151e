"""The reading side: read-only connections through SQLModel, off the event loop, bounded pages. It sees what is
committed and nothing else."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Engine, Text, cast, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool
from sqlmodel import Session, and_, col, func, or_, select

from app.adapters.sqlite.connection import open_reader
from app.adapters.sqlite.rows import action_of, digests_of, event_of, run_of, steering_of, weight_of
from app.adapters.sqlite.tables import ActionRow, BlobRow, EntryRow, ReceiptRow, RunRow, SteeringRow
from app.domain.errors import InvalidInput, LedgerUnavailable
from app.domain.events import Event
from app.domain.run import Action, Run, Steering
from app.ports import RunFilter

T = TypeVar("T")
_THREADS: Final = 4
_MOST: Final = 1_000
_PAGE_BYTES: Final = 16 * 1_048_576  # of contents in one page: arguments and results may have a megabyte each
_CHUNK: Final = 500  # SQLite takes at most 999 variables in one statement


class SqliteReader:
    """Queries over the log and its projections."""

    def __init__(self, path: Path) -> None:
        self._engine: Engine = create_engine(
            "sqlite://", creator=lambda: open_reader(path), poolclass=QueuePool, pool_size=_THREADS
        )
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="helm-read")

    def close(self) -> None:
        """Close the readers."""
        self._threads.shutdown(wait=True)
        self._engine.dispose()

    async def _in_thread(self, work: Callable[[Session], T]) -> T:
        def call() -> T:
            try:
                with Session(self._engine) as session:
                    return work(session)
            except (SQLAlchemyError, sqlite3.Error) as error:
                raise LedgerUnavailable(f"helm.db cannot be read: {type(error).__name__}") from None
            except (OverflowError, UnicodeEncodeError):
                raise InvalidInput("a number is too large, or a text holds half of a surrogate pair") from None

        try:
            waiting = asyncio.get_running_loop().run_in_executor(self._threads, call)
        except RuntimeError:
            raise LedgerUnavailable("the log is closed") from None
        return await waiting

    async def events(
        self, *, after: int = -1, before: int | None = None, run: str = "", limit: int = 500
    ) -> list[Event]:
        """Events in order; see the port."""
        limit = max(1, min(limit, _MOST))
        return await self._in_thread(lambda session: _events(session, after, before, run, limit))

    async def event(self, key: str | int) -> Event | None:
        """One event by receipt id or seq."""

        def work(session: Session) -> Event | None:
            seq = session.exec(select(EntryRow.seq).where(EntryRow.id == key)).first() if isinstance(key, str) else key
            row = session.get(ReceiptRow, seq) if seq is not None else None
            return _decoded(session, [row.line])[0] if row is not None else None

        return await self._in_thread(work)

    async def lines(self, *, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Stored lines in order."""
        query = (
            select(ReceiptRow.seq, ReceiptRow.line)
            .where(ReceiptRow.seq > after)
            .order_by(col(ReceiptRow.seq))
            .limit(max(1, min(limit, _MOST)))
        )
        return await self._in_thread(lambda session: [(seq, line) for seq, line in session.exec(query)])

    async def run(self, run: str) -> Run | None:
        """One run's fold."""
        query = select(RunRow.id, RunRow.state).where(RunRow.id == run)
        found = await self._in_thread(lambda session: _runs(session, query))
        return found[0] if found else None

    async def runs(self, which: RunFilter) -> list[Run]:
        """Runs, newest first."""
        query = select(RunRow.id, RunRow.state).order_by(col(RunRow.no).desc())
        query = query.limit(max(1, min(which.limit, _MOST)))
        for condition in _conditions(which):
            query = query.where(condition)
        return await self._in_thread(lambda session: _runs(session, query))

    async def counts(self) -> Mapping[str, int]:
        """Runs by status word and group."""

        def work(session: Session) -> dict[str, int]:
            by_status = select(RunRow.status, RunRow.live, func.count()).group_by(RunRow.status, col(RunRow.live))
            found: dict[str, int] = {"all": 0, "live": 0, "ended": 0}
            for status, live, count in session.exec(by_status):
                found[status] = found.get(status, 0) + count
                found["all"] += count
                found["live" if live else "ended"] += count
            found["needs"] = session.exec(select(func.count()).where(_needs())).one()
            return found

        return await self._in_thread(work)

    async def action(self, *, id: str = "", run: str = "", key: str = "", approval: str = "") -> Action | None:
        """One action by its id, by its run and key, or by its approval."""
        query = select(ActionRow.doc)
        if id:
            query = query.where(ActionRow.id == id)
        elif approval:
            query = query.where(ActionRow.approval == approval, ActionRow.approval != "")
        else:
            query = query.where(ActionRow.run == run, ActionRow.key == key)
        doc = await self._in_thread(lambda session: session.exec(query).first())
        return action_of(doc) if doc is not None else None

    async def actions(self, *, run: str = "", state: str = "", limit: int = 200) -> list[Action]:
        """Actions, newest first."""
        query = select(ActionRow.doc).order_by(col(ActionRow.opened_seq).desc()).limit(max(1, min(limit, _MOST)))
        if run:
            query = query.where(ActionRow.run == run)
        if state:
            query = query.where(ActionRow.state == state)
        docs = await self._in_thread(lambda session: list(session.exec(query)))
        return [action_of(doc) for doc in docs]

    async def known_keys(self, run: str, keys: Sequence[str]) -> dict[str, Action]:
        """The actions of a run among these keys."""

        def work(session: Session) -> dict[str, Action]:
            found = {}
            for start in range(0, len(keys), _CHUNK):
                part = keys[start : start + _CHUNK]
                query = select(ActionRow.key, ActionRow.doc).where(ActionRow.run == run, col(ActionRow.key).in_(part))
                found.update({key: action_of(doc) for key, doc in session.exec(query)})
            return found

        return await self._in_thread(work)

    async def inbox(self) -> list[Action]:
        """What waits for a person: soonest expiry first, then what is unknown."""
        waiting = select(ActionRow.doc).where(ActionRow.state == "waiting").order_by(ActionRow.expires).limit(_MOST)
        unknown = (
            select(ActionRow.doc)
            .where(ActionRow.status == "unknown", col(ActionRow.door).in_(("tool", "mcp")))
            .where(ActionRow.effect_class != "read")
            .order_by(col(ActionRow.opened_seq).desc())
            .limit(_MOST)
        )
        docs = await self._in_thread(lambda session: [*session.exec(waiting), *session.exec(unknown)])
        return [action_of(doc) for doc in docs]

    async def steering(self, run: str) -> list[Steering]:
        """A run's messages, oldest first."""
        query = select(SteeringRow.doc).where(SteeringRow.run == run).limit(_MOST)
        docs = await self._in_thread(lambda session: list(session.exec(query)))
        return sorted((steering_of(doc) for doc in docs), key=lambda message: message.queued_seq)

    async def spent_since(self, ts: str) -> int:
        """Micro-dollars of outcomes since a time."""
        query = select(func.coalesce(func.sum(ActionRow.cost_micro), 0)).where(
            ActionRow.ended_ts >= ts, ActionRow.cost_micro > 0
        )
        return int(await self._in_thread(lambda session: session.exec(query).one()))

    async def rule_hits(self) -> Mapping[tuple[str, str], int]:
        """Intents by the policy of their run and the rule that decided them."""
        policy = func.json_extract(cast(RunRow.state, Text), "$.policy")
        rule = func.json_extract(cast(ActionRow.doc, Text), "$.rule")
        query = (
            select(policy, rule, func.count())
            .select_from(ActionRow)
            .join(RunRow, col(RunRow.id) == ActionRow.run)
            .group_by(policy, rule)
        )
        rows = await self._in_thread(lambda session: list(session.exec(query)))
        return {(str(policy), str(rule)): int(count) for policy, rule, count in rows if rule}

    async def size(self) -> int:
        """How many receipts are durable."""
        query = select(func.coalesce(func.max(ReceiptRow.seq) + 1, 0))
        return int(await self._in_thread(lambda session: session.exec(query).one()))


def _runs(session: Session, query: Any) -> list[Run]:
    rows = [(str(run), bytes(state)) for run, state in session.exec(query)]
    ids = [run for run, _ in rows]
    open_actions: dict[str, list[bytes]] = {}
    for start in range(0, len(ids), _CHUNK):
        part = ids[start : start + _CHUNK]
        found = select(ActionRow.run, ActionRow.doc).where(col(ActionRow.run).in_(part), ActionRow.state != "ended")
        for run, doc in session.exec(found.order_by(col(ActionRow.opened_seq))):
            open_actions.setdefault(run, []).append(doc)
    return [run_of(state, open_actions.get(run, ())) for run, state in rows]


def _needs() -> Any:
    return or_(col(RunRow.waiting) > 0, col(RunRow.unknown) > 0, and_(RunRow.status == "interrupted", RunRow.live == 1))


def _conditions(which: RunFilter) -> list[Any]:
    groups = {"live": RunRow.live == 1, "ended": RunRow.live == 0, "needs": _needs()}
    conditions: list[Any] = []
    if which.status:
        conditions.append(groups.get(which.status, RunRow.status == which.status))
    if which.blueprint:
        conditions.append(RunRow.blueprint == which.blueprint)
    if which.text:
        conditions.append(col(RunRow.title).contains(which.text, autoescape=True))
    if which.before_no:
        conditions.append(col(RunRow.no) < which.before_no)
    return conditions


def _events(session: Session, after: int, before: int | None, run: str, limit: int) -> list[Event]:
    query = select(EntryRow.seq).where(EntryRow.seq > after)
    if run:
        query = query.where(EntryRow.run == run)
    if before is not None:
        query = query.where(EntryRow.seq < before).order_by(col(EntryRow.seq).desc())
    else:
        query = query.order_by(col(EntryRow.seq))
    seqs = sorted(session.exec(query.limit(limit)))
    if not seqs:
        return []
    lines: list[bytes] = []
    for start in range(0, len(seqs), _CHUNK):
        part = seqs[start : start + _CHUNK]
        found = select(ReceiptRow.line).where(col(ReceiptRow.seq).in_(part)).order_by(col(ReceiptRow.seq))
        lines.extend(session.exec(found))
    return _decoded(session, _bounded(lines) if before is None else _bounded(lines[::-1])[::-1])


def _bounded(lines: list[bytes]) -> list[bytes]:
    """The first lines whose contents fit into memory together; at least one, so that a reader gets on."""
    weight = 0
    for at, line in enumerate(lines):
        weight += weight_of(line)
        if at and weight > _PAGE_BYTES:
            return lines[:at]
    return lines


def _decoded(session: Session, lines: Sequence[bytes]) -> list[Event]:
    digests = digests_of(lines)
    blobs: dict[str, tuple[bytes, bytes]] = {}
    for start in range(0, len(digests), _CHUNK):
        part = digests[start : start + _CHUNK]
        query = select(BlobRow.digest, BlobRow.salt, BlobRow.bytes).where(col(BlobRow.digest).in_(part))
        blobs.update({digest: (salt, data) for digest, salt, data in session.exec(query)})
    return [event_of(line, blobs) for line in lines]
