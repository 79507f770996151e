"""What a run's container may be, as a value: the exact request to the engine, and the check that it was obeyed.

Nothing here is a toggle. A blueprint can only choose sizes; whatever it chooses, the boundary stays the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

UID: Final = 10001
USER: Final = f"{UID}:{UID}"
LABEL_RUN: Final = "helm.run"
LABEL_LEASE: Final = "helm.lease"
LABEL_HOME: Final = "helm.home"
LEAST_PIDS: Final = 64
LEAST_MEMORY: Final = 192 << 20
_FILES: Final = 4096
_SHM: Final = 16 << 20
_TMP: Final = "rw,nosuid,nodev,noexec,size=256m,mode=1777"
_MASK: Final = "ro,nosuid,nodev,noexec,size=4k,mode=555"
_LOG: Final = {"max-size": "1m", "max-file": "1", "compress": "false"}


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container: whose it is, what it may use (bytes, CPUs, processes), and its only two doors to the host."""

    run: str
    lease: int
    image: str
    door_dir: Path
    workspace_dir: Path
    memory: int = 1 << 30
    cpus: float = 1.0
    pids: int = 256
    env: Mapping[str, str] = field(default_factory=dict)


def home_label(home: Path) -> str:
    """A `$HELM_HOME`'s name on the engine: two installations on one machine never touch each other's containers."""
    return hashlib.sha256(str(home.absolute()).encode()).hexdigest()[:16]


def container_name(run: str) -> str:
    """One name per run: the engine itself refuses a second container of the same run."""
    return f"helm-{run}"


def container_request(spec: ContainerSpec, home: str, seccomp: str, *, apparmor: bool) -> dict[str, Any]:
    """The body of the engine's `POST /containers/create`. `seccomp` is the profile's JSON text, `home` its label."""
    return {
        "Image": spec.image,
        "User": USER,
        "WorkingDir": "/workspace",
        "Hostname": "agent",
        "Env": [f"{name}={value}" for name, value in sorted(spec.env.items())],
        "Labels": {LABEL_RUN: spec.run, LABEL_LEASE: str(spec.lease), LABEL_HOME: home},
        "StopSignal": "SIGKILL",
        "NetworkDisabled": True,
        "AttachStdin": False,
        "Tty": False,
        "HostConfig": _host(spec, seccomp, apparmor=apparmor),
    }


def _host(spec: ContainerSpec, seccomp: str, *, apparmor: bool) -> dict[str, Any]:
    memory = max(spec.memory, LEAST_MEMORY)
    confined = ["apparmor=docker-default"] if apparmor else []
    return {
        "NetworkMode": "none",
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp}", *confined],
        "Privileged": False,
        "ReadonlyRootfs": True,
        "Init": True,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": int(spec.cpus * 1_000_000_000),
        "PidsLimit": max(spec.pids, LEAST_PIDS),
        "ShmSize": _SHM,
        "Ulimits": [
            {"Name": "nofile", "Soft": _FILES, "Hard": _FILES},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        # The two masks take the CLI's message sockets away: a tool could speak to its own session through them.
        "Tmpfs": {"/tmp": _TMP, "/tmp/cc-socks": _MASK, f"/tmp/cc-socks-{UID}": _MASK},  # noqa: S108  in the container
        "Mounts": [
            _bind(spec.door_dir, "/run/helm", read_only=True),
            _bind(spec.workspace_dir, "/workspace", read_only=False),
        ],
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,
        "LogConfig": {"Type": "local", "Config": _LOG},
    }


def _bind(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    # The engine leaves out what is false when it is asked later; so do we, to compare like with like.
    mode = {"ReadOnly": True} if read_only else {}
    bind = {"Type": "bind", "Source": str(source), "Target": target, **mode}
    return bind | {"BindOptions": {"Propagation": "rprivate"}}


def differences(asked: Mapping[str, Any], inspected: Mapping[str, Any]) -> list[str]:
    """In plain words, where a created container is not what was asked for. Empty: the boundary is in force."""
    config, host = inspected.get("Config") or {}, inspected.get("HostConfig") or {}
    found = [
        f"{key} is {_short(host.get(key))} instead of {_short(value)}"
        for key, value in asked["HostConfig"].items()
        if host.get(key) != value
    ]
    found += [f"{key} is {host[key]}" for key in _NEVER if host.get(key)]
    if config.get("User") != USER:
        found.append(f"User is {config.get('User')}")
    networks = set((inspected.get("NetworkSettings") or {}).get("Networks") or {})
    if networks - {"none"}:
        found.append(f"it is attached to {', '.join(sorted(networks))}")
    targets = sorted(mount.get("Destination", "") for mount in inspected.get("Mounts") or [])
    if targets != ["/run/helm", "/workspace"]:
        found.append(f"its mounts are {', '.join(targets) or 'missing'}")
    return found


_NEVER: Final = (
    "CapAdd",
    "Binds",
    "Devices",
    "DeviceRequests",
    "PidMode",
    "UTSMode",
    "UsernsMode",
    "VolumesFrom",
    "Links",
)


def _short(value: object) -> str:
    return str(value)[:80]
