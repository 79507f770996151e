"""Opening a log: its key must be there and be the right one, and its newest receipts must be what was signed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from app.bootstrap import open_log, prepare_home
from app.domain.errors import BadConfig, LogCorrupt
from app.settings import Settings, read_settings


def _settings(home: Path) -> Settings:
    settings = read_settings({"HELM_HOME": str(home)})
    prepare_home(settings)
    return settings


async def _made(home: Path) -> Settings:
    settings = _settings(home)
    async with open_log(settings) as opened:
        assert opened.ledger.head == 0
    return settings


async def test_a_log_opens_again_under_its_own_key(tmp_path: Path) -> None:
    settings = await _made(tmp_path)
    async with open_log(settings) as opened:
        assert opened.ledger.head == 0 and opened.ledger.log.startswith("helm.local/log/")


async def test_a_changed_receipt_at_the_end_stops_the_start(tmp_path: Path) -> None:
    settings = await _made(tmp_path)
    database = sqlite3.connect(settings.database)
    (trigger,) = database.execute("SELECT sql FROM sqlite_schema WHERE name = 'receipt_no_update'").fetchone()
    (line,) = database.execute("SELECT line FROM receipt WHERE seq = 0").fetchone()
    at = line.index(b'"sig":"') + 10
    forged = line[:at] + (b"A" if line[at : at + 1] != b"A" else b"B") + line[at + 1 :]
    database.execute("DROP TRIGGER receipt_no_update")
    database.execute("UPDATE receipt SET line = ? WHERE seq = 0", (forged,))
    database.execute(trigger)
    database.commit()
    database.close()
    with pytest.raises(LogCorrupt, match="#0 is not what was signed"):
        async with open_log(settings):
            pass


async def test_a_lost_or_another_key_is_named(tmp_path: Path) -> None:
    settings = await _made(tmp_path)
    key = settings.keys / "receipt-0.key"
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(BadConfig, match="restore the key"):
        async with open_log(settings):
            pass
    await _made(tmp_path / "other")
    key.write_bytes((tmp_path / "other" / "keys" / "receipt-0.key").read_bytes())
    key.chmod(0o600)
    with pytest.raises(BadConfig, match="not the one that this log was opened with"):
        async with open_log(settings):
            pass
    key.write_bytes(kept)
    async with open_log(settings):
        pass


async def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    async with open_log(settings):
        with pytest.raises(BadConfig, match="another Helm server"):
            async with open_log(settings):
                pass
