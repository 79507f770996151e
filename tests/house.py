"""A whole Helm without Docker and without a door: the real ledger, store, policy and services in a temporary folder.
The container, the door and the providers are small real things that remember what was asked of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app.adapters.file_marks import WorkspaceMarks
from app.adapters.passkeys import WebauthnPasskeys
from app.adapters.policies import load_library
from app.adapters.policy_folder import DiskPolicyFolder
from app.adapters.sqlite.check import check_log
from app.adapters.sqlite.reader import SqliteReader
from app.adapters.sqlite.store import SqliteStore
from app.adapters.tool_schemas import load_tools
from app.domain.approval import Answerer
from app.domain.blueprint import Blueprint
from app.domain.canonical import b64
from app.domain.chain import Chain
from app.domain.content import KeyStatement
from app.domain.errors import DoorUnavailable, EngineUnavailable, NotFound
from app.domain.events import Draft, Event
from app.domain.ids import SYSTEM_RUN
from app.domain.logcheck import check_lines
from app.domain.payloads_log import LogOpened
from app.domain.run import Action, Run
from app.domain.signing import Signer
from app.ports import EngineStatus, Exit, Library, Start
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
from app.services.policy_desk import PolicyDesk
from app.services.previews import Previews
from app.services.proofs import KeyProofs
from app.services.replies import Reply
from app.services.runs import Runs
from app.services.selfapprovals import SelfApprovals
from app.services.services import Services
from app.services.steering import SteeringDesk
from app.services.toolcalls import ToolCalls
from app.services.tools import ToolShelf
from app.settings import ROOT

from tests.fakes import MemoryReader, MemoryStore

SEED = b"h" * 32
ORIGINS = ("https://helm.example", "http://localhost:8400")
DIGEST = "sha256:" + "0" * 64
LIBRARY = load_library(ROOT / "policies")
TOOLS = load_tools(ROOT / "policies" / "tools")


class HandClock:
    """A clock that moves when it is told to; randomness that never repeats."""

    def __init__(self) -> None:
        self.ms = 1_795_000_000_000
        self._drawn = 0

    def now_ms(self) -> int:
        return self.ms

    def mono_ns(self) -> int:
        return self.ms * 1_000_000

    def entropy(self, size: int) -> bytes:
        self._drawn += 1
        return self._drawn.to_bytes(8, "big").rjust(size, b"\x07")


@dataclass
class ShelfSandbox:
    """Containers that are futures: they run until a test ends them."""

    status: EngineStatus = field(default_factory=lambda: EngineStatus(True, "test"))
    running: dict[str, asyncio.Future[Exit]] = field(default_factory=dict)
    started: list[Start] = field(default_factory=list)
    refuse_start: str = ""
    refuse_kill: str = ""
    refuse_pause: str = ""
    still: set[str] = field(default_factory=set)
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def probe(self) -> EngineStatus:
        return self.status

    async def start(self, spec: Start) -> tuple[str, str]:
        if self.refuse_start:
            raise EngineUnavailable(self.refuse_start)
        self.started.append(spec)
        self.running[spec.run] = asyncio.get_running_loop().create_future()
        return "c" * 12, "helm-agent:test"

    async def wait(self, run: str) -> Exit:
        ended = self.running.get(run)
        return await asyncio.shield(ended) if ended is not None else Exit(-1, False, "its container is gone")

    async def kill(self, run: str) -> tuple[str, ...]:
        if self.refuse_kill:
            raise EngineUnavailable(self.refuse_kill)
        if run not in self.running or self.running[run].done():
            return ()
        self.end(run, 137, "killed")
        return ("1 runner", "7 claude")

    async def pause(self, run: str) -> None:
        if self.refuse_pause:
            raise EngineUnavailable(self.refuse_pause)
        if run in self.running and not self.running[run].done():
            async with self.moved:
                self.still.add(run)
                self.moved.notify_all()

    async def unpause(self, run: str) -> None:
        async with self.moved:
            self.still.discard(run)
            self.moved.notify_all()

    async def until_still(self, *runs: str) -> None:
        """Wait, at most 10 s, until just these runs stand still."""
        async with asyncio.timeout(10), self.moved:
            await self.moved.wait_for(lambda: self.still == set(runs))

    async def live(self) -> dict[str, int]:
        return {run: 1 for run, ended in self.running.items() if not ended.done()}

    def end(self, run: str, code: int, reason: str = "", *, oom: bool = False) -> None:
        self.running[run].set_result(Exit(code, oom, reason))


@dataclass
class NotedDoor:
    """A door that remembers which runs are open."""

    open_runs: dict[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)
    frozen: set[str] = field(default_factory=set)
    refuse: str = ""

    async def freeze(self, run: str) -> None:
        if self.refuse:
            raise DoorUnavailable(self.refuse)
        self.frozen.add(run)

    async def thaw(self, run: str) -> None:
        if self.refuse:
            raise DoorUnavailable(self.refuse)
        self.frozen.discard(run)

    async def open(self, run: str, upstreams: Mapping[str, Mapping[str, str]], *, frozen: bool = False) -> str:
        self.open_runs[run] = upstreams
        (self.frozen.add if frozen else self.frozen.discard)(run)
        return f"/door/runs/{run}"

    async def close(self, run: str) -> None:
        self.open_runs.pop(run, None)
        self.closed.append(run)

    async def state(self) -> str:
        return ""


class NoProviders:
    """Every blueprint leads to one upstream; there is no MCP server."""

    async def upstreams(self, blueprint: Blueprint) -> Mapping[str, Mapping[str, str]]:
        return {"anthropic": {"base": "http://127.0.0.1:1", "key": "demo"}}

    async def mcp_url(self, blueprint: Blueprint, server: str) -> str:
        raise NotFound("no MCP server here")

    async def place(self, address: str) -> tuple[str, int]:
        return "127.0.0.1", 8471

    def keys(self) -> Mapping[str, bool]:
        return {"anthropic": False}


class NoFolders:
    """Workspaces that nobody looks into."""

    async def create(self, run: str, seed: str) -> str:
        return f"/workspaces/{run}"


@dataclass
class House:
    """The services and the small world around them."""

    home: Path
    services: Services
    sandbox: ShelfSandbox
    door: NotedDoor
    clock: HandClock
    parking: Parking

    @property
    def ledger(self) -> Ledger:
        return self.services.ledger

    async def start(self, blueprint: str = "market-brief", *, title: str = "") -> Run:
        """A run whose container is up."""
        run = await self.services.runs.start(blueprint, by="ana", title=title)
        await self.until(run.id, "run.started")
        return await self.services.runs.get(run.id)

    async def until(self, run: str, name: str, count: int = 1) -> Event:
        """The `count`th event of a name in a run, when it is recorded; at most 10 s."""
        seen = 0
        async with asyncio.timeout(10):
            async for page in self.ledger.follow(-1, run):
                for event in page:
                    seen += event.name == name
                    if event.name == name and seen == count:
                        return event
        raise AssertionError(f"{name} never came")

    async def waiting(self, run: str, count: int = 1) -> list[Action]:
        """The run's open questions, once there are `count` of them."""
        async with asyncio.timeout(10):
            async for _ in self.ledger.follow(-1, run):
                found = (await self.services.runs.get(run)).waiting()
                if len(found) >= count:
                    return list(found)
        raise AssertionError("nobody was asked")

    async def answer(
        self, approval: str, answer: Literal["allow", "deny"], *, by: str = "ana", reason: str = "", role: str = "owner"
    ) -> Action:
        """Answer a question as somebody who may."""
        return await self.services.approvals.resolve(approval, Reply(answer, reason), who=Answerer(by, role))

    def hook(self, tool: str, args: object, key: str = "toolu_1", **more: object) -> dict[str, object]:
        """A PreToolUse hook as the CLI sends it."""
        return {"tool_name": tool, "tool_input": args, "tool_use_id": key, "cwd": "/workspace", **more}


