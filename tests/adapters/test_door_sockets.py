"""A door that ends late takes nothing away from the one that came after it."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from app.door.control import SOCKET, Control
from app.door.gateway_client import Gateway
from app.door.house import House
from app.door.keys import KeyRing, open_folder
from app.door.limits import Caps
from app.door.sockets import bind_unix, mark_of, remove_own
from app.door.upstreams import verified_tls

RUN = "r-1"


def test_only_the_own_socket_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    with closing(bind_unix(path, 0o600)):
        mine = mark_of(path)
        with closing(bind_unix(path, 0o600)):
            theirs = mark_of(path)
            remove_own(path, mine)
            assert mark_of(path) == theirs
            remove_own(path, None)
            assert mark_of(path) == theirs
            remove_own(path, theirs)
            assert mark_of(path) is None
            remove_own(path, theirs)


async def test_a_door_that_ends_late_leaves_the_next_one_reachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = KeyRing(open_folder(str(tmp_path)))
    old, new = (Control(House(Gateway(), keys, verified_tls(), Caps())) for _ in range(2))
    for control in (old, new):
        await control.listen()
        assert (await control.obey({"op": "open", "run": RUN}))["ok"] is True
    await old.close()
    for path in (SOCKET, Path("runs") / RUN / "door.sock"):
        _, writer = await asyncio.open_unix_connection(path)
        writer.close()
        await writer.wait_closed()
    await new.close()
    assert not SOCKET.exists()
