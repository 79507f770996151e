"""`helm policy backtest`: what another bundle would have said to everything that the log holds. Nothing is changed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from app.adapters.policies import load_bundle
from app.adapters.sqlite.reader import SqliteReader
from app.cli.exits import OK, USAGE, Failure
from app.cli.output import out, print_json, safe, show, styled, table
from app.cli.policy_log import Json, open_log
from app.domain.backtest import Row
from app.domain.canonical import Json as JsonValue
from app.domain.errors import NotFound
from app.domain.expressions import ENGINE, INTERPRETED
from app.domain.policy import Bundle, decide_again
from app.domain.policy_cases import second_opinion
from app.domain.times import text_of
from app.ports import RunFilter
from app.services.backtests import backtest as replay
from app.settings import Settings, read_settings

MAX_COMPARED: Final = 5_000  # distinct inputs that the second engine, a hundred times slower, looks at
_UNITS: Final = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@dataclass(slots=True)
class Tally:
    """What a backtest counts while it reads."""

    intents: int = 0
    same: int = 0
    other_rule: int = 0
    untold: Counter[str] = field(default_factory=Counter)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: list[Row] = field(default_factory=list)
    compared: set[tuple[str, bytes]] = field(default_factory=set)
    differ: list[int] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Count one intent."""
        self.intents += 1
        if row.decision is None:
            self.untold[row.note] += 1
        elif row.changed:
            self.changes[row.old[0], row.new[0]] += 1
        elif row.old != row.new:
            self.other_rule += 1
        else:
            self.same += 1
        if row.decision is None or row.old != row.new:
            self.rows.append(row)


def backtest(
    bundle_path: Annotated[Path, typer.Argument(metavar="BUNDLE_PATH", help="The folder of the new bundle.")],
    against: Annotated[str, typer.Option(metavar="RUN", help="Only this run: its id or its number.")] = "",
    since: Annotated[str, typer.Option(metavar="7d", help="Only what was asked since: 30m, 12h, 7d, 2w.")] = "",
    as_json: Json = False,
) -> int:
    """Decide every recorded intent again under another bundle, and show what would change. Nothing is changed."""
    settings = read_settings(os.environ)
    if not bundle_path.is_dir():
        raise Failure(f"{bundle_path} is no folder; a bundle is one, with a bundle.toml", USAGE)
    bundle = load_bundle(bundle_path, settings.policies)[0]
    tally = asyncio.run(_replay(settings, bundle, against, _since(since)))
    if as_json:
        print_json(_backtest_json(bundle, tally))
    else:
        _show_backtest(bundle, tally)
    return OK


def _since(text: str) -> str:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhdw])", text)
    if text and found is None:
        raise Failure("--since is a number and m, h, d or w, such as 7d", USAGE)
    return text_of(time.time_ns() // 1_000_000 - int(found[1]) * _UNITS[found[2]] * 1000) if found else ""


async def _replay(settings: Settings, bundle: Bundle, against: str, since: str) -> Tally:
    tally, other = Tally(), second_opinion(bundle)
    async with open_log(settings) as reader:
        run = await _run_id(reader, against) if against else ""
        size = await reader.size()
        async for step in replay(reader, bundle, run=run, since=since, most=size + 1):
            for row in step.rows:
                tally.add(row)
                _compare(tally, other, row)
    tally.rows.sort(key=lambda row: row.recorded.seq)
    return tally


def _compare(tally: Tally, other: Bundle, row: Row) -> None:
    """Ask the second engine too; each distinct question once."""
    decision = row.decision
    if decision is None or ENGINE is INTERPRETED or len(tally.compared) >= MAX_COMPARED:
        return
    key = row.recorded.tool, _bytes(decision.inputs)
    if key in tally.compared:
        return
    tally.compared.add(key)
    second = decide_again(other, decision.inputs, decision.effect_class)
    if (second.verdict, second.rule_ids) != (decision.verdict, decision.rule_ids):
        tally.differ.append(row.recorded.seq)


def _bytes(inputs: JsonValue) -> bytes:
    return json.dumps(inputs, sort_keys=True).encode()


async def _run_id(reader: SqliteReader, text: str) -> str:
    """A run by its id, or by its number."""
    if await reader.run(text) is not None:
        return text
    number = text.removeprefix("#")
    if number.isascii() and number.isdigit() and len(number) < 19:
        for run in await reader.runs(RunFilter(before_no=int(number) + 1, limit=1)):
            if run.no == int(number):
                return run.id
    raise NotFound(f"there is no run {text[:63]!r}")


def _row_json(row: Row) -> dict[str, Any]:
    recorded, decision = row.recorded, row.decision
    return {
        "seq": recorded.seq,
        "run": recorded.run,
        "run_no": recorded.run_no,
        "action": recorded.action,
        "tool": recorded.tool,
        "target": recorded.target,
        "old": {"verdict": row.old[0], "rule": row.old[1], "reason_code": recorded.verdict.reason_code},
        "new": {"verdict": row.new[0], "rule": row.new[1], "reason_code": decision.reason.value if decision else ""},
        "changed": row.changed,
        "rebuilt": row.rebuilt,
        "note": row.note,
    }


def _backtest_json(bundle: Bundle, tally: Tally) -> dict[str, Any]:
    return {
        "bundle": bundle.name,
        "digest": bundle.digest,
        "intents": tally.intents,
        "same": tally.same,
        "same_verdict_by_another_rule": tally.other_rule,
        "changed": sum(tally.changes.values()),
        "changes": [{"old": old, "new": new, "count": count} for (old, new), count in sorted(tally.changes.items())],
        "not_told": [{"why": why, "count": count} for why, count in sorted(tally.untold.items())],
        "engines": {"compared": len(tally.compared), "differ_at": tally.differ},
        "rows": [_row_json(row) for row in tally.rows],
    }


def _show_backtest(bundle: Bundle, tally: Tally) -> None:
    changed = [row for row in tally.rows if row.changed]
    if changed:
        show(table((">receipt", ">run", "tool", "about", "was", "would be"), [_row_cells(row) for row in changed]))
    for (old, new), count in sorted(tally.changes.items()):
        print(f"{count:>7,}  {old} -> {new}")
    print(f"{tally.same:>7,}  the same")
    if tally.other_rule:
        print(f"{tally.other_rule:>7,}  the same verdict by another rule")
    for why, count in sorted(tally.untold.items()):
        print(f"{count:>7,}  not decided again: {safe(why)}")
    print(f"{tally.intents:>7,}  recorded intents under {bundle.name} {bundle.digest[:19]}")
    if tally.differ:
        places = ", ".join(f"#{seq}" for seq in tally.differ[:10])
        out().print(Text(f"The two CEL engines disagree at {places}; do not use this bundle.", style="bold red"))


def _row_cells(row: Row) -> tuple[Text | str, ...]:
    recorded = row.recorded
    was, would = styled(row.old[0]), styled(row.new[0])
    was.append(f" {safe(row.old[1] or recorded.verdict.reason_code)}")
    would.append(f" {safe(row.new[1] or (row.decision.reason.value if row.decision else ''))}")
    return f"#{recorded.seq}", f"#{recorded.run_no}", safe(recorded.tool, 40), safe(recorded.target, 50), was, would
