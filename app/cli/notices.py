"""Notices: what a person should look at and cannot answer. They leave the inbox when somebody says so."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.api import Api, rows_of
from app.cli.cards import list_notices
from app.cli.exits import HELP
from app.cli.output import print_json

app = typer.Typer(epilog=HELP, help="What you should look at; clear it when you have.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback(invoke_without_command=True)
def notices(context: typer.Context, as_json: Json = False) -> None:
    """What you should look at."""
    if context.invoked_subcommand is not None:
        return
    with Api.connect() as api:
        answer = api.get("/api/v1/notices")
    if as_json:
        print_json(answer)
        return
    rows = rows_of(answer, "notices")
    if not rows:
        print("No notices.")
        return
    list_notices(rows)


@app.command()
def clear(
    id: Annotated[str, typer.Argument(metavar="ID", help="The notice's id, whole.")], as_json: Json = False
) -> None:
    """You have looked at it; who cleared it stays in the log."""
    with Api.connect() as api:
        answer = api.post(f"/api/v1/notices/{id}/clear")
    if as_json:
        print_json(answer)
        return
    print(f"Cleared; {len(rows_of(answer, 'notices'))} left.")
