"""What the services need of the world: Protocols of a few methods, and the values that pass through them. Adapters
match them by shape; tests bring small real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.domain.blueprint import Blueprint
from app.domain.chain import Head, Sealed
from app.domain.content import FileMark, Proof
from app.domain.events import Event
from app.domain.merkle import Frontier
from app.domain.named_files import NamedFiles
from app.domain.policy import Bundle
from app.domain.pricing import Price
from app.domain.reasons import Reason
from app.domain.run import Action, Run, Steering
from app.domain.standing import Standing


class Clock(Protocol):
    """Time and randomness, so that no rule reads them by itself."""

    def now_ms(self) -> int: ...
    def mono_ns(self) -> int: ...
    def entropy(self, size: int) -> bytes: ...


@dataclass(slots=True)
class Batch:
    """Everything that one transaction writes: receipts, their claims, and the rows that follow from them."""

    sealed: list[Sealed] = field(default_factory=list)
    claims: dict[str, int] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    actions: dict[str, Action] = field(default_factory=dict)
    steering: dict[str, tuple[str, Steering]] = field(default_factory=dict)  # id -> (run, message)
    standing: Standing | None = None  # as the batch leaves it, where it changed


class LogStore(Protocol):
    """The append-only store, used by the ledger's writer alone."""

    def frontier(self) -> Frontier:
        """The tree over everything that is durable. Raises LedgerUnavailable, LogCorrupt."""
        ...

    def head(self, run: str) -> Head | None:
        """The end of a run's chain, or None when the run has no receipt."""
        ...

    def fold(self, run: str) -> Run | None:
        """The run as its durable events make it."""
        ...

    def standing(self) -> Standing:
        """What outlives the runs, as the durable events make it."""
        ...

    def claimed(self, claims: Sequence[str]) -> tuple[str, int] | None:
        """The first of `claims` that is taken, and the receipt's seq that took it."""
        ...

    def write(self, batch: Batch) -> None:
        """Make a batch durable, all or nothing, before returning. Raises LedgerUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list shows; empty fields do not filter."""

    status: str = ""  # needs | live | ended | one status word
    blueprint: str = ""
    text: str = ""
    limit: int = 100
    before_no: int = 0


