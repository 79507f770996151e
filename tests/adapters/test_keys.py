"""A key file that somebody else could read, replace or turn into a trap is refused, and never repaired in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from app.adapters.keys import make_signer, read_secret, signer, write_secret
from app.domain.canonical import b64
from app.domain.errors import BadConfig, HelmError, NotFound


def test_a_new_key_is_closed_to_others_and_comes_back(tmp_path: Path) -> None:
    made = make_signer(tmp_path, "receipt-0")
    path = tmp_path / "receipt-0.key"
    assert path.stat().st_mode & 0o7777 == 0o600
    assert signer(tmp_path, "receipt-0").public == made.public
    assert os.listdir(tmp_path) == ["receipt-0.key"]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    made = make_signer(tmp_path, "receipt-0")
    with pytest.raises(BadConfig, match="exists"):
        make_signer(tmp_path, "receipt-0")
    assert signer(tmp_path, "receipt-0").public == made.public


def test_a_missing_key_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        signer(tmp_path, "receipt-0")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o610, 0o777])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    make_signer(tmp_path, "k")
    (tmp_path / "k.key").chmod(mode)
    with pytest.raises(BadConfig, match="chmod 600"):
        signer(tmp_path, "k")
    assert (tmp_path / "k.key").stat().st_mode & 0o777 == mode


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    make_signer(tmp_path, "real")
    (tmp_path / "k.key").symlink_to(tmp_path / "real.key")
    with pytest.raises(BadConfig):
        signer(tmp_path, "k")


def test_writing_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / "secret").symlink_to(target)
    write_secret(tmp_path / "secret", b"new")
    assert target.read_bytes() == b"precious"
    assert read_secret(tmp_path / "secret") == b"new"


def test_a_link_in_the_way_of_the_staged_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / "secret.new").symlink_to(target)
    with pytest.raises((OSError, HelmError)):
        write_secret(tmp_path / "secret", b"new")
    assert target.read_bytes() == b"precious"


def test_a_pipe_does_not_hang_the_server(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "k.key", 0o600)
    with pytest.raises(BadConfig):
        signer(tmp_path, "k")


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "k.key").mkdir(mode=0o700)
    with pytest.raises(BadConfig):
        signer(tmp_path, "k")


def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    make_signer(tmp_path, "k")
    if os.geteuid() == 0:
        os.chown(tmp_path / "k.key", 12345, 12345)
        with pytest.raises(BadConfig, match="belongs to uid 12345"):
            signer(tmp_path, "k")


def test_root_leaves_keys_to_the_user_whose_folder_it_is(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12345)
        make_signer(tmp_path, "k")
        assert (tmp_path / "k.key").stat().st_uid == 12345
    assert len(make_signer(tmp_path, "other").public) == 32
    assert signer(tmp_path, "other").public


@pytest.mark.parametrize("text", [b"", b"short", b64(b"x" * 31).encode(), b64(b"x" * 33).encode(), b"\xff" * 44])
def test_what_is_no_key(tmp_path: Path, text: bytes) -> None:
    write_secret(tmp_path / "k.key", text)
    with pytest.raises(BadConfig, match="does not hold a key"):
        signer(tmp_path, "k")


def test_a_file_that_never_ends_is_no_key(tmp_path: Path) -> None:
    write_secret(tmp_path / "k.key", b"A" * 100_000)
    with pytest.raises(BadConfig, match="larger than"):
        signer(tmp_path, "k")


def test_what_a_crash_left_behind_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "k.key.new").write_bytes(b"half of a key that is longer than the new one" * 10)
    (tmp_path / "k.key.new").chmod(0o644)
    made = make_signer(tmp_path, "k")
    assert signer(tmp_path, "k").public == made.public
    assert (tmp_path / "k.key").stat().st_mode & 0o777 == 0o600
