"""The only place that knows every part: opens the log, starts the door, recovers, serves. Importing it runs nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog

from app import __version__
from app.adapters.clock import SystemClock, boot_id
from app.adapters.docker import Sandbox as DockerSandbox
from app.adapters.door import DoorControl
from app.adapters.door_process import DOOR_UID, DoorProcess, prepare_folders
from app.adapters.door_watch import DoorWatch
from app.adapters.file_marks import WorkspaceMarks
from app.adapters.keys import make_signer, read_secret, signer, write_secret
from app.adapters.listeners import listener, stopped, unix_socket, until_started
from app.adapters.passkeys import WebauthnPasskeys
from app.adapters.policies_live import LiveLibrary
from app.adapters.policy_folder import DiskPolicyFolder
from app.adapters.providers import DEMO_KEY_FILE, ProviderDirectory, set_key
from app.adapters.sandbox import Containers, Folders
from app.adapters.sqlite.connection import lock_file
from app.adapters.sqlite.reader import SqliteReader
from app.adapters.sqlite.store import SqliteStore
from app.adapters.tool_schemas import FOLDER, load_tools
from app.adapters.workspace import Workspaces
from app.demo import DEMO_KEY, World, start_world
from app.domain.canonical import b64, canonical_bytes
from app.domain.chain import Chain
from app.domain.content import KeyStatement
from app.domain.errors import BadConfig, EngineUnavailable, LogCorrupt, NotFound
from app.domain.events import Draft
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads_log import LogOpened
from app.domain.receipt import BadReceipt, parse, verify_signature
from app.domain.schema import SCHEMA_DIGEST
from app.domain.signing import Signer, Verifier, sha256
from app.gateway.app import create_gateway_app
from app.ports import RunFilter, Sandbox
from app.services.approvals import Approvals
from app.services.approver_keys import ApproverKeys
from app.services.bulk import BulkDesk
from app.services.egress import Egress
from app.services.evidence import EvidenceDesk
from app.services.freezer import Freezer
from app.services.gate import Gate
from app.services.grants import Grants
from app.services.health import Health
from app.services.ledger import Ledger
from app.services.modelcalls import ModelCalls
from app.services.notices import Notices
from app.services.parking import Parking
from app.services.policies import PolicyWatch
from app.services.policy_desk import PolicyDesk
from app.services.previews import Previews
from app.services.proofs import KeyProofs
from app.services.recovery import recover
from app.services.runs import Runs
from app.services.selfapprovals import SelfApprovals
from app.services.services import Services
from app.services.steering import SteeringDesk
from app.services.toolcalls import ToolCalls
from app.services.tools import ToolShelf
from app.settings import ROOT, Settings

log = structlog.get_logger("helm")

RECEIPT_KEY: Final = "receipt-0"
TAIL: Final = 256
_GATEWAY_CUT_S: Final = 1.0  # a held hook is cut, never answered: its runner asks the next server
_SWEEP_S: Final = 60.0
_DOOR_S: Final = 20.0


def prepare_home(settings: Settings) -> None:
    """Make the folders of an installation, each closed to others. Raises BadConfig."""
    try:
        for path in (settings.home, settings.keys, settings.home / "workspaces", settings.home / "sockets"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
    except OSError as error:
        raise BadConfig(
            f"{settings.home} cannot be used: {error.strerror}; set HELM_HOME to a folder of yours"
        ) from None


def software_digest() -> str:
    """One digest over this installation's own code, by file name and content."""
    whole = hashlib.sha256()
    for path in sorted((ROOT / "app").rglob("*.py")):
        whole.update(f"{path.relative_to(ROOT)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return "sha256:" + whole.hexdigest()


@dataclass(frozen=True, slots=True)
class OpenLog:
    """The log, ready to be written."""

    ledger: Ledger
    store: SqliteStore
    reader: SqliteReader
    signer: Signer


@asynccontextmanager
async def open_log(settings: Settings) -> AsyncIterator[OpenLog]:
    """Open the log of an installation as its only writer, making it when there is none.

    Raises BadConfig (second server, key missing), LedgerUnavailable, LogCorrupt.
    """
    lock = lock_file(settings.home / "helm.lock")
    try:
        store = SqliteStore(settings.database)
        reader = SqliteReader(settings.database)
        first = await reader.lines(after=-1, limit=1)
        key = _receipt_key(settings, fresh=not first)
        origin = parse(first[0][1]).log if first else f"helm.local/log/{os.urandom(16).hex()}"
        ledger = Ledger(Chain(origin, key, 0, boot_id()), store, reader, SystemClock())
        ledger.start()
        try:
            if first:
                _check_key(first[0][1], key)
                await _check_tail(reader, key)
            else:
                await ledger.record(SYSTEM_RUN, Draft(_log_opened(origin, key)))
            yield OpenLog(ledger, store, reader, key)
        finally:
            await ledger.close()
            reader.close()
            store.close()
    finally:
        os.close(lock)


def _receipt_key(settings: Settings, *, fresh: bool) -> Signer:
    try:
        return signer(settings.keys, RECEIPT_KEY)
    except NotFound:
        if fresh:
            return make_signer(settings.keys, RECEIPT_KEY)
        raise BadConfig(
            f"the log is there and its key {settings.keys / RECEIPT_KEY}.key is not; restore the key from your backup"
        ) from None


def _check_key(first_line: bytes, key: Signer) -> None:
    opened = parse(first_line).payload
    stated = {statement.public for statement in opened.keys} if isinstance(opened, LogOpened) else set()
    if b64(key.public) not in stated:
        raise BadConfig("the signing key is not the one that this log was opened with; restore the right one")


async def _check_tail(reader: SqliteReader, key: Signer) -> None:
    """Early warning: the newest receipts must still be what was signed. The whole log is `helm verify-log`'s work."""
    verifier = Verifier.of(key.public)
    for seq, line in await reader.lines(after=await reader.size() - 1 - TAIL, limit=TAIL):
        try:
            receipt = parse(line)
        except BadReceipt as error:
            raise LogCorrupt(f"receipt #{seq} cannot be read ({error.code}); run: helm verify-log") from None
        if not verify_signature(receipt, verifier):
            raise LogCorrupt(f"receipt #{seq} is not what was signed; run: helm verify-log")


def _log_opened(origin: str, key: Signer) -> LogOpened:
    keys = (KeyStatement("receipt", b64(key.public), 0, 0),)
    listing = [[statement.role, statement.public, statement.epoch] for statement in keys]
    return LogOpened(
        log_id=origin.rsplit("/", 1)[-1],
        software=f"helm {__version__}",
        software_digest=software_digest(),
        schema_digest=SCHEMA_DIGEST,
        keyset_digest=sha256(canonical_bytes(listing)),
        key_protection="plaintext",
        keys=keys,
    )


class DemoWorld:
    """The scripted world, started when a run first needs it and ended with the server."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._world: World | None = None
        self._lock = asyncio.Lock()

    async def addresses(self) -> Mapping[str, str]:
        """Where its parts listen; starts it, or starts it again when it has died."""
        async with self._lock:
            if self._world is None or not self._world.alive:
                self._world = await asyncio.to_thread(start_world, self._home)
            world = self._world
        return {"anthropic": world.anthropic, "openai": world.openai, "site": world.site, "mail": world.mail}

    async def stop(self) -> None:
        """End it."""
        if self._world is not None:
            await asyncio.to_thread(self._world.stop)


def build_services(
    settings: Settings,
    opened: OpenLog,
    library: LiveLibrary,
    policies: PolicyWatch,
    providers: ProviderDirectory,
    sandbox: Sandbox,
    door: DoorControl,
) -> Services:
    """Put the services together over their adapters."""
    clock, ledger = SystemClock(), opened.ledger
    tools = ToolShelf(ledger, library, load_tools(ROOT / "policies" / FOLDER))
    marks = WorkspaceMarks(settings.home / "workspaces")
    gate = Gate(ledger, library, clock, marks, tools)
    steering = SteeringDesk(ledger, clock)
    approvals = Approvals(ledger, gate, clock, marks, KeyProofs(ledger, sorted(settings.pages)), steering)
    folders = Folders(Workspaces(settings.home / "workspaces"))
    runs = Runs(ledger, gate, approvals, library, sandbox, door, folders, providers, clock, settings.slots)
    return Services(
        ledger=ledger,
        gate=gate,
        runs=runs,
        approvals=approvals,
        bulk=BulkDesk(approvals, clock),
        grants=Grants(ledger, gate),
        approver_keys=ApproverKeys(ledger, WebauthnPasskeys(), clock, sorted(settings.pages)),
        evidence=EvidenceDesk(ledger),
        policies=PolicyDesk(ledger, DiskPolicyFolder(settings.policies)),
        steering=steering,
        tool_calls=ToolCalls(ledger, gate, approvals, runs.blueprint_of),
        tools=tools,
        model_calls=ModelCalls(ledger, gate, library, clock),
        egress=Egress(gate, clock, providers, runs.blueprint_of),
        freezer=Freezer(ledger, runs, door, library),
        notices=Notices(ledger),
        self_approvals=SelfApprovals(gate, clock),
        previews=Previews(),
        library=library,
        providers=providers,
        health=Health(ledger, sandbox, providers, door.state, policies.notice),
        clock=clock,
    )


def ensure_secret(path: Path) -> bytes:
    """A 32-byte secret of this installation, made at the first call."""
    try:
        return read_secret(path)
    except NotFound:
        write_secret(path, os.urandom(32))
        return read_secret(path)


@asynccontextmanager
async def running(settings: Settings, *, sandbox: Sandbox | None = None) -> AsyncIterator[Services]:
    """Everything but the faces: log, door, gateway, recovery. Ends in the order that loses nothing."""
    prepare_home(settings)
    library = LiveLibrary(settings.policies)
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(open_log(settings))
        prepare_folders(settings.door_folder, settings.keys / "providers", DOOR_UID if os.geteuid() == 0 else None)
        world = DemoWorld(settings.home / "demo")
        if settings.demo:
            set_key(settings.keys / "providers", DEMO_KEY_FILE, DEMO_KEY)
        stack.push_async_callback(world.stop)
        providers = ProviderDirectory(settings.keys / "providers", world.addresses if settings.demo else None)
        if sandbox is None:
            sandbox = docker_sandbox(settings)
        door = DoorControl(settings.door_folder, own=own_places(settings))
        policies = PolicyWatch(opened.ledger, library, SystemClock())
        services = build_services(settings, opened, library, policies, providers, sandbox, door)
        await policies.announce(library)
        await services.tools.open()
        await services.tools.announce()
        gateway = await _open_faces(stack, settings, services)
        await recover(opened.ledger, services.runs, sandbox)
        await gateway.serve()
        parking = Parking(opened.ledger, services.runs, SystemClock(), settings.park_after_s)
        watches = {"approvals": services.approvals.watch(), "policies": policies.watch(), "parking": parking.watch()}
        for name, watch in watches.items():
            stack.push_async_callback(_cancelled, asyncio.create_task(watch, name=name))
        sweeper = asyncio.create_task(_sweep(services, sandbox, door), name="sweep")
        stack.push_async_callback(_cancelled, sweeper)
        stack.push_async_callback(services.runs.let_go)
        stack.push_async_callback(services.bulk.close)
        yield services


def own_places(settings: Settings) -> tuple[str, ...]:
    """Where people reach this server, as host:port; no run has any business there."""
    local = {f"{host}:{settings.port}" for host in ("localhost", settings.host.lower())}
    origins = (urlsplit(origin) for origin in settings.origins)
    named = {f"{at.hostname}:{at.port or (80 if at.scheme == 'http' else 443)}" for at in origins if at.hostname}
    return tuple(sorted(named | local))


def docker_sandbox(settings: Settings) -> Containers:
    """Containers on the Docker engine of this machine."""
    profile = ROOT / "agent_image" / "seccomp.json"
    return Containers(DockerSandbox(settings.home, profile, settings.image), settings.image)


class _Gateway:
    """The agents' listener. Its socket is there from the start; who asks before recovery is over waits for an answer:
    a run that is not taken up again yet must not be told that it has ended, nor be given what recovery then settles."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self._server = listener(create_gateway_app(services), timeout_keep_alive=3600)
        self._socket = unix_socket(settings.door_folder / "gateway.sock", 0o666)
        self._task: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Answer from now on."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="gateway")
        await until_started(self._server, self._task)

    async def stop(self) -> None:
        """Let go of the socket."""
        if self._task is None:
            self._socket.close()
        else:
            await stopped(self._server, self._task, cut_after_s=_GATEWAY_CUT_S)


async def _open_faces(stack: AsyncExitStack, settings: Settings, services: Services) -> _Gateway:
    """Gateway and door; the door's process loads on another core while the gateway is built here."""
    door_side = await _door_side(settings, services)
    starting = asyncio.create_task(door_side.start(), name="door-start")
    try:
        gateway = _Gateway(settings, services)
        stack.push_async_callback(gateway.stop)
    finally:
        # Above the gateway on the stack: what the door has under way is reported before the gateway closes.
        stack.push_async_callback(door_side.stop)
        stack.push_async_callback(_cancelled, starting)
    await starting
    return gateway


async def _door_side(settings: Settings, services: Services) -> DoorProcess | DoorWatch:
    if settings.door != "external":
        return DoorProcess(settings.home, services.runs.reopen_doors)
    # A first start does not wait: that door comes after the server. But a run that lives on would be lost without it.
    live = await services.ledger.read.runs(RunFilter(status="live", limit=1))
    return DoorWatch(settings.door_folder, services.runs.reopen_doors, _DOOR_S if live else 0.0)


async def _sweep(services: Services, sandbox: Sandbox, door: DoorControl) -> None:
    """Clear away what ended runs have left; again after a while, when what a dying server had ordered has come too."""
    for pause in (0.0, _SWEEP_S):
        await asyncio.sleep(pause)
        await door.sweep(services.runs.is_held)
        if isinstance(sandbox, Containers):
            try:
                swept = await sandbox.sweep(services.runs.is_held)
            except EngineUnavailable as error:
                log.warning("containers.not_swept", reason=error.message)
                continue
            if swept:
                log.warning("containers.swept", runs=swept)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until_signal(ended: Callable[[], Awaitable[None]]) -> None:
    """Wait for SIGTERM or SIGINT, or until `ended` returns."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    waiting = [asyncio.ensure_future(asked.wait()), asyncio.ensure_future(ended())]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
