"""How a run ends, in the words of its last receipt: what the log and the container say, and nothing more."""

from __future__ import annotations

from typing import Any

from app.domain.payloads import RunClosed
from app.domain.reasons import Reason
from app.domain.run import Run
from app.ports import Exit

_MOST_KILLED = 200


def closing(run: Run, ended: Exit, killed: tuple[str, ...]) -> RunClosed:
    """The last receipt of a run whose container is gone. `killed`: what was killed with it."""
    status, reason, message = _ending(run, ended)
    return RunClosed(
        status=status,
        reason_code=reason,
        message=message[:2_000],
        count=run.run_seq + 1,
        spent_micro=run.spent_micro,
        input_tokens=run.input_tokens,
        output_tokens=run.output_tokens,
        tool_calls=run.tool_calls,
        killed=killed[:_MOST_KILLED],
    )


def _ending(run: Run, ended: Exit) -> tuple[Any, str, str]:
    """Status, reason code and words of a run's end, from what the log and the container say."""
    if run.stopping:
        return "cancelled", Reason.RUN_STOPPED.value, "Stopped by a person."
    if run.interrupted:
        return "failed", run.interrupted, run.message
    if run.result == "complete":
        return "complete", Reason.COMPLETED.value, run.message
    if run.result == "failed":
        return "failed", Reason.AGENT_FAILED.value, run.message
    why = "out of memory" if ended.oom else ended.reason or f"exit code {ended.code}"
    return "failed", Reason.AGENT_FAILED.value, f"The container ended before the agent was done: {why}"
