"""A run's own folder: the only place its container may write. What an agent leaves there is never followed.

Links are copied as links and removed as links; no call here opens a path through one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from pathlib import Path

from app.domain.errors import InvalidInput, NotFound
from app.domain.ids import is_run_id

_UID = 10001
_LARGEST_SEED = 1 << 30


class Workspaces:
    """Folders under `$HELM_HOME/workspaces`, one per run."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def create(self, run: str, seed: Path | None = None) -> Path:
        """Make a run's folder (0700, owned by the run's user) with a copy of `seed` in it. Raises InvalidInput."""
        return await asyncio.to_thread(self._create, run, seed)

    def path(self, run: str) -> Path:
        """Where a run's folder is; raises NotFound when there is none, or when something else stands in its place."""
        path = self._root / _checked(run)
        if not stat.S_ISDIR(_mode(path)):
            raise NotFound("This run has no workspace.")
        return path

    async def remove(self, run: str) -> None:
        """Delete a run's folder with everything in it; one that is not there is deleted already."""
        await asyncio.to_thread(self._remove, run)

    def _create(self, run: str, seed: Path | None) -> Path:
        path = self._root / _checked(run)
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            raise InvalidInput("This run has a workspace already.") from None
        try:
            _own(path)
            if seed is not None:
                _copy(seed, path, _LARGEST_SEED)
        except BaseException:
            shutil.rmtree(path)
            raise
        return path

    def _remove(self, run: str) -> None:
        path = self._root / _checked(run)
        if stat.S_ISDIR(_mode(path)):
            shutil.rmtree(path)


def _checked(run: str) -> str:
    if not is_run_id(run):
        raise InvalidInput("This is not a run's id.")
    return run


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0


def _own(path: Path) -> None:
    """Give to the run's user. Without root that is impossible; then everybody may write, below folders of mode 0700."""
    if os.geteuid() == 0:
        os.chown(path, _UID, _UID, follow_symlinks=False)
    elif not path.is_symlink():
        path.chmod(path.lstat().st_mode | (0o777 if path.is_dir() else 0o666))


def _copy(source: Path, target: Path, room: int) -> int:
    """Copy what is in `source` into `target`, links as links; what is left of `room` bytes."""
    for entry in sorted(os.scandir(source), key=lambda each: each.name):
        copy = target / entry.name
        if entry.is_symlink():
            copy.symlink_to(os.readlink(entry.path))
        elif entry.is_dir(follow_symlinks=False):
            copy.mkdir(mode=0o700)
            room = _copy(Path(entry.path), copy, room)
        elif entry.is_file(follow_symlinks=False):
            room -= entry.stat(follow_symlinks=False).st_size
            if room < 0:
                raise InvalidInput("The workspace's seed is larger than 1 GiB.")
            _copy_file(entry.path, copy)
        else:
            raise InvalidInput(f"The workspace's seed holds {entry.name}, which is neither file, folder nor link.")
        _own(copy)
    return room


def _copy_file(source: str, target: Path) -> None:
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as reading, target.open("xb") as writing:
        shutil.copyfileobj(reading, writing)
        target.chmod(stat.S_IMODE(os.fstat(reading.fileno()).st_mode) & 0o755 | 0o600)
