"""The demo world's process: four loopback listeners, one ASGI server, one clean end.

The addresses are written only when every listener answers, so whoever reads them may use them at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from litestar.types import ASGIApp, Receive, Scope, Send

from app.demo.exchange import Model
from app.demo.knobs import Knobs
from app.demo.mail import Post, mail_server
from app.demo.model_apps import anthropic_app, openai_app
from app.demo.play import Stage
from app.demo.scenario import Scenario, load_scenario
from app.demo.site import site_app
from app.demo.tally import Tally

SCENARIOS = Path(__file__).parent / "scenarios"
LOOPBACK = "127.0.0.1"
NAMES = ("anthropic", "openai", "site", "mail")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the process was asked to be; a port of 0 is chosen freely."""

    home: Path
    ports: Mapping[str, int]
    key: str
    port_file: Path
    scenarios: Path = SCENARIOS
    with_parent: bool = False


class ByPort:
    """Routes a connection by the local port that it came in on; the mail server is the one that needs a lifespan."""

    def __init__(self, apps: Mapping[int, ASGIApp], lifespan: ASGIApp) -> None:
        self._apps = dict(apps)
        self._lifespan = lifespan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = scope.get("server")
        app = self._apps[server[1] or 0] if server else self._lifespan
        await app(scope, receive, send)


class ReadyServer(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def load_scenarios(folder: Path) -> dict[str, Scenario]:
    """Every scenario file of a folder by its name."""
    found = [load_scenario(path) for path in sorted(folder.glob("*.toml"))]
    return {scenario.name: scenario for scenario in found}


async def serve(plan: Plan) -> None:
    """Serve until SIGTERM or SIGINT, or until stdin is closed with `with_parent`."""
    plan.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(
            number, lambda *_: None
        )  # the server raises the signal again when it has ended; by then it has done its work
    sockets = {name: _listen(plan.ports.get(name, 0)) for name in NAMES}
    ports = {name: listener.getsockname()[1] for name, listener in sockets.items()}
    app = _assemble(plan, ports)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=1)
    server = ReadyServer(config)
    helpers = [asyncio.create_task(_announce(plan, server, ports))]
    if plan.with_parent:
        helpers.append(asyncio.create_task(_leave_with_parent(server)))
    try:
        await server.serve(sockets=list(sockets.values()))
    finally:
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        plan.port_file.unlink(missing_ok=True)


def _assemble(plan: Plan, ports: Mapping[str, int]) -> ByPort:
    variables = {"site_port": str(ports["site"]), "mailbox": str(plan.home / "mailbox")}
    stage = Stage(load_scenarios(plan.scenarios), variables)
    model = Model(stage, Tally(plan.home / "model-ledger.jsonl"), Knobs(), plan.key)
    mail = mail_server(Post(plan.home / "mailbox")).streamable_http_app()
    apps: dict[int, ASGIApp] = {
        ports["anthropic"]: anthropic_app(model),
        ports["openai"]: openai_app(model),
        ports["site"]: site_app(plan.home / "site-visits.jsonl"),
        ports["mail"]: mail,  # type: ignore[dict-item]  # Starlette's own names for the same ASGI types
    }
    return ByPort(apps, apps[ports["mail"]])


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        raise SystemExit(
            f"demo world: port {port} cannot be opened ({error.strerror}); give another one or 0"
        ) from error
    listener.listen(128)
    listener.setblocking(False)
    return listener


async def _announce(plan: Plan, server: ReadyServer, ports: Mapping[str, int]) -> None:
    await server.ready.wait()
    addresses: dict[str, object] = {name: f"http://{LOOPBACK}:{port}" for name, port in ports.items()}
    addresses |= {
        "mail": f"http://{LOOPBACK}:{ports['mail']}/mcp",
        "mailbox": str(plan.home / "mailbox"),
        "pid": os.getpid(),
    }
    text = json.dumps(addresses)
    await asyncio.to_thread(_write_atomically, plan.port_file, text)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _write_atomically(path: Path, text: str) -> None:
    """A reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


async def _leave_with_parent(server: uvicorn.Server) -> None:
    """The parent holds the other end of stdin; the kernel closes it even when the parent is killed."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            gone.set()

    try:
        loop.add_reader(descriptor, readable)
    except PermissionError:  # a file or /dev/null: there is no parent to wait for
        return
    await gone.wait()
    server.should_exit = True
