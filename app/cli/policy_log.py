"""The log as `helm policy` reads it: whether a server runs or not, and never to write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from app.adapters.sqlite.reader import SqliteReader
from app.cli.exits import USAGE, Failure
from app.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@asynccontextmanager
async def open_log(settings: Settings) -> AsyncIterator[SqliteReader]:
    """The log of an installation, only to be read. Raises Failure where there is none."""
    if not settings.database.is_file():
        raise Failure(f"there is no log at {settings.database}; set HELM_HOME to the right folder", USAGE)
    reader = SqliteReader(settings.database)
    try:
        yield reader
    finally:
        reader.close()
