"""SSH signatures as tests make them: with a seed, without a file, also as a security key would, and bent at will."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

from app.domain.signing import Signer
from app.domain.sshsig import SshKey

PLAIN: Final = b"ssh-ed25519"
HARDWARE: Final = b"sk-ssh-ed25519@openssh.com"


def string(data: bytes) -> bytes:
    """An SSH string."""
    return len(data).to_bytes(4, "big") + data


def enclosed(blob: bytes) -> str:
    """The armour around a signature's bytes."""
    text = base64.b64encode(blob).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def armor(key: bytes, namespace: str, inner: bytes, hash_name: bytes = b"sha512") -> str:
    """A whole signature of given parts."""
    head = b"SSHSIG" + (1).to_bytes(4, "big")
    return enclosed(head + b"".join(string(part) for part in (key, namespace.encode(), b"", hash_name, inner)))


@dataclass(frozen=True)
class SoftKey:
    """A private key; with an application it signs as a security key does."""

    signer: Signer
    application: str = ""

    @property
    def ssh(self) -> SshKey:
        """Its public half."""
        algorithm = HARDWARE if self.application else PLAIN
        return SshKey(algorithm.decode(), self.signer.public, self.application)

    def sign(self, message: bytes, namespace: str, *, flags: int = 5, counter: int = 3) -> str:
        """The armoured signature of a message."""
        return enclosed(self.blob(message, namespace, flags=flags, counter=counter))

    def blob(self, message: bytes, namespace: str, *, flags: int = 5, counter: int = 3) -> bytes:
        """The signature's bytes inside the armour."""
        digest = hashlib.sha512(message).digest()
        parts = (namespace.encode(), b"", b"sha512")
        signed = b"SSHSIG" + b"".join(string(part) for part in (*parts, digest))
        inner = string(self.ssh.algorithm.encode())
        if self.application:
            tail = bytes([flags]) + counter.to_bytes(4, "big")
            signed = hashlib.sha256(self.application.encode()).digest() + tail + hashlib.sha256(signed).digest()
            inner += string(self.signer.sign(signed)) + tail
        else:
            inner += string(self.signer.sign(signed))
        head = b"SSHSIG" + (1).to_bytes(4, "big")
        return head + b"".join(string(part) for part in (self.ssh.blob, *parts, inner))
