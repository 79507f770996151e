"""Logs of any length, written by the ledger itself: runs of a thousand receipts in which an agent acts."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from app.bootstrap import OpenLog, open_log, prepare_home
from app.domain.content import JSON, Content
from app.domain.events import Draft, Local
from app.domain.ids import run_id, short_id
from app.domain.payloads import (
    Dispatched,
    IntentRecorded,
    ModelOutput,
    OutcomeRecorded,
    RunClosed,
    RunCreated,
    TurnEnded,
    TurnStarted,
    VerdictGiven,
)
from app.domain.receipt import POLICY, Actor
from app.services.ledger import Ledger
from app.settings import read_settings

from tests.house import LIBRARY

AGENT: Final = Actor("agent", "lead", "agent")
DIGEST: Final = "sha256:" + "0" * 64
WHEN: Final = "2026-11-21T00:00:00.000Z"
_POLICY: Final = LIBRARY.bundles_by_name["default"].digest
EXPIRES: Final = "2099-01-01T00:00:00.000Z"
RUN: Final = 1_000
BATCH: Final = 250
GROUP: Final = 10


def group(at: int) -> list[Draft]:
    """Ten receipts of a working agent whose first has this place in one recording of `BATCH`: a turn with one call."""
    base, action = at % BATCH, short_id("act", os.urandom(10))
    args = Content.of(b'{"command":"ls -l /workspace","description":"look"}', JSON).sealed(os.urandom(32))
    refs = {"intent": Local(base + 2), "verdict": Local(base + 3)}
    text = Content.text(f"I look at part {at} of the workspace next.")
    return [
        Draft(TurnStarted(1 + at // GROUP), AGENT),
        Draft(ModelOutput(text, f"m{at}", ""), AGENT),
        Draft(IntentRecorded(action, "Bash", "read", args, action, "ls -l", "lead", "tool", "cooperative"), AGENT),
        Draft(_verdict(action), POLICY, {"intent": Local(base + 2)}),
        Draft(Dispatched(action, 1, "runner", args.digest, WHEN, short_id("tok", os.urandom(10)), 0), refs=refs),
        Draft(
            OutcomeRecorded(action, "executed", WHEN, WHEN, False, Content.text("total 0")),
            AGENT,
            {**refs, "dispatch": Local(base + 4)},
        ),
        *[Draft(TurnStarted(2 + at // GROUP + n), AGENT) for n in range(2)],
        *[Draft(TurnEnded(2 + at // GROUP + n), AGENT) for n in range(2)],
    ]


def _verdict(action: str) -> VerdictGiven:
    inputs = Content.of(b'{"tool":"Bash"}', JSON)
    return VerdictGiven(
        action, "ALLOW", "POLICY_ALLOW", ("read",), _POLICY, "helm-gate", inputs, EXPIRES, (), "low", ""
    )


async def open_run(ledger: Ledger, number: int) -> str:
    """A run with a number of its own."""
    name = run_id(1_795_000_000_000 + number, hashlib.sha256(b"%d" % number).digest())
    task = Content.text("Look at everything in the workspace.")
    created = RunCreated(number, "bench", task, "lead", "m", "b", DIGEST, "default", _POLICY, "helm-gate", 10**9)
    await ledger.record(name, Draft(created))
    return name


async def grow(ledger: Ledger, upto: int, number: int, until: float = math.inf) -> int:
    """Let the log grow to this many receipts, in runs that have ended; the number of the last run. `until`: the
    monotonic time at which it stops all the same."""
    while ledger.head + 1 + GROUP + 2 <= upto and time.monotonic() < until:
        number += 1
        name, count = await open_run(ledger, number), 1
        while count + GROUP < RUN and ledger.head + 1 + GROUP < upto:
            room = min(RUN - 1 - count, upto - ledger.head - 2, BATCH) // GROUP
            drafts = [draft for at in range(room) for draft in group(at * GROUP)]
            await ledger.record(name, *drafts)
            count += len(drafts)
        await ledger.record(name, Draft(RunClosed("complete", "DONE", "", count, 0, 0, 0, (count - 1) // GROUP, ())))
    return number


@asynccontextmanager
async def opened(home: Path) -> AsyncIterator[OpenLog]:
    """The log of an installation in this folder, opened as the server opens it."""
    settings = read_settings({"HELM_HOME": str(home)})
    prepare_home(settings)
    async with open_log(settings) as log:
        yield log
