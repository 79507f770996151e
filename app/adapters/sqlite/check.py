"""Runs the check of the log over a helm.db, read-only, whether its server runs or not: every line, every kept content
against its commitment, the file itself, the schema, and the lists that were derived."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from app.adapters.keys import signer
from app.adapters.sqlite.connection import open_reader
from app.adapters.sqlite.ddl import EXPECTED, squeezed
from app.domain.content import Content, commitment
from app.domain.errors import NotFound
from app.domain.logcheck import LogCheck
from app.domain.logreport import LogReport
from app.domain.merkle import TILE_LEAVES, leaf_hash, tile_hash
from app.domain.receipt import Receipt
from app.domain.schema import contents_of

Progress: TypeAlias = Callable[[int, int], None]

_SALT_BYTES: Final = 32
_CHUNK: Final = 500
_KEY_FILE: Final = re.compile(r"receipt-\d+\.key\Z")
_PAGE: Final = """SELECT r.seq, r.run, r.run_seq, r.line, e.id FROM receipt r LEFT JOIN entry e ON e.seq = r.seq
 WHERE r.seq > ? AND r.seq <= ? ORDER BY r.seq LIMIT ?"""
_ENDS: Final = """SELECT coalesce((SELECT max(seq) FROM receipt), -1),
 max(coalesce((SELECT max(seq) FROM entry), -1), coalesce((SELECT max(seq) FROM claim), -1),
 coalesce((SELECT (max(idx) + 1) * 256 - 1 FROM tile), -1))"""


def check_log(home: Path, progress: Progress | None = None, *, keys: Iterable[bytes] | None = None) -> LogReport:
    """Check the log of an installation. `keys`: raw public keys to trust; without them the signing keys under
    `home/keys` are the trust root. `progress(done, total)` is called after each page.

    Whatever the bytes are, the answer is a report. Raises NotFound when there is no helm.db, BadConfig when a key file
    cannot be used.
    """
    path = home / "helm.db"
    if not path.is_file():
        raise NotFound(f"there is no log at {path}; set HELM_HOME to the right folder")
    trusted = frozenset(_own_keys(home / "keys") if keys is None else keys)
    return _StoreCheck(LogCheck(trusted), progress or _silent).run(path)


def _own_keys(folder: Path) -> list[bytes]:
    names = sorted(file.name for file in folder.glob("receipt-*.key") if _KEY_FILE.match(file.name))
    return [signer(folder, name.removesuffix(".key")).public for name in names]


def _silent(done: int, total: int) -> None:
    return


@dataclass(slots=True)
class _StoreCheck:
    """One pass over a database file."""

    check: LogCheck
    progress: Progress
    tile: list[bytes] = field(default_factory=list)
    commitments: int = 0
    withheld: int = 0

    def run(self, path: Path) -> LogReport:
        """The whole check; a file that SQLite cannot read is a finding."""
        connection: sqlite3.Connection | None = None
        try:
            connection = open_reader(path)
            connection.text_factory = _text
            self._file(connection)
            self._lines(connection)
        except sqlite3.Error as error:
            self._bad("E_STORE_DAMAGED", -1, f"helm.db cannot be read to its end: {error}")
        finally:
            if connection is not None:
                connection.close()
        report = self.check.finish()
        facts = {"commitments": self.commitments, "withheld": self.withheld}
        return replace(report, facts=facts)

    def _file(self, db: sqlite3.Connection) -> None:
        found = {squeezed(str(sql)) for (sql,) in db.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")}
        for changed in sorted(found ^ EXPECTED):
            word = "added to" if changed in found else "missing from"
            self._bad("E_STORE_SCHEMA", -1, f"{word} the schema of helm.db: {changed[:80]}")
        for (said,) in db.execute("PRAGMA quick_check(10)"):
            if said != "ok":
                self._bad("E_STORE_DAMAGED", -1, str(said))

    def _lines(self, db: sqlite3.Connection) -> None:
        # Receipts that come while this runs are behind `last`: they are the next check's.
        last, listed = db.execute(_ENDS).fetchone()
        if listed > last:
            self._bad("E_LOG_ROLLBACK", last, f"the lists of helm.db know of #{listed}, which is not there any more")
        after, done, total = -1, 0, last + 1
        while page := db.execute(_PAGE, (after, last, TILE_LEAVES)).fetchall():
            after = page[-1][0]
            receipts = [receipt for row in page if (receipt := self._line(*row)) is not None]
            self._tile(db, page)
            self._contents(db, receipts)
            done += len(page)
            self.progress(done, max(done, total))

    def _line(self, seq: int, run: str, run_seq: int, line: Any, listed: str | None) -> Receipt | None:
        data = line if isinstance(line, bytes) else str(line).encode()
        receipt = self.check.feed(seq, data)
        if receipt is None:
            return None
        if (receipt.run, receipt.run_seq) != (run, run_seq):
            self._bad("E_RUN_MIXED", seq, "it is stored under another run or number than it says")
        if listed != receipt.id:
            self._bad("E_STORE_LISTS", seq, "the lists of helm.db name another receipt; run: helm rebuild")
        return receipt

    def _tile(self, db: sqlite3.Connection, page: Sequence[Any]) -> None:
        """A wrong tile would give the next receipts a wrong root: compare it with the lines below it."""
        if len(page) != TILE_LEAVES or page[0][0] % TILE_LEAVES:
            return
        index = page[0][0] // TILE_LEAVES
        row = db.execute("SELECT hash FROM tile WHERE idx = ?", (index,)).fetchone()
        expected = tile_hash([leaf_hash(row[3]) for row in page if isinstance(row[3], bytes)])
        if row is None or row[0] != expected:
            self._bad("E_STORE_LISTS", page[0][0], "a tile is not the hash of its lines; run: helm rebuild")

    def _contents(self, db: sqlite3.Connection, receipts: Sequence[Receipt]) -> None:
        wanted = [(r.seq, name, content) for r in receipts for name, content in contents_of(r.payload).items()]
        held: dict[str, tuple[Any, Any]] = {}
        digests = sorted({content.digest for _, _, content in wanted})
        for start in range(0, len(digests), _CHUNK):
            part = digests[start : start + _CHUNK]
            marks = ",".join("?" * len(part))
            rows = db.execute(f"SELECT digest, salt, bytes FROM blob WHERE digest IN ({marks})", part)  # noqa: S608
            held.update({digest: (salt, data) for digest, salt, data in rows})
        for seq, name, content in wanted:
            self._content(seq, name, content, held.get(content.digest))

    def _content(self, seq: int, name: str, content: Content, held: tuple[Any, Any] | None) -> None:
        self.commitments += 1
        if held is None:
            self.withheld += 1
            self.check.findings.add("W_BLOB_WITHHELD", seq, f"the content of {name} is not kept here")
            return
        salt, data = held
        fits = isinstance(salt, bytes) and isinstance(data, bytes) and len(salt) == _SALT_BYTES
        if not fits or len(data) != content.size or commitment(data, salt) != content.digest:
            self._bad("E_BLOB_COMMIT", seq, f"the content of {name} is not the one that was committed to")

    def _bad(self, code: str, seq: int, message: str) -> None:
        self.check.findings.add(code, seq, message)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
