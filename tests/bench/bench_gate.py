"""What a verdict costs: in process, and end to end over HTTP with durable receipts, beside an empty handler of the same
server and beside the same path without policy, signature or fsync.

Run as `python -m tests.bench.bench_gate`; about a minute; prints figures, asserts nothing.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvloop
from litestar import Litestar, post

from app.adapters.listeners import listener, stopped, unix_socket, until_started
from app.adapters.sqlite import connection as sqlite_connection
from app.domain import chain as chain_module
from app.domain.policy import decide
from app.domain.verdict import Request, RunFacts
from app.gateway.app import create_gateway_app
from tests.house import LIBRARY, house

SECONDS = 2.5
CLIENTS = (1, 8, 64)
VARIANTS = ("empty", "full", "no policy", "no signature", "no fsync")
PAD = "x" * 850


@post("/empty", status_code=200)
async def empty(data: dict[str, Any]) -> dict[str, Any]:
    """Parses a body, answers a body: the floor of the framework."""
    return {"ok": True}


class NoSigner:
    """Signs nothing, for the figure of what signing costs."""

    def __init__(self, inner: Any) -> None:
        self.public, self.key_id = inner.public, inner.key_id

    def sign(self, message: bytes) -> bytes:
        return b"\0" * 64


def _serve(variant: str, folder: str, ready: Connection) -> None:
    uvloop.install()
    asyncio.run(_serving(variant, Path(folder), ready))


async def _serving(variant: str, folder: Path, ready: Connection) -> None:
    if variant == "no fsync":
        sqlite_connection._PRAGMAS = tuple(  # type: ignore[misc]
            ("synchronous", "OFF", 0) if name == "synchronous" else (name, value, expected)
            for name, value, expected in sqlite_connection._PRAGMAS
        )
    library = LIBRARY
    if variant == "no policy":
        bundle = LIBRARY.bundles_by_name["default"]
        first = tuple(rule for rule in bundle.rules if rule.id == "read")
        library = replace(LIBRARY, bundles_by_name={"default": replace(bundle, rules=first)})
    async with house(folder, check=False, library=library) as world:
        if variant == "no signature":
            chain: chain_module.Chain = world.ledger._chain
            chain.signer = NoSigner(chain.signer)  # type: ignore[assignment]
        run = await world.start()
        app: Litestar = create_gateway_app(world.services)
        app.register(empty)
        server = listener(app)
        task = asyncio.create_task(server.serve(sockets=[unix_socket(folder / "gate.sock", 0o600)]))
        await until_started(server, task)
        gc.collect()
        gc.freeze()
        ready.send(run.id)
        await asyncio.to_thread(ready.recv)
        ready.send(time.process_time())
        await stopped(server, task)


async def _client(
    path: str, run: str, target: str, make: Callable[[], bytes], until: float, times: list[float]
) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    head = f"POST {target} HTTP/1.1\r\nhost: helm\r\nx-helm-run: {run}\r\ncontent-type: application/json\r\n"
    while time.perf_counter() < until:
        body = make()
        began = time.perf_counter()
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        at = answer.lower().index(b"content-length:")
        await reader.readexactly(int(answer[at + 15 : answer.index(b"\r", at)]))
        if b" 200 " not in answer[:16]:
            raise RuntimeError(answer[:200].decode())
        times.append(time.perf_counter() - began)
    writer.close()


async def _load(path: str, run: str, target: str, clients: int) -> list[float]:
    counter = iter(range(10**9))

    def make() -> bytes:
        n = next(counter)
        hook = {"tool_name": "Read", "tool_input": {"file_path": f"/workspace/{n}", "note": PAD}}
        return json.dumps(hook | {"tool_use_id": f"t{clients}-{n}", "cwd": "/workspace"}).encode()

    times: list[float] = []
    until = time.perf_counter() + SECONDS
    await asyncio.gather(*[_client(path, run, target, make, until, times) for _ in range(clients)])
    return sorted(times)


def _row(name: str, clients: int, times: list[float]) -> str:
    p50, p99 = times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3
    return f"{name:<14} {clients:>3} clients  p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  {len(times) / SECONDS:8.0f}/s"


def _end_to_end() -> None:
    print("verdict end to end: HTTP keep-alive, 1 KB arguments, intent + verdict + dispatch receipts, synchronous=FULL")
    context = get_context("spawn")
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=("full" if variant == "empty" else variant, folder, theirs))
            process.start()
            run = ours.recv()
            target = "/empty" if variant == "empty" else "/gate"
            for clients in CLIENTS:
                print(
                    _row(variant, clients, asyncio.run(_load(f"{folder}/gate.sock", run, target, clients))), flush=True
                )
            ours.send("stop")
            print(f"{'':<14} server CPU {ours.recv():.1f} s over the rows above")
            process.join(30)


def _in_process() -> None:
    bundle = LIBRARY.bundles_by_name["default"]
    args = {"file_path": "/workspace/a", "note": PAD}
    request = Request(tool="Read", args=args, run=RunFacts("r"), now="2026-11-21T00:00:00.000Z")
    shell = replace(request, tool="Bash", args={"command": "python3 -m pytest -q && git status", "note": PAD})
    for name, asked in (("Read", request), ("Bash (parsed)", shell)):
        decide(bundle, asked)
        times = []
        for _ in range(3_000):
            began = time.perf_counter()
            decide(bundle, asked)
            times.append(time.perf_counter() - began)
        times.sort()
        print(f"verdict in process, {name:<14} p50 {times[1500] * 1e6:7.1f} us  p99 {times[2970] * 1e6:7.1f} us")


def main() -> None:
    """Print every figure."""
    print(f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}")
    _in_process()
    _end_to_end()


if __name__ == "__main__":
    main()
