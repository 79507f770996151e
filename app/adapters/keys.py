"""Key files: one per key, 0600, opened without following links, owner checked. A file that others could read is
refused, not repaired."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from app.domain.canonical import b64, unb64
from app.domain.errors import BadConfig, InvalidInput, NotFound
from app.domain.signing import SEED_BYTES, Signer

MAX_KEY_BYTES: Final = 8_192


def read_secret(path: Path) -> bytes:
    """The bytes of a secret file. Raises NotFound, or BadConfig when its owner or mode would let others read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist") from None
    except OSError as error:
        raise BadConfig(f"{path} cannot be opened: {error.strerror}; it must be a plain file") from None
    try:
        _check_facts(path, os.fstat(descriptor))
        data = os.read(descriptor, MAX_KEY_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_KEY_BYTES:
        raise BadConfig(f"{path} is larger than {MAX_KEY_BYTES} bytes; that is no key")
    return data


def _check_facts(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise BadConfig(f"{path} is not a plain file")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        raise BadConfig(f"{path} can be read by others; run: chmod 600 {path}")
    if facts.st_uid not in (os.geteuid(), path.parent.stat().st_uid):
        raise BadConfig(f"{path} belongs to uid {facts.st_uid}; it must belong to the user that runs Helm")


def write_secret(path: Path, data: bytes) -> None:
    """Put a secret file in place atomically, 0600 from its first byte on, owned as its folder is."""
    staged = path.with_name(path.name + ".new")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        owner = path.parent.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    staged.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def signer(folder: Path, name: str) -> Signer:
    """The signing key `name`. Raises NotFound, BadConfig."""
    path = folder / f"{name}.key"
    try:
        return Signer.of(unb64(read_secret(path).decode("ascii").strip()))
    except (UnicodeDecodeError, InvalidInput):
        raise BadConfig(f"{path} does not hold a key; restore it from your backup") from None


def make_signer(folder: Path, name: str) -> Signer:
    """A new random signing key, stored before it is returned. An existing one is never overwritten."""
    path = folder / f"{name}.key"
    if path.exists():
        raise BadConfig(f"{path} exists already")
    seed = os.urandom(SEED_BYTES)
    write_secret(path, (b64(seed) + "\n").encode("ascii"))
    return Signer.of(seed)
