"""Proofs that people and their programs lay beside a run: a change record, a CI result, a way back. Rules can ask for
them. An agent has no door that leads here."""

from __future__ import annotations

import re
from typing import Final

from app.domain.content import Content
from app.domain.errors import InvalidInput, NotFound, RunEnded
from app.domain.events import Draft
from app.domain.ids import is_digest
from app.domain.payloads import EvidenceAttached
from app.domain.receipt import Actor
from app.domain.run import Evidence
from app.services.ledger import Ledger

MAX_REF: Final = 500
MAX_TEXT: Final = 100_000
MOST: Final = 50
_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


class EvidenceDesk:
    """Attaches evidence to runs."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def attach(self, run: str, kind: str, ref: str, *, by: str, digest: str = "", text: str = "") -> Evidence:
        """Lay a proof beside a live run, durably; the newest of a kind counts. `digest` is `sha256:` and 64 hex digits.

        Raises InvalidInput, NotFound, RunEnded, LedgerUnavailable.
        """
        if _KIND.fullmatch(kind) is None:
            raise InvalidInput("a kind of evidence is named by lower-case letters, digits and _, at most 40")
        if not ref.strip() or len(ref) > MAX_REF or len(text) > MAX_TEXT:
            raise InvalidInput(
                f"evidence names what it is (at most {MAX_REF} characters), with at most {MAX_TEXT} of text"
            )
        if digest and not is_digest(digest):
            raise InvalidInput("a digest is sha256: and 64 hex digits")
        found = await self._ledger.run(run)
        if found is None:
            raise NotFound("there is no such run")
        if not found.live:
            raise RunEnded("the run has ended; evidence is laid beside a run that goes on")
        if kind not in found.evidence and len(found.evidence) >= MOST:
            raise InvalidInput(f"a run has at most {MOST} kinds of evidence")
        said = EvidenceAttached(kind, ref, by, digest or None, Content.text(text, MAX_TEXT * 4) if text else None)
        (event,) = await self._ledger.record(run, Draft(said, Actor("human", by, "client")))
        return Evidence(kind, ref, digest, by, event.ts)
