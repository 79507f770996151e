"""Hashes of files in a run's workspace, read from outside the container. The agent may swap anything at any moment:
every part of a path is opened by itself and no link is followed, so that nothing outside the workspace can be read."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from app.adapters.workspace import Workspaces
from app.domain.content import FileMark
from app.domain.errors import HelmError
from app.domain.named_files import NamedFiles
from app.domain.verdict import WORKSPACE

LARGEST: Final = 64 * 1_048_576
_CHUNK: Final = 1_048_576
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class WorkspaceMarks:
    """Marks of the files that calls name."""

    def __init__(self, root: Path) -> None:
        self._workspaces = Workspaces(root)

    async def mark(self, run: str, names: NamedFiles) -> tuple[FileMark, ...]:
        """The files as they are now: every sure one, and those of the maybe ones that are there. A run without a
        workspace has none of them."""
        if not names.sure and not names.maybe:
            return ()
        return await asyncio.to_thread(self._mark, run, names)

    async def again(self, run: str, marks: Sequence[FileMark]) -> tuple[FileMark, ...]:
        """The same files as they are now."""
        return await self.mark(run, NamedFiles(tuple(mark.path for mark in marks)))

    def _mark(self, run: str, names: NamedFiles) -> tuple[FileMark, ...]:
        try:
            root = self._workspaces.path(run)
        except HelmError:
            return tuple(FileMark(path, "missing") for path in names.sure)
        marks = [_mark_of(root, path) for path in names.sure]
        marks += [mark for path in names.maybe if (mark := _mark_of(root, path)).state in ("file", "too_large")]
        return tuple(marks)


def _mark_of(root: Path, path: str) -> FileMark:
    parts = path.removeprefix(WORKSPACE).strip("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        return FileMark(path, "other")
    try:
        with _opened(root, parts) as descriptor:
            return _hashed(path, descriptor)
    except FileNotFoundError:
        return FileMark(path, "missing")
    except (OSError, ValueError):
        return FileMark(path, "other")  # a link, a device, a path that is too long: it has no bytes of its own here


@contextlib.contextmanager
def _opened(root: Path, parts: Sequence[str]) -> Iterator[int]:
    """The file behind the last part, each folder opened relative to the one before it."""
    descriptor = os.open(root, _OPEN | os.O_DIRECTORY)
    try:
        for at, part in enumerate(parts):
            flags = _OPEN | (os.O_DIRECTORY if at < len(parts) - 1 else 0)
            following = os.open(part, flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = following
        yield descriptor
    finally:
        os.close(descriptor)


def _hashed(path: str, descriptor: int) -> FileMark:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        return FileMark(path, "other")
    if found.st_size > LARGEST:
        return FileMark(path, "too_large")
    whole, left = hashlib.sha256(), LARGEST + 1
    while left > 0 and (data := os.read(descriptor, min(_CHUNK, left))):
        whole.update(data)
        left -= len(data)
    return FileMark(path, "file", "sha256:" + whole.hexdigest()) if left > 0 else FileMark(path, "too_large")
