"""Runs inside a container, as the agent would: tries what must not work and prints what it found as one JSON object."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path


def attempt(work: Callable[[], object]) -> str:
    try:
        return f"DID: {work()!r}"[:200]
    except OSError as error:
        return f"{type(error).__name__} {error.errno}"


def dial(family: int, address: object) -> object:
    with socket.socket(family, socket.SOCK_STREAM) as line:
        line.settimeout(2)
        line.connect(address)  # type: ignore[arg-type]  # each family has its own form of address
        return "connected"


def reach(path: str, flags: int) -> object:
    os.close(os.open(path, flags))
    return path


def write(path: str) -> object:
    return Path(path).write_text("x")


def system_call(number: int, *arguments: int) -> object:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return "done"


def processes(word: str) -> list[str]:
    """Processes whose program or script is `word`."""
    arguments = {e.name: (e / "cmdline").read_text().split("\0") for e in Path("/proc").iterdir() if e.name.isdigit()}
    return [pid for pid, words in arguments.items() if any(each.endswith(f"/{word}") for each in words[:3])]


def cgroup(name: str, newer: str) -> str:
    for path in (f"/sys/fs/cgroup/{name}", f"/sys/fs/cgroup/{newer}"):
        if os.path.exists(path):
            return Path(path).read_text().strip()
    return "missing"


def readable_memory() -> list[str]:
    """Runner and CLI whose memory or environment this process can open."""
    opened = []
    for word in ("runner.py", "claude"):
        for pid in processes(word):
            for name in ("mem", "environ"):
                path = f"/proc/{pid}/{name}"
                tried = [attempt(partial(reach, path, os.O_RDWR)), attempt(partial(reach, path, os.O_RDONLY))]
                opened += [f"{word} {name}" for said in tried if said.startswith("DID")]
    return opened


def hog(megabytes: int) -> int:
    code = f"b = bytearray({megabytes} << 20)\nfor i in range(0, len(b), 4096): b[i] = 1"
    return subprocess.run(["python3", "-c", code], check=False).returncode


status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
VSOCK, ALG, PACKET = 40, 38, 17
MASKS = ("cc-socks", "cc-socks-10001")
KERNELS = ("proc", "devpts", "mqueue")
SETUID = ["find", "/usr", "/bin", "/opt", "-xdev", "-perm", "/6000", "-type", "f"]

print(
    json.dumps(
        {
            "uid": [os.getuid(), os.getgid(), os.getgroups()],
            "caps": [status[key].strip() for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
            "no_new_privs": status["NoNewPrivs"].strip(),
            "seccomp": status["Seccomp"].strip(),
            "memory": cgroup("memory/memory.limit_in_bytes", "memory.max"),
            "pids": cgroup("pids/pids.max", "pids.max"),
            "core": Path("/proc/self/limits").read_text().split("Max core file size")[1].split()[:2],
            "interfaces": sorted(name for _, name in socket.if_nameindex()),
            "resolve": attempt(lambda: socket.getaddrinfo("example.com", 443)),
            "internet": attempt(lambda: dial(socket.AF_INET, ("1.1.1.1", 443))),
            "metadata": attempt(lambda: dial(socket.AF_INET, ("169.254.169.254", 80))),
            "ipv6": attempt(lambda: dial(socket.AF_INET6, ("2606:4700:4700::1111", 443))),
            "bridge": attempt(lambda: dial(socket.AF_INET, ("172.17.0.1", 22))),
            "vsock": attempt(lambda: socket.socket(VSOCK, socket.SOCK_STREAM)),
            "alg": attempt(lambda: socket.socket(ALG, socket.SOCK_SEQPACKET)),
            "packet": attempt(lambda: socket.socket(PACKET, socket.SOCK_RAW)),
            "io_uring": attempt(lambda: system_call(425, 1, 0)),
            "unshare": attempt(lambda: system_call(272, 0x10000000)),
            "mount": attempt(lambda: system_call(165, 0, 0, 0, 0, 0)),
            "write_root": attempt(lambda: write("/opt/helm/runner.py")),
            "write_etc": attempt(lambda: write("/etc/claude-code/managed-settings.json")),
            "write_door": attempt(lambda: write("/run/helm/other")),
            "unlink_door": attempt(lambda: os.unlink("/run/helm/door.sock")),
            "write_masks": [attempt(partial(write, f"/tmp/{name}/x")) for name in MASKS],
            "write_tmp": attempt(lambda: write("/tmp/mine")),
            "door": attempt(lambda: os.listdir("/run/helm")),
            "docker_sock": os.path.exists("/var/run/docker.sock"),
            "writable": sorted(
                m[1] for m in mounts if m[3].split(",")[0] == "rw" and m[2] not in ("proc", "devpts", "mqueue")
            ),
            "setuid": subprocess.run(SETUID, check=False, capture_output=True, text=True).stdout,
            "memory_of_others": readable_memory(),
            "others": [len(processes("runner.py")) > 0, len(processes("claude"))],
            "write_cgroup": attempt(lambda: write("/sys/fs/cgroup/x")),
            "environment": sorted(f"{name}={value}" for name, value in os.environ.items()),
            "hog": hog(600),
        }
    )
)
