"""One run's door: the listener is the identity; what the run may use and what dies with it are kept here."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from app.door.answers import Refusal
from app.door.exchange import Pool
from app.door.limits import DIAL_SECONDS, Allowance, Caps
from app.door.log import log
from app.door.sockets import Mark, bind_unix, mark_of, remove, remove_own
from app.door.upstreams import MODEL_HOSTS, Upstream
from app.door.wire import Wire, WireError

RUNS = Path("runs")
SOCKET = "door.sock"
BACKLOG = 256
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class RunError(ValueError):
    """A run that cannot be opened; the text says why."""


def check_run_id(value: object) -> str:
    """A run id that is also a safe folder name. Raises RunError."""
    if not isinstance(value, str) or _RUN.fullmatch(value) is None:
        raise RunError("run is 1 to 64 letters, digits, - and _")
    return value


class RunDoor:
    """The open door of one run."""

    def __init__(self, run: str, upstreams: Mapping[str, Upstream], uids: frozenset[int], caps: Caps) -> None:
        self.run = run
        self.upstreams = dict(upstreams)
        self.peer_uids = uids
        self.allowance = Allowance(caps)
        self.settling: set[asyncio.Future[None]] = set()
        self.pools: dict[Upstream, Pool] = {}
        self.own: frozenset[str] = frozenset()  # where people reach Helm itself, host:port
        self._wires: set[Wire] = set()
        self._outward: set[Wire] = set()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._mark: Mark | None = None

    async def listen(self, serve: Callable[[RunDoor, Wire], asyncio.Task[None]]) -> None:
        """Bind the run's socket; what an earlier door left in its place is replaced. Raises RunError."""

        def made(wire: Wire) -> None:
            if self._admit(wire):
                self.track(wire)
                task = serve(self, wire)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                task.add_done_callback(lambda _: self._dismiss(wire))

        path = _prepare(self.run)
        loop = asyncio.get_running_loop()
        try:
            sock = bind_unix(path, 0o666)
            self._mark = mark_of(path)
            self._server = await loop.create_unix_server(lambda: Wire(made), sock=sock, backlog=BACKLOG)
        except OSError as error:
            raise RunError(f"the run's socket cannot be made: {error.strerror}") from None

    def track(self, wire: Wire) -> None:
        """This connection dies with the run."""
        self._wires.add(wire)

    def track_outward(self, wire: Wire) -> None:
        """This connection leads outside: it dies with the run, and when that is frozen. Raises Refusal when it is."""
        if self.frozen:
            wire.abort()
            raise frozen()
        self.track(wire)
        self._outward.add(wire)

    def untrack(self, wire: Wire) -> None:
        """This connection has ended."""
        self._wires.discard(wire)
        self._outward.discard(wire)

    @property
    def frozen(self) -> bool:
        """Whether nothing may leave this run."""
        return not self._thawed.is_set()

    def freeze(self) -> None:
        """From now on nothing leaves: what leads outside is cut, new connections are refused, model calls wait."""
        self._thawed.clear()
        for wire in list(self._outward):
            wire.abort()
        for pool in self.pools.values():
            pool.close()
        self.pools.clear()

    def thaw(self) -> None:
        """Let things leave again, model calls that wait first."""
        self._thawed.set()

    async def thawed(self) -> None:
        """Return once the run is not frozen."""
        await self._thawed.wait()

    def pool(self, upstream: Upstream, dial: Callable[[], Pool]) -> Pool:
        """The pool of connections to an upstream; a run never shares a connection with another."""
        if upstream not in self.pools:
            self.pools[upstream] = dial()
        return self.pools[upstream]

    def change(self, upstreams: Mapping[str, Upstream], uids: frozenset[int]) -> None:
        """Take over new settings; pools to upstreams that are gone are closed."""
        self.upstreams, self.peer_uids = dict(upstreams), uids
        for upstream in [known for known in self.pools if known not in upstreams.values()]:
            self.pools.pop(upstream).close()

    def is_model_host(self, host: str) -> bool:
        """Whether a name belongs to a provider: the model proxy is the only way there."""
        return host in MODEL_HOSTS or any(upstream.host == host for upstream in self.upstreams.values())

    def is_model_address(self, address: str, port: int) -> bool:
        """Whether a literal address is a provider's as the server commanded it."""
        return any((upstream.host, upstream.port) == (address, port) for upstream in self.upstreams.values())

    async def close(self) -> None:
        """Remove the listener and cut every connection."""
        if self._server is not None:
            self._server.close()
        remove_own(RUNS / self.run / SOCKET, self._mark)
        for wire in list(self._wires):
            wire.abort()
        for task in list(self._tasks):
            task.cancel()
        for pool in self.pools.values():
            pool.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DIAL_SECONDS)

    def _admit(self, wire: Wire) -> bool:
        try:
            pid, uid, _ = struct.unpack("3i", wire.peer_credentials())
        except (OSError, WireError):
            wire.abort()
            return False
        if self.peer_uids and uid not in self.peer_uids:
            log("peer.refused", run=self.run, uid=uid, pid=pid)
            wire.abort()
            return False
        if not self.allowance.admit():
            log("connection.refused", run=self.run, open=self.allowance.connections)
            wire.abort()
            return False
        return True

    def _dismiss(self, wire: Wire) -> None:
        self.untrack(wire)
        self.allowance.dismiss()


def frozen() -> Refusal:
    """Why nothing leaves a frozen run."""
    return Refusal(403, "A person froze this run; nothing leaves it until that is lifted.", "FROZEN")


def forget_folder(run: str) -> None:
    """Remove what is left of a run's folder, when nothing else is in it."""
    remove(RUNS / run / SOCKET)
    try:
        (RUNS / run).rmdir()
    except OSError:
        return


def _prepare(run: str) -> Path:
    folder = RUNS / run
    for path in (RUNS, folder):
        path.mkdir(mode=0o711, exist_ok=True)
        facts = path.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
            raise RunError(f"{path} is not a folder of the door's own")
        path.chmod(0o711)
    return folder / SOCKET
