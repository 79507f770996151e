"""Keeps the door running: started in its folder, as its own user where the server is root, and again when it dies.

The door remembers no run, so `on_up` is awaited after every start: the server opens its live runs again there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from app.adapters.door_client import SOCKET, DoorClient, DoorError, DoorUnreachable

DOOR_UID = 10002
START_SECONDS = 20.0
STOP_SECONDS = 8.0
STEADY_SECONDS = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
_PASSED_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "HELM_LOG")

logger = logging.getLogger("helm.door")


class DoorProcess:
    """The supervised door of one `$HELM_HOME`."""

    def __init__(self, home: Path, on_up: Callable[[], Awaitable[None]], uid: int = DOOR_UID) -> None:
        self.folder = home / "door"
        self.client = DoorClient(self.folder)
        self.starts = 0
        self._keys = home / "keys" / "providers"
        self._on_up = on_up
        self._uid = uid if os.geteuid() == 0 else None
        self._process: asyncio.subprocess.Process | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._is_up = asyncio.Event()
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The running door's process id."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def up(self) -> bool:
        """Whether the door answers and `on_up` has been awaited since its last start."""
        return self._is_up.is_set()

    async def start(self) -> None:
        """Start the door and wait until it is up. Raises DoorUnreachable when it does not come up in time."""
        prepare_folders(self.folder, self._keys, self._uid)
        # A door that was killed leaves its socket; it would look like a door that does not answer.
        (self.folder / SOCKET).unlink(missing_ok=True)
        self._stopping = False
        self._supervision = asyncio.get_running_loop().create_task(self._supervise())
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._is_up.wait()
        except TimeoutError:
            await self.stop()
            raise DoorUnreachable("the door did not start; its log lines on stderr say why") from None

    async def stop(self) -> None:
        """End the door and its supervision; nothing leaves any run after this."""
        self._stopping = True
        self._is_up.clear()
        supervision, self._supervision = self._supervision, None
        if supervision is not None:
            supervision.cancel()
            await asyncio.gather(supervision, return_exceptions=True)
        await self._end_process()

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while not self._stopping:
            began = loop.time()
            try:
                await self._live()
            except Exception:  # supervisor: it outlives every fault of what it supervises; nothing leaves without it
                logger.exception("the door failed")
                await self._end_process()
            self._is_up.clear()
            pause = FIRST_PAUSE if loop.time() - began > STEADY_SECONDS else min(LONGEST_PAUSE, pause * 2)
            await asyncio.sleep(pause)

    async def _live(self) -> None:
        process = await self._spawn()
        await self._until_answering(process)
        await self._on_up()
        self._is_up.set()
        code = await process.wait()
        logger.warning("the door ended with code %s", code)

    async def _spawn(self) -> asyncio.subprocess.Process:
        keys = os.open(self._keys, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(keys),
                cwd=self.folder,
                env=_environment(),
                pass_fds=(keys,),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(keys)
        self.starts += 1
        return self._process

    def _command(self, keys: int) -> list[str]:
        # -P: the folder that it starts in belongs to the door's user and must never be a place to import from.
        command = [sys.executable, "-P", "-m", "app.door", "--keys-fd", str(keys), "--parent", str(os.getpid())]
        return command if self._uid is None else [*command, "--uid", str(self._uid), "--gid", str(self._uid)]

    async def _until_answering(self, process: asyncio.subprocess.Process) -> None:
        async with asyncio.timeout(START_SECONDS):
            while process.returncode is None:
                try:
                    await self.client.ping()
                    return
                except DoorUnreachable:
                    await asyncio.sleep(0.02)
        raise DoorError(f"the door ended at once with code {process.returncode}")

    async def _end_process(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                process.send_signal(number)
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
                return
            except ProcessLookupError:
                return
            except TimeoutError:
                continue


def prepare_folders(folder: Path, keys: Path, uid: int | None) -> None:
    """Make the door's folder and the keys' folder, and give them (and the key files) to the door's user."""
    for path, mode in ((folder, 0o711), (keys.parent, 0o700), (keys, 0o700)):
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        path.chmod(mode)
    if uid is None:
        return
    os.chown(folder, uid, uid)
    os.chown(keys, uid, uid)
    for path in keys.iterdir():
        _hand_over(path, uid)


def _hand_over(path: Path, uid: int) -> None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        facts = os.fstat(handle)
        # A second name of the file could be anywhere: it is not handed over.
        if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1:
            os.fchmod(handle, 0o600)
            os.fchown(handle, uid, uid)
    finally:
        os.close(handle)


def _environment() -> Mapping[str, str]:
    passed = {name: os.environ[name] for name in _PASSED_ENVIRONMENT if name in os.environ}
    # parents[2] of this file is the folder that holds the package: adapters > app > there.
    # Names are resolved in libuv's threads; four of them could be held by one run's slow names.
    own = {"UV_THREADPOOL_SIZE": "16", "PYTHONNOUSERSITE": "1"}
    return {**passed, **own, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
