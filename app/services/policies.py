"""Which policies are in force: each text is announced in the log before the first verdict that it gives. An edit is
taken whole or not at all, and a broken one is said until it is mended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

from app.domain.errors import BadPolicy, HelmError
from app.domain.events import Draft
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads_log import NoticeCleared, PolicyRejected, PolicySet
from app.domain.policy_lint import load_finding
from app.domain.standing import POLICY_NOTICE, rejection_text
from app.domain.times import text_of
from app.ports import Clock, Library
from app.services.ledger import Ledger

LOOK_S: Final = 2.0
SETTLE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class BundleChange:
    """A bundle with another text: its digest, and the digest of the listing of what differs."""

    name: str
    digest: str
    diff_digest: str


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit that has loaded. `stamp` and `library` are the files' own."""

    stamp: tuple[tuple[str, int, int, int, int], ...]
    library: object
    changes: tuple[BundleChange, ...]


class PolicyFiles(Protocol):
    """The folder of policies, looked at again and again."""

    @property
    def settling(self) -> bool:
        """Whether it is being written at this moment."""
        ...

    def look(self) -> Edit | None:
        """What was edited since, None when nothing was. Raises BadPolicy until a broken edit is mended."""
        ...

    def take(self, edit: Edit) -> None:
        """Put an edit into force, in one step."""
        ...


class PolicyWatch:
    """Keeps what is in force and what is in the log together."""

    def __init__(self, ledger: Ledger, files: PolicyFiles, clock: Clock) -> None:
        self._ledger, self._files, self._clock = ledger, files, clock
        self._since = text_of(clock.now_ms())
        self._notice = ""
        self._rejected: PolicyRejected | None = None

    def notice(self) -> str:
        """What is wrong with the files; empty when they are in force as they lie there."""
        return self._notice

    async def announce(self, library: Library) -> None:
        """A `policy.set` receipt for each bundle whose text is not the one that was recorded last."""
        known: dict[str, str] = {}
        after = -1
        while page := await self._ledger.read.events(after=after, run=SYSTEM_RUN, limit=500):
            known |= {e.payload.bundle: e.payload.digest for e in page if isinstance(e.payload, PolicySet)}
            after = page[-1].seq
        new = [bundle for bundle in library.bundles() if known.get(bundle.name) != bundle.digest]
        if new:
            drafts = [Draft(PolicySet(bundle.name, bundle.digest, "file")) for bundle in new]
            await self._ledger.record(SYSTEM_RUN, *drafts)

    async def watch(self) -> None:
        """Look at the files while the server runs."""
        while True:
            await asyncio.sleep(SETTLE_S if self._files.settling and not self._notice else LOOK_S)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - supervisor: a fault here must not end the watching
                self._notice = f"the policies cannot be looked at ({type(error).__name__}); {self._in_force()}"

    async def look(self) -> None:
        """Look once: announce and take an edit that loads, keep what is in force over one that does not."""
        try:
            edit = await asyncio.to_thread(self._files.look)
            if edit is not None:
                await self._take(edit)
            if not self._files.settling:
                self._notice = ""
                await self._mended()
        except BadPolicy as error:
            self._notice = f"{_place(error.message)}; {self._in_force()}"
            await self._reject(error)
        except HelmError as error:
            self._notice = f"an edit of the policies waits for the log ({error.message}); {self._in_force()}"

    async def _take(self, edit: Edit) -> None:
        """In this order: a crash in between leaves an announcement without a verdict, never a verdict without one."""
        if edit.changes:
            drafts = [Draft(PolicySet(c.name, c.digest, "file", c.diff_digest)) for c in edit.changes]
            await self._ledger.record(SYSTEM_RUN, *drafts)
        self._files.take(edit)
        self._since = text_of(self._clock.now_ms())

    async def _reject(self, error: BadPolicy) -> None:
        """Record an edit that does not load: once, as long as it is broken in the same way."""
        found = load_finding(error.message)
        rejected = PolicyRejected(found.file[:300], found.line, found.message[:2_000])
        standing = self._ledger.standing.notices.get(POLICY_NOTICE)
        if rejected == self._rejected or (standing is not None and standing.text == rejection_text(rejected)):
            return
        try:
            await self._ledger.record(SYSTEM_RUN, Draft(rejected))
            self._rejected = rejected
        except HelmError:
            return  # every page says it all the same, and the next look records it

    async def _mended(self) -> None:
        """The files are in force as they lie there: nobody has to look at them any more."""
        self._rejected = None
        if POLICY_NOTICE in self._ledger.standing.notices:
            await self._ledger.record(SYSTEM_RUN, Draft(NoticeCleared(POLICY_NOTICE, "system")))

    def _in_force(self) -> str:
        return f"the rules of {self._since} are still in force"


def _place(message: str) -> str:
    found = load_finding(message)
    if not found.file:
        return f"the policies do not load: {found.message}"
    return f"policy file {found.file} line {found.line}: {found.message}"
