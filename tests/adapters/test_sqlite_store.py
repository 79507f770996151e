"""The file that holds the log: appending is all that its writer can do, faults of the disk close the gate and open it
again, and whatever was done to the file behind our back is found."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from app.adapters.keys import write_secret
from app.adapters.sqlite.check import check_log
from app.adapters.sqlite.connection import lock_file, open_reader, open_writer
from app.adapters.sqlite.ddl import DERIVED_TABLES
from app.adapters.sqlite.reader import SqliteReader
from app.adapters.sqlite.store import SqliteStore, rebuild
from app.domain.canonical import b64
from app.domain.chain import Chain
from app.domain.content import Content
from app.domain.errors import BadConfig, InvalidInput, LedgerUnavailable, LogCorrupt, NotFound
from app.domain.events import Draft, Local
from app.domain.logreport import LogReport
from app.domain.payloads import Controlled
from app.domain.receipt import POLICY
from app.ports import RunFilter
from app.services.ledger import Ledger
from app.settings import ROOT

from tests.fakes import StepClock
from tests.log_kit import (
    AGENT,
    ANA,
    LOG,
    SIGNER,
    STRANGER,
    created,
    dispatch,
    intent,
    note,
    opened,
    outcome,
    question,
    sealed_args,
    verdict,
)
from tests.log_kit import (
    closing as run_closing,
)

FAR_MS = int(time.time() * 1000) + 86_400_000


@asynccontextmanager
async def ledger_at(path: Path) -> AsyncIterator[Ledger]:
    store, reader = SqliteStore(path), SqliteReader(path)
    ledger = Ledger(Chain(LOG, SIGNER, 0, "boot"), store, reader, StepClock(int(time.time() * 1000)))
    ledger.start()
    if ledger.head < 0:
        await ledger.record("_sys", Draft(opened()))
    try:
        yield ledger
    finally:
        await ledger.close()
        reader.close()
        store.close()


async def act(ledger: Ledger, run: str, id: str) -> None:
    args = sealed_args(id)
    refs = {"intent": Local(0), "verdict": Local(1)}
    await ledger.record(
        run,
        Draft(intent(id, args=args), AGENT),
        Draft(verdict(id, "ALLOW", FAR_MS), POLICY, {"intent": Local(0)}),
        Draft(dispatch(id, args.digest, hold_micro=9), refs=refs),
        Draft(outcome(id, cost=3), refs={**refs, "dispatch": Local(2)}),
    )


async def filled(home: Path, notes: int = 300) -> Path:
    """A log with a closed run, a run that waits for a person, steering, and more than one tile."""
    path = home / "helm.db"
    async with ledger_at(path) as ledger:
        await ledger.record("r1", Draft(created(1), ANA))
        await act(ledger, "r1", "act1")
        await ledger.record("r1", Draft(run_closing(5, 3, 13, 5, 1)))
        await ledger.record("r2", Draft(created(2, "Second")))
        await ledger.record(
            "r2",
            Draft(intent("act2", args=sealed_args("act2")), AGENT),
            Draft(verdict("act2", "ESCALATE", FAR_MS), POLICY, {"intent": Local(0)}),
            Draft(question("act2", "apr2", expires_ms=FAR_MS), refs={"intent": Local(0), "verdict": Local(1)}),
        )
        await ledger.record("r2", Draft(Controlled("steer", "m1", "queue", Content.text("go")), ANA))
        await asyncio.gather(*[ledger.record("r2", Draft(note(f"n{number}"))) for number in range(notes)])
    return path


def report_on(path: Path) -> LogReport:
    return check_log(path.parent, keys=[SIGNER.public])


def tampered(path: Path, *statements: str) -> None:
    """Do to the file what somebody with a plain SQLite shell can do."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        kept = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger'")]
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")]
        db.execute("PRAGMA foreign_keys=OFF")
        for name in names:
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            db.execute(statement)
        for sql in kept:
            db.execute(sql)


# --- the writer can append, and nothing else -------------------------------------------------------------------------

