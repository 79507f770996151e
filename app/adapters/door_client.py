"""The server's side of the door's command socket: a JSON line each way, typed errors, a connection per command."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SOCKET = "control.sock"
MAX_LINE = 256 * 1024


class DoorError(Exception):
    """The door did not do what it was told."""


class DoorUnreachable(DoorError):
    """There is no door, or it did not answer in time; runs cannot reach anything then."""


class DoorRefused(DoorError):
    """The door answered that the command is wrong; its text says why."""


@dataclass(frozen=True, slots=True)
class DoorUpstream:
    """A provider of a run: where it is, and the name of its key file in `keys/providers/`."""

    base: str
    key: str


@dataclass(frozen=True, slots=True)
class DoorState:
    """What the door says of itself."""

    version: str
    runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DoorKeys:
    """The keys that the door can use, and what is wrong with the files that it cannot."""

    names: tuple[str, ...]
    problems: tuple[str, ...]


class DoorClient:
    """Commands to the door in `folder` (`$HELM_HOME/door`). Every method raises DoorUnreachable or DoorRefused."""

    def __init__(self, folder: Path, timeout: float = 15.0) -> None:
        self._folder = folder
        self._timeout = timeout

    async def ping(self) -> DoorState:
        """Whether it is there, and which runs are open."""
        answer = await self._command({"op": "ping"})
        return DoorState(str(answer.get("version", "")), _texts(answer.get("runs")))

    async def open(
        self,
        run: str,
        upstreams: Mapping[str, DoorUpstream],
        peer_uids: Sequence[int] = (),
        *,
        frozen: bool = False,
        own: Sequence[str] = (),
    ) -> None:
        """Make the run's listener, or change one that is open; idempotent. `frozen`: nothing leaves it. `own`: where
        people reach Helm itself (host:port); whoever asks for that inside tries to answer its own questions."""
        bases = {name: {"base": one.base, "key": one.key} for name, one in upstreams.items()}
        command = {"op": "open", "run": run, "upstreams": bases, "peer_uids": list(peer_uids)}
        await self._command({**command, "frozen": frozen, "own": list(own)})

    async def freeze(self, run: str) -> None:
        """Cut everything that leads out of a run, and let nothing out until `thaw`; idempotent."""
        await self._command({"op": "freeze", "run": run})

    async def thaw(self, run: str) -> None:
        """Let things leave a run again; idempotent."""
        await self._command({"op": "thaw", "run": run})

    async def close(self, run: str) -> None:
        """Remove the run's listener and cut its connections; idempotent."""
        await self._command({"op": "close", "run": run})

    async def keys(self) -> DoorKeys:
        """Have the provider keys read again."""
        answer = await self._command({"op": "keys"})
        return DoorKeys(_texts(answer.get("keys")), _texts(answer.get("problems")))

    async def stay(self, on_up: Callable[[], Awaitable[None]]) -> None:
        """Await `on_up` for the door that answers now, and return when that very door has gone."""
        try:
            reader, writer = await self._connect()
        except OSError as error:
            raise DoorUnreachable(f"the door does not answer ({type(error).__name__})") from error
        try:
            async with asyncio.timeout(self._timeout):
                writer.write(b'{"op": "ping"}\n')
                _answer(await reader.readline())
            await on_up()
            await reader.read()
        except (OSError, TimeoutError, ValueError) as error:
            raise DoorUnreachable(f"the door does not answer ({type(error).__name__})") from error
        finally:
            writer.close()

    async def _command(self, command: Mapping[str, object]) -> Mapping[str, object]:
        try:
            async with asyncio.timeout(self._timeout):
                line = await self._exchange(json.dumps(command).encode() + b"\n")
        except (OSError, TimeoutError, ValueError) as error:
            raise DoorUnreachable(f"the door does not answer ({type(error).__name__})") from error
        return _answer(line)

    async def _exchange(self, line: bytes) -> bytes:
        reader, writer = await self._connect()
        try:
            writer.write(line)
            await writer.drain()
            return await reader.readline()
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # Socket paths hold 107 bytes; through a descriptor of the folder the length of $HELM_HOME does not matter.
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{SOCKET}", limit=MAX_LINE)
        finally:
            os.close(folder)


def _answer(line: bytes) -> Mapping[str, object]:
    if not line.endswith(b"\n"):
        raise DoorUnreachable("the door went away before it answered")
    try:
        answer = json.loads(line)
    except ValueError:
        raise DoorUnreachable("the door's answer is not JSON") from None
    if not isinstance(answer, dict):
        raise DoorUnreachable("the door's answer is not an object")
    if answer.get("ok") is not True:
        raise DoorRefused(str(answer.get("error", "refused")))
    return answer


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()
