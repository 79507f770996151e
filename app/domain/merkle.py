"""The RFC 6962 tree over the log: leaf and node hashing, and a frontier that grows by one leaf in O(log n)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
TILE_LEVEL: Final = 8
TILE_LEAVES: Final = 1 << TILE_LEVEL


def leaf_hash(line: bytes) -> bytes:
    """SHA-256(0x00 || line) (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x00" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right) (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class Frontier:
    """The complete subtrees of a tree of `size` leaves, largest first: all that appending and the root need."""

    size: int = 0
    peaks: list[tuple[int, bytes]] = field(default_factory=list)  # (level, hash), levels strictly falling

    def append(self, leaf: bytes, level: int = 0) -> None:
        """Add one leaf hash, or the hash of a complete subtree of 2**level leaves on a boundary of that size."""
        self.size += 1 << level
        while self.peaks and self.peaks[-1][0] == level:
            _, left = self.peaks.pop()
            leaf = node_hash(left, leaf)
            level += 1
        self.peaks.append((level, leaf))

    def root(self) -> bytes:
        """MTH of the leaves so far; SHA-256 of nothing for the empty tree."""
        if not self.peaks:
            return EMPTY_ROOT
        digest = self.peaks[-1][1]
        for _, left in reversed(self.peaks[:-1]):
            digest = node_hash(left, digest)
        return digest

    def copy(self) -> Frontier:
        """An independent frontier: the writer tries a batch on a copy and keeps it only after COMMIT."""
        return Frontier(self.size, list(self.peaks))


def frontier_of(leaves: Iterable[bytes]) -> Frontier:
    """The frontier after appending all `leaves` (hashes) in order."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier


def tile_hash(leaves: Sequence[bytes]) -> bytes:
    """Root of one complete tile of 256 leaf hashes; kept so that a start needs not hash the whole log."""
    return frontier_of(leaves).root()
