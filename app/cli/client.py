"""`helm`: the commands that talk to a running server, and the list of all others."""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.text import Text

from app import __version__
from app.cli import PROGRAMS, demo, freeze, grants, inbox, notices, people, runs, tools
from app.cli.api import Api, rows_of
from app.cli.exits import HELP, NEGATIVE, OK, run_program
from app.cli.output import ago, money, out, print_json, safe, show, styled, table

_FIRST = """Helm runs autonomous agents in closed containers; you watch, allow, deny, steer and prove.

The first three things to do:
  helm serve                     start the server; it prints the dashboard's address and a login link
  helm demo                      play a scripted agent through it, without any key
  helm run start market-brief    start a run of your own; then: helm watch RUN, helm inbox

All commands: helm --help"""

app = typer.Typer(add_completion=False, epilog=HELP, help="Self-hosted control plane for autonomous agents.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback(invoke_without_command=True)
def first(context: typer.Context) -> None:
    """Self-hosted control plane for autonomous agents."""
    if context.invoked_subcommand is None:
        print(_FIRST)


@app.command()
def status(as_json: Json = False) -> int:
    """Is the server well, how many slots are used, what waits for you, what was spent today. Exit 1 when not well."""
    with Api.connect() as api:
        health = api.health()
        waiting = rows_of(api.get("/api/v1/inbox"), "items")
        live = rows_of(api.get("/api/v1/runs", status="live"), "runs")
        frozen = rows_of(api.get("/api/v1/freezes"), "freezes")
        url = api.place.url
    if as_json:
        print_json({**health, "url": url, "waiting": len(waiting), "live": len(live), "frozen": frozen})
        return OK if health.get("ok") else NEGATIVE
    out().print(_status_lines(health, url, waiting, live, frozen))
    return OK if health.get("ok") else NEGATIVE


def _status_lines(
    health: dict[str, Any], url: str, waiting: list[Any], live: list[Any], frozen: list[dict[str, Any]]
) -> Text:
    engine = health.get("engine") or {}
    lines = [
        ("server", f"{url}, version {safe(health.get('version'))}"),
        ("health", "well" if health.get("ok") else safe(health.get("ledger") or health.get("door") or "not well")),
        ("docker", safe(engine.get("version") or "ready") if engine.get("ok") else _engine(engine)),
        ("runs", _slots(health, len(live))),
        ("log", f"{int(health.get('size', 0)):,} receipts, head #{int(health.get('size', 0)) - 1}"),
        ("waiting", f"{len(waiting)} for you: helm inbox" if waiting else "nothing for you"),
    ]
    if frozen:
        lines.append(("frozen", f"{', '.join(map(freeze.named, frozen))}: helm unfreeze"))
    if "spent_today_micro" in health:
        lines.append(("today", money(health["spent_today_micro"])))
    text = Text()
    for name, words in lines:
        bad = (name == "health" and not health.get("ok")) or (name == "docker" and not engine.get("ok"))
        text.append(f"{name:9}", style="dim")
        text.append(words, style="red" if bad else "bold yellow" if name == "waiting" and waiting else "")
        text.append("\n")
    text.right_crop(1)
    return text


def _slots(health: dict[str, Any], live: int) -> str:
    slots = health.get("slots")
    used = f", {slots['used']} of {slots['total']} slots in use" if isinstance(slots, dict) else ""
    return f"{live} live{used}"


def _engine(engine: dict[str, Any]) -> str:
    reason = safe(engine.get("reason") or "not there").rstrip(".")
    return f"{reason}. {safe(engine.get('remedy') or 'No run can start.')}"


@app.command()
def blueprints(as_json: Json = False) -> None:
    """What can be run."""
    with Api.connect() as api:
        answer = api.get("/api/v1/blueprints")
    if as_json:
        print_json(answer)
        return
    show(
        table(
            ("name", "model", ">budget", "title"),
            [
                (safe(row["name"]), safe(row["model"]), money(row.get("budget_micro")), safe(row.get("title", ""), 80))
                for row in rows_of(answer, "blueprints")
            ],
        )
    )


@app.command("runs")
def list_runs(
    status: Annotated[str, typer.Option(help="needs, live, ended, or one status such as waiting.")] = "",
    blueprint: Annotated[str, typer.Option(help="Only runs of this blueprint.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many, the newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """The runs, newest first."""
    with Api.connect() as api:
        answer = api.get("/api/v1/runs", status=status or None, blueprint=blueprint or None, limit=limit)
    if as_json:
        print_json(answer)
        return
    now = time.time_ns() // 1_000_000
    rows = rows_of(answer, "runs")
    if not rows:
        print("No runs." if status or blueprint else "No runs yet; start one with: helm run start BLUEPRINT")
        return
    show(table((">no", "run", "status", ">spent", "begun", "title"), [_run_row(row, now) for row in rows]))


def _run_row(row: dict[str, Any], now: int) -> tuple[str, str, Text, str, str, str]:
    begun = ago(row.get("opened"), now)
    title = safe(row.get("title", ""), 60)
    return str(row["no"]), safe(row["id"]), styled(row["status"]), money(row.get("spent_micro")), begun, title


@app.command()
def version(as_json: Json = False) -> None:
    """The version of this installation."""
    if as_json:
        print_json({"version": __version__})
    else:
        print(__version__)


app.add_typer(runs.app, name="run")
app.command("watch")(runs.watch)
app.add_typer(inbox.app, name="inbox")
app.add_typer(grants.app, name="grants")
app.add_typer(notices.app, name="notices")
app.add_typer(tools.app, name="tools")
app.command("steer")(runs.steer)
app.command("stop")(runs.stop)
app.command("freeze")(freeze.freeze)
app.command("unfreeze")(freeze.unfreeze)
app.command("demo")(demo.demo)
app.add_typer(people.app, name="people")


def _elsewhere(word: str, text: str) -> None:
    """List a command that is a program of its own; `main` runs that before this module is even loaded."""

    def command(context: typer.Context) -> None:
        sys.argv = [sys.argv[0], word, *context.args]
        runpy.run_module(PROGRAMS[word], run_name="__main__", alter_sys=True)

    settings: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    made: Callable[[typer.Context], None] = command
    app.command(word, help=text, context_settings=settings)(made)


_elsewhere("serve", "Start the server; it prints the dashboard's address and a one-time login link.")
_elsewhere("key", "Keys of model providers: helm key set anthropic.")
_elsewhere("login-link", "A new one-time login link.")
_elsewhere("token", "A new token for the API.")
_elsewhere("verify-log", "Check every line of the log again.")
_elsewhere("rebuild", "Make the lists that are derived from the log again.")
_elsewhere("approver", "Keys with which you sign answers: enroll, list, revoke.")
_elsewhere("policy", "Policy bundles: lint, test, explain, backtest, sign, verify.")


if __name__ == "__main__":
    run_program(app)
