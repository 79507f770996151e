"""The compose file on a real engine: server, door and Caddy come up, outlive each other and go completely."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from tests.cli.kit import ROOT, clear_away, free_port

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
BOUND_S = 90.0
T = TypeVar("T")


def compose_command() -> list[str]:
    """The plugin, or the older program of its own."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]


@dataclass
class Composed:
    """One project of the compose file."""

    name: str
    home: Path
    https: int
    http: int
    client: httpx.AsyncClient | None = None

    @property
    def base(self) -> str:
        """What people type."""
        return f"https://localhost:{self.https}"

    async def run(self, *words: str, check: bool = True) -> str:
        """A compose command to its end; what it printed."""
        return await asyncio.to_thread(self._run, words, check)

    def _run(self, words: tuple[str, ...], check: bool) -> str:
        settings = {
            "HELM_HOME": str(self.home),
            "HELM_ORIGINS": self.base,
            "HELM_HTTP_PORT": str(self.http),
            "HELM_HTTPS_PORT": str(self.https),
            "HELM_IMAGE": os.environ.get("HELM_AGENT_IMAGE", "helm-agent:latest"),
        }
        command = [*compose_command(), "-p", self.name, "-f", str(ROOT / "docker-compose.yml"), *words]
        done = subprocess.run(
            command,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr + done.stdout
        return done.stdout

    async def helm(self, *words: str) -> Any:
        """A `helm` command inside of the server's container; its JSON."""
        return json.loads(await self.run("exec", "-T", "server", "helm", *words, "--json"))

    async def connect(self) -> None:
        """A client that trusts Caddy's authority, once there is one."""
        root = "/data/caddy/pki/authorities/local/root.crt"
        text = await until(lambda: self.run("exec", "-T", "caddy", "cat", root, check=False))
        self.client = httpx.AsyncClient(
            base_url=self.base, verify=ssl.create_default_context(cadata=text), trust_env=False, timeout=10
        )

    async def health(self) -> int:
        """The status of `/healthz` through Caddy; 0 without a connection."""
        assert self.client is not None
        try:
            return (await self.client.get("/healthz")).status_code
        except httpx.TransportError:
            return 0

    async def well(self) -> None:
        """Return when ledger, door and everything that health speaks of is well."""
        await until(self._is_well)

    async def _is_well(self) -> bool:
        return await self.health() == 200

    async def waiting(self) -> str:
        """The key of the first open question, when there is one."""
        items = await until(self._items)
        return str(items[0]["key"])

    async def _items(self) -> list[dict[str, Any]]:
        return list((await self.helm("inbox"))["items"])

    async def ended(self, run: str) -> str:
        """How a run ended, once it has."""
        return await until(lambda: self._ending(run))

    async def _ending(self, run: str) -> str:
        status = await self.status(run)
        return status if status in ("finished", "failed", "stopped") else ""

    async def letters(self) -> list[str]:
        """The e-mails in the demo's mailbox; its folder belongs to the server's user, not to ours."""
        new = self.home / "demo" / "mailbox" / "new"
        return (await self.run("exec", "-T", "server", "ls", str(new))).split()

    async def status(self, run: str) -> str:
        """The status of a run."""
        return next(str(one["status"]) for one in (await self.helm("runs"))["runs"] if one["id"] == run)


async def until(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` gives as soon as it gives something."""
    async with asyncio.timeout(BOUND_S):
        while True:
            if found := await ask():
                return found
            await asyncio.sleep(0.3)


def left_of(name: str) -> list[str]:
    """Containers, networks and volumes of a project that are still there."""
    found: list[str] = []
    for kind in (["ps", "-aq"], ["network", "ls", "-q"], ["volume", "ls", "-q"]):
        command = ["docker", *kind, "--filter", f"label=com.docker.compose.project={name}"]
        found += subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return found


@pytest.fixture
async def composed() -> AsyncIterator[Composed]:
    """The images of this very tree, up as a project of their own; nothing of it is left."""
    build = await asyncio.to_thread(
        subprocess.run, [ROOT / "agent_image" / "build-server.sh"], capture_output=True, text=True, check=False
    )
    assert build.returncode == 0, build.stderr + build.stdout
    home = Path(tempfile.mkdtemp(prefix="helm-compose-"))
    made = Composed(home.name.replace("_", "").lower(), home, free_port(), free_port())
    try:
        await made.run("up", "-d")
        await made.connect()
        await made.well()
        yield made
    finally:
        if made.client is not None:
            await made.client.aclose()
        await made.run("down", "-v", "-t", "5", check=False)
        await asyncio.to_thread(clear_away, home)
    assert left_of(made.name) == []


async def test_it_comes_up_and_a_run_outlives_a_restart_of_server_and_door(composed: Composed) -> None:
    assert composed.client is not None
    login = await composed.client.get("/login")
    assert login.status_code == 200
    assert "Sign in" in login.text
    assert composed.base in (await composed.run("exec", "-T", "server", "helm", "login-link"))

    run = str((await composed.helm("run", "start", "market-brief"))["id"])
    question = await composed.waiting()
    await composed.run("restart", "-t", "10", "server")
    await composed.well()
    assert await composed.waiting() == question
    await composed.run("kill", "door")
    await composed.run("up", "-d", "door")
    await composed.well()
    await composed.helm("inbox", "allow", question)
    assert await composed.ended(run) == "finished"
    assert (await composed.helm("verify-log"))["ok"] is True
    assert len(await composed.letters()) == 1
