"""How the database file is opened: pragmas that are asserted after they were set, an authorizer that leaves the writer
nothing but appending, and readers that cannot write at all."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

from app.adapters.sqlite.ddl import DERIVED, EXPECTED, LOG, SINCE, VERSION, squeezed
from app.domain.errors import BadConfig, HelmError, LedgerUnavailable, LogCorrupt

BUSY_MS: Final = 2_000
_PRAGMAS: Final = (
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", 2),
    ("foreign_keys", "ON", 1),
    ("recursive_triggers", "ON", 1),
    ("trusted_schema", "OFF", 0),
    ("cell_size_check", "ON", 1),
    ("wal_autocheckpoint", "1000", 1000),
)
_PROTECTED: Final = frozenset({"receipt", "blob"})
_NEVER: Final = frozenset(
    {
        sqlite3.SQLITE_ALTER_TABLE,
        sqlite3.SQLITE_ATTACH,
        sqlite3.SQLITE_DETACH,
        sqlite3.SQLITE_CREATE_INDEX,
        sqlite3.SQLITE_CREATE_TABLE,
        sqlite3.SQLITE_CREATE_TRIGGER,
        sqlite3.SQLITE_CREATE_VIEW,
        sqlite3.SQLITE_CREATE_TEMP_TABLE,
        sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
        sqlite3.SQLITE_CREATE_TEMP_VIEW,
        sqlite3.SQLITE_DROP_INDEX,
        sqlite3.SQLITE_DROP_TABLE,
        sqlite3.SQLITE_DROP_TRIGGER,
        sqlite3.SQLITE_DROP_VIEW,
        sqlite3.SQLITE_DROP_TEMP_INDEX,
        sqlite3.SQLITE_DROP_TEMP_TABLE,
        sqlite3.SQLITE_DROP_TEMP_TRIGGER,
        sqlite3.SQLITE_DROP_TEMP_VIEW,
        sqlite3.SQLITE_CREATE_TEMP_INDEX,
        sqlite3.SQLITE_CREATE_VTABLE,
        sqlite3.SQLITE_DROP_VTABLE,
        sqlite3.SQLITE_ANALYZE,
        sqlite3.SQLITE_REINDEX,
    }
)


def lock_file(path: Path) -> int:
    """Take the one lock of a log; the descriptor holds it until the process ends. Raises BadConfig when a second server
    is running on the same log."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise BadConfig(
            f"another Helm server is running on {path.parent}; stop it, or set HELM_HOME to another folder"
        ) from None
    return descriptor


def open_writer(path: Path, *, derive_again: bool = False) -> sqlite3.Connection:
    """The one writing connection, its schema made or checked. Raises LedgerUnavailable, LogCorrupt."""
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
        path.chmod(0o600)
        _set_pragmas(connection)
        _make_schema(connection)
        _check_schema(connection)
    except (sqlite3.DatabaseError, OSError, LedgerUnavailable, LogCorrupt) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, HelmError):
            raise
        raise LedgerUnavailable(f"{path} cannot be opened: {error}") from None
    if not derive_again:
        connection.set_authorizer(_authorize)
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that can only read; it never checkpoints (SQLite before 3.51.3 may corrupt when two do)."""
    connection = sqlite3.connect(
        path.absolute().as_uri() + "?mode=ro", uri=True, check_same_thread=False, timeout=BUSY_MS / 1000
    )
    connection.execute("PRAGMA query_only=ON")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _set_pragmas(connection: sqlite3.Connection) -> None:
    for name, value, expected in _PRAGMAS:
        connection.execute(f"PRAGMA {name}={value}")
        (actual,) = connection.execute(f"PRAGMA {name}").fetchone()
        if actual != expected:
            raise LedgerUnavailable(f"SQLite refused {name}={value} (it says {actual}); is the file system read-only?")


def _make_schema(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    statements = SINCE.get(version) if version else (*LOG, *DERIVED)
    if statements is None:
        raise LedgerUnavailable(f"helm.db has schema version {version}; this Helm knows {VERSION}: use a newer Helm")
    connection.execute("BEGIN IMMEDIATE")
    for statement in statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


def _check_schema(connection: sqlite3.Connection) -> None:
    rows = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    found = {squeezed(sql) for (sql,) in rows}
    if found != EXPECTED:
        changed = sorted(found ^ EXPECTED)[0][:80]
        raise LogCorrupt(f"the schema of helm.db was changed by somebody else, near: {changed}")


def _authorize(action: int, first: str | None, second: str | None, database: str | None, source: str | None) -> int:
    if action in _NEVER:
        return sqlite3.SQLITE_DENY
    if action in (sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE) and first in _PROTECTED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_PRAGMA and first not in ("wal_checkpoint", "quick_check"):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
