"""Many subscribers of the live socket in one cheap process: raw sockets, frames counted and timed, never parsed."""

from __future__ import annotations

import base64
import os
import re
import select
import socket
import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final
from urllib.parse import urlsplit

import httpx

from tests.bench.stages import Server

_EACH: Final = 90  # tickets that one session may hold unused
_END: Final = 96  # the frame's last bytes hold the number of its last event
_AFTER: Final = re.compile(rb'"after":(-?\d+),"head"')
Told = list[tuple[int, int]]  # (monotonic ns at which a frame was whole, number of its last event)


@dataclass
class Line:
    """One subscriber: where it stands in the stream of frames."""

    sock: socket.socket
    told: Told
    left: int = 0  # bytes of the frame that have not come yet
    end: bytes = b""
    head: bytes = b""  # of a header that came in two parts

    def take(self, data: memoryview, now: int) -> None:
        """Walk over the frames in these bytes."""
        at = 0
        while at < len(data):
            if not self.left:
                at = self._header(data, at)
                continue
            upto = min(len(data), at + self.left)
            self.end = (self.end + bytes(data[max(at, upto - _END) : upto]))[-_END:]
            self.left -= upto - at
            at = upto
            if not self.left and (found := _AFTER.search(self.end)) is not None:
                self.told.append((now, int(found[1])))

    def _header(self, data: memoryview, at: int) -> int:
        head = self.head + bytes(data[at : at + 10 - len(self.head)])
        size = {126: 4, 127: 10}.get(head[1] & 127, 2) if len(head) > 1 else 2
        if len(head) < size:
            self.head = head
            return len(data)
        short = head[1] & 127
        self.left = short if size == 2 else int.from_bytes(head[2:size], "big")
        at += size - len(self.head)
        self.head, self.end = b"", b""
        return at


def opened(url: str) -> socket.socket:
    """A socket that has asked for the live stream and was let in."""
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port), 10)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nhost: {parts.netloc}\r\nupgrade: websocket\r\n"
        f"connection: Upgrade\r\nsec-websocket-key: {key}\r\nsec-websocket-version: 13\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    if b" 101 " not in head[:16]:
        raise ConnectionError(head[:200].decode("latin-1"))
    sock.setblocking(False)
    return sock


def _watch(urls: list[str], deaf: int, pipe: Connection) -> None:
    """Read until told to stop; the first `deaf` of the sockets are never read at all."""
    lines = {sock.fileno(): Line(sock, []) for sock in map(opened, urls)}
    waiting = select.epoll()
    for number in list(lines)[deaf:]:
        waiting.register(number, select.EPOLLIN)
    pipe.send(True)
    room = memoryview(bytearray(1 << 18))
    while not pipe.poll():
        for number, _ in waiting.poll(0.2):
            line = lines[number]
            try:
                size = line.sock.recv_into(room)
            except BlockingIOError:
                continue
            if not size:
                waiting.unregister(number)
                continue
            line.take(room[:size], time.monotonic_ns())
    pipe.send([line.told for line in list(lines.values())[deaf:]])


def _urls(server: Server, count: int) -> list[str]:
    """Where subscribers connect to, each with a ticket of its own, from the log's head on."""
    headers = {"authorization": server.ask("bearer")}
    with httpx.Client(base_url=server.base, headers=headers, trust_env=False) as client:
        after = client.get("/api/v1/log").json()["head"]
        tickets = [client.post("/live/ticket").json()["ticket"] for _ in range(count)]
    return [f"{server.base}/live?ticket={ticket}&after={after}&as=json" for ticket in tickets]


class Watchers:
    """Subscribers in a process of their own; `stop` says what each of them was told."""

    def __init__(self, server: Server, count: int, *, deaf: int = 0) -> None:
        urls = []
        for start in range(0, count, _EACH):
            urls += _urls(server, min(_EACH, count - start))
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_watch, args=(urls, deaf, theirs))
        self._process.start()
        self.pid = self._process.pid or 0

    def __enter__(self) -> Watchers:
        self._pipe.recv()
        return self

    def stop(self) -> list[Told]:
        """End them all."""
        self._pipe.send("stop")
        told: list[Told] = self._pipe.recv()
        self._process.join(10)
        return told

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join(5)
