"""A small real world on loopback for demos and tests: scripted models, competitors' web pages, e-mail.

It is one process of its own, started by `start_world`; nothing in it is reachable from another machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import httpx

from app.demo.tally import read_lines

DEMO_KEY = "sk-demo-0000"
SITE_PORT = 8471
ROOT = Path(__file__).resolve().parents[2]


class WorldError(RuntimeError):
    """The demo world did not start; the text holds what its process said."""


class World:
    """The running process and its addresses. Use it as a context manager, async or not, or call stop()."""

    def __init__(self, process: subprocess.Popen[str], addresses: dict[str, object], home: Path, key: str) -> None:
        self._process = process
        self.home = home
        self.key = key
        self.pid = process.pid
        self.anthropic = str(addresses["anthropic"])
        self.openai = str(addresses["openai"])
        self.site = str(addresses["site"])
        self.mail = str(addresses["mail"])
        self.mailbox = Path(str(addresses["mailbox"]))

    @property
    def ports(self) -> dict[str, int]:
        """The four listeners by name: anthropic, openai, site, mail."""
        named = {"anthropic": self.anthropic, "openai": self.openai, "site": self.site, "mail": self.mail}
        return {name: int(url.split(":")[2].split("/")[0]) for name, url in named.items()}

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ledger(self) -> list[dict[str, object]]:
        """What the models were asked, oldest first: one object per answered request."""
        return read_lines(self.home / "model-ledger.jsonl")

    def visits(self) -> list[dict[str, object]]:
        """What the web pages were asked, oldest first."""
        return read_lines(self.home / "site-visits.jsonl")

    def letters(self) -> list[bytes]:
        """The e-mails in the mailbox as they were delivered, oldest first."""
        files = sorted((self.mailbox / "new").iterdir(), key=lambda file: file.stat().st_mtime_ns)
        return [file.read_bytes() for file in files]

    def control(self, **order: object) -> None:
        """Turn knobs of the models (see app.demo.knobs), for example control(fail={"status": 529, "times": 2})."""
        answer = httpx.post(
            f"{self.anthropic}/__control", json=order, headers={"x-api-key": self.key}, timeout=10, trust_env=False
        )
        answer.raise_for_status()

    def wait(self, *, open_answers: int = 0, answered: int = 0) -> None:
        """Return when the models are giving so many answers and have given so many; fails after 15 seconds."""
        wanted = {"open": open_answers, "answered": answered}
        httpx.get(
            f"{self.anthropic}/__ledger", params=wanted, headers={"x-api-key": self.key}, timeout=30, trust_env=False
        ).raise_for_status()

    def kill(self) -> None:
        """End it without notice, as a crash would."""
        self._process.kill()
        self._reap()

    def stop(self, timeout: float = 5.0) -> int:
        """End it cleanly and wait, `timeout` seconds at most before it is killed; returns the exit code."""
        if self.alive:
            self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._reap()

    def _reap(self) -> int:
        return _reap(self._process)

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> World:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


def start_world(
    home: Path,
    *,
    key: str = DEMO_KEY,
    anthropic_port: int = 0,
    openai_port: int = 0,
    site_port: int = 0,
    mail_port: int = 0,
    scenarios: Path | None = None,
    timeout: float = 20.0,
) -> World:
    """Start the process and return when every listener answers.

    Raises WorldError when it ends early or says nothing for `timeout` seconds. It blocks for about a second: from async
    code use `await asyncio.to_thread(start_world, home)`. The process ends with its parent.
    """
    home = home.absolute()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, "-m", "app.demo", "--home", str(home), "--with-parent", "--key", key]
    for name, port in (
        ("anthropic", anthropic_port),
        ("openai", openai_port),
        ("site", site_port),
        ("mail", mail_port),
    ):
        command += [f"--{name}-port", str(port)]
    command += ["--scenarios", str(scenarios)] if scenarios is not None else []
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    log = home / "world.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    line = _first_line(process, timeout)
    if not line:
        process.kill()
        _reap(process)
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise WorldError("the demo world did not start: " + (" / ".join(said) or f"no answer within {timeout:g} s"))
    return World(process, json.loads(line), home, key)


def _reap(process: subprocess.Popen[str]) -> int:
    code = process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    return code


def _first_line(process: subprocess.Popen[str], timeout: float) -> str:
    """The line with the addresses, or nothing when the process ends or the time passes first."""
    if process.stdout is None:
        return ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if selector.select(timeout) else ""
