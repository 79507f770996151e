"""Editing the policies: what a text is worth before it counts. Nothing is saved that does not load, that its check
finds wrong, or whose cases do not hold; what is saved takes effect as any edit of the folder does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from app.domain.backtest import Row
from app.domain.canonical import canonical_bytes
from app.domain.errors import Conflict, InvalidInput
from app.domain.policy import Bundle
from app.domain.policy_lint import ERROR, Finding
from app.domain.signing import sha256
from app.services.backtests import backtest
from app.services.ledger import Ledger

MOST_ROWS: Final = 200
_KEPT: Final = 32


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case: what it expects, what came, and whether both engines agree with it."""

    name: str
    tool: str
    expected: str
    got: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Examined:
    """What a check says about the files of one bundle. A text that does not load has one finding and no cases."""

    findings: tuple[Finding, ...] = ()
    cases: tuple[CaseResult, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether no error is left and every case holds."""
        return not self.errors and all(case.ok for case in self.cases)

    @property
    def errors(self) -> int:
        """How many errors there are; warnings are none."""
        return sum(finding.level == ERROR for finding in self.findings)


@dataclass(frozen=True, slots=True)
class History:
    """What a bundle would have said to the recorded calls of runs that were judged by it: those that it would decide
    otherwise (the newest `MOST_ROWS`), of how many, and how many could not be told."""

    changed: tuple[Row, ...] = ()
    more: int = 0
    looked_at: int = 0
    unknown: int = 0


class PolicyFolder(Protocol):
    """The folder of policies, for reading one bundle and trying another text of it."""

    async def files(self, name: str) -> dict[str, str]:
        """The bundle's own files. Raises NotFound, BadPolicy."""
        ...

    async def examine(self, name: str, files: Mapping[str, str]) -> Examined:
        """Check such a text, away from this process's own time. Raises InvalidInput when that takes too long."""
        ...

    async def load(self, name: str, files: Mapping[str, str]) -> Bundle:
        """The bundle that such a text makes. Raises BadPolicy."""
        ...

    async def write(self, name: str, files: Mapping[str, str]) -> None:
        """Put the text into the folder, each file whole or not at all. Raises Conflict when it cannot be written."""
        ...


def digest_of(files: Mapping[str, str]) -> str:
    """What names these files with these texts."""
    return sha256(canonical_bytes([[name, files[name]] for name in sorted(files)]))


@dataclass(slots=True)
class PolicyDesk:
    """Reads, tries and saves."""

    ledger: Ledger
    folder: PolicyFolder
    _known: dict[str, Examined] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def files(self, name: str) -> dict[str, str]:
        """The bundle's own files as they lie there. Raises NotFound, BadPolicy."""
        return await self.folder.files(name)

    async def examine(self, name: str, files: Mapping[str, str]) -> Examined:
        """What is wrong with a text; asked again about the same one, it is remembered. One at a time: it is heavy."""
        key = f"{name}:{digest_of(files)}"
        async with self._lock:
            found = self._known.get(key)
            if found is None:
                found = self._known[key] = await self.folder.examine(name, files)
                while len(self._known) > _KEPT:
                    del self._known[next(iter(self._known))]
        return found

    async def history(self, name: str, files: Mapping[str, str]) -> History:
        """What such a text would have said to what has happened. Raises BadPolicy."""
        bundle = await self.folder.load(name, files)
        found = History()
        async for step in backtest(self.ledger.read, bundle, policy=name):
            found = _counted(found, step.rows)
        return found

    async def save(self, name: str, files: Mapping[str, str], *, base: str, tested: str) -> None:
        """Put a tested text into force. `base` names the files that the edit began with, `tested` those that were
        looked at. Raises InvalidInput, Conflict (somebody else saved meanwhile), BadPolicy, NotFound."""
        now = await self.folder.files(name)
        if digest_of(now) != base:
            raise Conflict("the files were changed since you opened them; load the page again and put your change in")
        if digest_of(files) != tested:
            raise InvalidInput("this is not the text that was tested; test it once more")
        if files.keys() != now.keys():
            raise InvalidInput("an edit changes the files that are there")
        if not (await self.examine(name, files)).sound:
            raise InvalidInput("an error is left, or a case does not hold")
        await self.folder.write(name, {file: text for file, text in files.items() if now[file] != text})


def _counted(found: History, rows: Sequence[Row]) -> History:
    changed = sorted((*found.changed, *(row for row in rows if row.changed)), key=lambda row: -row.recorded.seq)
    return History(
        changed=tuple(changed[:MOST_ROWS]),
        more=found.more + max(0, len(changed) - MOST_ROWS),
        looked_at=found.looked_at + len(rows),
        unknown=found.unknown + sum(row.decision is None for row in rows),
    )
