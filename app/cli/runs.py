"""Start, watch, steer and stop runs."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import deque
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from app.cli.api import Api, one_run
from app.cli.events import Lines, end_of
from app.cli.exits import HELP, NEGATIVE, OK, USAGE, Failure
from app.cli.output import aside, out, print_json, safe
from app.cli.stream import Stream, Sync

MAX_TASK: Final = 200_000
_CONTEXT_LINES: Final = 12
_SETTLED_S: Final = 15.0

app = typer.Typer(no_args_is_help=True, epilog=HELP, help="Start runs.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, the beginning of it, or its number.")]


@app.command()
def start(
    blueprint: Annotated[str, typer.Argument(help="Its name: helm blueprints lists them.")],
    task: Annotated[str, typer.Option(help="What to do; without it the blueprint's own task.")] = "",
    task_file: Annotated[str, typer.Option(help="Read the task from a file; - is stdin.")] = "",
    title: Annotated[str, typer.Option(help="How the run is called in lists.")] = "",
    budget: Annotated[str, typer.Option(metavar="USD", help="What it may cost at most.")] = "",
    watching: Annotated[bool, typer.Option("--watch", help="Stay and watch it; exit as watch does.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document; with --watch one per line.")] = False,
) -> int:
    """Start a run. It is in the log when this returns; its container starts in the background."""
    body: dict[str, Any] = {"blueprint": blueprint}
    if task or task_file:
        body["task"] = _task(task, task_file)
    if title:
        body["title"] = title
    if budget:
        body["budget_micro"] = micro_of(budget)
    with Api.connect() as api:
        run = api.post("/api/v1/runs", body)
    if as_json:
        print_json(run)
    elif not watching:
        print(f"Run #{run['no']} is starting: {run['id']}")
        print(f"Watch it with: helm watch {run['id']}")
    return follow(str(run["id"]), from_start=True, as_json=as_json) if watching else OK


@app.command()
def evidence(
    run: RunName,
    kind: Annotated[str, typer.Option(help="What it is: change_record, ci_result, rollback_path, ...")],
    ref: Annotated[str, typer.Option(help="Where it is: a number, a link.")],
    file: Annotated[str, typer.Option(help="A file: its sha256 is recorded, the file is not sent.")] = "",
    text: Annotated[str, typer.Option(help="Words that belong to it.")] = "",
    as_json: Json = False,
) -> None:
    """Lay a proof beside a run; policies read it as `evidence`. The agent cannot: only people and their programs."""
    body = {"kind": kind, "ref": ref, "digest": _digest(file) if file else "", "text": text}
    with Api.connect() as api:
        found = one_run(api, run)
        answer = api.post(f"/api/v1/runs/{found}/evidence", {name: value for name, value in body.items() if value})
    if as_json:
        print_json(answer)
        return
    print(f"Recorded {safe(answer['kind'])} {safe(answer['ref'], 200)} {safe(answer['digest'])}".rstrip())


def _digest(file: str) -> str:
    try:
        with Path(file).open("rb") as source:
            return f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}"
    except OSError as error:
        raise Failure(f"{safe(file, 100)} cannot be read: {error.strerror}", USAGE) from None


def _task(text: str, file: str) -> str:
    if text and file:
        raise Failure("give the task as --task or as --task-file, not both", USAGE)
    if not file:
        return text
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as source:
            data = source.read(MAX_TASK * 4 + 1)
        found = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Failure(f"{file} is not text in UTF-8", USAGE) from None
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}", USAGE) from None
    if len(found) > MAX_TASK or not found.strip():
        raise Failure(f"a task has 1 to {MAX_TASK:,} characters; {file} has {len(found):,}", USAGE)
    return found


def micro_of(text: str) -> int:
    """Dollars as micro-dollars. Raises Failure."""
    try:
        amount = Decimal(text.removeprefix("$"))
        micro = int(amount * 1_000_000) if amount.is_finite() else 0
    except (InvalidOperation, ValueError, OverflowError):
        micro = 0
    if not 0 < micro <= 10_000 * 1_000_000:
        raise Failure(f"a budget is an amount of dollars such as 2.50, not {text[:40]!r}", USAGE)
    return micro


def watch(
    run: RunName,
    from_start: Annotated[bool, typer.Option("--from-start", help="Show all of it, not only what comes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per event.")] = False,
) -> int:
    """Show a run as it happens until it ends. Exit 0 when it finished, 1 when it failed or was stopped.

    The connection may break and the server restart meanwhile: no event is lost and none comes twice.
    """
    with Api.connect() as api:
        found = one_run(api, run)
    return follow(found, from_start=from_start, as_json=as_json)


def follow(run: str, *, from_start: bool, as_json: bool) -> int:
    """Watch until the run has ended; returns the exit code that tells how."""
    try:
        return _Watch(run, from_start, as_json).until_ended()
    except KeyboardInterrupt:
        aside().print(Text("The run goes on; stop it with: helm stop " + run, style="dim"))
        raise


class _Watch:
    """One watching: what was shown, and how the run stands."""

    def __init__(self, run: str, from_start: bool, as_json: bool) -> None:
        self._run, self._as_json = run, as_json
        self._lines = Lines()
        self._console, self._aside = out(), aside()
        self._held: deque[Text] | None = None if from_start or as_json else deque(maxlen=_CONTEXT_LINES)
        self._quiet = as_json and not from_start
        self._interrupted_at = 0.0

    def until_ended(self) -> int:
        with Api.connect() as api:
            api.get(f"/api/v1/runs/{self._run}")
        for item in Stream(Api.connect, self._run):
            if isinstance(item, Sync):
                self._say(item)
            elif item is not None:
                ended = self._take(item)
                if ended:
                    self._release()
                    return OK if ended == "finished" else NEGATIVE
            if self._interrupted_at and time.monotonic() - self._interrupted_at > _SETTLED_S:
                self._aside.print(Text("The run is interrupted: its container is gone.", style="yellow"))
                return NEGATIVE
        return NEGATIVE

    def _take(self, event: Any) -> str:
        """Show an event; the run's end as a word when it was the last."""
        name = event["name"]
        if name == "run.interrupted":
            self._interrupted_at = time.monotonic()
        elif name in ("runner.connected", "run.started"):
            self._interrupted_at = 0.0
        if self._as_json:
            if not self._quiet or name == "run.closed":
                print_json(event)
        else:
            line = self._lines.line(event)
            if line is not None and self._held is not None:
                self._held.append(line)
            elif line is not None:
                self._console.print(line)
        return end_of(event["body"]) if name == "run.closed" else ""

    def _say(self, sync: Sync) -> None:
        if sync.state == "live":
            self._quiet = False
            self._release()
        style = "yellow" if sync.state == "lost" else "dim"
        self._aside.print(Text(f"· {sync.words()}", style=style))

    def _release(self) -> None:
        """Print what was kept back while catching up: only the last lines of what is past."""
        held, self._held = self._held, None
        for line in held or ():
            self._console.print(line)


