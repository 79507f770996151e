"""`helm verify-log` and `helm rebuild` on a real log, with and without its server."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from tests.cli.kit import helm, served
from tests.cli.test_commands import begin


def test_the_log_verifies_with_the_server_running_and_without(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with served(home) as server:
        server.helm("key", "set", "anthropic", given="sk-nobody-uses-this")
        run = begin(server)
        assert server.helm("stop", run).code == 0
        during = server.helm("verify-log", "--json")
        assert during.code == 0, during.out
        assert during.document["ok"] is True
        assert during.document["receipts"] >= 5
        refused = server.helm("rebuild")
        assert refused.code == 2
        assert "another Helm server is running" in refused.error
    after = helm(home, "verify-log", "--json")
    assert after.code == 0
    assert after.document["receipts"] == during.document["receipts"]
    rebuilt = helm(home, "rebuild", "--json")
    assert rebuilt.document == {"receipts": after.document["receipts"], "rebuilt": True}
    shown = helm(home, "verify-log")
    assert shown.code == 0
    assert "The log verifies" in shown.out
    assert "What no check of this kind proves" in shown.out


def test_a_changed_log_is_found(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with served(home) as server:
        assert server.helm("status").code == 0
    shutil.copytree(home, tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))
    with sqlite3.connect(tmp_path / "copy" / "helm.db") as db:
        db.execute("DROP TRIGGER receipt_no_update")
        db.execute("UPDATE receipt SET line = CAST(replace(CAST(line AS TEXT), 'A', 'B') AS BLOB) WHERE seq = 0")
    db.close()
    ended = helm(tmp_path / "copy", "verify-log", "--json")
    assert ended.code == 1
    assert ended.document["ok"] is False
    assert ended.document["errors"]
    assert helm(home, "verify-log").code == 0


def test_where_there_is_no_log_it_says_so(tmp_path: Path) -> None:
    for word in ("verify-log", "rebuild"):
        ended = helm(tmp_path / "nowhere", word)
        assert ended.code == 2
        assert "HELM_HOME" in ended.error
    assert helm(tmp_path / "nowhere", "verify-log", "--key", "no key").code == 2
