"""The door as a process: commands, its own user, keys that only it can read, restarts, and its end with the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from app.adapters.door_client import DoorClient, DoorRefused, DoorUnreachable, DoorUpstream
from app.adapters.door_process import DoorProcess

from tests.adapters.door_world import KEY, WAIT, Far, Seen, reply, status_of, write_key

ROOT = os.geteuid() == 0
DOOR_UID = 10002 if ROOT else os.geteuid()
BODY = b'{"model": "claude-x", "max_tokens": 1, "messages": []}'
REQUEST = b"POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(
    BODY
)


class Supervised:
    """A supervised door with a gateway and a provider beside it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ups = 0
        self.again = asyncio.Event()
        self.process = DoorProcess(home, self.on_up)
        self.provider = Far(self.provide)
        self.gateway = Far(self.decide)
        self.port = 0

    async def on_up(self) -> None:
        await self.process.client.open("run-1", self.upstreams())
        self.ups += 1
        if self.ups > 1:
            self.again.set()

    def upstreams(self) -> dict[str, DoorUpstream]:
        return {"anthropic": DoorUpstream(f"http://127.0.0.1:{self.port}", "anthropic")}

    async def provide(self, _: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(200, b'{"id": "msg_1", "usage": {"input_tokens": 1}}'))

    async def decide(self, request: Seen, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ending = request.target.endswith("/end")
        writer.write(reply(200, b"{}" if ending else b'{"verdict": "ALLOW", "ticket": "t"}'))

    async def start(self) -> None:
        self.port = await self.provider.start_tcp()
        lay_out(self.home)
        folder = os.open(self.home / "door", os.O_PATH)
        await self.gateway.start_unix(f"/proc/self/fd/{folder}/gateway.sock")
        os.close(folder)
        os.chmod(self.home / "door" / "gateway.sock", 0o666)  # noqa: S103  as the server binds it
        await self.process.start()

    async def ask(self, run_folder: int) -> bytes:
        reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{run_folder}/door.sock")
        writer.write(REQUEST + BODY)
        async with asyncio.timeout(WAIT):
            answer = await reader.read(-1)
        writer.close()
        return answer


def lay_out(home: Path) -> None:
    (home / "keys" / "providers").mkdir(parents=True, mode=0o700)
    write_key(home / "keys" / "providers" / "anthropic", KEY)
    (home / "door").mkdir()


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Supervised]:
    made = Supervised(tmp_path)
    await made.start()
    yield made
    await made.process.stop()
    made.gateway.stop()
    made.provider.stop()


def shown(door: Supervised, name: str) -> str:
    """What the kernel shows of the door."""
    return Path(f"/proc/{door.process.pid}", name).read_text()


def run_folder(door: Supervised) -> int:
    """What a container mounts: the folder, not the socket."""
    return os.open(door.home / "door" / "runs" / "run-1", os.O_PATH)


async def test_a_call_passes_and_the_key_is_nowhere_to_be_seen(door: Supervised) -> None:
    folder = run_folder(door)
    answer = await door.ask(folder)
    os.close(folder)

    assert status_of(answer) == 200
    assert door.provider.seen[0].get("x-api-key") == KEY
    assert KEY not in shown(door, "cmdline")
    # Only a process that nobody else may inspect belongs to root here: its own user is refused too.
    assert os.stat(f"/proc/{door.process.pid}/environ").st_uid == 0
    if ROOT:
        assert KEY not in shown(door, "environ")
    else:
        with pytest.raises(PermissionError):
            shown(door, "environ")


async def test_the_door_runs_as_its_own_user_without_privileges(door: Supervised) -> None:
    lines = shown(door, "status").splitlines()
    status = {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines}
    assert status["Uid"].split() == [str(DOOR_UID)] * 4
    assert status["Gid"].split() == [str(DOOR_UID)] * 4
    assert int(status["CapEff"], 16) == 0
    assert not ROOT or status["Groups"] == ""
    assert status["NoNewPrivs"] == "1"


