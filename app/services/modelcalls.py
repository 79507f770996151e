"""Model calls at the door: what came back from tools must have been released here, and what the call can cost must fit
before it is made. A hold is settled once, with the provider's own count."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.content import Content, Usage
from app.domain.errors import HelmError, NotFound
from app.domain.events import Draft
from app.domain.ids import short_id
from app.domain.payloads import RunNoted
from app.domain.pricing import cost_micro, worst_case_micro
from app.domain.reasons import Reason
from app.domain.run import Run
from app.domain.verdict import AgentFacts, EffectClass, Grade
from app.ports import Clock, Library
from app.services.asks import Answer, Ask, Refusal, result_content
from app.services.gate import Gate
from app.services.ledger import Ledger

_KNOWN: Final = 50_000  # tool call ids remembered over all runs, so that a long conversation is not looked up each time


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool's result on its way to the model."""

    id: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class ModelCall:
    """What the door saw of a request for a model."""

    run: str
    provider: str
    path: str
    model: str
    agent: str
    max_tokens: int
    body_bytes: int
    body_sha256: str
    stream: bool
    tool_results: Sequence[ToolResult]


class ModelCalls:
    """Begins and ends model calls."""

    def __init__(self, ledger: Ledger, gate: Gate, library: Library, clock: Clock) -> None:
        self._ledger, self._gate, self._library, self._clock = ledger, gate, library, clock
        self._locks: dict[str, asyncio.Lock] = {}
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def begin(self, call: ModelCall) -> tuple[Answer, str]:
        """Judge a call and reserve its worst case; the answer and the ticket to end it with.

        UNGATED_EFFECT when a result comes back for a call that was never released: the run must be stopped then.
        """
        ticket = short_id("mdl", self._clock.entropy(10))
        # Two calls that fit one by one must not both be let through: a hold is durable before the next one is weighed.
        async with self._locks.setdefault(call.run, asyncio.Lock()):
            run = await self._ledger.run(call.run)
            if run is None:
                return Answer(False, Reason.RUN_ENDED.value, "the run has ended"), ticket
            refusal = await self._ungated(call)
            hold = 0
            if refusal is None:
                refusal, hold = self._weigh(run, call)
            answer = await self._gate.perform(self._ask(call, ticket, hold, refusal))
        return answer, ticket

    async def end(
        self,
        run: str,
        ticket: str,
        *,
        ok: bool,
        cancelled: bool,
        usage: Mapping[str, int] | None,
        model: str,
        error: str,
        request_id: str,
        summary: Mapping[str, object],
    ) -> None:
        """Settle a call. Usage that nobody could read is charged as the whole hold: never less than it may cost."""
        action = await self._ledger.read.action(run=run, key=ticket)
        if action is None:
            raise NotFound("no such model call")
        settled = self._settled(usage, model or action.target, action.hold_micro)
        if settled is None and not (cancelled or ok):
            settled = Usage(0, 0, 0, 0, 0)  # the provider refused before it began: nothing was used
        await self._gate.outcome(
            run,
            ticket,
            "executed" if ok else "cancelled" if cancelled else "failed",
            result=result_content(dict(summary)),
            error_class=error[:200],
            usage=settled or Usage(0, 0, 0, 0, action.hold_micro),
            provider_request_id=request_id[:200],
        )

    def forget(self, run: str) -> None:
        """Drop what is remembered of an ended run."""
        self._locks.pop(run, None)
        for key in [key for key in self._known if key[0] == run]:
            del self._known[key]

    def _ask(self, call: ModelCall, ticket: str, hold: int, refusal: Refusal | None) -> Ask:
        args = {
            "provider": call.provider,
            "path": call.path,
            "model": call.model,
            "max_tokens": call.max_tokens,
            "body_bytes": call.body_bytes,
            "body_sha256": call.body_sha256,
            "stream": call.stream,
        }
        return Ask(
            run=call.run,
            door="model",
            tool="model",
            args=args,
            key=ticket,
            executor="door",
            grade=Grade.STRUCTURAL,
            agent=AgentFacts(id=call.agent or "lead"),
            effect_class=EffectClass.MODEL,
            hold_micro=hold,
            refusal=refusal,
        )

    def _weigh(self, run: Run, call: ModelCall) -> tuple[Refusal | None, int]:
        price = self._library.price(call.model)
        if price is None:
            return Refusal(Reason.MODEL_UNPRICED, f"no price is known for model {call.model[:100]!r}"), 0
        hold = worst_case_micro(call.body_bytes, call.max_tokens, price)
        left = run.budget_micro - run.spent_micro - run.held_micro
        if hold > left:
            return Refusal(Reason.BUDGET_EXCEEDED, _too_dear(hold, left)), 0
        return None, hold

    async def _ungated(self, call: ModelCall) -> Refusal | None:
        fresh = [result for result in call.tool_results if (call.run, result.id) not in self._known]
        if not fresh:
            return None
        found = await self._ledger.read.known_keys(call.run, [result.id for result in fresh])
        for result in fresh:
            action = found.get(result.id)
            released = action is not None and (bool(action.dispatch) or action.decision == "DENY")
            if not released and not result.is_error:
                return Refusal(Reason.UNGATED_EFFECT, f"a result came back for call {result.id[:64]}, never released")
            if not released:
                # A call to a tool that does not exist, or one cut off before its hook: the model is told of an error.
                await self._note(call.run, result.id)
            self._remember(call.run, result.id)
        return None

    async def _note(self, run: str, call_id: str) -> None:
        text = f"The model was told that call {call_id[:64]} failed; it never reached the gate."
        try:
            await self._ledger.record(run, Draft(RunNoted("warning", Content.text(text))))
        except HelmError:
            return  # a note is not worth a refusal; the verdict that follows is recorded or denied by itself

    def _remember(self, run: str, call_id: str) -> None:
        self._known[run, call_id] = None
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _settled(self, usage: Mapping[str, int] | None, model: str, hold: int) -> Usage | None:
        price = self._library.price(model)
        if not usage:
            return None
        read = {name: max(0, int(usage.get(name, 0))) for name in _USAGE}
        cost = cost_micro(read, price) if price is not None else hold
        return Usage(
            input_tokens=read["input_tokens"],
            output_tokens=read["output_tokens"],
            cache_write_tokens=read["cache_creation_input_tokens"],
            cache_read_tokens=read["cache_read_input_tokens"],
            cost_micro=cost,
        )


_USAGE: Final = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def _too_dear(hold: int, left: int) -> str:
    return f"this call may cost ${hold / 1e6:.4f} and ${max(left, 0) / 1e6:.4f} of the budget is left"
