"""Every way to answer from a terminal, against a real server: edits, grants, quorums, several at once, asking again."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app.cli.answers import seconds_of
from app.cli.cards import input_lines
from app.cli.exits import Failure
from app.cli.output import inert, safe

from tests.cli.kit import ROOT, WAIT_S, Running, finished, helm, served, started, until
from tests.cli.test_commands import begin
from tests.cli.test_live import Terminal

MAIL = "mcp__mail__send"
LETTER = {"to": "a@example.com", "subject": "Brief"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    policies = str(ROOT / "tests" / "faces" / "gate_policies")
    with served(tmp_path_factory.mktemp("cli") / "home", HELM_POLICIES=policies) as running:
        running.helm("key", "set", "anthropic", given="sk-nobody-uses-this")
        yield running


class Call:
    """A tool call of a run, as its hook asks for it, waiting in the background."""

    def __init__(self, server: Running, run: str, tool: str, args: dict[str, Any], key: str) -> None:
        hook = {"tool_name": tool, "tool_input": args, "tool_use_id": key, "cwd": "/workspace"}
        self._said: list[dict[str, Any]] = []
        self._server, self._run, self._tool, self._key = server, run, tool, key
        self._thread = threading.Thread(target=self._ask, args=(hook,), daemon=True)
        self._thread.start()

    def _ask(self, hook: dict[str, Any]) -> None:
        said = self._server.gateway(self._run, "/gate", hook).json()["hookSpecificOutput"]
        if said["permissionDecision"] == "allow":
            done = {"tool_use_id": self._key, "tool_name": self._tool, "tool_response": "ok"}
            self._server.gateway(self._run, "/gate/outcome", {**done, "hook_event_name": "PostToolUse"})
        self._said.append(said)

    def said(self) -> dict[str, Any]:
        """What it was told in the end; it was executed where it was allowed."""
        self._thread.join(WAIT_S)
        return self._said[0]

    def question(self) -> str:
        """The key of its item in the inbox, once it is there."""

        def find() -> list[str]:
            items = self._server.helm("inbox", "--json").document["items"]
            return [row["key"] for row in items if row["run"] == self._run and row["tool"] == self._tool]

        return until(find)[-1]


def test_arguments_are_edited_and_the_edit_is_judged_again(server: Running, tmp_path: Path) -> None:
    run = begin(server, "ceremony")
    call = Call(server, run, "Bash", {"command": "make deploy"}, "t1")
    key = call.question()
    refused = server.helm("inbox", "allow", key, "--edit", '{"command": "mkfs.ext4 /dev/sda"}', "--json")
    assert refused.code == 2 and refused.document["error"]["code"] == "SANDBOX_VIOLATION"
    for wrong in ("[1]", '{"command": 1', '{"a": 1, "a": 2}', str(tmp_path / "none")):
        assert server.helm("inbox", "allow", key, "--edit", wrong).code == 2
    (tmp_path / "args.json").write_text('{"command": "make check"}')
    ended = server.helm("inbox", "allow", key, "--edit", str(tmp_path / "args.json"), "--json")
    assert ended.code == 0, ended.err
    assert ended.document["state"] == "executed"
    assert call.said()["updatedInput"] == {"command": "make check"}
    shown = server.helm("inbox", "show", ended.document["action"]).out
    assert "make deploy" in shown and "make check" in shown
    second = Call(server, run, "Bash", {"command": "make x"}, "t2")
    ended = server.helm("inbox", "allow", second.question(), "--edit", "-", given='{"command": "make y"}')
    assert ended.code == 0, ended.err
    assert second.said()["updatedInput"] == {"command": "make y"}
    server.helm("stop", run)


def test_a_grant_is_given_listed_used_and_revoked(server: Running) -> None:
    run = begin(server, "ceremony")
    call = Call(server, run, MAIL, LETTER, "t1")
    key = call.question()
    for words in (("--uses", "3"), ("--for-run", "--scope", "blueprint"), ("--for-run", "--lasts", "soon")):
        assert server.helm("inbox", "allow", key, *words).code == 2
    pattern = 'args.to.endsWith("@example.com")'
    found = server.helm("grants", "preview", "--tool", MAIL, "--pattern", pattern, "--run", run, "--json").document
    assert (found["matched"], found["looked_at"]) == (1, 1)
    bad = server.helm("grants", "preview", "--tool", MAIL, "--pattern", "args.to ==")
    assert bad.code == 2 and "column" in bad.error
    ended = server.helm("inbox", "allow", key, "--pattern", pattern, "--uses", "5", "--lasts", "2h", "--json")
    assert ended.code == 0, ended.err
    call.said()
    again = Call(server, run, MAIL, {**LETTER, "to": "b@example.com"}, "t2")
    assert again.said()["permissionDecision"] == "allow"
    (grant,) = server.helm("grants", "--json").document["grants"]
    assert (grant["uses"], grant["used"], grant["pattern"]) == (5, 1, pattern)
    listed = server.helm("grants")
    assert grant["id"] in listed.out and "4 of 5" in listed.out
    assert server.helm("grants", "revoke", grant["id"][:10], "--reason", "enough").code == 0
    assert "No grants stand" in server.helm("grants").out
    assert "revoked" in server.helm("grants", "--all").out
    assert server.helm("grants", "revoke", "grt_nothing").code == 2
    third = Call(server, run, MAIL, {**LETTER, "to": "c@example.com"}, "t3")
    assert server.helm("inbox", "deny", third.question()).code == 0
    server.helm("stop", run)


def test_what_may_not_be_granted_is_said_and_ends_with_1(server: Running) -> None:
    run = begin(server, "ceremony")
    call = Call(server, run, "mcp__mail__send_all", LETTER, "t1")
    ended = server.helm("inbox", "allow", call.question(), "--for-run", "--json")
    assert ended.code == 1
    assert ended.document["error"]["code"] == "FORBIDDEN"
    server.helm("stop", run)


def test_a_quorum_says_how_many_more_are_needed(server: Running) -> None:
    run = begin(server, "ceremony")
    call = Call(server, run, "mcp__ops__pay", {"amount": "900.00"}, "t1")
    key = call.question()
    shown = server.helm("inbox", "show", key).out
    assert "2 people" in shown and "900.00" in shown
    ended = server.helm("inbox", "allow", key)
    assert ended.code == 0
    assert "1 more person must allow it" in ended.out
    assert server.helm("inbox", "show", key, "--json").document["state"] == "open"
    server.helm("stop", run)


def test_several_are_answered_at_once_each_for_itself(server: Running) -> None:
    run = begin(server, "ceremony")
    calls = [Call(server, run, MAIL, {**LETTER, "n": str(n)}, f"t{n}") for n in range(2)]
    keys = until(lambda: _both(server, run))
    ended = server.helm("inbox", "bulk", "allow", *keys, "--json")
    assert ended.code == 0, ended.err
    assert ended.document["results"] == dict.fromkeys(keys, "recorded")
    assert {call.said()["permissionDecision"] for call in calls} == {"allow"}
    late = server.helm("inbox", "bulk", "deny", *keys)
    assert late.code == 4 and "ALREADY_ANSWERED" in late.out
    assert server.helm("inbox", "bulk", "perhaps", keys[0]).code == 2
    server.helm("stop", run)


def _both(server: Running, run: str) -> list[str]:
    rows = server.helm("inbox", "--json").document["items"]
    keys = [row["key"] for row in rows if row["run"] == run]
    return keys if len(keys) == 2 else []


def test_ctrl_c_takes_a_bulk_answer_back(server: Running) -> None:
    run = begin(server, "ceremony")
    call = Call(server, run, MAIL, LETTER, "t1")
    key = call.question()
    with started(server.home, "inbox", "bulk", "allow", key) as process:
        assert process.stderr is not None
        assert "Ctrl-C takes it back" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        ended = finished(process)
    assert ended.code == 130
    assert "Taken back" in ended.err
    assert server.helm("inbox", "show", key, "--json").document["state"] == "open"
    assert server.helm("inbox", "deny", key).code == 0
    assert call.said()["permissionDecision"] == "deny"
    server.helm("stop", run)


def test_evidence_is_laid_beside_a_run(server: Running, tmp_path: Path) -> None:
    run = begin(server, "ceremony")
    file = tmp_path / "plan.txt"
    file.write_bytes(b"the plan\n")
    words = ("run", "evidence", run, "--kind", "change_record", "--ref", "CHG-1")
    told = server.helm(*words, "--file", str(file), "--json").document
    assert told["digest"] == "sha256:" + hashlib.sha256(b"the plan\n").hexdigest()
    assert server.helm(*words, "--file", str(tmp_path / "none")).code == 2
    assert server.helm("run", "evidence", run, "--kind", "Change Record", "--ref", "1").code == 2
    call = Call(server, run, "mcp__ops__change", {"n": 1}, "t1")
    assert call.said()["permissionDecision"] == "allow"
    server.helm("stop", run)
    assert server.helm(*words).code == 4


def test_only_what_expired_can_be_asked_again(server: Running) -> None:
    run = begin(server, "ceremony")
    call = Call(server, run, MAIL, LETTER, "t1")
    key = call.question()
    assert server.helm("inbox", "again", key).code == 4
    assert server.helm("inbox", "again", "apr_nothing").code == 2
    server.helm("stop", run)


def test_at_a_terminal_only_what_is_offered_has_a_key(server: Running) -> None:
    run = begin(server, "ceremony")
    call = Call(server, run, "Bash", {"command": "echo \u202egnp.exe"}, "t1")
    call.question()
    editor = f"{ROOT / 'tests' / 'cli' / 'editor.sh'}"
    with Terminal(server.home, "inbox", EDITOR=editor) as terminal:
        card = terminal.until("q quit ")
        assert "\\u202e" in card and "\u202e" not in card, "what turns the line is shown as what it is"
        for words in ("a allow once", "e edit and allow", "r allow for this run", "p allow a pattern"):
            assert words in card
        terminal.type("e")
        terminal.until("executed")
        assert terminal.ended() == 0
    assert call.said()["updatedInput"] == {"command": "echo edited"}
    server.helm("stop", run)


def test_notices_are_empty_and_an_unknown_one_is_named(server: Running) -> None:
    assert server.helm("notices", "--json").document == {"notices": []}
    assert "No notices" in server.helm("notices").out
    assert server.helm("notices", "clear", "nothing").code == 2


def test_without_a_server_the_new_commands_say_so(tmp_path: Path) -> None:
    for words in (("grants",), ("notices",), ("inbox", "show", "x"), ("inbox", "bulk", "allow", "x")):
        assert helm(tmp_path / "home", *words).code == 3


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30min", 1800), ("5m", 300), ("2h", 7200), ("1d", 86_400)])
def test_spans(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "-1h", "1.5h", "2 weeks", "0s", "9999999d"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(Failure):
        seconds_of(text)


@pytest.mark.parametrize("hidden", ["\x1b[2J", "\u202e", "\u2066", "\u200b", "\u061c", "\xad", "\U000e0041", "\x9b31m"])
def test_hostile_text_is_inert(hidden: str) -> None:
    for shown in (safe(f"a{hidden}b"), inert(f"a{hidden}b"), input_lines(json.dumps({"x": f"a{hidden}b"}))):
        assert shown.isprintable() or "\n" in shown
        assert hidden[0] not in shown


def test_an_input_is_shown_to_its_last_space() -> None:
    assert input_lines('{"command":"a  b"}') == '  {\n    "command": "a  b"\n  }'
