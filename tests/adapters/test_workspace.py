"""A run's folder: its own, private, and never a way to somewhere else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from app.adapters.workspace import Workspaces
from app.domain.errors import InvalidInput, NotFound
from app.domain.ids import run_id

RUN = run_id(1_700_000_000_000, b"0123456789")


async def test_a_folder_is_private_and_belongs_to_the_runs_user(tmp_path: Path) -> None:
    path = await Workspaces(tmp_path / "workspaces").create(RUN)
    state = path.stat()
    private = (stat.S_IMODE(state.st_mode), state.st_uid) == (0o700, 10001)
    assert private or os.geteuid() != 0
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_seed_is_copied_with_modes_and_links_stay_links(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    (seed / "sub").mkdir(parents=True)
    (seed / "sub" / "tool").write_text("#!/bin/sh\n")
    (seed / "sub" / "tool").chmod(0o4755)
    (tmp_path / "secret").write_text("host secret")
    (seed / "link").symlink_to(tmp_path / "secret")
    (seed / "folder").symlink_to(tmp_path)
    path = await Workspaces(tmp_path / "workspaces").create(RUN, seed)
    assert (path / "link").is_symlink()
    assert (path / "folder").is_symlink()
    assert stat.S_IMODE((path / "sub" / "tool").stat().st_mode) & 0o7711 == 0o711


async def test_a_seed_with_a_pipe_is_refused(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    seed.mkdir()
    os.mkfifo(seed / "pipe")
    with pytest.raises(InvalidInput, match="pipe"):
        await Workspaces(tmp_path / "workspaces").create(RUN, seed)


@pytest.mark.parametrize("run", ["", "..", "../x", "/etc", "r1", RUN + "/..", RUN.upper()])
async def test_what_is_not_a_runs_id_names_no_folder(tmp_path: Path, run: str) -> None:
    workspaces = Workspaces(tmp_path)
    with pytest.raises(InvalidInput):
        await workspaces.create(run)
    with pytest.raises(InvalidInput):
        workspaces.path(run)
    with pytest.raises(InvalidInput):
        await workspaces.remove(run)


async def test_a_second_folder_for_a_run_is_refused(tmp_path: Path) -> None:
    workspaces = Workspaces(tmp_path)
    await workspaces.create(RUN)
    with pytest.raises(InvalidInput, match="already"):
        await workspaces.create(RUN)


async def test_removing_takes_links_and_not_what_they_point_to(tmp_path: Path) -> None:
    workspaces = Workspaces(tmp_path / "workspaces")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    path = await workspaces.create(RUN)
    (path / "link").symlink_to(outside)
    await workspaces.remove(RUN)
    await workspaces.remove(RUN)
    assert (outside / "kept").exists()
    with pytest.raises(NotFound):
        workspaces.path(RUN)


async def test_a_link_in_the_folders_place_is_no_workspace_and_is_not_followed(tmp_path: Path) -> None:
    workspaces = Workspaces(tmp_path / "workspaces")
    (tmp_path / "workspaces").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "workspaces" / RUN).symlink_to(outside)
    with pytest.raises(NotFound):
        workspaces.path(RUN)
    await workspaces.remove(RUN)
    assert outside.exists()
