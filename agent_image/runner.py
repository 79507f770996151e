"""The main process of a run's container: says hello, plays one agent session under the gate, reports, and ends.

It ends with the run, and the container ends with it: whatever else was started inside dies by the kernel's hand.

Exit codes: 0 the run's result is with the server (complete or failed); 3 hello or the lease was refused; 4 the line
to the server was gone too long; 5 the orders make no sense; 6 an error of the runner itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.metadata
import os
import sys
import traceback
from pathlib import Path
from typing import Final, NoReturn

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # `python -I` leaves it out

import relay
from gate import Gate, Keeper
from link import DOOR, VERSION, Json, LeaseRefused, Link, LinkLost, encode, pauses, refuse_if_leaseless
from orders import Orders
from outbox import Outbox, Preview
from session import Session

REPORTED: Final = 0
LEASE_REFUSED: Final = 3
LINK_LOST: Final = 4
BAD_ORDERS: Final = 5
BROKEN: Final = 6

_WORKSPACE: Final = "/workspace"
_GRACE_S: Final = 60.0
_SILENCE_S: Final = 25.0
_TICK_S: Final = 0.5
_PR_SET_DUMPABLE: Final = 4


class Lifeline:
    """Reads the server's stream and obeys it. Ends the container when the stream has been gone too long."""

    def __init__(self, link: Link, lease: int, session: Session, grace_s: float) -> None:
        self._link = link
        self._path = f"/runner/stream?lease={lease}"
        self._session = session
        self._grace_s = grace_s
        self._heard = False
        self._orders: asyncio.Queue[Json] = asyncio.Queue()

    async def follow(self) -> None:
        """Follow for ever, over as many streams as it takes. Raises LeaseRefused."""
        silence = min(_SILENCE_S, self._grace_s)
        delays = pauses()
        while True:
            with contextlib.suppress(LinkLost):
                async for order in self._link.lines(self._path, silence):
                    self._heard = True
                    delays = pauses()
                    if order.get("op") != "ping":
                        self._orders.put_nowait(order)
            await asyncio.sleep(next(delays))

    async def obey(self) -> None:
        """Carry the orders out for ever, one after the other: an interrupt comes before the words that follow it."""
        while True:
            await self._session.obey(await self._orders.get())

    async def watch(self) -> None:
        """Raise LinkLost after the grace period. Counts its own ticks: the time of a paused container does not pass."""
        silent = 0.0
        while silent < self._grace_s:
            await asyncio.sleep(_TICK_S)
            silent = 0.0 if self._heard else silent + _TICK_S
            self._heard = False
        raise LinkLost("the server's stream was gone too long")


async def say_hello(link: Link, grace_s: float) -> Orders:
    """Introduce this container once; the orders. Raises LeaseRefused, LinkLost, ValueError."""
    greeting: Json = {
        "runner": VERSION,
        "sdk": importlib.metadata.version("claude-agent-sdk"),
        "cli": _cli_version(),
        "pid": os.getpid(),
    }
    async with asyncio.timeout(grace_s):
        answer = await link.insist("/runner/hello", encode(greeting))
    refuse_if_leaseless(answer.status)
    if answer.status != 200:
        raise ValueError(f"hello was answered with {answer.status}")
    return Orders.read(answer.object())


async def play(link: Link, gate: Gate, orders: Orders, grace_s: float) -> None:
    """The whole run, from orders to an acknowledged result."""
    outbox, preview = Outbox(link, orders.lease), Preview(link)
    session = Session(orders, gate, outbox, preview, _WORKSPACE)
    lifeline = Lifeline(link, orders.lease, session, grace_s)
    async with asyncio.TaskGroup() as group:
        duties = (outbox.run(), preview.run(), lifeline.follow(), lifeline.obey(), lifeline.watch())
        around = [group.create_task(each) for each in duties]
        result = await _result_of(session)
        await gate.settled()
        await outbox.put("run.result", **result)
        await outbox.drained()
        for task in around:
            task.cancel()


async def _result_of(session: Session) -> Json:
    """The session's result. The agent's own end, however ugly, is a result too."""
    try:
        return await session.run()
    except Exception as error:  # noqa: BLE001  supervisor: the SDK raises plain Exceptions for whatever the CLI died of
        return {"status": "failed", "text": "", "reason": f"{type(error).__name__}: {error}"[:2000], "num_turns": 0}


async def run() -> int:
    """Everything; the exit code."""
    link = Link(DOOR)
    grace_s = min(float(os.environ.get("HELM_LINK_GRACE_S", _GRACE_S)), _GRACE_S)
    gate = Gate(link)
    listeners = [await relay.serve(), await Keeper(Link(DOOR, "helm-keeper/1"), gate).serve()]
    code = REPORTED
    try:
        await play(link, gate, await say_hello(link, grace_s), grace_s)
    except* LeaseRefused:
        code = LEASE_REFUSED
    except* (LinkLost, TimeoutError):
        code = LINK_LOST
    except* (ValueError, KeyError, TypeError):
        traceback.print_exc()
        code = BAD_ORDERS
    for listener in listeners:
        listener.close()
    return code


def harden() -> None:
    """No other process of this user may read or write this one's memory or environment."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) was refused")


def _cli_version() -> str:
    site = importlib.metadata.distribution("claude-agent-sdk").locate_file("claude_agent_sdk/_bundled/claude.version")
    with contextlib.suppress(OSError):
        return Path(str(site)).read_text().strip()[:200]
    return ""


def main() -> NoReturn:
    """Run, and end at once: nothing that still holds on to the process may keep the container alive."""
    code = BROKEN
    try:
        harden()
        os.makedirs(os.environ.get("HOME", "/tmp/home"), mode=0o700, exist_ok=True)  # noqa: S108  the container's tmpfs
        code = asyncio.Runner().run(run())  # never closed: closing waits for tasks that may hang
    except Exception:  # noqa: BLE001  supervisor: the last line of the container's log says why
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
