"""The server's commands: one JSON object per line on `control.sock`, one answer per line, nothing kept on disk."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from app import __version__
from app.domain.streams import list_of, parse_object
from app.door.connection import serve_connection
from app.door.house import House
from app.door.limits import FOREVER
from app.door.log import log
from app.door.run_door import RunDoor, RunError, check_run_id, forget_folder
from app.door.sockets import Mark, bind_unix, mark_of, remove_own
from app.door.upstreams import UpstreamError, parse_upstreams
from app.door.wire import Wire, WireError

SOCKET = Path("control.sock")
MAX_LINE = 256 * 1024

Answer = Mapping[str, object]


class Control:
    """Opens and closes the runs' doors as the server says."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._runs: dict[str, RunDoor] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._mark: Mark | None = None

    async def listen(self) -> None:
        """Bind the command socket in the working directory."""

        def made(wire: Wire) -> None:
            task = asyncio.get_running_loop().create_task(self._serve(wire))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        sock = bind_unix(SOCKET, 0o600)
        self._mark = mark_of(SOCKET)
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: Wire(made), sock=sock)

    async def close(self) -> None:
        """Stop accepting, cut everything, remove the sockets; the runs' folders stay for the next door."""
        if self._server is not None:
            self._server.close()
        remove_own(SOCKET, self._mark)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*(door.close() for door in self._runs.values()))
        self._runs.clear()

    async def obey(self, command: Answer) -> Answer:
        """Carry one command out."""
        try:
            async with self._turn:
                return {"ok": True, **await self._run(command)}
        except (RunError, UpstreamError) as error:
            return {"ok": False, "error": str(error)}

    async def _run(self, command: Answer) -> Answer:
        match command.get("op"):
            case "ping":
                return {"version": __version__, "runs": sorted(self._runs)}
            case "open":
                return await self._open(command)
            case "close":
                return await self._close(check_run_id(command.get("run")))
            case "freeze" | "thaw":
                return self._still(check_run_id(command.get("run")), command["op"] == "freeze")
            case "keys":
                problems = self._house.keys.load()
                return {"keys": self._house.keys.names(), "problems": problems}
            case _:
                raise RunError("op is ping, open, close, freeze, thaw or keys")

    async def _open(self, command: Answer) -> Answer:
        run = check_run_id(command.get("run"))
        upstreams = parse_upstreams(command.get("upstreams", {}))
        uids = _uids(command.get("peer_uids", []))
        own = _places(command.get("own", []))
        door = self._runs.get(run)
        if door is not None:
            door.change(upstreams, uids)
        else:
            door = RunDoor(run, upstreams, uids, self._house.caps)
        door.own = own
        # Before it listens: a door that comes back must not be open for a moment that was forbidden.
        self._hold(door, command.get("frozen") is True)
        if run not in self._runs:
            await door.listen(self._serve_run)
            self._runs[run] = door
            log("run.opened", run=run)
        return {}

    def _still(self, run: str, frozen: bool) -> Answer:
        door = self._runs.get(run)
        if door is not None:
            self._hold(door, frozen)
        return {}

    @staticmethod
    def _hold(door: RunDoor, frozen: bool) -> None:
        if frozen == door.frozen:
            return
        door.freeze() if frozen else door.thaw()
        log("run.frozen" if frozen else "run.thawed", run=door.run)

    async def _close(self, run: str) -> Answer:
        door = self._runs.pop(run, None)
        if door is not None:
            await door.close()
            log("run.closed", run=run)
        forget_folder(run)
        return {}

    def _serve_run(self, run: RunDoor, wire: Wire) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(serve_connection(self._house, run, wire))

    async def _serve(self, wire: Wire) -> None:
        try:
            _, uid, _ = struct.unpack("3i", wire.peer_credentials())
            if uid not in (0, os.geteuid()):
                log("control.refused", uid=uid)
                return
            while (line := await _read_line(wire)) is not None:
                command = parse_object(line)
                answer = {"ok": False, "error": "not a JSON object"} if command is None else await self.obey(command)
                wire.send(json.dumps(answer).encode() + b"\n")
        except (WireError, OSError) as error:
            log("control.cut", error=str(error))
        finally:
            wire.close()


async def _read_line(wire: Wire) -> bytes | None:
    seen = 0
    while True:
        end = wire.buffer.find(b"\n", seen, MAX_LINE)
        if end >= 0:
            return wire.take(end + 1)
        seen = len(wire.buffer)
        if seen >= MAX_LINE:
            raise WireError(f"a command line has at most {MAX_LINE} bytes")
        if not await wire.fill(FOREVER):
            return None


def _places(value: object) -> frozenset[str]:
    places = list_of(value)
    if not isinstance(value, list) or not all(isinstance(place, str) for place in places):
        raise RunError("own is a list of host:port")
    return frozenset(place for place in places if isinstance(place, str))


def _uids(value: object) -> frozenset[int]:
    uids = list_of(value)
    if not isinstance(value, list) or not all(isinstance(uid, int) and not isinstance(uid, bool) for uid in uids):
        raise RunError("peer_uids is a list of numbers")
    return frozenset(uid for uid in uids if isinstance(uid, int))
