"""The provider keys: read from files that nobody else can read, kept in memory, never told in a text.

A file that is a link, not a regular file, of another owner, or readable by others is refused with the remedy.
"""

from __future__ import annotations

import os
import re
import stat

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KEY = re.compile(rb"[\x21-\x7e]{8,1024}")


class KeyFileError(Exception):
    """A key file that is not used; the text names the file and the remedy, never its contents."""


class KeyRing:
    """The keys in one folder, read at start and on command."""

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._keys: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"KeyRing({len(self._keys)} keys)"

    def load(self) -> list[str]:
        """Read every file again; returns what was wrong with the files that were left out."""
        keys: dict[str, str] = {}
        problems: list[str] = []
        for name in sorted(os.listdir(self._folder))[:256]:
            if _NAME.fullmatch(name) is None:
                continue
            try:
                keys[name] = read_key(self._folder, name)
            except KeyFileError as error:
                problems.append(str(error))
        self._keys = keys
        return problems

    def get(self, name: str) -> str | None:
        """The key of that name, or None."""
        return self._keys.get(name)

    def names(self) -> list[str]:
        """The names of the keys that can be used."""
        return sorted(self._keys)


def open_folder(path: str) -> int:
    """A descriptor of the key folder; a link is not followed."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def read_key(folder: int, name: str) -> str:
    """One key out of its file. Raises KeyFileError."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        raise KeyFileError(f"key file {name}: {error.strerror}; it is a plain file that the door's user owns") from None
    try:
        _check(os.fstat(handle), name)
        content = os.read(handle, 4096).strip()
    finally:
        os.close(handle)
    if _KEY.fullmatch(content) is None:
        raise KeyFileError(f"key file {name}: it holds one line of 8 to 1024 printable characters")
    return content.decode("ascii")


def _check(facts: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise KeyFileError(f"key file {name}: it is not a regular file")
    if facts.st_mode & 0o077:
        raise KeyFileError(f"key file {name}: others may read it; chmod 600 it")
    if facts.st_uid != os.geteuid():
        raise KeyFileError(f"key file {name}: it belongs to uid {facts.st_uid}; chown it to uid {os.geteuid()}")
