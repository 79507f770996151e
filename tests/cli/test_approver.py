"""`helm approver` and signed answers against a real server, with the real ssh-keygen; then the log is checked without
the server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.kit import Running, served
from tests.cli.test_commands import ask, begin, waiting


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with served(tmp_path_factory.mktemp("cli") / "home") as running:
        running.helm("key", "set", "anthropic", given="sk-nobody-uses-this")
        yield running
    checked = running.helm("verify-log", "--json")
    assert checked.code == 0 and checked.document["ok"], checked.out


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("ssh") / "id_ed25519")


def make_key(path: Path, kind: str = "ed25519") -> Path:
    command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "ana@laptop", "-f", str(path)]
    subprocess.run(command, check=True, timeout=30)
    return path


def test_a_key_is_enrolled_signs_an_answer_and_is_revoked(server: Running, key: Path) -> None:
    enrolled = server.helm("approver", "enroll", "--ssh", str(key), "--json").document
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], capture_output=True, text=True, timeout=30).stdout
    assert enrolled["id"] in shown and enrolled["name"] == "ana@laptop" and enrolled["state"] == "in force"
    run = begin(server)
    thread, answers = ask(server, run, "toolu_signed")
    item = waiting(server, run)
    said = server.helm("inbox", "allow", item["key"], "--sign", str(key))
    assert "recorded" in said.out and "You sign" in said.err and item["key"] in said.err
    thread.join(20)
    assert answers[0]["hookSpecificOutput"]["permissionDecision"] == "allow", answers
    again = server.helm("approver", "enroll", "--ssh", str(key))
    assert again.code == 4 and "enrolled already" in again.error
    assert enrolled["id"] in server.helm("approver", "list").out
    assert server.helm("approver", "revoke", enrolled["id"], "--reason", "sold").code == 0
    assert "revoked" in server.helm("approver", "list").out
    back = server.helm("approver", "enroll", "--ssh", str(key))
    assert back.code == 4 and "does not come back" in back.error
    thread, answers = ask(server, run, "toolu_revoked")
    refused = server.helm("inbox", "allow", waiting(server, run)["key"], "--sign", str(key))
    assert refused.code != 0 and "revoked" in refused.err
    denied = server.helm("inbox", "deny", waiting(server, run)["key"])
    assert denied.code == 0, denied.err
    thread.join(20)


def test_what_cannot_be_enrolled_is_told_why(server: Running, tmp_path: Path) -> None:
    missing = server.helm("approver", "enroll", "--ssh", str(tmp_path / "nothing"))
    assert missing.code == 2 and "ssh-keygen -t ed25519" in missing.error
    rsa = make_key(tmp_path / "rsa", "rsa")
    other = server.helm("approver", "enroll", "--ssh", str(rsa))
    assert other.code != 0 and "only ssh-ed25519" in other.error
    stranger = make_key(tmp_path / "stranger")
    run = begin(server)
    thread, _ = ask(server, run, "toolu_stranger")
    item = waiting(server, run)
    refused = server.helm("inbox", "allow", item["key"], "--sign", str(stranger))
    assert refused.code != 0 and "not enrolled" in refused.err
    assert server.helm("inbox", "deny", item["key"]).code == 0
    thread.join(20)
    assert server.helm("approver", "revoke", "SHA256:nothing").code == 2
