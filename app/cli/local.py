"""`helm login-link` and `helm token`: who may come in, written into the installation's own file, whether its server
runs or not."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from urllib.parse import urlsplit

import typer

from app.cli.api import read_place
from app.cli.exits import HELP, run_program
from app.cli.output import print_json
from app.cli.owners import local_account, open_people
from app.services.people import PeopleDesk
from app.services.people_port import Role
from app.settings import Settings, read_settings

app = typer.Typer(add_completion=False, no_args_is_help=True, epilog=HELP)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("login-link")
def login_link(
    account: Annotated[str, typer.Argument(help="Who signs in; a new name makes a viewer.")] = "",
    as_json: Json = False,
) -> None:
    """Print a new one-time login link, good for 15 minutes."""
    settings = read_settings(os.environ)
    name = account or local_account()
    base, runs = _address(settings)
    link = f"{base}/login/link/{asyncio.run(_new_link(settings, name))}"
    if as_json:
        print_json({"account": name, "link": link, "server_running": runs})
        return
    print(link)
    if not runs:
        print("No server is running; the link works once it does: helm serve", file=sys.stderr)


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="What the token is for, as the settings page lists it.")] = "terminal",
    account: Annotated[str, typer.Option(help="Whose token it is.")] = "",
    as_json: Json = False,
) -> None:
    """Print a new token for the API (Authorization: Bearer ...). It is shown this once; revoke it in the settings."""
    settings = read_settings(os.environ)
    owner = account or local_account()
    secret = asyncio.run(_new_token(settings, owner, name))
    if as_json:
        print_json({"account": owner, "name": name, "token": secret})
        return
    print(secret)


async def _new_link(settings: Settings, account: str) -> str:
    async with _people(settings) as people:
        return await people.new_link(account, _role(account))


async def _new_token(settings: Settings, account: str, name: str) -> str:
    async with _people(settings) as people:
        person = await people.ensure_person(account, _role(account))
        return (await people.new_token(person.id, name))[1]


def _role(account: str) -> Role | None:
    """Who owns the files is an owner, also where somebody else was first; for other names the desk decides."""
    return "owner" if account == local_account() else None


@asynccontextmanager
async def _people(settings: Settings) -> AsyncIterator[PeopleDesk]:
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    people, files = open_people(settings)
    with files:
        yield people


def _address(settings: Settings) -> tuple[str, bool]:
    """Under which address the dashboard is reached, and whether a server is there."""
    place = read_place(settings.home)
    if settings.origins:
        return settings.origins[0], place is not None
    port = urlsplit(place.url).port if place is not None else None
    return (settings.url if port is None else f"http://localhost:{port}"), place is not None


if __name__ == "__main__":
    run_program(app)