async def test_folders_and_sockets_have_the_documented_modes(door: Supervised) -> None:
    facts = {name: os.stat(door.home / name) for name in ("door", "door/control.sock", "door/runs/run-1/door.sock")}
    assert {name: (oct(fact.st_mode & 0o777), fact.st_uid) for name, fact in facts.items()} == {
        "door": ("0o711", DOOR_UID),
        "door/control.sock": ("0o600", DOOR_UID),
        "door/runs/run-1/door.sock": ("0o666", DOOR_UID),
    }


async def test_a_killed_door_comes_back_and_the_mounted_folder_still_works(door: Supervised) -> None:
    folder = run_folder(door)
    assert status_of(await door.ask(folder)) == 200
    pid = door.process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(WAIT):
        await door.again.wait()

    assert door.process.pid != pid
    assert status_of(await door.ask(folder)) == 200
    os.close(folder)


async def test_stopping_is_orderly(door: Supervised) -> None:
    await door.process.stop()

    assert door.process.pid is None
    assert sorted(os.listdir(door.home / "door")) == ["gateway.sock", "runs"]
    assert os.listdir(door.home / "door" / "runs" / "run-1") == []
    with pytest.raises(DoorUnreachable):
        await door.process.client.ping()


async def test_commands_are_idempotent_and_wrong_ones_are_refused(door: Supervised) -> None:
    client = DoorClient(door.home / "door")
    await client.open("run-2", door.upstreams(), peer_uids=[10001])
    await client.open("run-2", door.upstreams(), peer_uids=[10001])
    assert (await client.ping()).runs == ("run-1", "run-2")
    await client.close("run-2")
    await client.close("run-2")
    assert (await client.ping()).runs == ("run-1",)
    assert (await client.keys()).names == ("anthropic",)
    wrong = {
        "../x": DoorUpstream("https://good.test", "k"),
        "a/b": DoorUpstream("https://good.test", "k"),
        "": DoorUpstream("https://good.test", "k"),
    }
    for run, upstream in wrong.items():
        with pytest.raises(DoorRefused):
            await client.open(run, {"anthropic": upstream})
    for base in ("http://good.test", "ftp://x", "https://u@good.test", "https://good.test/?a", "https://[::1", "x"):
        with pytest.raises(DoorRefused):
            await client.open("run-3", {"anthropic": DoorUpstream(base, "k")})
    with pytest.raises(DoorRefused):
        await client.open("run-3", {"other": DoorUpstream("https://good.test", "k")})
    with pytest.raises(DoorRefused):
        await client.open("run-3", {"anthropic": DoorUpstream("https://good.test", "../k")})
    assert (await client.ping()).runs == ("run-1",)


async def test_a_peer_of_another_user_is_turned_away(door: Supervised) -> None:
    await door.process.client.open("run-1", door.upstreams(), peer_uids=[4_000_000])
    folder = run_folder(door)
    with contextlib.suppress(ConnectionError):
        assert await door.ask(folder) == b""
    os.close(folder)
    assert door.provider.seen == []


def spoil(keys: Path) -> None:
    for name in ("open", "link", "empty", "words"):
        write_key(keys / name, KEY if name != "words" else "two words here")
        os.chown(keys / name, DOOR_UID, DOOR_UID)
    (keys / "open").chmod(0o644)
    (keys / "link").unlink()
    (keys / "link").symlink_to("anthropic")
    (keys / "empty").write_text("")
    (keys / "folder").mkdir()


async def test_key_files_that_others_can_touch_are_not_used(door: Supervised) -> None:
    spoil(door.home / "keys" / "providers")

    found = await door.process.client.keys()

    assert found.names == ("anthropic",)
    assert len(found.problems) == 5
    assert KEY not in str(found.problems)


async def test_the_door_ends_with_the_server(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "keys")
    script = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'app.door', '--keys', 'keys', '--parent', str(os.getpid())],"
        " cwd=sys.argv[1], env={**os.environ, 'PYTHONPATH': os.getcwd(), 'HELM_LOG': 'info'}, stderr=subprocess.PIPE)\n"
        "assert b'up' in child.stderr.readline()\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    async with asyncio.timeout(WAIT):
        pid = int(await server.stdout.readline())
        ended = os.pidfd_open(pid)
        server.kill()
        await server.wait()
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(ended, gone.set)
        await gone.wait()
    asyncio.get_running_loop().remove_reader(ended)
    os.close(ended)
