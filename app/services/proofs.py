"""Signatures of answers, checked against the keys that the log itself enrolled."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.approverkey import BadProof, check_proof
from app.domain.content import Proof
from app.domain.errors import Forbidden
from app.domain.passkey import Assertion
from app.services.ledger import Ledger


class KeyProofs:
    """`origins`: the pages on which a passkey's answer may have been given."""

    def __init__(self, ledger: Ledger, origins: Sequence[str]) -> None:
        self._ledger, self._origins = ledger, frozenset(origins)

    def check(self, proof: Proof, statement: bytes, account: str) -> str:
        """The id of the person's own key that signed the statement. Raises Forbidden."""
        try:
            id = check_proof(proof, statement, account, self._ledger.standing.keys)
        except BadProof as error:
            raise Forbidden(f"{error.message}; see which keys are yours: helm approver list") from None
        if proof.type == "webauthn" and Assertion.read(proof.data).origin not in self._origins:
            raise Forbidden("the passkey was used on a page that is not one of this server's (HELM_ORIGINS)")
        return id
