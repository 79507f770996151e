"""`helm tools`: what every tool said of itself when it was pinned, what it says now, and a person's word on that."""

from __future__ import annotations

import difflib
import time
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli.api import Api, rows_of
from app.cli.exits import HELP, OK, USAGE, Failure
from app.cli.output import ago, out, print_json, safe, show, styled, table

app = typer.Typer(epilog=HELP, help="Tools as they are pinned; look at a change, accept or reject it.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Name = Annotated[str, typer.Argument(metavar="SERVER/TOOL", help="As the list shows it, for example mail/send_email.")]
Digest = Annotated[str, typer.Option(help="What you have read (its sha256:...); 4 when the tool says more by now.")]


@app.callback(invoke_without_command=True)
def tools(context: typer.Context, as_json: Json = False) -> None:
    """The pinned tools; those in quarantine first."""
    if context.invoked_subcommand is None:
        list_pins(as_json)


@app.command("list")
def list_pins(as_json: Json = False) -> None:
    """The pinned tools; those in quarantine first."""
    with Api.connect() as api:
        answer = api.get("/api/v1/tools")
    if as_json:
        print_json(answer)
        return
    rows, now = rows_of(answer, "tools"), time.time_ns() // 1_000_000
    if not rows:
        print("No tool is known yet; they are pinned when a run first sees them.")
        return
    show(table(("tool", "state", "since", "receipt", "says"), [_row(row, now) for row in rows]))
    if any(row["quarantined"] for row in rows):
        print("What is drifted or rejected is not called. Look at it with: helm tools show SERVER/TOOL")


def _row(row: dict[str, Any], now: int) -> tuple[Any, ...]:
    says = row["drifted"] if row["quarantined"] else row["digest"]
    name = f"{row['server']}/{row['tool']}"
    return safe(name, 100), styled(row["state"]), ago(row["at"], now), f"#{row['seq']}", safe(says, 23)


@app.command("show")
def show_tool(tool: Name, as_json: Json = False) -> int:
    """What a tool says of itself; of one in quarantine what has changed."""
    with Api.connect() as api:
        found = api.get(_path(tool))
    if as_json:
        print_json(found)
        return OK
    print(f"{safe(tool, 200)}  {safe(found['state'])}")
    for hint in found["hints"]:
        out().print(Text(f"look twice: {safe(hint, 200)}", style="yellow"))
    if not found["quarantined"]:
        _print_lines(str(found["after"]).splitlines())
        return OK
    before, after = str(found["before"]).splitlines(), str(found["after"]).splitlines()
    _print_lines(list(difflib.unified_diff(before, after, "pinned", "now", lineterm="")))
    print(f"Accept it with: helm tools accept {safe(tool, 200)} --digest {safe(found['drifted'])}")
    return OK


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        indent = line[: len(line) - len(line.lstrip(" "))]
        colour = "green" if line.startswith("+") else "red" if line.startswith("-") else ""
        out().print(Text(indent + safe(line), style=colour))


@app.command()
def accept(tool: Name, digest: Digest = "", as_json: Json = False) -> int:
    """Pin what the tool says now: it may be called again, as policy allows."""
    return _decide(tool, "accept", digest, as_json)


@app.command()
def reject(tool: Name, digest: Digest = "", as_json: Json = False) -> int:
    """Keep the tool out. It can still be accepted later."""
    return _decide(tool, "reject", digest, as_json)


def _decide(tool: str, verb: str, digest: str, as_json: bool) -> int:
    with Api.connect() as api:
        found = api.post(f"{_path(tool)}/{verb}", {"digest": digest} if digest else {})
    if as_json:
        print_json(found)
    else:
        print(f"{safe(tool, 200)} is {safe(found['state'])}.")
    return OK


def _path(tool: str) -> str:
    server, slash, name = tool.partition("/")
    if not slash or not all(part and part.replace("_", "a").replace("-", "a").isalnum() for part in (server, name)):
        raise Failure(f"a tool is named SERVER/TOOL, not {tool[:100]!r}; list them with: helm tools", USAGE)
    return f"/api/v1/tools/{server}/{name}"