REFUSED = {
    "insert_or_replace_receipt": "INSERT OR REPLACE INTO receipt VALUES(0,'_sys',0,x'00')",
    "insert_or_ignore_receipt": "INSERT OR IGNORE INTO receipt VALUES(0,'_sys',0,x'00')",
    "upsert_receipt": "INSERT INTO receipt VALUES(0,'_sys',0,x'00') ON CONFLICT(seq) DO UPDATE SET line = x'00'",
    "insert_with_a_gap": "INSERT INTO receipt VALUES(99999,'r9',0,x'00')",
    "insert_below_zero": "INSERT INTO receipt VALUES(-1,'r9',0,x'00')",
    "insert_without_a_number": "INSERT INTO receipt(run,run_seq,line) VALUES('r9',7,x'00')",
    "update_receipt": "UPDATE receipt SET line = x'00' WHERE seq = 0",
    "delete_receipt": "DELETE FROM receipt WHERE seq = 0",
    "delete_all_receipts": "DELETE FROM receipt",
    "replace_blob": "INSERT OR REPLACE INTO blob SELECT digest, salt, x'00' FROM blob",
    "update_blob": "UPDATE blob SET bytes = x'00'",
    "delete_blob": "DELETE FROM blob",
    "drop_trigger": "DROP TRIGGER receipt_no_update",
    "drop_table": "DROP TABLE receipt",
    "alter_table": "ALTER TABLE receipt RENAME TO other",
    "add_column": "ALTER TABLE receipt ADD COLUMN extra",
    "create_trigger": "CREATE TRIGGER t AFTER INSERT ON entry BEGIN SELECT 1; END",
    "create_temp_trigger": "CREATE TEMP TRIGGER t AFTER INSERT ON entry BEGIN SELECT 1; END",
    "create_table": "CREATE TABLE other(x)",
    "create_virtual_table": "CREATE VIRTUAL TABLE other USING fts5(x)",
    "create_view": "CREATE VIEW other AS SELECT 1",
    "attach": "ATTACH ':memory:' AS other",
    "vacuum": "VACUUM",
    "analyze": "ANALYZE",
    "reindex": "REINDEX",
    "writable_schema": "PRAGMA writable_schema=ON",
    "weaken_sync": "PRAGMA synchronous=OFF",
    "no_triggers": "PRAGMA recursive_triggers=OFF",
    "edit_the_schema": "UPDATE sqlite_schema SET sql = '' WHERE name = 'receipt_no_update'",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_m117_the_writer_cannot(tmp_path: Path, name: str) -> None:
    path = await filled(tmp_path, notes=3)
    with closing(open_writer(path)) as db:
        before = db.execute("SELECT seq, line FROM receipt").fetchall(), db.execute("SELECT * FROM blob").fetchall()
        with pytest.raises(sqlite3.DatabaseError):
            db.execute(REFUSED[name])
        after = db.execute("SELECT seq, line FROM receipt").fetchall(), db.execute("SELECT * FROM blob").fetchall()
    assert before == after
    assert report_on(path).ok


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    path = await filled(tmp_path, notes=1)
    with closing(open_reader(path)) as db, pytest.raises(sqlite3.OperationalError):
        db.execute("INSERT INTO tile VALUES(9, x'00')")


def test_the_promises_of_the_connection_are_asserted(tmp_path: Path) -> None:
    with closing(open_writer(tmp_path / "helm.db")):
        assert (tmp_path / "helm.db").stat().st_mode & 0o777 == 0o600


def test_m122_a_second_writer_is_refused(tmp_path: Path) -> None:
    lock_file(tmp_path / "helm.lock")
    with pytest.raises(BadConfig, match="another Helm server"):
        lock_file(tmp_path / "helm.lock")


async def test_two_writers_without_the_lock_cannot_fork_the_log(tmp_path: Path) -> None:
    path = await filled(tmp_path, notes=2)
    async with ledger_at(path) as one, ledger_at(path) as other:
        await one.record("r2", Draft(note("one")))
        with pytest.raises(LedgerUnavailable, match="append"):
            await other.record("r2", Draft(note("two")))
        await other.record("r2", Draft(note("two again")))
    assert report_on(path).ok


def test_the_lock_is_free_when_its_process_has_died(tmp_path: Path) -> None:
    code = "import sys, pathlib as p; from app.adapters.sqlite.connection import lock_file as f; f(p.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "helm.lock")], cwd=ROOT, check=True, timeout=30)
    lock_file(tmp_path / "helm.lock")


async def test_m118_a_dropped_trigger_is_noticed_at_start_and_by_the_check(tmp_path: Path) -> None:
    path = await filled(tmp_path, notes=1)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TRIGGER receipt_no_update")
    with pytest.raises(LogCorrupt):
        SqliteStore(path)
    assert "E_STORE_SCHEMA" in report_on(path).error_counts


async def test_an_added_trigger_is_noticed(tmp_path: Path) -> None:
    path = await filled(tmp_path, notes=1)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TRIGGER evil AFTER INSERT ON receipt BEGIN DELETE FROM claim; END")
    with pytest.raises(LogCorrupt):
        SqliteStore(path)
    assert "E_STORE_SCHEMA" in report_on(path).error_counts


# --- a disk that does not answer --------------------------------------------------------------------------------------


async def test_a_locked_database_closes_the_gate_and_opens_it_again(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "helm.db") as ledger:
        await ledger.record("r1", Draft(created(1)))
        with closing(sqlite3.connect(tmp_path / "helm.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerUnavailable, match="locked"):
                await ledger.record("r1", Draft(note("lost")))
            assert ledger.fault and await ledger.read.size() == 2
            other.execute("ROLLBACK")
        (event,) = await ledger.record("r1", Draft(note("kept")))
        assert event.seq == 2 and ledger.fault == ""
    assert report_on(tmp_path / "helm.db").ok


FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from tests.adapters.test_sqlite_store import ledger_at
from tests.log_kit import created, note
from app.domain.errors import LedgerUnavailable
from app.domain.events import Draft

async def main(path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    told = refused = 0
    async with ledger_at(path) as ledger:
        await ledger.record("r1", Draft(created(1)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        for number in range(200):
            try:
                await ledger.record("r1", Draft(note("x" * 8_000)))
                told += 1
            except LedgerUnavailable:
                refused += 1
        assert told and refused and ledger.fault, (told, refused)
        assert await ledger.read.size() == told + 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (event,) = await ledger.record("r1", Draft(note("after")))
        assert event.seq == told + 2 and not ledger.fault
    print(told, refused)

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_full_disk_closes_the_gate_and_opens_it_again(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path / "helm.db")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told, refused = map(int, done.stdout.split())
    assert refused > 0
    report = report_on(tmp_path / "helm.db")
    assert report.ok and report.receipts == told + 3


async def test_a_connection_that_was_lost_is_opened_again(tmp_path: Path) -> None:
    store, reader = SqliteStore(tmp_path / "helm.db"), SqliteReader(tmp_path / "helm.db")
    ledger = Ledger(Chain(LOG, SIGNER, 0, "boot"), store, reader, StepClock())
    ledger.start()
    await ledger.record("_sys", Draft(opened()))
    store.close()
    with pytest.raises(LedgerUnavailable):
        await ledger.record("r1", Draft(created(1)))
    await ledger.record("r1", Draft(created(1)))
    await ledger.close()
    reader.close()
    store.close()
    assert report_on(tmp_path / "helm.db").ok


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "helm.db").write_bytes(b"not a database " * 100)
    with pytest.raises(LedgerUnavailable, match="cannot be opened"):
        SqliteStore(tmp_path / "helm.db")
    assert "E_STORE_DAMAGED" in report_on(tmp_path / "helm.db").error_counts


def test_a_home_with_odd_characters(tmp_path: Path) -> None:
    home = tmp_path / "a #1 50%?mode=rw ü"
    home.mkdir()

    async def fill() -> None:
        await filled(home, notes=2)

    asyncio.run(fill())
    assert report_on(home / "helm.db").ok


# --- what was done behind our back ------------------------------------------------------------------------------------

TAMPERING = {
    "m116_line_changed": (
        "UPDATE receipt SET line = CAST(replace(CAST(line AS TEXT), 'eyJh', 'eyJi') AS BLOB) WHERE seq = 5",
        "E_BODY_SCHEMA E_BODY_UNKNOWN_FIELD E_BODY_NONCANONICAL",
    ),
    "line_emptied": ("UPDATE receipt SET line = x'' WHERE seq = 5", "E_LINE_JSON"),
    "receipt_deleted": ("DELETE FROM receipt WHERE seq = 5", "E_SEQ_GAP"),
    "tail_deleted": ("DELETE FROM receipt WHERE seq > 100", "E_LOG_ROLLBACK"),
    "stored_under_another_run": ("UPDATE receipt SET run = 'r9', run_seq = 0 WHERE seq = 5", "E_RUN_MIXED"),
    "m102_blob_changed": (
        "UPDATE blob SET bytes = x'00' WHERE digest = (SELECT min(digest) FROM blob)",
        "E_BLOB_COMMIT",
    ),
    "m103_salt_changed": ("UPDATE blob SET salt = zeroblob(32)", "E_BLOB_COMMIT"),
    "tile_changed": ("UPDATE tile SET hash = zeroblob(32)", "E_STORE_LISTS"),
    "entry_changed": ("UPDATE entry SET id = 'sha256:x' WHERE seq = 5", "E_STORE_LISTS"),
}


@pytest.mark.parametrize("name", TAMPERING)
async def test_tampering_is_named(tmp_path: Path, name: str) -> None:
    path = await filled(tmp_path)
    statement, codes = TAMPERING[name]
    tampered(path, statement)
    report = report_on(path)
    assert not report.ok
    assert set(codes.split()) & report.error_counts.keys(), report.error_counts


async def test_a_withheld_content_is_a_warning(tmp_path: Path) -> None:
    path = await filled(tmp_path, notes=2)
    tampered(path, "DELETE FROM blob WHERE digest = (SELECT min(digest) FROM blob)")
    report = report_on(path)
    assert report.ok and report.facts["withheld"] == 1


async def test_every_flipped_byte_of_the_file_is_harmless_or_found(tmp_path: Path) -> None:
    """Any byte: the check answers with a report, and where a receipt or content changed it is not ok."""
    path = await filled(tmp_path, notes=5)
    good = path.read_bytes()
    lines = sqlite_lines(path)
    for where in range(0, len(good), 1_999):
        home = tmp_path / f"h{where}"
        home.mkdir()
        (home / "helm.db").write_bytes(good[:where] + bytes([good[where] ^ 0x10]) + good[where + 1 :])
        report = check_log(home, keys=[SIGNER.public])
        if report.ok:
            assert sqlite_lines(home / "helm.db") == lines
        shutil.rmtree(home)


def sqlite_lines(path: Path) -> list[bytes]:
    with closing(open_reader(path)) as db:
        return [line for (line,) in db.execute("SELECT line FROM receipt ORDER BY seq")]


async def test_the_tiles_of_another_log_are_refused_at_start(tmp_path: Path) -> None:
    path = await filled(tmp_path)
    tampered(path, "DELETE FROM receipt WHERE seq > 100")
    with closing(SqliteStore(path)) as store, pytest.raises(LogCorrupt, match="helm rebuild"):
        store.frontier()


# --- the check beside a running server --------------------------------------------------------------------------------


async def test_the_check_runs_while_the_server_writes(tmp_path: Path) -> None:
    path = await filled(tmp_path)
    seen: list[tuple[int, int]] = []
    async with ledger_at(path) as ledger:
        writing = asyncio.create_task(_write_on(ledger))
        report = await asyncio.to_thread(
            check_log, tmp_path, lambda done, total: seen.append((done, total)), keys=[SIGNER.public]
        )
        await writing
    assert report.ok and report.receipts >= 300 and report.runs == 2 and report.open_runs == 1
    assert seen[-1][0] == seen[-1][1] == report.receipts
    assert report.as_json()["ok"] is True


async def _write_on(ledger: Ledger) -> None:
    for number in range(60):
        await ledger.record("r2", Draft(note(f"more {number}")))


async def test_no_key_is_no_proof_and_a_foreign_key_is_none_either(tmp_path: Path) -> None:
    await filled(tmp_path, notes=1)
    assert check_log(tmp_path).error_counts.keys() == {"E_TRUST_NONE"}
    assert check_log(tmp_path, keys=[STRANGER.public]).error_counts.keys() == {"E_TRUST_NONE"}


async def test_the_installations_own_key_is_the_trust_root(tmp_path: Path) -> None:
    await filled(tmp_path, notes=1)
    (tmp_path / "keys").mkdir(mode=0o700)
    write_secret(tmp_path / "keys" / "receipt-0.key", b64(b"1" * 32).encode())
    assert check_log(tmp_path).ok
    (tmp_path / "keys" / "receipt-0.key").chmod(0o644)
    with pytest.raises(BadConfig, match="chmod 600"):
        check_log(tmp_path)


async def test_what_a_killed_server_left_is_checked_as_it_lies(tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    async with ledger_at(tmp_path / "helm.db") as ledger:
        await ledger.record("r1", Draft(created(1)))
        (event,) = await ledger.record("r1", Draft(note("only in the WAL")))
        for name in ("helm.db", "helm.db-wal"):
            shutil.copy(tmp_path / name, left / name)
    report = check_log(left, keys=[SIGNER.public])
    assert report.ok and report.head == event.id and report.receipts == 3


def test_no_log_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="HELM_HOME"):
        check_log(tmp_path)


# --- projections ------------------------------------------------------------------------------------------------------


async def test_rebuild_gives_the_same_bytes(tmp_path: Path) -> None:
    path = await filled(tmp_path)

    def derived() -> dict[str, list[object]]:
        with closing(open_reader(path)) as db:
            queries = {table: f"SELECT * FROM {table} ORDER BY 1" for table in DERIVED_TABLES}  # noqa: S608
            return {table: db.execute(query).fetchall() for table, query in queries.items()}

    before = derived()
    assert rebuild(path) == await _size(path)
    assert derived() == before
    assert report_on(path).ok


async def _size(path: Path) -> int:
    reader = SqliteReader(path)
    try:
        return await reader.size()
    finally:
        reader.close()


async def test_rebuild_repairs_lists_that_somebody_changed(tmp_path: Path) -> None:
    path = await filled(tmp_path)
    tampered(path, "DELETE FROM claim", "DELETE FROM action", "UPDATE tile SET hash = zeroblob(32)")
    rebuild(path)
    assert report_on(path).ok
    async with ledger_at(path) as ledger:
        assert [action.id for action in await ledger.read.inbox()] == ["act2"]


# --- reading ----------------------------------------------------------------------------------------------------------


async def test_hostile_questions_to_the_reader(tmp_path: Path) -> None:
    path = await filled(tmp_path, notes=2)
    reader = SqliteReader(path)
    for hostile in (10**30, -(10**30)):
        with pytest.raises(InvalidInput):
            await reader.events(after=hostile)
        with pytest.raises(InvalidInput):
            await reader.event(hostile)
    with pytest.raises(InvalidInput):
        await reader.action(id="\ud800")
    assert await reader.runs(RunFilter(text="%_\\' OR 1=1 --")) == []
    assert await reader.event("'; DROP TABLE receipt; --") is None
    reader.close()
    with pytest.raises(LedgerUnavailable):
        await reader.size()


async def test_a_page_of_large_contents_is_cut_and_the_rest_follows(tmp_path: Path) -> None:
    path = tmp_path / "helm.db"
    async with ledger_at(path) as ledger:
        await ledger.record("r1", Draft(created(1)))
        for _ in range(90):
            await ledger.record("r1", Draft(note("x" * 262_144)))
        first = await ledger.read.events(limit=500)
        assert 2 < len(first) < 92
        assert [event.seq for event in first] == list(range(len(first)))
        newest = await ledger.read.events(before=92, limit=500)
        assert [event.seq for event in newest] == list(range(92 - len(newest), 92))
