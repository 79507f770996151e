"""A reserved model call: asked once, settled exactly once, whatever happens between.

A caller that leaves while the server still decides is settled when the decision comes; nothing stays reserved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from app.domain.streams import Reading
from app.door.answers import Refusal
from app.door.gateway_client import Answer, Gateway, GatewayError, text_in
from app.door.house import House
from app.door.limits import GATEWAY_SECONDS
from app.door.log import log
from app.door.run_door import RunDoor

LATE_SECONDS = 300.0
SETTLING_SECONDS = 2.0
_RETRY_SECONDS = 2
_background: set[asyncio.Task[Answer]] = set()


class Settlement:
    """The end of one reserved call."""

    def __init__(self, gateway: Gateway, run: RunDoor, ticket: str) -> None:
        self._gateway = gateway
        self._run = run
        self._ticket = ticket
        self._settled = False
        self._told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ending(self) -> None:
        """The answer is said to its end: the run's next question waits until this one is settled."""
        self._run.settling.add(self._told)

    def settle(self, facts: Mapping[str, object]) -> None:
        """Tell the server how it ended; later calls are nothing."""
        if self._settled:
            return
        self._settled = True
        self.ending()
        self._gateway.tell(self._run.run, "/door/model/end", {"ticket": self._ticket, **facts}, self._on_told)

    def _on_told(self) -> None:
        self._run.settling.discard(self._told)
        if not self._told.done():
            self._told.set_result(None)


def ending_facts(
    status: str, error: str, http_status: int, request_id: str, reading: Reading | None
) -> Mapping[str, object]:
    """The body of `/door/model/end`, without the ticket."""
    return {
        "status": status,
        "http_status": http_status,
        "request_id": request_id or (reading.message_id if reading else ""),
        "model": reading.model if reading else "",
        "usage": dict(reading.usage) if reading else {},
        "tool_uses": [{"id": use.id, "name": use.name} for use in reading.tool_uses] if reading else [],
        "stop_reason": reading.stop_reason if reading else "",
        "error": error,
    }


async def reserve(house: House, run: RunDoor, question: Answer) -> Settlement:
    """Ask for a model call. Raises Refusal: the server's own status for a verdict, 529 when there was none."""
    if run.settling:
        await asyncio.wait(list(run.settling), timeout=SETTLING_SECONDS)
    asking = asyncio.get_running_loop().create_task(
        house.gateway.ask(run.run, "/door/model", question, GATEWAY_SECONDS + LATE_SECONDS)
    )
    try:
        done, _ = await asyncio.wait({asking}, timeout=GATEWAY_SECONDS)
    except asyncio.CancelledError:
        _settle_later(house, run, asking, "client-gone")
        raise
    if not done:
        _settle_later(house, run, asking, "verdict-late")
        raise _no_verdict(run, "no verdict in time")
    try:
        answer = asking.result()
    except GatewayError as error:
        raise _no_verdict(run, str(error)) from None
    return _allowed(house, run, answer)


def _allowed(house: House, run: RunDoor, answer: Answer) -> Settlement:
    ticket = text_in(answer, "ticket")
    if answer.get("verdict") == "ALLOW" and ticket:
        return Settlement(house.gateway, run, ticket)
    status = answer.get("status")
    known = status if isinstance(status, int) and 400 <= status < 600 else 403
    message = text_in(answer, "message") or "Helm refused this model call."
    reason = text_in(answer, "reason_code") or "DENIED"
    raise Refusal(known, message, reason, text_in(answer, "receipt_id"), _RETRY_SECONDS if known in (503, 529) else 0)


def _no_verdict(run: RunDoor, text: str) -> Refusal:
    log("model.no_verdict", run=run.run, error=text)
    return Refusal(529, "Helm's server gave no verdict; this call was not sent.", "NO_VERDICT", retry=_RETRY_SECONDS)


def _settle_later(house: House, run: RunDoor, asking: asyncio.Task[Answer], error: str) -> None:
    def decided(task: asyncio.Task[Answer]) -> None:
        _background.discard(task)
        if task.cancelled() or task.exception() is not None:
            return
        try:
            settlement = _allowed(house, run, task.result())
        except Refusal:
            return
        settlement.settle(ending_facts("cancelled", error, 0, "", None))

    _background.add(asking)
    asking.add_done_callback(decided)
