"""What a verifier asks of approvers' keys: that whoever enrolled one holds it, that no key stands for two, and that an
answer which is said to be signed was signed by its person's key, in force at that place of the log (EVIDENCE 4, 8)."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.approverkey import BadProof, check_enrolment, check_proof
from app.domain.canonical import unb64
from app.domain.errors import InvalidInput
from app.domain.logreport import Findings
from app.domain.passkey import PasskeyKey
from app.domain.payloads import ApprovalDecided, ApprovalRequested
from app.domain.payloads_log import KeyAdded, KeyRevoked
from app.domain.receipt import Receipt
from app.domain.standing import Standing


def check_added(findings: Findings, receipt: Receipt, standing: Standing, signers: Iterable[bytes]) -> None:
    """A key that is enrolled, against those before it and against the keys that sign the log itself."""
    p = receipt.payload
    if not isinstance(p, KeyAdded):
        return
    try:
        key = check_enrolment(p, receipt.log)
    except BadProof as error:
        findings.add(error.code, receipt.seq, error.message)
        return
    raw = key.ed25519 if isinstance(key, PasskeyKey) else key.public
    if p.key_id in standing.keys or raw in signers or any(known.public == p.public for known in standing.keys.values()):
        findings.add("E_KEY_DUP", receipt.seq, "the key was enrolled before, or signs the log itself")


def check_revoked(findings: Findings, receipt: Receipt, standing: Standing) -> None:
    """A revocation names a key that was in force."""
    p = receipt.payload
    if not isinstance(p, KeyRevoked):
        return
    key = standing.keys.get(p.key_id)
    if key is None or key.revoked_seq or p.role != f"approver:{key.account}":
        findings.add("E_KEY_REVOKED", receipt.seq, "it revokes a key that was not in force, or somebody else's")


def check_answer(
    findings: Findings, receipt: Receipt, p: ApprovalDecided, asked: ApprovalRequested, standing: Standing
) -> str:
    """The id of the key that signed an answer, "" where none did. A denial needs no key: it releases nothing."""
    if p.proof.type == "none":
        if asked.proof == "key" and p.decision == "approve":
            findings.add("E_APPR_KEY", receipt.seq, "the question asked for a signature, and there is none")
        else:
            findings.add("W_APPR_OPERATOR_ASSERTED", receipt.seq, "the server's word is the only proof of it")
        return ""
    try:
        return check_proof(p.proof, _bytes(p.statement), p.approver, standing.keys)
    except BadProof as error:
        findings.add(error.code, receipt.seq, error.message)
        return ""


def _bytes(statement: str) -> bytes:
    try:
        return unb64(statement)
    except InvalidInput:
        return b""  # found and named where the statement itself is checked
