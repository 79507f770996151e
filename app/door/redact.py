"""Finds a provider key in what the provider answers and puts stars of the same length in its place.

A tail that may be the start of the key is held back until the next bytes (or the end) decide.
"""

from __future__ import annotations


class Redactor:
    """Takes the pieces of one answer in any split; `found` says whether the key was in it."""

    __slots__ = ("_held", "_key", "found")

    def __init__(self, key: str) -> None:
        self._key = key.encode("ascii")
        self._held = b""
        self.found = False

    def feed(self, data: bytes) -> bytes:
        """The bytes that may be passed on now."""
        if self._held:
            data, self._held = self._held + data, b""
        if self._key in data:
            self.found = True
            data = data.replace(self._key, b"*" * len(self._key))
        keep = self._tail(data)
        if keep:
            self._held = data[-keep:]
            return data[:-keep]
        return data

    def finish(self) -> bytes:
        """What was held back: the answer has ended, so it is not the key."""
        held, self._held = self._held, b""
        return held

    def text(self, value: str) -> str:
        """A whole value (a header) without the key."""
        key = self._key.decode("ascii")
        if key not in value:
            return value
        self.found = True
        return value.replace(key, "*" * len(key))

    def _tail(self, data: bytes) -> int:
        key = self._key
        first = key[:1]
        at = data.find(first, max(0, len(data) - len(key) + 1))
        while at >= 0:
            if key.startswith(data[at:]):
                return len(data) - at
            at = data.find(first, at + 1)
        return 0
