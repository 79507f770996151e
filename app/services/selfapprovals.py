"""Attempts of an agent to see or to answer what people are asked. Each is refused where it was made; here it becomes a
verdict that says so, and with it an item of the inbox. A flood of them does not become a flood of receipts."""

from __future__ import annotations

from typing import Final

from app.domain.ids import short_id
from app.domain.reasons import Reason
from app.domain.verdict import EffectClass, Grade
from app.ports import Clock
from app.services.asks import Answer, Ask, Refusal
from app.services.gate import Gate

FIRST: Final = 10  # recorded one by one; after them one receipt at each doubling, which says how many there were
_MOST_RUNS: Final = 10_000
_WORDS: Final = "An agent can neither see nor answer what people are asked."


class SelfApprovals:
    """Records attempts, a bounded number of receipts for each run."""

    def __init__(self, gate: Gate, clock: Clock) -> None:
        self._gate, self._clock = gate, clock
        self._seen: dict[str, int] = {}

    async def attempt(self, run: str, method: str, target: str) -> Answer:
        """The refusal of an attempt: recorded, unless it is one of a flood whose next receipt counts it."""
        count = self._seen.get(run, 0) + 1
        if run not in self._seen and len(self._seen) >= _MOST_RUNS:
            self._seen.pop(next(iter(self._seen)))
        self._seen[run] = count
        refusal = Refusal(Reason.SELF_APPROVAL, _words(method, target, count), first=True)
        if not _is_recorded(count):
            return Answer(False, refusal.reason.value, refusal.message)
        return await self._gate.perform(
            Ask(
                run=run,
                door="egress",
                tool="operator",
                args={"method": method, "target": target, "attempt": count},
                key=short_id("slf", self._clock.entropy(10)),
                executor="door",
                grade=Grade.STRUCTURAL,
                effect_class=EffectClass.NETWORK,
                refusal=refusal,
            )
        )


def _is_recorded(count: int) -> bool:
    doublings, rest = divmod(count, FIRST)
    return count <= FIRST or (rest == 0 and doublings & (doublings - 1) == 0)


def _words(method: str, target: str, count: int) -> str:
    path = target.partition("?")[0][:100]
    return f"{_WORDS} It asked for {method} {path}" + (f" ({count} attempts so far)." if count > FIRST else ".")
