"""The keys with which people sign answers: enrolled with proof that their owner holds them, listed, revoked. What is
enrolled is in the log, so that anybody who has the log can tell whose signature an answer bears."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from app.domain.approval import Answerer
from app.domain.approverkey import CHALLENGE_BYTES, ROLE, BadProof, check_enrolment, enrol_proof, enrol_statement
from app.domain.canonical import b64, unb64
from app.domain.content import Proof
from app.domain.errors import AlreadyClaimed, Conflict, Forbidden, InvalidInput, NotFound
from app.domain.events import Draft
from app.domain.ids import SYSTEM_RUN
from app.domain.passkey import credential_of, key_id, rp_id
from app.domain.payloads_log import KeyAdded, KeyRevoked
from app.domain.receipt import Actor
from app.domain.sshsig import SshKey
from app.domain.standing import ApproverKey
from app.ports import Clock, Credential, Passkeys
from app.services.ledger import Ledger

CHALLENGE_MS: Final = 10 * 60_000
MOST_KEYS: Final = 20  # of one person, in force
MAX_NAME: Final = 60
MAX_REASON: Final = 500
_MOST_OPEN: Final = 1_000
_MOST_OPEN_EACH: Final = 5


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a person has to sign before `expires_ms`; good for one attempt."""

    value: bytes
    account: str
    expires_ms: int
    credential: Credential | None = None  # the passkey that was made for it and has not signed yet

    @property
    def text(self) -> str:
        """As it travels: standard base64."""
        return b64(self.value)


