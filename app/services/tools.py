"""The shelf of known tools. What a tool says of itself is pinned when it is first seen; whatever says something else
later is not called until a person has accepted it. Arguments and answers are held against what is pinned."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from app.domain.blueprint import Blueprint
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
from app.services.gate import Refusal
from app.services.ledger import Ledger

MOST_TOOLS: Final = 500  # of one server
MOST_DRIFTS: Final = 50  # of one tool that are recorded while the server runs; it stays quarantined all the same
_CONTRACTS: Final = 1_000
_SHOWN: Final = 20
_NOTED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Checked:
    """What the shelf says of a call: the schema that its arguments were held against, and why it is refused."""

    schema: str = ""
    refusal: Refusal | None = None


class ToolShelf:
    """Pins tools, and holds calls and answers against the pins."""

    def __init__(self, ledger: Ledger, builtin: Mapping[str, ToolDocument]) -> None:
        self._ledger, self._builtin = ledger, builtin
        self._lock = asyncio.Lock()
        self._contracts: OrderedDict[str, Contract] = OrderedDict()
        self._drifts: Counter[str] = Counter()
        self._noted: set[tuple[str, str]] = set()

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

    async def check(self, blueprint: Blueprint | None, tool: str, args: Any) -> Checked:
        """Whether a call may go to the policy: its tool says what is pinned, and its arguments fit."""
        server, name = place_of(tool)
        pin = self.pin(server, name)
        if pin is not None and pin.quarantined:
            return Checked(pin.digest, Refusal(Reason.TOOL_DRIFT, Reason.TOOL_DRIFT.meaning))
        schema = ""
        for contract in await self._contracts_of(blueprint, tool, server, name, pin):
            schema = contract.digest
            problem = contract.check_input(args)
            if problem is not None:
                return Checked(schema, Refusal(Reason.SCHEMA_VIOLATION, problem))
        return Checked(schema)

    async def _contracts_of(
        self, blueprint: Blueprint | None, tool: str, server: str, name: str, pin: ToolPin | None
    ) -> list[Contract]:
        """What a call has to fit: what its tool says, and what the blueprint says of it. The last one is recorded."""
        found = []
        if pin is not None:
            found.append(await self._contract(pin.digest, pin.seq))
        elif server == BUILTIN and name in self._builtin:
            found.append(self._compiled(self._builtin[name].digest, self._builtin[name]))
        declared = dict(blueprint.schemas).get(tool) if blueprint is not None else None
        if declared is not None:
            document = ToolDocument("", declared)
            found.append(self._compiled(document.digest, document))
        return found

    async def check_output(self, server: str, tool: str, result: Mapping[str, Json]) -> str | None:
        """None when the result of a `tools/call` may be told to the agent, else why it is withheld."""
        pin = self.pin(server, tool)
        if pin is None:
            return "no such tool was ever listed"
        try:
            contract = await self._contract(pin.digest, pin.seq)
        except InvalidInput as error:
            return error.message
        if not contract.has_output or result.get("isError") is True:
            return None
        if "structuredContent" not in result:
            return "the tool declares a structured answer and gave none"
        return contract.check_output(result["structuredContent"])

    async def _contract(self, digest: str, seq: int) -> Contract:
        known = self._contracts.get(digest)
        return known if known is not None else self._compiled(digest, await self._at(seq))

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
        self._room = MOST_TOOLS - sum(pin.server == server for pin in shelf.pins())
        self._seen: set[str] = set()
        self.kept: list[Json] = []
        self.held: list[str] = []
        self.flagged: list[str] = []
        self.drafts: list[Draft] = []

    def take(self, entry: Json) -> None:
        """Keep an entry for the agent, or hold it back and say why."""
        try:
            tool, document = listed_tool(entry)
        except BadSchema as error:
            self.held.append(f"one of them: {error.message}")
            return
        pin = self._shelf.pin(self._server, tool)
        if tool in self._seen or (pin is None and self._room <= 0):
            self.held.append(f"{tool}: it is named twice, or one of more than {MOST_TOOLS}")
            return
        self._seen.add(tool)
        self._room -= pin is None
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
