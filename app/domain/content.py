"""The values that payloads are made of: committed content, digests, times, keys, usage."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal

Digest = Annotated[str, "digest"]
Time = Annotated[str, "time"]

COMMIT_PREFIX: Final = b"helm/commit/v1\0"
COMMIT_ALG: Final = "sha256-salted-v1"
JSON: Final = "application/json"
# Namespaces of SSH signatures: one kind of words never stands for the other.
SIGNED_ANSWER: Final = "helm-approval"
SIGNED_ENROLMENT: Final = "helm-enroll"
_HALF: Final = re.compile("[\ud800-\udfff]")
TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that a receipt commits to without holding them. `data` is None where they were withheld or erased."""

    data: bytes | None
    media: str = TEXT
    redacted: bool = False
    truncated_from: int = 0  # original size in bytes when `data` is only its beginning, else 0
    digest: str = ""  # the commitment, once sealed
    salt: bytes = b""
    size: int = -1  # of the committed bytes, where `data` is withheld

    def sealed(self, salt: bytes) -> Content:
        """The same content with its salted commitment; a content that is sealed already stays as it is."""
        if self.digest or self.data is None:
            return self
        return replace(self, digest=commitment(self.data, salt), salt=salt, size=len(self.data))

    @staticmethod
    def text(value: str, limit: int = 262_144) -> Content:
        """Text as UTF-8, cut at `limit` bytes and marked when it was longer. Half surrogates become U+FFFD."""
        return Content.of(_HALF.sub("\ufffd", value).encode("utf-8"), TEXT, limit)

    @staticmethod
    def of(data: bytes, media: str, limit: int = 262_144) -> Content:
        """Bytes of a media type, cut at `limit` and marked when there were more."""
        if len(data) <= limit:
            return Content(data, media)
        kept = data[:limit]
        if media == TEXT:
            kept = kept.decode("utf-8", "ignore").encode("utf-8")
        return Content(kept, media, truncated_from=len(data))


def commitment(data: bytes, salt: bytes) -> str:
    """SHA-256("helm/commit/v1\\0" || salt || bytes): tells nothing to who lacks the salt (EVIDENCE 3.4)."""
    return "sha256:" + hashlib.sha256(COMMIT_PREFIX + salt + data).hexdigest()


@dataclass(frozen=True, slots=True)
class KeyStatement:
    """A public key and what it may sign, from which receipt on."""

    role: str
    public: str  # base64 of the raw 32 bytes
    epoch: int
    not_before_seq: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a model call used, in the provider's own count, and what it cost in micro-dollars."""

    input_tokens: int
    output_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    cost_micro: int


@dataclass(frozen=True, slots=True)
class Proof:
    """How an approver proved to be one: `none` = the operator's server asserts it."""

    type: Literal["none", "sshsig", "webauthn"]
    data: str


@dataclass(frozen=True, slots=True)
class FileMark:
    """A file that a call names, as it was when the call was judged. `digest` is of its bytes, None where there was no
    regular file of a size that is read."""

    path: str
    state: Literal["file", "missing", "other", "too_large"]
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of the log that a person had before their eyes: its size and its root."""

    size: int
    root: Digest
