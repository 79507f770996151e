"""Where no key is enrolled: every proof is refused."""

from __future__ import annotations

from app.domain.content import Proof
from app.domain.errors import Forbidden


class NoProofs:
    """Knows no key."""

    def check(self, proof: Proof, statement: bytes, account: str) -> str:
        """Always Forbidden: what nobody can check is no proof."""
        raise Forbidden("no key is enrolled for you; enrol one under Settings > Approver keys")
