"""OpenSSH signatures (PROTOCOL.sshsig) as approvers make them with `ssh-keygen -Y sign`, and the public keys of them:
Ed25519, also on a security key, and nothing else. Strict: one way to write each signature, no key of low order."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from app.domain.canonical import unb64
from app.domain.errors import HelmError, InvalidInput
from app.domain.signing import PUBLIC_BYTES, SIGNATURE_BYTES, Verifier

MAX_BYTES: Final = 8_192
MAGIC: Final = b"SSHSIG"
PLAIN: Final = b"ssh-ed25519"
HARDWARE: Final = b"sk-ssh-ed25519@openssh.com"
KeyType: TypeAlias = Literal["ssh-ed25519", "sk-ssh-ed25519"]

_BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
_END: Final = "-----END SSH SIGNATURE-----"
_WIDTHS: Final = (70, 76)  # what OpenSSH writes, and what its specification says
_HASHES: Final = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_MOST_APPLICATION: Final = 255
_PRESENT: Final = 0x01
_VERIFIED: Final = 0x04
_KNOWN_FLAGS: Final = _PRESENT | _VERIFIED | 0x18  # and whether the credential may be, and is, backed up


class BadSignature(HelmError):
    """A signature or a key that is not taken. `code` says why: SSH_FORM, SSH_NAMESPACE, SSH_KEY_TYPE, SSH_KEY,
    SSH_PRESENCE, SSH_SIGNATURE."""

    status = 400

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class SshKey:
    """A public key that was checked to be a point of full order. `application` is "" where no hardware holds it."""

    algorithm: str
    public: bytes
    application: str = ""
    comment: str = field(default="", compare=False)

    @staticmethod
    def parse(line: str) -> SshKey:
        """The key of a line as `ssh-keygen` writes it into a `.pub` file. Raises BadSignature."""
        if len(line) > MAX_BYTES:
            raise BadSignature("SSH_FORM", f"a public key has at most {MAX_BYTES} characters")
        words = line.strip(" \t\r\n").split(None, 2)
        if len(words) < 2 or "\n" in line.strip("\r\n"):
            raise BadSignature("SSH_FORM", "a public key is one line: ssh-ed25519 AAAA... comment")
        algorithm, text = words[0], words[1]
        if algorithm.encode("utf-8", "replace") not in (PLAIN, HARDWARE):
            raise _other_type()
        key = SshKey.of(_unb64(text), "".join(words[2:]))
        if key.algorithm != algorithm:
            raise BadSignature("SSH_FORM", "the line names another type of key than it holds")
        return key

    @staticmethod
    def of(blob: bytes, comment: str = "") -> SshKey:
        """The key in SSH wire form (RFC 4253 6.6, RFC 8709 4; PROTOCOL.u2f). Raises BadSignature."""
        reader = _Reader(blob)
        algorithm = reader.string()
        if algorithm not in (PLAIN, HARDWARE):
            raise _other_type()
        public = reader.string()
        application = ""
        if algorithm == HARDWARE:
            application = _application(reader.string())
        reader.end()
        _verifier(public)
        return SshKey(algorithm.decode(), public, application, comment)

    @property
    def blob(self) -> bytes:
        """The key in SSH wire form."""
        blob = _string(self.algorithm.encode()) + _string(self.public)
        return blob + _string(self.application.encode()) if self.application else blob

    @property
    def type(self) -> KeyType:
        """The type as a receipt names it."""
        return "sk-ssh-ed25519" if self.application else "ssh-ed25519"

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as `ssh-keygen -l` shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def text(self) -> str:
        """The line of a `.pub` file, without the comment."""
        return f"{self.algorithm} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class SshSignature:
    """A signature as it was read; nothing is proved before `check`. `flags` and `counter` are a security key's."""

    key: SshKey
    namespace: str
    hash_name: str
    signature: bytes
    flags: int = 0
    counter: int = 0

    @staticmethod
    def read(armored: str) -> SshSignature:
        """Read the armoured text. Raises BadSignature for anything that OpenSSH would not have written itself."""
        reader = _Reader(_dearmored(armored))
        if reader.take(len(MAGIC)) != MAGIC or reader.uint32() != 1:
            raise BadSignature("SSH_FORM", "not an SSH signature of version 1")
        key = SshKey.of(reader.string())
        namespace = _text(reader.string())
        if not namespace or reader.string():  # the second is reserved, and empty
            raise BadSignature("SSH_FORM", "the signature has no namespace, or a field that must be empty")
        hash_name = reader.string()
        if hash_name not in _HASHES:
            raise BadSignature("SSH_FORM", "the signature's hash is neither sha256 nor sha512")
        inner = _Reader(reader.string())
        reader.end()
        return _inner(inner, key, namespace, hash_name.decode())

    @property
    def user_verified(self) -> bool:
        """Whether a security key says that it checked a PIN or a finger. Meaningful after `check`."""
        return bool(self.flags & _VERIFIED)

    def check(self, message: bytes, namespace: str) -> None:
        """Raises BadSignature unless this is the key's signature of `message` in `namespace`."""
        if self.namespace != namespace:
            raise BadSignature("SSH_NAMESPACE", f"the signature was made for something else than {namespace}")
        digest = _HASHES[self.hash_name.encode()](message).digest()
        signed = MAGIC + b"".join(
            _string(part) for part in (self.namespace.encode(), b"", self.hash_name.encode(), digest)
        )
        if self.key.application:
            if not self.flags & _PRESENT:
                raise BadSignature("SSH_PRESENCE", "the security key was not touched for this signature")
            signed = _authenticator_data(self.key.application, self.flags, self.counter, signed)
        if not _verifier(self.key.public).verifies(signed, self.signature):
            raise BadSignature("SSH_SIGNATURE", "the signature is not this key's over these words")


