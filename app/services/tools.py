"""The shelf of known tools. What a tool says of itself is pinned when it is first seen; whatever says something else
later is not called until a person has accepted it. Arguments and answers are held against what is pinned."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from app.domain.canonical import Json
from app.domain.content import JSON, Content
from app.domain.errors import Conflict, InvalidInput, NotFound, RunEnded
from app.domain.events import Draft
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads import RunNoted
from app.domain.payloads_log import ToolPinned
from app.domain.reasons import Reason
from app.domain.receipt import SYSTEM, Actor
from app.domain.schema_work import BadSchema
from app.domain.standing import ToolPin
from app.domain.tool_schema import BUILTIN, MAX_DOCUMENT, Contract, ToolDocument, listed_tool, read_document
from app.ports import Checked, Library
from app.services.ledger import Ledger

MOST_TOOLS: Final = 500  # of one server
MOST_BYTES: Final = 8 * 1024 * 1024  # of what the tools of one server say
MOST_DRIFTS: Final = 50  # of one tool that are recorded while the server runs; it stays quarantined all the same
_CONTRACTS: Final = 1_000
_SHOWN: Final = 20
_NOTED: Final = 10_000


class ToolShelf:
    """Pins tools, and holds calls and answers against the pins."""

    def __init__(self, ledger: Ledger, library: Library, builtin: Mapping[str, ToolDocument]) -> None:
        self._ledger, self._library, self._builtin = ledger, library, builtin
        self._lock = asyncio.Lock()
        self._documents: dict[str, ToolDocument] = {}  # what is pinned, by "server/tool"
        self._contracts: OrderedDict[str, Contract] = OrderedDict()
        self._declared: dict[str, Mapping[str, Json]] = {}
        self._drifts: Counter[str] = Counter()
        self._noted: set[tuple[str, str]] = set()

    async def open(self) -> None:
        """Read what is pinned from the log. A document that was erased there fits nothing."""
        for name, pin in self._ledger.standing.tools.items():
            try:
                self._documents[name] = await self._at(pin.seq)
            except InvalidInput:
                continue

    # --- learning ----------------------------------------------------------------------------------------------------

    async def announce(self) -> None:
        """Pin the tools that come with the agent's runtime. A release of Helm with another runtime brings other pins:
        whoever installs it has accepted them."""
        drafts = []
        for tool, document in sorted(self._builtin.items()):
            pin = self.pin(BUILTIN, tool)
            if pin is None or pin.digest != document.digest or pin.quarantined:
                previous = pin.digest if pin is not None else None
                state: Literal["pinned", "accepted"] = "pinned" if pin is None else "accepted"
                drafts.append(_draft(BUILTIN, tool, state, document, "helm", previous))
            self._documents[f"{BUILTIN}/{tool}"] = document
        if drafts:
            await self._ledger.record(SYSTEM_RUN, *drafts)

    async def learn(self, run: str, server: str, entries: Sequence[Json]) -> list[Json]:
        """Take in what a server lists: pin what is new, quarantine what says something else. The entries that the agent
        may see: those that say exactly what is pinned. Raises LedgerUnavailable: then none may be shown."""
        async with self._lock:
            seen = _Sightings(self, server)
            for entry in entries:
                seen.take(entry)
            if seen.drafts:
                await self._ledger.record(SYSTEM_RUN, *seen.drafts)
            self._documents |= seen.new
        await self._note(run, f"Tools of {server} that are held back", seen.held)
        await self._note(run, f"Look twice at tools of {server}", seen.flagged)
        return seen.kept

    def sighting(self, server: str, tool: str, document: ToolDocument) -> Draft | None:
        """What is to be recorded when a tool says `document`: nothing where that is known."""
        pin, name = self.pin(server, tool), f"{server}/{tool}"
        if pin is None:
            return _draft(server, tool, "pinned", document, "helm", None)
        if document.digest == (pin.drifted or pin.digest) or self._drifts[name] >= MOST_DRIFTS:
            return None
        self._drifts[name] += 1
        return _draft(server, tool, "drifted", document, "helm", pin.digest)

    def room(self, server: str) -> tuple[int, int]:
        """How many more tools of a server, and bytes of what they say, are pinned."""
        known = [name for name, pin in self._ledger.standing.tools.items() if pin.server == server]
        size = sum(len(self._documents[name].bytes) for name in known if name in self._documents)
        return MOST_TOOLS - len(known), MOST_BYTES - size

    async def _note(self, run: str, about: str, found: list[str]) -> None:
        """Say something of a server's tools in the run's own timeline, once."""
        words = "; ".join(found[:_SHOWN]) + (f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        text = f"{about}: {words}"
        if not found or (run, text) in self._noted:
            return
        if len(self._noted) >= _NOTED:
            self._noted.clear()
        self._noted.add((run, text))
        try:
            await self._ledger.record(run, Draft(RunNoted("warning", Content.text(text))))
        except RunEnded:
            return

    # --- a person's word ---------------------------------------------------------------------------------------------

    async def accept(self, server: str, tool: str, *, by: str, digest: str = "") -> ToolPin:
        """Pin what a tool says now. `digest`: what the person has read, so that nothing newer is accepted unread.

        Raises NotFound, Conflict (nothing to accept, or it has changed again), InvalidInput, LedgerUnavailable."""
        return await self._decide("accepted", server, tool, by, digest)

    async def reject(self, server: str, tool: str, *, by: str, digest: str = "") -> ToolPin:
        """Leave a tool in quarantine, out of the inbox; it can still be accepted later. Raises as `accept`."""
        return await self._decide("rejected", server, tool, by, digest)

    async def _decide(
        self, state: Literal["accepted", "rejected"], server: str, tool: str, by: str, digest: str
    ) -> ToolPin:
        async with self._lock:
            pin = self.known(server, tool)
            if not pin.quarantined:
                raise Conflict("the tool says what is pinned; there is nothing to decide")
            if digest and digest != pin.drifted:
                raise Conflict("the tool has changed again since you looked; look at it once more")
            if state == "rejected" and pin.state == "rejected":
                return pin
            document = await self._at(pin.drifted_seq)
            draft = _draft(server, tool, state, document, by, pin.digest, Actor("human", by, "client"))
            await self._ledger.record(SYSTEM_RUN, draft)
            if state == "accepted":
                self._documents[f"{server}/{tool}"] = document
            return self.known(server, tool)

    # --- looking -----------------------------------------------------------------------------------------------------

    def pin(self, server: str, tool: str) -> ToolPin | None:
        """What is pinned for a tool."""
        return self._ledger.standing.tools.get(f"{server}/{tool}")

    def known(self, server: str, tool: str) -> ToolPin:
        """The same, for one that must be there. Raises NotFound."""
        found = self.pin(server, tool)
        if found is None:
            raise NotFound("no such tool is known; its server has never listed it")
        return found

    def quarantined(self, server: str, tool: str) -> bool:
        """Whether a tool must not be called."""
        pin = self.pin(server, tool)
        return pin is not None and pin.quarantined

    def pins(self) -> list[ToolPin]:
        """All pinned tools, by server and name; those that wait for a person first."""
        return sorted(self._ledger.standing.tools.values(), key=lambda pin: (not pin.quarantined, pin.server, pin.tool))

    async def document(self, server: str, tool: str) -> ToolDocument:
        """What is pinned for a tool. Raises NotFound, InvalidInput (its content was erased)."""
        return await self._at(self.known(server, tool).seq)

    async def diff(self, server: str, tool: str) -> tuple[str, str]:
        """What is pinned and what the tool says now, as JSON texts for people; the same twice where it is not
        quarantined. Raises NotFound, InvalidInput."""
        pin = self.known(server, tool)
        before = (await self._at(pin.seq)).pretty()
        return before, (await self._at(pin.drifted_seq)).pretty() if pin.quarantined else before

    async def hints(self, server: str, tool: str) -> tuple[str, ...]:
        """What in the words of a tool (as it is now) a person should look at twice. Raises NotFound, InvalidInput."""
        pin = self.known(server, tool)
        return (await self._at(pin.drifted_seq if pin.quarantined else pin.seq)).hints()

    async def _at(self, seq: int) -> ToolDocument:
        event = await self._ledger.read.event(seq)
        if event is None:
            raise InvalidInput("the tool's document is not in the log any more")
        return read_document(event.content("document"))

    # --- holding against it ------------------------------------------------------------------------------------------

    def check(self, blueprint: str, tool: str, args: Any) -> Checked:
        """Whether a call may be made: its tool says what is pinned, and its arguments fit that and what the blueprint
        says of them. Of two schemas the blueprint's is the one that is named."""
        server, name = place_of(tool)
        pin, found = self.pin(server, name), Checked()
        if pin is not None and pin.quarantined:
            return Checked(pin.digest, Reason.TOOL_DRIFT, Reason.TOOL_DRIFT.meaning)
        for contract in (self._contract(server, name, pin), self._declaration(blueprint, tool)):
            problem = contract.check_input(args) if contract is not None else None
            if contract is not None:
                found = Checked(contract.digest)
            if problem is not None:
                return Checked(found.schema, Reason.SCHEMA_VIOLATION, problem)
        return found

    def check_output(self, server: str, tool: str, result: Mapping[str, Json]) -> str | None:
        """None when the result of a `tools/call` may be told to the agent, else why it is withheld."""
        pin = self.pin(server, tool)
        contract = self._contract(server, tool, pin) if pin is not None else None
        if contract is None:
            return "its server has listed no such tool"
        if not contract.has_output or result.get("isError") is True:
            return None
        if "structuredContent" not in result:
            return "the tool declares a structured answer and gave none"
        return contract.check_output(result["structuredContent"])

    def _contract(self, server: str, name: str, pin: ToolPin | None) -> Contract | None:
        """What a tool says of its input, None where nobody knows it."""
        if pin is None:
            own = self._builtin.get(name) if server == BUILTIN else None
            return None if own is None else self._compiled(own.digest, own)
        document = self._documents.get(f"{server}/{name}")
        if document is None or document.digest != pin.digest:
            return Contract.void(pin.digest, "its document is not in the log any more")
        return self._compiled(pin.digest, document)

    def _declaration(self, blueprint: str, tool: str) -> Contract | None:
        """What the blueprint says of a tool's input; a blueprint that was taken away meanwhile says what it said."""
        try:
            self._declared[blueprint] = dict(self._library.blueprint(blueprint).schemas)
        except NotFound:
            pass
        schema = self._declared.get(blueprint, {}).get(tool)
        if schema is None:
            return None
        document = ToolDocument("", schema)
        return self._compiled(document.digest, document)

    def _compiled(self, digest: str, document: ToolDocument) -> Contract:
        contract = self._contracts.get(digest)
        if contract is None:
            contract = self._contracts[digest] = Contract.of(document)
            if len(self._contracts) > _CONTRACTS:
                self._contracts.popitem(last=False)
        return contract


