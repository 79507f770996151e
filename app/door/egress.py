"""The one egress decision for both forms in its fixed order: ask, resolve, classify ALL answers, dial that address.

A denied name is never resolved; what the server released is told to its end exactly once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.egress import EgressError, allowing_entry, canonical_address, refused_address
from app.domain.streams import list_of
from app.door.answers import Refusal
from app.door.gateway_client import GatewayError, text_in
from app.door.house import House, dial_address
from app.door.limits import FOREVER, RESOLVE_SECONDS
from app.door.log import log
from app.door.run_door import RunDoor, frozen
from app.door.wire import Wire, WireError

MAX_ADDRESSES = 32


@dataclass(frozen=True, slots=True)
class Target:
    """What a client wants to reach, in canonical form."""

    form: str
    host: str
    port: int
    method: str = ""
    path: str = ""

    def question(self) -> Mapping[str, object]:
        """The body of `/door/egress`."""
        facts: dict[str, object] = {"form": self.form, "host": self.host, "port": self.port}
        if self.form == "http":
            facts.update(method=self.method, path=self.path)
        return facts


class Passage:
    """A released way to one target, and its end."""

    def __init__(
        self, house: House, run: RunDoor, target: Target, flags: frozenset[str], pins: tuple[str, ...], port: int = 0
    ) -> None:
        self.flags = flags
        self.bytes_in = 0
        self.bytes_out = 0
        self._house = house
        self._run = run
        self._target = target
        self._pins = pins
        self._port = port or target.port
        self._ip = ""
        self._ticket = ""

    async def open(self) -> Wire:
        """A connection to one address of the target. Raises Refusal; the end is told then."""
        try:
            addresses = list(self._pins) or await self._resolve()
            self._check(addresses)
            wire = await self._dial(addresses)
            self._run.track_outward(wire)
        except Refusal as refusal:
            self.end("refused" if refusal.status == 403 else "failed", refusal.reason_code)
            raise
        except asyncio.CancelledError:
            self.end("failed", "client-gone")
            raise
        return wire

    def end(self, status: str, error: str) -> None:
        """Tell the server how it ended; later calls are nothing."""
        ticket, self._ticket = self._ticket, ""
        if not ticket:
            return
        facts = {"bytes_in": self.bytes_in, "bytes_out": self.bytes_out, "status": status, "error": error}
        self._house.gateway.tell(self._run.run, "/door/egress/end", {"ticket": ticket, "ip": self._ip, **facts})
        target = self._target
        log(
            "egress",
            run=self._run.run,
            form=target.form,
            host=target.host,
            port=target.port,
            ip=self._ip,
            status=status,
            error=error,
        )

    def hold(self, ticket: str) -> Passage:
        """Take the server's ticket."""
        self._ticket = ticket
        return self

    @property
    def broken_pins(self) -> bool:
        """Whether the server pinned something that is no address: then nothing is dialled."""
        return "" in self._pins

    async def _resolve(self) -> list[str]:
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await self._house.resolver(self._target.host, self._target.port)
        except (OSError, TimeoutError, UnicodeError):
            raise Refusal(502, f"{self._target.host} does not resolve.", "NAME_NOT_FOUND") from None
        if not found:
            raise Refusal(502, f"{self._target.host} does not resolve.", "NAME_NOT_FOUND")
        bad = refused_address(found)
        if bad is not None:
            kind = bad[1].value
            text = f"{self._target.host} answers with a {kind} address; pin it in the blueprint to allow that."
            raise Refusal(403, text, "BLOCKED_ADDRESS")
        return found

    def _check(self, addresses: list[str]) -> None:
        if any(self._run.is_model_address(address, self._port) for address in addresses):
            raise Refusal(403, "A model provider is reached through the model proxy only.", "MODEL_HOST")

    async def _dial(self, addresses: list[str]) -> Wire:
        for address in addresses[:4]:
            self._ip = address
            try:
                return await dial_address(address, self._port)
            except (OSError, TimeoutError, WireError):
                continue
        raise Refusal(502, f"{self._target.host}:{self._target.port} cannot be reached.", "UNREACHABLE")


async def decide(house: House, run: RunDoor, target: Target) -> Passage:
    """Ask the server. Raises Refusal; nothing was resolved or dialled then."""
    if run.is_model_host(target.host):
        log("egress.model_host", run=run.run, host=target.host)
        text = f"{target.host} is a model provider; it is reached through the model proxy (the base URL) only."
        raise Refusal(403, text, "MODEL_HOST")
    if run.frozen:
        log("egress.frozen", run=run.run, host=target.host)
        raise frozen()
    if run.allowance.exhausted:
        raise Refusal(403, "This run has moved all the bytes that it may.", "BYTES_EXHAUSTED")
    try:
        answer = await house.gateway.ask(run.run, "/door/egress", target.question(), FOREVER)
    except GatewayError as error:
        log("egress.no_verdict", run=run.run, host=target.host, error=str(error))
        raise Refusal(503, "Helm's server gave no verdict; nothing was opened.", "NO_VERDICT", retry=1) from None
    flags = frozenset(flag for flag in list_of(answer.get("flags")) if isinstance(flag, str))
    ticket = text_in(answer, "ticket")
    allowed = answer.get("verdict") == "ALLOW" and bool(ticket)
    pins, port = _pins(answer.get("addresses")), _dial_port(answer.get("dial_port"))
    passage = Passage(house, run, target, flags, pins, port if pins else 0).hold(ticket if allowed else "")
    if not allowed:
        raise _denied(target, text_in(answer, "message"), text_in(answer, "reason_code"), text_in(answer, "receipt_id"))
    if target.form == "http" and "http" not in flags:
        passage.end("refused", "PLAIN_HTTP")
        raise _denied(target, "The rule allows TLS only.", "PLAIN_HTTP", text_in(answer, "receipt_id"))
    if passage.broken_pins:
        passage.end("refused", "BAD_PIN")
        raise _denied(target, "The rule pins something that is not an address.", "BAD_PIN", "")
    return passage


def _denied(target: Target, message: str, reason: str, receipt: str) -> Refusal:
    rule = allowing_entry(target.host, target.port, target.form)
    text = f"{message or 'Helm refused this connection.'}\nThe entry that would allow it: {rule}"
    return Refusal(403, text, reason or "DENIED", receipt)


def _dial_port(value: object) -> int:
    """The port behind a pinned address, where it is not the one that was asked for; 0 for the same."""
    return value if type(value) is int and 0 < value < 65_536 else 0


def _pins(value: object) -> tuple[str, ...]:
    found: list[str] = []
    for item in list_of(value)[:MAX_ADDRESSES]:
        try:
            found.append(canonical_address(item if isinstance(item, str) else ""))
        except EgressError:
            return ("",)
    return tuple(found)
