"""Connections out of a run: each is an intent, decided before any name is resolved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.domain.blueprint import Blueprint
from app.domain.content import JSON, Content
from app.domain.ids import short_id
from app.domain.verdict import EffectClass, Grade
from app.ports import Clock, Providers
from app.services.asks import Answer, Ask, result_content
from app.services.gate import Gate


@dataclass(frozen=True, slots=True)
class Pass:
    """What the door may do: `addresses` pins literal ones; empty means resolve and classify."""

    answer: Answer
    ticket: str
    flags: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    dial_port: int = 0


class Egress:
    """Judges connections against the run's own list and policy."""

    def __init__(
        self, gate: Gate, clock: Clock, providers: Providers, blueprint_of: Callable[[str], Blueprint | None]
    ) -> None:
        self._gate, self._clock, self._providers, self._blueprint_of = gate, clock, providers, blueprint_of

    async def ask(self, run: str, form: str, host: str, port: int, method: str, path: str) -> Pass:
        """Judge one connection; the ticket ends it."""
        ticket = short_id("egr", self._clock.entropy(10))
        blueprint = self._blueprint_of(run)
        listed = blueprint.egress_match(host, port) if blueprint is not None else None
        args: dict[str, str | int] = {"form": form, "host": host, "port": port}
        if method:
            args |= {"method": method, "path": path}
        answer = await self._gate.perform(
            Ask(
                run=run,
                door="egress",
                tool="egress",
                args=args,
                key=ticket,
                executor="door",
                grade=Grade.STRUCTURAL,
                effect_class=EffectClass.NETWORK,
                host=host,
                port=port,
                egress_listed=listed is not None,
            )
        )
        if listed is None:
            return Pass(answer, ticket)
        if not answer.allowed or not listed.address:
            return Pass(answer, ticket, listed.flags)
        address, dial_port = await self._providers.place(listed.address)
        return Pass(answer, ticket, listed.flags, (address,), dial_port)

    async def end(self, run: str, ticket: str, *, status: str, ip: str, sent: int, received: int, error: str) -> None:
        """Record how a connection ended."""
        facts = {"ip": ip, "bytes_out": sent, "bytes_in": received}
        await self._gate.outcome(
            run,
            ticket,
            "executed" if status == "executed" else "failed",
            result=result_content(facts) if ip else Content(b"{}", JSON),
            error_class=error[:200],
        )
