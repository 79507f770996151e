"""Keys with which people sign answers: how one is enrolled, what is signed, and whose signature a proof is. The same
rules hold for the server that takes an answer and for whoever checks the log later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from app.domain.canonical import b64, canonical_bytes, strict_loads, unb64
from app.domain.content import SIGNED_ANSWER, SIGNED_ENROLMENT, Proof
from app.domain.errors import HelmError, InvalidInput
from app.domain.passkey import Assertion, PasskeyKey
from app.domain.payloads_log import KeyAdded
from app.domain.sshsig import BadSignature, SshKey, SshSignature
from app.domain.standing import ApproverKey

ROLE: Final = "approver:"
CHALLENGE_BYTES: Final = 32
_MOST_PROOF: Final = 32_768

PublicKey: TypeAlias = SshKey | PasskeyKey


class BadProof(HelmError):
    """A proof that proves nothing. `code` is the verifier's: E_APPR_KEY (no key that counts), E_APPR_SIG (not over
    these words); for an enrolment E_KEY_INVALID_POINT, E_KEY_ROLE, E_KEY_POP."""

    status = 403

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def enrol_statement(log: str, account: str, key_id: str, challenge: bytes) -> bytes:
    """What a person signs to show that they hold a key: for this log, this account, and this once."""
    said = {"v": 1, "log": log, "account": account, "key": key_id, "challenge": b64(challenge)}
    return canonical_bytes(said)


def enrol_proof(proof: Proof, challenge: bytes) -> Proof:
    """A proof of an enrolment as it is kept: with its challenge, so that the statement can be made again."""
    return Proof(proof.type, canonical_bytes({"challenge": b64(challenge), "proof": proof.data}).decode())


def public_of(type: str, public: str) -> PublicKey:
    """The key that a receipt or the standing holds. Raises BadProof for one that is none, or of low order."""
    try:
        data = unb64(public)
        if type == "webauthn":
            return PasskeyKey.of(data)
        key = SshKey.of(data)
    except (BadSignature, InvalidInput) as error:
        raise BadProof("E_KEY_INVALID_POINT", error.message) from None
    if key.type != type:
        raise BadProof("E_KEY_INVALID_POINT", "the key is of another type than it is said to be")
    return key


def signer_of(proof: Proof) -> str:
    """The id of the key that a proof claims to be of. Raises BadProof when it cannot be read."""
    return _read(proof)[0]


def check_proof(proof: Proof, statement: bytes, account: str, keys: Mapping[str, ApproverKey]) -> str:
    """The id of the person's own, enrolled and unrevoked key that signed the statement. Raises BadProof."""
    id, signature = _read(proof)
    key = in_force(id, account, keys)
    _verify(signature, public_of(key.type, key.public), statement, SIGNED_ANSWER)
    return id


def in_force(id: str, account: str, keys: Mapping[str, ApproverKey]) -> ApproverKey:
    """The person's own key of this id, while it is not revoked. Raises BadProof."""
    key = keys.get(id)
    if key is None:
        raise BadProof("E_APPR_KEY", "the key that signed it is not enrolled")
    if key.account != account:
        raise BadProof("E_APPR_KEY", "the key that signed it is somebody else's")
    if key.revoked_seq:
        raise BadProof("E_APPR_KEY", "the key that signed it was revoked")
    return key


def check_enrolment(added: KeyAdded, log: str) -> PublicKey:
    """The key of an enrolment, once it is certain that whoever enrolled it holds it. Raises BadProof."""
    account = added.role.removeprefix(ROLE)
    if account == added.role or not account:
        raise BadProof("E_KEY_ROLE", "the key is not that of an approver")
    key = public_of(added.key_type, added.public)
    try:
        kept = strict_loads(added.proof.data.encode("utf-8", "replace"), max_bytes=_MOST_PROOF, max_depth=2)
        challenge, inner = unb64(kept["challenge"]), str(kept["proof"])
    except (InvalidInput, KeyError, TypeError):
        raise BadProof("E_KEY_POP", "the proof that its owner holds the key cannot be read") from None
    if len(challenge) != CHALLENGE_BYTES:
        raise BadProof("E_KEY_POP", "the key's challenge has not its size")
    try:
        id, signature = _read(Proof(added.proof.type, inner))
        if id != added.key_id:
            raise BadProof("E_KEY_POP", "the proof is of another key")
        _verify(signature, key, enrol_statement(log, account, id, challenge), SIGNED_ENROLMENT)
    except BadProof as error:
        raise BadProof("E_KEY_POP", error.message) from None
    return key


def _read(proof: Proof) -> tuple[str, SshSignature | Assertion]:
    try:
        if proof.type == "sshsig":
            signature = SshSignature.read(proof.data)
            return signature.key.fingerprint, signature
        if proof.type == "webauthn":
            assertion = Assertion.read(proof.data)
            return assertion.key_id, assertion
    except BadSignature as error:
        code = "E_APPR_KEY" if error.code in ("SSH_KEY", "SSH_KEY_TYPE") else "E_APPR_SIG"
        raise BadProof(code, error.message) from None
    raise BadProof("E_APPR_KEY", "it is not signed")


def _verify(signature: SshSignature | Assertion, key: PublicKey, statement: bytes, namespace: str) -> None:
    try:
        if isinstance(signature, SshSignature) and signature.key == key:
            signature.check(statement, namespace)
            return
        if isinstance(signature, Assertion) and isinstance(key, PasskeyKey):
            signature.check(key, statement)
            return
    except BadSignature as error:
        raise BadProof("E_APPR_SIG", error.message) from None
    raise BadProof("E_APPR_KEY", "the proof is of another type than the key")
