"""The runner's side of the line to the server: small HTTP/1.1 over the run's own Unix socket, standard library alone.

A lost line is told apart from an answer: what was lost may be asked again, what was answered is never asked twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

VERSION: Final = "helm-runner/1"
DOOR: Final = "/run/helm/door.sock"
_LARGEST: Final = 16 << 20
_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_LOST: Final = frozenset({502, 503, 504})
"""What the door answers while the server is away: nothing was decided, asking again is right."""


class LinkLost(Exception):
    """The line broke, or nobody was behind it, before the whole answer was there."""


class LeaseRefused(Exception):
    """The server does not (or no longer) know this container as the run's: it must end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: status and body bytes."""

    status: int
    body: bytes

    def object(self) -> Json:
        """The body as a JSON object; ValueError when it is anything else."""
        value = json.loads(self.body)
        if not isinstance(value, dict):
            raise ValueError(f"the server answered {type(value).__name__} where an object belongs")  # noqa: TRY004
        return value


class Link:
    """Requests to the server through the door. One connection per request: a broken one takes nothing else with it."""

    def __init__(self, door: str = DOOR, name: str = VERSION) -> None:
        self._door = door
        self._name = name

    async def post(self, path: str, body: bytes, timeout: float | None = None) -> Answer:
        """One POST. Raises LinkLost when the line broke or `timeout` seconds (None: days are fine) went by."""
        with _as_lost():
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_unix_connection(self._door, limit=1 << 20)
                try:
                    writer.write(self._head("POST", path, len(body)) + body)
                    await writer.drain()
                    status, headers = await _read_head(reader)
                    answer = Answer(status, await _read_body(reader, headers))
                finally:
                    writer.close()
        if answer.status in _LOST:
            raise LinkLost(f"{path}: {answer.status}")
        return answer

    async def insist(self, path: str, body: bytes, timeout: float | None = None) -> Answer:
        """`post`, again and again until somebody answers; the lifeline decides when that has become hopeless."""
        for pause in pauses():
            with contextlib.suppress(LinkLost):
                return await self.post(path, body, timeout)
            await asyncio.sleep(pause)
        raise LinkLost(path)

    async def lines(self, path: str, silence_s: float) -> AsyncIterator[Json]:
        """The JSON lines of a GET that stays open. Raises LinkLost at its end or after `silence_s` without a line."""
        with _as_lost():
            reader, writer = await asyncio.open_unix_connection(self._door, limit=1 << 20)
            try:
                async with asyncio.timeout(silence_s):
                    writer.write(self._head("GET", path, 0))
                    status, headers = await _read_head(reader)
                refuse_if_leaseless(status)
                if status != 200:
                    raise LinkLost(f"{path}: {status}")
                rest = b""
                while True:
                    async with asyncio.timeout(silence_s):
                        rest += await _read_part(reader, headers)
                    *whole, rest = rest.split(b"\n")
                    for line in whole:
                        if line.strip():
                            yield json.loads(line)
            finally:
                writer.close()

    def _head(self, method: str, path: str, length: int) -> bytes:
        lines = [
            f"{method} {path} HTTP/1.1",
            "host: 127.0.0.1:3128",
            f"user-agent: {self._name}",
            "content-type: application/json",
            f"content-length: {length}",
            "connection: close",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def refuse_if_leaseless(status: int) -> None:
    """Raise LeaseRefused where the status says that this container's lease does not hold."""
    if status in (401, 403, 404, 409, 410):
        raise LeaseRefused(str(status))


def encode(value: Json) -> bytes:
    """JSON bytes; what JSON cannot say (lone surrogates stay escaped) never raises."""
    return json.dumps(value, separators=(",", ":"), default=str).encode()


def pauses() -> Iterator[float]:
    """Growing pauses in seconds, without end."""
    yield from _BACKOFF_S
    yield from itertools.repeat(_BACKOFF_S[-1])


@contextlib.contextmanager
def _as_lost() -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, ValueError) as error:
        raise LinkLost(f"{type(error).__name__}: {error}") from error


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split(" ")[1]), headers


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", ""):
        parts = bytearray()
        with contextlib.suppress(_EndOfChunks):
            while len(parts) <= _LARGEST:
                parts += await _read_part(reader, headers)
        return bytes(parts)
    if "content-length" in headers:
        length = int(headers["content-length"])
        if length > _LARGEST:
            raise ValueError("the answer is too large")
        return await reader.readexactly(length)
    return await reader.read(_LARGEST)


class _EndOfChunks(EOFError):
    """The chunked body is complete."""


async def _read_part(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """The next piece of a body; EOFError at its end."""
    if "chunked" not in headers.get("transfer-encoding", ""):
        piece = await reader.read(1 << 16)
        if not piece:
            raise EOFError("the stream ended")
        return piece
    size = int((await reader.readline()).split(b";")[0], 16)
    piece = await reader.readexactly(size + 2)
    if size == 0:
        raise _EndOfChunks
    return piece[:-2]
