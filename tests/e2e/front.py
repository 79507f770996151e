"""The product as people reach it: a real `helm serve`, the distribution's Caddy in front with TLS by its own authority,
and a real Chromium that trusts that authority. Each front has its own folders and ports, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.adapters.docker import Sandbox
from app.adapters.sandbox import Containers
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect

from tests.cli.kit import HELM, ROOT, clear_away, environment, free_port
from tests.faces.gallery import check, watch

PASSWORD: Final = "correct horse battery staple"
DESK: Final = (1440, 900)
PHONE: Final = (390, 844)
SMALL: Final = (360, 740)
BOUND_S: Final = 60.0
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
LOST_LINE: Final = re.compile(r"net::ERR_|WebSocket connection|status of 50[234]")


@dataclass
class Seat:
    """A page of a signed-in browser, and everything that went wrong on it."""

    page: Page
    base: str
    problems: list[str] = field(default_factory=list)

    async def go(self, path: str) -> None:
        """Open a page; what the last one complained of is kept."""
        await self.look()
        await self.page.goto(self.base + path)
        await self.live()

    async def live(self) -> None:
        """Return when the page follows the log."""
        if await self.page.locator("[data-bind=sync]").count():
            await self.page.locator("[data-bind=sync][data-state=live]").first.wait_for(state="attached")

    async def look(self) -> None:
        """Note violations of the policy and sideways overflow of the page as it is now."""
        if self.page.url.startswith(self.base):
            await check(self.page, self.problems, self.page.url.removeprefix(self.base))

    def forgive_lost_line(self) -> None:
        """Forget what the browser itself says about a line that a test cut."""
        self.problems[:] = [one for one in self.problems if not LOST_LINE.search(one)]

    async def stays(self) -> None:
        """From here on, a reload would be seen by `stayed`."""
        await self.page.evaluate("globalThis.stayed = true")

    async def stayed(self) -> bool:
        """Whether the page was never loaded again since `stays`."""
        return bool(await self.page.evaluate("globalThis.stayed === true"))

    async def rows(self) -> list[str]:
        """The lines of the timeline in their order: what they are and the text that is shown."""
        return [
            str(row)
            for row in await self.page.locator("#tl-scroll [id^=row-]").evaluate_all("nodes => nodes.map((n) => n.id)")
        ]


@dataclass
class Front:
    """One installation behind its own Caddy."""

    folder: Path
    https: int
    http: int
    port: int
    more: dict[str, str]
    link: str = ""
    server: asyncio.subprocess.Process | None = None
    caddy: asyncio.subprocess.Process | None = None
    browser: Browser | None = None
    seats: list[Seat] = field(default_factory=list)

    @property
    def home(self) -> Path:
        """Its `$HELM_HOME`."""
        return self.folder / "home"

    @property
    def base(self) -> str:
        """What people type."""
        return f"https://localhost:{self.https}"

    async def serve(self) -> None:
        """Start the server and keep its login link."""
        settings = {"HELM_PORT": str(self.port), "HELM_ORIGINS": self.base, **self.more}
        with (self.folder / "server.log").open("ab") as log:
            self.server = await asyncio.create_subprocess_exec(
                *HELM,
                "serve",
                env=environment(self.home, **settings),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
            )
        assert self.server.stdout is not None
        async with asyncio.timeout(BOUND_S):
            while line := (await self.server.stdout.readline()).decode():
                if "/login/link/" in line:
                    self.link = line.strip()
                    return
        raise AssertionError((self.folder / "server.log").read_text()[-3_000:])

    async def end_server(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server and wait for it."""
        assert self.server is not None
        if self.server.returncode is None:
            self.server.send_signal(number)
        async with asyncio.timeout(BOUND_S):
            await self.server.communicate()

    async def restart(self) -> None:
        """Another life of the server, on the same folder."""
        await self.end_server()
        await self.serve()

    async def connect(self) -> None:
        """Start Caddy, on the same ports each time."""
        self.caddy = await _caddy(self)

    async def cut(self) -> None:
        """End Caddy, and with it every connection that goes through it."""
        if self.caddy is not None and self.caddy.returncode is None:
            self.caddy.kill()
            await self.caddy.wait()

    async def sit(self, size: tuple[int, int] = DESK, *, theme: str = "dark", of: Seat | None = None) -> Seat:
        """A page of that size. `of`: in the same browser profile's sign-in as another seat."""
        assert self.browser is not None
        state: Any = await of.page.context.storage_state() if of is not None else None
        context = await self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            device_scale_factor=2 if size[0] < 600 else 1,
            has_touch=size[0] < 600,
            color_scheme="light" if theme == "light" else "dark",
            storage_state=state,
        )
        context.set_default_timeout(BOUND_S * 1_000)
        return await self.seat_in(context)

    async def seat_in(self, context: BrowserContext) -> Seat:
        """One more page in a context."""
        seat = Seat(await context.new_page(), self.base)
        await watch(seat.page, seat.problems)
        self.seats.append(seat)
        return seat

    async def sign_in_by_link(self, seat: Seat) -> None:
        """The first minute: the one-time link, then a password of one's own."""
        await seat.page.goto(self.link)
        await seat.page.get_by_label("Password", exact=True).fill(PASSWORD)
        await seat.page.get_by_label("The same again").fill(PASSWORD)
        await seat.page.get_by_role("button", name="Set it and go in").click()
        await seat.page.wait_for_url("**/inbox")
        await seat.live()

    async def sign_in(self, seat: Seat) -> None:
        """Later: account and password."""
        await seat.page.goto(self.base + "/login")
        await seat.page.get_by_label("Account").fill(await self._account())
        await seat.page.get_by_label("Password").fill(PASSWORD)
        await seat.page.get_by_role("button", name="Sign in").click()
        await seat.page.wait_for_url("**/inbox")
        await seat.live()

    async def _account(self) -> str:
        return os.environ.get("USER") or os.environ.get("LOGNAME") or "root"

    def letters(self) -> list[str]:
        """The e-mails in the demo's mailbox."""
        new = self.home / "demo" / "mailbox" / "new"
        return [file.read_text() for file in sorted(new.iterdir())] if new.is_dir() else []

    async def complaints(self) -> list[str]:
        """Everything that was wrong on any page."""
        for seat in self.seats:
            if not seat.page.is_closed():
                await seat.look()
        return [problem for seat in self.seats for problem in seat.problems]


