"""The brake: freeze everything, a blueprint or a run, and lift it again."""

from __future__ import annotations

import os
import runpy
import sys
import time
from typing import Annotated, Any

import typer

from app.cli.api import Api, find_place, one_run, rows_of
from app.cli.exits import USAGE, Failure
from app.cli.output import ago, print_json, safe, show, table

OFFLINE = "app.cli.freeze_offline"
_ORDER_S = 60.0  # containers stand still when the server answers

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
RunName = Annotated[str, typer.Option("--run", metavar="RUN", help="Only this run: its id, its beginning, its number.")]
Plan = Annotated[str, typer.Option("--blueprint", metavar="NAME", help="Every run of this blueprint, and no new one.")]
Everything = Annotated[bool, typer.Option("--all", help="Every run, and no new one.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it stays in the log, and agents are told.")]


def freeze(
    run: RunName = "",
    blueprint: Plan = "",
    everything: Everything = False,
    reason: Why = "",
    listing: Annotated[bool, typer.Option("--list", help="Show what is frozen.")] = False,
    as_json: Json = False,
) -> None:
    """Freeze: from this instant nothing is released, nothing leaves, and the containers stand still. Nothing is lost:
    after `helm unfreeze` the same runs go on. Works without a server too (--all): then it holds from its next start on.
    """
    if listing:
        _list(as_json)
        return
    _one_of(run, blueprint, everything)
    if everything and find_place(os.environ) is None:
        sys.argv = [sys.argv[0], "--reason", reason, *(["--json"] if as_json else [])]
        runpy.run_module(OFFLINE, run_name="__main__", alter_sys=True)
    with Api.connect() as api:
        order = _order(api, run, blueprint)
        made = api.post("/api/v1/freeze", {**order, "reason": reason}, timeout=_ORDER_S)
    if as_json:
        print_json(made)
        return
    print(f"Frozen: {named(made)}. Lift it with: helm unfreeze {_option(order)}")


def unfreeze(
    run: RunName = "",
    blueprint: Plan = "",
    everything: Annotated[bool, typer.Option("--all", help="The freeze of everything.")] = False,
    reason: Why = "",
    as_json: Json = False,
) -> None:
    """Lift a freeze. What another freeze holds stays frozen; the rest goes on where it stood."""
    _one_of(run, blueprint, everything)
    with Api.connect() as api:
        order = _order(api, run, blueprint)
        left = api.post("/api/v1/unfreeze", {**order, "reason": reason}, timeout=_ORDER_S)
    if as_json:
        print_json(left)
        return
    rows = rows_of(left, "freezes")
    print("Lifted." + (f" Frozen still: {', '.join(map(named, rows))}." if rows else ""))


def _list(as_json: bool) -> None:
    with Api.connect() as api:
        answer = api.get("/api/v1/freezes")
    if as_json:
        print_json(answer)
        return
    rows, now = rows_of(answer, "freezes"), time.time_ns() // 1_000_000
    if not rows:
        print("Nothing is frozen.")
        return
    cells = [(named(row), ago(row["at"], now), safe(row["by"], 40), safe(row["reason"], 80)) for row in rows]
    show(table(("frozen", "since", "by", "reason"), cells))


def _one_of(run: str, blueprint: str, everything: bool) -> None:
    if sum(map(bool, (run, blueprint, everything))) != 1:
        raise Failure("say what: --run RUN, --blueprint NAME, or --all", USAGE)


def _order(api: Api, run: str, blueprint: str) -> dict[str, str]:
    if run:
        return {"scope": "run", "target": one_run(api, run)}
    return {"scope": "blueprint", "target": blueprint} if blueprint else {"scope": "all", "target": ""}


def named(row: dict[str, Any]) -> str:
    """What a freeze is of, in words."""
    return "everything" if row["scope"] == "all" else f"{safe(row['scope'])} {safe(row['target'], 100)}"


def _option(order: dict[str, str]) -> str:
    return "--all" if order["scope"] == "all" else f"--{order['scope']} {safe(order['target'], 100)}"
