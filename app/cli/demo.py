"""`helm demo`: one blueprint played from start to verified log, on a running server or on one of its own that leaves
nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from app.cli.answers import answer_item
from app.cli.api import Api, Place, find_place, home_of, read_place
from app.cli.events import Lines, end_of
from app.cli.exits import CONFLICT, NEGATIVE, OK, USAGE, Failure
from app.cli.output import aside, interactive, out, print_json, safe, show, styled, table
from app.cli.stream import Stream, Sync
from app.cli.terminal import ask_key

SCENARIOS: Final = ("market-brief", "code-migration", "rotate-secret")
LOG: Final = "demo-server.log"
_START_S: Final = 60.0
_STOP_S: Final = 30.0
_VERIFY_S: Final = 300.0


@dataclass(slots=True)
class Played:
    """What a played run has shown so far."""

    run: str
    status: str = ""
    tools: dict[str, tuple[str, str]] = field(default_factory=dict)
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)
    receipts: int = 0
    answers: list[dict[str, str]] = field(default_factory=list)

    def take(self, event: dict[str, Any]) -> None:
        """Note what one event says."""
        body, name = event["body"], event["name"]
        self.receipts += 1
        if name == "intent.recorded":
            self.tools[body["action_id"]] = (body["tool"], body["door"])
        elif name == "verdict.given":
            self._judge(event, body)
        elif name == "run.closed":
            self.status = end_of(body)

    def _judge(self, event: dict[str, Any], body: dict[str, Any]) -> None:
        tool, door = self.tools.get(body["action_id"], ("", ""))
        if door == "model" and body["decision"] == "ALLOW":
            return
        before = self.verdicts.get(body["action_id"], {})
        rules = body["rule_ids"]
        self.verdicts[body["action_id"]] = {
            "tool": tool,
            "decision": body["decision"],
            "reason_code": body["reason_code"],
            "rule": rules[0] if rules else before.get("rule", ""),
            "asked": body["decision"] == "ESCALATE" or before.get("asked", False),
            "receipt": event["id"],
        }


def demo(
    scenario: Annotated[str, typer.Argument(help=f"A blueprint: {', '.join(SCENARIOS)}.")] = SCENARIOS[0],
    allow: Annotated[bool, typer.Option("--allow", help="Allow whatever is asked.")] = False,
    deny: Annotated[bool, typer.Option("--deny", help="Deny whatever is asked.")] = False,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask here (the default on a terminal; otherwise --allow).")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, max=86_400, help="Seconds until the run is stopped.")] = 300.0,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the demo's own folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Play a scripted agent for real: container, gate, receipts. Exit 0 only when it finished and the log verifies.

    A running server is used; otherwise one is started for this alone, in a fresh folder (or in HELM_HOME where that is
    set) and on a free port.
    """
    if allow + deny + ask > 1:
        raise Failure("--allow, --deny and --ask exclude each other", USAGE)
    mode = "deny" if deny else "ask" if ask or (interactive() and not allow and not as_json) else "allow"
    if mode == "ask" and not interactive():
        raise Failure("--ask needs a terminal; say --allow or --deny", USAGE)
    # A polite end stops the run and the server too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _server(keep) as place:
        played = _play(place, scenario, mode, time.monotonic() + timeout)
        check = _verify(place.home) if place.home is not None else _problem("it is on another machine")
    document = {
        "scenario": scenario,
        "run": played.run,
        "status": played.status,
        "verdicts": list(played.verdicts.values()),
        "answers": played.answers,
        "receipts": played.receipts,
        "log_receipts": check.get("receipts", 0),
        "verified": check.get("ok") is True,
    }
    if as_json:
        print_json(document)
    else:
        _print_result(document, check)
    return OK if document["verified"] and played.status == "finished" else NEGATIVE


def _play(place: Place, scenario: str, mode: str, until: float) -> Played:
    console, lines = aside(), Lines()
    with Api(place) as api:
        if api.health().get("providers", {}).get("anthropic"):
            console.print(
                Text("This server has a key for Anthropic: the run uses the real model, for money.", "yellow")
            )
        played = Played(str(api.post("/api/v1/runs", {"blueprint": scenario})["id"]))
    try:
        for item in Stream(lambda: Api(place), played.run, idle_s=0.5):
            if isinstance(item, dict):
                line = lines.line(item)
                if line is not None:
                    console.print(line)
                played.take(item)
                if item["name"] == "approval.requested":
                    _answer(place, played, item["body"], mode)
                if played.status:
                    return played
            elif isinstance(item, Sync) and item.state == "lost":
                console.print(Text(f"· {item.words()}", style="yellow"))
            if time.monotonic() > until:
                raise Failure("the run did not end in time and was stopped; --timeout gives it longer")
    except BaseException:
        _stop(place, played.run)
        raise
    return played


