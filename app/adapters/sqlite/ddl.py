"""The schema, as the very text that SQLite stores. Receipts can only be appended, in order, without a gap; the triggers
that see to it are compared with this text at every start."""

from __future__ import annotations

from typing import Final

VERSION: Final = 2

LOG: Final = (
    """CREATE TABLE receipt(seq INTEGER PRIMARY KEY, run TEXT NOT NULL, run_seq INTEGER NOT NULL, line BLOB NOT NULL,
 UNIQUE(run, run_seq)) STRICT""",
    "CREATE TABLE blob(digest TEXT PRIMARY KEY, salt BLOB NOT NULL, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TRIGGER receipt_no_update BEFORE UPDATE ON receipt
 BEGIN SELECT RAISE(ABORT, 'receipts are never changed'); END""",
    """CREATE TRIGGER receipt_no_delete BEFORE DELETE ON receipt
 BEGIN SELECT RAISE(ABORT, 'receipts are never deleted'); END""",
    """CREATE TRIGGER receipt_in_order BEFORE INSERT ON receipt
 WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), -1) + 1 FROM receipt)
 OR NEW.run_seq IS NOT (SELECT coalesce(max(run_seq), -1) + 1 FROM receipt WHERE run = NEW.run)
 BEGIN SELECT RAISE(ABORT, 'receipts are appended in order'); END""",
    """CREATE TRIGGER blob_no_update BEFORE UPDATE ON blob
 BEGIN SELECT RAISE(ABORT, 'blobs are never changed'); END""",
    """CREATE TRIGGER blob_no_replace BEFORE INSERT ON blob
 WHEN EXISTS (SELECT 1 FROM blob WHERE digest = NEW.digest)
 BEGIN SELECT RAISE(ABORT, 'blobs are never replaced'); END""",
)

# Everything below follows from the receipts and is rebuilt from them by one command.
DERIVED: Final = (
    """CREATE TABLE entry(seq INTEGER PRIMARY KEY REFERENCES receipt(seq), id TEXT NOT NULL UNIQUE, run TEXT NOT NULL,
 name TEXT NOT NULL, ts TEXT NOT NULL) STRICT""",
    "CREATE INDEX entry_run ON entry(run, seq)",
    "CREATE TABLE tile(idx INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT",
    "CREATE TABLE claim(claim TEXT PRIMARY KEY, seq INTEGER NOT NULL REFERENCES receipt(seq)) STRICT, WITHOUT ROWID",
    """CREATE TABLE run(id TEXT PRIMARY KEY, no INTEGER NOT NULL UNIQUE, title TEXT NOT NULL, blueprint TEXT NOT NULL,
 status TEXT NOT NULL, live INTEGER NOT NULL, waiting INTEGER NOT NULL, unknown INTEGER NOT NULL,
 spent_micro INTEGER NOT NULL, opened_ts TEXT NOT NULL, last_ts TEXT NOT NULL, last_seq INTEGER NOT NULL,
 state BLOB NOT NULL) STRICT""",
    "CREATE INDEX run_status ON run(live, status)",
    """CREATE TABLE action(id TEXT PRIMARY KEY, run TEXT NOT NULL, "key" TEXT NOT NULL, approval TEXT NOT NULL,
 door TEXT NOT NULL, tool TEXT NOT NULL, state TEXT NOT NULL, status TEXT NOT NULL, effect_class TEXT NOT NULL,
 expires TEXT NOT NULL, opened_seq INTEGER NOT NULL, ended_ts TEXT NOT NULL, cost_micro INTEGER NOT NULL,
 doc BLOB NOT NULL, UNIQUE(run, "key")) STRICT""",
    "CREATE INDEX action_state ON action(state, opened_seq)",
    "CREATE INDEX action_run ON action(run, opened_seq)",
    "CREATE INDEX action_open ON action(run) WHERE state <> 'ended'",
    "CREATE INDEX action_approval ON action(approval) WHERE approval <> ''",
    "CREATE INDEX action_unknown ON action(status) WHERE status = 'unknown'",
    "CREATE INDEX action_spend ON action(ended_ts) WHERE cost_micro > 0",
    "CREATE TABLE steering(id TEXT PRIMARY KEY, run TEXT NOT NULL, doc BLOB NOT NULL) STRICT",
    "CREATE INDEX steering_run ON steering(run, id)",
    "CREATE TABLE standing(id INTEGER PRIMARY KEY CHECK(id = 1), doc BLOB NOT NULL) STRICT",
)
# What an older file lacks, by its version. Only derived tables were ever added: an empty one is what its log says.
SINCE: Final = {1: (DERIVED[-1],)}
DERIVED_TABLES: Final = ("standing", "steering", "action", "run", "claim", "tile", "entry")


def squeezed(sql: str) -> str:
    """SQL with its white space folded, so that a comparison does not depend on line breaks."""
    return " ".join(sql.split())


EXPECTED: Final = frozenset(squeezed(statement) for statement in (*LOG, *DERIVED))
