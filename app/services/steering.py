"""Words from a person into a live run: queued, delivered, seen, each of them a fact of the log. A message is never sent
again by itself once it was delivered, and never answers an approval by accident."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final, Literal

from app.domain.content import Content
from app.domain.errors import AlreadyClaimed, InvalidInput, NotFound, RunEnded
from app.domain.events import Draft, Event
from app.domain.ids import short_id
from app.domain.payloads import Controlled
from app.domain.receipt import Actor
from app.domain.run import Steering
from app.ports import Clock
from app.services.ledger import Ledger

MAX_TEXT: Final = 16_000
MODES: Final = ("queue", "steer", "interrupt")


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the runner is given it."""

    id: str
    text: str
    mode: str


class SteeringDesk:
    """Takes messages from people and hands them to the run's runner until it says that it has them."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock

    async def queue(
        self, run: str, text: str, mode: Literal["queue", "steer", "interrupt"], *, by: str, client_id: str = ""
    ) -> Steering:
        """Record a message for a live run. The same `client_id` again is the same message.

        Raises InvalidInput, NotFound, RunEnded, LedgerUnavailable.
        """
        if mode not in MODES:
            raise InvalidInput("the mode is queue, steer or interrupt")
        if not text.strip() or len(text) > MAX_TEXT:
            raise InvalidInput(f"a message has 1 to {MAX_TEXT} characters")
        if len(client_id) > 64:
            raise InvalidInput("a client id has at most 64 characters")
        found = await self._ledger.read.run(run)
        if found is None:
            raise NotFound("there is no such run")
        if not found.live:
            raise RunEnded("the run has ended; start a new one to say more")
        control_id = client_id or short_id("msg", self._clock.entropy(10))
        payload = Controlled("steer", control_id, mode, Content.text(text, MAX_TEXT * 4))
        try:
            await self._ledger.record(run, Draft(payload, Actor("human", by, "client")))
        except AlreadyClaimed:
            pass  # the same message was sent twice; it is recorded once
        for message in await self._ledger.read.steering(run):
            if message.id == control_id:
                return message
        raise NotFound("the message cannot be read back")

    async def deliver(self, run: str) -> AsyncGenerator[Message, None]:
        """What the runner has not acknowledged, oldest first, then each new message as it comes. Ends with the run."""
        after = self._ledger.head
        for waiting in await self._ledger.read.steering(run):
            if waiting.state == "queued":
                event = await self._ledger.read.event(waiting.queued_seq)
                after = max(after, waiting.queued_seq)
                if event is not None:
                    yield _message(event)
        async for page in self._ledger.follow(after, run):
            for event in page:
                if isinstance(event.payload, Controlled) and event.payload.verb == "steer":
                    yield _message(event)
                if event.kind == "run.close":
                    return


def _message(event: Event) -> Message:
    payload = event.payload
    if not isinstance(payload, Controlled):
        raise InvalidInput("not a steering message")
    return Message(payload.control_id, event.text("text"), payload.mode)