MAIL = {"to": "leadership@example.com", "subject": "Brief", "body": "Hello"}


@asynccontextmanager
async def house(
    home: Path,
    *,
    slots: int = 4,
    sandbox: ShelfSandbox | None = None,
    library: Library = LIBRARY,
    check: bool = True,
    memory: MemoryStore | None = None,
) -> AsyncIterator[House]:
    """Open a house in `home` (again, where there was one); its log is checked when it is left. With `memory` its log is
    there and not in `home`."""
    store, reader = _log(home, memory)
    clock, key = HandClock(), Signer.of(SEED)
    clock.ms += 60_000 * await reader.size()  # entropy and time go on where an earlier house stopped
    clock._drawn = 1_000_000 * await reader.size()
    ledger = Ledger(Chain("helm.local/log/test", key, 0, "boot"), store, reader, clock)
    ledger.start()
    if ledger.head < 0:
        keys = (KeyStatement("receipt", b64(key.public), 0, 0),)
        opened = LogOpened("test", "helm test", DIGEST, DIGEST, DIGEST, "plaintext", keys)
        await ledger.record(SYSTEM_RUN, Draft(opened))
    sandbox, door = sandbox or ShelfSandbox(), NotedDoor()
    services = _services(home, ledger, sandbox, door, clock, slots, library)
    parking = Parking(ledger, services.runs, clock, 120)
    try:
        yield House(home, services, sandbox, door, clock, parking)
    finally:
        await parking.let_go()
        await services.runs.let_go()
        await ledger.close()
        reader.close()
        store.close()
    if check:
        trusted = frozenset({Signer.of(SEED).public})
        report = check_log(home, keys=trusted) if memory is None else check_lines(memory.lines(), trusted)
        assert report.ok, report.errors


def _log(home: Path, memory: MemoryStore | None) -> tuple[MemoryStore | SqliteStore, MemoryReader | SqliteReader]:
    if memory is not None:
        return memory, MemoryReader(memory)
    return SqliteStore(home / "helm.db"), SqliteReader(home / "helm.db")


def _policies(home: Path) -> Path:
    """A house that has policies of its own edits those."""
    own = home / "policies"
    return own if own.is_dir() else ROOT / "policies"


def _services(
    home: Path, ledger: Ledger, sandbox: ShelfSandbox, door: NotedDoor, clock: HandClock, slots: int, library: Library
) -> Services:
    tools = ToolShelf(ledger, library, TOOLS)
    marks = WorkspaceMarks(home / "workspaces")
    gate = Gate(ledger, library, clock, marks, tools)
    steering = SteeringDesk(ledger, clock)
    approvals = Approvals(ledger, gate, clock, marks, KeyProofs(ledger, ORIGINS), steering)
    providers = NoProviders()
    runs = Runs(ledger, gate, approvals, library, sandbox, door, NoFolders(), providers, clock, slots)
    return Services(
        ledger=ledger,
        gate=gate,
        runs=runs,
        approvals=approvals,
        bulk=BulkDesk(approvals, clock, hold_s=0.05),
        grants=Grants(ledger, gate),
        approver_keys=ApproverKeys(ledger, WebauthnPasskeys(), clock, ORIGINS),
        evidence=EvidenceDesk(ledger),
        policies=PolicyDesk(ledger, DiskPolicyFolder(_policies(home))),
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
        health=Health(ledger, sandbox, providers, door.state),
        clock=clock,
    )
