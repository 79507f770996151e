"""After a restart: containers that live on are taken up again, runs without one are interrupted, and what the old
server was in the middle of becomes `unknown`. Nothing is ever sent a second time by itself."""

from __future__ import annotations

import structlog

from app.domain.errors import EngineUnavailable, HelmError
from app.domain.events import Draft
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads_log import Recovered
from app.domain.reasons import Reason
from app.domain.run import Run
from app.ports import Exit, RunFilter, Sandbox
from app.services.ledger import Ledger
from app.services.runs import Runs

log = structlog.get_logger("helm.recovery")


async def recover(ledger: Ledger, runs: Runs, sandbox: Sandbox) -> Recovered:
    """Bring log and containers together, and record what was found. Raises LedgerUnavailable."""
    last_seq = ledger.head
    living, lost = await _living(sandbox)
    orphans: list[str] = []
    interrupted: list[str] = []
    for run in await ledger.read.runs(RunFilter(status="live", limit=1_000)):
        why = lost
        if run.id in living and not runs.is_condemned(run):
            why = await _not_adopted(runs, run)
            if not why:
                # The agent and its tools live on and will report; what the server's own doors had under way is lost.
                orphans += [action.id for action in await runs.settle(run.id, recovered=True, keep=("runner",))]
                continue
        orphans += [action.id for action in run.actions.values() if action.state == "dispatched"]
        ended, lost_it = (None, lost) if lost else await _ended(runs, sandbox, run.id, run.id in living)
        if run.result or (ended is not None and runs.is_condemned(run)):
            await runs.conclude(run.id, ended or Exit(-1, False, lost_it))
            continue
        if not run.interrupted:
            interrupted.append(run.id)
        await _interrupt(runs, run, why or lost_it)
    found = Recovered(last_seq, tuple(orphans[:500]), tuple(interrupted[:500]), "tail")
    if orphans or interrupted:
        await ledger.record(SYSTEM_RUN, Draft(found))
    return found


async def _living(sandbox: Sandbox) -> tuple[dict[str, int], str]:
    """Runs whose container can still act; where nobody can tell, none of them, and why."""
    try:
        return await sandbox.live(), ""
    except EngineUnavailable as error:
        log.warning("containers.unknown", reason=error.message)
        return {}, f"The server was restarted and could not ask for the run's container: {error.message}"


async def _not_adopted(runs: Runs, run: Run) -> str:
    """Empty when the run is taken up again, else why it is not."""
    try:
        if await runs.adopt(run):
            return ""
        return "The server was restarted with another version of the run's blueprint; its container was ended."
    except HelmError as error:
        log.warning("run.not_adopted", run=run.id, code=error.code, reason=error.message)
        return f"The server was restarted and could not take the run up again: {error.message}"


async def _ended(runs: Runs, sandbox: Sandbox, run: str, living: bool) -> tuple[Exit | None, str]:
    """How a run's container ended, in words too; one that still lives is killed. None where nobody confirms its end."""
    try:
        if living:
            await runs.end_container(run)
        ended = await sandbox.wait(run)
    except EngineUnavailable as error:
        return None, f"The server was restarted and could not end the run's container: {error.message}"
    if ended.code < 0:
        return ended, "The server was restarted and the run's container is gone."
    return ended, f"The run's container ended while the server was away ({ended.reason or ended.code})."


async def _interrupt(runs: Runs, run: Run, message: str) -> None:
    if run.interrupted:
        await runs.settle(run.id, recovered=True, keep=())
    else:
        await runs.interrupt(run, Reason.RUN_INTERRUPTED.value, message[:2_000])
