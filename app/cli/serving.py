"""The server as people and programs reach it: the services of `bootstrap` behind dashboard and API, on a TCP port and
on a Unix socket for Caddy."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from app import __version__
from app.adapters.clock import SystemClock
from app.adapters.keys import write_secret
from app.adapters.listeners import listener, stopped, tcp_socket, unix_socket, until_started
from app.adapters.providers import BASES
from app.adapters.sqlite.check import check_log
from app.adapters.sqlite.connection import lock_file
from app.bootstrap import RECEIPT_KEY, ensure_secret, prepare_home, running
from app.cli.owners import local_account, open_people
from app.domain.errors import BadConfig
from app.ports import Sandbox
from app.services.people import PeopleDesk
from app.services.services import Services
from app.settings import ROOT, Settings
from app.web.app import create_web_app
from app.web.settings import WebSettings
from app.web.views_plain import Check, KeyStatus

CLI_FILE: Final = "cli.json"
CLI_TOKEN: Final = "helm cli"  # noqa: S105 - its name, not its secret


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that takes connections. `link` signs its owner in, once, within 15 minutes."""

    settings: Settings
    services: Services
    people: PeopleDesk
    link: str
    ended: Callable[[], Awaitable[None]]
    alive: Callable[[], bool]


@asynccontextmanager
async def serving(settings: Settings, *, sandbox: Sandbox | None = None) -> AsyncIterator[Serving]:
    """Serve an installation. Raises BadConfig (taken port, second server, unusable folder), BadPolicy, LogCorrupt."""
    prepare_home(settings)
    async with AsyncExitStack() as stack:
        # The port first: where it is taken, nothing else has begun.
        port = stack.enter_context(_bound(settings))
        settings = replace(settings, port=port.getsockname()[1])
        services = await stack.enter_async_context(running(settings, sandbox=sandbox))
        people, files = open_people(settings)
        stack.push(files)
        app = create_web_app(services, people, web_settings(settings))
        path = settings.home / "sockets" / "web.sock"
        caddy = unix_socket(path, 0o660)
        stack.callback(path.unlink, missing_ok=True)
        server = listener(app)
        task = asyncio.create_task(server.serve(sockets=[port, caddy]), name="web")
        stack.push_async_callback(stopped, server, task)
        await until_started(server, task)
        await _hand_out_token(stack, settings, people)
        link = await new_link(settings, people, local_account())
        yield Serving(settings, services, people, link, _waiter(task), lambda: not task.done())


def _waiter(task: asyncio.Task[None]) -> Callable[[], Awaitable[None]]:
    async def ended() -> None:
        await asyncio.shield(task)

    return ended


def _bound(settings: Settings) -> socket.socket:
    try:
        return tcp_socket(settings.host, settings.port)
    except BadConfig:
        # Most often it is our own server: then that is what has to be said.
        os.close(lock_file(settings.home / "helm.lock"))
        raise


async def new_link(settings: Settings, people: PeopleDesk, account: str) -> str:
    """The address of a new one-time login link."""
    secret = await people.new_link(account, "owner")
    return f"{settings.origins[0] if settings.origins else settings.url}/login/link/{secret}"


async def _hand_out_token(stack: AsyncExitStack, settings: Settings, people: PeopleDesk) -> None:
    """Let commands of the same user find and use this server; both file and token are gone when it stops."""
    person = await people.ensure_person(local_account(), "owner")
    for old in await people.tokens(person.id):
        if old.name == CLI_TOKEN:
            await people.end_token(old.id, person.id)
    token, secret = await people.new_token(person.id, CLI_TOKEN)
    path = settings.home / CLI_FILE
    facts = {"url": local_url(settings), "token": secret, "pid": os.getpid()}
    write_secret(path, json.dumps(facts).encode("ascii") + b"\n")
    stack.push_async_callback(people.end_token, token.id, person.id)
    stack.callback(path.unlink, missing_ok=True)


def local_url(settings: Settings) -> str:
    """The listener by its literal address: a name could resolve to another one."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def web_settings(settings: Settings) -> WebSettings:
    """What the dashboard is told: under which names it is reached, its secret, its files."""
    names = {urlsplit(origin).netloc.lower() for origin in settings.origins}
    return WebSettings(
        hosts=frozenset(names | settings.local_names | {"localhost"}),
        origins=settings.pages,
        secret=ensure_secret(settings.keys / "web.secret"),
        templates=ROOT / "templates",
        static=ROOT / "static",
        trust_proxy=True,
        version=__version__,
        log_path=str(settings.database),
        key_id=RECEIPT_KEY,
        about=(("State", str(settings.home)), ("Policies", str(settings.policies))),
        provider_keys=lambda: key_statuses(settings),
        check_log=lambda: _check(settings),
    )


def key_statuses(settings: Settings) -> tuple[KeyStatus, ...]:
    """Which provider keys there are, and whether their files are closed to others."""
    return tuple(_key_status(name, settings.keys / "providers" / name) for name in BASES)


def _key_status(name: str, path: Path) -> KeyStatus:
    command = f"helm key set {name}"
    try:
        facts = path.lstat()
    except OSError:
        return KeyStatus(name, False, True, str(path), command)
    private = stat.S_ISREG(facts.st_mode) and not stat.S_IMODE(facts.st_mode) & 0o077
    return KeyStatus(name, True, private, str(path), command)


async def _check(settings: Settings) -> Check:
    clock = SystemClock()
    began = clock.now_ms()
    report = await asyncio.to_thread(check_log, settings.home)
    first = next((f"{finding.code} at #{finding.seq}: {finding.message}" for finding in report.errors), "")
    return Check(report.ok, began, report.receipts, clock.now_ms() - began, first)
