"""The commands against a real server whose containers are only names: what they print, and the code they end with."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.kit import MAIL, Running, finished, helm, served, started, until

SEND = "mcp__mail__send_email"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with served(tmp_path_factory.mktemp("cli") / "home") as running:
        # A key: runs get the real provider's address, and no container is there to use it.
        running.helm("key", "set", "anthropic", given="sk-nobody-uses-this")
        yield running


def begin(server: Running, blueprint: str = "market-brief", *words: str) -> str:
    """A run whose container is said to be up."""
    ended = server.helm("run", "start", blueprint, "--json", *words)
    assert ended.code == 0, ended.err
    run = str(ended.document["id"])
    until(lambda: "run.started" in names_of(server, run))
    return run


def names_of(server: Running, run: str) -> list[str]:
    facts = json.loads((server.home / "cli.json").read_text())
    answer = httpx.get(
        f"{facts['url']}/api/v1/runs/{run}/events?limit=500", headers={"authorization": f"Bearer {facts['token']}"}
    )
    return [event["name"] for event in answer.json()["events"]]


def ask(server: Running, run: str, key: str, **args: str) -> tuple[threading.Thread, list[dict[str, Any]]]:
    """A tool call of the run, as its hook asks for it; it waits in the background for a person."""
    hook = {"tool_name": SEND, "tool_input": {**MAIL, **args}, "tool_use_id": key, "cwd": "/workspace"}
    answers: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(server.gateway(run, "/gate", hook).json()), daemon=True)
    thread.start()
    return thread, answers


def waiting(server: Running, run: str) -> dict[str, Any]:
    """The one item of a run in the inbox, once it is there."""

    def find() -> list[dict[str, Any]]:
        return [row for row in server.helm("inbox", "--json").document["items"] if row["run"] == run]

    return until(find)[0]


def test_status_says_how_the_server_is(server: Running) -> None:
    told = server.helm("status", "--json").document
    assert told["ok"] is True
    assert told["size"] >= 2
    assert told["url"].startswith("http://127.0.0.1:")
    people = server.helm("status")
    assert people.code == 0
    assert "health   well" in people.out


def test_lists_are_one_document_or_a_table(server: Running) -> None:
    run = begin(server, "code-migration", "--title", "Cents \x1b[31mred")
    rows = server.helm("runs", "--blueprint", "code-migration", "--json").document["runs"]
    assert run in [row["id"] for row in rows]
    shown = server.helm("runs")
    assert run in shown.out
    assert "\x1b" not in shown.out, "what an agent or a person wrote never steers a terminal"
    plans = {row["name"] for row in server.helm("blueprints", "--json").document["blueprints"]}
    assert {"market-brief", "code-migration", "rotate-secret"} <= plans
    assert server.helm("stop", run, "--json").document["run"]["status"] == "stopped"


def test_colours_obey_no_color_and_pipes(server: Running) -> None:
    for more in ({}, {"NO_COLOR": "1"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}):
        ended = server.helm("runs", **more)
        assert ended.code == 0
        assert "\x1b[3" not in ended.out


def test_a_question_is_allowed_in_place_and_a_second_answer_is_a_conflict(server: Running) -> None:
    run = begin(server)
    thread, answers = ask(server, run, "toolu_1")
    item = waiting(server, run)
    assert item["key"] in server.helm("inbox").out
    with started(server.home, "inbox", "allow", item["key"][:10]) as process:
        thread.join(60)
        assert answers[0]["hookSpecificOutput"]["permissionDecision"] == "allow"
        done = {"tool_use_id": "toolu_1", "tool_name": SEND, "tool_response": "sent", "hook_event_name": "PostToolUse"}
        assert server.gateway(run, "/gate/outcome", done).is_success
        ended = finished(process)
    assert ended.code == 0, ended.err
    assert ended.out.split() == ["recorded", "delivered", "executed"]
    late = server.helm("inbox", "deny", item["key"], "--json")
    assert late.code == 4
    assert "already allowed by" in late.error
    assert late.document["error"]["code"] == "ALREADY_ANSWERED"
    server.helm("stop", run)


def test_a_denial_reaches_the_agent_with_its_reason(server: Running) -> None:
    run = begin(server)
    thread, answers = ask(server, run, "toolu_1")
    ended = server.helm("inbox", "deny", waiting(server, run)["key"], "--reason", "not today", "--json")
    assert ended.code == 0, ended.err
    assert ended.document["state"] == "delivered"
    assert ended.document["answer"] == "deny"
    thread.join(60)
    said = answers[0]["hookSpecificOutput"]
    assert said["permissionDecision"] == "deny"
    assert "not today" in said["permissionDecisionReason"]
    assert not [row for row in server.helm("inbox", "--json").document["items"] if row["run"] == run]
    server.helm("stop", run)


def test_a_message_is_queued_and_a_run_that_ended_takes_none(server: Running) -> None:
    run = begin(server)
    sent = server.helm("steer", run, "look at the second page", "--mode", "queue", "--json")
    assert sent.document["state"] == "queued"
    assert server.helm("steer", run, "x", "--mode", "shout").code == 2
    assert server.helm("stop", run).code == 0
    for words in (("steer", run, "too late"), ("stop", run)):
        ended = server.helm(*words, "--json")
        assert ended.code == 4
        assert ended.document["error"]["code"] == "RUN_ENDED"


def test_watch_tells_each_event_once_and_how_the_run_ended(server: Running) -> None:
    run = begin(server)
    hook = {"tool_name": "Read", "tool_input": {"file_path": "/etc/passwd"}, "tool_use_id": "t1", "cwd": "/workspace"}
    with (
        started(server.home, "watch", run, "--json", "--from-start") as watching,
        started(server.home, "watch", run) as people,
    ):
        for process in (watching, people):
            assert process.stderr is not None
            assert "live, up to #" in process.stderr.readline()
        server.gateway(run, "/gate", hook)
        assert server.helm("stop", run).code == 0
        ended, shown = finished(watching), finished(people)
    assert ended.code == 1, "a stopped run is no success"
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert [event["run_seq"] for event in events] == list(range(len(events)))
    assert events[0]["name"] == "run.created"
    assert events[-1]["name"] == "run.closed"
    assert shown.code == 1
    assert "stopped" in shown.out


def test_what_is_not_there_is_named(server: Running) -> None:
    for words in (
        ("watch", "r" + "0" * 25),
        ("stop", "4711"),
        ("run", "start", "nothing"),
        ("inbox", "allow", "apr_x"),
    ):
        ended = server.helm(*words)
        assert ended.code == 2, words
        assert len(ended.err.strip().splitlines()[-1]) > 20


@pytest.mark.parametrize(
    "words",
    [("run", "start", "market-brief", "--budget", "much"), ("run", "start"), ("runs", "--limit", "0"), ("fly",)],
)
def test_wrong_usage_ends_with_2_and_a_line(server: Running, words: tuple[str, ...]) -> None:
    ended = server.helm(*words)
    assert ended.code == 2
    assert "--help" in ended.error or "2.50" in ended.error


def test_a_task_comes_from_a_file(server: Running, tmp_path: Path) -> None:
    (tmp_path / "task.txt").write_text("Compare the three\n")
    ended = server.helm("run", "start", "market-brief", "--task-file", str(tmp_path / "task.txt"), "--json")
    assert ended.code == 0, ended.err
    run = ended.document["id"]
    assert server.helm("run", "start", "market-brief", "--task-file", str(tmp_path / "none")).code == 2
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in server.helm("run", "start", "market-brief", "--task-file", str(tmp_path / "binary")).error
    assert server.helm("stop", run).code == 0


def test_links_and_tokens_open_the_server(server: Running) -> None:
    told = server.helm("login-link", "--json").document
    assert told["server_running"] is True
    page = httpx.get(told["link"])
    assert page.status_code == 200
    assert "password" in page.text
    secret = server.helm("token", "for a test").out.strip()
    url = json.loads((server.home / "cli.json").read_text())["url"]
    elsewhere = helm(server.home.parent / "elsewhere", "runs", "--json", HELM_URL=url, HELM_TOKEN=secret)
    assert elsewhere.code == 0, elsewhere.err
    assert "runs" in elsewhere.document
    assert server.helm("login-link", "no such name!").code == 2


def test_without_a_server_every_command_says_how_to_start_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for words in (("status",), ("runs", "--json"), ("inbox",), ("watch", "1"), ("stop", "1"), ("blueprints",)):
        ended = helm(home, *words)
        assert ended.code == 3, words
        assert "helm serve" in ended.error
    assert not home.exists(), "asking makes nothing"
    (home).mkdir()
    (home / "cli.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "token": "helm_x", "pid": 1}))
    assert helm(home, "status").code == 3
    (home / "cli.json").write_text("not JSON")
    assert helm(home, "status").code == 2


def test_a_wrong_token_is_not_let_in(server: Running) -> None:
    url = json.loads((server.home / "cli.json").read_text())["url"]
    ended = helm(server.home, "runs", HELM_URL=url, HELM_TOKEN="helm_" + "A" * 43)
    assert ended.code == 3
    assert "token" in ended.error
    assert helm(server.home, "runs", HELM_URL=url).code == 2


def test_the_first_words_are_help(tmp_path: Path) -> None:
    shown = helm(tmp_path / "home")
    assert shown.code == 0
    for word in ("helm serve", "helm demo", "helm run start"):
        assert word in shown.out
    listed = helm(tmp_path / "home", "--help").out
    for word in ("serve", "status", "runs", "watch", "inbox", "steer", "stop", "demo", "key", "verify-log"):
        assert word in listed
    assert helm(tmp_path / "home", "version", "--json").document["version"]
