"""The relay carries bytes both ways, ends each direction by itself, is bounded, and outlives the door."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest

Door = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SOURCE = Path(__file__).parents[2] / "agent_image" / "relay.py"
LIMIT_S = 10.0


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("helm_relay", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


relay = _load()


@pytest.fixture
def path() -> Iterator[str]:
    """A socket path short enough for the kernel (108 bytes), whatever pytest's own folder is called."""
    folder = tempfile.mkdtemp(prefix="relay")
    yield f"{folder}/door.sock"
    shutil.rmtree(folder)


@asynccontextmanager
async def relayed(path: str, connections: int = 8, door_wait_s: float = LIMIT_S) -> AsyncIterator[int]:
    server: asyncio.Server = await relay.serve("127.0.0.1", 0, path, connections=connections, door_wait_s=door_wait_s)
    async with server, asyncio.timeout(LIMIT_S):
        yield server.sockets[0].getsockname()[1]
        await settle()


async def settle() -> None:
    """Wait until every connection of the relay and of the doors has ended."""
    me = asyncio.current_task()
    while others := [task for task in asyncio.all_tasks() if task is not me]:
        await asyncio.wait(others)
    await asyncio.sleep(0)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def dial(port: int) -> Pair:
    return await asyncio.open_connection("127.0.0.1", port)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    await hang_up(writer)


async def answer_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = await reader.read(-1)
    writer.write(b"got %d" % len(request))
    await writer.drain()
    await hang_up(writer)


async def asks(port: int, text: bytes) -> bytes:
    reader, writer = await dial(port)
    writer.write(text)
    writer.write_eof()
    answer = await reader.read(-1)
    await hang_up(writer)
    return answer


async def test_bytes_pass_unchanged_in_both_directions(path: str) -> None:
    blob = bytes(range(256)) * 20_000
    async with await asyncio.start_unix_server(echo, path), relayed(path) as port:
        assert await asks(port, blob) == blob


async def test_the_end_of_a_request_is_not_the_end_of_its_answer(path: str) -> None:
    async with await asyncio.start_unix_server(answer_after_the_end, path), relayed(path) as port:
        assert await asks(port, b"x" * 100_000) == b"got 100000"


async def test_the_first_byte_of_an_answer_does_not_wait_for_the_second(path: str) -> None:
    go_on = asyncio.Event()

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"a")
        await go_on.wait()
        writer.write(b"b")
        await hang_up(writer)

    async with await asyncio.start_unix_server(trickle, path), relayed(path) as port:
        reader, writer = await dial(port)
        assert await reader.readexactly(1) == b"a"
        go_on.set()
        assert await reader.read(-1) == b"b"
        await hang_up(writer)


async def test_a_client_that_vanishes_is_the_end_for_the_door(path: str) -> None:
    gone = asyncio.Event()

    async def note_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await reader.read(-1)
        gone.set()
        await hang_up(writer)

    async with await asyncio.start_unix_server(note_the_end, path), relayed(path) as port:
        reader, writer = await dial(port)
        assert await reader.readexactly(5) == b"hello"
        writer.transport.abort()
        await gone.wait()
        await hang_up(writer)


async def test_a_door_that_dies_closes_its_connections_and_the_next_door_gets_the_next_ones(path: str) -> None:
    async with relayed(path) as port:
        async with await asyncio.start_unix_server(echo, path):
            reader, writer = await dial(port)
            writer.write(b"one")
            assert await reader.readexactly(3) == b"one"
            await hang_up(writer)
        shutil.move(path, f"{path}.old")
        waiting = asyncio.create_task(asks(port, b"two"))
        await asyncio.wait([waiting], timeout=0.1)
        assert not waiting.done(), "the connection must wait for the door that is being restarted"
        async with await asyncio.start_unix_server(echo, path):
            assert await waiting == b"two"


async def test_no_door_closes_the_connection_without_a_word(path: str) -> None:
    async with relayed(path, door_wait_s=0.0) as port:
        reader, writer = await dial(port)
        assert await reader.read(-1) == b""
        await hang_up(writer)


async def test_one_connection_too_many_is_closed_and_the_others_stay(path: str) -> None:
    async with await asyncio.start_unix_server(echo, path), relayed(path, connections=2) as port:
        kept = [await dial(port) for _ in range(2)]
        for reader, writer in kept:
            writer.write(b"in")
            assert await reader.readexactly(2) == b"in"
        surplus, surplus_writer = await dial(port)
        assert await surplus.read(-1) == b""
        await hang_up(surplus_writer)
        for reader, writer in kept:
            writer.write(b"on")
            assert await reader.readexactly(2) == b"on"
            await hang_up(writer)


async def test_a_place_that_was_left_is_free_again(path: str) -> None:
    async with await asyncio.start_unix_server(echo, path), relayed(path, connections=1) as port:
        for turn in range(5):
            assert await asks(port, b"%d" % turn) == b"%d" % turn
