"""`helm demo`: the scenarios for real, with Docker, answered as told and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.kit import helm, served

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


def by_reason(document: dict[str, Any], reason: str) -> list[str]:
    """The tools that were judged for this reason."""
    return [row["tool"] for row in document["verdicts"] if row["reason_code"] == reason]


@pytest.mark.parametrize("scenario", ["market-brief", "code-migration", "rotate-secret"])
def test_a_scenario_plays_to_its_end_and_verifies(tmp_path: Path, scenario: str) -> None:
    home = tmp_path / "home"
    ended = helm(home, "demo", scenario, "--allow", "--json", "--timeout", "90")
    assert ended.code == 0, (ended.out, ended.err)
    told = ended.document
    assert told["status"] == "finished"
    assert told["verified"] is True
    assert told["log_receipts"] >= told["receipts"] > 20
    assert all(row["decision"] in ("ALLOW", "DENY") for row in told["verdicts"]), "nothing stays open"
    assert all(row["receipt"].startswith("sha256:") for row in told["verdicts"])
    if scenario == "code-migration":
        assert [row for row in told["verdicts"] if row["decision"] == "DENY" and row["tool"] == "Bash"]
    else:
        assert "mcp__mail__send_email" in by_reason(told, "APPROVED")
        assert {answer["answer"] for answer in told["answers"]} == {"allow"}
    assert (home / "helm.db").exists(), "a folder that was named is kept"
    assert not (home / "cli.json").exists(), "its server is gone"


def test_what_is_denied_does_not_happen(tmp_path: Path) -> None:
    ended = helm(tmp_path / "home", "demo", "rotate-secret", "--deny", "--json", "--timeout", "90")
    assert ended.code == 0, (ended.out, ended.err)
    told = ended.document
    assert told["status"] == "finished"
    assert by_reason(told, "APPROVED") == []
    assert by_reason(told, "APPROVAL_DENIED")
    mailbox = tmp_path / "home" / "demo" / "mailbox" / "new"
    assert not mailbox.exists() or list(mailbox.iterdir()) == []


def test_a_running_server_is_used_and_a_late_run_is_stopped(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with served(home, shelf=False) as server:
        ended = server.helm("demo", "market-brief", "--allow", "--json", "--timeout", "1")
        assert ended.code == 1
        assert "--timeout" in ended.err
        rows = server.helm("runs", "--json").document["runs"]
        assert [row["status"] for row in rows] == ["stopped"]