@asynccontextmanager
async def front(**more: str) -> AsyncIterator[Front]:
    """Everything up: server, Caddy, browser. Nothing of it is left, containers included."""
    # Short: the paths of sockets have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="helm-e2e-"))
    made = Front(folder, free_port(), free_port(), free_port(), more)
    made.home.mkdir(mode=0o700)
    try:
        await made.serve()
        await made.connect()
        await asyncio.to_thread(_trust, folder)
        async with async_playwright() as playwright:
            made.browser = await playwright.chromium.launch(
                executable_path=browser_path(),
                # Without: a Docker network that anybody makes on this machine ends every HTTP/2 session of the browser
                # (ERR_NETWORK_CHANGED), and with it whatever page is being loaded.
                args=["--no-sandbox", "--disable-http2"],
                env={**os.environ, "HOME": str(folder)},
            )
            yield made
            await made.browser.close()
    finally:
        await made.cut()
        if made.server is not None:
            await made.end_server()
        await _clear(made)
        await asyncio.to_thread(clear_away, folder)


def browser_path() -> str:
    """The system's browser."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    assert found is not None, "no Chromium or Chrome here; make test installs one"
    return found


async def _caddy(made: Front) -> asyncio.subprocess.Process:
    """The Caddyfile of this repository, on ports of its own and with a storage of its own."""
    settings = {
        "HELM_UPSTREAM": f"unix/{made.home}/sockets/web.sock",
        "HELM_HTTP_PORT": str(made.http),
        "HELM_HTTPS_PORT": str(made.https),
        "XDG_DATA_HOME": str(made.folder / "data"),
        "XDG_CONFIG_HOME": str(made.folder / "config"),
        "HOME": str(made.folder),
        "PATH": os.environ.get("PATH", os.defpath),
    }
    with (made.folder / "caddy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("caddy", "run", "--config", str(ROOT / "Caddyfile"), "--adapter", "caddyfile"),
            env=settings,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    async with asyncio.timeout(BOUND_S):
        while not (authority(made.folder).exists() and await _listens(made.https)):
            assert process.returncode is None, (made.folder / "caddy.log").read_text()[-2_000:]
            await asyncio.sleep(0.05)
    return process


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def authority(folder: Path) -> Path:
    """The certificate of Caddy's own authority."""
    return folder / "data" / "caddy" / "pki" / "authorities" / "local" / "root.crt"


def _trust(folder: Path) -> None:
    """A browser profile folder that trusts this one authority."""
    database = f"sql:{folder}/.pki/nssdb"
    (folder / ".pki" / "nssdb").mkdir(parents=True)
    _run("certutil", "-d", database, "-N", "--empty-password")
    _run("certutil", "-d", database, "-A", "-t", "C,,", "-n", "caddy", "-i", str(authority(folder)))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert done.returncode == 0, done.stderr


async def _clear(made: Front) -> None:
    """End the containers of this installation that a failed test left."""
    engine = Sandbox(made.home, ROOT / "agent_image" / "seccomp.json")
    containers = Containers(engine, "")
    try:
        for run in await containers.live():
            await containers.kill(run)
    finally:
        engine.close()


async def start_run(seat: Seat, blueprint: str) -> str:
    """Start a blueprint as a person does; the address of the run."""
    await seat.go(f"/blueprints/{blueprint}")
    await seat.page.get_by_role("button", name="Start the run").click()
    await seat.page.wait_for_url("**/runs/*")
    await seat.live()
    return seat.page.url.removeprefix(seat.base)


async def ended(seat: Seat, words: str = "Finished") -> None:
    """Return when the run on this page has ended in that way."""
    await expect(seat.page.locator("[data-part=run-status]").first).to_contain_text(words, timeout=BOUND_S * 1_500)


async def texts(found: Locator) -> Sequence[str]:
    """The words of each match, in order."""
    return [" ".join(words.split()) for words in await found.all_inner_texts()]
