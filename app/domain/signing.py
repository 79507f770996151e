"""Ed25519 and the digests that receipts are made of. The only importer of nacl; refuses low-order keys, which other
tools would accept for every message."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey, VerifyKey

from app.domain.errors import InvalidInput

SEED_BYTES: Final = 32
PUBLIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


def sha256(data: bytes) -> str:
    """`sha256:` and the lower-case hex digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def key_id(public: bytes) -> str:
    """`ed25519:` and the hex SHA-256 of the raw public key: a full fingerprint, and still only a lookup key."""
    return "ed25519:" + hashlib.sha256(public).hexdigest()


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE pre-authentication encoding (DSSE protocol v1)."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key in memory. Made from a 32-byte seed; `public` is what verifiers are given."""

    _key: SigningKey
    public: bytes
    key_id: str

    @staticmethod
    def of(seed: bytes) -> Signer:
        """The signer of a seed. Raises InvalidInput when it is not 32 bytes."""
        if len(seed) != SEED_BYTES:
            raise InvalidInput("a signing seed has 32 bytes")
        key = SigningKey(seed)
        public = bytes(key.verify_key)
        return Signer(key, public, key_id(public))

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature (RFC 8032) of `message`."""
        return self._key.sign(message).signature


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key that was checked to be a point of full order."""

    _key: VerifyKey
    public: bytes
    key_id: str

    @staticmethod
    def of(public: bytes) -> Verifier:
        """Raises InvalidInput for a key of the wrong size or of low order (EVIDENCE 2.4)."""
        if len(public) != PUBLIC_BYTES or not crypto_core_ed25519_is_valid_point(public):
            raise InvalidInput("not a valid Ed25519 public key")
        return Verifier(VerifyKey(public), public, key_id(public))

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `message`."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        try:
            self._key.verify(message, signature)
        except (BadSignatureError, CryptoError):
            return False
        return True
