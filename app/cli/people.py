"""`helm people`: who may come in, and as what. Owners alone may ask and change that."""

from __future__ import annotations

import os
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from app.cli.api import Api, rows_of
from app.cli.exits import HELP
from app.cli.output import print_json, safe, show, table
from app.settings import read_settings

app = typer.Typer(epilog=HELP, help="Who may come in: owners, approvers, viewers.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Account = Annotated[str, typer.Argument(metavar="NAME", help="The account's name.")]
_ROLES = "owner (all), approver (answers, starts, stops, steers) or viewer (looks)"


@app.callback(invoke_without_command=True)
def people(context: typer.Context, as_json: Json = False) -> None:
    """Who may come in, and as what."""
    if context.invoked_subcommand is not None:
        return
    with Api.connect() as api:
        answer = api.get("/api/v1/people")
    if as_json:
        print_json(answer)
        return
    rows = [(safe(row["account"]), safe(row["role"]), "you" if row["you"] else "") for row in rows_of(answer, "people")]
    show(table(("name", "role", ""), rows))


@app.command()
def add(
    account: Account,
    role: Annotated[str, typer.Option(help=_ROLES)] = "viewer",
    as_json: Json = False,
) -> None:
    """Let somebody in; prints their one-time login link, good for 15 minutes."""
    with Api.connect() as api:
        person = api.post("/api/v1/people", {"account": account, "role": role})
        link = _reachable(str(person["link"]), local=api.place.home is not None)
    if as_json:
        print_json({**person, "link": link})
        return
    print(f"{safe(person['account'])} is {_with_article(person['role'])}. Their link, once, within 15 minutes:")
    print(link)


@app.command()
def role(account: Account, role: Annotated[str, typer.Argument(help=_ROLES)], as_json: Json = False) -> None:
    """Change what somebody may do, at once. The last owner stays one."""
    with Api.connect() as api:
        person = api.post(f"/api/v1/people/{quote(account, safe='')}/role", {"role": role})
    if as_json:
        print_json(person)
    else:
        print(f"{safe(person['account'])} is {_with_article(person['role'])} from now on.")


def _with_article(role: Any) -> str:
    word = safe(role)
    return f"{'an' if word[:1] in 'aeio' else 'a'} {word}"


def _reachable(link: str, *, local: bool) -> str:
    """The link under the address that others use, where this machine's settings name one."""
    origins = read_settings(os.environ).origins if local else ()
    return origins[0] + urlsplit(link).path if origins else link
