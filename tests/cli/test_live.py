"""Watching across a restart of the server, and answering at a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from app.cli.terminal import key_of

from tests.cli.kit import WAIT_S, environment, finished, helm, served, started
from tests.cli.test_commands import ask, begin, waiting

# Opened by the leader of a new session, a terminal becomes its own: only then does Ctrl-C reach the command.
OWN_TERMINAL = "import os; os.close(os.open(os.ttyname(0), os.O_RDWR)); from app.cli import main; main()"


def test_a_watch_lives_through_a_restart_and_shows_each_event_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with served(home) as first:
        first.helm("key", "set", "anthropic", given="sk-nobody-uses-this")
        run = begin(first)
        with started(home, "watch", run, "--json", "--from-start") as watching:
            assert watching.stderr is not None
            assert "live, up to #" in watching.stderr.readline()
            first.process.terminate()
            assert first.process.wait(WAIT_S) == 0
            assert "connection lost" in watching.stderr.readline()
            with served(home) as second:
                assert "live, up to #" in watching.stderr.readline()
                assert second.helm("stop", run).code == 0
                ended = finished(watching)
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert [event["run_seq"] for event in events] == list(range(len(events)))
    assert events[-1]["name"] == "run.closed"
    assert ended.code == 1


def test_a_person_answers_at_the_terminal(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with served(home) as server:
        server.helm("key", "set", "anthropic", given="sk-nobody-uses-this")
        run = begin(server)
        thread, answers = ask(server, run, "toolu_1", subject="Prices")
        item = waiting(server, run)
        with Terminal(home, "inbox") as terminal:
            card = terminal.until("q quit ")
            assert item["title"] in card
            assert item["rule"] in card
            terminal.type("d")
            terminal.until("Reason")
            terminal.type("not on a Saturday\n")
            terminal.until("delivered")
            assert terminal.ended() == 0
        thread.join(WAIT_S)
        assert "not on a Saturday" in answers[0]["hookSpecificOutput"]["permissionDecisionReason"]
        assert server.helm("stop", run).code == 0


def test_ctrl_c_at_the_terminal_answers_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with served(home) as server:
        server.helm("key", "set", "anthropic", given="sk-nobody-uses-this")
        run = begin(server)
        ask(server, run, "toolu_1")
        key = waiting(server, run)["key"]
        with Terminal(home, "inbox") as terminal:
            terminal.until("q quit ")
            terminal.type("\x03")
            assert terminal.ended() == 130
            assert terminal.echoes(), "the terminal is left as it was found"
        assert waiting(server, run)["key"] == key
        assert helm(home, "stop", run).code == 0


@pytest.mark.parametrize(
    ("typed", "key"),
    [("a", "a"), ("D", "d"), ("\r", "\r"), ("x", ""), ("\x1b[A", ""), ("aa", ""), ("ad", ""), ("", "q"), ("\x04", "q")],
)
def test_only_one_offered_key_answers(typed: str, key: str) -> None:
    assert key_of(typed, "ad\r\nq") == key


class Terminal:
    """A command with a real terminal around it."""

    def __init__(self, home: Path, *words: str, **more: str) -> None:
        self._master, self._slave = pty.openpty()
        self._heard = ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, *words],
            env=environment(home, TERM="xterm", COLUMNS="120", LINES="40", **more),
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)
        os.close(self._slave)

    def until(self, words: str) -> str:
        """All that was shown since the last time, up to these words."""
        end = time.monotonic() + WAIT_S
        while words not in self._heard:
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{words!r} never came: {self._heard!r}"
            self._heard += os.read(self._master, 65_536).decode("utf-8", "replace")
        shown, _, self._heard = self._heard.partition(words)
        return shown

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def ended(self) -> int:
        """The exit code."""
        return self._process.wait(WAIT_S)

    def echoes(self) -> bool:
        """Whether the terminal shows what is typed, by whole lines, as shells leave it."""
        flags = termios.tcgetattr(self._slave)[3]
        return bool(flags & termios.ECHO) and bool(flags & termios.ICANON)
