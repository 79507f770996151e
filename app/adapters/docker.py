"""The only place that touches the Docker engine, with a closed list of calls: the socket is root on the host.

A container starts only when the engine confirmed, after creating it, every limit that was asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.utils import kwargs_from_env
from requests.exceptions import RequestException

from app.adapters.container_spec import (
    LABEL_HOME,
    LABEL_LEASE,
    LABEL_RUN,
    ContainerSpec,
    container_name,
    container_request,
    differences,
    home_label,
)
from app.domain.errors import EngineUnavailable
from docker import APIClient

T = TypeVar("T")
_SOCKET: Final = "unix:///var/run/docker.sock"
_CALL_S: Final = 30
_GONE_S: Final = 15.0
_THREADS: Final = 16
_LOG_BYTES: Final = 64 << 10
_AGAIN_S: Final = 1.0

EXITS: Final = {
    0: "ended",
    3: "the server refused its lease",
    4: "it lost the server",
    5: "its orders made no sense",
    6: "its runner failed",
    137: "killed",
    143: "stopped",
}
"""What the runner's exit codes mean (agent_image/runner.py)."""


class StillRunning(EngineUnavailable):
    """The engine did not confirm in time that a container is gone. Nothing may be told as stopped."""

    code = "STILL_RUNNING"


class BoundaryRefused(EngineUnavailable):
    """The engine made a container weaker than asked; it was removed before it ran."""

    code = "BOUNDARY_REFUSED"


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Whether runs can start; where not, why and what to do, in plain words."""

    available: bool
    version: str = ""
    reason: str = ""
    remedy: str = ""
    apparmor: bool = False


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a container ended. `code` is -1 when the engine no longer knows."""

    code: int
    oom_killed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Process:
    """One process that was killed with its container: its pid on the host and its command."""

    pid: int
    command: str


@dataclass(frozen=True, slots=True)
class Container:
    """One container of this `$HELM_HOME`; `state` is the engine's word (running, paused, exited, ...)."""

    id: str
    run: str
    lease: int
    state: str

    @property
    def live(self) -> bool:
        """Whether anything in it can still act (a paused one can, once it is thawed)."""
        return self.state in ("running", "paused", "restarting")


