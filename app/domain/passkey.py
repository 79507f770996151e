"""What a passkey signed (W3C Web Authentication Level 3, 6.1 and 7.2): its public key, and an assertion over a
statement of ours. Enough to check a recorded answer without a server, a library or a network."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from app.domain import p256
from app.domain.canonical import b64, canonical_bytes, strict_loads, unb64
from app.domain.errors import InvalidInput
from app.domain.signing import PUBLIC_BYTES, Verifier
from app.domain.sshsig import BadSignature

MAX_BYTES: Final = 16_384
MAX_CREDENTIAL: Final = 512
PREFIX: Final = "webauthn:"
# The one form of the two kinds of key (CTAP2 canonical CBOR, RFC 9053 7.1 and 7.2).
_ES256: Final = bytes.fromhex("a5010203262001215820")
_ES256_Y: Final = bytes.fromhex("225820")
_EDDSA: Final = bytes.fromhex("a4010103272006215820")
_PRESENT_AND_VERIFIED: Final = 0x05
_NOT_AN_ASSERTION: Final = 0x40 | 0x22  # attested data belongs to an enrolment; reserved bits mean nothing yet
_EXTENSIONS: Final = 0x80
_HEAD: Final = 37
_FIELDS: Final = frozenset({"credential", "authenticator_data", "client_data", "signature"})


@dataclass(frozen=True, slots=True)
class PasskeyKey:
    """A public key of a passkey: Ed25519 (`y` is 0 and `x` its bytes), or a point of P-256."""

    cose: bytes
    ed25519: bytes = b""
    x: int = 0
    y: int = 0

    @staticmethod
    def of(cose: bytes) -> PasskeyKey:
        """The key in COSE form. Raises BadSignature for another kind, another form, or a point of low order."""
        if cose.startswith(_EDDSA) and len(cose) == len(_EDDSA) + PUBLIC_BYTES:
            public = cose[len(_EDDSA) :]
            try:
                Verifier.of(public)
            except InvalidInput:
                raise _bad("KEY", "the key is no point of full order: anybody could sign with it") from None
            return PasskeyKey(cose, ed25519=public)
        middle = len(_ES256) + 32
        if cose.startswith(_ES256) and len(cose) == middle + 35 and cose[middle : middle + 3] == _ES256_Y:
            x, y = int.from_bytes(cose[len(_ES256) : middle], "big"), int.from_bytes(cose[middle + 3 :], "big")
            if not p256.on_curve(x, y):
                raise _bad("KEY", "the key is no point of the curve P-256")
            return PasskeyKey(cose, x=x, y=y)
        raise _bad("KEY_TYPE", "only passkeys with ES256 or EdDSA are taken")

    @staticmethod
    def es256(x: bytes, y: bytes) -> PasskeyKey:
        """A key of P-256 from its coordinates. Raises BadSignature."""
        return PasskeyKey.of(_ES256 + x.rjust(32, b"\0") + _ES256_Y + y.rjust(32, b"\0"))

    @staticmethod
    def eddsa(public: bytes) -> PasskeyKey:
        """An Ed25519 key. Raises BadSignature."""
        return PasskeyKey.of(_EDDSA + public)

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether it signed this."""
        if self.ed25519:
            return Verifier.of(self.ed25519).verifies(message, signature)
        return p256.verifies(self.x, self.y, message, signature)


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a browser brought back from a passkey; nothing is proved before `check`."""

    credential: bytes
    authenticator_data: bytes
    client_data: bytes
    signature: bytes

    @staticmethod
    def read(text: str) -> Assertion:
        """From its canonical JSON with base64 in it, as a proof holds it. Raises BadSignature."""
        try:
            if len(text) > MAX_BYTES:
                raise InvalidInput("too long")
            data = text.encode("utf-8", "replace")
            fields = strict_loads(data, max_bytes=MAX_BYTES, max_depth=2)
            if type(fields) is not dict or set(fields) != _FIELDS or canonical_bytes(fields) != data:
                raise InvalidInput("another form")
            if not all(type(value) is str for value in fields.values()):
                raise InvalidInput("another type")
            found = Assertion(**{name: unb64(value) for name, value in fields.items()})
        except InvalidInput as error:
            raise _bad("FORM", f"the passkey's answer does not have its form ({error.message[:80]})") from None
        if not 1 <= len(found.credential) <= MAX_CREDENTIAL:
            raise _bad("FORM", f"a credential's id has at most {MAX_CREDENTIAL} bytes")
        return found

    def text(self) -> str:
        """The form in which it is kept."""
        fields = {name: b64(getattr(self, name)) for name in _FIELDS}
        return canonical_bytes(fields).decode("ascii")

    @property
    def key_id(self) -> str:
        """The id under which its key was enrolled."""
        return key_id(self.credential)

    @property
    def origin(self) -> str:
        """The page on which it was made, as the browser says. Raises BadSignature."""
        return str(self._said()["origin"])

    def check(self, key: PasskeyKey, statement: bytes) -> None:
        """Raises BadSignature unless the key's owner was present, was verified, and signed this very statement."""
        said = self._said()
        if said["type"] != "webauthn.get" or said.get("crossOrigin", False) is not False:
            raise _bad("FORM", "it was not made on a page of Helm for an answer")
        if said["challenge"] != challenge_of(statement):
            raise _bad("SIGNATURE", "the passkey signed other words than these")
        self._check_flags(str(said["origin"]))
        signed = self.authenticator_data + hashlib.sha256(self.client_data).digest()
        if not key.verifies(signed, self.signature):
            raise _bad("SIGNATURE", "the signature is not this passkey's over these words")

    def _said(self) -> dict[str, object]:
        try:
            said = strict_loads(self.client_data, max_bytes=MAX_BYTES, max_depth=4)
        except InvalidInput:
            said = None
        if type(said) is not dict or not all(type(said.get(name)) is str for name in ("type", "challenge", "origin")):
            raise _bad("FORM", "what the browser says of the page cannot be read")
        return said

    def _check_flags(self, origin: str) -> None:
        data = self.authenticator_data
        if len(data) < _HEAD or (len(data) == _HEAD) == bool(data[32] & _EXTENSIONS):
            raise _bad("FORM", "what the passkey says of itself has not its size")
        if data[32] & _NOT_AN_ASSERTION:
            raise _bad("FORM", "what the passkey says of itself is of an enrolment")
        if data[32] & _PRESENT_AND_VERIFIED != _PRESENT_AND_VERIFIED:
            raise _bad("PRESENCE", "the passkey did not check who used it (a PIN, a finger, a face)")
        if data[:32] != hashlib.sha256(rp_id(origin).encode()).digest():
            raise _bad("FORM", "the passkey belongs to another site")


def key_id(credential: bytes) -> str:
    """The id of a passkey's key: that of its credential, which a browser needs to find it again."""
    return PREFIX + base64url(credential)


def credential_of(id: str) -> bytes:
    """The credential of a key's id."""
    text = id.removeprefix(PREFIX)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def challenge_of(statement: bytes) -> str:
    """What a browser is asked to have signed for a statement."""
    return base64url(hashlib.sha256(statement).digest())


def rp_id(origin: str) -> str:
    """The host of an origin: passkeys are bound to that ("" where there is none)."""
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def base64url(data: bytes) -> str:
    """RFC 4648 section 5, without padding."""
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _bad(code: str, message: str) -> BadSignature:
    return BadSignature(f"PASSKEY_{code}", message)
