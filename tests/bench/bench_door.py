"""What the door adds: latency and CPU per model request and per streamed chunk, beside the same calls made directly
and through Caddy as a plain proxy.

Run as `python -m tests.bench.bench_door`; under a minute; prints figures, asserts nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import Process
from pathlib import Path

import uvloop
from app.adapters.door_client import DoorUpstream
from app.adapters.door_process import DoorProcess

from tests.bench.kit import Report, cpu_of, ms, p50, p99, rss_of, run, us

REQUESTS = 1000
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
            if b"x-shape: " in head.lower():
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
    paced = b"x-shape: paced" in head.lower()
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


@dataclass
class Way:
    """One way to the same provider: directly, through the door, through a plain proxy."""

    name: str
    connect: Connect
    target: str
    pid: int | None = None
    rounds: list[tuple[float, float]] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)
    chunks: list[tuple[float, float]] = field(default_factory=list)
    chunk_spent: list[float] = field(default_factory=list)

    def cpu(self) -> float:
        return cpu_of(self.pid) if self.pid is not None else 0.0


async def ask(ways: list[Way], rounds: int) -> None:
    """Requests and streams on every way in turn."""
    for _ in range(rounds):
        for way in ways:
            before = way.cpu()
            times = await calls(way.connect, way.target, REQUESTS)
            way.spent.append((way.cpu() - before) / (REQUESTS + 50))
            way.rounds.append((p50(times), p99(times)))
        for way in ways:
            if "count_tokens" in way.target:
                continue
            before = way.cpu()
            times = await streams(way.connect, way.target)
            way.chunk_spent.append((way.cpu() - before) / max(1, len(times)))
            way.chunks.append((p50(times), p99(times)))


def best(found: list[tuple[float, float]]) -> tuple[float, float]:
    """The quietest round."""
    return min(found)


def told(report: Report, ways: list[Way]) -> None:
    """Tables and goals of requests and chunks."""
    direct, plain, reserved = ways[0], ways[1], ways[2]
    with report.table("model request through the door (best of the rounds), one client, no TLS", *_COLUMNS):
        for way in ways:
            half, tail = best(way.rounds)
            report.row(way.name, *_cells(half, tail, half - best(direct.rounds)[0], min(way.spent)))
    with report.table(f"streamed chunk, {STREAMS} streams x {round(1 / GAP)}/s", *_COLUMNS):
        for way in ways:
            if way.chunks:
                half, tail = best(way.chunks)
                report.row(way.name, *_cells(half, tail, half - best(direct.chunks)[0], min(way.chunk_spent)))
    for way, limit in ((plain, 0.0005), (reserved, 0.0015)):
        added = best(way.rounds)[0] - best(direct.rounds)[0]
        report.goal(
            f"{way.name}, added p50", f"< {ms(limit)} (the gateway answers at once here)", ms(added), added < limit
        )
    report.goal("door CPU per request", "<= 150 us", us(min(plain.spent)), min(plain.spent) <= 150e-6)
    added, cpu = best(reserved.chunks)[0] - best(direct.chunks)[0], min(reserved.chunk_spent)
    report.goal(
        "door, per chunk",
        "added p50 < 0.3 ms, <= 80 us CPU",
        f"{ms(added)}, {us(cpu)}",
        added < 0.0003 and cpu <= 80e-6,
    )


_COLUMNS = ("p50", "p99", "added p50", "CPU each")


def _cells(half: float, tail: float, added: float, spent: float) -> tuple[str, ...]:
    return ms(half), ms(tail), ms(added), us(spent) if spent else "-"


async def bulky(report: Report, by_door: Connect, bulk_directly: Connect, bulk_port: int, pid: int | None) -> None:
    """The egress tunnel: set-up and bytes per second."""
    opening = f"CONNECT bulk.test:{bulk_port} HTTP/1.1\r\nhost: bulk.test:{bulk_port}\r\n\r\n".encode()
    with report.table("egress tunnel", "p50", "p99", "MB/s", "CPU each"):
        before = cpu_of(pid)
        times = await tunnels(by_door, bulk_port, 300)
        report.row("set-up, door", ms(p50(times)), ms(p99(times)), "", us((cpu_of(pid) - before) / 300))
        rates = [(await bulk_rate(bulk_directly, b""), await bulk_rate(by_door, opening)) for _ in range(3)]
        direct, door = (max(rate) for rate in zip(*rates, strict=True))
        report.row("bulk, direct", "", "", f"{direct:.0f}")
        report.row(
            "bulk, door", "", "", f"{door:.0f}", note=f"{door / direct:.0%} of direct; door RSS {rss_of(pid):.0f} MiB"
        )
    found = f"set-up p50 {ms(p50(times))}, {door:.0f} MB/s"
    report.goal("egress tunnel", "set-up p50 < 1 ms, >= 250 MB/s", found, p50(times) < 0.001 and door >= 250)


@contextmanager
def caddy(home: Path, port: int) -> Iterator[tuple[int, int] | None]:
    """The distribution's Caddy as a plain proxy on one core: its port and its process; None where there is none."""
    if shutil.which("caddy") is None:
        yield None
        return
    mine = free_port()
    route = f"reverse_proxy 127.0.0.1:{port} {{\n flush_interval -1\n}}"
    text = f"{{\n admin off\n auto_https off\n}}\nhttp://:{mine} {{\n {route}\n}}\n"
    (home / "Caddyfile").write_text(text)
    words = ["caddy", "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"]
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "GOMAXPROCS": "1"}
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", mine)) == 0:
                    break
            time.sleep(0.05)
        yield mine, process.pid
    finally:
        process.kill()
        process.wait()


