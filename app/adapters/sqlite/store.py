"""The writing side: one connection, one transaction per batch, durable before `write` returns. Used by the ledger's
thread alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from app.adapters.sqlite.connection import open_writer
from app.adapters.sqlite.ddl import DERIVED_TABLES
from app.adapters.sqlite.rows import (
    action_row,
    digests_of,
    event_of,
    run_of,
    run_row,
    standing_doc,
    standing_of,
    steering_row,
)
from app.domain.chain import Head, Sealed
from app.domain.errors import LedgerUnavailable, LogCorrupt
from app.domain.events import claims_of
from app.domain.fold import evolve
from app.domain.ids import SYSTEM_RUN
from app.domain.merkle import TILE_LEAVES, TILE_LEVEL, Frontier, leaf_hash, tile_hash
from app.domain.payloads import RunClosed
from app.domain.receipt import parse
from app.domain.run import Run
from app.domain.standing import Standing, settle
from app.ports import Batch

T = TypeVar("T")


def _upsert(table: str, changing: str) -> str:
    """Insert a row, or change these columns of the one that is there. Written out instead of OR REPLACE, which makes
    every index entry of the row anew, and would take another row's place where only its number or key is the same."""
    sets = ",".join(f"{name}=excluded.{name}" for name in changing.split())
    marks = ",".join("?" * _COLUMNS[table])
    return f"INSERT INTO {table} VALUES({marks}) ON CONFLICT(id) DO UPDATE SET {sets}"


_COLUMNS: Final = {"run": 13, "action": 14}
_STANDING_SQL: Final = "INSERT OR REPLACE INTO standing VALUES(1,?)"
_RUN_SQL: Final = _upsert("run", "status live waiting unknown spent_micro last_ts last_seq state")
_ACTION_SQL: Final = _upsert("action", "approval state status expires ended_ts cost_micro doc")


class SqliteStore:
    """The log in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = open_writer(path)
        self._folds: dict[str, Run] = {}
        self._tail: list[bytes] = []  # leaf hashes of the tile that is not complete yet

    def close(self) -> None:
        """Give the file back; the WAL is folded in."""
        self._db.close()

    def frontier(self) -> Frontier:
        """The tree over all stored receipts, from complete tiles and at most 255 leaves."""
        self._folds.clear()
        return self._guarded(self._read_frontier)

    def _read_frontier(self) -> Frontier:
        frontier = Frontier()
        for (digest,) in self._db.execute("SELECT hash FROM tile ORDER BY idx"):
            frontier.append(digest, TILE_LEVEL)
        tail = self._db.execute("SELECT seq, line FROM receipt WHERE seq >= ? ORDER BY seq", (frontier.size,))
        self._tail = []
        for seq, line in tail:
            if seq != frontier.size:
                raise LogCorrupt(f"receipt {frontier.size} is missing from helm.db")
            leaf = leaf_hash(line)
            self._tail.append(leaf)
            frontier.append(leaf)
        (stored,) = self._db.execute("SELECT coalesce(max(seq) + 1, 0) FROM receipt").fetchone()
        if len(self._tail) >= TILE_LEAVES or frontier.size != stored:
            raise LogCorrupt("the tiles of helm.db are not those of its receipts; run: helm rebuild")
        return frontier

    def head(self, run: str) -> Head | None:
        """The end of a run's chain."""
        return self._guarded(lambda: self._read_head(run))

    def _read_head(self, run: str) -> Head | None:
        row = self._db.execute(
            "SELECT line FROM receipt WHERE run = ? ORDER BY run_seq DESC LIMIT 1", (run,)
        ).fetchone()
        if row is None:
            return None
        last = parse(row[0])
        closed = isinstance(last.payload, RunClosed) and run != SYSTEM_RUN
        return Head(last.run_seq, last.id, last.lamport, closed)

    def fold(self, run: str) -> Run | None:
        """The run as its durable events make it."""
        if run not in self._folds:
            found = self._guarded(lambda: self._read_fold(run))
            if found is None:
                return None
            self._folds[run] = found
        return self._folds[run]

    def _read_fold(self, run: str) -> Run | None:
        row = self._db.execute("SELECT state FROM run WHERE id = ?", (run,)).fetchone()
        if row is None:
            return None
        sql = "SELECT doc FROM action WHERE run = ? AND state <> 'ended' ORDER BY opened_seq"
        return run_of(row[0], [doc for (doc,) in self._db.execute(sql, (run,))])

    def standing(self) -> Standing:
        """What outlives the runs."""
        row = self._guarded(lambda: self._db.execute("SELECT doc FROM standing").fetchone())
        return standing_of(row[0]) if row is not None else Standing()

    def claimed(self, claims: Sequence[str]) -> tuple[str, int] | None:
        """The first claim that is taken, with the seq that took it."""
        marks = ",".join("?" * len(claims))
        sql = f"SELECT claim, seq FROM claim WHERE claim IN ({marks}) ORDER BY seq LIMIT 1"  # noqa: S608 - marks only
        row = self._guarded(lambda: self._db.execute(sql, claims).fetchone())
        return (str(row[0]), int(row[1])) if row is not None else None

    def write(self, batch: Batch) -> None:
        """One transaction with synchronous=FULL. A crash before COMMIT leaves nothing of it, after it everything."""
        tail = list(self._tail)
        try:
            self._guarded(lambda: self._write(batch, tail))
        except BaseException:
            # Whatever it was: half a transaction must not stand when the next one reads.
            self._roll_back()
            raise
        self._tail = tail
        for run in batch.runs.values():
            if run.live:
                self._folds[run.id] = run
            else:
                self._folds.pop(run.id, None)

    def _write(self, batch: Batch, tail: list[bytes]) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        self._append(batch.sealed, tail)
        db.executemany("INSERT INTO claim VALUES(?,?)", batch.claims.items())
        db.executemany(_RUN_SQL, [run_row(run) for run in batch.runs.values()])
        db.executemany(_ACTION_SQL, [action_row(action) for action in batch.actions.values()])
        rows = [steering_row(run, message) for run, message in batch.steering.values()]
        db.executemany("INSERT OR REPLACE INTO steering VALUES(?,?,?)", rows)
        if batch.standing is not None:
            db.execute(_STANDING_SQL, (standing_doc(batch.standing),))
        db.execute("COMMIT")

    def _append(self, sealed: Sequence[Sealed], tail: list[bytes]) -> None:
        db = self._db
        events = [entry.event for entry in sealed]
        db.executemany(
            "INSERT INTO receipt VALUES(?,?,?,?)", [(e.event.seq, e.event.run, e.event.run_seq, e.line) for e in sealed]
        )
        db.executemany("INSERT INTO entry VALUES(?,?,?,?,?)", [(e.seq, e.id, e.run, e.name, e.ts) for e in events])
        blobs = {
            c.digest: (c.digest, c.salt, c.data) for e in events for c in e.contents.values() if c.data is not None
        }
        # The same sealed content may stand in two receipts (a verdict and its dispatch): it is kept once.
        db.executemany(
            "INSERT INTO blob SELECT ?1,?2,?3 WHERE NOT EXISTS(SELECT 1 FROM blob WHERE digest=?1)", blobs.values()
        )
        for entry in sealed:
            tail.append(entry.leaf)
            if len(tail) == TILE_LEAVES:
                db.execute("INSERT INTO tile VALUES(?,?)", (entry.event.seq >> TILE_LEVEL, tile_hash(tail)))
                tail.clear()

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            # The connection is beyond use: the next recording opens a new one.
            self._db.close()

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.ProgrammingError:
            self._db = open_writer(self._path)
            raise LedgerUnavailable("the database connection was lost; it is opened again") from None
        except sqlite3.IntegrityError as error:
            raise LogCorrupt(f"helm.db refused to append: {error}") from None
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"helm.db: {error}; free disk space or release the lock, then try again") from None


