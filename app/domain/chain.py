"""Where the next receipt goes: numbers it, links it to its run, commits to all earlier receipts by root, and signs it.
Nothing here is durable; the ledger keeps what was extended only after the store has committed it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from app.domain.errors import InvalidInput, RunEnded
from app.domain.events import Draft, Event, Local, claims_of
from app.domain.ids import SYSTEM_RUN
from app.domain.merkle import Frontier, leaf_hash
from app.domain.payload import Payload
from app.domain.payloads import RunClosed
from app.domain.receipt import Position, genesis_prev, receipt_id, seal
from app.domain.schema import contents_of, encode
from app.domain.signing import Signer

Entropy: TypeAlias = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of one run's chain."""

    run_seq: int
    last_id: str
    lamport: int
    closed: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """When: wall clock as text, monotonic nanoseconds."""

    ts: str
    mono_ns: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """A signed line ready to be stored, and the event that it is."""

    line: bytes
    leaf: bytes
    event: Event
    claims: tuple[str, ...]


@dataclass(slots=True)
class Chain:
    """The growing end of the log. Owned by the one writer; a trial works on a copy of what it touches."""

    log: str
    signer: Signer
    epoch: int
    boot: str
    frontier: Frontier = field(default_factory=Frontier)
    heads: dict[str, Head] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of receipts in the log; also the next `seq`."""
        return self.frontier.size

    def extend(
        self, run: str, head: Head | None, drafts: Sequence[Draft], at: Moment, entropy: Entropy
    ) -> list[Sealed]:
        """Seal drafts at the end of a run. All or none: on an error the chain is as it was.

        Raises RunEnded after the run's close, NotCanonical, TooLarge, InvalidInput.
        """
        frontier = self.frontier.copy()
        sealed: list[Sealed] = []
        for draft in drafts:
            if head is not None and head.closed:
                raise RunEnded("the run has ended; nothing can be added to it")
            refs = _resolve(draft.refs, sealed)
            entry = self._seal(run, head, draft, refs, at, frontier, entropy)
            frontier.append(entry.leaf)
            head = _next(head, entry.event)
            sealed.append(entry)
        self.frontier = frontier
        if head is not None:
            self.heads[run] = head
        return sealed

    def _seal(
        self,
        run: str,
        head: Head | None,
        draft: Draft,
        refs: Mapping[str, str],
        at: Moment,
        frontier: Frontier,
        entropy: Entropy,
    ) -> Sealed:
        payload = _sealed_contents(draft.payload, entropy)
        position = Position(
            log=self.log,
            seq=frontier.size,
            root="sha256:" + frontier.root().hex(),
            run=run,
            run_seq=head.run_seq + 1 if head else 0,
            prev=head.last_id if head else genesis_prev(self.log, run),
            lamport=head.lamport + 1 if head else 1,
            ts=at.ts,
            mono_ns=at.mono_ns,
            boot=self.boot,
            epoch=self.epoch,
        )
        line = seal(position, payload, encode(payload), draft.actor, refs, self.signer)
        event = Event(
            seq=position.seq,
            run=run,
            run_seq=position.run_seq,
            id=receipt_id(line),
            kind=payload.kind,
            ts=at.ts,
            actor=draft.actor,
            refs=refs,
            payload=payload,
            contents=contents_of(payload),
        )
        return Sealed(line, leaf_hash(line), event, claims_of(payload, refs, run))


def _next(head: Head | None, event: Event) -> Head:
    closed = isinstance(event.payload, RunClosed)
    return Head(event.run_seq, event.id, (head.lamport if head else 0) + 1, closed and event.run != SYSTEM_RUN)


def _resolve(refs: Mapping[str, str | Local], sealed: Sequence[Sealed]) -> dict[str, str]:
    resolved = {}
    for name, to in refs.items():
        if isinstance(to, Local) and not 0 <= to.index < len(sealed):
            raise InvalidInput(f"{name} refers to a draft that does not come before it")
        resolved[name] = sealed[to.index].event.id if isinstance(to, Local) else to
    return resolved


def _sealed_contents(payload: Payload, entropy: Entropy) -> Payload:
    changes = {
        name: content.sealed(entropy(32)) for name, content in contents_of(payload).items() if not content.digest
    }
    return dataclasses.replace(payload, **changes) if changes else payload  # type: ignore[type-var]
