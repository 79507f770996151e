"""`helm key`: keys come in through stdin, lie in files that only the owner reads, and are never shown."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.cli.kit import helm, served

KEY = "sk-test-0123456789"


def test_a_key_is_stored_closed_listed_without_its_text_and_deleted(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ended = helm(home, "key", "set", "anthropic", given=KEY + "\n")
    assert ended.code == 0, ended.err
    file = home / "keys" / "providers" / "anthropic"
    assert stat.S_IMODE(file.lstat().st_mode) == 0o600
    assert stat.S_IMODE(home.lstat().st_mode) == 0o700
    assert file.read_text().strip() == KEY
    listed = helm(home, "key", "list", "--json")
    rows = {row["provider"]: row for row in listed.document["keys"]}
    assert rows["anthropic"]["present"]
    assert rows["anthropic"]["private"]
    assert not rows["openai"]["present"]
    assert KEY not in ended.out + ended.err + listed.out + helm(home, "key", "list").out
    assert helm(home, "key", "unset", "anthropic").code == 0
    assert not file.exists()
    assert helm(home, "key", "unset", "anthropic").code == 1


@pytest.mark.parametrize("given", ["", "short", "two words are no key", "ключ-ключ-ключ", "k" * 5_000, "k" * 20_000])
def test_what_cannot_be_a_key_is_refused_and_not_repeated(tmp_path: Path, given: str) -> None:
    ended = helm(tmp_path / "home", "key", "set", "anthropic", given=given)
    assert ended.code == 2
    assert not given or given not in ended.error


def test_the_command_line_takes_no_key(tmp_path: Path) -> None:
    ended = helm(tmp_path / "home", "key", "set", "anthropic", KEY)
    assert ended.code == 2
    assert not (tmp_path / "home").exists()


def test_an_unknown_provider_names_those_there_are(tmp_path: Path) -> None:
    ended = helm(tmp_path / "home", "key", "set", "nobody", "--json", given=KEY)
    assert ended.code == 2
    assert "anthropic or openai" in ended.error
    assert ended.document["error"]["code"] == "USAGE"


def test_a_running_server_learns_of_a_key_at_once(tmp_path: Path) -> None:
    with served(tmp_path / "home") as server:
        assert not server.helm("status", "--json").document["providers"]["anthropic"]
        ended = server.helm("key", "set", "anthropic", "--json", given=KEY)
        assert ended.document == {"provider": "anthropic", "stored": True, "running_server_told": True}
        assert server.helm("status", "--json").document["providers"]["anthropic"]
