"""What the door adds: latency and CPU per model request and per streamed chunk, beside the same calls made directly.

Run as `python -m tests.bench.bench_door`; under 30 seconds; prints figures, asserts nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing import Process
from pathlib import Path

import uvloop
from app.adapters.door_client import DoorUpstream
from app.adapters.door_process import DoorProcess

REQUESTS = 1500
STREAMS, CHUNKS, GAP = 20, 50, 0.02
FLOOD = 20_000
BULK = 200 * 1024 * 1024
BODY = json.dumps(
    {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 100}]}]}
).encode()
DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"token %016d"}}\n\n'
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def read_head(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().find(b"content-length:")
    return head, int(head[at + 15 : head.index(b"\r", at)]) if at >= 0 else 0


async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Gateway and provider in one: verdicts, whole answers, paced streams, floods, and bulk."""
    try:
        while True:
            head, length = await read_head(reader)
            await reader.readexactly(length)
            if b"x-shape: " in head:
                await stream(head, writer)
                continue
            body = b'{"id":"m","usage":{"input_tokens":1,"output_tokens":2},"pad":"%b"}' % (b"x" * 170)
            if head.startswith(b"POST /door/egress "):
                body = b'{"verdict":"ALLOW","ticket":"t","flags":["raw"],"addresses":["127.0.0.1"]}'
            elif head.startswith(b"POST /door/"):
                body = b'{"verdict":"ALLOW","ticket":"t"}'
            kind = b"content-type: application/json\r\n"
            writer.write(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (kind, len(body), body))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def stream(head: bytes, writer: asyncio.StreamWriter) -> None:
    paced = b"x-shape: paced" in head
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(CHUNKS if paced else FLOOD):
        data = DELTA % time.monotonic_ns()
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        if paced:
            await asyncio.sleep(GAP)
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def bulk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if not await reader.read(1):
        writer.close()
        return
    block = b"x" * 262_144
    for _ in range(BULK // len(block)):
        writer.write(block)
        await writer.drain()
    writer.close()


def serve_far(home: str, port: int, bulk_port: int) -> None:
    async def main() -> None:
        await asyncio.start_unix_server(far, f"{home}/door/gateway.sock")
        os.chmod(f"{home}/door/gateway.sock", 0o666)  # noqa: S103  as the server binds it
        await asyncio.start_server(bulk, "127.0.0.1", bulk_port)
        server = await asyncio.start_server(far, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(main())


def cpu_of(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_of(pid: int | None) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def line(name: str, times: list[float], extra: str = "") -> None:
    times.sort()
    p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
    print(f"{name:<44} p50 {p50 * 1e3:8.3f} ms   p99 {p99 * 1e3:8.3f} ms   {extra}")


def request(target: str, *fields: str) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "host: x", f"content-length: {len(BODY)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + BODY


async def calls(connect: Connect, target: str, count: int) -> list[float]:
    reader, writer = await connect()
    data, times = request(target), []
    for turn in range(count + 50):
        began = time.perf_counter()
        writer.write(data)
        _, length = await read_head(reader)
        await reader.readexactly(length)
        if turn >= 50:
            times.append(time.perf_counter() - began)
    writer.close()
    return times


async def one_stream(connect: Connect, target: str, shape: str) -> list[float]:
    reader, writer = await connect()
    writer.write(request(target, f"x-shape: {shape}"))
    await reader.readuntil(b"\r\n\r\n")
    times: list[float] = []
    held = b""
    while b"\r\n0\r\n\r\n" not in held[-16:]:
        held += await reader.read(65536)
        now = time.monotonic_ns()
        *whole, held = held.split(b"token ")
        times.extend((now - int(part[:16])) / 1e9 for part in [*whole[1:], held] if part[:16].isdigit())
        held = held[-16:] if held[:16].isdigit() else b"token " + held
    writer.close()
    return times


async def streams(connect: Connect, target: str) -> list[float]:
    found = await asyncio.gather(*(one_stream(connect, target, "paced") for _ in range(STREAMS)))
    return [value for times in found for value in times]


async def tunnels(connect: Connect, port: int, count: int) -> list[float]:
    times = []
    data = f"CONNECT bulk.test:{port} HTTP/1.1\r\nhost: bulk.test:{port}\r\n\r\n".encode()
    for _ in range(count):
        reader, writer = await connect()
        began = time.perf_counter()
        writer.write(data)
        await reader.readuntil(b"\r\n\r\n")
        times.append(time.perf_counter() - began)
        writer.close()
    return times


async def bulk_rate(connect: Connect, opening: bytes) -> float:
    reader, writer = await connect()
    if opening:
        writer.write(opening)
        await reader.readuntil(b"\r\n\r\n")
    writer.write(b"x")
    began, size = time.perf_counter(), 0
    while data := await reader.read(1 << 20):
        size += len(data)
    writer.close()
    return size / (time.perf_counter() - began) / 1e6


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert isinstance(port, int)
        return port


async def measure(home: Path, port: int, bulk_port: int) -> None:
    async def on_up() -> None:
        upstreams = {"anthropic": DoorUpstream(f"http://127.0.0.1:{port}", "anthropic")}
        await process.client.open("bench", upstreams)

    process = DoorProcess(home, on_up)
    await process.start()
    door_socket = str(home / "door" / "runs" / "bench" / "door.sock")

    async def by_door() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(door_socket)

    async def directly() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port)

    async def bulk_directly() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", bulk_port)

    print(f"{os.cpu_count()} cores, {sys.version.split()[0]}, uvloop, one client, no TLS")
    line("request, direct", await calls(directly, "/v1/messages", REQUESTS))
    for name, path in (
        ("without a reservation", "/v1/messages/count_tokens"),
        ("reserved and settled", "/v1/messages"),
    ):
        before = cpu_of(process.pid)
        times = await calls(by_door, f"/anthropic{path}", REQUESTS)
        spent = (cpu_of(process.pid) - before) / (REQUESTS + 50) * 1e6
        line(f"request, door, {name}", times, f"door CPU {spent:6.0f} us/request")
    line(f"chunk, direct, {STREAMS} streams x {round(1 / GAP)}/s", await streams(directly, "/v1/messages"))
    before = cpu_of(process.pid)
    times = await streams(by_door, "/anthropic/v1/messages")
    spent = (cpu_of(process.pid) - before) / max(1, len(times)) * 1e6
    line(f"chunk, door, {STREAMS} streams x {round(1 / GAP)}/s", times, f"door CPU {spent:6.0f} us/chunk")
    before, began = cpu_of(process.pid), time.perf_counter()
    await one_stream(by_door, "/anthropic/v1/messages", "flood")
    took, spent = time.perf_counter() - began, cpu_of(process.pid) - before
    print(f"{'flood, door':<44} {FLOOD / took:8.0f} chunks/s   door CPU {spent / FLOOD * 1e6:6.0f} us/chunk")
    before = cpu_of(process.pid)
    times = await tunnels(by_door, bulk_port, 300)
    line("tunnel set-up, door", times, f"door CPU {(cpu_of(process.pid) - before) / 300 * 1e6:6.0f} us/tunnel")
    opening = f"CONNECT bulk.test:{bulk_port} HTTP/1.1\r\nhost: bulk.test:{bulk_port}\r\n\r\n".encode()
    print(f"{'bulk, direct':<44} {await bulk_rate(bulk_directly, b''):8.0f} MB/s")
    print(f"{'bulk, door':<44} {await bulk_rate(by_door, opening):8.0f} MB/s")
    print(f"{'door RSS':<44} {rss_of(process.pid):8.0f} MiB")
    await process.stop()


def main() -> None:
    """Set up, measure, clean up."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for part in ("keys", "keys/providers", "door"):
            (home / part).mkdir()
        key = home / "keys" / "providers" / "anthropic"
        key.write_text("sk-ant-bench-0123456789\n")
        key.chmod(0o600)
        port, bulk_port = free_port(), free_port()
        other = Process(target=serve_far, args=(folder, port, bulk_port), daemon=True)
        other.start()
        try:
            while not (home / "door" / "gateway.sock").exists():
                time.sleep(0.01)
            uvloop.run(asyncio.wait_for(measure(home, port, bulk_port), 60))
        finally:
            other.terminate()
            other.join(5)


if __name__ == "__main__":
    main()