class _Sightings:
    """One listing of a server, tool by tool."""

    def __init__(self, shelf: ToolShelf, server: str) -> None:
        self._shelf, self._server = shelf, server
        self._room, self._bytes = shelf.room(server)
        self._seen: set[str] = set()
        self.kept: list[Json] = []
        self.held: list[str] = []
        self.flagged: list[str] = []
        self.drafts: list[Draft] = []
        self.new: dict[str, ToolDocument] = {}

    def take(self, entry: Json) -> None:
        """Keep an entry for the agent, or hold it back and say why."""
        try:
            tool, document = listed_tool(entry)
        except BadSchema as error:
            self.held.append(f"one of them: {error.message}")
            return
        pin = self._shelf.pin(self._server, tool)
        size = len(document.bytes) if pin is None else 0
        if tool in self._seen or (pin is None and (self._room <= 0 or size > self._bytes)):
            self.held.append(f"{tool}: it is named twice, or the server has too many tools")
            return
        self._seen.add(tool)
        if pin is None:
            self._room, self._bytes = self._room - 1, self._bytes - size
            self.new[f"{self._server}/{tool}"] = document
        draft = self._shelf.sighting(self._server, tool, document)
        self.drafts += [draft] if draft is not None else []
        if pin is not None and (pin.quarantined or pin.digest != document.digest):
            self.held.append(f"{tool}: it says something else than what was accepted")
            return
        self.kept.append(entry)
        hints = document.hints()
        self.flagged += [f"{tool}: {'; '.join(hints)}"] if hints else []


def place_of(tool: str) -> tuple[str, str]:
    """Server and name of a tool as the agent's runtime calls it: `mcp__SERVER__NAME`, or one of its own."""
    if not tool.startswith("mcp__"):
        return BUILTIN, tool
    server, _, name = tool.removeprefix("mcp__").partition("__")
    return server, name


def _draft(
    server: str,
    tool: str,
    state: Literal["pinned", "drifted", "accepted", "rejected"],
    document: ToolDocument,
    by: str,
    previous: str | None,
    actor: Actor = SYSTEM,
) -> Draft:
    content = Content.of(document.bytes, JSON, MAX_DOCUMENT)
    return Draft(
        ToolPinned(server, tool, state, document.digest, content, by, previous, document.hints() or None), actor
    )
