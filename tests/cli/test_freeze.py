"""The brake in the terminal: with a server, and on a log whose server is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.kit import Running, helm, served
from tests.cli.test_commands import begin, names_of


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with served(tmp_path_factory.mktemp("freeze") / "home") as running:
        running.helm("key", "set", "anthropic", given="sk-nobody-uses-this")
        yield running


def test_a_run_is_frozen_listed_and_lifted(server: Running) -> None:
    run = begin(server)
    made = server.helm("freeze", "--run", run[:12], "--reason", "odd \x1b[31m")
    assert made.code == 0, made.err
    assert f"Frozen: run {run}" in made.out and f"helm unfreeze --run {run}" in made.out
    listed = server.helm("freeze", "--list")
    assert run in listed.out and "odd" in listed.out and "\x1b" not in listed.out
    assert "frozen" in server.helm("status").out
    hook = {"tool_name": "Bash", "tool_input": {"command": "ls"}, "tool_use_id": "t1", "cwd": "/workspace"}
    said = server.gateway(run, "/gate", hook).json()["hookSpecificOutput"]
    assert said["permissionDecision"] == "deny" and said["permissionDecisionReason"].startswith("FROZEN")
    lifted = server.helm("unfreeze", "--run", run)
    assert (lifted.code, lifted.out) == (0, "Lifted.\n")
    assert server.helm("freeze", "--list").out == "Nothing is frozen.\n"
    assert "run.interrupted" not in names_of(server, run)


def test_a_frozen_blueprint_starts_nothing(server: Running) -> None:
    assert server.helm("freeze", "--blueprint", "rotate-secret", "--json").document["scope"] == "blueprint"
    begun = server.helm("run", "start", "rotate-secret")
    assert begun.code == 4 and "helm unfreeze" in begun.err
    assert server.helm("unfreeze", "--blueprint", "rotate-secret").code == 0
    assert server.helm("unfreeze", "--blueprint", "rotate-secret").code == 2, "it is not frozen"


@pytest.mark.parametrize("words", [[], ["--all", "--run", "x"], ["--blueprint", "a", "--all"]])
def test_one_thing_is_named(server: Running, words: list[str]) -> None:
    for command in ("freeze", "unfreeze"):
        ended = server.helm(command, *words)
        assert ended.code == 2 and "--all" in ended.err


def test_without_a_server_the_freeze_is_in_the_log_and_holds_from_its_start_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    none = helm(home, "freeze", "--all")
    assert none.code == 1 and "no log" in none.err
    with served(home) as server:
        server.helm("key", "set", "anthropic", given="sk-nobody-uses-this")
    made = helm(home, "freeze", "--all", "--reason", "odd", "--json")
    assert made.code == 0, made.err
    assert (made.document["scope"], made.document["reason"]) == ("all", "odd")
    again = helm(home, "freeze", "--all", "--json")
    assert again.document == made.document, "one freeze, one receipt"
    assert helm(home, "unfreeze", "--all").code == 3, "lifting it needs a server, and so a person who signs in there"
    with served(home) as server:
        begun = server.helm("run", "start", "market-brief")
        assert begun.code == 4 and "froze everything" in begun.err
        assert server.helm("unfreeze", "--all").code == 0
        begin(server)
    assert helm(home, "verify-log").code == 0
