"""Grants: what a person has allowed for later calls, how much of it is used, and taking it back."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from app.cli.api import Api, one_run, rows_of
from app.cli.exits import HELP, USAGE, Failure
from app.cli.output import ago, print_json, safe, show, styled, table

app = typer.Typer(epilog=HELP, help="Grants that people gave; list and revoke them.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback(invoke_without_command=True)
def grants(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are used up, expired or revoked.")] = False,
    as_json: Json = False,
) -> None:
    """The grants that stand. Access for ever does not exist: each ends by time, by use, or by your word."""
    if context.invoked_subcommand is not None:
        return
    with Api.connect() as api:
        answer = api.get("/api/v1/grants", state="all" if everything else None)
    if as_json:
        print_json(answer)
        return
    rows = rows_of(answer, "grants")
    if not rows:
        print("No grants." if everything else "No grants stand.")
        return
    now = time.time_ns() // 1_000_000
    show(
        table(("grant", "state", "tool", "rule", "pattern", "for", ">left", "ends", "by"), [_row(g, now) for g in rows])
    )
    print("Revoke one with: helm grants revoke ID")


def _row(row: dict[str, Any], now: int) -> tuple[Any, ...]:
    place = row["run"] if row["scope"] == "run" else f"{row['blueprint']} ({row['workspace']})"
    pattern = safe(row["pattern"], 60) or "any"
    left, by = f"{row['left']} of {row['uses']}", safe(row["by"], 40)
    words = safe(row["id"]), styled(row["state"]), safe(row["tool"], 60), safe(row["rule"], 40), pattern
    return *words, safe(place, 60), left, ago(row["expires"], now), by


@app.command()
def revoke(
    id: Annotated[str, typer.Argument(metavar="ID", help="The grant's id, or its beginning.")],
    reason: Annotated[str, typer.Option(help="Why; it stays in the log.")] = "",
    as_json: Json = False,
) -> None:
    """Revoke a grant: the next call asks a person again. Revoking it once more changes nothing."""
    with Api.connect() as api:
        answer = api.post(f"/api/v1/grants/{_named(api, id)}/revoke", {"reason": reason} if reason else {})
    if as_json:
        print_json(answer)
        return
    print(f"Revoked {safe(answer['id'])}; {answer['used']} of {answer['uses']} uses were taken.")


def _named(api: Api, word: str) -> str:
    rows = rows_of(api.get("/api/v1/grants", state="all"), "grants")
    found = [row["id"] for row in rows if len(word) >= 4 and (row["id"] == word or row["id"].startswith(word))]
    return str(found[0]) if len(found) == 1 else word


@app.command()
def preview(
    tool: Annotated[str, typer.Option(help="The tool that the grant would be for.")],
    pattern: Annotated[str, typer.Option(metavar="CEL", help="The pattern; empty covers every call.")] = "",
    run: Annotated[str, typer.Option(help="Only calls of this run.")] = "",
    as_json: Json = False,
) -> None:
    """How many calls of the log a pattern would have covered. It gives nothing."""
    if not tool:
        raise Failure("--tool names a tool", USAGE)
    body: dict[str, Any] = {"tool": tool, "pattern": pattern}
    with Api.connect() as api:
        if run:
            body["run"] = one_run(api, run)
        found = api.post("/api/v1/grants/preview", body)
    if as_json:
        print_json(found)
        return
    print(f"It would have covered {found['matched']} of {found['looked_at']} calls.")
    for example in found["examples"]:
        print(f"  {safe(example, 200)}")