class Sandbox:
    """Containers of runs. Every method may raise EngineUnavailable with the remedy; none blocks the loop."""

    def __init__(self, home: Path, seccomp: Path, image: str = "helm-agent:latest") -> None:
        self._home = home_label(home)
        self._seccomp = seccomp
        self._image = image
        self._client: Any = None
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="docker")

    async def probe(self) -> EngineStatus:
        """Look at the engine, the host's ability to enforce limits, and the image. Never raises."""
        return await self._call(self._probe)

    async def start(self, spec: ContainerSpec) -> str:
        """Create, check and start a run's container; its id. Raises BoundaryRefused where it would come out weaker."""
        return await self._call(lambda: self._start(spec))

    async def wait(self, run: str) -> ExitStatus:
        """Wait until the container has ended, for days if need be, across restarts of the engine."""
        while True:
            try:
                return await _in_daemon(lambda: self._wait(run))
            except EngineUnavailable:
                await asyncio.sleep(_AGAIN_S)

    async def kill(self, run: str) -> tuple[Process, ...]:
        """End everything in the container, and return only when it is gone: what was killed. Raises StillRunning."""
        return await self._call(lambda: self._kill(run))

    async def pause(self, run: str) -> None:
        """Let every process of the run stand still; one that stands still already, or has ended, is left as it is."""
        await self._call(lambda: self._turn("pause", run, "already paused"))

    async def unpause(self, run: str) -> None:
        """Let them go on; harmless when they do."""
        await self._call(lambda: self._turn("unpause", run, "not paused"))

    async def list(self) -> tuple[Container, ...]:
        """Every container of this `$HELM_HOME`, ended ones too: what a restarted server reconciles with its log."""
        return await self._call(self._list)

    async def remove(self, run: str) -> None:
        """Forget an ended container; one that is not there is forgotten already. Never ends a live one."""
        await self._call(lambda: self._remove(run))

    async def logs(self, run: str, lines: int = 100) -> str:
        """The end of what the runner wrote, at most 64 KiB; empty when there is no such container."""
        return await self._call(lambda: self._logs(run, lines))

    def close(self) -> None:
        """Let go of the engine; containers go on."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            if self._client is not None:
                self._client.close()

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _translated(work))

    def _engine(self) -> Any:
        with self._lock:
            if self._client is None:
                where = kwargs_from_env()
                _knock(str(where.get("base_url", _SOCKET)))
                self._client = APIClient(version="auto", timeout=_CALL_S, **where)
            return self._client

    def _probe(self) -> EngineStatus:
        try:
            info = self._engine().info()
            self._engine().inspect_image(self._image)
        except ImageNotFound:
            return EngineStatus(False, reason=f"The agent image {self._image} is missing.", remedy="Run `make setup`.")
        except (DockerException, RequestException, OSError) as error:
            return _unreachable(error)
        version = str(info.get("ServerVersion", ""))
        options = [str(option) for option in info.get("SecurityOptions") or []]
        for weak, reason, remedy in _weaknesses(info, options):
            if weak:
                return EngineStatus(False, version, reason, remedy)
        return EngineStatus(True, version, apparmor=any("name=apparmor" in option for option in options))

    def _start(self, spec: ContainerSpec) -> str:
        status = self._probe()
        if not status.available:
            raise EngineUnavailable(f"{status.reason} {status.remedy}")
        engine, name = self._engine(), container_name(spec.run)
        asked = container_request(spec, self._home, self._seccomp.read_text(), apparmor=status.apparmor)
        created = engine.create_container_from_config(asked, name)
        try:
            wrong = differences(asked, engine.inspect_container(created["Id"])) + list(created.get("Warnings") or [])
            if wrong:
                raise BoundaryRefused(f"The engine does not enforce the boundary: {'; '.join(wrong)}.")
            engine.start(created["Id"])
        except BaseException:
            engine.remove_container(created["Id"], force=True)
            raise
        return str(created["Id"])

    def _wait(self, run: str) -> ExitStatus:
        name = container_name(run)

        def work() -> ExitStatus:
            try:
                code = int(self._engine().wait(name, timeout=None)["StatusCode"])
                state = self._engine().inspect_container(name)["State"]
            except NotFound:
                return ExitStatus(-1, False, "its container is gone")
            oom = bool(state.get("OOMKilled"))
            said = "out of memory" if oom and code else str(state.get("Error") or EXITS.get(code, f"exit code {code}"))
            return ExitStatus(code, oom, said)

        return _translated(work)()

    def _kill(self, run: str) -> tuple[Process, ...]:
        name = container_name(run)
        try:
            killed = self._processes(name)
            self._strike(name)
            self._engine().wait(name, timeout=_GONE_S, condition="not-running")
            state = self._engine().inspect_container(name)["State"]
        except NotFound:
            return ()
        except RequestException as error:
            raise StillRunning(
                "The engine does not confirm that the container is gone. Look at `docker ps`."
            ) from error
        if state.get("Running") or state.get("Paused"):
            raise StillRunning("The container is still running after a kill. Look at `docker ps`.")
        return killed

    def _turn(self, verb: Literal["pause", "unpause"], run: str, same: str) -> None:
        try:
            getattr(self._engine(), verb)(container_name(run))
        except NotFound:
            return
        except APIError as error:
            if not (_says(error, same) or _says(error, "is not running")):
                raise

    def _strike(self, name: str) -> None:
        """SIGKILL. A frozen process does not die of it before it is thawed, and then at once."""
        try:
            self._engine().kill(name, "SIGKILL")
        except APIError as error:
            if not _says(error, "paused"):
                if _says(error, "is not running"):
                    return
                raise
            self._engine().unpause(name)
            self._engine().kill(name, "SIGKILL")
            return
        if self._engine().inspect_container(name)["State"].get("Paused"):
            self._engine().unpause(name)

    def _processes(self, name: str) -> tuple[Process, ...]:
        try:
            table = self._engine().top(name, "-eo pid,args")
        except APIError as error:
            if error.status_code == 404:
                raise
            return ()  # not running any more, or a host without ps: killing does not depend on the list
        return tuple(Process(int(row[0]), str(row[1])[:200]) for row in table.get("Processes") or [])

    def _list(self) -> tuple[Container, ...]:
        found = self._engine().containers(all=True, filters={"label": [f"{LABEL_HOME}={self._home}"]})
        return tuple(
            Container(str(each["Id"]), each["Labels"][LABEL_RUN], int(each["Labels"][LABEL_LEASE]), str(each["State"]))
            for each in found
        )

    def _remove(self, run: str) -> None:
        try:
            self._engine().remove_container(container_name(run), v=True, force=False)
        except NotFound:
            return

    def _logs(self, run: str, lines: int) -> str:
        try:
            raw = self._engine().logs(container_name(run), stdout=True, stderr=True, tail=min(lines, 1000))
        except NotFound:
            return ""
        return bytes(raw)[-_LOG_BYTES:].decode("utf-8", "replace")


def _weaknesses(info: dict[str, Any], options: list[str]) -> list[tuple[bool, str, str]]:
    """What a host may lack: (whether it does, why that is refused, the remedy)."""
    rootless = any("name=rootless" in option for option in options)
    cgroup2 = "Start the host with cgroup v2 (systemd.unified_cgroup_hierarchy=1)."
    return [
        (
            rootless and str(info.get("CgroupVersion")) == "1",
            "Rootless Docker on cgroup v1 ignores memory limits.",
            f"{cgroup2} Or use Docker as root.",
        ),
        (str(info.get("CgroupDriver")) == "none", "Docker has no cgroup driver, so no limit holds.", cgroup2),
        (not info.get("MemoryLimit"), "The kernel does not enforce memory limits.", cgroup2),
        (not info.get("SwapLimit"), "The kernel does not limit swap.", f"{cgroup2} Or boot with swapaccount=1."),
        (not info.get("PidsLimit"), "The kernel does not limit processes.", cgroup2),
        (
            not info.get("CpuCfsQuota"),
            "The kernel does not limit CPU time.",
            "Use a kernel with CFS bandwidth control.",
        ),
        (
            not any("name=seccomp" in option for option in options),
            "Docker runs without seccomp.",
            "Use a Docker Engine and a kernel built with seccomp.",
        ),
    ]


def _unreachable(error: Exception) -> EngineStatus:
    said = str(error)
    if "Permission denied" in said or "PermissionError" in said:
        return EngineStatus(
            False,
            reason="This user may not use Docker.",
            remedy="Run Helm as root, or add the user to the group docker and sign in again.",
        )
    return EngineStatus(
        False, reason="Docker does not answer.", remedy="Run `make setup`, or start it: `systemctl start docker`."
    )


def _knock(base_url: str) -> None:
    """Raise OSError at once where nobody listens: the library would try for long, and leave its socket open."""
    if base_url.startswith(("unix://", "http+unix://")):
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_CALL_S)
            line.connect("/" + base_url.partition("://")[2].lstrip("/"))


def _says(error: APIError, words: str) -> bool:
    return words in str(error.explanation or error).lower()


def _translated(work: Callable[[], T]) -> Callable[[], T]:
    """The engine's many errors as our one, which names the remedy."""

    def run() -> T:
        try:
            return work()
        except APIError as error:
            raise EngineUnavailable(f"Docker refused: {str(error.explanation or error)[:300]}") from error
        except (DockerException, RequestException, OSError) as error:
            status = _unreachable(error)
            raise EngineUnavailable(f"{status.reason} {status.remedy}") from error

    return run


async def _in_daemon(work: Callable[[], T]) -> T:
    """Run in a thread that nobody joins: a wait may take days, and must not hold up the server's end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # T where there was no error

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  handed over to the waiting task, whatever it is
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="docker-wait", daemon=True).start()
    return await future
