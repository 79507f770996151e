"""A passkey made of software: what a browser and an authenticator would bring back, well formed or bent at will. Its
signatures come from `cryptography`, which the product's own check knows nothing of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Final

from app.domain.passkey import Assertion, PasskeyKey, base64url, challenge_of
from cbor2 import dumps
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

ORIGIN: Final = "https://helm.example"
UP: Final = 0x01
UV: Final = 0x04
AT: Final = 0x40


def es256(secret: int = 7) -> EllipticCurvePrivateKey:
    return derive_private_key(secret, SECP256R1())


def eddsa(seed: bytes = b"p" * 32) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed)


@dataclass
class SoftPasskey:
    """One credential."""

    key: EllipticCurvePrivateKey | Ed25519PrivateKey = field(default_factory=es256)
    credential: bytes = b"credential-of-ana"
    origin: str = ORIGIN
    rp: str = "helm.example"
    flags: int = UP | UV

    @property
    def public(self) -> PasskeyKey:
        if isinstance(self.key, Ed25519PrivateKey):
            return PasskeyKey.eddsa(self.key.public_key().public_bytes_raw())
        numbers = self.key.public_key().public_numbers()
        return PasskeyKey.es256(numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big"))

    def signature(self, message: bytes) -> bytes:
        if isinstance(self.key, Ed25519PrivateKey):
            return self.key.sign(message)
        return self.key.sign(message, ECDSA(SHA256()))

    def client_data(self, type: str, challenge: str, **more: Any) -> bytes:
        """What the browser says of the page."""
        said = {"type": type, "challenge": challenge, "origin": self.origin, "crossOrigin": False, **more}
        return json.dumps(said, separators=(",", ":")).encode()

    def authenticator_data(self, flags: int | None = None, counter: int = 1, tail: bytes = b"") -> bytes:
        head = hashlib.sha256(self.rp.encode()).digest()
        return head + bytes([self.flags if flags is None else flags]) + counter.to_bytes(4, "big") + tail

    def assertion(self, statement: bytes, **client: Any) -> Assertion:
        """The answer to `navigator.credentials.get`."""
        data = self.client_data(client.pop("type", "webauthn.get"), client.pop("challenge", challenge_of(statement)))
        head = self.authenticator_data()
        return Assertion(self.credential, head, data, self.signature(head + hashlib.sha256(data).digest()))

    def registration(self, challenge: bytes, *, cose: bytes | None = None, flags: int | None = None) -> str:
        """The answer to `navigator.credentials.create`, as the page sends it on."""
        flags = (self.flags if flags is None else flags) | AT
        size = len(self.credential).to_bytes(2, "big")
        tail = bytes(16) + size + self.credential + (self.public.cose if cose is None else cose)
        made = dumps({"fmt": "none", "attStmt": {}, "authData": self.authenticator_data(flags, 0, tail)})
        return json.dumps(
            {
                "id": base64url(self.credential),
                "rawId": base64url(self.credential),
                "type": "public-key",
                "response": {
                    "clientDataJSON": base64url(self.client_data("webauthn.create", base64url(challenge))),
                    "attestationObject": base64url(made),
                },
            }
        )
