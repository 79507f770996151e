"""`helm freeze --all` where no server runs: the receipt is written here, and holds from the server's next start on."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from app.bootstrap import open_log
from app.cli.exits import NEGATIVE, Failure, run_program
from app.cli.output import print_json
from app.cli.owners import local_account
from app.domain.errors import BadConfig
from app.domain.events import Draft
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads_log import Frozen
from app.domain.receipt import Actor
from app.domain.standing import Freeze, freeze_key
from app.services.freezer import MAX_REASON
from app.settings import Settings, read_settings

app = typer.Typer(add_completion=False)


@app.command()
def freeze(
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Freeze everything in the log of an installation whose server is not running."""
    if len(reason) > MAX_REASON:
        raise Failure(f"a reason has at most {MAX_REASON} characters", NEGATIVE)
    settings = read_settings(os.environ)
    if not settings.database.exists():
        raise Failure(f"there is no log in {settings.home} yet, and so nothing to freeze", NEGATIVE)
    made = asyncio.run(_freeze(settings, reason))
    if as_json:
        print_json({"scope": "all", "target": "", "reason": made.reason, "by": made.by, "at": made.ts, "seq": made.seq})
        return
    print("Frozen: everything, from the server's next start on. Lift it then with: helm unfreeze --all")


async def _freeze(settings: Settings, reason: str) -> Freeze:
    try:
        async with open_log(settings) as opened:
            key, by = freeze_key("all", ""), local_account()
            if key not in opened.ledger.standing.freezes:
                order = Frozen("freeze", "all", "", reason, by)
                await opened.ledger.record(SYSTEM_RUN, Draft(order, Actor("human", by, "client")))
            return opened.ledger.standing.freezes[key]
    except BadConfig as error:
        raise Failure(f"nothing was frozen: {error.message}", NEGATIVE) from None


if __name__ == "__main__":
    run_program(app)
