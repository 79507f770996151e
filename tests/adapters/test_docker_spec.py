"""The boundary as a value: what is asked of the engine, and what counts as not having got it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from app.adapters.container_spec import ContainerSpec, container_name, container_request, differences, home_label

PROFILE = '{"defaultAction":"SCMP_ACT_ERRNO"}'
Json = dict[str, Any]


def _spec(**changes: Any) -> ContainerSpec:
    fields: Json = {
        "run": "r1",
        "lease": 3,
        "image": "helm-agent:latest",
        "door_dir": Path("/h/door/runs/r1"),
        "workspace_dir": Path("/h/workspaces/r1"),
    }
    return ContainerSpec(**(fields | changes))


def _request(**changes: Any) -> Json:
    return container_request(_spec(**changes), "home", PROFILE, apparmor=True)


def _granted(asked: Json) -> Json:
    """What an honest engine says about a container that it made from `asked`."""
    mounts = [{"Destination": mount["Target"]} for mount in asked["HostConfig"]["Mounts"]]
    return {
        "Config": {"User": asked["User"]},
        "HostConfig": copy.deepcopy(asked["HostConfig"]) | {"CapAdd": None, "Devices": [], "PidMode": ""},
        "NetworkSettings": {"Networks": {"none": {}}},
        "Mounts": mounts,
    }


def test_the_whole_request_is_exactly_this() -> None:
    asked = _request(memory=512 << 20, cpus=1.5, pids=128, env={"B": "2", "A": "1"})
    assert asked == {
        "Image": "helm-agent:latest",
        "User": "10001:10001",
        "WorkingDir": "/workspace",
        "Hostname": "agent",
        "Env": ["A=1", "B=2"],
        "Labels": {"helm.run": "r1", "helm.lease": "3", "helm.home": "home"},
        "StopSignal": "SIGKILL",
        "NetworkDisabled": True,
        "AttachStdin": False,
        "Tty": False,
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", f"seccomp={PROFILE}", "apparmor=docker-default"],
            "Privileged": False,
            "ReadonlyRootfs": True,
            "Init": True,
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "Memory": 536870912,
            "MemorySwap": 536870912,
            "NanoCpus": 1_500_000_000,
            "PidsLimit": 128,
            "ShmSize": 16777216,
            "Ulimits": [
                {"Name": "nofile", "Soft": 4096, "Hard": 4096},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "Tmpfs": {
                "/tmp": "rw,nosuid,nodev,noexec,size=256m,mode=1777",
                "/tmp/cc-socks": "ro,nosuid,nodev,noexec,size=4k,mode=555",
                "/tmp/cc-socks-10001": "ro,nosuid,nodev,noexec,size=4k,mode=555",
            },
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": "/h/door/runs/r1",
                    "Target": "/run/helm",
                    "ReadOnly": True,
                    "BindOptions": {"Propagation": "rprivate"},
                },
                {
                    "Type": "bind",
                    "Source": "/h/workspaces/r1",
                    "Target": "/workspace",
                    "BindOptions": {"Propagation": "rprivate"},
                },
            ],
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "AutoRemove": False,
            "LogConfig": {"Type": "local", "Config": {"max-size": "1m", "max-file": "1", "compress": "false"}},
        },
    }


def test_a_host_without_apparmor_keeps_everything_else() -> None:
    plain = container_request(_spec(), "home", PROFILE, apparmor=False)
    assert plain["HostConfig"]["SecurityOpt"] == ["no-new-privileges", f"seccomp={PROFILE}"]


def test_a_limit_below_what_works_is_raised_to_it() -> None:
    host = _request(memory=0, pids=0)["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (201326592, 201326592, 64)


def test_the_request_is_json() -> None:
    assert json.loads(json.dumps(_request())) == _request()


def test_two_homes_have_two_labels_and_a_run_has_one_name() -> None:
    assert home_label(Path("/a")) != home_label(Path("/b"))
    assert container_name("r1") == "helm-r1"


def test_an_honest_engine_has_no_differences() -> None:
    asked = _request()
    assert differences(asked, _granted(asked)) == []


@pytest.mark.parametrize("key", sorted(_request()["HostConfig"]))
def test_every_promise_of_the_engine_is_checked(key: str) -> None:
    asked = _request()
    granted = _granted(asked)
    granted["HostConfig"][key] = "something else"
    assert [key in said for said in differences(asked, granted)] == [True]


@pytest.mark.parametrize("key", ["CapAdd", "Binds", "Devices", "PidMode", "UTSMode", "UsernsMode", "VolumesFrom"])
def test_nothing_is_added_behind_our_back(key: str) -> None:
    asked = _request()
    granted = _granted(asked)
    granted["HostConfig"][key] = ["host"]
    assert differences(asked, granted) == [f"{key} is ['host']"]


@pytest.mark.parametrize(
    "change",
    [
        {"Config": {"User": "0:0"}},
        {"NetworkSettings": {"Networks": {"none": {}, "bridge": {}}}},
        {
            "Mounts": [
                {"Destination": "/run/helm"},
                {"Destination": "/var/run/docker.sock"},
                {"Destination": "/workspace"},
            ]
        },
        {"Mounts": []},
    ],
)
def test_another_user_network_or_mount_is_a_difference(change: Json) -> None:
    asked = _request()
    assert len(differences(asked, _granted(asked) | change)) == 1


def test_an_empty_answer_of_the_engine_is_all_differences() -> None:
    asked = _request()
    assert len(differences(asked, {})) >= len(asked["HostConfig"]) - 2