def _stop(place: Place, run: str) -> None:
    """Nothing of a demo stays behind, however it ends."""
    try:
        with Api(place) as api:
            api.stop(run)
    except Failure:
        return


def _answer(place: Place, played: Played, body: dict[str, Any], mode: str) -> None:
    word = mode
    if mode == "ask":
        pressed = ask_key(f"  {safe(body['title'], 200)}\n  a allow once · d deny ", "ad")
        word = "allow" if pressed == "a" else "deny"
    reason = "Denied by helm demo --deny." if mode == "deny" else ""
    try:
        with Api(place) as api:
            answer_item(api, body["approval_id"], word, reason)
    except Failure as failure:
        if failure.code != CONFLICT:
            raise
        word = "answered elsewhere"
    played.answers.append({"approval": body["approval_id"], "title": body["title"], "answer": word})


def _verify(home: Path) -> dict[str, Any]:
    """Check the log as `helm verify-log` does, in a process of its own."""
    command = [sys.executable, "-P", "-m", "app.cli.log", "verify-log", "--json"]
    ended = subprocess.run(command, env=_environment(home), stdout=subprocess.PIPE, timeout=_VERIFY_S, check=False)
    try:
        found = json.loads(ended.stdout)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else _problem("it could not be checked; see: helm verify-log")


def _problem(message: str) -> dict[str, Any]:
    return {"ok": False, "receipts": 0, "errors": [{"message": message}]}


def _environment(home: Path) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "HELM_HOME": str(home), "PYTHONPATH": path}


def _print_result(document: dict[str, Any], check: dict[str, Any]) -> None:
    show(
        table(
            ("verdict", "tool", "reason", "rule"),
            [
                (styled(row["decision"]), safe(row["tool"], 50), safe(row["reason_code"]), safe(row["rule"], 50))
                for row in document["verdicts"]
            ],
        )
    )
    result = Text(f"\nrun {document['run']}: ")
    result.append_text(styled(document["status"]))
    result.append(f", {document['receipts']} receipts; the log of {document['log_receipts']} receipts ")
    found = check.get("errors") or [{}]
    problem = safe(found[0].get("message", "it could not be checked"), 300)
    result.append(
        "verifies" if document["verified"] else f"does NOT verify: {problem}",
        style="green" if document["verified"] else "bold red",
    )
    out().print(result)


# --- a server of its own ---------------------------------------------------------------------------------------------


@contextmanager
def _server(keep: bool) -> Iterator[Place]:
    """The running server, or one that lives as long as this command."""
    running = find_place(os.environ)
    if running is not None and _answers(running):
        yield running
        return
    chosen = bool(os.environ.get("HELM_HOME"))
    home = home_of(os.environ) if chosen else Path(tempfile.mkdtemp(prefix="helm-demo-"))
    try:
        with _started(home) as place:
            yield place
    finally:
        if chosen or keep:
            aside().print(Text(f"The demo's log is in {home}", style="dim"))
        else:
            shutil.rmtree(home, ignore_errors=True)


def _answers(place: Place) -> bool:
    try:
        with Api(place, timeout=5) as api:
            api.get("/api/v1/version")
    except Failure:
        return False
    return True


@contextmanager
def _started(home: Path) -> Iterator[Place]:
    aside().print(Text("Starting a server for the demo ...", style="dim"))
    command = [sys.executable, "-P", "-m", "app.cli.serve", "--json", "--with-parent"]
    environment = {**_environment(home), "HELM_PORT": "0", "HELM_DOOR": "child", "HELM_DEMO": "on"}
    # Its own session: Ctrl-C reaches us alone, and the server is then stopped in order.
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = home / LOG
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as errors:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield _until_up(process, home, log)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _until_up(process: subprocess.Popen[bytes], home: Path, log: Path) -> Place:
    """Its address, once it is there. Raises Failure with the server's own exit code when it does not start."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        place = read_place(home)
        if place is not None and place.pid == process.pid:
            return place
        code = process.poll()
        if code is not None:
            raise Failure(f"the demo's server did not start: {_last_words(log)}", code if code > 0 else NEGATIVE)
        time.sleep(0.05)
    raise Failure(f"the demo's server did not start within {_START_S:.0f} s: {_last_words(log)}")


def _last_words(log: Path) -> str:
    """What the server said to people, without the JSON lines around it."""
    said = [line for line in log.read_text("utf-8", "replace").splitlines() if line and not line.startswith("{")]
    return said[-1].removeprefix("helm: ")[:500] if said else f"see {log}"