async def compared(report: Report, home: Path, port: int, bulk_port: int, proxy: tuple[int, int] | None) -> None:
    """Everything, on every way."""

    async def on_up() -> None:
        upstreams = {"anthropic": DoorUpstream(f"http://127.0.0.1:{port}", "anthropic")}
        await process.client.open("bench", upstreams)

    process = DoorProcess(home, on_up)
    await process.start()
    by_door = partial(asyncio.open_unix_connection, str(home / "door" / "runs" / "bench" / "door.sock"))
    ways = [
        Way("direct", partial(asyncio.open_connection, "127.0.0.1", port), "/v1/messages"),
        Way("door, without a reservation", by_door, "/anthropic/v1/messages/count_tokens", process.pid),
        Way("door, reserved and settled", by_door, "/anthropic/v1/messages", process.pid),
    ]
    if proxy is None:
        report.say("no Caddy here to stand beside the door")
    else:
        ways.append(
            Way(
                "Caddy, a plain proxy, one core",
                partial(asyncio.open_connection, "127.0.0.1", proxy[0]),
                "/v1/messages",
                proxy[1],
            )
        )
    with report.table("taking requests and streams on every way in turn"):
        await ask(ways, 1 if report.quick else 3)
    told(report, ways)
    before, began = cpu_of(process.pid), time.perf_counter()
    await one_stream(by_door, "/anthropic/v1/messages", "flood")
    took, spent = time.perf_counter() - began, cpu_of(process.pid) - before
    report.say(f"a flood of chunks through the door: {FLOOD / took:,.0f} chunks/s, {us(spent / FLOOD)} each")
    await bulky(report, by_door, partial(asyncio.open_connection, "127.0.0.1", bulk_port), bulk_port, process.pid)
    await process.stop()


def measure(report: Report) -> None:
    """Set up, measure, clean up."""
    with tempfile.TemporaryDirectory(prefix="hb-") as folder:
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
            with caddy(home, port) as proxy:
                uvloop.run(asyncio.wait_for(compared(report, home, port, bulk_port, proxy), 110))
        finally:
            other.terminate()
            other.join(5)


if __name__ == "__main__":
    run(measure)