class LogReader(Protocol):
    """Reads of what is durable; never sees an uncommitted row."""

    async def events(
        self, *, after: int = -1, before: int | None = None, run: str = "", limit: int = 500
    ) -> list[Event]:
        """Events in order of `seq`: the first `limit` after, or (with `before`) the last `limit` before it."""
        ...

    async def event(self, key: str | int) -> Event | None:
        """One event by receipt id or by seq."""
        ...

    async def lines(self, *, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Stored receipt lines in order."""
        ...

    async def run(self, run: str) -> Run | None: ...
    async def runs(self, which: RunFilter) -> list[Run]: ...
    async def counts(self) -> Mapping[str, int]:
        """Number of runs by status word, plus `all`, `live`, `ended`, `needs`."""
        ...

    async def action(self, *, id: str = "", run: str = "", key: str = "", approval: str = "") -> Action | None: ...
    async def actions(self, *, run: str = "", state: str = "", limit: int = 200) -> list[Action]: ...
    async def known_keys(self, run: str, keys: Sequence[str]) -> dict[str, Action]:
        """The actions of a run among these idempotency keys."""
        ...

    async def inbox(self) -> list[Action]:
        """Actions that wait for a person, and those whose outcome is unknown."""
        ...

    async def steering(self, run: str) -> list[Steering]: ...
    async def spent_since(self, ts: str) -> int:
        """Micro-dollars spent by outcomes recorded at or after a time."""
        ...

    async def rule_hits(self) -> Mapping[tuple[str, str], int]:
        """How many intents each rule has decided: (policy bundle of the run, rule) -> count."""
        ...

    async def size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Whether containers can be started, and when not, why and what to do."""

    ok: bool
    version: str = ""
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """What a sandbox needs to start a run's container."""

    run: str
    lease: int
    workspace: str
    door_dir: str
    memory: str
    cpus: str
    pids: int


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended."""

    code: int
    oom: bool
    reason: str


class Sandbox(Protocol):
    """Runs an agent in a container of its own."""

    async def probe(self) -> EngineStatus: ...
    async def start(self, spec: Start) -> tuple[str, str]:
        """Start the container; (container id, image id). Raises EngineUnavailable with the remedy."""
        ...

    async def wait(self, run: str) -> Exit:
        """Return when the run's container has ended; `Exit(-1, ...)` when there is none."""
        ...

    async def kill(self, run: str) -> tuple[str, ...]:
        """Kill the whole tree and return what was killed, only when it is gone. Raises EngineUnavailable."""
        ...

    async def pause(self, run: str) -> None:
        """Let everything in the container stand still; harmless when it does, or when there is none.

        Raises EngineUnavailable.
        """
        ...

    async def unpause(self, run: str) -> None:
        """Let it go on; harmless when it does. Raises EngineUnavailable."""
        ...

    async def live(self) -> dict[str, int]:
        """Runs of this installation whose container is running: run -> lease."""
        ...


class Door(Protocol):
    """The control side of the door process."""

    async def open(self, run: str, upstreams: Mapping[str, Mapping[str, str]], *, frozen: bool = False) -> str:
        """Make the run's private listener; the folder that its container mounts. Raises DoorUnavailable."""
        ...

    async def close(self, run: str) -> None: ...
    async def freeze(self, run: str) -> None:
        """Cut everything that leads out of the run, and let nothing out until `thaw`. Raises DoorUnavailable."""
        ...

    async def thaw(self, run: str) -> None:
        """Let things leave the run again. Raises DoorUnavailable."""
        ...


class Providers(Protocol):
    """Where model calls and MCP servers lead, and which keys are there. Knows names of keys, never the keys."""

    async def upstreams(self, blueprint: Blueprint) -> Mapping[str, Mapping[str, str]]:
        """What the door is told for a run (docs/protocols.md). Raises BadConfig when a key is missing."""
        ...

    async def mcp_url(self, blueprint: Blueprint, server: str) -> str:
        """The address of an MCP server that the blueprint names. Raises NotFound."""
        ...

    async def place(self, address: str) -> tuple[str, int]:
        """The literal address that an egress entry pins, and its port where that is another one (else 0)."""
        ...

    def keys(self) -> Mapping[str, bool]:
        """Which providers have a key."""
        ...


class Workspaces(Protocol):
    """The folders that runs work in."""

    async def create(self, run: str, seed: str) -> str:
        """Make a run's folder and return its path. Raises InvalidInput."""
        ...


class FileMarks(Protocol):
    """Hashes of the files that a call names, as they lie in the run's workspace. Never follows a link."""

    async def mark(self, run: str, names: NamedFiles) -> tuple[FileMark, ...]:
        """The files as they are now."""
        ...

    async def again(self, run: str, marks: Sequence[FileMark]) -> tuple[FileMark, ...]:
        """The same files as they are now."""
        ...


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of a tool and its input: the digest of the pinned schema ("" where there is none), and, where the
    call must not be made, why. `message` names the field and the rule, never a value."""

    schema: str = ""
    reason: Reason | None = None
    message: str = ""


class ToolCheck(Protocol):
    """Pinned schemas of tools."""

    def check(self, blueprint: str, tool: str, args: Any) -> Checked: ...


class ProofCheck(Protocol):
    """Signatures of answers."""

    def check(self, proof: Proof, statement: bytes, account: str) -> str:
        """The id of the enrolled key that signed it. Raises Forbidden, with the remedy."""
        ...


@dataclass(frozen=True, slots=True)
class Credential:
    """A passkey as a browser has just made it: its id, and its public key in the one COSE form."""

    id: bytes
    public: bytes


class Passkeys(Protocol):
    """The making of passkeys; what they sign later is the domain's to check."""

    def options(self, account: str, origin: str, challenge: bytes, known: Sequence[bytes]) -> Mapping[str, Any]:
        """What the page hands to the browser, as JSON. `known`: credentials that the person has already."""
        ...

    def credential(self, response: str, challenge: bytes, origins: Sequence[str]) -> Credential:
        """The credential in a browser's answer, made on one of these pages by a person who was verified. Raises
        InvalidInput."""
        ...


class Library(Protocol):
    """Blueprints and policy bundles, as they were loaded and checked at start."""

    def blueprint(self, name: str) -> Blueprint:
        """Raises NotFound."""
        ...

    def blueprints(self) -> Sequence[Blueprint]: ...
    def bundle(self, name: str) -> Bundle:
        """Raises NotFound."""
        ...

    def bundles(self) -> Sequence[Bundle]: ...
    def price(self, model: str) -> Price | None: ...
    def rule_text(self, bundle: str, rule: str) -> tuple[str, list[tuple[int, str]]]:
        """The file of a rule and its numbered lines; an empty list when it is not known any more."""
        ...
