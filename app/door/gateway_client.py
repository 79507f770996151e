"""How the door asks the server. Only a whole, timely 200 with a JSON object is an answer; no answer is DENY.

An end is told again until the server takes it: a lost one would leave a reservation or a dispatch open for ever.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping

from app.door.exchange import Pool, body_of, read_answer
from app.door.log import log
from app.door.parse import HttpError
from app.door.wire import Wire, WireError

SOCKET = "gateway.sock"
MAX_ANSWER = 1024 * 1024
CONNECT_SECONDS = 5.0
POOL_IDLE_SECONDS = 2.0
TELL_SECONDS = 600.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
MAX_PENDING = 10_000

Answer = Mapping[str, object]


class GatewayError(Exception):
    """The server gave no usable answer; `final` = asking again would not help."""

    def __init__(self, text: str, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


class Gateway:
    """The server's gateway app behind its Unix socket."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self.pool = Pool(self.dial, POOL_IDLE_SECONDS)
        self._pending: set[asyncio.Task[None]] = set()

    async def dial(self) -> Wire:
        """A new connection. Raises OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            _, wire = await loop.create_unix_connection(Wire, self._path)
        return wire

    async def ask(self, run: str, path: str, question: Answer, seconds: float) -> Answer:
        """Ask once. Raises GatewayError."""
        try:
            wire = await self.pool.acquire()
        except (OSError, TimeoutError, WireError) as error:
            raise GatewayError(f"the server cannot be reached ({type(error).__name__})") from None
        try:
            answer = await self._exchange(wire, run, path, question, seconds)
        except (HttpError, WireError) as error:
            wire.abort()
            raise GatewayError(f"the server's answer was lost ({error})") from None
        except BaseException:
            wire.abort()
            raise
        return answer

    def tell(self, run: str, path: str, facts: Answer, told: Callable[[], None] | None = None) -> None:
        """Tell in the background until the server takes it (at most TELL_SECONDS); then `told` is called."""
        if len(self._pending) >= MAX_PENDING:
            log("tell.dropped", run=run, path=path)
            if told is not None:
                told()
            return
        task = asyncio.get_running_loop().create_task(self._tell(run, path, facts, told))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def settle(self, seconds: float) -> None:
        """Wait until what is being told has been taken, at most `seconds`."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=seconds)

    async def _tell(self, run: str, path: str, facts: Answer, told: Callable[[], None] | None) -> None:
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + TELL_SECONDS, FIRST_PAUSE
        try:
            while True:
                try:
                    await self.ask(run, path, facts, 30.0)
                    return
                except GatewayError as error:
                    if error.final or loop.time() > deadline:
                        log("tell.failed", run=run, path=path, error=str(error))
                        return
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
        finally:
            if told is not None:
                told()

    async def _exchange(self, wire: Wire, run: str, path: str, question: Answer, seconds: float) -> Answer:
        body = json.dumps(question).encode()
        wire.send(
            f"POST {path} HTTP/1.1\r\nhost: gateway\r\nx-helm-run: {run}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode("latin-1")
            + body
        )
        head = await read_answer(wire, "POST", seconds)
        incoming = body_of(wire, head)
        content = await incoming.read(MAX_ANSWER, seconds)
        if head.keep_alive and incoming.complete:
            self.pool.release(wire)
        else:
            wire.close()
        if head.status != 200:
            raise GatewayError(f"the server answered {head.status}", final=400 <= head.status < 500)
        return _object(content)


def _object(content: bytes) -> Answer:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise GatewayError("the server's answer is not a JSON object", final=True)
    return value


def text_in(answer: Answer, name: str, most: int = 2000) -> str:
    """A text of an answer, cut; nothing when it is not there."""
    value = answer.get(name)
    return value[:most] if isinstance(value, str) else ""