def steer(
    run: RunName,
    text: Annotated[str, typer.Argument(help="What the agent is told.")],
    mode: Annotated[
        str, typer.Option(help="queue: at the end of its turn; steer: before its next step; interrupt: now.")
    ] = "steer",
    as_json: Json = False,
) -> None:
    """Send a message to a running agent. It is recorded when this returns; watch shows when it was seen."""
    if mode not in ("queue", "steer", "interrupt"):
        raise Failure(f"--mode is queue, steer or interrupt, not {mode[:40]!r}", USAGE)
    body = {"text": text, "mode": mode, "client_id": f"cli-{os.urandom(8).hex()}"}
    with Api.connect() as api:
        answer = api.post(f"/api/v1/runs/{one_run(api, run)}/steer", body)
    if as_json:
        print_json(answer)
        return
    print(f"Your message is {safe(answer.get('state', 'queued'))}.")


def stop(run: RunName, as_json: Json = False) -> None:
    """Stop a run. Returns only when its container and everything in it is gone; exit 4 when it had ended before."""
    with Api.connect() as api:
        found = one_run(api, run)
        if not as_json:
            aside().print(Text("Stopping; this returns when everything is gone ...", style="dim"))
        answer = api.stop(found)
    if as_json:
        print_json(answer)
        return
    gone = ", ".join(safe(what, 40) for what in answer.get("killed") or [])
    print(f"Stopped, and gone: {gone}" if gone else "Stopped.")
