"""Servers and commands as processes, each in a folder of its own; every wait has an end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
HELM = [sys.executable, "-c", "from app.cli import main; main()"]
WAIT_S = 60.0
LONG_S = 110.0
MAIL = {"to": "leadership@example.com", "subject": "Brief", "body": "Hello"}


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        assert self.out.count("\n") == 1, f"one document and nothing else: {self.out!r}, {self.err!r}"
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The failure in words: a line or two, never a traceback."""
        lines = self.err.strip().splitlines()
        assert 1 <= len(lines) <= 2, self.err
        assert lines[0].startswith("helm: "), self.err
        return self.err.strip()


def clear_away(folder: Path) -> None:
    """Remove an installation. What containers made in it is theirs, so a container removes it where we are not root."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        image = os.environ.get("HELM_AGENT_IMAGE", "helm-agent:latest")
        start = ["docker", "run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "find"]
        command = [*start, "-v", f"{folder}:{folder}", image, str(folder), "-mindepth", "1", "-delete"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        folder.rmdir()


def environment(home: Path, **more: str) -> dict[str, str]:
    """A clean environment for one installation."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME", "DOCKER_HOST", "TMPDIR") if name in os.environ}
    return {**kept, "HELM_HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


def helm(home: Path, *words: str, given: str = "", **more: str) -> Ended:
    """Run a command to its end."""
    ended = subprocess.run(
        [*HELM, *words],
        env=environment(home, **more),
        input=given,
        capture_output=True,
        text=True,
        timeout=LONG_S,
        cwd=home.parent,
    )
    assert "Traceback" not in ended.stderr + ended.stdout, ended.stderr
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@contextmanager
def started(home: Path, *words: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs on; it is ended at the latest when it is left."""
    process = subprocess.Popen(
        [*HELM, *words],
        env=environment(home, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=home.parent,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def finished(process: subprocess.Popen[str], timeout: float = WAIT_S) -> Ended:
    """The end of a started command."""
    out, err = process.communicate(timeout=timeout)
    return Ended(process.returncode, out, err)


@dataclass(frozen=True)
class Running:
    """A server in its folder."""

    home: Path
    process: subprocess.Popen[str]
    announced: dict[str, Any]

    def helm(self, *words: str, given: str = "", **more: str) -> Ended:
        """A command against this server."""
        return helm(self.home, *words, given=given, **more)

    def gateway(self, run: str, path: str, body: dict[str, Any], timeout: float = WAIT_S) -> httpx.Response:
        """Say something as the door would say it for a run's container."""
        transport = httpx.HTTPTransport(uds=str(self.home / "door" / "gateway.sock"))
        with httpx.Client(transport=transport, base_url="http://gateway", timeout=timeout) as client:
            return client.post(path, json=body, headers={"x-helm-run": run})


@contextmanager
def served(home: Path, *, shelf: bool = True, **more: str) -> Iterator[Running]:
    """A server, ended in order when it is left. `shelf`: with containers that only exist by name."""
    home.mkdir(mode=0o700, exist_ok=True)
    command = [sys.executable, "-m", "tests.cli.shelf_server"] if shelf else [*HELM, "serve", "--json"]
    log = (home.parent / f"{home.name}.log").open("a")
    process = subprocess.Popen(
        command,
        env=environment(home, **{"HELM_PORT": "0", **more}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=ROOT,
    )
    try:
        yield Running(home, process, json.loads(first_line(process, home)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0, "a server that is told to stop ends well"
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
        log.close()


def first_line(process: subprocess.Popen[str], home: Path) -> str:
    """What a server says when it is up; it ends by itself when it cannot start, so this does not wait for ever."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), True)
    line = process.stdout.readline()
    assert line, (home.parent / f"{home.name}.log").read_text()
    return line


def until(find: Callable[[], T], limit: float = WAIT_S) -> T:
    """What `find` gives as soon as it gives something."""
    end = time.monotonic() + limit
    while not (found := find()):
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.02)
    return found


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