def verify(armored: str, message: bytes, namespace: str) -> SshKey:
    """The key that signed `message` in `namespace`. Whose key it is, is for the caller to know. Raises BadSignature."""
    signature = SshSignature.read(armored)
    signature.check(message, namespace)
    return signature.key


def _inner(reader: _Reader, key: SshKey, namespace: str, hash_name: str) -> SshSignature:
    if reader.string() != key.algorithm.encode():
        raise BadSignature("SSH_FORM", "the signature is of another type than its key")
    signature = reader.string()
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature("SSH_FORM", f"the signature has not {SIGNATURE_BYTES} bytes")
    flags = counter = 0
    if key.application:
        flags, counter = reader.take(1)[0], reader.uint32()
        if flags & ~_KNOWN_FLAGS:
            raise BadSignature("SSH_FORM", "the security key says things that are not known here")
    reader.end()
    return SshSignature(key, namespace, hash_name, signature, flags, counter)


def _authenticator_data(application: str, flags: int, counter: int, signed: bytes) -> bytes:
    """What a security key really signs (PROTOCOL.u2f)."""
    head = hashlib.sha256(application.encode()).digest() + bytes([flags]) + counter.to_bytes(4, "big")
    return head + hashlib.sha256(signed).digest()


def _dearmored(armored: str) -> bytes:
    """The bytes inside the armour, when it is written in the one way: else two texts would be one signature."""
    if len(armored) > MAX_BYTES:
        raise BadSignature("SSH_FORM", f"a signature has at most {MAX_BYTES} characters")
    lines = armored.removesuffix("\n").split("\n")
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise BadSignature("SSH_FORM", "a signature stands between BEGIN and END SSH SIGNATURE, and nothing else")
    body = lines[1:-1]
    full, last = body[:-1], body[-1]
    width = len(body[0]) if full else _WIDTHS[0]
    if width not in _WIDTHS or any(len(line) != width for line in full) or not 0 < len(last) <= width:
        raise BadSignature("SSH_FORM", "the lines of the signature are not as OpenSSH writes them")
    return _unb64("".join(body))


def _unb64(text: str) -> bytes:
    try:
        return unb64(text)
    except InvalidInput as error:
        raise BadSignature("SSH_FORM", error.message) from None


def _verifier(public: bytes) -> Verifier:
    if len(public) != PUBLIC_BYTES:
        raise BadSignature("SSH_FORM", f"an Ed25519 key has {PUBLIC_BYTES} bytes")
    try:
        return Verifier.of(public)
    except InvalidInput:
        raise BadSignature("SSH_KEY", "the key is no point of full order: anybody could sign with it") from None


def _application(data: bytes) -> str:
    """OpenSSH's keys are made for `ssh:...`; another application is a credential of some web site."""
    application = _text(data)
    if not application.startswith("ssh:") or len(data) > _MOST_APPLICATION:
        raise BadSignature("SSH_KEY", "the security key's application is not one of ssh")
    return application


def _text(data: bytes) -> str:
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise BadSignature("SSH_FORM", "a name in the signature is not ASCII") from None
    if not text.isprintable():
        raise BadSignature("SSH_FORM", "a name in the signature has characters that cannot be shown")
    return text


def _other_type() -> BadSignature:
    return BadSignature(
        "SSH_KEY_TYPE", "only ssh-ed25519 and sk-ssh-ed25519 keys are taken; make one with ssh-keygen -t ed25519"
    )


def _string(data: bytes) -> bytes:
    """RFC 4251 section 5: a length of four bytes, then the bytes."""
    return len(data).to_bytes(4, "big") + data


class _Reader:
    """Reads RFC 4251 values from bytes, never past their end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise BadSignature("SSH_FORM", "it ends too early")
        self._at += size
        return taken

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.uint32())

    def end(self) -> None:
        if self._at != len(self._data):
            raise BadSignature("SSH_FORM", "something stands behind its end")
