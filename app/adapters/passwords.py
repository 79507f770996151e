"""Argon2id in a thread, few at a time: one hash costs 64 MiB and a good part of a second on purpose."""

from __future__ import annotations

import asyncio
import base64
import os
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from app.domain.errors import HelmError

_AT_ONCE: Final = 2
_MOST_WAITING: Final = 32


class TooBusy(HelmError):
    """So many people sign in at once that this one would wait too long."""

    code = "TOO_BUSY"
    status = 503


class Argon2Passwords:
    """Hash and check; what does not exist costs as much as what does."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._dummy = _nobodys(self._hasher)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """The argon2id string of a password."""
        return await self._slowly(password, "")

    async def matches(self, hashed: str, password: str) -> bool:
        """Whether it is the password; "" as the hash never matches and takes as long."""
        right = bool(await self._slowly(password, hashed or self._dummy))
        return right and hashed != ""

    async def _slowly(self, password: str, hashed: str) -> str:
        if self._waiting >= _MOST_WAITING:
            raise TooBusy("too many people are signing in right now; try again in a few seconds")
        self._waiting += 1
        try:
            async with self._slots:
                work = self._verify if hashed else self._hash
                return await asyncio.to_thread(work, password, hashed)
        finally:
            self._waiting -= 1

    def _hash(self, password: str, hashed: str) -> str:
        return self._hasher.hash(password)

    def _verify(self, password: str, hashed: str) -> str:
        try:
            self._hasher.verify(hashed, password)
        except (Argon2Error, InvalidHashError):
            return ""
        return hashed


def _nobodys(hasher: PasswordHasher) -> str:
    """A hash that costs what every other costs to check and that no password has: its digest is random. Made without
    hashing, which would cost a good part of a second at every start."""
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, digest = (
        base64.b64encode(os.urandom(size)).decode().rstrip("=") for size in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v=19${costs}${salt}${digest}"
