"""The container as it is from inside, and the adapter's promises about its end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from app.adapters.docker import Sandbox
from app.domain.errors import EngineUnavailable

from tests.docker.stage import ROOT, Stage, bash, new_run, script

pytestmark = pytest.mark.docker
Json = dict[str, Any]
MEMORY = 512 << 20


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    folder = tmp_path / "seed"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("inside.py"), folder)
    return folder


async def test_what_the_agent_can_reach_from_inside(stage: Stage, seed: Path) -> None:
    door = await stage.begin(script({"tools": [bash("python3 /workspace/inside.py")]}), seed, memory=MEMORY, pids=100)
    outcome = (await door.until("outcome"))["body"]
    found: Json = json.loads(outcome["tool_response"]["stdout"])
    _check_identity(found)
    _check_network(found)
    _check_files(found)
    _check_secrets(found)
    assert (await stage.end()).code == 0


def _check_identity(found: Json) -> None:
    assert found["uid"] == [10001, 10001, [10001]] or found["uid"] == [10001, 10001, []]
    assert found["caps"] == ["0000000000000000"] * 5
    assert (found["no_new_privs"], found["seccomp"]) == ("1", "2")
    assert (found["memory"], found["pids"]) == (str(MEMORY), "100")
    assert found["core"] == ["0", "0"]
    assert found["hog"] == -9, "600 MiB fitted into 512 MiB"
    assert found["others"] == [True, 1]
    assert found["memory_of_others"] == []
    assert found["setuid"] == ""


def _check_network(found: Json) -> None:
    assert found["interfaces"] == ["lo"]
    for way in ("resolve", "internet", "metadata", "ipv6", "bridge"):
        assert not found[way].startswith("DID"), way
    for forbidden in ("vsock", "alg", "packet", "io_uring", "unshare", "mount"):
        assert found[forbidden].startswith(("PermissionError 1", "OSError 97")), forbidden


def _check_files(found: Json) -> None:
    for path in ("write_root", "write_etc", "write_door", "unlink_door", "write_cgroup"):
        assert found[path] in ("OSError 30", "PermissionError 13", "PermissionError 1"), path
    assert all(said in ("OSError 30", "PermissionError 13") for said in found["write_masks"])
    assert found["write_tmp"].startswith("DID")
    assert found["door"] == "PermissionError 13"
    assert found["docker_sock"] is False
    assert [path for path in found["writable"] if not path.startswith(("/proc/", "/dev", "/sys/"))] == [
        "/tmp",
        "/workspace",
    ]


def _check_secrets(found: Json) -> None:
    environment = dict(each.split("=", 1) for each in found["environment"])
    assert environment["HTTPS_PROXY"] == "http://127.0.0.1:3128"
    keys = {name: value for name, value in environment.items() if "KEY" in name or "TOKEN" in name}
    assert all("placeholder" in value for name, value in keys.items() if name.endswith("_API_KEY")), keys
    assert "CLAUDE_CODE_MESSAGING_TOKEN" not in environment


async def test_a_kill_takes_detached_daemons_too_and_names_what_it_killed(stage: Stage) -> None:
    command = "setsid -f sleep 4242; (setsid nohup sleep 4343 >/dev/null 2>&1 &); true"
    steps = [{"tools": [bash(command)]}, {"tools": [bash("true", "toolu_2")]}]
    rules = [{"tool": "Bash", "do": "allow"}]
    door = await stage.begin(script(*steps, {"text": "x", "hold": True}, gate=rules))
    await door.until("holding")
    killed = await stage.sandbox.kill(stage.run)
    assert {"sleep 4242", "sleep 4343"} <= {each.command for each in killed}
    assert any("runner.py" in each.command for each in killed)
    assert not _alive([each.pid for each in killed if "sleep" in each.command])
    ended = await stage.end()
    assert (ended.code, ended.oom_killed, ended.reason) == (137, False, "killed")
    assert await stage.sandbox.kill(stage.run) == ()


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


async def test_a_kill_takes_a_paused_container(stage: Stage) -> None:
    door = await stage.begin(script({"text": "x", "hold": True}))
    await door.until("holding")
    await stage.sandbox.pause(stage.run)
    assert [each.state for each in await stage.sandbox.list()] == ["paused"]
    assert await stage.sandbox.kill(stage.run) != ()
    assert (await stage.end()).code == 137


async def test_containers_are_found_again_by_their_home_alone(stage: Stage, tmp_path: Path) -> None:
    door = await stage.begin(script({"text": "x", "hold": True}))
    await door.until("holding")
    restarted = Sandbox(stage.home, ROOT / "agent_image" / "seccomp.json")
    stranger = Sandbox(tmp_path / "other", ROOT / "agent_image" / "seccomp.json")
    assert [(each.run, each.lease, each.live) for each in await restarted.list()] == [(stage.run, 7, True)]
    assert await stranger.list() == ()
    await restarted.kill(stage.run)
    assert [each.live for each in await restarted.list()] == [False]
    await restarted.remove(stage.run)
    await restarted.remove(stage.run)
    assert await restarted.list() == ()
    restarted.close()
    stranger.close()


async def test_a_second_container_of_a_run_is_refused_by_the_engine(stage: Stage) -> None:
    door = await stage.begin(script({"text": "x", "hold": True}))
    await door.until("holding")
    with pytest.raises(EngineUnavailable, match="already in use"):
        await stage.sandbox.start(stage.spec())


async def test_a_live_container_is_not_removed(stage: Stage) -> None:
    door = await stage.begin(script({"text": "x", "hold": True}))
    await door.until("holding")
    with pytest.raises(EngineUnavailable, match="running"):
        await stage.sandbox.remove(stage.run)


async def test_several_waits_see_the_same_end(stage: Stage) -> None:
    door = await stage.begin(script({"text": "x", "hold": True}))
    await door.until("holding")
    async with asyncio.timeout(60):
        waits = [asyncio.create_task(stage.sandbox.wait(stage.run)) for _ in range(3)]
        await stage.sandbox.kill(stage.run)
        assert {each.code for each in await asyncio.gather(*waits)} == {137}


async def test_a_missing_image_is_told_with_its_remedy(stage: Stage, tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, ROOT / "agent_image" / "seccomp.json", image="helm-agent:not-there")
    status = await sandbox.probe()
    assert (status.available, status.remedy) == (False, "Run `make setup`.")
    with pytest.raises(EngineUnavailable, match="make setup"):
        await sandbox.start(stage.spec())
    sandbox.close()


async def test_a_missing_engine_is_told_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    sandbox = Sandbox(tmp_path, ROOT / "agent_image" / "seccomp.json")
    status = await sandbox.probe()
    assert not status.available
    assert "make setup" in status.remedy
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await sandbox.kill(new_run())
    sandbox.close()


async def test_what_is_not_there_is_gone_already(stage: Stage) -> None:
    run = new_run()
    assert await stage.sandbox.kill(run) == ()
    assert (await stage.sandbox.wait(run)).code == -1
    assert await stage.sandbox.logs(run) == ""


async def test_a_folder_that_is_missing_starts_nothing(stage: Stage) -> None:
    with pytest.raises(EngineUnavailable, match=r"does not exist"):
        await stage.sandbox.start(stage.spec())
    assert await stage.sandbox.list() == ()


async def test_the_last_words_of_a_runner_can_be_read(stage: Stage) -> None:
    await stage.begin(script(hello={"mcp": {"x": {"type": "stdio"}}}))
    ended = await stage.end()
    assert (ended.code, ended.reason) == (5, "its orders made no sense")
    assert "does not go through the door" in await stage.sandbox.logs(stage.run)