def rebuild(path: Path) -> int:
    """Drop every projection and make it again from the receipts; returns how many there were. No server may run."""
    db = open_writer(path, derive_again=True)
    try:
        db.execute("BEGIN IMMEDIATE")
        for table in DERIVED_TABLES:
            db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own table names
        count = _replay(db)
        db.execute("COMMIT")
    finally:
        db.close()
    return count


def _replay(db: sqlite3.Connection) -> int:
    runs: dict[str, Run] = {}
    leaves: list[bytes] = []
    count = 0
    standing = Standing()
    for seq, run, line in db.execute("SELECT seq, run, line FROM receipt ORDER BY seq"):
        marks = digests_of([line])
        blobs = {d: _blob(db, d) for d in marks}
        event = event_of(line, {d: found for d, found in blobs.items() if found is not None})
        db.execute("INSERT INTO entry VALUES(?,?,?,?,?)", (seq, event.id, run, event.name, event.ts))
        db.executemany("INSERT INTO claim VALUES(?,?)", [(c, seq) for c in claims_of(event.payload, event.refs, run)])
        leaves.append(leaf_hash(line))
        if len(leaves) == TILE_LEAVES:
            db.execute("INSERT INTO tile VALUES(?,?)", (seq >> TILE_LEVEL, tile_hash(leaves)))
            leaves.clear()
        if run != SYSTEM_RUN:
            step = evolve(runs.get(run), event)
            runs[run] = step.run
            if step.action is not None:
                db.execute(_ACTION_SQL, action_row(step.action))
            if step.steering is not None:
                db.execute("INSERT OR REPLACE INTO steering VALUES(?,?,?)", steering_row(run, step.steering))
            if not step.run.live:
                db.execute(_RUN_SQL, run_row(runs.pop(run)))
        standing = settle(standing, event)
        count += 1
    if standing != Standing():
        db.execute(_STANDING_SQL, (standing_doc(standing),))
    db.executemany(_RUN_SQL, [run_row(run) for run in runs.values()])
    return count


def _blob(db: sqlite3.Connection, digest: str) -> tuple[bytes, bytes] | None:
    row = db.execute("SELECT salt, bytes FROM blob WHERE digest = ?", (digest,)).fetchone()
    return (row[0], row[1]) if row is not None else None