class ApproverKeys:
    """`origins`: the pages on which passkeys may be made."""

    def __init__(self, ledger: Ledger, passkeys: Passkeys, clock: Clock, origins: Sequence[str]) -> None:
        self._ledger, self._passkeys, self._clock, self._origins = ledger, passkeys, clock, tuple(origins)
        self._open: OrderedDict[bytes, Challenge] = OrderedDict()

    def keys(self, account: str = "") -> list[ApproverKey]:
        """The keys of a person, or everybody's, as they were enrolled; revoked ones too."""
        found = [key for key in self._ledger.standing.keys.values() if account in ("", key.account)]
        return sorted(found, key=lambda key: key.added_seq)

    def challenge(self, account: str) -> Challenge:
        """A new challenge, good for ten minutes and one attempt. An earlier one of many is given up for it."""
        now = self._clock.now_ms()
        for value in [value for value, held in self._open.items() if held.expires_ms <= now]:
            del self._open[value]
        mine = [value for value, held in self._open.items() if held.account == account]
        for value in mine[: max(0, len(mine) - _MOST_OPEN_EACH + 1)]:
            del self._open[value]
        if len(self._open) >= _MOST_OPEN:
            raise Conflict("too many keys are being enrolled at the moment; try again in ten minutes")
        made = Challenge(self._clock.entropy(CHALLENGE_BYTES), account, now + CHALLENGE_MS)
        self._open[made.value] = made
        return made

    async def enroll_ssh(self, account: str, line: str, signature: str, challenge: str, *, name: str) -> ApproverKey:
        """Enrol an SSH key: `signature` is over the enrolment's statement, in the namespace `helm-enroll`.

        Raises BadSignature (not a key that is taken), InvalidInput (challenge, name), Forbidden (signature), Conflict
        (enrolled before), LedgerUnavailable.
        """
        held = self._take(account, challenge)
        key = SshKey.parse(line)
        proof = Proof("sshsig", signature)
        return await self._enroll(held, key.type, key.fingerprint, key.blob, proof, name or key.comment)

    def passkey_options(self, account: str, origin: str) -> tuple[Challenge, Mapping[str, Any]]:
        """What the browser needs to make a passkey for a page, and the challenge for it. Raises InvalidInput for a page
        that is not one of ours."""
        if origin not in self._origins or not rp_id(origin):
            raise InvalidInput("passkeys are made on a page of this server; add its address to HELM_ORIGINS")
        known = [credential_of(key.id) for key in self.keys(account) if key.type == "webauthn"]
        held = self.challenge(account)
        return held, self._passkeys.options(account, origin, held.value, known)

    def register_passkey(self, account: str, challenge: str, response: str) -> tuple[str, bytes]:
        """Take what the browser made; its key id, and the statement that the new passkey has to sign: making one proves
        nothing about who holds it. Raises InvalidInput, BadSignature."""
        held = self._take(account, challenge)
        credential = self._passkeys.credential(response, held.value, self._origins)
        self._open[held.value] = replace(held, credential=credential)
        id = key_id(credential.id)
        return id, enrol_statement(self._ledger.log, account, id, held.value)

    async def enroll_passkey(self, account: str, challenge: str, proof: str, *, name: str) -> ApproverKey:
        """Enrol the passkey that was registered for a challenge, now that it has signed. Raises as `enroll_ssh`."""
        held = self._take(account, challenge)
        if held.credential is None:
            raise InvalidInput("no passkey was made for this challenge; begin again")
        made = held.credential
        return await self._enroll(held, "webauthn", key_id(made.id), made.public, Proof("webauthn", proof), name)

    async def revoke(self, id: str, *, who: Answerer, reason: str = "") -> ApproverKey:
        """Revoke a key, for ever: answers that it signed before stay good. One's own, or as an owner anybody's.

        Raises NotFound, Forbidden, Conflict (revoked already), InvalidInput, LedgerUnavailable.
        """
        key = self._ledger.standing.keys.get(id)
        if key is None:
            raise NotFound("there is no such key; list them with: helm approver list")
        if key.account != who.account and who.role != "owner":
            raise Forbidden("only its owner, or an owner of this Helm, may revoke a key")
        if len(reason) > MAX_REASON:
            raise InvalidInput(f"a reason has at most {MAX_REASON} characters")
        revoked = KeyRevoked(id, ROLE + key.account, reason, who.account)
        try:
            (event,) = await self._ledger.record(SYSTEM_RUN, Draft(revoked, Actor("human", who.account, "client")))
        except AlreadyClaimed:
            raise Conflict("the key was revoked already") from None
        return _replaced(key, event.seq)

    async def _enroll(
        self,
        held: Challenge,
        type: Literal["ssh-ed25519", "sk-ssh-ed25519", "webauthn"],
        id: str,
        public: bytes,
        proof: Proof,
        name: str,
    ) -> ApproverKey:
        self._check_new(held.account, id, b64(public))
        added = KeyAdded(
            role=ROLE + held.account,
            key_type=type,
            key_id=id,
            public=b64(public),
            name=_named(name),
            by=held.account,
            proof=enrol_proof(proof, held.value),
        )
        try:
            check_enrolment(added, self._ledger.log)
        except BadProof as error:
            raise Forbidden(f"the key was not enrolled: {error.message}") from None
        try:
            (event,) = await self._ledger.record(SYSTEM_RUN, Draft(added, Actor("human", held.account, "client")))
        except AlreadyClaimed:
            raise Conflict("the key was enrolled in this moment") from None
        return ApproverKey(id, held.account, type, added.public, added.name, event.seq, event.ts)

    def _check_new(self, account: str, id: str, public: str) -> None:
        known = self._ledger.standing.keys
        same = known.get(id) or next((key for key in known.values() if key.public == public), None)
        if same is not None and same.revoked_seq:
            raise Conflict("this key was revoked, and a revoked key does not come back; make a new one")
        if same is not None:
            whose = "for you" if same.account == account else "by somebody else"
            raise Conflict(f"this key is enrolled already, {whose}; each person has keys of their own")
        if sum(key.account == account and not key.revoked_seq for key in known.values()) >= MOST_KEYS:
            raise Conflict(f"you have {MOST_KEYS} keys; revoke one first")

    def _take(self, account: str, challenge: str) -> Challenge:
        """The challenge, which nobody can use again."""
        try:
            held = self._open.pop(unb64(challenge[:64]), None)
        except InvalidInput:
            held = None
        if held is None or held.account != account or held.expires_ms <= self._clock.now_ms():
            raise InvalidInput("the challenge was used, is older than ten minutes, or is somebody else's; begin again")
        return held


def _named(name: str) -> str:
    words = " ".join("".join(char if char.isprintable() else " " for char in name).split())
    return words[:MAX_NAME] or "unnamed"


def _replaced(key: ApproverKey, seq: int) -> ApproverKey:
    return ApproverKey(key.id, key.account, key.type, key.public, key.name, key.added_seq, key.added_ts, seq)
