"""After a restart: containers that live on are taken up again, runs without one are interrupted, and what the old
server was in the middle of becomes `unknown`. Nothing is ever sent a second time by itself."""

from __future__ import annotations

import structlog

from app.domain.errors import HelmError
from app.domain.events import Draft
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads import Recovered
from app.domain.reasons import Reason
from app.domain.run import Run
from app.ports import RunFilter, Sandbox
from app.services.ledger import Ledger
from app.services.runs import Runs

log = structlog.get_logger("helm.recovery")


async def recover(ledger: Ledger, runs: Runs, sandbox: Sandbox) -> Recovered:
    """Bring log and containers together, and record what was found. Raises LedgerUnavailable."""
    last_seq = ledger.head
    status = await sandbox.probe()
    living = await sandbox.live() if status.ok else {}
    orphans: list[str] = []
    interrupted: list[str] = []
    for run in await ledger.read.runs(RunFilter(status="live", limit=1_000)):
        if run.id in living and await _adopted(runs, run):
            # The agent and its tools live on and will report; what the server's own doors had under way is lost.
            orphans += [action.id for action in await runs.settle(run.id, recovered=True, keep=("runner",))]
            continue
        orphans += [action.id for action in run.actions.values() if action.state == "dispatched"]
        if not run.interrupted:
            interrupted.append(run.id)
        await _interrupt(runs, run, sandbox if run.id in living else None)
    found = Recovered(last_seq, tuple(orphans[:500]), tuple(interrupted[:500]), "tail")
    if orphans or interrupted:
        await ledger.record(SYSTEM_RUN, Draft(found))
    return found


async def _adopted(runs: Runs, run: Run) -> bool:
    try:
        return await runs.adopt(run)
    except HelmError as error:
        log.warning("run.not_adopted", run=run.id, code=error.code, reason=error.message)
        return False


async def _interrupt(runs: Runs, run: Run, leftover: Sandbox | None) -> None:
    if leftover is not None:
        await leftover.kill(run.id)
    if run.interrupted:
        await runs.settle(run.id, recovered=True, keep=())
    else:
        await runs.interrupt(
            run, Reason.RUN_INTERRUPTED.value, "The server was restarted and the run's container is gone."
        )
